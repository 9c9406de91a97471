"""The chapters of a run's page: each from tables and metrics alone, numbers with their units."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from simcore.assembly import Result
from simcore.formats import comparison
from simcore.metrics import leaves as every_metric
from simcore.page import machine, waits
from simcore.page.markup import Chapter, Content, Markup, chart, element, joined, table
from simcore.units import RATE, SIZE, TIME, Dimension, short

MOST_LISTED = 64
"""Ranks whose metrics are listed key by key."""
MOST_PAIRS = 200
"""Pairs of ranks in the table below the matrix; all are in the matrix."""
DURATIONS = {"compute": "compute_ps", "wait": "wait_ps", "replayed": "replay_ps", "communication": "communication_ps",
             "exposed": "exposed_communication_ps"}  # fmt: skip
"""Durations of a rank by the heading of their column."""


def measured(value: float, dimension: Dimension) -> tuple[str, float]:
    """Return a cell of a table: a quantity for its reader, and the number to sort it by."""
    return short(value, dimension) if value else "0", value


def counted(value: int) -> tuple[str, int]:
    """Return a cell of a table: a count, and the number to sort it by."""
    return f"{value:,}", value


def share(value: float) -> tuple[str, float]:
    """Return a cell of a table: a fraction as a percentage, and the number to sort it by."""
    return percentage(value), value


def percentage(value: float) -> str:
    """Return a fraction as a percentage, of little its first digits."""
    return f"{value:.2%}" if value >= 0.0001 or not value else f"{100 * value:.2g}%"


def summary(result: Result) -> Chapter:
    """Return what the run is, what came out, and a row a job and a rank."""
    found, links = result.metrics, result.metrics["links"]
    flags, moved, queue = found["flags"], found["transfers"], found["queue_delay_ps"]
    carried = f"{short(moved['data_bytes'], SIZE)} of data, {short(moved['flag_bytes'], SIZE)} of flags"
    use = f"mean of {links['used']:,} in use, peak {percentage(links['utilisation_peak'])}"
    late = f"mean; p95 {short(queue['p95'], TIME)}, max {short(queue['max'], TIME)}"
    figures = [
        ("makespan", short(found["makespan_ps"], TIME), "simulated"),
        ("messages", f"{moved['messages']:,}", carried),
        ("links", percentage(links["utilisation_mean"]), use),
        ("queue delay", short(queue["mean"], TIME), late),
    ]  # fmt: skip
    if flags["waits"]:
        woken = f"in {flags['waits']:,} waits, {flags['wakeups']:,} wake-ups"
        figures.append(("flag reads", f"{flags['flag_reads']:,}", woken))
    body = [cards(figures)]
    if result.interrupted_at is not None:
        body.insert(
            0,
            element(
                "p",
                {"class": "warning"},
                f"Interrupted by its user at {short(result.interrupted_at, TIME)}: this is the run up to there.",
            ),
        )
    body.append(_jobs(found["jobs"]) if len(found["jobs"]) > 1 else Markup())
    body.append(_ranks(dict(ranks_of(found))))
    return Chapter("summary", "Summary", joined(*body))


def cards(figures: Sequence[tuple[str, str, str]]) -> Markup:
    """Return a card a figure: its name, its value, and a line about it."""
    return element(
        "dl", {"class": "cards"},
        [element("div", None, element("dt", None, name), element("dd", {"class": "figure"}, value),
                 element("dd", None, about))
         for name, value, about in figures],
    )  # fmt: skip


def ranks_of(found: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the location and the metrics of every rank of all jobs."""
    if "ranks" in found:
        yield from found["ranks"].items()
    else:
        for name, job in found["jobs"].items():
            yield from ((f"{name}.{rank}", about) for rank, about in job.get("ranks", {}).items())


def _jobs(jobs: Mapping[str, Mapping[str, Any]]) -> Markup:
    slow = any("slowdown" in job for job in jobs.values())
    rows = []
    for name, job in jobs.items():
        row: list[Content | tuple[str, float]] = [name, measured(job["makespan_ps"], TIME)]
        if slow:
            alone, slowdown = job.get("alone_makespan_ps"), job.get("slowdown")
            row += [
                measured(alone, TIME) if alone is not None else "-",
                (f"{slowdown:.3f}", slowdown) if slowdown else "-",
            ]
        rows.append(
            [
                *row,
                counted(job["messages"]),
                measured(job["data_bytes"], SIZE),
                measured(job["queue_delay_ps"]["mean"], TIME),
            ]
        )
    headings = ["job", "makespan", *(["alone", "slowdown"] if slow else []), "messages", "data", "queue delay, mean"]
    return joined(element("h3", None, "Jobs"), table(headings, rows, label="jobs", numeric=range(1, 7)))


