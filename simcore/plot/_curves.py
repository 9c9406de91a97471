"""Numbers over numbers: panels of lines with markers, lines of least squares, and what others report."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from simcore.plot._canvas import EDGE, Drawing, Sheet, sheet_of
from simcore.plot._style import DASHES, INK, MARKERS, PALETTE, REFERENCE


@dataclass(frozen=True)
class Curve:
    """A line with markers: its label, its points, and its line of least squares as (intercept, slope, r2)."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    fitted: tuple[float, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class CurvePanel:
    """Axes with curves; ``lines`` of reference are (label, intercept, slope), ``bars`` (label, x, low, high). What is
    ``drawn`` of a curve: its points, joined by lines or not, or steps alone."""

    curves: list[Curve]
    x_label: str
    y_label: str
    log: Literal["", "x", "y", "xy"] = ""
    from_zero: bool = False
    drawn: Literal["lines", "points", "steps"] = "lines"
    title: str = ""
    lines: list[tuple[str, float, float]] = field(default_factory=list)
    bars: list[tuple[str, float, float, float]] = field(default_factory=list)
    height: int = 360


def curves(panels: Sequence[CurvePanel], *, title: str, subtitle: str = "", width: str = "screen") -> Drawing:
    """Return a figure of ``panels`` one below the other, legends beside them, or below in a figure for a paper."""
    with sheet_of(width) as sheet:
        return stacked(sheet, [(_heights(sheet, panel), panel) for panel in panels], title, subtitle)


def _heights(sheet: Sheet, panel: CurvePanel) -> float:
    return panel.height if sheet.wide else min(panel.height, 0.62 * sheet.width)


def stacked(sheet: Sheet, panels: Sequence[tuple[float, CurvePanel]], title: str, subtitle: str) -> Drawing:
    """Draw ``panels``, each with its height, one below the other."""
    head, side = sheet.head(title, subtitle), sheet.width - 2 * EDGE
    labels = [[sheet.fill(text, 260 if sheet.wide else side - 60) for text in _labels(panel)] for _, panel in panels]
    right = max((sheet.measure(text) + 70 for texts in labels for text in texts), default=30) if sheet.wide else 30
    legends = [(1, 0.0) if sheet.wide else sheet.legend_room(texts, side) for texts in labels]
    above = [24 if panel.title else 0 for _, panel in panels]
    rows = [top + height + 56 + legend for (height, _), (_, legend), top in zip(panels, legends, above, strict=True)]
    sheet.begin(head + sum(rows) + 16 * (len(rows) - 1) + 8, title, subtitle)
    tops = [head + top + sum(rows[:i]) + 16 * i for i, top in enumerate(above)]
    placed = [
        sheet.axes(90, top, sheet.width - 90 - right, height) for top, (height, _) in zip(tops, panels, strict=True)
    ]
    drawn = [_draw(sheet, axes, panel) for axes, (_, panel) in zip(placed, panels, strict=True)]
    sheet.fit(placed)
    for axes, handles, texts, (columns, _) in zip(placed, drawn, labels, legends, strict=True):
        left, top, width, height = sheet.place(axes)
        for handle, text in zip(handles, texts, strict=True):
            handle.set_label(text)
        shown = [handle for handle in handles if handle.get_label()]
        if shown:
            sheet.legend(axes, shown, (left + width + 14, top) if sheet.wide else (EDGE, top + height + 54), columns)
    return sheet.figure


def _labels(panel: CurvePanel) -> list[str]:
    """Return what the legend says, in its order."""
    found = []
    for curve in panel.curves:
        found += [curve.label, *([_fit_label(curve)] if curve.fitted else [])]
    return [*found, *(line[0] for line in panel.lines), *(bar[0] for bar in panel.bars)]


