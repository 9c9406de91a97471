"""The host of a layer: it projects and couples every sequence, hands tiles to the arrays, mixes what comes back."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import InputError, Kernel, Rank, Roofline, Virtual, Work

from . import cost, kernel, substrates
from .kernel import Tile
from .layer import PHYSICAL, Plan, Program
from .tensors import Shape, heads
from .tiles import Placed

if TYPE_CHECKING:
    from simcore.hardware import GpuSpec

    from .program import Params


@dataclass(frozen=True)
class Counted:
    """Digital hardware by the roofline, an exponential or logarithm as ten multiplications and additions
    (arXiv:2606.12059)."""

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the duration of ``work`` in ps."""
        missing = sorted(set(work.operations) - {"exponential"} - set(gpu.throughput))
        if missing:
            raise InputError(f"dtype: the host computes in {', '.join(gpu.throughput)}, not in {missing[0]}")
        plain = {dtype: count for dtype, count in work.operations.items() if dtype != "exponential"}
        extra = 2 * cost.EXPONENTIAL * work.operations.get("exponential", 0)
        first = next(iter(plain))
        operations = {**plain, first: plain[first] + extra}
        return Roofline().duration(Work(operations, work.bytes_read, work.bytes_written, work.launches), gpu)


def macs(work: Work) -> int:
    """Return the multiplications and additions that ``work`` is worth, rounded up."""
    special = work.operations.get("exponential", 0)
    return -(-(sum(work.operations.values()) - special) // 2) + cost.EXPONENTIAL * special


def program(rank: Rank, plan: Plan) -> Program:
    """Project and couple every sequence, then mix and project what comes back, sequence after sequence."""
    params, shape = plan.params, plan.params.shape
    projected = []
    for number in range(params.sequences):
        x, weights, _, _ = _payloads(plan, number)
        joint = yield from _compute(
            rank, params, number, -1, "project", Kernel("project", *_both("project")), x, weights
        )
        query, key, value = _split(shape, joint)
        projected.append((query, key, value))
        if params.means in PHYSICAL:
            for tile in plan.tiles:
                yield from _couple(rank, plan, number, tile, query[tile.head], key[tile.head])
    for number, (query, key, value) in enumerate(projected):
        outputs = []
        if params.means in PHYSICAL:
            for tile in plan.tiles:
                outputs.append((yield from _mix(rank, plan, number, tile, value[tile.head])))
        else:
            for head in range(shape.heads):
                outputs.append((yield from _digital(rank, plan, number, head, query[head], key[head], value[head])))
        _, _, out, _ = _payloads(plan, number)
        whole = _joined(plan, outputs)
        found = yield from _compute(
            rank, params, number, -1, "output", Kernel("project", *_both("project")), whole, out
        )
        rank.give(found)


def _couple(rank: Rank, plan: Plan, number: int, tile: Placed, query: Any, key: Any) -> Program:
    params, shape = plan.params, plan.params.shape
    rows = _rows(query, tile.first, tile.last)
    found = yield from _compute(
        rank, params, number, tile.number, "couple",
        Kernel("couple", *_both("couple", _tile(shape, tile.first), shape.coupling, shape.normalised)), rows, key,
    )  # fmt: skip
    plan.memory["couplings", number, tile.number] = found
    # One message, which is there when its last byte is: on fair links a flag behind it would overtake it.
    rank.put(1 + tile.array, Virtual((tile.sent,), "int8"), "couplings", sets=f"couplings {number}.{tile.number}")


def _mix(rank: Rank, plan: Plan, number: int, tile: Placed, value: Any) -> Generator[Any, Any, Any]:
    params, shape = plan.params, plan.params.shape
    flag = f"samples {number}.{tile.number}"
    yield from rank.wait([(flag, f"samples of tile {tile.number} from rank{1 + tile.array}")], "samples")
    size = shape.dimension if params.means == "vector" else shape.tokens
    samples = plan.memory.get(("samples", number, tile.number), Virtual((tile.last - tile.first, size), params.dtype))
    at = _tile(shape, tile.first)
    if params.means == "vector":
        mix = Kernel("mix_states", *_both("mix_states", at, shape.power))
        anchors = _payloads(plan, number)[3]
        return (yield from _compute(
            rank, params, number, tile.number, "mix", mix, samples, _of_head(anchors, tile.head), value
        ))  # fmt: skip
    mix = Kernel("mix_products", *_both("mix_products", at, shape.power))
    return (yield from _compute(rank, params, number, tile.number, "mix", mix, samples, value))


def _digital(
    rank: Rank, plan: Plan, number: int, head: int, query: Any, key: Any, value: Any
) -> Generator[Any, Any, Any]:
    params, shape = plan.params, plan.params.shape
    at = _tile(shape, 0)
    if params.means != "digital":
        soft = Kernel(f"attend_{params.means}", *_both("attend_softly", at, params.means))
        return (yield from _compute(rank, params, number, head, "attend", soft, query, key, value))
    couple = Kernel("couple", *_both("couple", at, shape.coupling, shape.normalised))
    weights = yield from _compute(rank, params, number, head, "couple", couple, query, key)
    anchors = _of_head(_payloads(plan, number)[3], head)
    states = yield from _compute(
        rank, params, number, head, "settle", Kernel("settle", *_both("settle", at)), weights, anchors
    )
    mix = Kernel("mix_states", *_both("mix_states", at, shape.power))
    return (yield from _compute(rank, params, number, head, "mix", mix, states, anchors, value))


def _compute(
    rank: Rank, params: "Params", number: int, tile: int, stage: str, does: Kernel, *payloads: Any
) -> Generator[Any, Any, Any]:
    """Compute on the host, and note what that took."""
    timed = Kernel(does.name, does.run, does.cost, Counted())
    begin = rank.now
    found = yield from rank.compute(timed, *payloads, what=stage)
    work = does.cost(*[Virtual(tuple(each.shape), str(each.dtype)) for each in payloads])[1]
    count = macs(work)
    energy = count * substrates.energy(
        params.digital, params.corner if params.varied == "all" else "middle", params.dtype
    )
    rank.record("oscillator_stages", number, tile, stage, rank.now - begin, count, energy)
    return found


def _both(name: str, *more: Any) -> tuple[Any, Any]:
    """Return a kernel and its formula, with what is not a payload given."""
    run, formula = getattr(kernel, name), getattr(cost, name)
    return (lambda *payloads: run(*payloads, *more)), (lambda *payloads: formula(*payloads, *more))


def _tile(shape: Shape, first: int) -> Tile:
    return Tile(first, shape.tokens, shape.causal)


def _payloads(plan: Plan, number: int) -> tuple[Any, Any, Any, Any]:
    """Return inputs, weights, weights of the output, and anchors, real or virtual."""
    shape, dtype = plan.params.shape, plan.params.dtype
    if plan.tensors:
        own = plan.tensors[number]
        return own.x, own.weights, own.out, own.anchors
    model = shape.model
    sizes = (
        (shape.tokens, model), (model, 3 * model), (model, model), (shape.heads, shape.tokens, shape.dimension)
    )  # fmt: skip
    x, weights, out, anchors = (Virtual(size, dtype) for size in sizes)
    return x, weights, out, anchors


def _split(shape: Shape, joint: Any) -> tuple[list[Any], list[Any], list[Any]]:
    if isinstance(joint, Virtual):
        each = [Virtual((shape.tokens, shape.width), joint.dtype)] * shape.heads
        return each, each, each
    parts = np.ascontiguousarray(heads(shape, joint))
    query, key, value = (list(part) for part in parts)
    return query, key, value


def _rows(array: Any, first: int, last: int) -> Any:
    if isinstance(array, Virtual):
        return Virtual((last - first, *array.shape[1:]), array.dtype)
    return array[first:last]


def _of_head(anchors: Any, head: int) -> Any:
    return Virtual(anchors.shape[1:], anchors.dtype) if isinstance(anchors, Virtual) else anchors[head]


def _joined(plan: Plan, outputs: list[Any]) -> Any:
    """Return the outputs of all tiles, or of all heads, as one array [T, m]."""
    shape = plan.params.shape
    if isinstance(outputs[0], Virtual):
        return Virtual((shape.tokens, shape.model), plan.params.dtype)
    if plan.params.means not in PHYSICAL:
        return np.concatenate(outputs, axis=1)
    whole = np.zeros((shape.heads, shape.tokens, shape.width), outputs[0].dtype)
    for tile, output in zip(plan.tiles, outputs, strict=True):
        whole[tile.head, tile.rows] = output
    return np.ascontiguousarray(whole.transpose(1, 0, 2)).reshape(shape.tokens, shape.model)
