"""Numbers by name: panels of horizontal bars, with how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from simcore.plot._canvas import GRID, INK, Boxes, new_figure, put_title, save
from simcore.plot._curves import PALETTE

HATCHES = ("", "//", "..", "xx")
"""What tells series apart besides their colours."""
ROW = 34
"""Pixels of a label with its bars."""


@dataclass(frozen=True)
class Bar:
    """A bar from ``begin`` to ``end``, how far its end may be off, the series that it is of, and what is written
    behind it."""

    label: str
    begin: float
    end: float
    error: float = 0.0
    series: str = ""
    note: str = ""


@dataclass(frozen=True)
class BarPanel:
    """Axes with bars, in order from the top, those of a label together; ``base`` is a line through all of them."""

    bars: list[Bar]
    x_label: str
    title: str = ""
    base: float | None = None
    labels: list[str] = field(init=False)
    series: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", list(dict.fromkeys(bar.label for bar in self.bars)))
        object.__setattr__(self, "series", list(dict.fromkeys(bar.series for bar in self.bars)))


def bars(panels: Sequence[BarPanel], path: Path, *, title: str, subtitle: str = "") -> Path:
    """Draw ``panels`` one below the other; return ``path``."""
    top, gap, bottom = 84, 92, 64
    heights = [ROW * max(1, len(panel.labels)) + 16 for panel in panels]
    figure = new_figure(top + sum(heights) + gap * (len(panels) - 1) + bottom)
    longest = max((len(label) for panel in panels for label in panel.labels), default=0)
    box = Boxes(figure, min(520, 40 + 8 * longest), 60)
    below = top
    for panel, height in zip(panels, heights, strict=True):
        _draw(box.add(below, height), panel)
        below += height + gap
    put_title(figure, title, subtitle)
    return save(figure, path)


def _draw(axes: Any, panel: BarPanel) -> None:
    height = 0.72 / max(1, len(panel.series))
    for bar in panel.bars:
        k = panel.series.index(bar.series)
        y = panel.labels.index(bar.label) + (k - (len(panel.series) - 1) / 2) * height
        style = {"color": PALETTE[k % len(PALETTE)], "hatch": HATCHES[k % len(HATCHES)], "edgecolor": "white"}
        axes.barh(y, bar.end - bar.begin, left=bar.begin, height=0.9 * height, zorder=3, **style)
        if bar.error:
            axes.errorbar([bar.end], [y], xerr=bar.error, color=INK, capsize=4, lw=1.4, zorder=4)
        if bar.note:
            furthest = max(bar.begin, bar.end + bar.error)
            axes.annotate(
                bar.note, (furthest, y), (6, 0), textcoords="offset points", va="center", fontsize=9, color=INK
            )
    if panel.base is not None:
        axes.axvline(panel.base, color=INK, lw=1.2, ls="--", zorder=5)
    axes.set_ylim(len(panel.labels) - 0.5, -0.5)
    axes.set_yticks(range(len(panel.labels)), panel.labels)
    axes.tick_params(labelsize=10)
    axes.margins(x=0.22 if any(bar.note for bar in panel.bars) else 0.04)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(panel.x_label, fontsize=11)
    axes.set_title(panel.title, fontsize=11, loc="left", color=INK)
    if len(panel.series) > 1:
        handles = [
            Patch(facecolor=PALETTE[k], hatch=HATCHES[k % len(HATCHES)], edgecolor="white", label=name)
            for k, name in enumerate(panel.series)
        ]
        axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False, fontsize=10)
