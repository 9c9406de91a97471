"""This machine measured: what is counted as a rate, sheets that load, kernels of the models, and one-line errors."""

import csv
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcore import InputError, Work, calibration, hardware, registry
from simcore.calibration import Benchmark, Machine, Sizes, Timed

TINY = Sizes(16, 4000, 10)
H100 = Machine(
    "cuda", "NVIDIA H100 80GB HBM3", "torch 9.9", {"float32": 5.1e13, "bfloat16": 7.25e14}, 2.9e12, 2.4e6, 85 * 10**9,
    TINY, date(2030, 2, 1),
)  # fmt: skip


class Watch:
    """A library of whose calls the first takes 100 s, and then 3, 1, 2, 3, 1, 2, ... s."""

    title, device, memory, dtypes = "a watch", "nothing", 7, ("float32",)

    def __init__(self) -> None:
        self.runs = 0

    def tensor(self, shape: tuple[int, ...], dtype: str) -> Any:
        return np.zeros(shape, dtype)

    def multiply(self, a: Any, b: Any, to: Any) -> None:
        self.runs += 1

    def copy(self, a: Any, to: Any) -> None:
        """Nothing is copied."""

    def seconds(self, call: Callable[[], object]) -> float:
        if getattr(self, "_last", None) is not call:
            self._last, self._times = call, cycle([3.0, 1.0, 2.0])
            call()
            return 100.0
        call()
        return next(self._times)


def test_rates_are_those_of_the_best_run_and_the_first_does_not_count() -> None:
    watch = Watch()

    found = calibration.machine(watch, "cpu", TINY)

    assert found.throughput == {"float32": 2 * 16**3 / 1.0}
    assert found.bandwidth == 2 * 4000 / 1.0
    assert found.launch == 10**12 / 10
    assert watch.runs == 1 + calibration.LEAST


