"""PyTorch profiler (Kineto) traces: what one holds, which collectives, and what it lacks."""

import gzip
import json
import re
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from simcore.errors import InputError
from simcore.units import SIZE, TIME, short

LARGEST_TRACE = 2**30
"""Bytes of one trace after decompression; a file that unpacks to more is refused as soon as it does."""
EPOCH_US = Decimal(10) ** 15
"""Timestamps above this many microseconds count from 1970, not from the start of a machine."""

PS_PER_US = 10**6
_KNOWN = {
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


def read_trace(path: Path, *, limit: int = LARGEST_TRACE) -> Trace:
    """Return the trace in ``path`` (plain or gzip; an object with ``traceEvents``, or a bare list of events).

    Raises ``InputError`` where it cannot be read, is cut off, unpacks to more than ``limit`` bytes, or is no Kineto
    trace.
    """
    whole = _loaded(path, limit)
    events = whole.get("traceEvents") if isinstance(whole, dict) else whole
    if not isinstance(events, list):
        raise InputError(f"{path}: not a Kineto trace; expected an object with 'traceEvents' or a list of events")
    spans = [event for event in events if isinstance(event, dict) and event.get("ph") == "X" and _timed(event)]
    counts = Counter(str(event.get("cat")) for event in spans)
    if not _KNOWN & set(counts):
        raise InputError(
            f"{path}: not a Kineto trace: none of its {len(events)} events is a profiler's (cpu_op, kernel, "
            "user_annotation, ...)"
        )
    about = whole if isinstance(whole, dict) else {}
    spread = about.get("distributedInfo") or {}
    lacks: list[str] = []
    base = about.get("baseTimeNanoseconds")
    first = min(event["ts"] for event in spans)
    epoch = isinstance(base, int) or first > EPOCH_US
    zero = base * 1000 if isinstance(base, int) else 0
    rank, world = _rank(spread, path, lacks)
    if not epoch:
        lacks.append(
            "no baseTimeNanoseconds and timestamps that do not count from 1970: clocks of ranks cannot be "
            "compared as they are"
        )
    ended = [event for event in spans if event.get("cat") != "Trace"] or spans
    return Trace(
        path.name, rank, world, str(spread.get("backend", "unknown")), _device(about), epoch,
        min(_ps(event["ts"]) for event in ended) + zero,
        max(_ps(event["ts"]) + _ps(event.get("dur", 0)) for event in ended) + zero,
        counts, _collectives(spans, spread, world, zero, lacks), lacks,
    )  # fmt: skip


def _loaded(path: Path, limit: int) -> Any:
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            text = stream.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the gzip file is cut off or damaged ({str(error).rstrip('.').lower()})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(text) > limit:
        raise InputError(f"{path}: unpacks to more than {limit} bytes; record fewer steps")
    if not text.strip():
        raise InputError(f"{path}: empty; expected a Kineto trace (JSON, plain or gzip)")
    try:
        # Decimal, because microseconds since 1970 with fractions of a nanosecond do not fit a double.
        return json.loads(text, parse_float=Decimal)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not a text file (byte {error.start}); expected a Kineto trace (JSON, plain or gzip)"
        ) from None
    except json.JSONDecodeError as error:
        ended = error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg
        what = "the trace is cut off" if ended else "not JSON"
        raise InputError(
            f"{path}:{error.lineno}:{error.colno}: {what}: {error.msg[0].lower()}{error.msg[1:]}"
        ) from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply to be a Kineto trace") from None


def _timed(event: dict[str, Any]) -> bool:
    return (
        all(
            isinstance(event.get(key, 0), int | Decimal) and not isinstance(event.get(key), bool)
            for key in ("ts", "dur")
        )
        and "ts" in event
    )


def _ps(microseconds: int | Decimal) -> int:
    """Return microseconds as ps, rounded down where the text has more than six decimals."""
    return int(microseconds * PS_PER_US)


