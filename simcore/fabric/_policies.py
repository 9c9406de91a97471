"""The state of the data plane, and the ways to advance it."""

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from simcore.errors import SimulationError
from simcore.fabric import _agenda, _buffers, _maxmin, _queues, _shares, _waits
from simcore.fabric import _kernels as kernels
from simcore.fabric._store import Table, grown
from simcore.hardware import Queues, Sharing
from simcore.topology import Topology
from simcore.units import LARGEST

SEEN_ROWS = 1024


class State:
    """The tables of `_kernels`, and in ``addresses`` where each of them lies, for the compiled loops."""

    def __init__(self) -> None:
        self.addresses = np.zeros((kernels.TABLES, 4), np.int64)
        self._tables: dict[int, NDArray[Any]] = {}

    def __getitem__(self, number: int) -> NDArray[Any]:
        return self._tables[number]

    def __setitem__(self, number: int, table: NDArray[Any]) -> None:
        assert table.flags.c_contiguous
        assert table.itemsize == 8
        self._tables[number] = table
        self.addresses[number, 0] = table.ctypes.data
        self.addresses[number, 1 : 1 + table.ndim] = table.shape

    def reserve(self, number: int, length: int, axis: int = 0) -> NDArray[Any]:
        """Make a table long enough; return it."""
        if length > self[number].shape[axis]:
            self[number] = grown(self[number], length, axis)
        return self[number]


