"""Which question is asked: a layer on a machine, oscillators by themselves, or a trained model."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from simcore import Column, InputError, Metric

from . import array, cost, ensemble, host, layer, learned, plain, substrates
from .drives import Law
from .ensemble import Ensemble
from .layer import Means, Reading
from .learned import Learned
from .tensors import Shape

if TYPE_CHECKING:
    from simcore import Rank

STAGES = ("project", "couple", "write", "settle", "sample", "attend", "mix", "output")


@dataclass(frozen=True)
class Params:
    """``mode``: one layer on a machine; an ``ensemble`` of oscillators that settle (settling); or a shipped model and
    its test set (learned).

    Of a layer: ``means`` says who attends; ``shape`` is the layer, ``sequences`` of it one after another; rank 0 is the
    host, each of ``arrays`` a rank behind its link, built like ``array`` of a ``substrate`` whose unknown ``varied`` is
    in a ``corner`` of its range, and read as ``reading`` says. ``drives`` are those of random tensors, or a published
    law. Energy of the host is that of ``digital``; its numbers are of ``dtype``. ``payload``: real computes with random
    tensors of the seed, virtual with their shapes alone.
    """

    mode: Literal["layer", "settling", "learned"] = "layer"
    means: Means = "vector"
    shape: Shape = field(default_factory=Shape)
    sequences: int = 1
    arrays: int = 1
    array: substrates.Array = field(default_factory=substrates.Array)
    substrate: substrates.Name = "ring"
    corner: substrates.Corner = "middle"
    varied: substrates.Unknown = "all"
    reading: Reading = field(default_factory=Reading)
    drives: Law = "drawn"
    digital: substrates.Digital = "cmos45"
    dtype: Literal["float32", "bfloat16", "int8"] = "float32"
    ensemble: Ensemble = field(default_factory=Ensemble)
    learned: Learned = field(default_factory=Learned)
    payload: Literal["virtual", "real"] = "virtual"


Plan = layer.Plan | ensemble.Plan | learned.Plan


class OscillatorAttention:
    """What does attention cost where physics computes it, and what becomes of it when it is read too early?"""

    Params = Params
    tables: ClassVar[Mapping[str, tuple[Column, ...]]] = {
        "oscillator_stages": (
            Column("location", "string", "rank"),
            Column("sequence", "int32", "which sequence, from 0"),
            Column("tile", "int32", "which tile, or head; -1 of a whole layer"),
            Column("stage", "string", "what it was: project, couple, write, settle, sample, attend, mix or output"),
            Column("duration_ps", "int64", "how long it took"),
            Column("count", "int64", "multiplications and additions; couplings, states or numbers converted"),
            Column("energy_fj", "int64", "what it cost, fJ"),
        ),
        "settling": (
            Column("location", "string", "rank"),
            Column("oscillators", "int64", "how many there are"),
            Column("median_ppb", "int64", "median time to settle, billionths of 1/kappa"),
            Column("p90_ppb", "int64", "by which nine tenths have settled"),
            Column("p99_ppb", "int64", "by which 99 % have settled"),
            Column("settled_ppb", "int64", "share that has settled by the horizon, billionths"),
            Column("expected_ppb", "int64", "the same by the formula, for these lengths of drives"),
            Column("in_cap", "int64", "oscillators that begin in the cap opposite to their equilibrium"),
            Column("cap_1e18", "int64", "the share that ought to, 1e-18"),
            Column("euler_steps", "int64", "steps of Euler's rule until one is near enough; -1: never"),
            Column("euler_udeg", "int64", "where Euler's rule ends, millionths of a degree from the equilibrium"),
            Column("orbit_udeg", "int64", "where it swings in theory"),
            Column("fixed_error_1e15", "int64", "worst distance of RK45 from the equilibrium, 1e-15"),
            Column("closed_error_1e15", "int64", "worst distance of RK45 from the closed form, 1e-15"),
        ),
        "answers": (
            Column("location", "string", "rank"),
            Column("seed", "int32", "of the model"),
            Column("asked", "int64", "answers"),
            Column("right", "int64", "right ones"),
            Column("hard", "int64", "answers about sentences whose distractor disagrees with the subject"),
            Column("hard_right", "int64", "right ones of those"),
            Column("nats_ppm", "int64", "mean surprise, millionths of a natural unit; 0 where answers are yes or no"),
            Column("drive_p1_ppm", "int64", "|h| that 1 % of the oscillators stay below, millionths"),
            Column("drive_median_ppm", "int64", "median of |h|"),
            Column("drive_max_ppm", "int64", "greatest |h|"),
        ),
    }  # fmt: skip
    metrics: ClassVar[Sequence[Metric]] = (
        *(
            Metric(f"layer.{name}_ps", "ps", f"time of the stages {name}, all ranks", "sum of duration_ps")
            for name in STAGES
        ),
        *(Metric(f"layer.{name}_fj", "fJ", f"energy of the stages {name}", "sum of energy_fj") for name in STAGES),
        Metric("layer.energy_fj", "fJ", "energy of all stages", "sum of energy_fj"),
        Metric("layer.host_ps", "ps", "time in which the host computes", "sum of duration_ps of rank 0"),
        *(
            Metric(f"layer.macs.{name}", "MACs", f"multiplications and additions as the paper counts them: {name}")
            for name in ("softmax", "digital", "vector", "pairwise", "common", "writes")
        ),
        Metric("settling.oscillators", "oscillators", "how many there are"),
        Metric("settling.median", "1/kappa", "median time to settle"),
        Metric("settling.p90", "1/kappa", "time by which nine tenths have settled"),
        Metric("settling.p99", "1/kappa", "time by which 99 % have settled"),
        Metric("settling.settled", "1", "share that has settled by the horizon"),
        Metric("settling.expected", "1", "the same by the formula"),
        Metric("settling.in_cap", "oscillators", "oscillators that begin in the cap opposite to their equilibrium"),
        Metric("settling.cap", "1", "share that ought to"),
        Metric("settling.euler_steps", "steps", "steps of Euler's rule from 90 degrees; -1: never near enough"),
        Metric("settling.euler_angle", "degrees", "where Euler's rule ends"),
        Metric("settling.orbit_angle", "degrees", "where it swings in theory, 0 where it converges"),
        Metric("settling.fixed_error", "1", "worst distance of RK45 from the equilibrium"),
        Metric("settling.closed_error", "1", "worst distance of RK45 from the closed form"),
        Metric("learned.accuracy", "1", "share of right answers, mean of all seeds"),
        Metric("learned.hard_accuracy", "1", "the same where the distractor disagrees with the subject"),
        Metric("learned.hard_median", "1", "the same, median of all seeds"),
        Metric("learned.hard_least", "1", "the same of the worst seed"),
        Metric("learned.failures", "models", "seeds below 85 % there"),
        Metric("learned.perplexity", "1", "exponential of the mean surprise, mean of all seeds; 1 for yes or no"),
        Metric("learned.perplexity_spread", "1", "its standard deviation over the seeds, 0 of one"),
        *(
            Metric(f"learned.drive_{name}", "1", f"{name} of |h|, mean of all seeds")
            for name in ("p1", "median", "max")
        ),
    )
    headlines: ClassVar[Sequence[str]] = (
        "layer.host_ps", "layer.energy_fj", "settling.median", "settling.p99", "learned.accuracy",
        "learned.hard_median",
    )  # fmt: skip

    def world(self, params: Params) -> int:
        """Return the host and its arrays, or one rank; raises ``InputError``."""
        layer.check(params)
        for name, mode, default in (("ensemble", "settling", Ensemble()), ("learned", "learned", Learned())):
            if params.mode != mode and asdict(getattr(params, name)) != asdict(default):
                raise InputError(f"{name} is of mode: {mode}, not of mode: {params.mode}")
        if params.mode == "settling":
            ensemble.check(params)
        if params.mode == "learned":
            learned.check(params)
        return 1 + params.arrays if params.mode == "layer" and params.means in layer.PHYSICAL else 1

    def plan(self, params: Params, world: int, nodes: int, rng: np.random.Generator) -> Plan:
        """Return what is decided before time runs."""
        if params.mode == "settling":
            return ensemble.plan(params, rng)
        return learned.plan(params) if params.mode == "learned" else layer.plan(params, rng)

    def reference(self, params: Params, plan: Plan) -> list[Any]:
        """Return the outputs of a layer the plain way; the other modes give none."""
        return plain.reference(plan) if isinstance(plan, layer.Plan) else []

    def summarise(self, params: Params, tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return what the mode asks for."""
        if params.mode == "settling":
            return ensemble.summarise(tables)
        return learned.summarise(tables) if params.mode == "learned" else summary(params, tables)

    def program(self, rank: "Rank", plan: Plan) -> Generator[Any, Any, None]:
        """Live as the host or as an array, as an ensemble, or as a model."""
        if isinstance(plan, ensemble.Plan):
            return ensemble.program(rank, plan)
        if isinstance(plan, learned.Plan):
            return learned.program(rank, plan)
        return array.program(rank, plan) if rank.index else host.program(rank, plan)


def summary(params: Params, tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return time and energy of the stages of a layer, and its operations as the paper counts them."""
    rows = tables["oscillator_stages"]
    stages = np.asarray(rows["stage"])
    where = np.asarray(rows["location"])
    times, energies = np.asarray(rows["duration_ps"]), np.asarray(rows["energy_fj"])
    shape = params.shape
    operations = cost.operations(shape.tokens, shape.heads, shape.width, shape.dimension, shape.causal, shape.coupling)
    return {
        "layer": {
            **{f"{name}_ps": int(times[stages == name].sum()) for name in STAGES},
            **{f"{name}_fj": int(energies[stages == name].sum()) for name in STAGES},
            "energy_fj": int(energies.sum()),
            "host_ps": int(times[where == "rank0"].sum()) if len(times) else 0,
            "macs": dict(vars(operations)),
        }
    }
