"""Sparse attention the plain way: one mask over all tokens, and sorted lists."""

from typing import Any

import numpy as np


def restricted(queries: Any, keys: Any, values: Any, choice: Any, size: int, step: Any = lambda array: array) -> Any:
    """Return the softmax over all tokens, those outside of the chosen blocks and those to come masked: the plain way;
    ``step`` is applied to what every operation returns."""
    count, heads, _ = queries.shape
    total, groups, width = keys.shape
    positions, tokens = np.arange(total - count, total), np.arange(total)
    found = np.zeros_like(queries)
    for head in range(heads):
        group = head // (heads // groups)
        kept = (tokens[None, :, None] // size == choice[:, None, group, :]).any(axis=-1)
        seen = kept & (tokens[None, :] <= positions[:, None])
        scale = queries.dtype.type(width**-0.5)
        products = step(step(queries[:, head] @ keys[:, group].T) * scale)
        products = np.where(seen, products, -np.inf)
        weights = step(np.exp(step(products - products.max(axis=-1, keepdims=True))))
        weights = step(weights / step(weights.sum(axis=-1, keepdims=True)))
        found[:, head] = step(weights @ values[:, group])
    return found


def choice_twin(index_queries: Any, index_keys: Any, size: int, keep: int) -> list[list[list[int]]]:
    """Return the blocks of every query and KV head: sorted lists of Python numbers."""
    count, total = len(index_queries), len(index_keys)
    found = []
    for t, row in enumerate(index_queries.tolist()):
        position = total - count + t
        own, heads = position // size, []
        for query in row:
            best = {}
            for j, key in enumerate(index_keys.tolist()[: position + 1]):
                product = sum(a * b for a, b in zip(query, key, strict=True))
                best[j // size] = max(best.get(j // size, product), product)
            others = sorted((b for b in best if b != own), key=lambda b: (-best[b], b))
            heads.append(sorted([own, *others[: keep - 1]]))
        found.append(heads)
    return found
