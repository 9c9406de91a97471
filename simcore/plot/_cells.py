"""Numbers over two axes as colours: panels side by side that share one scale, the number written into every cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from simcore.plot._canvas import Drawing, Sheet, sheet_of
from simcore.plot._style import HEAT, INK

CELL = 44
"""Pixels that a row is high."""


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
    stacked: bool = False, width: str = "screen",
) -> Drawing:  # fmt: skip
    """Return a figure of ``panels`` one beside the other, or one below the other (``stacked``, and in a figure for a
    paper); ``label`` says what the colours are, on a logarithmic scale where wanted; each cell holds its number, with
    so many ``digits`` or, on that scale, significant ones."""
    with sheet_of(width) as sheet:
        head, side = sheet.head(title, subtitle), len(panels) if sheet.wide and not stacked else 1
        heights = [CELL * len(panel.y) for panel in panels]
        below = 24.0 + 60
        rows = [heights[i : i + side] for i in range(0, len(panels), side)]
        sheet.begin(head + sum(max(row) + below for row in rows), title, subtitle)
        across = (sheet.width - 90 - 24) / side
        held = [np.asarray(panel.rows, float) for panel in panels]
        norm = (LogNorm if log else Normalize)(min(map(np.nanmin, held)), max(map(np.nanmax, held)))
        top = head
        for first, row in zip(range(0, len(panels), side), rows, strict=True):
            for place, height in enumerate(row):
                panel = panels[first + place]
                axes = sheet.axes(84 + place * across, top + 24, across - 84, height)
                shown = _draw(sheet, axes, panel, held[first + place], norm, f".{digits + 1}g" if log else f".{digits}f")
            bar = sheet.colour_bar(shown, sheet.width - 84, top + 24, max(row), sheet.elide(label, max(row)))
            sheet.part(bar.ax)
            top += max(row) + below
        return sheet.figure


def _draw(sheet: Sheet, axes: Any, panel: CellPanel, held: Any, norm: Any, form: str) -> Any:
    shown = axes.imshow(held, origin="lower", aspect="auto", cmap=HEAT, norm=norm, interpolation="nearest")
    axes.grid(visible=False)
    for axis, labels, name in ((axes.xaxis, panel.x, panel.x_label), (axes.yaxis, panel.y, panel.y_label)):
        axis.set_ticks(range(len(labels)), labels)
        axis.set_label_text(name)
    axes.set_title(panel.title)
    _, _, width, height = sheet.place(axes)
    for (i, j), value in np.ndenumerate(held):
        text = f"{value:{form}}"
        if value == value and sheet.measure(text) + 6 <= width / held.shape[1] and height / held.shape[0] >= 18:
            axes.text(j, i, text, ha="center", va="center", color="white" if norm(value) > 0.4 else INK)
    return shown
