"""Figures: what each pixel stands for, twice computed; labels that never touch; the same bytes every time."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from simcore import InputError, hardware, plot
from simcore.hardware import Degraded, Edge, LinkSpec, Network
from simcore.plot._canvas import Drawing, save
from simcore.plot._places import HEIGHT, SIDE, picture
from simcore.plot._series import busiest, draw_heat
from simcore.plot._style import GROUND, PALETTE
from simcore.plot._topology import link_kinds
from simcore.shapes import Dimension, Dragonfly, FatTree, LinkChange, RailOptimised, Switch, Torus
from simcore.topology import Topology
from simcore.trace import Recorder
from simcore.units import RATE, short

END = 1000
PIXELS = 1200
"""Pixels of the width of figures for the screen."""


def tables(ranks: int = 4, *, steps: int = 6) -> Any:
    """Return the tables of a made-up run in which every rank writes to its two neighbours."""
    recorder = Recorder()
    rng = np.random.default_rng(20261124)
    for rank in range(ranks):
        at = 0
        for step in range(steps):
            busy, waits = (int(length) for length in rng.integers(10**8, 10**9, 2))
            recorder.add("spans", [f"rank{rank}", at, at + busy, "compute", "", "train", 0])
            at += busy
            source = f"flag of rank{(rank + step) % ranks}"
            recorder.add("spans", [f"rank{rank}", at, at + waits, "wait", source, f"step {step}", 0])
            at += waits
        for dst in {(rank + 1) % ranks, (rank - 1) % ranks} - {rank}:
            recorder.add("transfers", [rank, dst, 0, 4096 * (rank + 1), "data", 0, 10**8, 0, "shard"])
            for b in range(40):
                recorder.add("links", [f"gpu{rank}->gpu{dst}", b << 27, (b + 1) << 27, rank << 18, 10 * rank + b])
    return recorder.tables()


class Drawn:
    """The figures saved while it stands, each with its texts as they were drawn: (text, box in pixels)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.figures: list[Figure] = []
        self.texts: list[list[tuple[str, Bbox]]] = []
        self.sizes: list[tuple[float, float]] = []
        save, draw = Figure.savefig, Text.draw

        def saved(figure: Figure, *arguments: Any, **more: Any) -> None:
            self.figures.append(figure)
            self.texts.append([])
            save(figure, *arguments, **more)

        def noted(text: Text, renderer: Any, *rest: Any) -> Any:
            if text.get_text().strip() and self.texts:
                self.sizes[len(self.texts) - 1 :] = [(renderer.width, renderer.height)]
                self.texts[-1].append((text.get_text(), text.get_window_extent(renderer)))
            return draw(text, renderer, *rest)

        monkeypatch.setattr(Figure, "savefig", saved)
        monkeypatch.setattr(Text, "draw", noted)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    return Drawn(monkeypatch)


def overlaps(texts: list[tuple[str, Bbox]]) -> list[tuple[str, str]]:
    """Return the pairs of texts whose boxes share more than a pixel."""
    found = []
    for i, (text, box) in enumerate(texts):
        for other, further in texts[:i]:
            across = min(box.x1, further.x1) - max(box.x0, further.x0)
            down = min(box.y1, further.y1) - max(box.y0, further.y0)
            if across > 1 and down > 1:
                found.append((text, other))
    return found


def cut_off(size: tuple[float, float], texts: list[tuple[str, Bbox]]) -> list[str]:
    """Return the texts that reach beyond a figure of so many pixels."""
    width, height = size
    return [text for text, box in texts if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]


@pytest.mark.parametrize(
    ("ranks", "width"),
    [
        *((ranks, "column") for ranks in (1, 4, 64)),
        *((ranks, "page") for ranks in (2, 64)),
        *((ranks, "screen") for ranks in (1, 16, 300)),
    ],
)
def test_no_two_labels_overlap_and_none_is_cut_off(ranks: int, width: str, tmp_path: Path, drawn: Drawn) -> None:
    plot.save(plot.timeline(tables(ranks), title="x" * 60, width=width), tmp_path / "timeline.png")
    plot.save(plot.traffic(tables(ranks), title="x" * 60, width=width), tmp_path / "traffic.png")

    assert len(drawn.figures) == 2
    for size, texts in zip(drawn.sizes, drawn.texts, strict=True):
        assert len(texts) > 2
        assert overlaps(texts) == []
        assert cut_off(size, texts) == []


