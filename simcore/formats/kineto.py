"""PyTorch profiler (Kineto) traces: what one holds, which collectives, and what it lacks."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from simcore.errors import InputError
from simcore.formats.events import (
    KNOWN,
    LARGEST_TRACE,
    MOST_RANKS,
    Event,
    Recording,
    is_count,
    one_line,
    read_recording,
    shown,
)  # fmt: skip
from simcore.units import LARGEST, SIZE, TIME, short

EPOCH_US = Decimal(10) ** 15
"""Timestamps above this many microseconds count from 1970, not from the start of a machine."""

_ITEMSIZE = {
    "float": 4, "double": 8, "half": 2, "bfloat16": 2, "int": 4, "long": 8, "long int": 8, "short": 2, "char": 1,
    "signed char": 1, "byte": 1, "unsigned char": 1, "bool": 1, "int8_t": 1, "float8_e4m3fn": 1, "float8_e5m2": 1,
}  # fmt: skip
_NAMES = {
    "allreduce": "all_reduce", "allreducecoalesced": "all_reduce",
    "allgather": "all_gather", "allgatherbase": "all_gather", "allgatherintotensor": "all_gather",
    "allgatherintotensorcoalesced": "all_gather",
    "reducescatter": "reduce_scatter", "reducescatterbase": "reduce_scatter", "reducescattertensor": "reduce_scatter",
    "broadcast": "broadcast", "reduce": "reduce", "alltoall": "all_to_all", "alltoallbase": "all_to_all",
    "alltoallv": "all_to_all",
    "sendrecv": "send_recv", "send": "send_recv", "recv": "send_recv", "barrier": "barrier",
}  # fmt: skip


@dataclass(frozen=True)
class Collective:
    """One collective on one rank: recorded begin and end (ps), bytes by the convention below or None, and its group of
    ranks.

    ``size`` is the whole array: what all_reduce, broadcast and reduce work on, the total output of all_gather, the
    total input of reduce_scatter, what one rank sends in all_to_all.
    """

    name: str
    start: int
    end: int
    size: int | None
    itemsize: int
    group: tuple[int, ...] | None
    sequence: int = 0


@dataclass(frozen=True)
class Trace:
    """What one trace file holds: who recorded it, its events by category, its collectives, and sentences on what it
    lacks."""

    file: str
    rank: int | None
    world: int | None
    backend: str
    device: str
    epoch: bool
    start: int
    end: int
    events: Counter[str]
    collectives: list[Collective]
    lacks: list[str]
    recorder: str = "Kineto"


def read_trace(path: Path, *, limit: int = LARGEST_TRACE) -> Trace:
    """Return the trace in ``path`` (plain or gzip; an object with ``traceEvents``, or a bare list of events).

    A file that is cut off is read up to the cut, and ``lacks`` begins with how much that was. Raises ``InputError``
    where it cannot be read, unpacks to more than ``limit`` bytes, is no Kineto trace, or states of its job or a
    collective what cannot be.
    """
    return read_with_events(path, limit=limit)[0]


def read_with_events(
    path: Path, *, limit: int = LARGEST_TRACE, also: frozenset[str] = frozenset()
) -> tuple[Trace, Recording, list[tuple[Event, Collective]]]:
    """Return the trace in ``path`` as `read_trace` does, its events, with all those of the categories ``also``, and
    which event is which collective; the clock of events lacks ``baseTimeNanoseconds``."""
    found = read_recording(path, limit, also)
    if not KNOWN & set(found.counts):
        raise InputError(
            f"{path}: not a Kineto trace: none of its {found.total} events is a profiler's (cpu_op, kernel, "
            "user_annotation, ...)" + (f"; {found.cut}" if found.cut else "")
        )
    try:
        lacks = [found.cut] if found.cut else []
        base = found.about.get("baseTimeNanoseconds")
        if base is not None and not is_count(base):
            raise ValueError(f"baseTimeNanoseconds is {shown(base)}; expected nanoseconds since 1970")
        epoch = base is not None or found.first_us > EPOCH_US
        zero = (base or 0) * 1000
        spread = _object(found.about, "distributedInfo")
        rank, world = _rank(spread, path, lacks)
        if not epoch:
            lacks.append(
                "no baseTimeNanoseconds and timestamps that do not count from 1970: clocks of ranks cannot be "
                "compared as they are" + (" (it may have stood behind the cut)" if found.cut else "")
            )
        start, end = found.covered.get(False) or found.covered[True]
        pairs = _collectives(found.kept, spread, world, zero, lacks)
        trace = Trace(
            one_line(path.name), rank, world, one_line(spread.get("backend", "unknown")), _device(found.about), epoch,
            start + zero, end + zero, found.counts, [each for _, each in pairs], lacks,
        )  # fmt: skip
        return trace, found, pairs
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _object(about: dict[str, Any], key: str) -> dict[str, Any]:
    value = about.get(key)
    if not isinstance(value, dict | None):
        raise ValueError(f"{key} is {shown(value)}; expected an object with keys")
    return value or {}


def _rank(spread: dict[str, Any], path: Path, lacks: list[str]) -> tuple[int | None, int | None]:
    rank, world = spread.get("rank"), spread.get("world_size")
    if rank is not None and world is not None:
        if not is_count(world, MOST_RANKS + 1) or not is_count(rank, world):
            raise ValueError(
                f"distributedInfo states rank {shown(rank)} of world_size {shown(world)}; expected ranks "
                f"counted from 0, at most {MOST_RANKS}"
            )
        return rank, world
    return named_rank(path, "no distributedInfo", lacks), None


def named_rank(path: Path, why: str, lacks: list[str]) -> int | None:
    """Return the rank that the name of a file states, None if none; note ``why`` it is asked, and what came of it."""
    named = re.search(r"rank[_-]?([0-9]{1,5})(?![0-9])", path.name)
    if named:
        lacks.append(f"{why}: rank {named[1]} is taken from the name of the file, the number of ranks is unknown")
        return int(named[1])
    lacks.append(f"{why}: rank and number of ranks are unknown")
    return None


def _device(about: dict[str, Any]) -> str:
    properties = about.get("deviceProperties") or []
    if not isinstance(properties, list) or not all(isinstance(each, dict) for each in properties):
        raise ValueError(f"deviceProperties is {shown(properties)}; expected a list of objects, one a GPU")
    return (
        f"{len(properties)} x {one_line(properties[0].get('name', 'unnamed GPU'))}" if properties else "no GPU stated"
    )


def _collectives(
    kept: list[Event], spread: dict[str, Any], world: int | None, zero: int, lacks: list[str]
) -> list[tuple[Event, Collective]]:
    """Return the collectives in order of their begin, numbered within their group, each with its event; note what could
    not be told."""
    kernels = [event for event in kept if event.category == "kernel"]
    notes = [event for event in kept if event.name.startswith("gloo:") and not kernels]
    calls, everybody = _Calls(kept), _default_group(spread, world)
    found: list[tuple[Event, Collective]] = []
    for event in kernels or notes:
        try:
            each = _of_kernel(event, calls, world, lacks) if kernels else _of_note(event, everybody, lacks)
            _check(each, world)
        except ValueError as error:
            raise ValueError(f"{event.name}: {error}") from None
        found.append((event, replace(each, start=each.start + zero, end=each.end + zero)))
    if notes:
        lacks.append("no GPU kernels: collectives are those that gloo ran on the CPU, and their times are CPU times")
    if not found:
        host = sum(event.name.startswith("nccl:") for event in kept)
        lacks.append("no collectives" + (f": {host} calls of the host, but none of their GPU kernels" if host else ""))
    count: Counter[tuple[int, ...] | None] = Counter()
    numbered = []
    for event, each in sorted(found, key=lambda pair: (pair[1].start, pair[1].end)):
        numbered.append((event, replace(each, sequence=count[each.group])))
        count[each.group] += 1
    lacks[:] = list(dict.fromkeys(lacks))
    return numbered


def _check(found: Collective, world: int | None) -> None:
    """Raise ``ValueError`` for a collective that no job can have run."""
    if found.size is not None and found.size >= LARGEST:
        raise ValueError(f"moves {found.size} bytes; the limit is below {LARGEST}")
    last = found.group[-1] if found.group else 0
    if last >= (world or MOST_RANKS):
        raise ValueError(f"its group has rank {last}, but ranks are 0 to {(world or MOST_RANKS) - 1}")


class _Calls:
    """The host's side of NCCL kernels: from the correlation of a kernel to the annotation and the operator around its
    launch."""

    def __init__(self, kept: list[Event]) -> None:
        self._launches = {event.args["correlation"]: event for event in kept if event.category.startswith("cuda_")}
        self._around: dict[Any, list[Event]] = defaultdict(list)
        for event in kept:
            if event.name.startswith(("nccl:", "c10d::")):
                self._around[event.thread].append(event)

    def around(self, kernel: Event, prefix: str) -> Event | None:
        """Return the event whose name begins with ``prefix`` and in whose time, on the same thread, ``kernel`` was
        launched."""
        launch = self._launches.get(kernel.args.get("correlation"))
        if launch is None:
            return None
        for event in self._around[launch.thread]:
            if event.name.startswith(prefix) and event.start <= launch.start <= event.end:
                return event
        return None


def _of_kernel(event: Event, calls: _Calls, world: int | None, lacks: list[str]) -> Collective:
    args = event.args
    if "Collective name" in args and "In msg nelems" in args:
        name = canonical(args["Collective name"])
        itemsize = _itemsize(args.get("dtype", ""))
        elements = (
            max(args["In msg nelems"], args.get("Out msg nelems", 0)) if name != "all_to_all" else args["In msg nelems"]
        )
        group = args.get("Process Group Ranks")
        if group is None:
            group = _everybody(world)
            lacks.append("some collectives do not list the ranks of their group: all ranks are assumed")
        if itemsize is None:
            lacks.append(f"the size of dtype {args.get('dtype')!r} is unknown: its collectives have no size")
        size = None if itemsize is None else elements * itemsize
        return Collective(name, event.start, event.end, size, itemsize or 1, group)
    note, call = calls.around(event, "nccl:"), calls.around(event, "c10d::")
    name = canonical(note.name.removeprefix("nccl:")) if note else canonical(in_kernel_name(event.name))
    size, itemsize = _size_of_note(note) if note else (None, 1)
    group = _everybody(world)
    if size is None:
        lacks.append(
            "NCCL kernels without message sizes, and no call of the host that gives them: these collectives "
            "have no size"
        )
    else:
        lacks.append(
            "NCCL kernels without message sizes: sizes are those of the tensors in the host's call around the launch"
        )
    members = _members(call)
    if size is not None and name in ("all_gather", "reduce_scatter"):
        if members is not None and group is not None and members != len(group):
            lacks.append(f"a collective of {members} ranks whose ranks are not listed: {name} has no group")
            group = None
        if name == "all_gather" and (members or group):
            size *= members or len(group or ())
    if group is not None:
        lacks.append("collectives without the ranks of their group: all ranks are assumed")
    return Collective(name, event.start, event.end, size, itemsize, group)


def _of_note(event: Event, group: tuple[int, ...] | None, lacks: list[str]) -> Collective:
    name = canonical(event.name.removeprefix("gloo:"))
    size, itemsize = _size_of_note(event)
    if size is None and name != "barrier":
        lacks.append(
            "gloo collectives without 'Input Dims' (the trace was recorded without record_shapes): they have no size"
        )
    if size is not None and name == "all_gather" and group is not None:
        size *= len(group)
    return Collective(name, event.start, event.end, size, itemsize, group)


def _size_of_note(event: Event) -> tuple[int | None, int]:
    """Return the bytes of the tensors that a host's call took in, and the size of one element."""
    lengths, types = event.args.get("Input Dims", ()), event.args.get("Input type", ())
    sizes = [_itemsize(kind) for kind in types]
    if not lengths or len(sizes) != len(lengths) or None in sizes or None in lengths:
        return None, 1
    total = sum((length or 0) * (size or 0) for length, size in zip(lengths, sizes, strict=True))
    return total, sizes[0] or 1


