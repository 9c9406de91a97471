"""Chapters on waiting: where the time of each rank went, why it waited, and what its reads of flags cost."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simcore.page import detail
from simcore.page.markup import Chapter, Content, Markup, chart, element, joined, table
from simcore.trace import natural, numbers
from simcore.units import TIME, short

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MOST_REASONS = 100
"""Reasons in the table, those with most time."""
MOST_STEPS = 600
"""Points of a curve over time."""
BINS = 24
"""Bars of the histogram of delays."""


def reasons(tables: detail.Tables) -> Chapter:
    """Return why ranks and their parts waited, by reason, and where the time of each rank went."""
    rows, more = _by_reason(tables["spans"])
    headings = ["reason", "share", "waits", "in all", "mean", "longest"]
    told: Content = element("p", {"class": "quiet"}, "Nobody waited.")
    if rows:
        told = table(headings, rows, label="reasons of waits", numeric=range(2, 6), filtered=len(rows) > 12)
    left = element("p", {"class": "hint"}, f"{more:,} more reasons, of shorter waits") if more else ""
    drawn = chart("shares", "shares", "where the time of each rank went")
    return Chapter("waits", "Waits", joined(drawn, element("h3", None, "Reasons"), told, left))


def _by_reason(spans: "pa.Table") -> tuple[list[list[Content]], int]:
    """Return a row a reason, those with most time, and how many reasons are left out."""
    import numpy as np

    words, reason = detail.coded(spans, "reason")
    activities, activity = detail.coded(spans, "activity")
    waits = np.array([name == "wait" for name in activities], bool)[activity] if activities else np.zeros(0, bool)
    reason, length = reason[waits], (numbers(spans, "t1_ps") - numbers(spans, "t0_ps"))[waits]
    total, longest = np.bincount(reason, length, len(words)), np.zeros(len(words), np.int64)
    count = np.bincount(reason, minlength=len(words))
    np.maximum.at(longest, reason, length)
    order = sorted(np.nonzero(count)[0].tolist(), key=lambda i: (-total[i], natural(words[i])))
    most = max((total[i] for i in order), default=1) or 1
    rows: list[list[Content]] = []
    for i in order[:MOST_REASONS]:
        times = (float(v) for v in (total[i], total[i] / count[i], longest[i]))
        rows.append(
            [
                words[i] or "(no reason)",
                _bar(total[i] / most),
                (f"{int(count[i]):,}", int(count[i])),
                *((short(v, TIME) if v else "0", v) for v in times),
            ]
        )
    return rows, len(order) - len(rows)


def shares(lines: Mapping[str, Any]) -> dict[str, Any]:
    """Return for each row of the timeline that is a rank the time (ps) in every class of activity."""
    rows = [{"name": row["name"], "times": row["times"]} for row in lines["rows"] if row["parent"] < 0]
    return {"classes": lines["classes"], "rows": rows, "end": lines["end"]}


def flags(tables: detail.Tables, order: Sequence[str]) -> Chapter:
    """Return how often flags were read, by policy and by rank, in their ``order``, over time, and how late what they
    said was known."""
    found = tables["flags"]
    if not len(found):
        return Chapter("flags", "Flag reads", element("p", {"class": "quiet"}, "No flag was waited for."))
    headings = ["policy", "waits", "reads", "wake-ups", "in vain", "to the log", "delay, mean", "delay, max"]
    lines = _by_rank(found, order)
    body = joined(
        table(headings, _by_policy(found), label="waits by policy", numeric=range(1, 8)),
        chart("reads", "reads", "reads of flags so far"),
        element("p", {"class": "hint"}, "A poller's reads are drawn evenly over its wait, a sleeper's where it ends."),
        chart("delays", "delays", "waits by the time from flag set to flag seen"),
        element("h3", None, "Reads by rank"),
        table(
            ["rank", "share", "reads", "waits", "reads a wait"], lines, label="reads by rank", numeric=range(2, 5),
            filtered=len(lines) > 12,
        ),
    )  # fmt: skip
    return Chapter("flags", "Flag reads", body)


def _by_policy(found: "pa.Table") -> list[list[Content]]:
    policies, policy = detail.coded(found, "policy")
    begin, known, since = (numbers(found, name) for name in ("t0_ps", "detected_ps", "set_ps"))
    counts = [numbers(found, name) for name in ("flag_reads", "wakeups", "false_wakeups", "overflows")]
    rows: list[list[Content]] = []
    for i, name in enumerate(policies):
        here = policy == i
        late = (known - since)[here & (since >= begin)]
        sums = [int(here.sum()), *(int(column[here].sum()) for column in counts)]
        delays = [int(late.mean()), int(late.max())] if len(late) else [0, 0]
        rows.append([name, *((f"{v:,}", v) for v in sums), *((short(v, TIME) if v else "0", v) for v in delays)])
    return rows


def _by_rank(found: "pa.Table", order: Sequence[str]) -> list[list[Content]]:
    import numpy as np

    where, waiter = detail.coded(found, "location")
    ranks = sorted({detail.parent_of(name) for name in where}, key=detail.order_of(order))
    place = {name: i for i, name in enumerate(ranks)}
    rank = np.array([place[detail.parent_of(name)] for name in where], np.int64)[waiter]
    reads = np.bincount(rank, numbers(found, "flag_reads"), len(ranks))
    waits = np.bincount(rank, minlength=len(ranks))
    most = reads.max() or 1
    return [
        [
            name,
            _bar(reads[i] / most),
            (f"{int(reads[i]):,}", int(reads[i])),
            (f"{int(waits[i]):,}", int(waits[i])),
            (_mean(reads[i] / waits[i]), float(reads[i] / waits[i])),
        ]
        for i, name in enumerate(ranks)
    ]


def _mean(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def curves(tables: detail.Tables, end: int) -> dict[str, Any]:
    """Return the data of the two charts of ``flags``: reads so far over time, and a histogram of detection delays.

    Model: the table of waits holds how many reads a wait took, not when. A poller's are spread evenly over its wait,
    a sleeper's counted at its end.
    """
    import numpy as np

    found = tables["flags"]
    if not len(found):
        return {}
    policies, policy = detail.coded(found, "policy")
    polls = np.array([name in ("spin", "backoff", "yield") for name in policies], bool)[policy]
    begin, known, since = (numbers(found, name).astype(np.float64) for name in ("t0_ps", "detected_ps", "set_ps"))
    reads = numbers(found, "flag_reads").astype(np.float64)
    edges = np.linspace(0, end, MOST_STEPS + 1)
    start = np.where(polls, begin, known)
    so_far = _cumulated(edges, start, known, reads)
    late = (known - since)[since >= begin]
    return {"reads": {"x": edges.round().tolist(), "y": so_far.round(3).tolist()}, "delays": _histogram(late)}


def _cumulated(
    edges: "np.ndarray[Any, Any]",
    begin: "np.ndarray[Any, Any]",
    stop: "np.ndarray[Any, Any]",
    weight: "np.ndarray[Any, Any]",
) -> "np.ndarray[Any, Any]":
    """Return the sum up to each edge of weights spread evenly from begin to stop."""
    import numpy as np

    still = stop <= begin
    found = _steps(edges, begin[still], weight[still])
    begin, stop, weight = begin[~still], stop[~still], weight[~still]
    slope = weight / np.maximum(stop - begin, 1)
    # A ramp is the difference of two that never end, each a sum of slopes and of slopes times instants.
    for at, sign in ((begin, 1), (stop, -1)):
        found = found + sign * (_steps(edges, at, slope) * edges - _steps(edges, at, slope * at))
    return found


def _steps(
    edges: "np.ndarray[Any, Any]", at: "np.ndarray[Any, Any]", weight: "np.ndarray[Any, Any]"
) -> "np.ndarray[Any, Any]":
    import numpy as np

    order = np.argsort(at, kind="stable")
    sums = np.append(0, np.cumsum(weight[order]))
    return np.asarray(sums[np.searchsorted(at[order], edges, side="right")])


def _histogram(late: "np.ndarray[Any, Any]") -> dict[str, Any]:
    import numpy as np

    if not len(late):
        return {"edges": [], "counts": []}
    low, high = float(max(1, late.min())), float(max(2, late.max()))
    edges = (
        np.geomspace(low, high, BINS + 1)
        if high > 4 * low
        else np.linspace(late.min(), max(late.max(), late.min() + 1), BINS + 1)
    )
    counts, _ = np.histogram(np.clip(late, edges[0], edges[-1]), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _bar(part: float) -> Markup:
    """Return a bar as long as its share of the longest."""
    shape = element("rect", {"class": "bar", "width": f"{100 * part:.2f}", "height": 10})
    return element(
        "svg", {"viewBox": "0 0 100 10", "class": "spark", "preserveAspectRatio": "none", "aria-hidden": "true"}, shape
    )
