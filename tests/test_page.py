"""The page of a run: its text stays text, its detail loses nothing, and what it cannot show is one line."""

import base64
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore import cli, page, read_scenario, run, write_run
from simcore.page import bars, detail, differences, provenance
from simcore.page.markup import Chapter, document, element, embedded, table
from simcore.report import load_run
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


def test_names_of_rows_break_between_their_parts_and_markup_stays_what_it_is() -> None:
    rows = [
        "ranks.rank0.wait_ps",
        "node0.switch->gpu10",
        "rank0",
        "a.very.long.<b>",
        element("b", None, "a.very.long.b"),
    ]

    made = table(["name"], [[name] for name in rows], label="names")

    assert re.findall(r"<th [^>]*row[^>]*>(.*?)</th>", made) == [
        "ranks.<wbr>rank0.<wbr>wait_<wbr>ps", "node0.switch-&gt;gpu10", "rank0", "a.<wbr>very.<wbr>long.&lt;b&gt;",
        "<b>a.very.long.b</b>",
    ]  # fmt: skip


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


def slow_bars(life: list[tuple[int, str]], below: int, order: list[str]) -> list[tuple[int, int, str, int]]:
    """Return (begin, end, activity, spans) of each bar, span by span: short neighbours that begin in the same stretch
    of ``below`` ps are drawn activity by activity, from the begin of the first of them."""
    cells: list[list[tuple[int, int, str]]] = []
    now = 0
    for length, activity in life:
        before = cells[-1][-1] if cells else (0, below, "")
        short = max(length, before[1] - before[0]) < below
        if short and before[0] // below == now // below:
            cells[-1].append((now, now + length, activity))
        else:
            cells.append([(now, now + length, activity)])
        now += length
    found = []
    for cell in cells:
        at = cell[0][0]
        for name in order:
            lengths = [stop - begin for begin, stop, each in cell if each == name]
            if lengths:
                found.append((at, at + sum(lengths), name, len(lengths)))
                at += sum(lengths)
    return found


@given(LIVES, st.integers(3, 40))
@settings(max_examples=60)
def test_a_timeline_is_that_of_its_slow_twin_and_loses_no_time(lives: Lives, most: int) -> None:
    recorder, end = recorded(lives)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bars, "MOST_BARS", most)
        made = bars.timeline(recorder.tables(), end)

    names = [each["name"] for each in made["classes"]]
    for row, life in zip(made["rows"], lives, strict=True):
        stops = np.cumsum(np.array(row["gap"]) + row["length"])
        begins, kinds = (stops - row["length"]).tolist(), [names[kind] for kind in row["kind"]]
        counts = row.get("count", [1] * len(kinds))
        found = list(zip(begins, stops.tolist(), kinds, counts, strict=True))
        assert found == slow_bars(life, made["merged"], names)
        for name, time in zip(names, row["times"], strict=True):
            assert time == sum(length for length, activity in life if activity == name)
            assert time == sum(stop - begin for begin, stop, each, _ in found if each == name)
        for label, (begin, stop, name, count) in zip(row["label"], found, strict=True):
            activity, _, what = made["labels"][label]
            assert (activity, what.partition(" of ")[0]) == (name, name)
            assert int(what.partition(" of ")[2]) * count >= stop - begin
    assert sum(len(row["kind"]) for row in made["rows"]) <= max(most, len(lives) * len(names)) or made["merged"] > end


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
            "size_bytes": [10**busy],
        })  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detail, "MOST_CELLS", cells)
        made = detail.links(recorder.tables(), end)

    table = recorder.tables()["links"].to_pylist()
    means = detail.means(recorder.tables(), end)
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
        assert mean == pytest.approx(means[name], abs=1e-6)
        assert means[name] == sum(row["busy_ps"] for row in own) / end
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


