"""A run as a trace for the Perfetto viewer: its own protobuf format, or for small runs the JSON of Chrome's viewer.

Field numbers are those of Perfetto's protos/perfetto/trace (github.com/google/perfetto, Apache 2.0).
"""

import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from simcore.errors import InputError, writing
from simcore.formats.tracks import Batch, Events, Text, Timeline, Track, timeline
from simcore.formats.wire import Rows, content, integer

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

PROTOBUF = (".pftrace", ".perfetto-trace")
LARGEST_JSON = 200_000
"""Slices, instants and samples of a JSON trace; viewers read one whole before they show anything."""
PER_NS = 1000
SEQUENCE = 1
"""The one sequence of packets; interned text and its numbers belong to it."""
CLEARED, NEEDED = 1, 2
"""Flags of a packet: interned text begins anew; it is needed."""
EXPLICIT = 3
"""Order of child tracks: by their places. The root says 1 for processes and threads."""
TEXTS = 4096
"""Texts that one packet introduces."""
_TYPES = {"begin": 1, "end": 2, "instant": 3, "counter": 4}
_NAME, _CATEGORY, _ARGUMENT, _VALUE = 2, 1, 3, 29
"""Tables of interned text: names of events, categories, names of arguments, text of arguments."""


@dataclass(frozen=True)
class Exported:
    """What was written: how much of everything, and the bytes of the file."""

    counts: dict[str, int]
    size: int


def export(tables: Mapping[str, "pa.Table"], ranks: Sequence[str], path: Path) -> Exported:
    """Write the tables of a run to ``path``, whole or not at all, in the format that its suffix names, in gzip where
    ``.gz`` follows; ``ranks`` names every rank number of the transfers.

    The output is never in memory as a whole. Raises ``InputError`` for another suffix, for a run too large for JSON,
    and where the file cannot be written.
    """
    name = path.name.removesuffix(".gz")
    if not name.endswith((*PROTOBUF, ".json")):
        raise InputError(
            f"{path}: the suffix says no format; expected {', '.join(PROTOBUF)} or .json, and .gz after it"
        )
    made = timeline(tables, ranks)
    counts = made.counts()
    events = counts["slices"] + counts["instants"] + counts["samples"]
    if name.endswith(".json") and events > LARGEST_JSON:
        raise InputError(f"{path}: {events} events; JSON holds at most {LARGEST_JSON}, name the file {PROTOBUF[0]}")
    pieces = _json(made) if name.endswith(".json") else _packets(made)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        try:
            with scratch.open("wb") as stream:
                _write(stream, pieces, path.name.endswith(".gz"))
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
        return Exported(counts, path.stat().st_size)


def _write(stream: IO[bytes], pieces: Iterable[bytes], zipped: bool) -> None:
    if not zipped:
        stream.writelines(pieces)
        return
    # No name and no time in it: the same run gives the same bytes.
    with gzip.GzipFile("", "wb", 6, stream, mtime=0) as packed:
        for piece in pieces:
            packed.write(piece)


def _packets(made: Timeline) -> Iterator[bytes]:
    """Yield the trace in pieces of many packets: tracks, text, then events in order of time."""
    yield _packet(60, integer(1, 0) + integer(19, 1) + integer(20, 1), CLEARED)
    yield b"".join(_packet(60, _descriptor(track)) for track in made.tracks)
    interned = _Interned()
    forms = {id(events): _Form(events, interned) for events in made.events}
    yield from interned.packets()
    for count, batches in made.stretches():
        packets = [b""] * count
        for batch in batches:
            for place, packet in zip(batch.places.tolist(), forms[id(batch.events)].packets(batch), strict=True):
                packets[place] = packet
        yield b"".join(packets)


def _packet(number: int, data: bytes, flags: int = 0) -> bytes:
    """Return a packet that holds one message, its field ``number``, and is no event."""
    return content(1, _message({10: integer(10, SEQUENCE), 13: integer(13, flags), number: content(number, data)}))


