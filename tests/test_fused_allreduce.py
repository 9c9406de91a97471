"""The first paper: the target's sums, counted work, flags by policy, and what an eidolon replays."""

from pathlib import Path

import numpy as np
import pytest

from simcore import Result, Virtual, read_scenario, registry, run, source
from simcore.formats import kineto, profile, writes
from simcore.testing.witness import counted

ALL = registry.load("fused_allreduce")
KERNEL = source.bundle("models") / "fused_allreduce"


def result(*overrides: str) -> Result:
    return run(read_scenario("fused_allreduce", list(overrides)))


def toy(
    folder: Path,
    world: int = 3,
    elements: int = 100,
    algorithm: str = "direct",
    ends: tuple[float, ...] = (5.0, 9.0, 30.0, 12.0),
) -> str:
    """Write a profile of two all-reduces over ``world`` ranks, rank i ending at ``ends[i]`` and 100 us later; return
    its path."""
    group = tuple(range(world))
    traces = []
    for rank in group:
        events = [
            kineto.Collective("all_reduce", at, at + int(ends[rank] * 10**6), 4 * elements, 4, group, i)
            for i, at in enumerate((10**6, 101 * 10**6))
        ]
        traces.append(kineto.Trace(f"rank{rank}", rank, world, "toy", "", True, 0, 1, kineto.Counter(), events, []))
    profile.write_profile(writes.to_profile(traces, algorithm=algorithm), folder / "toy.csv")
    return str(folder / "toy.csv")


@pytest.mark.parametrize("algorithm", ["direct", "ring"])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_target_reduces_to_the_plain_sum(tmp_path: Path, world: int, algorithm: str) -> None:
    """Error at most twice that of summing in the same low precision in another order."""
    path = toy(tmp_path, world, 101, algorithm)
    asked = read_scenario(
        "fused_allreduce",
        [f"workloads.0.params.profile={path}", "workloads.0.params.payload=real", f"machine.gpus={world}"],
    )
    params = asked.workloads[0].params

    found = run(asked).results["rank0"]

    from simcore.simulation import Simulation

    plan = ALL.plan(params, world, 1, Simulation(seed=asked.seed).rng("plan of fused_allreduce"))
    expected = ALL.reference(params, plan)
    assert len(found) == len(expected) == 2 * (1 if algorithm == "direct" else world - 1)
    steps = [step for collective in plan.collectives for step in collective.steps if step.shards]
    for got, want, step in zip(found, expected, steps, strict=True):
        other_order = sum(reversed(step.shards))
        exact = np.sum(np.stack(step.shards), axis=0, dtype=np.float64)
        allowed = 2 * np.abs(other_order - exact).max() + np.spacing(np.abs(exact).max().astype(np.float32))
        assert got.shape == want.shape
        assert np.abs(got - exact).max() <= allowed
        assert np.abs(want - exact).max() <= allowed


@pytest.mark.parametrize("count", [1, 2, 5])
def test_work_is_what_was_done_and_equals_the_formula(count: int) -> None:
    from simcore.models.fused_allreduce import cost, kernel

    shards = [np.arange(7, dtype=np.float32) + i for i in range(count)]

    total, done = kernel.reduce_shards(*shards)
    shape, stated = cost.reduce_shards(*[Virtual((7,), "float32")] * count)

    assert done == stated
    assert done.operations["float32"] == counted(kernel.reduce_shards, shards).most == (count - 1) * 7
    assert done.bytes_read["hbm"] == sum(shard.nbytes for shard in shards)
    assert done.bytes_written["hbm"] == total.nbytes == shape.nbytes
    assert np.array_equal(total, sum(shards))


def test_spin_reads_grow_with_the_delay_and_monitor_reads_stay_flat() -> None:
    """The paper's wake-up time from 0 to 40 us on the real profile."""
    delays = range(0, 41, 10)
    reads = {
        policy: [
            result(f"wait.policy={policy}", f"workloads.0.params.delay={delay} us").metrics["flags"]["flag_reads"]
            for delay in delays
        ]
        for policy in ("spin", "monitor")
    }

    assert all(a < b for a, b in zip(reads["spin"], reads["spin"][1:], strict=False))
    assert max(reads["monitor"]) <= 1.09 * min(reads["monitor"])
    assert reads["monitor"][-1] <= 0.1 * reads["spin"][-1]


def test_other_reads_do_not_depend_on_the_policy_or_the_delay() -> None:
    found = {
        result(f"wait.policy={policy}", f"workloads.0.params.delay={delay} us").metrics["ranks"]["rank0"]["other_reads"]
        for policy in ("spin", "monitor")
        for delay in (0, 40)
    }

    assert len(found) == 1
    assert found.pop() > 0


def test_every_write_of_the_profile_is_carried_at_its_stamp() -> None:
    stated = profile.read_profile(source.bundle("traces") / "ddp_4ranks" / "profile.csv")
    rows = result().tables["transfers"].to_pylist()

    eidolons = sorted((r["src"], r["issued_ps"], r["dst"], r["size_bytes"], r["kind"]) for r in rows if r["src"] != 0)
    expected = sorted(
        (int(rank), int(time), int(dst), int(size), "flag" if flag else "data")
        for rank, time, dst, size, flag in zip(
            stated.rank, stated.time, stated.dst, stated.size, stated.flag, strict=True
        )
        if rank != 0
    )
    assert eidolons == expected
    assert len(rows) == len(stated.rank)


def test_no_flag_is_seen_before_its_data_has_arrived() -> None:
    for sharing in ("fifo", "ideal"):
        tables = result(f"machine.sharing={sharing}").tables
        latest: dict[tuple[int, int], int] = {}
        for row in sorted(tables["transfers"].to_pylist(), key=lambda row: (row["src"], row["sequence"])):
            pair = (row["src"], row["dst"])
            assert row["arrived_ps"] >= latest.get(pair, 0)
            latest[pair] = row["arrived_ps"]


def test_any_rank_may_be_the_target() -> None:
    found = result("workloads.0.params.target=2").metrics["ranks"]

    assert found["rank2"]["flag_reads"] > 0
    assert found["rank0"]["flag_reads"] == found["rank1"]["flag_reads"] == 0


def test_placement_changes_the_links_and_not_the_order_of_ranks() -> None:
    found = result("workloads.0.placement=[gpu3, gpu2, gpu1, gpu0]")

    assert {name.split("->")[0] for name in found.tables["links"]["link"].to_pylist()} == {
        "gpu0",
        "gpu1",
        "gpu2",
        "gpu3",
    }
    assert found.metrics["makespan_ps"] == result().metrics["makespan_ps"]
