"""Which axes move a metric, and by how much: one at a time, by Morris's elementary effects, or by Sobol's indices."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from simcore import source
from simcore.errors import InputError
from simcore.executors import Executor, Progress, Swept, run
from simcore.executors.store import Store
from simcore.studies import Row, check_axes, levels, numbers, rows
from simcore.sweep import Entry, Picked, Sweep

Method = Literal["one_at_a_time", "morris", "sobol"]
USUAL: dict[Method, int] = {"one_at_a_time": 5, "morris": 10, "sobol": 64}
"""Samples unless told otherwise: values of a range, trajectories, and the base of Sobol's samples."""
GRID = 4
"""Levels of an axis in Morris's trajectories."""
BASE = "base"
"""What the row of the scenario itself is called."""


@dataclass(frozen=True)
class Asked:
    """How a study is made: by what ``method``, of what ``metrics``, with how many ``samples`` (values of a range,
    trajectories, or the base of Sobol's samples, a power of two) and what ``seed``."""

    method: Method = "one_at_a_time"
    metrics: tuple[str, ...] = ("makespan_ps",)
    samples: int = 0
    seed: int = 0

    @property
    def count(self) -> int:
        """The samples, or as many as are usual."""
        return self.samples or USUAL[self.method]


@dataclass(frozen=True)
class Found:
    """What a study found: a row an axis and metric, and the points that it stands on."""

    asked: Asked
    swept: Swept
    rows: list[dict[str, Any]]


def study(
    sweep: Sweep, asked: Asked, store: Store, executor: Executor | None = None, progress: Progress | None = None
) -> Found:
    """Return how the axes of ``sweep`` move the metrics; raises ``InputError`` for a metric that no run has, and where
    a method needs points that failed."""
    check_axes(sweep)
    if asked.method == "sobol" and asked.count & (asked.count - 1):
        raise InputError(f"--samples {asked.count}: Sobol's samples are a power of two, e.g. 64 or 128")
    if asked.method != "sobol" and asked.count < 2:
        what = "a range has 2 values" if asked.method == "one_at_a_time" else "Morris's method takes 2 trajectories"
        raise InputError(f"--samples {asked.count}: {what} or more")
    if asked.method == "one_at_a_time":
        picks, shares = _one_at_a_time(sweep, asked.count), None
    else:
        shares = _shares(asked, list(sweep.axes))
        picks = [
            {name: sweep.entry(name, share) for name, share in zip(sweep.axes, row, strict=True)} for row in shares
        ]
    picked = Picked.of(sweep, picks)
    swept = run(picked, store, executor, progress or (lambda total, there, done: None))
    known = rows(swept)
    for metric in asked.metrics:
        _check_metric(metric, known)
    if asked.method == "one_at_a_time":
        return Found(asked, swept, [row for metric in asked.metrics for row in _effects(picked, known, metric)])
    if swept.failures:
        point, why = swept.failures[0]
        raise InputError(
            f"{len(swept.failures)} of {len(picks)} points failed, and {asked.method} needs them all; narrow the axes, "
            f"or use --method one_at_a_time; the first, {point}: {why}"
        )
    return Found(
        asked, swept, [row for m in asked.metrics for row in _indices(asked, list(sweep.axes), shares, known, m)]
    )


def _check_metric(metric: str, known: Sequence[Row]) -> None:
    values = [row[metric] for row in known if row.get(metric) is not None]
    if not values:
        names = sorted({name for row in known for name, value in row.items() if _is_number(value)})
        if names:
            raise InputError(f"--metric: {source.unknown('metric', metric, names)}")
    elif not all(map(_is_number, values)):
        raise InputError(f"--metric {metric}: is no number")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _one_at_a_time(sweep: Sweep, count: int) -> list[Mapping[str, Entry]]:
    """Return the scenario itself, then every level of every axis with all others as the scenario says."""
    return [{}, *({name: entry} for name in sweep.axes for entry in levels(sweep, name, count))]


