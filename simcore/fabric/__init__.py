"""The links: messages in, one event at each instant at which a process must know; policies `ideal` and `fifo`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray
from simpy.events import Event

from simcore.errors import SimulationError
from simcore.fabric import _kernels as kernels
from simcore.hardware import Sharing
from simcore.simulation import COMPLETION, SETTLE, Simulation
from simcore.topology import Topology
from simcore.trace import CHUNK, Recorder
from simcore.units import LARGEST, PS_PER_S

KINDS = ("data", "flag")

MOST_BINS = 4_096
"""Bins of a link's utilisation; when simulated time passes the last one, pairs merge and a bin doubles."""
BIN_WORDS = 2**23
"""Words that the bins of all links may take together; machines with very many links get fewer bins a link."""

Column = NDArray[np.int64]


@dataclass(frozen=True)
class Writes:
    """Stamped one-sided writes of one rank: parallel columns of issue instants (ps), destination ranks, sizes (bytes),
    flags, names."""

    time: Column
    dst: Column
    size: Column
    flag: NDArray[np.bool_]
    what: Sequence[str]


class Fabric:
    """Carries messages between ranks over shared links; ``gpus[rank]`` is the GPU that hosts a rank.

    ``fifo``: every link serves whole messages one after another (store and forward), in the order (arrival, source
    rank, source sequence). ``ideal``: every message travels as if alone, except that messages of one pair arrive in the
    order sent.

    Model: a message is its payload, without headers or packets; buffers are infinite; a link serves one message at a
    time.
    """

    def __init__(
        self, simulation: Simulation, topology: Topology, sharing: Sharing, recorder: Recorder, gpus: Sequence[int]
    ) -> None:
        self._simulation, self._topology, self._recorder = simulation, topology, recorder
        self._queueing = sharing == "fifo"
        self._gpus = gpus
        self._servers = np.zeros((len(topology.servers), kernels.SERVER_COLUMNS), np.int64)
        for row, server in zip(self._servers, topology.servers, strict=True):
            common = gcd(PS_PER_S, server.bandwidth)
            row[kernels.NUM], row[kernels.DEN] = PS_PER_S // common, server.bandwidth // common
        count = MOST_BINS
        while count > 64 and 2 * count * len(topology.servers) > BIN_WORDS:
            count //= 2
        self._bins = np.zeros((len(topology.servers), count, 2), np.int64)
        self._hops = np.zeros((64, kernels.HOP_COLUMNS), np.int64)
        self._hop_count = 0
        self._routes: dict[tuple[int, int], tuple[int, int]] = {}
        self._messages = np.zeros((1024, kernels.MESSAGE_COLUMNS), np.int64)
        self._heap = np.zeros(1024, np.int64)
        self._rows = 0
        self._head = np.zeros(2, np.int64)
        self._done = np.zeros(CHUNK, np.int64)
        self._sequence = [0] * len(gpus)
        self._names: dict[str, int] = {}
        self._injected: list[Column] = []
        self._settled = -1
        self._on_arrival: dict[tuple[int, int], Callable[[], object]] = {}
        self._in_flight = 0
        self._delivered: list[Column] = []
        self._undescribed = 0
        self.next_due = LARGEST
        simulation.attach(self)

    def send(self, src: int, dst: int, size: int, what: str, *, flag: bool = False) -> Event:
        """Send one message of ``size`` bytes now; the event happens when its last byte is in the destination's
        memory."""
        arrived = Event(self._simulation)
        now = np.array([self._simulation.now])
        writes = Writes(now, np.array([dst]), np.array([size]), np.array([flag]), [what])
        self.send_many(src, writes, {0: arrived.succeed})
        return arrived

    def send_many(self, src: int, writes: Writes, on_arrival: Mapping[int, Callable[[], object]] | None = None) -> None:
        """Send a table of stamped writes, none of them in the past, each to be issued at its own instant.

        ``on_arrival[row]`` is called at the instant at which that row has arrived, before any process of that instant;
        rows without it are carried and recorded without an event.
        """
        count = len(writes.time)
        if not count:
            return
        if writes.time.min() < self._simulation.now:
            raise SimulationError(
                f"rank {src} sends at {writes.time.min()} ps, in the past of {self._simulation.now} ps"
            )
        if writes.size.min() < 0:
            raise SimulationError(f"rank {src} sends a message of {writes.size.min()} bytes")
        rows = np.zeros((count, kernels.MESSAGE_COLUMNS), np.int64)
        rows[:, kernels.TIME] = rows[:, kernels.ISSUED] = writes.time
        rows[:, kernels.SOURCE], rows[:, kernels.DESTINATION] = src, writes.dst
        first = self._sequence[src]
        rows[:, kernels.SEQUENCE] = np.arange(first, first + count)
        self._sequence[src] += count
        rows[:, kernels.SIZE], rows[:, kernels.KIND] = writes.size, writes.flag
        rows[:, kernels.WHAT] = [self._names.setdefault(what, len(self._names)) for what in writes.what]
        for dst in np.unique(writes.dst):
            chosen = writes.dst == dst
            rows[chosen, kernels.NEXT_HOP], rows[chosen, kernels.HOPS_LEFT] = self._route(src, int(dst))
        for row, call in (on_arrival or {}).items():
            rows[row, kernels.VISIBLE] = 1
            self._on_arrival[src, first + row] = call
        if not self._injected:
            settle = Event(self._simulation)
            settle._ok, settle._value = True, None
            settle.callbacks = [self._settle]
            self._simulation.schedule(settle, SETTLE)
        self._injected.append(rows)
        self._simulation.horizon = max(self._simulation.horizon, int(writes.time.max()))

    def _route(self, src: int, dst: int) -> tuple[int, int]:
        """Return where the hops from rank ``src`` to rank ``dst`` begin in the table of hops, and how many they are."""
        pair = (self._gpus[src], self._gpus[dst])
        if pair not in self._routes:
            if pair[0] == pair[1]:
                raise SimulationError(
                    f"rank {src} sends to rank {dst} on its own GPU, gpu{pair[0]}; there is no link to itself"
                )
            links = [self._topology.links[index] for index in self._topology.route(*pair)]
            begin = self._hop_count
            self._hop_count += len(links)
            self._hops = _grown(self._hops, self._hop_count)
            self._hops[begin : self._hop_count] = [(link.server, link.latency, 0) for link in links]
            self._routes[pair] = (begin, len(links))
        return self._routes[pair]

    def _settle(self, _: Event) -> None:
        """Admit everything that was sent at this instant, whatever the order in which the processes ran."""
        rows = np.concatenate(self._injected)
        self._injected.clear()
        if not self._in_flight:
            self._rows = 0
        first = self._rows
        self._rows += len(rows)
        self._in_flight += len(rows)
        self._messages = _grown(self._messages, self._rows)
        self._heap = _grown(self._heap, self._rows)
        self._messages[first : self._rows] = rows
        self.next_due = int(kernels.admit(self._messages, self._heap, self._head, first, self._rows))
        self._settled = self._simulation.now

    def advance(self, limit: int) -> None:
        """Compute up to ``limit``, or to the first instant at which somebody must know, and schedule that instant as
        one event."""
        while True:
            count, visible, left = kernels.advance(
                self._messages, self._heap, self._head, self._servers, self._hops, self._bins, self._done,
                limit, self._settled, self._queueing,
            )  # fmt: skip
            self.next_due = LARGEST if left < 0 else left
            if visible == kernels.OVERFLOW:
                raise SimulationError(
                    f"a message sent before {left} ps would arrive after {LARGEST // 2} ps, the end of "
                    "simulated time; its link is too slow for it"
                )
            done = self._messages[self._done[:count]]
            self._in_flight -= count
            self._delivered.append(done)
            self._undescribed += count
            if self._undescribed >= CHUNK:
                self._record_transfers()
            if visible >= 0:
                self._announce(done, int(visible))
                limit = int(visible)
                if count < len(self._done):
                    return
            elif count < len(self._done):
                return

    def _announce(self, done: Column, instant: int) -> None:
        calls = [
            self._on_arrival.pop((src, seq))
            for src, seq, seen in done[:, [kernels.SOURCE, kernels.SEQUENCE, kernels.VISIBLE]].tolist()
            if seen
        ]
        arrival = Event(self._simulation)
        arrival._ok, arrival._value = True, None
        arrival.callbacks = [lambda _, call=call: call() for call in calls]  # type: ignore[misc]
        self._simulation.schedule(arrival, COMPLETION, instant - self._simulation.now)

    def _record_transfers(self) -> None:
        done = np.concatenate([np.zeros((0, kernels.MESSAGE_COLUMNS), np.int64), *self._delivered])
        self._delivered.clear()
        self._undescribed = 0
        self._recorder.extend(
            "transfers",
            {
                "src": done[:, kernels.SOURCE].astype(np.int32),
                "dst": done[:, kernels.DESTINATION].astype(np.int32),
                "sequence": done[:, kernels.SEQUENCE],
                "size_bytes": done[:, kernels.SIZE],
                "kind": np.array(KINDS, object)[done[:, kernels.KIND]],
                "issued_ps": done[:, kernels.ISSUED],
                "arrived_ps": done[:, kernels.TIME],
                "queued_ps": done[:, kernels.TIME] - done[:, kernels.ISSUED] - done[:, kernels.ALONE],
                "what": np.array([*self._names, ""], object)[done[:, kernels.WHAT]],
            },
        )

    def record(self) -> None:
        """Hand the recorder what it has not seen: the last deliveries, and the utilisation of every link that carried
        something."""
        self._record_transfers()
        width = 1 << int(self._head[kernels.SHIFT])
        for index, server in enumerate(self._topology.servers):
            (used,) = np.nonzero(self._bins[index].any(axis=1))
            if len(used):
                self._recorder.extend(
                    "links",
                    {
                        "link": [server.name] * len(used),
                        "t0_ps": used * width,
                        "t1_ps": (used + 1) * width,
                        "busy_ps": self._bins[index, used, 0],
                        "size_bytes": self._bins[index, used, 1],
                    },
                )


def _grown(array: Column, length: int) -> Column:
    """Return ``array`` with room for ``length`` rows, doubled where it was too short."""
    if length <= len(array):
        return array
    grown = np.zeros((max(length, 2 * len(array)), *array.shape[1:]), np.int64)
    grown[: len(array)] = array
    return grown


def compiled() -> bool:
    """Return whether the compiled loops are on disk already, so that the next run starts at once."""
    return kernels.on_disk()
