"""The JSON of a profiler trace, event by event: limits hold before memory is spent, what is used has its type."""

import json
import math
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard

from simcore.errors import InputError, printable, reason
from simcore.formats.json_text import Cut, Gzip, Text
from simcore.units import LARGEST

LARGEST_TRACE = 2**30
"""Bytes of one trace after decompression; a file that unpacks to more is refused as soon as it does."""
MOST_EVENTS = 2**23
"""Events of one trace, of whatever kind."""
LARGEST_KEPT = 2**26
"""Characters of the events that are kept: collectives and the calls of the host around them."""
MOST_ROWS = 2**20
"""Events that are kept besides, of the categories that the caller names: all kernels, say."""
MOST_RANKS = 2**17
"""Ranks of the job that was recorded."""
LATEST_US = 10**17
"""Microseconds: no timestamp lies as far from zero, and a duration stays below a hundred-thousandth of it."""

PS_PER_US = 10**6
KNOWN = {
    "cpu_op",
    "kernel",
    "gpu_memcpy",
    "gpu_memset",
    "cuda_runtime",
    "cuda_driver",
    "user_annotation",
    "gpu_user_annotation",
    "python_function",
    "Trace",
}
_NOTES = ("nccl:", "c10d::", "gloo:")
_CALLS = ("cuda_runtime", "cuda_driver")


@dataclass(frozen=True, slots=True)
class Event:
    """One event that bears on collectives: its times in ps, the thread it ran on, and of its arguments those that are
    used, each of the type that ``_ARGUMENTS`` says."""

    category: str
    name: str
    start: int
    end: int
    thread: tuple[Any, Any]
    args: Mapping[str, Any]


@dataclass
class Recording:
    """What one trace file holds: the keys beside the list of events, counts by category, the time covered (ps), the
    events kept."""

    about: dict[str, Any] = field(default_factory=dict)
    total: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first_us: Decimal | int = LATEST_US
    covered: dict[bool, tuple[int, int]] = field(default_factory=dict)
    """Begin and end of what the profiler recorded; under ``True`` of its own span over everything."""
    kept: list[Event] = field(default_factory=list)
    rows: list[Event] = field(default_factory=list)
    """The events of the categories that the caller named, whatever their names."""
    cut: str = ""
    """A sentence on how much was read where the file is cut off."""


def read_recording(path: Path, limit: int = LARGEST_TRACE, also: frozenset[str] = frozenset()) -> Recording:
    """Return what ``path`` holds (plain or gzip; an object with ``traceEvents``, or a bare list of events): events that
    bear on collectives, and all those of the categories ``also``.

    A file that is cut off is read up to the cut, and ``Recording.cut`` says so. Memory is bounded by the limits above
    whatever the file holds. Raises ``InputError``.
    """
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            if not packed:
                return _read(Text(stream.read, path, limit), path, also)
            unpacked = Gzip(stream.read)
            found = _read(Text(unpacked.read, path, limit), path, also)
            if unpacked.cut and not found.cut:
                found.cut = f"the gzip file is cut off behind its last event: all {found.total} events are there"
            return found
    except zlib.error as error:
        raise InputError(f"{path}: the gzip file is damaged ({str(error).rstrip('.').lower()})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply to be a Kineto trace") from None
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"{path}: not a Kineto trace: {one_line(str(error), 200)}") from None
    except MemoryError:
        raise InputError(f"{path}: needs more memory than there is; record fewer steps") from None


def _read(text: Text, path: Path, also: frozenset[str]) -> Recording:
    found = Recording()
    try:
        _read_all(text, path, also, found)
    except Cut as cut:
        if not found.total:
            raise InputError(f"{cut}: there is no whole event before the cut") from None
        found.cut = (
            f"the file is cut off after {text.size} bytes of text: the {found.total} events before the cut are "
            "imported, what is missing is unknown"
        )
    return found


def _read_all(text: Text, path: Path, also: frozenset[str], found: Recording) -> None:
    begin = text.peek()
    if not begin:
        raise InputError(f"{path}: empty; expected a Kineto trace (JSON, plain or gzip)")
    events = begin == "["
    if events:
        _take_events(text, found, also)
    elif begin == "{":
        for _ in text.items("{", "}"):
            key = text.value()
            text.take(":")
            if key == "traceEvents" and text.peek() == "[":
                events = True
                _take_events(text, found, also)
            else:
                value = text.value()
                if text.ended and _numeric(value):
                    raise Cut(f"{path}: the trace is cut off")  # within the number, for all we know
                found.about[str(key)] = value
    else:
        text.value()
    if not events:
        raise InputError(f"{path}: not a Kineto trace; expected an object with 'traceEvents' or a list of events")
    text.end()


def _take_events(text: Text, found: Recording, also: frozenset[str]) -> None:
    kept = 0
    for _ in text.items("[", "]"):
        begin = text.position
        event = text.value()
        if not isinstance(event, dict):
            raise ValueError(f"event {found.total} is no object with keys, but {shown(event)}")
        if _take(event, found, also):
            kept += text.position - begin
        found.total += 1
        if found.total > MOST_EVENTS:
            raise ValueError(f"more than {MOST_EVENTS} events; record fewer steps")
        if kept > LARGEST_KEPT:
            raise ValueError(f"more than {LARGEST_KEPT} characters of collectives and calls; record fewer steps")
        if len(found.rows) > MOST_ROWS:
            raise ValueError(f"more than {MOST_ROWS} events of the kinds {', '.join(sorted(also))}; record fewer steps")


