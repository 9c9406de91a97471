"""Part of a step as one schedule of an EP group: what its ranks compute and exchange layer by layer, and the weights
and gradients of replicas that come and go meanwhile.

A *visit* is what happens in one layer without a pause: its forward pass, or, on the way back, the forward pass once
more and the backward pass. All ranks go from one stage of a pass to the next together.

Model: a layer begins when all weights that it needs are there, though its attention needs none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Literal

import numpy as np

from simcore import COMPUTE, DELAY, Schedule

from .placement import Counts
from .timing import Exchange

Kind = Literal["forward", "backward"]
Messages = Counts | Sequence[tuple[int, int]]
"""Source and destination of each, [n, 2]."""

FORWARD = ("attention", "tensor", "dispatch", "experts", "combine")
"""Stages of a forward pass, in order; those of a backward pass are the same in the other direction."""
COMPUTED = ("attention", "experts")
BACKWARD = 2
"""How much longer a backward pass computes than a forward one."""
BACK = 1 + BACKWARD
"""How often a visit on the way back computes its load: there once more, and back."""


@dataclass(frozen=True)
class Load:
    """What one pass takes: ps of every rank in ``attention`` and ``experts`` [R], bytes of every message of the
    exchange."""

    attention: Counts
    experts: Counts
    sizes: Counts

    @cached_property
    def computes(self) -> Counts:
        """What every rank computes, ps, [R]."""
        return self.attention + self.experts

    @cached_property
    def least(self) -> int:
        """Time, ps, that it takes at least."""
        return int(self.attention.max() + self.experts.max())


@dataclass(frozen=True)
class Visit:
    """A layer that is visited, with its load; ``weights`` are the messages before which it does not begin,
    ``gradients`` those that it sends off itself. ``planned``: when its plan is there, ps after the schedule's begin."""

    kind: Kind
    load: Load
    weights: Messages
    gradients: Messages
    planned: int

    @property
    def passes(self) -> Sequence[Kind]:
        """Its passes, in order."""
        return ("forward",) if self.kind == "forward" else ("forward", "backward")

    @property
    def times(self) -> int:
        """How often it computes its load."""
        return 1 if self.kind == "forward" else BACK

    @property
    def least(self) -> int:
        """Time, ps, that it takes at least."""
        return self.times * self.load.least


class Frame:
    """The rows of a pass of a group of ``ranks`` ranks, ``tensor`` of which share the heads of a token; tensor
    parallelism is one message of all its bytes to the next rank."""

    def __init__(self, exchange: Exchange, tensor: int) -> None:
        self.ranks, self.tensor = exchange.ranks, tensor
        every = np.arange(exchange.ranks)
        src, dst = exchange.pairs
        ring = every // tensor * tensor + (every + 1) % tensor
        ends = {
            "attention": (every, every),
            "tensor": (every, ring) if tensor > 1 else (every[:0], every[:0]),
            "dispatch": (src, dst),
            "experts": (every, every),
            "combine": (dst, src),
        }
        back = {name: ends[name][::-1] for name in ends}
        self.blocks: dict[Kind, Block] = {
            "forward": Block(ends, FORWARD, 1),
            "backward": Block(back, FORWARD[::-1], BACKWARD),
        }


