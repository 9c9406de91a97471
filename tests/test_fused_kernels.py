"""Fused kernels: tiles, counted work, results on real tensors, the order of stores and flags, who waits for whom."""

import itertools
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from simcore.models.fused_allreduce import cost, exchange, kernel, peers, program
from simcore.models.fused_allreduce.tiles import Tiles

from simcore import InputError, Profile, Result, Virtual, read_profile, read_scenario, registry, run, source
from simcore.formats import recording
from simcore.simulation import Simulation
from simcore.testing.witness import counted, virtual

ALL = registry.load("fused_allreduce")
FOLDER = source.bundle("models") / "fused_allreduce"
SMALL = {
    "gemv_allreduce": {"rows": 37, "inner": 50, "tile_rows": 2},
    "gemm_alltoall": {"rows": 37, "inner": 20, "columns": 11, "tile_rows": 4, "tile_columns": 3},
    "embedding_alltoall": {
        "rows": 37, "columns": 6, "tables": 2, "entries": 19, "pooling": 5, "tile_rows": 3,
    },
}  # fmt: skip
"""Sizes that divide by nothing."""
KERNELS = list(SMALL)
PEERS = ("eidolons", "live")


def asked(kind: str, world: int, *overrides: str, groups: int = 8, **sizes: Any) -> Any:
    """Return the scenario of a small fused kernel with ``world`` live ranks."""
    params = {"kernel": kind, "work_groups": groups, "payload": "real", "peers": "live"} | SMALL[kind] | sizes
    text = "{" + ", ".join(f"{key}: {value}" for key, value in params.items()) + "}"
    return read_scenario("fused_gemv", [f"machine.gpus={world}", f"workloads.0.params={text}", *overrides])


def plan_of(scenario: Any) -> exchange.Plan:
    """Return the plan that a run of ``scenario`` makes."""
    job = scenario.workloads[0]
    plan = ALL.plan(job.params, job.ranks, 1, Simulation(seed=scenario.seed).rng(f"plan of {job.name}"))
    assert isinstance(plan, exchange.Plan)
    return plan


def transfers(result: Result) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = result.tables["transfers"].to_pylist()
    return sorted(rows, key=lambda row: (row["src"], row["sequence"]))


# Tiles

tilings = st.builds(
    Tiles, st.integers(1, 40), st.integers(1, 12), st.integers(1, 9), st.integers(1, 5), st.integers(1, 6),
    st.integers(1, 9),
)  # fmt: skip


@given(tiles=tilings)
def test_every_element_is_in_one_part_and_that_in_the_shard_of_its_owner(tiles: Tiles) -> None:
    times = np.zeros((tiles.rows, tiles.columns), int)
    sizes = np.zeros((tiles.world, tiles.work_groups), int)
    for owner, group in itertools.product(range(tiles.world), range(tiles.work_groups)):
        shard = tiles.shard(owner)
        for rows, columns in tiles.part(owner, group):
            assert shard.start <= rows.start < rows.stop <= shard.stop
            assert 0 < rows.stop - rows.start <= tiles.tile_rows
            assert 0 < columns.stop - columns.start <= tiles.tile_columns
            times[rows, columns] += 1
            sizes[owner, group] += times[rows, columns].size

    assert (times == 1).all()
    assert np.array_equal(sizes, tiles.elements)
    assert [row for owner in range(tiles.world) for row in tiles.shard(owner)] == list(range(tiles.rows))


