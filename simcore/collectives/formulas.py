"""What is known of a collective without simulating it: its bus bandwidth, its alpha-beta time, its number of rows."""

from fractions import Fraction
from typing import NamedTuple

MOST_ROWS = 2**26
"""Rows of a schedule; some 80 bytes each, so 5 GiB."""


def busbw_factor(operation: str, ranks: int) -> Fraction:
    """Return busbw over algbw: what the busiest link must carry at least, over the size, as nccl-tests counts it
    (https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md)."""
    if operation == "all_reduce":
        return Fraction(2 * (ranks - 1), ranks)
    if operation in ("reduce_scatter", "all_gather", "all_to_all", "all_to_all_v"):
        return Fraction(ranks - 1, ranks)
    return Fraction(1)


class AlphaBeta(NamedTuple):
    """A time of ``alphas`` times alpha, what a message costs before its bytes, and ``size`` bytes over B, the rate of a
    connection."""

    alphas: int
    size: Fraction

    def plus(self, *others: "AlphaBeta") -> "AlphaBeta":
        """Return the time of this and then the others."""
        parts = (self, *others)
        return AlphaBeta(sum(part.alphas for part in parts), sum((part.size for part in parts), Fraction(0)))


def alpha_beta(
    operation: str, algorithm: str, ranks: int, size: int, *, chunks: int = 1, nodes: int = 1, inner: str = "ring",
    outer: str = "ring",
) -> AlphaBeta | None:  # fmt: skip
    """Return the time with one channel and window, where every pair of ranks has a link of its own: exact if ``size``
    divides evenly, else a lower bound; None where there is no closed form.

    These are the standard results; of the forms in levels, that of one chunk, the sum of their stages.
    """
    local = ranks // nodes
    if ranks == 1:
        return AlphaBeta(0, Fraction(0))
    if algorithm in ("hierarchical", "rail_aligned"):
        return _levels(operation, algorithm, nodes, local, size, inner, outer) if chunks == 1 else None
    if algorithm == "ring":
        return _ring(operation, ranks, size, chunks)
    if algorithm in ("tree", "double_tree"):
        return _tree(operation, algorithm, ranks, size, chunks)
    if algorithm == "direct":
        scattered = operation not in ("broadcast", "reduce", "send_recv")
        passes = 2 if operation == "all_reduce" else 1
        return AlphaBeta(passes * chunks, Fraction(passes * size, ranks if scattered else 1))
    if algorithm == "halving_doubling" and chunks == 1:
        return _halving_doubling(operation, ranks, size)
    if algorithm == "in_switch":
        return _in_switch(operation, ranks, size, chunks)
    return None


def _ring(operation: str, ranks: int, size: int, chunks: int) -> AlphaBeta:
    if operation in ("broadcast", "reduce"):
        return AlphaBeta(ranks - 2 + chunks, Fraction((ranks - 2 + chunks) * size, chunks))
    passes = 2 if operation == "all_reduce" else 1
    return AlphaBeta(passes * (ranks - 1) * chunks, Fraction(passes * (ranks - 1) * size, ranks))


def _tree(operation: str, algorithm: str, ranks: int, size: int, chunks: int) -> AlphaBeta | None:
    from simcore.collectives.rings_and_trees import below_root, binary_tree, depths

    rooted = operation in ("broadcast", "reduce")
    one = algorithm == "tree" or (rooted and ranks == 2)
    if algorithm == "double_tree" and chunks > 1:
        # Where the two trees share a connection their chunks take turns on it.
        return None
    parent = binary_tree(ranks) if one or not rooted else below_root(ranks)[0]
    passes = 1 if rooted else 2
    messages = passes * int(depths(parent).max()) - 1 + chunks
    return AlphaBeta(messages, Fraction(messages * size, chunks * (1 if one else 2)))


def _halving_doubling(operation: str, ranks: int, size: int) -> AlphaBeta | None:
    levels = ranks.bit_length() - 1
    if ranks != 1 << levels and operation != "all_reduce":
        # The pairs that were folded in have twice the part of the others.
        return None
    passes = 2 if operation == "all_reduce" else 1
    folded = 2 if ranks != 1 << levels else 0
    corners = 1 << levels
    return AlphaBeta(passes * levels + folded, Fraction(passes * (corners - 1) * size, corners) + folded * size)


def _in_switch(operation: str, ranks: int, size: int, chunks: int) -> AlphaBeta | None:
    if operation in ("all_reduce", "broadcast", "reduce"):
        return AlphaBeta(1 + chunks, Fraction((1 + chunks) * size, chunks))
    if operation == "reduce_scatter" and chunks == 1:
        return AlphaBeta(2, size + Fraction(size, ranks))
    # The copies of a gather meet at each receiver's port.
    return None


def _levels(
    operation: str, algorithm: str, nodes: int, local: int, size: int, inner: str, outer: str
) -> AlphaBeta | None:
    if operation in ("all_to_all", "all_to_all_v"):
        return None
    part = Fraction(size, local) if algorithm == "rail_aligned" else Fraction(size)
    first, last = ("reduce_scatter", "all_gather") if algorithm == "rail_aligned" else ("reduce", "broadcast")
    if algorithm == "hierarchical" and operation in ("reduce_scatter", "all_gather"):
        inner_first, inner_last = (inner, "direct") if operation == "reduce_scatter" else ("direct", inner)
    else:
        inner_first, inner_last = inner, inner
    within_first = _scaled(first, inner_first, local, size)
    within_last = _scaled(last, inner_last, local, size)
    if algorithm == "hierarchical" and operation == "reduce_scatter":
        within_last = AlphaBeta(min(local - 1, 1), Fraction(size, nodes * local) * min(local - 1, 1))
    if algorithm == "hierarchical" and operation == "all_gather":
        within_first = AlphaBeta(min(local - 1, 1), Fraction(size, nodes * local) * min(local - 1, 1))
    between = _scaled(operation, outer, nodes, part)
    stages = {
        "all_reduce": (within_first, between, within_last),
        "reduce_scatter": (within_first, between, *((within_last,) if algorithm == "hierarchical" else ())),
        "all_gather": (*((within_first,) if algorithm == "hierarchical" else ()), between, within_last),
        "reduce": (within_first, between),
        "broadcast": (between, within_last),
    }[operation]
    known = [stage for stage in stages if stage is not None]
    return known[0].plus(*known[1:]) if len(known) == len(stages) else None


def _scaled(operation: str, algorithm: str, ranks: int, size: Fraction | int) -> AlphaBeta | None:
    """Return the time of one stage; formulas are linear in the size."""
    one = alpha_beta(operation, algorithm, ranks, 1)
    return None if one is None else AlphaBeta(one.alphas, one.size * size)


def rows_at_most(operation: str, algorithm: str, ranks: int, lanes: int) -> int:
    """Return a bound on the rows of a collective without computations."""
    everybody_meets = operation in ("all_reduce", "reduce_scatter", "all_gather", "all_to_all", "all_to_all_v")
    if not everybody_meets or "tree" in algorithm:
        return 4 * ranks * lanes
    if algorithm == "halving_doubling" or (algorithm == "in_switch" and operation != "all_gather"):
        return 2 * ranks * (ranks.bit_length() + 2) * lanes
    return 2 * ranks * (ranks + 1) * lanes
