"""What ran on the streams of one rank, as a profiler recorded it, and the graph that it is taken for."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from simcore.formats.execution import Node
from simcore.units import TIME, short


@dataclass(frozen=True, slots=True)
class Activity:
    """One kernel, copy or collective on a stream: recorded begin and end (ps), bytes (None: unknown), and when the host
    launched it (ps, -1: unknown), on which thread.

    A collective is an ``operation`` among the ranks ``group``, None where they are unknown.
    """

    name: str
    kind: Literal["compute", "memory", "collective"]
    stream: str
    begin: int
    end: int
    size: int | None = 0
    operation: str = ""
    group: tuple[int, ...] | None = ()
    launched: int = -1
    thread: Any = None


@dataclass(frozen=True, slots=True)
class Wait:
    """A call of the host, at ``called`` (ps) on ``thread``, that makes a stream wait.

    ``stream`` waits for what ``other`` had been given when the host recorded its event, at ``recorded`` (ps); both are
    "" where the trace has the call alone.
    """

    called: int
    thread: Any
    stream: str = ""
    other: str = ""
    recorded: int = -1


def graph(activities: Sequence[Activity], waits: Sequence[Wait] | None, zero: int = 0) -> tuple[list[Node], list[str]]:
    """Return the activities as nodes in order of their begin, and sentences on how they depend on each other.

    ``waits``: what the host's calls say about streams that wait for each other, None where the trace does not hold such
    calls. ``zero``: the instant of the recorder's clock that is time zero. Every node carries the gap between the end
    of what it waits for and its recorded begin; so with the recorded durations it begins when it was recorded to. An
    unknown size is -1.

    Model: a stream runs one activity after another. One that was recorded to begin before the one before it had ended
    begins at that end and keeps its own end.

    Model: dependencies between streams are those of the stream waits that the trace holds with both their streams.
    Without those they are inferred. A collective waits for the last computation or copy that was launched before it and
    had ended when it began. What a host's thread launches next after a call that makes some stream wait waits for the
    last collective of every stream that had been launched by then and had ended; calls that belong to the launch of a
    collective do not count. Where a trace holds no such calls, what found its stream idle at the end of a collective
    that was launched before waits for that collective. So a computation may wait for a collective that it does not
    need, and, by the last rule, dependencies that never made anybody wait are lost.
    """
    order = sorted(activities, key=lambda each: (each.begin, each.end))
    begins, ends, said = _one_by_one(order)
    streams = _streams(order, ends)
    after: list[set[int]] = [set() for _ in order]
    latest: dict[str, int] = {}
    for number, each in enumerate(order):
        _add(after, number, latest.get(each.stream, -1))
        latest[each.stream] = number
    count = sum(map(len, after))
    exact = [wait for wait in waits or () if wait.stream]
    if exact:
        _follow(exact, streams, begins, after)
        rule = "are those of the stream waits that the trace names"
    else:
        _collectives_wait(order, streams, begins, after)
        if waits is None:
            _idle_streams_wait(order, streams, begins, ends, after)
            rule = "are inferred: the trace holds no calls that make a stream wait, so streams found idle waited"
        else:
            _callers_wait(waits, order, streams, begins, after)
            rule = "are inferred from the host's calls that make some stream wait"
    if len(latest) > 1:
        said.append(f"{sum(map(len, after)) - count} dependencies between {len(latest)} streams {rule}")
    nodes = []
    for number, (each, begin, end) in enumerate(zip(order, begins, ends, strict=True)):
        gap = begin - max((ends[other] for other in after[number]), default=zero)
        nodes.append(
            Node(
                number, each.name, each.kind, tuple(sorted(after[number])), end - begin, gap,
                -1 if each.size is None else each.size,
                operation=each.operation, group=each.group or (), stream=each.stream, begin=begin - zero,
            )
        )  # fmt: skip
    return nodes, said


def _one_by_one(order: Sequence[Activity]) -> tuple[list[int], list[int], list[str]]:
    """Return begins and ends so that a stream's activities do not overlap, and a sentence where they did."""
    begins, ends = [each.begin for each in order], [each.end for each in order]
    free: dict[str, int] = {}
    moved = total = 0
    for number, each in enumerate(order):
        late = free.get(each.stream, each.begin) - each.begin
        if late > 0:
            moved, total = moved + 1, total + late
            begins[number] += late
            ends[number] = max(each.end, begins[number])
        free[each.stream] = ends[number]
    said = [f"{moved} began before the one before them in their stream had ended, by {short(total, TIME)} in all"]
    return begins, ends, said if moved else []


