"""What a notebook has at hand: sweeps and collectives as data frames, figures that show themselves."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcore import plot
from simcore.assembly import Overrides, Result
from simcore.columns import dimension_of, label_of
from simcore.errors import InputError
from simcore.plot import Drawing
from simcore.sweep import axes
from simcore.units import SIZE, fitting, short

if TYPE_CHECKING:
    import pandas as pd


def draw_timeline(result: Result, title: str = "", width: str = "screen") -> Drawing:
    """Return the figure of who did what when, above the use of each link."""
    return plot.timeline(result, title=title or None, width=width)


def draw_timelines(results: Mapping[str, Result], title: str = "", width: str = "screen") -> Drawing:
    """Return the figure of the waits of several runs, each by its label, on one time axis."""
    return plot.timelines({label: result.tables for label, result in results.items()}, title=title, width=width)


def draw_traffic(result: Result, title: str = "", width: str = "screen") -> Drawing:
    """Return the figure of what the links carried, and who sent how much to whom."""
    return plot.traffic(result, title=title or None, width=width)


def draw_machine(name: str, overrides: Overrides = (), title: str = "", width: str = "screen") -> Drawing:
    """Return the figure of the machine of the scenario or hardware sheet called ``name``."""
    from simcore import assembly, scenario

    machine = scenario.read_machine(name, assembly.assignments(overrides))
    return plot.topology(machine.build_topology().graph(), title=title or machine.name, width=width)


def draw_sweep(
    folder: str | Path, kind: plot.Kind = "line", *, x: str | None = None, y: str | None = None, by: str | None = None,
    where: Mapping[str, Any] | None = None, title: str | None = None, width: str = "screen",
) -> Drawing:  # fmt: skip
    """Return the figure of the sweep in ``folder``: ``y`` over the axis ``x``, a line for each value of ``by``; or a
    `heatmap` over both; or the `front` of the smallest ``x`` and ``y``. ``where`` keeps points by their values on axes;
    what is not given is chosen. Raises ``InputError``."""
    from simcore.executors import folder as folders

    found = folders.load(Path(folder))
    return plot.sweep(found, kind=kind, x=x, y=y, by=by, where=where, title=title, width=width)


def draw_lines(
    frame: "pd.DataFrame", x: str, y: str | Sequence[str], by: str | Sequence[str] = (), *, title: str = "",
    subtitle: str = "", log: Any = "", from_zero: bool = True, x_label: str = "", y_label: str = "",
    width: str = "screen",
) -> Drawing:  # fmt: skip
    """Return the figure of one column over another, a line for each value of ``by``; several ``y`` stand below each
    other. Axes of columns whose names end in ps, bytes or bytes_per_s have the unit in which they read best."""
    names = [by] if isinstance(by, str) else list(by)
    below, x_unit = [y] if isinstance(y, str) else list(y), _unit(frame, x)
    panels = []
    for column in below:
        unit = _unit(frame, column)
        groups = list(frame.groupby(names, sort=False)) if names else [((), frame)]
        lines = [
            plot.Curve(
                _label(names, key),
                *((part[name] / scale).tolist() for name, (_, scale) in ((x, x_unit), (column, unit))),
            )
            for key, part in groups
        ]
        panels.append(
            plot.CurvePanel(
                curves=lines, x_label=_titled(x, x_unit, x_label), y_label=_titled(column, unit, y_label), log=log,
                from_zero=from_zero,
            )
        )  # fmt: skip
    return plot.curves(panels, title=title, subtitle=subtitle, width=width)


def _label(columns: Sequence[str], key: Any) -> str:
    """Return the values that a line has in ``columns``, quantities with their units."""
    said = []
    for column, value in zip(columns, key if isinstance(key, tuple) else (key,), strict=True):
        dimension = dimension_of(column)
        said.append(str(value) if dimension is None else short(value, dimension))
    return ", ".join(said)


def _unit(frame: "pd.DataFrame", column: str) -> tuple[str, float]:
    """Return the unit in which a column reads best, and its length in base units; of bare numbers none, and 1."""
    dimension = dimension_of(column)
    return ("", 1.0) if dimension is None else fitting(dimension, float(frame[column].abs().max()))


def _titled(column: str, unit: tuple[str, float], label: str) -> str:
    """Return what an axis is called: its ``label``, else the name of its column; with the unit."""
    plain = label or label_of(column).replace("_", " ")
    return f"{plain} ({unit[0]})" if unit[0] else plain


def run_sweep(
    name: str | Path, values: Mapping[str, Any], *, together: Mapping[str, Iterable[Any]] | None = None,
    repeats: int = 1, metrics: Sequence[str] = (), workers: int = 1, store: str | Path | None = None,
) -> "pd.DataFrame":  # fmt: skip
    """Run a scenario, or a sweep file, with every combination of ``values``; return a row a point.

    ``values`` are by dotted key: several make an axis, and so does the text of a range (``50 GB/s..400 GB/s log 8``);
    one holds for all points. Those ``together`` change at once, on one axis. Points computed before are read from the
    ``store``. A warning says what a run doubts, which axis changed nothing, and which points failed and why. Raises
    ``InputError``.
    """
    from dataclasses import replace

    from simcore import executors
    from simcore.executors.store import Store
    from simcore.sweep import reading, table

    zipped = [_assignment(key, list(entries)) for key, entries in (together or {}).items()]
    asked = reading.read(str(name), [_assignment(key, value) for key, value in values.items()], zipped)
    asked = replace(asked, repeats=repeats, metrics=(*asked.metrics, *metrics))
    executor = executors.Executor("processes" if workers > 1 else "serial", workers)
    swept = executors.run(asked, Store(Path(store or executors.STORE)), executor)
    for sentence in (
        *table.doubts(asked, swept.records), *swept.warnings,
        *(f"a point failed: {why}; {asked.command(point)}" for point, why in swept.failures),
    ):  # fmt: skip
        warnings.warn(sentence, stacklevel=2)
    found: pd.DataFrame = table.arrow(table.columns(asked, swept.records)).to_pandas()
    return found


def _assignment(key: str, value: Any) -> str:
    several = value if isinstance(value, list | tuple | range) else [value]
    is_range = isinstance(value, str) and axes.read_range(value) is not None
    return f"{key}={value if is_range else ','.join(map(axes.written, several))}"


def time_collective(
    operation: str, machine: str, sizes: Sequence[str], algorithm: str = "", *, overrides: Overrides = (), **how: Any
) -> "pd.DataFrame":
    """Return a row a size: how long a collective takes on a machine (a hardware sheet, or that of a scenario) which
    carries nothing else, and its bandwidths as nccl-tests counts them.

    ``how`` are ranks, nodes, inner, outer, chunks, channels, window and root. Raises ``InputError``.
    """
    import dataclasses

    import pandas as pd

    from simcore import assembly, scenario, timing, units

    asked = scenario.read_machine(machine, assembly.assignments(overrides))
    try:
        counted = [units.parse(size, SIZE, positive=True) for size in sizes]
    except ValueError as error:
        raise InputError(f"sizes: {error}") from None
    return pd.DataFrame(map(dataclasses.asdict, timing.times(asked, operation, counted, algorithm, **how)))


def reproduce(paper: str, experiments: Sequence[str]) -> "tuple[pd.DataFrame, dict[str, pd.DataFrame]]":
    """Run some ``experiments`` of a paper; return the claims that bear on them, a row each with the paper's number,
    ours and the verdict, and by experiment what was measured, a row a point. Raises ``InputError``."""
    import pandas as pd

    from simcore import source
    from simcore.claims import cells, reading, reproduction, verdicts

    about = reading.read(paper)
    for name in experiments:
        if name not in about.sheet.experiments:
            raise InputError(source.unknown(f"experiment of {paper}", name, list(about.sheet.experiments)))
    found = reproduction.run(about, experiments, lambda name: None)
    judged = [each for each in verdicts.judge(about, found) if each.claim.experiment]
    claims = pd.DataFrame([cells.row(each) for each in judged], columns=cells.COLUMNS).set_index("id")
    return claims, {name: pd.DataFrame(points.rows) for name, points in found.items()}
