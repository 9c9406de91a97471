"""Figures from the tables of a run: who did what, which link was busy, who sent how much to whom, the machine."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from simcore.errors import InputError
from simcore.trace import numbers
from simcore.units import RATE, SIZE, TIME, Dimension, short

if TYPE_CHECKING:
    import networkx
    import pyarrow as pa

Tables = Mapping[str, "pa.Table"]
Floats = NDArray[np.float64]

DPI = 100
WIDTH = 1400
"""Pixels of every figure's width."""
METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Endings of figures, and what matplotlib would write into each that differs between two machines or two days."""
MOST_LINKS = 32
"""Links that a figure shows; of more, the busiest."""

# Okabe and Ito's palette, safe for colour-blind readers; lightness differs too, so the classes survive a grey print.
COLOURS = {"compute": "#0072B2", "send": "#CC79A7", "replay": "#7FCDBB", "idle": "#DDDDDD"}
MEANINGS = {"replay": "recorded collective"}
WAITS = ["#E69F00", "#F0E442", "#D55E00", "#8C4A00", "#F7C99B", "#5E3C99"]
"""Colours of waits, by reason where there are few, else by the first word of the reason."""
OTHER = "#555555"
HEAT = LinearSegmentedColormap.from_list("heat", ["#F3F3F3", "#C6DBEF", "#9E9AC8", "#6A51A3", "#2D004B"])
INK, GRID = "#222222", "#E6E6E6"


def timeline(tables: Tables, path: Path, *, title: str = "") -> Path:
    """Draw one row a rank (activities) above one row a link (utilisation), on one time axis; return ``path``."""
    spans, links = tables["spans"].to_pydict(), _links(tables)
    rows = sorted(set(spans["location"]), key=_natural)
    names, hidden = _busiest(links)
    end = _makespan(tables)
    if not rows:
        return _nothing(path, title)
    left, right, top, gap, bottom = _margin([*rows, *names]), 210, 60, 22, 58
    columns = WIDTH - left - right
    image, colours = activity_image(spans, rows, end, columns)
    upper = max(_rows_height(len(rows), 26, 6), 22 * len(colours))
    lower = _rows_height(len(names), 16, 9) if names else -gap
    figure = _figure(top + upper + gap + lower + bottom)
    box = _Boxes(figure, left, right)
    axes = box.add(top, upper)
    _draw_activities(axes, image, colours, rows, end, upper)
    if names:
        axes.tick_params(bottom=False, labelbottom=False)
        axes = box.add(top + upper + gap, lower)
        used = 100 * per_column(links, names, "busy_ps", end, columns)
        _draw_links(figure, axes, used, names, hidden, end, lower, "utilisation (%)")
    _time_axis(axes, end)
    jobs = len(job_borders(rows)) + 1
    who = f"{len(rows)} ranks" + (f" of {jobs} jobs" if jobs > 1 else "")
    _titled(figure, title, f"{who}, {len(names) + hidden} links in use, {short(end, TIME)} of simulated time")
    return _save(figure, path)


def traffic(tables: Tables, path: Path, *, title: str = "") -> Path:
    """Draw what all links carry over time, what each carries, and the matrix of bytes from source to destination;
    return ``path``."""
    links = _links(tables)
    names, hidden = _busiest(links)
    end = _makespan(tables)
    if not names:
        return _nothing(path, title)
    left, top, total, gap, bottom, side = _margin(names), 60, 130, 22, 58, 330
    rows = _rows_height(len(names), 16, 9)
    figure = _figure(max(top + total + gap + rows + bottom, top + side + 72))
    right = side + 235
    box = _Boxes(figure, left, right)
    columns = WIDTH - left - right

    everything = sorted(set(links["link"]))
    rate = per_column(links, everything, "size_bytes", end, columns).sum(axis=0) * 1e12
    _draw_total(box.add(top, total), rate, end)

    shown = per_column(links, names, "size_bytes", end, columns) * 1e12
    unit, scale = _fitting(RATE, float(shown.max()))
    axes = box.add(top + total + gap, rows)
    _draw_links(figure, axes, shown / scale, names, hidden, end, rows, f"per link ({unit})")
    _time_axis(axes, end)

    matrix = pair_matrix(tables)
    _matrix(figure, matrix, WIDTH - side - 92, top, side)
    sizes, kinds = numbers(tables["transfers"], "size_bytes"), numbers(tables["transfers"], "kind")
    flags = int(sizes[kinds == "flag"].sum())
    moved = int(matrix.sum())
    _titled(
        figure,
        title,
        f"{short(moved, SIZE)} from rank to rank, of which flags {short(flags, SIZE)}; {len(everything)} links in use",
    )
    return _save(figure, path)


def topology(graph: "networkx.DiGraph[Any]", path: Path, *, title: str = "") -> Path:
    """Draw the machine: GPUs around, switches inside, one line for two equal directions, one colour for equal links;
    return ``path``."""
    figure = _figure(900)
    box = _Boxes(figure, 40, 400)
    axes = box.add(60, 800)
    places = _layout(graph)
    classes: dict[tuple[int, int, str], list[tuple[str, str]]] = {}
    for tail, head, link in graph.edges(data=True):
        back = graph.get_edge_data(head, tail)
        same = back is not None and (back["bandwidth"], back["latency"]) == (link["bandwidth"], link["latency"])
        shares = "" if back is None else "shared by both directions" if back["server"] == link["server"] else "each way"
        if not same:
            shares = "one way"
        if not same or (head, tail) not in classes.get((link["bandwidth"], link["latency"], shares), []):
            classes.setdefault((link["bandwidth"], link["latency"], shares), []).append((tail, head))
    palette = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
    handles = []
    for number, (key, pairs) in enumerate(sorted(classes.items(), reverse=True)):
        colour, count = palette[number % len(palette)], len(pairs)
        lines = [(places[tail], places[head]) for tail, head in pairs]
        axes.add_collection(
            LineCollection(
                lines,
                colors=colour,
                lw=max(0.3, min(2.2, 60 / math.sqrt(count + 600))),
                alpha=1 if count < 100 else 0.35,
                zorder=1,
            )
        )
        if key[2] == "one way" and count <= 200:
            for start, stop in lines:
                middle = (0.45 * start[0] + 0.55 * stop[0], 0.45 * start[1] + 0.55 * stop[1])
                axes.annotate("", middle, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2})
        label = f"{count} links, {short(key[0], RATE)} {key[2]}, {short(key[1], TIME)}"
        handles.append(Patch(color=colour, label=label))
    gpus = [name for name, about in graph.nodes(data=True) if about["kind"] == "gpu"]
    _nodes(axes, places, gpus, "o", "#FFFFFF", INK)
    _nodes(axes, places, [name for name in graph if name not in set(gpus)], "s", "#444444", "#FFFFFF")
    axes.set_aspect("equal")
    axes.margins(0.12)
    axes.autoscale_view()
    axes.set_axis_off()
    axes.legend(handles=handles[:20], loc="upper left", bbox_to_anchor=(1.0, 0.98), frameon=False, fontsize=11)
    _titled(
        figure,
        title,
        f"{len(gpus)} GPUs (round), {graph.number_of_nodes() - len(gpus)} switches (square); bandwidth and "
        "latency of one traversal",
    )
    return _save(figure, path)


def activity_classes(activities: Sequence[str], reasons: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the class of every span and the colour of each class that occurs, in the order of the legend.

    Waits are told apart by their whole reason where that makes no more classes than there are colours, else by its
    first word.
    """
    waited = sorted(
        {reason for activity, reason in zip(activities, reasons, strict=True) if activity == "wait"}, key=_natural
    )
    if len(waited) > len(WAITS):
        waited = sorted({reason.split(" ")[0] for reason in waited})
    label = {reason: f"wait: {reason}" if reason else "wait" for reason in waited[: len(WAITS)]}
    colours = {MEANINGS.get(name, name): colour for name, colour in COLOURS.items()}
    colours |= {name: WAITS[i] for i, name in enumerate(label.values())} | {"other": OTHER}
    classes = [
        label.get(reason, label.get(reason.split(" ")[0], "other"))
        if activity == "wait"
        else MEANINGS.get(activity, activity)
        for activity, reason in zip(activities, reasons, strict=True)
    ]
    classes = [name if name in colours else "other" for name in classes]
    present = set(classes)
    return classes, {name: colour for name, colour in colours.items() if name in present}


