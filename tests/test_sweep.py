"""Sweeps: axes, ranges, samples and repeats make the points they should, and bad requests are one line with a place."""

import itertools
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore import cli, executors, sweep, units
from simcore.errors import InputError
from simcore.executors.store import Store
from simcore.sweep import Samples, axes, reading, table
from simcore.units import TIME

SMALL = ["machine.gpus=4", "workloads.0.ranks=4", "workloads.0.params.repeat=1"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("points")


def sheet(tmp_path: Path, text: str, name: str = "s.yaml") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def small(*axes: str) -> list[str]:
    """Return the options that set the axes of a small sweep, whose points are computed here."""
    return [*(part for each in (*SMALL, *axes) for part in ("--set", each)), "--executor", "serial"]


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run the command line in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["simcore", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


@given(
    st.integers(1, 10**9), st.integers(1, 10**9), st.integers(2, 12), st.sampled_from(["linear", "log"]),
    st.sampled_from(["ns", "us", ""]),
)  # fmt: skip
def test_ranges_hold_both_ends_and_rise(low: int, length: int, count: int, spacing: str, unit: str) -> None:
    # Far enough apart for six digits to tell the values apart.
    high = 2 * low + length + 10 * count
    text = f"{low} {unit}..{high} {unit} {spacing} {count}"

    found = axes.read_range(text)

    assert found is not None
    values = [units.parse(value, TIME) if unit else value for value in found.values()]
    scale = {"ns": 10**3, "us": 10**6, "": 1}[unit]
    assert (len(values), values[0], values[-1]) == (count, low * scale, high * scale)
    assert all(a < b for a, b in itertools.pairwise(values))
    for i, value in enumerate(values):
        share = i / (count - 1)
        exact = low + (high - low) * share if spacing == "linear" else low * (high / low) ** share
        assert value == pytest.approx(exact * scale, rel=1e-5, abs=1)


@given(st.integers(-50, 50), st.integers(1, 20), st.integers(1, 10))
def test_steps_lead_from_end_to_end(low: int, step: int, count: int) -> None:
    found = axes.read_range(f"{low}..{low + step * count} step {step}")

    assert found is not None
    assert found.values() == list(range(low, low + step * count + 1, step))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5..3 linear 2", "from the lower to the higher"),
        ("0..10 log 3", "begins above zero"),
        ("1..10 step 4", "whole number of steps"),
        ("1 us..3 linear 2", "same kind of unit"),
        ("1 us..2 GB/s linear 2", "is a time"),
        ("1..3 linear 1", "2 to 1000000 values"),
        ("1..3 linear 9", "some are equal"),
        ("1..9 linear 2.5", "write a range as"),
    ],
)
def test_ranges_that_cannot_be_say_why(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        axes.read_range(text)


@given(st.integers(1, 200), st.integers(0, 5), st.sampled_from(["a", "machine.link.latency"]))
def test_a_latin_hypercube_has_one_point_in_every_part_of_an_axis(count: int, seed: int, name: str) -> None:
    shares = Samples(count, "latin_hypercube", seed).shares(name)

    assert sorted(int(share * count) for share in shares) == list(range(count))
    assert shares == Samples(count, "latin_hypercube", seed).shares(name)
    random = Samples(count, "random", seed).shares(name)
    assert all(0 <= share < 1 for share in random)


def test_axes_of_different_names_are_drawn_apart() -> None:
    samples = Samples(50)

    assert samples.shares("a") != samples.shares("b")
    assert samples.shares("a") != Samples(50, seed=1).shares("a")


def test_a_sheet_makes_the_product_of_its_axes_the_last_turning_fastest(tmp_path: Path) -> None:
    found = reading.read(
        sheet(
            tmp_path,
            "scenario: collective_loop\n"
            "set: {machine.gpus: 4}\n"
            "axes:\n"
            "  machine.link.latency: 1 us..2 us linear 2\n"
            "  kind:\n"
            "    set: {workloads.0.params.algorithm: [ring, tree], machine.sharing: [fair, fifo]}\n"
            "repeats: 2\n",
        )
    )

    rows = [
        (point.values["machine.link.latency"], point.values["kind"], point.values["seed"]) for point in found.points
    ]
    assert rows == list(itertools.product(["1 us", "2 us"], ["ring, fair", "tree, fifo"], [0, 1]))
    assert found.points[-1].changes["machine.sharing"].value == "fifo"
    assert "--set machine.gpus=4 --set 'machine.link.latency=2 us'" in found.command(found.points[-1])
    columns = table.axis_columns(found)
    assert columns == ["machine.link.latency_ps", "kind", "workloads.0.params.algorithm", "machine.sharing", "seed"]


def test_zipped_keys_change_together_and_the_command_line_replaces_an_axis_in_its_place(tmp_path: Path) -> None:
    found = reading.read(
        sheet(tmp_path, "scenario: collective_loop\naxes: {machine.gpus: [4, 8], machine.link.latency: [1 us]}\n"),
        ["machine.gpus=2,4,8"], ["machine.link.bandwidth=1 GB/s,2 GB/s", "wait.policy=spin,monitor"],
    )  # fmt: skip

    assert list(found.axes) == ["machine.gpus", "machine.link.latency", "machine.link.bandwidth+wait.policy"]
    assert len(found.points) == 6
    assert {(p.changes["machine.link.bandwidth"].value, p.changes["wait.policy"].value) for p in found.points} == {
        ("1 GB/s", "spin"), ("2 GB/s", "monitor")
    }  # fmt: skip


LOOP = "scenario: collective_loop\n"
BAD_SHEETS = {
    "scenario: collective_lop\naxes: {a: [1]}\n": "s.yaml:1:11: scenario: unknown scenario 'collective_lop'",
    LOOP + "axis: 3\naxes: {machine.gpus: [1]}\n": "s.yaml:2:1: axis: unknown key 'axis'; did you mean 'axes'",
    LOOP + "axes:\n  machine.link.latensy: [1 us, 2 us]\n": "s.yaml:3:26: machine.link.latensy: unknown key",
    LOOP + "axes:\n  machine.gpus: 5..3 linear 2\n": "s.yaml:3:17: axes.machine.gpus.values: '5..3",
    LOOP + "axes: {machine.gpus: []}\n": "s.yaml:2:22: axes.machine.gpus.values: has one value or more",
    LOOP + "axes: {machine.gpus: [4, 4]}\n": "holds a value twice",
    LOOP + "axes: {a: {set: {machine.gpus: [4, 8], seed: [4]}}}\n": "has 2 entries for 1 values",
    LOOP + "axes: {machine.gpus: 1..4}\n": "does not say how many values",
    LOOP + "axes: {machine.gpus: [4]}\nrepeats: 0\n": "s.yaml:3:10: repeats: is one or more",
    LOOP + "axes: {machine.gpus: [4]}\nsamples: {count: 0}\n": "samples.count: is 1 to",
    LOOP + "axes: {machine.gpus: [2, 4], n: {values: [3, 4], set: machine.gpus}}\n": "both set machine.gpus",
    LOOP + "axes: {wait.policy: [spin, monitor], wait: [{policy: yield}, {policy: spin}]}\n": "both set wait.policy",
    LOOP + "axes: {point: {values: [2, 4], set: machine.gpus}}\n": "an axis cannot be called 'point'",
    LOOP + "axes: 3\n": "s.yaml:2:7: axes: expected keys with values",
    LOOP + "axes: {seed: [1, 2]}\nrepeats: 2\n": "repeats take seeds of their own",
}


@pytest.mark.parametrize(("text", "said"), BAD_SHEETS.items())
def test_bad_sheets_are_one_line_with_the_place(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ended(
        monkeypatch, "sweep", sheet(tmp_path, text), "--out", str(tmp_path / "out"), "--store", str(tmp_path / "p")
    )

    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert said in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "machine.link.bandwith=1 GB/s,2 GB/s"], "did you mean 'bandwidth'"),
        (["--set", "machine.gpus"], "write key=values"),
        (["--set", "machine.link.latency=1 us..2 us"], "or ask for samples"),
        (["--zip", "machine.gpus=2,4", "--zip", "seed=1"], "seed has 1 values; the first zipped key has 2"),
        (["--sampling", "random"], "say how many"),
        (["--scheduler", "tcp://x", "--executor", "serial"], "only of --executor dask"),
        (["--set", "seed=1..1000001 linear 1000001"], "2 to 1000000 values"),
        (["--set", "seed=1..2000 step 1", "--set", "machine.gpus=1..2000 step 1"], "at most 1000000"),
    ],
)
def test_bad_options_are_one_line(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ended(
        monkeypatch, "sweep", "collective_loop", *options, "--out", str(tmp_path / "o"), "--store", str(tmp_path / "p")
    )

    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert said in error


@pytest.mark.parametrize("place", ["other", "file"])
def test_what_is_no_sweep_folder_is_left_alone(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("x", encoding="utf-8")

    code = ended(
        monkeypatch, "sweep", "collective_loop", "--out", str(tmp_path / place), "--store", str(tmp_path / "p")
    )

    assert code == 2
    assert "give another --out" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


ANYTHING = {
    "presets": ["machine.node=hgx-h100,mi300x-8"],
    "topology": ["machine.topology={family: switch},{family: ring}"],
    "jobs": ["workloads.0={model: collective_loop, ranks: 4},{model: collective_loop, ranks: 4, params: {repeat: 2}}"],
    "words and numbers": ["workloads.0.params.chunks=1,4", "machine.sharing=fair,fifo"],
}


@pytest.mark.parametrize("name", ANYTHING)
def test_anything_in_a_scenario_may_vary(
    name: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--store", str(store), "--out", str(tmp_path / "out"))
    code = ended(monkeypatch, "sweep", "collective_loop", *small(*ANYTHING[name]), *where)

    found = pq.read_table(tmp_path / "out" / "points.parquet")
    assert code == 0, capsys.readouterr()
    assert len(found) == 2 ** len(ANYTHING[name])
    assert len(set(found["digest"].to_pylist())) == len(found)


def test_a_sheet_with_samples_runs_to_a_table_with_units(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sheet(
        tmp_path,
        "scenario: collective_loop\nset: {machine.gpus: 4, workloads.0.ranks: 4, workloads.0.params.repeat: 1}\n"
        "axes: {machine.link.latency: 1 us..3 us, machine.link.bandwidth: [10 GB/s, 20 GB/s]}\n"
        "samples: {count: 4, seed: 7}\nmetrics: [jobs.collective_loop.messages]\n",
    )
    command = ("sweep", path, "--executor", "serial", "--store", str(store), "--out", str(tmp_path / "out"))

    first, said = ended(monkeypatch, *command), capsys.readouterr().out
    table_ = pq.read_table(tmp_path / "out" / "points.parquet")
    again, repeated = ended(monkeypatch, *command), capsys.readouterr().out

    assert (first, again) == (0, 0)
    assert "4 points, 4 runs computed, 0 read" in said
    assert "4 points, 0 runs computed, 4 read" in repeated
    assert table_.column_names[:3] == ["point", "machine.link.latency_ps", "machine.link.bandwidth_bytes_per_s"]
    assert sorted(
        int((value - 1_000_000) * 4 / 2_000_001) for value in table_["machine.link.latency_ps"].to_pylist()
    ) == [0, 1, 2, 3]
    assert (
        pa_csv.read_csv(tmp_path / "out" / "points.csv")["makespan_ps"].to_pylist() == table_["makespan_ps"].to_pylist()
    )
    assert table_["jobs.collective_loop.messages"].to_pylist()[0] > 0


def test_a_range_runs_along_its_scale_in_exact_units() -> None:
    found = axes.read_range("50 GB/s..400 GB/s log 4")

    assert found is not None
    assert [Fraction(units.parse(value, units.RATE), 10**9) for value in found.values()] == [50, 100, 200, 400]


def test_columns_carry_units_where_all_values_have_one() -> None:
    assert axes.column("latency", ["1 us", "300 ns"]) == ("latency_ps", [1_000_000, 300_000])
    assert axes.column("mixed", ["1 us", 3]) == ("mixed", ["1 us", 3])
    assert axes.column("shape", [{"a": 1}, [1, 2]]) == ("shape", ['{"a": 1}', "[1, 2]"])


def test_an_axis_that_changed_nothing_is_said_to(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--store", str(store), "--out", str(tmp_path / "out"))
    code = ended(monkeypatch, "sweep", "collective_loop", *small("wait.policy=spin,monitor"), *where)

    assert code == 0
    assert "the axis wait.policy changed nothing" in capsys.readouterr().out


def test_points_that_fail_are_listed_with_what_repeats_them_and_the_others_kept(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--store", str(store), "--out", str(tmp_path / "out"))
    code = ended(monkeypatch, "sweep", "collective_loop", *small("workloads.0.params.algorithm=ring,rung"), *where)

    said = capsys.readouterr().out
    found = pq.read_table(tmp_path / "out" / "points.parquet")
    assert code == 4
    assert "rung" in said
    command = next(line.strip() for line in said.splitlines() if line.strip().startswith("simcore run"))
    assert [value is None for value in found["makespan_ps"].to_pylist()] == [False, True]
    assert "rung" in found["failed"].to_pylist()[1]
    again = subprocess.run(
        [sys.executable, "-m", "simcore.cli", *command.split()[1:]], capture_output=True, text=True, cwd=tmp_path
    )
    assert again.returncode == 2
    assert "rung" in again.stderr


def test_the_schema_of_sweep_files_names_their_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, "schema", "--sweep") == 0

    schema: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == {"scenario", "axes", "name", "set", "samples", "repeats", "metrics"}
    assert "collective_loop" in schema["properties"]["scenario"]["examples"]


def test_what_is_picked_is_all_there_is() -> None:
    whole = reading.read("collective_loop", ["machine.link.latency=1 us..3 us", "wait.policy=spin,monitor"])
    picked = sweep.Picked.of(whole, [{}, {"wait.policy": whole.entry("wait.policy", 0.99)}])

    assert [point.values for point in picked.points] == [{}, {"wait.policy": "monitor"}]
    with pytest.raises(InputError, match=r"both set wait\.policy"):
        sweep.Picked.of(
            reading.read("collective_loop", ["wait.policy=spin,monitor", "wait={policy: spin},{policy: yield}"]), []
        )
    with pytest.raises(InputError, match="repeats"):
        sweep.Picked.of(reading.read("collective_loop"), []).of(sweep.Sweep("x", Path("x"), whole.base, repeats=2), [])


@pytest.mark.parametrize("name", reading.names())
def test_bundled_sweeps_have_scenarios_at_all_points(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, "check", name) == 0
    assert f"points: {len(reading.read(name).points)}\n" in capsys.readouterr().out


def test_the_folder_of_a_sweep_is_no_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--store", str(store), "--out", str(tmp_path / "out"))
    assert ended(monkeypatch, "sweep", "collective_loop", *small("wait.policy=spin,monitor"), *where) == 0

    assert ended(monkeypatch, "run", str(tmp_path / "out"), "--out", str(tmp_path / "run")) == 2
    assert "is the folder of a sweep, not of a run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_store_that_cannot_be_written_ends_the_sweep_in_one_line(tmp_path: Path) -> None:
    for number in range(256):
        (tmp_path / f"{number:02x}").write_text("x", encoding="utf-8")
    asked = reading.read("collective_loop", [*SMALL, "machine.link.latency=1 us,2 us,3 us"])

    for executor in (executors.Executor(), executors.Executor("processes", 2)):
        with pytest.raises(InputError, match="cannot be written"):
            executors.run(asked, Store(tmp_path), executor)