def test_a_kernel_s_time_is_the_median(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def benchmarks(tensor: Any, device: str, quick: bool) -> Iterator[Benchmark]:
        yield Benchmark(f"of {device}", str(tensor((2, 3), "float32").shape), lambda: None, Work())

    (tmp_path / "benchmarks.py").touch()
    monkeypatch.setattr(registry, "folders", lambda: {"one": tmp_path, "two": tmp_path / "none"})
    monkeypatch.setattr(registry, "part", lambda *of: {("one", "benchmarks", "benchmarks"): benchmarks}[of])

    (found,) = calibration.kernels(Watch(), "cpu", quick=True)

    assert (found.model, found.benchmark.name, found.benchmark.shape) == ("one", "of cpu", "(2, 3)")
    assert (found.duration, found.times) == (2 * 10**12, calibration.LEAST)
    assert not list(calibration.kernels(Watch(), "cpu", quick=True, models=["two"]))


def test_a_sheet_of_a_gpu_lies_over_its_preset(tmp_path: Path) -> None:
    sheet = hardware.Sheet.read(calibration.write_sheet(H100, tmp_path / "mine.yaml", "hgx-h100"))
    preset = hardware.Sheet.read(hardware.find("hgx-h100", tmp_path)).spec()

    spec = sheet.spec()
    assert (spec.name, spec.gpu.memory_bandwidth, spec.gpu.launch) == ("mine", 2_900 * 10**9, 2_400_000)
    assert spec.gpu.throughput == preset.gpu.throughput | {"float32": 51 * 10**12, "bfloat16": 725 * 10**12}
    assert (spec.link, spec.gpus, spec.gpu.clock) == (preset.link, preset.gpus, preset.gpu.clock)
    measured = {key for key, origin in sheet.origins.items() if "NVIDIA H100 80GB HBM3" in origin.source}
    assert measured == {
        "gpu.memory_size", "gpu.memory_bandwidth", "gpu.launch", "gpu.throughput.float32", "gpu.throughput.bfloat16"
    }  # fmt: skip
    for key in measured:
        origin = sheet.origins[key]
        assert origin.kind == "measured"
        assert "torch 9.9" in origin.source
        assert origin.source.endswith("2030-02-01")
        assert origin.note


@pytest.mark.parametrize("bandwidth", [0.3e9, 60e9])
def test_a_sheet_of_a_processor_stands_alone_however_slow_its_memory(tmp_path: Path, bandwidth: float) -> None:
    slow = Machine("cpu", "some CPU", "NumPy 9", {"float32": 1.5e9}, bandwidth, 1e6, 10**9, TINY)

    sheet = hardware.Sheet.read(calibration.write_sheet(slow, tmp_path / "slow.yaml", "common/assumed"))

    assert sheet.spec().gpu.throughput == {"float32": 1_500_000_000}
    assert (sheet.spec().gpus, sheet.spec().gpu.memory_bandwidth) == (1, round(bandwidth))
    assert {origin.kind for origin in sheet.origins.values()} == {"measured", "assumed"}
    assert not [key for key, each in sheet.origins.items() if each.kind == "assumed" and "measured on" in each.source]


def test_the_times_of_kernels_stand_beside_their_roofline(tmp_path: Path) -> None:
    sheet = calibration.write_sheet(H100, tmp_path / "mine.yaml", "hgx-h100")
    work = Work({"bfloat16": 725 * 10**9}, {"hbm": 29 * 10**6}, {"hbm": 0, "l2": 7})

    path = calibration.write_kernels([Timed("a_model", Benchmark("k", "4, 2", print, work), 4 * 10**9, 3)], sheet)

    assert path == tmp_path / "mine.kernels.csv"
    (row,) = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    assert row == {
        "model": "a_model", "kernel": "k", "shape": "4, 2", "time_ps": "4000000000", "runs": "3",
        "operations": "725000000000", "bytes": "29000000", "roofline_ps": "1000000000", "share": "0.2500",
    }  # fmt: skip


def libraries() -> list[Any]:
    torch = [pytest.param("torch", marks=pytest.mark.skipif(not calibration.find_spec("torch"), reason="no torch"))]
    return ["numpy", *torch]


@pytest.mark.parametrize("name", libraries())
def test_the_processor_is_measured_with_numpy_or_torch(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(calibration, "LONG", 0.001)
    if name == "numpy":
        monkeypatch.setattr(calibration, "find_spec", lambda _: None)
    by = calibration.library("cpu")

    found = calibration.machine(by, "cpu", TINY)
    sheet = calibration.write_sheet(found, tmp_path / "cpu.yaml", "common/assumed")
    timed = list(calibration.kernels(by, "cpu", quick=True))

    assert found.library.lower().startswith(name)
    assert {"float32", "float64"} <= found.throughput.keys()
    assert min(*found.throughput.values(), found.bandwidth, found.launch) > 0
    offering = {model for model, folder in registry.folders().items() if (folder / "benchmarks.py").is_file()}
    assert {each.model for each in timed} == offering
    assert "fused_allreduce" in offering
    assert all(each.duration > 0 and each.times >= calibration.LEAST for each in timed)
    assert calibration.write_kernels(timed, sheet).is_file()


def test_the_command_writes_a_sheet_that_presets_shows(tmp_path: Path) -> None:
    def simcore(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "simcore.cli", *words], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = simcore("calibrate", "--device", "cpu", "--quick", "--model", "fused_allreduce", "-o", "here.yaml")

    assert "wrote    here.yaml\n" in shown
    assert "wrote    here.kernels.csv\n" in shown
    assert "gpu.throughput.float32" in simcore("presets", "here.yaml")
    assert {path.name for path in tmp_path.iterdir()} == {"here.yaml", "here.kernels.csv"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--device tpu", "--device tpu: expected cpu or cuda"),
        ("--device cpu -o nowhere/x.yaml", "--out nowhere/x.yaml: expected a YAML file in a folder that exists"),
        ("--device cpu -o x.txt", "--out x.txt: expected a YAML file"),
        ("--device cpu --fits x.yaml", "--fits goes with the bundled curves"),
        ("--device cpu --model nobody", "unknown model 'nobody'"),
        ("--device cpu --model trace_replay", "has no benchmarks.py"),
        ("--device cpu --base nothing", "unknown preset 'nothing'"),
        ("--quick", "--model, --base and --quick go with --device"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(
    words: str, complaint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from simcore import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibration, "machine", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(sys, "argv", ["simcore", "calibrate", *words.split()])

    with pytest.raises(SystemExit) as left:
        cli.main()

    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_a_gpu_is_asked_for_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "find_spec", lambda _: None)

    with pytest.raises(InputError, match="needs torch: pip install"):
        calibration.library("cuda")
