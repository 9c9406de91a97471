"""Studies: known answers, the same with any number of workers, formulas, and errors in one line."""

import builtins
import itertools
import math
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore import cli
from simcore.errors import InputError
from simcore.executors import Executor
from simcore.executors.store import Store
from simcore.studies import folder, formula, optimum, sensitivity
from simcore.sweep import reading

# A ring on one machine: its time is linear in the latency, 2 (n - 1) steps a collective, and knows no wait policy.
RING = "collective_loop"
LATENCY = "machine.link.latency=1 us..9 us"
POLICY = "wait.policy=spin,monitor"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("points"))


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Call the command line; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["simcore", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def ring(*axes: str) -> Any:
    return reading.read(RING, [*axes, "machine.gpus=4", "workloads.0.ranks=4"])


def objective(text: str, way: Any = "minimise") -> optimum.Objective:
    return optimum.Objective(formula.read(text, f"--{way}"), way)


def test_one_at_a_time_finds_a_straight_line(store: Store) -> None:
    found = sensitivity.study(ring(LATENCY, POLICY), sensitivity.Asked(), store)

    latency, policy = found.rows
    assert (latency["axis"], policy["axis"]) == ("machine.link.latency", "wait.policy")
    assert (latency["lowest_at"], latency["highest_at"]) == ("1 us", "9 us")
    assert policy["swing"] == 0
    values = [record["metrics"]["makespan_ps"] for record in found.swept.records[1:6]]
    assert (latency["lowest"], latency["highest"]) == (min(values), max(values))
    assert latency["elasticity"] == pytest.approx(math.log(values[-1] / values[0]) / math.log(9))
    assert len({b - a for a, b in itertools.pairwise(values)}) == 1


def test_morris_gives_nothing_to_what_changes_nothing_and_a_line_no_spread(store: Store) -> None:
    found = sensitivity.study(ring(LATENCY, POLICY), sensitivity.Asked("morris", samples=4, seed=3), store)

    latency, policy = found.rows
    assert policy["mu_star"] == policy["sigma"] == 0
    assert latency["mu"] == latency["mu_star"] > 0
    assert latency["sigma"] < 1e-6 * latency["mu"]


@pytest.mark.slow
def test_sobol_of_a_sum_has_no_interactions(store: Store) -> None:
    asked = sensitivity.Asked("sobol", samples=64, seed=1)
    found = sensitivity.study(ring(LATENCY, "workloads.0.params.compute=1 us..9 us"), asked, store)

    assert sum(row["first"] for row in found.rows) == pytest.approx(1, abs=0.15)
    assert all(row["total"] == pytest.approx(row["first"], abs=0.15) for row in found.rows)


def test_a_study_again_computes_nothing(store: Store) -> None:
    asked = sensitivity.Asked("morris", samples=2)
    sensitivity.study(ring(LATENCY), asked, store)

    assert sensitivity.study(ring(LATENCY), asked, store).swept.computed == 0


def test_the_exhaustive_optimum_is_the_least_of_the_grid(store: Store) -> None:
    sweep = ring("machine.link.latency=1 us,2 us,4 us", "machine.link.bandwidth=10 GB/s,20 GB/s,40 GB/s")
    limit = formula.read_limit("makespan_ps <= 1 s", "--keep")

    found = optimum.search(sweep, optimum.Asked((objective("makespan_ps"),), (limit,), budget=9), store)

    spans = [record["metrics"]["makespan_ps"] for record in found.swept.records]
    assert found.exhaustive
    assert len(spans) == 9
    assert [trial.row["makespan_ps"] for trial in found.best] == [min(spans)]


def test_limits_are_kept_or_their_breach_is_said(store: Store) -> None:
    sweep = ring("machine.link.latency=1 us,2 us,4 us,8 us")
    spans = sorted(
        trial.row["makespan_ps"]
        for trial in optimum.search(sweep, optimum.Asked((objective("makespan_ps"),), budget=4), store).trials
    )
    slowest_but_one = formula.read_limit(f"makespan_ps <= {spans[2]}", "--keep")
    none = formula.read_limit(f"makespan_ps <= {spans[0] // 2}", "--keep")
    cheapest = objective("machine.link.latency", "maximise")

    kept = optimum.search(sweep, optimum.Asked((cheapest,), (slowest_but_one,), budget=4), store)
    broken = optimum.search(sweep, optimum.Asked((cheapest,), (none,), budget=4), store)

    assert [trial.row["makespan_ps"] for trial in kept.best] == [spans[2]]
    assert broken.best == []
    assert broken.nearest is not None
    assert broken.nearest.row["makespan_ps"] == spans[0]


@pytest.mark.slow
@pytest.mark.parametrize("goals", [["makespan_ps"], ["makespan_ps", "0 - machine.link.latency"]])
def test_a_search_is_the_same_with_any_number_of_workers(goals: list[str], store: Store, tmp_path: Path) -> None:
    asked = optimum.Asked(tuple(map(objective, goals)), budget=12, seed=5)
    sweep = ring("machine.link.latency=1 us..9 us log", "machine.link.bandwidth=10 GB/s..90 GB/s")

    one = optimum.search(sweep, asked, store)
    two = optimum.search(sweep, asked, Store(tmp_path / "own"), Executor("processes", 2))

    tables = [folder.write_optimum(sweep, found, tmp_path / str(i))[0] for i, found in enumerate((one, two))]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    assert sum(pq.read_table(tables[0])["best"].to_pylist()) == len(one.best) >= 1
    for best in one.best:
        assert not any(all(a < b for a, b in zip(other.costs, best.costs, strict=True)) for other in one.trials)


@given(st.lists(st.integers(1, 50), min_size=3, max_size=3), st.sampled_from(["+", "-", "*", "/"]))
def test_formulas_are_arithmetic(values: list[int], sign: str) -> None:
    row = dict(zip(("a.0.b", "c_ps", "d"), map(float, values), strict=True))
    a, c, d = row.values()
    expected = {"+": a + c, "-": a - c, "*": a * c, "/": a / c}[sign] + 2 * (d - 1)

    assert formula.read(f"a.0.b {sign} c_ps + 2 * (d - 1)", "--minimise").value(row) == expected


def test_quantities_count_in_base_units() -> None:
    limit = formula.read_limit("makespan_ps >= 2 * 20 us", "--keep")

    assert limit.excess({"makespan_ps": 30_000_000}) == pytest.approx(0.25)
    assert limit.excess({"makespan_ps": 50_000_000}) < 0
    assert formula.read("rate / 1 GB/s", "--minimise").value({"rate": 5_000_000_000}) == 5


@pytest.mark.parametrize(
    "text", ["", "a <", "a ** 2", "f(a)", "a[0]", "a if b else c", "__import__('os').x()", "'a'", "a; b"]
)
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--minimise"):
        formula.read(text, "--minimise")


@pytest.mark.parametrize(
    ("formula_", "row", "said"),
    [
        ("a * 1e999 - a * 1e999", {"a": 1}, "is nan"),
        ("a / b", {"a": 1, "b": 0}, "divides by zero"),
        ("a", {"a": None}, "not there"),
        ("a", {"a": "x"}, "no number"),
    ],
)
def test_what_has_no_value_says_why(formula_: str, row: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        formula.read(formula_, "--minimise").value(row)


SETTINGS = ["--set", "machine.gpus=4", "--set", "workloads.0.ranks=4", "--executor", "serial"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["sensitivity", RING], "nothing to vary"),
        (["sensitivity", RING, "--set", LATENCY, "--metric", "makespan"], "did you mean 'makespan_ps'"),
        (["sensitivity", RING, "--set", LATENCY, "--method", "sobol", "--samples", "12"], "power of two"),
        (["optimize", RING, "--set", LATENCY], "give one --minimise"),
        (
            ["optimize", RING, "--set", LATENCY, "--minimise", "makespan_ps", "--keep", "makespan_ps < 3"],
            "FORMULA <= FORMULA",
        ),
        (
            ["optimize", RING, "--set", "machine.link.latency=1 us,2 us", "--minimise", "makespan"],
            "did you mean 'makespan_ps'",
        ),
    ],
)
def test_bad_requests_are_one_line(
    command: list[str], said: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    code = call(monkeypatch, *command, *SETTINGS, "--store", str(store.folder), "--out", str(tmp_path / "out"))

    assert code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error
    assert not (tmp_path / "out").exists()


def test_commands_write_tables_figures_and_what_repeats_the_best(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    axis = ["--set", "machine.link.latency=1 us,2 us,4 us,8 us", *SETTINGS, "--store", str(store.folder)]
    best = ["optimize", RING, *axis, "--minimise", "makespan_ps"]

    first = call(monkeypatch, "sensitivity", RING, *axis, "--out", str(tmp_path / "s"))
    second = call(monkeypatch, *best, "--out", str(tmp_path / "o"))
    missed = call(monkeypatch, *best, "--keep", "makespan_ps <= 1 ps", "--out", str(tmp_path / "m"))

    assert (first, second, missed) == (0, 0, 1)
    said = capsys.readouterr().out
    assert "no point keeps all limits" in said
    assert (
        "simcore run collective_loop --set machine.gpus=4 --set workloads.0.ranks=4 --set 'machine.link.latency=1 us'"
        in said
    )
    assert {path.name for path in (tmp_path / "s").iterdir()} == {
        "sensitivity.parquet", "sensitivity.csv", "sensitivity.png", "manifest.yaml"
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "trials.parquet",
        "trials.csv",
        "optimize.png",
        "manifest.yaml",
    }


def test_a_study_and_a_sweep_do_not_take_each_others_folder(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    axis = ["--set", "machine.link.latency=1 us,2 us", *SETTINGS, "--store", str(store.folder)]
    study, swept = ["--out", str(tmp_path / "study")], ["--out", str(tmp_path / "sweep")]
    assert call(monkeypatch, "sensitivity", RING, *axis, *study) == call(monkeypatch, "sweep", RING, *axis, *swept) == 0
    before = (tmp_path / "study" / "manifest.yaml").read_bytes()

    assert call(monkeypatch, "sweep", RING, *axis, *study) == call(monkeypatch, "sensitivity", RING, *axis, *swept) == 2
    assert "is not a study folder; it is left alone" in capsys.readouterr().err
    assert (tmp_path / "study" / "manifest.yaml").read_bytes() == before
    assert call(monkeypatch, "sensitivity", RING, *axis, *study) == 0


@pytest.mark.parametrize(("library", "extra"), [("SALib", "sensitivity"), ("optuna", "optimize")])
def test_without_the_library_the_extra_is_named(
    library: str, extra: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = builtins.__import__

    def missing(name: str, *more: Any, **others: Any) -> Any:
        if name.partition(".")[0] == library:
            raise ImportError(name)
        return there(name, *more, **others)

    monkeypatch.setattr(builtins, "__import__", missing)

    def study() -> object:
        if library == "SALib":
            return sensitivity.study(ring(LATENCY), sensitivity.Asked("morris"), store)
        return optimum.search(ring(LATENCY), optimum.Asked((objective("makespan_ps"),)), store)

    with pytest.raises(InputError, match=rf"install simcore\[{extra}\]"):
        study()


def test_a_quantity_that_cannot_be_is_one_line() -> None:
    with pytest.raises(InputError, match=r"--keep .*0\.5 ps"):
        formula.read_limit("makespan_ps <= 0.5 ps", "--keep")