def _effects(picked: Picked, known: Sequence[Row], metric: str) -> list[dict[str, Any]]:
    """Return what each axis does alone: the metric of the scenario itself, its least and greatest value along the axis
    and where, their distance over the former, and the elasticity, by how many percent the metric changes for one
    percent of the axis, from end to end (none for words, and where a sign changes)."""
    base = known[0].get(metric)
    found = []
    for name in picked.axes:
        here = [i for i, pick in enumerate(picked.picks) if name in pick]
        there = [i for i in here if known[i].get(metric) is not None]
        row: dict[str, Any] = {"axis": name, "metric": metric, BASE: base}
        if there:
            entries, values = [picked.picks[i][name] for i in there], [known[i][metric] for i in there]
            low, high = min(there, key=lambda i: known[i][metric]), max(there, key=lambda i: known[i][metric])
            row |= {
                "lowest": known[low][metric], "lowest_at": str(picked.picks[low][name].value),
                "highest": known[high][metric], "highest_at": str(picked.picks[high][name].value),
                "swing": (known[high][metric] - known[low][metric]) / abs(base) if base else None,
                "elasticity": _elasticity(name, entries, values),
                "points": len(there),
            }  # fmt: skip
        found.append(row)
    return sorted(found, key=lambda row: -(row.get("swing") or 0))


def _elasticity(name: str, entries: Sequence[Entry], values: Sequence[float]) -> float | None:
    along = numbers(name, entries)
    if along is None:
        return None
    low, high = along.index(min(along)), along.index(max(along))
    ends = (along[low], along[high], values[low], values[high])
    if low == high or min(ends) <= 0:
        return None
    return math.log(values[high] / values[low]) / math.log(along[high] / along[low])


def _problem(names: Sequence[str]) -> dict[str, Any]:
    return {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)}


def _shares(asked: Asked, names: Sequence[str]) -> Any:
    """Return where the points of a method lie on the axes, from 0 to 1, a row a point."""
    try:
        from SALib.sample import morris, sobol
    except ImportError:
        raise InputError(f"--method {asked.method} needs SALib; install simcore[sensitivity]") from None
    if asked.method == "morris":
        return morris.sample(_problem(names), asked.count, num_levels=GRID, seed=asked.seed)
    return sobol.sample(_problem(names), asked.count, calc_second_order=False, seed=asked.seed)


def _indices(
    asked: Asked, names: Sequence[str], shares: Any, known: Sequence[Row], metric: str
) -> list[dict[str, Any]]:
    """Return the indices of every axis with their 95 % confidence; all are zero of a metric that never changes."""
    import numpy as np
    from SALib.analyze import morris, sobol

    values = np.array([row[metric] for row in known], np.float64)
    columns = _COLUMNS[asked.method]
    if (values == values[0]).all():
        rows_ = [dict.fromkeys(columns, 0.0) for _ in names]
    else:
        if asked.method == "morris":
            found = morris.analyze(_problem(names), shares, values, num_levels=GRID, seed=asked.seed)
        else:
            # Centred: the estimators lose digits to a mean that is far from zero.
            found = sobol.analyze(_problem(names), values - values.mean(), calc_second_order=False, seed=asked.seed)
        rows_ = [{ours: float(found[theirs][i]) for ours, theirs in columns.items()} for i in range(len(names))]
    made = [{"axis": name, "metric": metric} | row for name, row in zip(names, rows_, strict=True)]
    return sorted(made, key=lambda row: -abs(row[next(iter(columns))]))


_COLUMNS: dict[str, dict[str, str]] = {
    "morris": {"mu_star": "mu_star", "mu_star_confidence": "mu_star_conf", "mu": "mu", "sigma": "sigma"},
    "sobol": {"total": "ST", "total_confidence": "ST_conf", "first": "S1", "first_confidence": "S1_conf"},
}
"""Indices by our names, the one by which axes are ordered first, with SALib's names."""
