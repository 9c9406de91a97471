"""Figures of the paper that need more than a table of points."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simcore import Curve, CurvePanel, curves

Row = Mapping[str, Any]


def early(title: str, early: Any, width: str) -> Any:
    """Return the figure of accuracy over the time of reading, for both grammars."""
    lines = [
        Curve(name, [row["read"] for row in rows], [100 * row["accuracy"] for row in rows])
        for name, rows in _groups(early.rows, "grammar")
    ]
    panel = CurvePanel(
        curves=lines, x_label="time of reading (1/kappa)", y_label="accuracy (%)", log="x", height=420,
        lines=[("roof of the ambiguous grammar, 98", 98, 0)],
    )  # fmt: skip
    subtitle = "agreement, oscillators of d = 2 from random starts, mean of ten trained models"
    return curves([panel], title=title, subtitle=subtitle, width=width)


def disturbed(title: str, disturbed: Any, width: str) -> Any:
    """Return the figure of what each disturbance costs, by its strength."""
    losses = {row["device"]: row["loss_pp"] for row in disturbed.rows}
    lines = []
    for kind, name in (("mismatch", "couplings times e^N(0, s)"), ("noise", "states plus N(0, s)")):
        strengths = [0.1, 0.2, 0.5]
        lines.append(Curve(name, strengths, [losses[f"{kind} {each}"] for each in strengths]))
    lines.append(Curve("frequencies N(0, s) apart", [0.5], [losses["detuning 0.5"]]))
    levels = losses["3 bit couplings 2 bit read-out"]
    panel = CurvePanel(
        curves=lines, x_label="strength s", y_label="accuracy lost (percentage points)", from_zero=True, height=400,
        lines=[("3 bit couplings, 2 bit read-out", levels, 0)],
    )  # fmt: skip
    subtitle = "agreement, oscillators of d = 2 at their equilibrium, mean of ten trained models"
    return curves([panel], title=title, subtitle=subtitle, width=width)


def seeds(title: str, seeds: Any, width: str) -> Any:
    """Return the figure of the hard accuracy of each training, sorted."""
    lines = [
        Curve(name, list(range(1, len(rows) + 1)), sorted(100 * row["hard"] for row in rows))
        for name, rows in _groups(seeds.rows, "attention")
    ]
    panel = CurvePanel(
        curves=lines, x_label="trainings, worst first", y_label="accuracy on hard sentences (%)", height=400,
        drawn="points", lines=[("a training below 85 has failed", 85, 0)],
    )  # fmt: skip
    return curves([panel], title=title, subtitle="agreement, unambiguous grammar, seeds 0 to 9", width=width)


def stories(title: str, stories: Any, width: str) -> Any:
    """Return the figure of perplexity over the dimension and of the gap to softmax on two logarithms, each a standard
    deviation each way."""
    rows = stories.rows
    sizes = [row["d"] for row in rows]
    softmax = rows[0]["perplexity"] - rows[0]["gap"]
    bars = [
        (f"standard deviation, d = {row['d']}: {row['spread']:.3f}", row["d"], row["perplexity"] - row["spread"],
         row["perplexity"] + row["spread"])
        for row in rows
    ]  # fmt: skip
    apart = [
        (f"standard deviation, d = {row['d']}: {row['gap_spread']:.3f}", row["d"], row["gap"] - row["gap_spread"],
         row["gap"] + row["gap_spread"])
        for row in rows
    ]  # fmt: skip
    slope, intercept = np.polyfit(np.log(sizes), np.log([row["gap"] for row in rows]), 1)
    fitted = [float(np.exp(intercept) * size**slope) for size in sizes]
    panels = [
        CurvePanel(
            curves=[Curve("oscillators", sizes, [row["perplexity"] for row in rows])], bars=bars, log="x", height=360,
            x_label="dimension of an oscillator", y_label="perplexity", lines=[("softmax", softmax, 0)],
        ),
        CurvePanel(
            curves=[Curve("gap", sizes, [row["gap"] for row in rows]), Curve(f"d^{slope:.2f}", sizes, fitted)],
            bars=apart, log="xy",
            x_label="dimension of an oscillator", y_label="perplexity above softmax", height=300,
        ),
    ]  # fmt: skip
    return curves(panels, title=title, subtitle="self-made stories, two layers of width 32, mean of three", width=width)


def substrates(title: str, substrates: Any, softmaxes: Any, width: str) -> Any:
    """Return the figure of energy over time of a layer, and of attention alone, a line from the best to the worst of
    each range."""
    rivals = [row for row in softmaxes.rows if row["means"] == "softmax"]
    cheap = [row for row in softmaxes.rows if row["means"] == "clipped" and row["machine"] == "Cortex-M7"]
    groups = [(name, rows) for name, rows in _groups(substrates.rows, "substrate")]
    groups += [(f"softmax, {name}", rows) for name, rows in _groups(rivals, "machine")]
    groups.append(("cut-off line, Cortex-M7", cheap))
    # Of GPUs attention alone would be a mark at peak, without the launches that take nearly all of their time.
    launched = ("softmax, Orin Nano", "softmax, H100")
    panels = [
        CurvePanel(
            curves=[
                Curve(name, [_rounded(row[x]) for row in rows], [row[y] / scale for row in rows])
                for name, rows in groups
                if x == "makespan_us" or name not in launched
            ],
            x_label=f"time of {said} (us)", y_label=f"energy of {said} (uJ)", log="xy", height=420, title=above,
        )
        for x, y, scale, said, above in (
            ("makespan_us", "energy_fj", 1e9, "a layer", "a whole layer, the host's part in it"),
            ("stage_us", "stage_uj", 1, "attention", "attention and its link: no projections, scores, values, launch"),
        )
    ]  # fmt: skip
    subtitle = "keyword model, 49 tokens, an array behind a Cortex-M7; best, middle and worst of assumed ranges"
    return curves(panels, title=title, subtitle=subtitle, width=width)


def _rounded(value: float) -> float:
    """Return ``value`` to two digits, as an axis says it."""
    return float(f"{value:.2g}")


def unknowns(title: str, unknowns: Any, width: str) -> Any:
    """Return the figure of time and energy of a layer between the best and the worst of one unknown at a time."""
    panels = []
    places = {"best": 1, "middle": 2, "worst": 3}
    for column, label, scale in (
        ("stage_us", "time of attention (us)", 1),
        ("stage_uj", "energy of attention (uJ)", 1),
    ):
        lines = [
            Curve(
                name.replace("_", " "), [places[row["corner"]] for row in rows], [row[column] / scale for row in rows]
            )
            for name, rows in _groups(unknowns.rows, "varied")
        ]
        panels.append(
            CurvePanel(
                curves=lines, x_label="1 best, 2 middle, 3 worst of its range", y_label=label, log="y", height=320
            )
        )
    subtitle = "attention alone with its link by ring oscillators, keyword model, the other unknowns in the middle"
    return curves(panels, title=title, subtitle=subtitle, width=width)


def lengths(title: str, lengths: Any, width: str) -> Any:
    """Return the figure of the time of a layer over its length, with the lengths from which arrays are faster."""
    groups = dict(_groups(lengths.rows, "means"))
    names = {"softmax": "softmax on the Cortex-M7", "clipped": "cut-off line on the Cortex-M7",
             "ring": "array of ring oscillators", "lc": "array of LC oscillators, 1 MHz"}  # fmt: skip
    panels = []
    for column, label, scale in (
        ("makespan_us", "time of a layer (us)", 1),
        ("energy_fj", "energy of a layer (uJ)", 1e9),
    ):
        lines = [
            Curve(names[name], [row["tokens"] for row in rows], [row[column] / scale for row in rows])
            for name, rows in groups.items()
        ]
        marks = []
        for name in ("ring", "lc"):
            place = crossing(groups["softmax"], groups[name], column)
            if place is not None:
                low, high = (
                    edge([row[column] / scale for rows in groups.values() for row in rows]) for edge in (min, max)
                )
                marks.append((f"{name}: less than softmax from {place:.0f} tokens", place, low, high))
        panels.append(
            CurvePanel(curves=lines, bars=marks, x_label="tokens", y_label=label, log="xy", height=380)
        )  # fmt: skip
    subtitle = "two heads of 16, one array behind the Cortex-M7, middle of assumed ranges"
    return curves(panels, title=title, subtitle=subtitle, width=width)


def crossing(rivals: Sequence[Row], rows: Sequence[Row], column: str) -> float | None:
    """Return the length from which ``rows`` are below ``rivals`` in ``column``, straight in logarithms between points;
    None where they never are, or always."""
    logs = [
        (np.log(row["tokens"]), np.log(row[column]) - np.log(rival[column]))
        for row, rival in zip(rows, rivals, strict=True)
    ]
    for (a, before), (b, after) in itertools.pairwise(logs):
        if before >= 0 > after:
            return float(np.exp(a + (b - a) * before / (before - after)))
    return None


def _groups(rows: Sequence[Row], column: str) -> list[tuple[Any, list[Row]]]:
    names = list(dict.fromkeys(row[column] for row in rows))
    return [(name, [row for row in rows if row[column] == name]) for name in names]
