"""Claims of papers: statistics, verdicts, what a malformed file says, and the commands that run it all."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import simcore
from simcore import plot, registry, scenario
from simcore.claims import cells, experiments, figures, reading, reproduction, statistics, verdicts
from simcore.claims.sheet import Claim, Unscored
from simcore.claims.statistics import StatisticError
from simcore.errors import InputError
from simcore.plot import _timelines

ROWS = [
    {"wait": wait, "delay_us": delay, "reads": base + slope * delay, "digest": f"{wait}{delay}"}
    for wait, base, slope in (("spin", 100, 13), ("monitor", 300, 0))
    for delay in (0, 10, 20, 40)
]
SPIN = statistics.chosen(ROWS, {"wait": "spin"})


def values(kind: str, rows: Any = SPIN, **arguments: Any) -> list[float]:
    found = {
        "value": statistics.Value, "ratio": statistics.Ratio, "reduction": statistics.Reduction,
        "spread": statistics.Spread, "distinct": statistics.Distinct, "turns": statistics.Turns,
        "mean": statistics.Mean, "slope": statistics.Slope,
        "r2": statistics.R2, "growth": statistics.Growth, "share": statistics.Share,
        "slope_spread": statistics.SlopeSpread,
        "paired": statistics.Paired,
    }[kind](kind=kind, **arguments)  # fmt: skip
    result: list[float] = found.of_rows(rows)
    return result


@pytest.mark.parametrize(
    ("kind", "arguments", "expected"),
    [
        ("value", {"y": "reads"}, [100, 230, 360, 620]),
        ("mean", {"y": "reads"}, [327.5]),
        ("ratio", {"y": "reads", "of": {"delay_us": 40}, "to": {"delay_us": 0}}, [6.2]),
        ("reduction", {"y": "reads", "of": {"delay_us": 0}, "to": {"delay_us": 40}}, [1 - 100 / 620]),
        ("spread", {"y": "reads"}, [6.2]),
        ("distinct", {"y": "digest"}, [4]),
        ("turns", {"x": "delay_us", "y": "reads", "direction": "rising"}, [0]),
        ("turns", {"x": "delay_us", "y": "reads", "direction": "falling"}, [3]),
        ("slope", {"x": "delay_us", "y": "reads"}, [13]),
        ("r2", {"x": "delay_us", "y": "reads"}, [1]),
        ("growth", {"x": "delay_us", "y": "reads", "at": 200}, [27]),
        ("share", {"x": "delay_us", "y": "reads"}, [0.13]),
    ],
)
def test_a_statistic_is_what_its_name_says(kind: str, arguments: dict[str, Any], expected: list[float]) -> None:
    assert values(kind, **arguments) == pytest.approx(expected)


def test_a_flat_column_neither_rises_nor_falls_and_is_a_perfect_line() -> None:
    flat = statistics.chosen(ROWS, {"wait": "monitor"})

    turns = {d: values("turns", flat, x="delay_us", y="reads", direction=d)[0] for d in
             ("rising", "falling", "not_falling", "not_rising")}  # fmt: skip
    assert turns == {"rising": 3, "falling": 3, "not_falling": 0, "not_rising": 0}
    assert values("r2", flat, x="delay_us", y="reads") == [1]
    assert values("spread", flat, y="reads") == [1]


def test_slopes_are_compared_over_the_groups_of_a_column() -> None:
    rows = [row | {"reads": row["reads"] * (1 if row["wait"] == "spin" else 0) + 26 * row["delay_us"]} for row in ROWS]

    assert values("slope_spread", rows, x="delay_us", y="reads", over="wait") == pytest.approx([39 / 26])


@given(st.lists(st.tuples(st.floats(1, 9), st.floats(1, 9)), min_size=3, max_size=9))
def test_paired_differences_are_those_of_a_t_test(pairs: list[tuple[float, float]]) -> None:
    from scipy.stats import ttest_rel

    rows: list[dict[str, Any]] = []
    for seed, (a, b) in enumerate(pairs):
        rows += [{"how": "old", "seed": seed, "ms": b}, {"how": "new", "seed": seed, "ms": a}]
    rows.reverse()
    sides: dict[str, Any] = {"y": "ms", "of": {"how": "new"}, "to": {"how": "old"}, "over": "seed"}

    found = {name: values("paired", rows, gives=name, **sides)[0] for name in ("low", "mean", "high", "sign")}

    a, b = np.array(pairs).T
    assert found["mean"] == pytest.approx((a - b).mean() / b.mean())
    if np.ptp(a - b) > 1e-6:
        test = ttest_rel(a, b)
        interval = test.confidence_interval()
        assert [found["low"], found["high"]] == pytest.approx([interval.low / b.mean(), interval.high / b.mean()])
        assert found["sign"] == (0 if interval.low <= 0 <= interval.high else np.sign(a.mean() - b.mean()))


def test_rows_without_a_partner_are_not_paired() -> None:
    rows = [{"how": how, "seed": seed, "ms": 1} for how, seed in (("old", 0), ("old", 1), ("new", 0))]
    sides: dict[str, Any] = {"y": "ms", "of": {"how": "new"}, "to": {"how": "old"}, "over": "seed"}

    with pytest.raises(StatisticError, match="not paired by seed"):
        values("paired", rows, **sides)
    with pytest.raises(StatisticError, match="not paired by seed"):
        values("paired", [*rows, rows[-1], rows[-1]], **sides)
    with pytest.raises(StatisticError, match="two pairs or more"):
        values("paired", [rows[0], rows[-1]], **sides)


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("ratio", {"y": "reads", "of": {"delay_us": [0, 10]}, "to": {"delay_us": 0}}, "2 rows have delay_us"),
        ("ratio", {"y": "digest", "of": {"delay_us": 0}, "to": {"delay_us": 0}}, "which is no number"),
        ("slope", {"x": "reads", "y": "digest"}, "which is no number"),
    ],
)
def test_rows_that_do_not_give_a_statistic_say_so(kind: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(StatisticError, match=said):
        values(kind, **arguments)


def test_a_line_needs_two_places_and_a_quotient_something_below() -> None:
    with pytest.raises(StatisticError, match="two points or more"):
        values("slope", SPIN[:1], x="delay_us", y="reads")
    with pytest.raises(StatisticError, match="zero"):
        values("ratio", y="delay_us", of={"delay_us": 40}, to={"delay_us": 0})


@given(
    st.lists(
        st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=3, max_size=12, unique_by=lambda p: round(p[0])
    )
)
def test_the_line_is_that_of_numpy(points: list[tuple[float, float]]) -> None:
    x, y = np.array(points).T

    found = statistics.line(x.tolist(), y.tolist())

    slope, intercept = np.polyfit(x, y, 1)
    assert [found.slope, found.intercept] == pytest.approx([slope, intercept], rel=1e-6, abs=1e-6)
    if np.ptp(y) > 1e-3:
        assert found.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2, abs=1e-6)


RING = {
    "basis": "The ring's own arithmetic.",
    "experiments": {
        "sizes": {
            "what": "an all-reduce against its size",
            "scenario": "ring",
            "axes": {
                "ranks": {"values": [2, 4], "set": {"machine.gpus": [2, 4]}},
                "size_MB": {"values": [1, 2, 4], "set": "workloads.0.params.size", "unit": "MB"},
            },
            "keep": ["spans", "flags"],
            "collect": {
                "time_us": "makespan_ps in us",
                "messages": "transfers.messages",
                "moved": "transfers.data_bytes + transfers.flag_bytes",
                "bytes_each": "transfers.data_bytes / transfers.messages",
                "digest": "digest",
                "cpu_s": "cpu_s",
            },
        }
    },
    "claims": [
        {
            "id": "C1", "what": "time is linear in size", "place": "sec. 1", "grade": "derived", "paper": "linear",
            "experiment": "sizes", "each": ["ranks"], "statistic": {"kind": "r2", "x": "size_MB", "y": "time_us"},
            "holds": {"at_least": 0.99},
        },
        {
            "id": "C2", "what": "messages of a ring", "place": "sec. 1", "grade": "docs", "paper": [4, 24],
            "experiment": "sizes", "where": {"size_MB": 1}, "statistic": {"kind": "value", "y": "messages"},
            "holds": {"within": 0.001},
        },
        {
            "id": "C3", "what": "time at 4 MB against 1 MB", "place": "tab. 2", "grade": "2nd",
            "paper": {"low": 1, "high": 9}, "experiment": "sizes", "where": {"ranks": 4},
            "statistic": {"kind": "ratio", "y": "time_us", "of": {"size_MB": 4}, "to": {"size_MB": 1}},
            "holds": {"at_least": 1.5, "at_most": 9}, "qualitative": True,
        },
        {
            "id": "C4", "what": "CPU time", "place": "-", "grade": "derived", "paper": "unknown", "experiment": "sizes",
            "statistic": {"kind": "value", "y": "cpu_s"},
            "unscored": {"why": "wall time", "because": "another machine, another time"},
        },
        {
            "id": "C5", "what": "the clock itself", "place": "tab. 9", "grade": "paper", "paper": 3.5, "unit": "s",
            "unscored": {"why": "not here", "because": "no such machine"},
        },
        {
            "id": "C6", "what": "size of a message", "place": "sec. 2", "grade": "docs", "paper": 250000,
            "experiment": "sizes", "where": {"ranks": 4, "size_MB": 1},
            "statistic": {"kind": "value", "y": "bytes_each"}, "holds": {"within": 0.01},
        },
    ],
    "figures": {
        "time": {
            "kind": "chart", "title": "Time against size", "experiment": "sizes",
            "panels": [
                {"x": "size_MB", "y": "time_us", "series": ["ranks"], "x_label": "size (MB)", "y_label": "time (us)",
                 "fit": True, "lines": [{"label": "nothing", "intercept": 0}],
                 "bars": [{"label": "reported", "x": 2, "low": 1, "high": 30}]},
                {"x": "size_MB", "y": "time_us", "series": ["ranks"], "x_label": "size (MB)", "y_label": "over first",
                 "log": "xy", "over": "first"},
            ],
        },
        "life": {"kind": "timelines", "title": "Two runs", "experiment": "sizes", "runs": "ranks",
                 "where": {"size_MB": 1}},
    },
}  # fmt: skip
SCENARIO = {
    "machine": {"node": "hgx-h100", "gpus": 2},
    "workloads": [
        {
            "model": "collective_loop",
            "params": {"operation": "all_reduce", "algorithm": "ring", "size": "1 MB", "repeat": 1, "compute": "0 us"},
        }
    ],
}
CONSTANTS = {
    "params": {
        "step": {"value": "1 us", "kind": "fitted", "grade": "derived", "source": "tab. 2", "fitted_on": ["C6"]},
    }
}


def copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


def write(folder: Path, claims: Any, constants: Any = CONSTANTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("claims", claims), ("params", constants), ("ring", SCENARIO)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> reproduction.Reproduction:
    folder = write(tmp_path_factory.mktemp("ring"), RING)
    return reproduction.reproduce(reading.read_folder("ring", folder))


def test_claims_get_their_verdicts(done: reproduction.Reproduction) -> None:
    found = {judged.claim.id: judged for judged in done.judged}

    assert {name: judged.verdict for name, judged in found.items()} == {
        "C1": "holds", "C2": "holds", "C3": "consistent", "C4": "not scored", "C5": "not scored", "C6": "not scored",
    }  # fmt: skip
    assert found["C1"].groups == [{"ranks": 2}, {"ranks": 4}]
    assert found["C2"].values == [4, 24]
    assert found["C2"].error == 0
    assert (found["C5"].values, found["C5"].why, found["C5"].because) == ([], "not here", "no such machine")
    assert (found["C6"].why, found["C6"].because) == ("fitted", "params.step was chosen by it")
    assert done.missed == []


def test_points_are_the_product_of_the_axes_and_each_is_its_scenario(done: reproduction.Reproduction) -> None:
    rows = done.found["sizes"].rows

    assert [(row["ranks"], row["size_MB"]) for row in rows] == [(2, 1), (2, 2), (2, 4), (4, 1), (4, 2), (4, 4)]
    asked = simcore.read_scenario(
        str(done.paper.folder / "ring.yaml"), ["machine.gpus=4", "workloads.0.params.size=2 MB"]
    )
    result = simcore.run(asked)
    assert rows[4]["time_us"] == result.metrics["makespan_ps"] / 1e6
    assert rows[4]["digest"] == result.digest == done.found["sizes"].digests[4]
    assert rows[4]["bytes_each"] == result.metrics["transfers"]["data_bytes"] / result.metrics["transfers"]["messages"]
    assert rows[4]["moved"] == result.metrics["transfers"]["data_bytes"] + result.metrics["transfers"]["flag_bytes"]
    spans = done.found["sizes"].tables["spans"]
    mine = [row for row in spans.to_pylist() if (row["ranks"], row["size_MB"]) == (4, 2)]
    assert [{k: row[k] for k in ("location", "t0_ps", "t1_ps")} for row in mine] == [
        {k: row[k] for k in ("location", "t0_ps", "t1_ps")} for row in result.tables["spans"].to_pylist()
    ]


@pytest.mark.parametrize(
    ("holds", "paper", "verdict"),
    [
        ({"at_least": 4.0}, 4.0, "holds"), ({"at_least": 4.1}, 4.0, "misses"),
        ({"at_most": 4.0}, 4.0, "holds"), ({"at_most": 3.9}, 4.0, "misses"),
        ({"equals": 4.0}, 4.0, "holds"), ({"equals": 5.0}, 4.0, "misses"),
        ({"within": 0.05}, 4.1, "holds"), ({"within": 0.02}, 4.1, "misses"),
        ({"within_absolute": 0.2}, 4.1, "holds"), ({"within_absolute": 0.05}, 4.1, "misses"),
        ({"at_least": 3.0, "at_most": 3.5}, "about 3", "misses"),
    ],
)  # fmt: skip
def test_a_criterion_decides(
    done: reproduction.Reproduction, tmp_path: Path, holds: dict[str, float], paper: Any, verdict: str
) -> None:
    sheet = copied(RING)
    sheet["claims"] = [
        copied(RING["claims"][1]) | {"holds": holds, "paper": paper, "where": {"ranks": 2, "size_MB": 1}}
    ]

    (judged,) = verdicts.judge(reading.read_folder("ring", write(tmp_path, sheet, {})), done.found)

    assert judged.verdict == verdict


def test_errors_are_relative_to_the_papers_number_or_range(done: reproduction.Reproduction, tmp_path: Path) -> None:
    sheet = copied(RING)
    base = copied(RING["claims"][1]) | {"holds": {"at_least": 0}, "where": {"ranks": 2, "size_MB": 1}}
    papers = [5.0, {"low": 1, "high": 3}, {"low": 1, "high": 9}, "some"]
    sheet["claims"] = [base | {"id": f"E{i}", "paper": paper} for i, paper in enumerate(papers)]

    judged = verdicts.judge(reading.read_folder("ring", write(tmp_path, sheet, {})), done.found)

    assert [each.error for each in judged] == [pytest.approx(-0.2), pytest.approx(1 / 3), 0, None]


def test_everything_is_written(
    done: reproduction.Reproduction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "citation", lambda name: f"the paper {name}")

    files = reproduction.write(done, tmp_path / "ring")

    names = ["claims.json", "life.png", "sizes.csv", "sizes.flags.parquet", "sizes.spans.parquet", "time.png"]
    assert sorted(path.name for path in files) == names == sorted(path.name for path in (tmp_path / "ring").iterdir())
    record = json.loads((tmp_path / "ring" / "claims.json").read_text())
    assert record["score"] == {"holds": 2, "consistent": 1, "misses": 0, "not scored": 3}
    assert record["versions"]["simcore"] == simcore.__version__
    assert record["experiments"]["sizes"]["axes"]["size_MB"]["set"] == "workloads.0.params.size"
    assert record["experiments"]["sizes"]["seeds"] == [0]
    assert len(record["experiments"]["sizes"]["points"]) == 6
    assert record["claims"][0]["ours"][1]["group"] == {"ranks": 4}
    assert record["constants"]["params.step"]["fitted_on"] == ["C6"]
    with (tmp_path / "ring" / "sizes.csv").open() as stream:
        assert [row["messages"] for row in csv.DictReader(stream)] == ["4"] * 3 + ["24"] * 3
    assert pq.read_table(tmp_path / "ring" / "sizes.spans.parquet").column_names[:3] == ["ranks", "size_MB", "location"]
    reproduction.write(done, tmp_path / "ring")
    (tmp_path / "ring" / "claims.json").unlink()
    with pytest.raises(InputError, match=r"ring: holds files, but no claims\.json"):
        reproduction.write(done, tmp_path / "ring")


def test_a_figure_is_the_same_bytes_every_time(done: reproduction.Reproduction, tmp_path: Path) -> None:
    for name in done.paper.sheet.figures:
        first, *others = figures.draw(done.paper, name, done.found, tmp_path, ["png", "svg", "pdf"], "column")
        held = first.read_bytes()
        assert figures.draw(done.paper, name, done.found, tmp_path, width="column")[0].read_bytes() == held
        assert len(held) > 5_000
        assert [path.suffix for path in others] == [".svg", ".pdf"]


@pytest.mark.parametrize(
    ("figure", "change", "said"),
    [
        ("time", {"x": "digest"}, "figures.time.panels.0: column digest holds '"),
        ("time", {"y": "digest"}, "figures.time.panels.0: column digest holds '"),
        ("life", {"where": {}}, "figures.life: 3 points have ranks = 2; a run is one, choose it by where"),
        ("life", {"where": {"size_MB": [1, 4]}}, "figures.life: 2 points have ranks = 2; a run is one"),
    ],
)
def test_what_no_figure_can_show_is_one_line_with_its_place(
    done: reproduction.Reproduction, figure: str, change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    sheet = copied(RING)
    about = sheet["figures"][figure]
    (about["panels"][0] if figure == "time" else about).update(change)
    paper = reading.read_folder("ring", write(tmp_path, sheet, {}))

    with pytest.raises(InputError) as caught:
        figures.draw(paper, figure, done.found, tmp_path)

    assert str(caught.value).startswith(f"{tmp_path / 'claims.yaml'}:")
    assert said in str(caught.value)


def test_an_output_that_cannot_be_made_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(InputError, match="file: exists and is no folder; give another --out"):
        reproduction.check_folder(tmp_path / "file" / "ring")


BROKEN: list[tuple[str, Any, str]] = [
    ("claims.0.statistic.kind", "r3", "claims.0.statistic: unknown value 'r3'; allowed: value, ratio"),
    ("claims.0.statistic.y", "time", "claims.0.statistic.y: unknown column 'time'; did you mean 'time_us'?"),
    ("claims.0.experiment", "size", "claims.0.experiment: unknown experiment 'size'; did you mean 'sizes'?"),
    ("claims.0.each.0", "rank", "claims.0.each.0: unknown column 'rank'; did you mean 'ranks'?"),
    ("claims.0.grade", "third", "claims.0.grade: unknown value 'third'; allowed: paper, docs, 2nd, derived"),
    ("claims.0.holds", {}, "claims.0.holds: states nothing; allowed: at_least"),
    ("claims.0.holds", {"within": 0.1}, "claims.0.holds.within: needs a number of the paper's"),
    ("claims.0.extra", 1, "claims.0.extra: unknown key 'extra'"),
    ("claims.1.id", "C1", "claims.1.id: 'C1' stands twice"),
    ("claims.1.where", {"size_MB": 3}, "claims.1.where.size_MB: 3 is no value of size_MB; it has 1, 2, 4"),
    ("claims.1.where", {"size": 1}, "claims.1.where.size: unknown axis 'size'"),
    ("claims.2.statistic.of", {"size_MB": 9}, "claims.2.statistic.of.size_MB: 9 is no value"),
    ("claims.2.paper", {"low": 9, "high": 2}, "claims.2.paper.low: is above high, 2"),
    ("claims.4.unscored", None, "claims.4.experiment: is missing: a claim has an experiment, or says why"),
    ("claims.4.unscored.why", "lazy", "claims.4.unscored.why: unknown value 'lazy'; allowed: fitted, wall time"),
    ("experiments.sizes.axes.size_MB.values", [1, 1], "axes.size_MB.values: holds a value twice"),
    ("experiments.sizes.axes.size_MB.values", [], "axes.size_MB.values: has one value or more"),
    ("experiments.sizes.axes.ranks.set", {"machine.gpus": [2]}, "has 1 entries for 2 values"),
    ("experiments.sizes.axes.ranks.unit", "B", "axes.ranks.unit: goes with one key"),
    ("experiments.sizes.axes.location", {"values": [1]}, "axes.location: is a column of spans"),
    ("experiments.sizes.repeats", 0, "experiments.sizes.repeats: is one or more"),
    ("experiments.sizes.collect.ranks", "digest", "experiments.sizes.collect.ranks: is an axis already"),
    ("experiments.sizes.keep", [], "figures.life.experiment: 'sizes' must keep the tables spans and flags"),
    ("figures.time.panels.0.y", "times", "figures.time.panels.0.y: unknown column 'times'"),
    ("figures.time.kind", "pie", "figures.time: unknown value 'pie'; allowed: chart, own, timelines"),
    ("figures.life.runs", "rank", "figures.life.runs: unknown column 'rank'; did you mean 'ranks'?"),
    (
        "figures.own",
        {"kind": "own", "title": "x", "experiments": ["no"]},
        "figures.own.experiments.0: unknown experiment",
    ),
    ("basis", None, "basis:"),
]


@pytest.mark.parametrize(("key", "value", "said"), BROKEN)
def test_a_malformed_file_is_one_line_with_its_place(key: str, value: Any, said: str, tmp_path: Path) -> None:
    sheet = copied(RING)
    *path, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    inner = sheet
    for part in path:
        inner = inner[part]
    inner[last] = value
    folder = write(tmp_path, sheet, {})

    with pytest.raises(InputError) as caught:
        reading.read_folder("ring", folder)

    assert said in str(caught.value)
    file, line, column, _ = str(caught.value).split(":", 3)
    assert file == str(folder / "claims.yaml")
    assert min(int(line), int(column)) > 0
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("collect.time_us", "makespan", "collect.time_us: unknown metric 'makespan'; did you mean 'makespan_ps'?"),
        ("collect.time_us", "makespan_ps in uss", "collect.time_us: unknown unit 'uss'"),
        ("collect.time_us", "a / b / c", "collect.time_us: 'a / b / c' is no path, 'a / b' or 'a + b'"),
        ("collect.time_us", "transfers", "collect.time_us: 'transfers' is no single number"),
        ("collect.time_us", "makespan_ps / flags.waits", "collect.time_us: flags.waits is zero"),
        ("collect.time_us", "measures.none", "collect.time_us: the model 'collective_loop' has no measures.py"),
        ("scenario", "nowhere", "experiments.sizes.scenario: unknown scenario 'nowhere'"),
        ("set", {"machine.gpu": 3}, "(experiment sizes, ranks = 2, size_MB = 1)"),
        ("set", {"machine.gpus.x": 3}, "(experiment sizes, ranks = 2, size_MB = 1)"),
    ],
)
def test_what_only_a_run_can_tell_is_one_line_too(key: str, value: Any, said: str, tmp_path: Path) -> None:
    sheet = copied(RING)
    inner = sheet["experiments"]["sizes"]
    *path, last = key.split(".")
    for part in path:
        inner = inner[part]
    inner[last] = value
    paper = reading.read_folder("collective_loop", write(tmp_path, sheet, {}))

    with pytest.raises(InputError) as caught:
        experiments.run(paper, "sizes")

    assert said in str(caught.value)
    assert str(tmp_path / "claims.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fitted_on": []}, "params.step.fitted_on: names the claims"),
        ({"fitted_on": ["C9"]}, "params.step.fitted_on.0: unknown claim 'C9'"),
        ({"kind": "spec"}, "params.step.fitted_on: names the claims"),
        ({"source": None}, "params.step.source:"),
    ],
)
def test_a_constant_is_honest(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    constants = copied(CONSTANTS)
    constants["params"]["step"] |= change

    with pytest.raises(InputError) as caught:
        reading.read_folder("ring", write(tmp_path, RING, constants))

    assert str(caught.value).startswith(f"{tmp_path / 'params.yaml'}:")
    assert said in str(caught.value)


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run simcore with a paper `ring` installed in ``folder`` as others install theirs."""
    package = write(folder / "ring", RING)
    (package / "__init__.py").write_text('"""A ring, of nobody.\n"""\n', encoding="utf-8")
    about = folder / "papers-1.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: papers\nVersion: 1\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[simcore.models]\nring = ring\n", encoding="utf-8")
    program = "from simcore.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )  # fmt: skip


