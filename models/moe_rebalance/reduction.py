"""The end of an update: gradients are added up over the copies of every weight, and the new weights given back."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import Rank, Schedule

from .placement import Counts, Group
from .timing import ELEMENT

if TYPE_CHECKING:
    from .program import Params

GRADIENT = 4
"""Bytes of an element of gradients that are reduced."""


def homes(group: Group, rank: int) -> int:
    """Return of how many experts ``rank`` is the home."""
    return group.experts * (rank + 1) // group.ranks - group.experts * rank // group.ranks


def reductions(rank: Rank, params: "Params", group: Group, world: int) -> Iterator[tuple[str, Schedule]]:
    """Yield the two steps, each one collective of every set of ranks that have copies of the same weights: experts by
    their place in the EP group, all other weights by their share of the heads."""
    parameters = params.shape.expert_bytes // ELEMENT
    sets = [(list(range(k, world, group.ranks)), homes(group, k) * parameters) for k in range(group.ranks)]
    sets += [(list(range(k, world, params.tensor)), params.shape.dense // params.tensor) for k in range(params.tensor)]
    for operation, element in (("reduce_scatter", GRADIENT), ("all_gather", ELEMENT)):
        yield operation, _together([
            (rank.schedule(operation, params.layers * count * element, ranks), np.array(ranks))
            for ranks, count in sets
            if len(ranks) > 1
        ])  # fmt: skip


def _together(parts: Sequence[tuple[Schedule, Counts]]) -> Schedule:
    """Return schedules as one; rank i of each is ``ranks[i]`` of the job."""
    columns: list[list[Any]] = [[], [], [], [], [], [], []]
    rows = 0
    for schedule, ranks in parts:
        ends = [np.where(each >= 0, ranks[np.maximum(each, 0)], each) for each in (schedule.rank, schedule.peer)]
        stream = np.zeros(len(schedule), np.int64) if schedule.stream is None else schedule.stream
        counts, after = np.diff(schedule.after_begin), schedule.after + rows
        for column, values in zip(
            columns, (*ends, schedule.size, schedule.duration, counts, after, stream), strict=True
        ):
            column.append(values)
        rows += len(schedule)
    none = np.zeros(0, np.int64)
    rank, peer, size, duration, counts, after, stream = (np.concatenate([none, *each]) for each in columns)
    begin = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return Schedule(rank, peer, size, duration, begin, after, stream)
