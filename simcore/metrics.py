"""From the tables of a run to the metrics that every run has: exact sums first, ratios last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simcore.trace import CHUNK, numbers, parted, says

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class Metric:
    """A number of a run: its dotted key in metrics.json (NAME, rankN and A->B stand for names), its unit, what it says,
    and, where that is more than a count, how it is reckoned."""

    key: str
    unit: str
    meaning: str
    reckoned: str = ""


def leaves(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every metric."""
    for key, value in found.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _spread_of(key: str, what: str) -> tuple[Metric, ...]:
    return (
        Metric(f"{key}.mean", "ps", f"mean of {what}", "rounded down"),
        Metric(f"{key}.p95", "ps", f"95th percentile of {what}", "a value that occurs"),
        Metric(f"{key}.max", "ps", f"greatest of {what}"),
    )


METRICS: tuple[Metric, ...] = (
    Metric("makespan_ps", "ps", "the last end of a span or arrival of a job's message",
        "max(spans.t1_ps, transfers.arrived_ps)"),
    Metric("ranks.rankN.end_ps", "ps", "end of the rank's last span", "max(spans.t1_ps) of the rank"),
    Metric("ranks.rankN.compute_ps", "ps", "time covered by spans `compute`", "length of their union"),
    Metric("ranks.rankN.wait_ps", "ps", "time in spans `wait`", "sum of t1_ps - t0_ps"),
    Metric("ranks.rankN.replay_ps", "ps",
        "time in spans `replay`: a recorded collective that is not simulated", "sum of t1_ps - t0_ps"),
    Metric("ranks.rankN.communication_ps", "ps",
        "time in which at least one message from or to the rank is under way",
        "length of the union of issued_ps to arrived_ps of its transfers"),
    Metric("ranks.rankN.exposed_communication_ps", "ps", "that part of it in which the rank does not compute",
        "length of communication without compute"),
    Metric("ranks.rankN.overlap_fraction", "1",
        "share of communication that is hidden by computation; 0 without communication",
        "1 - exposed_communication_ps / communication_ps"),
    Metric("ranks.rankN.flag_reads", "reads", "memory reads of flags by this rank, one line each",
        "sum of flags.flag_reads of the rank and its work-groups"),
    Metric("ranks.rankN.other_reads", "reads", "lines that its kernels read",
        "bytes that each kernel reads over memory_line, rounded up"),
    Metric("jobs.NAME.first_rank", "rank", "number of the job's rank 0 in `transfers`"),
    Metric("jobs.NAME.start_ps", "ps", "the job's start"),
    Metric("jobs.NAME.end_ps", "ps", "the job's last end of a span or arrival of a message"),
    Metric("jobs.NAME.makespan_ps", "ps", "how long the job took", "end_ps - start_ps"),
    Metric("jobs.NAME.alone_makespan_ps", "ps",
        "the same, of this job alone on the same GPUs, without other jobs and without traffic; where slowdowns "
        "are measured"),
    Metric("jobs.NAME.slowdown", "1", "how much longer than alone; where slowdowns are measured",
        "makespan_ps / alone_makespan_ps"),
    Metric("jobs.NAME.messages", "messages", "messages of the job that arrived"),
    Metric("jobs.NAME.data_bytes", "bytes", "what its messages of kind data carried"),
    Metric("jobs.NAME.flag_bytes", "bytes", "what its messages of kind flag carried"),
    *_spread_of("jobs.NAME.queue_delay_ps", "the time that the job's messages spent waiting for links"),
    Metric("traffic.NAME.messages", "messages", "background messages that arrived"),
    Metric("traffic.NAME.data_bytes", "bytes", "what they carried"),
    *_spread_of("traffic.NAME.queue_delay_ps", "the time that background messages spent waiting for links"),
    Metric("links.used", "links",
        "links that carried anything, background traffic included; the following are over these"),
    Metric("links.utilisation_mean", "1", "share of the time in which a link carried bytes, mean over links",
        "sum of links.busy_ps / (links used x the last end of anything)"),
    Metric("links.utilisation_p95", "1", "95th percentile over all bins of all links, empty bins included",
        "of busy_ps / (t1_ps - t0_ps)"),
    Metric("links.utilisation_peak", "1", "the highest bin", "max(busy_ps / (t1_ps - t0_ps))"),
    Metric("links.busiest", "name", "the link with most busy time, the first by name of equals"),
    *_spread_of("queue_delay_ps", "the time that messages of all jobs spent waiting for links (`queued_ps`)"),
    Metric("flags.waits", "waits", "finished waits", "rows of flags"),
    Metric("flags.flag_reads", "reads", "memory reads of flags", "sum of flags.flag_reads"),
    Metric("flags.wakeups", "wake-ups", "times a monitor woke a waiter", "sum of flags.wakeups"),
    Metric("flags.false_wakeups", "wake-ups", "wake-ups after which the awaited value was not there",
        "sum of flags.false_wakeups"),
    Metric("flags.overflows", "watches", "watches that went to a monitor's log", "sum of flags.overflows"),
    *_spread_of("flags.detection_delay_ps",
        "the time from a flag being set to the waiter knowing it, over waits that began before it was set"),
    Metric("transfers.messages", "messages", "messages of jobs that arrived", "rows of transfers between ranks"),
    Metric("transfers.data_bytes", "bytes", "what those of kind data carried"),
    Metric("transfers.flag_bytes", "bytes", "what those of kind flag carried"),
    Metric("bytes_per_pair.A->B", "bytes", "what was sent from rank A to rank B of a job"),
    Metric("work.events", "events", "what the simulation took: events of its clock"),
    Metric("work.visits", "steps", "what the simulation took: steps of its data plane"),
)  # fmt: skip
"""Every metric of metrics.json but the counters of models, in the order of the file."""

