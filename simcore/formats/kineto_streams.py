"""What a Kineto trace holds of the streams of its rank: kernels, copies, collectives, and the host's waits."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from simcore.formats.events import LARGEST_TRACE, Event
from simcore.formats.kineto import Collective, read_with_events
from simcore.formats.ranks import Recorded
from simcore.formats.streams import Activity, Wait

_GPU = frozenset({"kernel", "gpu_memcpy", "gpu_memset", "cuda_sync"})
_CPU = frozenset({"cpu_op"})
_WAITS = ("StreamWaitEvent", "DeviceSynchronize")


def read_recorded(path: Path, *, limit: int = LARGEST_TRACE) -> Recorded:
    """Return what ran on the GPU's streams, or, where there is no GPU and gloo ran the collectives, on the threads of
    the CPU; raises ``InputError`` as `simcore.formats.kineto.read_trace` does.

    Model: a thread of the CPU is a stream of its outermost operations; what they call is part of them.
    """
    trace, found, pairs = read_with_events(path, limit=limit, also=_GPU)
    zero = trace.start - (found.covered.get(False) or found.covered[True])[0]
    rows = [event for event in found.rows if event.category != "cuda_sync"]
    if not rows and pairs:
        trace, found, pairs = read_with_events(path, limit=limit, also=_CPU)
        rows = [event for thread in _threads(found.rows) for event in _outermost(thread)]
        rows += [event for event, _ in pairs]
    collectives = {id(event): each for event, each in pairs}
    calls = {
        event.args["correlation"]: event
        for event in found.kept
        if event.category.startswith("cuda_") and "correlation" in event.args
    }
    activities = [_activity(event, collectives.get(id(event)), calls, zero) for event in rows]
    syncs = [event for event in found.rows if event.category == "cuda_sync"]
    return Recorded(trace, activities, _waits(found.kept, syncs, calls, collectives, zero))


def _threads(events: Sequence[Event]) -> Iterator[list[Event]]:
    threads: dict[Any, list[Event]] = defaultdict(list)
    for event in events:
        threads[event.thread].append(event)
    yield from threads.values()


def _outermost(events: list[Event]) -> Iterator[Event]:
    """Yield the events of one thread that lie in no other."""
    end = None
    for event in sorted(events, key=lambda event: (event.start, -event.end)):
        if end is None or event.start >= end:
            yield event
            end = event.end


def _activity(event: Event, collective: Collective | None, calls: dict[Any, Event], zero: int) -> Activity:
    call = calls.get(event.args.get("correlation"))
    launched, thread = (call.start + zero, call.thread) if call else (-1, None)
    stream, begin, end = _stream(event), event.start + zero, event.end + zero
    if collective is not None:
        return Activity(
            collective.name, "collective", stream, begin, end, collective.size, collective.name, collective.group,
            launched, thread,
        )  # fmt: skip
    kind = "memory" if event.category.startswith("gpu_mem") else "compute"
    return Activity(
        event.name, "memory" if kind == "memory" else "compute", stream, begin, end, event.args.get("bytes", 0),
        launched=launched, thread=thread,
    )  # fmt: skip


def _stream(event: Event, key: str = "stream") -> str:
    """Return the name of the stream, with that of its device where that is not the first; a thread of the CPU is
    one."""
    if key not in event.args:
        return f"thread {event.thread[1]}"
    device = event.args.get("device", 0)
    return f"stream {event.args[key]}" + (f" of device {device}" if device != 0 else "")


def _waits(
    kept: Sequence[Event],
    syncs: Sequence[Event],
    calls: dict[Any, Event],
    collectives: dict[int, Collective],
    zero: int,
) -> list[Wait] | None:
    """Return the waits that the trace names, else the calls that make some stream wait, None where it has neither.

    Calls within those of PyTorch or NCCL for a collective are part of its launch.
    """
    named = []
    for event in syncs:
        call, record = (calls.get(event.args.get(key)) for key in ("correlation", "wait_on_cuda_event_record_corr_id"))
        if call and record and event.args.get("wait_on_stream", -1) != -1 and event.name == "Stream Wait Event":
            other = _stream(event, "wait_on_stream")
            named.append(Wait(call.start + zero, call.thread, _stream(event), other, record.start + zero))
    if named:
        return named
    spans: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    found: Counter[Any] = Counter()
    for event in kept:
        if event.name.startswith(("c10d::", "nccl:")):
            spans[event.thread].append((event.start, event.end))
    joined = {thread: _joined(those) for thread, those in spans.items()}
    waits = []
    for event in kept:
        if event.category.startswith("cuda_") and event.name.endswith(_WAITS):
            found[event.name.removeprefix("cuda").removeprefix("hip")] += 1
            begins, ends = joined.get(event.thread, ([], []))
            place = bisect_right(begins, event.start) - 1
            if place < 0 or ends[place] < event.start:
                waits.append(Wait(event.start + zero, event.thread))
    return waits if found["StreamWaitEvent"] else None


def _joined(spans: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return begins and ends of the stretches of time that ``spans`` cover."""
    begins, ends = list[int](), list[int]()
    for begin, end in sorted(spans):
        if ends and begin <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            begins.append(begin)
            ends.append(end)
    return begins, ends
