"""NVIDIA Nsight Systems traces, exported with ``nsys export --type sqlite``: UNVERIFIED, no real file was seen.

Read as the documentation describes them: docs.nvidia.com/nsight-systems/AnalysisGuide, "SQLite Schema Reference"
(schema 3.28.1); sizes of collectives as NCCL states them in its NVTX ranges (github.com/NVIDIA/nccl,
src/include/nvtx.h, src/collectives.cc). Tables exist only where they have rows; times are nanoseconds.
"""

import contextlib
import json
import sqlite3
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simcore.errors import InputError, reason
from simcore.formats.events import MOST_EVENTS, MOST_RANKS, MOST_ROWS, one_line
from simcore.formats.kineto import Collective, Trace, canonical, in_kernel_name, named_rank
from simcore.formats.ranks import Recorded
from simcore.formats.streams import Activity, Wait
from simcore.units import LARGEST

MAGIC = b"SQLite format 3\0"
UNVERIFIED = (
    "UNVERIFIED: read as NVIDIA documents the SQLite export of Nsight Systems (schema 3.28.1); no real file was seen"
)
EXPECTED = "an SQLite export of Nsight Systems (nsys export --type sqlite)"
LATEST_NS = 10**15
"""Nanoseconds: no time since the start of the capture lies as far from zero, 11 days."""
PS_PER_NS = 1000
SIZE_ENTRY, RANK_ENTRY, COUNT_ENTRY = "Message size [bytes]", "Rank", "No. of ranks"
"""The names that NCCL gives the values that go with its NVTX ranges."""
DEEPEST = 64
"""Ranges of one thread that may lie in each other."""

_KERNEL, _MEMCPY, _MEMSET, _RUNTIME, _SYNC, _EVENT = (
    f"CUPTI_ACTIVITY_KIND_{name}" for name in ("KERNEL", "MEMCPY", "MEMSET", "RUNTIME", "SYNCHRONIZATION", "CUDA_EVENT")
)
_NVTX = "NVTX_EVENTS"
_STREAM_WAIT = 2
"""CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_STREAM_WAIT_EVENT."""
_PROCESS = 0xFFFFFFFFFF000000
"""The bits of a globalTid that are those of its globalPid."""


