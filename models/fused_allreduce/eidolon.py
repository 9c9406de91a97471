"""Eidolons: ranks of which only the writes are left, replayed at their stamps, or after what they would have awaited.

Open loop is the paper's: nothing that happens changes a stamp. Closed loop goes beyond it: a write comes as long after
what it waited for as it was recorded, so that a slower link makes an eidolon late as it would have made the rank.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simcore import Profile, Writes

from .tracking import BackEnd, Column, WriteTable

if TYPE_CHECKING:
    from collections.abc import Generator

    from simcore import Rank

    from .program import Params


def seed(params: "Params", rng: np.random.Generator) -> int | None:
    """Return the seed for transforms that have none of their own, drawn only where one needs it."""
    needed = any(each.kind == "jitter" and each.seed is None for each in params.transforms)
    return int(rng.integers(2**62)) if needed else None


Word = str | tuple[str, int, int]
"""A flag: its name, or the name and length of an array, and its index there. ""  is none."""


class Batch(NamedTuple):
    """Writes at their stamps, and what each sets on arrival: flags, or words of the array ``flags`` (its name and
    length), -1 for none."""

    writes: Writes
    sets: Sequence[Word] | Column
    flags: tuple[str, int] | None = None


def replay(rank: "Rank", batches: Sequence[Batch], back_end: BackEnd) -> None:
    """Issue all writes when the write-tracking table says that they are due, whatever the machine does.

    Model: open loop, as in the paper; a slower link does not make an eidolon later.
    """
    table = WriteTable(back_end, rank.clock)
    for batch in batches:
        table.register(batch.writes.time)
    for batch, (order, instants) in zip(batches, table.fire(rank.now), strict=True):
        _issue(rank, batch, order, instants)
    table.report(rank.count)


@dataclass(frozen=True)
class Stage:
    """Writes of one work-group in one step of an operation, or, without any, the end of an operation.

    It begins when the flags ``awaits`` have landed here and the stages ``after`` are over; ``think`` ps later come the
    writes ``rows``, and it is over with the last of them.
    """

    awaits: list[Word]
    after: list[int]
    rows: Column
    think: Column


@dataclass(frozen=True)
class Script:
    """What a rank does in closed loop: its writes, the flags they set ("" for none), and the stages that they come in,
    each behind those it comes after. ``operations``: the last stage of each and its name, in order."""

    writes: Writes
    sets: list[Word]
    stages: list[Stage]
    operations: list[tuple[int, str]]


def script(profile: Profile, rank: int, words: Sequence[Word]) -> Script:
    """Return the closed-loop script of ``rank``; ``words[row]`` is the flag that a write of the profile sets.

    A write of a work-group in a step waits for all flags to it in the step before, and for the earlier writes of its
    work-group; in the first step, for the end of the rank's operation before: its writes issued, the flags to it
    landed. What no flag precedes, a flag for the whole rank say, waits for all its work-groups. The time from the last
    of those, as recorded, to the write is thought, and takes as long whatever the machine; none, where a profile has
    the write before what it should have waited for.

    Model: detecting a flag and computing until the next write take as long as recorded, also where on another link
    another flag, or none, is the last that is awaited. An operation that began before others had ended waits for the
    last one that had.
    """
    return _Author(profile, rank, words).script()


class _Author:
    """Finds the stages of a rank, and what each waits for, in the rows of a profile."""

    def __init__(self, profile: Profile, rank: int, words: Sequence[Word]) -> None:
        self._profile, self._words = profile, words
        self._own = np.nonzero(profile.rank == rank)[0]
        self._writes, self._flags = self._cut(self._own), self._cut(np.nonzero((profile.dst == rank) & profile.flag)[0])
        self._stages: list[Stage] = []
        self._over: list[int] = []
        """When each stage was over as recorded, ps."""

    def script(self) -> Script:
        """Return the rank's script."""
        profile, ended, operations = self._profile, list[tuple[int, int]](), []
        spans = {number: self._span(number) for number in self._writes.keys() | self._flags.keys()}
        for number, (begin, end, name) in sorted(spans.items(), key=lambda item: (item[1][0], item[0])):
            before = max((each for each in ended if each[0] <= begin), default=None)
            last = self._operation(number, [] if before is None else [before[1]])
            ended.append((end, last))
            operations.append((last, name))
        own = self._own
        writes = Writes(
            profile.time[own], profile.dst[own], profile.size[own], profile.flag[own],
            [profile.name[row] for row in own.tolist()],
        )  # fmt: skip
        return Script(writes, [self._words[row] for row in own.tolist()], self._stages, operations)

    def _cut(self, rows: Column) -> dict[int, dict[tuple[int, int], Column]]:
        """Return ``rows`` by operation, and by (step, work-group) within it."""
        found: defaultdict[int, dict[tuple[int, int], Column]] = defaultdict(dict)
        if not len(rows):
            return found
        profile = self._profile
        keys = np.stack([profile.collective[rows], profile.step[rows], profile.group[rows]])
        order = np.lexsort(keys[::-1])
        keys, rows = keys[:, order], rows[order]
        (begins,) = np.nonzero(np.any(np.diff(keys, axis=1, prepend=-1), axis=0))
        for (number, *key), part in zip(keys[:, begins].T.tolist(), np.split(rows, begins[1:]), strict=True):
            found[number][tuple(key)] = part
        return found

    def _span(self, number: int) -> tuple[int, int, str]:
        """Return when an operation of the rank began and ended as recorded, and its name; where the rank wrote nothing,
        it began when it heard something."""
        profile = self._profile
        own, heard = (np.concatenate([_NONE, *parts[number].values()]) for parts in (self._writes, self._flags))
        begin = int((profile.start[own] if len(own) else profile.arrived[heard]).min())
        end = max(int(profile.time[own].max(initial=0)), int(profile.arrived[heard].max(initial=0)))
        return begin, end, profile.name[[*own, *heard][0]]

    def _operation(self, number: int, before: list[int]) -> int:
        """Add the stages of an operation that follows the stages ``before``; return the one that ends it."""
        writes, flags = self._writes[number], self._flags[number]
        steps = sorted({step for step, _ in (*writes, *flags)})
        latest: dict[int, int] = {}
        made: list[int] = []
        for place, step in enumerate(steps):
            groups = [group for each, group in writes if each == step]
            heard = {group: flags.get((steps[place - 1], group), _NONE) if place else _NONE for group in groups}
            # What waits for no flag of its own comes after all work-groups that do.
            for group in sorted(groups, key=lambda group: (not len(heard[group]), group)):
                alone = place > 0 and not len(heard[group])
                after = list(made) if alone and made else [latest[group]] if group in latest else before
                made.append(self._add(heard[group], after, writes[step, group]))
                latest[group] = made[-1]
        return self._add(np.concatenate([_NONE, *flags.values()]), made or before, _NONE)

    def _add(self, heard: Column, after: list[int], rows: Column) -> int:
        profile = self._profile
        base = max((int(profile.arrived[heard].max(initial=0)), *(self._over[each] for each in after)), default=0)
        think = np.maximum(profile.time[rows] - base, 0)
        self._stages.append(
            Stage([self._words[row] for row in heard.tolist()], after, np.searchsorted(self._own, rows), think)
        )
        self._over.append(int(profile.time[rows].max(initial=base)))
        return len(self._stages) - 1


