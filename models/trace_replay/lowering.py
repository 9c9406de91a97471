"""From the nodes of all ranks to one schedule: rows of transfers and work, and which of them belong to which node."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simcore import COMPUTE, DELAY, HOST, Node, Schedule

from .matching import Job, Meeting

Column = NDArray[np.int64]

MOST_DIRECT = 8
"""Up to so many rows a row waits for directly; more meet in one of no duration first."""


@dataclass(frozen=True)
class Lowered:
    """A schedule, and of every rank, by place of the node, the rows at whose end it begins (``begins``) and those at
    whose end it ends.

    ``owner`` [row]: of a row of work, the place of its node among those of its rank.
    """

    schedule: Schedule
    begins: list[list[list[int]]]
    ends: list[list[list[int]]]
    owner: Column


def lower(
    job: Job, durations: Sequence[Sequence[int]], built: Callable[[Meeting], Schedule], *,
    delivered: bool, window: int | None,
) -> Lowered:  # fmt: skip
    """Return the schedule of a job: ``durations`` of the nodes of each rank, ps, and ``built``, which makes a
    collective.

    A send has ended as soon as it begins, or, where ``delivered``, when its message has arrived. A connection, that is
    sender, receiver and tag, has at most ``window`` messages under way, None: however many.
    """
    return _Lowering(job, durations, built, delivered, window).lowered()


class _Lowering:
    """Rows are numbered: first those of the collectives, then one a call of a collective, then one a message, then what
    comes up."""

    def __init__(
        self, job: Job, durations: Sequence[Sequence[int]], built: Callable[[Meeting], Schedule], delivered: bool,
        window: int | None,
    ) -> None:  # fmt: skip
        self._job, self._durations, self._delivered = job, durations, delivered
        self._blocks = [_block(built(meeting), len(meeting.group)) for meeting in job.meetings]
        self._first = np.cumsum([0, *(len(block.schedule) for block in self._blocks)])
        self._rows = _Rows(int(self._first[-1]))
        self._call_row: dict[tuple[int, int], int] = {}
        self._block_ends: dict[tuple[int, int], list[int]] = {}
        for block, first, meeting in zip(self._blocks, self._first, job.meetings, strict=False):
            for call, ends in zip(meeting.calls, block.ends, strict=True):
                self._call_row[call] = self._rows.add(call[0], call[0], owner=call[1])
                # The bytes of others may all be there before the rank itself calls.
                self._block_ends[call] = [*(ends + first).tolist(), self._call_row[call]]
        self._message_row: dict[tuple[int, int], int] = {}
        self._earlier: dict[int, int] = {}
        connections: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for send, receive in job.messages:
            row = self._rows.add(send[0], receive[0], size=job.node(send).size)
            self._message_row[send] = self._message_row[receive] = row
            sent = connections[send[0], receive[0], job.node(send).tag]
            sent.append(row)
            if window is not None and len(sent) > window:
                self._earlier[row] = sent[-1 - window]

    def lowered(self) -> Lowered:
        """Return the whole; every rank's nodes come after those that they depend on."""
        begins, ends = [], []
        for rank in range(len(self._job.executions)):
            of_rank = self._rank(rank)
            begins.append(of_rank[0])
            ends.append(of_rank[1])
        calls = [np.array([self._call_row[call] for call in each.calls], np.int64) for each in self._job.meetings]
        blocks = [
            block.placed(int(first), np.array(meeting.group, np.int64), rows, np.array(meeting.calls, np.int64)[:, 1])
            for block, first, meeting, rows in zip(self._blocks, self._first, self._job.meetings, calls, strict=False)
        ]
        schedule, owner = self._rows.schedule(blocks)
        return Lowered(schedule, begins, ends, owner)

    def _rank(self, rank: int) -> tuple[list[list[int]], list[list[int]]]:
        number_of: dict[int, int] = {}
        begins: list[list[int]] = []
        ends: list[list[int]] = []
        for number, node in enumerate(self._job.executions[rank].nodes):
            after = list(dict.fromkeys(row for other in node.after for row in ends[number_of[other]]))
            if len(after) > MOST_DIRECT:
                after = [self._rows.add(rank, rank, after=after, owner=number)]
            if node.gap:
                after = [self._rows.add(rank, rank, duration=node.gap, after=after, owner=number)]
            number_of[node.id] = number
            begins.append(after)
            ends.append(self._node(rank, number, node, after))
            if len(ends[-1]) > MOST_DIRECT:
                ends[-1] = [self._rows.add(rank, rank, after=ends[-1], owner=number)]
        return begins, ends

    def _node(self, rank: int, number: int, node: Node, after: list[int]) -> list[int]:
        """Add the rows of a node that begins after the rows ``after``; return those at whose end it ends."""
        if node.kind in ("compute", "memory"):
            duration = self._durations[rank][number]
            queues = node.kind == "compute" and node.stream != HOST and not self._job.executions[rank].ordered
            stream = COMPUTE if queues else DELAY
            if not duration:
                return after
            return [self._rows.add(rank, rank, duration=duration, stream=stream, after=after, owner=number)]
        if node.kind == "collective":
            self._rows.wait(self._call_row[rank, number], after)
            return self._block_ends[rank, number]
        row = self._message_row[rank, number]
        if node.kind == "receive":
            return [row, *after]
        self._rows.wait(row, [*after, self._earlier[row]] if row in self._earlier else after)
        return [row] if self._delivered else after


