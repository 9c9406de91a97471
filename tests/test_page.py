"""The page of a run: its text stays text, its detail loses no time, and a browser opens it without complaint."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, needs_chromium
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore import page, read_scenario, run, write_run
from simcore.page import detail, differences
from simcore.page.markup import Chapter, document, element, embedded
from simcore.trace import SCHEMAS, Recorder

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


Lives = list[list[tuple[int, str]]]
LIVES = st.lists(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["compute", "send", "idle"])), min_size=1, max_size=60),
    min_size=1, max_size=3,
)  # fmt: skip
"""Of each rank its spans, which tile its life: length and activity."""


def recorded(lives: Lives) -> tuple[Recorder, int]:
    recorder, ends = Recorder(), [1]
    for rank, life in enumerate(lives):
        stops = np.cumsum([length for length, _ in life])
        ends.append(int(stops[-1]))
        recorder.extend("spans", {
            "location": [f"rank{rank}"] * len(life), "t0_ps": stops - [length for length, _ in life], "t1_ps": stops,
            "activity": [activity for _, activity in life], "reason": [""] * len(life),
            "what": [f"{activity} of {length}" for length, activity in life], "size_bytes": stops * 0,
        })  # fmt: skip
    return recorder, max(ends)


def slow_bars(life: list[tuple[int, str]], below: int) -> list[tuple[int, int, str, int]]:
    """Return (begin, end, activity, spans) of each bar, span by span: short neighbours that begin in the same stretch
    of ``below`` ps are one, in the activity with most of its time."""
    bars: list[list[tuple[int, int, str]]] = []
    now = 0
    for length, activity in life:
        before = bars[-1][-1] if bars else (0, below, "")
        short = max(length, before[1] - before[0]) < below
        if short and before[0] // below == now // below:
            bars[-1].append((now, now + length, activity))
        else:
            bars.append([(now, now + length, activity)])
        now += length
    found = []
    for bar in bars:
        times = {name: sum(stop - begin for begin, stop, each in bar if each == name) for *_, name in sorted(bar)}
        most = min(times, key=lambda name: (-times[name], name))
        found.append((bar[0][0], bar[-1][1], most, len(bar)))
    return found


@given(LIVES, st.integers(3, 40))
@settings(max_examples=60)
def test_a_timeline_is_that_of_its_slow_twin_and_loses_no_time(lives: Lives, most: int) -> None:
    recorder, end = recorded(lives)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detail, "MOST_BARS", most)
        made = detail.timeline(recorder.tables(), end)

    names = [each["name"] for each in made["classes"]]
    for row, life in zip(made["rows"], lives, strict=True):
        stops = np.cumsum(np.array(row["gap"]) + row["length"])
        bars = zip(
            (stops - row["length"]).tolist(), stops.tolist(), (names[kind] for kind in row["kind"]),
            row.get("count", [1] * len(row["kind"])), strict=True,
        )  # fmt: skip
        assert list(bars) == slow_bars(life, made["merged"])
        for name, time in zip(names, row["times"], strict=True):
            assert time == sum(length for length, activity in life if activity == name)
    assert sum(len(row["kind"]) for row in made["rows"]) <= max(most, len(lives)) or made["merged"] > end


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40), st.integers(1, 8)), min_size=1, max_size=60,
             unique_by=lambda row: row[:2]),
    st.integers(5, 60),
)  # fmt: skip
@settings(max_examples=60)
def test_bins_of_links_hold_what_the_table_holds(rows: list[tuple[int, int, int]], cells: int) -> None:
    width, end = 8, 8 * (max(at for _, at, _ in rows) + 1) - 3
    recorder = Recorder()
    for link, at, busy in rows:
        stop = min(end, width * (at + 1))
        used = min(busy, stop - width * at)
        recorder.extend("links", {
            "link": [f"gpu{link}->switch"], "t0_ps": [width * at], "t1_ps": [width * (at + 1)], "busy_ps": [used],
            "size_bytes": [100 * used],
        })  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detail, "MOST_CELLS", cells)
        made = detail.links(recorder.tables(), end)

    table = recorder.tables()["links"].to_pylist()
    spans = np.minimum(made["width"], end - made["width"] * np.arange(made["bins"]))
    for key, scale, column in (("busy", 1, "busy_ps"), ("rate", made["most"] / 1e12, "size_bytes")):
        packed = np.frombuffer(base64.b64decode(made[key]), "<u2").reshape(-1, made["bins"])
        for name, shares in zip(made["names"], packed / detail.SCALE, strict=True):
            slow = [0] * made["bins"]
            for row in table:
                if row["link"] == name:
                    slow[row["t0_ps"] // made["width"]] += row[column]
            assert np.allclose(shares * spans * scale, slow, atol=2 * scale * max(spans) / detail.SCALE)
            assert [share > 0 for share in shares] == [value > 0 for value in slow]
    for name, mean, peak, size in zip(*(made[key] for key in ("names", "mean", "peak", "size")), strict=True):
        own = [row for row in table if row["link"] == name]
        assert mean == pytest.approx(sum(row["busy_ps"] for row in own) / end, abs=1e-6)
        assert peak == pytest.approx(
            max(row["busy_ps"] / (min(end, row["t1_ps"]) - row["t0_ps"]) for row in own), abs=1e-6
        )
        assert size == sum(row["size_bytes"] for row in own)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 99)), max_size=60), st.integers(2, 12))
@settings(max_examples=40)
def test_the_matrix_holds_every_byte_and_message(sent: list[tuple[int, int, int]], most: int) -> None:
    recorder = Recorder()
    whole = {column.name: [0] * len(sent) if column.type != "string" else [""] * len(sent)
             for column in SCHEMAS["transfers"]}  # fmt: skip
    src, dst, size = zip(*sent, strict=True) if sent else ((), (), ())
    recorder.extend("transfers", whole | {"src": src, "dst": dst, "size_bytes": size})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detail, "MOST_RANKS", most)
        made = detail.pairs(recorder.tables(), [f"rank{i}" for i in range(10)])

    each = made["each"]
    assert len(made["names"]) <= most
    slow: dict[tuple[int, int], list[int]] = {}
    for a, b, bytes_ in sent:
        cell = slow.setdefault((a // each, b // each), [0, 0])
        cell[0] += bytes_
        cell[1] += 1
    assert {(a, b): [total, count] for a, b, total, count in made["cells"]} == slow


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
