"""The kernels beside their formulas, on small tensors: what the battery tries them on."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from simcore import Kernel

from . import cost, kernel

TOKENS, HIDDEN, WIDTH, EXPERTS, TOP = 6, 8, 5, 4, 2


def trials(rng: np.random.Generator) -> Iterator[tuple[Kernel, Sequence[Any]]]:
    """Yield every kernel of the layer with payloads, of float32 and float64."""
    for dtype in (np.float32, np.float64):

        def drawn(*shape: int, dtype: Any = dtype) -> Any:
            return rng.standard_normal(shape).astype(dtype)

        tokens, outer, router = drawn(TOKENS, HIDDEN), drawn(TOKENS, HIDDEN), drawn(EXPERTS, HIDDEN)
        matrices = drawn(WIDTH, HIDDEN), drawn(WIDTH, HIDDEN), drawn(HIDDEN, WIDTH)
        (choice, weights), _ = kernel.route(tokens, router, TOP)
        (_, left, right), _ = kernel.expert(tokens, *matrices)
        served, rows = drawn(TOKENS, TOP, HIDDEN), np.repeat(np.arange(TOKENS), TOP)
        route = partial(kernel.route, top=TOP), partial(cost.route, top=TOP)
        yield Kernel("route", *route, counts="products"), (tokens, router)
        for name, payloads in (
            ("replay", (tokens, router, choice)),
            ("replay_gradients", (tokens, router, choice, weights, drawn(TOKENS, TOP))),
            ("dispatch", (tokens, rows)),
            ("expert", (tokens, *matrices)),
            ("expert_gradients", (tokens, left, right, *matrices, outer)),
            ("combine", (served, weights)),
            ("combine_gradients", (served, weights, outer)),
        ):
            yield Kernel(name, getattr(kernel, name), getattr(cost, name), counts="products"), payloads
