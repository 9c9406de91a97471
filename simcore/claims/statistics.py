"""From the rows of an experiment to the few numbers that a claim is judged by: a small set of named statistics."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from simcore.source import Tagged

Row = Mapping[str, Any]
Rows = Sequence[Row]
Where = dict[str, Any]


class StatisticError(ValueError):
    """The rows do not give the statistic; the text says why."""


@dataclass(frozen=True)
class Value:
    """``y`` of every row."""

    kind: Literal["value"]
    y: str

    def of_rows(self, rows: Rows) -> list[float]:
        """Return a number a row."""
        return [number(row, self.y) for row in rows]


@dataclass(frozen=True)
class Ratio:
    """``y`` of the one row that is chosen by ``of``, divided by that of the one chosen by ``to``."""

    kind: Literal["ratio"]
    y: str
    of: Where
    to: Where

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one quotient."""
        return [_quotient(_single(rows, self.of, self.y), _single(rows, self.to, self.y))]


@dataclass(frozen=True)
class Reduction:
    """The share by which ``y`` of the row chosen by ``of`` is smaller than that of the one chosen by ``to``."""

    kind: Literal["reduction"]
    y: str
    of: Where
    to: Where

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one share, below 0 where it is larger."""
        return [1 - _quotient(_single(rows, self.of, self.y), _single(rows, self.to, self.y))]


@dataclass(frozen=True)
class Spread:
    """The largest ``y`` divided by the smallest."""

    kind: Literal["spread"]
    y: str

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one quotient, 1 where all are equal."""
        values = [number(row, self.y) for row in rows]
        return [1.0 if min(values) == max(values) else _quotient(max(values), min(values))]


@dataclass(frozen=True)
class Distinct:
    """How many different ``y`` there are; 1 says that all are identical."""

    kind: Literal["distinct"]
    y: str

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one count."""
        return [float(len({str(row[self.y]) for row in rows}))]


@dataclass(frozen=True)
class Turns:
    """How many steps of ``y``, in the order of ``x``, go against the ``direction``; 0 says that it is monotone."""

    kind: Literal["turns"]
    x: str
    y: str
    direction: Literal["rising", "falling", "not_falling", "not_rising"]

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one count."""
        ordered = [number(row, self.y) for row in sorted(rows, key=lambda row: number(row, self.x))]
        steps = [after - before for before, after in itertools.pairwise(ordered)]
        against = {
            "rising": lambda step: step <= 0,
            "falling": lambda step: step >= 0,
            "not_falling": lambda step: step < 0,
            "not_rising": lambda step: step > 0,
        }[self.direction]
        return [float(sum(map(against, steps)))]


@dataclass(frozen=True)
class Slope:
    """The slope of the line of least squares of ``y`` over ``x``."""

    kind: Literal["slope"]
    x: str
    y: str

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one slope, units of ``y`` per unit of ``x``."""
        return [line(*_columns(rows, self.x, self.y)).slope]


@dataclass(frozen=True)
class R2:
    """The share of the variance of ``y`` that the line of least squares over ``x`` explains."""

    kind: Literal["r2"]
    x: str
    y: str

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one share, 1 where every point is on the line."""
        return [line(*_columns(rows, self.x, self.y)).r2]


@dataclass(frozen=True)
class Growth:
    """The line of least squares of ``y`` over ``x``, its value at ``at`` divided by that at zero."""

    kind: Literal["growth"]
    x: str
    y: str
    at: float

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one quotient."""
        found = line(*_columns(rows, self.x, self.y))
        return [_quotient(found.intercept + found.slope * self.at, found.intercept)]


@dataclass(frozen=True)
class Share:
    """The slope of the line of least squares of ``y`` over ``x``, divided by its value at zero: what one unit of ``x``
    costs, as a share of what is there without any."""

    kind: Literal["share"]
    x: str
    y: str

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one quotient."""
        found = line(*_columns(rows, self.x, self.y))
        return [_quotient(found.slope, found.intercept)]


@dataclass(frozen=True)
class SlopeSpread:
    """The largest slope of ``y`` over ``x`` divided by the smallest, of the groups that column ``over`` makes."""

    kind: Literal["slope_spread"]
    x: str
    y: str
    over: str

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one quotient."""
        slopes = [line(*_columns(group, self.x, self.y)).slope for _, group in grouped(rows, [self.over])]
        return [_quotient(max(slopes), min(slopes))]


@dataclass(frozen=True)
class Mean:
    """The mean of ``y``."""

    kind: Literal["mean"]
    y: str

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one mean."""
        return [math.fsum(number(row, self.y) for row in rows) / len(rows)]