def _take(event: dict[str, Any], found: Recording, also: frozenset[str]) -> bool:
    """Count an event, and keep it if it bears on collectives or is of a category in ``also``; return whether it bears
    on collectives. Raises ``ValueError`` where a field that is used has a wrong type."""
    name, category = one_line(event.get("name", "")), one_line(event.get("cat"), 60)
    if event.get("ph") != "X":
        return False
    wanted = (
        (category == "kernel" and re.search("nccl", name, re.IGNORECASE))
        or name.startswith(_NOTES)
        or (category in _CALLS and isinstance(event.get("args"), dict) and "correlation" in event["args"])
    )
    begin, length = event.get("ts"), event.get("dur", 0)
    if not (_numeric(begin) and _numeric(length)):
        if wanted or category in also:
            raise ValueError(f"event {found.total} ({name}): ts and dur must be numbers of microseconds")
        return False
    if not (-LATEST_US < begin < LATEST_US and -LATEST_US < length < LATEST_US // 10**5):
        raise ValueError(f"event {found.total} ({name}): its ts or dur is out of range")
    start, end = microseconds(begin), microseconds(begin) + microseconds(max(length, 0))
    found.counts[category] += 1
    if len(found.counts) > 1000:
        raise ValueError("more than 1000 categories of events")
    found.first_us = min(found.first_us, begin)
    overall = category == "Trace"
    was = found.covered.get(overall, (start, end))
    found.covered[overall] = (min(was[0], start), max(was[1], end))
    if not wanted and category not in also:
        return False
    try:
        if length < 0:
            raise ValueError(f"dur is {shown(length)}; expected zero or more")
        thread = (_key(event.get("pid")), _key(event.get("tid")))
        one = Event(category, sys.intern(name), start, end, thread, _arguments(event.get("args")))
    except ValueError as error:
        raise ValueError(f"event {found.total} ({name}): {error}") from None
    if wanted:
        found.kept.append(one)
    if category in also:
        found.rows.append(one)
    return bool(wanted)


def _arguments(args: Any) -> dict[str, Any]:
    if args is None:
        return {}
    if not isinstance(args, dict):
        raise ValueError(f"args is {shown(args)}; expected keys with values")
    checked = {}
    for key in _ARGUMENTS.keys() & args.keys():
        try:
            checked[key] = _ARGUMENTS[key](args[key])
        except ValueError as error:
            raise ValueError(f"{key!r} is {shown(args[key])}; expected {error}") from None
    return checked


def is_count(value: Any, below: int = LARGEST) -> bool:
    """Return whether ``value`` is a whole number from 0 to below ``below``."""
    return type(value) is int and 0 <= value < below


def _count(value: Any) -> int:
    if not is_count(value):
        raise ValueError(f"a whole number from 0 to below {LARGEST}")
    return int(value)


def _key(value: Any) -> Any:
    if not (value is None or isinstance(value, str) or type(value) is int):
        raise ValueError(f"pid, tid and correlation are a number or a word, not {shown(value)}")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a word")
    return one_line(value)


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("a list of words")
    return tuple(one_line(part, 60) for part in value)


def _lengths(value: Any) -> tuple[int | None, ...]:
    """Return the elements of every tensor; None for what is no tensor of one shape (a scalar, a list of tensors)."""
    if not isinstance(value, list):
        raise ValueError("a list of shapes")
    lengths: list[int | None] = []
    for shape in value:
        if isinstance(shape, list) and shape and all(type(n) is int for n in shape):
            if len(shape) > 64 or min(shape) < 0 or math.prod(n or 1 for n in shape) >= LARGEST:
                raise ValueError(f"shapes of at most 64 lengths, zero or more, below {LARGEST} elements in all")
            lengths.append(math.prod(shape))
        else:
            lengths.append(None)
    return tuple(lengths)


def _ranks(value: Any) -> tuple[int, ...] | None:
    """Return the ranks of a group, ascending; None where they are not all listed ("[0, 1, ..., 127]")."""
    return _listed(value if isinstance(value, str) else json.dumps(value, default=str))


@lru_cache(maxsize=256)
def _listed(text: str) -> tuple[int, ...] | None:
    numbers = re.findall(r"[-+.\w]+", text)
    if not numbers or "..." in text:
        return None
    if not all(re.fullmatch(r"[0-9]{1,9}", number) for number in numbers) or len(set(numbers)) < len(numbers):
        raise ValueError("different ranks, each 0 or more, as in '[0, 1]'")
    return tuple(sorted(map(int, numbers)))


_ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "Collective name": _word, "In msg nelems": _count, "Out msg nelems": _count, "dtype": _word,
    "Process Group Ranks": _ranks, "Input Dims": _lengths, "Input type": _words, "correlation": _key,
    "device": _key, "stream": _key, "bytes": _count, "wait_on_stream": _key,
    "wait_on_cuda_event_record_corr_id": _key,
}  # fmt: skip
"""The arguments that are used: what turns each into the type that ``Event.args`` holds, or says what was expected."""


def _numeric(value: Any) -> TypeGuard[int | Decimal]:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def microseconds(value: int | Decimal) -> int:
    """Return microseconds as ps, rounded down where the text has more than six decimals."""
    return int(value * PS_PER_US)


def shown(value: Any) -> str:
    """Return a value of JSON for a message: short, on one line."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    return "null" if value is None else one_line(json.dumps(value, default=str), 60)


def one_line(value: Any, longest: int = 120) -> str:
    """Return ``value`` as text of one line, at most about ``longest`` characters."""
    return printable(str(value), longest)
