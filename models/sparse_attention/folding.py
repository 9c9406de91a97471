"""All layers of an iteration as one schedule of a tensor-parallel group: a computation on every rank, then each
collective once, with the bytes of all its calls.

Layers follow one another, so sums are all that matters: of computations, of launches, of bytes. What the sum of bytes
leaves out is the time of an empty message, once for every call but one; it is measured on the idle machine before the
first request comes, and passes with the computation.

Model: other traffic meets the collectives of an iteration at its end, not between its layers; on links whose efficiency
depends on the size of a message, it has that of the sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simcore import Rank, Schedule

Column = NDArray[np.int64]

LARGE = 2**30
"""Bytes, about, of the collective from which the library's time to fill the pipeline is learnt."""


@dataclass(frozen=True)
class Calls:
    """``count`` calls in an iteration of one collective, of ``token`` bytes for each token that goes through."""

    operation: str
    algorithm: str
    token: int
    count: int


class Collective:
    """`Calls` as rows of a schedule, without what the library adds, which comes before them as time.

    ``size``: bytes of each row for a token; ``empty``: ps that one call of no bytes takes, once it was measured.
    """

    def __init__(self, rank: Rank, group: Sequence[int], calls: Calls) -> None:
        def build(size: int) -> Schedule:
            return rank.schedule(calls.operation, size, group, algorithm=calls.algorithm)

        self.calls, count = calls, len(group)
        whole = build(calls.token)
        launched = bool(len(whole) > count and (whole.rank[:count] == whole.peer[:count]).all())
        first = count if launched else 0
        self.rank, self.peer, self.size = whole.rank[first:], whole.peer[first:], whole.size[first:]
        ends = whole.after_begin
        self.after = [
            [row - first for row in whole.after[ends[i] : ends[i + 1]].tolist() if row >= first]
            for i in range(first, len(whole))
        ]
        many = -(-LARGE // calls.token) * calls.token
        self._launch = int(build(0).duration[0]) if launched else 0
        self._fill = (int(build(many).duration[0]) - self._launch) / sqrt(many) if launched else 0.0
        self.empty = 0

    def before(self, tokens: int) -> int:
        """Return the time, ps, of all calls that is no message's: launches, filling, and empty messages but one."""
        calls = self.calls
        each = round(self._launch + self._fill * sqrt(calls.token * tokens))
        return calls.count * each + (calls.count - 1) * self.empty


class Folded:
    """The schedule of any iteration of the group; ``ranks`` are the job's."""

    def __init__(self, rank: Rank, ranks: Sequence[int], calls: Sequence[Calls]) -> None:
        self.ranks = tuple(ranks)
        self.collectives = [Collective(rank, ranks, each) for each in calls] if len(ranks) > 1 else []
        self._template, self._weight = _chained(len(ranks), self.collectives)
        self.byte_time = 0.0
        """ps that the messages of a token take on the idle machine."""

    def schedule(self, durations: Sequence[int], tokens: int) -> Schedule:
        """Return the schedule of ``tokens`` tokens, where rank i computes for ``durations`` [i] ps."""
        before = sum(each.before(tokens) for each in self.collectives)
        return self._sized(tokens, [duration + before for duration in durations])

    def _sized(self, tokens: int, durations: Sequence[int]) -> Schedule:
        all_durations = np.zeros(len(self._weight), np.int64)
        all_durations[: len(durations)] = durations
        of = self._template
        return Schedule(of.rank, of.peer, self._weight * tokens, all_durations, of.after_begin, of.after)

    def idle(self, tokens: int) -> int:
        """Return how long an iteration of ``tokens`` tokens takes beyond the computation, ps, where nothing else is on
        the links."""
        return sum(each.before(tokens) + each.empty for each in self.collectives) + round(self.byte_time * tokens)

    def measure(self, rank: Rank, tokens: int) -> Any:
        """Play each collective empty, and all of them for ``tokens`` tokens, while nothing else is on the links."""
        nothing = [0] * len(self.ranks)
        empty = 0
        for each in self.collectives:
            alone, _ = _chained(len(self.ranks), [each])
            zero = np.zeros(len(alone), np.int64)
            begin = rank.now
            yield from rank.play(
                Schedule(alone.rank, alone.peer, zero, zero, alone.after_begin, alone.after),
                "measure",
                ranks=self.ranks,
            )
            each.empty = rank.now - begin
            empty += each.empty
        if self.collectives:
            begin = rank.now
            yield from rank.play(self._sized(tokens, nothing), "measure", ranks=self.ranks)
            self.byte_time = (rank.now - begin - empty) / tokens


def _chained(count: int, collectives: Sequence[Collective]) -> tuple[Schedule, Column]:
    """Return a computation on each of ``count`` ranks and then the collectives, one after another; and the bytes of
    every row for one token, all calls together."""
    rank, peer = list(range(count)), list(range(count))
    weight = [0] * count
    after: list[list[int]] = [[] for _ in range(count)]
    last: list[list[int]] = [[i] for i in range(count)]
    for each in collectives:
        first = len(rank)
        awaited = {row for rows in each.after for row in rows}
        for one, rows in zip(each.rank.tolist(), each.after, strict=True):
            # A switch begins nothing.
            after.append([first + row for row in rows] or last[one])
        rank += each.rank.tolist()
        peer += each.peer.tolist()
        weight += [size * each.calls.count for size in each.size.tolist()]
        ends = [i for i in range(len(each.rank)) if i not in awaited]
        last = [[first + i for i in ends if each.peer[i] == one] or last[one] for one in range(count)]
    begin = np.cumsum([0, *map(len, after)])
    nothing = np.zeros(len(rank), np.int64)
    flat = np.array([row for rows in after for row in rows], np.int64)
    return Schedule(np.array(rank), np.array(peer), nothing, nothing, begin, flat), np.array(weight, np.int64)
