"""How the weights of replicas come to the GPUs that need them: two paths, from GPU to GPU or from a host's memory, as
messages over the links of the machine, which they share with the exchange of tokens."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numba import njit

from simcore import Rank, Schedule

from .placement import Counts

Path = Literal["dual", "cpu", "gpu", "split"]
Stage = Literal["recompute", "update"]


@dataclass(frozen=True)
class Transfers:
    """``path`` of replicas' weights: ``cpu`` from the memory of a host, ``gpu`` from the GPU that is the expert's home,
    ``dual`` from hosts, over links that no tokens use, what will be there in time, and of the rest each on the path on
    which it ends first, by estimate; ``split`` from hosts in recompute and from GPUs in the update.
    ``copies``: in which hosts an expert's weights are, of all nodes of its EP group (everywhere) or of its home alone.

    Replicas of ``buffers`` layers have room on a GPU at once: weights come while the layers before are computed, with
    1 when the experts before have ended. ``gradient``: bytes of a replica's gradients, in multiples of its weights,
    that go home in backward. Without ``fan_out`` no two of a layer's transfers share a source as far as
    there are GPUs enough, whether the expert is there or not (`spread`); hosts are read beside the destination.

    ``drop``: a layer whose last weights, or gradients, would come too late by estimate does without the replicas that
    are not worth the wait.
    """

    path: Path = "dual"
    copies: Literal["everywhere", "home"] = "everywhere"
    buffers: int = 2
    gradient: int = 2
    fan_out: bool = True
    drop: bool = True

    @property
    def reads_hosts(self) -> bool:
        """Whether any transfer reads the memory of a host."""
        return self.path != "gpu"

    @property
    def estimates(self) -> bool:
        """Whether it is estimated when weights come."""
        return self.drop or self.path == "dual"


@dataclass(frozen=True)
class Speeds:
    """How long one expert's weights take on the idle machine, ps: to another GPU of the node, to one of another node,
    from the node's host, and for each of many that leave the host at once; 0 where hosts are not read."""

    near: int
    far: int
    host: int
    memory: int


def measure(
    rank: Rank, ranks: Sequence[int], per_node: int, size: int, hosts: bool
) -> Generator[Any, Any, Speeds]:  # fmt: skip
    """Send one message of ``size`` bytes along each path, one after another, and then one to every GPU of the first
    node from its host, while nothing else is on the links; nothing from ``hosts`` that are not read."""
    group = list(ranks)
    node = group[:per_node]
    took = []
    ways = [[(0, 1)] if per_node > 1 else [], [(0, per_node)] if len(group) > per_node else []]
    read = node if hosts else []
    ways += [[(rank.host(each), place) for place, each in enumerate(some)] for some in (read[:1], read)]
    for pairs in ways:
        begin = rank.now
        if pairs:
            yield from rank.play(messages(pairs, [size] * len(pairs)), "measure", ranks=group)
        took.append(rank.now - begin)
    near, far, host, together = took
    return Speeds(near or far, far or near, host, together // len(node))


def messages(pairs: Sequence[tuple[int, int]], sizes: Sequence[int]) -> Schedule:
    """Return the schedule of messages that all begin at once."""
    src, dst = np.array(pairs, np.int64).T
    nothing = np.zeros(len(pairs), np.int64)
    begin = np.zeros(len(pairs) + 1, np.int64)
    return Schedule(src.copy(), dst.copy(), np.array(sizes, np.int64), nothing, begin, np.zeros(0, np.int64))


class Ways(NamedTuple):
    """The messages, source and destination [n, 2], of each of ``moves`` [n, 3] (expert, from, to) on either path, and
    which may be taken: ``both``, or the one. What may not is any."""

    moves: Counts
    from_hosts: Counts
    direct: Counts
    allowed: int

    def only(self, left: Any) -> "Ways":
        """Return the ways of some of the moves."""
        return Ways(self.moves[left], self.from_hosts[left], self.direct[left], self.allowed)


class Choice(NamedTuple):
    """The messages [n, 2] by which weights come, a source below zero is a host; when each has come, ps after all may
    begin, and the last of them, by estimate; 0 where there is none."""

    messages: Counts
    ends: Counts
    latest: int


BOTH, HOSTS, GPUS = range(3)
NOTHING = Choice(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), 0)


