"""Sweeps computed: the same table whatever computes it, nothing twice, failures kept apart."""

from pathlib import Path

import pytest

from simcore import executors
from simcore.assembly import Plans, read_scenario, run
from simcore.errors import InputError
from simcore.executors import Executor, folder
from simcore.executors.store import Store
from simcore.sweep import reading, table

AXES = ["machine.link.latency=300 ns,1 us", "wait.policy=spin,monitor"]


def table_of(tmp_path: Path, name: str, how: Executor) -> tuple[bytes, bytes]:
    swept = executors.run(reading.read("fused_allreduce", AXES), Store(tmp_path / name), how)
    parquet, csv, _ = folder.write(swept, tmp_path / f"{name}.out")
    return parquet.read_bytes(), csv.read_bytes()


def test_processes_give_the_bytes_of_serial(tmp_path: Path) -> None:
    assert table_of(tmp_path, "one", Executor()) == table_of(tmp_path, "two", Executor("processes", 2))


def test_a_sweep_again_computes_nothing_and_a_larger_one_the_rest(tmp_path: Path) -> None:
    store = Store(tmp_path)

    first = executors.run(reading.read("fused_allreduce", AXES), store)
    again = executors.run(reading.read("fused_allreduce", AXES), store)
    more = executors.run(reading.read("fused_allreduce", [AXES[0], "wait.policy=spin,monitor,yield"]), store)

    assert (first.computed, again.computed, more.computed) == (4, 0, 2)
    assert again.records == first.records


def test_points_without_a_scenario_fail_and_the_rest_is_kept(tmp_path: Path) -> None:
    swept = executors.run(reading.read("fused_allreduce", ["machine.gpus=4,1000000"]), Store(tmp_path))

    assert "metrics" in swept.records[0]
    assert len(swept.failures) == 1
    with pytest.raises(InputError, match="bandwith"):
        executors.run(reading.read("fused_allreduce", ["machine.link.bandwith=1 GB/s,2 GB/s"]), Store(tmp_path))


def test_shared_plans_change_nothing() -> None:
    asked, plans = read_scenario("two_jobs"), Plans()

    alone, first, second = run(asked), run(asked, plans=plans), run(asked, plans=plans)

    assert alone.digest == first.digest == second.digest
    assert plans.made == 2


def test_an_axis_that_changes_nothing_is_told(tmp_path: Path) -> None:
    sweep = reading.read("fused_allreduce", ["wait.backoff_first=64 cycles,128 cycles"])
    swept = executors.run(sweep, Store(tmp_path))

    assert "wait.backoff_first changed nothing" in table.doubts(sweep, swept.records)[0]


def test_dask_gives_the_bytes_of_serial(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        there = table_of(tmp_path, "there", Executor("dask", scheduler=cluster.scheduler_address))

    assert there == table_of(tmp_path, "here", Executor())
