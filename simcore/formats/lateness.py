"""How late something is: stated distributions of whole picoseconds, all of which have the mean that they are given."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simcore.errors import FieldError
from simcore.units import LARGEST, TIME, Time, text


@dataclass(frozen=True, kw_only=True)
class Lateness:
    """``uniform``: from 0 to twice the mean; ``normal``: of that mean and ``deviation``, what is not between 0 and
    twice the mean drawn again; ``exponential``: of that mean. Each is rounded to the nearest picosecond, once."""

    distribution: Literal["uniform", "normal", "exponential"] = "uniform"
    mean: Time = 0
    deviation: Time = 0

    def __post_init__(self) -> None:
        normal = self.distribution == "normal"
        if normal and not 0 < self.deviation <= self.mean:
            raise FieldError("of a normal distribution is above zero and at most its mean", "deviation")
        if not normal and self.deviation:
            raise FieldError(f"belongs to 'normal'; {self.distribution!r} has none", "deviation")
        if self.mean >= LARGEST // 2**8:
            raise FieldError(f"is too large; it stays below {text(LARGEST // 2**8, TIME)}", "mean")

    def __str__(self) -> str:
        mean, deviation = text(self.mean, TIME), text(self.deviation, TIME)
        spread = {
            "uniform": f"uniform from 0 to {text(2 * self.mean, TIME)}",
            "normal": f"normal, mean {mean}, deviation {deviation}, within 0 to {text(2 * self.mean, TIME)}",
            "exponential": f"exponential, mean {mean}",
        }
        return spread[self.distribution] if self.mean else "none"

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Return ``count`` independent latenesses, ps."""
        if self.distribution == "uniform":
            return rng.integers(0, 2 * self.mean, count, np.int64, endpoint=True)
        if self.distribution == "exponential":
            return _rounded(rng.exponential(self.mean, count))
        drawn = rng.normal(self.mean, self.deviation, count)
        while (outside := (drawn < 0) | (drawn > 2 * self.mean)).any():
            drawn[outside] = rng.normal(self.mean, self.deviation, int(outside.sum()))
        return _rounded(drawn)


def _rounded(drawn: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(drawn).astype(np.int64)
