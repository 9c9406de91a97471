"""Sweeps computed: the same table whatever computes it, nothing twice, failures kept apart."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from simcore import executors
from simcore.assembly import Plans, read_scenario, run
from simcore.errors import InputError
from simcore.executors import Executor, folder
from simcore.executors.store import ABOVE, Store
from simcore.simulation import Simulation
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
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        there = table_of(tmp_path, "there", Executor("dask", scheduler=cluster.scheduler_address))

    assert there == table_of(tmp_path, "here", Executor())


KILLED = [
    "machine.link.latency=100 ns..1 us linear 15",
    "machine.link.bandwidth=50 GB/s..400 GB/s log 4",
    "wait.policy=spin,monitor",
]
POINTS = 120
PATIENCE_S = 120


def command(store: Path, out: Path, *options: str) -> list[str]:
    settings = [part for each in KILLED for part in ("--set", each)]
    return [
        sys.executable,
        "-m",
        "simcore.cli",
        "sweep",
        "fused_allreduce",
        *settings,
        "--store",
        str(store),
        "--out",
        str(out),
        *options,
    ]


def kept(store: Path) -> dict[Path, int]:
    """Return the records in a store, each with what tells whether it was written anew."""
    return {path: path.stat().st_mtime_ns for path in store.glob("??/*.json") if not path.name.startswith(".")}


def wait_for(what: Callable[[], object], running: "subprocess.Popen[str] | None" = None) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end
        assert running is None or running.poll() is None, running.communicate()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of the sweep, computed here."""
    folder_ = tmp_path_factory.mktemp("whole")
    swept = executors.run(reading.read("fused_allreduce", KILLED), Store(folder_ / "store"))
    return folder.write(swept, folder_ / "out")[0]


def workers_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_killed_worker_and_a_killed_parent_lose_nothing_and_compute_nothing_twice(
    whole: Path, tmp_path: Path
) -> None:
    store, out = tmp_path / "store", tmp_path / "out"
    with subprocess.Popen(
        command(store, out, "--workers", "2"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        wait_for(lambda: len(kept(store)) >= 8, running)
        os.kill(workers_of(running.pid)[0], signal.SIGKILL)
        there = len(kept(store))
        # The sweep goes on without it.
        wait_for(lambda: len(kept(store)) >= min(there + 10, POINTS), running)
        # One more began when that one was killed. Stopped, their parent begins no other.
        running.send_signal(signal.SIGSTOP)
        workers = workers_of(running.pid)
        running.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers))
    before = kept(store)

    done = subprocess.run(command(store, out, "--workers", "2"), capture_output=True, text=True, check=True)

    assert f"{POINTS} points, {POINTS - len(before)} runs computed, {len(before)} read, 0 points failed" in done.stdout
    after = kept(store)
    assert {path: after[path] for path in before} == before
    assert len(after) == POINTS
    assert (out / "points.parquet").read_bytes() == whole.read_bytes()


def test_an_interrupt_says_what_is_kept_and_leaves_no_worker(tmp_path: Path) -> None:
    store = tmp_path / "store"
    asked = command(store, tmp_path / "out", "--workers", "2")
    with subprocess.Popen(
        asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        wait_for(lambda: len(kept(store)) >= 4, running)
        # As a terminal does: to every process of the group.
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=PATIENCE_S)

    assert running.returncode == 130
    assert f"of {POINTS} runs are kept" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


@contextmanager
def started(*arguments: str) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.slow
def test_dask_workers_started_by_hand_give_the_bytes_of_serial_though_one_is_killed(
    whole: Path, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    store, file = tmp_path / "store", tmp_path / "scheduler.json"
    cli = [
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(file),
    ]
    worker = [
        "distributed.cli.dask_worker",
        "--scheduler-file",
        str(file),
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
    ]
    with started(*cli) as scheduler:
        wait_for(lambda: file.exists() and file.stat().st_size, scheduler)
        address = json.loads(file.read_text())["address"]
        with (
            started(*worker, "--local-directory", str(tmp_path / "a")) as first,
            started(*worker, "--local-directory", str(tmp_path / "b")),
        ):
            asked = command(store, tmp_path / "out", "--executor", "dask", "--scheduler", address)
            with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
                wait_for(lambda: len(kept(store)) >= 20, running)
                first.kill()
                said, complained = running.communicate(timeout=PATIENCE_S)

    assert running.returncode == 0, complained
    assert f"{POINTS} points, {POINTS} runs computed, 0 read, 0 points failed" in said
    assert (tmp_path / "out" / "points.parquet").read_bytes() == whole.read_bytes()


def test_records_that_cannot_be_read_are_computed_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = executors.run(reading.read("fused_allreduce", AXES), store)
    broken = list(kept(tmp_path))[:2]
    broken[0].write_bytes(b"{")
    broken[1].write_bytes(b"[]")

    again = executors.run(reading.read("fused_allreduce", AXES), store)

    assert again.computed == 2
    assert again.records == first.records


def test_a_program_cannot_change_a_shared_plan() -> None:
    asked = read_scenario("fused_gemv", ["workloads.0.params.payload=real", "workloads.0.params.rows=64"])

    arrays = arrays_of(Plans().of(asked.workloads[0], 1, Simulation(seed=0)))

    assert len(arrays) > 3
    with pytest.raises(ValueError, match="read-only"):
        arrays[0][:] = 0
    assert not any(array.flags.writeable for array in arrays)


def arrays_of(part: object) -> "list[np.ndarray]":
    if isinstance(part, np.ndarray):
        return [part]
    if isinstance(part, list | tuple):
        return [array for each in part for array in arrays_of(each)]
    if isinstance(part, dict):
        return arrays_of(list(part.values()))
    return arrays_of(list(vars(part).values())) if hasattr(part, "__dict__") else []


def test_what_no_run_reaches_is_no_part_of_a_records_key() -> None:
    program = (
        "import sys, simcore; from simcore import assembly\n"
        "asked = [assembly.read_scenario(name) for name in ('fused_gemv', 'trace_replay', 'two_jobs')]\n"
        "[assembly.run(each) for each in asked]\n"
        "print(*{name.split('.')[1] for name in sys.modules if name.startswith('simcore.')})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    reached = set(done.stdout.split()) - {"models", "scenarios", "traces"}

    assert reached & set(ABOVE) == set()
    core = {
        path.stem
        for path in Path(executors.__file__).parents[1].glob("*")
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    unreached = core - reached - {"__init__"}
    # Of the formats and of what only some scenarios need, a change recomputes too much at worst.
    assert unreached - set(ABOVE) <= {"fit", "bench"}
