"""The answers the plain way: all weights at once, in wide integers or floats."""

from typing import TYPE_CHECKING, Any

import numpy as np

from . import frames
from .recalling import result

if TYPE_CHECKING:
    from .plan import Plan, Recall
    from .program import Params


def answers(params: "Params", plan: "Plan") -> list[Any]:
    """Return what every recall should give, none where there are no data."""
    if params.payload != "real":
        return []
    find = _in_frame if params.reading == "frame" else _recalled
    return [result(recall, find(params, plan, recall)) for recall in plan.recalls]


def charge(params: "Params", weights: Any, code: Any) -> Any:
    """Return the charges int64 [outputs] before they are stored: what the nodes that are 1 add, less what those that
    are -1 add."""
    adds = weights
    if params.method == "binary":
        adds, code = np.where(weights >= 0, np.int8(1), np.int8(-1)), np.where(code > 0, 1, -1)
    elif params.rule.arithmetic == "votes":
        adds = np.where(np.abs(weights) >= params.rule.cut, np.sign(weights), np.int8(0))
    return adds[code > 0].sum(0, dtype=np.int64) - adds[code < 0].sum(0, dtype=np.int64)


def _recalled(params: "Params", plan: "Plan", recall: "Recall") -> Any:
    found = np.clip(charge(params, plan.weights, recall.code), -params.rule.most, params.rule.most)
    if not params.reject:
        return found * params.scale // 256 if params.scale else found
    return np.where(np.abs(found) >= params.reject, np.sign(found), 0)


def _in_frame(params: "Params", plan: "Plan", recall: "Recall") -> Any:
    about, weights = params.frame, plan.weights.astype(np.float64)
    if about.decode == "conjugate_gradients":
        return frames.conjugate_gradients(plan.weights, recall.code, recall.living, about.steps)
    estimate = recall.code.astype(np.float64) @ weights
    if about.decode == "low_pass":
        return frames.low_pass(estimate, about.harmonics)
    return estimate if about.coding == "analog" else estimate.astype(np.int64)
