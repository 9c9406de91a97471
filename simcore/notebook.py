"""What a notebook has at hand: sweeps and collectives as data frames, figures that show themselves."""

import io
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcore import plot
from simcore.assembly import Overrides, Result
from simcore.errors import InputError
from simcore.sweep import axes
from simcore.units import RATE, SIZE, TIME, Dimension

if TYPE_CHECKING:
    import pandas as pd

UNITS = {"_bytes_per_s": RATE, "_bytes": SIZE, "_ps": TIME}
"""What the names of columns end in, and what such a column measures."""


@dataclass(frozen=True)
class Drawing:
    """A figure: a notebook shows it, ``save`` writes it as PNG, SVG or PDF."""

    draw: Callable[[Path], Path] = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the figure in the format that the name ends in; return its path."""
        return self.draw(Path(path))

    def _repr_png_(self) -> bytes:
        """Return the figure with 256 colours, which take half of the room in a notebook and look the same."""
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            drawn, small = self.draw(Path(folder) / "drawing.png"), io.BytesIO()
            Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        return small.getvalue()


def draw_timeline(result: Result, title: str = "") -> Drawing:
    """Return the figure of who did what when, above the use of each link."""
    return Drawing(lambda path: plot.timeline(result.tables, path, title=title or result.scenario.name))


def draw_timelines(results: Mapping[str, Result], title: str = "") -> Drawing:
    """Return the figure of the waits of several runs, each by its label, on one time axis."""
    tables = {label: result.tables for label, result in results.items()}
    return Drawing(lambda path: plot.timelines(tables, path, title=title))


def draw_traffic(result: Result, title: str = "") -> Drawing:
    """Return the figure of what the links carried, and who sent how much to whom."""
    return Drawing(lambda path: plot.traffic(result.tables, path, title=title or result.scenario.name))


def draw_machine(name: str, overrides: Overrides = (), title: str = "") -> Drawing:
    """Return the figure of the machine of the scenario or hardware sheet called ``name``."""
    from simcore import assembly, scenario

    machine = scenario.read_machine(name, assembly.assignments(overrides))
    return Drawing(lambda path: plot.topology(machine.build_topology().graph(), path, title=title or machine.name))


def draw_lines(
    frame: "pd.DataFrame", x: str, y: str | Sequence[str], by: str | Sequence[str] = (), *, title: str = "",
    log: Any = "", from_zero: bool = True, x_label: str = "", y_label: str = "",
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
                _label(key), *((part[name] / scale).tolist() for name, (_, scale) in ((x, x_unit), (column, unit)))
            )
            for key, part in groups
        ]
        panels.append(
            plot.CurvePanel(
                curves=lines, x_label=x_label or _titled(x, x_unit), y_label=y_label or _titled(column, unit), log=log,
                from_zero=from_zero,
            )
        )  # fmt: skip
    return Drawing(lambda path: plot.curves(panels, path, title=title))


def _label(key: Any) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _unit(frame: "pd.DataFrame", column: str) -> tuple[str, float]:
    """Return the unit in which a column reads best, and its length in base units; of bare numbers none, and 1."""
    for ending, dimension in UNITS.items():
        if column.endswith(ending):
            return _largest(dimension, float(frame[column].abs().max()))
    return "", 1.0


def _largest(dimension: Dimension, most: float) -> tuple[str, float]:
    unit = next((unit for unit in dimension.display if most >= dimension.units[unit]), dimension.display[-1])
    return unit, float(dimension.units[unit])


def _titled(column: str, unit: tuple[str, float]) -> str:
    ending = next((ending for ending in UNITS if column.endswith(ending)), "")
    plain = column.removesuffix(ending).replace("_", " ")
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