def _members(call: Event | None) -> int | None:
    """Return the size of the group of an all-gather or reduce-scatter from the shapes of its output and input."""
    lengths = [length for length in call.args.get("Input Dims", ()) if length is not None] if call else []
    if len(lengths) < 2 or min(lengths[:2]) == 0:
        return None
    large, small = max(lengths[:2]), min(lengths[:2])
    return large // small if large % small == 0 else None


def canonical(name: str) -> str:
    """Return what ``name``, as PyTorch or NCCL writes it, is called here; itself where it is none of a collective."""
    return _NAMES.get(re.sub(r"[^a-z]", "", name.lower()), name)


def in_kernel_name(name: str) -> str:
    """Return the operation that the name of an NCCL kernel states, else the name."""
    found = re.search(r"nccl\w*?Kernel_([A-Za-z]+)", name, re.IGNORECASE)
    return found[1] if found else name


def _itemsize(dtype: str) -> int | None:
    return _ITEMSIZE.get(dtype.lower().removeprefix("c10::"))


@lru_cache(maxsize=8)
def _everybody(world: int | None) -> tuple[int, ...] | None:
    return tuple(range(world)) if world is not None else None


def _default_group(spread: dict[str, Any], world: int | None) -> tuple[int, ...] | None:
    """Return the ranks of the one group that the job states, else all."""
    groups = spread.get("pg_config") or []
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise ValueError(f"pg_config is {shown(groups)}; expected a list of objects, one a group")
    ranks = groups[0].get("ranks") if len(groups) == 1 else None
    if not ranks:
        return _everybody(world)
    if not isinstance(ranks, list) or not all(map(is_count, ranks)) or len(set(ranks)) < len(ranks):
        raise ValueError(f"the ranks of pg_config are {shown(ranks)}; expected a list of different ranks, as [0, 1]")
    return tuple(sorted(ranks))