def activity_image(
    spans: Mapping[str, Sequence[Any]], rows: Sequence[str], end: int, columns: int
) -> tuple[Floats, dict[str, str]]:
    """Return (rows, columns, 3) colours, in each pixel that of the class covering most of its time, and the colour of
    every class.

    A pixel with any activity at all is coloured, so a short span never vanishes from empty ground.
    """
    classes, colours = activity_classes(spans["activity"], spans["reason"])
    row_of, class_of = {name: i for i, name in enumerate(rows)}, {name: i for i, name in enumerate(colours)}
    count = max(1, len(colours))
    lane = np.array(
        [row_of[where] * count + class_of[c] for where, c in zip(spans["location"], classes, strict=True)], np.int64
    )
    begin, stop = np.array(spans["t0_ps"], np.float64), np.array(spans["t1_ps"], np.float64)
    covered = _spread(begin, stop, np.ones(len(lane)), lane, len(rows) * count, end, columns).reshape(
        len(rows), count, columns
    )
    image = np.ones((len(rows), columns, 3))
    most, some = covered.argmax(axis=1), covered.max(axis=1) > 1e-9
    for number, colour in enumerate(colours.values()):
        image[(most == number) & some] = to_rgb(colour)
    return image, colours


def per_column(links: Mapping[str, Sequence[Any]], names: Sequence[str], column: str, end: int, columns: int) -> Floats:
    """Return (names, columns): for each link the mean of ``column`` per picosecond over each pixel column of 0 to
    ``end``."""
    row_of = {name: i for i, name in enumerate(names)}
    chosen = np.array([i for i, name in enumerate(links["link"]) if name in row_of], np.int64)
    begin = np.array(links["t0_ps"], np.float64)[chosen]
    stop = np.minimum(np.array(links["t1_ps"], np.float64)[chosen], end)
    lane = np.array([row_of[links["link"][i]] for i in chosen], np.int64)
    weight = np.array(links[column], np.float64)[chosen] / np.maximum(stop - begin, 1)
    return _spread(begin, stop, weight, lane, len(names), end, columns)