class Block:
    """Rows of a pass, counted from 0: every stage, and after each of them one row that takes no time and ends with it,
    ``joins`` [stages]. What stage i begins after is the row that ends the one before, -1 the row before the pass.
    Computations take ``times`` as long as a load says."""

    def __init__(self, ends: Any, order: Sequence[str], times: int) -> None:
        self.order, self.times = order, times
        rank, peer, stream, counts, after = [], [], [], [], []
        joins, self.spans = [], dict[str, slice]()
        row, before = 0, -1
        for name in order:
            src, dst = ends[name]
            size = len(src)
            self.spans[name] = slice(row, row + size)
            rank += [src, np.zeros(1, np.int64)]
            peer += [dst, np.zeros(1, np.int64)]
            # What is computed is queued on the rank's stream; the joins take nothing.
            stream += [np.full(size, COMPUTE), np.full(1, DELAY)]
            counts += [np.ones(size, np.int64), np.array([max(size, 1)])]
            after += [np.full(size, before), np.arange(row, row + size) if size else np.array([before])]
            row += size + 1
            before = row - 1
            joins.append(before)
        self.joins = np.array(joins)
        self.rank, self.peer, self.stream = (np.concatenate(each) for each in (rank, peer, stream))
        self.counts, self.after = np.concatenate(counts), np.concatenate(after)

    def __len__(self) -> int:
        return len(self.rank)

    def fill(self, rows: Counts, loads: Sequence[Load], tensor_bytes: int) -> None:
        """Write the passes of ``loads`` into ``rows`` [6, passes, rows of a pass]: rank, peer, size, duration, stream,
        how many each is after."""
        rank, peer, size, duration, stream, counts = rows
        rank[:], peer[:], stream[:], counts[:] = self.rank, self.peer, self.stream, self.counts
        size[:, self.spans["tensor"]] = tensor_bytes
        for name in ("dispatch", "combine"):
            size[:, self.spans[name]] = [load.sizes for load in loads]
        for name in COMPUTED:
            duration[:, self.spans[name]] = self.times * np.array([getattr(load, name) for load in loads])


@dataclass(frozen=True)
class Told:
    """What became of the visits of a chunk, ps since the job's start; [V] each: when the visit before had ended, when
    the plan, and the weights, were there, and when the visit ended; ``stages`` [V, passes of a visit, stages] when
    each stage ended, in the order of the pass. ``tail``: when the last weights for the next chunk were there;
    ``home``: when the last gradients were; ``end``: when everything had ended."""

    before: Counts
    planned: Counts
    loaded: Counts
    ended: Counts
    stages: list[Counts]
    tail: int
    home: int
    end: int