Intervals = tuple["np.ndarray", "np.ndarray"]

TRANSFERS = ("src", "dst", "size_bytes", "issued_ps", "arrived_ps", "queued_ps")
"""Columns of numbers that metrics are made of."""


@dataclass(frozen=True)
class Members:
    """The ranks of one job: its name, the rank number of its first rank in the tables, the locations of all, and its
    start (ps)."""

    name: str
    first: int
    locations: Sequence[str]
    start: int = 0


def summarise(
    tables: Mapping[str, "pa.Table"],
    jobs: Sequence[Members],
    counters: Mapping[str, Mapping[str, int]],
    background: Sequence[str] = (),
    *,
    whole: bool = True,
) -> dict[str, Any]:
    """Return the default metrics of a run of ``jobs``, whose ranks follow one another from 0; ``counters`` are further
    exact counts by rank location, ``background`` the names of traffic between ranks that belong to no job. A run that
    is not ``whole`` was ended by its user: messages under way have booked links beyond its end.

    Communication of a rank is the time in which a message from or to it is under way; it is exposed where
    the rank does not compute. Durations are ps, sizes bytes, utilisations and fractions between 0 and 1.
    """
    import numpy as np

    kinds = ("spans", "links", "flags")
    spans, links, flags = ({name: numbers(tables[kind], name) for name in tables[kind].column_names} for kind in kinds)
    # A work-group's reads are its rank's: rank0.wg17.
    rank_of = {location: parted(location)[0] for location in set(flags["location"])}
    flags["rank"] = np.array([rank_of[location] for location in flags["location"]], object)
    world = sum(len(job.locations) for job in jobs)
    transfers, others = _transfers(tables["transfers"], world)
    last = _last(spans["t1_ps"], transfers["arrived_ps"], others["arrived_ps"])
    of_jobs = {job.name: _of_job(spans, transfers, flags, job, counters) for job in jobs}
    single = {"ranks": of_jobs[jobs[0].name].pop("ranks")} if len(jobs) == 1 else {}
    apart = {"traffic": _of_traffic(others, background)} if background else {}
    return {
        "makespan_ps": _last(spans["t1_ps"], transfers["arrived_ps"]),
        **single,
        "jobs": of_jobs,
        **apart,
        "links": _of_links(links, last, whole),
        "queue_delay_ps": _spread(transfers["queued_ps"]),
        "flags": {
            "waits": len(flags["flag_reads"]),
            "flag_reads": int(flags["flag_reads"].sum()),
            "wakeups": int(flags["wakeups"].sum()),
            "false_wakeups": int(flags["false_wakeups"].sum()),
            "overflows": int(flags["overflows"].sum()),
            "detection_delay_ps": _spread((flags["detected_ps"] - flags["set_ps"])[flags["set_ps"] >= flags["t0_ps"]]),
        },
        "transfers": _moved(transfers),
        "bytes_per_pair": _pairs(transfers),
    }


