"""Fits: parameters found again, closed forms equal to what the data plane simulates, sheets that are machines."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from simcore import fit
from simcore.cli import app
from simcore.collectives.library import launched
from simcore.errors import InputError
from simcore.fit import Parameters, Point
from simcore.formats.nccl_tests import Measurement, Output
from simcore.hardware import Sheet
from simcore.schedule import Schedule

US = 10**6
SHAPES = [
    ("all_reduce", "ring"),
    ("all_gather", "ring"),
    ("reduce_scatter", "ring"),
    ("alltoall", "direct"),
    ("sendrecv", "direct"),
    ("all_reduce", "nvls"),
]
TRUTH = Parameters(launch=12.5 * US, latency=0.9 * US, bandwidth=360e9, fill=2.5 * US)


def made(parameters: Parameters, algorithm: str, points: list[Point]) -> list[Point]:
    """Return the points with the time that the parameters predict."""
    times = fit.predicted(parameters, algorithm, points)
    return [replace(point, time=round(time)) for point, time in zip(points, times, strict=True)]


def grid(operation: str, counts: tuple[int, ...] = (2, 4, 8)) -> list[Point]:
    return [Point(operation, n, 2**k, 1) for n in counts for k in range(10, 31)]


@pytest.mark.parametrize(("operation", "algorithm"), SHAPES)
@given(
    ranks=st.sampled_from([2, 3, 4, 8, 16]),
    units=st.integers(1, 2**21),
    launch=st.integers(0, 50 * US),
    latency=st.integers(0, 3 * US),
    bandwidth=st.integers(10**9, 10**12),
    fill=st.integers(0, 20 * US),
)
@settings(max_examples=15)
def test_the_closed_form_is_what_the_data_plane_simulates(
    operation: str, algorithm: str, ranks: int, units: int, launch: int, latency: int, bandwidth: int, fill: int
) -> None:
    parameters = Parameters(launch, 2 * latency, bandwidth, fill)
    point = Point(operation, ranks, 240 * units, 1)

    simulated = fit.simulated(parameters, algorithm, point)

    # A schedule's instants are whole: each of the messages that follow one another is late by up to two.
    steps = fit.shape(operation, algorithm, ranks)[0]
    assert abs(simulated - fit.predicted(parameters, algorithm, [point])[0]) <= 4 * steps + 2


@pytest.mark.parametrize(("operation", "algorithm"), SHAPES[:4])
def test_a_fit_finds_the_parameters_behind_exact_times(operation: str, algorithm: str) -> None:
    hold = {"latency": TRUTH.latency} if algorithm == "direct" else {}

    found = fit.fitted(made(TRUTH, algorithm, grid(operation)), algorithm, hold=hold, fill=True)

    for name in ("launch", "latency", "bandwidth", "fill"):
        assert getattr(found.parameters, name) == pytest.approx(getattr(TRUTH, name), rel=1e-3)
    assert found.error < 1e-6
    assert found.held == tuple(hold)


def test_three_parameters_have_no_fill() -> None:
    truth = replace(TRUTH, fill=0.0)

    found = fit.fitted(made(truth, "ring", grid("all_reduce")), "ring")

    assert found.parameters.fill == 0
    assert found.parameters.bandwidth == pytest.approx(truth.bandwidth, rel=1e-6)
    assert found.parameters.latency == pytest.approx(truth.latency, rel=1e-6)


def test_outliers_pull_little() -> None:
    truth = replace(TRUTH, fill=0.0)
    points = made(truth, "ring", grid("all_reduce"))
    points[5] = replace(points[5], time=points[5].time * 8)
    points[40] = replace(points[40], time=points[40].time * 8)

    found = fit.fitted(points, "ring")

    assert found.parameters.bandwidth == pytest.approx(truth.bandwidth, rel=0.03)
    assert sorted(range(len(points)), key=lambda i: found.residuals[i])[:2] in ([5, 40], [40, 5])


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (grid("all_reduce")[:3], "3 points do not fit 3 parameters"),
        ([Point("all_reduce", n, 2**20, 1) for n in (2, 4) for _ in range(9)], "too few sizes"),
        (grid("all_reduce", (8,)), "one number of ranks cannot tell the latency"),
        (grid("broadcast"), "broadcast by ring is not fitted; ring: all_reduce"),
    ],
)
def test_points_that_tell_too_little_are_refused(points: list[Point], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit.fitted(points, "ring")


def test_launched_puts_a_computation_before_what_would_begin_at_once() -> None:
    columns = [np.array(column) for column in ([0, 1, 0], [1, 0, 1], [8, 8, 8], [0, 0, 0], [0, 0, 0, 2], [0, 1])]

    schedule = launched(Schedule(*columns), 2, 70)

    after = [
        schedule.after[a:b].tolist() for a, b in zip(schedule.after_begin[:-1], schedule.after_begin[1:], strict=True)
    ]
    assert after == [[], [], [0], [1], [2, 3]]
    assert schedule.duration.tolist() == [70, 70, 0, 0, 0]
    assert (schedule.rank[:2].tolist(), schedule.peer[:2].tolist()) == ([0, 1], [0, 1])


def output(rows: list[Measurement], launch: str = "one process a GPU", device: str = "NVIDIA H100 80GB HBM3") -> Output:
    return Output(tuple(rows), launch, device)


def row(line: int, **changes: object) -> Measurement:
    return replace(Measurement("a.txt", line, "all_reduce", 8, 2**20, 40 * US, False, 0), **changes)  # type: ignore[arg-type]


def test_rows_are_left_out_with_their_reason() -> None:
    chosen = fit.selected(
        [
            output(
                [
                    row(1),
                    row(2, in_place=True),
                    row(3, wrong=4),
                    row(4, ranks=1),
                    row(5, size=2**10),
                    row(6, size=2**40),
                    row(7, operation="all_gather"),
                ]
            )
        ],
        operation="all_reduce",
        smallest=2**15,
        largest=2**35,
    )

    assert [point.where for point in chosen.points] == ["a.txt:1"]
    assert chosen.left_out == (
        ("a.txt:2", "in place"),
        ("a.txt:3", "has wrong elements"),
        ("a.txt:4", "moves nothing between GPUs"),
        ("a.txt:5", "has a size outside of what was asked for"),
        ("a.txt:6", "has a size outside of what was asked for"),
        ("a.txt:7", "is of all_gather"),
    )


def test_launch_modes_and_operations_are_never_mixed() -> None:
    with pytest.raises(InputError, match="mix launch modes"):
        fit.selected([output([row(1)]), output([row(1)], "one process for all GPUs")])
    with pytest.raises(InputError, match="all_gather, all_reduce; choose one with --operation"):
        fit.selected([output([row(1), row(2, operation="all_gather")])])
    with pytest.raises(InputError, match="all_reduce, not alltoall"):
        fit.selected([output([row(1)])], operation="alltoall")


def test_a_device_without_a_preset_is_asked_for() -> None:
    assert fit.preset_of("NVIDIA H100 80GB HBM3") == "hgx-h100"
    assert fit.preset_of("AMD Instinct MI300X") == "mi300x-8"
    with pytest.raises(InputError, match=r"no preset is known for 'Tesla K80'; .* --base, one of .*dgx-1-v100"):
        fit.preset_of("Tesla K80")


def nccl_output(path: Path, counts: tuple[int, ...], device: str = "NVIDIA H100 80GB HBM3") -> list[Path]:
    """Write what all_reduce_perf would print on a machine of exactly these parameters, a file a number of ranks."""
    files = []
    for count in counts:
        points = made(TRUTH, "ring", [Point("all_reduce", count, 2**k, 1) for k in range(15, 31)])
        ranks = "\n".join(f"#  Rank {i:2d} Group 0 Pid {i} on node device {i} [0x1b] {device}" for i in range(count))
        rows = "\n".join(
            f"{point.size} {point.size // 4} float sum -1 {point.time / US:.2f} 0.00 0.00 0 {point.time / US:.2f} 0 0 0"
            for point in points
        )
        files.append(path / f"ar{count}.txt")
        files[-1].write_text(
            "# Collective test starting: all_reduce_perf\n"
            f"# nThread 1 nGpus 1 minBytes 32768 maxBytes 1073741824 step: 2(factor) graph: 0\n{ranks}\n"
            "#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   "
            f"busbw #wrong\n{rows}\n# Avg bus bandwidth : 1\n",
            encoding="utf-8",
        )
    return files


def test_the_command_fits_a_machine_and_writes_its_sheet(tmp_path: Path) -> None:
    files = nccl_output(tmp_path, (2, 8))
    sheet = tmp_path / "mine.yaml"

    done = CliRunner().invoke(app, ["fit", *map(str, files), "-o", str(sheet)], catch_exceptions=False)

    assert done.exit_code == 0
    assert re.search(r"^latency   (900|899\.\d|900\.\d) ns a step$", done.stdout, re.MULTILINE)
    assert "bandwidth 360 GB/s a GPU and direction\n" in done.stdout
    assert "left out  32 rows: in place" in done.stdout
    spec = Sheet.read(sheet).spec()
    assert (spec.name, spec.gpus, str(spec.topology)) == ("mine", 8, "switch")
    assert spec.link.bandwidth == pytest.approx(360e9, rel=1e-3)
    assert spec.link.latency == pytest.approx(0.45 * US, rel=1e-2)
    assert Sheet.read(sheet).origins["link.bandwidth"].kind == "fitted"
    assert spec.gpu.memory_size == 80 * 10**9
    assert spec.link.efficiency == []
    assert spec.collective.launch == pytest.approx(TRUTH.launch, rel=1e-2)
    assert spec.collective.fill == pytest.approx(TRUTH.fill, rel=1e-2)
    assert Sheet.read(sheet).origins["collective.fill"].kind == "fitted"


def test_a_fitted_machine_runs(tmp_path: Path) -> None:
    files = nccl_output(tmp_path, (2, 8))
    sheet = tmp_path / "mine.yaml"
    runner = CliRunner()
    runner.invoke(app, ["fit", *map(str, files), "-o", str(sheet)], catch_exceptions=False)

    done = runner.invoke(
        app,
        ["run", "fused_allreduce", "--set", f"machine.node={sheet}", "--out", str(tmp_path / "run")],
        catch_exceptions=False,
    )

    assert done.exit_code == 0
    assert "of mine, switch" in done.stdout


def test_one_number_of_ranks_takes_the_latency_of_the_preset(tmp_path: Path) -> None:
    files = nccl_output(tmp_path, (8,))
    sheet = tmp_path / "mine.yaml"

    done = CliRunner().invoke(app, ["fit", *map(str, files), "-o", str(sheet)], catch_exceptions=False)

    assert "latency   600 ns a step (held at the preset's, for one number of ranks does not tell it)" in done.stdout
    assert Sheet.read(sheet).origins["link.latency"].kind == "assumed"


def test_an_unknown_device_needs_a_base(tmp_path: Path) -> None:
    files = nccl_output(tmp_path, (2, 8), device="Tesla K80")
    sheet = tmp_path / "mine.yaml"

    with pytest.raises(InputError, match="no preset is known for 'Tesla K80'"):
        CliRunner().invoke(app, ["fit", *map(str, files), "-o", str(sheet)], catch_exceptions=False)
    done = CliRunner().invoke(app, ["fit", *map(str, files), "-o", str(sheet), "--base", "dgx-a100"])
    assert done.exit_code == 0


def test_a_sheet_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    files = nccl_output(tmp_path, (2, 8))
    sheet = tmp_path / "none" / "mine.yaml"

    with pytest.raises(InputError, match=r"none/mine\.yaml: cannot be written: no such file or directory"):
        CliRunner().invoke(app, ["fit", *map(str, files), "-o", str(sheet)], catch_exceptions=False)


def test_topo_still_draws_and_imports(tmp_path: Path) -> None:
    picture, sheet, matrix = tmp_path / "machine.png", tmp_path / "mine.yaml", tmp_path / "matrix.txt"
    matrix.write_text("\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tNV12\t0-31\nGPU1\tNV12\t X \t0-31\n", encoding="utf-8")
    runner = CliRunner()

    drawn = runner.invoke(app, ["topo", "fused_allreduce", "--out", str(picture)], catch_exceptions=False)
    imported = runner.invoke(
        app,
        ["topo", "import", str(matrix), "-o", str(sheet), "--base", "dgx-a100", "--nvlink", "25 GB/s"],
        catch_exceptions=False,
    )

    assert picture.is_file()
    assert drawn.exit_code == imported.exit_code == 0
    assert f"{matrix}: 2 GPUs, 1 links, 0 NICs; GPU of dgx-a100" in imported.stdout
    assert Sheet.read(sheet).spec().gpus == 2
