"""What matters of a result, with units: a sentence, a row a job and a rank, then links, queues and flags; as text and
as HTML."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from simcore import registry
from simcore.columns import dimension_of, label_of
from simcore.formats import comparison
from simcore.metrics import leaves
from simcore.units import SIZE, TIME, short

if TYPE_CHECKING:
    from simcore.assembly import Result

DURATIONS = {
    "compute": "compute_ps",
    "wait": "wait_ps",
    "replayed": "replay_ps",
    "comm.": "communication_ps",
    "exposed": "exposed_communication_ps",
}
"""Durations of a rank by the heading of their column."""
MOST_ROWS = 8
"""Rows of a table that are shown."""


@dataclass(frozen=True)
class Table:
    """Rows of text below headings, the first column naming them; how many ``more`` there are."""

    headings: list[str]
    rows: list[list[str]]
    more: int

    @property
    def rest(self) -> str:
        """Where the rows are that are not shown; empty if all are."""
        return f"... and {self.more} more {self.headings[0]}s in metrics.json" if self.more else ""


def headline(result: "Result") -> str:
    """Return what ran on what, and for how long."""
    found, asked = result.metrics, result.scenario
    about = asked.machine
    machine = f"{about.gpu_count} GPUs of {about.name}, {about.topology}, {about.sharing} links"
    policy = f", wait policy {asked.wait.policy}" if found["flags"]["waits"] else ""
    return f"{asked.name} on {machine}{policy}: {short(found['makespan_ps'], TIME)} simulated"


def tables(result: "Result") -> Iterator[Table]:
    """Yield the table of jobs, where several share the machine, and that of ranks, where there is one job."""
    if result.scenario.is_shared:
        yield _of_jobs(result.metrics["jobs"])
    if "ranks" in result.metrics:
        yield _of_ranks(result.metrics["ranks"])


def facts(result: "Result") -> Iterator[tuple[str, str]]:
    """Yield what jobs say of themselves, then what traffic, links, queues, messages and flags came to, each with what
    it is about."""
    found = result.metrics
    for job in result.scenario.workloads:
        workload = registry.load(job.model)
        units = {metric.key: metric.unit for metric in getattr(workload, "metrics", ())}
        values = dict(leaves(found["jobs"][job.name]))
        shown = [_said(key, values[key], units[key]) for key in getattr(workload, "headlines", ()) if key in values]
        if shown:
            yield job.name, ", ".join(shown)
    for name, about in found.get("traffic", {}).items():
        size, delay = short(about["data_bytes"], SIZE), short(about["queue_delay_ps"]["mean"], TIME)
        yield "traffic", f"{name}: {size} in {about['messages']} messages, queue delay mean {delay}"
    links, queue, flags, moved = found["links"], found["queue_delay_ps"], found["flags"], found["transfers"]
    used = f"over {links['used']} links, busiest {links['busiest']}" if links["used"] else "(no link was used)"
    yield (
        "links",
        f"utilisation mean {links['utilisation_mean']:.2%}, p95 {links['utilisation_p95']:.2%}, peak "
        f"{links['utilisation_peak']:.2%} {used}",
    )
    yield (
        "queues",
        f"delay mean {short(queue['mean'], TIME)}, p95 {short(queue['p95'], TIME)}, max {short(queue['max'], TIME)}",
    )
    yield (
        "moved",
        f"{short(moved['data_bytes'], SIZE)} of data, {short(moved['flag_bytes'], SIZE)} of flags in "
        f"{moved['messages']} messages",
    )
    delay = flags["detection_delay_ps"]
    if flags["waits"]:
        yield (
            "flags",
            f"{flags['flag_reads']} reads in {flags['waits']} waits, {flags['wakeups']} wake-ups, detection delay "
            f"mean {short(delay['mean'], TIME)}, max {short(delay['max'], TIME)}",
        )


def _said(key: str, value: float, unit: str) -> str:
    dimension = dimension_of(key)
    if dimension is not None:
        return f"{label_of(key)} {short(int(value), dimension)}"
    number = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f"{key} {number}" + ("" if unit in ("", "1") else f" {unit}")


def html(result: "Result") -> str:
    """Return all of it as HTML without styles or scripts; text from the scenario stays text."""
    parts = [f"<p><b>{escape(headline(result))}</b></p>", *map(_table, tables(result))]
    lines = [*facts(result), *(("warning", sentence) for sentence in result.warnings)]
    rows = [f"<tr><th>{what}</th><td>{escape(text)}</td></tr>" for what, text in lines]
    parts.append(f"<table>{''.join(rows)}</table>")
    compared = "\n".join(comparison.lines(result.compared, MOST_ROWS))
    return "\n".join([*parts, f"<pre>{escape(compared)}</pre>"] if compared else parts)


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in table.headings)
    rows = ["".join(f"<td>{escape(text)}</td>" for text in row) for row in table.rows]
    rest = f"<p>{escape(table.rest)}</p>" if table.rest else ""
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>{rest}"


def _of_jobs(jobs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a row a job: what it took here and alone, and the mean over its ranks where those are listed."""
    rows = {}
    for name, job in jobs.items():
        row = {"makespan": job["makespan_ps"], "alone": job.get("alone_makespan_ps")}
        ranks = list(job.get("ranks", {}).values())
        for heading in ("compute", "wait", "exposed") if ranks else ():
            row[heading] = sum(rank[DURATIONS[heading]] for rank in ranks) // len(ranks)
        rows[name] = row | {"queued": job["queue_delay_ps"]["mean"]}
    extra = {"slowdown": [f"{job['slowdown']:.3f}" if "slowdown" in job else "-" for job in jobs.values()]}
    return _made("job", rows, extra)


def _of_ranks(ranks: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a row a rank; what no rank did has no column."""
    done = {heading: key for heading, key in DURATIONS.items() if any(rank[key] for rank in ranks.values())}
    rows = {name: {heading: rank[key] for heading, key in done.items()} for name, rank in ranks.items()}
    extra = {
        "overlap\n(%)": [f"{rank['overlap_fraction']:.1%}".rstrip("%") for rank in ranks.values()],
        "flag\nreads": [str(rank["flag_reads"]) for rank in ranks.values()],
        "other\nreads": [str(rank["other_reads"]) for rank in ranks.values()],
    }
    return _made("rank", rows, {heading: column for heading, column in extra.items() if set(column) != {"0"}})


def _made(what: str, rows: Mapping[str, Mapping[str, int | None]], extra: Mapping[str, list[str]]) -> Table:
    """Return the first rows, durations in ps by heading, each column in its own unit, then the ``extra`` columns."""
    headings, scales = [what], {}
    for heading in next(iter(rows.values())):
        largest = max(row[heading] or 0 for row in rows.values())
        unit = next((unit for unit in TIME.display if largest >= TIME.units[unit]), TIME.base)
        scales[heading] = TIME.units[unit]
        headings.append(f"{heading}\n({unit})")
    shown = []
    for i, (name, row) in enumerate(list(rows.items())[:MOST_ROWS]):
        times = ["-" if (time := row[heading]) is None else f"{time / scale:.4g}" for heading, scale in scales.items()]
        shown.append([name, *times, *(column[i] for column in extra.values())])
    return Table([*headings, *extra], shown, max(0, len(rows) - MOST_ROWS))
