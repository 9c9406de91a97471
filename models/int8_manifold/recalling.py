"""One device that recalls: it reads the code, fetches and adds weights, decides; and what of it is written down."""

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import Column, Kernel, Metric, Rank, SimulationError, Virtual

from . import cost, forms, images, kernel
from .fetch import Flow
from .ledger import ON_CHIP, Ledger, counted
from .timing import Operations, Tiles, Watch

if TYPE_CHECKING:
    from .plan import Plan, Recall, Strike
    from .program import Params

Life = Generator[Any, Any, Any]

TABLES: Mapping[str, tuple[Column, ...]] = {
    "recalls": (
        Column("location", "string", "rank"),
        Column("recall", "int32", "number of the recall, from 0"),
        Column("due_ps", "int64", "when its input was there, simulated picoseconds"),
        Column("begin_ps", "int64", "the device began with it, simulated picoseconds"),
        Column("end_ps", "int64", "it was done with it, simulated picoseconds"),
        Column("events", "int64", "active nodes of the whole code, after all damage"),
        Column("moved_bytes", "int64", "weights read from the memory in which they are"),
        Column("sent_bytes", "int64", "bytes over links, counted on each link"),
        Column("waited_ps", "int64", "how long the adder had no weights to add, picoseconds"),
        Column("arithmetic_fj", "int64", "energy of operations, femtojoules"),
        Column("weights_fj", "int64", "energy of weights read from the memory in which they are, femtojoules"),
        Column("chip_fj", "int64", "energy of memory on the chip: buffers, codes, charges; femtojoules"),
        Column("link_fj", "int64", "energy of sending its own messages, femtojoules"),
        Column("idle_fj", "int64", "energy of being awake until done and asleep until the next recall, femtojoules"),
        Column("server_fj", "int64", "energy of a server while it computes, which no battery gives; femtojoules"),
    ),
    "hops": (
        Column("location", "string", "rank that sent the message"),
        Column("recall", "int32", "number of the recall, from 0"),
        Column("device", "int32", "number of the rank that received it, or passes it on"),
        Column("moved_bytes", "int64", "bytes of the message and its flag"),
        Column("energy_fj", "int64", "energy of receiving, and of sending on where it is passed on; femtojoules"),
    ),
    "failures": (
        Column("location", "string", "rank"),
        Column("instant_ps", "int64", "when nodes were destroyed in service, simulated picoseconds"),
        Column(
            "destroyed",
            "int32",
            "nodes that failures in service have destroyed until then, of both populations unless of a frame",
        ),
    ),
}
PARTS = ("arithmetic", "weights", "chip", "link", "idle")
METRICS: Sequence[Metric] = (
    Metric("recall.latency_ps", "ps", "from a recall's input to its answer, mean", "max end - due, over recalls"),
    Metric("recall.latest_ps", "ps", "the same, longest"),
    *(
        Metric(
            f"recall.{name}_fj", "fJ", f"energy of an answer, {name}, all devices",
            f"recalls.{name}_fj" + (" and hops.energy_fj" if name == "link" else ""),
        )
        for name in PARTS
    ),
    Metric("recall.energy_fj", "fJ", "energy of an answer, all devices", "sum of the parts"),
    Metric("recall.server_fj", "fJ", "energy of an answer at the server", "recalls.server_fj"),
    Metric("recall.moved_bytes", "bytes", "weights moved for an answer", "recalls.moved_bytes"),
    Metric("recall.sent_bytes", "bytes", "bytes over links for an answer", "recalls.sent_bytes"),
    Metric("recall.waited_ps", "ps", "how long adders waited for weights, an answer", "recalls.waited_ps"),
    Metric("recall.life_h", "hours", "until the first battery is empty", "battery over energy of the neediest device"),
    Metric("recall.answers", "recalls", "answers; 0 where the weights do not fit the memory"),
)  # fmt: skip
MOST_FJ = 2**62
"""Of a run: half of what 63 bits hold."""
HEADLINES = ("recall.latency_ps", "recall.energy_fj", "recall.weights_fj", "recall.link_fj", "recall.life_h")


def program(rank: Rank, plan: "Plan") -> Life:
    """Recall every item of the plan when it is due, or as soon as the one before is done."""
    params = plan.params
    held = forms.form(plan.weights, params.method, params.rule)
    if not fits(rank, held, params.method):
        return
    pending, latest = list(plan.strikes), 0
    for number, recall in enumerate(plan.recalls):
        yield from until_due(rank, pending, recall.due)
        begin, ledger = rank.now, Ledger(rank.energy, params.level)
        if params.reading == "frame":
            answer = yield from _found_in_frame(rank, plan, recall, held, ledger)
        else:
            if recall.image is not None:
                yield from _coded_image(rank, params, recall, ledger)
            code = given(params, recall.code)
            charge = yield from charges(rank, params, held, code, recall.events, ledger, plan.weights.shape)
            answer = yield from decided(rank, params, charge, ledger)
        write(rank, params, number, recall, begin, ledger)
        give(rank, recall, answer)
        latest = max(latest, rank.now - recall.due)
    tell_late(rank, latest, params.period)


