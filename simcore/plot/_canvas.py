"""What every figure stands on: its size in pixels, its titles, its units, and the way to a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from simcore.errors import InputError, writing
from simcore.units import TIME, Dimension

if TYPE_CHECKING:
    import pyarrow as pa

Tables = Mapping[str, "pa.Table"]
Floats = NDArray[np.float64]

DPI = 100
WIDTH = 1400
"""Pixels of every figure's width."""
METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Endings of figures, and what matplotlib would write into each that differs between two machines or two days."""
HEAT = LinearSegmentedColormap.from_list("heat", ["#C6DBEF", "#9E9AC8", "#6A51A3", "#2D004B"])
INK, GRID, GROUND = "#222222", "#E6E6E6", "#F3F3F3"


def time_unit(end: int) -> tuple[str, float]:
    """Return the unit in which ``end`` (ps) reads between 1 and 1000, and its length in ps."""
    return fitting(TIME, end)


def fitting(dimension: Dimension, largest: float) -> tuple[str, float]:
    """Return the unit in which ``largest`` reads as 1 or more, and its length in base units."""
    for unit in dimension.display:
        if largest >= float(dimension.units[unit]):
            return unit, float(dimension.units[unit])
    return dimension.base, 1.0


class Boxes:
    """Places axes by pixels from the top left, so that nothing is left to a layout engine."""

    def __init__(self, figure: Figure, left: int, right: int) -> None:
        self._figure, self._left, self._right = figure, left, right

    def add(self, top: int, height: int) -> Any:
        """Return axes that begin ``top`` pixels below the upper edge and are ``height`` pixels high."""
        pixels = self._figure.get_figheight() * DPI
        axes = self._figure.add_axes(
            (self._left / WIDTH, 1 - (top + height) / pixels, 1 - (self._left + self._right) / WIDTH, height / pixels)
        )
        for spine in axes.spines.values():
            spine.set_color("#999999")
        return axes


def new_figure(height: int) -> Figure:
    """Return an empty figure, ``WIDTH`` pixels wide and ``height`` high."""
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def put_title(figure: Figure, title: str, subtitle: str) -> None:
    """Write title and subtitle at the top left."""
    pixels = figure.get_figheight() * DPI
    figure.text(16 / WIDTH, 1 - 14 / pixels, title, fontsize=13, fontweight="bold", va="top", color=INK)
    figure.text(16 / WIDTH, 1 - 34 / pixels, subtitle, fontsize=10, va="top", color="#555555")


def draw_nothing(path: Path, title: str) -> Path:
    """Draw the sentence that there is nothing to draw; return ``path``."""
    figure = new_figure(240)
    figure.text(0.5, 0.4, "nothing was recorded", ha="center", fontsize=14, color="#777777")
    put_title(figure, title, "the run's tables are empty")
    return save(figure, path)


def save(figure: Figure, path: Path) -> Path:
    """Write the figure in the format of its ending, the same bytes every time; return ``path``."""
    if path.suffix not in METADATA:
        raise InputError(f"{path}: a figure's name ends in {', '.join(METADATA)}")
    # Beside its place and then moved there, so that a picture is whole or the older one.
    scratch = path.with_name(f".{os.getpid()}{path.suffix}")
    with writing(path):
        try:
            with rc_context({"svg.hashsalt": "simcore"}):
                figure.savefig(scratch, metadata=METADATA[path.suffix])
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    return path
