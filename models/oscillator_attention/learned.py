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
    """A shipped model by ``task``, ``attention``, ``dimension`` and ``seed``, and how many ``examples`` of the test set
    it answers (0: all), their positions ``shuffled`` or not, on ``device``."""

    task: Task = "agreement"
    attention: Attention = "oscillator"
    dimension: int = 2
    seed: int = 0
    examples: int = 0
    shuffled: bool = False
    device: Device = field(default_factory=Device)


def check(params: "Params") -> None:
    """Raise ``InputError`` where there is no such model."""
    own = params.learned
    if own.examples < 0:
        raise InputError(f"learned.examples is 0 (all) or more, not {own.examples}")
    attention.check(own.device)
    if own.dimension not in DIMENSIONS:
        raise InputError(f"learned.dimension is one of {', '.join(map(str, DIMENSIONS))}, not {own.dimension}")
    load(own.task, own.attention, own.dimension, own.seed)


@dataclass(frozen=True)
class Plan:
    """The parameters, and how the model did."""

    params: "Params"
    score: transformer.Score


@lru_cache(maxsize=512)
def _score(own: Learned) -> transformer.Score:
    """Return how a model does; kept, because the same is asked from many sides."""
    data = tasks.data(own.task, "test", own.examples)
    if own.shuffled:
        data = transformer.shuffled(data, 0)
    form, weights = load(own.task, own.attention, own.dimension, own.seed)
    return transformer.score(form, weights, data, own.device)


def plan(params: "Params") -> Plan:
    """Return what the model answers."""
    return Plan(params, _score(params.learned))


def program(rank: Rank, plan: Plan) -> Generator[Any, Any, None]:
    """Let one array settle as long as it is given, once for each layer, and note the answers.

    Model: only the settling of one sentence takes time here; a whole layer is `mode: layer`.
    """
    own, score, params = plan.params.learned, plan.score, plan.params
    chosen = substrates.substrate(params.substrate, params.corner, params.varied)
    longest = float(f"{np.max(score.lengths, initial=0.0):.6g}")
    time = own.device.read * chosen.unit(longest)
    yield from rank.spend(int(-(-time // 1)), "compute", "settle")
    lengths = [round(1e6 * float(np.quantile(score.lengths, q))) if len(score.lengths) else 0 for q in (0.01, 0.5, 1)]
    nats = round(1e6 * score.nats)
    rank.record("answers", score.asked, score.right, score.hard, score.hard_right, nats, *lengths)


def summarise(tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return accuracy, also on the hard examples, perplexity, and lengths of drives."""
    row = {name: values[0] for name, values in tables["answers"].items() if name != "location"}
    return {
        "learned": {
            "accuracy": int(row["right"]) / int(row["asked"]),
            "hard_accuracy": int(row["hard_right"]) / int(row["hard"]) if int(row["hard"]) else 0.0,
            "perplexity": float(np.exp(int(row["nats_ppm"]) / 1e6)),
            **{f"drive_{name}": int(row[f"drive_{name}_ppm"]) / 1e6 for name in ("p1", "median", "max")},
        }
    }
