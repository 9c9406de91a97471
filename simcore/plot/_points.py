"""The points of a sweep as figures need them: columns with their units, those that were chosen, what is averaged."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simcore import source, units
from simcore.columns import dimension_of, label_of
from simcore.errors import InputError
from simcore.units import SIZE, fitting, short

if TYPE_CHECKING:
    import pyarrow as pa

Swept = tuple[Mapping[str, Any], "pa.Table"]
"""The manifest and the table of a sweep, as ``load_sweep`` returns them."""
Where = Mapping[str, Any]
"""By axis, the value to keep, or a list of values: as they are in the table, or as text with a unit."""

HEADLINES = ("makespan_ps", "flags.flag_reads", "flags.detection_delay_ps.mean", "queue_delay_ps.mean")
"""Metrics that are shown where nothing else is asked for and they vary."""
LEAST_EFFECT = 0.01
"""Share by which such a metric varies at least."""
FEW = 10
"""Values of an axis that make lines unasked."""
NO_METRIC = ("point", "digest", "failed")


def said(column: str, value: Any) -> str:
    """Return a value of a column for its reader, with its unit."""
    dimension = dimension_of(column)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if dimension is SIZE and value and value % 1024 == 0:
        power = max(k for k in range(1, 5) if abs(value) >= 1024**k)
        return f"{value / 1024**power:.4g} {'KMGT'[power - 1]}iB"
    if dimension is not None:
        return short(value, dimension)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


@dataclass(frozen=True)
class Measure:
    """How a column of numbers is written on an axis: its label with the unit, and a number at a tick."""

    column: str
    label: str
    length: float
    own: bool
    """Whether every tick says its unit."""

    def tick(self, value: float) -> str:
        """Return what stands at ``value``."""
        if self.own:
            return said(self.column, round(value))
        shown = value / self.length
        return f"{shown:,.4g}" if abs(shown) < 10_000 else f"{shown:,.0f}"


def measure_of(column: str, values: Sequence[float]) -> Measure:
    """Return how ``values`` of a column are written: in one unit, or where they lie far apart or are powers of two each
    in its own."""
    dimension, there = dimension_of(column), [abs(value) for value in values if value]
    if dimension is None:
        return Measure(column, label_of(column), 1.0, False)
    wide = bool(there) and max(there) >= 3_000 * min(there)
    if wide or (dimension is SIZE and there and all(value % 1024 == 0 for value in there)):
        return Measure(column, label_of(column), 1.0, True)
    unit, length = fitting(dimension, max(there, default=0.0))
    return Measure(column, f"{label_of(column)} ({unit})", length, False)


def is_geometric(values: Sequence[float]) -> bool:
    """Return whether the distinct ``values`` are spaced evenly by ratio rather than by difference.

    >>> is_geometric([1, 2, 4, 8]), is_geometric([1, 2, 3, 4]), is_geometric([0, 1, 10, 100])
    (True, False, False)
    """
    ordered = sorted(set(values))
    if len(ordered) < 3 or ordered[0] <= 0 or ordered[-1] < 4 * ordered[0]:
        return False
    steps = [b - a for a, b in itertools.pairwise(ordered)]
    ratios = [b / a for a, b in itertools.pairwise(ordered)]
    return max(steps) / min(steps) > (max(ratios) - 1) / (min(ratios) - 1)


def is_number(values: Sequence[Any]) -> bool:
    """Return whether every value that is there is a number, and one is there."""
    there = [value for value in values if value is not None]
    return bool(there) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in there)


@dataclass(frozen=True)
class Points:
    """Points of a sweep: its columns, which of them are axes, whether these were sampled, how many points failed."""

    scenario: str
    columns: dict[str, list[Any]]
    axes: list[str]
    sampled: bool
    failed: int

    @classmethod
    def of(cls, swept: Swept) -> "Points":
        """Return the points of a sweep, without those that failed."""
        about, table = swept
        columns = table.to_pydict()
        there = [i for i, why in enumerate(columns["failed"]) if why is None]
        kept = {name: [values[i] for i in there] for name, values in columns.items() if name not in NO_METRIC}
        axes = [str(axis) for axis in about["manifest"]["axes"]]
        failed = len(columns["failed"]) - len(there)
        return cls(str(about["sweep"]["scenario"]), kept, axes, "samples" in about["sweep"], failed)

    @property
    def count(self) -> int:
        """How many points there are."""
        return len(next(iter(self.columns.values()), []))

    @property
    def metrics(self) -> list[str]:
        """The columns of numbers that are no axes."""
        return [name for name, values in self.columns.items() if name not in self.axes and is_number(values)]

    def named(self, name: str, option: str, allowed: Sequence[str]) -> str:
        """Return the column called ``name``, with its unit or without; raises ``InputError`` for another name."""
        for column in allowed:
            if name in (column, label_of(column)):
                return column
        raise InputError(f"{option}: {source.unknown('column', name, list(map(label_of, allowed)))}")

    def where(self, chosen: Where) -> "Points":
        """Return the points with the values that are chosen on the axes; raises ``InputError`` where there are none."""
        kept = list(range(self.count))
        for name, wanted in chosen.items():
            column = self.named(name, "--where", self.axes)
            values = [self._value(column, each) for each in (wanted if isinstance(wanted, list) else [wanted])]
            kept = [i for i in kept if self.columns[column][i] in values]
        if not kept:
            raise InputError(f"--where: no point has {' and '.join(f'{k}={v}' for k, v in chosen.items())}")
        columns = {name: [values[i] for i in kept] for name, values in self.columns.items()}
        return Points(self.scenario, columns, self.axes, self.sampled, self.failed)

    def _value(self, column: str, wanted: Any) -> Any:
        """Return the value on an axis that ``wanted`` states."""
        levels = list(dict.fromkeys(self.columns[column]))
        dimension = dimension_of(column)
        asked = str(wanted).lower() if isinstance(wanted, bool) else wanted
        if dimension is not None and isinstance(wanted, str):
            try:
                asked = units.parse(wanted, dimension)
            except ValueError as error:
                raise InputError(f"--where {label_of(column)}: {error}") from None
        for level in levels:
            if level == asked or str(level).lower() == str(asked).lower():
                return level
        known = ", ".join(said(column, level) for level in levels[:12]) + (", ..." if len(levels) > 12 else "")
        raise InputError(f"--where {label_of(column)}: no point has {wanted}; there are {known}")

    def first_metric(self) -> str:
        """Return the metric to show unasked: a headline that varies, else whatever varies, else any."""
        metrics = self.metrics
        for name in (*HEADLINES, *metrics):
            values = [value for value in self.columns.get(name, []) if value is not None]
            if name in metrics and max(values) - min(values) > LEAST_EFFECT * abs(max(values)):
                return name
        if not metrics:
            raise InputError("no point has a metric: nothing can be drawn")
        return metrics[0]

    def varying(self) -> list[str]:
        """Return the axes on which more than one value is left, but for the seeds of repeats."""
        return [axis for axis in self.axes if axis != "seed" and len(set(self.columns[axis])) > 1]

    def by_effect(self, metric: str) -> list[str]:
        """Return the axes that vary, that one first which moves the mean of ``metric`` most."""
        return sorted(self.varying(), key=lambda axis: -self._effect(axis, metric))

    def _effect(self, axis: str, metric: str) -> float:
        groups: dict[Any, list[float]] = {}
        for level, value in zip(self.columns[axis], self.columns[metric], strict=True):
            if value is not None:
                groups.setdefault(level, []).append(value)
        means = [sum(values) / len(values) for values in groups.values()]
        return max(means) - min(means) if means else 0.0

    def levels(self, axis: str) -> list[Any]:
        """Return the values on an axis: numbers in order, words in that of the table."""
        found = [value for value in dict.fromkeys(self.columns[axis]) if value is not None]
        return sorted(found) if is_number(found) else found

    def grouped(self, keys: Sequence[str], metric: str) -> dict[tuple[Any, ...], list[float]]:
        """Return what ``metric`` is at the points of each combination of values of ``keys``."""
        found: dict[tuple[Any, ...], list[float]] = {}
        for i, value in enumerate(self.columns[metric]):
            if value is not None:
                found.setdefault(tuple(self.columns[key][i] for key in keys), []).append(value)
        return found

    def remarks(self, shown: Sequence[str], mean: str) -> list[str]:
        """Return what a reader must know of the axes that are not ``shown``: where they stand still, and over which the
        ``mean`` is taken."""
        groups: dict[tuple[Any, ...], set[int]] = {}
        for i in range(self.count):
            groups.setdefault(tuple(self.columns[key][i] for key in shown), set()).add(i)
        others = [axis for axis in self.axes if axis not in shown]
        over = [
            axis for axis in others if any(len({self.columns[axis][i] for i in each}) > 1 for each in groups.values())
        ]
        found = [
            f"{label_of(axis)} = {said(axis, self.columns[axis][0])}"
            for axis in others
            if len(set(self.columns[axis])) == 1
        ]
        if over and mean:
            values = [f"{len(set(self.columns[axis]))} values of {label_of(axis)}" for axis in over]
            found.append(f"{mean} over {', '.join(values)}")
        return found + ([f"{self.failed} points failed"] if self.failed else [])
