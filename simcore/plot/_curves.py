"""Numbers over numbers: panels of lines with markers, lines of least squares, and what others report."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from simcore.plot._canvas import GRID, INK, Boxes, new_figure, put_title, save

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5E3C99", "#222222")
"""Okabe and Ito's order, safe for colour-blind readers; markers differ too."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
REFERENCE = "#777777"


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


def curves(panels: Sequence[CurvePanel], path: Path, *, title: str, subtitle: str = "") -> Path:
    """Draw ``panels`` one below the other, legends beside them; return ``path``."""
    top, gap, bottom = 84, 86, 64
    figure = new_figure(top + sum(panel.height for panel in panels) + gap * (len(panels) - 1) + bottom)
    longest = max((len(label) for panel in panels for label in _labels(panel)), default=0)
    box = Boxes(figure, 122, min(620, 110 + 8 * longest))
    below = top
    for panel in panels:
        _draw(box.add(below, panel.height), panel)
        below += panel.height + gap
    put_title(figure, title, subtitle)
    return save(figure, path)


def _labels(panel: CurvePanel) -> list[str]:
    fits = [_fit_label(curve) for curve in panel.curves if curve.fitted]
    return [*(c.label for c in panel.curves), *fits, *(line[0] for line in panel.lines), *(b[0] for b in panel.bars)]


def _fit_label(curve: Curve) -> str:
    intercept, slope, r2 = curve.fitted or (0.0, 0.0, 0.0)
    return f"{intercept:.4g} {'+' if slope >= 0 else '-'} {abs(slope):.3g} x, r2 {r2:.4f}"


def _draw(axes: Any, panel: CurvePanel) -> None:
    handles = []
    for i, curve in enumerate(panel.curves):
        colour = PALETTE[i % len(PALETTE)]
        style: dict[str, Any] = {"color": colour, "lw": 0 if curve.fitted or panel.drawn == "points" else 1.6}
        steps = panel.drawn == "steps"
        style |= {"drawstyle": "steps-pre"} if steps else {"marker": MARKERS[i % len(MARKERS)], "ms": 6}
        axes.plot(curve.x, curve.y, zorder=3, **style)
        handles.append(Line2D([], [], label=curve.label, **style))
        if curve.fitted:
            x = np.linspace(min(curve.x), max(curve.x), 200)
            axes.plot(x, curve.fitted[0] + curve.fitted[1] * x, color=colour, lw=1.2, zorder=2)
            handles.append(Line2D([], [], color=colour, lw=1.2, label=_fit_label(curve)))
    _scale(axes, panel)
    # References come after the scales were set, so that they do not move them off what was measured.
    for dashes, (label, intercept, slope) in zip(("--", ":", "-.") * len(panel.lines), panel.lines, strict=False):
        x = _span(axes, panel)
        axes.plot(x, intercept + slope * x, color=REFERENCE, ls=dashes, lw=1.4, zorder=1, scaley=False, scalex=False)
        handles.append(Line2D([], [], color=REFERENCE, ls=dashes, lw=1.4, label=label))
    for label, at, low, high in panel.bars:
        axes.errorbar([at], [(low + high) / 2], yerr=(high - low) / 2, color=INK, capsize=7, lw=2.2, zorder=4)
        handles.append(Line2D([], [], color=INK, marker="_", ms=12, mew=2.2, lw=0, label=label))
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(panel.x_label, fontsize=11)
    axes.set_ylabel(panel.y_label, fontsize=11)
    axes.set_title(panel.title, fontsize=11, loc="left", color=INK)
    axes.tick_params(labelsize=10)
    if any(handle.get_label() for handle in handles):
        axes.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(1.012, 1.0), frameon=False, fontsize=10.5,
            borderaxespad=0,
        )  # fmt: skip


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