def _message(fields: Mapping[int, bytes]) -> bytes:
    """Return encoded fields in the order of their numbers, as every encoder writes them."""
    return b"".join(fields[number] for number in sorted(fields))


def _descriptor(track: Track) -> bytes:
    """Return what describes a track; a process or thread takes the track's number for its own."""
    fields = {1: integer(1, track.number), 2: content(2, track.name), 12: integer(12, track.place)}
    if track.kind == "process":
        # The place twice: a viewer that does not know that of the track knows that of the process.
        fields[3] = content(3, integer(1, track.number) + integer(3, track.place) + content(6, track.name))
    else:
        fields[5] = integer(5, track.parent)
    if track.kind == "thread":
        # The first thread of a process is its main one, which has the number of the process.
        number = track.number if track.place else track.parent
        about = integer(1, track.parent) + integer(2, number) + integer(3, track.place) + content(5, track.name)
        fields[4] = content(4, about)
    if track.kind in ("process", "group"):
        fields[11] = integer(11, EXPLICIT)
    if track.kind == "counter":
        fields[8] = content(8, content(6, "%") + content(7, "utilisation"))
    return _message(fields)


class _Interned:
    """Text that stands once in the trace, each in its table by a number from 1."""

    def __init__(self) -> None:
        self._tables: dict[int, dict[str, int]] = {table: {} for table in (_CATEGORY, _NAME, _ARGUMENT, _VALUE)}

    def number(self, table: int, text: str) -> int:
        """Return the number of ``text`` in ``table``."""
        known = self._tables[table]
        return known.setdefault(text, len(known) + 1)

    def numbers(self, table: int, text: Text) -> "Array":
        """Return the number of each value of ``text``."""
        import numpy as np

        return np.array([self.number(table, value) for value in text.values], np.int64)

    def packets(self) -> Iterator[bytes]:
        """Yield the packets that introduce all text."""
        for table, known in self._tables.items():
            entries = [content(table, integer(1, number) + content(2, text)) for text, number in known.items()]
            for at in range(0, len(entries), TEXTS):
                yield _packet(12, b"".join(entries[at : at + TEXTS]), NEEDED)