def tell_late(rank: Rank, latest: int, period: int) -> None:
    """Tell if the ``latest`` answer (ps after its input) came after the next input, ``period`` later."""
    if latest > period:
        rank.warn(
            f"an answer took {latest / 1e9:.4g} ms, more than the period of {period / 1e9:.4g} ms: it does not keep up"
        )


def fits(rank: Rank, held: tuple[Any, ...], method: forms.Method) -> bool:
    """Return whether the weights, ``held`` as ``method`` reads them, fit the device's memory; tell if they do not.

    Model: the level of memory in which they are has no size of its own.
    """
    size = forms.size(held, method)
    if size <= rank.memory:
        return True
    rank.warn(f"{size} B of weights are more than the {rank.memory} B of the device; nothing was recalled")
    return False


def until_due(rank: Rank, pending: "list[Strike]", due: int) -> Life:
    """Let time pass until ``due``, failure by failure.

    Model: a recall works with the nodes that live when it is due, whatever fails while it lasts.
    """
    while pending and pending[0].instant <= due:
        strike = pending.pop(0)
        if strike.instant > rank.now:
            yield from rank.until(rank.at(strike.instant), "idle", "no input")
        rank.record("failures", strike.instant, strike.destroyed)
    if due > rank.now:
        yield from rank.until(rank.at(due), "idle", "no input")


def given(params: "Params", array: Any) -> Any:
    """Return ``array``, or its shape where no data are wanted."""
    return array if params.payload == "real" else Virtual(tuple(array.shape), str(array.dtype))


def run(rank: Rank, ledger: Ledger, made: Kernel, *payloads: Any) -> Life:
    """Compute a kernel and enter its work."""
    work = counted(made, payloads)
    if isinstance(made.timing, Tiles):
        watch = Watch(made.timing)
        rank.duration(work, watch)
        assert watch.seen is not None
        ledger.waited += watch.seen.waited
        if made.timing.fetch.shown:
            _show(rank, watch.seen, made.timing, work.bytes_read["weights"])
    ledger.compute(work)
    return (yield from rank.compute(made, *payloads))


def _show(rank: Rank, seen: Flow, tiles: Tiles, size: int) -> None:
    """Put each tile that is about to come on the timeline: as it passes its channel, and as it is added."""
    channels = tiles.fetch.channels if tiles.outside else 1
    each, last = size // max(1, tiles.tiles), 0
    for k in range(tiles.tiles):
        begin, end = rank.now + int(seen.passes[k]), rank.now + int(seen.arrived[k])
        rank.lived(begin, end, "send", "tile", size=each, part=f"channel{k % channels}")
        adds, added = rank.now + int(seen.adds[k]), rank.now + int(seen.added[k])
        if adds > rank.now + last:
            rank.lived(rank.now + last, adds, "wait", "tile", reason="weights", part="adder")
        rank.lived(adds, added, "compute", "tile", part="adder")
        last = int(seen.added[k])


def _coded_image(rank: Rank, params: "Params", recall: "Recall", ledger: Ledger) -> Life:
    """Find the code of the image; what damage leaves of it stands in the plan."""
    image = given(params, recall.image)
    if params.direction == "forward":
        yield from run(rank, ledger, Kernel("spatial", images.spatial, cost.spatial, Operations()), image)
    else:
        made = Kernel("structural", images.structural, cost.structural, Operations())
        yield from run(rank, ledger, made, image, given(params, images.taps()))


def charges(
    rank: Rank, params: "Params", held: tuple[Any, ...], code: Any, events: int, ledger: Ledger, shape: tuple[int, ...]
) -> Life:
    """Return the charges that ``code`` with its ``events`` makes of the weights ``held``, which were of ``shape``."""
    made = yield from run(rank, ledger, forms.reading(params.method, events), code)
    outside = params.level not in ON_CHIP
    adder, _ = forms.adding(params.method, params.rule, *shape, events, params.fetch, outside)
    return (yield from run(rank, ledger, adder, *forms.code_of(params.method, code, made, held)))


def decided(rank: Rank, params: "Params", charge: Any, ledger: Ledger) -> Life:
    """Return the answer: signs of the charges that suffice, or the charges, perhaps times one factor."""
    if not params.reject and not params.scale:
        return charge
    if not params.reject:
        factor = {"factor": params.scale}
        made = Kernel("scale", partial(kernel.scale, **factor), partial(cost.scale, **factor), Operations())
        return (yield from run(rank, ledger, made, charge))
    bound = {"reject": params.reject}
    made = Kernel("decide", partial(kernel.decide, **bound), partial(cost.decide, **bound), Operations())
    return (yield from run(rank, ledger, made, charge))


