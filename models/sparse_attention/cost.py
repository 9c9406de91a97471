"""The work of the kernels from shapes alone; each equals what its namesake in ``kernel`` counts. arXiv:2606.13392,
equations 1 and 12 and section 4.2, counted exactly: c of N tokens see c (N - c) + c (c + 1) / 2 pairs."""

from simcore import Virtual, Work

SCORE = "float32"
"""The dtype of block scores, and of log-sum-exps."""


def pairs(count: int, total: int) -> int:
    """Return how many pairs of a query and a visible key there are where the last ``count`` of ``total`` tokens are
    queries."""
    return count * (total - count) + count * (count + 1) // 2


def kept(count: int, total: int, size: int, keep: int) -> int:
    """Return how many blocks the last ``count`` of ``total`` tokens keep, all together, for one KV head."""
    few = min(max(keep * size - (total - count), 0), count)  # queries that see fewer than ``keep`` whole blocks
    first = total - count
    return (count - few) * keep + _blocks_seen(first + few, size) - _blocks_seen(first, size)


def _blocks_seen(tokens: int, size: int) -> int:
    """Return the sum of the numbers of blocks that each of the first ``tokens`` tokens sees."""
    whole, rest = divmod(tokens, size)
    return size * whole * (whole + 1) // 2 + rest * (whole + 1)


def score_blocks(index_queries: Virtual, index_keys: Virtual, size: int) -> tuple[Virtual, Work]:
    """Return the shape of all scores, and the work: 2 di Hkv operations a visible pair."""
    count, heads, width = index_queries.shape
    total = index_keys.shape[0]
    scores = Virtual((count, heads, -(-total // size)), SCORE)
    work = Work(
        {index_keys.dtype: 2 * width * heads * pairs(count, total)},
        {"hbm": index_keys.nbytes, "l2": index_queries.nbytes}, {"hbm": scores.nbytes}, launches=1,
    )  # fmt: skip
    return scores, work


def choose_blocks(scores: Virtual, total: int, size: int, keep: int) -> tuple[Virtual, Work]:
    """Return the shape of the choice, and the work: scores read, choice written."""
    count, heads, blocks = scores.shape
    choice = Virtual((count, heads, min(keep, blocks)), "int32")
    return choice, Work({}, {"hbm": scores.nbytes}, {"hbm": choice.nbytes}, launches=1)


def list_queries(choice: Virtual, blocks: int, total: int, size: int) -> tuple[tuple[Virtual, Virtual], Work]:
    """Return the shapes of the reverse index, and the work: the choice read, the lists written."""
    count, heads, keep = choice.shape
    starts = Virtual((heads, blocks + 1), "int32")
    entries = Virtual((heads, kept(count, total, size, keep)), "int32")
    work = Work({}, {"hbm": choice.nbytes}, {"hbm": starts.nbytes + entries.nbytes}, launches=1)
    return (starts, entries), work


def attend_by_query(
    queries: Virtual, keys: Virtual, values: Virtual, choice: Virtual, size: int, visited: int = -1
) -> tuple[Virtual, Work]:
    """Return the shape of the outputs, and the work: 4 d Hq operations a visible token of a chosen block; the
    ``visited`` tokens of all KV heads read, of keys and values; -1 as many as there can be at most."""
    count, heads, width = queries.shape
    total, keep = keys.shape[0], choice.shape[2]
    tokens = visible(count, total, size, keep)
    read = {"hbm": 2 * width * _most(visited, keys, choice, size) * _element(keys), "l2": queries.nbytes}
    return queries, Work({queries.dtype: 4 * width * heads * tokens}, read, {"l2": queries.nbytes}, launches=1)


def attend_by_block(
    queries: Virtual, keys: Virtual, values: Virtual, choice: Virtual, listed: tuple[Virtual, Virtual], size: int,
    low: str = "", visited: int = -1,
) -> tuple[tuple[Virtual, Virtual], Work]:  # fmt: skip
    """Return the shapes of partial outputs and log-sum-exps, and the work: 4 d Hq operations a token of a chosen block;
    ``visited`` tokens read as in `attend_by_query`, a query and a partial output moved for every block that it
    chose."""
    count, heads, width = queries.shape
    total, keep = keys.shape[0], choice.shape[2]
    blocks = kept(count, total, size, keep)
    # Queries in the last block alone see it, and it may be shorter.
    missing = -total % size
    tokens = blocks * size - missing * min(count, total - (total - 1) // size * size)
    moved = blocks * heads * width * _element(queries)
    read = 2 * width * _most(visited, keys, choice, size) * _element(keys) + moved
    partial, logs = Virtual((keep, count, heads, width), queries.dtype), Virtual((keep, count, heads), SCORE)
    work = Work({queries.dtype: 4 * width * heads * tokens}, {"hbm": read}, {"hbm": moved}, launches=1)
    return (partial, logs), work


def combine(
    partial: Virtual, logs: Virtual, choice: Virtual, low: str = "", *, total: int, size: int
) -> tuple[Virtual, Work]:
    """Return the shape of the outputs, and the work: 2 d Hq operations a block that a query chose, its partial outputs
    read, the outputs written."""
    keep, count, heads, width = partial.shape
    blocks = kept(count, total, size, keep)
    found = Virtual((count, heads, width), partial.dtype)
    read = blocks * heads * width * _element(partial)
    return found, Work({partial.dtype: 2 * blocks * heads * width}, {"hbm": read}, {"hbm": found.nbytes}, launches=1)


def attend_densely(queries: Virtual, keys: Virtual, values: Virtual, low: str = "") -> tuple[Virtual, Work]:
    """Return the shape of the outputs, and the work: 4 d Hq operations a visible pair; everything read and written
    once."""
    count, heads, width = queries.shape
    work = Work(
        {queries.dtype: 4 * width * heads * pairs(count, keys.shape[0])},
        {"hbm": queries.nbytes + keys.nbytes + values.nbytes}, {"hbm": queries.nbytes}, launches=1,
    )  # fmt: skip
    return queries, work


def visible(count: int, total: int, size: int, keep: int) -> int:
    """Return how many tokens the last ``count`` of ``total`` tokens see in the blocks that they keep, all together, for
    one KV head."""
    hidden = sum_of_rests(total, size) - sum_of_rests(total - count, size)
    return kept(count, total, size, keep) * size - hidden


def sum_of_rests(tokens: int, size: int) -> int:
    """Return the sum over the first ``tokens`` tokens of the tokens of their own block that come after them."""
    whole, rest = divmod(tokens, size)
    return whole * size * (size - 1) // 2 + rest * (size - 1) - rest * (rest - 1) // 2


def _most(visited: int, keys: Virtual, choice: Virtual, size: int) -> int:
    if visited >= 0:
        return visited
    total, heads, _ = keys.shape
    count, _, keep = choice.shape
    return heads * min(total, kept(count, total, size, keep) * size)


def _element(array: Virtual) -> int:
    from math import prod

    return array.nbytes // prod(array.shape)