def test_reproduce_prints_the_table_and_fails_where_a_claim_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = command("reproduce", "ring", "--out", "out", folder=tmp_path)

    assert good.returncode == 0, good.stderr
    lines = good.stdout.splitlines()
    assert lines[0] == "ring: A ring, of nobody."
    assert any(line.startswith("C2") and "24" in line and "holds" in line for line in lines)
    assert any(line.startswith("C5") and "3.5 s" in line and "not scored: not" in line for line in lines)
    assert any(line.startswith("C6") and "fitted" in line for line in lines)
    assert "2 of 3 scored claims hold" in good.stdout
    monkeypatch.setitem(RING["claims"][1], "paper", [4, 25])
    bad = command("reproduce", "ring", "--out", "out", folder=tmp_path)
    assert bad.returncode == 1
    assert "misses" in bad.stdout
    assert bad.stderr.splitlines()[-1] == "missed: ring C2"
    assert json.loads((tmp_path / "out" / "ring" / "claims.json").read_text())["score"]["misses"] == 1


def test_a_figure_alone_is_drawn_from_its_experiments(tmp_path: Path) -> None:
    drawn = command("figure", "ring", "time", "--out", "out", folder=tmp_path)

    assert (drawn.returncode, drawn.stdout) == (0, "wrote    out/ring/time.png\n")
    assert [path.name for path in (tmp_path / "out" / "ring").iterdir()] == ["time.png"]
    wrong = command("figure", "ring", "times", folder=tmp_path)
    assert (wrong.returncode, wrong.stderr) == (
        2, "error: unknown figure of ring 'times'; did you mean 'time'? allowed: time, life\n",
    )  # fmt: skip


