"""Sweeps: axes over anything in a scenario, the points that they make in a fixed order, and the scenario of each."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from simcore import randomness, scenario, source
from simcore.errors import FieldError, InputError
from simcore.sweep import axes
from simcore.sweep.axes import Axis, Range, written

RESERVED = ("point", "digest", "failed", "sweep")
"""What no axis is called: columns that every table of a sweep has, or that of a comparison."""
Changes = dict[str, source.Document]
"""By dotted key, what takes its place in a scenario."""


@dataclass(frozen=True)
class Entry:
    """One value of an axis, and what it changes."""

    value: Any
    changes: Changes = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its value on every axis, and by dotted key what all of that changes in the scenario."""

    values: dict[str, Any]
    changes: Changes = field(default_factory=dict)

    def __str__(self) -> str:
        return ", ".join(f"{name} = {value}" for name, value in self.values.items()) or "its only point"


@dataclass(frozen=True)
class Samples:
    """``count`` points instead of the product of all axes, drawn with a seed of their own: each axis evenly at
    `random`, or `latin_hypercube`: one point in each of ``count`` equal parts of every axis."""

    count: int
    method: Literal["latin_hypercube", "random"] = "latin_hypercube"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.count <= axes.MOST:
            raise FieldError(f"is 1 to {axes.MOST}", "count")
        if self.seed < 0:
            raise FieldError("must be zero or more", "seed")

    def shares(self, name: str) -> list[float]:
        """Return ``count`` numbers from 0 to below 1 for the axis ``name``."""
        rng = randomness.stream(self.seed, f"samples of {name}")
        inside = rng.random(self.count)
        if self.method == "random":
            return list(map(float, inside))
        return list(map(float, (rng.permutation(self.count) + inside) / self.count))


@dataclass(frozen=True)
class Continuum:
    """An axis without values of its own: anything in a range, for one ``key``; for samples and searches."""

    key: str
    range: Range
    place: source.Place

    def entry(self, share: float) -> Entry:
        """Return the value at a ``share`` between 0 and 1 of the way."""
        value = self.range.value(share)
        return Entry(value, {self.key: source.Document(value, self.place.file, {(): self.place})})


Varied = dict[str, list[Entry] | Continuum]
"""Axes by name, in order."""


@dataclass(frozen=True)
class Sweep:
    """A scenario and what varies in it: ``fixed`` changes of all points, the ``axes``, the last turning fastest, or
    samples of them; each point ``repeats`` times with seeds of its own. ``metrics`` are further columns wanted."""

    name: str
    file: Path
    base: source.Document
    fixed: Changes = field(default_factory=dict)
    axes: Varied = field(default_factory=dict)
    samples: Samples | None = None
    repeats: int = 1
    metrics: tuple[str, ...] = ()

    @cached_property
    def seed(self) -> int:
        """The seed of the first of the repeats."""
        stated = self.fixed["seed"].value if "seed" in self.fixed else self.base.value.get("seed", 0)
        return stated if isinstance(stated, int) else 0

    @cached_property
    def varied(self) -> dict[str, list[Entry]]:
        """The entries of every axis: of samples one a point, and the seeds of the repeats last."""
        found: dict[str, list[Entry]] = {}
        for name, axis in self.axes.items():
            if self.samples is not None:
                shares = self.samples.shares(name)
                found[name] = [
                    axis.entry(share) if isinstance(axis, Continuum) else axis[int(share * len(axis))]
                    for share in shares
                ]
            elif isinstance(axis, Continuum):
                raise InputError(
                    f"{axis.place}: {name}: the range does not say how many values; write {axes.SHAPE}, or ask for "
                    "samples"
                )
            else:
                found[name] = axis
        return found

    def check(self) -> None:
        """Raise ``InputError`` where two axes set the same key, or one a part of what the other sets, for then the
        table would state values that did not run; and where an axis is called like a column that every table has."""
        setters: dict[source.Keys, str] = {}
        for name, axis in self.axes.items():
            if name in RESERVED:
                raise InputError(
                    f"{self.name}: an axis cannot be called {name!r}, as a column of the table is; rename it"
                )
            keys = {axis.key} if isinstance(axis, Continuum) else {key for each in axis for key in each.changes}
            for key in sorted(keys):
                parts = source.split(key)
                for other, by in setters.items():
                    if by != name and (parts[: len(other)] == other or other[: len(parts)] == parts):
                        both = key if len(parts) > len(other) else ".".join(map(str, other))
                        raise InputError(
                            f"{self.name}: the axes {by} and {name} both set {both}; let one do it, or zip them"
                        )
                setters[parts] = name

    @property
    def seeds(self) -> list[Entry]:
        """The seeds of the repeats."""
        place = "--repeats"
        return [
            Entry(seed, {"seed": source.Document(seed, place, {(): source.Place(place)})})
            for seed in range(self.seed, self.seed + self.repeats)
        ]

    @cached_property
    def points(self) -> list[Point]:
        """All points, in the order of the table; raises ``InputError``."""
        varied = self.varied
        self.check()
        if self.repeats > 1 and "seed" in {
            key for about in varied.values() for entry in about for key in entry.changes
        }:
            raise InputError("repeats take seeds of their own; leave out the axis over seeds, or the repeats")
        length = self.samples.count if self.samples else math.prod(len(entries) for entries in varied.values())
        if length * self.repeats > axes.MOST:
            raise InputError(f"{self.name}: {length * self.repeats} points; at most {axes.MOST} make a sweep")
        again = {"seed": self.seeds} if self.repeats > 1 else {}
        if self.samples is None:
            return list(product(self.fixed, varied | again))
        rows = [{name: [entries[i]] for name, entries in varied.items()} for i in range(length)]
        return [point for row in rows for point in product(self.fixed, row | again)]

    def entry(self, name: str, share: float) -> Entry:
        """Return the entry of the axis ``name`` at a ``share`` from 0 to 1 of the way along it."""
        axis = self.axes[name]
        return axis.entry(share) if isinstance(axis, Continuum) else axis[min(int(share * len(axis)), len(axis) - 1)]

    def at(self, picked: Mapping[str, Entry]) -> Point:
        """Return the point that has an entry on each axis."""
        return _point(self.fixed, picked)

    def asked(self, point: Point, known: scenario.Known) -> scenario.Scenario:
        """Return the scenario of ``point``; raises ``InputError``."""
        return asked(self.base, point, self.name, known)

    def command(self, point: Point) -> str:
        """Return the command that runs ``point`` alone."""
        import shlex

        settings = [f"{key}={written(part.value)}" for key, part in point.changes.items()]
        return shlex.join(["simcore", "run", str(self.file), *(part for text in settings for part in ("--set", text))])


