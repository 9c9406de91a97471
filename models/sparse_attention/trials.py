"""The kernels beside their formulas, on small tensors: what the battery tries them on.

Formulas count visible pairs alone, as the paper does, and NumPy multiplies hidden ones too where a block of queries is
scored; so these are a token of decode, which sees everything, and a chunk query by query. Of `attend_by_block`, whose
log-sum-exps the paper counts nowhere, nothing is tried here.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from simcore import Kernel

from . import cost, kernel

HEADS, GROUPS, WIDTH, TOTAL, SIZE = 4, 2, 8, 64, 8
"""Query heads, KV heads, their width; tokens, and those of a block."""


def trials(rng: np.random.Generator) -> Iterator[tuple[Kernel, Sequence[Any]]]:
    """Yield kernels with payloads of float32: of one token that keeps 3 blocks, and of 6 tokens that keep all 8."""

    def drawn(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    keys, values, index_keys = drawn(TOTAL, GROUPS, WIDTH), drawn(TOTAL, GROUPS, WIDTH), drawn(TOTAL, WIDTH)
    for count, keep in ((1, 3), (6, TOTAL // SIZE)):
        queries, index_queries = drawn(count, HEADS, WIDTH), drawn(count, GROUPS, WIDTH)
        scores, _ = kernel.score_blocks(index_queries, index_keys, SIZE)
        choice, _ = kernel.choose_blocks(scores, TOTAL, SIZE, keep)
        listed, _ = kernel.list_queries(choice, TOTAL // SIZE)
        (partials, logs), _ = kernel.attend_by_block(queries, keys, values, choice, listed, SIZE)
        if count == 1:
            yield _paired("score_blocks", (index_queries, index_keys), size=SIZE)
            yield _paired("attend_densely", (queries, keys, values))
        yield _paired("choose_blocks", (scores,), total=TOTAL, size=SIZE, keep=keep)
        yield _paired("attend_by_query", (queries, keys, values, choice), size=SIZE)
        formula = partial(cost.list_queries, blocks=TOTAL // SIZE, total=TOTAL, size=SIZE)
        run = partial(kernel.list_queries, blocks=TOTAL // SIZE)
        yield Kernel("list_queries", run, formula, counts="products"), (choice,)
        combined = partial(cost.combine, total=TOTAL, size=SIZE)
        yield Kernel("combine", kernel.combine, combined, counts="products"), (partials, logs, choice)


def _paired(name: str, payloads: Sequence[Any], **given: int) -> tuple[Kernel, Sequence[Any]]:
    run, formula = partial(getattr(kernel, name), **given), partial(getattr(cost, name), **given)
    return Kernel(name, run, formula, counts="products"), payloads
