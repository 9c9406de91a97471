"""The answers the plain way: every weight, one after another, in wide integers or floats."""

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
    """Return the charges int64 [outputs] before they are stored."""
    wide = weights.astype(np.int64)
    if params.method == "binary":
        return np.where(code > 0, 1, -1) @ np.where(wide >= 0, 1, -1)
    if params.rule.arithmetic == "votes":
        wide = np.where(np.abs(wide) >= params.rule.cut, np.sign(wide), 0)
    return code.astype(np.int64) @ wide


def _recalled(params: "Params", plan: "Plan", recall: "Recall") -> Any:
    found = np.clip(charge(params, plan.weights, recall.code), -params.rule.most, params.rule.most)
    if not params.reject:
        return found
    return np.where(np.abs(found) >= params.reject, np.sign(found), 0)


def _in_frame(params: "Params", plan: "Plan", recall: "Recall") -> Any:
    about, weights = params.frame, plan.weights.astype(np.float64)
    if about.decode == "conjugate_gradients":
        return frames.conjugate_gradients(plan.weights, recall.code, recall.living, about.steps)
    estimate = recall.code.astype(np.float64) @ weights
    if about.decode == "low_pass":
        return frames.low_pass(estimate, about.harmonics)
    return estimate if about.coding == "analog" else estimate.astype(np.int64)
