"""The reference kernels on real tensors, of NumPy or torch: index branch, choice of blocks, block-sparse attention in
two orders, and dense attention; each counts the work that it does.

Shapes: ``queries`` [c, Hq, d] are those of the last c of N tokens, ``keys`` and ``values`` [N, Hkv, d]; query heads
h G .. h G + G - 1 use KV head h, G = Hq / Hkv. ``index_queries`` [c, Hkv, di] and ``index_keys`` [N, di] are those of
the index branch. Prefill is c = N, a chunk of it any c, decode c = 1 or a few. Block b holds tokens b size ..
b size + size - 1. ``choice`` [c, Hkv, k] holds the blocks that a query attends to, ascending, padded with -1; the last
one is its own. arXiv:2606.13392, sections 3 and 4.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from simcore import Work

STEP = 512
"""Queries that are scored at a time, so that the token scores of a long prompt need not fit the memory at once."""
SLICE = 2048
"""Queries of whose partial outputs there is room at a time."""
TILE = 256
"""Queries that meet a block at a time, so that their products stay in the cache."""


def library(array: Any) -> Any:
    """Return the library of ``array``: NumPy or torch."""
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def dtype(array: Any) -> str:
    """Return the name of the dtype of ``array``, e.g. float32."""
    return str(array.dtype).removeprefix("torch.")


def rounded(array: Any, to: str) -> Any:
    """Return ``array`` of float32 with every element rounded to bfloat16 where ``to`` says so: to the nearest, ties to
    even; as it is where ``to`` is empty."""
    if not to:
        return array
    if library(array) is not np:
        return array.bfloat16().to(array.dtype)
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + even) & np.uint32(0xFFFF0000)).view(np.float32)


def score_blocks(index_queries: Any, index_keys: Any, size: int) -> tuple[Any, Work]:
    """Return the score of every block, [c, Hkv, blocks] in float32 or wider: the largest scaled product of the query
    with a visible key in it, minus infinity where none is visible; and the work: a multiplication and an addition an
    element of each visible pair; keys read once, scores written."""
    xp = library(index_keys)
    count, heads, width = index_queries.shape
    total = len(index_keys)
    blocks = -(-total // size)
    scores = xp.full((count, heads, blocks), -np.inf, dtype=index_queries.dtype)
    pairs = 0
    for a in range(0, count, STEP):
        part = index_queries[a : a + STEP]
        first = total - count + a
        seen = first + len(part)
        products = (part.reshape(-1, width) * width**-0.5) @ index_keys[:seen].T
        products = products.reshape(len(part), heads, seen)
        # Only the keys of this step's own tokens can lie ahead of one of its queries.
        hidden = _positions(xp, first, len(part))[:, None] < _positions(xp, first, len(part))[None, :]
        pairs += len(part) * first + int((~hidden).sum())
        products[:, :, first:] = xp.where(hidden[:, None, :], -np.inf, products[:, :, first:])
        for b in range(-(-seen // size)):
            scores[a : a + len(part), :, b] = xp.amax(products[:, :, b * size : b * size + size], axis=-1)
    read = {"hbm": _bytes(index_keys), "l2": _bytes(index_queries)}
    return scores, Work({dtype(scores): 2 * width * heads * pairs}, read, {"hbm": _bytes(scores)}, launches=1)


def choose_blocks(scores: Any, total: int, size: int, keep: int) -> tuple[Any, Work]:
    """Return the choice of the ``keep`` blocks with the highest of ``scores``, the query's own always among them, all
    visible ones where there are fewer; of equal ones the first; and the work: scores read, choice written.

    Scores are ranked as they are: softmax would keep their order. int32, of NumPy.
    """
    ranked = np.array(_plain(scores))
    count, _, blocks = ranked.shape
    own = np.arange(total - count, total) // size
    np.put_along_axis(ranked, own[:, None, None], np.inf, axis=-1)
    best = np.argsort(-ranked, axis=-1, kind="stable")[:, :, :keep]
    visible = np.take_along_axis(ranked, best, axis=-1) > -np.inf
    choice = np.sort(np.where(visible, best, blocks), axis=-1)
    choice = np.where(choice == blocks, -1, choice).astype(np.int32)
    return choice, Work({}, {"hbm": _bytes(scores)}, {"hbm": choice.nbytes}, launches=1)


def list_queries(choice: Any, blocks: int) -> tuple[tuple[Any, Any], Work]:
    """Return the reverse index: for every KV head and block the queries that chose it, as ``starts`` [Hkv, blocks + 1]
    into ``entries`` [Hkv, ...] of query k + slot, ascending, int32; and the work: the choice read, the lists
    written."""
    heads = choice.shape[1]
    starts = np.zeros((heads, blocks + 1), np.int32)
    entries = []
    for head in range(heads):
        flat = choice[:, head, :].ravel()
        kept = np.flatnonzero(flat >= 0)
        entries.append(kept[np.argsort(flat[kept], kind="stable")].astype(np.int32))
        starts[head, 1:] = np.cumsum(np.bincount(flat[kept], minlength=blocks))
    # Every head keeps as many blocks of a query: all visible ones, or all that are kept.
    listed = np.stack(entries)
    return (starts, listed), Work({}, {"hbm": choice.nbytes}, {"hbm": starts.nbytes + listed.nbytes}, launches=1)


def attend_by_query(queries: Any, keys: Any, values: Any, choice: Any, size: int) -> tuple[Any, Work]:
    """Return the attention of every query to the visible tokens of its blocks, [c, Hq, d], query by query as in decode;
    and the work: two multiplications and additions an element of each visible pair; keys and values of each block that
    the call chose read once."""
    xp = library(queries)
    count, heads, width = queries.shape
    total, groups = keys.shape[:2]
    each = heads // groups
    found = xp.zeros_like(queries)
    operations = 0
    for t in range(count):
        position = total - count + t
        for group in range(groups):
            tokens = np.concatenate(
                [np.arange(b * size, min(b * size + size, position + 1)) for b in choice[t, group] if b >= 0]
            )
            own = queries[t, group * each : group * each + each]
            weights = _softmax(xp, own @ keys[tokens, group].T * width**-0.5)
            found[t, group * each : group * each + each] = weights @ values[tokens, group]
            operations += 4 * width * each * len(tokens)
    read = {"hbm": 2 * width * _visited(choice, total, size) * _width(keys), "l2": _bytes(queries)}
    return found, Work({dtype(found): operations}, read, {"l2": _bytes(found)}, launches=1)


def attend_by_block(
    queries: Any, keys: Any, values: Any, choice: Any, listed: tuple[Any, Any], size: int, low: str = ""
) -> tuple[tuple[Any, Any], Work]:
    """Return the partial outputs [k, c, Hq, d] and log-sum-exp [k, c, Hq] of every query and slot of its choice, block
    by block, each with all queries that chose it; and the work: whole tiles, masked or not; each chosen block read
    once, a query once for every block, a partial output written for each.

    ``low`` is bfloat16 where probabilities and partial outputs are rounded to it.
    """
    xp = library(queries)
    count, heads, width = queries.shape
    total, groups = keys.shape[:2]
    each, keep = heads // groups, choice.shape[2]
    partial = xp.zeros((keep, count, heads, width), dtype=queries.dtype)
    logs = xp.full((keep, count, heads), -np.inf, dtype=queries.dtype)
    operations = read = written = 0
    starts, entries = listed
    scaled = queries * width**-0.5
    for group, block, places in _tiles(starts, entries):
        rows, slots = places // keep, places % keep
        here = slice(group * each, group * each + each)
        tokens = slice(block * size, min(block * size + size, total))
        tile = scaled[rows, here].reshape(-1, width) @ keys[tokens, group].T
        length = tile.shape[1]
        tile = tile.reshape(len(rows), each, length)
        positions = total - count + rows
        late = positions < block * size + length - 1
        if late.any():
            hidden = positions[late, None] < np.arange(tokens.start, tokens.stop)[None, :]
            tile[late] = xp.where(_like(xp, hidden)[:, None, :], -np.inf, tile[late])
        top = xp.amax(tile, axis=-1, keepdims=True)
        tile -= top
        xp.exp(tile, out=tile)
        sums = tile.sum(axis=-1)
        out = rounded(tile, low).reshape(-1, length) @ values[tokens, group]
        out = out.reshape(len(rows), each, width)
        out /= sums[:, :, None]
        partial[slots, rows, here] = rounded(out, low)
        logs[slots, rows, here] = top[:, :, 0] + xp.log(sums)
        operations += 4 * width * each * len(rows) * length
        read += len(rows) * each * width * _width(queries)
        written += len(rows) * each * width * _width(partial)
    read += 2 * width * _visited(choice, total, size) * _width(keys)
    return (partial, logs), Work({dtype(partial): operations}, {"hbm": read}, {"hbm": written}, launches=1)


def combine(partial: Any, logs: Any, choice: Any, low: str = "") -> tuple[Any, Work]:
    """Return the outputs [c, Hq, d] from partial ones [k, c, Hq, d], each weighted by the share of its ``logs`` in the
    sum of all; and the work: the partial outputs that there are read, the outputs written."""
    xp = library(partial)
    top = xp.amax(logs, axis=0)
    weights = xp.exp(logs - top)
    weights = weights / weights.sum(axis=0)
    found = rounded(xp.einsum("kchd,kch->chd", partial, weights), low)
    heads, width = partial.shape[2:]
    kept = int((choice[:, 0, :] >= 0).sum())
    read = kept * heads * width * _width(partial)
    return found, Work({dtype(found): 2 * kept * heads * width}, {"hbm": read}, {"hbm": _bytes(found)}, launches=1)


def attend_densely(queries: Any, keys: Any, values: Any, low: str = "") -> tuple[Any, Work]:
    """Return the attention of every query to all visible tokens, [c, Hq, d]; and the work: two multiplications and
    additions an element of each visible pair; queries, keys and values read once, outputs written."""
    xp = library(queries)
    count, heads, width = queries.shape
    total, groups = keys.shape[:2]
    each = heads // groups
    found = xp.zeros_like(queries)
    pairs = 0
    for a in range(0, count, STEP):
        part = queries[a : a + STEP]
        first = total - count + a
        seen = first + len(part)
        hidden = _positions(xp, first, len(part))[:, None] < _positions(xp, 0, seen)[None, :]
        pairs += int((~hidden).sum())
        for head in range(heads):
            products = part[:, head] @ keys[:seen, head // each].T * width**-0.5
            weights = rounded(_softmax(xp, xp.where(hidden, -np.inf, products)), low)
            found[a : a + len(part), head] = rounded(weights @ values[:seen, head // each], low)
    read = {"hbm": _bytes(queries) + _bytes(keys) + _bytes(values)}
    return found, Work({dtype(found): 4 * width * heads * pairs}, read, {"hbm": _bytes(found)}, launches=1)


def attend(
    queries: Any, keys: Any, values: Any, index_queries: Any, index_keys: Any, size: int, keep: int, low: str = "",
    by: Any = None,
) -> tuple[tuple[Any, Any], dict[str, Work]]:  # fmt: skip
    """Return the sparse attention of ``queries`` and the choice made for it, slice by slice, and the work of every
    stage, all slices together; ``by`` is the module whose kernels do it, ``gpu`` or, where none is given, this one."""
    do: Any = by or sys.modules[__name__]
    rounding = {"low": low} if low else {}
    done: dict[str, Work] = {}
    outputs, choices = [], []
    count, total = len(queries), len(keys)
    for a in range(0, count, SLICE):
        part = slice(a, min(a + SLICE, count))
        seen = total - count + part.stop
        scores, first = do.score_blocks(index_queries[part], index_keys[:seen], size)
        choice, second = do.choose_blocks(scores, seen, size, keep)
        listed, third = do.list_queries(choice, scores.shape[2])
        parts, fourth = do.attend_by_block(queries[part], keys[:seen], values[:seen], choice, listed, size, **rounding)
        found, fifth = do.combine(*parts, choice, **rounding)
        stages = zip(
            ("index", "choice", "lists", "blocks", "combine"), (first, second, third, fourth, fifth), strict=True
        )
        for name, work in stages:
            done[name] = done[name] + work if name in done else work
        outputs.append(found)
        choices.append(choice)
    return (library(queries).concatenate(outputs), library(choices[0]).concatenate(choices)), done


@dataclass(frozen=True)
class Statistics:
    """What a choice of blocks asks of caches and schedulers, all KV heads together."""

    rows: int
    """Tokens times KV heads."""
    kept: int
    """Blocks that they keep."""
    followed: int
    """The same without the first token."""
    common: int
    """Those of ``followed`` that the token before keeps too."""
    different: int
    """Different blocks that any token keeps, of all KV heads; at most ``kept - common``."""
    hottest: int
    """Tokens that keep the block kept most often by one KV head: the longest list of queries."""


def statistics(choice: Any) -> Statistics:
    """Return the statistics of ``choice`` [c, Hkv, k] as `choose_blocks` makes it, of c tokens that follow one
    another."""
    choice = _plain(choice)
    count, heads, _ = choice.shape
    keeps = np.zeros((count, heads, int(choice.max()) + 2), bool)
    np.put_along_axis(keeps, choice, True, axis=-1)
    # The padding, -1, stands in the last column.
    keeps = keeps[:, :, :-1]
    return Statistics(
        count * heads, int(keeps.sum()), int(keeps[1:].sum()), int((keeps[1:] & keeps[:-1]).sum()),
        int(keeps.any(axis=0).sum()), int(keeps.sum(axis=0).max()),
    )  # fmt: skip


def _tiles(starts: Any, entries: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield every KV head and block that somebody chose, and by whom, at most `TILE` of them at a time."""
    for group, block in np.argwhere(np.diff(starts) > 0):
        end = starts[group, block + 1]
        for a in range(starts[group, block], end, TILE):
            yield int(group), int(block), entries[group, a : min(a + TILE, end)]


def _visited(choice: Any, total: int, size: int) -> int:
    """Return the tokens of blocks that are in the choice, of all heads."""
    visited = 0
    for head in range(choice.shape[1]):
        blocks = np.unique(choice[:, head])
        visited += sum(min(size, total - int(b) * size) for b in blocks if b >= 0)
    return visited


def _softmax(xp: Any, products: Any) -> Any:
    weights = xp.exp(products - xp.amax(products, axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _positions(xp: Any, first: int, count: int) -> Any:
    return xp.arange(first, first + count)


def _plain(array: Any) -> Any:
    """Return ``array`` as one of NumPy, from whatever device."""
    return array if library(array) is np else array.numpy(force=True)


def _like(xp: Any, array: Any) -> Any:
    return array if xp is np else xp.asarray(array)


def _width(array: Any) -> int:
    return int(array.itemsize)


def _bytes(array: Any) -> int:
    return int(array.nbytes)
