"""Figures of the paper that need more than a table of points."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from simcore import Curve, CurvePanel, curves

Row = Mapping[str, Any]


def early(title: str, early: Any, turning: Any, width: str) -> Any:
    """Return the figure of accuracy, and of how far shares are off, over the time of reading, for both grammars, and
    where frequencies differ."""
    names = {"agreement": "unambiguous", "ambiguous": "ambiguous"}
    groups = [(names[name], rows) for name, rows in _groups(early.rows, "grammar")]
    apart = [
        {name: float(np.mean([row[name] for row in rows])) for name in ("read", "accuracy", "row_error")}
        for _, rows in _groups(turning.rows, "read")
    ]
    groups.append(("unambiguous, frequencies N(0, 0.5) apart, ten devices, 500 sentences", apart))

    def lines(column: str, scale: float) -> list[Curve]:
        return [
            Curve(name, [row["read"] for row in rows], [scale * row[column] for row in rows]) for name, rows in groups
        ]

    label = "time of reading (1/kappa)"
    panels = [
        CurvePanel(
            curves=lines("accuracy", 100), x_label=label, y_label="accuracy (%)", log="x", height=380,
            lines=[("roof of the ambiguous grammar, 98", 98, 0)],
        ),
        CurvePanel(
            curves=lines("row_error", 1), x_label=label, y_label="shares off, summed (0 to 2)", log="xy", height=300
        ),
    ]  # fmt: skip
    subtitle = "agreement, oscillators of d = 2 from random starts, mean of ten trained models"
    return curves(panels, title=title, subtitle=subtitle, width=width)


def disturbed(title: str, disturbed: Any, levels: Any, width: str) -> Any:
    """Return the figure of what each disturbance costs, by its strength, mean of all devices, of couplings with their
    range; and of what few levels cost."""
    names = {"mismatch": "couplings times e^N(0, s)", "detuning": "frequencies N(0, s) apart",
             "noise": "states plus N(0, s)", "phase noise": "white noise of s on frequencies"}  # fmt: skip
    lines, bars = [], []
    for kind, name in names.items():
        groups = [(each.rpartition(" "), rows) for each, rows in _groups(disturbed.rows, "device")]
        lost = {float(strength): [row["loss_pp"] for row in rows] for (of, _, strength), rows in groups if of == kind}
        lines.append(Curve(name, list(lost), [float(np.mean(each)) for each in lost.values()]))
        if kind == "mismatch":
            low, high = min(lost[0.5]), max(lost[0.5])
            bars.append((f"ten devices, couplings: {low:.1f} to {high:.1f}", 0.5, low, high))
    few = [
        Curve(f"bits of {name}", [int(bits) for bits, _ in rows], [loss for _, loss in rows])
        for name, rows in (
            (name, [(row["device"].rpartition(" ")[2], row["loss_pp"]) for row in levels.rows if name in row["device"]])
            for name in ("couplings", "read-out")
        )
    ]
    lost_label = "accuracy lost (percentage points)"
    panels = [
        CurvePanel(curves=lines, bars=bars, x_label="strength s", y_label=lost_label, from_zero=True, height=400),
        CurvePanel(curves=few, x_label="bits", y_label=lost_label, log="x", from_zero=True, height=300),
    ]
    subtitle = "agreement, oscillators of d = 2 at their equilibrium, mean of ten trained models, each on ten devices"
    return curves(panels, title=title, subtitle=subtitle, width=width)


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


def substrates(title: str, substrates: Any, states: Any, softmaxes: Any, width: str) -> Any:
    """Return the figure of energy over time of a layer, and of attention alone, a line from the best to the worst of
    each range; of ring oscillators also where states are sampled in place of products."""
    rivals = [row for row in softmaxes.rows if row["means"] == "softmax"]
    cheap = [row for row in softmaxes.rows if row["means"] == "clipped" and row["machine"] == "Cortex-M7"]
    groups = [(name, rows) for name, rows in _groups(substrates.rows, "substrate")]
    groups.append(("ring, states sampled", states.rows))
    groups += [(f"softmax, {name}", rows) for name, rows in _groups(rivals, "machine")]
    groups.append(("cut-off line, Cortex-M7", cheap))
    # Of GPUs attention alone would be a mark at peak, without the launches that take nearly all of their time.
    launched = ("softmax, Orin Nano", "softmax, H100")
    panels = [
        CurvePanel(
            curves=[
                Curve(name, [_rounded(row[x]) for row in rows], [row[y] for row in rows])
                for name, rows in groups
                if x == "makespan_us" or name not in launched
            ],
            x_label=f"time of {said} (us)", y_label=f"energy of {said} (uJ)", log="xy", height=420, title=above,
        )
        for x, y, said, above in (
            ("makespan_us", "energy_uj", "a layer", "a whole layer, the host's part in it"),
            ("stage_us", "stage_uj", "attention",
             "attention and its link, whose energy is not modelled; no projections, scores, values, launch"),
        )
    ]  # fmt: skip
    subtitle = (
        "keyword model, 49 tokens, an array behind a Cortex-M7, products sampled; best, middle, worst of assumed ranges"
    )
    return curves(panels, title=title, subtitle=subtitle, width=width)


def _rounded(value: float) -> float:
    """Return ``value`` to two digits, as an axis says it."""
    return float(f"{value:.2g}")


def unknowns(title: str, unknowns: Any, width: str) -> Any:
    """Return the figure of time and energy of a layer between the best and the worst of one unknown at a time."""
    panels = []
    places = {"best": 1, "middle": 2, "worst": 3}
    for column, label in (("stage_us", "time of attention (us)"), ("stage_uj", "energy of attention (uJ)")):
        lines = [
            Curve(name.replace("_", " "), [places[row["corner"]] for row in rows], [row[column] for row in rows])
            for name, rows in _groups(unknowns.rows, "varied")
        ]
        panels.append(
            CurvePanel(
                curves=lines, x_label="1 best, 2 middle, 3 worst of its range", y_label=label, log="xy", height=320
            )
        )
    subtitle = "attention alone with its link by ring oscillators, keyword model, the other unknowns in the middle"
    return curves(panels, title=title, subtitle=subtitle, width=width)


def lengths(title: str, lengths: Any, width: str) -> Any:
    """Return the figure of the time and energy of a layer over its length, as shares of those by softmax, beside a
    layer whose attention cost nothing, with the lengths from which arrays are below softmax."""
    groups = {key: dict(_groups(rows, "means")) for key, rows in _groups(lengths.rows, "corner")}
    names = {"clipped": "cut-off line on the Cortex-M7", "ring": "array of ring oscillators",
             "ring states": "ring oscillators, states sampled", "lc": "array of LC oscillators, 1 MHz"}  # fmt: skip
    panels = []
    sides: tuple[tuple[str, str, Literal["x", "xy"], str], ...] = (
        ("makespan_us", "rest_us", "xy", "time of a layer over that by softmax"),
        ("energy_uj", "rest_uj", "x", "energy of a layer over that by softmax"),
    )
    for column, rest, log, label in sides:
        softmax = groups["middle"]["softmax"]
        tokens = [row["tokens"] for row in softmax]
        lines = [
            Curve(said, tokens, _quotients(groups["middle"][name], softmax, column)) for name, said in names.items()
        ]
        free = [row[rest] / row[column] for row in softmax]
        lines.append(Curve("attention for nothing (Amdahl)", tokens, free))
        low, high = (edge(y for line in lines for y in line.y) for edge in (min, max))
        marks = []
        for name in ("ring", "ring states", "lc"):
            places = {key: crossing(each["softmax"], each[name], column) for key, each in groups.items()}
            if places["middle"] is not None:
                below = {key: each[name][-1][column] < each["softmax"][-1][column] for key, each in groups.items()}
                marks.append((f"{name}: {_less(places, below)}", places["middle"], low, high))
        panels.append(
            CurvePanel(
                curves=lines, bars=marks, lines=[("softmax on the Cortex-M7", 1, 0)], x_label="tokens", y_label=label,
                log=log, height=400,
            )
        )  # fmt: skip
    subtitle = "two heads of 16, one array behind the Cortex-M7, products sampled; lines: middle of the assumed ranges"
    return curves(panels, title=title, subtitle=subtitle, width=width)


def _quotients(rows: Sequence[Row], rivals: Sequence[Row], column: str) -> list[float]:
    return [row[column] / rival[column] for row, rival in zip(rows, rivals, strict=True)]


def _less(places: Mapping[str, float | None], below: Mapping[str, bool]) -> str:
    """Return in words from which length an array takes less than softmax, in the middle and at the ends of ranges."""
    at = {
        key: f"{place:.0f}" if place is not None else "always" if below[key] else "never"
        for key, place in places.items()
    }
    return f"below softmax from {at['middle']} tokens (best {at['best']}, worst {at['worst']})"


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
