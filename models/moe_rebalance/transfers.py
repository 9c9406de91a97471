"""How the weights of replicas come to the GPUs that need them: two paths, from GPU to GPU or from a host's memory, as
messages over the links of the machine, which they share with the exchange of tokens."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
        self._hosts, self._speeds = np.array(hosts, np.int64), speeds

    def choose(self, moves: Counts, stage: Stage, window: int) -> Counts:
        """Return source and destination, [n, 2], of the message of each of ``moves`` [n, 3] (expert, from, to), which a
        layer needs together ``window`` ps after they may begin; a source below zero is a host."""
        path = self._about.path
        if path == "split":
            path = "cpu" if stage == "recompute" else "gpu"
        if not len(moves):
            return np.zeros((0, 2), np.int64)
        from_hosts = self._from_hosts(moves) if path != "gpu" else None
        direct = self.from_gpus(moves) if path != "cpu" else None
        if direct is None or from_hosts is None:
            return direct if from_hosts is None else from_hosts  # type: ignore[return-value]
        speeds = self._speeds
        assert speeds is not None
        local = self._about.copies == "everywhere" or not self._about.fan_out
        return assign(
            moves, from_hosts, direct, self._ranks, self._per_node, local,
            speeds.near, speeds.far, speeds.host, speeds.memory, window,
        )  # fmt: skip

    def from_gpus(self, moves: Counts) -> Counts:
        """Return source and destination of the messages of ``moves``, all from GPU to GPU."""
        return moves[:, 1:] if self._about.fan_out else spread(moves[:, 1:], self._ranks, self._per_node)

    def _from_hosts(self, moves: Counts) -> Counts:
        source, target = moves[:, 1], moves[:, 2]
        if self._about.copies == "home" and self._about.fan_out:
            far = source // self._per_node != target // self._per_node
            return np.stack([self._hosts[np.where(far, source, target)], target], axis=1)
        return np.stack([self._hosts[target], target], axis=1)


@njit(cache=True)
def assign(
    moves: Any, from_hosts: Any, direct: Any, ranks: int, per_node: int, local: bool,
    near: int, far: int, host: int, memory: int, window: int,
) -> Any:  # fmt: skip
    """Give each transfer in turn the path of the host if it would end there within the ``window``, else that on which
    it would end first, after those before it that share its links; ``from_hosts`` and ``direct`` are its messages on
    the two, ``local`` says that it is the host of its destination that is read.

    Model: estimates know of nothing else on the links.
    """
    # What links are busy with: NVLink out and in, network out and in, host to GPU; and the memories of hosts.
    busy = np.zeros((5, ranks), np.int64)
    memories = np.zeros(ranks // per_node, np.int64)
    found = np.empty((len(moves), 2), np.int64)
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
        if late > window and late > max(busy[way, sender], busy[way + 1, target]) + each:
            busy[way, sender] += each
            busy[way + 1, target] += each
            found[index] = direct[index]
            continue
        memories[read] += memory
        if beside:
            busy[4, target] += host
        else:
            busy[2, source] += far
            busy[3, target] += far
        found[index] = from_hosts[index]
    return found


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
