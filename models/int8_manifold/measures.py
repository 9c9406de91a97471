"""What the claims want to know of a run beside its metrics: how near the answers are to what they should be.

A run gives, for each recall, answer, target and living outputs; answers of dead outputs are nothing.
"""

import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from simcore import Result

from . import frames
from .program import Params


def cosine_alive(result: Result) -> float:
    """Return the cosine of answer and target over living outputs, mean of all recalls."""
    return _mean(_cosine(answer[alive], target[alive]) for answer, target, alive in _answers(result))


def cosine_all(result: Result) -> float:
    """Return the cosine over all outputs, dead ones counted as nothing, mean of all recalls."""
    return _mean(_cosine(answer, target) for answer, target, _ in _answers(result))


def cosine_last(result: Result) -> float:
    """Return the cosine over living outputs of the last recall alone."""
    answer, target, alive = list(_answers(result))[-1]
    return _cosine(answer[alive], target[alive])


def undecided(result: Result) -> float:
    """Return the share of living outputs that should be active and whose answer is 0."""
    return _mean(float((answer[alive & (target != 0)] == 0).mean()) for answer, target, alive in _answers(result))


def wrong(result: Result) -> float:
    """Return the share of living outputs whose answer has the opposite sign."""
    return _mean(float((answer * target < 0)[alive].mean()) for answer, target, alive in _answers(result))


def psnr_db(result: Result) -> float:
    """Return the peak signal-to-noise ratio of answers times one least-squares scale, dB over a peak of the largest
    target, on living outputs, mean of all recalls."""
    found = []
    for answer, target, alive in _answers(result):
        got, wanted = answer[alive].astype(float), target[alive].astype(float)
        error = ((_scale(got, wanted) * got - wanted) ** 2).mean()
        found.append(10 * math.log10(np.abs(wanted).max() ** 2 / error) if error else math.inf)
    return _mean(found)


def scale(result: Result) -> float:
    """Return the one factor by which charges of damaged recall come nearest those that all nodes would make of one
    pair, gain each, on living outputs."""
    params = _params(result)
    whole = params.nodes * params.gain
    return _mean(_scale(answer[alive], whole * target[alive]) for answer, target, alive in _answers(result))


def law_error(result: Result) -> float:
    """Return how far the cosine over living outputs is from 1 / sqrt(1 + n / (k m)) of a frame."""
    params = _params(result)
    harm, about = params.damage, params.frame
    survivors = params.nodes * (1 - harm.truncated) * (1 - harm.destroyed)
    gain = frames.GAIN[harm.truncation, about.coding]
    return cosine_alive(result) - frames.law(params.outputs, round(survivors), gain)


def linear_error(result: Result) -> float:
    """Return how far the cosine of charges is from 1 / sqrt(1 + (P - 1) / k) of P pairs and k events."""
    return cosine_alive(result) - 1 / math.sqrt(1 + (_params(result).pairs - 1) / events(result))


def events(result: Result) -> float:
    """Return how many nodes were active after all damage, mean of all recalls."""
    return _mean(result.tables["recalls"]["events"].to_pylist())


def fired(result: Result) -> float:
    """Return the share of nodes that were active after all damage."""
    return events(result) / _params(result).nodes


def destroyed(result: Result) -> float:
    """Return the share of all nodes that failures in service had destroyed when the last recall was due."""
    params = _params(result)
    last = max(result.tables["failures"]["destroyed"].to_pylist(), default=0)
    return last / (params.nodes + params.outputs)


def weights(result: Result) -> int:
    """Return the number of weights."""
    return _params(result).nodes * _params(result).outputs


def answers(result: Result) -> int:
    """Return a checksum of all answers."""
    return zlib.crc32(b"".join(np.ascontiguousarray(each).tobytes() for each in result.results["rank0"]))


def cut(result: Result) -> int:
    """Return the magnitude below which a weight has no vote."""
    return _params(result).rule.cut


def reject(result: Result) -> int:
    """Return the magnitude below which a charge is undecided."""
    return _params(result).reject


def _params(result: Result) -> Params:
    found: Params = result.scenario.workloads[0].params
    return found


def _answers(result: Result) -> Iterator[tuple[Any, Any, Any]]:
    for rank in sorted(result.results):
        for answer, target, alive in result.results[rank]:
            yield answer, target, alive.astype(bool)


def _cosine(one: Any, other: Any) -> float:
    one, other = one.astype(float), other.astype(float)
    size = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / size if size else 0.0


def _scale(got: Any, wanted: Any) -> float:
    got = got.astype(float)
    size = float(got @ got)
    return float(got @ wanted) / size if size else 0.0


def _mean(values: Any) -> float:
    found = [float(each) for each in values]
    return math.fsum(found) / len(found)
