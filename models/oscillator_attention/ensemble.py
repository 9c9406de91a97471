"""Many free oscillators settling on their own: how long each takes, how many are done by when, what Euler's rule makes
of them; integrated by RK45 and held against the closed form."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simcore import InputError, Rank, Ratio

from . import attention, drives, settling, substrates

if TYPE_CHECKING:
    from .program import Params

PPB = 10**9
"""Shares and times in units of 1/kappa are recorded in billionths, as whole numbers."""
MOST = {"oscillators": 10**7, "integrated": 1000, "steps": 10**6}


@dataclass(frozen=True)
class Ensemble:
    """``oscillators`` in number, drawn by the law of `drives` and the shape of the layer; settled when ``within`` their
    equilibrium; looked at after ``horizon``, in units of 1/kappa. ``integrated`` of them are integrated by RK45 as
    well. ``start``: anywhere, or where the previous token settled. ``euler``: step times |h| of Euler's rule, which is
    taken ``steps`` times from 90 degrees; ``cap``: degrees around the point opposite to the equilibrium."""

    oscillators: int = 20_000
    within: Ratio = "1/100"
    horizon: Ratio = "30"
    start: Literal["random", "previous"] = "random"
    integrated: int = 0
    euler: Ratio = "1/10"
    steps: int = 2_000
    cap: Ratio = "45"


def check(params: "Params") -> None:
    """Raise ``InputError`` for an ensemble that cannot be."""
    own = params.ensemble
    for name, least in (("oscillators", 1), ("integrated", 0), ("steps", 1)):
        if not least <= getattr(own, name) <= MOST[name]:
            raise InputError(f"ensemble.{name} is {least} to {MOST[name]}, not {getattr(own, name)}")
    if not 0 < attention.number(own.within) < 1:
        raise InputError(f"ensemble.within is a distance on the unit sphere between 0 and 1, not {own.within}")
    if own.start == "previous" and params.drives != "drawn":
        raise InputError("ensemble.start: previous needs the tensors of drives: drawn")
    if not 0 < attention.number(own.cap) <= 90:
        raise InputError(f"ensemble.cap is an angle above 0 and up to 90 degrees, not {own.cap}")


@dataclass(frozen=True)
class Plan:
    """The parameters; how long each oscillator takes, in units of 1/kappa; drives and starts of those that are
    integrated; and how long the array does, ps."""

    params: "Params"
    times: Any
    lengths: Any
    cosines: Any
    few: drives.Drawn
    duration: int


def plan(params: "Params", rng: np.random.Generator) -> Plan:
    """Return the oscillators and their times."""
    own, shape = params.ensemble, params.shape
    within = attention.number(own.within)
    if params.drives == "drawn":
        found = drives.drawn(
            own.oscillators, shape.tokens, shape.dimension, shape.causal, shape.coupling, shape.normalised, rng
        )
        goals = settling.fixed_points(found.drives)
        starts = np.roll(goals, 1, axis=0) if own.start == "previous" else found.starts
        starts[0] = found.starts[0]
        lengths, times = settling.norms(found.drives), settling.settle_times(starts, found.drives, within)
        cosines = np.sum(starts * goals, axis=-1)
    else:
        lengths = drives.lengths_of(params.drives, own.oscillators, rng)
        tangents = drives.tangents(own.oscillators, shape.dimension, rng)
        times = settling.times_from(tangents, lengths, within)
        cosines = (1 - tangents**2) / (1 + tangents**2)
    pulls = 3 * rng.standard_normal((own.integrated, shape.dimension))
    few = drives.Drawn(pulls, settling.uniform(pulls.shape, rng))
    chosen = substrates.substrate(params.substrate, params.corner, params.varied)
    unit = chosen.unit(float(f"{np.max(lengths):.9g}"))
    duration = int(-(-attention.number(own.horizon) * unit // 1))
    return Plan(params, times, lengths, cosines, few, duration)


def program(rank: Rank, plan: Plan) -> Generator[Any, Any, None]:
    """Let the array settle until the horizon, and note what became of the oscillators."""
    params, own = plan.params, plan.params.ensemble
    yield from rank.spend(plan.duration, "compute", "settle")
    horizon = attention.number(own.horizon)
    row = [_whole(np.quantile(plan.times, q)) for q in (0.5, 0.9, 0.99)]
    row.append(_whole(np.mean(plan.times <= horizon)))
    row.append(_whole(np.mean(1 - settling.unsettled(plan.lengths, horizon, attention.number(own.within),
        params.shape.dimension))))  # fmt: skip
    angle = np.radians(attention.number(own.cap))
    row.append(int(np.sum(plan.cosines < -np.cos(angle))))
    row.append(_whole(settling.cap(angle, params.shape.dimension), 1e18))
    row += _euler(own)
    fixed, closed = _integrated(plan)
    rank.record("settling", len(plan.times), *row, _whole(fixed, 1e15), _whole(closed, 1e15))


def _whole(value: float, scale: float = PPB) -> int:
    return int(min(round(float(value) * scale), 2**62))


def _euler(own: Ensemble) -> list[int]:
    """Return the steps of Euler's rule from 90 degrees until it is near enough, -1 where it never is; where it ends, in
    millionths of a degree from the equilibrium; and where theory says that it does."""
    strength, within = attention.number(own.euler), attention.number(own.within)
    drive, state = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    steps = -1
    for step in range(1, own.steps + 1):
        state = settling.euler(state, drive, strength, 1)
        if steps < 0 and settling.norms(state - drive) < within:
            steps = step
    angle = float(np.degrees(np.arctan2(abs(state[1]), state[0])))
    return [steps, round(1e6 * angle), round(1e6 * settling.orbit_angle(strength))]


def _integrated(plan: Plan) -> tuple[float, float]:
    """Return how far RK45 is from the equilibrium when it should have come within 1e-11 of it, and from the closed form
    at an early time, both the worst."""
    worst = [0.0, 0.0]
    for start, pull in zip(plan.few.starts, plan.few.drives, strict=True):
        length = float(settling.norms(pull))
        for place, time in enumerate((35 / length, 1.5 / length)):
            found, _ = settling.runge_kutta(start, pull, time, 1e-10)
            right = settling.fixed_points(pull) if place == 0 else settling.trajectory(start, pull, time)
            worst[place] = max(worst[place], float(settling.norms(found - right)))
    return worst[0], worst[1]


def summarise(tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the numbers of the ensemble."""
    row = {name: values[0] for name, values in tables["settling"].items() if name != "location"}
    names = {"median_ppb": "median", "p90_ppb": "p90", "p99_ppb": "p99", "settled_ppb": "settled",
             "expected_ppb": "expected"}  # fmt: skip
    found = {new: int(row[old]) / PPB for old, new in names.items()}
    found |= {"oscillators": int(row["oscillators"]), "in_cap": int(row["in_cap"]), "cap": int(row["cap_1e18"]) / 1e18}
    found |= {"euler_steps": int(row["euler_steps"]), "euler_angle": int(row["euler_udeg"]) / 1e6}
    found |= {"orbit_angle": int(row["orbit_udeg"]) / 1e6}
    found |= {"fixed_error": int(row["fixed_error_1e15"]) / 1e15, "closed_error": int(row["closed_error_1e15"]) / 1e15}
    return {"settling": found}