@dataclass(frozen=True)
class Paired:
    """Differences of ``y`` between the rows chosen by ``of`` and those chosen by ``to``, paired by column ``over``, as
    shares of the mean of the latter: their ``mean``, the ``low`` or ``high`` end of its 95 % interval by Student's t,
    or its ``sign``, 0 where the interval contains zero: a tie."""

    kind: Literal["paired"]
    y: str
    of: Where
    to: Where
    over: str
    gives: Literal["mean", "low", "high", "sign"] = "mean"

    def of_rows(self, rows: Rows) -> list[float]:
        """Return the one number."""
        low, mean, high = paired(rows, self.y, self.of, self.to, self.over)
        sign = 0.0 if low <= 0 <= high else math.copysign(1.0, mean)
        return [{"mean": mean, "low": low, "high": high, "sign": sign}[self.gives]]


Statistic = Annotated[
    Value | Ratio | Reduction | Spread | Distinct | Turns | Slope | R2 | Growth | Share | SlopeSpread | Mean | Paired,
    Tagged("kind"),
]


@dataclass(frozen=True)
class Line:
    """A line of least squares and the share of the variance that it explains."""

    slope: float
    intercept: float
    r2: float


def line(x: Sequence[float], y: Sequence[float]) -> Line:
    """Return the line of least squares through the points; raises ``StatisticError`` where they have no slope."""
    count = len(x)
    mean_x, mean_y = math.fsum(x) / max(1, count), math.fsum(y) / max(1, count)
    width = math.fsum((each - mean_x) ** 2 for each in x)
    if not width:
        raise StatisticError("a line needs two points or more that differ in x")
    slope = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / width
    intercept = mean_y - slope * mean_x
    height = math.fsum((each - mean_y) ** 2 for each in y)
    rest = math.fsum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    return Line(slope, intercept, 1 - rest / height if height else 1.0)


def paired(rows: Rows, y: str, of: Where, to: Where, over: str) -> tuple[float, float, float]:
    """Return the low end of the 95 % interval, the mean and the high end of the paired differences of ``y``, as shares
    of the mean of ``to``; raises ``StatisticError`` where rows have no partner, or there are fewer than two pairs."""
    from scipy.special import stdtrit

    sides = [{str(row[over]): number(row, y) for row in chosen(rows, where)} for where in (of, to)]
    if sides[0].keys() != sides[1].keys() or any(
        len(side) != len(chosen(rows, where)) for side, where in zip(sides, (of, to), strict=True)
    ):
        raise StatisticError(f"rows are not paired by {over}: each of its values has one on either side")
    count = len(sides[0])
    if count < 2:
        raise StatisticError(f"an interval needs two pairs or more, not {count}")
    unit = math.fsum(sides[1].values()) / count
    differences = [_quotient(sides[0][key] - sides[1][key], unit) for key in sides[0]]
    mean = math.fsum(differences) / count
    deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in differences) / (count - 1))
    half = float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count)
    return mean - half, mean, mean + half


def chosen(rows: Rows, where: Where) -> list[Row]:
    """Return the rows in which every column of ``where`` holds the value stated, or one of a list."""
    return [
        row
        for row in rows
        if all(row[key] in (value if isinstance(value, list) else [value]) for key, value in where.items())
    ]


def grouped(rows: Rows, columns: Sequence[str]) -> list[tuple[dict[str, Any], list[Row]]]:
    """Return the rows that agree in all ``columns`` together, each group with what it agrees in, in order of first
    appearance."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[column] for column in columns), []).append(row)
    return [(dict(zip(columns, key, strict=True)), group) for key, group in found.items()]


def _single(rows: Rows, where: Where, column: str) -> float:
    matching = chosen(rows, where)
    if len(matching) != 1:
        told = ", ".join(f"{key} = {value}" for key, value in where.items())
        raise StatisticError(f"{len(matching)} rows have {told}; expected one")
    return number(matching[0], column)


def _columns(rows: Rows, x: str, y: str) -> tuple[list[float], list[float]]:
    return [number(row, x) for row in rows], [number(row, y) for row in rows]


def number(row: Row, column: str) -> float:
    """Return what ``row`` holds in ``column``; raises ``StatisticError`` where that is no number."""
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise StatisticError(f"column {column} holds {value!r}, which is no number")
    return value


def _quotient(above: float, below: float) -> float:
    if not below:
        raise StatisticError("the quotient's lower part is zero")
    return above / below
