"""A collective for people to read: a line a message, or a line a step, and what they add up to."""

from collections.abc import Iterator

import numpy as np

from simcore.collectives import Collective
from simcore.collectives.formulas import AlphaBeta, busbw_factor

MOST_LINES = 128
"""Messages are listed one by one up to so many, and steps after that."""


def lines(collective: Collective, formula: AlphaBeta | None, most: int = MOST_LINES) -> Iterator[str]:
    """Yield the text of ``collective``, line by line; ``formula`` is its alpha-beta time, if there is one."""
    moved = np.nonzero(collective.transfers)[0]
    moved = moved[np.argsort(collective.step[moved], kind="stable")]
    steps = int(collective.step.max(initial=-1)) + 1
    yield (
        f"{collective.algorithm} {collective.operation} of {collective.size} bytes (S) among "
        f"{collective.ranks} ranks: {steps} steps, {len(moved)} messages"
    )
    if len(moved):
        yield ""
        yield from _messages(collective, moved) if len(moved) <= most else _steps(collective, moved, steps, most)
        yield ""
        yield from _totals(collective, moved, steps, formula)


def _messages(collective: Collective, moved: "np.ndarray") -> Iterator[str]:
    lanes = collective.chunks > 1 or collective.channels > 1
    yield f"step  {'channel  chunk  ' if lanes else ''}  from      to        bytes       offset  at the receiver"
    schedule = collective.schedule
    for row in moved:
        channel, chunk = divmod(int(collective.lane[row]), collective.chunks)
        lane = f"{channel:7}  {chunk:5}  " if lanes else ""
        ends = f"{_name(schedule.rank[row]):>6}  {_name(schedule.peer[row]):>6}"
        yield (
            f"{collective.step[row]:4}  {lane}{ends} {schedule.size[row]:12} {_place(collective, row):>12}  "
            f"{'added' if collective.reduces[row] else 'stored'}"
        )


def _place(collective: Collective, row: int) -> str:
    """Return where the bytes begin at the sender, and at the receiver where that is elsewhere."""
    offset, lands = int(collective.offset[row]), int(collective.lands[row])
    return str(offset) if offset == lands else f"{offset}->{lands}"


def _steps(collective: Collective, moved: "np.ndarray", steps: int, most: int) -> Iterator[str]:
    yield "step  messages        bytes of each  at the receiver  for example"
    schedule, step = collective.schedule, collective.step[moved]
    begins = np.searchsorted(step, np.arange(steps + 1))
    for number in range(steps):
        if steps > most and number == most // 2:
            yield f" ...  {steps - 2 * (most // 2)} more steps"
        if steps > most and most // 2 <= number < steps - most // 2:
            continue
        rows = moved[begins[number] : begins[number + 1]]
        if not len(rows):
            continue
        sizes = sorted({int(schedule.size[rows].min()), int(schedule.size[rows].max())})
        added = collective.reduces[rows]
        what = "added" if added.all() else "stored" if not added.any() else "added or stored"
        example = f"{_name(schedule.rank[rows[0]])} to {_name(schedule.peer[rows[0]])}"
        yield f"{number:4}  {len(rows):8} {' to '.join(map(str, sizes)):>20}  {what:15}  {example}"


def _totals(collective: Collective, moved: "np.ndarray", steps: int, formula: AlphaBeta | None) -> Iterator[str]:
    sizes, sent, size = collective.schedule.size[moved], collective.sent(), collective.size
    yield f"steps           {steps}"
    yield f"messages        {len(moved)}, of {_range(int(sizes.min()), int(sizes.max()))} bytes"
    share = f" = {sent.max() / size:.4g} S" if size and sent.min() == sent.max() else ""
    yield f"sent by a rank  {_range(int(sent.min()), int(sent.max()))} bytes{share}"
    if formula is None:
        yield "time            no closed form; simulate it: simcore collective bench"
    else:
        portion = f" = {float(formula.size / size):.4g} S/B" if size else ""
        yield (
            f"time            {formula.alphas} alpha + {_whole(formula)} bytes / B{portion}, where every pair of ranks "
            "has its own link"
        )
    factor = busbw_factor(collective.operation, collective.ranks)
    yield f"busbw           {float(factor):.4g} algbw"


def _whole(formula: AlphaBeta) -> str:
    return str(formula.size) if formula.size.denominator == 1 else f"{float(formula.size):.1f}"


def _range(least: int, most: int) -> str:
    return str(most) if least == most else f"{least} to {most}"


def _name(rank: int) -> str:
    return str(rank) if rank >= 0 else f"switch{-1 - rank}"