def _fit_label(curve: Curve) -> str:
    intercept, slope, r2 = curve.fitted or (0.0, 0.0, 0.0)
    return f"{intercept:.4g} {'+' if slope >= 0 else '-'} {abs(slope):.3g} x, r2 {r2:.4f}"


def _draw(sheet: Sheet, axes: Any, panel: CurvePanel) -> list[Any]:
    """Draw a panel; return what its legend shows, in the order of its labels."""
    handles: list[Any] = []
    for i, curve in enumerate(panel.curves):
        style = line_style(i)
        thin: dict[str, Any] = {"color": style["color"], "marker": "", "lw": sheet.points(1.2)}
        if curve.fitted or panel.drawn == "points":
            style["ls"] = ""
        if panel.drawn == "steps":
            style |= {"drawstyle": "steps-pre", "marker": ""}
        axes.plot(curve.x, curve.y, zorder=3, **style)
        handles.append(Line2D([], [], **style))
        if curve.fitted:
            x = np.linspace(min(curve.x), max(curve.x), 200)
            axes.plot(x, curve.fitted[0] + curve.fitted[1] * x, zorder=2, **thin)
            handles.append(Line2D([], [], **thin))
    _scale(axes, panel)
    # References come after the scales were set, so that they do not move them off what was measured.
    for dashes, (_, intercept, slope) in zip(("--", ":", "-.") * len(panel.lines), panel.lines, strict=False):
        x = _span(axes, panel)
        dashed: dict[str, Any] = {"color": REFERENCE, "ls": dashes, "lw": sheet.points(1.4), "marker": ""}
        axes.plot(x, intercept + slope * x, zorder=1, scaley=False, scalex=False, **dashed)
        handles.append(Line2D([], [], **dashed))
    for _, at, low, high in panel.bars:
        axes.errorbar(
            [at], [(low + high) / 2], yerr=(high - low) / 2, color=INK, marker="", lw=sheet.points(2.2), zorder=4
        )
        handles.append(Line2D([], [], color=INK, marker="_", ms=sheet.points(12), mew=sheet.points(2.2), lw=0))
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.set_title(sheet.fill(panel.title, sheet.width - 120))
    return handles


def line_style(number: int) -> dict[str, Any]:
    """Return colour, marker and dashes of the line with a number; none of the first 28 looks like another."""
    i, again = number % len(PALETTE), number // len(PALETTE)
    return {"color": PALETTE[i], "marker": MARKERS[(i + again) % len(MARKERS)], "ls": DASHES[again % len(DASHES)]}


def _scale(axes: Any, panel: CurvePanel) -> None:
    ticks = sorted({x for curve in panel.curves for x in curve.x})
    if "x" in panel.log:
        axes.set_xscale("log")
        axes.set_xticks(_apart(ticks), minor=False)
        axes.minorticks_off()
    if "y" in panel.log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high < 100 * low:
            # Less than two decades: one label or none would be left.
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    elif panel.from_zero:
        tops = [y for curve in panel.curves for y in curve.y] + [bar[3] for bar in panel.bars]
        tops += [c.fitted[0] + c.fitted[1] * max(c.x) for c in panel.curves if c.fitted]
        axes.set_ylim(0, 1.08 * max(tops, default=1.0))
    plain = FuncFormatter(lambda value, _: f"{value:,.10g}")
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(NullFormatter())


def _apart(ticks: Sequence[float]) -> list[float]:
    """Return the ticks whose labels do not touch on a logarithmic axis."""
    if not ticks or ticks[0] <= 0:
        return []
    least = np.log(ticks[-1] / ticks[0]) / 14 if len(ticks) > 1 else 0
    shown: list[float] = []
    for tick in ticks:
        if not shown or np.log(tick / shown[-1]) >= least:
            shown.append(tick)
    return shown


def _span(axes: Any, panel: CurvePanel) -> Any:
    low, high = axes.get_xlim()
    return np.geomspace(low, high, 200) if "x" in panel.log else np.linspace(low, high, 200)
