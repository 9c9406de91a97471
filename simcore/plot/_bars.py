"""Numbers by name: panels of horizontal bars, with how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from simcore.plot._canvas import EDGE, Drawing, Sheet, sheet_of
from simcore.plot._style import HATCHES, INK, PALETTE

THICK = 0.72
"""Share of a row that its bars fill."""
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
    """Axes with bars, in order from the top, those of a label together: beside each other, or all in one line
    (``stacked``); ``base`` is a line through all of them."""

    bars: list[Bar]
    x_label: str
    title: str = ""
    base: float | None = None
    stacked: bool = False
    labels: list[str] = field(init=False)
    series: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", list(dict.fromkeys(bar.label for bar in self.bars)))
        object.__setattr__(self, "series", list(dict.fromkeys(bar.series for bar in self.bars)))


def bars(panels: Sequence[BarPanel], *, title: str, subtitle: str = "", width: str = "screen") -> Drawing:
    """Return a figure of ``panels`` one below the other; a legend stands above the panel whose series are others than
    those of the panel before."""
    with sheet_of(width) as sheet:
        heights = [ROW * max(1, len(panel.labels)) + 16 for panel in panels]
        before: list[list[str]] = [[], *(panel.series for panel in panels)]
        keys = [
            panel.series if len(panel.series) > 1 and panel.series != last else []
            for panel, last in zip(panels, before, strict=False)
        ]
        legends = [sheet.legend_room(names, sheet.width - 2 * EDGE) for names in keys]
        above = [legend + (24 if panel.title else 0) + 4 for panel, (_, legend) in zip(panels, legends, strict=True)]
        head, bottom = sheet.head(title, subtitle), 64
        sheet.begin(head + sum(heights) + sum(above) + bottom * len(panels), title, subtitle)
        top, placed = head, []
        for panel, height, free, (columns, _), named in zip(panels, heights, above, legends, keys, strict=True):
            axes = sheet.axes(90, top + free, sheet.width - 90 - 30, height)
            handles = _draw(sheet, axes, panel)
            if named:
                sheet.legend(axes, handles, (EDGE, top + 4), columns)
            placed.append(axes)
            top += free + height + bottom
        sheet.fit(placed)
        for axes, panel in zip(placed, panels, strict=True):
            _write_notes(sheet, axes, panel)
        return sheet.figure


def _write_notes(sheet: Sheet, axes: Any, panel: BarPanel) -> None:
    """Write the notes behind their bars, and let the axis reach so far that they stay inside."""
    low, high = axes.get_xlim()
    across = sheet.place(axes)[2]
    for bar in panel.bars:
        note = min(0.8 * across, sheet.measure(bar.note) + 16) if bar.note else 0.0
        high = max(high, low + (_furthest(bar) - low) * across / (across - note))
        where, apart = (_furthest(bar), _height(panel, bar)), (sheet.points(6), 0)
        axes.annotate(bar.note, where, apart, textcoords="offset points", va="center", color=INK, zorder=6)
    axes.set_xlim(low, high)
    sheet.part(axes)


def _height(panel: BarPanel, bar: Bar) -> float:
    """Return where a bar lies: at its label, beside the other series."""
    if panel.stacked:
        return panel.labels.index(bar.label)
    beside = panel.series.index(bar.series) - (len(panel.series) - 1) / 2
    return panel.labels.index(bar.label) + beside * THICK / max(1, len(panel.series))


def _furthest(bar: Bar) -> float:
    return max(bar.begin, bar.end + bar.error)


def _draw(sheet: Sheet, axes: Any, panel: BarPanel) -> list[Any]:
    """Draw a panel; return what its legend shows."""
    height = THICK / (1 if panel.stacked else max(1, len(panel.series)))
    styles: list[dict[str, Any]] = [
        {"facecolor": PALETTE[k % len(PALETTE)], "hatch": HATCHES[k % len(HATCHES)], "edgecolor": "white"}
        for k in range(len(panel.series))
    ]
    for bar in panel.bars:
        k = panel.series.index(bar.series)
        y = _height(panel, bar)
        axes.barh(y, bar.end - bar.begin, left=bar.begin, height=0.9 * height, zorder=3, **styles[k])
        if bar.error:
            axes.errorbar([bar.end], [y], xerr=bar.error, color=INK, marker="", lw=sheet.points(1.4), zorder=4)
    if panel.base is not None:
        axes.axvline(panel.base, color=INK, lw=sheet.points(1.2), ls="--", marker="", zorder=2)
    axes.set_ylim(len(panel.labels) - 0.5, -0.5)
    axes.set_yticks(range(len(panel.labels)), [sheet.elide(label, sheet.width / 3) for label in panel.labels])
    axes.margins(x=0.04)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(sheet.fill(panel.x_label, sheet.width - 120))
    axes.set_title(panel.title)
    return [Patch(label=name, **style) for name, style in zip(panel.series, styles, strict=True)]
