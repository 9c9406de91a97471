"""What the data plane costs beside its peers, measured side by side: `pytest -m benchmark`, some ten minutes.

SimGrid is built from simgrid_peer.cpp where its library is installed (Debian: libsimgrid-dev; for another copy set
CPLUS_INCLUDE_PATH, LIBRARY_PATH and LD_LIBRARY_PATH), and left out elsewhere.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simcore.bench import messages

pytestmark = pytest.mark.benchmark
HERE = Path(__file__).parent


def bench(*arguments: object) -> dict[str, Any]:
    """Return what `simcore bench` prints, measured in a process of its own."""
    command = [sys.executable, "-m", "simcore.cli", "bench", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(done.stdout, end="")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="session")
def simgrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the SimGrid driver, built."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    program = tmp_path_factory.mktemp("peer") / "simgrid_peer"
    command = [compiler, "-O2", "-std=c++17", HERE / "simgrid_peer.cpp", "-lsimgrid", "-o", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("SimGrid is not installed")
    return program


def run_simgrid(program: Path, *arguments: object) -> dict[str, Any]:
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    print(done.stdout, end="")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def list_of(nodes: int, count: int, folder: Path) -> Path:
    listed = messages.permutation_and_incast(nodes, count)
    columns = (listed.time // 1000, listed.src, listed.dst, listed.size, messages.spines(listed.src, listed.dst))
    path = folder / "w3.csv"
    with path.open("w", encoding="utf-8") as out:
        out.write("id,t_ns,src,dst,bytes,spine,kind\n")
        for number, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            out.write(",".join(map(str, (number, *row))) + ",perm\n")
    return path


@pytest.mark.parametrize(
    ("workload", "size", "count"),
    [
        ("W1", 256, None),
        ("W1", 1024, None),
        ("W2", 256, None),
        ("W2", 1024, None),
        ("W3", 8, 10_000),
        ("W3", 32, 10_000),
        ("W3", 128, 10_000),
        ("W3", 8, 100_000),
        ("W3", 32, 100_000),
    ],
)
def test_fair_takes_a_tenth_of_simgrid(
    workload: str, size: int, count: int | None, simgrid: Path, tmp_path: Path
) -> None:
    if count is None:
        peer = run_simgrid(simgrid, workload.lower(), size)
        found = bench(workload, "--gpus", size, "--policy", "fair")
    else:
        peer = run_simgrid(simgrid, "w3", size, list_of(size, count, tmp_path))
        found = bench(workload, "--nodes", size, "--messages", count, "--policy", "fair")

    print(f"{workload} {size} {count}: {peer['cpu_s'] / found['cpu_s']:.1f} times less than SimGrid {peer['version']}")
    if workload == "W2":
        assert -1e-14 < found["makespan_s"] - peer["makespan_s"] < 2e-12 * (size - 1)
    else:
        assert found["makespan_s"] == pytest.approx(peer["makespan_s"], rel=1e-8)
        assert found["mean_completion_s"] == pytest.approx(peer["mean_completion_s"], rel=1e-8)
    assert found["cpu_s"] * 10 <= peer["cpu_s"]


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (["W1", "--gpus", 1024], 0.32),
        (["W2", "--gpus", 1024], 0.48),
        (["W3", "--nodes", 8, "--messages", 100_000], 0.22),
        (["W3", "--nodes", 32, "--messages", 100_000], 1.4),
        (["W3", "--nodes", 128, "--messages", 100_000], 6.4),
    ],
)
def test_fifo_is_ahead_of_a_congestion_aware_network_in_cpp(arguments: list[object], seconds: float) -> None:
    """The seconds are those of the congestion-aware network of ASTRA-sim (https://github.com/astra-sim/astra-sim),
    alone, on a machine of two x86 cores."""
    assert bench(*arguments, "--policy", "fifo")["cpu_s"] < seconds


@pytest.mark.parametrize("policy", ["fair", "fifo"])
def test_a_million_messages_in_flight_fit_in_a_gibibyte(policy: str) -> None:
    assert bench("W1", "--gpus", 1024, "--policy", policy)["peak_rss_bytes"] < 2**30


def test_ten_million_stamped_writes() -> None:
    found = bench("W4", "--messages", 10_000_000)

    assert found["cpu_s"] < 2.5
    assert found["peak_rss_bytes"] < 2**31


def test_a_million_stamped_writes_beside_plain_simpy() -> None:
    found = bench("W4", "--messages", 1_000_000, "--twin")

    assert found["makespan_s"] == 318_310_687 / 10**12
    assert found["ratio"] >= 100


@pytest.mark.parametrize("wait", ["spin", "monitor"])
@pytest.mark.parametrize(("count", "seconds"), [(1_000_000, 2), (2_550_000, 3)])
def test_a_write_of_one_of_255_eidolons_costs_a_microsecond_at_most(count: int, seconds: float, wait: str) -> None:
    found = bench("eidolons", "--gpus", 256, "--messages", count, "--wait", wait)

    assert found["cpu_s"] < seconds
    assert found["cpu_s"] / found["messages"] < 1e-6


@pytest.mark.parametrize("policy", ["fair", "fifo"])
def test_a_closed_loop_beside_plain_simpy(policy: str) -> None:
    assert bench("closed-loop", "--policy", policy, "--twin")["ratio"] >= 5


def test_injections_cost_no_more_than_twice_the_two_apart() -> None:
    assert bench("injections")["ratio"] <= 2


@pytest.mark.parametrize("policy", ["fair", "fifo"])
def test_a_steady_load_costs_the_same_per_message(policy: str) -> None:
    found = [
        bench("W3", "--nodes", 32, "--load", 0.3, "--messages", count, "--policy", policy)
        for count in (10_000, 100_000, 1_000_000)
    ]

    each = [one["cpu_s"] / one["messages"] for one in found]
    print(f"{policy}: " + ", ".join(f"{1e6 * one:.2f} us" for one in each))
    assert max(each) <= 1.5 * min(each)
