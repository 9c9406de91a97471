"""Placements: which GPU hosts which rank, by hand and as laws."""

import itertools
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore.placement import DIMENSIONS, Order, Placement, allocate

NODES = [range(4), range(4, 8), range(8, 12)]


def test_block_takes_free_gpus_in_order_and_round_robin_deals_over_nodes() -> None:
    asked: dict[str, tuple[Placement, int]] = {
        "a": ("block", 5),
        "b": ("round_robin", 4),
        "c": (["gpu1", "gpu11"], 2),
        "d": ("block", 1),
    }

    assert allocate(asked, NODES) == {"a": [0, 2, 3, 4, 5], "b": [6, 8, 7, 9], "c": [1, 11], "d": [10]}


def test_round_robin_without_nodes_strides_over_the_free_gpus() -> None:
    assert allocate({"a": ("block", 2), "b": ("round_robin", 3)}, [range(8)]) == {"a": [0, 1], "b": [2, 4, 6]}


def test_an_order_places_the_first_dimension_on_neighbouring_gpus() -> None:
    # Rank 4 * d + t is tensor-parallel rank t of replica d, whatever the order.
    assert Order(["tp", "dp", "pp"], tp=4, dp=2).permuted(range(8)) == list(range(8))
    assert Order(["dp", "tp"], tp=4, dp=2).permuted(range(8)) == [0, 2, 4, 6, 1, 3, 5, 7]
    assert Order(["pp", "tp"], tp=2).permuted(range(10, 16)) == [10, 13, 11, 14, 12, 15]


@given(
    order=st.lists(st.sampled_from(DIMENSIONS), min_size=1, unique=True).flatmap(
        lambda names: st.tuples(st.just(names), st.tuples(*[st.integers(1, 4) for _ in names]))
    )
)
def test_an_order_is_what_nested_loops_would_do(order: tuple[list[str], tuple[int, ...]]) -> None:
    names, sizes = order
    size_of = dict(zip(names, sizes, strict=True))
    placed = Order(names, **size_of).permuted(range(prod(sizes)))  # type: ignore[arg-type]

    # Walk the GPUs in order: the last dimension is the outermost loop.
    canonical = [name for name in DIMENSIONS if name in size_of]
    for gpu, outer_first in enumerate(itertools.product(*[range(size_of[name]) for name in reversed(names)])):
        coordinate = dict(zip(reversed(names), outer_first, strict=True))
        rank = 0
        for name in reversed(canonical):
            rank = rank * size_of[name] + coordinate[name]
        assert placed[rank] == gpu


@given(
    asked=st.lists(st.tuples(st.sampled_from(["block", "round_robin"]), st.integers(1, 5)), min_size=1, max_size=4),
    nodes=st.sampled_from([[range(20)], [range(8), range(8, 16), range(16, 20)], [[i] for i in range(20)]]),
)
def test_no_gpu_hosts_two_ranks(asked: list[tuple[Placement, int]], nodes: list[list[int]]) -> None:
    placed = allocate({str(i): each for i, each in enumerate(asked)}, nodes)

    everything = [gpu for gpus in placed.values() for gpu in gpus]
    assert len(set(everything)) == len(everything)
    assert set(everything) <= set(range(20))
    assert [len(gpus) for gpus in placed.values()] == [ranks for _, ranks in asked]


@pytest.mark.parametrize(
    ("order", "sizes", "said"),
    [
        ([], {}, "order names each dimension once"),
        (["tp", "tp"], {}, "order names each dimension once"),
        (["tp"], {"dp": 2}, "dp has a size and no place in the order tp"),
        (["tp"], {"tp": 0}, "tp must be 1 or more, not 0"),
        (["tp", "dp"], {}, "tp and dp have no size; at most one dimension may be left open"),
    ],
)
def test_an_order_that_says_nothing_is_refused(order: list[str], sizes: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Order(order, **sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("order", "ranks"), [(Order(["tp"], tp=4), 8), (Order(["tp", "dp"], tp=3), 8)])
def test_sizes_that_do_not_fit_the_ranks_are_refused(order: Order, ranks: int) -> None:
    with pytest.raises(ValueError, match=r"= \d ranks, but the job has 8"):
        order.sizes(ranks)
