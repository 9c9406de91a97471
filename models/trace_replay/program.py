"""The traces of all ranks become one schedule, which all ranks play together."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from simcore import (
    ALGORITHMS,
    WHOLE,
    InputError,
    Node,
    Rank,
    Schedule,
    Time,
    TraceFiles,
    Work,
    locate,
    matching,
    read_executions,
)  # fmt: skip

from .life import Piece, pieces, streams, times
from .lowering import Lowered, lower
from .matching import Job, Meeting, match


@dataclass(frozen=True)
class Params:
    """``traces``: the traces of all ranks, a folder or a pattern of names.

    ``algorithm`` (chunks, channels, nodes, inner, outer as in docs/collectives.md) is that of every operation which has
    it; "" is each operation's first. ``adds``: the dtype in which adding within a collective takes time; "" for none.
    ``sends``: when a send has ended. ``window``: messages of one connection (sender, receiver, tag) that may be under
    way, and chunks on one of a collective's; None for however many. ``reduction``: how long a computation lasts that
    waits for receives alone, None as recorded. ``dtype``: that of computations which state operations and no duration.
    ``dimensions``: how many ranks each dimension of a Chakra trace's ``involved_dim`` has. ``align``: how the clocks
    of ranks that a profiler recorded one by one become one (none, base, match as for `simcore trace import`; "": none,
    where they count from 1970). ``clone_rank``: the rank whose trace those without one get.
    """

    traces: TraceFiles = "step_4ranks"
    algorithm: str = ""
    chunks: int = 1
    channels: int = 1
    nodes: int = 1
    inner: str = "ring"
    outer: str = "ring"
    adds: Literal["", "float32", "float16", "bfloat16", "int8"] = ""
    sends: Literal["posted", "delivered"] = "posted"
    window: int | None = 1
    reduction: Time | None = None
    dtype: str = "float32"
    dimensions: list[int] = field(default_factory=list)
    align: Literal["", "none", "base", "match"] = ""
    clone_rank: int | None = None


@dataclass(frozen=True)
class Plan:
    """The parameters, what all ranks did, and, once the first rank has asked the machine how long work lasts, the
    schedule of it."""

    params: Params
    job: Job
    lowered: list[Lowered] = field(default_factory=list)


class TraceReplay:
    """How long does what was recorded take on another machine, on other links, with other collectives?"""

    Params = Params
    counters: ClassVar[dict[str, str]] = {
        "recorded_communication_ps": "what the trace says that the rank's messages and collectives took, ps",
        "simulated_communication_ps": "what the same messages and collectives took here, ps",
    }

    def world(self, params: Params) -> int:
        """Return the number of ranks of the traces; raises ``InputError`` for what cannot be replayed."""
        if params.window is not None and params.window < 1:
            raise InputError(f"window must be 1 or more messages, or null for any number, not {params.window}")
        return len(_read(params))

    def plan(self, params: Params, world: int, nodes: int, rng: Any) -> Plan:
        """Return what the ranks did, every message and collective matched."""
        job = match(_read(params))
        operations = {meeting.asked.operation for meeting in job.meetings}
        known = {name for each in operations for name in ALGORITHMS.get(_played_as(each), ())}
        if params.algorithm and operations and params.algorithm not in known:
            raise InputError(
                f"algorithm {params.algorithm!r}: none of the operations of {params.traces} has it; "
                f"they have {', '.join(sorted(known))}"
            )
        return Plan(params, job)

    def reference(self, params: Params, plan: Plan) -> list[Any]:
        """Return nothing: a trace holds no values."""
        return []

    def program(self, rank: Rank, plan: Plan) -> Generator[Any, Any, None]:
        """Play everybody's schedule, then tell one's own life from it."""
        for sentence in plan.job.said:
            rank.warn(sentence)
        if not plan.lowered:
            plan.lowered.append(_lower(rank, plan))
        (lowered,) = plan.lowered
        _, ended = yield from rank.play(lowered.schedule, "trace")
        _tell(rank, "", pieces(plan.job, lowered, rank.index, ended))
        for stream, life in streams(plan.job, lowered, rank.index, ended):
            _tell(rank, stream, life)
        _compare(rank, plan.job, lowered, ended)


def _tell(rank: Rank, part: str, life: Iterable[Piece]) -> None:
    for each in life:
        rank.lived(each.begin, each.end, each.activity, each.what, reason=each.reason, size=each.size, part=part)


def _read(params: Params) -> Any:
    paths = matching(locate(params.traces, "traces"))
    return read_executions(paths, params.dimensions, align=params.align or None, clone_rank=params.clone_rank)


def _lower(rank: Rank, plan: Plan) -> Lowered:
    params, job = plan.params, plan.job
    durations = [_durations(rank, params, execution.nodes) for execution in job.executions]
    return lower(
        job, durations, lambda meeting: _built(rank, params, meeting),
        delivered=params.sends == "delivered", window=params.window,
    )  # fmt: skip


def _durations(rank: Rank, params: Params, nodes: list[Node]) -> list[int]:
    """Return how long every node of one rank works, ps.

    Model: a computation without a recorded duration takes what the roofline says of its operations and bytes, and no
    launch.
    """
    receives = {node.id for node in nodes if node.kind == "receive"}
    found = []
    for node in nodes:
        work = node.kind in ("compute", "memory")
        if work and params.reduction is not None and node.after and receives.issuperset(node.after):
            found.append(params.reduction)
        elif work and not node.duration and (node.operations or node.size):
            operations = {params.dtype: node.operations} if node.operations else {}
            found.append(rank.duration(Work(operations, {"hbm": node.size})))
        else:
            found.append(node.duration if work else 0)
    return found


def _played_as(operation: str) -> str:
    """Return the operation of whose schedules one is played for ``operation``."""
    return {"barrier": "all_reduce", "gather": "all_to_all_v", "scatter": "all_to_all_v"}.get(operation, operation)


def _built(rank: Rank, params: Params, meeting: Meeting) -> Schedule:
    """Return the collective as a schedule among its ranks.

    Model: a barrier is an all-reduce of nothing; a gather or scatter goes from or to its root directly, all at once;
    ``nodes`` is that of collectives of all ranks, others take no notice of nodes.
    """
    asked, count = meeting.asked, len(meeting.group)
    operation, form = _played_as(asked.operation), dict[str, Any](chunks=params.chunks, channels=params.channels)
    form["window"] = params.chunks if params.window is None else params.window
    if asked.operation in ("gather", "scatter"):
        part = [asked.size // count + (i < asked.size % count) for i in range(count)]
        form["matrix"] = [[0] * count for _ in range(count)]
        for i in range(count):
            src, dst = (i, asked.root) if asked.operation == "gather" else (asked.root, i)
            form["matrix"][src][dst] = part[i]
    elif operation in ("broadcast", "reduce"):
        form["root"] = asked.root
    if operation not in ALGORITHMS:
        raise InputError(
            f"{asked.name or 'a collective'}: no schedule for {operation!r}; there are {', '.join(ALGORITHMS)}"
        )
    if params.algorithm in ALGORITHMS[operation]:
        form["algorithm"] = params.algorithm
    if count == rank.world:
        form |= {"nodes": params.nodes, "inner": params.inner, "outer": params.outer}
    return rank.schedule(operation, asked.size, meeting.group, adds=params.adds, **form)


def _compare(rank: Rank, job: Job, lowered: Lowered, ended: Any) -> None:
    """Put the messages and collectives of a recorded duration, and the rank's whole life, beside what they take now;
    count both."""
    nodes = job.executions[rank.index].nodes
    which = {
        call[1]: number for number, each in enumerate(job.meetings) for call in each.calls if call[0] == rank.index
    }
    last = 0
    for number, node in enumerate(nodes):
        begin, end = times(lowered, rank.index, number, ended)
        last = max(last, end)
        if node.duration and node.kind not in ("compute", "memory"):
            rank.count("recorded_communication_ps", node.duration)
            rank.count("simulated_communication_ps", end - begin)
        if node.duration and number in which:
            group = len(node.group) or len(job.executions)
            measured, simulated = (node.begin, node.duration), (begin, end - begin)
            rank.compare(node.operation, which[number], group, node.size, measured, simulated)
    measured_end = max((node.begin + node.duration for node in nodes if node.begin >= 0), default=0)
    if measured_end:
        rank.compare(WHOLE, 0, 1, 0, (0, measured_end), (0, last))
