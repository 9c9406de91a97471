"""What every figure stands on: a sheet of a given width, laid out in pixels; titles, legends and units; the file."""

import itertools
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray

from simcore.errors import InputError, writing
from simcore.plot._style import FAINT, INK, WIDTHS, Width, styled, width_of
from simcore.units import TIME, fitting

if TYPE_CHECKING:
    import pyarrow as pa

Tables = Mapping[str, "pa.Table"]
Floats = NDArray[np.float64]

DPI = 100
"""Pixels of a layout that an inch of a figure for the screen has."""
EDGE = 16
"""Pixels left free at the edges."""
METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Endings of figures, and what matplotlib would write into each that differs between two machines or two days."""


class Run(Protocol):
    """What ``run`` and ``load_run`` return, as far as figures need it."""

    @property
    def tables(self) -> Any: ...
    @property
    def scenario(self) -> Any: ...
    @property
    def interrupted_at(self) -> int | None: ...


def tables_of(run: "Run | Tables", title: str | None) -> tuple[Tables, str]:
    """Return the tables of a run, and its name unless a title is given."""
    if isinstance(run, Mapping):
        return run, title or ""
    stopped = "" if run.interrupted_at is None else f", interrupted at {run.interrupted_at} ps"
    return run.tables, f"{run.scenario.name}{stopped}" if title is None else title


def time_unit(end: int) -> tuple[str, float]:
    """Return the unit in which ``end`` (ps) reads between 1 and 1000, and its length in ps."""
    return fitting(TIME, end)


class Drawing(Figure):
    """A matplotlib figure that is saved, and shown in a notebook, as it was drawn: in its style, always the same
    bytes."""

    def __init__(self, width: Width) -> None:
        super().__init__(figsize=(width.inches, 1), dpi=DPI)
        FigureCanvasAgg(self)
        self.drawn_for = width

    def savefig(self, fname: Any, **more: Any) -> None:
        """Save as matplotlib does, in the style of the figure and without dates."""
        kind = str(more.get("format") or Path(str(fname)).suffix).lower()
        metadata = METADATA.get(kind if kind.startswith(".") else f".{kind}")
        with styled(self.drawn_for), warnings.catch_warnings():
            # A name may hold letters that the font lacks.
            warnings.filterwarnings("ignore", "Glyph")
            super().savefig(fname, **{"dpi": self.drawn_for.dpi, "metadata": metadata} | more)

    def save(self, path: str | Path) -> Path:
        """Write the figure in the format of its ending, whole or not at all; return its path."""
        return save(self, Path(path))

    def __repr__(self) -> str:
        return "Drawing()"

    def _repr_png_(self) -> bytes:
        """Return the figure as a notebook shows it, in 256 colours: half the bytes, and the same to look at."""
        from io import BytesIO

        from PIL import Image

        stream, small = BytesIO(), BytesIO()
        self.savefig(stream, format="png", dpi=DPI * WIDTHS["screen"].inches / self.drawn_for.inches)
        Image.open(stream).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        return small.getvalue()


class Sheet:
    """A figure while it is laid out, in pixels from its upper left corner, of which letters are 14 high; narrower
    figures have fewer of them, all smaller.

    Only a sheet for the screen is wide enough for legends beside its axes.
    """

    def __init__(self, width: Width) -> None:
        self.figure = Drawing(width)
        self.scale = width.letters / WIDTHS["screen"].letters
        self.width = round(width.inches * DPI / self.scale)
        self.height = round(DPI / self.scale)
        self.wide = width == WIDTHS["screen"]
        self._renderer = _renderer(self.figure)

    def begin(self, height: float, title: str = "", subtitle: str = "") -> None:
        """Make the sheet ``height`` high and write titles at its upper left; ``head`` says how high these are."""
        self.height = math.ceil(height)
        self.figure.set_size_inches(self.figure.get_figwidth(), self.height * self.scale / DPI)
        y = 12.0
        for line in self._title(title):
            self.text(EDGE, y, line, fontsize="large", fontweight="bold", va="top")
            y += 21
        for line in self.lines(subtitle, self.width - 2 * EDGE):
            self.text(EDGE, y, line, va="top", color=FAINT)
            y += 17

    def head(self, title: str, subtitle: str) -> float:
        """Return the pixels that titles take, with the room below them."""
        lines = self.lines(subtitle, self.width - 2 * EDGE)
        return 12.0 + 21 * len(self._title(title)) + 17 * len(lines) + 10

    def _title(self, title: str) -> list[str]:
        # Bold letters are wider than those that are measured.
        return self.lines(title, (self.width - 2 * EDGE) / 1.18, "large")

    def text(self, x: float, y: float, text: str, **more: Any) -> Any:
        """Write ``text`` at a place of the sheet."""
        return self.figure.text(x / self.width, 1 - y / self.height, text, **{"color": INK} | more)

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Return axes that begin ``left`` and ``top`` pixels from the corner."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def place(self, axes: Any) -> tuple[float, float, float, float]:
        """Return left, top, width and height of ``axes``."""
        where = axes.get_position()
        return (
            where.x0 * self.width, (1 - where.y1) * self.height, where.width * self.width, where.height * self.height,
        )  # fmt: skip

    def points(self, points: float) -> float:
        """Return points of the screen as points of this sheet."""
        return points * self.scale

    def columns(self, pixels: float) -> int:
        """Return how many dots of a PNG ``pixels`` are."""
        return max(1, round(pixels * self.scale * self.figure.drawn_for.dpi / DPI))

    def measure(self, text: str, size: str = "medium") -> float:
        """Return the pixels that the longest line of ``text`` takes."""
        return max((self._length(line, size) for line in text.split("\n")), default=0.0)

    def _length(self, line: str, size: str) -> float:
        return _length(line, size, self.figure.drawn_for) / self.scale

    def lines(self, text: str, room: float, size: str = "medium") -> list[str]:
        """Return ``text`` in lines that fit into ``room`` pixels, broken between words, or inside one that is too
        long."""
        found: list[str] = []
        for word in text.split():
            joined = f"{found[-1]} {word}" if found else word
            if found and self.measure(joined, size) <= room:
                found[-1] = joined
                continue
            while self.measure(word, size) > room and len(word) > 1:
                fits = max(1, max((n for n in range(1, len(word)) if self.measure(word[:n], size) <= room), default=1))
                found.append(word[:fits])
                word = word[fits:]
            found.append(word)
        return found

    def fill(self, text: str, room: float) -> str:
        """Return ``text`` broken into lines that fit into ``room`` pixels."""
        return "\n".join(self.lines(text, room))

    def elide(self, text: str, room: float) -> str:
        """Return ``text``, its middle left out where it is longer than ``room`` pixels."""
        kept = len(text)
        short = text
        while self.measure(short) > room and kept > 4:
            kept -= 1
            # Names of one kind differ at their ends.
            short = f"{text[: kept // 3]}…{text[len(text) - kept + kept // 3 :]}"
        return short

    def legend_room(self, labels: Sequence[str], room: float) -> tuple[int, float]:
        """Return the columns of a legend in ``room`` pixels, and its height."""
        if not labels:
            return 1, 0.0
        longest = max(map(self.measure, labels)) + 52
        columns = int(max(1, min(len(labels), room // longest)))
        rows = [labels[i :: math.ceil(len(labels) / columns)] for i in range(math.ceil(len(labels) / columns))]
        return columns, sum(6 + 17 * max(1 + label.count("\n") for label in row) for row in rows)

    def legend(self, axes: Any, handles: Sequence[Any], place: tuple[float, float], columns: int = 1) -> Any:
        """Draw the legend of ``axes`` with its upper left corner at a place of the sheet."""
        for handle in handles:
            # Matplotlib leaves out what begins with an underscore.
            if str(handle.get_label()).startswith("_"):
                handle.set_label(f" {handle.get_label()}")
        return axes.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(place[0] / self.width, 1 - place[1] / self.height),
            bbox_transform=self.figure.transFigure, ncols=columns,
        )  # fmt: skip

    def colour_bar(self, shown: Any, left: float, top: float, height: float, label: str) -> Any:
        """Draw what colours stand for."""
        bar = self.figure.colorbar(shown, cax=self.axes(left, top, 12, height))
        bar.set_label(label)
        bar.ax.grid(visible=False)
        bar.outline.set_visible(False)
        return bar

    def fit(self, placed: Sequence[Any], right: float = EDGE / 2) -> None:
        """Move the left edge of axes that stand one below the other to where their labels just have room, their right
        edge clear of the last label and of what stands ``right`` of it, and leave out labels that would touch."""
        named = [axes.get_xlabel() for axes in placed]
        for axes in placed:
            self.part(axes)
            axes.set_ylabel(self.elide(axes.get_ylabel(), self.place(axes)[3]))
            # What it is called stands below an axis, and is no reason to move it.
            axes.set_xlabel("")
        boxes = [axes.get_tightbbox(self._renderer).transformed(self.figure.transFigure.inverted()) for axes in placed]
        over = max((box.x1 - axes.get_position().x1) * self.width for box, axes in zip(boxes, placed, strict=True))
        before = max((axes.get_position().x0 - box.x0) * self.width for box, axes in zip(boxes, placed, strict=True))
        for axes, name in zip(placed, named, strict=True):
            left, top, width, height = self.place(axes)
            stop = min(left + width, self.width - max(right, EDGE / 2 + over))
            box = ((EDGE / 2 + before) / self.width, 1 - (top + height) / self.height)
            axes.set_position((*box, (stop - EDGE / 2 - before) / self.width, height / self.height))
            middle = (EDGE / 2 + before + stop) / 2
            room = 2 * min(middle, self.width - middle) - EDGE
            axes.set_xlabel("\n".join(self.elide(line, room) for line in name.split("\n")))
            self.part(axes)

    def part(self, axes: Any) -> None:
        """Leave out every second label of the ticks, again and again, until none touch."""
        for axis, along in ((axes.xaxis, "x"), (axes.yaxis, "y")):
            for _ in range(12):
                # Asking for the labels puts the ticks where the locator wants them; an axis may show none.
                low, high = sorted(axis.get_view_interval())
                labels = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=False)
                shown = {at: label for at, label in labels if low <= at <= high and label.get_text()}
                boxes = [label.get_window_extent(self._renderer) for label in shown.values()]
                ends = sorted((getattr(box, f"{along}0"), getattr(box, f"{along}1")) for box in boxes)
                gap = (6 if along == "x" else 1) * self.scale
                if all(b[0] - a[1] >= gap for a, b in itertools.pairwise(ends)):
                    break
                kept = list(shown)[::2]
                formatter = axis.get_major_formatter()
                axis.set_major_locator(FixedLocator(kept))
                axis.set_major_formatter(formatter)


def _renderer(figure: Figure) -> Any:
    canvas: Any = FigureCanvasAgg(figure)
    return canvas.get_renderer()


@lru_cache(maxsize=4096)
def _length(line: str, size: str, width: Width) -> float:
    from matplotlib.font_manager import FontProperties

    renderer = _renderer(Figure(dpi=DPI))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        return float(renderer.get_text_width_height_descent(line, FontProperties(size=size), ismath=False)[0])


@contextmanager
def sheet_of(width: str) -> Iterator[Sheet]:
    """Give a sheet of the width called ``width``, with its style; raises ``InputError`` where there is none."""
    asked = width_of(width)
    with styled(asked), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        yield Sheet(asked)


def draw_nothing(sheet: Sheet, title: str, why: str = "the run's tables are empty") -> Drawing:
    """Draw the sentence that there is nothing to draw."""
    head = sheet.head(title, why)
    sheet.begin(head + 160, title, why)
    sheet.text(sheet.width / 2, head + 70, "nothing was recorded", ha="center", fontsize="large", color=FAINT)
    return sheet.figure


def save(figure: Figure, path: Path) -> Path:
    """Write the figure in the format of its ending, the same bytes every time; return ``path``."""
    if path.suffix not in METADATA:
        raise InputError(f"{path}: a figure's name ends in {', '.join(METADATA)}")
    # Beside its place and then moved there, so that a picture is whole or the older one.
    scratch = path.with_name(f".{os.getpid()}{path.suffix}")
    with writing(path):
        try:
            figure.savefig(scratch)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    return path
