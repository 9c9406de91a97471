"""What notebooks have at hand: the same results as by the long way, errors in one line, figures of their own size."""

import dataclasses
import io
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import simcore
from simcore import InputError, read_scenario, run
from simcore.summary import html

SMALL = {"workloads.0.params.rows": 256, "workloads.0.params.work_groups": 16}


@pytest.fixture(scope="module")
def result() -> simcore.Result:
    return run("fused_gemv", SMALL)


def test_a_run_by_name_with_values_is_the_run_of_the_same_text(result: simcore.Result) -> None:
    asked = read_scenario("fused_gemv", [f"{key}={value}" for key, value in SMALL.items()])

    assert run(asked).digest == result.digest
    assert run("fused_gemv", {**SMALL, "wait.policy": "monitor"}).digest != result.digest


def test_values_stay_what_they_are_in_python() -> None:
    asked = read_scenario("fused_gemv", {"name": "12", "wait": {"policy": "monitor"}, "machine.gpus": 2})

    assert (asked.name, asked.wait.policy, asked.machine.gpu_count) == ("12", "monitor", 2)


def test_a_scenario_that_was_read_takes_no_overrides() -> None:
    with pytest.raises(InputError, match="give its name with the overrides"):
        run(read_scenario("fused_gemv"), SMALL)


def test_a_result_shows_a_line_in_text_and_tables_in_html(result: simcore.Result) -> None:
    shown = result._repr_html_()

    assert repr(result).startswith("<Result: fused_gemv on 4 GPUs of gem5-gpu")
    assert shown.count("<table>") == 2
    assert f"{result.metrics['flags']['flag_reads']} reads in" in shown
    assert set(re.findall(r"</?(\w+)", shown)) == {"p", "b", "table", "tr", "th", "td"}


def test_text_is_no_markup(result: simcore.Result) -> None:
    shown = html(dataclasses.replace(result, warnings=["<script>alert(1)</script>"]))

    assert "<tr><th>warning</th><td>&lt;script&gt;alert(1)&lt;/script&gt;</td></tr>" in shown


def test_an_error_is_one_line_in_a_notebook() -> None:
    with pytest.raises(InputError) as caught:
        run("fused_gemv", {"wait.polcy": "spin"})

    (line,) = caught.value._render_traceback_()
    assert line.startswith("InputError: ")
    assert "did you mean 'policy'?" in line


def test_a_sweep_is_a_row_a_point(tmp_path: Path) -> None:
    points = simcore.run_sweep(
        "fused_gemv",
        SMALL | {"wait.policy": ["spin", "monitor"], "machine.link.bandwidth": "50 GB/s..200 GB/s log 3"},
        together={"machine.link.latency": ["1 us", "2 us"], "machine.gpus": [2, 4]},
        store=tmp_path,
    )

    assert len(points) == 2 * 3 * 2
    assert sorted(set(points["machine.link.bandwidth_bytes_per_s"])) == [50 * 10**9, 100 * 10**9, 200 * 10**9]
    row = points.iloc[-1]
    alone = run(
        "fused_gemv",
        SMALL
        | {
            "wait.policy": row["wait.policy"],
            "machine.link.bandwidth": "200 GB/s",
            "machine.link.latency": "2 us",
            "machine.gpus": 4,
        },
    )
    assert (row["digest"], row["makespan_ps"]) == (alone.digest, alone.metrics["makespan_ps"])


