"""One layer measured by itself: a prompt in chunks after a prefix, or a step of decode, on the ranks that share it."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import Column, InputError, Kernel, Metric, Rank, Virtual, Work

from . import operands
from .layer import STAGES, Division, Kind, Stage, Step, attend, cache_bytes, workspace_bytes

if TYPE_CHECKING:
    from .program import Params

Program = Generator[Any, Any, None]
Stateful = Generator[Any, Any, Any]
MOST = 2**42
"""Tokens of all sequences together, and parameters of a model, so that sums fit 64 bits."""
WIDEST = 2**20
"""Heads, widths, blocks, layers, experts."""
FEW = 2**10
"""New tokens of a sequence in a step of decode."""
MOST_CHUNKS = 2**16
"""Of a prompt."""

TABLES: Mapping[str, tuple[Column, ...]] = {
    "stages": (
        Column("location", "string", "rank"),
        Column("step", "int32", "chunk of a prompt, from 0; 0 in decode"),
        Column("stage", "string", "what it was: index, choice, lists, blocks, combine, or attention"),
        Column("duration_ps", "int64", "how long it took"),
        Column("operations", "int64", "arithmetic operations, of all dtypes"),
        Column("traffic_bytes", "int64", "bytes read from and written to memory"),
    ),
    "memory": (
        Column("location", "string", "rank"),
        Column("cache_bytes", "int64", "keys, values and index keys of all layers"),
        Column("workspace_bytes", "int64", "scores and partial outputs of the step that needs most"),
        Column("memory_bytes", "int64", "what the GPU has"),
        Column("fits", "int32", "1, or 0: out of memory, nothing was computed"),
    ),
}
METRICS: Sequence[Metric] = (
    *(
        Metric(f"attention.{name}_ps", "ps", f"time of the stages {name}", "sum of stages.duration_ps, slowest rank")
        for name in STAGES[:-1]
    ),
    Metric("attention.all_ps", "ps", "time of all stages of attention", "sum of stages.duration_ps, slowest rank"),
    Metric("attention.operations", "operations", "arithmetic operations of one rank",
        "sum of stages.operations, rank with most"),
    Metric("attention.traffic_bytes", "bytes", "bytes that one rank read and wrote",
        "sum of stages.traffic_bytes, rank with most"),
    Metric("attention.operations_saved", "1", "how many times the operations dense attention does",
        "operations of dense attention, shared alike / attention.operations; 0 if nothing was computed"),
    Metric("attention.bytes_saved", "1", "how many times the bytes dense attention reads and writes",
        "bytes of dense attention, shared alike / attention.traffic_bytes; 0 if nothing was computed"),
    Metric("attention.needed_bytes", "bytes", "memory that attention needs on a GPU",
        "max(memory.cache_bytes + memory.workspace_bytes)"),
    Metric("attention.memory_bytes", "bytes", "memory that a GPU has", "min(memory.memory_bytes)"),
    Metric("attention.out_of_memory", "ranks", "ranks on which it does not fit, and nothing was computed"),
)  # fmt: skip

HEADLINES = ("attention.all_ps", "attention.operations_saved", "attention.bytes_saved", "attention.needed_bytes")


@dataclass(frozen=True)
class Plan:
    """The parameters; of real payloads the sequences, and the scores that ranks proposed, by step and rank."""

    params: "Params"
    world: int
    sequences: list[operands.Sequence] = field(default_factory=list)
    proposed: dict[int, dict[int, list[Any]]] = field(default_factory=dict)


def check(params: "Params") -> None:
    """Raise ``InputError`` for parameters that make no layer."""
    shape, rates = params.shape, params.rates
    for name in (
        "query_heads",
        "heads",
        "width",
        "index_width",
        "block",
        "keep",
        "layers",
        "model",
        "experts",
        "chosen",
    ):
        if not 1 <= getattr(shape, name) <= WIDEST:
            raise InputError(f"shape.{name} must be 1 or more, and at most {WIDEST}, not {getattr(shape, name)}")
    if shape.chosen > shape.experts:
        raise InputError(f"shape.chosen must be at most shape.experts, {shape.experts}, not {shape.chosen}")
    if not 1 <= shape.active <= shape.total <= MOST:
        raise InputError(
            f"shape.active must be from 1 to shape.total, {shape.total}, and that at most {MOST}, not {shape.active}"
        )
    if shape.query_heads % shape.heads:
        raise InputError(f"shape.query_heads: {shape.query_heads} are not shared evenly by {shape.heads} KV heads")
    for name in ("dense", "index", "blocks", "gather", "stream", "linear"):
        if Fraction(getattr(rates, name)) > 1:
            raise InputError(f"rates.{name} is a share of a peak, at most 1, not {getattr(rates, name)}")
    if Fraction(shape.fresh) > 1:
        raise InputError(f"shape.fresh is a share, at most 1, not {shape.fresh}")
    if params.mode == "serving":
        return
    for name, least in (("tokens", 1), ("prefix", 0), ("chunk", 0), ("sequences", 1), ("tensor", 1), ("layers", 1)):
        if getattr(params, name) < least:
            raise InputError(f"{name} must be {least} or more, not {getattr(params, name)}")
    if params.mode == "decode" and params.tokens > FEW:
        raise InputError(f"tokens: {FEW} at most in decode, new ones of a sequence, not {params.tokens}")
    if params.across != "data" and shape.heads % params.tensor:
        raise InputError(f"tensor: {shape.heads} KV heads cannot be shared by {params.tensor} ranks; across: data can")
    if params.across == "context" and (params.attention, params.mode) != ("sparse", "decode"):
        raise InputError("across: context shares index blocks, which sparse attention has, in decode")
    if params.sequences * (params.prefix + params.tokens) > MOST:
        raise InputError(f"tokens: {MOST} at most, all sequences with their prefix together")
    if params.mode == "prefill" and params.chunk and params.tokens // params.chunk > MOST_CHUNKS:
        raise InputError(f"chunk: {params.tokens} tokens are more than {MOST_CHUNKS} chunks of {params.chunk}")
    if params.payload == "real" and params.layers > 1:
        raise InputError("layers: 1 with payload: real, which computes one layer")


def steps(params: "Params", sequences: int) -> list[Step]:
    """Return the steps of ``sequences``: chunks of prompts, or one of decode, whose tokens are the last of all."""
    ones = np.ones(sequences, np.int64)
    done, end = params.prefix, params.prefix + params.tokens
    if params.mode == "decode" or not params.chunk:
        return [Step("decode" if params.mode == "decode" else "prefill", ones * params.tokens, ones * end)]
    firsts = range(done, end, params.chunk)
    return [Step("prefill", ones * (min(a + params.chunk, end) - a), ones * min(a + params.chunk, end)) for a in firsts]


def plan(params: "Params", world: int, rng: np.random.Generator) -> Plan:
    """Return what the ranks compute with."""
    drawn = []
    if params.payload == "real":
        total = params.prefix + params.tokens
        drawn = [operands.draw(params.shape, params.tokens, total, rng) for _ in range(params.sequences)]
    return Plan(params, world, drawn)


def reference(plan: Plan) -> list[Any]:
    """Return the outputs of every rank, step and sequence, the plain way."""
    params, found = plan.params, []
    for rank in range(plan.world if plan.sequences else 0):
        for step in steps(params, len(mine(params, rank))):
            found += [operands.plain(each, params.shape, params.attention) for each in _sequences(plan, rank, step)]
    return found


def mine(params: "Params", rank: int) -> range:
    """Return the sequences that ``rank`` attends to: all of them, with a share of the heads, or a share of them."""
    return range(rank, params.sequences, params.tensor) if params.across == "data" else range(params.sequences)


def program(rank: Rank, plan: Plan) -> Program:
    """Compute every stage of every step, unless memory does not suffice."""
    params = plan.params
    own = mine(params, rank.index)
    if not own:
        return
    division = _division(params)
    todo = steps(params, len(own))
    if not _fits(rank, params, todo, division):
        return
    for number, step in enumerate(todo):
        found = attend(params.shape, params.attention, step, params.rates, division.heads, division.blocks)
        for _ in range(params.layers):
            state: Any = Virtual((int(step.new.sum()),), params.shape.dtype)
            if plan.sequences:
                state = operands.State(_sequences(plan, rank.index, step), params.shape)
            if division.blocks > 1:
                state = yield from _exchange(rank, plan, number, step, state)
            for stage in found:
                state = yield from _compute(rank, params, number, step, stage, state)
            for output in state.found["outputs"] if plan.sequences else ():
                rank.give(output)


def _division(params: "Params") -> Division:
    kind: Kind = "decode" if params.mode == "decode" else "prefill"
    return Division.of(params.tensor, params.across, kind)


def _dense(params: "Params") -> Work:
    """Return the work of dense attention on rank 0, which has as much to do as any."""
    heads = _division(params).heads
    todo = steps(params, len(mine(params, 0)))
    each = [attend(params.shape, "dense", step, params.rates, heads)[0].work for step in todo]
    return sum(each * params.layers, Work())


def _traffic(work: Work) -> int:
    return work.bytes_read.get("hbm", 0) + work.bytes_written.get("hbm", 0)


def _compute(rank: Rank, params: "Params", number: int, step: Step, stage: Stage, state: Any) -> Stateful:
    begin = rank.now
    does = operands.stage(params.attention, step, stage.name)
    kernel = Kernel(stage.name, lambda each: (does(each), stage.work), lambda each: (each, stage.work), stage.timing)
    state = yield from rank.compute(kernel, state)
    operations = sum(stage.work.operations.values())
    rank.record("stages", number, stage.name, rank.now - begin, operations, _traffic(stage.work))
    return state


def _exchange(rank: Rank, plan: Plan, number: int, step: Step, state: Any) -> Stateful:
    """Let every rank propose the best of its blocks, a score and a number of 4 B each, before all choose.

    Model: the exchange comes before the one stage that scoring and attention are in decode; a rank proposes as many
    blocks as a query keeps, also where it has fewer.
    """
    params = plan.params
    size = int(step.new.sum()) * params.shape.heads * params.shape.keep * 8 * params.tensor
    proposed = plan.proposed.setdefault(number, {})
    if plan.sequences:
        whole = operands.State(_sequences(plan, rank.index, step, whole=True), params.shape)
        proposed[rank.index] = operands.propose(whole, rank.index, params.tensor).found["scores"]
    yield from rank.collective("all_gather", size)
    if plan.sequences:
        heads = _heads(params, rank.index)
        joint = [np.maximum.reduce(each)[:, heads] for each in zip(*proposed.values(), strict=True)]
        return state.having("scores", joint)
    return state


def _heads(params: "Params", rank: int) -> slice:
    division = _division(params)
    share = params.shape.heads // division.heads
    first = rank % division.heads * share
    return slice(first, first + share)


def _sequences(plan: Plan, rank: int, step: Step, *, whole: bool = False) -> list[operands.Sequence]:
    """Return what ``rank`` attends to in ``step``: its heads of its sequences, or all heads of them."""
    params, shape = plan.params, plan.params.shape
    heads = slice(0, shape.heads) if whole else _heads(params, rank)
    each = shape.query_heads // shape.heads
    found = []
    for which, new, total in zip(mine(params, rank), step.new.tolist(), step.total.tolist(), strict=True):
        last = total - params.prefix
        found.append(plan.sequences[which].part(last - new, last, total, heads, each))
    return found


def _fits(rank: Rank, params: "Params", todo: Sequence[Step], division: Division) -> bool:
    """Return whether all layers' cache and the largest workspace fit the GPU; tell if they do not."""
    shape, attention = params.shape, params.attention
    cache = params.layers * cache_bytes(shape, attention, int(todo[-1].total.sum()), division.heads, division.blocks)
    workspace = max(workspace_bytes(shape, attention, step, division.heads) for step in todo)
    fits = cache + workspace <= rank.memory
    rank.record("memory", cache, workspace, rank.memory, int(fits))
    if not fits:
        rank.warn(
            f"out of memory: {cache} B of cache and {workspace} B of workspace are more than the {rank.memory} B of "
            "the GPU; nothing was computed"
        )
    return fits


def summarise(params: "Params", tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what the slowest rank took, what dense attention would have done, and what memory was needed."""
    rows, memory = tables["stages"], tables["memory"]
    where, names = np.asarray(rows["location"]), np.asarray(rows["stage"])
    ranks = [where == name for name in dict.fromkeys(where.tolist())]

    def most(column: str, among: Any = True) -> int:
        values = np.asarray(rows[column])
        return max((int(values[rank & among].sum()) for rank in ranks), default=0)

    needed = np.asarray(memory["cache_bytes"]) + np.asarray(memory["workspace_bytes"])
    dense, operations, traffic = _dense(params), most("operations"), most("traffic_bytes")
    return {
        "attention": {
            **{f"{name}_ps": most("duration_ps", names == name) for name in STAGES[:-1]},
            "all_ps": most("duration_ps"),
            "operations": operations,
            "traffic_bytes": traffic,
            "operations_saved": sum(dense.operations.values()) / operations if operations else 0.0,
            "bytes_saved": _traffic(dense) / traffic if traffic else 0.0,
            "needed_bytes": int(needed.max()),
            "memory_bytes": int(np.asarray(memory["memory_bytes"]).min()),
            "out_of_memory": int((np.asarray(memory["fits"]) == 0).sum()),
        }
    }