class Paths:
    """Chooses the path of every transfer of an EP group of ``ranks`` ranks; ``hosts`` [R] stand in schedules for the
    memory beside each of them, where hosts are read. Without ``speeds`` nothing is estimated, and chosen neither."""

    def __init__(
        self, about: Transfers, ranks: int, per_node: int, hosts: Sequence[int], speeds: Speeds | None
    ) -> None:  # fmt: skip
        self._about, self._ranks, self._per_node = about, ranks, per_node
        self._hosts, self._speeds = np.array(hosts, np.int64), speeds
        self._local = about.copies == "everywhere" or not about.fan_out

    def ways(self, moves: Counts, stage: Stage) -> Ways:
        """Return the messages of ``moves`` [n, 3] (expert, from, to) on the paths that they may take."""
        path = self._about.path
        if path == "split":
            path = "cpu" if stage == "recompute" else "gpu"
        if path == "gpu":
            direct = self.from_gpus(moves)
            return Ways(moves, direct, direct, GPUS)
        from_hosts = self._from_hosts(moves)
        if path == "cpu":
            return Ways(moves, from_hosts, from_hosts, HOSTS)
        return Ways(moves, from_hosts, self.from_gpus(moves), BOTH)

    def choose(self, ways: Ways, window: int) -> Choice:
        """Return the messages for moves that a layer needs together ``window`` ps after they may begin."""
        if not len(ways.moves):
            return NOTHING
        speeds = self._speeds
        if speeds is None:
            return Choice(ways.direct if ways.allowed == GPUS else ways.from_hosts, NOTHING.ends, 0)
        return Choice(*assign(
            ways.moves, ways.from_hosts, ways.direct, ways.allowed, self._ranks, self._per_node, self._local,
            speeds.near, speeds.far, speeds.host, speeds.memory, window,
        ))  # fmt: skip

    def from_gpus(self, moves: Counts) -> Counts:
        """Return source and destination of the messages of ``moves``, all from GPU to GPU."""
        return moves[:, 1:] if self._about.fan_out else spread(moves[:, 1:], self._ranks, self._per_node)

    def _from_hosts(self, moves: Counts) -> Counts:
        source, target = moves[:, 1], moves[:, 2]
        if not self._local:
            far = source // self._per_node != target // self._per_node
            return np.stack([self._hosts[np.where(far, source, target)], target], axis=1)
        return np.stack([self._hosts[target], target], axis=1)


@njit(cache=True)
def assign(
    moves: Any, from_hosts: Any, direct: Any, allowed: int, ranks: int, per_node: int, local: bool,
    near: int, far: int, host: int, memory: int, window: int,
) -> Any:  # fmt: skip
    """Give each transfer in turn the path of the host if it would end there within the ``window``, else that on which
    it would end first, after those before it that share its links, of those ``allowed``; ``from_hosts`` and ``direct``
    are its messages on the two, ``local`` says that it is the host of its destination that is read. Return the fields
    of a `Choice`.

    Model: estimates know of nothing else on the links.
    """
    # What links are busy with: NVLink out and in, network out and in, host to GPU; and the memories of hosts.
    busy = np.zeros((5, ranks), np.int64)
    memories = np.zeros(ranks // per_node, np.int64)
    found, ends, latest = np.empty((len(moves), 2), np.int64), np.empty(len(moves), np.int64), 0
    for index in range(len(moves)):
        source, target = moves[index, 1], moves[index, 2]
        home, there = source // per_node, target // per_node
        beside = local or home == there
        read = there if beside else home
        late = memories[read] + memory
        if beside:
            late = max(late, busy[4, target] + host)
        else:
            late = max(late, busy[2, source] + far, busy[3, target] + far)
        sender = direct[index, 0]
        way, each = (0, near) if home == there else (2, far)
        soon = max(busy[way, sender], busy[way + 1, target]) + each
        if allowed == GPUS or (allowed == BOTH and late > window and late > soon):
            busy[way, sender] += each
            busy[way + 1, target] += each
            found[index], ends[index] = direct[index], soon
            latest = max(latest, soon)
            continue
        memories[read] += memory
        if beside:
            busy[4, target] += host
        else:
            busy[2, source] += far
            busy[3, target] += far
        found[index], ends[index] = from_hosts[index], late
        latest = max(latest, late)
    return found, ends, latest


def spread(ends: Counts, ranks: int, per_node: int) -> Counts:
    """Return transfers between GPUs, source and destination [n, 2], with other sources, as little shared as can be:
    none serves two transfers if that can be avoided, else none three, and so on. What came from the node of its
    destination still does.

    Transfers take seats at sources (Kuhn's augmenting paths), in order, and in every round there is one seat more.
    """
    pairs: list[tuple[int, int]] = [(source, target) for source, target in ends.tolist()]
    seats: dict[int, list[int]] = {}
    room = 1

    def candidates(source: int, target: int) -> list[int]:
        node, place = divmod(target, per_node)
        if source // per_node == node:
            return [node * per_node + (place + each) % per_node for each in range(1, per_node)]
        # The same place on other nodes first, as far transfers cross no rails there.
        return [
            (node + far) % (ranks // per_node) * per_node + (place + each) % per_node
            for each in range(per_node)
            for far in range(1, ranks // per_node)
        ]

    def seat(transfer: int, seen: set[int]) -> bool:
        for source in candidates(*pairs[transfer]):
            if source in seen:
                continue
            seen.add(source)
            taken = seats.setdefault(source, [])
            if len(taken) < room:
                taken.append(transfer)
                return True
            for place, other in enumerate(taken):
                if seat(other, seen):
                    taken[place] = transfer
                    return True
        return False

    for transfer in range(len(pairs)):
        while not seat(transfer, set()):
            room += 1
    found = ends.copy()
    for source, taken in seats.items():
        found[taken, 0] = source
    return found
