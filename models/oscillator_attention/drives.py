"""Lengths |h| of the drives, which alone decide how fast oscillators settle: of random tensors, or as published."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from . import attention, settling
from .kernel import Coupling

Law = Literal["drawn", "kws", "sva", "stories", "tail", "one"]
"""Of random tensors; of the published models for keywords, agreement and TinyStories; the tail fitted to one of d = 2;
all 1."""
QUANTILES = (0.001, 0.01, 0.05, 0.5, 1.0)
PUBLISHED: Mapping[str, tuple[float, ...]] = {
    "kws": (0.029, 0.277, 1.36, 8.21, 147.0),
    "sva": (0.548, 0.753, 0.944, 1.90, 16.6),
    "stories": (0.0095, 0.097, 0.607, 24.5, 2733.0),
}
"""|h| at `QUANTILES`; arXiv:2606.12059, results of its published code."""
MEANS: Mapping[str, float] = {"kws": 10.6, "sva": 2.81, "stories": 56.9}
TAIL = (0.372, 0.495)
"""P(|h| < x) = 0.372 x^0.495, fitted to the shares that settle at d = 2."""


@lru_cache
def _bend(law: str) -> float:
    """Return how the upper half is bent so that its mean is the published one, by halving."""
    low, high = 0.5, 100.0
    grid = (np.arange(20_000) + 0.5) / 20_000
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(_quantile(law, grid, middle).mean()) > MEANS[law] else (low, middle)
    return low


def _quantile(law: str, shares: Any, bend: float) -> Any:
    logs = np.log(PUBLISHED[law])
    below = np.interp(np.log(np.maximum(shares, 1e-12)), np.log(QUANTILES[:4]), logs[:4])
    # Below the least quantile the law goes on as between the two least.
    slope = (logs[1] - logs[0]) / np.log(QUANTILES[1] / QUANTILES[0])
    least = logs[0] + slope * np.log(np.maximum(shares, 1e-12) / QUANTILES[0])
    above = logs[3] + (logs[4] - logs[3]) * np.clip((shares - 0.5) / 0.5, 0, 1) ** bend
    return np.exp(np.where(shares < QUANTILES[0], least, np.where(shares < 0.5, below, above)))


def published(law: str, count: int, rng: np.random.Generator) -> Any:
    """Return ``count`` lengths drawn from a published law.

    Model: straight between the published quantiles, in logarithms; above the median bent so that the mean is right.
    """
    return _quantile(law, rng.random(count), _bend(law))


@dataclass(frozen=True)
class Drawn:
    """Drives [n, d] and starting points of as many oscillators."""

    drives: Any
    starts: Any


def drawn(
    count: int, tokens: int, dimension: int, causal: bool, coupling: Coupling, normalised: bool,
    rng: np.random.Generator,
) -> Drawn:  # fmt: skip
    """Return at least ``count`` drives of random scores, N(0, 1), and random anchors, not trained, in layers of
    ``tokens``, with starts uniform on the sphere."""
    layers = -(-count // tokens)
    seen = np.tri(tokens, dtype=bool) if causal else np.ones((tokens, tokens), bool)
    found = []
    for _ in range(layers):
        scores = rng.standard_normal((tokens, tokens))
        anchors = settling.uniform((tokens, dimension), rng)
        found.append(attention.couplings(scores, seen, coupling, normalised) @ anchors)
    drives = np.concatenate(found)
    return Drawn(drives, settling.uniform(drives.shape, rng))


def tangents(count: int, dimension: int, rng: np.random.Generator) -> Any:
    """Return tan(theta0/2) of uniform starts, without the vectors: theta0 is the angle from any fixed point."""
    if dimension == 2:
        return np.tan(np.pi / 2 * rng.random(count))
    # sin^2(theta0/2) is half of 1 - cos theta0, which is Beta((d-1)/2, (d-1)/2) on 0 .. 1.
    share = rng.beta((dimension - 1) / 2, (dimension - 1) / 2, count)
    return np.sqrt(share / (1 - share))


def lengths_of(law: Law, count: int, rng: np.random.Generator) -> Any:
    """Return ``count`` lengths of drives by a law that needs no tensors."""
    if law == "one":
        return np.ones(count)
    if law == "tail":
        return settling.lengths_drawn(count, *TAIL, rng)
    return published(law, count, rng)
