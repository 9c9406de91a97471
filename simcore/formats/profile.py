"""The annotated timing profile: who writes how much into whose memory, and when, as CSV."""

import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from simcore.errors import InputError, reason, writing
from simcore.trace import numbers
from simcore.units import LARGEST, SIZE, TIME, short

FORMAT = "simcore timing profile 2"
_FORMAT_BEFORE = "simcore timing profile 1"
FLAG_BYTES = 8
"""Size of a flag, one 64-bit word."""
MOST_WRITES = 2**23
"""Rows of a profile that is made, flags included."""
LARGEST_FILE = 2**31
"""Bytes of a profile that are read."""

COLUMNS = (
    "rank", "start_ps", "time_ps", "arrived_ps", "dst", "size_bytes", "kind", "collective", "step", "group", "phase",
    "name",
)  # fmt: skip
_NUMBERS = ("rank", "start_ps", "time_ps", "arrived_ps", "dst", "size_bytes", "collective", "step", "group")
_WORDS = {"kind": ("data", "flag"), "phase": ("reduce", "copy")}

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Profile:
    """Stamped writes as parallel columns, sorted by (time, rank, order within the rank).

    ``rank`` writes ``size`` bytes into the memory of rank ``dst`` at ``time`` (ps), as part of an operation that began
    on that rank at ``start`` (ps); it is there at ``arrived`` (ps), which is ``time`` where nobody saw it arrive.
    ``flag`` tells flags from data; ``reduce`` says that the receiver combines the data with its own; ``collective``
    numbers the operation, equal on all ranks, ``step`` the step within it, and ``group`` the work-group of the rank, 0
    where there is none. ``header`` holds pairs of key and sentence; ``world`` is the number of ranks spoken of,
    ``ranks`` those that write.
    """

    rank: Numbers
    start: Numbers
    time: Numbers
    arrived: Numbers
    dst: Numbers
    size: Numbers
    flag: NDArray[np.bool_]
    collective: Numbers
    step: Numbers
    group: Numbers
    reduce: NDArray[np.bool_]
    name: list[str]
    header: tuple[tuple[str, str], ...]
    world: int

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks that write, ascending."""
        return tuple(np.unique(self.rank).tolist())

    def ordered(self) -> "Profile":
        """Return the same writes sorted by (time, rank), those of a rank and instant in the order in which they are
        here."""
        return self.taken(np.lexsort((self.rank, self.time)))

    def taken(self, rows: NDArray[Any]) -> "Profile":
        """Return the writes ``rows`` (a mask, or places) alone, in that order."""
        columns: dict[str, Any] = {key: each[rows] for key, each in vars(self).items() if isinstance(each, np.ndarray)}
        return replace(self, **columns, name=np.array(self.name, object)[rows].tolist())

    def columns(self) -> dict[str, Any]:
        """Return the columns as the file names and spells them."""
        return {
            "rank": self.rank, "start_ps": self.start, "time_ps": self.time, "arrived_ps": self.arrived,
            "dst": self.dst, "size_bytes": self.size, "kind": np.where(self.flag, "flag", "data"),
            "collective": self.collective, "step": self.step, "group": self.group,
            "phase": np.where(self.reduce, "reduce", "copy"), "name": np.array(self.name, object),
        }  # fmt: skip


def write_profile(profile: Profile, path: Path) -> None:
    """Write ``profile`` as CSV to ``path``, whole or not at all; raises ``InputError`` where that cannot be done, or
    where ``read_profile`` would refuse what is written."""
    _check_writable(profile, path)
    lines = io.StringIO()
    for key, sentence in (("format", FORMAT), ("world", str(profile.world)), *profile.header):
        lines.write(f"# {key}: {sentence}\n")
    lines.write(",".join(COLUMNS) + "\n")
    for row in zip(*(column.tolist() for column in profile.columns().values()), strict=True):
        lines.write(",".join(map(str, row)) + "\n")
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        try:
            scratch.write_text(lines.getvalue(), encoding="utf-8")
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


def _check_writable(profile: Profile, path: Path) -> None:
    if path.is_dir() or not path.name:
        raise InputError(f"{path}: is a folder; give the file to write, e.g. profile.csv")
    _check(profile.columns(), profile.world, lambda row: f"{path}: not written: write {row}")
    lines = [*(text for pair in profile.header for text in pair), *profile.name]
    if any(len(text.splitlines()) > 1 for text in lines) or any(set(',"') & set(name) for name in profile.name):
        raise InputError(f"{path}: not written: a name has a comma or a quote in it, or a text more than one line")


def read_profile(path: Path) -> Profile:
    """Return the profile in ``path``; raises ``InputError`` that names the first bad line."""
    text = _text(path)
    header, first = _header(text, path)
    body = text[first:]
    skipped = text[:first].count(b"\n")
    if body.split(b"\n", 1)[0].strip().decode() != ",".join(COLUMNS):
        raise InputError(f"{path}:{skipped + 1}: expected the columns {','.join(COLUMNS)}")
    types = {name: pa.int64() if name in _NUMBERS else pa.string() for name in COLUMNS}
    try:
        table = csv.read_csv(
            pa.BufferReader(body),
            parse_options=csv.ParseOptions(newlines_in_values=False, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise _first_bad_line(body, skipped, path, str(error)) from None
    column = {name: numbers(table, name) for name in COLUMNS}
    world = int(dict(header)["world"])

    def place(row: int) -> str:
        return f"{path}:{skipped + 2 + row}"

    for name, words in _WORDS.items():
        _refuse(
            ~np.isin(column[name], words), f"unknown {name} {{{name}!r}}; allowed: {', '.join(words)}", column, place
        )
    _check(column, world, place)
    return Profile(
        column["rank"], column["start_ps"], column["time_ps"], column["arrived_ps"], column["dst"],
        column["size_bytes"], column["kind"] == "flag", column["collective"], column["step"], column["group"],
        column["phase"] == "reduce", column["name"].tolist(),
        tuple(pair for pair in header if pair[0] not in ("format", "world")), world,
    ).ordered()  # fmt: skip


def inspect(profile: Profile) -> list[str]:
    """Return lines for a reader: the header, then what each rank writes."""
    lines = [f"timing profile of {profile.world} ranks, {len(profile.rank)} writes"]
    lines += [f"{key}: {sentence}" for key, sentence in profile.header]
    for rank in profile.ranks:
        rows = profile.rank == rank
        data = int(profile.size[rows & ~profile.flag].sum())
        span = f"{short(int(profile.start[rows].min()), TIME)} to {short(int(profile.time[rows].max()), TIME)}"
        count = len(np.unique(profile.collective[rows]))
        lines.append(
            f"rank {rank}: {count} collectives, {short(data, SIZE)} of data and "
            f"{int((rows & profile.flag).sum())} flags, {span}"
        )
    return lines


def _text(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path}: larger than {LARGEST_FILE} bytes; split the profile")
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from None
    if not text.strip():
        raise InputError(f"{path}: empty; expected a timing profile that begins with '# format: {FORMAT}'")
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not a text file (byte {error.start} is not UTF-8); expected a timing profile"
        ) from None
    return text.replace(b"\r\n", b"\n")


def _header(text: bytes, path: Path) -> tuple[list[tuple[str, str]], int]:
    """Return the header's pairs and where the column line begins."""
    pairs: list[tuple[str, str]] = []
    begin = 0
    while text.startswith(b"#", begin):
        end = text.find(b"\n", begin)
        end = len(text) if end < 0 else end
        key, colon, sentence = text[begin + 1 : end].decode().partition(":")
        if not colon:
            raise InputError(f"{path}:{len(pairs) + 1}: expected '# key: value' in the header")
        pairs.append((key.strip(), sentence.strip()))
        begin = min(end + 1, len(text))
    keys = dict(pairs)
    if keys.get("format") == _FORMAT_BEFORE:
        raise InputError(
            f"{path}:1: '{_FORMAT_BEFORE}' is no longer read; expected '{FORMAT}', with the columns arrived_ps "
            "(as time_ps) and group (0): import the traces again"
        )
    if keys.get("format") != FORMAT:
        raise InputError(f"{path}:1: not a timing profile; expected '# format: {FORMAT}' in the first lines")
    if not re.fullmatch(r"[0-9]{1,9}", keys.get("world", "")) or int(keys["world"]) < 1:
        raise InputError(f"{path}: the header needs '# world: N', the number of ranks, 1 or more")
    return pairs, begin


