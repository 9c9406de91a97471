"""Figures of sweeps: what is drawn is what the table says, at every width, and what cannot be drawn says why."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pyarrow as pa
import pytest
from matplotlib import style
from matplotlib.image import imread
from test_plot import Drawn, cut_off, overlaps

from simcore import cli, executors, plot
from simcore.errors import InputError
from simcore.executors import folder
from simcore.executors.store import Store
from simcore.plot import line_style
from simcore.plot._points import is_geometric, measure_of, said
from simcore.plot._style import FILE
from simcore.plot._sweep import front_of
from simcore.sweep import reading

AXES = [
    "machine.gpus=4", "workloads.0.ranks=4", "workloads.0.params.repeat=1",
    "machine.link.latency=1 us..64 us log 4", "machine.link.bandwidth=10 GB/s,20 GB/s,40 GB/s",
    "machine.sharing=fifo,fair",
]  # fmt: skip
LATENCY, BANDWIDTH = "machine.link.latency_ps", "machine.link.bandwidth_bytes_per_s"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("swept")
    folder.write(executors.run(reading.read("collective_loop", AXES), Store(made / "store")), made / "out")
    return made / "out"


@pytest.fixture(scope="module")
def swept(place: Path) -> Any:
    return folder.load(place)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    return Drawn(monkeypatch)


def test_lines_are_means_of_the_table_and_bands_its_extremes(swept: Any) -> None:
    figure = plot.sweep(swept, x="machine.link.latency", y="makespan_ps", by="machine.link.bandwidth")

    rows = swept[1].to_pylist()
    axes = figure.axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert len(lines) == 3
    for line, bandwidth in zip(lines, (10, 20, 40), strict=True):
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True):
            mine = [r["makespan_ps"] for r in rows if r[LATENCY] == x and r[BANDWIDTH] == bandwidth * 10**9]
            assert len(mine) == 2
            assert y == pytest.approx(sum(mine) / 2)
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "machine.link.latency (us)"
    said_ = " ".join(text.get_text() for text in figure.texts)
    assert "mean over 2 values of machine.sharing" in said_.replace("\n", " ")


def test_a_heat_map_holds_the_mean_of_every_pair(swept: Any) -> None:
    figure = plot.sweep(swept, kind="heatmap", x="machine.link.latency", by="machine.link.bandwidth", y="makespan_ps")

    cells = figure.axes[0].images[0].get_array()
    rows = swept[1].to_pylist()
    for i, bandwidth in enumerate(sorted({row[BANDWIDTH] for row in rows})):
        for j, latency in enumerate(sorted({row[LATENCY] for row in rows})):
            mine = [r["makespan_ps"] for r in rows if r[LATENCY] == latency and r[BANDWIDTH] == bandwidth]
            assert cells[i, j] == pytest.approx(sum(mine) / len(mine))


def test_the_front_is_what_no_point_betters() -> None:
    pairs = [(float(x), float(y), i) for i, (x, y) in enumerate([(1, 9), (2, 4), (2, 5), (3, 4), (4, 1), (5, 2)])]

    front = front_of(pairs)

    slow = [p for p in pairs if not any(q[0] <= p[0] and q[1] <= p[1] and (q[0] < p[0] or q[1] < p[1]) for q in pairs)]
    assert front == sorted(slow)


@pytest.mark.parametrize("kind", ["line", "heatmap", "front"])
@pytest.mark.parametrize("width", plot.WIDTHS)
def test_no_labels_overlap_at_any_width(kind: Any, width: str, swept: Any, tmp_path: Path, drawn: Drawn) -> None:
    plot.sweep(swept, kind=kind, width=width).save(tmp_path / "f.png")

    assert len(drawn.texts[0]) > 6
    assert overlaps(drawn.texts[0]) == []
    assert cut_off(drawn.sizes[0], drawn.texts[0]) == []
    pixels = imread(tmp_path / "f.png").shape[1]
    assert pixels == round(plot.WIDTHS[width].inches * plot.WIDTHS[width].dpi)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_are_the_same_bytes_in_every_format(ending: str, swept: Any, tmp_path: Path) -> None:
    one, two = (plot.sweep(swept, width="column").save(tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")

    assert one == two
    if ending == "svg":
        assert ElementTree.fromstring(one).tag.endswith("svg")
    if ending == "pdf":
        assert one.startswith(b"%PDF-")
        assert b"/Type3" not in one


def test_a_users_own_style_changes_nothing(swept: Any, tmp_path: Path) -> None:
    plain = plot.sweep(swept).save(tmp_path / "a.png").read_bytes()
    with matplotlib.rc_context({"font.size": 23, "axes.facecolor": "red"}):
        assert plot.sweep(swept).save(tmp_path / "b.png").read_bytes() == plain


def test_the_style_file_is_one_that_matplotlib_reads() -> None:
    stated = matplotlib.rc_params_from_file(FILE, fail_on_error=True, use_default_template=False)

    assert stated["pdf.fonttype"] == 42
    assert len(stated["axes.prop_cycle"]) >= 7


@pytest.mark.parametrize(
    ("asked", "said_"),
    [
        ({"y": "makespam"}, "--y: unknown column 'makespam'; did you mean 'makespan'"),
        ({"x": "makespan_ps"}, "--x: unknown column"),
        ({"where": {"machine.link.latency": "3 us"}}, "no point has 3 us; there are 1 us"),
        ({"where": {"machine.link.latency": "3"}}, "has no unit"),
        ({"kind": "pie"}, "unknown kind of figure 'pie'"),
        ({"width": "poster"}, "unknown width of a figure 'poster'"),
    ],
)
def test_what_cannot_be_drawn_says_why(asked: Any, said_: str, swept: Any) -> None:
    with pytest.raises(InputError, match=said_):
        plot.sweep(swept, **asked)


def test_a_sweep_written_anew_leaves_no_picture_of_the_older_one(place: Path, swept: Any, tmp_path: Path) -> None:
    again = executors.run(reading.read("collective_loop", AXES), Store(place.parent / "store"))
    folder.write(again, tmp_path / "out")
    plot.sweep(swept).save(tmp_path / "out" / "line.png")

    folder.write(again, tmp_path / "out")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        (folder.PARQUET, "points.csv", folder.MANIFEST)
    )


LONG = "workloads.0.params.an_axis_with_a_very_long_name.which_goes_on_and_on_and_on_ps"


def made(axes: dict[str, list[Any]], *, failing: int = 0) -> Any:
    """Return a made-up sweep of all combinations on ``axes``; every so many points fail."""
    rows = list(itertools.product(*axes.values()))
    columns: dict[str, list[Any]] = {"point": list(range(len(rows)))}
    columns |= {name: [row[i] for row in rows] for i, name in enumerate(axes)}
    failed = ["broke" if failing and i % failing == 0 else None for i in range(len(rows))]
    columns["makespan_ps"] = [None if why else 10**6 * (7 + i * i) for i, why in enumerate(failed)]
    columns["failed"] = failed
    return {"manifest": {"axes": list(axes)}, "sweep": {"scenario": f"{'long_' * 12}.yaml"}}, pa.table(columns)


@pytest.mark.parametrize("kind", ["line", "heatmap", "front"])
@pytest.mark.parametrize("width", ["column", "screen"])
def test_long_names_and_many_values_stay_inside(kind: Any, width: str, tmp_path: Path, drawn: Drawn) -> None:
    policies = [f"a policy with a long name, number {i}, $x_1" for i in range(12)]
    swept = made({LONG: [10**6 * 2**k for k in range(24)], "_policy": policies}, failing=17)

    plot.sweep(swept, kind=kind, x=LONG, y="makespan", by="_policy", width=width).save(tmp_path / "a.png")
    plot.sweep(swept, kind=kind, x="_policy" if kind != "front" else LONG, by="", width=width).save(tmp_path / "b.png")

    for size, texts in zip(drawn.sizes, drawn.texts, strict=True):
        assert overlaps(texts) == []
        assert cut_off(size, texts) == []
    assert "17 points failed" in " ".join(text for text, _ in drawn.texts[0]).replace("\n", " ")


def test_more_lines_than_can_be_told_apart_are_refused_with_a_way_out() -> None:
    swept = made({"a": [1, 2], "b": list(range(20))})

    with pytest.raises(InputError, match=r"--by b: 20 lines; at most 14 .* --where b=VALUE,VALUE"):
        plot.sweep(swept, x="a", by="b")
    assert len(plot.sweep(swept, x="a", by="b", where={"b": ["3", 4]}).axes[0].lines) == 2
    with pytest.raises(InputError, match="a heat map has two axes; only a varies"):
        plot.sweep(swept, kind="heatmap", where={"b": 3})


def test_no_two_of_many_lines_look_alike() -> None:
    looks = [line_style(i) for i in range(28)]

    assert len({(each["color"], each["marker"], each["ls"]) for each in looks}) == 28
    assert len({(each["color"], each["marker"]) for each in looks}) == 28


@pytest.mark.parametrize("width", ["column", "screen"])
def test_bars_and_curves_keep_long_texts_inside(width: str, tmp_path: Path, drawn: Drawn) -> None:
    shares = [plot.Bar(f"{'key.' * i}axis", 0, 1 + i, 0.3, of) for i in range(1, 9) for of in ("total", "first")]
    noted = [plot.Bar(f"axis{i}", 3e6, 5e6 + i * 1e6, note="100 GB/s to 400 GB/s") for i in range(3)]
    bars = [plot.BarPanel(shares, "share of the variance"), plot.BarPanel(noted, "makespan (us) " * 5, base=3.5e6)]
    plot.bars(bars, title="what moves " * 9, subtitle="said " * 50, width=width).save(tmp_path / "b.png")
    lines = [plot.Curve(f"line {i} {'long ' * i}", [1, 10, 100], [i, 10 * i, 1000.5 * i]) for i in range(1, 13)]
    panel = plot.CurvePanel(
        curves=lines, x_label="x (us)", y_label="a long label " * 6, log="xy", title="t", lines=[("other", 1, 2)],
        bars=[("paper", 10, 5, 50)],
    )  # fmt: skip
    plot.curves([panel, panel], title="curves", width=width).save(tmp_path / "c.png")

    for size, texts in zip(drawn.sizes, drawn.texts, strict=True):
        assert overlaps(texts) == []
        assert cut_off(size, texts) == []


@pytest.mark.parametrize("width", ["column", "screen"])
def test_cells_and_stacked_bars_keep_their_texts_inside(width: str, tmp_path: Path, drawn: Drawn) -> None:
    rows = [[0.001 * 10**i + j for j in range(5)] for i in range(7)]
    grid = plot.CellPanel("above", list("abcde"), [f"way {'on ' * i}" for i in range(7)], rows, "x", "y")
    plot.cells([grid, grid], title="cells " * 9, label="amount", log=True, stacked=True, width=width).save(
        tmp_path / "a.png"
    )
    plot.cells([grid], title="cells", label="amount", width=width).save(tmp_path / "b.png")
    bars = [plot.Bar("one", 0, 3, series="a"), plot.Bar("one", 3, 4, series="b", note="4 in all")]
    plot.bars([plot.BarPanel(bars, "x", "above", stacked=True)] * 2, title="bars", width=width).save(tmp_path / "c.png")

    for size, texts in zip(drawn.sizes, drawn.texts, strict=True):
        assert overlaps(texts) == []
        assert cut_off(size, texts) == []


def test_cells_show_what_they_hold_and_bars_lie_on_one_another() -> None:
    figure = plot.cells(
        [plot.CellPanel("t", ["a", "b"], ["c"], [[0.25, float("nan")]], "x", "y")], title="t", label="l", digits=3
    )
    written = [text.get_text() for text in figure.axes[0].texts]
    stacked = plot.bars(
        [plot.BarPanel([plot.Bar("one", 0, 3, series="a"), plot.Bar("one", 3, 4, series="b")], "x", stacked=True)],
        title="t",
    )
    boxes = [(bar.get_x(), bar.get_width(), bar.get_y(), bar.get_height()) for bar in stacked.axes[0].patches]

    assert written == ["0.250"]
    assert [box[:2] for box in boxes] == [(0, 3), (3, 1)]
    assert boxes[0][2:] == boxes[1][2:]


def test_bars_have_a_legend_where_series_change() -> None:
    panels = [
        plot.BarPanel([plot.Bar("one", 0, 1, series=name) for name in names], "x", "above")
        for names in ("ab", "ab", "bc", "a", "ab")
    ]

    axes = plot.bars(panels, title="t").axes

    assert [each.get_legend() is not None for each in axes] == [True, False, True, False, True]


def test_a_line_goes_around_the_cells_that_reach_the_mark() -> None:
    held = [[1.0, 2.0, 3.0], [float("nan"), 1.9, 2.5]]
    panel = plot.CellPanel("t", list("abc"), list("de"), held, "x", "y")

    (lines,) = plot.cells([panel], title="t", label="l", mark=2).axes[0].collections
    drawn = {tuple(sorted(map(tuple, each.tolist()))) for each in lines.get_segments()}

    # Every side of every cell that is inside, less those that two of them share.
    sides: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for x, y in ((1, 0), (2, 0), (2, 1)):
        for a, b in (((0, 0), (1, 0)), ((0, 1), (1, 1)), ((0, 0), (0, 1)), ((1, 0), (1, 1))):
            sides.append(((x + a[0] - 0.5, y + a[1] - 0.5), (x + b[0] - 0.5, y + b[1] - 0.5)))
    assert drawn == {side for side in sides if sides.count(side) == 1}


def test_files_are_the_same_in_every_process_and_no_window_is_opened(place: Path, tmp_path: Path) -> None:
    program = f"""