class _Form:
    """Encodes events of one form."""

    def __init__(self, events: Events, interned: _Interned) -> None:
        self._events = events
        self._names = interned.numbers(_NAME, events.name)
        self._categories = interned.numbers(_CATEGORY, events.category)
        self._arguments = [
            (
                integer(1, interned.number(_ARGUMENT, name)),
                interned.numbers(_VALUE, column)[column.codes] if isinstance(column, Text) else column,
                17 if isinstance(column, Text) else 4,
            )
            for name, column in events.arguments.items()
        ]

    def packets(self, batch: Batch) -> list[bytes]:
        """Return the packets of ``batch``, whose events are of this form."""
        events, rows, count = self._events, batch.rows, len(batch.rows)
        told = batch.phase in ("begin", "instant")
        event = Rows(count)
        if told:
            event.add_integers(3, self._categories[events.category.codes[rows]])
            for name, column, number in self._arguments:
                argument = Rows(count)
                argument.add_constant(name)
                argument.add_integers(number, column[rows])
                event.add_messages(4, argument)
        event.add_constant(integer(9, _TYPES[batch.phase]))
        if told:
            event.add_integers(10, self._names[events.name.codes[rows]])
        event.add_integers(11, events.track[rows])
        if events.value is not None:
            event.add_eights(44, events.value[rows])
        if told and events.flow is not None:
            event.add_eights(47 if batch.phase == "begin" else 48, events.flow[rows])
        packet, trace = Rows(count), Rows(count)
        packet.add_integers(8, events.times(batch.phase, rows) // PER_NS)
        packet.add_constant(integer(10, SEQUENCE))
        packet.add_messages(11, event)
        packet.add_constant(integer(13, NEEDED if told else 0))
        trace.add_messages(1, packet)
        return trace.encoded()


def _json(made: Timeline) -> Iterator[bytes]:
    """Yield the trace in pieces: what names processes and threads, then events in order of time."""
    form = _Json(made.tracks)
    yield b'{"displayTimeUnit":"ns","traceEvents":[\n'
    yield ",\n".join(form.names()).encode()
    for count, batches in made.stretches():
        events = [""] * count
        for batch in batches:
            for place, event in zip(batch.places.tolist(), form.events(batch), strict=True):
                events[place] = event
        yield "".join(f",\n{event}" for event in events).encode()
    yield b"\n]}\n"


class _Json:
    """Encodes tracks and events as objects of JSON; every track is a thread there, and a group is not shown."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._tracks = tracks
        self._owner: list[int] = []
        for track in tracks:
            self._owner.append(self._owner[track.parent - 1] if track.parent else track.number)

    def names(self) -> Iterator[str]:
        """Yield what names every process and thread and gives it its place."""
        for track, owner in zip(self._tracks, self._owner, strict=True):
            what = {"process": "process", "thread": "thread", "lane": "thread"}.get(track.kind)
            if what:
                above = self._tracks[track.parent - 1].name if track.parent not in (0, owner) else ""
                name = " ".join(filter(None, [above, track.name, str(track.lane + 1) if track.lane else ""]))
                where = f'"ph":"M","pid":{owner},"tid":{track.number}'
                yield f'{{{where},"name":"{what}_name","args":{{"name":{json.dumps(name)}}}}}'
                yield f'{{{where},"name":"{what}_sort_index","args":{{"sort_index":{track.place}}}}}'

    def events(self, batch: Batch) -> Iterator[str]:
        """Yield each event of ``batch``, with the end of its arrow if it has one."""
        events, phase = batch.events, batch.phase
        for row, time in zip(batch.rows.tolist(), events.times(phase, batch.rows).tolist(), strict=True):
            track = int(events.track[row])
            where = f'"pid":{self._owner[track - 1]},"tid":{track},"ts":{_microseconds(time // PER_NS)}'
            if phase == "end":
                yield f'{{"ph":"E",{where}}}'
                continue
            if events.value is not None:
                name = json.dumps(self._tracks[track - 1].name)
                yield f'{{"ph":"C",{where},"name":{name},"args":{{"%":{float(events.value[row])!r}}}}}'
                continue
            about = f"{where},{self._about(events, row)}"
            if events.flow is None:
                yield f'{{"ph":"B",{about}}}' if phase == "begin" else f'{{"ph":"i","s":"t",{about}}}'
                continue
            arrow = f'{where},"id":{int(events.flow[row])},"name":"message","cat":"flow"'
            if phase == "begin":
                yield f'{{"ph":"B",{about}}},\n{{"ph":"s",{arrow}}}'
            else:
                # An arrow needs a slice to end at, so here an arrival is one, of no length.
                yield f'{{"ph":"B",{about}}},\n{{"ph":"f","bp":"e",{arrow}}},\n{{"ph":"E",{where}}}'

    def _about(self, events: Events, row: int) -> str:
        said = {
            name: column.values[column.codes[row]] if isinstance(column, Text) else int(column[row])
            for name, column in events.arguments.items()
        }
        name, category = (text.values[text.codes[row]] for text in (events.name, events.category))
        return f'"name":{json.dumps(name)},"cat":{json.dumps(category)},"args":{json.dumps(said)}'


def _microseconds(time: int) -> str:
    """Return ``time`` (ns) as a decimal number of microseconds.

    Perfetto multiplies it by 1,000 and cuts the rest off; where floating point would lose the nanosecond, digits follow
    that are less than a picosecond.
    """
    text = f"{time // 1000}.{time % 1000:03}"
    return text if int(float(text) * 1000.0) == time else f"{text}0005"