def _refuse(bad: Any, sentence: str, column: dict[str, Any], place: Callable[[int], str]) -> None:
    """Raise ``InputError`` with the place of the first ``bad`` row; its values fill the fields of ``sentence``."""
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"{place(row)}: " + sentence.format(**{name: values[row] for name, values in column.items()}))


def _check(column: dict[str, Any], world: int, place: Callable[[int], str]) -> None:
    """Refuse rows that no run could have written, naming the first one."""
    for name in ("rank", "dst"):
        outside = (column[name] < 0) | (column[name] >= world)
        _refuse(outside, f"{name} {{{name}}} is none of 0 to world - 1 ({world} ranks)", column, place)
    to_itself = "rank {rank} writes to itself; a peer-to-peer write has another rank as dst"
    _refuse(column["rank"] == column["dst"], to_itself, column, place)
    _refuse(column["start_ps"] < 0, "start_ps {start_ps} is negative; time 0 is the earliest start", column, place)
    early = column["time_ps"] < column["start_ps"]
    _refuse(early, "time_ps {time_ps} is before start_ps {start_ps}", column, place)
    unsent = column["arrived_ps"] < column["time_ps"]
    _refuse(unsent, "arrived_ps {arrived_ps} is before time_ps {time_ps}", column, place)
    for name in ("size_bytes", "collective", "step", "group"):
        _refuse(column[name] < 0, f"{name} {{{name}}} is negative", column, place)
    for name in ("time_ps", "arrived_ps", "size_bytes"):
        sentence = f"{name} {{{name}}} is too large; it stays below {LARGEST}"
        _refuse(column[name] >= LARGEST, sentence, column, place)


def _first_bad_line(body: bytes, skipped: int, path: Path, problem: str) -> InputError:
    """Find the line that the fast reader stumbled over; the slow look happens only on the way to an error."""
    for number, line in enumerate(body.decode().splitlines()[1:], start=skipped + 2):
        cells = line.split(",")
        if len(cells) != len(COLUMNS):
            return InputError(f"{path}:{number}: {len(cells)} values where {len(COLUMNS)} columns are")
        for name, cell in zip(COLUMNS, cells, strict=True):
            if name in _NUMBERS and not (re.fullmatch(r" *-?[0-9]{1,30} *", cell) and abs(int(cell)) < 2**63):
                return InputError(f"{path}:{number}: {name} {cell!r} is not a whole number")
    return InputError(f"{path}: not a timing profile: {problem.splitlines()[0]}")