def _transfers(table: "pa.Table", world: int) -> tuple[Any, Any]:
    """Return the columns of messages from ranks below ``world``, and those of all others."""
    import numpy as np

    ours, others = ({name: [np.zeros(0, np.int64)] for name in TRANSFERS} for _ in range(2))
    ours["flag"], others["flag"], others["what"] = [np.zeros(0, bool)], [np.zeros(0, bool)], [np.zeros(0, object)]
    # Part by part: each column is copied once, and only what is looked at.
    for first in range(0, len(table), CHUNK):
        part = table.slice(first, CHUNK)
        columns = {name: numbers(part, name) for name in TRANSFERS}
        columns["flag"] = says(part, "kind", "flag")
        mine = columns["src"] < world
        for found, rows in ((ours, mine), (others, ~mine)):
            for name, column in columns.items():
                found[name].append(column[rows])
        if not mine.all():
            others["what"].append(numbers(part, "what")[~mine])
    whole = [{name: np.concatenate(each) for name, each in found.items()} for found in (ours, others)]
    return whole[0], whole[1]


def _of_job(
    spans: Any, transfers: Any, flags: Any, job: Members, counters: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    count = len(job.locations)
    sent = _chosen(transfers, (transfers["src"] >= job.first) & (transfers["src"] < job.first + count))
    touching = _by_rank(sent, job.first, count)
    ranks = {}
    for rank, where in enumerate(job.locations):
        found = _of_rank(spans, touching[rank], flags, where)
        ranks[f"rank{rank}"] = found | dict(counters.get(where, {}))
    end = max(job.start, _last(sent["arrived_ps"]), *(found["end_ps"] for found in ranks.values()))
    return {
        "first_rank": job.first,
        "start_ps": job.start,
        "end_ps": end,
        "makespan_ps": end - job.start,
        **_moved(sent),
        "queue_delay_ps": _spread(sent["queued_ps"]),
        "ranks": ranks,
    }


def _of_traffic(transfers: Any, names: Sequence[str]) -> dict[str, Any]:
    found = {}
    for name in names:
        mine = _chosen(transfers, transfers["what"] == name)
        moved = _moved(mine)
        found[name] = {
            "messages": moved["messages"],
            "data_bytes": moved["data_bytes"],
            "queue_delay_ps": _spread(mine["queued_ps"]),
        }
    return found


def _moved(transfers: Any) -> dict[str, int]:
    flag_bytes = int(transfers["size_bytes"][transfers["flag"]].sum())
    return {
        "messages": len(transfers["src"]),
        "data_bytes": int(transfers["size_bytes"].sum()) - flag_bytes,
        "flag_bytes": flag_bytes,
    }


def _chosen(columns: Any, rows: "np.ndarray") -> Any:
    """Return the ``rows`` of all columns; the columns themselves where that is every row."""
    return columns if rows.all() else {name: column[rows] for name, column in columns.items()}


def _last(*columns: "np.ndarray") -> int:
    return max((int(column.max()) for column in columns if len(column)), default=0)


def _by_rank(transfers: Any, first: int, count: int) -> Sequence[Intervals]:
    """Return for every rank when the messages from and to it were issued and when they arrived."""
    import numpy as np

    places = []
    for end in ("src", "dst"):
        # Sorting them once costs less than looking through all for every rank.
        number = np.clip(transfers[end].astype(np.int64) - first, -1, count)
        order = np.argsort(number.astype(np.int16 if count < 2**15 else np.int64), kind="stable")
        places.append(np.split(order, np.searchsorted(number[order], np.arange(count + 1)))[1:-1])
    issued, arrived = transfers["issued_ps"], transfers["arrived_ps"]
    return [(issued[each], arrived[each]) for each in map(np.concatenate, zip(*places, strict=True))]


def _of_rank(spans: Any, messages: Intervals, flags: Any, where: str) -> dict[str, Any]:
    here = spans["location"] == where
    lengths = spans["t1_ps"] - spans["t0_ps"]
    computing = here & (spans["activity"] == "compute")
    compute = _union(spans["t0_ps"][computing], spans["t1_ps"][computing])
    communication = _union(*messages)
    both = _length(_joined(compute, communication))
    total = _length(communication)
    exposed = both - _length(compute)
    return {
        "end_ps": int(spans["t1_ps"][here].max()) if here.any() else 0,
        "compute_ps": _length(compute),
        "wait_ps": int(lengths[here & (spans["activity"] == "wait")].sum()),
        "replay_ps": int(lengths[here & (spans["activity"] == "replay")].sum()),
        "communication_ps": total,
        "exposed_communication_ps": exposed,
        "overlap_fraction": (total - exposed) / total if total else 0.0,
        "flag_reads": int(flags["flag_reads"][flags["rank"] == where].sum()),
    }


def _union(begin: "np.ndarray", end: "np.ndarray") -> Intervals:
    """Return the disjoint, sorted intervals that cover the same time."""
    import numpy as np

    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], end[order]
    if not len(begin):
        return begin, end
    reach = np.maximum.accumulate(end)
    fresh = np.concatenate(([True], begin[1:] > reach[:-1]))
    last = np.concatenate((np.nonzero(fresh)[0][1:] - 1, [len(begin) - 1]))
    return begin[fresh], reach[last]


