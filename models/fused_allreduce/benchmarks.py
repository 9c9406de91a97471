"""The reference kernels that `simcore calibrate` measures, on the CPU: they are of NumPy."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from simcore import Benchmark

from . import kernel


def benchmarks(tensor: Callable[..., Any], device: str, quick: bool) -> Iterator[Benchmark]:
    """Yield the kernels on tensors that ``tensor(shape, dtype)`` makes; none on a GPU."""
    if device != "cpu":
        return
    side = 64 if quick else 1024
    matrix, other = (np.asarray(tensor((side, side), "float32")) for _ in range(2))
    places = np.arange(8 * side).reshape(side, 8) % side
    for name, operands, words in (
        ("multiply_vector", (matrix, matrix[0]), f"{side} x {side} by a vector"),
        ("multiply_tiles", (matrix, other), f"{side} x {side} by {side} x {side}"),
        ("pool_tiles", (matrix, places), f"{side} sums of 8 of {side} entries of {side}"),
    ):
        yield measured(name, words, operands)


def measured(name: str, words: str, operands: tuple[Any, ...]) -> Benchmark:
    """Return the kernel ``name`` on ``operands``, with the work that it counts."""
    run = getattr(kernel, name)
    return Benchmark(name, f"{words}, float32", lambda: run(*operands, to="hbm"), run(*operands, to="hbm")[1])