def inspect(trace: Trace) -> list[str]:
    """Return lines for a reader: what the trace is, what it holds, what it lacks."""
    lines = [
        f"{trace.recorder} trace {trace.file}",
        f"rank {'unknown' if trace.rank is None else trace.rank} of "
        f"{'unknown' if trace.world is None else trace.world}, "
        f"backend {trace.backend}, {trace.device}",
        f"covers {short(trace.end - trace.start, TIME)}; timestamps "
        f"{'count from 1970' if trace.epoch else 'have their own zero'}",
        "events: " + ", ".join(f"{count} {category}" for category, count in trace.events.most_common()),
    ]
    table: dict[tuple[str, int | None, tuple[int, ...] | None], int] = Counter(
        (c.name, c.size, c.group) for c in trace.collectives
    )
    for (name, size, group), count in table.items():
        among = "unknown ranks" if group is None else f"{len(group)} ranks"
        lines.append(
            f"collective: {count} x {name} of {'unknown size' if size is None else short(size, SIZE)} among {among}"
        )
    return lines + [f"lacks: {sentence}" for sentence in (*trace.lacks, *_elsewhere(trace))]


def _elsewhere(trace: Trace) -> Iterator[str]:
    """Yield sentences on what no trace of a single rank holds, where that matters for this one."""
    if trace.world is not None and trace.world > 1:
        yield (
            f"the other {trace.world - 1} of {trace.world} ranks: each has a trace of its own; import those too, or "
            "clone this one"
        )
    rooted = Counter(c.name for c in trace.collectives if c.name in ("broadcast", "reduce"))
    if rooted:
        yield (
            "the roots of " + ", ".join(f"{count} x {name}" for name, count in rooted.items()) + ": a trace names none"
        )
