"""One attention layer as a simulated system: what is asked of it, and what is decided before time runs. A host computes
what stays digital, arrays of oscillators are behind its link (`host`, `array`)."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simcore import InputError, Ratio

from . import attention, drives, settling, substrates
from .tensors import Tensors, draw, wanted
from .tiles import Placed, beginnings, tiles

if TYPE_CHECKING:
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
            lengths = drives.lengths_of(params.drives, count, rng).reshape(states)
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