class Chunk:
    """The schedule of some visits; ``ahead`` are weights of the first visits of the next chunk, in order, which come
    when the buffers of the last visits of this one are free; the weights of the first ``loaded`` visits are there."""

    def __init__(
        self, frame: Frame, visits: Sequence[Visit], ahead: Sequence[Visit], *, buffers: int, loaded: int,
        tensor_bytes: int, weights: int, gradients: int,
    ) -> None:  # fmt: skip
        self._frame, self._visits = frame, visits
        self._count = 0
        self._gates: list[int] = []
        self._passes: list[list[int]] = []
        self._weights = [range(0)] * len(visits)
        self._plans = [-1] * (len(visits) + len(ahead))
        self._place()
        self._last = self._count - 1
        more = _Rows(self._count)
        for index, visit in enumerate([*visits, *ahead]):
            # A plan without weights to come is for the next chunk to wait for.
            if visit.planned and (index < len(visits) or len(visit.weights)):
                self._plans[index] = more.delay(visit.planned)
        self._homes = [
            more.messages(visit.gradients, gradients, [self._experts_end(index)] if len(visit.gradients) else [])
            for index, visit in enumerate(visits)
        ]
        for index in range(loaded, len(visits)):
            self._weights[index] = self._come(more, index, visits[index], buffers, weights)
        self._ahead = [
            row
            for place, visit in enumerate(ahead)
            for row in self._come(more, len(visits) + place, visit, buffers, weights)
        ]
        self.schedule = self._made(more, tensor_bytes)

    def _place(self) -> None:
        """Lay out the rows of all visits: a gate, then one pass or two."""
        for visit in self._visits:
            self._gates.append(self._count)
            self._count += 1
            begins = []
            for kind in visit.passes:
                begins.append(self._count)
                self._count += len(self._frame.blocks[kind])
            self._passes.append(begins)

    def _come(self, more: "_Rows", index: int, visit: Visit, buffers: int, weights: int) -> range:
        """Add the messages of the weights for a visit, after the plan and the visit whose buffer they take."""
        if not len(visit.weights):
            return range(0)
        count = len(self._visits)
        first = 0 if index >= count or visit.kind == "forward" else self._first_back()
        held = index - buffers
        after = [self._plans[index]] if self._plans[index] >= 0 else []
        if held >= first:
            after += [self._experts_end(held), *self._homes[held]]
        return more.messages(visit.weights, weights, after)

    def _first_back(self) -> int:
        return next(index for index, visit in enumerate(self._visits) if visit.kind == "backward")

    def _experts_end(self, index: int) -> int:
        """Return the row that ends with the experts of the last pass of a visit."""
        begin = self._passes[index][-1]
        block = self._frame.blocks[self._visits[index].kind]
        return begin + int(block.joins[block.order.index("experts")])

    def _made(self, more: "_Rows", tensor_bytes: int) -> Schedule:
        columns = np.zeros((6, self._count), np.int64)
        waits = [
            [*([gate - 1] if index else []), *([plan] if plan >= 0 else []), *weights]
            for index, (gate, plan, weights) in enumerate(zip(self._gates, self._plans, self._weights, strict=False))
        ]
        columns[4, self._gates], columns[5, self._gates] = DELAY, [len(each) for each in waits]
        end, parts = 0, []
        for _, run in groupby(self._visits, key=lambda visit: visit.kind):
            # Visits of one kind lie at equal distances.
            visits = list(run)
            blocks = [self._frame.blocks[kind] for kind in visits[0].passes]
            begin, end = end, end + len(visits) * (1 + sum(map(len, blocks)))
            place, rows = 1, columns[:, begin:end].reshape(6, len(visits), -1)
            loads = [visit.load for visit in visits]
            gates = begin + np.arange(len(visits))[:, None] * rows.shape[2]
            afters = []
            for block in blocks:
                block.fill(rows[:, :, place : place + len(block)], loads, tensor_bytes)
                afters.append(block.after + gates + place)
                place += len(block)
            parts += list(np.concatenate(afters, axis=1))
        after = np.concatenate([np.array(each, np.int64) for pair in zip(waits, parts, strict=True) for each in pair])
        *others, last = more.columns()
        rank, peer, size, duration, stream, counts = np.concatenate([columns, others], axis=1)
        begin = np.zeros(len(rank) + 1, np.int64)
        np.cumsum(counts, out=begin[1:])
        return Schedule(rank, peer, size, duration, begin, np.concatenate([after, last]), stream)

    def told(self, begin: int, ended: Counts) -> Told:
        """Return what became of it; ``ended`` is when each row did."""
        gates = np.array(self._gates)
        before = np.concatenate([[begin], ended[gates[1:] - 1]])
        plans = self._plans[: len(gates)]
        planned = np.array([ended[row] if row >= 0 else begin for row in plans], np.int64)
        loaded = np.array([ended[rows.start : rows.stop].max(initial=begin) for rows in self._weights], np.int64)
        stages = [
            ended[[at + self._frame.blocks[kind].joins for kind, at in zip(visit.passes, begins, strict=True)]]
            for visit, begins in zip(self._visits, self._passes, strict=True)
        ]
        last = np.concatenate([gates[1:] - 1, [self._last]])
        homes = [row for rows in self._homes for row in rows]
        home = int(ended[homes].max()) if homes else begin
        tail = int(ended[self._ahead].max()) if self._ahead else begin
        return Told(before, planned, loaded, ended[last], stages, tail, home, int(ended.max()))


class _Rows:
    """Rows behind those of the visits."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._ends: list[Counts] = []
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._after: list[int] = []

    def delay(self, duration: int) -> int:
        """Add a row that ends ``duration`` ps after the schedule's begin; return its number."""
        return self._add(np.zeros((1, 2), np.int64), 0, duration, DELAY, []).start

    def messages(self, ends: Messages, size: int, after: list[int]) -> range:
        """Add messages of one size, each after the same other rows; return their numbers."""
        return self._add(np.asarray(ends, np.int64).reshape(-1, 2), size, 0, COMPUTE, after)

    def _add(self, ends: Counts, size: int, duration: int, stream: int, after: list[int]) -> range:
        count = len(ends)
        self._ends.append(ends)
        self._rows.append((count, size, duration, stream, len(after)))
        self._after += after * count
        self._next += count
        return range(self._next - count, self._next)

    def columns(self) -> tuple[Any, ...]:
        """Return the rows as columns: rank, peer, size, duration, stream, how many each is after, and after which."""
        rank, peer = np.concatenate([np.zeros((0, 2), np.int64), *self._ends]).T
        count, *same = np.array(self._rows, np.int64).reshape(-1, 5).T
        return (rank, peer, *(np.repeat(each, count) for each in same), np.array(self._after, np.int64))