def _rank(spread: dict[str, Any], path: Path, lacks: list[str]) -> tuple[int | None, int | None]:
    rank, world = spread.get("rank"), spread.get("world_size")
    if isinstance(rank, int) and isinstance(world, int):
        return rank, world
    named = re.search(r"rank[_-]?(\d+)", path.name)
    if named:
        lacks.append(
            f"no distributedInfo: rank {named[1]} is taken from the name of the file, the number of ranks is unknown"
        )
        return int(named[1]), None
    lacks.append("no distributedInfo: rank and number of ranks are unknown")
    return None, None


def _device(about: dict[str, Any]) -> str:
    properties = about.get("deviceProperties") or []
    return f"{len(properties)} x {properties[0].get('name', 'unnamed GPU')}" if properties else "no GPU stated"


def _collectives(
    spans: list[dict[str, Any]], spread: dict[str, Any], world: int | None, zero: int, lacks: list[str]
) -> list[Collective]:
    """Return the collectives in order of their begin, numbered within their group; note what could not be told."""
    kernels = [
        event
        for event in spans
        if event.get("cat") == "kernel" and re.search(r"nccl", str(event.get("name")), re.IGNORECASE)
    ]
    found: list[Collective] = []
    if kernels:
        calls = _Calls(spans)
        found = [_of_kernel(event, calls, world, zero, lacks) for event in kernels]
    else:
        notes = [event for event in spans if str(event.get("name", "")).startswith("gloo:")]
        found = [_of_note(event, _default_group(spread, world), zero, lacks) for event in notes]
        if notes:
            lacks.append(
                "no GPU kernels: collectives are those that gloo ran on the CPU, and their times are CPU times"
            )
    if not found:
        host = sum(str(event.get("name", "")).startswith("nccl:") for event in spans)
        lacks.append("no collectives" + (f": {host} calls of the host, but none of their GPU kernels" if host else ""))
    count: Counter[tuple[int, ...] | None] = Counter()
    numbered = []
    for each in sorted(found, key=lambda each: (each.start, each.end)):
        numbered.append(replace(each, sequence=count[each.group]))
        count[each.group] += 1
    lacks[:] = list(dict.fromkeys(lacks))
    return numbered


class _Calls:
    """The host's side of NCCL kernels: from the correlation of a kernel to the annotation and the operator around its
    launch."""

    def __init__(self, spans: list[dict[str, Any]]) -> None:
        self._launches = {
            event["args"]["correlation"]: event
            for event in spans
            if event.get("cat") == "cuda_runtime" and "correlation" in event.get("args", {})
        }
        self._around: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for event in spans:
            if str(event.get("name")).startswith(("nccl:", "c10d::")):
                self._around[event.get("pid"), event.get("tid")].append(event)

    def around(self, kernel: dict[str, Any], prefix: str) -> dict[str, Any] | None:
        """Return the event whose name begins with ``prefix`` and in whose time, on the same thread, ``kernel`` was
        launched."""
        launch = self._launches.get(kernel.get("args", {}).get("correlation"))
        if launch is None:
            return None
        for event in self._around[launch.get("pid"), launch.get("tid")]:
            if event["name"].startswith(prefix) and event["ts"] <= launch["ts"] <= event["ts"] + event.get("dur", 0):
                return event
        return None


