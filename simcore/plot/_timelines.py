"""Several runs on one time axis: who did what, every read of a flag, and how many reads there were until then."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simcore.plot._canvas import EDGE, Drawing, Floats, Sheet, Tables, draw_nothing, sheet_of
from simcore.plot._series import draw_time_axis, label_rows, margin
from simcore.plot._timeline import activity_image
from simcore.trace import natural
from simcore.units import TIME, short

Reads = tuple[Floats, Floats, list[str]]
"""Of each mark: its instant (ps), how many reads it stands for, and whose they are."""
MOST_MARKS = 4_000
"""Marks of one wait; of more reads each stands for several."""
MOST_ROWS = 16
"""Waiters of a run that are shown; of more, evenly many."""
ROW = 17
STRIP = 84
READ = "#B00020"
POLLED = {"spin", "backoff", "yield"}
"""Policies under which a waiter reads as long as it waits; under the others it reads where the wait begins and ends."""


def timelines(runs: Mapping[str, Tables], *, title: str = "", width: str = "screen") -> Drawing:
    """Return a figure of each of ``runs`` (tables ``spans`` and ``flags``): its waiters, with a tick for every read,
    above the sum of their reads.

    Model: the table of waits holds how many reads a wait took, not when. A poller's are drawn evenly over its wait;
    of a sleeper's the last is drawn at its end, the others at its begin.
    """
    with sheet_of(width) as sheet:
        rows = _waiters(runs)
        return _timelines(sheet, runs, rows, title) if rows else draw_nothing(sheet, title)


def _timelines(sheet: Sheet, runs: Mapping[str, Tables], rows: Sequence[str], title: str) -> Drawing:
    end = max(max(tables["spans"]["t1_ps"].to_pylist(), default=1) for tables in runs.values())
    reads = {name: _reads(tables) for name, tables in runs.items()}
    most = max(weights.sum() for _, weights, _ in reads.values())
    who = len({where for tables in runs.values() for where in tables["flags"]["location"].to_pylist()})
    shown = f"{len(rows)} of {who} waiters" if who > len(rows) else f"{who} waiters"
    said = f"{shown}, one row each, on one time axis; below them the reads of flags of all, summed"
    left, right = max(110, margin(sheet, rows)), 232 if sheet.wide else 2 * EDGE
    room, body = sheet.width - left - right, ROW * len(rows)
    names = [sheet.lines(_said(name, tables), sheet.width - left - EDGE) for name, tables in runs.items()]
    spans = [_of_rows(tables["spans"].to_pydict(), rows) for tables in runs.values()]
    images, colours = zip(*(activity_image(each, rows, end, sheet.columns(room)) for each in spans), strict=True)
    handles = _legend(sheet, {name: colour for each in colours for name, colour in each.items()})
    columns, legend = sheet.legend_room([str(handle.get_label()) for handle in handles], sheet.width - 2 * EDGE)
    top, heights = sheet.head(title, said), [26 + 17 * len(lines) + body + 8 + STRIP for lines in names]
    below = top + sum(heights)
    sheet.begin(below + 58 + (0 if sheet.wide else legend), title, said)
    begin = top
    for number, (name, image) in enumerate(zip(runs, images, strict=True)):
        begin += heights[number] - body - 8 - STRIP
        upper, lower = sheet.axes(left, begin, room, body), sheet.axes(left, begin + body + 8, room, STRIP)
        _draw_rows(sheet, upper, image, rows, end)
        _draw_reads(sheet, upper, reads[name], rows)
        _draw_sum(sheet, lower, reads[name], end, most, last=number == len(runs) - 1)
        upper.set_title("\n".join(names[number]))
        if not number:
            sheet.legend(
                upper, handles, (left + room + 14, begin) if sheet.wide else (EDGE, below + 56),
                1 if sheet.wide else columns,
            )  # fmt: skip
        begin += body + 8 + STRIP
    return sheet.figure


def _said(name: str, tables: Tables) -> str:
    reads, last = sum(tables["flags"]["flag_reads"].to_pylist()), max(tables["spans"]["t1_ps"].to_pylist(), default=0)
    return f"{name}: {reads:,} reads of flags in {len(tables['flags']):,} waits, over after {short(last, TIME)}"


def _waiters(runs: Mapping[str, Tables]) -> list[str]:
    names = sorted(
        {where for tables in runs.values() for where in tables["flags"]["location"].to_pylist()}, key=natural
    )
    picks = np.unique(np.linspace(0, len(names) - 1, min(len(names), MOST_ROWS)).round().astype(int))
    return [names[i] for i in picks] if names else []


def _of_rows(spans: Mapping[str, Sequence[Any]], rows: Sequence[str]) -> dict[str, list[Any]]:
    wanted = set(rows)
    keep = [i for i, where in enumerate(spans["location"]) if where in wanted]
    # Reasons would give a colour to each peer; here one colour says that a waiter waits.
    found = {name: [spans[name][i] for i in keep] for name in ("location", "t0_ps", "t1_ps", "activity")}
    return found | {"reason": [""] * len(keep)}


def _reads(tables: Tables) -> Reads:
    flags = tables["flags"].to_pydict()
    instants, weights = [np.zeros(0)], [np.zeros(0)]
    whose: list[str] = []
    for where, policy, begin, end, count in zip(
        *(flags[name] for name in ("location", "policy", "t0_ps", "detected_ps", "flag_reads")), strict=True
    ):
        if policy in POLLED:
            marks = min(count, MOST_MARKS)
            instants.append(np.linspace(begin, end, marks, endpoint=False))
        else:
            marks = count
            instants.append(np.array([begin] * (count - 1) + [end if count > 1 else begin], np.float64))
        weights.append(np.full(marks, count / max(1, marks)))
        whose += [where] * marks
    return np.concatenate(instants), np.concatenate(weights), whose


def _draw_rows(sheet: Sheet, axes: Any, image: Floats, rows: Sequence[str], end: int) -> None:
    axes.grid(visible=False)
    axes.imshow(image, aspect="auto", interpolation="nearest", extent=(0, end, len(rows), 0), alpha=0.75)
    axes.hlines(range(1, len(rows)), 0, end, color="white", lw=sheet.points(3))
    label_rows(sheet, axes, rows, ROW * len(rows))
    axes.tick_params(axis="x", bottom=False, labelbottom=False)


def _draw_reads(sheet: Sheet, axes: Any, reads: Reads, rows: Sequence[str]) -> None:
    row_of = {name: i for i, name in enumerate(rows)}
    chosen = [(instant, row_of[where]) for instant, _, where in zip(*reads, strict=True) if where in row_of]
    instants, places = np.array(chosen, np.float64).reshape(-1, 2).T
    axes.vlines(instants, places + 0.42, places + 0.92, color=READ, lw=sheet.points(0.7))


def _draw_sum(sheet: Sheet, axes: Any, reads: Reads, end: int, most: float, *, last: bool) -> None:
    order = np.argsort(reads[0], kind="stable")
    sums = np.cumsum(np.concatenate(([0], reads[1][order])))
    x = np.concatenate(([0], reads[0][order], [end]))
    y = np.concatenate((sums, sums[-1:]))
    axes.fill_between(x, y, step="post", color=READ, alpha=0.25, lw=0)
    axes.step(x, y, where="post", color=READ, marker="", lw=sheet.points(1.6))
    axes.set_ylim(0, 1.12 * most)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_ylabel("reads so far")
    draw_time_axis(axes, end)
    sheet.part(axes)
    if not last:
        axes.set_xlabel("")
        axes.tick_params(axis="x", labelbottom=False)


def _legend(sheet: Sheet, colours: Mapping[str, str]) -> list[Any]:
    handles: list[Any] = [Patch(color=colour, alpha=0.75, label=name) for name, colour in colours.items()]
    mark: dict[str, Any] = {"color": READ, "marker": "|", "ms": sheet.points(9), "mew": sheet.points(1.2), "lw": 0}
    return [*handles, Line2D([], [], label="a read of a flag", **mark)]