def test_a_sweep_warns_of_an_axis_without_effect_and_of_points_that_failed(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the axis seed changed nothing"):
        simcore.run_sweep("fused_gemv", SMALL | {"seed": [1, 2]}, store=tmp_path)
    with pytest.warns(UserWarning, match="a point failed: .*; simcore run fused_gemv --set .*machine.gpus=-1"):
        points = simcore.run_sweep("fused_gemv", SMALL | {"machine.gpus": [4, -1]}, store=tmp_path)

    assert points["failed"].notna().tolist() == [False, True]


def test_times_of_a_collective_are_those_of_the_command(tmp_path: Path) -> None:
    found = simcore.time_collective("all_reduce", "hgx-h100", ["1 MiB", "2 MiB"], "tree", ranks=4, chunks=2)

    command = ["collective", "bench", "all_reduce", "--machine", "hgx-h100", "--algorithm", "tree", "--ranks", "4"]
    command += ["--chunks", "2", "--from", "1MiB", "--to", "2MiB", "--csv", "times.csv"]
    subprocess.run([sys.executable, "-m", "simcore.cli", *command], cwd=tmp_path, check=True, capture_output=True)
    printed = pd.read_csv(tmp_path / "times.csv")
    assert found[["size_bytes", "time_ps"]].equals(printed[["size_bytes", "time_ps"]])
    assert found["busbw_gb_per_s"].tolist() == pytest.approx(printed["busbw_gb_per_s"].tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("sizes", "how", "said"),
    [
        (["1 MiB"], {"ranks": 9}, "9 ranks need as many GPUs; hgx-h100 has 8"),
        (["1048576"], {}, "sizes: '1048576' has no unit"),
        (["1 us"], {}, "is a time, not a size"),
    ],
)
def test_a_collective_that_cannot_be_timed_is_one_sentence(sizes: list[str], how: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        simcore.time_collective("all_reduce", "hgx-h100", sizes, **how)


def test_figures_are_png_of_few_colours_in_a_notebook_and_any_format_in_a_file(
    result: simcore.Result, tmp_path: Path
) -> None:
    frame = pd.DataFrame(
        {"latency_ps": [1_000, 2_000] * 2, "rate_bytes_per_s": [1e9, 2e9, 3e9, 4e9], "way": list("aabb")}
    )
    figures = [
        simcore.draw_timeline(result),
        simcore.draw_timelines({"one": result, "again": result}, title="Twice"),
        simcore.draw_traffic(result),
        simcore.draw_machine("hgx-h100", {"machine.gpus": 4}),
        simcore.draw_lines(frame, "latency_ps", "rate_bytes_per_s", ["way"], x_label="latency"),
    ]

    for figure in figures:
        picture = Image.open(io.BytesIO(figure._repr_png_()))
        assert (picture.mode, picture.width) == ("P", 1200)
        assert repr(figure) == "Drawing()"
    assert figures[-1].save(tmp_path / "lines.pdf").read_bytes().startswith(b"%PDF")


def test_axes_and_lines_say_the_unit_that_their_columns_have(tmp_path: Path) -> None:
    frame = pd.DataFrame({"link.latency_ps": [1_000, 2_500_000], "size_bytes": [1e6, 1e6], "reads": [1, 2]})

    drawn = simcore.draw_lines(frame, "link.latency_ps", "reads", "size_bytes", x_label="latency").save(
        tmp_path / "x.svg"
    )

    words = re.findall(r"<!-- (.*?) -->", drawn.read_text(encoding="utf-8"))
    assert {"latency (us)", "reads", "1 MB"} <= set(words)


def test_an_experiment_on_which_no_claim_rests_is_run_all_the_same() -> None:
    claims, points = simcore.reproduce("int8_manifold", ["rooflines", "prices"])
    none, _ = simcore.reproduce("int8_manifold", ["prices"])

    assert list(claims.index) == ["12g"]
    assert len(points["prices"]) == 21
    assert list(none.columns) == list(claims.columns)
    assert len(none) == 0


def test_claims_of_one_experiment_are_judged_as_reproduce_does() -> None:
    claims, points = simcore.reproduce("fused_allreduce", ["calibrated"])

    assert list(claims.index) == ["T2"]
    assert claims.loc["T2", "verdict"] == "not scored: fitted"
    assert len(points["calibrated"]) == 9
    with pytest.raises(InputError, match="did you mean 'delays'"):
        simcore.reproduce("fused_allreduce", ["delay"])