def test_overlaps_and_cut_off_labels_are_found(tmp_path: Path, drawn: Drawn) -> None:
    figure = Drawing(plot.WIDTHS["screen"])
    figure.text(0.5, 0.5, "one")
    figure.text(0.5, 0.5, "two")
    figure.text(0.99, 0.1, "three")
    save(figure, tmp_path / "t.png")

    assert overlaps(drawn.texts[0]) == [("two", "one")]
    assert cut_off(drawn.sizes[0], drawn.texts[0]) == ["three"]


@pytest.mark.parametrize(("ranks", "height"), [(4, 500), (64, 1100), (300, 2600)])
def test_figures_stay_on_a_screen(ranks: int, height: int, tmp_path: Path) -> None:
    picture = imread(plot.save(plot.timeline(tables(ranks)), tmp_path / "t.png"))

    assert picture.shape[1] == PIXELS
    assert picture.shape[0] <= height


def test_rows_are_in_natural_order(tmp_path: Path, drawn: Drawn) -> None:
    plot.save(plot.timeline(tables(12)), tmp_path / "t.png")
    upper = drawn.figures[0].axes[0]

    assert [label.get_text() for label in upper.get_yticklabels()] == [f"rank{i}" for i in range(12)]


def test_rows_are_grouped_by_job_with_a_line_between(tmp_path: Path, drawn: Drawn) -> None:
    recorder = Recorder()
    for name in ("b.rank0", "a.rank10", "a.rank2", "c.rank0"):
        recorder.add("spans", [name, 0, 5, "compute", "", "x", 0])

    plot.save(plot.timeline(recorder.tables()), tmp_path / "t.png")
    upper = drawn.figures[0].axes[0]

    assert [label.get_text() for label in upper.get_yticklabels()] == ["a.rank2", "a.rank10", "b.rank0", "c.rank0"]
    assert plot.job_borders(["a.rank2", "a.rank10", "b.rank0", "c.rank0"]) == [2, 3]
    assert plot.job_borders(["rank0", "rank1"]) == []
    assert any("4 ranks of 3 jobs" in text for text, _ in drawn.texts[0])


@pytest.mark.parametrize(
    ("end", "unit"),
    [(1, "ps"), (999, "ps"), (1000, "ns"), (10**6, "us"), (580_800_000_000, "ms"), (10**12, "s"), (10**15, "s")],
)
def test_the_time_axis_has_a_fitting_unit(end: int, unit: str) -> None:
    assert plot.time_unit(end)[0] == unit


spans = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, END - 1), st.integers(1, 300), st.sampled_from(["compute", "send", "idle"])
    ),
    min_size=1,
    max_size=12,
)


@given(spans=spans, columns=st.integers(1, 60))
def test_a_pixel_has_the_colour_of_what_fills_most_of_it(spans: list[tuple[int, int, int, str]], columns: int) -> None:
    spans = [(row, begin, min(END, begin + length), what) for row, begin, length, what in spans]
    rows = ["rank0", "rank1", "rank2"]
    given_ = {
        "location": [rows[row] for row, *_ in spans],
        "t0_ps": [begin for _, begin, _, _ in spans],
        "t1_ps": [end for _, _, end, _ in spans],
        "activity": [what for *_, what in spans],
        "reason": [""] * len(spans),
    }

    image, colours = plot.activity_image(given_, rows, END, columns)

    for row in range(3):
        for column in range(columns):
            left, right = END * column / columns, END * (column + 1) / columns
            share = {
                name: sum(
                    max(0.0, min(right, end) - max(left, begin))
                    for r, begin, end, what in spans
                    if r == row and what == name
                )
                for name in colours
            }
            most = max(share.values())
            pixel = tuple(image[row, column])
            if most > 1e-6:
                likely = {to_rgb(colours[name]) for name, value in share.items() if value > most - 1e-6}
                assert pixel in likely
            elif most == 0:
                assert pixel == (1.0, 1.0, 1.0)


@given(
    bins=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 15), st.integers(0, 64)), max_size=12),
    columns=st.integers(1, 70),
)
def test_a_column_of_a_link_is_the_mean_over_its_time(bins: list[tuple[int, int, int]], columns: int) -> None:
    names = ["a", "b"]
    links = {
        "link": [names[row] for row, *_ in bins],
        "t0_ps": [64 * k for _, k, _ in bins],
        "t1_ps": [64 * k + 64 for _, k, _ in bins],
        "busy_ps": [busy for *_, busy in bins],
    }

    found = plot.per_column(links, names, "busy_ps", END, columns)

    for row in range(2):
        for column in range(columns):
            left, right = END * column / columns, END * (column + 1) / columns
            total = sum(
                busy * max(0.0, min(right, 64 * k + 64, END) - max(left, 64 * k)) / (min(64 * k + 64, END) - 64 * k)
                for r, k, busy in bins
                if r == row
            )
            assert found[row, column] == pytest.approx(total / (right - left), abs=1e-9)


