"""What is lost: entries of a code that are truncated, nodes that are destroyed, weights whose bits flip or stick."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Truncation = Literal["top", "random", "weights"]


def kept(code: NDArray[Any], count: int, how: Truncation, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which ``count`` entries of ``code`` [nodes], of those that are not zero, truncation leaves: any (random),
    else the largest by magnitude, ties by lot."""
    there = np.flatnonzero(code)
    lots = rng.permutation(len(there))
    order = lots if how == "random" else lots[np.argsort(-np.abs(code[there[lots]].astype(np.float64)), kind="stable")]
    left = np.zeros(len(code), np.bool_)
    left[there[order[:count]]] = True
    return left


def killed(nodes: int, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which of ``nodes`` nodes are destroyed: a ``share`` of them, by lot."""
    dead = np.zeros(nodes, np.bool_)
    dead[rng.permutation(nodes)[: round(share * nodes)]] = True
    return dead


def pruned(weights: NDArray[np.int8], share: float) -> NDArray[np.int8]:
    """Return ``weights`` with a ``share`` of them set to 0, the smallest by magnitude; of those that tie, the first in
    row-major order."""
    flat = weights.ravel().copy()
    order = np.argsort(np.abs(flat.astype(np.int16)), kind="stable")
    flat[order[: round(share * len(flat))]] = 0
    return flat.reshape(weights.shape)


def flipped(weights: NDArray[np.int8], share: float, rng: np.random.Generator) -> NDArray[np.int8]:
    """Return ``weights`` of which a ``share``, by lot, has one bit flipped, any of the eight; -128 becomes -127."""
    struck = _struck(weights, share, rng)
    flat = weights.ravel().copy().view(np.uint8)
    flat[struck] ^= np.uint8(1) << rng.integers(0, 8, len(struck), np.uint8)
    return np.maximum(flat.view(np.int8), -127).reshape(weights.shape)


def stuck(weights: NDArray[np.int8], share: float, at: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """Return ``weights`` of which a ``share``, by lot, is stuck at the value ``at``."""
    flat = weights.ravel().copy()
    flat[_struck(weights, share, rng)] = at
    return flat.reshape(weights.shape)


def _struck(weights: NDArray[np.int8], share: float, rng: np.random.Generator) -> NDArray[Any]:
    return rng.choice(weights.size, round(share * weights.size), replace=False)
