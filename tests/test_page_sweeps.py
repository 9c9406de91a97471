"""The page of a sweep: what its charts sum up, that filters reach all of them, and that its text stays text."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import SHIFT, Browser, Page, needs_chromium
from hypothesis import given
from hypothesis import strategies as st

from simcore import page
from simcore.errors import InputError
from simcore.executors import Swept, folder
from simcore.page import paired, sweeps
from simcore.sweep import reading
from simcore.units import RATE, TIME, parse

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"
BANDWIDTH, LATENCY = "machine.link.bandwidth_bytes_per_s", "machine.link.latency_ps"
AXES = ["machine.link.bandwidth=50 GB/s..800 GB/s log 5", "machine.link.latency=1 us..7 us step 2 us",
        "wait.policy=spin,monitor"]  # fmt: skip


def metrics_of(bandwidth: int, latency: int, policy: str, slower: int = 1) -> dict[str, Any]:
    """Return what a point of so many bytes/s and ps might give."""
    makespan = slower * (10**21 // bandwidth + 3 * latency + (10**9 if policy == "monitor" else 0))
    reads = 1_000_000 if policy == "spin" else 7
    return {"makespan_ps": makespan, "flags": {"flag_reads": reads, "waits": 3},
            "queue_delay_ps": {"mean": makespan / 7, "max": makespan // 2}}  # fmt: skip


def written(place: Path, axes: list[str], failed: int = 0, slower: int = 1) -> Path:
    """Write the folder of a sweep of which the first ``failed`` points failed, all ``slower`` so many times; return
    it."""
    sweep = reading.read("fused_allreduce", axes)
    records: list[dict[str, Any]] = []
    for point in sweep.points:
        bandwidth, latency, policy = (change.value for change in point.changes.values())
        found = metrics_of(parse(bandwidth, RATE), parse(latency, TIME), policy, slower)
        records.append({"metrics": found, "warnings": [], "digest": str(found), "read": ["machine", "wait"]})
    records[:failed] = [{"failed": f"no machine {HOSTILE}", "warnings": []}] * failed
    folder.write(Swept(sweep, records, len(records), len(records)), place)
    return place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page.write(written(tmp_path_factory.mktemp("sweeps") / "links", AXES))


@pytest.fixture(scope="module")
def opened(made: Path, browser: Browser) -> Iterator[Page]:
    with browser.page(made) as shown:
        yield shown


@pytest.fixture
def fresh(opened: Page) -> Page:
    """Return the page with all its points."""
    opened.run("(() => { pointsShown.limits.clear(); pointsShown.search(''); })()")
    opened.settle()
    return opened


def kept(shown: Page) -> list[int]:
    found: list[int] = shown.run("pointsShown.kept")
    return found


def points() -> list[tuple[int, int, str]]:
    """Return (bytes/s, ps, policy) of every point of ``AXES``, in order."""
    bandwidths = [50, 100, 200, 400, 800]
    return [(b * 10**9, t * 10**6, p) for b, t, p in itertools.product(bandwidths, (1, 3, 5, 7), ("spin", "monitor"))]


def test_the_first_charts_show_what_moves_most() -> None:
    few, many = [1, 1, 2, 2] * 2, [1, 3, 1, 3] * 2
    words = ["spin"] * 4 + ["monitor"] * 4
    still, moved = [1000] * 7 + [1001], [a * b for a, b in zip(few, many, strict=True)]
    varying = {"few": few, "many": many, "words": words, "makespan_ps": still, "queue_delay_ps.mean": moved}
    axes = ["few", "many", "words"]

    assert sweeps.first_metrics(varying, axes) == ["queue_delay_ps.mean", "makespan_ps"]
    assert sweeps.first_axes(varying, axes, "queue_delay_ps.mean") == {
        "x": "many", "by": "few", "up": "few", "numbers": ["many", "few"],
    }  # fmt: skip
    assert sweeps.first_axes(varying, axes, "makespan_ps") == {"x": "few", "by": "many", "up": "many", "numbers": []}


@given(st.lists(st.integers(-(10**15), 10**15), min_size=65, max_size=200, unique=True))
def test_neighbours_stand_together_for_what_many_values_do(values: list[int]) -> None:
    ratio, low, high = sweeps.effects(values, [value + 2 * 10**15 for value in values])

    order = sorted(values)
    assert order.index(low) < len(order) / 4
    assert order.index(high) > 3 * len(order) / 4
    assert 1 < ratio < max(value + 2 * 10**15 for value in values) / min(value + 2 * 10**15 for value in values)


def test_points_that_failed_are_listed_with_their_command_as_text(tmp_path: Path) -> None:
    text = page.write(written(tmp_path / "some", AXES, failed=3)).read_text(encoding="utf-8")
    none = page.write(written(tmp_path / "none", AXES, failed=40)).read_text(encoding="utf-8")

    assert "3 failed" in text
    assert text.count("<code>simcore run fused_allreduce --set") == 3
    assert "<img" not in text
    assert none.count("<code>simcore run fused_allreduce --set") == 40
    assert 'data-chart="lines"' not in none
    assert 'data-chart="rows"' in none


def test_two_sweeps_are_compared_where_both_have_a_point(tmp_path: Path) -> None:
    first = written(tmp_path / "first", AXES)
    second = written(tmp_path / "second", [*AXES[:2], "wait.policy=monitor,yield"], slower=2)

    path, a, b = page.write_sweep_comparison(first, second, tmp_path / "compare.html")

    assert [(each.key, each.first, each.second) for each in paired.inputs(a, b)] == [
        ("axis wait.policy", "spin, monitor", "monitor, yield")
    ]
    moved = {each.key: each for each in paired.outputs(a, b)}
    assert set(moved) == {"makespan_ps", "queue_delay_ps.mean", "queue_delay_ps.max"}
    assert moved["makespan_ps"] == paired.Moved("makespan_ps", 20, 20, 2.0, 2.0, 2.0)
    assert paired.outputs(a, a) == paired.inputs(a, a) == []
    about, found = paired.together(a, b)
    assert about["manifest"]["axes"] == [BANDWIDTH, LATENCY, "wait.policy", "sweep"]
    assert found["sweep"].to_pylist() == ["A"] * 40 + ["B"] * 40
    assert found["point"].to_pylist() == [*range(40), *range(40)]
    assert path.read_text(encoding="utf-8").count("20 points have the same values on all axes") == 1
    with pytest.raises(InputError, match="is no sweep folder"):
        page.write_sweep_comparison(first, tmp_path, path)


@needs_chromium
@pytest.mark.parametrize("width", [400, 1400])
def test_a_browser_opens_it_without_complaint(made: Path, browser: Browser, width: int) -> None:
    with browser.page(made, width, scheme="dark") as shown:
        blank = "(it) => !it.getContext('2d').getImageData(0, 0, it.width, it.height).data.some((byte) => byte > 0)"
        assert shown.run("document.querySelectorAll('canvas').length") == 6
        assert shown.run(f"[...document.querySelectorAll('canvas')].filter({blank}).length") == 0
        assert shown.run("document.documentElement.scrollWidth") == width
        assert shown.problems == shown.requests == []


@needs_chromium
def test_names_and_values_of_a_sweep_stay_text(tmp_path: Path, browser: Browser) -> None:
    sheet = tmp_path / "hostile.yaml"
    named = {"values": ["a", HOSTILE], "set": {"wait.policy": ["spin", "monitor"]}}
    sheet.write_text(json.dumps({"scenario": "fused_allreduce", "axes": {HOSTILE: named}}))
    sweep = reading.read(str(sheet))
    records = [{"metrics": {"makespan_ps": 10 ** (9 + i), f"jobs.{HOSTILE}": {"x": i}}, "warnings": [HOSTILE],
                "digest": str(i), "read": ["wait"]} for i in range(2)]  # fmt: skip
    folder.write(Swept(sweep, records, 2, 2), tmp_path / "out")

    with browser.page(page.write(tmp_path / "out")) as shown:
        shown.move(*_middle(shown, '[data-chart="heat"] canvas'))
        assert HOSTILE in shown.run("document.getElementById('tip').textContent")
        assert shown.run("document.querySelectorAll('img, [onerror]').length") == 0
        assert shown.problems == shown.requests == []


def _middle(shown: Page, selector: str, index: int = 0) -> tuple[float, float]:
    left, top, width, height = shown.box(selector, index)
    return left + width / 2, top + height / 2


@needs_chromium
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12), st.sampled_from([(1, 1), (1, -1), (-1, 1)])
)
def test_no_point_is_better_than_one_of_the_front(
    opened: Page, pairs: list[tuple[int, int]], ways: tuple[int, int]
) -> None:
    found = opened.run(
        f"frontOf({list(range(len(pairs)))}, {[x for x, _ in pairs]}, {[y for _, y in pairs]}, {ways[0]}, {ways[1]})"
    )

    turned = [(ways[0] * x, ways[1] * y) for x, y in pairs]
    best = [a for a in turned if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in turned)]
    assert [turned[i] for i in found] == sorted(set(best))
    assert found == [turned.index(turned[i]) for i in found]


@needs_chromium
@pytest.mark.parametrize(
    ("asked", "holds"),
    [
        ("bandwidth>=100GB/s", lambda b, t, p: b >= 10**11),
        ("latency<3us policy=spin", lambda b, t, p: t < 3 * 10**6 and p == "spin"),
        ("latency!=3000ns", lambda b, t, p: t != 3 * 10**6),
        ("makespan<=4.25ms mon", lambda b, t, p: metrics_of(b, t, p)["makespan_ps"] <= 4.25e9 and p == "monitor"),
        ("flag_reads=7", lambda b, t, p: p == "monitor"),
        ("nothing-like-it", lambda b, t, p: False),
        ("bandwidht>=100GB/s", lambda b, t, p: True),
        ("latency<3parsec", lambda b, t, p: True),
    ],
)
def test_what_is_asked_for_is_what_is_kept(fresh: Page, asked: str, holds: Callable[[int, int, str], bool]) -> None:
    fresh.click(*_middle(fresh, "[data-chart='rows'] .filter"))
    fresh.run("document.querySelector('[data-chart=rows] .filter').select()")
    fresh.key(*asked)

    wanted = [i for i, point in enumerate(points()) if holds(*point)]
    assert kept(fresh) == wanted
    said = fresh.run("document.querySelector('[data-chart=rows] .count').textContent")
    assert said.startswith(f"{len(wanted)} of 40 points")
    assert ("no column is called" in said) == ("bandwidht" in asked)
    assert ("is no value of" in said) == ("parsec" in asked)


@needs_chromium
def test_a_filter_reaches_every_chart_and_the_download(fresh: Page) -> None:
    fresh.run("window.asCsv = null; URL.createObjectURL = (blob) => { window.asCsv = blob.text(); return '#'; }")
    fresh.run(
        "(() => { const it = document.querySelectorAll('[data-chart=filter] select')[2];"
        "it.value = '1'; it.dispatchEvent(new Event('change')); })()"
    )
    fresh.settle()

    wanted = [i for i, (_, _, policy) in enumerate(points()) if policy == "monitor"]
    assert kept(fresh) == wanted
    assert fresh.run("document.querySelector('[data-chart=filter] .count').textContent") == "20 of 40 points"
    rows = fresh.run("[...document.querySelectorAll('.rows tbody th')].map((it) => Number(it.textContent))")
    assert rows == wanted
    assert "of 20 points" in fresh.run("document.querySelector('[data-chart=front] h3').textContent")
    fresh.click(*_middle(fresh, "[data-chart=rows] button"))
    lines = fresh.run("window.asCsv").splitlines()
    assert lines[0].startswith(f"point,{BANDWIDTH},{LATENCY},wait.policy,makespan_ps")
    assert [line.split(",")[:4] for line in lines[1:]] == [[str(i), *map(str, points()[i])] for i in wanted]


@needs_chromium
def test_an_axis_is_brushed_with_the_mouse_and_with_keys(fresh: Page) -> None:
    canvas = "[data-chart=parallel] canvas"
    left, top, _, _ = fresh.box(canvas)
    # The second axis, from its middle down: 1 and 3 us of 1 to 7.
    x, middle, foot = left + _across(fresh, 1), top + 24 + 155, top + 24 + 312
    fresh.drag((x, middle), (x, foot))
    assert kept(fresh) == [i for i, (_, latency, _) in enumerate(points()) if latency <= 3 * 10**6]
    assert fresh.run("document.querySelectorAll('[data-chart=filter] select')[1].selectedOptions[0].text") == "2 of 4"
    fresh.click(x, middle)
    assert len(kept(fresh)) == 40

    fresh.run(f"document.querySelector('{canvas}').focus()")
    fresh.key("ArrowRight", "ArrowUp", "ArrowUp")
    assert kept(fresh) == [i for i, (bandwidth, _, _) in enumerate(points()) if bandwidth == 10**11]
    fresh.key("ArrowUp", modifiers=SHIFT)
    assert kept(fresh) == [i for i, (bandwidth, _, _) in enumerate(points()) if bandwidth in (10**11, 2 * 10**11)]
    fresh.key("Escape")
    assert len(kept(fresh)) == 40


def _across(shown: Page, k: int) -> float:
    wide = shown.run("document.querySelector('[data-chart=parallel] canvas').clientWidth")
    count = shown.run("pointsShown.axes.length + pointsShown.first.metrics.length")
    return float(65 + k * (wide - 130) / (count - 1))


@needs_chromium
@pytest.mark.parametrize("chart", ["heat", "lines"])
def test_a_mean_is_that_of_its_points(fresh: Page, chart: str) -> None:
    fresh.run(f"document.querySelector('[data-chart={chart}] canvas').focus()")
    fresh.key("ArrowUp")

    said = fresh.run(f"document.querySelector('[data-chart={chart}] .detail').textContent")
    # Of the slowest links under the first policy; latencies of 1 to 7 us add 3 to 21 us to 20 ms.
    assert re.search(r"makespan: 20\.012? ms", said)
    assert re.search(r"machine\.link\.bandwidth:? 50 GB/s", said)
    assert re.search(r"wait\.policy:? spin", said)
    assert "mean of 4 points, 20.003 ms to 20.021 ms" in said


@needs_chromium
def test_ten_thousand_points_open_at_once(tmp_path: Path, browser: Browser) -> None:
    axes = ["machine.link.bandwidth=50 GB/s..800 GB/s log 100", "machine.link.latency=1 us..7 us linear 50", AXES[2]]
    path = page.write(written(tmp_path / "many", axes))

    assert path.stat().st_size < 15_000_000
    with browser.page(path) as shown:
        assert shown.run("pointsShown.count") == 10_000
        assert shown.run("Number(document.documentElement.dataset.ready)") < 3000
        assert shown.run("document.querySelectorAll('.rows tbody tr').length") < 100
        shown.run("document.querySelector('.rows').scrollTop = 1e9")
        shown.settle()
        assert shown.run("document.querySelector('.rows tbody tr:last-child th').textContent") == "9999"
