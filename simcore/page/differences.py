"""Two runs side by side: what differs in their inputs, what that did to their metrics, and both timelines."""

from dataclasses import dataclass
from typing import Any

from simcore import scenario
from simcore.assembly import Result
from simcore.page import chapters, provenance
from simcore.page.markup import Chapter, Markup, chart, element, joined, table

ABSENT = "-"


@dataclass(frozen=True)
class Difference:
    """A key, its value in the first run and in the second, and the relative change where both are numbers."""

    key: str
    first: str
    second: str
    change: float | None = None


def inputs(first: Result, second: Result) -> list[Difference]:
    """Return the keys of the resolved scenarios that differ, in the order of the first."""
    a, b = (provenance.flat(scenario.resolved(run.scenario)) for run in (first, second))
    return [Difference(key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in {**a, **b} if a.get(key) != b.get(key)]


def outputs(first: Result, second: Result) -> list[Difference]:
    """Return the metrics that differ, in the order of the first; bytes of pairs are left out."""
    a, b = (dict(chapters.leaves(run.metrics)) for run in (first, second))
    return [
        Difference(key, str(a.get(key, ABSENT)), str(b.get(key, ABSENT)), _change(a.get(key), b.get(key)))
        for key in {**a, **b}
        if a.get(key) != b.get(key)
    ]


def _change(a: Any, b: Any) -> float | None:
    numeric = isinstance(a, int | float) and isinstance(b, int | float)
    return b / a - 1 if numeric and a else None


def changes(first: Result, second: Result, names: tuple[str, str]) -> list[Chapter]:
    """Return the chapters on inputs and outputs, and on the timelines, above each other on one axis."""
    stated = [[each.key, each.first, each.second] for each in inputs(first, second)]
    found = [[each.key, each.first, each.second, _told(each.change)] for each in outputs(first, second)]
    lines = joined(
        *(
            joined(element("h3", None, name), chart("timeline", source, f"timeline of {name}", window="both"))
            for name, source in zip(names, ("first", "second"), strict=True)
        )
    )
    return [
        Chapter("inputs", "Inputs that differ", listed(["parameter", *names], stated, "inputs")),
        Chapter("outputs", "Metrics that differ", listed(["metric", *names, "change"], found, "metrics")),
        Chapter("timelines", "Timelines", lines),
    ]


def listed(headings: list[str], rows: list[list[Any]], label: str) -> Markup:
    """Return a table of what differs, or the word that nothing does."""
    if not rows:
        return element("p", {"class": "quiet"}, "None.")
    return table(headings, rows, label=label, numeric=range(1, len(headings)), filtered=len(rows) > 12)


def _told(change: float | None) -> Any:
    return ABSENT if change is None else (f"{change:+.2%}", change)