class Policy:
    """Queues, endless or not, and `ideal`: what every policy needs, and no more."""

    def __init__(self, servers: tuple[Table, Table], links: int, chunk: int, kernel: Any = _queues.advance) -> None:
        self.kernel = kernel
        self.state = state = State()
        items = 2 * links + 1024
        empty: dict[int, tuple[int, ...]] = {
            kernels.T_HEAD: (kernels.HEAD_WORDS,),
            kernels.T_ENTRIES: (items, _agenda.ENTRY_COLUMNS),
            kernels.T_FRONT: (items, 2),
            kernels.T_MESSAGES: (1024, kernels.MESSAGE_COLUMNS),
            kernels.T_HOPS: (1024, kernels.HOP_COLUMNS),
            kernels.T_BINS: (0, 0, 2),
            kernels.T_SCRATCH: (64, 3),
            kernels.T_PENDING: (kernels.PENDING_ROWS, 0),
            kernels.T_RUNS: (16, 2),
            kernels.T_OPERATIONS: (0, kernels.OPERATION_COLUMNS),
            kernels.T_DEPENDENTS: (0,),
            kernels.T_GROUPS: (16, 2),
            kernels.T_DONE: (chunk, kernels.DELIVERY_COLUMNS),
            kernels.T_SEEN: (SEEN_ROWS, 2),
            kernels.T_WORDS: (0, _waits.WORD_COLUMNS),
            kernels.T_STORES: (0, kernels.STORE_COLUMNS),
            kernels.T_PAST: (1024, _waits.PAST_COLUMNS),
            kernels.T_WAITERS: (0, _waits.WAITER_COLUMNS),
            kernels.T_MONITORS: (0,),
            kernels.T_EYES: (_waits.EYES_WORDS,),
        }
        for number, shape in empty.items():
            state[number] = np.zeros(shape, np.int64)
        state[kernels.T_BOOK] = _agenda.new_book()
        state[kernels.T_QUEUES] = np.full((links, 2), -1, np.int64)
        state[kernels.T_SERVERS], state[kernels.T_CURVES] = servers
        self.head = state[kernels.T_HEAD]
        self.head[[kernels.SPARE, kernels.PACKETS_MOST, kernels.AVAILABLE]] = -1, 1, 1024
        self.seen_rows = SEEN_ROWS
        """Rows of ``seen`` that one step may need, beside one for each open wait."""
        self._operations = 0
        self._spare = 64

    def make_room(self, *, messages: int = 0, operations: int = 0, largest: int = 0) -> None:
        """Make room for more messages, about how many if that is known, one of which may be of ``largest`` bytes, and
        for ``operations``, or items of waiters, on the agenda.

        Room that is never used costs no memory, but a table that grows is copied.
        """
        state, head, mtu = self.state, self.head, self.head.item(kernels.MTU)
        if mtu:
            head[kernels.PACKETS_MOST] = max(head.item(kernels.PACKETS_MOST), -(-largest // mtu))
        most = head.item(kernels.PACKETS_MOST)
        state.reserve(kernels.T_PAST, state[kernels.T_PAST].item(0, _waits.PAST_USED) + 2)
        if head.item(kernels.AVAILABLE) <= most + 1 + messages:
            before = len(state[kernels.T_MESSAGES])
            head[kernels.AVAILABLE] += len(state.reserve(kernels.T_MESSAGES, before + messages + most + 2)) - before
            self._follow()
        self._operations += operations
        head[kernels.RESERVED] = self._operations
        # Room for every operation that has not begun, so that whatever ends may let all others begin.
        book = state[kernels.T_BOOK]
        used = max(book.item(_agenda.LENGTH, 0), book.item(_agenda.FRONT_END, 0))
        for number in (kernels.T_ENTRIES, kernels.T_FRONT):
            state.reserve(number, used + self._spare + most + self._operations)

    def ended(self, operations: int) -> None:
        """Note that a schedule of so many operations, or so many items of waiters, has ended."""
        self._operations -= operations
        self.head[kernels.RESERVED] = self._operations

    def make_room_for_routes(self, routes: int) -> None:
        """Make room for ``routes`` routes in all."""

    def _follow(self) -> None:
        """Follow a table of messages that was replaced."""

    def payload(self, server: int, charged: Table) -> Table:
        """Return the bytes of messages that a server carried in each bin."""
        return charged

    def busy(self, server: int, bins: Table) -> Table:
        """Return how long a server was busy in each bin, ps."""
        return bins[:, 0]

    def stuck(self) -> str:
        """Return what waits for ever once nothing is due, in words, or nothing."""
        return ""

    def refuse(self, why: int) -> NoReturn:
        """Raise what a kernel found to be impossible."""
        raise SimulationError(
            f"a message sent before {self.head.item(kernels.WHERE)} ps would arrive after {LARGEST // 2} ps, the end "
            "of simulated time; its link is too slow for it"
        )


class Buffered(Policy):
    """`fifo` with finite buffers: a gate a server."""

    def __init__(self, servers: tuple[Table, Table], links: int, chunk: int, names: list[str], buffer: int) -> None:
        count = len(servers[0])
        super().__init__(servers, links, chunk + count, _buffers.advance)
        self._names = names
        self._spare = 2 * count + 64
        self.head[kernels.BUFFER] = buffer
        self.seen_rows += 2 * count
        self.state.reserve(kernels.T_SEEN, self.seen_rows)
        self._gates = np.full((count, _buffers.GATE_COLUMNS), -1, np.int64)
        self._gates[:, [_buffers.G_SENDING, _buffers.G_TAKEN, _buffers.G_HELD, _buffers.G_WAITS, _buffers.G_STARTS]] = 0
        self.state[kernels.T_GATES] = self._gates

    def stuck(self) -> str:
        """Return which links wait for room in each other's buffers, in words, or nothing."""
        (stuck,) = np.nonzero(self._gates[:, _buffers.G_WAITS])
        if not len(stuck):
            return ""
        names = ", ".join(self._names[server] for server in stuck[:4]) + (", ..." if len(stuck) > 4 else "")
        return (
            f"{len(stuck)} links wait for room in each other's buffers of {self.head.item(kernels.BUFFER)} B: "
            f"{names}; larger buffers, or routes without a cycle, would end that"
        )

    def refuse(self, why: int) -> NoReturn:
        """Raise what a kernel found to be impossible."""
        if why == kernels.TOO_LARGE:
            size, buffer, mtu = (self.head.item(word) for word in (kernels.WHERE, kernels.BUFFER, kernels.MTU))
            cut = f"packets of mtu {mtu} B" if mtu else "no mtu, so it stays whole"
            raise SimulationError(f"a message of {size} B ({cut}) fits no buffer of {buffer} B; set a smaller mtu")
        super().refuse(why)


_BY_ROUTE = (
    kernels.T_BUNDLES, kernels.T_AMOUNTS, kernels.T_KEYS, kernels.T_RANKED, kernels.T_CHOSEN, kernels.T_CHANGED,
)  # fmt: skip


class Fluid(Policy):
    """`fair`: bundles of flows, ports with their measures, and the scratch lists of the solver."""

    def __init__(self, servers: tuple[Table, Table], links: int, chunk: int, bandwidths: list[int]) -> None:
        super().__init__(servers, links, chunk, _shares.advance)
        state, count = self.state, len(bandwidths)
        state[kernels.T_FLUID] = np.zeros(_maxmin.FLUID_WORDS, np.int64)
        state[kernels.T_PORTS] = np.zeros((count, _maxmin.PORT_COLUMNS), np.int64)
        state[kernels.T_PORTS][:, _maxmin.P_FIRST] = -1
        state[kernels.T_MEASURES] = np.zeros((count, _maxmin.MEASURE_COLUMNS))
        state[kernels.T_MEASURES][:, _maxmin.CAPACITY] = np.array(bandwidths, np.int64) / 10**12
        for number in (kernels.T_DIRTY, kernels.T_LINKS, kernels.T_FILLING):
            state[number] = np.zeros(count, np.int64)
        state[kernels.T_LEVELS] = np.zeros(count)
        state[kernels.T_COUNTS], state[kernels.T_CLOCK] = np.zeros(2, np.int64), np.zeros(1)
        state[kernels.T_BUNDLES] = np.zeros((0, _maxmin.BUNDLE_COLUMNS), np.int64)
        state[kernels.T_AMOUNTS], state[kernels.T_KEYS] = np.zeros((0, _maxmin.AMOUNT_COLUMNS)), np.zeros(0)
        for number in (kernels.T_RANKED, kernels.T_CHOSEN, kernels.T_CHANGED):
            state[number] = np.zeros(0, np.int64)
        self._follow()

    def make_room_for_routes(self, routes: int) -> None:
        """Make room for ``routes`` routes, a bundle each."""
        for number in _BY_ROUTE:
            self.state.reserve(number, routes)

    def payload(self, server: int, charged: Table) -> Table:
        """Return the bytes of messages that a server carried in each bin, in proportion to those it was charged with.

        Model: where efficiency depends on size, messages of all sizes are taken to be spread alike over the bins.
        """
        ended, had = self.state[kernels.T_PORTS][server, [_maxmin.P_TOTAL, _maxmin.P_PAYLOAD]].tolist()
        if ended == had:
            return charged
        # Where nothing was charged nothing was carried: Python's integers, which are slow, are for the other bins.
        (used,) = np.nonzero(charged)
        reached = [total * had // ended for total in np.cumsum(charged[used]).tolist()]
        carried = np.zeros_like(charged)
        carried[used] = np.diff(np.array([0, *reached], np.int64))
        return carried

    def busy(self, server: int, bins: Table) -> Table:
        """Return how long what a server was charged with in each bin takes at its full rate, ps: flows that another
        link holds up leave it idle in part, though some flow was on it all the time."""
        num, den = self.state[kernels.T_SERVERS][server, [kernels.NUM, kernels.DEN]].tolist()
        # Bytes of a bin are rounded down; with one more, a link that is full is busy all the time.
        needed: Table = np.ceil((bins[:, 1] + 1) * (num / den)).astype(np.int64)
        return np.minimum(needed, bins[:, 0], dtype=np.int64)

    def _follow(self) -> None:
        self.state[kernels.T_MARKS] = self.state[kernels.T_MESSAGES].view(np.float64)


def choose(
    sharing: Sharing, queues: Queues, servers: tuple[Table, Table], topology: Topology, chunk: int, ports: int
) -> Policy:
    """Return the policy by name, its switches set in the head; of ``servers`` so many are memory ports."""
    links = len(topology.links) + ports
    if ports and (sharing != "fifo" or queues.buffer is not None):
        raise SimulationError("memory ports are shared under 'fifo' with endless queues only")
    if sharing == "fair":
        return Fluid(servers, links, chunk, [server.bandwidth for server in topology.servers])
    if sharing == "ideal":
        policy = Policy(servers, links, chunk)
        policy.head[kernels.ALONE] = 1
        return policy
    if queues.buffer is not None:
        policy = Buffered(servers, links, chunk, [server.name for server in topology.servers], queues.buffer)
    else:
        policy = Policy(servers, links, chunk)
    policy.head[kernels.CUT_THROUGH] = queues.switching == "cut_through"
    policy.head[kernels.MTU] = queues.mtu or 0
    return policy


def on_disk(sharing: Sharing, queues: Queues) -> bool:
    """Return whether an earlier process left compiled code of a policy where numba will look for it."""
    loops: Any = _shares if sharing == "fair" else _buffers if queues.buffer is not None else _queues
    stored = getattr(loops.advance._cache, "_cache_file", None)
    return stored is None or bool(stored._load_index())
