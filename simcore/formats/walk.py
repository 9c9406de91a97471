"""Instants of an execution trace that states none: its rank's nodes, each after those that it depends on."""

from collections import Counter, defaultdict
from pathlib import Path

from simcore.formats.execution import Execution
from simcore.formats.kineto import Collective, Trace
from simcore.units import LARGEST


def to_trace(execution: Execution, world: int) -> Trace:
    """Return the collectives of ``execution``, one of ``world`` ranks, as a profiler would have recorded them.

    Model: every node begins when those that it depends on have ended, after its gap, and takes as long as the trace
    says, whatever else runs on its rank; a collective is not held up by other ranks. Time zero is the rank's begin.
    """
    ends: dict[int, int] = {}
    found: list[Collective] = []
    numbers: defaultdict[tuple[str, tuple[int, ...]], int] = defaultdict(int)
    for node in execution.nodes:
        begin = max((ends[other] for other in node.after), default=0) + node.gap
        # What is beyond is refused, with its name, when ranks are put on one clock.
        ends[node.id] = min(begin + node.duration, LARGEST - 1)
        if node.kind == "collective":
            group = node.group or tuple(range(world))
            number = numbers[node.operation, group]
            numbers[node.operation, group] += 1
            found.append(Collective(node.operation, begin, ends[node.id], node.size, 1, group, number))
    lacks = [
        "instants: computed from durations and dependencies of this rank alone",
        "element sizes: arrays are cut by bytes",
        *execution.said,
    ]
    kinds = Counter(node.kind for node in execution.nodes)
    messages = kinds["send"] + kinds["receive"]
    if messages:
        lacks.append(f"{messages} single messages become no writes")
    untimed = sum(not node.duration for node in execution.nodes if node.kind == "collective")
    if untimed:
        lacks.append(f"durations of {untimed} collectives: their writes carry the instant of their begin")
    last = max(ends.values(), default=0)
    return Trace(
        Path(execution.file).name, execution.rank, world, "", "", False, 0, last,
        Counter({str(kind): count for kind, count in kinds.items()}), found, lacks, "Chakra",
    )  # fmt: skip
