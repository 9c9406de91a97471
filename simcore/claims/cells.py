"""A judged claim as text: one row of a table for people."""

from typing import Any

from simcore.claims.verdicts import Judged


def row(judged: Judged) -> dict[str, str]:
    """Return the cells of a judged claim, by column: the paper's number and ours, error, tolerance and verdict."""
    claim = judged.claim
    verdict = f"{judged.verdict}: {judged.why}" if judged.why else judged.verdict
    return {
        "id": claim.id,
        "what": claim.what,
        "grade": claim.grade,
        "paper": _said(claim.paper, claim.unit),
        "ours": _ours(judged),
        "error": "-" if judged.error is None else f"{judged.error:+.1%}",
        "tolerance": str(claim.holds) if claim.holds else "-",
        "verdict": verdict,
    }


def _said(paper: Any, unit: str) -> str:
    behind = f" {unit}" if unit else ""
    if isinstance(paper, str):
        return paper
    if isinstance(paper, list):
        return ", ".join(map(_number, paper)) + behind
    if isinstance(paper, int | float):
        return f"{_number(paper)}{behind}"
    return f"{_number(paper.low)} to {_number(paper.high)}{behind}"


def _ours(judged: Judged) -> str:
    """Return our numbers: one, each where the paper has as many, or the smallest and the largest of several."""
    if not judged.values:
        return "-"
    if isinstance(judged.claim.paper, list) and len(judged.claim.paper) == len(judged.values):
        return _said(list(judged.values), judged.claim.unit)
    low, high = min(judged.values), max(judged.values)
    count = len(judged.values)
    said = _number(low) if _number(low) == _number(high) else f"{_number(low)} to {_number(high)}"
    return said + (f" {judged.claim.unit}" if judged.claim.unit else "") + (f" ({count})" if count > 1 else "")


def _number(value: float) -> str:
    if abs(value) < 1e15 and (value == int(value) or abs(value) >= 1e4):
        return f"{value:,.0f}"
    return f"{value:,.4g}"