_NONE = np.zeros(0, np.int64)


def follow(rank: "Rank", script: Script, back_end: BackEnd) -> "Generator[Any, Any, None]":
    """Issue the writes of a script, each as long after what it waits for as it was recorded."""
    run = _Run(rank, script, WriteTable(back_end, rank.clock))
    run.begin()
    for last, name in script.operations:
        yield from rank.until(run.landed[last], "replay", name)
    yield from rank.spend(run.last - rank.now, "replay", "its last writes")
    run.table.report(rank.count)


class _Run:
    """A script under way: what each stage still waits for, and the latest instant of what it has waited for."""

    def __init__(self, rank: "Rank", script: Script, table: WriteTable) -> None:
        self._rank, self._script, self.table = rank, script, table
        self._left = [len(stage.after) + bool(stage.awaits) for stage in script.stages]
        self._base = [0] * len(script.stages)
        self._frees: defaultdict[int, list[int]] = defaultdict(list)
        self._due: dict[int, list[Column]] = {}
        self.landed: dict[int, Any] = {}
        self.last = 0
        """The instant of the last write issued, ps."""

    def begin(self) -> None:
        """Listen for the flags of all stages, and issue what waits for nothing."""
        ends = {last for last, _ in self._script.operations}
        for number, stage in enumerate(self._script.stages):
            for each in stage.after:
                self._frees[each].append(number)
            if stage.awaits or number in ends:
                self.landed[number] = event = self._rank.landed(_flags(self._rank, stage.awaits))
                if stage.awaits:
                    event.callbacks.append(partial(self._hear, number))
        self._go_on([number for number, left in enumerate(self._left) if not left])

    def _hear(self, number: int, _: Any) -> None:
        self._base[number] = max(self._base[number], self._rank.now)
        self._left[number] -= 1
        if not self._left[number]:
            self._go_on([number])

    def _go_on(self, ready: list[int]) -> None:
        """Plan the writes of the stages ``ready``, and of those that are ready with them."""
        rows, stamps = [_NONE], [_NONE]
        while ready:
            number = ready.pop()
            stage, over = self._script.stages[number], self._base[number]
            if len(stage.rows):
                due = self.table.due(over + stage.think)
                rows.append(stage.rows)
                stamps.append(due)
                over = int(due.max())
            for each in self._frees[number]:
                self._base[each] = max(self._base[each], over)
                self._left[each] -= 1
                if not self._left[each]:
                    ready.append(each)
        which = np.concatenate(rows)
        if len(which):
            self._plan(which, np.concatenate(stamps))

    def _plan(self, rows: Column, stamps: Column) -> None:
        self.table.register(stamps)
        ((order, instants),) = self.table.fire(self._rank.now)
        self.last = max(self.last, int(instants[-1]))
        (begins,) = np.nonzero(np.diff(instants, prepend=-1))
        for instant, part in zip(instants[begins].tolist(), np.split(rows[order], begins[1:]), strict=True):
            if instant not in self._due:
                self._due[instant] = []
                self._rank.at(instant).callbacks.append(partial(self._fire, instant))
            self._due[instant].append(part)

    def _fire(self, instant: int, _: Any) -> None:
        """Issue what is due, in the order in which it was recorded."""
        rows = np.sort(np.concatenate(self._due.pop(instant)))
        _issue(self._rank, Batch(self._script.writes, self._script.sets), rows, np.full(len(rows), instant))


def _issue(rank: "Rank", batch: Batch, rows: Column, instants: Column) -> None:
    """Send the ``rows`` of a batch at ``instants``."""
    writes, sets = batch.writes, batch.sets
    what = writes.what if isinstance(writes.what, str) else [writes.what[row] for row in rows.tolist()]
    chosen = Writes(instants, writes.dst[rows], writes.size[rows], writes.flag[rows], what)
    if isinstance(sets, np.ndarray):
        rank.replay(chosen, sets[rows], flags=None if batch.flags is None else rank.flags(*batch.flags))
    else:
        rank.replay(chosen, _flags(rank, [sets[row] for row in rows.tolist()]))


def _flags(rank: "Rank", words: Sequence[Word]) -> list[Any]:
    return [word if isinstance(word, str) else rank.flags(word[0], word[1])[word[2]] for word in words]
