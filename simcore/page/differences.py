"""Two runs side by side: what differs in their inputs, what that did to their metrics, and both timelines."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from simcore import scenario
from simcore.assembly import Result
from simcore.page import chapters, provenance
from simcore.page.markup import Chapter, Content, Markup, chart, element, joined, table
from simcore.units import short

ABSENT = "-"
HEADLINES = {
    "makespan": "makespan_ps",
    "messages": "transfers.messages",
    "data": "transfers.data_bytes",
    "links, mean utilisation": "links.utilisation_mean",
    "links, peak utilisation": "links.utilisation_peak",
    "queue delay, mean": "queue_delay_ps.mean",
    "flag reads": "flags.flag_reads",
    "wake-ups": "flags.wakeups",
    "from flag set to flag seen, mean": "flags.detection_delay_ps.mean",
}
"""What a comparison begins with, by what it is called; a row that is zero in both runs is left out."""
MOST_ROWS = 2_000
"""Rows of a table of metrics; of more, those of single ranks are left out first."""


@dataclass(frozen=True)
class Difference:
    """A key, its value in the first run and in the second, and the second over the first where both are numbers."""

    key: str
    first: str
    second: str
    ratio: float | None = None


def inputs(first: Result, second: Result) -> list[Difference]:
    """Return the keys of the resolved scenarios that differ, in the order of the first."""
    a, b = (provenance.flat(scenario.resolved(run.scenario)) for run in (first, second))
    return [Difference(key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in {**a, **b} if a.get(key) != b.get(key)]


def outputs(first: Result, second: Result) -> list[Difference]:
    """Return the metrics that differ, in the order of the first; bytes of pairs are left out."""
    a, b = (dict(chapters.leaves(run.metrics)) for run in (first, second))
    return [_difference(key, a, b) for key in {**a, **b} if a.get(key) != b.get(key)]


def headlines(first: Result, second: Result) -> list[Difference]:
    """Return the metrics that a reader asks for first, rounded, those that differ and those that do not."""
    a, b = (dict(chapters.leaves(run.metrics)) for run in (first, second))
    return [
        Difference(name, rounded(key, a.get(key, 0)), rounded(key, b.get(key, 0)), _ratio(a.get(key), b.get(key)))
        for name, key in HEADLINES.items()
        if a.get(key) or b.get(key)
    ]


def rounded(key: str, value: float) -> str:
    """Return a metric as a reader likes it: four digits in a fitting unit."""
    unit = chapters.unit_of(key)
    if unit is not None:
        return short(value, unit)
    return f"{value:,}" if isinstance(value, int) else chapters.percentage(value)


def _difference(key: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Difference:
    texts = [chapters.shown(key, run[key]) if key in run else ABSENT for run in (a, b)]
    if texts[0] == texts[1]:
        texts = [repr(run[key]) for run in (a, b)]
    return Difference(key, texts[0], texts[1], _ratio(a.get(key), b.get(key)))


def _ratio(a: Any, b: Any) -> float | None:
    numeric = isinstance(a, int | float) and isinstance(b, int | float)
    return b / a if numeric and a else None


def change_text(ratio: float) -> str:
    """Return a ratio as the percentage by which it differs from one: of little its power of ten, of much the factor."""
    change = ratio - 1
    if ratio == 1:
        return "same"
    if ratio >= 10 or 0 < ratio <= 0.1:
        return f"x {ratio:,.4g}" if ratio >= 10 else f"/ {1 / ratio:,.4g}"
    return f"{change:+.2%}" if abs(change) >= 0.0001 else f"{100 * change:+.0e}%"


def changes(first: Result, second: Result, names: tuple[str, str]) -> list[Chapter]:
    """Return the chapters on inputs and outputs, and on the timelines, above each other on one axis."""
    stated = [[each.key, each.first, each.second] for each in inputs(first, second)]
    found, left = _kept(outputs(first, second))
    headings = ["A", "B", "change"]
    what = listed(["metric", *headings], _rows(found), "metrics")
    hint = element("p", {"class": "hint"}, f"{left:,} more, of single ranks, are in metrics.json.") if left else ""
    lines = joined(
        *(
            joined(element("h3", None, name), chart("timeline", source, f"timeline of {name}", window="both"))
            for name, source in zip(names, ("first", "second"), strict=True)
        )
    )
    return [
        Chapter("inputs", "Inputs that differ", listed(["parameter", "A", "B"], stated, "inputs", ())),
        Chapter("summary", "What came out", listed(["metric", *headings], _rows(headlines(first, second)), "summary")),
        Chapter("timelines", "Timelines", lines),
        Chapter("outputs", "Metrics that differ", joined(what, hint)),
    ]


def _rows(found: Iterable[Difference]) -> list[list[Content]]:
    return [
        [each.key, each.first, each.second, ABSENT if each.ratio is None else (change_text(each.ratio), each.ratio)]
        for each in found
    ]


def _kept(found: list[Difference]) -> tuple[list[Difference], int]:
    """Return the differences that a page lists, and how many it leaves out."""
    if len(found) <= MOST_ROWS:
        return found, 0
    kept = [each for each in found if not (each.key.startswith("ranks.") or ".ranks." in each.key)][:MOST_ROWS]
    return kept, len(found) - len(kept)


def listed(headings: list[str], rows: list[list[Any]], label: str, numeric: Iterable[int] | None = None) -> Markup:
    """Return a table of what differs, or the word that nothing does; all but the first column are ``numeric`` unless
    stated."""
    if not rows:
        return element("p", {"class": "quiet"}, "None.")
    right = range(1, len(headings)) if numeric is None else numeric
    return table(headings, rows, label=label, numeric=right, filtered=len(rows) > 12)
