"""Collectives: every schedule computes the right answer in every allowed order, and takes the time of its formula."""

import random
import re
import time
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_twins import Player, dependencies, execute

from simcore import InputError
from simcore.collectives import ALGORITHMS, Collective, build
from simcore.collectives.formulas import alpha_beta, busbw_factor
from simcore.collectives.timing import duration
from simcore.hardware import LinkSpec
from simcore.topology import Link, Server, Topology

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


def test_the_ring_is_that_of_the_standard_workload() -> None:
    """Rank i sends a chunk to i + 1 in every step, after its own send and its receive of the step before."""
    for n in (2, 3, 8):
        ring = build("all_reduce", n, 2**26 // n * n)
        schedule, waits = ring.schedule, dependencies(ring.schedule)

        assert len(ring) == 2 * (n - 1) * n
        for row in range(len(ring)):
            step, rank = divmod(row, n)
            assert (ring.step[row], schedule.rank[row], schedule.peer[row]) == (step, rank, (rank + 1) % n)
            assert schedule.size[row] == 2**26 // n
            assert sorted(waits[row]) == sorted({row - n, (step - 1) * n + (rank - 1) % n} if step else set())


@pytest.mark.parametrize(("n", "simgrid"), [(8, 0.000274978915555556), (64, 0.00041960128)])
def test_the_ring_ends_when_simgrid_says(n: int, simgrid: float) -> None:
    star = Topology("switch", n, LinkSpec(450 * 10**9, 500_000))

    end = duration(build("all_reduce", n, 2**26).schedule, star, "fair", range(n))

    # A dependency makes an instant an integer, SimGrid 4.1 never rounds.
    assert -1e-6 <= end - simgrid * 10**12 < 2 * (n - 1)


def test_a_large_ring_is_built_at_once_and_small() -> None:
    build("all_reduce", 1024, 2**26)
    begin = time.process_time()
    ring = build("all_reduce", 1024, 2**26)
    spent = time.process_time() - begin

    assert len(ring) == 2_095_104
    assert spent < 1.5
    columns = [getattr(ring.schedule, name) for name in ("rank", "peer", "size", "duration", "after_begin", "after")]
    columns += [ring.step, ring.lane, ring.offset, ring.lands, ring.reduces]
    assert sum(column.nbytes for column in columns) < 90 * len(ring)


def check_often(collective: Collective, asked: dict[str, Any]) -> None:
    for seed in range(20):
        check(collective, asked, random.Random(seed))


ONE_STEP = [("all_gather", "direct"), ("broadcast", "direct"), ("reduce", "direct"), ("reduce_scatter", "direct")]
ONE_STEP += [("all_to_all", "direct"), ("all_to_all_v", "direct"), ("send_recv", "direct")]


@pytest.mark.parametrize(("operation", "algorithm"), [form for form in FORMS if form not in ONE_STEP])
def test_a_missing_dependency_is_seen(operation: str, algorithm: str) -> None:
    asked: dict[str, Any] = {"operation": operation, "ranks": 8, "size": 64, "algorithm": algorithm, "root": 0}
    asked |= {"nodes": 1 if algorithm == "in_switch" else 2, "matrix": None}
    if operation == "all_to_all_v":
        asked["matrix"] = [[3] * 8] * 8
    whole = build(**asked)
    schedule = whole.schedule
    hurt = replace(whole, schedule=replace(schedule, after_begin=0 * schedule.after_begin, after=schedule.after[:0]))

    with pytest.raises(AssertionError):
        check_often(hurt, asked)


class Star:
    """Ranks around a switch that adds: one link each way, and endpoints behind the GPUs for the switch itself."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self.servers = [Server(f"link{i}", EXACT) for i in range(2 * gpus)]
        self.links = [Link("a", "b", i, ALPHA) for i in range(2 * gpus)]

    def route(self, src: int, dst: int) -> tuple[int, ...]:
        return (src,) if dst == self.gpus else (self.gpus + dst,)


@pytest.mark.parametrize("operation", ["all_reduce", "reduce_scatter", "broadcast", "reduce"])
def test_a_switch_that_adds_takes_the_time_of_its_formula(operation: str) -> None:
    for ranks in (2, 3, 8):
        for chunks in (1, 4):
            formula = alpha_beta(operation, "in_switch", ranks, 24_000, chunks=chunks)
            if formula is None:
                continue
            schedule = build(operation, ranks, 24_000, "in_switch", chunks=chunks).schedule
            star: Any = Star(ranks)

            found = max(Player(star, schedule, range(ranks)).play())

            assert found == formula.alphas * ALPHA + formula.size
    assert alpha_beta("all_reduce", "in_switch", 8, 24_000) == (2, Fraction(48_000))


def test_channels_take_rings_of_their_own() -> None:
    ring = build("all_reduce", 8, 64, channels=4)

    links = [
        {(int(a), int(b)) for a, b in zip(ring.schedule.rank[here], ring.schedule.peer[here], strict=True)}
        for here in (ring.lane == lane for lane in range(4))
    ]
    assert all(len(used) == 8 for used in links)
    assert len(set.union(*links)) == 32


def test_between_nodes_channels_leave_through_different_gpus() -> None:
    ring = build("all_reduce", 16, 64, channels=4, nodes=2)

    for lane in range(4):
        here = ring.lane == lane
        crossing = {
            (int(a), int(b))
            for a, b in zip(ring.schedule.rank[here], ring.schedule.peer[here], strict=True)
            if a // 8 != b // 8
        }
        assert len(crossing) == 2
        assert {b % 8 for _, b in crossing} == {lane}


def test_rails_stay_on_their_rail_and_use_every_nic_alike() -> None:
    for operation in ("all_reduce", "reduce_scatter", "all_gather", "all_to_all"):
        rails = build(operation, 16, 1600, "rail_aligned", nodes=4)
        rank, peer = rails.schedule.rank, rails.schedule.peer
        between = rank // 4 != peer // 4

        assert (rank[between] % 4 == peer[between] % 4).all()
        sent = np.bincount(rank[between], weights=rails.schedule.size[between])
        assert (sent == sent[0]).all()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"operation": "al_reduce"}, "unknown operation 'al_reduce'; did you mean 'all_reduce'?"),
        ({"algorithm": "rings"}, "unknown algorithm of all_reduce 'rings'; did you mean 'ring'?"),
        ({"operation": "all_to_all", "algorithm": "ring"}, "unknown algorithm of all_to_all 'ring'"),
        ({"ranks": 0}, "ranks: a collective needs 1 or more, not 0"),
        ({"chunks": 0}, "chunks: a collective needs 1 or more, not 0"),
        ({"nodes": 3}, "nodes: 8 ranks do not make 3 nodes of equal size"),
        ({"root": 8}, "root: 8 is none of the ranks 0 to 7"),
        ({"size": -1}, "size: zero bytes or more, not -1"),
        ({"ranks": 10**5}, "ring all_reduce among 100000 ranks makes 20000200000 rows; 67108864 is the limit"),
        ({"algorithm": "in_switch", "nodes": 2}, "in_switch: a switch adds up within one node"),
        ({"algorithm": "rail_aligned", "inner": "tree"}, "unknown inner algorithm of rail_aligned all_reduce 'tree'"),
        ({"algorithm": "hierarchical", "outer": "in_switch"}, "unknown outer algorithm of hierarchical all_reduce"),
        ({"inner": "rings"}, "unknown inner algorithm 'rings'; did you mean 'ring'?"),
        ({"operation": "all_to_all", "outer": "rings"}, "unknown outer algorithm 'rings'; did you mean 'ring'?"),
        ({"operation": "all_to_all_v", "matrix": [[1]]}, "needs a matrix of 8 x 8 whole numbers"),
        ({"operation": "all_to_all_v"}, "needs a matrix of 8 x 8 whole numbers"),
    ],
)
def test_what_does_not_fit_is_one_line(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        build(**{"operation": "all_reduce", "ranks": 8, "size": 64} | asked)
