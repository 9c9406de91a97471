"""What the claims want to know of a run beside its metrics."""

import numpy as np

from simcore import Result

from . import cost, learned, substrates
from .attention import Device
from .form import Attention
from .learned import Learned
from .program import Params


def cap_sigmas(result: Result) -> float:
    """Return how many standard deviations the oscillators in the cap are off their expected number."""
    found = result.metrics["jobs"]["oscillator_attention"]["settling"]
    count, share = found["oscillators"], found["cap"]
    return float(abs(found["in_cap"] - count * share) / np.sqrt(max(count * share * (1 - share), 1.0)))


def speedup(result: Result) -> float:
    """Return how many times fewer operations a layer has with settling and inner products physical than by softmax, as
    the paper counts them."""
    own = _operations(result)
    return (own.common + own.softmax) / (own.common + own.pairwise)


def bound(result: Result) -> float:
    """Return the same if attention cost nothing (Amdahl)."""
    own = _operations(result)
    return (own.common + own.softmax) / own.common


def stage_us(result: Result) -> float:
    """Return the time of attention alone, without projections, scores and values, us: what the host does for it, at
    peak and without launches, and of oscillators the writing, settling and sampling, one after another, and the time in
    which the link carries couplings or samples."""
    params, found = _params(result), result.metrics["jobs"]["oscillator_attention"]["layer"]
    throughput = result.scenario.machine.gpu.throughput[params.dtype]
    physical = sum(found[f"{name}_ps"] for name in ("write", "settle", "sample"))
    return 2e6 * _stage(params, found["macs"]) / throughput + physical / 1e6 + link_us(result)


def link_us(result: Result) -> float:
    """Return how long couplings or samples are under way, us; what is so at once counts once."""
    sent = result.tables["transfers"].to_pylist()
    ways = sorted((row["issued_ps"], row["arrived_ps"]) for row in sent if row["what"] in ("couplings", "samples"))
    total = end = 0
    for begin, arrived in ways:
        total += max(arrived - max(begin, end), 0)
        end = max(end, arrived)
    return total / 1e6


def stage_uj(result: Result) -> float:
    """Return the energy of the same, uJ, but for the link, whose energy is not modelled."""
    params, found = _params(result), result.metrics["jobs"]["oscillator_attention"]["layer"]
    physical = sum(found[f"{name}_fj"] for name in ("write", "settle", "sample"))
    corner = params.corner if params.varied == "all" else "middle"
    return (_stage(params, found["macs"]) * substrates.energy(params.digital, corner, params.dtype) + physical) / 1e9


def rest_us(result: Result) -> float:
    """Return the time of what is left of a layer if attention cost nothing (Amdahl), us: projections, scores and values
    at peak and without launches."""
    params = _params(result)
    return 2e6 * _operations(result).common / result.scenario.machine.gpu.throughput[params.dtype]


def rest_uj(result: Result) -> float:
    """Return the energy of the same, uJ."""
    params = _params(result)
    corner = params.corner if params.varied == "all" else "middle"
    return _operations(result).common * substrates.energy(params.digital, corner, params.dtype) / 1e9


def _stage(params: Params, macs: dict[str, int]) -> int:
    """Return the host's multiplications and additions for attention alone, as the paper counts them; a line cut off at
    zero costs softmax without its exponentials, one each instead."""
    if params.means in ("lut", "clipped"):
        return macs["writes"] + 2 * params.shape.heads * params.shape.tokens
    return macs[params.means]


def loss(result: Result) -> float:
    """Return the accuracy that the device costs, percentage points, mean of all seeds."""
    own = _params(result).learned
    return 100 * (_accuracy(_having(own, device=type(own.device)())) - _accuracy(own))


def row_error(result: Result) -> float:
    """Return how far, summed over its positions, the shares of a token are from those on a perfect device: 0 to 2, mean
    of all tokens and seeds."""
    return float(np.mean([each.row_error for each in _scores(_params(result).learned)]))


def shuffle_loss(result: Result) -> float:
    """Return the accuracy that shuffling the positions costs, percentage points, mean of all seeds."""
    own = _params(result).learned
    return 100 * (_accuracy(own) - _accuracy(_having(own, shuffled=True)))


def failures_over(result: Result) -> float:
    """Return how many more trainings failed than of softmax."""
    own = _params(result).learned
    return float(_failures(own) - _failures(_having(own, attention="softmax")))


def gap(result: Result) -> float:
    """Return the perplexity above that of softmax, means of all seeds."""
    own = _params(result).learned
    return _perplexity(own) - _perplexity(_having(own, attention="softmax"))


def gap_spread(result: Result) -> float:
    """Return the standard deviation of that gap over the seeds, each against the softmax of its number."""
    own = _params(result).learned
    pairs = zip(_scores(own), _scores(_having(own, attention="softmax")), strict=True)
    return float(np.std([np.exp(one.nats) - np.exp(other.nats) for one, other in pairs], ddof=1))


def residual(result: Result) -> float:
    """Return the perplexity that the device costs, mean of all seeds."""
    own = _params(result).learned
    return _perplexity(own) - _perplexity(_having(own, device=type(own.device)()))


def _params(result: Result) -> Params:
    params: Params = result.scenario.workloads[0].params
    return params


def _having(
    own: Learned, *, attention: Attention | None = None, shuffled: bool = False, device: Device | None = None
) -> Learned:
    from dataclasses import replace

    found = replace(own, attention=attention or own.attention, shuffled=shuffled, device=device or own.device)
    # Softmax has no dimension and runs on no device.
    if found.attention == "softmax":
        found = replace(found, dimension=Learned.dimension, device=type(own.device)())
    return found


def _scores(own: Learned) -> list[learned.transformer.Score]:
    return [learned.score(own, seed) for seed in range(own.seed, own.seed + own.seeds)]


def _failures(own: Learned) -> int:
    return sum(each.hard_right / each.hard < learned.FAILED for each in _scores(own))


def _accuracy(own: Learned) -> float:
    return float(np.mean([each.right / each.asked for each in _scores(own)]))


def _perplexity(own: Learned) -> float:
    return float(np.mean([np.exp(each.nats) for each in _scores(own)]))


def _operations(result: Result) -> cost.Operations:
    shape = _params(result).shape
    return cost.operations(shape.tokens, shape.heads, shape.width, shape.dimension, shape.causal, shape.coupling)