def test_an_unknown_paper_is_one_line(tmp_path: Path) -> None:
    done = command("reproduce", "rong", folder=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown paper with claims 'rong'; did you mean 'ring'?")


@pytest.mark.parametrize("name", reading.names())
def test_the_claims_of_every_paper_are_read_and_their_constants_are_those_of_the_model(name: str) -> None:
    paper = reading.read(name)

    assert paper.sheet.claims
    stated = scenario.resolved(registry.load(name).Params())
    for dotted, constant in paper.constants.items():
        group, _, key = dotted.partition(".")
        if group == "params" and key in stated:
            assert stated[key] == constant.value, dotted


@pytest.mark.parametrize(
    ("name", "experiment"), [(name, each) for name in reading.names() for each in reading.read(name).sheet.experiments]
)
def test_every_point_of_every_experiment_is_a_scenario(name: str, experiment: str) -> None:
    asked = [point.values for point, _ in experiments.scenarios(reading.read(name), experiment)]

    assert len({tuple(values.items()) for values in asked}) == len(asked) > 0


@pytest.mark.parametrize("name", reading.names())
def test_what_a_paper_measures_and_draws_itself_is_there(name: str) -> None:
    sheet = reading.read(name).sheet
    columns = " ".join(path for about in sheet.experiments.values() for path in about.collect.values())
    measures = [part.partition(".")[2] for part in columns.split() if part.startswith(f"{experiments.MEASURES}.")]
    own = [figure for figure, about in sheet.figures.items() if about.kind == "own"]

    assert all(registry.part(name, experiments.MEASURES, each) for each in measures)
    assert all(registry.part(name, figures.OWN, each) for each in own)


def test_every_read_is_drawn_where_it_can_have_been(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_timelines, "MOST_MARKS", 4)
    flags = {
        "location": ["rank0.wg0", "rank0.wg1", "rank0.wg2"],
        "policy": ["spin", "monitor", "waiting_atomic"],
        "t0_ps": [0, 10, 20],
        "detected_ps": [80, 90, 90],
        "flag_reads": [8, 3, 1],
    }

    instants, weights, whose = _timelines._reads({"flags": pa.table(flags)})

    assert instants.tolist() == [0, 20, 40, 60, 10, 10, 90, 20]
    assert weights.tolist() == [2, 2, 2, 2, 1, 1, 1, 1]
    assert whose == ["rank0.wg0"] * 4 + ["rank0.wg1"] * 3 + ["rank0.wg2"]


def test_of_many_waiters_some_are_shown_evenly() -> None:
    tables = {"flags": pa.table({"location": [f"rank0.wg{i}" for i in range(256)]})}

    rows = _timelines._waiters({"spin": tables})

    assert len(rows) == _timelines.MOST_ROWS
    assert (rows[0], rows[-1]) == ("rank0.wg0", "rank0.wg255")
    assert _timelines._waiters({"spin": {"flags": pa.table({"location": []})}}) == []


def test_a_run_in_which_nobody_waits_is_drawn_beside_one_in_which_somebody_does(tmp_path: Path) -> None:
    sizes = ["workloads.0.params.rows=64", "workloads.0.params.work_groups=8"]
    runs = {
        gpus: simcore.run(simcore.read_scenario("fused_gemv", [f"machine.gpus={gpus}", *sizes])).tables
        for gpus in ("2", "1")
    }
    assert [len(tables["flags"]) for tables in runs.values()] == [9, 0]

    both = plot.timelines(runs).save(tmp_path / "both.png").read_bytes()

    assert both != plot.timelines({"2": runs["2"], "1": runs["2"]}).save(tmp_path / "twice.png").read_bytes()


@pytest.mark.parametrize(
    ("paper", "ours"),
    [([1.5, 20000], "1.25, 21,000 ms"), (1.5, "1.25 to 21,000 ms (2)"), ([1, 2, 3], "1.25 to 21,000 ms (2)")],
)
def test_our_numbers_stand_each_where_the_paper_has_as_many(paper: Any, ours: str) -> None:
    unscored = Unscored("fitted", "a test")
    claim = Claim(id="A1", what="times", place="table 1", grade="paper", paper=paper, unit="ms", unscored=unscored)
    judged = verdicts.Judged(claim, [1.25, 21000.0], [{}, {}], None, "not scored", "")

    assert cells.row(judged)["ours"] == ours
