"""The page of a run in a browser: what its charts show and tell, how mouse and keyboard move them, that its text stays
text, that it holds on narrow and dark screens, and that a million messages open at once."""

import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CONTROL, SHIFT, Browser, Page, needs_chromium

from simcore import page, read_scenario, run, write_run
from simcore.assembly import Result
from simcore.page import bars, detail
from simcore.trace import SCHEMAS, Coded, Recorder

pytestmark = needs_chromium

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"
US, END = 10**6, 1000
"""Picoseconds of a microsecond, and the microseconds of the run that is drawn."""
SPANS = [
    ("rank0", 0, 400, "compute", "", "kernel"),
    ("rank0", 400, 600, "wait", f"flag {HOSTILE}", HOSTILE),
    ("rank0", 600, 1000, "send", "", "halo"),
    ("rank0.wg0", 0, 1000, "compute", "", "tile"),
    ("rank0.wg1", 0, 1000, "compute", "", "tile"),
    ("rank1", 0, 250, "idle", "", ""),
    ("rank1", 250, 1000, "compute", "", "kernel"),
]
LANES = [("gpu0->switch", 0, 125, 25_000_000), ("gpu0->switch", 500, 500, 1_000), ("switch->gpu1", 0, 5, 4_000)]
"""Link, begin of the bin of 500 us, busy us and bytes in it."""
TIME = "Object.values(windows)[0]"
CANVAS = "[data-chart='timeline'] canvas"
FRAME = f"""(() => {{ const it = document.querySelector("{CANVAS}"), box = it.getBoundingClientRect();
return [box.x + labelRoom(it.clientWidth), box.right - 6, box.y, AXIS, RANK]; }})()"""


def columns(kind: str, rows: int, **known: Any) -> dict[str, Any]:
    """Return columns of a table, those that are not ``known`` empty or zero."""
    return {column.name: [""] * rows if column.type == "string" else [0] * rows for column in SCHEMAS[kind]} | known


def drawn_tables() -> dict[str, Any]:
    recorder = Recorder()
    where, begin, stop, activity, reason, what = zip(*SPANS, strict=True)
    times = {"t0_ps": [US * each for each in begin], "t1_ps": [US * each for each in stop]}
    texts = {"location": where, "activity": activity, "reason": reason, "what": what}
    recorder.extend("spans", columns("spans", len(SPANS), **texts, **times))
    link, at, busy, size = zip(*LANES, strict=True)
    times = {"t0_ps": [US * each for each in at], "t1_ps": [US * (each + 500) for each in at]}
    carried = {"link": link, "busy_ps": [US * each for each in busy], "size_bytes": size}
    recorder.extend("links", columns("links", len(LANES), **carried, **times))
    sent = {"src": [0, 1], "dst": [1, 0], "size_bytes": [24_000_000, 4_000], "arrived_ps": [US, US]}
    recorder.extend("transfers", columns("transfers", 2, **sent))
    times = {"t0_ps": [US * 400], "set_ps": [US * 590], "detected_ps": [US * 600]}
    texts = {"flag": [HOSTILE], "location": ["rank0"], "policy": [HOSTILE]}
    recorder.extend("flags", columns("flags", 1, flag_reads=[77], **texts, **times))
    return recorder.tables()


@pytest.fixture(scope="module")
def gemv() -> Result:
    return run(read_scenario("fused_gemv"))


