"""Simulated collectives against measured ones: fitted on some sizes and GPU counts, scored on the others."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from simcore import fit, source
from simcore.fit import Fit, Point
from simcore.validation.studies import STUDIES, Study

MIB = 2**20
FLAGS = ("OUTLIER", "SPIKE", "DEGRADED", "INCONSISTENT", "ANOMALY", "LOW_PRECISION")
"""Words in a row's note that keep it out of fits and scores alike."""
SMALL = 4 * 1024
"""Messages up to this size tell the latency of a step: their bytes cost next to nothing."""
BOUNDS = (MIB, 16 * MIB)
"""Sizes from which errors are stated."""
LEAST_ERROR = 1e-4
"""Errors below this count as this in a geometric mean, which a single exact point would make zero."""


@dataclass(frozen=True)
class Score:
    """Measured and simulated times (ps) of points that a fit did not see, and what it had seen."""

    study: Study
    unseen: str
    fit: Fit
    points: tuple[Point, ...]
    simulated: tuple[int, ...]

    def errors(self, smallest: int) -> list[float]:
        """Return ln(simulated/measured) of every point of ``smallest`` bytes and more."""
        pairs = zip(self.points, self.simulated, strict=True)
        return [math.log(simulated / point.time) for point, simulated in pairs if point.size >= smallest]


@dataclass(frozen=True)
class Evaluated:
    """A study with its scores, the fit on all that is not held out for good, and the fit of three parameters on the
    same points."""

    study: Study
    scores: tuple[Score, ...]
    fit: Fit
    plain: Fit
    measured: tuple[Point, ...] = field(repr=False, default=())


def error(logs: Sequence[float]) -> float:
    """Return exp(mean |ln simulated/measured|) - 1."""
    return math.expm1(sum(map(abs, logs)) / len(logs))


def geometric(logs: Sequence[float]) -> float:
    """Return the geometric mean of |simulated - measured| / measured."""
    return math.exp(sum(math.log(max(abs(math.expm1(each)), LEAST_ERROR)) for each in logs) / len(logs))


def rows() -> list[dict[str, str]]:
    """Return the bundled measurements, flagged ones left out."""
    with (source.bundle("traces") / "hardware" / "collectives.csv").open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if not any(flag in row["note"] for flag in FLAGS)]


def spread(group: str, smallest: int) -> float | None:
    """Return how far independent systems of ``group`` lie apart: the geometric mean over sizes of slowest / fastest,
    minus one; None where fewer than two were measured."""
    with (source.bundle("traces") / "hardware" / "spread.csv").open(encoding="utf-8", newline="") as stream:
        found = [
            math.log(float(row["max_over_min"]))
            for row in csv.DictReader(stream)
            if row["group"] == group and int(row["size_bytes"]) >= smallest
        ]
    return math.expm1(sum(found) / len(found)) if found else None


def evaluated(studies: Iterable[Study] | None = None) -> list[Evaluated]:
    """Return every study fitted and scored; simulates every scored point."""
    measured = rows()
    return [_evaluated(study, measured) for study in (STUDIES if studies is None else studies)]


def _evaluated(study: Study, measured: Sequence[dict[str, str]]) -> Evaluated:
    points = _points(measured, study.curves, study.operation, study.smallest)
    points = [point for point in points if not study.counts or point.ranks in study.counts]
    small = [point for point in _points(measured, study.latency, "all_reduce", 0) if point.size <= SMALL]
    counts = sorted({point.ranks for point in points})
    scores = []
    if len(counts) > 1:
        for count in counts:
            seen = [point for point in points if point.ranks != count and _is_fitted(point)]
            told = [point for point in small if point.ranks != count]
            held_out = [point for point in points if point.ranks == count]
            scores.append(_score(study, f"{count} GPUs", _fit(study, seen, told), held_out))
    seen = [point for point in points if _is_fitted(point)]
    whole = _fit(study, seen, small)
    scores.append(_score(study, "sizes", whole, [point for point in points if not _is_fitted(point)]))
    if others := _points(measured, study.others, study.operation, study.smallest):
        scores.append(_score(study, "systems", whole, others))
    plain = fit.fitted(seen, study.algorithm, hold={"latency": whole.parameters.latency})
    return Evaluated(study, tuple(scores), whole, plain, tuple(points))


def _points(measured: Iterable[dict[str, str]], curves: Sequence[str], operation: str, smallest: int) -> list[Point]:
    return [
        Point(operation, int(row["gpus"]), int(row["size_bytes"]), round(float(row["time_us"]) * 10**6), row["curve"])
        for row in measured
        if row["curve"] in curves and row["operation"] == operation and int(row["size_bytes"]) >= smallest
    ]


def _is_fitted(point: Point) -> bool:
    """Every other power of two is fitted, the rest are kept for the score."""
    return point.size.bit_length() % 2 == 1


def _fit(study: Study, seen: Sequence[Point], small: Sequence[Point]) -> Fit:
    """Fit launch, bandwidth and fill; the latency of a step comes from small messages of the same GPU, or is held."""
    latency = study.hold
    if small:
        latency = fit.fitted(small, "ring", hold={"bandwidth": 1e18}).parameters.latency
    return fit.fitted(seen, study.algorithm, hold={"latency": latency}, fill=True)


def _score(study: Study, unseen: str, found: Fit, points: Sequence[Point]) -> Score:
    simulated = tuple(fit.simulated(found.parameters, study.algorithm, point) for point in points)
    return Score(study, unseen, found, tuple(points), simulated)
