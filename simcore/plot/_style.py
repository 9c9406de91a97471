"""The look of all figures, from one style file, and the widths at which they are drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib
from matplotlib import style
from matplotlib.colors import LinearSegmentedColormap, to_hex

from simcore import source
from simcore.errors import InputError

FILE = Path(__file__).with_name("simcore.mplstyle")


@dataclass(frozen=True)
class Width:
    """A width of figures: inches, points of their letters, and dots per inch of a PNG."""

    inches: float
    letters: float
    dpi: int


WidthName = Literal["column", "page", "screen"]
WIDTHS: dict[str, Width] = {
    "column": Width(3.5, 7.0, 300),
    "page": Width(7.0, 8.0, 300),
    "screen": Width(12.0, 10.0, 100),
}
"""One column and both columns of a paper, and 1200 pixels of a screen."""
assert tuple(WIDTHS) == get_args(WidthName)

SCALED = (
    "font.size", "lines.linewidth", "lines.markersize", "patch.linewidth", "hatch.linewidth", "errorbar.capsize",
    "axes.linewidth", "axes.titlepad", "axes.labelpad", "grid.linewidth",
    *(f"{axis}tick.{key}" for axis in "xy" for key in ("major.size", "major.width", "minor.size", "minor.width",
                                                       "major.pad")),
)  # fmt: skip
"""What the style states in points, which grow with the letters."""


@cache
def stated() -> dict[str, Any]:
    """Return what the style file states, by key."""
    held: Any = matplotlib.rc_params_from_file(FILE, fail_on_error=True, use_default_template=False)
    return dict(held)


def _cycle(key: str) -> tuple[str, ...]:
    return tuple(stated()["axes.prop_cycle"].by_key()[key])


PALETTE = tuple(to_hex(colour).upper() for colour in _cycle("color"))
MARKERS = _cycle("marker")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo")
"""What tells bars apart besides their colours."""
DASHES = ("-", "--", ":", "-.")
"""What tells lines apart of which colour and marker are those of an earlier one."""
INK, GRID, GROUND = to_hex(stated()["text.color"]), to_hex(stated()["grid.color"]), "#F3F3F3"
FAINT, REFERENCE = "#555555", "#777777"
HEAT = LinearSegmentedColormap.from_list("heat", ["#C6DBEF", "#9E9AC8", "#6A51A3", "#2D004B"])
"""Colours of amounts, from little to much: ever darker."""
MARK = PALETTE[1]
"""What is drawn over `HEAT`: no hue of it, and readable on all of its colours."""


def width_of(name: str) -> Width:
    """Return the width called ``name``; raises ``InputError`` for another name."""
    if name not in WIDTHS:
        raise InputError(source.unknown("width of a figure", name, list(WIDTHS)))
    return WIDTHS[name]


@contextmanager
def styled(width: Width) -> Iterator[None]:
    """Draw inside in our style alone, whatever a user has set: sizes are those of ``width``."""
    larger = width.letters / stated()["font.size"]
    sizes = {key: stated()[key] * larger for key in SCALED}
    # Names are names: a dollar in one begins no formula.
    with style.context(["default", stated(), {**sizes, "text.parse_math": False}]):
        yield
