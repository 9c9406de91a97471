"""The page of a sweep: what every axis does, charts of any metric over any axes, and all points as a table."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simcore import columns
from simcore.page.chapters import cards
from simcore.page.markup import Chapter, Content, Markup, chart, element, joined, table
from simcore.units import RATE, SIZE, TIME, Dimension, short

if TYPE_CHECKING:
    import pyarrow as pa

WORDS: dict[str, str] = {RATE.name: "rate", SIZE.name: "size", TIME.name: "time"}
"""What the scripts call the dimensions that they know; everything else is a count."""
DIGITS = 9
"""Significant digits of numbers in the page; the table of the sweep folder has them all."""
HEADLINES = (
    "makespan_ps", "ranks.exposed_communication_ps.mean", "flags.detection_delay_ps.mean", "queue_delay_ps.mean",
    "flags.flag_reads",
)  # fmt: skip
"""Metrics that are shown first where they vary."""
MOST_SHOWN = 5
"""Metrics side by side at first."""
LEAST_EFFECT = 1.01
"""Ratio of means from which on an axis is said to move a metric where the first charts are chosen."""
LEAST_SAID = 1.00005
"""Ratio of means below which an effect is none."""
MOST_GROUPS, GROUPS = 64, 8
"""Values of an axis one by one, and groups of neighbours where it has more."""
OTHERS = ("point", "digest")

Values = list[Any]


def columns_of(found: "pa.Table", axes: Sequence[str]) -> tuple[dict[str, Values], dict[str, Any]]:
    """Return the columns of a sweep's table that vary, and the one value of each of the others.

    Axes always count as varying, so does why points failed where any did.
    """
    varying: dict[str, Values] = {}
    same: dict[str, Any] = {}
    for name in found.column_names:
        if name in OTHERS:
            continue
        values = found[name].to_pylist()
        there = {value for value in values if value is not None}
        if len(there) > 1 or name in axes or (name == "failed" and there):
            varying[name] = values
        elif name != "failed":
            same[name] = next(iter(there), None)
    return varying, same


def dimension(name: str) -> Dimension | None:
    """Return what a column measures where the page has units for it."""
    found = columns.dimension_of(name)
    return found if found is not None and found.name in WORDS else None


def label(name: str) -> str:
    """Return a column's name without its unit, where that stands behind every number."""
    return name if dimension(name) is None else columns.label_of(name)


def breakable(name: str) -> Markup:
    """Return a name that may go on in the next line after a dot or an underscore."""
    first, *others = re.split(r"(?<=[._])", name)
    return joined(first, ((element("wbr"), part) for part in others))


def embedded_column(name: str, values: Values) -> dict[str, Any]:
    """Return a column as the scripts read it: numbers, or the numbers of labels; null where a point has no value."""
    unit = dimension(name)
    word = "count" if unit is None else WORDS[unit.name]
    about: dict[str, Any] = {"name": name, "label": label(name), "dimension": word}
    if _is_number(values):
        return about | {"values": [_short(value) for value in values]}
    texts = [None if value is None else _text(value) for value in values]
    labels = list(dict.fromkeys(text for text in texts if text is not None))
    place = {text: i for i, text in enumerate(labels)}
    return about | {"labels": labels, "values": [None if text is None else place[text] for text in texts]}


def _short(value: float | None) -> float | None:
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    return value if isinstance(value, int) and abs(value) < 10**DIGITS else float(f"{value:.{DIGITS}g}")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def effects(values: Values, metric: Values) -> tuple[float, Any, Any]:
    """Return by how much the mean of ``metric`` at the worst value of an axis exceeds that at the best, as a ratio
    (infinite where the best is zero), and the values with the lowest and the highest mean.

    Of a number with more than ``MOST_GROUPS`` values, as samples have, neighbours are taken together, and the middle
    one stands for them.
    """
    groups: dict[Any, list[float]] = {}
    stands = _representatives(values)
    for value, number in zip(values, metric, strict=True):
        if number is not None and value is not None:
            groups.setdefault(stands.get(value, value), []).append(float(number))
    means = {value: sum(numbers) / len(numbers) for value, numbers in groups.items()}
    if not means:
        return 1.0, None, None
    low, high = min(means, key=lambda value: means[value]), max(means, key=lambda value: means[value])
    if means[low] == means[high]:
        return 1.0, low, high
    return (means[high] / means[low] if means[low] > 0 else float("inf")), low, high