@pytest.fixture(scope="module")
def made(gemv: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with known spans, whose names are not to be trusted."""
    machine = dataclasses.replace(gemv.scenario.machine, description=HOSTILE)
    asked = dataclasses.replace(gemv.scenario, machine=machine)
    result = dataclasses.replace(gemv, scenario=asked, tables=drawn_tables(), warnings=[HOSTILE])
    folder = write_run(result, tmp_path_factory.mktemp("runs") / HOSTILE.replace("/", "|"))
    return page.write_run(folder)


@pytest.fixture(scope="module")
def opened(made: Path, browser: Browser) -> Iterator[Page]:
    with browser.page(made) as shown:
        yield shown


@pytest.fixture
def shown(opened: Page) -> Iterator[Page]:
    opened.run(f"{TIME}.reset(), hideTip(), scrollTo(0, 0)")
    opened.box(CANVAS)
    yield opened
    assert opened.problems == opened.requests == []


def place(shown: Page, at: float, row: int) -> tuple[float, float]:
    """Return the pixel of an instant (us) in a row of the timeline, while all of it is shown."""
    left, right, top, axis, tall = shown.run(FRAME)
    return left + (right - left) * at / END, top + axis + tall * (row + 0.5)


def stretch(shown: Page) -> tuple[float, float]:
    """Return the stretch of time that is shown, us."""
    begin, stop = shown.run(f"[{TIME}.begin, {TIME}.stop]")
    return begin / US, stop / US


def tip(shown: Page) -> str:
    return str(shown.run("tip.hidden ? '' : tip.textContent"))


def drawn(shown: Page, chart: str = "timeline") -> str:
    return str(shown.run(f"document.querySelector(\"[data-chart='{chart}'] canvas\").toDataURL()"))


def test_hovering_tells_the_span_below_the_mouse(shown: Page) -> None:
    for row, (where, begin, stop, activity, reason, what) in (
        (0, SPANS[0]),
        (0, SPANS[1]),
        (0, SPANS[2]),
        (1, SPANS[6]),
    ):
        shown.move(*place(shown, (begin + stop) / 2, row))

        named = f"{activity}{f' ({reason})' if reason else ''}: {what}"
        times = [f"{each} us" if 0 < each < 1000 else {0: "0 ps", 1000: "1 ms"}[each] for each in (begin, stop)]
        assert tip(shown) == f"{where}\n{named}\n{stop - begin} us, from {times[0]} to {times[1]}"
    shown.move(*place(shown, 500, -3))
    assert tip(shown) == ""


def test_hovering_tells_the_bin_of_a_link_and_the_bytes_of_a_pair(shown: Page) -> None:
    x, y, wide, _ = shown.box("[data-chart='links'] canvas")
    left = shown.run("labelRoom(document.querySelector(\"[data-chart='links'] canvas\").clientWidth)")

    shown.move(x + left + (wide - 6 - left) / 4, y + 24 + 9)

    assert tip(shown).split("\n") == [
        "gpu0->switch", "25 % busy, 50 GB/s", "0 ps to 500 us", "over the run: 62.5 % busy, 25 MB carried",
    ]  # fmt: skip
    x, y, *_ = shown.box("[data-chart='matrix'] canvas")
    names = shown.run("Math.min(16 + 7 * 5, 228)")
    shown.move(x + names + 46 * 1.5, y + 26 + 46 * 0.5)
    assert tip(shown) == "rank0 to rank1: 24 MB in 1 messages"


def test_the_wheel_zooms_where_the_mouse_is_and_alone_it_scrolls(shown: Page) -> None:
    before, links = drawn(shown), drawn(shown, "links")
    x, y = place(shown, 250, 0)

    shown.wheel(x, y, -200, modifiers=CONTROL)

    begin, stop = stretch(shown)
    assert stop - begin < 0.7 * END
    assert (250 - begin) / (stop - begin) == pytest.approx(0.25, abs=0.01)
    assert drawn(shown) != before
    assert drawn(shown, "links") != links
    scrolled = shown.run("scrollY")
    shown.wheel(x, y, 120)
    shown.wait(f"scrollY > {scrolled}")
    assert stretch(shown) == (begin, stop)


def test_dragging_moves_and_with_shift_zooms_into_a_stretch(shown: Page) -> None:
    shown.drag(place(shown, 200, 0), place(shown, 600, 0), modifiers=SHIFT)

    begin, stop = stretch(shown)
    assert (begin, stop) == pytest.approx((200, 600), abs=2)
    zoomed = drawn(shown)
    shown.drag(place(shown, 500, 0), place(shown, 250, 0))
    # A quarter of the chart is a quarter of the 400 us in it.
    assert stretch(shown) == pytest.approx((begin + 100, stop + 100), abs=2)
    assert drawn(shown) != zoomed


def test_the_keyboard_reaches_the_timeline_and_moves_it(shown: Page) -> None:
    shown.run("document.querySelector('.skip').focus()")
    at_timeline = f'document.activeElement === document.querySelector("{CANVAS}")'
    pressed = 0
    while not shown.run(at_timeline) and pressed < 60:
        shown.key("Tab")
        pressed += 1
    before = drawn(shown)

    shown.key("+")
    assert stretch(shown) == (250, 750)
    assert drawn(shown) != before
    shown.key("ArrowRight", "-")
    assert stretch(shown) == (0, 1000)
    shown.key("+", "+", "ArrowLeft")
    assert stretch(shown) == (325, 575)
    shown.key("0")
    assert stretch(shown) == (0, 1000)
    shown.key("+", "Escape")
    assert stretch(shown) == (0, 1000)
    shown.key("n", "n")
    assert shown.run("document.querySelector('.detail').textContent").startswith("rank0 · wait")
    tall = shown.run(f'document.querySelector("{CANVAS}").clientHeight')
    shown.key("Enter")
    assert shown.run(f'document.querySelector("{CANVAS}").clientHeight') == tall + 2 * 14
    shown.key("Enter")


def test_text_stays_text(shown: Page) -> None:
    assert shown.run("document.querySelectorAll('img, iframe, script').length") == 2
    assert shown.run("document.querySelector('.warnings li').textContent") == HOSTILE
    assert HOSTILE in shown.run("document.querySelector('#machine p').textContent")
    assert HOSTILE in shown.run("document.querySelector('#flags tbody th').textContent")
    assert f"flag {HOSTILE}" in shown.run("document.querySelector('#waits tbody th').textContent")
    acting = "[...it.attributes].some((about) => about.name.startsWith('on'))"
    assert shown.run(f"[...document.querySelectorAll('*')].some((it) => {acting})") is False


def test_chapters_close_and_their_links_open_them(shown: Page) -> None:
    x, y, *_ = shown.box("#machine summary")
    shown.click(x + 5, y + 10)
    assert not shown.run("document.querySelector('.machine').checkVisibility()")

    index = shown.run("[...document.querySelectorAll('nav a')].findIndex((it) => it.hash === '#machine')")
    x, y, wide, high = shown.box("nav a", index)
    shown.click(x + wide / 2, y + high / 2)

    assert shown.run("document.querySelector('.machine').checkVisibility()")


def test_tables_are_sorted_and_filtered(shown: Page) -> None:
    heads = "[...document.querySelectorAll('#links tbody th')].map((it) => it.textContent)"
    assert shown.run(heads) == ["gpu0->switch", "switch->gpu1"]
    x, y, *_ = shown.box("#links thead button", 0)
    shown.click(x + 4, y + 4)
    shown.click(x + 4, y + 4)
    assert shown.run(heads) == ["switch->gpu1", "gpu0->switch"]
    assert shown.run("document.querySelector('#links th').getAttribute('aria-sort')") == "descending"

    x, y, *_ = shown.box("#parameters .filter")
    shown.click(x + 20, y + 10)
    shown.key(*"wait.policy")
    left = (
        "[...document.querySelectorAll('#parameters tbody tr')].filter((it) => !it.hidden).map((it) => it.textContent)"
    )
    (row,) = shown.run(left)
    assert re.fullmatch(r"wait\.policyspin(scenariofused_gemv\.yaml:\d+|default)", row)


def test_a_reader_without_eyes_finds_names_and_order(shown: Page) -> None:
    levels = shown.run("[...document.querySelectorAll('h1, h2, h3')].map((it) => Number(it.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))
    named = """(it) => it.getAttribute("aria-label") || it.textContent || (it.closest("label") || {}).textContent"""
    for what in ("canvas:not([aria-hidden])", "svg:not([aria-hidden])", "input", "select", ".scroll", "button", "a"):
        assert shown.run(f"document.querySelectorAll('{what}').length") > 0
        nameless = f"[...document.querySelectorAll('{what}')].filter((it) => !({named})(it)).map((it) => it.outerHTML)"
        assert shown.run(nameless) == []
    seen = "[...document.querySelectorAll('canvas:not([aria-hidden])')]"
    assert shown.run(f"{seen}.every((it) => it.getAttribute('role') === 'img')")
    assert shown.run("document.documentElement.lang") == "en"


CONTRAST = """["light", "dark"].flatMap((theme) => {
  document.documentElement.setAttribute("data-theme", theme);
  palette = {};
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const parts = [0.2126, 0.7152, 0.0722];
  const bright = (hex) => channels(hex).reduce((sum, c, i) => sum + linear(c / 255) * parts[i], 0.05);
  const ratio = (a, b) => Math.max(a / b, b / a);
  const pairs = [["ink", "ground"], ["ink", "raised"], ["soft", "ground"], ["soft", "raised"], ["accent", "ground"],
    ["warn-ink", "warn-ground"]];
  const found = pairs.map(([a, b]) => [theme, a, b, ratio(bright(colour(a)), bright(colour(b)))]);
  document.documentElement.removeAttribute("data-theme");
  palette = {};
  return found;
})"""
"""Ratios of the brightness of text and ground, as WCAG 2 defines it."""


def test_text_stands_out_from_its_ground_in_both_themes(shown: Page) -> None:
    found = shown.run(CONTRAST)

    assert len(found) == 12
    assert [row for row in found if row[3] < 4.5] == []


PIXEL = """(chart, x, y) => {
  const canvas = document.querySelector(`[data-chart='${chart}'] canvas`), copy = document.createElement("canvas");
  const pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(canvas, x, y, 1, 1, 0, 0, 1, 1);
  return `rgb(${[...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)].join(",")})`;
}"""


def test_bars_and_bins_have_the_colours_of_the_legend(shown: Page) -> None:
    left, right, top, axis, tall = shown.run(FRAME)
    y0 = shown.run(f'document.querySelector("{CANVAS}").getBoundingClientRect().y')
    keys = dict(shown.run("[...document.querySelectorAll('#timeline .keys li')].map((it) => "
                          "[it.textContent, getComputedStyle(it.querySelector('i')).backgroundColor])"))  # fmt: skip
    x0 = left - shown.run(f'labelRoom(document.querySelector("{CANVAS}").clientWidth)')
    for row, (_, begin, stop, activity, reason, _) in ((0, SPANS[0]), (0, SPANS[1]), (0, SPANS[2]), (1, SPANS[5])):
        x = round(left - x0 + (right - left) * (begin + 0.9 * (stop - begin)) / END)
        found = shown.run(f"({PIXEL})('timeline', {x}, {round(top - y0 + axis + tall * (row + 0.5))})")
        assert found == keys[f"wait: {reason}" if activity == "wait" else activity].replace(" ", "")
    for row, at, share in ((0, 250, 0.25), (0, 750, 1), (1, 250, 0.01), (1, 750, 0)):
        x = round(left - x0 + (right - left) * at / END)
        assert shown.run(f"({PIXEL})('links', {x}, {24 + 18 * row + 8})") == shown.run(f"heat({share})")


BLANK = """(canvas) => {
  const copy = document.createElement("canvas"), pen = copy.getContext("2d", { willReadFrequently: true });
  Object.assign(copy, { width: canvas.width, height: canvas.height });
  pen.drawImage(canvas, 0, 0);
  return new Set(new Uint32Array(pen.getImageData(0, 0, copy.width, copy.height).data.buffer)).size < 3;
}"""


def test_the_page_holds_on_any_screen_and_follows_the_theme(opened: Page) -> None:
    grounds = {}
    for width in (400, 1400):
        for scheme in ("light", "dark"):
            opened.resize(width, 900)
            opened.colour(scheme)
            opened.settle()
            assert opened.run("document.documentElement.scrollWidth") <= width
            assert opened.run(f"[...document.querySelectorAll('canvas')].filter({BLANK}).length") == 0
            grounds[scheme] = opened.run("getComputedStyle(document.body).backgroundColor")
    opened.colour("light")
    assert grounds["light"] == "rgb(255, 255, 255)"
    assert grounds["dark"] != grounds["light"]
    for ground in ("light", "dark"):
        x, y, *_ = opened.box("#theme")
        opened.click(x + 5, y + 5)
        assert opened.run("getComputedStyle(document.body).backgroundColor") == grounds[ground]
    assert opened.problems == opened.requests == []


def test_two_timelines_move_together(made: Path, browser: Browser, tmp_path: Path) -> None:
    path, *_ = page.write_comparison(made.parent, made.parent, tmp_path / "compare.html")

    with browser.page(path) as shown:
        images = "[...document.querySelectorAll('canvas')].map((it) => it.toDataURL())"
        before = shown.run(images)
        x, y, wide, _ = shown.box("canvas")
        shown.wheel(x + wide / 2, y + 40, -200, modifiers=CONTROL)
        assert [now == then for now, then in zip(shown.run(images), before, strict=True)] == [False, False]
        assert shown.run("document.querySelectorAll('img, script').length") == 2
        assert HOSTILE.replace("/", "|") in shown.run("document.querySelector('h1').textContent")
        assert shown.problems == shown.requests == []


def test_a_million_messages_and_spans_are_a_small_page_that_opens_at_once(
    gemv: Result, browser: Browser, tmp_path: Path
) -> None:
    count, ranks = 1_000_000, 256
    order, recorder = np.arange(count), Recorder()
    zero, same = np.zeros(count, np.int64), np.zeros(count, np.int64)
    texts = {name: Coded([""], same) for name in ("kind", "what", "reason")}
    rank, begin = order // (count // ranks + 1), order % (count // ranks + 1) * US
    recorder.extend("spans", {
        "location": Coded([f"rank{i}" for i in range(ranks)], rank), "t0_ps": begin, "t1_ps": begin + US,
        "activity": Coded(["compute", "wait", "send"], order % 3), "size_bytes": zero, **texts,
    })  # fmt: skip
    recorder.extend("transfers", {
        "src": order % ranks, "dst": order * 7 % ranks, "sequence": order, "size_bytes": order, "issued_ps": begin,
        "arrived_ps": begin + US, "queued_ps": zero, **texts,
    })  # fmt: skip
    tables = recorder.tables()
    folder = write_run(dataclasses.replace(gemv, tables=gemv.tables | tables), tmp_path / "million")

    path = page.write_run(folder)

    lines = bars.timeline(tables, int(begin.max()) + US)
    assert [sum(row["times"]) for row in lines["rows"]] == [sum(row["length"]) for row in lines["rows"]]
    assert sum(sum(row["length"]) for row in lines["rows"]) == count * US
    assert sum(cell[3] for cell in detail.pairs(tables, [])["cells"]) == count
    assert path.stat().st_size < 15_000_000
    with browser.page(path) as shown:
        shown.wait("performance.getEntriesByName('timeline').length")
        assert shown.run("performance.getEntriesByName('timeline')[0].startTime") < 3000
        assert shown.problems == shown.requests == []
