"""A layer computed the plain way: in float64, all at once, physical oscillators by numerical integration."""

from typing import Any

import numpy as np

from . import attention, kernel, settling
from .layer import PHYSICAL, Plan
from .tensors import heads, wanted
from .tiles import beginnings


def reference(plan: Plan) -> list[Any]:
    """Return the outputs in float64 the plain way: physical oscillators by numerical integration, one by one."""
    return [_plain(plan, number) for number in range(len(plan.tensors))]


def _plain(plan: Plan, number: int) -> Any:
    params, shape, tensors = plan.params, plan.params.shape, plan.tensors[number]
    query, key, value = heads(shape, tensors.x.astype(np.float64) @ tensors.weights.astype(np.float64))
    seen = np.tri(shape.tokens, dtype=bool) if shape.causal else np.ones((shape.tokens, shape.tokens), bool)
    scores = query @ key.swapaxes(-1, -2) * shape.width**-0.5
    if params.means in ("softmax", "lut"):
        shares = _soft(params.means, scores, seen)
    elif params.means == "clipped":
        weights = np.where(seen, np.maximum(1 + scores, 0), 0)
        shares = weights / np.maximum(np.sum(weights, axis=-1, keepdims=True), settling.TINY)
    else:
        pulls = wanted(shape, tensors)
        states = settling.fixed_points(pulls)
        if params.means in PHYSICAL:
            starts = beginnings(params, plan.tiles, pulls, tensors.starts)
            for tile in plan.tiles:
                for row in range(tile.first, tile.last):
                    at = tile.head, row
                    states[at] = settling.runge_kutta(starts[at], pulls[at], plan.times[number][tile.number], 1e-9)[0]
        shares = attention.shares(states, tensors.anchors, seen, shape.power)
    mixed = (shares @ value).transpose(1, 0, 2).reshape(shape.tokens, shape.model)
    return mixed @ tensors.out.astype(np.float64)


def _soft(means: str, scores: Any, seen: Any) -> Any:
    """Return the shares by softmax; by table, each exponential is that of the middle of its step."""
    if means == "softmax":
        return attention.softmax(scores, seen)
    below = np.where(seen, np.max(np.where(seen, scores, -np.inf), axis=-1, keepdims=True) - scores, 0)
    step = kernel.DEEP / kernel.TABLE
    weights = np.where(seen, np.exp(-(np.minimum(np.floor(below / step), kernel.TABLE - 1) + 0.5) * step), 0)
    return weights / np.sum(weights, axis=-1, keepdims=True)
