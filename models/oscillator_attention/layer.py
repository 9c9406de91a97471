"""One attention layer as a simulated system: a host that computes what stays digital, arrays of oscillators behind its
link, tile after tile."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simcore import InputError, Kernel, Rank, Ratio, Roofline, Virtual, Work

from . import attention, cost, drives, kernel, settling, substrates
from .kernel import Tile
from .tensors import Shape, Tensors, draw, heads, wanted

if TYPE_CHECKING:
    from simcore.hardware import GpuSpec

    from .program import Params

Program = Generator[Any, Any, None]
Means = Literal["softmax", "lut", "clipped", "digital", "vector", "pairwise"]
"""Who attends: softmax, exact, by table or cut-off line; oscillators in digital arithmetic; physical ones whose states
are sampled; physical ones whose products with the anchors are."""
PHYSICAL = ("vector", "pairwise")
MOST = 2**24
"""Couplings of all heads that may be drawn."""


@dataclass(frozen=True)
class Reading:
    """When an array is read: at a ``fixed`` time, ``time`` in units of 1/kappa, or when the slowest oscillator of a
    tile is ``within`` its equilibrium (completion). ``start``: oscillators begin anywhere, or where the tile before
    left them. Samples and couplings cross the link in ``sample_bytes`` and ``coupling_bytes``."""

    when: Literal["fixed", "completion"] = "fixed"
    time: Ratio = "5"
    within: Ratio = "1/100"
    start: Literal["random", "kept"] = "random"
    sample_bytes: int = 2
    coupling_bytes: int = 1


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


@dataclass(frozen=True)
class Placed:
    """A tile: ``number``, its ``head`` and rows ``first`` .. ``last`` - 1, on array ``array``, which writes ``writes``
    couplings and anchors for it and converts ``samples`` numbers; the link carries ``sent`` and ``returned`` bytes."""

    number: int
    head: int
    first: int
    last: int
    array: int
    writes: int
    samples: int
    sent: int
    returned: int

    @property
    def rows(self) -> slice:
        """Its rows of the layer."""
        return slice(self.first, self.last)


@dataclass(frozen=True)
class Plan:
    """The parameters; tiles; the time of reading each tile of each sequence in units of 1/kappa, and that unit, ps;
    tensors of the sequences where payloads are real; what ranks stored at each other, by sequence and tile."""

    params: "Params"
    tiles: list[Placed]
    times: list[list[float]]
    unit: float
    tensors: list[Tensors]
    memory: dict[tuple[str, int, int], Any] = field(default_factory=dict)


def check(params: "Params") -> None:
    """Raise ``InputError`` for parameters that make no layer."""
    shape, reading = params.shape, params.reading
    for name in ("tokens", "heads", "width", "power"):
        if getattr(shape, name) < 1:
            raise InputError(f"shape.{name} must be 1 or more, not {getattr(shape, name)}")
    if shape.dimension < 2:
        raise InputError(f"shape.dimension must be 2 or more, not {shape.dimension}: on fewer nothing turns")
    if shape.power > 16:
        raise InputError(f"shape.power must be 16 or less, not {shape.power}")
    for name in ("sample_bytes", "coupling_bytes"):
        if getattr(reading, name) < 1:
            raise InputError(f"reading.{name} must be 1 or more, not {getattr(reading, name)}")
    if not 0 < attention.number(reading.within) < 1:
        raise InputError(f"reading.within is a distance on the unit sphere between 0 and 1, not {reading.within}")
    for name in ("arrays", "sequences"):
        if getattr(params, name) < 1:
            raise InputError(f"{name} must be 1 or more, not {getattr(params, name)}")
    if params.means in PHYSICAL:
        substrates.check(params.array, shape.tokens, shape.dimension)
    if params.payload == "real" and params.dtype != "float32":
        raise InputError(f"payload: real computes in float32; {params.dtype} is counted alone, with payload: virtual")
    if params.payload == "real" and params.drives != "drawn":
        raise InputError("drives: drawn with payload: real, whose tensors decide how long drives are")
    if shape.normalised and params.drives not in ("drawn", "one"):
        raise InputError(
            f"drives: {params.drives} is a law of rows that are not normalised; with shape.normalised drawn, or one"
        )
    if reading.when == "fixed" and reading.within != Reading.within:
        raise InputError("reading.within is of reading.when: completion")
    if reading.when == "completion" and reading.time != Reading.time:
        raise InputError("reading.time is of reading.when: fixed")
    if reading.start == "kept" and params.drives != "drawn":
        raise InputError("reading.start: kept needs the tensors of drives: drawn")
    if params.digital == "cmos45" and params.dtype not in substrates.CMOS:
        raise InputError(f"digital: cmos45 has an energy of {' and '.join(substrates.CMOS)} alone, not {params.dtype}")
    if params.drives in ("drawn", "one", "tail") and params.sequences * shape.heads * shape.tokens**2 > MOST:
        raise InputError(f"drives: {params.drives} computes {MOST} couplings at most; take a published law")


def tiles(params: "Params") -> list[Placed]:
    """Return the tiles of a sequence: rows of one head, as many as an array holds; each array has a stretch of them, so
    that it changes heads, and loads anchors, as seldom as may be. In the order in which the host computes them: one for
    each array in turn."""
    shape, array = params.shape, params.array
    room = array.states(shape.dimension)
    cuts = [(head, first) for head in range(shape.heads) for first in range(0, shape.tokens, room)]
    found, before = [], {}
    for place, (head, first) in enumerate(cuts):
        owner = place * params.arrays // len(cuts)
        last = min(first + room, shape.tokens)
        seen = cost.pairs(Tile(first, shape.tokens, shape.causal), last - first)
        anchors = shape.tokens * shape.dimension if before.get(owner) != head else 0
        before[owner] = head
        samples = seen if params.means == "pairwise" else (last - first) * shape.dimension
        found.append(
            (head, first, last, owner, seen + anchors, samples, (seen + anchors) * params.reading.coupling_bytes,
             samples * params.reading.sample_bytes)
        )  # fmt: skip
    turn: dict[int, int] = {}
    order = []
    for each in found:
        order.append((turn.get(each[3], 0), each[3]))
        turn[each[3]] = turn.get(each[3], 0) + 1
    ranked = [found[i] for i in sorted(range(len(found)), key=order.__getitem__)]
    return [Placed(number, *each) for number, each in enumerate(ranked)]


def plan(params: "Params", rng: np.random.Generator) -> Plan:
    """Return what is decided before time runs: tensors, tiles, and how long each takes to settle."""
    physical = params.means in PHYSICAL
    placed = tiles(params) if physical else []
    drawn = []
    if params.payload == "real" or (physical and params.drives == "drawn"):
        drawn = [draw(params.shape, rng) for _ in range(params.sequences)]
    times, unit = _times(params, placed, drawn, rng) if physical else ([], 0.0)
    return Plan(params, placed, times, unit, drawn if params.payload == "real" else [])


def _times(
    params: "Params", placed: Sequence[Placed], drawn: Sequence[Tensors], rng: np.random.Generator
) -> tuple[list[list[float]], float]:  # fmt: skip
    """Return when each tile of each sequence is read, in units of 1/kappa, and that unit in ps."""
    shape, reading = params.shape, params.reading
    states = (shape.heads, shape.tokens)
    every, longest = [], 0.0
    for number in range(params.sequences):
        if drawn:
            wants = wanted(shape, drawn[number])
            lengths = settling.norms(wants)
            starts = beginnings(params, placed, wants, drawn[number].starts)
            along = np.sum(starts * settling.fixed_points(wants), axis=-1)
            angles = np.sqrt(np.maximum(1 - along, 0) / np.maximum(1 + along, settling.TINY))
        else:
            count = shape.heads * shape.tokens
            lengths = lengths_of(params.drives, count, rng).reshape(states)
            angles = drives.tangents(count, shape.dimension, rng).reshape(states)
        settle = settling.times_from(angles, lengths, attention.number(reading.within))
        fixed = attention.number(reading.time)
        each = [
            fixed if reading.when == "fixed" else float(np.max(settle[tile.head, tile.rows], initial=0.0))
            for tile in placed
        ]
        # Rounded, so that the last bit of a sum, which differs between machines, moves no picosecond.
        every.append([float(f"{time:.9g}") for time in each])
        longest = max(longest, float(np.max(lengths)))
    chosen = substrates.substrate(params.substrate, params.corner, params.varied)
    # Rows that sum to 1 pull no harder than the longest anchor, 1: the rate needs no look at the data.
    return every, chosen.unit(1.0 if shape.normalised else float(f"{longest:.9g}"))


def lengths_of(law: drives.Law, count: int, rng: np.random.Generator) -> Any:
    """Return ``count`` lengths of drives by a law that needs no tensors."""
    if law == "one":
        return np.ones(count)
    if law == "tail":
        return settling.lengths_drawn(count, *drives.TAIL, rng)
    return drives.published(law, count, rng)


def beginnings(params: "Params", placed: Sequence[Placed], wants: Any, starts: Any) -> Any:
    """Return where oscillators [H, T, d] begin: at ``starts``, or, where they are kept, at the equilibrium of the row
    that the same oscillator settled in the tile before on its array."""
    if params.reading.start == "random":
        return starts
    goals = settling.fixed_points(wants)
    found = np.array(starts)
    left: dict[int, Any] = {}
    for tile in placed:
        rows = tile.last - tile.first
        if tile.array in left:
            before = left[tile.array][:rows]
            found[tile.head, tile.first : tile.first + len(before)] = before
        left[tile.array] = goals[tile.head, tile.rows]
    return found


def program(rank: Rank, plan: Plan) -> Program:
    """Live as the host, or as an array."""
    if rank.index == 0:
        yield from _host(rank, plan)
        return
    mine = [(s, tile) for s in range(plan.params.sequences) for tile in plan.tiles if tile.array == rank.index - 1]
    if mine:
        yield from _array(rank, plan, mine)


def _host(rank: Rank, plan: Plan) -> Program:
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


def _array(rank: Rank, plan: Plan, mine: Sequence[tuple[int, Placed]]) -> Program:
    """Write the couplings of tile after tile, while the one before settles and is sampled where there are two
    buffers."""
    writer, oscillators = rank.groups(2)
    written = [rank.event() for _ in mine]
    done = [rank.event() for _ in mine]
    yield from rank.together(
        [_write(rank, writer, plan, mine, written, done), _settle(rank, oscillators, plan, mine, written, done)],
        "tiles",
    )


def _write(
    array: Rank, rank: Rank, plan: Plan, mine: Sequence[tuple[int, Placed]], written: list[Any], done: list[Any]
) -> Program:
    params = plan.params
    chosen = substrates.substrate(params.substrate, params.corner, params.varied)
    for place, (number, tile) in enumerate(mine):
        yield from rank.wait([(f"couplings {number}.{tile.number}", f"couplings of tile {tile.number}")], "couplings")
        if place >= params.array.buffers:
            yield from rank.until(done[place - params.array.buffers], "idle", "a free buffer")
        time = substrates.over(tile.writes, params.array.writers, chosen.write_time)
        yield from rank.spend(time, "compute", "write")
        array.record("oscillator_stages", number, tile.number, "write", time, tile.writes, tile.writes * chosen.write)
        written[place].succeed()


def _settle(
    array: Rank, rank: Rank, plan: Plan, mine: Sequence[tuple[int, Placed]], written: list[Any], done: list[Any]
) -> Program:
    params = plan.params
    chosen = substrates.substrate(params.substrate, params.corner, params.varied)
    power = chosen.power * chosen.overhead * params.array.oscillators
    for place, (number, tile) in enumerate(mine):
        yield from rank.until(written[place], "idle", "written couplings")
        time = int(-(-plan.times[number][tile.number] * plan.unit // 1))
        yield from rank.spend(time, "compute", "settle")
        energy = substrates.femtojoules(power, time)
        array.record("oscillator_stages", number, tile.number, "settle", time, tile.last - tile.first, energy)
        sampling = substrates.over(tile.samples, params.array.samplers, chosen.conversion_time)
        yield from rank.spend(sampling, "compute", "sample")
        energy = tile.samples * chosen.conversion + substrates.femtojoules(power, sampling)
        array.record("oscillator_stages", number, tile.number, "sample", sampling, tile.samples, energy)
        if plan.tensors:
            plan.memory["samples", number, tile.number] = _sampled(plan, number, tile)
        rank.put(0, Virtual((tile.returned,), "int8"), "samples", sets=f"samples {number}.{tile.number}")
        done[place].succeed()


def _sampled(plan: Plan, number: int, tile: Placed) -> Any:
    """Return what the converters see: states in closed form, or their products with the anchors."""
    shape, tensors = plan.params.shape, plan.tensors[number]
    anchors = tensors.anchors[tile.head]
    pulls = plan.memory["couplings", number, tile.number].astype(np.float64) @ anchors
    starts = beginnings(plan.params, plan.tiles, wanted(shape, tensors), tensors.starts)[tile.head, tile.rows]
    found = settling.trajectory(starts, pulls, plan.times[number][tile.number]).astype(np.float32)
    return found if plan.params.means == "vector" else found @ anchors.T


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