def _ranks(ranks: Mapping[str, Mapping[str, Any]]) -> Markup:
    if not ranks:
        return Markup()
    done = {name: key for name, key in DURATIONS.items() if any(rank.get(key) for rank in ranks.values())}
    usual = {*DURATIONS.values(), "end_ps", "overlap_fraction"}
    counts = sorted({key for rank in ranks.values() for key, value in rank.items() if value and key not in usual})
    rows = [
        [
            name,
            measured(rank["end_ps"], TIME),
            *(measured(rank[key], TIME) for key in done.values()),
            share(rank["overlap_fraction"]),
            *(_counter(key, rank.get(key, 0)) for key in counts),
        ]
        for name, rank in ranks.items()
    ]
    headings = ["rank", "end", *done, "overlap", *(key.removesuffix("_ps").replace("_", " ") for key in counts)]
    held = table(headings, rows, label="ranks", numeric=range(1, len(headings)), filtered=len(rows) > 12)
    return joined(element("h3", None, "Ranks"), held)


def _counter(key: str, value: int) -> tuple[str, float]:
    return measured(value, TIME) if key.endswith("_ps") else counted(value)


def warnings(result: Result) -> Chapter:
    """Return what the run's reader should know before believing it."""
    lines = [element("li", None, warning) for warning in result.warnings]
    body = element("ul", {"class": "warnings"}, lines) if lines else element("p", {"class": "quiet"}, "None.")
    return Chapter("warnings", "Warnings", body)


def timeline(lines: Mapping[str, Any]) -> Chapter:
    """Return who did what when; ``lines`` is what ``detail.timeline`` found."""
    if not lines["rows"]:
        return Chapter("timeline", "Timeline", element("p", {"class": "quiet"}, "Nobody did anything."))
    said = [
        "Drag to move, Ctrl and wheel or pinch to zoom, Shift and drag to zoom into a stretch, double click to zoom "
        "in. With the keyboard: arrows, + and -, 0 or Escape for all of the time, n and p for the next and previous "
        "bar, Enter to open a rank. Where several kinds share a pixel, each has its share of the height."
    ]
    if lines["merged"]:
        said.append(
            f"Level of detail: of neighbouring spans shorter than {short(lines['merged'], TIME)} those of one kind are "
            "drawn together, as long as they are."
        )
    if lines["hidden"]:
        said.append(f"{lines['hidden']:,} more rows below ranks are not shown; of each rank evenly many are.")
    body = joined(
        chart("timeline", "timeline", "timeline of all ranks"), [element("p", {"class": "hint"}, each) for each in said]
    )
    return Chapter("timeline", "Timeline", body)


def links(lanes: Mapping[str, Any]) -> Chapter:
    """Return how busy each link was when, and the links by their use; ``lanes`` is what ``detail.links`` found."""
    if not lanes["names"]:
        return Chapter("links", "Links", element("p", {"class": "quiet"}, "No link was used."))
    rows = [
        [name, share(mean), share(peak), measured(size, SIZE), measured(size / lanes["end"] * 1e12, RATE)]
        for name, mean, peak, size in zip(*(lanes[key] for key in ("names", "mean", "peak", "size")), strict=True)
    ]
    rows.sort(key=lambda row: -row[1][1])
    hidden = f" {lanes['hidden']:,} more links are not shown; the busiest of each class are." if lanes["hidden"] else ""
    body = joined(
        chart("links", "links", "use of links over time"),
        element("p", {"class": "hint"}, f"On the timeline's axis; a bin is {short(lanes['width'], TIME)}.{hidden}"),
        table(
            ["link", "utilisation, mean", "peak", "carried", "rate, mean"], rows, label="links", numeric=range(1, 5),
            filtered=len(rows) > 12,
        ),
    )  # fmt: skip
    return Chapter("links", "Links", body)


def drawing(result: Result, used: Mapping[str, float]) -> Chapter:
    """Return the machine, its links coloured by their mean utilisation: ``used``, by name."""
    asked = result.scenario.machine
    network = f"; {asked.nodes} nodes: {asked.network.topology}" if asked.network else ""
    about = f"{asked.name}: {asked.description} (a node: {asked.topology}{network}; {asked.sharing} links)"
    return Chapter(
        "machine", "Machine", joined(element("p", None, about), machine.drawing(asked.build_topology().graph(), used))
    )


