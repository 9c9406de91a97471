"""Who did what when, above how much each link was used."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from simcore.plot._canvas import EDGE, Drawing, Floats, Run, Sheet, Tables, draw_nothing, sheet_of, tables_of
from simcore.plot._series import (
    BAR,
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
from simcore.plot._style import INK, PALETTE
from simcore.trace import natural, parted
from simcore.units import TIME, short

# Okabe and Ito's palette, safe for colour-blind readers; lightness differs too, so the classes survive a grey print.
COLOURS = {"compute": PALETTE[0], "send": PALETTE[3], "replay": "#7FCDBB", "idle": "#DDDDDD"}
MEANINGS = {"replay": "recorded collective"}
WAITS = [PALETTE[4], "#F0E442", PALETTE[1], "#8C4A00", "#F7C99B", "#5E3C99"]
"""Colours of waits, by reason where there are few, else by the first word of the reason."""
OTHER = "#555555"
BESIDE = 210
"""Pixels right of the rows, for the legend."""
MOST_PARTS = 32
"""Work-groups or streams that are drawn; where there are more, their ranks speak for them."""


def timeline(run: Run | Tables, *, title: str | None = None, width: str = "screen") -> Drawing:
    """Return a figure with one row a rank, and a work-group or stream where these are few (activities), above one row a
    link (utilisation), on one time axis."""
    tables, title = tables_of(run, title)
    with sheet_of(width) as sheet:
        return _timeline(sheet, tables, title)


def _timeline(sheet: Sheet, tables: Tables, title: str) -> Drawing:
    spans, rows, ranks, parts = _rows(tables)
    links = links_of(tables)
    names, hidden = busiest(links)
    end = makespan(tables)
    if not rows:
        return draw_nothing(sheet, title)
    said = _said(rows, ranks, parts) + f", {len(names) + hidden} links in use, {short(end, TIME)} of simulated time"
    top, left = sheet.head(title, said), margin(sheet, [*rows, *names])
    room = sheet.width - left - (BESIDE if sheet.wide else BAR if names else 2 * EDGE)
    image, colours = activity_image(spans, rows, end, sheet.columns(room))
    beside = BESIDE - 60 if sheet.wide else sheet.width - 2 * EDGE - 60
    labels = [sheet.fill(name, beside) for name in colours]
    columns, legend = sheet.legend_room(labels, 1 if sheet.wide else sheet.width - 2 * EDGE)
    upper = max(rows_height(sheet, len(rows), 26, 6), legend if sheet.wide else 0)
    gap, lower = 22, rows_height(sheet, len(names), 16, 9) if names else -22
    below = top + upper + gap + lower
    sheet.begin(below + 58 + (0 if sheet.wide else legend + 6), title, said)
    axes = sheet.axes(left, top, room, upper)
    _draw_activities(sheet, axes, image, rows, end)
    handles = [Patch(color=colour, label=label) for label, colour in zip(labels, colours.values(), strict=True)]
    sheet.legend(axes, handles, (left + room + 14, top) if sheet.wide else (EDGE, below + 56), columns)
    if names:
        axes.tick_params(bottom=False, labelbottom=False)
        axes = sheet.axes(left, top + upper + gap, room, lower)
        used = 100 * per_column(links, names, "busy_ps", end, sheet.columns(room))
        draw_links(sheet, axes, used, names, hidden, end, "utilisation (%)")
    draw_time_axis(axes, end)
    sheet.part(axes)
    return sheet.figure


def _rows(tables: Tables) -> tuple[dict[str, list[Any]], list[str], list[str], list[str]]:
    """Return the spans that are drawn, their rows, the ranks, and what these are parted into."""
    spans: dict[str, list[Any]] = tables["spans"].to_pydict()
    rows = sorted(set(spans["location"]), key=natural)
    ranks = [row for row in rows if not parted(row)[1]]
    parts = [part for _, part in map(parted, rows) if part]
    if len(parts) > MOST_PARTS:
        rows, drawn = ranks, set(ranks)
        kept = [place for place, where in enumerate(spans["location"]) if where in drawn]
        spans = {name: [column[place] for place in kept] for name, column in spans.items()}
    return spans, rows, ranks, parts


def _said(rows: Sequence[str], ranks: Sequence[str], parts: Sequence[str]) -> str:
    jobs = len(job_borders(rows)) + 1
    who = f"{len(ranks)} rank" + ("" if len(ranks) == 1 else "s") + (f" of {jobs} jobs" if jobs > 1 else "")
    if parts:
        kind = "work-groups" if parts[0].startswith("wg") else "streams"
        who += f", {len(parts)} {kind}" + (" (not drawn)" if len(parts) > MOST_PARTS else "")
    return who


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


def _draw_activities(sheet: Sheet, axes: Any, image: Floats, rows: Sequence[str], end: int) -> None:
    height = sheet.place(axes)[3]
    axes.grid(visible=False)
    axes.imshow(image, aspect="auto", interpolation="nearest", extent=(0, end, len(rows), 0))
    if height / len(rows) >= 10:
        axes.hlines(range(1, len(rows)), 0, end, color="white", lw=sheet.points(2))
    axes.hlines(job_borders(rows), 0, end, color=INK, lw=sheet.points(1.5))
    label_rows(sheet, axes, rows, height)