def _spread(
    begin: Floats, stop: Floats, weight: Floats, lane: NDArray[np.int64], lanes: int, end: int, columns: int
) -> Floats:
    """Return (lanes, columns): the time-weighted mean of ``weight`` over the intervals that fall into each column."""
    scale = columns / end
    first, last = begin * scale, np.minimum(stop * scale, columns)
    i, j = np.minimum(first.astype(np.int64), columns - 1), np.minimum(last.astype(np.int64), columns)
    # Integral of the intervals up to each column border, as steps of slope and of height, so that no loop runs over
    # pixels.
    slope = np.zeros((lanes, columns + 2))
    height = np.zeros((lanes, columns + 2))
    np.add.at(slope, (lane, i), weight)
    np.add.at(slope, (lane, j), -weight)
    np.add.at(height, (lane, i), weight * (i - first))
    np.add.at(height, (lane, j), weight * (last - j))
    return np.asarray(np.cumsum(slope, axis=1)[:, :columns] + height[:, :columns])


def job_borders(rows: Sequence[str]) -> list[int]:
    """Return the numbers of the rows at which another job begins; a rank of several jobs is called job.rankN."""
    jobs = [row.rpartition(".")[0] for row in rows]
    return [i for i in range(1, len(jobs)) if jobs[i] != jobs[i - 1]]


def pair_matrix(tables: Tables) -> Floats:
    """Return (world, world) bytes sent from row to column."""
    src, dst, size = (numbers(tables["transfers"], name) for name in ("src", "dst", "size_bytes"))
    world = int(max(src.max(), dst.max())) + 1 if len(src) else 1
    matrix = np.zeros((world, world))
    np.add.at(matrix, (src, dst), size)
    return matrix


def time_unit(end: int) -> tuple[str, float]:
    """Return the unit in which ``end`` (ps) reads between 1 and 1000, and its length in ps."""
    return _fitting(TIME, end)


def _fitting(dimension: Dimension, largest: float) -> tuple[str, float]:
    for unit in dimension.display:
        if largest >= float(dimension.units[unit]):
            return unit, float(dimension.units[unit])
    return dimension.base, 1.0


def _links(tables: Tables) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = tables["links"].to_pydict()
    return found


def _busiest(links: Mapping[str, Sequence[Any]]) -> tuple[list[str], int]:
    """Return the links to show, in natural order, and how many are left out."""
    carried: dict[str, int] = {}
    for name, size in zip(links["link"], links["size_bytes"], strict=True):
        carried[name] = carried.get(name, 0) + size
    chosen = sorted(carried, key=lambda name: (-carried[name], _natural(name)))[:MOST_LINKS]
    return sorted(chosen, key=_natural), len(carried) - len(chosen)