def test_bins_beyond_the_end_are_left_out() -> None:
    links = {"link": ["a"] * 3, "t0_ps": [0, 50, 100], "t1_ps": [50, 100, 150], "busy_ps": [50, 25, 50]}

    assert plot.per_column(links, ["a"], "busy_ps", 75, 3).tolist() == [[1, 1, 1]]


def test_traffic_spread_thinly_looks_like_traffic_beside_a_burst() -> None:
    figure = Drawing(plot.WIDTHS["screen"])
    values = np.array([[0, 1e-3, 1.0], [1e-15, 0.2, 0.5]])
    heat = draw_heat(figure.add_axes((0, 0, 1, 1)), values)
    shown = heat.to_rgba(heat.get_array())[..., :3]
    ground = np.array(to_rgb(GROUND))

    assert heat.get_array().mask.tolist() == [[True, False, False], [True, False, False]]
    visible = shown[~heat.get_array().mask]
    assert np.abs(visible - ground).sum(axis=1).min() > 0.3
    lightness = shown[[0, 1, 1, 0], [1, 1, 2, 2]].sum(axis=1)
    assert (np.diff(lightness) < -0.2).all()


def test_a_figure_that_is_interrupted_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.png"
    path.write_bytes(b"older")

    def struck(figure: Figure, to: Path, **_: Any) -> None:
        to.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", struck)
    with pytest.raises(KeyboardInterrupt):
        save(Drawing(plot.WIDTHS["screen"]), path)

    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("f.png", b"older")]


def test_the_matrix_holds_every_byte_from_row_to_column() -> None:
    found = plot.pair_matrix(tables(4))

    assert found.sum() == sum(2 * 4096 * (rank + 1) for rank in range(4))
    assert found[3, 0] == found[3, 2] == 4 * 4096
    assert found[0, 2] == 0


def test_reasons_of_waits_stay_within_the_figure(tmp_path: Path) -> None:
    recorder = Recorder()
    for rank in range(2):
        reason = f"rank{rank} to call reduce_scatter by halving and doubling"
        recorder.add("spans", [f"rank{rank}", 0, 10**9, "wait", reason, "gradients", 0])

    drawn = imread(plot.save(plot.timeline(recorder.tables()), tmp_path / "t.png"))

    assert (drawn[:, -4:] == 1).all()
    assert not (drawn[:, -200:-4] == 1).all()


def test_waits_are_told_apart_by_reason_while_colours_last() -> None:
    few = [f"flag of rank{i}" for i in range(3)]
    many = [f"flag of rank{i}" for i in range(30)] + ["link to gpu0"]

    assert plot.activity_classes(["wait"] * 3, few)[0] == [f"wait: {reason}" for reason in few]
    assert set(plot.activity_classes(["wait"] * 31, many)[0]) == {"wait: flag", "wait: link"}
    assert plot.activity_classes(["dream"], [""])[0] == ["other"]


def test_classes_differ_in_colour() -> None:
    colours = [*plot.COLOURS.values(), *plot.WAITS, plot.OTHER]

    assert len({to_rgb(colour) for colour in colours}) == len(colours)


def test_of_many_links_the_busiest_are_shown_and_the_rest_counted(tmp_path: Path, drawn: Drawn) -> None:
    plot.save(plot.timeline(tables(64)), tmp_path / "t.png")

    assert "busiest 32 of 128 links" in {text for text, _ in drawn.texts[0]}


@pytest.mark.parametrize("figure", [plot.timeline, plot.traffic])
def test_a_run_without_rows_draws_a_sentence(figure: Any, tmp_path: Path) -> None:
    path = plot.save(figure(Recorder().tables()), tmp_path / "empty.png")

    assert imread(path).shape[1] == PIXELS


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
@pytest.mark.parametrize("figure", [plot.timeline, plot.traffic])
def test_the_same_tables_give_the_same_bytes(figure: Any, ending: str, tmp_path: Path) -> None:
    made = tables(4)
    one, two = (hashlib.sha256(plot.save(figure(made), tmp_path / f"{name}.{ending}").read_bytes()) for name in "ab")

    assert one.hexdigest() == two.hexdigest()


def test_an_ending_that_is_no_figure_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.xyz: a figure's name ends in \.png, \.svg, \.pdf$"):
        plot.save(plot.timeline(tables(2)), tmp_path / "t.xyz")


LINK, NIC = LinkSpec(450 * 10**9, 300_000), LinkSpec(50 * 10**9, 500_000)


