"""Requests: when they come, how long their prompts are, and how many tokens they ask for."""

import csv
import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simcore import InputError, TraceFile, locate

Column = NDArray[np.int64]

PS = 10**12
COLUMNS = ("arrival_ps", "input", "output")


@dataclass(frozen=True)
class Lengths:
    """Numbers of tokens: log-normal with this ``mean`` and ``sigma``, the standard deviation of their logarithm, or
    ``mean`` always; from 1 to ``most``."""

    mean: float = 8192
    sigma: float = 0.6
    kind: Literal["lognormal", "constant"] = "lognormal"
    most: int = 131_072

    def check(self, where: str) -> None:
        """Raise ``InputError`` for lengths that there are not."""
        if not 1 <= self.mean <= self.most:
            raise InputError(f"{where}.mean must be from 1 token to {where}.most, {self.most}, not {self.mean}")
        if not 0 <= self.sigma <= 4:
            raise InputError(f"{where}.sigma must be from 0 to 4, not {self.sigma}")

    def draw(self, count: int, rng: np.random.Generator) -> Column:
        """Return ``count`` lengths, [count]; one normal number each, whatever the mean is."""
        if self.kind == "constant":
            return np.full(count, round(self.mean))
        # The mean of a log-normal number is exp(mu + sigma^2 / 2).
        mu = math.log(self.mean) - self.sigma**2 / 2
        drawn = np.rint(np.exp(mu + self.sigma * rng.standard_normal(count)))
        return np.clip(drawn, 1, self.most).astype(np.int64)


@dataclass(frozen=True)
class Arrivals:
    """``requests`` of them, ``rate`` a second on average: one by one (Poisson), or ``burst`` at an instant, the bursts
    a Poisson process; or the rows of ``trace``, a CSV file of arrival_ps, input, output, ``rate`` and lengths then
    unread."""

    kind: Literal["poisson", "bursts", "trace"] = "poisson"
    requests: int = 200
    rate: float = 20
    burst: int = 16
    trace: TraceFile | None = None
    input: Lengths = field(default_factory=Lengths)
    output: Lengths = field(default_factory=lambda: Lengths(256, 0.6, most=8192))


@dataclass(frozen=True)
class Requests:
    """Arrivals (ps, ascending), tokens of the prompts and tokens asked for; columns of one length."""

    arrival: Column
    input: Column
    output: Column

    def __len__(self) -> int:
        return len(self.arrival)


def make(about: Arrivals, rng: Any) -> Requests:
    """Return the requests that ``about`` describes.

    Gaps, prompts and outputs are streams by name: other means, another rate or more requests leave what else was drawn
    as it is. Raises ``InputError``.
    """
    if about.kind == "trace":
        return _read(about)
    if about.requests < 1 or about.burst < 1:
        raise InputError(f"requests and burst must be 1 or more, not {about.requests} and {about.burst}")
    if not 1e-6 <= about.rate <= 1e9:
        raise InputError(f"rate must be from 1e-6 to 1e9 requests a second, not {about.rate}")
    about.input.check("input")
    about.output.check("output")
    root = int(rng.integers(2**62))
    count, size = about.requests, about.burst if about.kind == "bursts" else 1
    gaps = _stream(root, "gaps").standard_exponential(-(-count // size))
    begins = np.rint(np.cumsum(gaps) * (size * PS / about.rate)).astype(np.int64)
    return Requests(
        np.repeat(begins, size)[:count],
        about.input.draw(count, _stream(root, "input")),
        about.output.draw(count, _stream(root, "output")),
    )


def _stream(root: int, name: str) -> np.random.Generator:
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([root, word])))


def _read(about: Arrivals) -> Requests:
    """Return the requests of a trace file; raises ``InputError`` with the line of what is wrong."""
    if about.trace is None:
        raise InputError("kind 'trace' needs trace, a CSV file of arrival_ps, input, output")
    path = locate(about.trace, "traces")
    try:
        rows = _rows(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no CSV file in UTF-8: {error}") from None
    if not rows:
        raise InputError(f"{path}: holds no request")
    table = np.array(rows, np.int64)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return Requests(*(np.ascontiguousarray(column) for column in table.T))


def _rows(path: Path) -> list[list[int]]:
    rows: list[list[int]] = []
    with path.open(encoding="utf-8", newline="") as stream:
        lines = csv.reader(stream)
        if tuple(next(lines, ())) != COLUMNS:
            raise InputError(f"{path}:1: expected the line {','.join(COLUMNS)}")
        for row in lines:
            try:
                values = [int(text) for text in row]
            except ValueError:
                values = []
            if len(values) != 3 or values[0] < 0 or min(values[1:]) < 1 or max(values) >= 2**60:
                raise InputError(
                    f"{path}:{lines.line_num}: expected an instant in ps and two numbers of tokens, 1 or more, "
                    f"not {','.join(row)!r}"
                )
            rows.append(values)
    return rows
