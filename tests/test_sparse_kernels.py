"""Sparse attention: the kernels against slow twins, their counted work against the formulas, NumPy against torch, and
the numbers that follow from the shapes alone."""

import itertools
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simcore.models.sparse_attention import cost, kernel
from twins.attention import choice_twin, restricted

from simcore import Virtual, Work

SEED = 6


def prompt(total: int, heads: int, each: int, width: int, index: int, kind: Any = np.float64) -> list[Any]:
    """Return queries, keys, values, index queries and index keys of ``total`` tokens: ``each`` query heads for every
    one of ``heads`` KV heads."""
    draw = np.random.default_rng(SEED + total)
    shapes = (total, heads * each, width), (total, heads, width), (total, heads, width), (total, heads, index)
    return [draw.standard_normal(shape).astype(kind) for shape in (*shapes, (total, index))]


def last(count: int, tensors: list[Any]) -> list[Any]:
    """Return the tensors where the last ``count`` tokens alone are queries."""
    queries, keys, values, index_queries, index_keys = tensors
    return [queries[len(queries) - count :], keys, values, index_queries[len(queries) - count :], index_keys]


def chosen(tensors: list[Any], size: int, keep: int) -> Any:
    """Return the choice of `kernel.choose_blocks` for a prompt or the end of one."""
    _, keys, _, index_queries, index_keys = tensors
    scores, _ = kernel.score_blocks(index_queries, index_keys, size)
    return kernel.choose_blocks(scores, len(keys), size, keep)[0]


def by_block(queries: Any, keys: Any, values: Any, choice: Any, size: int, low: str = "") -> Any:
    """Return the outputs of the two kernels that go block by block."""
    listed, _ = kernel.list_queries(choice, -(-len(keys) // size))
    (partial, logs), _ = kernel.attend_by_block(queries, keys, values, choice, listed, size, low)
    return kernel.combine(partial, logs, choice, low)[0]


# Results

CASES = [
    pytest.param(96, 96, 8, 3, id="prefill"),
    pytest.param(93, 93, 8, 3, id="incomplete last block"),
    pytest.param(90, 41, 8, 3, id="chunk"),
    pytest.param(90, 1, 8, 3, id="decode"),
    pytest.param(91, 5, 8, 3, id="decode of several tokens"),
    pytest.param(96, 1, 8, 3, id="decode at the end of a block"),
    pytest.param(97, 1, 8, 3, id="decode at the start of a block"),
    pytest.param(20, 20, 8, 16, id="fewer blocks than kept"),
    pytest.param(40, 40, 8, 1, id="own block alone"),
    pytest.param(1, 1, 8, 3, id="first token"),
    pytest.param(7, 7, 1, 3, id="blocks of one token"),
]


@pytest.mark.parametrize(("total", "count", "size", "keep"), CASES)
def test_both_orders_are_the_softmax_over_the_chosen_blocks(total: int, count: int, size: int, keep: int) -> None:
    tensors = last(count, prompt(total, heads=2, each=3, width=16, index=5))
    queries, keys, values = tensors[:3]
    choice = chosen(tensors, size, keep)

    expected = restricted(queries, keys, values, choice, size)

    assert np.abs(kernel.attend_by_query(queries, keys, values, choice, size)[0] - expected).max() < 1e-12
    assert np.abs(by_block(queries, keys, values, choice, size) - expected).max() < 1e-12
    (whole, again), _ = kernel.attend(*tensors, size, keep)
    assert np.abs(whole - expected).max() < 1e-12
    assert np.array_equal(again, choice)


@pytest.mark.parametrize("count", [1, 6, 40])
def test_all_blocks_kept_are_dense_attention(count: int) -> None:
    tensors = last(count, prompt(40, heads=2, each=3, width=16, index=5))
    dense, _ = kernel.attend_densely(*tensors[:3])

    assert np.abs(dense - restricted(*tensors[:3], chosen(tensors, 8, 5), 8)).max() < 1e-12
    assert np.abs(dense - kernel.attend(*tensors, 8, 5)[0][0]).max() < 1e-12
    assert np.abs(dense - kernel.attend(*tensors, 8, 4)[0][0]).max() > 1e-3


def test_a_prompt_of_several_steps_slices_and_tiles_is_cut_where_nobody_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensors = prompt(150, heads=2, each=2, width=8, index=4)
    whole, choice = kernel.attend(*tensors, 8, 3)[0]
    dense = kernel.attend_densely(*tensors[:3])[0]
    for name, value in (("STEP", 32), ("SLICE", 50), ("TILE", 7)):
        monkeypatch.setattr(kernel, name, value)

    cut, again = kernel.attend(*tensors, 8, 3)[0]

    assert np.array_equal(again, choice)
    assert np.abs(cut - whole).max() < 1e-12
    assert np.abs(kernel.attend_densely(*tensors[:3])[0] - dense).max() < 1e-12


@given(cuts=st.sets(st.integers(1, 76), max_size=4), keep=st.integers(1, 12))
@settings(max_examples=20)
def test_chunked_prefill_and_decode_are_the_whole_prefill(cuts: set[int], keep: int) -> None:
    tensors = prompt(77, heads=2, each=2, width=8, index=4)
    queries, keys, values, index_queries, index_keys = tensors
    (whole, choice), _ = kernel.attend(*tensors, 8, keep)

    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 77], strict=True):
        seen = keys[:end], values[:end], index_queries[begin:end], index_keys[:end]
        (part, some), _ = kernel.attend(queries[begin:end], *seen, 8, keep)
        assert np.abs(part - whole[begin:end]).max() < 1e-12
        slots = some.shape[2]
        assert np.array_equal(np.sort(some), np.sort(choice[begin:end])[:, :, -slots:])
        assert (np.sort(choice[begin:end])[:, :, :-slots] == -1).all()


