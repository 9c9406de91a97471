"""Text with a unit <-> integers: the one border at which units exist.

Inside simcore time is ``int`` picoseconds, size ``int`` bytes, bandwidth ``int`` bytes per second,
frequency ``int`` hertz, throughput ``int`` operations per second, energy ``int`` femtojoules, power ``int``
nanowatts. Everything here is exact: a text that does not land on the integer grid is refused, never rounded.
"""

import difflib
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

LARGEST = 2**62
"""No quantity may reach this: the data plane keeps them in signed 64-bit words."""

LARGEST_TERM = 10**9
"""Of a ratio: so that it times another term fits a word."""

PS_PER_S = 10**12

_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

_TIME = {"ps": 1, "ns": 10**3, "us": 10**6, "ms": 10**9, "s": 10**12, "min": 60 * 10**12}
_SIZE = {prefix + "B": Fraction(scale) for prefix, scale in (_DECIMAL | _BINARY).items()}
_BITS = {prefix + "b": Fraction(scale, 8) for prefix, scale in _DECIMAL.items()}
_RATE = {unit + "/s": scale for unit, scale in (_SIZE | _BITS).items()}
_FREQUENCY = {prefix + "Hz": scale for prefix, scale in _DECIMAL.items()}
_ENERGY = {"fJ": 1, "pJ": 10**3, "nJ": 10**6, "uJ": 10**9, "mJ": 10**12, "J": 10**15}
_POWER = {"nW": 1, "uW": 10**3, "mW": 10**6, "W": 10**9, "kW": 10**12}
_THROUGHPUT = {prefix + op + "/s": scale for op in ("FLOP", "OP") for prefix, scale in _DECIMAL.items()}


@dataclass(frozen=True, eq=False)
class Dimension:
    """What a quantity measures: its name in messages, its base unit, its units and an example."""

    name: str
    base: str
    units: dict[str, Any]
    example: str
    display: tuple[str, ...]


TIME = Dimension("time", "ps", _TIME, "300 ns", ("s", "ms", "us", "ns", "ps"))
SIZE = Dimension("size", "B", _SIZE | _BITS, "64 MiB", ("TB", "GB", "MB", "kB", "B"))
RATE = Dimension("bandwidth", "B/s", _RATE, "450 GB/s", ("TB/s", "GB/s", "MB/s", "kB/s", "B/s"))
FREQUENCY = Dimension("frequency", "Hz", _FREQUENCY, "1.2 GHz", ("GHz", "MHz", "kHz", "Hz"))
THROUGHPUT = Dimension("throughput", "OP/s", _THROUGHPUT, "989.4 TFLOP/s", ("TOP/s", "GOP/s", "MOP/s", "OP/s"))
CYCLES = Dimension("number of clock cycles", "cycles", {"cycles": 1, "cycle": 1}, "340 cycles", ("cycles",))
ENERGY = Dimension("quantity of energy", "fJ", _ENERGY, "160 pJ", ("J", "mJ", "uJ", "nJ", "pJ", "fJ"))
POWER = Dimension("power", "nW", _POWER, "5 mW", ("W", "mW", "uW", "nW"))

DIMENSIONS = (TIME, SIZE, RATE, FREQUENCY, THROUGHPUT, CYCLES, ENERGY, POWER)

_OF_UNIT = {unit: dimension for dimension in DIMENSIONS for unit in dimension.units}
_HABITS = {
    "µs": "us", "μs": "us", "usec": "us", "nsec": "ns", "msec": "ms", "sec": "s", "seconds": "s",
    "Gbps": "Gb/s", "gbps": "Gb/s", "Mbps": "Mb/s", "Tbps": "Tb/s", "GBps": "GB/s", "MBps": "MB/s", "Gbit/s": "Gb/s",
    "KB": "kB' or 'KiB", "KB/s": "kB/s' or 'KiB/s", "bytes": "B", "byte": "B", "K": "KiB", "M": "MiB", "G": "GiB",
    "gb/s": "Gb/s' or 'GB/s", "gb": "GB", "mb": "MB", "kb": "kB", "GT/s": "GB/s", "TFLOPS": "TFLOP/s", "TOPS": "TOP/s",
    "cyc": "cycles",
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?)\s*([^\s\d].*?)?\s*")


