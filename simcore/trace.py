"""What a run leaves behind: columnar rows in clock order, the schema of every column, and their digest."""

import hashlib
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

CHUNK = 65_536
"""Rows that a table gathers before they become one immutable batch (a Parquet row group when spilled)."""


@dataclass(frozen=True)
class Column:
    """One column of a table: its name (unit included), its Arrow type and what it says."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True)
class Span:
    """One bar of one location: what a rank did, or waited for, from ``t0_ps`` to ``t1_ps``."""

    location: str
    t0_ps: int
    t1_ps: int
    activity: str
    reason: str
    what: str
    size_bytes: int


Schemas = Mapping[str, tuple[Column, ...]]
"""The columns of tables, by name."""

SCHEMAS: dict[str, tuple[Column, ...]] = {
    "spans": (
        Column(
            "location",
            "string",
            "whose life this is a piece of, rank0, a part of it, rank0.wg17 (work-group) or rank0.stream 7, or, of "
            "several jobs, job.rank0; its spans tile it",
        ),
        Column("t0_ps", "int64", "begin, simulated picoseconds"),
        Column("t1_ps", "int64", "end, simulated picoseconds"),
        Column("activity", "string", "compute, send, wait, replay (a recorded collective of an eidolon) or idle"),
        Column("reason", "string", "why a wait waits, e.g. 'flag of rank2'; empty for work"),
        Column("what", "string", "the kernel, message or collective"),
        Column("size_bytes", "int64", "bytes concerned, 0 where none"),
    ),
    "transfers": (
        Column("src", "int32", "rank that sent; numbered over all jobs, then over the GPUs with background traffic"),
        Column("dst", "int32", "rank that received; numbered as src"),
        Column("sequence", "int64", "place of the message in its source's order, from 0"),
        Column("size_bytes", "int64", "payload bytes"),
        Column("kind", "string", "data or flag"),
        Column("issued_ps", "int64", "the source issued the message, simulated picoseconds"),
        Column("arrived_ps", "int64", "its last byte reached the destination's memory, simulated picoseconds"),
        Column(
            "queued_ps",
            "int64",
            "time spent waiting for links: arrived - issued - the time of the empty path, picoseconds",
        ),
        Column("what", "string", "the collective or message it belongs to, or the name of background traffic"),
    ),
    "links": (
        Column("link", "string", "server of the interconnect, e.g. gpu0->switch"),
        Column("t0_ps", "int64", "begin of the bin, simulated picoseconds"),
        Column("t1_ps", "int64", "end of the bin, simulated picoseconds"),
        Column("busy_ps", "int64", "picoseconds of the bin in which the link carried bytes"),
        Column("size_bytes", "int64", "bytes carried in the bin"),
    ),
    "flags": (
        Column("flag", "string", "name of the flag"),
        Column("location", "string", "who waited, rank0 or, of a work-group, rank0.wg17; of several jobs, job.rank0"),
        Column("policy", "string", "spin, backoff, yield, monitor or waiting_atomic"),
        Column("t0_ps", "int64", "begin of the wait, simulated picoseconds"),
        Column(
            "set_ps",
            "int64",
            "the flag took the awaited value, simulated picoseconds; before t0_ps if it was already set",
        ),
        Column("detected_ps", "int64", "the waiter knew, simulated picoseconds"),
        Column("flag_reads", "int64", "memory reads of the flag"),
        Column("wakeups", "int64", "times a monitor woke the waiter"),
        Column("false_wakeups", "int64", "wake-ups after which the awaited value was not there"),
        Column("overflows", "int64", "watches that went to the monitor's log, because it was full"),
    ),
}


@dataclass(frozen=True)
class Coded:
    """A column of text by numbers: row i is ``words[codes[i]]``."""

    words: Sequence[str]
    codes: "np.ndarray[Any, Any]"

    def __len__(self) -> int:
        return len(self.codes)


class Recorder:
    """Rows in clock order, kept column by column; full chunks become Arrow batches, spilled to Parquet when ``folder``
    is given."""

    def __init__(self, folder: Path | None = None, more: Schemas | None = None) -> None:
        self._folder = folder
        self.schemas: Schemas = {**SCHEMAS, **(more or {})}
        self._columns: dict[str, list[list[Any]]] = {kind: [[] for _ in each] for kind, each in self.schemas.items()}
        self._batches: dict[str, list[pa.RecordBatch]] = {kind: [] for kind in self.schemas}
        self._writers: dict[str, Any] = {}

    def add(self, kind: str, row: Span | Sequence[Any]) -> None:
        """Append one row to table ``kind``; values in the order of its schema."""
        values = [getattr(row, column.name) for column in self.schemas[kind]] if isinstance(row, Span) else row
        columns = self._columns[kind]
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        if len(columns[0]) >= CHUNK:
            self._close_chunk(kind)

    def extend(self, kind: str, columns: "Mapping[str, np.ndarray | Coded | Sequence[Any]]") -> None:
        """Append many rows at once; ``columns`` holds one array of equal length per column of the schema."""
        self._close_chunk(kind)
        arrays = [columns[column.name] for column in self.schemas[kind]]
        if len(arrays[0]):
            self._append(kind, arrays)

    def _close_chunk(self, kind: str) -> None:
        columns = self._columns[kind]
        if columns[0]:
            self._columns[kind] = [[] for _ in columns]
            self._append(kind, columns)

    def _append(self, kind: str, arrays: Sequence[Any]) -> None:
        import pyarrow as pa

        schema = arrow_schema(self.schemas[kind])
        batch = pa.record_batch(
            [_arrow(values, field.type) for values, field in zip(arrays, schema, strict=True)], schema=schema
        )
        if self._folder is None:
            self._batches[kind].append(batch)
        else:
            self._writer(kind).write_batch(batch)

    def _writer(self, kind: str) -> Any:
        if kind not in self._writers:
            import pyarrow.parquet as pq

            assert self._folder is not None
            # Instants hardly ever repeat: looking whether they do takes as long as writing them.
            words = [column.name for column in self.schemas[kind] if column.type != "int64"]
            self._writers[kind] = pq.ParquetWriter(
                self._folder / f"{kind}.parquet", arrow_schema(self.schemas[kind]), use_dictionary=words
            )
        return self._writers[kind]

    def tables(self) -> dict[str, "pa.Table"]:
        """Close every open chunk and return all tables, empty ones included; a spilled recorder reads them back from
        its folder."""
        import pyarrow as pa

        for kind in self.schemas:
            self._close_chunk(kind)
        if self._folder is None:
            return {
                kind: pa.Table.from_batches(self._batches[kind], arrow_schema(each))
                for kind, each in self.schemas.items()
            }
        for kind in self.schemas:
            self._writer(kind).close()
        return load_tables(self._folder, self.schemas)


def load_tables(folder: Path, schemas: Schemas = SCHEMAS) -> dict[str, "pa.Table"]:
    """Return all tables of a run folder; raises ``ValueError`` where one has other columns than its schema."""
    import pyarrow.parquet as pq

    tables = {}
    for kind, schema in schemas.items():
        # Not read_table(), which imports the dataset machinery and with it pandas.
        with pq.ParquetFile(folder / f"{kind}.parquet") as stored:
            tables[kind] = stored.read()
        if not tables[kind].schema.equals(arrow_schema(schema)):
            raise ValueError(f"{kind}.parquet has not the columns of {kind}")
    return tables


def _arrow(values: Any, kind: "pa.DataType") -> "pa.Array[Any]":
    """Return ``values`` as an Arrow array, from its buffers: ``pa.array`` would import pandas, a fifth of a second."""
    import numpy as np
    import pyarrow as pa

    if kind in _numeric():
        held = np.ascontiguousarray(values, dtype=kind.to_pandas_dtype())
        return pa.Array.from_buffers(kind, len(held), [None, pa.py_buffer(held)])
    if isinstance(values, Coded):
        indices = _arrow(values.codes.astype(np.int32), pa.int32())
        return pa.DictionaryArray.from_arrays(indices, _arrow(values.words, kind)).dictionary_decode()
    texts = [text.encode() for text in values]
    ends = np.zeros(len(texts) + 1, np.int32)
    np.cumsum([len(text) for text in texts], out=ends[1:])
    return pa.Array.from_buffers(kind, len(texts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))])


def arrow_schema(columns: Sequence[Column]) -> "pa.Schema":
    """Return the Arrow schema of a table of ``columns``; the meaning of each is in its field metadata."""
    import pyarrow as pa

    types = {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64()}
    return pa.schema(
        [pa.field(c.name, types[c.type], nullable=False, metadata={"meaning": c.meaning}) for c in columns]
    )


def digest(tables: Mapping[str, "pa.Table"]) -> str:
    """Return the SHA-256 of all values of all tables, hexadecimal; independent of chunking and of the Parquet
    version."""
    import numpy as np

    seen = hashlib.sha256()
    for kind in sorted(tables):
        for name in tables[kind].column_names:
            column = tables[kind][name]
            seen.update(f"{kind}.{name}:{len(column)};".encode())
            for chunk in column.chunks:
                if column.type in _numeric():
                    seen.update(np.ascontiguousarray(np.from_dlpack(chunk), "<i8").data)
                elif len(chunk):
                    coded = chunk.dictionary_encode()
                    words = [f"{word}\0" for word in coded.dictionary.to_pylist()]
                    runs = zip(*_runs(np.from_dlpack(coded.indices)), strict=True)
                    seen.update("".join([words[code] * count for code, count in runs]).encode())
    return seen.hexdigest()


def _runs(codes: "np.ndarray[Any, Any]") -> tuple[list[int], list[int]]:
    """Return the codes that follow one another, and how often each stands there."""
    import numpy as np

    begins = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    return codes[begins].tolist(), np.diff(begins, append=len(codes)).tolist()


def numbers(table: "pa.Table", name: str) -> "np.ndarray[Any, Any]":
    """Return column ``name`` as an array; text becomes an array of objects."""
    import numpy as np

    # Not to_numpy(), which imports pandas and costs a fifth of a second.
    column = table[name].combine_chunks()
    if column.type in _numeric():
        return np.from_dlpack(column)
    # Each word is one object, however often it stands there.
    coded = column.dictionary_encode()
    words = np.array([*coded.dictionary.to_pylist(), ""], object)
    found: np.ndarray[Any, Any] = words[np.from_dlpack(coded.indices)]
    return found


def says(table: "pa.Table", name: str, word: str) -> "np.ndarray[Any, Any]":
    """Return which rows of the text column ``name`` are ``word``."""
    import numpy as np

    column = table[name].combine_chunks()
    coded = column.dictionary_encode()
    words = coded.dictionary.to_pylist()
    found: np.ndarray[Any, Any] = np.from_dlpack(coded.indices) == (words.index(word) if word in words else -1)
    return found


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which names sort as people count: gpu2 before gpu10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def parted(location: str) -> tuple[str, str]:
    """Return the rank, of several jobs with its job, and the part of it that a location is, "" where it is the rank.

    >>> parted("job.rank0.wg17")
    ('job.rank0', 'wg17')
    """
    found = re.fullmatch(r"((?:[^.]+\.)?rank\d+)\.(.+)", location, re.DOTALL)
    return (found[1], found[2]) if found else (location, "")


@contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Let Ctrl-C inside take effect at the end, so that rows on their way from one place to another are not lost;
    outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C inside, so that what was computed is also written; outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _numeric() -> Iterator[Any]:
    import pyarrow as pa

    yield pa.int32()
    yield pa.int64()