@dataclass(frozen=True)
class _Stream:
    """The activities of one stream in order: their numbers, ends, and when the host had launched them, each at the
    latest when the next one was; whether they are collectives."""

    numbers: list[int]
    ends: list[int]
    launched: list[int]
    collective: bool

    def last(self, launched: int, ended: int) -> int:
        """Return the number of the last one that was launched before ``launched`` (-1: any) and had ended by ``ended``,
        -1 if there is none."""
        count = bisect_right(self.ends, ended)
        if launched >= 0:
            count = min(count, bisect_left(self.launched, launched))
        return self.numbers[count - 1] if count else -1

    def first(self, launched: int) -> int:
        """Return the number of the first one that was launched after ``launched``, -1 if there is none."""
        count = bisect_right(self.launched, launched)
        return self.numbers[count] if count < len(self.numbers) else -1


def _streams(order: Sequence[Activity], ends: Sequence[int]) -> dict[tuple[str, bool], _Stream]:
    """Return the streams by their name and whether they are those of collectives: one that has both kinds is there
    twice."""
    numbers: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for number, each in enumerate(order):
        numbers[each.stream, each.kind == "collective"].append(number)
    return {
        key: _Stream(those, [ends[n] for n in those], list(accumulate((order[n].launched for n in those), max)), key[1])
        for key, those in numbers.items()
    }


def _follow(
    waits: Sequence[Wait], streams: dict[tuple[str, bool], _Stream], begins: Sequence[int], after: list[set[int]]
) -> None:
    """Add what the trace itself says: the next activity of ``wait.stream`` waits for the last one that ``wait.other``
    had been given."""
    for wait in waits:
        nexts = [
            streams[key].first(wait.called) for key in ((wait.stream, False), (wait.stream, True)) if key in streams
        ]
        number = min((each for each in nexts if each >= 0), default=-1)
        for key in ((wait.other, False), (wait.other, True)):
            if number >= 0 and key in streams:
                _add(after, number, streams[key].last(wait.recorded, begins[number]))


def _collectives_wait(
    order: Sequence[Activity], streams: dict[tuple[str, bool], _Stream], begins: Sequence[int], after: list[set[int]]
) -> None:
    others = [stream for stream in streams.values() if not stream.collective]
    ends = dict(pair for stream in others for pair in zip(stream.numbers, stream.ends, strict=True))
    for number, each in enumerate(order):
        if each.kind == "collective":
            found = [stream.last(each.launched, begins[number]) for stream in others]
            last = max((other for other in found if other >= 0), key=lambda other: (ends[other], other), default=-1)
            _add(after, number, last)


def _callers_wait(
    waits: Sequence[Wait], order: Sequence[Activity], streams: dict[tuple[str, bool], _Stream], begins: Sequence[int],
    after: list[set[int]],
) -> None:  # fmt: skip
    launches: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    for number, each in enumerate(order):
        if each.launched >= 0:
            launches[each.thread].append((each.launched, number))
    for those in launches.values():
        those.sort()
    for wait in waits:
        those = launches[wait.thread]
        place = bisect_right(those, (wait.called, len(order)))
        if place < len(those) and order[those[place][1]].kind != "collective":
            number = those[place][1]
            for stream in streams.values():
                if stream.collective:
                    _add(after, number, stream.last(wait.called, begins[number]))


def _idle_streams_wait(
    order: Sequence[Activity], streams: dict[tuple[str, bool], _Stream], begins: Sequence[int], ends: Sequence[int],
    after: list[set[int]],
) -> None:  # fmt: skip
    for number, each in enumerate(order):
        if each.kind != "collective":
            idle = max((ends[other] for other in after[number]), default=begins[0])
            for stream in streams.values():
                last = stream.last(each.launched, begins[number]) if stream.collective else -1
                if last >= 0 and ends[last] >= idle:
                    _add(after, number, last)


def _add(after: list[set[int]], number: int, other: int) -> None:
    """Let ``number`` wait for ``other`` (-1: nobody), which comes before it: instants alone do not tell which of two
    activities without a duration was first."""
    if 0 <= other < number:
        after[number].add(other)
