"""Who did what when, above how much each link was used."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from simcore.plot._canvas import INK, WIDTH, Boxes, Floats, Tables, draw_nothing, new_figure, put_title, save
from simcore.plot._series import (
    busiest,
    draw_links,
    draw_time_axis,
    label_rows,
    links_of,
    makespan,
    margin,
    per_column,
    rows_height,
    spread,
)
from simcore.trace import natural, parted
from simcore.units import TIME, short

# Okabe and Ito's palette, safe for colour-blind readers; lightness differs too, so the classes survive a grey print.
COLOURS = {"compute": "#0072B2", "send": "#CC79A7", "replay": "#7FCDBB", "idle": "#DDDDDD"}
MEANINGS = {"replay": "recorded collective"}
WAITS = ["#E69F00", "#F0E442", "#D55E00", "#8C4A00", "#F7C99B", "#5E3C99"]
"""Colours of waits, by reason where there are few, else by the first word of the reason."""
OTHER = "#555555"
LABEL_LETTERS = 23
"""Letters of a line in the legend, which has a margin of its own."""
MOST_PARTS = 32
"""Work-groups or streams that are drawn; where there are more, their ranks speak for them."""


def timeline(tables: Tables, path: Path, *, title: str = "") -> Path:
    """Draw one row a rank, and a work-group or stream where these are few (activities), above one row a link
    (utilisation), on one time axis; return ``path``."""
    spans, links = tables["spans"].to_pydict(), links_of(tables)
    rows = sorted(set(spans["location"]), key=natural)
    ranks = [row for row in rows if not parted(row)[1]]
    parts = [part for _, part in map(parted, rows) if part]
    if len(parts) > MOST_PARTS:
        rows, drawn = ranks, set(ranks)
        kept = [place for place, where in enumerate(spans["location"]) if where in drawn]
        spans = {name: [column[place] for place in kept] for name, column in spans.items()}
    names, hidden = busiest(links)
    end = makespan(tables)
    if not rows:
        return draw_nothing(path, title)
    left, right, top, gap, bottom = margin([*rows, *names]), 210, 60, 22, 58
    columns = WIDTH - left - right
    image, colours = activity_image(spans, rows, end, columns)
    labels = [fill(name, LABEL_LETTERS) for name in colours]
    upper = max(rows_height(len(rows), 26, 6), sum(8 + 14 * (1 + label.count("\n")) for label in labels))
    lower = rows_height(len(names), 16, 9) if names else -gap
    figure = new_figure(top + upper + gap + lower + bottom)
    box = Boxes(figure, left, right)
    axes = box.add(top, upper)
    _draw_activities(axes, image, dict(zip(labels, colours.values(), strict=True)), rows, end, upper)
    if names:
        axes.tick_params(bottom=False, labelbottom=False)
        axes = box.add(top + upper + gap, lower)
        used = 100 * per_column(links, names, "busy_ps", end, columns)
        draw_links(figure, axes, used, names, hidden, end, lower, "utilisation (%)")
    draw_time_axis(axes, end)
    jobs = len(job_borders(rows)) + 1
    who = f"{len(ranks)} ranks" + (f" of {jobs} jobs" if jobs > 1 else "")
    if parts:
        kind = "work-groups" if parts[0].startswith("wg") else "streams"
        who += f", {len(parts)} {kind}" + (" (not drawn)" if len(parts) > MOST_PARTS else "")
    put_title(figure, title, f"{who}, {len(names) + hidden} links in use, {short(end, TIME)} of simulated time")
    return save(figure, path)


def activity_classes(activities: Sequence[str], reasons: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the class of every span and the colour of each class that occurs, in the order of the legend.

    Waits are told apart by their whole reason where that makes no more classes than there are colours, else by its
    first word.
    """
    waited = sorted(
        {reason for activity, reason in zip(activities, reasons, strict=True) if activity == "wait"}, key=natural
    )
    if len(waited) > len(WAITS):
        waited = sorted({reason.split(" ")[0] for reason in waited})
    label = {reason: f"wait: {reason}" if reason else "wait" for reason in waited[: len(WAITS)]}
    colours = {MEANINGS.get(name, name): colour for name, colour in COLOURS.items()}
    colours |= {name: WAITS[i] for i, name in enumerate(label.values())} | {"other": OTHER}
    classes = [
        label.get(reason, label.get(reason.split(" ")[0], "other"))
        if activity == "wait"
        else MEANINGS.get(activity, activity)
        for activity, reason in zip(activities, reasons, strict=True)
    ]
    classes = [name if name in colours else "other" for name in classes]
    present = set(classes)
    return classes, {name: colour for name, colour in colours.items() if name in present}


def activity_image(
    spans: Mapping[str, Sequence[Any]], rows: Sequence[str], end: int, columns: int
) -> tuple[Floats, dict[str, str]]:
    """Return (rows, columns, 3) colours, in each pixel that of the class covering most of its time, and the colour of
    every class.

    A pixel with any activity at all is coloured, so a short span never vanishes from empty ground.
    """
    classes, colours = activity_classes(spans["activity"], spans["reason"])
    row_of, class_of = {name: i for i, name in enumerate(rows)}, {name: i for i, name in enumerate(colours)}
    count = max(1, len(colours))
    lane = np.array(
        [row_of[where] * count + class_of[c] for where, c in zip(spans["location"], classes, strict=True)], np.int64
    )
    begin, stop = np.array(spans["t0_ps"], np.float64), np.array(spans["t1_ps"], np.float64)
    covered = spread(begin, stop, np.ones(len(lane)), lane, len(rows) * count, end, columns).reshape(
        len(rows), count, columns
    )
    image = np.ones((len(rows), columns, 3))
    most, some = covered.argmax(axis=1), covered.max(axis=1) > 1e-9
    for number, colour in enumerate(colours.values()):
        image[(most == number) & some] = to_rgb(colour)
    return image, colours


def job_borders(rows: Sequence[str]) -> list[int]:
    """Return the numbers of the rows at which another job begins; a rank of several jobs is called job.rankN."""
    jobs = [parted(row)[0].rpartition(".")[0] for row in rows]
    return [i for i in range(1, len(jobs)) if jobs[i] != jobs[i - 1]]


def _draw_activities(
    axes: Any, image: Floats, colours: Mapping[str, str], rows: Sequence[str], end: int, height: int
) -> None:
    axes.imshow(image, aspect="auto", interpolation="nearest", extent=(0, end, len(rows), 0))
    if height / len(rows) >= 10:
        axes.hlines(range(1, len(rows)), 0, end, color="white", lw=2)
    axes.hlines(job_borders(rows), 0, end, color=INK, lw=1.5)
    label_rows(axes, rows, height)
    axes.legend(
        handles=[Patch(color=colour, label=name) for name, colour in colours.items()],
        loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=10, borderaxespad=0,
    )  # fmt: skip
