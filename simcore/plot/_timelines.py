"""Several runs on one time axis: who did what, every read of a flag, and how many reads there were until then."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simcore.plot._canvas import GRID, INK, WIDTH, Boxes, Floats, Tables, draw_nothing, new_figure, put_title
from simcore.plot._canvas import save as save_figure
from simcore.plot._series import draw_time_axis, margin
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


def timelines(runs: Mapping[str, Tables], path: Path, *, title: str = "") -> Path:
    """Draw for each of ``runs`` (tables ``spans`` and ``flags``) its waiters, with a tick for every read, above the sum
    of their reads; return ``path``.

    Model: the table of waits holds how many reads a wait took, not when. A poller's are drawn evenly over its wait;
    of a sleeper's the last is drawn at its end, the others at its begin.
    """
    rows = _waiters(runs)
    if not rows:
        return draw_nothing(path, title)
    end = max(max(tables["spans"]["t1_ps"].to_pylist(), default=1) for tables in runs.values())
    reads = {name: _reads(tables) for name, tables in runs.items()}
    most = max(weights.sum() for _, weights, _ in reads.values())
    left, right, top, gap, bottom = max(110, margin(rows)), 232, 92, 40, 56
    body = ROW * len(rows)
    figure = new_figure(top + len(runs) * (body + STRIP + 8) + gap * (len(runs) - 1) + bottom)
    box = Boxes(figure, left, right)
    below = top
    for number, (name, tables) in enumerate(runs.items()):
        upper, lower = box.add(below, body), box.add(below + body + 8, STRIP)
        spans = tables["spans"].to_pydict()
        image, colours = activity_image(_of_rows(spans, rows), rows, end, WIDTH - left - right)
        _draw_rows(upper, image, rows, end)
        _draw_reads(upper, reads[name], rows)
        _draw_sum(lower, reads[name], end, most, last=number == len(runs) - 1)
        upper.set_title(_said(name, tables), fontsize=11.5, loc="left", color=INK, weight="bold")
        if not number:
            _draw_legend(upper, colours)
        below += body + STRIP + 8 + gap
    who = len({where for tables in runs.values() for where in tables["flags"]["location"].to_pylist()})
    shown = f"{len(rows)} of {who} waiters" if who > len(rows) else f"{who} waiters"
    put_title(figure, title, f"{shown}, one row each, on one time axis; below them the reads of flags of all, summed")
    return save_figure(figure, path)


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


def _draw_rows(axes: Any, image: Floats, rows: Sequence[str], end: int) -> None:
    axes.imshow(image, aspect="auto", interpolation="nearest", extent=(0, end, len(rows), 0), alpha=0.75)
    axes.hlines(range(1, len(rows)), 0, end, color="white", lw=3)
    axes.set_yticks([i + 0.5 for i in range(len(rows))], rows, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)


def _draw_reads(axes: Any, reads: Reads, rows: Sequence[str]) -> None:
    row_of = {name: i for i, name in enumerate(rows)}
    chosen = [(instant, row_of[where]) for instant, _, where in zip(*reads, strict=True) if where in row_of]
    instants, places = np.array(chosen, np.float64).reshape(-1, 2).T
    axes.vlines(instants, places + 0.42, places + 0.92, color=READ, lw=0.7)


def _draw_sum(axes: Any, reads: Reads, end: int, most: float, *, last: bool) -> None:
    order = np.argsort(reads[0], kind="stable")
    sums = np.cumsum(np.concatenate(([0], reads[1][order])))
    x = np.concatenate(([0], reads[0][order], [end]))
    y = np.concatenate((sums, sums[-1:]))
    axes.fill_between(x, y, step="post", color=READ, alpha=0.25, lw=0)
    axes.step(x, y, where="post", color=READ, lw=1.6)
    axes.set_ylim(0, 1.12 * most)
    axes.grid(axis="y", color=GRID)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.tick_params(labelsize=9)
    axes.set_ylabel("reads so far", fontsize=9.5)
    draw_time_axis(axes, end)
    if not last:
        axes.set_xlabel("")
        axes.tick_params(axis="x", labelbottom=False)


def _draw_legend(axes: Any, colours: Mapping[str, str]) -> None:
    handles: list[Any] = [Patch(color=colour, alpha=0.75, label=name) for name, colour in colours.items()]
    handles.append(axes.plot([], [], color=READ, marker="|", ms=9, mew=1.2, lw=0, label="a read of a flag")[0])
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.012, 1.0), frameon=False, fontsize=10.5, borderaxespad=0
    )
