"""The weights: how pairs are written into them, and the bit-planes that hold their signs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import loops

Weights = NDArray[np.int8]
Plane = NDArray[np.uint64]
BOUND = 127
"""Weights lie in -127 .. 127 (arXiv:2606.13328)."""


def write_pairs(inputs: NDArray[Any], outputs: NDArray[Any], noise: int, rng: np.random.Generator) -> Weights:
    """Return weights int8 [nodes, outputs], from nothing, after every pair of rows of ``inputs`` [pairs, nodes] and
    ``outputs`` [pairs, outputs] was written, in their order: a product and noise for each weight of an active node's
    row, saturating."""
    weights = np.zeros((inputs.shape[1], outputs.shape[1]), np.int8)
    states = rng.integers(1, 2**32, outputs.shape[1], np.uint32)
    for each, other in zip(inputs.astype(np.int32), outputs.astype(np.int32), strict=True):
        loops.write(weights, each, other, noise, states)
    return weights


def pack(bits: NDArray[np.bool_]) -> Plane:
    """Return ``bits`` [rows, columns] as words uint64 [rows, ceil(columns / 64)]; bit b of word w is column 64 w + b,
    bits beyond the last column are 0."""
    rows, columns = bits.shape
    padded = np.zeros((rows, -(-columns // 64) * 64), np.bool_)
    padded[:, :columns] = bits
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def planes(weights: Weights, cut: int) -> tuple[Plane, Plane]:
    """Return the planes of weights of at least ``cut`` and of at most minus ``cut``, each [rows, words]."""
    return pack(weights >= cut), pack(weights <= -cut)


def magnitudes(weights: Weights) -> list[tuple[Plane, Plane]]:
    """Return the planes of positive and of negative weights with bit 0, 1, ... 6 of their magnitude set."""
    size = np.abs(weights.astype(np.int16))
    return [
        (pack((size >> bit & 1 > 0) & (weights > 0)), pack((size >> bit & 1 > 0) & (weights < 0))) for bit in range(7)
    ]
