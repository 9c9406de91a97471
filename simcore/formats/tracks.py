"""From the tables of a run to tracks and the events on them, as viewers of timelines want them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from simcore.errors import InputError
from simcore.trace import natural, numbers, parted

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

T = TypeVar("T")

CHUNK = 65_536
"""Events that are in work at once."""

TrackKind = Literal["process", "thread", "lane", "group", "counter"]
Path = tuple[str, ...]
"""The way to a track: its process, the groups below it, its name."""
EventKind = Literal["slice", "instant", "counter"]
Phase = Literal["begin", "end", "instant", "counter"]


@dataclass(frozen=True, slots=True)
class Track:
    """A row of the viewer: its number, from 1, its name, the number of the track to which it belongs (0: none), its
    place among those that belong there too, and, of the rows that share what overlaps, which one it is, from 0."""

    number: int
    name: str
    kind: TrackKind
    parent: int = 0
    place: int = 0
    lane: int = 0


@dataclass(frozen=True)
class Text:
    """A column of text: the different ``values``, and for every row which one."""

    codes: "Array"
    values: Sequence[str]


@dataclass(frozen=True)
class Events:
    """Events of one kind, a row each; ``order`` lists the rows by begin and end (ps, equal but for slices).

    ``flow``: the number of the arrow that begins at a slice, or ends at an instant. ``value``: of counters.
    """

    kind: EventKind
    order: "Array"
    track: "Array"
    begin: "Array"
    end: "Array"
    name: Text
    category: Text
    arguments: Mapping[str, "Array | Text"] = field(default_factory=dict)
    flow: "Array | None" = None
    value: "Array | None" = None

    def __len__(self) -> int:
        return len(self.order)

    def times(self, phase: "Phase", rows: "Array") -> "Array":
        """Return the instant of ``phase`` of each of ``rows``, ps."""
        return (self.end if phase == "end" else self.begin)[rows]


@dataclass(frozen=True)
class Batch:
    """Events of one form out of a stretch of all events in order of time: one phase of the ``rows`` of ``events``, and
    their ``places`` in the stretch."""

    events: Events
    phase: Phase
    rows: "Array"
    places: "Array"


@dataclass(frozen=True)
class Timeline:
    """All tracks and all events of a run."""

    tracks: list[Track]
    events: list[Events]

    def counts(self) -> dict[str, int]:
        """Return how much of everything there is."""
        kinds = {kind: sum(len(found) for found in self.events if found.kind == kind) for kind in _PHASES}
        arrows = sum(len(found) for found in self.events if found.flow is not None and found.kind == "instant")
        processes = sum(track.kind == "process" for track in self.tracks)
        return {
            "processes": processes,
            "tracks": sum(track.kind not in ("process", "group") for track in self.tracks),
            "slices": kinds["slice"],
            "instants": kinds["instant"],
            "samples": kinds["counter"],
            "flows": arrows,
        }

    def stretches(self) -> Iterator[tuple[int, list[Batch]]]:
        """Yield all phases of all events in order of time, a stretch of so many at a time.

        Of one instant: slices of a track begin and end in their order, then come instants and counters. So every slice
        has ended before the next one of its track begins, also where both are shorter than the clock of the viewer.
        """
        import numpy as np

        events = sorted(filter(len, self.events), key=lambda found: found.kind != "slice")
        first = np.cumsum([0, *(len(found) * len(_PHASES[found.kind]) for found in events)])
        times = np.zeros(first[-1], np.int64)
        for found, at, end in zip(events, first.tolist(), first[1:].tolist(), strict=False):
            phases = _PHASES[found.kind]
            for i, phase in enumerate(phases):
                times[at + i : end : len(phases)] = found.times(phase, found.order)
        order = np.argsort(times, kind="stable")
        del times
        for at in range(0, len(order), CHUNK):
            entries = order[at : at + CHUNK]
            which = np.searchsorted(first, entries, side="right") - 1
            batches = []
            for number in np.unique(which).tolist():
                found, phases = events[number], _PHASES[events[number].kind]
                place, part = np.divmod(entries - first[number], len(phases))
                for i, phase in enumerate(phases):
                    places = np.flatnonzero((which == number) & (part == i))
                    if len(places):
                        batches.append(Batch(found, phase, found.order[place[places]], places))
            yield len(entries), batches


_PHASES: dict[EventKind, tuple[Phase, ...]] = {
    "slice": ("begin", "end"),
    "instant": ("instant",),
    "counter": ("counter",),
}


def timeline(tables: Mapping[str, "pa.Table"], ranks: Sequence[str]) -> Timeline:
    """Return the tracks and events of a run; ``ranks`` names every rank number that its transfers have.

    A process a rank, and one for the links. A rank's tracks: its activity, each of its parts (rank0.wg17, rank0.stream
    7), what it sent and received by kind, and below ``flags`` every flag it waited for. Raises ``InputError`` for a
    rank without a name.
    """
    made = _Tracks(ranks)
    events = [_activities(tables["spans"], made), *_messages(tables["transfers"], made)]
    events += [*_waits(tables["flags"], made), _use(tables["links"], made)]
    return Timeline(made.all, events)


class _Tracks:
    """Makes every track when it is first asked for."""

    def __init__(self, ranks: Sequence[str]) -> None:
        self.all: list[Track] = []
        self.ranks = ranks
        self._places = {name: place for place, name in enumerate(ranks)}
        self._known: dict[tuple[int, str, int], int] = {}
        self._children: dict[int, int] = {}

    def track(self, path: Sequence[str], kind: TrackKind, lane: int = 0) -> int:
        """Return the number of the track that ``path`` leads to: its process, groups if any, its name."""
        process, *groups, name = path
        parent = self._child(0, process, "process", 0)
        for group in groups:
            parent = self._child(parent, group, "group", 0)
        return self._child(parent, name, kind, lane)

    def _child(self, parent: int, name: str, kind: TrackKind, lane: int) -> int:
        key = (parent, name, lane)
        if key not in self._known:
            place = self._children[parent] = self._children.get(parent, -1) + 1
            if not parent:
                # In the order of ranks, and what is no rank behind them.
                place = self._places.get(name, len(self._places))
            self._known[key] = len(self.all) + 1
            self.all.append(Track(len(self.all) + 1, name, kind, parent, place, lane))
        return self._known[key]

    def spread(
        self, groups: "tuple[Array, list[Path]]", kind: TrackKind, begin: "Array", end: "Array", order: "Array"
    ) -> "Array":
        """Return the track of every row: rows of a group, which is the path to a track, that overlap are on different
        lanes of it."""
        import numpy as np

        codes, paths = groups
        lane = lanes(codes, begin, end, order)
        width = int(lane.max(initial=0)) + 1
        keys, inverse = np.unique(codes.astype(np.int64) * width + lane, return_inverse=True)
        parts = sorted(
            ([natural(step) for step in paths[key // width]], key % width, i, paths[key // width])
            for i, key in enumerate(keys.tolist())
        )
        made = np.zeros(len(keys), np.int64)
        for _, which, i, path in parts:
            made[i] = self.track(path, kind, which)
        return made[inverse]


def lanes(groups: "Array", begin: "Array", end: "Array", order: "Array") -> "Array":
    """Return the lane of every row, from 0: the lowest one of its group that is free from ``begin`` to ``end``.

    Nothing overlaps within a lane, so nothing is nested; a group has as many lanes as its rows ever overlap.
    """
    import numpy as np

    busy: dict[int, list[tuple[int, int]]] = {}
    free: dict[int, list[int]] = {}
    found = np.zeros(len(order), np.int64)
    for at in range(0, len(order), CHUNK):
        rows = order[at : at + CHUNK]
        columns = (column.tolist() for column in (rows, groups[rows], begin[rows], end[rows]))
        for row, group, t0, t1 in zip(*columns, strict=True):
            here, idle = busy.setdefault(group, []), free.setdefault(group, [])
            while here and here[0][0] <= t0:
                heappush(idle, heappop(here)[1])
            lane = heappop(idle) if idle else len(here)
            heappush(here, (t1, lane))
            found[row] = lane
    return found


def _activities(table: "pa.Table", made: _Tracks) -> Events:
    begin, end, order = _interval(table, "t0_ps", "t1_ps")
    location, activity, reason, what = (_text(table, name) for name in ("location", "activity", "reason", "what"))
    track = made.spread(_combined(_of_location, location), "thread", begin, end, order)
    name = Text(*_combined(_activity_name, activity, reason, what))
    rest = _arguments(table, begin, end, but=("location", "t0_ps", "t1_ps"))
    return Events("slice", order, track, begin, end, name, activity, rest)


def _activity_name(activity: str, reason: str, what: str) -> str:
    return f"wait: {reason or what}" if activity == "wait" else what or activity


def _messages(table: "pa.Table", made: _Tracks) -> Iterator[Events]:
    """Yield the messages, on lanes of what their source sent, and their arrivals at the destination."""
    import numpy as np

    begin, end, order = _interval(table, "issued_ps", "arrived_ps")
    kind, what = _text(table, "kind"), _text(table, "what")
    src, dst = (_named(table, name, made.ranks) for name in ("src", "dst"))
    name = Text(what.codes, [value or "message" for value in what.values])
    flow = np.arange(1, len(order) + 1)
    track = made.spread(_combined(_sent, src, kind), "lane", begin, end, order)
    rest = _arguments(table, begin, end, but=("issued_ps", "arrived_ps", "src", "dst", "what", "kind"))
    yield Events("slice", order, track, begin, end, name, kind, {**rest, "src": src, "dst": dst}, flow)

    codes, paths = _combined(_received, dst, kind)
    first = np.array([made.track(path, "lane") for path in paths], np.int64)
    arrived: dict[str, Array | Text] = {"t_ps": end, "src": src}
    order = np.argsort(end, kind="stable")
    yield Events("instant", order, first[codes], end, end, name, kind, arrived, flow)


def _sent(rank: str, kind: str) -> Path:
    return rank, f"sent: {kind}"


def _received(rank: str, kind: str) -> Path:
    return rank, f"received: {kind}"


def _waits(table: "pa.Table", made: _Tracks) -> Iterator[Events]:
    """Yield the waits for flags, and for each flag the instants at which it took an awaited value."""
    import numpy as np

    begin, end, order = _interval(table, "t0_ps", "detected_ps")
    location, flag, policy = (_text(table, name) for name in ("location", "flag", "policy"))
    groups = _combined(_flag, location, flag)
    track = made.spread(groups, "lane", begin, end, order)
    category = Text(np.zeros(len(order), np.int32), ["flag"])
    rest = _arguments(table, begin, end, but=("flag", "policy", "t0_ps", "detected_ps"))
    yield Events("slice", order, track, begin, end, policy, category, rest)

    codes, paths = groups
    set_ps = numbers(table, "set_ps")
    # set_ps 0 says that the flag held the value from the beginning: nobody set it.
    pairs = np.unique(np.column_stack([set_ps, codes])[set_ps > 0], axis=0)
    first = np.array([made.track(path, "lane") for path in paths], np.int64)
    zeros = np.zeros(len(pairs), np.int32)
    at, order = np.ascontiguousarray(pairs[:, 0]), np.arange(len(pairs))
    yield Events(
        "instant", order, first[pairs[:, 1]], at, at, Text(zeros, ["set"]), Text(zeros, ["flag"]), {"t_ps": at}
    )


def _flag(location: str, flag: str) -> Path:
    return parted(location)[0], "flags", flag


def _use(table: "pa.Table", made: _Tracks) -> Events:
    """Return the utilisation of every link in percent, a sample a bin; after a bin whose next one is missing, which is
    empty, a sample of zero."""
    import numpy as np

    begin, end, busy = (numbers(table, name) for name in ("t0_ps", "t1_ps", "busy_ps"))
    link = _text(table, "link")
    rows = np.lexsort((begin, link.codes))
    codes = link.codes[rows]
    follows = (codes[1:] == codes[:-1]) & (begin[rows][1:] == end[rows][:-1])
    gaps = rows[np.append(~follows, True)] if len(rows) else rows
    time = np.concatenate([begin, end[gaps]])
    value = np.concatenate([100 * busy / (end - begin), np.zeros(len(gaps))])
    names = sorted(range(len(link.values)), key=lambda code: natural(link.values[code]))
    track = np.zeros(len(link.values), np.int64)
    for code in names:
        track[code] = made.track(("links", link.values[code]), "counter")
    which = np.concatenate([link.codes, link.codes[gaps]])
    none = Text(np.zeros(len(time), np.int32), [""])
    return Events("counter", np.argsort(time, kind="stable"), track[which], time, time, none, none, value=value)


def _of_location(location: str) -> Path:
    """Return the process and the track of a location."""
    rank, part = parted(location)
    return rank, part or "activity"


def _interval(table: "pa.Table", begin: str, end: str) -> "tuple[Array, Array, Array]":
    """Return begin and end of every row, ps, and the rows sorted by both."""
    import numpy as np

    t0, t1 = numbers(table, begin), numbers(table, end)
    return t0, t1, np.lexsort((t1, t0))


def _arguments(table: "pa.Table", begin: "Array", end: "Array", but: Sequence[str]) -> "dict[str, Array | Text]":
    """Return what a slice says beside its name: both ends exactly, and all columns ``but`` some."""
    rest = [name for name in table.column_names if name not in but]
    columns = {name: _text(table, name) if table[name].type == "string" else numbers(table, name) for name in rest}
    return {"t0_ps": begin, "t1_ps": end, **columns}


def _text(table: "pa.Table", name: str) -> Text:
    import numpy as np

    column = table[name].dictionary_encode().unify_dictionaries().combine_chunks()
    if not len(column):
        return Text(np.zeros(0, np.int32), [])
    return Text(np.from_dlpack(column.indices), column.dictionary.to_pylist())


def _named(table: "pa.Table", name: str, ranks: Sequence[str]) -> Text:
    """Return a column of rank numbers as the names of the ranks."""
    codes = numbers(table, name)
    last = int(codes.max(initial=-1))
    if last >= len(ranks):
        raise InputError(f"transfers.{name} holds rank {last}, but the run has {len(ranks)} ranks")
    return Text(codes, ranks)


def _combined(form: Callable[..., T], *texts: Text) -> "tuple[Array, list[T]]":
    """Return a column of what ``form`` makes of the texts of a row: for every row which value, and the values that
    occur, each once."""
    import numpy as np

    shape = [len(text.values) for text in texts]
    if not len(texts[0].codes):
        return np.zeros(0, np.int64), []
    keys, codes = np.unique(np.ravel_multi_index([text.codes for text in texts], shape), return_inverse=True)
    rows = zip(*(part.tolist() for part in np.unravel_index(keys, shape)), strict=True)
    made = [form(*(text.values[code] for text, code in zip(texts, row, strict=True))) for row in rows]
    place = {value: number for number, value in enumerate(dict.fromkeys(made))}
    return np.array([place[value] for value in made], np.int64)[codes], list(place)