class _Rows:
    """Single rows, the first of them numbered ``first``."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._columns: list[tuple[int, int, int, int, int, int]] = []
        self._after: list[list[int]] = []

    def add(
        self, rank: int, peer: int, *, size: int = 0, duration: int = 0, stream: int = DELAY,
        after: list[int] | None = None, owner: int = 0,
    ) -> int:  # fmt: skip
        """Add a row and return its number."""
        self._columns.append((rank, peer, size, duration, stream, owner))
        self._after.append(after or [])
        return self._first + len(self._columns) - 1

    def wait(self, row: int, after: list[int]) -> None:
        """Let ``row`` wait for the rows ``after``."""
        self._after[row - self._first] = after

    def schedule(self, blocks: list[tuple[Schedule, Column]]) -> tuple[Schedule, Column]:
        """Return the schedule of ``blocks`` and these rows behind them, and the owner of every row."""
        single = np.array(self._columns, np.int64).reshape(-1, 6).T
        counts = [*(np.diff(each.after_begin) for each, _ in blocks), np.array([*map(len, self._after)], np.int64)]
        after = [*(each.after for each, _ in blocks), np.array([row for rows in self._after for row in rows], np.int64)]

        def whole(name: str, number: int) -> Column:
            return np.concatenate([*(getattr(each, name) for each, _ in blocks), single[number]])

        columns = [whole(name, number) for number, name in enumerate(("rank", "peer", "size", "duration"))]
        begin = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
        owner = np.concatenate([*(each for _, each in blocks), single[5]])
        return Schedule(*columns, begin, np.concatenate(after), whole("stream", 4)), owner


@dataclass(frozen=True)
class _Block:
    """A collective among ``ranks`` ranks that stands for itself: the rows that wait for their rank's call (``first``),
    and of each rank the rows at whose end it has ended."""

    schedule: Schedule
    first: Column
    ends: list[Column]

    def placed(self, first: int, group: Column, calls: Column, owners: Column) -> tuple[Schedule, Column]:
        """Return the block as rows from ``first`` on, and their owners: its rank i is ``group[i]``, whose call is the
        row ``calls[i]`` of the node ``owners[i]``."""
        one = self.schedule
        where = one.after_begin[self.first + 1]
        after = np.insert(one.after + first, where, calls[one.rank[self.first]])
        extra = np.bincount(self.first, minlength=len(one))
        begin = one.after_begin + np.concatenate([[0], np.cumsum(extra)])

        def named(ends: Column) -> Column:  # the numbers of switches stay
            return np.where(ends >= 0, group[np.maximum(ends, 0)], ends)

        stream = np.full(len(one), COMPUTE) if one.stream is None else one.stream
        owner = np.where(one.rank >= 0, owners[np.maximum(one.rank, 0)], -1)
        return Schedule(named(one.rank), named(one.peer), one.size, one.duration, begin, after, stream), owner


def _block(schedule: Schedule, ranks: int) -> _Block:
    """Return a collective as a block.

    A row of a rank that waits for another row of the same rank waits for its call through that.
    """
    count = len(schedule)
    later = np.repeat(np.arange(count), np.diff(schedule.after_begin))
    earlier = schedule.after
    mine = np.zeros(count, np.bool_)
    mine[later[schedule.rank[later] == schedule.rank[earlier]]] = True
    (first,) = np.nonzero(~mine & (schedule.rank >= 0))
    is_last = {"rank": np.ones(count, np.bool_), "peer": np.ones(count, np.bool_)}
    for name, last in is_last.items():
        own: Any = getattr(schedule, name)
        followed = (schedule.rank[later] == own[earlier]) | (schedule.peer[later] == own[earlier])
        last[earlier[followed]] = False
    ends = []
    for rank in range(ranks):
        sent = is_last["rank"] & (schedule.rank == rank)
        ends.append(np.nonzero(sent | (is_last["peer"] & (schedule.peer == rank)))[0])
    return _Block(schedule, first, ends)
