"""One axis of a sweep: the values it takes, stated one by one or as a range, and what each changes in the scenario."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from simcore import source, units
from simcore.columns import SUFFIX
from simcore.errors import FieldError, quoted

DIGITS = 6
"""Significant digits to which the inner values of a range are rounded; whole numbers stay whole."""
MOST = 1_000_000
"""Values of one range, and points of one sweep."""

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?"
_UNIT = r"(?:\s*((?!linear\b|log\b|step\b)[A-Za-z/]+))?"
_RANGE = re.compile(
    rf"\s*({_NUMBER}){_UNIT}\s*\.\.\s*({_NUMBER}){_UNIT}(?:\s+(linear|log|step))?(?:\s+({_NUMBER}){_UNIT})?\s*"
)
SHAPE = "LOW..HIGH linear N, LOW..HIGH log N or LOW..HIGH step S, e.g. '50 GB/s..400 GB/s log 8'"


@dataclass(frozen=True)
class Axis:
    """What a sweep varies: a column of ``values``, each of which changes the scenario.

    ``set`` is the dotted key that takes the value, with ``unit`` written behind it; or, by key, a list with one entry a
    value; or nothing, where a point is only to be repeated.
    """

    values: list[Any]
    set: str | dict[str, list[Any]] = ""
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.values:
            raise FieldError("has one value or more", "values")
        if len(set(map(repr, self.values))) != len(self.values):
            raise FieldError("holds a value twice", "values")
        for key, entries in self.set.items() if isinstance(self.set, dict) else ():
            if len(entries) != len(self.values):
                raise FieldError(f"has {len(entries)} entries for {len(self.values)} values", "set", key)
        if self.unit and not isinstance(self.set, str):
            raise FieldError("goes with one key; entries by key have their units themselves", "unit")

    @property
    def keys(self) -> list[str]:
        """The dotted keys that it changes."""
        return list(self.set) if isinstance(self.set, dict) else [self.set] * bool(self.set)


@dataclass(frozen=True)
class Range:
    """Everything from ``low`` to ``high``, in base units of ``dimension`` or bare numbers (``whole`` ones only);
    ``spacing`` says how values lie between, ``count`` how many there are where that is stated, both ends included."""

    low: Fraction
    high: Fraction
    dimension: units.Dimension | None
    whole: bool
    spacing: Literal["linear", "log"]
    count: int | None

    def values(self) -> list[Any]:
        """Return the values of a range with a count, as they are written in a scenario."""
        count = self.count or 1
        return [self.value(i / (count - 1) if count > 1 else 0.0) for i in range(count)]

    def value(self, share: float) -> Any:
        """Return the value at a ``share`` between 0 and 1 of the way from low to high."""
        low, high = self.low, self.high
        if share in (0, 1):
            return self._written(high if share else low)
        exact = low + (high - low) * Fraction(share)
        if self.spacing == "log":
            exact = Fraction(float(low) * (float(high) / float(low)) ** share)
        return self._written(min(max(Fraction(f"{float(exact):.{DIGITS - 1}e}"), low), high))

    def _written(self, exact: Fraction) -> Any:
        if self.dimension is not None:
            return units.text(round(exact), self.dimension)
        return round(exact) if self.whole else float(exact)


def read_range(text: object) -> Range | None:
    """Return the range that ``text`` states, or None where it states none; raises ``ValueError`` with a sentence for
    one that cannot be.

    >>> read_range("50 GB/s..400GB/s log 4").values(), read_range("1..9 step 4").values()
    (['50 GB/s', '100 GB/s', '200 GB/s', '400 GB/s'], [1, 5, 9])
    """
    match = _RANGE.fullmatch(text) if isinstance(text, str) and len(text) < 200 else None
    if match is None:
        return None
    first, unit, last, end_unit, spacing, number, step_unit = match.groups()
    shown = quoted(text)
    unit, end_unit = unit or end_unit or "", end_unit or ""
    dimension = units.dimension(f"1 {end_unit}") if end_unit else None
    if bool(unit) != bool(end_unit) or (end_unit and dimension is None):
        raise ValueError(f"{shown}: both ends of a range have the same kind of unit, or neither has one")
    low, high = _exact(first, unit, dimension), _exact(last, end_unit, dimension)
    if low >= high:
        raise ValueError(f"{shown}: a range runs from the lower to the higher value")
    if spacing == "log" and low <= 0:
        raise ValueError(f"{shown}: a logarithmic range begins above zero")
    whole = dimension is not None or all(re.fullmatch(r"[+-]?\d+", part) for part in (first, last))
    if spacing == "step":
        step = _exact(number or "0", step_unit or "", dimension)
        if step <= 0 or (high - low) % step:
            raise ValueError(f"{shown}: a whole number of steps, each above zero, leads from one end to the other")
        whole = whole and step.denominator == 1
        return _counted(shown, Range(low, high, dimension, whole, "linear", int((high - low) / step) + 1))
    if step_unit or (number and not re.fullmatch(r"\d+", number)):
        raise ValueError(f"{shown}: write a range as {SHAPE}")
    found = Range(low, high, dimension, whole, "log" if spacing == "log" else "linear", int(number) if number else None)
    return found if found.count is None else _counted(shown, found)


def _counted(shown: str, found: Range) -> Range:
    if not 2 <= (found.count or 0) <= MOST:
        raise ValueError(f"{shown}: a range has 2 to {MOST} values")
    if len(set(found.values())) != found.count:
        raise ValueError(f"{shown}: too many values for so short a range; some are equal once they are whole")
    return found


def _exact(number: str, unit: str, dimension: units.Dimension | None) -> Fraction:
    if dimension is None:
        if unit:
            raise ValueError(f"{number} {unit}: the ends of the range have no unit")
        return Fraction(number)
    return Fraction(units.parse(f"{number} {unit}", dimension))


def expanded(document: source.Document, keys: source.Keys) -> None:
    """Replace a range with a count at ``keys`` by the list of its values, all at its place; raises ``InputError``."""
    part = document.at(*keys)
    try:
        found = read_range(part.value)
    except ValueError as error:
        raise document.error(keys, str(error)) from None
    if found is None or found.count is None:
        if isinstance(part.value, list):
            return
        if found is not None:
            raise document.error(keys, f"{quoted(part.value)} does not say how many values; write {SHAPE}")
        raise document.error(keys, f"expected a list of values or a range: {SHAPE}")
    values = found.values()
    place = part.place(())
    document.put(keys, source.Document(values, part.file, {(): place} | {(i,): place for i in range(len(values))}))


def column(name: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return how a table shows an axis called ``name``: quantities of one dimension as integers in base units, which
    the column's name then ends in; lists and mappings as text; all else as it is.

    >>> column("latency", ["1 us", "300 ns"])
    ('latency_ps', [1000000, 300000])
    """
    dimensions = {units.dimension(value) for value in values}
    if len(dimensions) == 1 and None not in dimensions:
        (dimension,) = dimensions
        assert dimension is not None
        try:
            return f"{name}_{SUFFIX[dimension.name]}", [units.parse(value, dimension) for value in values]
        except ValueError:
            # The scenario refuses it with its place.
            pass
    return name, [written(value) if isinstance(value, list | dict) else value for value in values]


def written(value: Any) -> str:
    """Return ``value`` as it is written behind ``key=`` of ``--set``."""
    import json

    if isinstance(value, str):
        read = source.fragment(value, "").value if _is_plain(value) else None
        return value if read == value else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./ +-]*", text) is not None


def split(text: str) -> Iterator[str]:
    """Yield the parts of ``text`` between its commas, but for those in quotes and brackets.

    >>> list(split("a,[b, c],'d,e'"))
    ['a', '[b, c]', "'d,e'"]
    """
    depth, quote, begin = 0, "", 0
    for i, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and depth == 0:
            yield text[begin:i].strip()
            begin = i + 1
    yield text[begin:].strip()