import hashlib, sys
from pathlib import Path
from simcore import draw_sweep
for ending in ("svg", "pdf"):
    path = draw_sweep({str(place)!r}).save("f." + ending)
    print(hashlib.sha256(path.read_bytes()).hexdigest())
print("matplotlib.pyplot" in sys.modules)
"""
    said_ = {
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program], env=os.environ | {"PYTHONHASHSEED": seed}, cwd=tmp_path,
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip

    assert len(said_) == 1
    assert said_.pop().endswith("False\n")


def test_the_style_is_there_for_figures_of_ones_own() -> None:
    with style.context("simcore.plot.simcore"):
        assert matplotlib.rcParams["pdf.fonttype"] == 42
        assert matplotlib.rcParams["figure.figsize"][0] == 3.5


def test_values_are_told_with_the_units_that_suit_them() -> None:
    assert said("size_bytes", 2**20) == "1 MiB"
    assert said("link.latency_ps", 1_500_000) == "1.5 us"
    assert measure_of("x_ps", [10**6, 5 * 10**6]).label == "x (us)"
    assert is_geometric([1, 2, 4, 8])
    assert not is_geometric([1, 2, 3, 4])


def test_the_command_draws_runs_and_sweeps_in_the_formats_asked_for(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(*arguments: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["simcore", "plot", str(place), *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        held = capsys.readouterr()
        return caught.value.code, held.out + held.err

    code, text = ended("--kind", "heatmap", "--format", "svg,pdf", "--width", "page", "--where", "machine.sharing=fair")
    assert (code, text) == (0, f"wrote    {place}/heatmap.svg\nwrote    {place}/heatmap.pdf\n")
    assert ended("--format", "gif")[0] == 2
    assert ended("--by", "machine.sharing", "--x", "machine.sharing", "--kind", "heatmap")[0] == 2
    assert "write AXIS=VALUE" in ended("--where", "fair")[1]