@dataclass(frozen=True)
class Picked(Sweep):
    """A sweep of exactly the points that ``picks`` states, each by its entry on some of the axes; on the others it is
    as the scenario says."""

    picks: tuple[Mapping[str, Entry], ...] = ()

    @classmethod
    def of(cls, sweep: Sweep, picks: Iterable[Mapping[str, Entry]]) -> "Picked":
        """Return the points ``picks`` of ``sweep``; raises ``InputError`` where it asks for repeats, which have no
        place here."""
        if sweep.repeats > 1:
            raise InputError(f"{sweep.name}: repeats are for sweeps; leave them out here, or sweep over seed")
        sweep.check()
        return cls(
            sweep.name, sweep.file, sweep.base, sweep.fixed, sweep.axes, metrics=sweep.metrics, picks=tuple(picks)
        )

    @cached_property
    def varied(self) -> dict[str, list[Entry]]:
        """The entries of every axis, those of the points that have one on it."""
        return {name: [pick[name] for pick in self.picks if name in pick] for name in self.axes}

    @cached_property
    def points(self) -> list[Point]:
        """All points, in the order of the picks."""
        return [self.at(pick) for pick in self.picks]


def entries(axis: Axis, document: source.Document) -> list[Entry]:
    """Return the entries of ``axis``, which stands in ``document``."""
    return [Entry(value, _changes(axis, document, i)) for i, value in enumerate(axis.values)]


def _changes(axis: Axis, document: source.Document, i: int) -> Changes:
    if isinstance(axis.set, dict):
        return {key: document.at("set", key, i) for key in axis.set}
    if not axis.set:
        return {}
    part = document.at("values", i)
    if axis.unit:
        part.value = f"{part.value} {axis.unit}"
    return {axis.set: part}


def product(fixed: Changes, varied: Mapping[str, list[Entry]]) -> Iterator[Point]:
    """Yield every combination of entries, those of the last axis turning fastest."""
    for picks in itertools.product(*varied.values()):
        yield _point(fixed, dict(zip(varied, picks, strict=True)))


def _point(fixed: Changes, picked: Mapping[str, Entry]) -> Point:
    changes = dict(fixed)
    for entry in picked.values():
        changes |= entry.changes
    return Point({name: entry.value for name, entry in picked.items()}, changes)


def asked(base: source.Document, point: Point, name: str, known: scenario.Known | None = None) -> scenario.Scenario:
    """Return the scenario ``base`` with the changes of ``point``, called ``name`` unless it names itself; raises
    ``InputError``."""
    document = base.copy()
    for dotted, part in point.changes.items():
        document.put(source.split(dotted), source.Document(part.copy().value, part.file, part.places, part.key_places))
    return scenario.build(document, name, _stated(point.changes), known)


def _stated(changes: Changes) -> Iterable[source.Keys]:
    for dotted, part in changes.items():
        yield from (source.split(dotted) + inner for inner in scenario.leaves(part.value))
