"""What all links carried over time, and who sent how much to whom."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simcore.plot._canvas import (
    DPI,
    GRID,
    INK,
    WIDTH,
    Boxes,
    Floats,
    Tables,
    draw_nothing,
    fitting,
    new_figure,
    put_title,
    save,
)
from simcore.plot._series import (
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
from simcore.trace import numbers
from simcore.units import RATE, SIZE, short


def traffic(tables: Tables, path: Path, *, title: str = "") -> Path:
    """Draw what all links carry over time, what each carries, and the matrix of bytes from source to destination;
    return ``path``."""
    links = links_of(tables)
    names, hidden = busiest(links)
    end = makespan(tables)
    if not names:
        return draw_nothing(path, title)
    left, top, total, gap, bottom, side = margin(names), 60, 130, 22, 58, 330
    rows = rows_height(len(names), 16, 9)
    figure = new_figure(max(top + total + gap + rows + bottom, top + side + 72))
    right = side + 235
    box = Boxes(figure, left, right)
    columns = WIDTH - left - right

    everything = sorted(set(links["link"]))
    rate = per_column(links, everything, "size_bytes", end, columns).sum(axis=0) * 1e12
    _draw_total(box.add(top, total), rate, end)

    shown = per_column(links, names, "size_bytes", end, columns) * 1e12
    unit, scale = fitting(RATE, float(shown.max()))
    axes = box.add(top + total + gap, rows)
    draw_links(figure, axes, shown / scale, names, hidden, end, rows, f"per link ({unit})")
    draw_time_axis(axes, end)

    matrix = pair_matrix(tables)
    _matrix(figure, matrix, WIDTH - side - 92, top, side)
    sizes, kinds = numbers(tables["transfers"], "size_bytes"), numbers(tables["transfers"], "kind")
    flags = int(sizes[kinds == "flag"].sum())
    moved = int(matrix.sum())
    put_title(
        figure,
        title,
        f"{short(moved, SIZE)} from rank to rank, of which flags {short(flags, SIZE)}; {len(everything)} links in use",
    )
    return save(figure, path)


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
    axes.set_ylabel(f"all links ({unit})", fontsize=10)
    axes.set_xlim(0, end)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(bottom=False, labelbottom=False, labelsize=9)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)


def _matrix(figure: Figure, matrix: Floats, left: int, top: int, side: int) -> None:
    pixels = figure.get_figheight() * DPI
    axes = figure.add_axes((left / WIDTH, 1 - (top + side) / pixels, side / WIDTH, side / pixels))
    world = len(matrix)
    unit, scale = fitting(SIZE, float(matrix.max()))
    heat = draw_heat(axes, matrix / scale)
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
                    color="white" if value > 0.25 * matrix.max() else INK,
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