def cluster(nodes: int, shape: Any) -> Topology:
    return Topology("switch", 8 * nodes, LINK, nodes=nodes, network=Network(NIC, shape))


MACHINES: dict[str, Callable[[], Topology]] = {
    "one GPU": lambda: Topology("switch", 1, LINK),
    "switch of 8": lambda: Topology("switch", 8, LINK),
    "switch of 72": lambda: Topology("switch", 72, LINK),
    "switch of 300": lambda: Topology("switch", 300, LINK),
    "full mesh": lambda: Topology("full_mesh", 8, LINK),
    "half duplex": lambda: Topology("full_mesh", 4, LinkSpec(10**9, 5, "half")),
    "ring of 5": lambda: Topology("ring", 5, LINK),
    "ring of 128": lambda: Topology("ring", 128, LINK),
    "cube": lambda: Topology("hybrid_cube_mesh", 8, LINK),
    "row": lambda: Topology(Torus([Dimension(12, wrap=False)]), 12, LINK),
    "torus 16 x 8": lambda: Topology(Torus([Dimension(16), Dimension(8, bandwidth=10**11)]), 128, LINK),
    "torus 4 x 4 x 4": lambda: Topology(Torus([Dimension(4)] * 3), 64, LINK),
    "torus 8 x 8 x 8": lambda: Topology(Torus([Dimension(8)] * 3), 512, LINK),
    "torus 2 x 2 x 2 x 2": lambda: Topology(Torus([Dimension(2)] * 4), 16, LINK),
    "tree of 8": lambda: Topology(FatTree(4, 2), 8, LINK),
    "tree of 128": lambda: Topology(FatTree(16, 8), 128, LINK),
    "tree of three levels": lambda: Topology(FatTree(4, 2, leaves_per_pod=2), 32, LINK),
    "two nodes": lambda: cluster(2, Switch()),
    "16 nodes": lambda: cluster(16, FatTree(32, 16)),
    "128 nodes": lambda: cluster(128, FatTree(32, 16)),
    "rails of 4": lambda: cluster(4, RailOptimised()),
    "rails of 16": lambda: cluster(16, RailOptimised(8, 4)),
    "rails of 64": lambda: cluster(64, RailOptimised(16, 8)),
    "dragonfly of 8": lambda: Topology(Dragonfly(2, 2, 2), 8, LINK),
    "dragonfly of 72": lambda: Topology(Dragonfly(9, 4, 2), 72, LINK),
    "dragonfly of nodes": lambda: cluster(16, Dragonfly(8, 4, 4)),
    "one group": lambda: Topology(Dragonfly(1, 1, 4), 4, LINK),
    "edges": lambda: Topology(
        "edges", 4, LINK, [Edge(("gpu0", "a")), Edge(("gpu1", "a")), Edge(("gpu2", "b")), Edge(("gpu3", "b")),
                           Edge(("a", "b"), reverse=LinkChange(5))]),
    "many edges": lambda: Topology(
        "edges", 200, LINK, [edge for i in range(200) for edge in
                             [Edge((f"gpu{i}", f"leaf{i // 8}"))] + [Edge((f"leaf{i // 8}", "top"))] * (i % 8 == 0)]),
    "failed and degraded": lambda: Topology(
        FatTree(4, 3), 16, LINK, failed=[["leaf0", "spine1"]], degraded=[Degraded(("gpu5", "leaf1"), 50)]),
}  # fmt: skip


@pytest.mark.parametrize("width", ["screen", "column"])
@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_is_drawn_without_overlapping_labels(name: str, width: str, tmp_path: Path, drawn: Drawn) -> None:
    plot.save(plot.topology(MACHINES[name]().graph(), title="machine", width=width), tmp_path / "machine.png")

    texts = drawn.texts[0]
    assert len(texts) > 2
    assert overlaps(texts) == []
    assert cut_off(drawn.sizes[0], texts) == []
    assert min(text.get_fontsize() for text in drawn.figures[0].findobj(Text) if text.get_text()) >= (
        5.4 if width == "screen" else 3.4
    )


@pytest.mark.parametrize("name", MACHINES)
def test_every_node_has_a_place_of_its_own_inside_the_picture(name: str) -> None:
    graph = MACHINES[name]().graph()

    drawn = picture(graph)

    outside = {n for n, about in graph.nodes(data=True) if about["kind"] == "switch" and "node" in about}
    shown = set(graph) - (outside if graph.graph["network"] else set())
    assert shown <= set(drawn.places)
    places = [drawn.places[node] for node in shown]
    assert all(0 <= x <= SIDE and 0 <= y <= HEIGHT for x, y in places)
    assert len({(round(x, 1), round(y, 1)) for x, y in places}) == len(places)


