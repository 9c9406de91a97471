"""A metric of a sweep over one axis as lines, over two as colours, and the best points by two columns."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from simcore import source
from simcore.errors import InputError
from simcore.plot._canvas import EDGE, Drawing, Sheet, sheet_of
from simcore.plot._curves import line_style
from simcore.plot._points import FEW, Points, Swept, Where, is_geometric, is_number, label_of, measure_of, said
from simcore.plot._style import FAINT, GROUND, HEAT, INK

Kind = Literal["line", "heatmap", "front"]
MOST_LINES = 14
"""Lines that can be told apart."""
MOST_TICKS = 12
"""Values of an axis that are ticks themselves."""
DECADES = 100
"""Ratio of the largest to the smallest of a metric from which on its axis is logarithmic."""


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
            f"--by {label_of(lines)}: {len(points.levels(lines))} lines; at most {MOST_LINES} can be told apart: choose "
            f"some by --where {label_of(lines)}=VALUE,VALUE, or draw --kind heatmap"
        )
    return across, lines


def _titled(points: Points, metric: str, across: str, title: str | None, remarks: Sequence[str]) -> tuple[str, str]:
    head = f"{label_of(metric)} over {label_of(across)}" if title is None else title
    return head, "; ".join([f"{points.count} points of {points.scenario}", *remarks])


def _lines(sheet: Sheet, points: Points, across: str, metric: str, lines: str, title: str | None) -> Drawing:
    keys = [across, *([lines] if lines else [])]
    groups = points.grouped(keys, metric)
    levels = points.levels(lines) if lines else [None]
    series = [
        {place: values for (place, *rest), values in groups.items() if not lines or rest == [level]} for level in levels
    ]
    several = any(len(values) > 1 for values in groups.values())
    remarks = points.remarks(keys, "mean")
    if several:
        numeric = is_number(points.columns[across])
        remarks.append(f"{'bands' if numeric else 'whiskers'} from the smallest to the largest")
    head, said_ = _titled(points, metric, across, title, remarks)
    axes = _begin(sheet, head, said_, [said(lines, level) for level in levels] if lines else [], label_of(lines))
    places = points.levels(across)
    where = {place: place if is_number(places) else i for i, place in enumerate(places)}
    for i, each in enumerate(series):
        _draw_line(sheet, axes, each, where, i, len(series), joined=not points.sampled)
    _draw_axis(axes.xaxis, across, places, ticks=True)
    _draw_axis(axes.yaxis, metric, [value for values in groups.values() for value in values], ticks=False)
    return _end(sheet, axes, len(levels) if lines else 0)


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
        axes.fill_between(x, low, high, color=style["color"], alpha=0.2, lw=0, zorder=2)
    else:
        apart = np.array([np.subtract(mean, low), np.subtract(high, mean)]).clip(0)
        axes.errorbar(x, mean, yerr=apart, color=style["color"], ls="", marker="", lw=sheet.points(1.2), zorder=2)


def _begin(sheet: Sheet, title: str, subtitle: str, labels: Sequence[str], heading: str) -> Any:
    """Return axes with room for a legend of ``labels``, whose title is ``heading``."""
    sheet.key = [sheet.fill(label, 240 if sheet.wide else sheet.width - 100) for label in labels]
    sheet.heading = sheet.elide(heading, 270 if sheet.wide else sheet.width - 2 * EDGE)
    columns, legend = sheet.legend_room(sheet.key, sheet.width - 2 * EDGE)
    sheet.key_columns = 1 if sheet.wide else columns
    legend += 23 if labels else 0
    right = max([sheet.measure(sheet.heading) + 24, *(sheet.measure(label) + 70 for label in sheet.key)]) if labels else 30
    top, height = sheet.head(title, subtitle), 420.0 if sheet.wide else 0.62 * sheet.width
    if sheet.wide:
        height = max(height, sum(6 + 17 * (1 + label.count("\n")) for label in sheet.key) + 23)
    sheet.begin(top + height + 58 + (0 if sheet.wide else legend), title, subtitle)
    return sheet.axes(90, top, sheet.width - 90 - (right if sheet.wide else 30), height)