def _representatives(values: Values) -> dict[Any, Any]:
    """Return for each of many numbers the one that stands for it and its neighbours."""
    levels = list({value for value in values if value is not None})
    if len(levels) <= MOST_GROUPS or not _is_number(levels):
        return {}
    levels.sort()
    size = -(-len(levels) // GROUPS)
    return {value: levels[min(len(levels) - 1, i - i % size + size // 2)] for i, value in enumerate(levels)}


def first_metrics(varying: Mapping[str, Values], axes: Sequence[str]) -> list[str]:
    """Return the metrics to show first: headlines, else whatever varies; those that most axes move come first."""
    metrics = [name for name in varying if name not in axes and _is_number(varying[name])]
    found = [name for name in HEADLINES if name in metrics]
    # A metric that equals another at every point, as of a run's only job, shows nothing more.
    for name in metrics if len(found) < 2 else ():
        if all(varying[name] != varying[other] for other in found):
            found.append(name)

    def moved(name: str) -> int:
        return -min(2, sum(effects(varying[axis], varying[name])[0] > LEAST_EFFECT for axis in axes))

    return sorted(found, key=moved)[:MOST_SHOWN]


def _is_number(values: Values) -> bool:
    return all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values)


def page_parts(about: Mapping[str, Any], found: "pa.Table") -> tuple[str, list[Chapter], dict[str, Any]]:
    """Return the subtitle, the chapters and the embedded data of a sweep's page."""
    axes, parts, data = charted(about, found)
    subtitle = f"{len(found):,} points of {about['sweep']['scenario']}: {', '.join(map(label, axes)) or 'no axes'}"
    return subtitle, [*parts, _origin(about)], data


def charted(about: Mapping[str, Any], found: "pa.Table") -> tuple[list[str], list[Chapter], dict[str, Any]]:
    """Return the axes of a sweep, the chapters on its points, and their embedded data."""
    axes = [str(axis) for axis in about["manifest"]["axes"]]
    varying, same = columns_of(found, axes)
    metrics = first_metrics(varying, axes)
    metric = next(iter(metrics), None)
    data = {
        "axes": axes,
        "numbers": found["point"].to_pylist(),
        "columns": [embedded_column(each, values) for each, values in varying.items()],
        "shown": {"y": metric, "metrics": metrics} | first_axes(varying, axes, metric),
    }
    charts = _charts() if metric is not None else ()
    parts = [_summary(about, found, varying, axes, metrics), _warnings(about), *charts, _all_points(), _constant(same)]
    return axes, [part for part in parts if part.body], {"points": data}


def first_axes(varying: Mapping[str, Values], axes: Sequence[str], metric: str | None) -> dict[str, Any]:
    """Return the axes to show first: ``x``, the number that moves ``metric`` most, or the words where no number moves
    it; ``by``, the axis that moves it most of all others; ``up``, the same, but a number where another moves it; and
    all ``numbers`` that do."""
    effect = {axis: effects(varying[axis], varying[metric])[0] if metric else 1.0 for axis in axes}
    order = sorted(axes, key=lambda axis: -effect[axis])
    numbers = [axis for axis in order if _is_number(varying[axis]) and effect[axis] > LEAST_EFFECT]
    x = next(iter(numbers or order), None)
    others = [axis for axis in order if axis != x]
    upright = [axis for axis in numbers if axis != x] or others
    return {"x": x, "by": next(iter(others), None), "up": next(iter(upright), None), "numbers": numbers}


def _summary(
    about: Mapping[str, Any], found: "pa.Table", varying: Mapping[str, Values], axes: Sequence[str],
    metrics: Sequence[str],
) -> Chapter:  # fmt: skip
    failed = about["manifest"]["failed"]
    figures = [
        ("points", f"{len(found):,}", f"{failed:,} failed" if failed else "none failed"),
        ("axes", str(len(axes)), ", ".join(map(label, axes))),
    ]
    for metric in metrics[:1]:
        values = varying[metric]
        there = [i for i, value in enumerate(values) if value is not None]
        for word, choose in (("lowest", min), ("highest", max)):
            i = choose(there, key=lambda i: values[i])
            at = ", ".join(f"{label(axis)} {shown(axis, varying[axis][i])}" for axis in axes)
            figures.append(
                (
                    joined(word, " ", breakable(label(metric))),
                    shown(metric, values[i]),
                    f"point {found['point'][i]}: {at}",
                )
            )
    return Chapter("summary", "Summary", joined(cards(figures), _effects(varying, axes, metrics)))


def shown(name: str, value: Any) -> str:
    """Return a value of the column ``name`` for its reader."""
    unit = dimension(name)
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _text(value)
    if unit is not None:
        return short(value, unit)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def _effects(varying: Mapping[str, Values], axes: Sequence[str], metrics: Sequence[str]) -> Markup:
    """Return a table of how much each axis moves the metrics that are shown first."""
    if not metrics or not axes:
        return Markup()
    rows: list[list[Content | tuple[Content, float]]] = []
    for axis in axes:
        row: list[Content | tuple[Content, float]] = [
            joined(breakable(label(axis)), _note(_levels(axis, varying[axis])))
        ]
        for metric in metrics:
            ratio, low, high = effects(varying[axis], varying[metric])
            row.append(_effect(axis, ratio, low, high))
        rows.append(row)
    hint = (
        "The mean of the metric at the value of the axis where it is highest, over that where it is lowest, all other "
        f"axes together; of more than {MOST_GROUPS} values, groups of neighbours are one."
    )
    headings = ["axis", *(breakable(label(metric)) for metric in metrics)]
    held = table(headings, rows, label="effects of axes", numeric=range(1, 1 + len(metrics)))
    return joined(element("h3", None, "What each axis does"), held, element("p", {"class": "hint"}, hint))


def _effect(axis: str, ratio: float, low: Any, high: Any) -> tuple[Content, float]:
    if ratio < LEAST_SAID:
        return "nothing", 1.0
    # Four digits, and as many as a ratio close to one needs.
    said = f"x {ratio:,.0f}" if ratio >= 1000 else f"x {ratio:.4g}" if ratio >= LEAST_EFFECT else f"x {ratio:.5g}"
    where = [_note(f"{word} at {shown(axis, value)}") for word, value in (("lowest", low), ("highest", high))]
    return joined(said if ratio < float("inf") else "from zero", where), min(ratio, 1e300)


def _note(text: str) -> Markup:
    return element("small", None, text)


def _levels(axis: str, values: Values) -> str:
    levels = list(dict.fromkeys(value for value in values if value is not None))
    if len(levels) <= 5:
        return ", ".join(shown(axis, level) for level in levels)
    ends = (min(levels), max(levels)) if _is_number(levels) else (levels[0], levels[-1])
    return f"{len(levels)} from {shown(axis, ends[0])} to {shown(axis, ends[1])}"


def _warnings(about: Mapping[str, Any]) -> Chapter:
    lines = [element("li", None, sentence) for sentence in about["manifest"]["warnings"]]
    body = element("ul", {"class": "warnings"}, lines) if lines else element("p", {"class": "quiet"}, "None.")
    failures = about["manifest"]["failures"]
    if failures:
        rows = [[each["why"], element("code", None, each["command"])] for each in failures]
        held = table(["why", "the command that repeats it"], rows, label="failed points", filtered=len(rows) > 12)
        body = joined(body, element("h3", None, "Failed points"), held)
    return Chapter("warnings", "Warnings", joined(body))


def _charts() -> Iterator[Chapter]:
    said = {
        "filter": ("Filter", "points filtered by axes", "What is chosen here holds for every chart and the table."),
        "lines": ("Lines", "a metric over an axis", ""),
        "heat": ("Heat map", "a metric over two axes", ""),
        "front": (
            "Pareto front", "points by two columns",
            "No other point is better than one of the front in one column without being worse in the other.",
        ),
        "parallel": (
            "Parallel coordinates", "all columns side by side",
            "Drag along an axis to keep the points there, click it to let all through. With the keyboard: arrows choose"
            " an axis and step through its values, with Shift they widen the stretch, Escape lets all through. Numbers"
            " can be typed under Filter.",
        ),
    }  # fmt: skip
    for kind, (heading, about, hint) in said.items():
        body = joined(chart(kind, "points", about), element("p", {"class": "hint"}, hint) if hint else "")
        yield Chapter(kind, heading, body)


def _all_points() -> Chapter:
    hint = "Words, or comparisons such as bandwidth>=100GB/s or policy=spin, separated by spaces; all must hold."
    body = joined(chart("rows", "points", "all points"), element("p", {"class": "hint"}, hint))
    return Chapter("points", "Points", body)


def _constant(same: Mapping[str, Any]) -> Chapter:
    rows = [[breakable(label(name)), shown(name, value)] for name, value in same.items() if value is not None]
    if not rows:
        return Chapter("constant", "The same everywhere", Markup())
    held = table(["metric", "value at every point"], rows, label="metrics that do not vary", numeric=(1,),
                 filtered=len(rows) > 12)  # fmt: skip
    return Chapter("constant", "The same everywhere", held)


def axis_text(axis: Mapping[str, Any]) -> str:
    """Return the values of an axis as the manifest states them."""
    return str(axis.get("range") or ", ".join(map(_text, axis["values"])))


def _origin(about: Mapping[str, Any]) -> Chapter:
    sweep = about["sweep"]
    rows: list[list[Content]] = [["scenario", sweep["scenario"]]]
    rows += [[f"set {key}", _text(value)] for key, value in sweep["set"].items()]
    for name, axis in sweep["axes"].items():
        rows.append([joined("axis ", breakable(name)), axis_text(axis)])
    if "samples" in sweep:
        rows.append(["samples", ", ".join(f"{key} {value}" for key, value in sweep["samples"].items())])
    rows.append(["repeats", sweep["repeats"]])
    rows += [[name, number] for name, number in about["manifest"]["versions"].items()]
    return Chapter("origin", "Origin", table(["what", "value"], rows, label="origin"))