@dataclass
class _Database:
    """An open export: its tables with their columns, and sentences on what could not be read."""

    path: Path
    connection: sqlite3.Connection
    tables: dict[str, set[str]]
    lacks: list[str] = field(default_factory=list)

    def rows(self, table: str, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of ``table``, None for ``optional`` columns that are not there; as many as can be read.

        A table that is not there has no rows. Raises ``InputError`` where one lacks a column.
        """
        if table not in self.tables:
            return
        missing = [name for name in columns if name not in self.tables[table]]
        if missing:
            raise InputError(f"{self.path}: table {table} has no column {missing[0]}; expected {EXPECTED}")
        names = [f'"{name}"' if name in self.tables[table] else "NULL" for name in (*columns, *optional)]
        read = 0
        try:
            for row in self.connection.execute(f"SELECT {', '.join(names)} FROM {table}"):
                yield row
                read += 1
                if read > (MOST_ROWS if table in (_KERNEL, _MEMCPY, _MEMSET) else MOST_EVENTS):
                    raise InputError(f"{self.path}: more than {read - 1} rows in table {table}; record fewer steps")
        except sqlite3.Error as error:
            self.lacks.append(
                f"table {table} is damaged or cut off ({error}): its first {read} rows are imported, what is missing "
                "is unknown"
            )


def is_export(path: Path) -> bool:
    """Return whether ``path`` is an SQLite database, by its first bytes."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_trace(path: Path) -> Trace:
    """Return the collectives and events of an export, as of a Kineto trace; raises ``InputError``."""
    return read_recorded(path).trace


def read_recorded(path: Path) -> Recorded:
    """Return what ran on the streams of the one GPU of an export, which is taken for a rank.

    What is damaged or cut off is read as far as it goes, and ``lacks`` says so. Raises ``InputError`` for a file that
    is no such export, has no kernels, or has those of several GPUs or processes: one rank has one.
    """
    with contextlib.closing(_opened(path)) as connection, _complaints(path):
        database = _Database(path, connection, _tables(connection))
        if not {_KERNEL, _MEMCPY, _RUNTIME, _NVTX} & set(database.tables):
            raise InputError(f"{path}: none of the tables of a CUDA trace; expected {EXPECTED}")
        return _recorded(database)


def _opened(path: Path) -> sqlite3.Connection:
    try:
        if not is_export(path):
            path.open("rb").close()
            raise InputError(f"{path}: not an SQLite database; expected {EXPECTED}")
        return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from None


@contextlib.contextmanager
def _complaints(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(f"{path}: damaged or cut off, nothing can be read ({error}); export it anew") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _tables(connection: sqlite3.Connection) -> dict[str, set[str]]:
    # Without it SQLite refuses a file that is shorter than its header says before it has read anything.
    connection.execute("PRAGMA writable_schema = ON")
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    wanted = {_KERNEL, _MEMCPY, _MEMSET, _RUNTIME, _SYNC, _EVENT, _NVTX, "StringIds", "TARGET_INFO_GPU"}
    wanted |= {"TARGET_INFO_SESSION_START_TIME"}
    return {
        name: {column[1] for column in connection.execute(f"PRAGMA table_info({name})")}
        for name in names
        if name in wanted
    }


def _recorded(database: _Database) -> Recorded:
    strings = dict(database.rows("StringIds", ("id", "value")))
    epoch = [ns for (ns,) in database.rows("TARGET_INFO_SESSION_START_TIME", (), ("utcEpochNs",)) if _whole(ns)]
    zero = epoch[0] * PS_PER_NS if epoch else 0
    calls = _calls(database, strings, zero)
    nccl = _Nccl(database, strings, zero)
    sizes = {count for _, count in nccl.jobs}
    group = tuple(range(sizes.pop())) if len(sizes) == 1 else None
    activities, collectives = [], []
    for each in sorted(_on_gpu(database, strings, calls, zero), key=lambda each: (each.begin, each.end)):
        found = _collective(each, nccl, group)
        if found is not None:
            collectives.append(found)
            each = replace(
                each, name=found.name, kind="collective", operation=found.name, size=found.size, group=found.group
            )
        activities.append(each)
    if not activities:
        raise InputError("; ".join([f"{database.path}: no kernels and no copies", *database.lacks]))
    trace = _trace(database, activities, collectives, nccl, bool(epoch))
    return Recorded(trace, activities, _waits(database, calls, nccl, zero))


@dataclass(frozen=True)
class _Call:
    """A call of the CUDA runtime: when it was made (ps), by which thread, and its name."""

    at: int
    thread: Any
    name: str


def _calls(database: _Database, strings: dict[int, str], zero: int) -> dict[tuple[Any, Any], _Call]:
    """Return the host's calls by process and correlation, which are unique together; where there is one process, also
    by correlation alone, under the process None."""
    calls = {}
    columns = ("start", "correlationId", "nameId")
    for start, correlation, name, thread in database.rows(_RUNTIME, columns, ("globalTid",)):
        if correlation is not None:
            at = _time(start, _RUNTIME) + zero
            calls[_process(thread), correlation] = _Call(at, thread, one_line(strings.get(name, "")))
    if len({process for process, _ in calls}) == 1:
        calls |= {(None, correlation): call for (_, correlation), call in calls.items()}
    return calls


def _process(thread: Any) -> Any:
    return thread & _PROCESS if _whole(thread) else None


def _on_gpu(
    database: _Database, strings: dict[int, str], calls: dict[tuple[Any, Any], _Call], zero: int
) -> Iterator[Activity]:
    """Yield kernels and copies; raises ``ValueError`` where they are of several GPUs or processes."""
    owners: dict[tuple[Any, Any], None] = {}
    own = ("start", "end", "streamId")
    more = ("deviceId", "globalPid", "correlationId")
    for table in (_KERNEL, _MEMCPY, _MEMSET):
        last = ("demangledName", "shortName") if table == _KERNEL else ("bytes", "copyKind")
        for start, end, stream, device, process, correlation, first, second in database.rows(
            table, own, (*more, *last)
        ):
            owners[device, process] = None
            if len(owners) > 1:
                raise ValueError(
                    "kernels of several GPUs or processes; a rank is one: profile every rank into a file of its own"
                )
            begin, stop = _time(start, table), _time(end, table)
            if stop < begin:
                raise ValueError(f"table {table}: an event ends at {end}, before its start {start}")
            call = calls.get((process, correlation)) or calls.get((None, correlation))
            launch = (call.at, call.thread) if call else (-1, None)
            where = f"stream {one_line(stream, 30)}"
            if table == _KERNEL:
                name = one_line(strings.get(first) or strings.get(second) or "kernel")
                yield Activity(name, "compute", where, begin + zero, stop + zero, 0, "", (), *launch)
            else:
                size = first if _whole(first) and 0 <= first < LARGEST else 0
                name = f"copy of kind {second}" if table == _MEMCPY else "memset"
                yield Activity(one_line(name), "memory", where, begin + zero, stop + zero, size, "", (), *launch)


def _time(value: Any, table: str) -> int:
    """Return ps from ns; raises ``ValueError`` for what is no time."""
    if not _whole(value) or abs(value) >= LATEST_NS:
        raise ValueError(f"table {table}: {one_line(repr(value), 40)} is no time in nanoseconds")
    return int(value) * PS_PER_NS


def _whole(value: Any) -> bool:
    return type(value) is int


class _Nccl:
    """The NVTX ranges of the host's calls into NCCL, by thread and time, with what each states; and what those that
    made communicators state of the job."""

    def __init__(self, database: _Database, strings: dict[int, str], zero: int) -> None:
        self.spans: dict[Any, list[tuple[int, int, str, int | None]]] = defaultdict(list)
        self.jobs: dict[tuple[int, int], None] = {}
        columns = ("text", "textId", "globalTid", "jsonText", "jsonTextId")
        for start, end, text, text_id, thread, stated, stated_id in database.rows(_NVTX, ("start", "end"), columns):
            name = str(text or strings.get(text_id) or "")
            if name.lower().startswith("nccl") and end is not None:
                said = _stated(stated or strings.get(stated_id))
                size = said.get(SIZE_ENTRY)
                self.spans[thread].append((_time(start, _NVTX) + zero, _time(end, _NVTX) + zero, name[4:], size))
                rank, count = said.get(RANK_ENTRY), said.get(COUNT_ENTRY)
                if rank is not None and count is not None and rank < count < MOST_RANKS:
                    self.jobs[rank, count] = None
        for those in self.spans.values():
            those.sort(key=lambda span: span[:2])

    def around(self, thread: Any, instant: int) -> tuple[str, int | None] | None:
        """Return name and size of the call that ``thread`` was in at ``instant``: the innermost, None where none."""
        those = self.spans.get(thread, [])
        for place in range(bisect_right(those, instant, key=lambda span: span[0]) - 1, -1, -1):
            _, end, name, size = those[place]
            if end >= instant:
                return name, size
            if place < len(those) - DEEPEST:
                break
        return None


def _stated(text: Any) -> dict[str, int]:
    """Return the numbers in the JSON that ``--include-json`` exports, wherever in it, by name."""
    found: dict[str, int] = {}
    try:
        left = [json.loads(text)] if isinstance(text, str) else []
    except (ValueError, RecursionError):
        return found
    while left:
        value = left.pop()
        if isinstance(value, dict):
            found |= {key: number for key, number in value.items() if _whole(number) and 0 <= number < LARGEST}
            left += value.values()
        elif isinstance(value, list):
            left += value
    return found


def _collective(each: Activity, nccl: _Nccl, group: tuple[int, ...] | None) -> Collective | None:
    """Return the collective that a kernel is, None for any other.

    NCCL states the size of one message: what one rank puts into an all-gather, gets out of a reduce-scatter, or sends
    each rank in an all-to-all.
    """
    if each.kind != "compute" or "nccl" not in each.name.lower():
        return None
    call = nccl.around(each.thread, each.launched) if each.launched >= 0 else None
    name = canonical(in_kernel_name(each.name))
    size = call[1] if call and canonical(call[0]) == name else None
    if size is not None and name in ("all_gather", "reduce_scatter", "all_to_all"):
        size = size * len(group) if group is not None else None
    return Collective(name, each.begin, each.end, size, 1, group)


def _waits(database: _Database, calls: dict[tuple[Any, Any], _Call], nccl: _Nccl, zero: int) -> list[Wait] | None:
    """Return the waits of streams that the tables of synchronization name, else the calls that make some stream wait,
    None where there are neither; calls within those of NCCL are part of the launch of a collective."""
    events = {
        sync: (stream, process, correlation)
        for stream, sync, process, correlation in database.rows(
            _EVENT, ("streamId",), ("eventSyncId", "globalPid", "correlationId")
        )
        if sync is not None
    }
    named = []
    columns = ("streamId", "syncType"), ("eventSyncId", "globalPid", "correlationId")
    for stream, kind, sync, process, correlation in database.rows(_SYNC, *columns):
        if kind == _STREAM_WAIT and sync in events:
            other, owner, recorded = events[sync]
            call = calls.get((process, correlation)) or calls.get((None, correlation))
            record = calls.get((owner, recorded)) or calls.get((None, recorded))
            if call and record:
                named.append(
                    Wait(
                        call.at,
                        call.thread,
                        f"stream {one_line(stream, 30)}",
                        f"stream {one_line(other, 30)}",
                        record.at,
                    )
                )
    if named:
        return named
    made = [
        call
        for call in dict.fromkeys(calls.values())
        if call.name.startswith(("cudaStreamWaitEvent", "cudaDeviceSynchronize"))
    ]
    if not any(call.name.startswith("cudaStreamWaitEvent") for call in made):
        return None
    return [Wait(call.at, call.thread) for call in made if nccl.around(call.thread, call.at) is None]


def _trace(
    database: _Database, activities: list[Activity], collectives: list[Collective], nccl: _Nccl, epoch: bool
) -> Trace:
    """Return what is known of the rank and its job, and what is not."""
    lacks = [UNVERIFIED, *database.lacks]
    jobs = sorted(nccl.jobs, key=lambda job: -job[1])
    rank, world = (jobs[0][0], jobs[0][1]) if jobs else (None, None)
    if not jobs:
        rank = named_rank(database.path, "no NVTX range in which NCCL states rank and number of ranks", lacks)
    if not epoch:
        lacks.append("no TARGET_INFO_SESSION_START_TIME: clocks of ranks cannot be compared as they are")
    if not collectives:
        lacks.append("no collectives: none of the kernels is one of NCCL")
    elif any(each.size is None for each in collectives):
        lacks.append(
            f"NCCL kernels without an NVTX range that states {SIZE_ENTRY!r} and a known number of ranks: they have no "
            "size (profile with --trace=cuda,nvtx, export with --include-json=true)"
        )
    if collectives and collectives[0].group is not None:
        lacks.append("collectives without the ranks of their group: all ranks are assumed")
    elif collectives:
        lacks.append("collectives without the ranks of their group: there are none or several communicators")
    gpus = [name for (name,) in database.rows("TARGET_INFO_GPU", (), ("name",)) if name]
    count: Counter[tuple[int, ...] | None] = Counter()
    numbered = []
    for each in collectives:
        numbered.append(replace(each, sequence=count[each.group]))
        count[each.group] += 1
    events = Counter({"compute": "kernel", "memory": "copy"}.get(each.kind, each.kind) for each in activities)
    return Trace(
        one_line(database.path.name), rank, world, "nccl" if collectives else "unknown",
        f"{len(gpus)} x {one_line(gpus[0])}" if gpus else "no GPU stated", epoch,
        activities[0].begin, max(each.end for each in activities), events, numbered, lacks, "Nsight Systems",
    )  # fmt: skip
