"""The reading of the weights as a fixed frame: an input is spread over many nodes, a few of which suffice to find it.

After the companion paper, arXiv:2606.26137: a hard threshold or sign of c = Z x, and Z transposed to come back.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .storing import BOUND, Weights

Kind = Literal["sign", "uniform", "gaussian", "hadamard"]
Coding = Literal["analog", "ternary", "binary"]
Array = NDArray[Any]


def frame(kind: Kind, nodes: int, inputs: int, rng: np.random.Generator) -> Weights:
    """Return weights int8 [nodes, inputs]: random signs, uniform, or Gaussian of deviation 40, cut at 127; or columns
    of the Hadamard matrix of order ``nodes``, a power of two, each but the constant one at most once, with random
    signs."""
    shape = nodes, inputs
    if kind == "sign":
        return (2 * rng.integers(0, 2, shape, np.int8) - 1).astype(np.int8)
    if kind == "uniform":
        return rng.integers(-BOUND, BOUND + 1, shape, np.int8)
    if kind == "gaussian":
        drawn = rng.standard_normal(shape, np.float32) * np.float32(40)
        return np.clip(np.rint(drawn), -BOUND, BOUND).astype(np.int8)
    columns = 1 + rng.permutation(nodes - 1)[:inputs].astype(np.uint16)
    signs = (2 * rng.integers(0, 2, inputs, np.int8) - 1).astype(np.int8)
    both = np.arange(nodes, dtype=np.uint16)[:, None] & columns[None, :]
    for shift in (8, 4, 2, 1):  # the parity of the bits that both numbers have: the sign in a Hadamard matrix
        both ^= both >> np.uint16(shift)
    return (1 - 2 * (both & 1).astype(np.int8)) * signs


def white(inputs: int, rng: np.random.Generator) -> Array:
    """Return an input int8 [inputs] whose entries are uniform on -127 .. 127 and independent."""
    return rng.integers(-BOUND, BOUND + 1, inputs, np.int8)


def wave(inputs: int, harmonics: int, amplitude: int, rng: np.random.Generator) -> Array:
    """Return a digitised sum of the first ``harmonics`` sinusoids over ``inputs`` samples, int8, of random amplitudes
    and phases, whose largest sample is ``amplitude``."""
    turns = 2 * np.pi * np.arange(inputs) / inputs
    strength, phase = rng.standard_normal(harmonics), rng.uniform(0, 2 * np.pi, harmonics)
    total = sum(a * np.cos((k + 1) * turns + p) for k, (a, p) in enumerate(zip(strength, phase, strict=True)))
    return np.rint(amplitude * total / np.abs(total).max()).astype(np.int8)


def coded(charge: Array, coding: Coding, threshold: int = 0) -> Array:
    """Return the code int32 [nodes] of ``charge``: itself, its sign, or 1 where it is above 0, in all of them 0 where
    its magnitude does not exceed ``threshold``."""
    fires = np.abs(charge) > threshold
    if coding == "analog":
        return np.where(fires, charge, 0).astype(np.int32)
    if coding == "ternary":
        return np.where(fires, np.sign(charge), 0).astype(np.int32)
    return (charge > threshold).astype(np.int32)


def low_pass(estimate: Array, harmonics: int) -> Array:
    """Return ``estimate`` [inputs] with the first ``harmonics`` frequencies alone, its mean taken out."""
    spectrum = np.fft.rfft(estimate)
    spectrum[0] = 0
    spectrum[harmonics + 1 :] = 0
    return np.fft.irfft(spectrum, len(estimate))


def conjugate_gradients(weights: Weights, code: Array, alive: Array, steps: int) -> Array:
    """Return the estimate float64 [inputs] after ``steps`` steps towards the least-squares solution of the ``alive``
    rows of ``weights`` times estimate = ``code``."""
    rows = weights[alive].astype(np.float32)
    estimate = np.zeros(weights.shape[1])
    residual = rows.T @ code[alive].astype(np.float32).astype(np.float64)
    direction, size = residual.copy(), float(residual @ residual)
    for _ in range(steps):
        if size == 0:
            break
        image = rows @ direction
        step = size / float(image @ image)
        estimate += step * direction
        residual = residual - step * (rows.T @ image)
        size, before = float(residual @ residual), size
        direction = residual + size / before * direction
    return estimate


GAIN = {("top", "analog"): 4.39, ("top", "ternary"): 4.25, ("top", "binary"): 3.08,
        ("random", "analog"): 1.0, ("random", "ternary"): 2 / math.pi}  # fmt: skip
"""What a surviving node is worth, by truncation (the largest tenth, or any) and coding."""


def law(inputs: int, survivors: int, gain: float) -> float:
    """Return the cosine 1 / sqrt(1 + n / (k m)) of one pass back over ``survivors`` nodes worth ``gain`` each."""
    return 1 / math.sqrt(1 + inputs / (survivors * gain))
