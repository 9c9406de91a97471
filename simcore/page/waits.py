"""Chapters on waiting: where the time of each rank went, why it waited, and what its reads of flags cost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from simcore.page import detail
from simcore.page.markup import Chapter, Markup, chart, element, joined, table
from simcore.trace import natural, numbers
from simcore.units import TIME, short

if TYPE_CHECKING:
    import numpy as np

MOST_REASONS = 100
"""Reasons in the table, those with most time."""
MOST_STEPS = 600
"""Points of a curve over time."""
BINS = 24
"""Bars of the histogram of delays."""


def reasons(tables: detail.Tables) -> Chapter:
    """Return why ranks and work-groups waited, by reason, and where the time of each rank went."""
    import numpy as np

    spans = tables["spans"]
    words, reason = detail.coded(spans, "reason")
    activities, activity = detail.coded(spans, "activity")
    length = numbers(spans, "t1_ps") - numbers(spans, "t0_ps")
    waits = np.array([name == "wait" for name in activities], bool)[activity] if activities else np.zeros(0, bool)
    total = np.bincount(reason[waits], length[waits], len(words))
    count = np.bincount(reason[waits], minlength=len(words))
    order = sorted(np.nonzero(count)[0].tolist(), key=lambda i: (-total[i], natural(words[i])))
    most = max((total[i] for i in order), default=1)
    rows = []
    for i in order[:MOST_REASONS]:
        bar = _bar(total[i] / most if most else 0)
        longest = int(length[waits & (reason == i)].max())
        cells = [
            (f"{int(count[i]):,}", int(count[i])),
            *((short(v, TIME), float(v)) for v in (total[i], total[i] / count[i], longest)),
        ]
        rows.append([words[i] or "(no reason)", bar, *cells])
    if not rows:
        told: Markup = element("p", {"class": "quiet"}, "Nobody waited.")
    else:
        told = table(
            ["reason", "share", "waits", "in all", "mean", "longest"],
            rows,
            label="reasons of waits",
            numeric=range(2, 6),
            filtered=len(rows) > 12,
        )
    more = (
        element("p", {"class": "hint"}, f"{len(order) - MOST_REASONS} more reasons")
        if len(order) > MOST_REASONS
        else ""
    )
    body = joined(
        chart("shares", "shares", "where the time of each rank went"), element("h3", None, "Reasons"), told, more
    )
    return Chapter("waits", "Waits", body)


def shares(lines: Mapping[str, Any]) -> dict[str, Any]:
    """Return for each row of the timeline that is a rank the time (ps) in every class of activity."""
    rows = [{"name": row["name"], "times": row["times"]} for row in lines["rows"] if row["parent"] < 0]
    return {"classes": lines["classes"], "rows": rows, "end": lines["end"]}


def flags(tables: detail.Tables) -> Chapter:
    """Return how often flags were read, by policy and by rank, over time, and how late what they said was known."""
    import numpy as np

    found = tables["flags"]
    if not len(found):
        return Chapter("flags", "Flag reads", element("p", {"class": "quiet"}, "No flag was waited for."))
    rows = []
    policies, policy = detail.coded(found, "policy")
    begin, known, since = (numbers(found, name) for name in ("t0_ps", "detected_ps", "set_ps"))
    counts = {name: numbers(found, name) for name in ("flag_reads", "wakeups", "false_wakeups", "overflows")}
    for i, name in enumerate(policies):
        here = policy == i
        late = (known - since)[here & (since >= begin)]
        sums = [int(here.sum()), *(int(column[here].sum()) for column in counts.values())]
        mean = int(late.mean()) if len(late) else 0
        delays = [(short(v, TIME), v) for v in (mean, int(late.max()) if len(late) else 0)]
        rows.append([name, *((f"{v:,}", v) for v in sums), *delays])
    headings = ["policy", "waits", "reads", "wake-ups", "in vain", "to the log", "delay, mean", "delay, max"]
    where, waiter = detail.coded(found, "location")
    ranks = sorted({detail.parent_of(name) for name in where}, key=natural)
    place = {name: i for i, name in enumerate(ranks)}
    rank = np.array([place[detail.parent_of(name)] for name in where], np.int64)[waiter]
    reads = np.bincount(rank, counts["flag_reads"], len(ranks))
    waits = np.bincount(rank, minlength=len(ranks))
    most = reads.max() or 1
    lines = [
        [
            name,
            _bar(reads[i] / most),
            (f"{int(reads[i]):,}", int(reads[i])),
            (f"{int(waits[i]):,}", int(waits[i])),
            (f"{reads[i] / waits[i]:.4g}", float(reads[i] / waits[i])),
        ]
        for i, name in enumerate(ranks)
    ]
    body = joined(
        table(headings, rows, label="waits by policy", numeric=range(1, 8)),
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
