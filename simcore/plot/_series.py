"""What links carry over time: the busiest of them as rows of pixels, on one time axis."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from simcore.plot._canvas import EDGE, Floats, Sheet, Tables, time_unit
from simcore.plot._style import GROUND, HEAT
from simcore.trace import natural

MOST_LINKS = 32
"""Links that a figure shows; of more, the busiest of each class."""


def per_column(links: Mapping[str, Sequence[Any]], names: Sequence[str], column: str, end: int, columns: int) -> Floats:
    """Return (names, columns): for each link the mean of ``column`` per picosecond over each pixel column of 0 to
    ``end``; bins that begin later are left out."""
    row_of = {name: i for i, name in enumerate(names)}
    rows = zip(links["link"], links["t0_ps"], strict=True)
    chosen = np.array([i for i, (name, begin) in enumerate(rows) if name in row_of and begin < end], np.int64)
    begin = np.array(links["t0_ps"], np.float64)[chosen]
    stop = np.minimum(np.array(links["t1_ps"], np.float64)[chosen], end)
    lane = np.array([row_of[links["link"][i]] for i in chosen], np.int64)
    weight = np.array(links[column], np.float64)[chosen] / np.maximum(stop - begin, 1)
    return spread(begin, stop, weight, lane, len(names), end, columns)


def spread(
    begin: Floats, stop: Floats, weight: Floats, lane: NDArray[np.int64], lanes: int, end: int, columns: int
) -> Floats:
    """Return (lanes, columns): the time-weighted mean of ``weight`` over the intervals that fall into each column."""
    scale = columns / end
    first, last = begin * scale, np.minimum(stop * scale, columns)
    i, j = np.minimum(first.astype(np.int64), columns - 1), np.minimum(last.astype(np.int64), columns)
    # Integral of the intervals up to each column border, as steps of slope and of height, so that no loop runs over
    # pixels.
    slope = np.zeros((lanes, columns + 2))
    height = np.zeros((lanes, columns + 2))
    np.add.at(slope, (lane, i), weight)
    np.add.at(slope, (lane, j), -weight)
    np.add.at(height, (lane, i), weight * (i - first))
    np.add.at(height, (lane, j), weight * (last - j))
    return np.asarray(np.cumsum(slope, axis=1)[:, :columns] + height[:, :columns])


def links_of(tables: Tables) -> dict[str, list[Any]]:
    """Return the table of links as columns."""
    found: dict[str, list[Any]] = tables["links"].to_pydict()
    return found


def busiest(links: Mapping[str, Sequence[Any]]) -> tuple[list[str], int]:
    """Return the links that a figure shows, in natural order, and how many are left out."""
    carried: dict[str, int] = {}
    for name, size in zip(links["link"], links["size_bytes"], strict=True):
        carried[name] = carried.get(name, 0) + size
    return chosen_links(carried, MOST_LINKS)


def chosen_links(carried: Mapping[str, float], most: int) -> tuple[list[str], int]:
    """Return ``most`` of the links that ``carried`` bytes, in natural order, and how many are left out.

    The classes of links (names without their numbers: gpu->leaf, leaf->spine) take turns, each with the busiest it has
    left: the many within nodes do not hide the few between them.
    """
    turn: dict[str, int] = {}
    of_class: Counter[str] = Counter()
    by_load = sorted(carried, key=lambda name: (-carried[name], natural(name)))
    for name in by_load:
        kind = re.sub(r"\d+", "", name)
        turn[name] = of_class[kind]
        of_class[kind] += 1
    chosen = sorted(by_load, key=turn.__getitem__)[:most]
    return sorted(chosen, key=natural), len(carried) - len(chosen)


def makespan(tables: Tables) -> int:
    """Return the end of the last span or transfer, ps, 1 where there is none."""
    import pyarrow.compute as pc

    ends = [pc.max(tables["spans"]["t1_ps"]).as_py(), pc.max(tables["transfers"]["arrived_ps"]).as_py()]
    return max((end for end in ends if end), default=1)


def rows_height(sheet: Sheet, count: int, comfortable: int, least: int) -> int:
    """Return pixels of all rows: comfortable for few, less each for many, and in all enough for a colour bar. On a
    screen never less than ``least`` each; a page of a paper ends."""
    least = least if sheet.wide else 1
    return max(90, count * max(least, min(comfortable, 480 // max(1, count))))


def margin(sheet: Sheet, names: Sequence[str]) -> float:
    """Return pixels that the names of rows take, with the title of the axis left of them."""
    return 46 + max(sheet.measure(row_name(sheet, name)) for name in names)


def row_name(sheet: Sheet, name: str) -> str:
    """Return the name of a row as it is shown: where it would take a third of the sheet, without its middle."""
    return sheet.elide(name, sheet.width / 3)


def draw_heat(axes: Any, values: Floats, **more: Any) -> Any:
    """Draw ``values`` (0 or more) as colours, one pixel or more a value; return the image for its colour bar.

    Zero has the colour of the ground and the smallest value already one of its own, and colours follow the square root:
    traffic spread thinly over time does not look like none beside a burst.
    """
    top = float(values.max()) if values.size and values.max() > 0 else 1.0
    # Sums over columns leave rests of rounding where there was nothing.
    shown = np.ma.masked_less(values, 1e-9 * top)
    axes.set_facecolor(GROUND)
    axes.grid(visible=False)
    return axes.imshow(shown, interpolation="nearest", cmap=HEAT, norm=PowerNorm(0.5, 0, top), **more)


def label_rows(sheet: Sheet, axes: Any, names: Sequence[str], height: float) -> None:
    """Label every row, or every k-th where labels would touch."""
    every = max(1, math.ceil(15 * len(names) / height)) if names else 1
    shown = range(0, len(names), every)
    axes.set_yticks([i + 0.5 for i in shown], [row_name(sheet, names[i]) for i in shown])
    axes.tick_params(axis="y", length=0)


def draw_links(
    sheet: Sheet, axes: Any, values: Floats, names: Sequence[str], hidden: int, end: int, label: str
) -> None:
    """Draw one row a link, coloured by (names, columns) ``values``."""
    heat = draw_heat(axes, values, aspect="auto", extent=(0, end, len(names), 0))
    left, top, width, height = sheet.place(axes)
    label_rows(sheet, axes, names, height)
    # The rows are named at the left edge, clear of their labels whatever their length.
    text = f"busiest {len(names)} of {len(names) + hidden} links" if hidden else "links"
    sheet.text(EDGE, top + height / 2, text, rotation=90, va="center", ha="center")
    bar = sheet.colour_bar(heat, left + width + 14, top, min(height, 220), label)
    bar.locator = MaxNLocator(4)
    bar.update_ticks()


BAR = 92
"""Pixels right of rows of links, for their colour bar."""


def draw_time_axis(axes: Any, end: int) -> None:
    """Draw ticks at round instants."""
    unit, scale = time_unit(end)
    # Round in the unit shown, not in picoseconds.
    axes.set_xticks(
        [
            tick * scale
            for tick in MaxNLocator(10, steps=[1, 2, 5, 10]).tick_values(0, end / scale)
            if 0 <= tick * scale <= end
        ]
    )
    axes.set_xlim(0, end)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / scale:g}"))
    axes.set_xlabel(f"simulated time ({unit})")