def _joined(a: Intervals, b: Intervals) -> Intervals:
    import numpy as np

    return _union(np.concatenate((a[0], b[0])), np.concatenate((a[1], b[1])))


def _length(intervals: Intervals) -> int:
    return int((intervals[1] - intervals[0]).sum())


def _of_links(links: Any, last: int, whole: bool) -> dict[str, Any]:
    """Utilisation over the links that carried something, up to the ``last`` end of anything: mean over that time, p95
    and peak over their bins, empty bins included. A run that is not ``whole`` counts up to the end of the bin in which
    it was cut, because what a bin holds cannot be parted."""
    import numpy as np

    if not whole and len(links["link"]):
        width = int(links["t1_ps"][0] - links["t0_ps"][0])
        links = _chosen(links, links["t0_ps"] < last)
        last = -(-last // width) * width
    names = sorted(set(links["link"]))
    if not names or not last:
        return {"used": 0, "utilisation_mean": 0.0, "utilisation_p95": 0.0, "utilisation_peak": 0.0, "busiest": ""}
    width = int(links["t1_ps"][0] - links["t0_ps"][0])
    bins = np.zeros(len(names) * -(-last // width))
    used = links["busy_ps"] / (np.minimum(links["t1_ps"], last) - links["t0_ps"])
    bins[: len(used)] = used
    place = {name: index for index, name in enumerate(names)}
    sums = np.zeros(len(names), np.int64)
    np.add.at(sums, np.fromiter(map(place.__getitem__, links["link"]), np.int64, len(links["link"])), links["busy_ps"])
    busy = dict(zip(names, sums.tolist(), strict=True))
    return {
        "used": len(names),
        "utilisation_mean": sum(busy.values()) / (len(names) * last),
        "utilisation_p95": float(np.quantile(bins, 0.95)),
        "utilisation_peak": float(bins.max()),
        "busiest": max(names, key=lambda name: busy[name]),
    }


def _spread(values: "np.ndarray") -> dict[str, int]:
    """Return mean (rounded down), 95th percentile (a value that occurs) and maximum of ``values``, ps."""
    import numpy as np

    if not len(values):
        return {"mean": 0, "p95": 0, "max": 0}
    return {
        "mean": int(values.sum()) // len(values),
        "p95": int(np.quantile(values, 0.95, method="inverted_cdf")),
        "max": int(values.max()),
    }


def _pairs(transfers: Any) -> dict[str, int]:
    import numpy as np

    src, dst = transfers["src"].astype(np.int64), transfers["dst"]
    ends = int(max(src.max(initial=0), dst.max(initial=0))) + 1
    number = src * ends + dst
    # Where messages are many and pairs few, sums by number cost a tenth of sorting the numbers.
    if ends * ends <= len(number):
        messages, sums = np.zeros(ends * ends, np.int64), np.zeros(ends * ends, np.int64)
        np.add.at(messages, number, 1)
        np.add.at(sums, number, transfers["size_bytes"])
        (pairs,) = np.nonzero(messages)
        sums = sums[pairs]
    else:
        pairs, index = np.unique(number, return_inverse=True)
        sums = np.zeros(len(pairs), np.int64)
        np.add.at(sums, index.reshape(-1), transfers["size_bytes"])
    ends_of = zip(*(each.tolist() for each in np.divmod(pairs, ends)), strict=True)
    return {f"{a}->{b}": total for (a, b), total in zip(ends_of, sums.tolist(), strict=True)}
