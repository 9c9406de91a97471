"""Studies of a scenario: which of its numbers matter, and which values of them are best."""

from collections.abc import Sequence
from typing import Any

from simcore.errors import InputError
from simcore.executors import Swept
from simcore.sweep import Continuum, Entry, Sweep, axes, table

Row = dict[str, Any]
"""What is known of a point by the name of a column: its axes, also by their names without the unit, and its metrics."""


def rows(swept: Swept) -> list[Row]:
    """Return what is known of every point of ``swept``, in order: nothing but its axes where it failed."""
    made = []
    for point, record in zip(swept.sweep.points, swept.records, strict=True):
        row: Row = {}
        for name, value in point.values.items():
            column, (held,) = axes.column(name, [value])
            row |= {name: held, column: held}
        made.append(row | dict(table.flat(record.get("metrics", {}))))
    return made


def check_axes(sweep: Sweep) -> None:
    """Raise ``InputError`` where ``sweep`` has no axes to study, or draws samples of its own."""
    if not sweep.axes:
        raise InputError(
            f"{sweep.name}: nothing to vary; give axes, e.g. --set 'machine.link.bandwidth=50 GB/s..400 GB/s'"
        )
    if sweep.samples is not None:
        raise InputError(f"{sweep.name}: samples are for sweeps; a study chooses its own points")


def numbers(name: str, entries: Sequence[Entry]) -> list[float] | None:
    """Return ``entries`` of the axis ``name`` as numbers in base units; None where they are words."""
    _, values = axes.column(name, [entry.value for entry in entries])
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return None
    return [float(value) for value in values]


def levels(sweep: Sweep, name: str, most: int) -> list[Entry]:
    """Return the entries of an axis: all of a list, ``most`` evenly spaced ones of a range."""
    axis = sweep.axes[name]
    if isinstance(axis, Continuum):
        return [axis.entry(i / (most - 1)) for i in range(most)]
    return axis


def with_unit(sweep: Sweep, name: str) -> str:
    """Return the column of the axis ``name``, whose name ends in its unit; what is no axis as it is."""
    if name not in sweep.axes:
        return name
    return axes.column(name, [sweep.entry(name, 0.0).value])[0]
