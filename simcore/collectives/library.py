"""What the library of a machine adds to its collectives: launching on every rank, and filling the pipeline."""

from collections.abc import Callable, Sequence

from simcore.errors import InputError
from simcore.hardware import CollectiveCost
from simcore.schedule import Schedule
from simcore.topology import Topology
from simcore.units import PS_PER_S


class Library:
    """The library that runs collectives on ``topology``, for ranks of which rank r is on GPU ``gpus[r]``.

    Model: what it adds is spent by every rank on its compute stream before its first byte leaves: the launch, and
    2 sqrt(fill x), where x is the time that the bytes alone take.
    """

    def __init__(self, cost: CollectiveCost, topology: Topology, gpus: Sequence[int]) -> None:
        self._cost, self._topology, self._gpus = cost, topology, gpus

    def around(self, schedule: Schedule, ranks: Sequence[int]) -> Schedule:
        """Return ``schedule``, whose rank i is ``ranks[i]``, with what the library adds to it."""
        begin, fill = self._cost.launch, self._cost.fill
        if fill:
            begin = round(begin + 2 * (fill * self._drain(schedule, [self._gpus[rank] for rank in ranks])) ** 0.5)
        return launched(schedule, len(ranks), begin) if begin else schedule

    def _drain(self, schedule: Schedule, gpus: Sequence[int]) -> float:
        """Return the time in ps that the bytes of a schedule alone take: those of the busiest link, at the efficiency
        of its largest messages, and then the last piece on its way down from a switch that adds."""
        import numpy as np

        topology = self._topology
        moves = schedule.rank != schedule.peer
        if not moves.any():
            return 0.0
        # Reducing switches count down from -1, so Python's way of counting from the end finds them.
        ends = np.array([*gpus, *range(topology.endpoints - 1, topology.gpus - 1, -1)], np.int64)
        pairs = ends[schedule.rank[moves]] * topology.endpoints + ends[schedule.peer[moves]]
        pairs, which = np.unique(pairs, return_inverse=True)
        size = np.bincount(which, schedule.size[moves])
        begin, links = topology.routes(*np.divmod(pairs, topology.endpoints))
        wires = [(server.bandwidth, *(server.wire or ((1, 1),))[-1]) for server in topology.servers]
        rates = np.array([bandwidth * sent / charged for bandwidth, sent, charged in wires])
        server = np.array([link.server for link in topology.links])[links]
        busy = np.bincount(server, np.repeat(size, np.diff(begin)) / rates[server])
        last = schedule.size[schedule.rank < 0].max(initial=0) / rates[server].min()
        return float(busy.max() + last) * PS_PER_S


def adds_in_switches(algorithm: str, inner: str) -> bool:
    """Return whether a collective of this form needs `reducers`."""
    return algorithm == "in_switch" or (inner == "in_switch" and algorithm in ("hierarchical", "rail_aligned"))


def reducers(
    ranks: Sequence[int], nodes: int, reducer_of: Callable[[int], int | None], machine: str = "the machine"
) -> tuple[int, ...]:
    """Return the reducing switch of each of ``nodes`` blocks of ``ranks``; raises ``InputError`` where no switch
    reduces or where a block is not within one node."""
    block = max(1, len(ranks) // max(1, nodes))
    found = []
    for i in range(0, len(ranks), block):
        each = [reducer_of(rank) for rank in ranks[i : i + block]]
        if each[0] is None:
            raise InputError(
                f"in_switch: no switch of {machine} reduces; "
                "machine.topology: {family: switch, in_switch_reduction: true} gives it one"
            )
        if len(set(each)) > 1:
            stranger = ranks[i + next(k for k, one in enumerate(each) if one != each[0])]
            raise InputError(f"in_switch: rank{ranks[i]} and rank{stranger} are on different nodes")
        found.append(each[0])
    return tuple(found)


def launched(schedule: Schedule, ranks: int, duration: int) -> Schedule:
    """Return ``schedule`` with a computation of ``duration`` ps on each rank, for which everything waits that the rank
    would have begun at once."""
    import numpy as np

    first = np.arange(ranks)
    waits = np.diff(schedule.after_begin)
    # One dependency more in each row that had none: on the launch of the rank (a switch launches nothing) that sends.
    free = (waits == 0) & (schedule.rank >= 0)
    where = schedule.after_begin[:-1][free]
    after = np.insert(schedule.after + ranks, where, schedule.rank[free])
    begin = np.concatenate([np.zeros(ranks + 1, np.int64), np.cumsum(waits + free)])
    nothing = np.zeros(ranks, np.int64)
    return Schedule(
        np.concatenate([first, schedule.rank]),
        np.concatenate([first, schedule.peer]),
        np.concatenate([nothing, schedule.size]),
        np.concatenate([np.full(ranks, duration), schedule.duration]),
        begin,
        after,
    )