@given(tiles=tilings)
def test_shards_and_the_work_of_groups_differ_by_one_line_and_one_tile_at_most(tiles: Tiles) -> None:
    lines = [-(-len(tiles.shard(owner)) // tiles.tile_rows) for owner in range(tiles.world)]
    tiles_of = [
        sum(len(tiles.part(owner, group)) for owner in range(tiles.world)) for group in range(tiles.work_groups)
    ]

    assert max(lines) - min(lines) <= 1
    assert max(tiles_of) - min(tiles_of) <= 1


# Work

SIDE = st.integers(1, 9)


def tensor(*shape: int) -> Any:
    return np.arange(1, math.prod(shape) + 1, dtype=np.float32).reshape(shape)


def checked(name: str, payloads: list[Any], **keywords: Any) -> tuple[Any, Any]:
    """Run kernel ``name``; return its outputs and work, which is what was done, and what the formula says."""
    run_kernel = partial(getattr(kernel, name), **keywords)
    outputs, work = run_kernel(*payloads)
    shape, stated = getattr(cost, name)(*map(virtual, payloads), **keywords)
    count = counted(run_kernel, payloads)

    assert work == stated
    assert count.least <= sum(work.operations.values()) <= count.most
    if isinstance(shape, Virtual):
        assert (shape.shape, shape.dtype) == (outputs.shape, str(outputs.dtype))
    return outputs, work


@given(rows=SIDE, inner=SIDE, to=st.sampled_from(["peer", "registers"]))
def test_rows_times_a_vector(rows: int, inner: int, to: str) -> None:
    matrix, vector = tensor(rows, inner), tensor(inner)

    product, work = checked("multiply_vector", [matrix, vector], to=to)

    assert np.array_equal(product, matrix @ vector)
    assert work.operations == {"float32": 2 * rows * inner}
    assert work.bytes_read == {"hbm": 4 * rows * inner, "l2": 4 * inner}
    assert work.bytes_written == {to: 4 * rows}


@given(heights=st.lists(SIDE, min_size=1, max_size=3), inner=SIDE, width=SIDE)
def test_products_of_blocks(heights: list[int], inner: int, width: int) -> None:
    pairs = [(tensor(rows, inner), tensor(inner, width)) for rows in heights]

    products, work = checked("multiply_tiles", [each for pair in pairs for each in pair], to="hbm")

    assert np.array_equal(products, np.concatenate([(a @ b).ravel() for a, b in pairs]))
    assert work.bytes_read == {"hbm": sum(4 * inner * (rows + width) for rows in heights)}
    assert work.bytes_written == {"hbm": sum(4 * rows * width for rows in heights)}


@given(heights=st.lists(SIDE, min_size=1, max_size=3), width=SIDE, pooling=SIDE, seed=st.integers(0, 9))
def test_pooled_entries(heights: list[int], width: int, pooling: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    pairs = [(tensor(7, width), draw.integers(7, size=(rows, pooling))) for rows in heights]

    pooled, work = checked("pool_tiles", [each for pair in pairs for each in pair], to="peer")

    assert np.array_equal(pooled, np.concatenate([table[at].sum(axis=1).ravel() for table, at in pairs]))
    assert work.bytes_read == {"hbm": sum(rows * pooling * (8 + 4 * width) for rows in heights)}
    assert work.bytes_written == {"peer": sum(4 * rows * width for rows in heights)}


@given(count=SIDE, elements=SIDE)
def test_sums_of_parts(count: int, elements: int) -> None:
    parts = [tensor(elements) * (i + 1) for i in range(count)]

    total, work = checked("reduce_parts", parts)

    assert np.array_equal(total, np.sum(parts, axis=0))
    assert work.bytes_read == {"hbm": 4 * (count - 1) * elements}
    assert np.array_equal(parts[0], tensor(elements))


def test_a_kernel_is_launched_once_and_reads_once_what_all_share() -> None:
    shared, work = checked("start", [tensor(5)])

    assert np.array_equal(shared[0], tensor(5))
    assert (work.launches, work.bytes_read) == (1, {"hbm": 20})
    assert kernel.start() == cost.start()


# Results


def within_twice_the_plain_error(found: Any, plan: exchange.Plan, expected: Any) -> bool:
    """Whether ``found`` is no further from ``expected``, in float64, than twice what plain float32 is at worst, a last
    place granted."""
    plain = plan.problem.plain(np.float32)
    if plan.problem.adds:
        total = plain[0].copy()
        for each in plain[1:]:
            total += each
        error = np.abs(total - expected).max(initial=0)
    else:
        exact = plan.problem.plain(np.float64)
        error = max(np.abs(a - b).max(initial=0) for a, b in zip(plain, exact, strict=True))
    last_place = np.spacing(np.float32(np.abs(expected).max(initial=0)))
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    return bool(np.abs(found - expected).max(initial=0) <= 2 * error + last_place)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("world", [1, 2, 3, 5, 8])
def test_every_live_rank_ends_with_what_the_plain_way_gives(kind: str, world: int) -> None:
    scenario = asked(kind, world, "wait.policy=monitor")

    found, plan = run(scenario).results, plan_of(scenario)
    expected = ALL.reference(scenario.workloads[0].params, plan)

    assert len(expected) == world
    for rank in range(world):
        (result,) = found[f"rank{rank}"]
        assert within_twice_the_plain_error(result, plan, expected[rank])


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("gemv_allreduce", {"rows": 3, "tile_rows": 1}),  # owners without rows
        ("gemv_allreduce", {"rows": 1, "inner": 1, "tile_rows": 9}),
        ("gemv_allreduce", {"groups": 1}),
        ("gemv_allreduce", {"groups": 50, "gather_flags": "work_group"}),  # work-groups without tiles
        ("gemv_allreduce", {"rows": 3, "gather_flags": "work_group", "tile_rows": 1}),
        ("gemm_alltoall", {"rows": 2, "tile_rows": 1}),
        ("embedding_alltoall", {"rows": 2, "pooling": 1, "tile_rows": 1}),
    ],
)
def test_any_sizes_will_do(kind: str, sizes: dict[str, Any]) -> None:
    scenario = asked(kind, 4, **sizes)

    found, plan = run(scenario).results, plan_of(scenario)

    for rank, expected in enumerate(ALL.reference(scenario.workloads[0].params, plan)):
        assert within_twice_the_plain_error(found[f"rank{rank}"][0], plan, expected)


@given(
    world=st.integers(1, 6), rows=st.integers(1, 30), tile_rows=st.integers(1, 5), groups=st.integers(1, 12),
    gather=st.sampled_from(["rank", "work_group"]),
)  # fmt: skip
@settings(max_examples=15)
def test_sums_are_those_of_the_ranks_in_their_order_bit_by_bit(
    world: int, rows: int, tile_rows: int, groups: int, gather: str
) -> None:
    sizes = {"rows": rows, "tile_rows": tile_rows, "groups": groups, "gather_flags": gather}
    scenario = asked("gemv_allreduce", world, **sizes)
    found, plan = run(scenario).results, plan_of(scenario)

    problem: Any = plan.problem
    products = [
        kernel.multiply_vector(*problem.inputs(rank, Tiles(rows, 1, rows, 1, 1, 1).part(0, 0)), to="hbm")[0]
        for rank in range(world)
    ]
    total = products[0]
    for product in products[1:]:
        total = total + product
    for rank in range(world):
        assert np.array_equal(found[f"rank{rank}"][0], total[:, np.newaxis])


@pytest.mark.parametrize("kind", KERNELS)
def test_among_eidolons_virtual_and_real_payloads_give_identical_tables(kind: str) -> None:
    real, shapes = (run(asked(kind, 3, peers="eidolons", payload=payload)) for payload in ("real", "virtual"))

    assert real.digest == shapes.digest
    assert real.metrics == shapes.metrics
    assert real.results["rank0"]
    assert not shapes.results["rank0"]


@pytest.mark.parametrize("kind", KERNELS)
def test_a_target_among_eidolons_ends_with_the_same(kind: str) -> None:
    alone, together = (run(asked(kind, 4, peers=peers, target=2)).results["rank2"][0] for peers in ("eidolons", "live"))

    assert np.array_equal(alone, together)


# Order of stores, flags and waits


def by_group(writes: Profile) -> dict[tuple[int, int, int], list[tuple[int, int, bool]]]:
    """Return (dst, size, flag) of the writes of every (rank, step, work-group), in their order."""
    columns = writes.rank, writes.step, writes.group, writes.dst, writes.size, writes.flag
    found: dict[tuple[int, int, int], list[tuple[int, int, bool]]] = {}
    for *key, dst, size, flag in zip(*[column.tolist() for column in columns], strict=True):
        found.setdefault(tuple(key), []).append((dst, size, flag))
    return found


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("gather", ["rank", "work_group"])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_live_rank_writes_what_its_table_says(kind: str, gather: str, groups: int) -> None:
    """The table from which eidolons replay is, work-group by work-group, what a live rank does, in its order."""
    scenario = asked(kind, 4, gather_flags=gather, groups=groups, payload="virtual")
    written = recording.recorded(run(scenario).tables["transfers"], 4, 0, "a run")

    assert by_group(written) == by_group(peers.untimed(plan_of(scenario)))
    assert set(written.rank.tolist()) == set(range(4))


@pytest.mark.parametrize("kind", KERNELS)
def test_a_tile_is_stored_when_it_is_computed_and_the_flag_is_behind_the_last_one_for_an_owner(kind: str) -> None:
    scenario = asked(kind, 3, groups=2, payload="virtual")
    result, tiles = run(scenario), plan_of(scenario).tiles
    writes = recording.recorded(result.tables["transfers"], 3, 0, "a run")
    spans = result.tables["spans"].to_pylist()

    for rank, group, owner in itertools.product(range(3), range(2), range(3)):
        mine = (writes.rank == rank) & (writes.step == 0) & (writes.group == group) & (writes.dst == owner)
        sizes = [4 * (rows.stop - rows.start) * (columns.stop - columns.start)
                 for rows, columns in tiles.part(owner, group)]  # fmt: skip
        ends = [
            row["t1_ps"] for row in spans
            if row["location"] == f"rank{rank}.wg{group}" and row["what"] == f"part of rank{owner}"
        ]  # fmt: skip
        assert len(ends) == len(sizes) > 1
        assert ends == sorted(set(ends))
        stored = [] if owner == rank else [*sizes, exchange.FLAG_BYTES]
        assert writes.size[mine].tolist() == stored
        assert writes.time[mine].tolist() == (ends + ends[-1:] if stored else [])
        assert writes.flag[mine].tolist() == [place == len(sizes) for place, _ in enumerate(stored)]


@pytest.mark.parametrize("kind", KERNELS)
def test_how_many_tiles_a_work_group_has_changes_neither_results_nor_what_is_read(kind: str) -> None:
    """Rows and columns of whole lines, so that no tile ends within one."""
    whole = {"inner": 16, "columns": 16, "tile_columns": 16, "pooling": 2, "tables": 1, "rows": 40}
    few, many = (run(asked(kind, 3, groups=groups, **whole)) for groups in (2, 30))

    for rank in range(3):
        assert np.array_equal(few.results[f"rank{rank}"][0], many.results[f"rank{rank}"][0])
    if kind != "gemv_allreduce":  # whose parts, which it adds up, do end within a line
        reads = [[found.metrics["ranks"][f"rank{rank}"]["other_reads"] for rank in range(3)] for found in (few, many)]
        assert reads[0] == reads[1]


def rows_of(stores: exchange.Stores) -> list[tuple[int, ...]]:
    columns = stores.dst, stores.size, stores.index, stores.group, stores.step
    return list(zip(*[column.tolist() for column in columns], strict=True))


def test_the_table_of_stores_is_in_the_order_in_which_work_groups_go_on() -> None:
    """Rank 1 of 3, two work-groups, seven rows: shards of 2, 2 and 3 rows; (dst, size, word, work-group, step)."""
    tables = {
        gather: plan_of(asked("gemv_allreduce", 3, groups=2, rows=7, tile_rows=1, gather_flags=gather))
        for gather in ("rank", "work_group")
    }

    to_two = [(2, 4, -1, 0, 0), (2, 4, -1, 0, 0), (2, 8, 2, 0, 0), (2, 4, -1, 1, 0), (2, 8, 3, 1, 0)]
    to_zero = [(0, 4, -1, 0, 1), (0, 8, 2, 0, 1), (0, 4, -1, 1, 1), (0, 8, 3, 1, 1)]
    assert rows_of(tables["rank"].stores(1, "ready")) == to_two + to_zero
    assert rows_of(tables["rank"].stores(1, "gathered")) == [
        (2, 4, -1, 0, 3), (0, 4, -1, 0, 4), (2, 4, -1, 1, 3), (0, 4, -1, 1, 4), (2, 8, 1, 1, 3), (0, 8, 1, 1, 4),
    ]  # fmt: skip
    assert rows_of(tables["work_group"].stores(1, "gathered")) == [
        (2, 4, -1, 0, 3), (2, 8, 2, 0, 3), (0, 4, -1, 0, 4), (0, 8, 2, 0, 4),
        (2, 4, -1, 1, 3), (2, 8, 3, 1, 3), (0, 4, -1, 1, 4), (0, 8, 3, 1, 4),
    ]  # fmt: skip


def test_the_table_of_stores_names_every_word_once_and_data_before_its_flag() -> None:
    plan = plan_of(asked("gemv_allreduce", 4, gather_flags="work_group", groups=5))
    for phase, rank in itertools.product(plan.phases, range(4)):
        stores = plan.stores(rank, phase)
        flags = stores.index >= 0
        assert len(set(zip(stores.dst[flags].tolist(), stores.index[flags].tolist(), strict=True))) == flags.sum()
        assert (stores.index[flags] == rank * 5 + stores.group[flags]).all()
        (at,) = np.nonzero(flags)
        assert (np.diff(at, prepend=-1) > 1).all()
        assert at[-1] == len(flags) - 1
        assert (stores.dst[at] == stores.dst[at - 1]).all()
        assert (stores.group[at] == stores.group[at - 1]).all()
        assert (np.diff(stores.step[stores.group == 0]) >= 0).all()
        for to in range(4):
            some = plan.stores(rank, phase, to)
            assert np.array_equal(some.size, stores.size[stores.dst == to])
            assert np.array_equal(some.index, stores.index[stores.dst == to])
            assert np.array_equal(some.step, stores.step[stores.dst == to])


@pytest.mark.parametrize("gather", ["rank", "work_group"])
@pytest.mark.parametrize("kind", KERNELS)
def test_every_flag_that_is_waited_for_is_set_by_somebody_and_every_flag_set_is_waited_for(
    kind: str, gather: str
) -> None:
    for groups, rows in ((1, 37), (5, 37), (50, 37), (8, 3)):
        plan = plan_of(asked(kind, 4, groups=groups, gather_flags=gather, payload="virtual", rows=rows))
        for phase in plan.phases:
            by_group = phase == "ready" or gather == "work_group"
            awaited = [
                (rank, int(plan.index(phase, peer, group)))
                for rank in range(4)
                for group in (range(groups) if by_group else [0])
                for peer in plan.awaited(phase, rank, group)
            ]
            tables = [plan.stores(rank, phase) for rank in range(4)]
            made = [
                (int(dst), int(index))
                for stores in tables
                for dst, index in zip(stores.dst, stores.index, strict=True)
                if index >= 0
            ]
            assert sorted(awaited) == sorted(made)
            assert all(index < plan.words(phase) for _, index in made)


def test_work_groups_compute_for_their_peers_first_in_rotation_and_for_themselves_last() -> None:
    result = run(asked("gemv_allreduce", 4, rows=32, tile_rows=1, groups=8))
    spans = result.tables["spans"].to_pylist()

    for rank, group in itertools.product(range(4), range(8)):
        mine = [row for row in spans if row["location"] == f"rank{rank}.wg{group}"]
        computed = [row["what"] for row in mine if row["activity"] == "compute"]
        owners = [(rank + i) % 4 for i in (1, 2, 3, 0)]
        assert computed == [f"part of rank{owner}" for owner in owners] + ["sum of parts"]
        waits = [row for row in mine if row["activity"] == "wait"]
        assert all(row["reason"].startswith("flag of rank") for row in waits)


@pytest.mark.parametrize("sharing", ["fifo", "ideal"])
def test_no_flag_arrives_before_its_data_and_nothing_is_added_up_before_its_flags(sharing: str) -> None:
    slow = ("machine.link.bandwidth=1 MB/s", "machine.link.latency=3 us", f"machine.sharing={sharing}")
    result = run(asked("gemv_allreduce", 4, *slow, rows=64, tile_rows=1))
    latest: dict[tuple[int, int], int] = {}
    for row in transfers(result):
        pair = row["src"], row["dst"]
        assert row["arrived_ps"] >= latest.get(pair, 0)
        latest[pair] = row["arrived_ps"]

    seen: dict[str, int] = {}
    for row in result.tables["flags"].to_pylist():
        assert row["detected_ps"] >= row["set_ps"] > 0
        seen[row["location"]] = max(seen.get(row["location"], 0), row["detected_ps"])
    sums = {r["location"]: r["t0_ps"] for r in result.tables["spans"].to_pylist() if r["what"] == "sum of parts"}
    assert len(sums) == 32
    assert all(begin == seen[location] for location, begin in sums.items())


def test_a_rank_ends_with_the_last_of_its_gather_flags() -> None:
    slow = ("machine.link.bandwidth=1 MB/s", "machine.link.latency=3 us")
    for gather in ("rank", "work_group"):
        result = run(asked("gemv_allreduce", 3, *slow, gather_flags=gather))
        rows = transfers(result)
        for rank in range(3):
            arrived = max(row["arrived_ps"] for row in rows if row["dst"] == rank)
            assert result.metrics["ranks"][f"rank{rank}"]["end_ps"] >= arrived


# The setting of the paper


def test_the_default_target_waits_for_a_flag_of_every_peer_and_work_group_and_reads_a_line_once() -> None:
    result = run(read_scenario("fused_gemv"))
    found = result.metrics["ranks"]["rank0"]

    matrix, vector, parts = 1024 * 1024 * 4 // 64, 1024 * 4 // 64, 256
    assert found["other_reads"] == matrix + vector + parts == 65_856
    assert found["tiles"] == 1024
    assert result.metrics["flags"]["waits"] == 256 * 3 + 3
    waits = result.tables["flags"].to_pylist()
    assert sorted(row["location"] for row in waits if row["location"] != "rank0") == sorted(
        f"rank0.wg{group}" for group in range(256) for _ in range(3)
    )


def test_eidolons_make_the_target_wait_as_long_as_they_are_late() -> None:
    reads: dict[str, list[int]] = {"spin": [], "monitor": []}
    other = set()
    for policy, delay in itertools.product(reads, range(10, 41, 10)):
        overrides = [f"wait.policy={policy}", f"workloads.0.params.delay={delay} us"]
        result = run(read_scenario("fused_gemv", overrides))
        reads[policy].append(result.metrics["flags"]["flag_reads"])
        other.add(result.metrics["ranks"]["rank0"]["other_reads"])

    # A round trip of 340 ns: 29 or 30 polls of each flag in 10 us.
    assert all(29 * 768 <= b - a <= 30 * 768 for a, b in itertools.pairwise(reads["spin"]))
    assert len(set(reads["monitor"])) == 1
    assert reads["monitor"][0] == 3 * 768 + 3
    assert reads["monitor"][-1] <= 0.1 * reads["spin"][-1]
    assert len(other) == 1


def test_eidolons_write_to_the_target_alone_what_they_would_have_written_there_alive() -> None:
    alone, together = (transfers(run(asked("gemv_allreduce", 4, peers=peers, target=2))) for peers in PEERS)

    def written(rows: list[dict[str, Any]]) -> list[tuple[int, int, str]]:
        return sorted((row["src"], row["size_bytes"], row["kind"]) for row in rows if row["dst"] == 2)

    assert written(alone) == written(together)
    assert {row["dst"] for row in alone if row["src"] != 2} == {2}


@pytest.mark.parametrize("world", [8, 64])
def test_the_work_of_the_target_does_not_depend_on_the_number_of_eidolons(world: int) -> None:
    found = run(read_scenario("fused_gemv", [f"machine.gpus={world}"])).metrics["ranks"]["rank0"]

    shard = 1024 // world
    assert found["tiles"] == 1024
    assert found["other_reads"] == 65_536 + 64 + shard * -(-4 * (world - 1) // 64)


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ("{kernel: gemv_allreduce, rows: 0}", "rows must be 1 or more, not 0"),
        ("{kernel: gemm_alltoall, tile_columns: -1}", "tile_columns must be 1 or more, not -1"),
        ("{kernel: embedding_alltoall, pooling: 0}", "pooling must be 1 or more, not 0"),
        ("{kernel: gemv_allreduce, work_groups: 70000}", "work_groups must be 65536 or fewer, not 70000"),
        ("{kernel: gemv_allreduce, rows: 20000000}", "20000000 tiles; 16777216 or fewer: make rows smaller or tile"),
        ("{kernel: gemv_allreduce, peers: eidolons, target: -1}", "target must be 0 or more, not -1"),
        ("{kernel: gemv_allreduce, peers: eidolons, target: 4}", "target 4 is no rank of 4; they count from 0 to 3"),
        ("{kernel: gemv_allreduce, payload: real, inner: 2000000}", "payload: real needs 32800000000 B of operands"),
    ],
)
def test_what_no_kernel_can_be_is_refused(params: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        run(read_scenario("fused_gemv", [f"workloads.0.params={params}"]))


@pytest.mark.parametrize(
    ("kind", "idle"),
    [
        ("gemv_allreduce", {"delay": "3 us", "target": 1, "tile_columns": 3, "columns": 3, "pooling": 3}),
        ("gemm_alltoall", {"gather_flags": "work_group", "pooling": 3, "tables": 3}),
        ("embedding_alltoall", {"gather_flags": "work_group", "tile_columns": 3, "inner": 3}),
    ],
)
def test_a_run_warns_of_parameters_that_its_kernel_does_not_have(kind: str, idle: dict[str, Any]) -> None:
    warnings = run(asked(kind, 2, **idle)).warnings

    for name in idle:
        assert any(warning.startswith(f"workloads.0.params.{name} is set, but nothing read it") for warning in warnings)


def test_the_stated_setting_is_that_of_the_defaults_and_every_value_has_its_source() -> None:
    stated = yaml.safe_load((FOLDER / "params.yaml").read_text(encoding="utf-8"))
    gpu = read_scenario("fused_gemv").machine.gpu

    for part in stated.values():
        for entry in part.values():
            assert entry.keys() - {"note", "fitted_on"} == {"value", "kind", "grade", "source"}
            assert entry["kind"] in ("spec", "measured", "fitted", "assumed")
            assert entry["grade"] in ("paper", "docs", "2nd", "derived")
    defaults = program.Params()
    assert {name: entry["value"] for name, entry in stated["params"].items()} == {
        name: getattr(defaults, name) for name in stated["params"]
    }
    units = stated["machine"]["compute_units"]["value"]
    assert gpu.throughput["float32"] == units * 4 * 16 * 2 * 10**9
    assert (gpu.clock, gpu.poll_period) == (10**9, 340)


def test_the_late_starts_of_the_claims_are_those_of_the_recorded_training() -> None:
    """By all-reduce, how long after rank 0 each later rank began, in whole us; those at which nobody was are left
    out."""
    recorded = read_profile(source.bundle("traces") / "ddp_4ranks" / "profile.csv")
    late: dict[int, dict[int, int]] = {}
    for number in np.unique(recorded.collective).tolist():
        rows = recorded.collective == number
        begins = [int(recorded.start[rows & (recorded.rank == rank)].min()) for rank in range(4)]
        after = {rank: round((begins[rank] - begins[0]) / 10**6) for rank in (1, 2, 3) if begins[rank] > begins[0]}
        if after:
            late[number] = after

    about = yaml.safe_load((FOLDER / "claims.yaml").read_text(encoding="utf-8"))["experiments"]["real"]["axes"]
    axis = about["operation"]
    stated = [
        {each["rank"]: int(each["by"].removesuffix(" us")) for each in changes}
        for changes in axis["set"]["workloads.0.params.transforms"]
    ]
    assert dict(zip(axis["values"], stated, strict=True)) == late


def test_the_validation_of_the_page_lists_every_claim() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8").partition("## Validation")[2]
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")][2:]
    claims = yaml.safe_load((FOLDER / "claims.yaml").read_text(encoding="utf-8"))["claims"]

    assert [name.strip() for row in rows for name in row.split(",")] == [claim["id"] for claim in claims]
