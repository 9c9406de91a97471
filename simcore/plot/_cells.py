"""Numbers over two axes as colours: panels that share one scale, the number written into every cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FuncFormatter, NullLocator

from simcore.plot._canvas import Drawing, Sheet, sheet_of
from simcore.plot._style import HEAT, INK, MARK

CELL = 44
"""Pixels that a row is high."""
ABOVE, BELOW, SCALE = 24, 60, 96
"""Pixels above a panel, for its title; below it; and right of all, for what the colours stand for."""


@dataclass(frozen=True)
class CellPanel:
    """A grid: ``rows[i][j]`` is the number at ``y[i]`` and ``x[j]``, both labels in order; NaN is left empty."""

    title: str
    x: Sequence[str]
    y: Sequence[str]
    rows: Sequence[Sequence[float]]
    x_label: str
    y_label: str


def cells(
    panels: Sequence[CellPanel], *, title: str, label: str, subtitle: str = "", digits: int = 2, log: bool = False,
    stacked: bool = False, mark: float | None = None, width: str = "screen",
) -> Drawing:  # fmt: skip
    """Return a figure of ``panels`` one beside the other, or one below the other (``stacked``, and in a figure for a
    paper); ``label`` says what the colours are, on a logarithmic scale where wanted; each cell holds its number, with
    so many ``digits`` or, on that scale, significant ones. A line goes around the cells that hold ``mark`` or more."""
    held = [np.asarray(panel.rows, float) for panel in panels]
    norm = (LogNorm if log else Normalize)(min(map(np.nanmin, held)), max(map(np.nanmax, held)))
    with sheet_of(width) as sheet:
        head, side = sheet.head(title, subtitle), len(panels) if sheet.wide and not stacked else 1
        rows = [range(len(panels))[i : i + side] for i in range(0, len(panels), side)]
        heights = [CELL * max(len(panels[k].y) for k in row) for row in rows]
        sheet.begin(head + sum(height + ABOVE + BELOW for height in heights), title, subtitle)
        left = 46 + max(sheet.measure(name) for panel in panels for name in panel.y)
        across, top = (sheet.width - SCALE) / side, head + ABOVE
        for row, height in zip(rows, heights, strict=True):
            for place, k in enumerate(row):
                axes = sheet.axes(left + place * across, top, across - left, CELL * len(panels[k].y))
                shown = _draw(sheet, axes, panels[k], held[k], norm, lambda value: _text(value, digits, log))
                if mark is not None:
                    lines = LineCollection(_border(held[k] >= mark), colors=MARK, linewidths=sheet.points(2.4))
                    axes.add_collection(lines)
                    lines.set_clip_on(False)
            bar = sheet.colour_bar(shown, sheet.width - SCALE + 14, top, height, sheet.elide(label, height))
            bar.ax.yaxis.set_minor_locator(NullLocator())
            bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
            sheet.part(bar.ax)
            top += height + ABOVE + BELOW
        return sheet.figure


def _border(inside: Any) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return the sides of cells, each from corner to corner, that part those ``inside`` from all others."""
    padded = np.pad(inside, 1)
    across = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]) - 0.5
    along = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]) - 0.5
    return [((x, y), (x + 1, y)) for y, x in across.tolist()] + [((x, y), (x, y + 1)) for y, x in along.tolist()]


def _text(value: float, digits: int, log: bool) -> str:
    """Return a number as a cell shows it."""
    if not log:
        return f"{value:.{digits}f}"
    # Ten thousand and 0.01 alike without an exponent.
    return f"{float(f'{value:.{digits}g}'):,.10g}"


def _draw(sheet: Sheet, axes: Any, panel: CellPanel, held: Any, norm: Any, text: Any) -> Any:
    """Draw a panel; return what its colours stand for."""
    shown = axes.imshow(held, origin="lower", aspect="auto", cmap=HEAT, norm=norm, interpolation="nearest")
    axes.grid(visible=False)
    for axis, labels, name in ((axes.xaxis, panel.x, panel.x_label), (axes.yaxis, panel.y, panel.y_label)):
        axis.set_ticks(range(len(labels)), labels)
        axis.set_label_text(name)
    axes.set_title(panel.title)
    _, _, width, height = sheet.place(axes)
    for (i, j), value in np.ndenumerate(held):
        said = text(value)
        if value == value and sheet.measure(said) + 6 <= width / held.shape[1] and height / held.shape[0] >= 18:
            axes.text(j, i, said, ha="center", va="center", color="white" if norm(value) > 0.4 else INK)
    return shown
