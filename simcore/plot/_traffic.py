"""What all links carried over time, and who sent how much to whom."""

import math
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from simcore.plot._canvas import Drawing, Floats, Run, Sheet, Tables, draw_nothing, sheet_of, tables_of
from simcore.plot._series import (
    BAR,
    busiest,
    draw_heat,
    draw_links,
    draw_time_axis,
    links_of,
    makespan,
    margin,
    per_column,
    rows_height,
)
from simcore.plot._style import INK
from simcore.trace import numbers
from simcore.units import RATE, SIZE, fitting, short

SIDE = 330
"""Pixels of the matrix."""


def traffic(run: Run | Tables, *, title: str | None = None, width: str = "screen") -> Drawing:
    """Return a figure of what all links carry over time, what each carries, and the matrix of bytes from source to
    destination."""
    tables, title = tables_of(run, title)
    with sheet_of(width) as sheet:
        return _traffic(sheet, tables, title)


def _traffic(sheet: Sheet, tables: Tables, title: str) -> Drawing:
    links = links_of(tables)
    names, hidden = busiest(links)
    end = makespan(tables)
    if not names:
        return draw_nothing(sheet, title)
    matrix, everything = pair_matrix(tables), sorted(set(links["link"]))
    sizes, kinds = numbers(tables["transfers"], "size_bytes"), numbers(tables["transfers"], "kind")
    flags, moved = int(sizes[kinds == "flag"].sum()), int(matrix.sum())
    said = (
        f"{short(moved, SIZE)} from rank to rank, of which flags {short(flags, SIZE)}; {len(everything)} links in use"
    )
    left, top, total, gap, bottom = margin(sheet, names), sheet.head(title, said), 130, 22, 58
    rows = rows_height(sheet, len(names), 16, 9)
    below = top + total + gap + rows + bottom
    # Beside the rows where there is room, else below them.
    right = SIDE + 235 if sheet.wide else BAR
    place = (sheet.width - SIDE - 92, top) if sheet.wide else (max(left, (sheet.width - SIDE - 40) / 2), below)
    side = min(SIDE, sheet.width - place[0] - 92)
    sheet.begin(max(below, place[1] + side + 62), title, said)
    room = sheet.width - left - right
    columns = sheet.columns(room)
    rate = per_column(links, everything, "size_bytes", end, columns).sum(axis=0) * 1e12
    axes = sheet.axes(left, top, room, total)
    _draw_total(axes, rate, end)
    sheet.part(axes)

    shown = per_column(links, names, "size_bytes", end, columns) * 1e12
    unit, scale = fitting(RATE, float(shown.max()))
    axes = sheet.axes(left, top + total + gap, room, rows)
    draw_links(sheet, axes, shown / scale, names, hidden, end, f"per link ({unit})")
    draw_time_axis(axes, end)
    sheet.part(axes)
    _matrix(sheet, matrix, place, side)
    return sheet.figure


def pair_matrix(tables: Tables) -> Floats:
    """Return (world, world) bytes sent from row to column."""
    src, dst, size = (numbers(tables["transfers"], name) for name in ("src", "dst", "size_bytes"))
    world = int(max(src.max(), dst.max())) + 1 if len(src) else 1
    matrix = np.zeros((world, world))
    np.add.at(matrix, (src, dst), size)
    return matrix


def _draw_total(axes: Any, rate: Floats, end: int) -> None:
    unit, scale = fitting(RATE, float(rate.max()))
    axes.stairs(rate / scale, np.linspace(0, end, len(rate) + 1), fill=True, color="#6A51A3", lw=0)
    axes.set_ylabel(f"all links ({unit})")
    axes.set_xlim(0, end)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(bottom=False, labelbottom=False)
    axes.grid(visible=False, axis="x")


def _matrix(sheet: Sheet, matrix: Floats, place: tuple[float, float], side: float) -> None:
    left, top = place
    axes = sheet.axes(left, top, side, side)
    world = len(matrix)
    unit, scale = fitting(SIZE, float(matrix.max()))
    heat = draw_heat(axes, matrix / scale)
    if world <= 8:
        for (i, j), value in np.ndenumerate(matrix):
            if value:
                colour = "white" if value > 0.25 * matrix.max() else INK
                axes.text(j, i, f"{value / scale:.3g}", ha="center", va="center", color=colour)
    every = max(1, math.ceil(world / (12 if world <= 100 else 9)))
    ticks = list(range(0, world, every))
    axes.set_xticks(ticks, [str(i) for i in ticks])
    axes.set_yticks(ticks, [str(i) for i in ticks])
    axes.set_xlabel("destination rank")
    axes.set_ylabel("source rank")
    sheet.colour_bar(heat, left + side + 12, top, side, f"bytes sent ({unit})")