def parse(text: object, dimension: Dimension, *, positive: bool = False) -> int:
    """Return the integer number of base units of ``dimension`` that ``text`` states.

    ``text`` is a number and a unit, as in ``"450 GB/s"``. Raises ``ValueError`` for a bare number, an
    unknown or foreign unit, a value off the integer grid, a negative one, and zero where ``positive``.

    >>> parse("300 ns", TIME), parse("200 Gb/s", RATE), parse("64 KiB", SIZE)
    (300000, 25000000000, 65536)
    """
    if not isinstance(text, str):
        raise ValueError(f"{_shown(text)} has no unit; write a {dimension.name} as text, e.g. '{dimension.example}'")
    shown = _quoted(text)
    # No quantity is as long as this, and matching takes time by the square of the length.
    match = _QUANTITY.fullmatch(text) if len(text) < 200 else None
    if match is None:
        raise ValueError(f"{shown} is not a {dimension.name}; write a number and a unit, e.g. '{dimension.example}'")
    number, unit = match[1], match[2]
    if unit is None:
        raise ValueError(f"{shown} has no unit; write a {dimension.name} as e.g. '{dimension.example}'")
    if unit not in dimension.units:
        raise ValueError(_foreign(shown, unit, dimension))
    exact = Fraction(number) * dimension.units[unit]
    if exact.denominator != 1:
        raise ValueError(
            f"{shown} is not a whole number of {dimension.base}; the grid of a {dimension.name} is 1 {dimension.base}"
        )
    if exact < 0 or (positive and exact == 0):
        raise ValueError(
            f"{shown} must be {'greater than zero' if positive else 'zero or more'}, e.g. '{dimension.example}'"
        )
    if exact >= LARGEST:
        raise ValueError(f"{shown} is too large; a {dimension.name} stays below {LARGEST} {dimension.base}")
    return int(exact)


def _shown(value: object) -> str:
    return (
        "an empty value"
        if value is None
        else f"{value!r}"
        if isinstance(value, int | float)
        else f"a {type(value).__name__}"
    )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:56]} ...")


def _foreign(shown: str, unit: str, dimension: Dimension) -> str:
    """Say why ``unit`` does not fit ``dimension``: it belongs to another one, or to none."""
    wanted = f"write a {dimension.name}, e.g. '{dimension.example}'"
    if unit in _OF_UNIT:
        return f"{shown} is a {_OF_UNIT[unit].name}, not a {dimension.name}; {wanted}"
    if unit in _HABITS:
        return f"{shown}: unknown unit {_quoted(unit)}; did you mean '{_HABITS[unit]}'?"
    near = difflib.get_close_matches(unit, dimension.units, n=1)
    return f"{shown}: unknown unit {_quoted(unit)}; " + (f"did you mean '{near[0]}'?" if near else wanted)


def dimension(text: object) -> Dimension | None:
    """Return what the quantity that ``text`` states measures, by its unit; None where it is no number with a unit.

    >>> dimension("50GB/s").name, dimension("50")
    ('bandwidth', None)
    """
    match = _QUANTITY.fullmatch(text) if isinstance(text, str) and len(text) < 200 else None
    return _OF_UNIT.get(match[2]) if match and match[2] else None


def text(value: int, dimension: Dimension) -> str:
    """Return text that ``parse`` reads back to exactly ``value``, in the largest unit that needs at most six decimals.

    >>> text(25_000_000_000, RATE), text(1_500, TIME), text(0, SIZE)
    ('25 GB/s', '1.5 ns', '0 B')
    """
    for unit in dimension.display:
        exact = Fraction(value) / dimension.units[unit]
        if abs(exact) >= 1 and (exact * 10**6).denominator == 1:
            whole, rest = divmod(int(exact * 10**6), 10**6)
            return f"{whole}.{rest:06d}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{value} {dimension.base}"


