"""The page of a run: its text stays text, its detail loses no time, and a browser opens it without complaint."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, needs_chromium
from hypothesis import given
from hypothesis import strategies as st

from simcore import page, read_scenario, run, write_run
from simcore.page import detail, differences
from simcore.page.markup import Chapter, document, element, embedded
from simcore.trace import Recorder

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(run(read_scenario("fused_gemv")), tmp_path_factory.mktemp("runs") / "gemv")


def test_text_never_becomes_markup() -> None:
    made = document(
        HOSTILE, HOSTILE, [Chapter("a", HOSTILE, element("p", {"title": HOSTILE}, HOSTILE))], {"x": HOSTILE}
    )

    assert made.count("<script") == 2
    assert made.count("</script>") == 2
    assert "<img" not in made
    assert json.loads(embedded({"x": HOSTILE})) == {"x": HOSTILE}


def test_the_page_names_no_other_place_to_load_from(folder: Path) -> None:
    made = page.write_run(folder).read_text(encoding="utf-8")

    assert "default-src 'none'" in made
    assert re.findall(r"<(?:link|img|iframe|script src)[ >]", made) == []
    assert "@import" not in made


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 50)), min_size=1, max_size=200), st.integers(4, 40))
def test_merged_bars_cover_the_same_time(spans: list[tuple[int, int]], most: int) -> None:
    row = np.sort(np.array([lane for lane, _ in spans], np.int64))
    length = np.array([each for _, each in spans], np.int64)
    stop = np.concatenate([np.cumsum(length[row == lane]) for lane in range(3)])
    begin = stop - np.concatenate([length[row == lane] for lane in range(3)])
    length = stop - begin

    shift, first = detail.merged(row, begin, stop, most)
    bars = detail._bars(first, begin, stop, row * 0, row * 0, 1)

    assert len(first) <= max(most, 3)
    assert int((bars["stop"] - bars["begin"]).sum()) == int(length.sum())
    assert int(bars["count"].sum()) == len(spans)
    assert all(length[i] < 1 << shift for i in range(len(length)) if i not in set(first.tolist()))


def test_a_million_spans_make_a_small_timeline() -> None:
    recorder, count = Recorder(), 250_000
    for rank in range(4):
        begin = np.arange(count) * 1000
        recorder.extend("spans", {
            "location": [f"rank{rank}"] * count, "t0_ps": begin, "t1_ps": begin + 1000,
            "activity": ["compute", "wait"] * (count // 2),
            "reason": ["", "flag of rank1"] * (count // 2), "what": ["kernel"] * count, "size_bytes": begin * 0,
        })  # fmt: skip

    made = detail.timeline(recorder.tables(), count * 1000)

    assert sum(sum(row["count"]) for row in made["rows"]) == 4 * count
    assert [sum(row["length"]) for row in made["rows"]] == [count * 1000] * 4
    assert len(embedded(made)) < 4_000_000


@needs_chromium
def test_a_browser_opens_the_page_without_an_error(folder: Path, tmp_path: Path, browser: Browser) -> None:
    with browser.page(page.write_run(folder, tmp_path / "report.html")) as opened:
        assert opened.run("document.querySelectorAll('canvas').length") >= 6
        assert opened.problems == opened.requests == []


def test_two_runs_are_told_apart_by_what_was_changed(folder: Path, tmp_path: Path) -> None:
    other = write_run(run(read_scenario("fused_gemv", ["wait.policy=monitor"])), tmp_path / "monitor")

    path, a, b = page.write_comparison(folder, other, tmp_path / "compare.html")

    assert [(each.key, each.first, each.second) for each in differences.inputs(a, b)] == [
        ("wait.policy", "spin", "monitor")
    ]
    changed = {each.key: each for each in differences.outputs(a, b)}
    assert int(changed["flags.flag_reads"].first) > int(changed["flags.flag_reads"].second)
    assert differences.inputs(a, a) == differences.outputs(a, a) == []
    assert path.read_text(encoding="utf-8").count('data-chart="timeline"') == 2
