"""An array of oscillators: tile after tile is written, settles, and is sampled."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from simcore import Rank, Virtual

from . import settling, substrates
from .layer import Plan, Program
from .tensors import wanted
from .tiles import Placed, beginnings


def program(rank: Rank, plan: Plan) -> Program:
    """Write the couplings of tile after tile, while the one before settles and is sampled where there are two
    buffers."""
    mine = [(s, tile) for s in range(plan.params.sequences) for tile in plan.tiles if tile.array == rank.index - 1]
    if not mine:
        return
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