def fitting(dimension: Dimension, largest: float) -> tuple[str, float]:
    """Return the unit in which ``largest`` reads as 1 or more, and its length in base units.

    >>> fitting(TIME, 5_000), fitting(TIME, 0)
    (('ns', 1000.0), ('ps', 1.0))
    """
    for unit in dimension.display:
        if largest >= float(dimension.units[unit]):
            return unit, float(dimension.units[unit])
    return dimension.base, 1.0


def short(value: float, dimension: Dimension, digits: int = 4) -> str:
    """Return ``value`` for a human reader, rounded to ``digits`` significant digits in a fitting unit.

    >>> short(123_456_789, TIME), short(0, TIME)
    ('123.5 us', '0 ps')
    """
    for unit in dimension.display:
        scaled = value / float(dimension.units[unit])
        if abs(scaled) >= 1:
            return f"{scaled:.{digits}g} {unit}" if abs(scaled) < 10**digits else f"{scaled:.0f} {unit}"
    return f"{value:.{digits}g} {dimension.base}"


@dataclass(frozen=True)
class Quantity:
    """Marks a field as a quantity: ``Annotated[int, Quantity(TIME)]`` is read from text with a unit by pydantic."""

    dimension: Dimension
    positive: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import PydanticCustomError, core_schema

        def read(value: object) -> int:
            try:
                return parse(value, self.dimension, positive=self.positive)
            except ValueError as error:
                raise PydanticCustomError("quantity", "{sentence}", {"sentence": str(error)}) from None

        return core_schema.no_info_plain_validator_function(read)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        units = "|".join(re.escape(unit) for unit in self.dimension.units)
        return {
            "type": "string",
            "description": f"a {self.dimension.name} with its unit, e.g. '{self.dimension.example}'",
            "pattern": rf"^\s*\+?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*({units})\s*$",
        }


@dataclass(frozen=True)
class Fractional:
    """Marks a text field as an exact ratio above zero, from text or a number (3/2, "1.5", 1.5); it is kept in lowest
    terms, for ``Fraction`` to read."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import PydanticCustomError, core_schema

        def read(value: object) -> str:
            try:
                return ratio(value)
            except ValueError as error:
                raise PydanticCustomError("quantity", "{sentence}", {"sentence": str(error)}) from None

        return core_schema.no_info_plain_validator_function(read)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": ["number", "string"], "description": "a ratio above zero, e.g. 1.5 or '3/2'"}


def ratio(value: object) -> str:
    """Return the exact ratio that ``value`` states, in lowest terms; raises ``ValueError`` unless it is above zero and
    both terms are at most ``LARGEST_TERM``.

    >>> ratio("1.50"), ratio(1.5), ratio("4/2")
    ('3/2', '3/2', '2')
    """
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    found = Fraction(text) if len(text) < 40 and re.fullmatch(r"\d+(/\d*[1-9]\d*|\.\d*)?", text) else Fraction(0)
    if found <= 0 or max(found.numerator, found.denominator) > LARGEST_TERM:
        shown = _quoted(value) if isinstance(value, str) else _shown(value)
        raise ValueError(f"{shown} is no ratio above zero of terms up to {LARGEST_TERM}; write e.g. 1.5 or 3/2")
    return str(found)


Ratio = Annotated[str, Fractional()]
Time = Annotated[int, Quantity(TIME)]
Size = Annotated[int, Quantity(SIZE)]
Bandwidth = Annotated[int, Quantity(RATE, positive=True)]
Frequency = Annotated[int, Quantity(FREQUENCY, positive=True)]
Throughput = Annotated[int, Quantity(THROUGHPUT, positive=True)]
Cycles = Annotated[int, Quantity(CYCLES)]
Energy = Annotated[int, Quantity(ENERGY)]
Power = Annotated[int, Quantity(POWER)]
