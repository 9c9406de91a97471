"""Formulas over what a run was given and what came out of it: sums, products and quotients of columns and quantities,
and limits that they keep."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simcore import source, units
from simcore.errors import InputError, quoted

OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv
}  # fmt: skip
QUANTITY = re.compile(r"(?<![\w.])(\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?)\s*([A-Za-z]+(?:/s)?)(?![\w.])")
COLUMN = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\.\w+)*")
LIMIT = re.compile(r"(.+?)(<=|>=)(.+)")
SHAPE = "sums, products and quotients of axes, metrics and quantities, e.g. 'makespan_ps / 1 ms + 2 * machine.gpus'"


@dataclass(frozen=True)
class Formula:
    """A formula as it was written, the ``columns`` that it names, and its tree, in which c3 stands for the fourth of
    them: a column's name may hold what no name in Python does, as in ``workloads.0.params.rows``."""

    text: str
    columns: tuple[str, ...]
    tree: ast.expr

    def __str__(self) -> str:
        return self.text

    def value(self, row: Mapping[str, float]) -> float:
        """Return the value where the columns are those of ``row``, in base units; raises ``InputError`` for a column
        that is not there or no number, and for a division by zero."""
        try:
            found = float(_value(self.tree, [row.get(name) for name in self.columns], self.columns))
        except ZeroDivisionError:
            raise InputError(f"{self.text}: divides by zero") from None
        except OverflowError:
            raise InputError(f"{self.text}: is too large a number") from None
        except KeyError as error:
            raise InputError(f"{self.text}: {error.args[0]}") from None
        if not math.isfinite(found):
            raise InputError(f"{self.text}: is {found}, no number to compare")
        return found


@dataclass(frozen=True)
class Limit:
    """A formula that stays at or below another (``<=``), or at or above it."""

    text: str
    left: Formula
    sign: str
    right: Formula

    def __str__(self) -> str:
        return self.text

    def excess(self, row: Mapping[str, float]) -> float:
        """Return by how much the limit is broken, as a share of its right side (of 1, where that is zero); zero or less
        where it is kept."""
        left, right = self.left.value(row), self.right.value(row)
        over = left - right if self.sign == "<=" else right - left
        return over / (abs(right) or 1.0)


def read(text: str, option: str) -> Formula:
    """Return the formula that ``text`` states; raises ``InputError`` that names the ``option``."""
    place = f"{option} {quoted(text)}"
    try:
        reckoned = _with_base_units(text)
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None
    columns = dict.fromkeys(COLUMN.findall(reckoned))
    numbers = {name: i for i, name in enumerate(columns)}
    plain = COLUMN.sub(lambda match: f"c{numbers[match[0]]}", reckoned)
    try:
        tree = ast.parse(plain.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"{place}: is no formula; write {SHAPE}") from None
    try:
        _check(tree)
    except ValueError as error:
        raise InputError(f"{place}: {error}; write {SHAPE}") from None
    return Formula(text.strip(), tuple(columns), tree)


def read_limit(text: str, option: str) -> Limit:
    """Return the limit that ``text`` states, e.g. ``makespan_ps <= 40 us``; raises ``InputError``."""
    match = LIMIT.fullmatch(text)
    if match is None or LIMIT.fullmatch(match[3]):
        raise InputError(
            f"{option} {quoted(text)}: write one limit, FORMULA <= FORMULA or >=, e.g. 'makespan_ps <= 40 us'"
        )
    return Limit(text.strip(), read(match[1], option), match[2], read(match[3], option))


def check_names(formula: Formula, known: Mapping[str, object], option: str) -> None:
    """Raise ``InputError`` with the nearest spelling where ``formula`` names a column that is not ``known``."""
    for name in formula.columns:
        if name not in known:
            raise InputError(
                f"{option} {quoted(formula.text)}: {source.unknown('metric or axis', name, sorted(known))}"
            )


def _with_base_units(text: str) -> str:
    """Return ``text`` with every quantity as the integer of its base unit."""

    def reckoned(match: re.Match[str]) -> str:
        dimension = units.dimension(f"1 {match[2]}")
        return match[0] if dimension is None else str(units.parse(f"{match[1]} {match[2]}", dimension))

    return QUANTITY.sub(reckoned, text)


def _check(tree: ast.expr) -> None:
    if isinstance(tree, ast.BinOp) and type(tree.op) in OPERATIONS:
        _check(tree.left)
        _check(tree.right)
    elif isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        _check(tree.operand)
    elif not _is_number(tree) and not isinstance(tree, ast.Name):
        raise ValueError("holds more than columns, numbers, + - * / and brackets")


def _is_number(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Constant) and isinstance(tree.value, int | float) and not isinstance(tree.value, bool)


def _value(tree: ast.expr, values: Sequence[Any], columns: Sequence[str]) -> float:
    if isinstance(tree, ast.Name):
        i = int(tree.id[1:])
        found = values[i]
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise KeyError(f"{columns[i]} is {'not there' if found is None else f'{found!r}, no number'}")
        return found
    if isinstance(tree, ast.BinOp):
        left, right = _value(tree.left, values, columns), _value(tree.right, values, columns)
        return OPERATIONS[type(tree.op)](left, right)
    if isinstance(tree, ast.UnaryOp):
        return -_value(tree.operand, values, columns)
    assert isinstance(tree, ast.Constant)
    assert isinstance(tree.value, int | float)
    return tree.value
