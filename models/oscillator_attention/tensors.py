"""Shapes of a layer and its real tensors: drawn at random, and the drives that they make."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import attention, settling
from .kernel import Coupling


@dataclass(frozen=True)
class Shape:
    """A layer of ``tokens`` tokens, ``heads`` of ``width`` each, oscillators of ``dimension``; ``causal``: earlier
    tokens alone are seen; ``coupling`` and whether its rows are ``normalised``; ``power`` of the read-out."""

    tokens: int = 49
    heads: int = 2
    width: int = 16
    dimension: int = 2
    causal: bool = False
    coupling: Coupling = "softplus"
    normalised: bool = False
    power: int = 1

    @property
    def model(self) -> int:
        """Width of a token."""
        return self.heads * self.width


@dataclass(frozen=True)
class Tensors:
    """Real tensors of a sequence: ``x`` [T, m], weights [m, 3m] and [m, m], ``anchors`` [H, T, d]; ``starts`` [H, T, d]
    of the oscillators."""

    x: Any
    weights: Any
    out: Any
    anchors: Any
    starts: Any


def draw(shape: Shape, rng: np.random.Generator) -> Tensors:
    """Return random tensors that make queries and keys of N(0, 1), and random anchors."""
    model = shape.model
    x, weights, out = (
        rng.standard_normal(size).astype(np.float32)
        for size in ((shape.tokens, model), (model, 3 * model), (model, model))
    )
    states = (shape.heads, shape.tokens, shape.dimension)
    anchors = settling.uniform(states, rng).astype(np.float32)
    scale = np.float32(model**-0.5)
    return Tensors(x, weights * scale, out * scale, anchors, settling.uniform(states, rng))


def wanted(shape: Shape, tensors: Tensors) -> Any:
    """Return the drives [H, T, d] of real tensors, in float64 and at once."""
    query, key, _ = heads(shape, tensors.x.astype(np.float64) @ tensors.weights.astype(np.float64))
    scores = query @ key.swapaxes(-1, -2) * shape.width**-0.5
    seen = np.tri(shape.tokens, dtype=bool) if shape.causal else np.ones((shape.tokens, shape.tokens), bool)
    return attention.couplings(scores, seen, shape.coupling, shape.normalised) @ tensors.anchors


def heads(shape: Shape, joint: Any) -> Any:
    """Return queries, keys and values [3, H, T, w] of what was projected, [T, 3 m]."""
    return joint.reshape(shape.tokens, 3, shape.heads, shape.width).transpose(1, 2, 0, 3)