def _of_kernel(event: dict[str, Any], calls: _Calls, world: int | None, zero: int, lacks: list[str]) -> Collective:
    args = event.get("args", {})
    start = _ps(event["ts"]) + zero
    end = start + _ps(event.get("dur", 0))
    if "Collective name" in args and "In msg nelems" in args:
        name = _canonical(str(args["Collective name"]))
        itemsize = _itemsize(str(args.get("dtype", "")))
        elements = (
            max(int(args["In msg nelems"]), int(args.get("Out msg nelems", 0)))
            if name != "all_to_all"
            else int(args["In msg nelems"])
        )
        ranks = re.findall(r"\d+", str(args.get("Process Group Ranks", "")))
        group = (
            tuple(sorted(map(int, ranks)))
            if ranks and "..." not in str(args["Process Group Ranks"])
            else _everybody(world)
        )
        if not ranks or "..." in str(args.get("Process Group Ranks")):
            lacks.append("some collectives do not list the ranks of their group: all ranks are assumed")
        if itemsize is None:
            lacks.append(f"the size of dtype {args.get('dtype')!r} is unknown: its collectives have no size")
        return Collective(name, start, end, None if itemsize is None else elements * itemsize, itemsize or 1, group)
    note, call = calls.around(event, "nccl:"), calls.around(event, "c10d::")
    name = _canonical(note["name"].removeprefix("nccl:")) if note else _canonical(_in_kernel_name(event["name"]))
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
    return Collective(name, start, end, size, itemsize, group)


def _of_note(event: dict[str, Any], group: tuple[int, ...] | None, zero: int, lacks: list[str]) -> Collective:
    name = _canonical(event["name"].removeprefix("gloo:"))
    size, itemsize = _size_of_note(event)
    if size is None and name != "barrier":
        lacks.append(
            "gloo collectives without 'Input Dims' (the trace was recorded without record_shapes): they have no size"
        )
    if size is not None and name == "all_gather" and group is not None:
        size *= len(group)
    start = _ps(event["ts"]) + zero
    return Collective(name, start, start + _ps(event.get("dur", 0)), size, itemsize, group)


def _size_of_note(event: dict[str, Any]) -> tuple[int | None, int]:
    """Return the bytes of the tensors that a host's call took in, and the size of one element."""
    args = event.get("args", {})
    shapes, types = args.get("Input Dims"), args.get("Input type")
    if (
        not shapes
        or not types
        or not all(isinstance(shape, list) and shape and all(isinstance(n, int) for n in shape) for shape in shapes)
    ):
        return None, 1
    sizes = [_itemsize(str(kind)) for kind in types]
    if len(sizes) != len(shapes) or None in sizes:
        return None, 1
    total = sum(int(np.prod(shape)) * (size or 0) for shape, size in zip(shapes, sizes, strict=True))
    return total, sizes[0] or 1


def _members(call: dict[str, Any] | None) -> int | None:
    """Return the size of the group of an all-gather or reduce-scatter from the shapes of its output and input."""
    shapes = call.get("args", {}).get("Input Dims", []) if call else []
    lengths = [
        int(np.prod(shape))
        for shape in shapes
        if isinstance(shape, list) and shape and all(isinstance(n, int) for n in shape)
    ]
    if len(lengths) < 2 or min(lengths[:2]) == 0:
        return None
    large, small = max(lengths[:2]), min(lengths[:2])
    return large // small if large % small == 0 else None


def _canonical(name: str) -> str:
    return _NAMES.get(re.sub(r"[^a-z]", "", name.lower()), name)


def _in_kernel_name(name: str) -> str:
    found = re.search(r"nccl\w*?Kernel_([A-Za-z]+)", name, re.IGNORECASE)
    return found[1] if found else name


def _itemsize(dtype: str) -> int | None:
    return _ITEMSIZE.get(dtype.lower().removeprefix("c10::"))


def _everybody(world: int | None) -> tuple[int, ...] | None:
    return tuple(range(world)) if world is not None else None


def _default_group(spread: dict[str, Any], world: int | None) -> tuple[int, ...] | None:
    groups = [group.get("ranks") for group in spread.get("pg_config") or [] if isinstance(group, dict)]
    if (
        len(groups) == 1
        and isinstance(groups[0], list)
        and groups[0]
        and all(isinstance(rank, int) for rank in groups[0])
    ):
        return tuple(sorted(groups[0]))
    return _everybody(world)


def inspect(trace: Trace) -> list[str]:
    """Return lines for a reader: what the trace is, what it holds, what it lacks."""
    lines = [
        f"Kineto trace {trace.file}",
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
    return lines + [f"lacks: {sentence}" for sentence in trace.lacks]
