"""An experiment of a paper, run: one point after the other in one process, a row of numbers each."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcore import assembly, registry, scenario, source, sweep
from simcore.claims.sheet import Experiment, Paper
from simcore.errors import InputError, SimcoreError, quoted
from simcore.sweep import Point
from simcore.units import DIMENSIONS

if TYPE_CHECKING:
    import pyarrow as pa

    from simcore.assembly import Result

MEASURES = "measures"
"""The module of a paper whose functions take a result and return a number."""


@dataclass(frozen=True)
class Found:
    """What an experiment gave: a row of numbers a point, the kept tables with the point's columns before theirs, and
    what the runs said of themselves."""

    rows: list[dict[str, Any]]
    tables: dict[str, "pa.Table"]
    digests: list[str]
    seeds: list[int]
    warnings: list[str]
    cpu_s: float


def run(paper: Paper, name: str) -> Found:
    """Return what the experiment ``name`` of ``paper`` gives; raises ``InputError`` and ``SimulationError`` that name
    it and the point."""
    about = paper.sheet.experiments[name]
    document = paper.document.at("experiments", name)
    columns = {column: _Column(paper, document, column, path) for column, path in about.collect.items()}
    rows: list[dict[str, Any]] = []
    kept: dict[str, list[pa.Table]] = {table: [] for table in about.keep}
    digests, seeds = [], []
    warnings: dict[str, None] = {}
    begin = time.process_time()
    timed = any(column.is_timed for column in columns.values())
    for number, (point, asked) in enumerate(scenarios(paper, name)):
        try:
            if timed and not number:
                # Loads what is compiled, which belongs to no point.
                assembly.run(asked)
            result, cpu_s = _timed(asked, about.repeats)
            rows.append(point.values | {key: column.of(result, cpu_s) for key, column in columns.items()})
        except SimcoreError as error:
            raise type(error)(f"{error}{_where(name, point)}") from None
        for table, parts in kept.items():
            parts.append(_labelled(result.tables[table], point.values))
        digests.append(result.digest)
        seeds.append(asked.seed)
        warnings |= dict.fromkeys(result.warnings)
    return Found(rows, _joined(kept), digests, seeds, list(warnings), time.process_time() - begin)


def scenarios(paper: Paper, name: str) -> Iterator[tuple[Point, scenario.Scenario]]:
    """Yield the points of the experiment ``name`` and the scenario of each; raises ``InputError`` that names both."""
    about, document = paper.sheet.experiments[name], paper.document.at("experiments", name)
    base, known = source.read(_scenario(paper, about, document)), scenario.Known()
    for point in _points(about, document):
        try:
            yield point, sweep.asked(base, point, name, known)
        except InputError as error:
            raise InputError(f"{error}{_where(name, point)}") from None


def _where(name: str, point: Point) -> str:
    return f" (experiment {name}, {point})"


def _scenario(paper: Paper, about: Experiment, document: source.Document) -> Path:
    for path in (paper.folder / about.scenario, paper.folder / f"{about.scenario or 'scenario'}.yaml"):
        if source.is_file(path):
            return path
    try:
        return scenario.find(about.scenario or paper.name)
    except InputError as error:
        raise document.error(("scenario",), str(error)) from None


def _points(about: Experiment, document: source.Document) -> Iterator[Point]:
    fixed = {key: document.at("set", key) for key in about.set}
    varied = {name: sweep.entries(axis, document.at("axes", name)) for name, axis in about.axes.items()}
    return sweep.product(fixed, varied)


def _timed(asked: scenario.Scenario, repeats: int) -> tuple["Result", float]:
    """Return the result, and the CPU seconds of the shortest of ``repeats`` runs."""
    shortest = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        result = assembly.run(asked)
        shortest = min(shortest, time.process_time() - begin)
    if result.interrupted_at is not None:
        raise KeyboardInterrupt
    return result, shortest


class _Column:
    """How one column is read from a result: a path, or a quotient or sum of two, each perhaps in a unit."""

    def __init__(self, paper: Paper, document: source.Document, name: str, text: str) -> None:
        self._document, self._keys = document, ("collect", name)
        self._parts = re.split(r" ([/+]) ", text)
        if len(self._parts) > 3:
            raise document.error(self._keys, f"{quoted(text)} is no path, 'a / b' or 'a + b'")
        self._readers = [self._reader(paper, part) for part in self._parts[::2]]
        self.is_timed = any(part.split(" in ")[0].strip() == "cpu_s" for part in self._parts[::2])

    def of(self, result: "Result", cpu_s: float) -> Any:
        """Return the column's value of a run."""
        values = [read(result, cpu_s) for read in self._readers]
        if len(values) == 1:
            return values[0]
        if self._parts[1] == "+":
            return values[0] + values[1]
        if not values[1]:
            raise self._document.error(self._keys, f"{self._parts[2]} is zero")
        return values[0] / values[1]

    def _reader(self, paper: Paper, text: str) -> Callable[["Result", float], Any]:
        path, _, unit = (part.strip() for part in text.partition(" in "))
        scale = 1
        if unit:
            scale = next((d.units[unit] for d in DIMENSIONS if unit in d.units), 0)
            if not scale:
                raise self._document.error(self._keys, f"unknown unit {quoted(unit)}")
        if path.startswith(f"{MEASURES}."):
            function = self._function(paper, path.partition(".")[2])
            return lambda result, cpu_s: _scaled(function(result), scale)
        return lambda result, cpu_s: _scaled(self._looked_up(result, cpu_s, path), scale)

    def _function(self, paper: Paper, name: str) -> Callable[["Result"], Any]:
        try:
            return registry.part(paper.name, MEASURES, name)
        except InputError as error:
            raise self._document.error(self._keys, str(error)) from None

    def _looked_up(self, result: "Result", cpu_s: float, path: str) -> Any:
        value: Any = {**result.metrics, "digest": result.digest, "cpu_s": cpu_s}
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                here = list(value) if isinstance(value, dict) else []
                raise self._document.error(self._keys, source.unknown("metric", path, here))
            value = value[key]
        if isinstance(value, dict | list):
            raise self._document.error(self._keys, f"{quoted(path)} is no single number")
        return value


def _scaled(value: Any, scale: Any) -> Any:
    return value if scale == 1 else float(value / scale)


def _labelled(table: "pa.Table", values: dict[str, Any]) -> "pa.Table":
    """Return ``table`` with the point's columns before its own."""
    import pyarrow as pa

    for name, value in reversed(values.items()):
        table = table.add_column(0, name, pa.array([value] * len(table)))
    return table


def _joined(kept: dict[str, list["pa.Table"]]) -> dict[str, "pa.Table"]:
    import pyarrow as pa

    return {name: pa.concat_tables(parts).unify_dictionaries() for name, parts in kept.items()}


def needed(names: Sequence[str]) -> list[str]:
    """Return the experiments, each once, in order of first mention."""
    return list(dict.fromkeys(name for name in names if name))