# The choice


@given(
    total=st.integers(1, 40), share=st.floats(0, 1), size=st.integers(1, 7), keep=st.integers(1, 7),
    high=st.integers(0, 3), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60)
def test_the_choice_is_that_of_sorted_lists_ties_and_all(
    total: int, share: float, size: int, keep: int, high: int, seed: int
) -> None:
    """Small whole numbers: products are exact, and often equal."""
    draw = np.random.default_rng(seed)
    count = max(1, round(share * total))
    index_queries = draw.integers(-high, high + 1, (count, 2, 4)).astype(np.float64)
    index_keys = draw.integers(-high, high + 1, (total, 4)).astype(np.float64)

    scores, _ = kernel.score_blocks(index_queries, index_keys, size)
    choice, _ = kernel.choose_blocks(scores, total, size, keep)

    kept = [[[b for b in blocks if b >= 0] for blocks in heads] for heads in choice.tolist()]
    assert kept == choice_twin(index_queries, index_keys, size, keep)
    assert (np.diff(np.where(choice < 0, 2**30, choice), axis=-1) >= 0).all()
    assert choice.dtype == np.int32


def test_the_own_block_is_kept_however_low_its_score_and_of_equal_ones_the_first() -> None:
    scores = np.array([[[5.0, 5, 5, 4, -9]], [[1.0, 3, 3, 4, -9]], [[-7.0, -np.inf, -8, -np.inf, -9]]])

    choice, _ = kernel.choose_blocks(scores, total=13, size=3, keep=3)
    lowest, _ = kernel.choose_blocks(scores, total=13, size=3, keep=1)

    # The queries are tokens 10 to 12, of blocks 3, 3 and 4.
    assert choice[:, 0].tolist() == [[0, 1, 3], [1, 2, 3], [0, 2, 4]]
    assert lowest[:, 0].tolist() == [[3], [3], [4]]


