"""Two sweeps as one that has an axis more: of which of them a point is; and what the second changed where both have the
same point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simcore.errors import InputError
from simcore.page import differences, provenance, sweeps
from simcore.page.markup import Chapter, element, joined
from simcore.sweep import table as tables

if TYPE_CHECKING:
    import pyarrow as pa

AXIS = "sweep"
"""Name of the axis on which the two sweeps differ."""
NAMES = ("A", "B")

Loaded = tuple[Mapping[str, Any], "pa.Table"]
"""The manifest and the table of a sweep folder."""


@dataclass(frozen=True)
class Moved:
    """A metric that differs at ``count`` of the ``shared`` points: the mean of the second sweep over that of the first
    (None where that is zero), and the lowest and the highest ratio at one point."""

    key: str
    count: int
    shared: int
    ratio: float | None
    low: float | None
    high: float | None


def inputs(first: Loaded, second: Loaded) -> list[differences.Difference]:
    """Return what differs in the scenario, in what is set for all points, and in the axes."""
    a, b = (_stated(about) for about, _ in (first, second))
    absent = differences.ABSENT
    return [
        differences.Difference(key, a.get(key, absent), b.get(key, absent))
        for key in {**a, **b}
        if a.get(key) != b.get(key)
    ]


def _stated(about: Mapping[str, Any]) -> dict[str, str]:
    sweep = about["sweep"]
    axes = {f"axis {name}": sweeps.axis_text(axis) for name, axis in sweep["axes"].items()}
    fixed = {f"set {key}": str(value) for key, value in sweep["set"].items()}
    return {**provenance.flat(about["scenario"]), **fixed, **axes, "repeats": str(sweep["repeats"])}


def outputs(first: Loaded, second: Loaded) -> list[Moved]:
    """Return the metrics that differ where both sweeps have a point of the same values on all axes."""
    axes, pairs = _pairs(first, second)
    a, b = first[1], second[1]
    found = []
    for name in [name for name in a.column_names if name in b.column_names]:
        old, new = a[name].to_pylist(), b[name].to_pylist()
        numbers = [(old[i], new[k]) for i, k in pairs if _is_number(old[i]) and _is_number(new[k])]
        count = sum(x != y for x, y in numbers)
        if name in {*axes, *sweeps.OTHERS} or not count:
            continue
        total = sum(x for x, _ in numbers)
        ratios = [y / x for x, y in numbers if x]
        ratio = sum(y for _, y in numbers) / total if total else None
        found.append(Moved(name, count, len(pairs), ratio, min(ratios, default=None), max(ratios, default=None)))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pairs(first: Loaded, second: Loaded) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the axes of either sweep, and the rows of the points that have the same values on all of them."""
    axes = _axes(first, second)
    if any(axis not in found.column_names for axis in axes for _, found in (first, second)):
        return axes, []
    rows = [list(zip(*(found[axis].to_pylist() for axis in axes), strict=True)) for _, found in (first, second)]
    place = {values: k for k, values in enumerate(rows[1])}
    return axes, [(i, place[values]) for i, values in enumerate(rows[0]) if values in place]


def _axes(first: Loaded, second: Loaded) -> list[str]:
    return list(dict.fromkeys(str(axis) for about, _ in (first, second) for axis in about["manifest"]["axes"]))


def together(first: Loaded, second: Loaded) -> Loaded:
    """Return both sweeps as one, with the axis ``AXIS``. Raises ``InputError`` where a sweep has an axis of that name,
    as this one has."""
    axes, (a, b) = _axes(first, second), (found for _, found in (first, second))
    if AXIS in {*a.column_names, *b.column_names}:
        raise InputError(
            f"an axis of a sweep is called {AXIS} already, as the comparison would call its own; rename it"
        )
    names = dict.fromkeys([*axes, *a.column_names, *b.column_names])
    columns = {name: [*_values(a, name), *_values(b, name)] for name in names}
    columns[AXIS] = [*[NAMES[0]] * len(a), *[NAMES[1]] * len(b)]
    manifests = [about["manifest"] for about, _ in (first, second)]
    about = {
        "axes": [*axes, AXIS],
        "failed": sum(each["failed"] for each in manifests),
        "warnings": [f"{name}: {each}" for name, one in zip(NAMES, manifests, strict=True) for each in one["warnings"]],
        "failures": [each for one in manifests for each in one["failures"]],
    }
    return {"manifest": about}, tables.arrow(columns)


def _values(found: "pa.Table", name: str) -> list[Any]:
    return found[name].to_pylist() if name in found.column_names else [None] * len(found)


def changes(first: Loaded, second: Loaded, names: Sequence[str]) -> list[Chapter]:
    """Return the chapters on the inputs that differ, and on what the second sweep changed."""
    stated = [[each.key, each.first, each.second] for each in inputs(first, second)]
    rows = [
        [each.key, (f"{each.count:,} of {each.shared:,}", each.count), *map(_told, (each.ratio, each.low, each.high))]
        for each in outputs(first, second)
    ]
    shared = len(_pairs(first, second)[1])
    hint = element("p", {"class": "hint"}, f"{shared:,} points have the same values on all axes in both sweeps.")
    headings = ["metric", "differs at", "B over A, means", "lowest", "highest"]
    return [
        Chapter("inputs", "Inputs that differ", differences.listed(["parameter", *names], stated, "inputs")),
        Chapter("outputs", "What B changed", joined(hint, differences.listed(headings, rows, "metrics"))),
    ]


def _told(ratio: float | None) -> Any:
    return differences.ABSENT if ratio is None else (differences.change_text(ratio), ratio)
