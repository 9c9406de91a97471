"""The reference kernels on real arrays: projection, couplings, settling, read-out, and softmax beside them; each counts
the work that it does, row by row, of visible pairs alone.

A tile is rows ``first`` .. ``first + n - 1`` of one head: ``queries`` [n, w] of T ``keys`` and ``values`` [T, w],
``anchors`` [T, d] one a position. Row i of a causal layer sees the keys 0 .. i. ``couplings`` and ``products`` are
[n, T], zero where nothing is seen; ``states`` [n, d]. Work under "exponential" are exponentials and logarithms, which
digital hardware has no single operation for. arXiv:2606.12059, sections on the mechanism and on operations.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simcore import Work

Coupling = Literal["softplus", "relu", "elu"]
Softmax = Literal["softmax", "lut", "clipped"]
LEAST = 1e-3
"""What relu couplings are at least."""
TABLE = 256
"""Entries of the table that replaces the exponential, for 0 .. `DEEP` below the largest score."""
DEEP = 8.0


@dataclass(frozen=True)
class Tile:
    """Which rows of a layer of ``tokens`` tokens a tile holds, and whether they see later ones."""

    first: int
    tokens: int
    causal: bool

    def seen(self, row: int) -> int:
        """Return how many keys row ``row`` of the tile sees."""
        return self.first + row + 1 if self.causal else self.tokens


def project(x: Any, weights: Any) -> tuple[Any, Work]:
    """Return ``x`` [T, m] times ``weights`` [m, k], and the work: a multiplication and an addition each."""
    found = x @ weights
    read = {"hbm": x.nbytes + weights.nbytes}
    return found, Work({str(found.dtype): 2 * x.size * weights.shape[1]}, read, {"hbm": found.nbytes}, launches=1)


def couple(
    queries: Any, keys: Any, tile: Tile, kind: Coupling = "softplus", normalised: bool = False
) -> tuple[Any, Work]:
    """Return the couplings of a tile, positive functions of the scaled scores, in each row divided by their sum where
    ``normalised``; and the work.

    softplus is ln(1 + e^s), relu max(0, s) + 0.001, elu e^s below 0 and s + 1 above.
    """
    found = np.zeros((len(queries), len(keys)), queries.dtype)
    plain = special = 0
    for row, query in enumerate(queries):
        seen = tile.seen(row)
        scores = (keys[:seen] @ query) * np.asarray(keys.shape[1] ** -0.5, keys.dtype)
        plain += 2 * keys[:seen].size + seen
        if kind == "softplus":
            weights = np.maximum(scores, 0) + np.log(1 + np.exp(-np.abs(scores)))
            plain, special = plain + 3 * seen, special + 2 * seen
        elif kind == "relu":
            weights = np.maximum(scores, 0) + np.asarray(LEAST, scores.dtype)
            plain += 2 * seen
        else:
            weights = np.maximum(scores, 0) + np.exp(np.minimum(scores, 0))
            plain, special = plain + 3 * seen, special + seen
        if normalised:
            weights = weights / np.sum(weights)
            plain += 2 * seen
        found[row, :seen] = weights
    return found, _work(found, plain, special, queries, keys)


def settle(couplings: Any, anchors: Any, tile: Tile) -> tuple[Any, Work]:
    """Return the equilibria of a tile computed digitally, the drive over its length, [n, d]; and the work."""
    states = np.zeros((len(couplings), anchors.shape[1]), couplings.dtype)
    plain = 0
    for row, coupling in enumerate(couplings):
        seen, width = tile.seen(row), anchors.shape[1]
        drive = coupling[:seen] @ anchors[:seen]
        states[row] = drive / np.sqrt(np.sum(drive * drive))
        plain += 2 * seen * width + 3 * width
    return states, _work(states, plain, 0, couplings, anchors)


def mix_states(states: Any, anchors: Any, values: Any, tile: Tile, power: int = 1) -> tuple[Any, Work]:
    """Return the outputs [n, w] of a tile whose states were sampled: products with the anchors, then as
    `mix_products`; and the work."""
    found = np.zeros((len(states), values.shape[1]), values.dtype)
    plain = 0
    for row, state in enumerate(states):
        seen = tile.seen(row)
        found[row] = _mix(anchors[:seen] @ state, values[:seen], power)
        plain += 2 * seen * anchors.shape[1] + _mixing(seen, values.shape[1], power)
    return found, _work(found, plain, 0, states, anchors, values)


def mix_products(products: Any, values: Any, tile: Tile, power: int = 1) -> tuple[Any, Work]:
    """Return the outputs of a tile whose products z . r were sampled: values, each with its share of
    max(0, 1 + z . r)^power; and the work."""
    found = np.zeros((len(products), values.shape[1]), values.dtype)
    plain = 0
    for row, product in enumerate(products):
        seen = tile.seen(row)
        found[row] = _mix(product[:seen], values[:seen], power)
        plain += _mixing(seen, values.shape[1], power)
    return found, _work(found, plain, 0, products, values)


def attend_softly(queries: Any, keys: Any, values: Any, tile: Tile, kind: Softmax = "softmax") -> tuple[Any, Work]:
    """Return the outputs of a tile by softmax; by one whose exponential is looked up in a table of 256 entries (lut);
    or by shares of max(0, 1 + s), a line cut off at zero (clipped); and the work."""
    found = np.zeros((len(queries), values.shape[1]), values.dtype)
    plain = special = 0
    for row, query in enumerate(queries):
        seen = tile.seen(row)
        scores = (keys[:seen] @ query) * np.asarray(keys.shape[1] ** -0.5, keys.dtype)
        plain += 2 * keys[:seen].size + seen
        if kind == "clipped":
            weights = np.maximum(1 + scores, 0)
            plain += 2 * seen
        elif kind == "lut":
            below = np.max(scores) - scores
            places = np.minimum(below * (TABLE / DEEP), TABLE - 1).astype(np.int64)
            weights = np.empty_like(below)
            weights[:] = _table(scores.dtype)[places]
            plain += 4 * seen
        else:
            weights = np.exp(scores - np.max(scores))
            plain, special = plain + 2 * seen, special + seen
        found[row] = (weights / _total(weights)) @ values[:seen]
        plain += 2 * seen + 2 * seen * values.shape[1]
    return found, _work(found, plain, special, queries, keys, values)


def _table(dtype: Any) -> Any:
    """Return the exponential in the middle of each step below the largest score."""
    return np.exp(-(np.arange(TABLE) + 0.5) * (DEEP / TABLE)).astype(dtype)


def _mix(products: Any, values: Any, power: int) -> Any:
    base = np.maximum(1 + products, 0)
    weights = base
    for _ in range(power - 1):
        weights = weights * base
    return (weights / _total(weights)) @ values


def _total(weights: Any) -> Any:
    """Return the sum of ``weights``; 1 where all are cut off, which then mix nothing."""
    total = np.sum(weights)
    return total if total > 0 else 1


def _mixing(seen: int, width: int, power: int) -> int:
    """Return the operations of `_mix`: affine, cut, powers, sum, quotient, and the product with the values."""
    return seen * (4 + power - 1) + 2 * seen * width


def _work(found: Any, plain: int, special: int, *read: Any) -> Work:
    operations = {str(found.dtype): plain} | ({"exponential": special} if special else {})
    return Work(operations, {"hbm": sum(each.nbytes for each in read)}, {"hbm": found.nbytes}, launches=1)
