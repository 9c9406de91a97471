"""The state of the data plane, and the three ways to advance it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from simcore.errors import Deadlock, SimulationError
from simcore.fabric import _agenda, _buffers, _queues, _shares
from simcore.fabric import _kernels as kernels
from simcore.fabric._store import Table, grown
from simcore.hardware import Queues, Sharing
from simcore.topology import Topology
from simcore.units import LARGEST

SEEN_ROWS = 1024
PATH_LINKS = 4096
"""Links of the longest path over which packets are followed."""


@dataclass
class State:
    """The integer tables of `_kernels`; each is replaced by a longer one where more rows are needed."""

    head: Table
    book: Table
    entries: Table
    front: Table
    messages: Table
    queues: Table
    hops: Table
    servers: Table
    curves: Table
    bins: Table
    scratch: Table
    pending: Table
    runs: Table
    operations: Table
    dependents: Table
    groups: Table
    done: Table
    seen: Table

    @classmethod
    def new(cls, servers: tuple[Table, Table], links: int, chunk: int) -> Self:
        """Return the state of an empty fabric."""

        def empty(*shape: int) -> Table:
            return np.zeros(shape, np.int64)

        head = empty(kernels.HEAD_WORDS)
        head[kernels.SPARE], head[kernels.PACKETS_MOST] = -1, 1
        head[kernels.AVAILABLE] = 1024
        items = 2 * links + 1024
        return cls(
            head=head, book=_agenda.new_book(), entries=empty(items, _agenda.ENTRY_COLUMNS), front=empty(items, 2),
            messages=empty(1024, kernels.MESSAGE_COLUMNS), queues=np.full((links, 2), -1, np.int64),
            hops=empty(1024, kernels.HOP_COLUMNS), servers=servers[0], curves=servers[1], bins=empty(0, 0, 2),
            scratch=empty(PATH_LINKS, 3), pending=empty(kernels.PENDING_ROWS, 0), runs=empty(16, 2),
            operations=empty(0, kernels.OPERATION_COLUMNS), dependents=empty(0), groups=empty(16, 2),
            done=empty(chunk, kernels.DELIVERY_COLUMNS), seen=empty(SEEN_ROWS, 2),
        )  # fmt: skip

    def reserve_hops(self, count: int) -> None:
        """Make the table of hops long enough for ``count``."""
        self.hops = grown(self.hops, count)


class Policy:
    """Queues, endless or not, and `ideal`: the state is all there is."""

    def __init__(self, state: State, kernel: Any) -> None:
        self.state, self._kernel = state, kernel
        self._operations = 0
        self._spare = 64

    def make_room(self, largest: int, mtu: int, operations: int = 0) -> None:
        """Make room for one more message, the largest of ``largest`` bytes, and for ``operations`` on the agenda."""
        state = self.state
        head, book = state.head, state.book
        packets = -(-largest // mtu)
        if packets > head[kernels.PACKETS_MOST]:
            head[kernels.PACKETS_MOST] = packets
        most = head.item(kernels.PACKETS_MOST)
        if head.item(kernels.AVAILABLE) <= most + 1:
            before = len(state.messages)
            state.messages = grown(state.messages, before + most + 2)
            head[kernels.AVAILABLE] += len(state.messages) - before
            self._follow()
        self._operations += operations
        # Room for every operation that has not begun, so that whatever ends may let all others begin.
        need = (
            max(book.item(_agenda.LENGTH, 0), book.item(_agenda.FRONT_END, 0)) + self._spare + most + self._operations
        )
        if need > len(state.entries):
            state.entries, state.front = grown(state.entries, need), grown(state.front, need)

    def ended(self, operations: int) -> None:
        """Note that a schedule of so many operations has ended."""
        self._operations -= operations

    def make_room_for_routes(self, routes: int) -> None:
        """Make room for ``routes`` routes in all."""

    def _follow(self) -> None:
        """Follow a table of messages that was replaced."""

    def advance(self, limit: int, settled: int) -> tuple[int, int]:
        """Run the kernel; see `_queues.advance`."""
        s = self.state
        why, due = self._kernel(
            s.head, s.book, s.entries, s.front, s.messages, s.queues, s.hops, s.servers, s.curves, s.bins, s.scratch,
            s.pending, s.runs, s.operations, s.dependents, s.groups, s.done, s.seen, limit, settled,
        )  # fmt: skip
        return why, due

    def refuse(self, why: int, instant: int) -> NoReturn:
        """Raise what a kernel found to be impossible."""
        raise SimulationError(
            f"a message sent before {instant} ps would arrive after {LARGEST // 2} ps, the end of simulated time; its "
            "link is too slow for it"
        )


class Buffered(Policy):
    """`fifo` with finite buffers: a gate a server."""

    def __init__(self, state: State, topology: Topology) -> None:
        super().__init__(state, _buffers.advance)
        self._names = [server.name for server in topology.servers]
        self._spare = 2 * len(state.servers) + 64
        state.done = np.zeros((len(state.done) + len(state.servers), kernels.DELIVERY_COLUMNS), np.int64)
        state.seen = np.zeros((SEEN_ROWS + 2 * len(state.servers), 2), np.int64)
        self._gates = np.full((len(state.servers), _buffers.GATE_COLUMNS), -1, np.int64)
        self._gates[:, [_buffers.G_SENDING, _buffers.G_TAKEN, _buffers.G_HELD, _buffers.G_WAITS, _buffers.G_STARTS]] = 0

    def advance(self, limit: int, settled: int) -> tuple[int, int]:
        """Run the kernel; see `_buffers.advance`. Raises ``Deadlock`` when every packet waits for another."""
        s = self.state
        why, due = self._kernel(
            s.head, s.book, s.entries, s.front, s.messages, s.queues, s.hops, s.servers, s.curves, s.bins, s.scratch,
            s.pending, s.runs, s.operations, s.dependents, s.groups, s.done, s.seen, self._gates, limit, settled,
        )  # fmt: skip
        if why == kernels.ENOUGH and due < 0:
            (stuck,) = np.nonzero(self._gates[:, _buffers.G_WAITS])
            if len(stuck):
                names = ", ".join(self._names[server] for server in stuck[:4]) + (", ..." if len(stuck) > 4 else "")
                raise Deadlock(
                    f"{len(stuck)} links wait for room in each other's buffers of {int(s.head[kernels.BUFFER])} B: "
                    f"{names}; larger buffers, or routes without a cycle, would end that"
                )
        return why, due

    def refuse(self, why: int, instant: int) -> NoReturn:
        """Raise what a kernel found to be impossible; for a packet too large, ``instant`` is its size."""
        if why == kernels.TOO_LARGE:
            buffer, mtu = int(self.state.head[kernels.BUFFER]), int(self.state.head[kernels.MTU])
            cut = f"packets of mtu {mtu} B" if mtu else "no mtu, so it stays whole"
            raise SimulationError(f"a message of {instant} B ({cut}) fits no buffer of {buffer} B; set a smaller mtu")
        super().refuse(why, instant)


class Fluid(Policy):
    """`fair`: bundles of flows, ports with their measures, and the scratch lists of the solver."""

    def __init__(self, state: State, topology: Topology) -> None:
        super().__init__(state, _shares.advance)
        count = len(topology.servers)
        self._fluid = np.zeros(_shares.FLUID_WORDS, np.int64)
        self._ports = np.zeros((count, _shares.PORT_COLUMNS), np.int64)
        self._ports[:, _shares.P_FIRST] = -1
        self._measures = np.zeros((count, _shares.MEASURE_COLUMNS))
        self._measures[:, _shares.CAPACITY] = [server.bandwidth / 10**12 for server in topology.servers]
        self._dirty, self._links, self._filling = (np.zeros(count, np.int64) for _ in range(3))
        self._levels = np.zeros(count)
        self._counts, self._clock = np.zeros(2, np.int64), np.zeros(1)
        self._bundles = np.zeros((0, _shares.BUNDLE_COLUMNS), np.int64)
        self._amounts = np.zeros((0, _shares.AMOUNT_COLUMNS))
        self._keys, self._ranked, self._chosen = np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._follow()

    def make_room_for_routes(self, routes: int) -> None:
        """Make room for ``routes`` routes, a bundle each."""
        if routes > len(self._bundles):
            self._bundles = grown(self._bundles, routes)
            self._amounts, self._keys = grown(self._amounts, routes), grown(self._keys, routes)
            self._ranked, self._chosen = grown(self._ranked, routes), grown(self._chosen, routes)

    def _follow(self) -> None:
        self._marks = self.state.messages.view(np.float64)

    def advance(self, limit: int, settled: int) -> tuple[int, int]:
        """Run the kernel; see `_shares.advance`."""
        s = self.state
        why, due = self._kernel(
            s.head, s.book, s.entries, s.front, s.messages, s.queues, s.hops, s.servers, s.curves, s.bins, s.scratch,
            s.pending, s.runs, s.operations, s.dependents, s.groups, s.done, s.seen, self._fluid, self._marks,
            self._bundles, self._amounts, self._ports, self._measures, self._keys, self._ranked, self._dirty,
            self._chosen, self._links, self._levels, self._filling, self._counts, self._clock, limit, settled,
        )  # fmt: skip
        return why, due


def choose(sharing: Sharing, queues: Queues, state: State, topology: Topology) -> Policy:
    """Return the policy by name, its switches set in the head."""
    state.head[kernels.ALONE] = sharing == "ideal"
    if sharing == "fair":
        return Fluid(state, topology)
    if sharing == "fifo":
        state.head[kernels.CUT_THROUGH] = queues.switching == "cut_through"
        state.head[kernels.MTU] = queues.mtu or 0
        if queues.buffer is not None:
            state.head[kernels.BUFFER] = queues.buffer
            return Buffered(state, topology)
    return Policy(state, _queues.advance)


def on_disk() -> bool:
    """Return whether an earlier process left compiled code where numba will look for it."""
    dispatcher: Any = _queues.advance
    return any(Path(dispatcher._cache.cache_path).glob("_queues.advance*.nbi"))
