"""How the weights of replicas come to the GPUs that need them: two paths, from GPU to GPU or from a host's memory, as
messages over the links of the machine, which they share with the exchange of tokens."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

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
    """

    path: Path = "dual"
    copies: Literal["everywhere", "home"] = "everywhere"
    buffers: int = 2
    gradient: int = 2
    fan_out: bool = True

    @property
    def reads_hosts(self) -> bool:
        """Whether any transfer reads the memory of a host."""
        return self.path != "gpu"


@dataclass(frozen=True)
class Speeds:
    """How long one expert's weights take on the idle machine, ps: to another GPU of the node, to one of another node,
    from the node's host, and for each of many that leave the host at once."""

    near: int
    far: int
    host: int
    memory: int


def measure(rank: Rank, ranks: Sequence[int], per_node: int, size: int) -> Generator[Any, Any, Speeds]:
    """Send one message of ``size`` bytes along each path, one after another, and then one to every GPU of the first
    node from its host, while nothing else is on the links."""
    group = list(ranks)
    node = group[:per_node]
    took = []
    ways = [[(0, 1)] if per_node > 1 else [], [(0, per_node)] if len(group) > per_node else []]
    ways += [[(rank.host(group[0]), 0)], [(rank.host(each), place) for place, each in enumerate(node)]]
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


class Paths:
    """Chooses the path of every transfer of an EP group of ``ranks`` ranks; ``hosts`` [R] stand in schedules for the
    memory beside each of them, where hosts are read."""

    def __init__(
        self, about: Transfers, ranks: int, per_node: int, hosts: Sequence[int], speeds: Speeds | None
    ) -> None:  # fmt: skip
        self._about, self._ranks, self._per_node = about, ranks, per_node
        self._hosts, self._speeds = hosts, speeds

    def choose(self, moves: Counts, stage: Stage, window: int) -> list[tuple[int, int]]:
        """Return source and destination of the message of each of ``moves`` [n, 3] (expert, from, to), which a layer
        needs together ``window`` ps after they may begin; a source below zero is a host."""
        if not len(moves):
            return []
        path = self._about.path
        if path == "split":
            path = "cpu" if stage == "recompute" else "gpu"
        ends = moves[:, 1:].tolist()
        if path == "cpu":
            return [self._from_host(*each) for each in ends]
        direct = self.from_gpus(moves)
        return direct if path == "gpu" else self._earliest(ends, direct, window)

    def from_gpus(self, moves: Counts) -> list[tuple[int, int]]:
        """Return source and destination of the messages of ``moves``, all from GPU to GPU."""
        ends = [(source, target) for _, source, target in moves.tolist()]
        return ends if self._about.fan_out else spread(ends, self._ranks, self._per_node)

    def _from_host(self, source: int, target: int) -> tuple[int, int]:
        here = self._about.copies == "everywhere" or source // self._per_node == target // self._per_node
        return self._hosts[target if here or not self._about.fan_out else source], target

    def _earliest(
        self, ends: Sequence[tuple[int, int]], directly: Sequence[tuple[int, int]], window: int
    ) -> list[tuple[int, int]]:
        """Give each transfer in turn the path of the host if it would end there within the ``window``, else that on
        which it would end first, after those before it that share its links; ``directly`` are its ends on the other.

        Model: estimates know of nothing else on the links.
        """
        assert self._speeds is not None
        speeds, busy, found = self._speeds, dict[tuple[str, int], int](), list[tuple[int, int]]()
        for (source, target), direct in zip(ends, directly, strict=True):
            node, there = source // self._per_node, target // self._per_node
            near = node == there
            message = self._from_host(source, target)
            if near or self._about.copies == "everywhere":
                way = {("host in", target): speeds.host, ("memory", there): speeds.memory}
            else:
                way = {
                    ("far in", target): speeds.far,
                    ("far out", source): speeds.far,
                    ("memory", node): speeds.memory,
                }
            late = _ends(busy, way)
            if late > window:
                kind, each = ("near", speeds.near) if near else ("far", speeds.far)
                by_gpu = {(f"{kind} out", direct[0]): each, (f"{kind} in", target): each}
                if late > _ends(busy, by_gpu):
                    way, message = by_gpu, direct
            for key, cost in way.items():
                busy[key] = busy.get(key, 0) + cost
            found.append(message)
        return found


def spread(ends: Sequence[tuple[int, int]], ranks: int, per_node: int) -> list[tuple[int, int]]:
    """Return other sources for transfers between GPUs, as little shared as can be: none serves two transfers if that
    can be avoided, else none three, and so on. What came from the node of its destination still does.

    Transfers take seats at sources (Kuhn's augmenting paths), in order, and in every round there is one seat more.
    """
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
        for source in candidates(*ends[transfer]):
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

    for transfer in range(len(ends)):
        while not seat(transfer, set()):
            room += 1
    chosen = {transfer: source for source, taken in seats.items() for transfer in taken}
    return [(chosen[transfer], target) for transfer, (_, target) in enumerate(ends)]


def _ends(busy: Mapping[tuple[str, int], int], way: Mapping[tuple[str, int], int]) -> int:
    """Return when a transfer ends that takes so long on each link of its ``way``, after what these are ``busy`` with;
    ps."""
    return max([busy.get(key, 0) + cost for key, cost in way.items()])
