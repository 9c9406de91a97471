"""What a rank was at, told from when its rows ended: spans that tile its life."""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simcore import COMPUTE, Node

from .lowering import Lowered
from .matching import Job

Column = NDArray[np.int64]


@dataclass(frozen=True, order=True)
class Piece:
    """What a rank was at from ``begin`` to ``end`` (ps), where nothing of a higher rank was going on: ``level`` 0 is
    work on the compute stream, 1 other work, 2 a wait, 3 time in which nothing is known to happen."""

    end: int
    begin: int
    level: int
    what: str
    reason: str = ""
    size: int = 0

    @property
    def activity(self) -> str:
        """As it stands in a span."""
        return ("compute", "compute", "wait", "idle")[self.level]


def pieces(job: Job, lowered: Lowered, rank: int, ended: Column) -> Iterator[Piece]:
    """Yield the life of a rank in pieces that tile it, from 0 to the end of its last node."""
    nodes = _nodes(job, lowered, rank, ended)
    yield from _tiled([*_computations(job, lowered, rank, ended), *(piece for _, piece in nodes)])


def streams(job: Job, lowered: Lowered, rank: int, ended: Column) -> Iterator[tuple[str, Iterator[Piece]]]:
    """Yield name and life of each stream of a rank that was recorded with several, in pieces as of the rank."""
    apart: dict[str, list[Piece]] = defaultdict(list)
    if job.executions[rank].ordered:
        for node, piece in _nodes(job, lowered, rank, ended):
            apart[node.stream].append(piece)
    for name in sorted(apart) if len(apart) > 1 else ():
        yield name, _tiled(apart[name])


def times(lowered: Lowered, rank: int, number: int, ended: Column) -> tuple[int, int]:
    """Return when a node began and ended, ps."""
    begin = max((int(ended[row]) for row in lowered.begins[rank][number]), default=0)
    return begin, max((int(ended[row]) for row in lowered.ends[rank][number]), default=begin)


def _computations(job: Job, lowered: Lowered, rank: int, ended: Column) -> Iterator[Piece]:
    """Yield what ran on the compute stream, one after another."""
    schedule, nodes = lowered.schedule, job.executions[rank].nodes
    assert schedule.stream is not None
    mine = (schedule.rank == rank) & (schedule.peer == rank) & (schedule.stream == COMPUTE) & (schedule.duration > 0)
    for row in np.nonzero(mine)[0].tolist():
        node, end = nodes[lowered.owner[row]], int(ended[row])
        yield Piece(end, end - int(schedule.duration[row]), 0, node.name or node.kind, size=node.size)


def _nodes(job: Job, lowered: Lowered, rank: int, ended: Column) -> Iterator[tuple[Node, Piece]]:
    """Yield every node from when it could begin, and the gap before it."""
    for number, node in enumerate(job.executions[rank].nodes):
        begin, end = times(lowered, rank, number, ended)
        name = node.name or node.kind
        if node.gap:
            yield node, Piece(begin, begin - node.gap, 3, f"before {name}")
        if node.kind in ("compute", "memory"):
            yield node, Piece(end, begin, 1, name, size=node.size)
        else:
            yield node, Piece(end, begin, 2, name, _reason(node, job), node.size)


def _reason(node: Node, job: Job) -> str:
    if node.kind == "collective":
        return f"{node.operation} of {len(node.group) or len(job.executions)} ranks"
    return f"data {'of' if node.kind == 'receive' else 'to'} rank{node.peer}"


def _tiled(found: list[Piece]) -> Iterator[Piece]:
    """Yield pieces without overlap: at every instant the one of the lowest level, and of those the one that ends
    first."""
    begun = sorted((piece for piece in found if piece.end > piece.begin), key=lambda piece: piece.begin)
    under_way: list[tuple[int, Piece]] = []
    edges = sorted({0, *(edge for piece in begun for edge in (piece.begin, piece.end))})
    number, last = 0, None
    for here, there in itertools.pairwise(edges):
        while number < len(begun) and begun[number].begin <= here:
            heapq.heappush(under_way, (begun[number].level, begun[number]))
            number += 1
        while under_way and under_way[0][1].end <= here:
            heapq.heappop(under_way)
        best = under_way[0][1] if under_way else Piece(there, here, 3, "nothing under way")
        if last is not None and (last.level, last.what, last.reason, last.size) == (
            best.level, best.what, best.reason, best.size
        ):  # fmt: skip
            last = Piece(there, last.begin, last.level, last.what, last.reason, last.size)
            continue
        if last is not None:
            yield last
        last = Piece(there, here, best.level, best.what, best.reason, best.size)
    if last is not None:
        yield last
