"""Collectives: every schedule computes the right answer in every allowed order, and takes the time of its formula."""

import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_twins import execute

from simcore.collectives import ALGORITHMS, Collective, build
from simcore.collectives.formulas import alpha_beta, busbw_factor
from simcore.collectives.timing import duration
from simcore.hardware import LinkSpec
from simcore.topology import Topology

FORMS = [(operation, algorithm) for operation, names in ALGORITHMS.items() for algorithm in names]
CHAINS = ["ring", "tree", "double_tree", "direct"]
PARTED = ["ring", "halving_doubling", "direct"]


def levels(operation: str, algorithm: str) -> tuple[list[str], list[str]]:
    """Return which algorithms may be used within and between nodes."""
    between = [name for name in ALGORITHMS[operation] if name not in ("in_switch", "hierarchical", "rail_aligned")]
    if algorithm == "hierarchical":
        return [*CHAINS, "in_switch"], between
    return ([*PARTED, "in_switch"], between) if algorithm == "rail_aligned" and between else (["ring"], ["ring"])


@st.composite
def options(draw: st.DrawFn, operation: str, algorithm: str, most: int = 9) -> dict[str, Any]:
    nodes = 1 if algorithm == "in_switch" else draw(st.integers(1, 4))
    ranks = nodes * draw(st.integers(1, max(1, most // nodes)))
    inner, outer = levels(operation, algorithm)
    if operation == "all_to_all_v":
        row = st.lists(st.integers(0, 7), min_size=ranks, max_size=ranks)
        matrix = draw(st.lists(row, min_size=ranks, max_size=ranks))
    else:
        matrix = None
    return {
        "operation": operation,
        "ranks": ranks,
        "size": draw(st.integers(0, 40)),
        "algorithm": algorithm,
        "root": draw(st.integers(0, ranks - 1)),
        "chunks": draw(st.integers(1, 3)),
        "channels": draw(st.integers(1, 3)),
        "window": draw(st.integers(1, 3)),
        "nodes": nodes,
        "inner": draw(st.sampled_from(inner)),
        "outer": draw(st.sampled_from(outer)),
        "reducers": draw(st.permutations(range(nodes))),
        "matrix": matrix,
        "reduce_time": draw(st.sampled_from([None, lambda size: 3 * size + 1])),
    }


def part(collective: Collective, rank: int) -> Any:
    """Return the places of a rank's part in its memory."""
    begins, sizes = collective.part_offset[:, rank], collective.part_size[:, rank]
    return np.concatenate([np.arange(begin, begin + size) for begin, size in zip(begins, sizes, strict=True)])


def check(collective: Collective, asked: dict[str, Any], dice: random.Random) -> None:
    """Give every rank random numbers, a number a byte; execute; compare with the answer by the book."""
    ranks, size, operation = asked["ranks"], collective.size, collective.operation
    numbers = np.random.default_rng(dice.randrange(2**32))
    begin = numbers.integers(-(2**40), 2**40, (ranks, collective.memory))
    memory = {rank: begin[rank].copy() for rank in range(ranks)}
    memory |= {-1 - k: np.zeros(collective.memory, np.int64) for k in range(8)}
    execute(collective, memory, dice)
    total = begin.sum(axis=0)
    for rank in range(ranks):
        found = memory[rank]
        if operation == "all_reduce":
            assert (found == total).all()
        elif operation == "broadcast":
            assert (found == begin[asked["root"]]).all()
        elif operation == "reduce":
            assert rank != asked["root"] or (found == total).all()
        elif operation == "reduce_scatter":
            assert (found[part(collective, rank)] == total[part(collective, rank)]).all()
        elif operation == "all_gather":
            for other in range(ranks):
                assert (found[part(collective, other)] == begin[other][part(collective, other)]).all()
        elif operation == "send_recv":
            assert ranks == 1 or (found[size:] == begin[rank - 1][:size]).all()
        else:
            check_all_to_all(found, begin, rank, sent_by(asked))


def sent_by(asked: dict[str, Any]) -> Any:
    if asked["matrix"] is not None:
        return np.array(asked["matrix"])
    whole, over = divmod(asked["size"], asked["ranks"])
    return np.array([[whole + (to < over) for to in range(asked["ranks"])]] * asked["ranks"])


def check_all_to_all(found: Any, begin: Any, rank: int, matrix: Any) -> None:
    sends = [np.cumsum([0, *row]) for row in matrix]
    gets = np.cumsum([0, *matrix[:, rank]]) + sends[rank][-1]
    for other in range(len(matrix)):
        if other != rank:
            there = begin[other][sends[other][rank] : sends[other][rank + 1]]
            assert (found[gets[other] : gets[other + 1]] == there).all()


@pytest.mark.parametrize(("operation", "algorithm"), FORMS)
@given(st.data(), st.integers(0, 2**32))
@settings(max_examples=60)
def test_a_collective_computes_the_right_answer_in_every_allowed_order(
    operation: str, algorithm: str, data: st.DataObject, seed: int
) -> None:
    asked = data.draw(options(operation, algorithm))

    check(build(**asked), asked, random.Random(seed))


@pytest.mark.parametrize(("operation", "algorithm"), FORMS)
@pytest.mark.parametrize("ranks", [*range(2, 10), 12, 16, 17, 31])
def test_every_world_size_is_right_with_and_without_chunks_and_channels(
    operation: str, algorithm: str, ranks: int
) -> None:
    for chunks, channels in ((1, 1), (3, 1), (1, 2), (2, 3)):
        asked = {"operation": operation, "algorithm": algorithm, "ranks": ranks, "size": 5 * ranks + 3}
        asked |= {"chunks": chunks, "channels": channels, "root": ranks // 2, "matrix": None}
        if algorithm != "in_switch":
            asked["nodes"] = max(nodes for nodes in (1, 2, 3, 4) if ranks % nodes == 0)
        if operation == "all_to_all_v":
            asked["matrix"] = np.random.default_rng(ranks).integers(0, 9, (ranks, ranks)).tolist()
        check(build(**asked), asked, random.Random(ranks))


ALPHA, EXACT = 1000, 10**12
"""A machine on which a message takes 1,000 ps and a picosecond a byte."""


def time_of(collective: Collective) -> int:
    """Return how long it takes where every pair of ranks has a link of its own, ps."""
    topology = Topology("full_mesh", max(collective.ranks, 2), LinkSpec(EXACT, ALPHA))
    return duration(collective.schedule, topology, "fifo", range(collective.ranks))


@pytest.mark.parametrize(
    ("operation", "algorithm"),
    [(op, name) for op, name in FORMS if name != "in_switch" and not (op.startswith("all_to") and name != "direct")],
)
def test_time_is_the_alpha_beta_formula(operation: str, algorithm: str) -> None:
    met = 0
    for ranks in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16):
        for nodes in [nodes for nodes in (1, 2, 3, 4) if ranks % nodes == 0]:
            for chunks in (1, 2, 5):
                form = {"chunks": chunks, "nodes": nodes}
                size = 720_720 * chunks
                matrix = np.full((ranks, ranks), size // ranks).tolist() if operation == "all_to_all_v" else None
                formula = alpha_beta(operation, algorithm, ranks, size, **form)
                if formula is not None:
                    met += 1
                    collective = build(operation, ranks, size, algorithm, matrix=matrix, **form)
                    assert time_of(collective) == formula.alphas * ALPHA + formula.size, (ranks, form)
    assert met >= 10


def test_formulas_are_those_of_the_textbook() -> None:
    size, n = 2**20, 16

    assert alpha_beta("all_reduce", "ring", n, size) == (2 * (n - 1), Fraction(2 * size * (n - 1), n))
    assert alpha_beta("all_reduce", "halving_doubling", n, size) == (8, Fraction(2 * size * (n - 1), n))
    assert alpha_beta("all_reduce", "direct", n, size * (n - 1)) == (2, Fraction(2 * size * (n - 1), n))
    assert alpha_beta("reduce_scatter", "ring", n, size) == (n - 1, Fraction(size * (n - 1), n))
    assert alpha_beta("broadcast", "ring", n, size, chunks=8) == (n - 2 + 8, Fraction((n - 2 + 8) * size, 8))
    assert busbw_factor("all_reduce", 8) == Fraction(14, 8)
    assert busbw_factor("all_gather", 8) == busbw_factor("all_to_all", 8) == Fraction(7, 8)
    assert busbw_factor("broadcast", 8) == busbw_factor("send_recv", 8) == 1