def _makespan(tables: Tables) -> int:
    import pyarrow.compute as pc

    ends = [pc.max(tables["spans"]["t1_ps"]).as_py(), pc.max(tables["transfers"]["arrived_ps"]).as_py()]
    return max((end for end in ends if end), default=1)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _rows_height(count: int, comfortable: int, least: int) -> int:
    """Return pixels of all rows: comfortable for few, less each for many, never less than ``least``, and in all enough
    for a colour bar."""
    return max(90, count * max(least, min(comfortable, 480 // max(1, count))))


def _margin(names: Sequence[str]) -> int:
    """Return pixels that the names of rows take, with the title of the axis left of them."""
    return 36 + 8 * max(map(len, names))


def _top(values: Floats) -> float:
    return float(values.max()) if values.size and values.max() > 0 else 1.0


class _Boxes:
    """Places axes by pixels from the top left, so that nothing is left to a layout engine."""

    def __init__(self, figure: Figure, left: int, right: int) -> None:
        self._figure, self._left, self._right = figure, left, right

    def add(self, top: int, height: int) -> Any:
        pixels = self._figure.get_figheight() * DPI
        axes = self._figure.add_axes(
            (self._left / WIDTH, 1 - (top + height) / pixels, 1 - (self._left + self._right) / WIDTH, height / pixels)
        )
        for spine in axes.spines.values():
            spine.set_color("#999999")
        return axes


def _figure(height: int) -> Figure:
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _titled(figure: Figure, title: str, subtitle: str) -> None:
    pixels = figure.get_figheight() * DPI
    figure.text(16 / WIDTH, 1 - 14 / pixels, title, fontsize=13, fontweight="bold", va="top", color=INK)
    figure.text(16 / WIDTH, 1 - 34 / pixels, subtitle, fontsize=10, va="top", color="#555555")


def _rows(axes: Any, names: Sequence[str], height: float) -> None:
    """Label every row, or every k-th where labels would touch."""
    every = max(1, math.ceil(13 * len(names) / height)) if names else 1
    shown = range(0, len(names), every)
    axes.set_yticks([i + 0.5 for i in shown], [names[i] for i in shown], fontsize=9)
    axes.tick_params(axis="y", length=0)


def _draw_activities(
    axes: Any, image: Floats, colours: Mapping[str, str], rows: Sequence[str], end: int, height: int
) -> None:
    axes.imshow(image, aspect="auto", interpolation="nearest", extent=(0, end, len(rows), 0))
    if height / len(rows) >= 10:
        axes.hlines(range(1, len(rows)), 0, end, color="white", lw=2)
    axes.hlines(job_borders(rows), 0, end, color=INK, lw=1.5)
    _rows(axes, rows, height)
    axes.legend(
        handles=[Patch(color=colour, label=name) for name, colour in colours.items()],
        loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=10, borderaxespad=0,
    )  # fmt: skip


def _draw_links(
    figure: Figure, axes: Any, values: Floats, names: Sequence[str], hidden: int, end: int, height: int, label: str
) -> None:
    heat = axes.imshow(
        values, aspect="auto", interpolation="nearest", extent=(0, end, len(names), 0),
        cmap=HEAT, vmin=0, vmax=_top(values),
    )  # fmt: skip
    _rows(axes, names, height)
    _name_links(figure, axes, len(names), hidden)
    _colour_bar(figure, heat, axes, label)


def _draw_total(axes: Any, rate: Floats, end: int) -> None:
    unit, scale = _fitting(RATE, float(rate.max()))
    axes.stairs(rate / scale, np.linspace(0, end, len(rate) + 1), fill=True, color="#6A51A3", lw=0)
    axes.set_ylabel(f"all links ({unit})", fontsize=10)
    axes.set_xlim(0, end)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(bottom=False, labelbottom=False, labelsize=9)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)


def _name_links(figure: Figure, axes: Any, shown: int, hidden: int) -> None:
    """Name the rows of links at the left edge, clear of their labels whatever their length."""
    where = axes.get_position()
    text = f"busiest {shown} of {shown + hidden} links" if hidden else "links"
    figure.text(8 / WIDTH, (where.y0 + where.y1) / 2, text, rotation=90, va="center", fontsize=10, color=INK)


def _time_axis(axes: Any, end: int) -> None:
    unit, scale = time_unit(end)
    # Round in the unit shown, not in picoseconds.
    axes.set_xticks(
        [
            tick * scale
            for tick in MaxNLocator(10, steps=[1, 2, 5, 10]).tick_values(0, end / scale)
            if 0 <= tick * scale <= end
        ]
    )
    axes.set_xlim(0, end)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / scale:g}"))
    axes.tick_params(axis="x", labelsize=9)
    axes.set_xlabel(f"simulated time ({unit})", fontsize=10)


def _colour_bar(figure: Figure, heat: Any, beside: Any, label: str) -> None:
    where = beside.get_position()
    left = where.x1 * WIDTH + 14
    height = min(where.height, 220 / (figure.get_figheight() * DPI))
    bar = figure.colorbar(heat, cax=figure.add_axes((left / WIDTH, where.y1 - height, 12 / WIDTH, height)))
    bar.set_label(label, fontsize=10)
    bar.ax.tick_params(labelsize=9)
    bar.locator = MaxNLocator(4)
    bar.outline.set_visible(False)


def _matrix(figure: Figure, matrix: Floats, left: int, top: int, side: int) -> None:
    pixels = figure.get_figheight() * DPI
    axes = figure.add_axes((left / WIDTH, 1 - (top + side) / pixels, side / WIDTH, side / pixels))
    world = len(matrix)
    unit, scale = _fitting(SIZE, float(matrix.max()))
    shown = np.ma.masked_where(np.eye(world, dtype=bool) & (matrix == 0), matrix / scale)
    heat = axes.imshow(shown, cmap=HEAT, vmin=0, vmax=_top(matrix / scale), interpolation="nearest")
    if world <= 8:
        for (i, j), value in np.ndenumerate(matrix):
            if value:
                axes.text(
                    j,
                    i,
                    f"{value / scale:.3g}",
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="white" if value > 0.5 * matrix.max() else INK,
                )
    every = max(1, math.ceil(world / (16 if world <= 100 else 10)))
    ticks = list(range(0, world, every))
    axes.set_xticks(ticks, [str(i) for i in ticks], fontsize=9)
    axes.set_yticks(ticks, [str(i) for i in ticks], fontsize=9)
    axes.set_xlabel("destination rank", fontsize=10)
    axes.set_ylabel("source rank", fontsize=10)
    bar = figure.colorbar(
        heat, cax=figure.add_axes(((left + side + 12) / WIDTH, 1 - (top + side) / pixels, 12 / WIDTH, side / pixels))
    )
    bar.set_label(f"bytes sent ({unit})", fontsize=10)
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_visible(False)


def _layout(graph: "networkx.DiGraph[Any]") -> dict[str, tuple[float, float]]:
    """Return places: GPUs on a circle and one switch in its middle; with more switches, wherever distances along links
    put them."""
    gpus = sorted((name for name, about in graph.nodes(data=True) if about["kind"] == "gpu"), key=_natural)
    switches = sorted((name for name in graph if name not in set(gpus)), key=_natural)
    if len(switches) > 1:
        import networkx

        spread = networkx.kamada_kawai_layout(graph.to_undirected(), weight=None)
        return {name: (float(x), float(y)) for name, (x, y) in spread.items()}
    circle = {
        name: (math.sin(2 * math.pi * i / len(gpus)), math.cos(2 * math.pi * i / len(gpus)))
        for i, name in enumerate(gpus)
    }
    return circle | dict.fromkeys(switches, (0.0, 0.0))


def _nodes(
    axes: Any, places: Mapping[str, tuple[float, float]], names: Sequence[str], marker: str, fill: str, ink: str
) -> None:
    if not names:
        return
    few = len(names) <= 24
    size = 1500 if few else max(120, 24_000 / len(names))
    axes.scatter(
        *zip(*(places[name] for name in names), strict=True),
        s=size,
        marker=marker,
        color=fill,
        edgecolors=INK,
        linewidths=1.2,
        zorder=2,
    )
    for name in names:
        text = name if few else name.removeprefix("gpu")
        axes.text(*places[name], text, ha="center", va="center", fontsize=9.5 if few else 7.5, color=ink, zorder=3)


def _nothing(path: Path, title: str) -> Path:
    figure = _figure(240)
    figure.text(0.5, 0.4, "nothing was recorded", ha="center", fontsize=14, color="#777777")
    _titled(figure, title, "the run's tables are empty")
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    if path.suffix not in METADATA:
        raise InputError(f"{path}: a figure's name ends in {', '.join(METADATA)}")
    try:
        with rc_context({"svg.hashsalt": "simcore"}):
            figure.savefig(path, metadata=METADATA[path.suffix])
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {(error.strerror or 'error').lower()}") from None
    return path
