"""A trained model answers the test set of its task, on a device that is perfect or is not."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import InputError, Rank

from . import attention, substrates, tasks, transformer
from .attention import Device
from .form import DIMENSIONS, Attention, load
from .tasks import Task

if TYPE_CHECKING:
    from .program import Params


@dataclass(frozen=True)
class Learned:
    """A shipped model by ``task``, ``attention``, ``dimension`` and ``seed``, with those of the ``seeds`` - 1 seeds
    after it, and how many ``examples`` of the test set each answers (0: all), their positions ``shuffled`` or not, on
    ``device``."""

    task: Task = "agreement"
    attention: Attention = "oscillator"
    dimension: int = 2
    seed: int = 0
    seeds: int = 1
    examples: int = 0
    shuffled: bool = False
    device: Device = field(default_factory=Device)


def check(params: "Params") -> None:
    """Raise ``InputError`` where there is no such model."""
    own = params.learned
    most = tasks.SIZES[own.task]["test"]
    if not 0 <= own.examples <= most:
        raise InputError(f"learned.examples is 0 (all) to {most} of {own.task}, not {own.examples}")
    attention.check(own.device)
    if own.attention == "softmax" and own.device != type(own.device)():
        raise InputError("learned.device is one of oscillators; softmax runs on none")
    if own.attention == "softmax" and own.dimension != Learned.dimension:
        raise InputError(f"learned.dimension is one of oscillators; softmax has none, leave it {Learned.dimension}")
    if own.device.start == "previous" and own.task in ("agreement", "ambiguous"):
        raise InputError(f"learned.device.start: {own.task} asks about one token, so that none was settled before")
    for name in ("detuning", "phase_noise"):
        if getattr(own.device, name) and own.dimension != 2:
            raise InputError(f"learned.device.{name} is known of dimension 2 alone, where a state is one angle")
    if own.shuffled and own.task != "order":
        raise InputError(f"learned.shuffled is of order alone; the answers of {own.task} belong to places")
    if own.device.padding == "published" and own.task not in ("agreement", "ambiguous"):
        raise InputError(f"learned.device.padding: nothing fills up what {own.task} asks; leave it mended")
    if own.dimension not in DIMENSIONS:
        raise InputError(f"learned.dimension is one of {', '.join(map(str, DIMENSIONS))}, not {own.dimension}")
    if own.seeds < 1:
        raise InputError(f"learned.seeds must be 1 or more, not {own.seeds}")
    for seed in range(own.seed, own.seed + own.seeds):
        load(own.task, own.attention, own.dimension, seed)


@dataclass(frozen=True)
class Plan:
    """The parameters, and how each model did, by seed."""

    params: "Params"
    scores: Mapping[int, transformer.Score]


@lru_cache(maxsize=512)
def score(own: Learned, seed: int) -> transformer.Score:
    """Return how a model does; kept, because the same is asked from many sides."""
    data = tasks.data(own.task, "test", own.examples)
    if own.shuffled:
        data = transformer.shuffled(data, 0)
    form, weights = load(own.task, own.attention, own.dimension, seed)
    return transformer.score(form, weights, data, own.device, seed)


def plan(params: "Params") -> Plan:
    """Return what the models answer."""
    own = params.learned
    return Plan(params, {seed: score(own, seed) for seed in range(own.seed, own.seed + own.seeds)})


def program(rank: Rank, plan: Plan) -> Generator[Any, Any, None]:
    """Let one array settle as long as it is given, once for each model, and note the answers.

    Model: only one settling takes time here; a whole layer is `mode: layer`.
    """
    params = plan.params
    chosen = substrates.substrate(params.substrate, params.corner, params.varied)
    for seed, found in plan.scores.items():
        longest = float(f"{np.max(found.lengths, initial=0.0):.6g}")
        time = params.learned.device.read * chosen.unit(longest)
        yield from rank.spend(int(-(-time // 1)), "compute", "settle")
        drawn = found.lengths if len(found.lengths) else np.zeros(1)
        lengths = [round(1e6 * float(np.quantile(drawn, q))) for q in (0.01, 0.5, 1)]
        rank.record(
            "answers", seed, found.asked, found.right, found.hard, found.hard_right, round(1e6 * found.nats), *lengths
        )


FAILED = 0.85
"""Share of right answers on hard sentences below which a training failed; arXiv:2606.12059, its code."""


def summarise(tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return accuracy, also on the hard examples where there are any, perplexity, and lengths of drives: means of all
    seeds where nothing else is said."""
    rows = {name: np.asarray(values, np.float64) for name, values in tables["answers"].items() if name != "location"}
    accuracy = rows["right"] / rows["asked"]
    # The seeds share one test set: all have hard examples, or none has.
    hard = rows["hard_right"] / rows["hard"] if rows["hard"].all() else None
    of_hard = {} if hard is None else {
        "hard_accuracy": float(hard.mean()),
        "hard_median": float(np.median(hard)),
        "hard_least": float(hard.min()),
        "failures": int((hard < FAILED).sum()),
    }  # fmt: skip
    perplexity = np.exp(rows["nats_ppm"] / 1e6)
    return {
        "learned": {
            "accuracy": float(accuracy.mean()),
            **of_hard,
            "perplexity": float(perplexity.mean()),
            "perplexity_spread": float(perplexity.std(ddof=1)) if len(perplexity) > 1 else 0.0,
            **{f"drive_{name}": float(rows[f"drive_{name}_ppm"].mean()) / 1e6 for name in ("p1", "median", "max")},
        }
    }