@pytest.mark.parametrize("name", ["switch of 72", "torus 16 x 8", "tree of 128", "16 nodes", "rails of 16"])
def test_gpus_do_not_cover_each_other(name: str) -> None:
    graph = MACHINES[name]().graph()
    drawn = picture(graph)
    points = np.array([drawn.places[node] for node, kind in graph.nodes(data="kind") if kind == "gpu"])
    apart = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)) + np.where(np.eye(len(points)), 1e9, 0)

    assert apart.min() >= 2 * drawn.radius


@pytest.mark.parametrize("name", hardware.names())
def test_every_preset_is_drawn_with_its_units(name: str, tmp_path: Path, drawn: Drawn) -> None:
    spec = hardware.Sheet.read(hardware.find(name, Path())).spec()

    plot.save(plot.topology(Topology.of(spec).graph(), title=name), tmp_path / "t.png")

    shown = {text for text, _ in drawn.texts[0]}
    ways = "one way" if name == "sensors-spi" else "each way" if spec.link.duplex == "full" else "both ways shared"
    assert spec.gpu_count == 1 or any(f"{short(spec.link.bandwidth, RATE)} {ways}" in text for text in shown)
    assert any(text.startswith(f"{spec.gpu_count} GPU") for text in shown)
    assert overlaps(drawn.texts[0]) == []


def test_links_that_are_alike_are_one_class_and_all_links_are_in_one() -> None:
    topology = MACHINES["failed and degraded"]()

    kinds = link_kinds(topology.graph())

    assert {kind: len(pairs) for kind, pairs in kinds.items()} == {
        ("GPU - leaf", 450 * 10**9, 300_000, "each way"): 15,
        ("GPU - leaf", 225 * 10**9, 300_000, "each way"): 1,
        ("leaf - spine", 450 * 10**9, 300_000, "each way"): 11,
        ("leaf - spine", 450 * 10**9, 300_000, "failed"): 1,
    }


def test_the_colours_of_links_differ_in_lightness_too() -> None:
    lightness = sorted(float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114))) for colour in PALETTE)

    assert len(set(PALETTE)) == len(PALETTE)
    assert lightness[-1] - lightness[0] > 0.3


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_machine_gives_the_same_bytes(ending: str, tmp_path: Path) -> None:
    made = MACHINES["rails of 16"]().graph()
    one, two = (plot.save(plot.topology(made), tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")

    assert one == two


def test_a_folder_that_is_gone_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written: no such file or directory"):
        plot.save(plot.timeline(tables(2)), tmp_path / "gone" / "t.png")


def test_no_class_of_links_is_hidden_by_busier_ones() -> None:
    inside = [f"gpu{i}->node{i // 8}.switch" for i in range(40)]
    links = {"link": [*inside, "leaf0->spine1", "gpu3->leaf0"], "size_bytes": [*range(100, 140), 2, 1]}

    shown, hidden = busiest(links)

    assert shown == ["gpu3->leaf0", *inside[10:], "leaf0->spine1"]
    assert hidden == 10


@pytest.mark.parametrize(("groups", "rows"), [(3, 5), (40, 2)])
@pytest.mark.parametrize(("part", "kind"), [("wg", "work-groups"), ("stream ", "streams")])
def test_parts_of_ranks_are_drawn_where_they_are_few(
    part: str, kind: str, groups: int, rows: int, tmp_path: Path, drawn: Drawn
) -> None:
    recorder = Recorder()
    for where in ("rank0", *(f"rank0.{part}{number}" for number in range(groups)), "rank1"):
        recorder.add("spans", [where, 0, 10**6, "compute", "", "k", 0])

    plot.save(plot.timeline(recorder.tables(), title="t"), tmp_path / "t.png")

    shown = {text for text, _ in drawn.texts[0]}
    said = f"2 ranks, {groups} {kind}" + (" (not drawn)" if rows == 2 else "")
    assert any(text.startswith(said) for text in shown)
    assert len([text for text in shown if text.startswith("rank")]) == rows


@pytest.mark.parametrize("width", ["column", "screen"])
def test_labels_that_are_left_stand_at_their_rows(width: str) -> None:
    made = tables(64)
    names, _ = busiest(made["links"].to_pydict())

    rows = plot.traffic(made, width=width).axes[1]

    labels = {at: text.get_text() for at, text in zip(rows.get_yticks(), rows.get_yticklabels(), strict=True)}
    assert 12 <= len(labels) <= 32
    assert labels == {at: names[int(at)] for at in labels}