def matrix(cells: Mapping[str, Any]) -> Chapter:
    """Return who sent how much to whom; ``cells`` is what ``detail.pairs`` found."""
    if not cells["cells"]:
        return Chapter("matrix", "Traffic matrix", element("p", {"class": "quiet"}, "Nothing was sent."))
    names = cells["names"]
    most = sorted(cells["cells"], key=lambda cell: -cell[2])[:MOST_PAIRS]
    rows = [[names[src], names[dst], measured(size, SIZE), counted(count)] for src, dst, size, count in most]
    left = len(cells["cells"]) - len(most)
    more = element("p", {"class": "hint"}, f"{left:,} more pairs in metrics.json") if left else ""
    held = table(["from", "to", "bytes", "messages"], rows, label="pairs", numeric=(2, 3), filtered=len(rows) > 12)
    details = element(
        "details", None, element("summary", None, f"the {len(rows)} pairs with most bytes as a table"), held, more
    )
    hint = element("p", {"class": "hint"}, "Each row is a sender, each column a receiver.")
    drawn = chart("matrix", "pairs", "bytes from rank to rank")
    return Chapter("matrix", "Traffic matrix", joined(hint, drawn, details))


def metrics(result: Result) -> Chapter:
    """Return the metrics by their key in metrics.json; of many ranks those that the table of ranks holds are left
    out."""
    found = list(leaves(result.metrics))
    many = len(dict(ranks_of(result.metrics))) > MOST_LISTED
    rows = [
        [key, (shown(key, value), value)]
        for key, value in found
        if not many or not (key.startswith("ranks.") or ".ranks." in key)
    ]
    left = (
        f"{len(found) - len(rows):,} more of single ranks are in the table of ranks and in metrics.json."
        if many
        else ""
    )
    held = table(["metric", "value"], rows, label="metrics", numeric=(1,), filtered=True)
    return Chapter("metrics", "Metrics", joined(element("p", {"class": "hint"}, left) if left else "", held))


def leaves(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every metric but the bytes of pairs, which the matrix holds."""
    return ((key, value) for key, value in every_metric(found) if not key.startswith("bytes_per_pair."))


def shown(key: str, value: Any) -> str:
    """Return a metric as text: thousands apart, durations and sizes also in a fitting unit."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    unit = unit_of(key)
    exact = f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
    if unit is None or value == 0:
        return exact
    return f"{exact} {unit.base}" + (f" ({short(value, unit)})" if abs(value) >= 1000 else "")


def unit_of(key: str) -> Dimension | None:
    """Return the dimension that the key of a metric states."""
    known = (("_ps", TIME), ("_bytes", SIZE))
    return next((unit for end, unit in known if any(part.endswith(end) for part in key.split("."))), None)


def measured_beside(result: Result) -> Chapter:
    """Return what was measured beside what simulating it again gave; of equal things the medians."""
    rows = [
        [each.what, measured(each.size, SIZE), counted(each.ranks), counted(each.count),
         *_beside(each.measured, each.simulated)]
        for each in comparison.groups(result.compared)
    ]  # fmt: skip
    ends = [
        [row.location, *_beside(row.measured_ps, row.simulated_ps)]
        for row in result.compared
        if row.what == comparison.WHOLE
    ]
    heads = ["measured", "simulated", "simulated / measured"]
    parts: list[Content] = []
    if rows:
        what = ["what", "size", "ranks", "count", *heads]
        parts.append(table(what, rows, label="measured things", numeric=range(1, 7), filtered=len(rows) > 12))
        parts.append(element("p", {"class": "hint"}, "Medians; each taken on the rank for which it was shortest."))
    if ends:
        parts.append(element("h3", None, "End of a rank"))
        parts.append(table(["rank", *heads], ends, label="ends of ranks", numeric=range(1, 4), filtered=len(ends) > 12))
    return Chapter("measured", "Measured and simulated", joined(*parts))


def _beside(was: int, found: int) -> list[tuple[str, float]]:
    return [measured(was, TIME), measured(found, TIME), (f"{found / was:.3g}", found / was) if was else ("-", 0.0)]


def waiting(result: Result, ranks: Sequence[str]) -> list[Chapter]:
    """Return why ranks waited, and what their flags cost."""
    return [waits.reasons(result.tables), waits.flags(result.tables, ranks)]
