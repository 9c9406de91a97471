"""What one rank did, as a graph: the form into which every execution trace is brought, whoever wrote it."""

from dataclasses import dataclass
from typing import Literal, get_args

from simcore.errors import InputError

Kind = Literal["compute", "memory", "send", "receive", "collective"]
KINDS: tuple[str, ...] = get_args(Kind)

HOST = "host"
"""The stream of what ran on the CPU: it takes time, but not from the GPU's compute stream."""


@dataclass(frozen=True, slots=True)
class Node:
    """One thing that a rank did. Its ``id`` is unique within the rank.

    It begins ``gap`` ps, in which nothing is known to happen, after the last of the nodes ``after`` has ended (or after
    time zero). ``duration`` (ps) is as recorded; 0 is unknown where ``operations`` or ``size`` say what was to be done,
    and of what is simulated, messages and collectives, it is there to compare with. ``size``: bytes, of a message those
    sent, of a computation or a copy those that pass the GPU's memory, of a collective the whole array, as nccl-tests
    count it: the larger side of an all-gather or reduce-scatter.

    ``peer`` and ``tag`` are those of a send or receive. ``operation`` is a collective's, named as in
    `simcore.collectives`, or barrier, gather or scatter, among the ranks ``group`` in their order, () for all, with its
    ``root`` counted within the group. ``operations``: arithmetic operations of a computation. ``begin``: ps on the
    trace's own clock, -1 unknown.
    """

    id: int
    name: str
    kind: Kind
    after: tuple[int, ...] = ()
    duration: int = 0
    gap: int = 0
    size: int = 0
    peer: int = -1
    tag: int = 0
    operation: str = ""
    group: tuple[int, ...] = ()
    stream: str = ""
    begin: int = -1
    operations: int = 0
    root: int = 0


@dataclass(frozen=True)
class Execution:
    """All that one rank did, ``rank`` of ``world`` (None: unknown); every node comes after those that it depends on.

    ``said``: sentences for the user on what was cut off, left out or assumed. ``lost``: bytes that were cut off, of a
    message or collective of which its peers may still know. ``ordered``: whatever shares a stream depends on what came
    before it there, so nothing needs to queue, and what ran on several streams at once does again.
    """

    file: str
    rank: int
    world: int | None
    nodes: list[Node]
    said: tuple[str, ...] = ()
    lost: int = 0
    ordered: bool = False


def ordered(nodes: list[Node], file: str) -> list[Node]:
    """Return the nodes so that each comes after those that it depends on, otherwise in their order.

    Raises ``InputError``, naming ``file`` and node, for an id that is there twice, a dependency on a node that is not
    there, and nodes that wait for each other.
    """
    place = {node.id: number for number, node in enumerate(nodes)}
    if len(place) < len(nodes):
        twice = next(node for number, node in enumerate(nodes) if place[node.id] != number)
        raise InputError(f"{file}: node {twice.id} is there twice; expected every id once")
    if all(place.get(other, number) < number for number, node in enumerate(nodes) for other in node.after):
        return nodes
    waits = [0] * len(nodes)
    frees: list[list[int]] = [[] for _ in nodes]
    for number, node in enumerate(nodes):
        for other in node.after:
            if other not in place:
                raise InputError(f"{file}: node {node.id} depends on node {other}, which is not there")
            frees[place[other]].append(number)
            waits[number] += 1
    return [nodes[number] for number in _sorted(waits, frees, nodes, file)]


def _sorted(waits: list[int], frees: list[list[int]], nodes: list[Node], file: str) -> list[int]:
    import heapq

    ready = [number for number, count in enumerate(waits) if not count]
    found: list[int] = []
    while ready:
        number = heapq.heappop(ready)
        found.append(number)
        for freed in frees[number]:
            waits[freed] -= 1
            if not waits[freed]:
                heapq.heappush(ready, freed)
    if len(found) < len(nodes):
        raise InputError(f"{file}: {_cycle(nodes, waits)}")
    return found


def _cycle(nodes: list[Node], waits: list[int]) -> str:
    """Return the sentence that names nodes which wait for each other, ``waits`` telling which have never been free."""
    stuck = {node.id: node for node, count in zip(nodes, waits, strict=True) if count}
    here, path = min(stuck), dict[int, int]()
    while here not in path:
        path[here] = len(path)
        here = next(other for other in stuck[here].after if other in stuck)
    circle = [*list(path)[path[here] :], here]
    shown = [f"node {each}" for each in circle]
    if len(shown) > 6:
        shown[4:-1] = ["..."]
    return f"nodes depend on each other in a circle: {' after '.join(shown)}"
