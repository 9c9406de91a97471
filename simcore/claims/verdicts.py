"""A claim against the rows of its experiment: our numbers, how far from the paper's, and the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from simcore.claims import statistics
from simcore.claims.experiments import Found
from simcore.claims.sheet import Claim, Paper, Range
from simcore.claims.statistics import StatisticError
from simcore.source import Keys

Verdict = Literal["holds", "misses", "consistent", "not scored"]

_NEAR = 1e-9
"""Relative slack of a criterion, for sums of floats."""


@dataclass(frozen=True)
class Judged:
    """A claim with our numbers, each with the group it is of, the largest relative distance from the paper's number or
    range (None where there is none), and the verdict.

    ``consistent``: the criterion is met, but the claim is one of words, which no number of ours can prove. ``why`` says
    why a claim is not scored, empty where it is.
    """

    claim: Claim
    values: list[float]
    groups: list[dict[str, Any]]
    error: float | None
    verdict: Verdict
    why: str = ""
    because: str = ""


def judge(paper: Paper, found: Mapping[str, Found]) -> list[Judged]:
    """Return every claim of ``paper`` but those whose experiment was not run, judged by what the others gave; raises
    ``InputError`` with the place of a claim whose statistic the rows do not give."""
    return [
        _judged(paper, number, claim, found)
        for number, claim in enumerate(paper.sheet.claims)
        if not claim.experiment or claim.experiment in found
    ]


def _judged(paper: Paper, number: int, claim: Claim, found: Mapping[str, Found]) -> Judged:
    values: list[float] = []
    groups: list[dict[str, Any]] = []
    if claim.experiment:
        values, groups = _measured(paper, number, claim, found[claim.experiment].rows)
    wanted = _wanted(claim, len(values))
    if claim.experiment and wanted and len(wanted) != len(values):
        sentence = f"has {len(wanted)} numbers, but the statistic gives {len(values)}"
        raise paper.document.error(("claims", number, "paper"), sentence)
    error = _error(claim, values, wanted)
    fitted = paper.fitted(claim.id)
    if fitted:
        return Judged(claim, values, groups, error, "not scored", "fitted", f"{', '.join(fitted)} was chosen by it")
    if claim.unscored:
        return Judged(claim, values, groups, error, "not scored", claim.unscored.why, claim.unscored.because)
    if not _meets(claim, values, wanted):
        return Judged(claim, values, groups, error, "misses")
    return Judged(claim, values, groups, error, "consistent" if claim.qualitative else "holds")


def _measured(
    paper: Paper, number: int, claim: Claim, rows: Sequence[statistics.Row]
) -> tuple[list[float], list[dict[str, Any]]]:
    keys: Keys = ("claims", number)
    statistic = claim.statistic
    assert statistic is not None
    chosen = statistics.chosen(rows, claim.where)
    if not chosen:
        raise paper.document.error((*keys, "where"), "chooses no row of the experiment")
    values, groups = [], []
    for group, members in statistics.grouped(chosen, claim.each):
        try:
            own = statistic.of_rows(members)
        except StatisticError as error:
            where = f" ({', '.join(f'{key} = {value}' for key, value in group.items())})" if group else ""
            raise paper.document.error((*keys, "statistic"), f"{error}{where}") from None
        values += own
        groups += [group] * len(own)
    return values, groups


def _wanted(claim: Claim, count: int) -> list[float]:
    """Return the paper's number for each of ours; none where it gives a range or words."""
    if isinstance(claim.paper, list):
        return claim.paper
    return [claim.paper] * count if isinstance(claim.paper, int | float) else []


def _error(claim: Claim, values: Sequence[float], wanted: Sequence[float]) -> float | None:
    if isinstance(claim.paper, Range):
        pairs = [(value, min(max(value, claim.paper.low), claim.paper.high)) for value in values]
    else:
        pairs = list(zip(values, wanted, strict=True)) if wanted else []
    errors = [(ours - theirs) / abs(theirs) for ours, theirs in pairs if theirs]
    return max(errors, key=abs, default=None)


def _meets(claim: Claim, values: Sequence[float], wanted: Sequence[float]) -> bool:
    asked = claim.holds
    assert asked is not None
    for i, value in enumerate(values):
        slack = _NEAR * max(1.0, abs(value))
        if asked.at_least is not None and value < asked.at_least - slack:
            return False
        if asked.at_most is not None and value > asked.at_most + slack:
            return False
        if asked.equals is not None and abs(value - asked.equals) > slack:
            return False
        if asked.within is not None and abs(value - wanted[i]) > asked.within * abs(wanted[i]) + slack:
            return False
        if asked.within_absolute is not None and abs(value - wanted[i]) > asked.within_absolute + slack:
            return False
    return True
