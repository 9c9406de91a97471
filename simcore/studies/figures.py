"""Figures of studies: what moves a metric, and how a search went."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from simcore.columns import dimension_of
from simcore.plot import Bar, BarPanel, Curve, CurvePanel, bars, curves, save
from simcore.studies import optimum, sensitivity, with_unit
from simcore.studies.formula import COLUMN
from simcore.units import fitting


def draw_sensitivity(found: sensitivity.Found, title: str, path: Path) -> Path:
    """Draw what each axis does to each metric; return ``path``."""
    panels = [
        _panel(found.asked, metric, [row for row in found.rows if row["metric"] == metric])
        for metric in found.asked.metrics
    ]
    said = {
        "one_at_a_time": "one axis at a time, the others as the scenario says (dashed); bars run from the least to the "
        "greatest value along an axis",
        "morris": "Morris: mean size of the effect of a step along an axis, and its spread by curves and interactions; "
        "whiskers: 95 % confidence",
        "sobol": "Sobol: share of the variance that an axis makes with its interactions (total), and alone (first); "
        "whiskers: 95 % confidence",
    }
    return save(bars(panels, title=title, subtitle=said[found.asked.method]), path)


def _panel(asked: sensitivity.Asked, metric: str, rows: Sequence[dict[str, Any]]) -> BarPanel:
    if asked.method == "one_at_a_time":
        known = [row for row in rows if "lowest" in row]
        unit, length = unit_of(metric, max((abs(row["highest"]) for row in known), default=1.0))
        shown = [
            Bar(row["axis"], row["lowest"] / length, row["highest"] / length,
                note=f"{row['lowest_at']} to {row['highest_at']}" if row["highest"] > row["lowest"] else "nothing")
            for row in known
        ]  # fmt: skip
        base = next((row["base"] / length for row in known if row["base"] is not None), None)
        return BarPanel(shown, f"{metric} ({unit})" if unit else metric, base=base)
    if asked.method == "morris":
        unit, length = unit_of(metric, max(max(row["mu_star"], row["sigma"]) for row in rows))
        pairs = (("effect (mu*)", "mu_star", "mu_star_confidence"), ("spread (sigma)", "sigma", ""))
        label = f"change of {metric}" + (f" ({unit})" if unit else "")
    else:
        length, label = 1.0, f"share of the variance of {metric}"
        pairs = (("total", "total", "total_confidence"), ("first", "first", "first_confidence"))
    return BarPanel(
        [
            Bar(row["axis"], 0.0, row[value] / length, row[doubt] / length if doubt else 0.0, series)
            for row in rows
            for series, value, doubt in pairs
        ],
        label,
    )  # fmt: skip


def unit_of(column: str, largest: float) -> tuple[str, float]:
    """Return the unit in which the largest value of a column reads as 1 or more, and its length in base units; no unit
    for what is a count, or a formula."""
    dimension = dimension_of(column) if COLUMN.fullmatch(column) else None
    return ("", 1.0) if dimension is None else fitting(dimension, largest)


def draw_optimum(found: optimum.Found, title: str, path: Path) -> Path:
    """Draw how the best came about, or the front between two objectives; return ``path``."""
    kept = [trial for trial in found.trials if trial.keeps]
    broken = [trial for trial in found.trials if not trial.failed and not trial.keeps]
    said = (
        f"{len(found.trials)} points, {len(kept)} keep the limits"
        if found.asked.limits
        else f"{len(found.trials)} points"
    )
    subtitle = f"{said}{', all that the axes allow' if found.exhaustive else ''}"
    objectives = found.asked.objectives
    ways = [1.0 if objective.way == "minimise" else -1.0 for objective in objectives]
    values = [[way * trial.costs[k] for trial in found.trials if not trial.failed] for k, way in enumerate(ways)]
    columns = [with_unit(found.swept.sweep, str(objective.formula)) for objective in objectives]
    scales = list(map(unit_of, columns, [max(map(abs, each), default=1.0) for each in values]))
    names = [
        f"{o.formula} ({unit})" if unit else str(o.formula) for o, (unit, _) in zip(objectives, scales, strict=True)
    ]

    def of(trials: Sequence[optimum.Trial], k: int) -> list[float]:
        return [ways[k] * trial.costs[k] / scales[k][1] for trial in trials]

    if len(objectives) == 1:
        best = list(accumulate(of(kept, 0), min if ways[0] > 0 else max))
        panels = [
            Curve("keeps the limits" if found.asked.limits else "point", [trial.number for trial in kept], of(kept, 0)),
            Curve("breaks a limit", [trial.number for trial in broken], of(broken, 0)),
        ]
        steps = CurvePanel(curves=[Curve("best so far", [trial.number for trial in kept], best)], x_label="point",
                           y_label=names[0], drawn="steps", height=300)  # fmt: skip
        points = CurvePanel(curves=[curve for curve in panels if curve.x], x_label="point", y_label=names[0],
                            drawn="points", height=300)  # fmt: skip
        return save(curves([points, steps] if kept else [points], title=title, subtitle=subtitle), path)
    others = [trial for trial in kept if trial not in found.best]
    drawn = [
        ("on the front", found.best), ("keeps the limits" if found.asked.limits else "point", others),
        ("breaks a limit", broken),
    ]  # fmt: skip
    panel = CurvePanel(
        curves=[Curve(label, of(trials, 0), of(trials, 1)) for label, trials in drawn if trials],
        x_label=names[0], y_label=names[1], drawn="points", height=460,
    )  # fmt: skip
    return save(curves([panel], title=title, subtitle=subtitle), path)
