"""A metric of a sweep over one axis as lines, over two as colours, and the best points by two columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from simcore import source
from simcore.columns import label_of
from simcore.errors import InputError
from simcore.plot._canvas import EDGE, Drawing, Sheet, sheet_of
from simcore.plot._curves import line_style
from simcore.plot._points import FEW, Measure, Points, Swept, Where, is_geometric, is_number, measure_of, said
from simcore.plot._style import FAINT, GROUND, HEAT, INK

Kind = Literal["line", "heatmap", "front"]
MOST_LINES = 14
"""Lines that can be told apart."""
MOST_TICKS = 12
"""Values of an axis that are ticks themselves."""
DECADES = 30
"""Ratio of the largest to the smallest of a metric from which on its axis, or its colours, are logarithmic where the
axis across is too; where that is not, much more is asked."""
FAR = 1000
ON_END = 110
"""Pixels that words on end take at most."""


def sweep(
    swept: Swept,
    *,
    kind: Kind = "line",
    x: str | None = None,
    y: str | None = None,
    by: str | None = None,
    where: Where | None = None,
    title: str | None = None,
    width: str = "screen",
) -> Drawing:
    """Return a figure of the points of a sweep.

    `line`: ``y`` over the axis ``x``, a line for each value of ``by``. `heatmap`: the mean of ``y`` as colours over the
    axes ``x`` and ``by``. `front`: all points by the columns ``x`` and ``y``, those joined than which no other is
    smaller in both. What is not given is chosen; ``by=""`` is none. ``where`` keeps points. Over axes that are not
    shown the mean is taken, from the smallest to the largest value there is a band; the figure says so. Raises
    ``InputError`` for columns that are not there, and for too many lines.
    """
    if kind not in get_args(Kind):
        raise InputError(source.unknown("kind of figure", kind, list(get_args(Kind))))
    points = Points.of(swept)
    if not points.count:
        raise InputError("no point is whole: nothing can be drawn")
    points = points.where(where or {})
    columns = [name for name in points.columns if is_number(points.columns[name])]
    metric = points.first_metric() if y is None else points.named(y, "--y", columns)
    across, lines = _chosen(points, kind, metric, x, by, columns)
    with sheet_of(width) as sheet:
        if kind == "heatmap":
            return _heat(sheet, points, across, lines, metric, title)
        if kind == "front":
            return _front(sheet, points, across, metric, lines, title)
        return _lines(sheet, points, across, metric, lines, title)


def _chosen(
    points: Points, kind: Kind, metric: str, x: str | None, by: str | None, columns: Sequence[str]
) -> tuple[str, str]:
    """Return the column to the right, and that of the lines or the rows, empty for none."""
    ranked = points.by_effect(metric)
    if kind == "front":
        others = [name for name in (*ranked, *points.metrics) if name in columns and name != metric]
        default = others[0] if others else metric
        across = default if x is None else points.named(x, "--x", columns)
        return across, points.named(by, "--by", points.axes) if by else ""
    if not points.axes:
        raise InputError("the sweep has no axis: nothing can be drawn over one")
    numbers = [axis for axis in ranked if axis in columns] or ranked or points.axes
    across = numbers[0] if x is None else points.named(x, "--x", points.axes)
    left = [axis for axis in ranked if axis != across]
    if kind == "heatmap":
        if by is None and not left:
            raise InputError(f"a heat map has two axes; only {label_of(across)} varies")
        return across, left[0] if not by else points.named(by, "--by", points.axes)
    if by is None:
        few = [axis for axis in left if len(points.levels(axis)) <= FEW and not points.sampled]
        return across, few[0] if few else ""
    lines = points.named(by, "--by", points.axes) if by else ""
    if lines and len(points.levels(lines)) > MOST_LINES:
        raise InputError(
            f"--by {label_of(lines)}: {len(points.levels(lines))} lines; at most {MOST_LINES} can be told apart: "
            f"choose some by --where {label_of(lines)}=VALUE,VALUE, or draw --kind heatmap"
        )
    return across, lines


def _subtitle(points: Points, remarks: Sequence[str]) -> str:
    return "; ".join([f"{points.count} points of {points.scenario}", *remarks])


def _lines(sheet: Sheet, points: Points, across: str, metric: str, lines: str, title: str | None) -> Drawing:
    keys = [across, *([lines] if lines else [])]
    groups = points.grouped(keys, metric)
    levels = points.levels(lines) if lines else [None]
    series = [
        {place: values for (place, *rest), values in groups.items() if not lines or rest == [level]} for level in levels
    ]
    remarks = points.remarks(keys, "mean")
    if any(min(values) < max(values) for values in groups.values()):
        joined = is_number(points.columns[across]) and not points.sampled
        remarks.append(f"{'bands' if joined else 'whiskers'} from the smallest to the largest")
    head = f"{label_of(metric)} over {label_of(across)}" if title is None else title
    key = _key(sheet, [said(lines, level) for level in levels] if lines else [], label_of(lines) if lines else "")
    places = points.levels(across)
    on_end = _on_end(sheet, across, places, sheet.width - 120 - key.right)
    axes = _begin(sheet, head, _subtitle(points, remarks), key, on_end)
    where = {place: place if is_number(places) else i for i, place in enumerate(places)}
    for i, each in enumerate(series):
        _draw_line(sheet, axes, each, where, i, len(series), joined=not points.sampled)
    _draw_axis(sheet, axes, "x", across, places, ticks=True)
    _draw_axis(sheet, axes, "y", metric, [value for values in groups.values() for value in values], ticks=False)
    return _end(sheet, axes, key, [line_style(i) for i in range(len(key.labels))], on_end)


def _on_end(sheet: Sheet, column: str, values: Sequence[Any], room: float) -> float:
    """Return the pixels that words below an axis need on end, zero where there is ``room`` for all side by side."""
    if is_number(values):
        return 0.0
    longest = max(sheet.measure(said(column, value)) for value in values)
    return min(ON_END, longest) - 14 if longest + 6 > room / len(values) else 0.0


def _draw_line(
    sheet: Sheet, axes: Any, values: Mapping[Any, Sequence[float]], where: Mapping[Any, float], number: int, count: int,
    *, joined: bool,
) -> None:  # fmt: skip
    """Draw means, joined where the axis has numbers, and around them the range of the values."""
    style = line_style(number)
    order = [place for place in where if place in values]
    numeric = is_number(order)
    # Points at a word stand side by side.
    aside = 0.0 if numeric else 0.5 * (number - (count - 1) / 2) / count
    x = [where[place] + aside for place in order]
    mean = [sum(values[place]) / len(values[place]) for place in order]
    low, high = [min(values[place]) for place in order], [max(values[place]) for place in order]
    axes.plot(x, mean, zorder=3, **style | ({} if numeric and joined else {"ls": ""}))
    if low == high:
        return
    if numeric and joined:
        axes.fill_between(x, low, high, color=style["color"], alpha=0.2 if count < 4 else 0.08, lw=0, zorder=2)
    else:
        apart = np.array([np.subtract(mean, low), np.subtract(high, mean)]).clip(0)
        axes.errorbar(x, mean, yerr=apart, color=style["color"], ls="", marker="", lw=sheet.points(1.2), zorder=2)


@dataclass(frozen=True)
class Key:
    """What a legend says, in how many columns, and the room that it takes."""

    heading: str
    labels: list[str]
    columns: int
    right: float
    below: float


def _key(sheet: Sheet, labels: Sequence[str], heading: str) -> Key:
    """Return the legend of ``labels``, beside the axes on a screen, below them on paper."""
    if not labels:
        return Key("", [], 1, 30.0, 0.0)
    side = sheet.width - 2 * EDGE
    shown = [sheet.fill(label, 240 if sheet.wide else side - 70) for label in labels]
    above = sheet.elide(heading, 270 if sheet.wide else side)
    columns, height = sheet.legend_room(shown, side)
    if sheet.wide:
        return Key(above, shown, 1, max(sheet.measure(above) + 24, *(sheet.measure(each) + 70 for each in shown)), 0.0)
    return Key(above, shown, columns, 30.0, height + (23 if heading else 3))


def _begin(sheet: Sheet, title: str, subtitle: str, key: Key, on_end: float) -> Any:
    """Return axes with room for a legend, and below them for words ``on_end``."""
    top, height = sheet.head(title, subtitle), 420.0 if sheet.wide else 0.62 * sheet.width
    if sheet.wide:
        height = max(height, sum(6 + 17 * (1 + label.count("\n")) for label in key.labels) + 23)
    sheet.begin(top + height + 58 + on_end + key.below, title, subtitle)
    return sheet.axes(90, top, sheet.width - 90 - key.right, height)


def _end(
    sheet: Sheet, axes: Any, key: Key, styles: Sequence[Mapping[str, Any]], on_end: float = 0.0
) -> Drawing:  # fmt: skip
    """Fit the axes and draw the legend, its labels each with a style."""
    axes.tick_params(axis="x", labelrotation=90 if on_end else 0)
    sheet.fit([axes])
    if key.labels:
        left, top, width, height = sheet.place(axes)
        handles = [Line2D([], [], label=label, **each) for label, each in zip(key.labels, styles, strict=True)]
        where = (left + width + 14, top) if sheet.wide else (EDGE, top + height + 54 + on_end)
        if key.heading:
            sheet.text(where[0], where[1], key.heading, va="top", color=FAINT)
        sheet.legend(axes, handles, (where[0], where[1] + (20 if key.heading else 0)), key.columns)
    return sheet.figure


def _draw_axis(
    sheet: Sheet, axes: Any, along: Literal["x", "y"], column: str, values: Sequence[Any], *, ticks: bool
) -> None:  # fmt: skip
    """Label an axis: words in a row, numbers on a scale that suits them, with ticks at the values themselves where
    these are few and wanted."""
    axis = axes.xaxis if along == "x" else axes.yaxis
    if not is_number(values):
        _write_words(axis, [sheet.elide(said(column, value), ON_END) for value in values])
        axis.set_label_text(label_of(column))
        return
    measure = measure_of(column, values)
    if ticks:
        geometric = is_geometric(values)
    else:
        far = DECADES if axes.get_xscale() == "log" else FAR
        geometric = min(values) > 0 and max(values) >= far * min(values)
    if geometric:
        axes.set(**{f"{along}scale": "log"})
        axis.set_minor_locator(NullLocator())
    distinct = sorted(set(values))
    if ticks and len(distinct) <= MOST_TICKS:
        axis.set_major_locator(FixedLocator(distinct))
    elif geometric:
        axis.set_major_locator(_log_locator(max(values) / min(values)))
    axis.set_major_formatter(FuncFormatter(lambda at, _: measure.tick(at)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_label_text(measure.label)


def _log_locator(ratio: float) -> Any:
    return LogLocator(subs=(1.0,) if ratio >= FAR else (1.0, 2.0, 5.0))


def _write_words(axis: Any, texts: Sequence[str]) -> None:
    """Write ``texts`` at the places 0, 1, 2 ... of an axis."""
    axis.set_major_locator(FixedLocator(range(len(texts))))
    axis.set_major_formatter(FuncFormatter(lambda at, _: texts[round(at)] if _is_place(at, texts) else ""))


def _is_place(at: float, values: Sequence[Any]) -> bool:
    return 0 <= round(at) < len(values) and abs(at - round(at)) < 1e-6


def _heat(sheet: Sheet, points: Points, across: str, up: str, metric: str, title: str | None) -> Drawing:
    if across == up:
        raise InputError(f"--x and --by are both {label_of(up)}; a heat map has two axes")
    groups = points.grouped([across, up], metric)
    if not groups:
        raise InputError(f"{label_of(metric)}: no point has a value; nothing can be drawn")
    columns, rows = points.levels(across), points.levels(up)
    cells = np.full((len(rows), len(columns)), np.nan)
    for (x, y), values in groups.items():
        cells[rows.index(y), columns.index(x)] = sum(values) / len(values)
    low, high = float(np.nanmin(cells)), float(np.nanmax(cells))
    empty = int(np.isnan(cells).sum())
    remarks = [
        *points.remarks([across, up], "mean"),
        *([f"no point where it is grey ({empty} cells)"] if empty else []),
    ]
    head = f"{label_of(metric)} over {label_of(across)} and {label_of(up)}" if title is None else title
    measure = measure_of(metric, cells[~np.isnan(cells)].tolist())
    right = 78 + max(sheet.measure(measure.tick(float(f"{value:.2g}"))) for value in (low, (low + high) / 2, high))
    on_end = _on_end(sheet, across, columns, sheet.width - 180 - right)
    axes = _begin(sheet, head, _subtitle(points, remarks), Key("", [], 1, right, 0.0), on_end)
    norm = LogNorm(low, high) if low > 0 and high >= DECADES * low else Normalize(low, high)
    shown = axes.imshow(cells, origin="lower", aspect="auto", cmap=HEAT, norm=norm, interpolation="nearest")
    axes.grid(visible=False)
    axes.set_facecolor(GROUND)
    for axis, column, levels, most in ((axes.xaxis, across, columns, ON_END), (axes.yaxis, up, rows, sheet.width / 4)):
        scale = measure_of(column, levels) if is_number(levels) else None
        texts = [sheet.elide(said(column, v), most) if scale is None else scale.tick(v) for v in levels]
        _write_words(axis, texts)
        axis.set_label_text(label_of(column) if scale is None else scale.label)
    axes.tick_params(axis="x", labelrotation=90 if on_end else 0)
    sheet.fit([axes], right=right)
    left, top, width, height = sheet.place(axes)
    _write_cells(sheet, axes, cells, measure, norm)
    bar = sheet.colour_bar(shown, left + width + 14, top, height, sheet.elide(measure.label, height))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    if isinstance(norm, LogNorm):
        bar.ax.yaxis.set_major_locator(_log_locator(high / low))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda at, _: measure.tick(at)))
    sheet.part(bar.ax)
    return sheet.figure


def _write_cells(sheet: Sheet, axes: Any, cells: Any, measure: Measure, norm: Any) -> None:
    """Write the number into every cell, where all have room."""
    texts = {at: measure.tick(float(f"{value:.3g}")) for at, value in np.ndenumerate(cells) if value == value}
    _, _, width, height = sheet.place(axes)
    widest = max(map(sheet.measure, texts.values()))
    if widest + 8 > width / cells.shape[1] or height / cells.shape[0] < 18:
        return
    for (i, j), text in texts.items():
        axes.text(j, i, text, ha="center", va="center", color="white" if norm(cells[i, j]) > 0.4 else INK)


def _front(sheet: Sheet, points: Points, across: str, metric: str, by: str, title: str | None) -> Drawing:
    pairs = [
        (x, y, i)
        for i, (x, y) in enumerate(zip(points.columns[across], points.columns[metric], strict=True))
        if x is not None and y is not None
    ]
    if not pairs:
        raise InputError(f"{label_of(across)} and {label_of(metric)}: no point has both; nothing can be drawn")
    front = front_of(pairs)
    levels = points.levels(by) if by else [None]
    if len(levels) > MOST_LINES:
        raise InputError(f"--by {label_of(by)}: {len(levels)} kinds of points; at most {MOST_LINES} can be told apart")
    remarks = [
        *points.remarks([across, by] if by else [across], ""),
        f"{len(front)} on the front: no point is smaller in one and not larger in the other",
    ]
    head = f"{label_of(metric)} against {label_of(across)}" if title is None else title
    heading = label_of(by) if by else ""
    key = _key(sheet, [*([said(by, level) for level in levels] if by else ["points"]), "front"], heading)
    axes = _begin(sheet, head, _subtitle(points, remarks), key, 0.0)
    styles = [line_style(k) | {"ls": ""} for k in range(len(levels))]
    for style, level in zip(styles, levels, strict=True):
        mine = [(x, y) for x, y, i in pairs if not by or points.columns[by][i] == level]
        axes.plot([x for x, _ in mine], [y for _, y in mine], zorder=3, alpha=0.55 if len(pairs) > 60 else 1.0, **style)
    # In steps: between two points of the front nothing better than the worse of them is known.
    ring = {"marker": "o", "mfc": "none", "ms": sheet.points(10), "mew": sheet.points(1)}
    steps: dict[str, Any] = {"color": INK, "lw": sheet.points(1.4), **ring}
    axes.plot([x for x, _, _ in front], [y for _, y, _ in front], zorder=4, drawstyle="steps-post", **steps)
    _draw_axis(sheet, axes, "x", across, [x for x, _, _ in pairs], ticks=across in points.axes)
    _draw_axis(sheet, axes, "y", metric, [y for _, y, _ in pairs], ticks=metric in points.axes)
    return _end(sheet, axes, key, [*styles, steps])


def front_of(pairs: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Return the points (x, y, number) than which no other is at least as small in both and smaller in one, by x; of
    equal ones the first.

    >>> front_of([(1, 5, 0), (2, 3, 1), (2, 3, 2), (3, 4, 3), (4, 1, 4)])
    [(1, 5, 0), (2, 3, 1), (4, 1, 4)]
    """
    found: list[tuple[float, float, int]] = []
    for pair in sorted(pairs):
        if not found or pair[1] < found[-1][1]:
            found.append(pair)
    return found
