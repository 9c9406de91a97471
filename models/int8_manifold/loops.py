"""Loops over the weights, compiled: they write, gather and count, in integers alone, and own no table."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

compiled: Any = njit(cache=True, error_model="numpy")


@intrinsic
def _ones(_: Any, word: Any) -> Any:
    """Return how many bits of a word of 64 are set, the machine's own instruction where it has one."""

    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> ir.Value:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), lowered


@compiled
def write(weights: Any, inputs: Any, outputs: Any, noise: int, states: Any) -> None:
    """Add ``inputs`` x ``outputs`` (int32) and noise to ``weights`` int8 [nodes, outputs], and keep them within 127;
    rows of inputs that are 0 stay as they are.

    Noise is uniform on -noise .. noise; column j draws it from its own xorshift generator, whose state is ``states[j]``
    (uint32, never 0), row after row.
    """
    span = np.uint32(2 * noise + 1)
    for i in range(weights.shape[0]):
        row, drive = weights[i], inputs[i]
        if drive == 0:
            continue
        for j in range(weights.shape[1]):
            x = states[j]
            x ^= np.uint32(x << np.uint32(13))
            x ^= np.uint32(x >> np.uint32(17))
            x ^= np.uint32(x << np.uint32(5))
            states[j] = x
            drawn = np.int32(np.uint32(np.uint32(x >> np.uint32(16)) * span) >> np.uint32(16)) - np.int32(noise)
            row[j] = min(np.int32(127), max(np.int32(-127), np.int32(row[j]) + drive * outputs[j] + drawn))


@compiled
def add_votes(weights: Any, index: Any, sign: Any, cut: int, charge: Any) -> None:
    """Add to ``charge`` int32 [outputs] the signs of the rows ``index``, of weights that reach ``cut``, times
    ``sign``."""
    for k in range(len(index)):
        row, way = weights[index[k]], np.int32(sign[k])
        for j in range(len(row)):
            charge[j] += way * (np.int32(row[j] >= cut) - np.int32(row[j] <= -cut))


@compiled
def add_rows(weights: Any, index: Any, sign: Any, charge: Any) -> None:
    """Add to ``charge`` int32 [outputs] the rows ``index`` of ``weights``, times ``sign``."""
    for k in range(len(index)):
        row, way = weights[index[k]], np.int32(sign[k])
        for j in range(len(row)):
            charge[j] += way * np.int32(row[j])


@compiled
def add_bits(positive: Any, negative: Any, index: Any, sign: Any, charge: Any) -> None:
    """Add to ``charge`` int32 [outputs] the rows ``index`` of two planes uint64 [nodes, words], times ``sign``."""
    for k in range(len(index)):
        more, less, way = positive[index[k]], negative[index[k]], np.int32(sign[k])
        for w in range(len(more)):
            up, down = more[w], less[w]
            for bit in range(min(64, len(charge) - 64 * w)):
                charge[64 * w + bit] += way * (
                    np.int32((up >> np.uint64(bit)) & np.uint64(1)) - np.int32((down >> np.uint64(bit)) & np.uint64(1))
                )


@compiled
def count_bits(positive: Any, negative: Any, plus: Any, minus: Any, weight: int, charge: Any) -> None:
    """Add to ``charge`` int32 [outputs] ``weight`` times the votes of planes uint64 [outputs, words] under the masks
    ``plus`` and ``minus`` [words]: 64 of them by an AND and a count."""
    for j in range(positive.shape[0]):
        up, down = np.uint64(0), np.uint64(0)
        for w in range(positive.shape[1]):
            up += _ones(positive[j, w] & plus[w]) + _ones(negative[j, w] & minus[w])
            down += _ones(positive[j, w] & minus[w]) + _ones(negative[j, w] & plus[w])
        charge[j] += weight * np.int32(np.int64(up) - np.int64(down))


@compiled
def multiply(weights: Any, code: Any, charge: Any) -> None:
    """Add to ``charge`` int32 [rows] the products of ``weights`` int8 [rows, inputs] and ``code`` int32 [inputs]."""
    for i in range(weights.shape[0]):
        row, total = weights[i], np.int32(0)
        for j in range(len(row)):
            total += np.int32(row[j]) * code[j]
        charge[i] += total
