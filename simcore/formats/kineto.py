"""PyTorch profiler (Kineto) traces in: what a trace holds, what it lacks, and the timing profile that its collectives become."""

import gzip
import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from simcore.errors import InputError
from simcore.formats.profile import FLAG_BYTES, Profile
from simcore.units import LARGEST, SIZE, TIME, short

LARGEST_TRACE = 2**30
"""Bytes of one trace after decompression; a file that unpacks to more is refused as soon as it does."""
EPOCH_US = Decimal(10) ** 15
"""Timestamps above this many microseconds count from 1970, not from the start of a machine."""

PS_PER_US = 10**6
_KNOWN = {"cpu_op", "kernel", "gpu_memcpy", "gpu_memset", "cuda_runtime", "cuda_driver", "user_annotation", "gpu_user_annotation", "python_function", "Trace"}
_ITEMSIZE = {
    "float": 4, "double": 8, "half": 2, "bfloat16": 2, "int": 4, "long": 8, "long int": 8, "short": 2, "char": 1,
    "signed char": 1, "byte": 1, "unsigned char": 1, "bool": 1, "int8_t": 1, "float8_e4m3fn": 1, "float8_e5m2": 1,
}  # fmt: skip
_NAMES = {
    "allreduce": "all_reduce", "allreducecoalesced": "all_reduce",
    "allgather": "all_gather", "allgatherbase": "all_gather", "allgatherintotensor": "all_gather", "allgatherintotensorcoalesced": "all_gather",
    "reducescatter": "reduce_scatter", "reducescatterbase": "reduce_scatter", "reducescattertensor": "reduce_scatter",
    "broadcast": "broadcast", "reduce": "reduce", "alltoall": "all_to_all", "alltoallbase": "all_to_all", "alltoallv": "all_to_all",
    "sendrecv": "send_recv", "send": "send_recv", "recv": "send_recv", "barrier": "barrier",
}  # fmt: skip