def test_the_lists_name_every_query_of_a_block_once_in_order() -> None:
    tensors = prompt(61, heads=3, each=1, width=4, index=4)
    choice = chosen(tensors, 4, 5)

    (starts, entries), _ = kernel.list_queries(choice, 16)

    for head in range(3):
        for block in range(16):
            listed = entries[head, starts[head, block] : starts[head, block + 1]]
            assert [[e // 5, e % 5] for e in listed.tolist()] == np.argwhere(choice[:, head] == block).tolist()


# Low precision


def worst(found: Any, exact: Any) -> float:
    return float(np.abs(np.asarray(found, np.float64) - exact).max())


@pytest.mark.parametrize("count", [1, 5, 192])
@pytest.mark.parametrize("low", ["", "bfloat16"], ids=["float32", "bfloat16"])
def test_the_error_is_at_most_twice_that_of_plain_low_precision(low: str, count: int) -> None:
    """The rule by which flash-attention kernels are tested: against float64 on the same inputs."""
    tensors = [kernel.rounded(each, low) for each in prompt(192, 2, 4, 64, 32, np.float32)]
    queries, keys, values = last(count, tensors)[:3]
    choice = chosen(last(count, tensors), 16, 4)
    all_blocks = np.broadcast_to(np.arange(12), (count, 2, 12))

    def step(array: Any) -> Any:
        return kernel.rounded(array, low)

    for found, blocks in (
        (by_block(queries, keys, values, choice, 16, low), choice),
        (kernel.attend_densely(queries, keys, values, low)[0], all_blocks),
        *([] if low else [(kernel.attend_by_query(queries, keys, values, choice, 16)[0], choice)]),
    ):
        exact = restricted(*(each.astype(np.float64) for each in (queries, keys, values)), blocks, 16)
        plain = worst(restricted(queries, keys, values, blocks, 16, step), exact)
        assert found.dtype == np.float32
        assert 0 < worst(found, exact) <= 2 * plain


def test_products_whose_exponentials_overflow_do_no_harm() -> None:
    tensors = prompt(40, heads=2, each=3, width=16, index=5)
    tensors[0] *= 1000
    queries, keys, values = tensors[:3]
    choice = chosen(tensors, 8, 3)

    expected = restricted(queries, keys, values, choice, 8)
    assert np.abs(by_block(queries, keys, values, choice, 8) - expected).max() < 1e-9
    assert np.abs(kernel.attend_by_query(queries, keys, values, choice, 8)[0] - expected).max() < 1e-9


def test_rounding_to_bfloat16_is_to_the_nearest_and_of_two_to_the_even_one() -> None:
    bits = [0x3F800000, 0x3F808000, 0x3F808001, 0x3F818000, 0x3F81FFFF, 0xBF818000, 0x7F800000]
    expected = [0x3F800000, 0x3F800000, 0x3F810000, 0x3F820000, 0x3F820000, 0xBF820000, 0x7F800000]

    found = kernel.rounded(np.array(bits, np.uint32).view(np.float32), "bfloat16")

    assert found.view(np.uint32).tolist() == expected


# Counted work


def virtual(array: Any) -> Virtual:
    return Virtual(tuple(array.shape), kernel.dtype(array))


def counted(queries: Any, keys: Any, values: Any, index_queries: Any, index_keys: Any, size: int, keep: int) -> Any:
    """Yield, of every kernel, the work that it counted and what the formula says, and the shapes of its outputs."""
    total = len(keys)
    q, k, v, iq, ik = map(virtual, (queries, keys, values, index_queries, index_keys))
    scores, work = kernel.score_blocks(index_queries, index_keys, size)
    yield work, virtual(scores), cost.score_blocks(iq, ik, size)
    choice, work = kernel.choose_blocks(scores, total, size, keep)
    yield work, virtual(choice), cost.choose_blocks(virtual(scores), total, size, keep)
    listed, work = kernel.list_queries(choice, scores.shape[2])
    lists = tuple(map(virtual, listed))
    yield work, lists, cost.list_queries(virtual(choice), scores.shape[2], total, size)
    # Which blocks are visited is no matter of shapes: counted here once more.
    visited = sum(
        min(size, total - b * size) for head in range(keys.shape[1]) for b in set(choice[:, head].ravel()) - {-1}
    )
    outputs, work = kernel.attend_by_block(queries, keys, values, choice, listed, size)
    parts = tuple(map(virtual, outputs))
    yield work, parts, cost.attend_by_block(q, k, v, virtual(choice), lists, size, visited=int(visited))
    found, work = kernel.combine(*outputs, choice)
    yield work, virtual(found), cost.combine(*parts, virtual(choice), total=total, size=size)
    found, work = kernel.attend_by_query(queries, keys, values, choice, size)
    yield work, virtual(found), cost.attend_by_query(q, k, v, virtual(choice), size, visited=int(visited))
    found, work = kernel.attend_densely(queries, keys, values)
    yield work, virtual(found), cost.attend_densely(q, k, v)
    if len(queries) == total:
        # Every query keeps its own block, so a whole prompt visits all.
        assert visited == total * keys.shape[1]
        assert cost.attend_by_query(q, k, v, virtual(choice), size)[1].bytes_read["hbm"] == keys.nbytes + values.nbytes


drawn = given(
    total=st.integers(1, 60), share=st.floats(0, 1), size=st.integers(1, 9), keep=st.integers(1, 6),
    heads=st.integers(1, 3), each=st.integers(1, 3), width=st.integers(1, 5),
)  # fmt: skip


@drawn
@settings(max_examples=60)
def test_counted_work_and_shapes_are_what_the_formulas_say(
    total: int, share: float, size: int, keep: int, heads: int, each: int, width: int
) -> None:
    tensors = last(max(1, round(share * total)), prompt(total, heads, each, width, 3, np.float32))

    for work, shapes, (stated, formula) in counted(*tensors, size, keep):
        assert work == formula
        assert shapes == stated


@drawn
@settings(max_examples=20)
def test_torch_counts_the_same_and_computes_the_same(
    total: int, share: float, size: int, keep: int, heads: int, each: int, width: int
) -> None:
    torch = pytest.importorskip("torch")
    tensors = last(max(1, round(share * total)), prompt(total, heads, each, width, 3, np.float32))
    others = [torch.from_numpy(each) for each in tensors]

    for work, shapes, (stated, formula) in counted(*others, size, keep):
        assert work == formula
        assert shapes == stated
    doubles = [each.astype(np.float64) for each in tensors]
    (found, choice), _ = kernel.attend(*(torch.from_numpy(each) for each in doubles), size, keep)
    (expected, again), _ = kernel.attend(*doubles, size, keep)
    assert np.array_equal(choice, again)
    assert np.abs(found.numpy() - expected).max() < 1e-12


def test_torch_rounds_as_numpy_does() -> None:
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(SEED).standard_normal(10_000).astype(np.float32)

    assert np.array_equal(
        kernel.rounded(torch.from_numpy(array), "bfloat16").numpy(), kernel.rounded(array, "bfloat16")
    )


@given(total=st.integers(1, 200), share=st.floats(0, 1), size=st.integers(1, 20), keep=st.integers(1, 20))
def test_sums_over_queries_are_those_of_a_loop(total: int, share: float, size: int, keep: int) -> None:
    count = max(1, round(share * total))
    queries = range(total - count, total)

    kept = [min(keep, t // size + 1) for t in queries]
    assert cost.pairs(count, total) == sum(t + 1 for t in queries)
    assert cost.kept(count, total, size, keep) == sum(kept)
    assert cost.visible(count, total, size, keep) == sum(
        (k - 1) * size + t % size + 1 for k, t in zip(kept, queries, strict=True)
    )


# The setting of the paper: 64 query heads and 4 KV heads of width 128, an index width of 128, 16 blocks of 128 tokens

LENGTHS = [2**n for n in range(13, 21)]


def work_of(count: int, total: int) -> tuple[Work, Work]:
    """Return the work of dense and of sparse attention for the last ``count`` of ``total`` tokens, query by query."""
    q, iq = Virtual((count, 64, 128), "bfloat16"), Virtual((count, 4, 128), "bfloat16")
    k, ik = Virtual((total, 4, 128), "bfloat16"), Virtual((total, 128), "bfloat16")
    scores, index = cost.score_blocks(iq, ik, 128)
    choice, ranking = cost.choose_blocks(scores, total, 128, 16)
    main = cost.attend_by_query(q, k, k, choice, 128)[1]
    return cost.attend_densely(q, k, k)[1], index + ranking + main


def operations(work: Work) -> int:
    return sum(work.operations.values())


def test_kept_blocks_and_visible_tokens_of_a_query_are_exact() -> None:
    stated = {2**13: (14.12, 1744.5), 2**14: (15.06, 1864.5), 2**15: (15.53, 1924.5), 2**17: (15.88, 1969.5),
              2**20: (15.99, 1982.6)}  # fmt: skip

    for total, (blocks, tokens) in stated.items():
        assert round(cost.kept(total, total, 128, 16) / total, 2) == blocks
        assert round(cost.visible(total, total, 128, 16) / total, 1) == tokens


def test_the_ratios_of_operations_are_those_of_the_paper_and_tend_to_32() -> None:
    """A prompt of N tokens is N times its mean token, that at N / 2: equations 1 and 12."""
    found = []
    for total in LENGTHS:
        dense, sparse = work_of(1, total // 2)
        found.append(operations(dense) / operations(sparse))
        # A whole prompt does a little better: its first tokens see fewer than 16 blocks, and its last block in part.
        dense, sparse = work_of(total, total)
        assert found[-1] < operations(dense) / operations(sparse) < 1.2 * found[-1]

    assert [round(ratio, 2) for ratio in found] == [1.88, 3.56, 6.40, 10.67, 16.00, 21.33, 25.60, 28.44]
    dense, sparse = work_of(1, 2**30)
    assert 31.9 < operations(dense) / operations(sparse) < 32


def test_the_ratios_of_bytes_in_decode_are_those_of_the_formulas_and_tend_to_8() -> None:
    found = []
    for total in LENGTHS:
        dense, sparse = (work.bytes_read["hbm"] + work.bytes_written["hbm"] for work in work_of(1, total))
        # The formulas leave out one query with its output, and the blocks chosen for it.
        dense, sparse = dense - 2 * 64 * 128 * 2, sparse - 4 * 16 * 4
        assert dense == 2048 * total
        assert sparse == 256 * total + 8 * 4 * (total // 128) + 2048 * 2048
        found.append(dense / sparse)

    assert [round(ratio, 2) for ratio in found] == [2.67, 4.00, 5.33, 6.40, 7.10, 7.52, 7.75, 7.87]
    assert found == sorted(found)


# What a choice asks of caches and schedulers


def test_statistics_of_a_choice() -> None:
    choice = np.array([[[0, -1]], [[0, 1]], [[1, 2]], [[0, 3]]], np.int32)

    found = kernel.statistics(choice)

    assert found == kernel.Statistics(rows=4, kept=7, followed=6, common=2, different=4, hottest=3)
    assert kernel.statistics(choice[:1]) == kernel.Statistics(1, 1, 0, 0, 1, 1)


@given(total=st.integers(1, 80), keep=st.integers(1, 6), new=st.integers(1, 80))
@settings(max_examples=30)
def test_statistics_are_those_of_sets(total: int, keep: int, new: int) -> None:
    new = min(new, total)
    choice = chosen(prompt(total, 2, 1, 4, 3), 4, keep)[total - new :]
    sets = [[set(choice[t, head].tolist()) - {-1} for t in range(new)] for head in range(2)]

    found = kernel.statistics(choice)

    assert found.rows == 2 * new
    assert found.kept == 2 * cost.kept(new, total, 4, keep) == sum(len(kept) for head in sets for kept in head)
    assert found.followed == sum(len(kept) for head in sets for kept in head[1:])
    assert found.common == sum(len(a & b) for head in sets for a, b in itertools.pairwise(head))
    assert found.different == sum(len(set().union(*head)) for head in sets)
    assert found.hottest == max(sum(block in kept for kept in head) for head in sets for block in range(20))
    assert found.different <= found.kept - found.common


LONG = """
import sys, time
import numpy as np
from simcore.models.sparse_attention import kernel

draw = np.random.default_rng(6)
def tensor(*shape): return draw.standard_normal(shape, dtype=np.float32)
n = 2**14
queries, keys, values = tensor(n, 64, 128), tensor(n, 4, 128), tensor(n, 4, 128)
index = tensor(n, 4, 128), tensor(n, 128)
begin = time.perf_counter()
(outputs, choice), _ = kernel.attend(queries, keys, values, *index, 128, 16)
seconds = time.perf_counter() - begin
worst = 0
for t in (0, 1, 5000, n - 1):
    part = [each[:t + 1].astype(np.float64) for each in (keys, values)]
    some = kernel.attend_by_query(queries[t : t + 1].astype(np.float64), *part, choice[t : t + 1], 128)[0]
    worst = max(worst, abs(outputs[t] - some[0]).max())
print(seconds, worst)
print(kernel.statistics(choice))
"""


@pytest.mark.benchmark
def test_16_k_tokens_of_the_paper_s_shape_take_less_than_a_minute() -> None:
    """In a process of its own, with one thread for products of matrices: two wait for each other at every small one,
    which takes long where anything else keeps a core busy."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

    done = subprocess.run(
        [sys.executable, "-c", LONG], env=os.environ | threads, capture_output=True, text=True, check=True
    )

    print(done.stdout)
    seconds, error = map(float, done.stdout.splitlines()[0].split())
    assert seconds < 60
    assert error < 1e-5