def _found_in_frame(rank: Rank, plan: "Plan", recall: "Recall", held: tuple[Any, ...], ledger: Ledger) -> Life:
    """Return the estimate of an item: spread over the nodes, its code truncated and damaged, and brought back."""
    params, about = plan.params, plan.params.frame
    weights = given(params, plan.weights)
    outside = params.level not in ON_CHIP
    spread = Kernel("spread", kernel.spread, cost.spread, Tiles(params.nodes, params.fetch, outside))
    yield from run(rank, ledger, spread, weights, given(params, recall.item))
    code = given(params, recall.code)
    if about.decode == "conjugate_gradients":
        alive = int(recall.living.sum())
        refine = Kernel(
            "refine", partial(kernel.refine, steps=about.steps), partial(cost.refine, steps=about.steps, rows=alive),
            Tiles(alive * (2 * about.steps + 1), params.fetch, outside),
        )  # fmt: skip
        living = given(params, recall.living.astype(np.int8))
        return (yield from run(rank, ledger, refine, weights, code, living))
    if about.coding == "analog":
        tiles = Tiles(recall.events, params.fetch, outside)
        made = Kernel("gather", kernel.gather, partial(cost.gather, events=recall.events), tiles)
        estimate = yield from run(rank, ledger, made, weights, code)
    else:
        held = (weights,) if held[0] is plan.weights else held
        estimate = yield from charges(rank, params, held, code, recall.events, ledger, plan.weights.shape)
    if about.decode == "low_pass":
        bound = {"harmonics": about.harmonics}
        made = Kernel("low_pass", partial(kernel.low_pass, **bound), partial(cost.low_pass, **bound), Operations())
        estimate = yield from run(rank, ledger, made, estimate)
    return estimate


def write(
    rank: Rank, params: "Params", number: int, recall: "Recall", begin: int, ledger: Ledger, *, server: int = 0,
    powered: bool = True,
) -> None:  # fmt: skip
    """Write down a recall that ends now; ``server`` is what a server spent, which is not ``powered`` from a battery."""
    prices, spent = ledger.prices, rank.now - begin
    idle = (prices.awake * spent + prices.asleep * max(0, params.period - spent)) // 10**6 if powered else 0
    if idle > MOST_FJ // (params.recalls * (params.sensors.count + 1)):
        raise SimulationError(f"{rank.location} spends {idle / 10**15:.4g} J from one recall to the next, more than a "
                              "column holds; shorten period")  # fmt: skip
    rank.record(
        "recalls", number, recall.due, begin, rank.now, recall.events, ledger.moved, ledger.sent, ledger.waited,
        ledger.arithmetic, ledger.weights, ledger.chip, ledger.link, idle, server,
    )  # fmt: skip


def give(rank: Rank, recall: "Recall", answer: Any) -> None:
    """Hand over the answer, what it should be, and which outputs live: [3, outputs]."""
    if not isinstance(answer, Virtual):
        rank.give(result(recall, answer))


def result(recall: "Recall", answer: Any) -> Any:
    """Return answer, target and living outputs as one array [3, outputs]; an answer of a dead output is nothing."""
    dtype = np.float64 if answer.dtype.kind == "f" else np.int64
    return np.stack((np.where(recall.alive, answer, 0), recall.target, recall.alive)).astype(dtype)


def summarise(
    rows: Mapping[str, Any], hops: Mapping[str, Any], period: int, battery: int
) -> Mapping[str, Any]:  # fmt: skip
    """Return what an answer takes and costs, from the rows of ``recalls`` and ``hops``, and how long a ``battery`` (fJ)
    lasts."""
    numbers, where = np.asarray(rows["recall"]), np.asarray(rows["location"])
    count = int(numbers.max(initial=-1)) + 1
    ends, due = np.asarray(rows["end_ps"]), np.asarray(rows["due_ps"])
    latencies = [int((ends[numbers == k] - due[numbers == k]).max()) for k in range(count)]

    def each(column: str) -> int:
        return int(np.asarray(rows[column]).sum()) // max(count, 1)

    passed = np.asarray(hops["energy_fj"])
    parts = {f"{name}_fj": each(f"{name}_fj") for name in PARTS}
    parts["link_fj"] = int(np.asarray(rows["link_fj"]).sum() + passed.sum()) // max(count, 1)
    spent = sum(np.asarray(rows[f"{name}_fj"]) for name in PARTS)
    neediest = max(
        (
            int(spent[where == name].sum() + passed[np.asarray(hops["device"]) == _number(name)].sum())
            for name in dict.fromkeys(where.tolist())
        ),
        default=0,
    )
    # What is not done in its period takes longer than the recalls' periods in all.
    covered = max(count * period, int(ends.max() - due.min())) if count else 0
    return {
        "recall": {
            "latency_ps": sum(latencies) // max(count, 1),
            "latest_ps": max(latencies, default=0),
            **parts,
            "energy_fj": sum(parts.values()),
            **{name: each(name) for name in ("server_fj", "moved_bytes", "sent_bytes", "waited_ps")},
            "life_h": battery * covered / neediest / 3.6e15 if neediest else 0.0,
            "answers": count,
        }
    }


def _number(location: str) -> int:
    """Return the number of the rank at ``location``."""
    return int(location.rpartition("rank")[2])