def test_two_runs_are_told_apart_by_what_was_changed(folder: Path, tmp_path: Path) -> None:
    other = write_run(run(read_scenario("fused_gemv", ["wait.policy=monitor"])), tmp_path / "monitor")

    path, a, b = page.write_comparison(folder, other, tmp_path / "compare.html")

    assert [(each.key, each.first, each.second) for each in differences.inputs(a, b)] == [
        ("wait.policy", "spin", "monitor")
    ]
    changed = {each.key: each for each in differences.outputs(a, b)}
    assert changed["flags.flag_reads"].ratio == pytest.approx(
        b.metrics["flags"]["flag_reads"] / a.metrics["flags"]["flag_reads"]
    )
    assert differences.inputs(a, a) == differences.outputs(a, a) == []
    assert path.read_text(encoding="utf-8").count('data-chart="timeline"') == 2


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [(1, 1, "same"), (1, 2, "+100.00%"), (10, 9, "-10.00%"), (10**6, 10**6 + 1, "+1e-04%"), (1, 12.5, "x 12.5"),
     (2500, 1, "/ 2,500"), (1, 0, "-100.00%")],
)  # fmt: skip
def test_changes_from_little_to_large_are_legible(first: float, second: float, text: str) -> None:
    assert differences.change_text(second / first) == text


def test_what_is_stated_is_told_apart_from_what_is_not(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "machine:\n  node: mi300x-8\n  gpus: 4\n  sharing: fifo\n"
        "workloads:\n  - model: fused_allreduce\n    params: {profile: ddp_4ranks/profile.csv}\n",
        encoding="utf-8",
    )
    made = write_run(run(read_scenario(str(path), ["wait.policy=monitor"])), tmp_path / "run")
    path.unlink()

    for again in (made, write_run(run(read_scenario(str(made))), tmp_path / "again")):
        found = {each.key: each for each in provenance.parameters(load_run(again).scenario, again)}
        told = {key: (found[key].kind, found[key].place) for key in found}
        assert told["machine.gpus"] == ("scenario", "mine.yaml:3")
        assert found["machine.gpus"].note == "the sheet says 8"
        assert told["workloads.0.params.profile"] == ("scenario", "mine.yaml:7")
        assert told["wait.policy"] == ("scenario", "--set")
        assert told["wait.wake"] == ("default", "")
        assert told["workloads.0.ranks"] == ("follows", "")
        assert re.fullmatch(r"mi300x-8\.yaml:\d+", told["machine.gpu.clock"][1])
        assert found["machine.gpu.clock"].kind == "spec"
        assert found["machine.gpu.clock"].source.startswith("AMD")
        assert told["machine.gpu.launch"][1].startswith("assumed.yaml:")
        assert told["machine.name"] == ("sheet", "mi300x-8.yaml:3")


def damage(folder: Path, how: str) -> None:
    """Make of a run folder one that cannot be shown."""
    if how == "cut":
        (folder / "spans.parquet").write_bytes((folder / "spans.parquet").read_bytes()[:2000])
    elif how == "older":
        text = (folder / "manifest.yaml").read_text(encoding="utf-8")
        (folder / "manifest.yaml").write_text(text.replace("layout: 1", "layout: 0"), encoding="utf-8")
    elif how == "metrics":
        (folder / "metrics.json").write_text('{"makespan_ps": 1, "jobs": {}}', encoding="utf-8")
    elif how == "none":
        (folder / "manifest.yaml").unlink()


@pytest.mark.parametrize(
    ("how", "out", "complaint"),
    [
        ("cut", "report.html", "the run folder is damaged: "),
        ("older", "report.html", "layout 0 of a run folder; this simcore reads 1"),
        ("metrics", "report.html", "metrics.json: lacks links.used, which this version writes; simulate again"),
        ("none", "report.html", "not a run folder (it holds no manifest.yaml)"),
        ("", "gone/report.html", "cannot be written: no such file or directory"),
        ("", ".", "is a folder; give the name of a file"),
    ],
)
def test_what_cannot_be_shown_or_written_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str,
    out: str, complaint: str,
) -> None:  # fmt: skip
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink(missing_ok=True)
    damage(tmp_path / "run", how)

    for command in (["report", str(tmp_path / "run")], ["compare", str(tmp_path / "run"), str(folder)]):
        monkeypatch.setattr(sys, "argv", ["simcore", *command, "--out", str(tmp_path / out)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert (ended.value.code, said.out) == (2, "")
        assert complaint in said.err
        assert said.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
