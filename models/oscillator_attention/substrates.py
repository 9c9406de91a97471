"""What an array of oscillators might be made of. Nobody has published energy, power or settling times of one that
computes attention, so every number is a range: (best, middle, worst), the same as in ``params.yaml`` with its source.
"""

import math
from dataclasses import dataclass
from typing import Literal

from simcore import InputError

Name = Literal["ring", "josephson", "lc", "mechanical"]
Corner = Literal["best", "middle", "worst"]
Unknown = Literal["all", "frequency", "power", "overhead", "write", "write_time", "conversion", "conversion_time"]
CORNERS = ("best", "middle", "worst")
SLOW = 0.1
"""The rate of an oscillator's phase, kappa |h|, as a share of its angular frequency: what phases are a description up
to."""
PS = 10**12


@dataclass(frozen=True)
class Substrate:
    """``frequency`` Hz; ``power`` nW of an oscillator; ``overhead``, watts spent for one watt at the array (cooling);
    ``write`` and ``conversion``, fJ; ``write_time`` and ``conversion_time``, ps on a lane."""

    frequency: int
    power: int
    overhead: int
    write: int
    write_time: int
    conversion: int
    conversion_time: int

    def unit(self, longest: float) -> float:
        """Return the time 1/kappa, ps, at which the strongest drive, ``longest`` |h|, turns phases no faster than may
        be."""
        return longest * PS / (SLOW * 2 * math.pi * self.frequency)


RANGES: dict[str, dict[str, tuple[int, int, int]]] = {
    "ring": {
        "frequency": (13_000_000_000, 1_000_000_000, 500_000_000), "power": (1_000, 10_000, 100_000),
        "overhead": (1, 1, 1), "write": (100, 1_000, 10_000), "write_time": (1_000, 10_000, 100_000),
        "conversion": (600, 2_500, 13_000), "conversion_time": (5_000, 20_000, 100_000),
    },
    "josephson": {
        "frequency": (10_000_000_000, 7_500_000_000, 5_000_000_000), "power": (1, 10, 100),
        "overhead": (300, 1_000, 10_000), "write": (100, 1_000, 10_000), "write_time": (1_000, 10_000, 100_000),
        "conversion": (600, 2_500, 13_000), "conversion_time": (5_000, 20_000, 100_000),
    },
    "lc": {
        "frequency": (10_000_000, 1_000_000, 100_000), "power": (1_000, 10_000, 100_000),
        "overhead": (1, 1, 1), "write": (100, 1_000, 10_000), "write_time": (1_000, 10_000, 100_000),
        "conversion": (600, 2_500, 13_000), "conversion_time": (5_000, 20_000, 100_000),
    },
    "mechanical": {
        "frequency": (10_000_000, 1_000_000, 32_768), "power": (10, 100, 10_000),
        "overhead": (1, 1, 1), "write": (100, 1_000, 10_000), "write_time": (1_000, 10_000, 100_000),
        "conversion": (600, 2_500, 13_000), "conversion_time": (5_000, 20_000, 100_000),
    },
}  # fmt: skip

MAC: dict[str, tuple[int, int, int]] = {
    "cortex_m7": (5_000, 20_000, 100_000),
    "ethos_u55": (500, 1_500, 5_000),
    "orin_nano": (700, 1_500, 2_500),
    "h100": (700, 1_400, 7_000),
    "cmos45_int8": (230, 230, 230),
    "cmos45_float32": (4_600, 4_600, 4_600),
}
"""Energy of a multiplication and addition on digital hardware, fJ, data movement included; of 45 nm, arithmetic."""
CMOS = ("float32", "int8")
"""Numbers that the energy of 45 nm is known of."""
Digital = Literal["cortex_m7", "ethos_u55", "orin_nano", "h100", "cmos45"]


def substrate(name: Name, corner: Corner, varied: Unknown = "all") -> Substrate:
    """Return a substrate with its unknown ``varied`` in a ``corner`` of its range and the others in the middle."""
    return Substrate(
        **{
            unknown: values[CORNERS.index(corner if varied in ("all", unknown) else "middle")]
            for unknown, values in RANGES[name].items()
        }
    )


def energy(name: Digital, corner: Corner, dtype: str) -> int:
    """Return the energy of a multiplication and addition of ``dtype``, fJ.

    Model: only that of 45 nm differs with the numbers.
    """
    return MAC[f"cmos45_{dtype}" if name == "cmos45" else name][CORNERS.index(corner)]


@dataclass(frozen=True)
class Array:
    """An array: room for ``oscillators``, of which a state takes one where d is 2 and d where it is more, and for the
    ``anchors`` of one head, d numbers each; ``writers`` and ``samplers`` are lanes of converters; with two ``buffers``
    of couplings one is written while the other settles."""

    oscillators: int = 64
    anchors: int = 128
    writers: int = 16
    samplers: int = 16
    buffers: int = 2

    def states(self, dimension: int) -> int:
        """Return how many states there is room for.

        Model: a sphere of more than two dimensions takes an oscillator for each amplitude.
        """
        return self.oscillators // (1 if dimension == 2 else dimension)


def check(array: Array, tokens: int, dimension: int) -> None:
    """Raise ``InputError`` for an array that cannot hold a row of the layer."""
    for name in ("oscillators", "anchors", "writers", "samplers"):
        if getattr(array, name) < 1:
            raise InputError(f"array.{name} must be 1 or more, not {getattr(array, name)}")
    if array.buffers not in (1, 2):
        raise InputError(f"array.buffers is 1, or 2 to write one while the other settles, not {array.buffers}")
    if array.anchors < tokens:
        raise InputError(
            f"array.anchors: {tokens} tokens pull at one oscillator at once, but there is room for {array.anchors}"
        )
    if array.states(dimension) < 1:
        raise InputError(f"array.oscillators: a state of dimension {dimension} takes {dimension} of them")


def over(count: int, lanes: int, each: int) -> int:
    """Return how long ``count`` conversions of ``each`` ps take on ``lanes``."""
    return -(-count // lanes) * each


def femtojoules(nanowatts: int, time: int) -> int:
    """Return the energy of a power, nW, over ``time`` ps, in fJ, rounded up."""
    return -(-nanowatts * time // 10**6)