@dataclass(frozen=True)
class Collective:
    """One collective on one rank: recorded begin and end (ps), bytes by the convention below or None, and its group of ranks.

    ``size`` is the whole array: what all_reduce, broadcast and reduce work on, the total output of all_gather, the total
    input of reduce_scatter, what one rank sends in all_to_all.
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
    """What one trace file holds: who recorded it, its events by category, its collectives, and sentences on what it lacks."""

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

    Raises ``InputError`` where it cannot be read, is cut off, unpacks to more than ``limit`` bytes, or is no Kineto trace.
    """
    whole = _loaded(path, limit)
    events = whole.get("traceEvents") if isinstance(whole, dict) else whole
    if not isinstance(events, list):
        raise InputError(f"{path}: not a Kineto trace; expected an object with 'traceEvents' or a list of events")
    spans = [event for event in events if isinstance(event, dict) and event.get("ph") == "X" and _timed(event)]
    counts = Counter(str(event.get("cat")) for event in spans)
    if not _KNOWN & set(counts):
        raise InputError(f"{path}: not a Kineto trace: none of its {len(events)} events is a profiler's (cpu_op, kernel, user_annotation, ...)")
    about = whole if isinstance(whole, dict) else {}
    spread = about.get("distributedInfo") or {}
    lacks: list[str] = []
    base = about.get("baseTimeNanoseconds")
    first = min(event["ts"] for event in spans)
    epoch = isinstance(base, int) or first > EPOCH_US
    zero = base * 1000 if isinstance(base, int) else 0
    rank, world = _rank(spread, path, lacks)
    if not epoch:
        lacks.append("no baseTimeNanoseconds and timestamps that do not count from 1970: clocks of ranks cannot be compared as they are")
    ended = [event for event in spans if event.get("cat") != "Trace"] or spans
    return Trace(
        path.name, rank, world, str(spread.get("backend", "unknown")), _device(about), epoch,
        min(_ps(event["ts"]) for event in ended) + zero, max(_ps(event["ts"]) + _ps(event.get("dur", 0)) for event in ended) + zero,
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
        raise InputError(f"{path}: not a text file (byte {error.start}); expected a Kineto trace (JSON, plain or gzip)") from None
    except json.JSONDecodeError as error:
        ended = error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg
        what = "the trace is cut off" if ended else "not JSON"
        raise InputError(f"{path}:{error.lineno}:{error.colno}: {what}: {error.msg[0].lower()}{error.msg[1:]}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply to be a Kineto trace") from None


def _timed(event: dict[str, Any]) -> bool:
    return all(isinstance(event.get(key, 0), int | Decimal) and not isinstance(event.get(key), bool) for key in ("ts", "dur")) and "ts" in event


def _ps(microseconds: int | Decimal) -> int:
    """Return microseconds as ps, rounded down where the text has more than six decimals."""
    return int(microseconds * PS_PER_US)


def _rank(spread: dict[str, Any], path: Path, lacks: list[str]) -> tuple[int | None, int | None]:
    rank, world = spread.get("rank"), spread.get("world_size")
    if isinstance(rank, int) and isinstance(world, int):
        return rank, world
    named = re.search(r"rank[_-]?(\d+)", path.name)
    if named:
        lacks.append(f"no distributedInfo: rank {named[1]} is taken from the name of the file, the number of ranks is unknown")
        return int(named[1]), None
    lacks.append("no distributedInfo: rank and number of ranks are unknown")
    return None, None


def _device(about: dict[str, Any]) -> str:
    properties = about.get("deviceProperties") or []
    return f"{len(properties)} x {properties[0].get('name', 'unnamed GPU')}" if properties else "no GPU stated"


def _collectives(spans: list[dict[str, Any]], spread: dict[str, Any], world: int | None, zero: int, lacks: list[str]) -> list[Collective]:
    """Return the collectives in order of their begin, numbered within their group; note what could not be told."""
    kernels = [event for event in spans if event.get("cat") == "kernel" and re.search(r"nccl", str(event.get("name")), re.IGNORECASE)]
    found: list[Collective] = []
    if kernels:
        calls = _Calls(spans)
        found = [_of_kernel(event, calls, world, zero, lacks) for event in kernels]
    else:
        notes = [event for event in spans if str(event.get("name", "")).startswith("gloo:")]
        found = [_of_note(event, _default_group(spread, world), zero, lacks) for event in notes]
        if notes:
            lacks.append("no GPU kernels: collectives are those that gloo ran on the CPU, and their times are CPU times")
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
    """The host's side of NCCL kernels: from the correlation of a kernel to the annotation and the operator around its launch."""

    def __init__(self, spans: list[dict[str, Any]]) -> None:
        self._launches = {
            event["args"]["correlation"]: event for event in spans if event.get("cat") == "cuda_runtime" and "correlation" in event.get("args", {})
        }
        self._around: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for event in spans:
            if str(event.get("name")).startswith(("nccl:", "c10d::")):
                self._around[event.get("pid"), event.get("tid")].append(event)

    def around(self, kernel: dict[str, Any], prefix: str) -> dict[str, Any] | None:
        """Return the event whose name begins with ``prefix`` and in whose time, on the same thread, ``kernel`` was launched."""
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
        elements = max(int(args["In msg nelems"]), int(args.get("Out msg nelems", 0))) if name != "all_to_all" else int(args["In msg nelems"])
        ranks = re.findall(r"\d+", str(args.get("Process Group Ranks", "")))
        group = tuple(sorted(map(int, ranks))) if ranks and "..." not in str(args["Process Group Ranks"]) else _everybody(world)
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
        lacks.append("NCCL kernels without message sizes, and no call of the host that gives them: these collectives have no size")
    else:
        lacks.append("NCCL kernels without message sizes: sizes are those of the tensors in the host's call around the launch")
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
        lacks.append("gloo collectives without 'Input Dims' (the trace was recorded without record_shapes): they have no size")
    if size is not None and name == "all_gather" and group is not None:
        size *= len(group)
    start = _ps(event["ts"]) + zero
    return Collective(name, start, start + _ps(event.get("dur", 0)), size, itemsize, group)


def _size_of_note(event: dict[str, Any]) -> tuple[int | None, int]:
    """Return the bytes of the tensors that a host's call took in, and the size of one element."""
    args = event.get("args", {})
    shapes, types = args.get("Input Dims"), args.get("Input type")
    if not shapes or not types or not all(isinstance(shape, list) and shape and all(isinstance(n, int) for n in shape) for shape in shapes):
        return None, 1
    sizes = [_itemsize(str(kind)) for kind in types]
    if len(sizes) != len(shapes) or None in sizes:
        return None, 1
    total = sum(int(np.prod(shape)) * (size or 0) for shape, size in zip(shapes, sizes, strict=True))
    return total, sizes[0] or 1


def _members(call: dict[str, Any] | None) -> int | None:
    """Return the size of the group of an all-gather or reduce-scatter from the shapes of its output and input."""
    shapes = call.get("args", {}).get("Input Dims", []) if call else []
    lengths = [int(np.prod(shape)) for shape in shapes if isinstance(shape, list) and shape and all(isinstance(n, int) for n in shape)]
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
    if len(groups) == 1 and isinstance(groups[0], list) and groups[0] and all(isinstance(rank, int) for rank in groups[0]):
        return tuple(sorted(groups[0]))
    return _everybody(world)


def inspect(trace: Trace) -> list[str]:
    """Return lines for a reader: what the trace is, what it holds, what it lacks."""
    lines = [
        f"Kineto trace {trace.file}",
        f"rank {'unknown' if trace.rank is None else trace.rank} of {'unknown' if trace.world is None else trace.world}, "
        f"backend {trace.backend}, {trace.device}",
        f"covers {short(trace.end - trace.start, TIME)}; timestamps {'count from 1970' if trace.epoch else 'have their own zero'}",
        "events: " + ", ".join(f"{count} {category}" for category, count in trace.events.most_common()),
    ]
    table: dict[tuple[str, int | None, tuple[int, ...] | None], int] = Counter((c.name, c.size, c.group) for c in trace.collectives)
    for (name, size, group), count in table.items():
        among = "unknown ranks" if group is None else f"{len(group)} ranks"
        lines.append(f"collective: {count} x {name} of {'unknown size' if size is None else short(size, SIZE)} among {among}")
    return lines + [f"lacks: {sentence}" for sentence in trace.lacks]


def to_profile(traces: Sequence[Trace], *, algorithm: str = "direct", align: str | None = None, clone_rank: int | None = None) -> Profile:
    """Return the timing profile of ``traces``, one a rank: each collective becomes the writes of ``algorithm``, stamped with its recorded end.

    ``align``: ``none`` takes the clocks as they are, ``base`` puts every rank's first collective at the same instant,
    ``match`` shifts ranks so that equal collectives (name, group, sequence) end together in the median. Ranks without a
    trace stay absent unless ``clone_rank`` names the rank whose times they get. Raises ``InputError``.
    """
    if algorithm not in ("direct", "ring"):
        raise InputError(f"--as {algorithm}: unknown algorithm; allowed: direct, ring")
    ranked = _ranked(traces)
    world = _world(ranked)
    header = [("source", ", ".join(trace.file for trace in ranked.values())), ("ranks", ", ".join(map(str, ranked)))]
    usable = {rank: [c for c in trace.collectives if c.size is not None and c.group is not None and rank in c.group] for rank, trace in ranked.items()}
    usable = {rank: [c for c in found if c.name in _ALGORITHMS and len(c.group or ()) > 1] for rank, found in usable.items()}
    if not any(usable.values()):
        sentences = "; ".join(dict.fromkeys(sentence for trace in ranked.values() for sentence in trace.lacks))
        raise InputError(f"{', '.join(trace.file for trace in ranked.values())}: no collective can become writes: {sentences or 'none spans two ranks'}")
    usable, said = _aligned(usable, ranked, align)
    header.append(("align", said))
    if clone_rank is not None:
        header.append(("clone", _clone(usable, clone_rank, world)))
    header += _statements(ranked, usable, algorithm, world)
    return _laid_out(usable, algorithm, world, tuple(header))


def _ranked(traces: Sequence[Trace]) -> dict[int, Trace]:
    ranked: dict[int, Trace] = {}
    for trace in traces:
        rank = trace.rank if trace.rank is not None or len(traces) > 1 else 0
        if rank is None:
            raise InputError(f"{trace.file}: its rank is unknown; name the file rankN.json(.gz), or record it in a distributed job")
        if rank in ranked:
            raise InputError(f"{trace.file}: rank {rank} was already given by {ranked[rank].file}")
        ranked[rank] = trace
    return dict(sorted(ranked.items()))


def _world(ranked: dict[int, Trace]) -> int:
    stated = {trace.world for trace in ranked.values() if trace.world is not None}
    if len(stated) > 1:
        raise InputError(f"the traces are of different jobs: they state {', '.join(map(str, sorted(stated)))} ranks")
    members = [rank for trace in ranked.values() for c in trace.collectives for rank in c.group or ()]
    return stated.pop() if stated else max([*ranked, *members]) + 1


def _aligned(usable: dict[int, list[Collective]], ranked: dict[int, Trace], align: str | None) -> tuple[dict[int, list[Collective]], str]:
    """Return the collectives on one clock whose zero is the earliest begin, and the sentence that says how."""
    if align not in (None, "none", "base", "match"):
        raise InputError(f"--align {align}: unknown way; allowed: none, base, match")
    if align is None:
        foreign = [trace.file for trace in ranked.values() if not trace.epoch]
        if foreign and len(ranked) > 1:
            raise InputError(f"{foreign[0]}: timestamps do not count from 1970, so ranks cannot be compared; give --align base or --align match")
        align = "none"
    shift = dict.fromkeys(usable, 0)
    said = "none: clocks of the ranks as recorded" + (", which count from 1970" if all(trace.epoch for trace in ranked.values()) else "")
    if align == "base":
        shift = {rank: -min((c.start for c in found), default=0) for rank, found in usable.items()}
        said = "base: the first collective of every rank begins at 0; skew between ranks is lost"
    elif align == "match":
        shift, said = _matched(usable)
    zero = min(c.start + shift[rank] for rank, found in usable.items() for c in found)
    moved = {rank: [replace(c, start=c.start + shift[rank] - zero, end=c.end + shift[rank] - zero) for c in found] for rank, found in usable.items()}
    if max(c.end for found in moved.values() for c in found) >= LARGEST // 2:
        raise InputError("the clocks of the ranks lie more than 26 days apart; give --align base or --align match")
    return moved, said


def _matched(usable: dict[int, list[Collective]]) -> tuple[dict[int, int], str]:
    """Shift every rank by the median difference of the ends of the collectives it shares with a rank already placed."""
    # A collective whose sizes differ between two ranks is not the same one, whatever its number says; all_to_all may differ.
    ends = {rank: {(c.name, c.group, c.sequence, c.size if c.name != "all_to_all" else None): c.end for c in found} for rank, found in usable.items() if found}
    first = min(ends)
    shift = dict.fromkeys(usable, 0)
    placed, residuals = [first], []
    while len(placed) < len(ends):
        candidates = [(len(ends[rank].keys() & ends[known].keys()), -rank, -known) for rank in ends if rank not in placed for known in placed]
        common, rank, known = max(candidates)
        rank, known = -rank, -known
        if not common:
            raise InputError(f"--align match: rank {rank} shares no collective (name, group, sequence) with rank {placed[0]}")
        differences = [ends[known][key] + shift[known] - ends[rank][key] for key in sorted(ends[rank].keys() & ends[known].keys(), key=str)]
        shift[rank] = int(median(differences))
        residuals += [abs(difference - shift[rank]) for difference in differences]
        placed.append(rank)
    mean = sum(residuals) // max(1, len(residuals))
    said = (
        f"match: {len(residuals)} collectives of equal name, group, sequence and size end together in the median; "
        f"residual mean {short(mean, TIME)}, max {short(max(residuals, default=0), TIME)}"
    )
    return shift, said


def _clone(usable: dict[int, list[Collective]], source: int, world: int) -> str:
    if source not in usable:
        raise InputError(f"--clone-rank {source}: there is no trace of that rank; given are {', '.join(map(str, usable))}")
    absent = [rank for rank in range(world) if rank not in usable]
    for rank in absent:
        usable[rank] = [c for c in usable[source] if c.group is not None and rank in c.group]
    return f"rank {source} stands for {len(absent)} ranks without a trace: same instants, same sizes, no skew among them"


def _statements(ranked: dict[int, Trace], usable: dict[int, list[Collective]], algorithm: str, world: int) -> Iterator[tuple[str, str]]:
    yield "algorithm", f"{algorithm}: inferred, a trace does not say which writes a collective consisted of"
    yield "stamps", "all writes of a collective at its recorded end on the writing rank; the order within it is the algorithm's"
    yield "split", "arrays are cut by elements, the first parts one element longer where they do not divide evenly"
    yield "flags", f"inferred: one of {FLAG_BYTES} bytes (assumed) behind the data of every step and peer"
    sizes: dict[Any, set[int | None]] = defaultdict(set)
    for found in usable.values():
        for c in found:
            sizes[c.name, c.group, c.sequence].add(c.size)
    unequal = sum(len(seen) > 1 for (name, _, _), seen in sizes.items() if name != "all_to_all")
    if unequal:
        yield "unequal", f"{unequal} collectives of equal name, group and sequence have different sizes on different ranks; the traces may be sampled"
    names = {c.name for found in usable.values() for c in found}
    if names & {"broadcast", "reduce"}:
        yield "root", "inferred: broadcast and reduce have the lowest rank of their group as root"
    if algorithm == "ring" and "all_to_all" in names:
        yield "all_to_all", "direct also where --as is ring; it has no ring form"
    absent = [rank for rank in range(world) if rank not in usable]
    if absent:
        shown = f"{absent[0]} to {absent[-1]}" if len(absent) > 1 else str(absent[0])
        yield "absent", f"{len(absent)} of {world} ranks ({shown}) have no trace and write nothing"
    for rank, trace in ranked.items():
        left_out = Counter(c.name for c in trace.collectives) - Counter(c.name for c in usable[rank])
        for name, count in left_out.items():
            yield "left out", f"rank {rank}: {count} x {name} become no writes (size, group or peer unknown, or no algorithm)"
        for sentence in trace.lacks:
            yield "lacks", f"rank {rank}: {sentence}"


Send = tuple[int, int, int, bool]
"""Position of the destination in the group, index of the part that is sent (-1: the whole array), step, and whether the receiver reduces."""


def _direct_all_reduce(i: int, n: int) -> list[Send]:
    peers = [(i + k) % n for k in range(1, n)]
    return [(j, j, 0, True) for j in peers] + [(j, i, 1, False) for j in peers]


def _ring_all_reduce(i: int, n: int) -> list[Send]:
    after = (i + 1) % n
    scatter = [(after, (i - s) % n, s, True) for s in range(n - 1)]
    return scatter + [(after, (i + 1 - s) % n, n - 1 + s, False) for s in range(n - 1)]


def _ring_reduce_scatter(i: int, n: int) -> list[Send]:
    return [((i + 1) % n, (i - 1 - s) % n, s, True) for s in range(n - 1)]


_DIRECT = {
    "all_reduce": _direct_all_reduce,
    "all_gather": lambda i, n: [((i + k) % n, i, 0, False) for k in range(1, n)],
    "reduce_scatter": lambda i, n: [((i + k) % n, (i + k) % n, 0, True) for k in range(1, n)],
    "all_to_all": lambda i, n: [((i + k) % n, (i + k) % n, 0, False) for k in range(1, n)],
    "broadcast": lambda i, n: [(j, -1, 0, False) for j in range(1, n)] if i == 0 else [],
    "reduce": lambda i, n: [(0, -1, 0, True)] if i else [],
}
_RING = {
    "all_reduce": _ring_all_reduce,
    "all_gather": lambda i, n: [((i + 1) % n, (i - s) % n, s, False) for s in range(n - 1)],
    "reduce_scatter": _ring_reduce_scatter,
    "all_to_all": _DIRECT["all_to_all"],
    "broadcast": lambda i, n: [(i + 1, -1, i, False)] if i + 1 < n else [],
    "reduce": lambda i, n: [(i - 1, -1, n - 1 - i, True)] if i else [],
}
_ALGORITHMS = set(_DIRECT)


def _laid_out(usable: dict[int, list[Collective]], algorithm: str, world: int, header: tuple[tuple[str, str], ...]) -> Profile:
    """Turn the collectives of every rank into rows, sorted by (time, rank, order)."""
    sends = _DIRECT if algorithm == "direct" else _RING
    numbers = _numbered(usable)
    columns: list[list[Any]] = [[] for _ in range(10)]
    for rank in sorted(usable):
        for c in usable[rank]:
            group = c.group or ()
            n, position, size = len(group), group.index(rank), c.size or 0
            for to, part, step, reduces in sends[c.name](position, n):
                sent = size if part < 0 else _part(size // c.itemsize, n, part) * c.itemsize
                for length, flag in ((sent, False), (FLAG_BYTES, True)):
                    if length:
                        row = (rank, c.start, c.end, group[to], length, flag, numbers[c.name, c.group, c.sequence], step, reduces, c.name)
                        for column, value in zip(columns, row, strict=True):
                            column.append(value)
    order = np.lexsort((np.arange(len(columns[0])), columns[0], columns[2]))
    rank_, start, time, dst, size_, collective, step_ = (np.array(columns[k], np.int64)[order] for k in (0, 1, 2, 3, 4, 6, 7))
    flags, reduce = (np.array(columns[k], bool)[order] for k in (5, 8))
    return Profile(rank_, start, time, dst, size_, flags, collective, step_, reduce, [columns[9][k] for k in order], header, world)


Key = tuple[str, tuple[int, ...] | None, int]


def _numbered(usable: dict[int, list[Collective]]) -> dict[Key, int]:
    """Number collectives (name, group, sequence) in the order in which the first rank began them."""
    begin: dict[Key, int] = {}
    for found in usable.values():
        for c in found:
            key = (c.name, c.group, c.sequence)
            begin[key] = min(begin.get(key, c.start), c.start)
    return {key: number for number, key in enumerate(sorted(begin, key=lambda key: (begin[key], str(key))))}


def _part(elements: int, n: int, index: int) -> int:
    return elements // n + (index < elements % n)
