"""Where a number of a run comes from: the rows of its tables that decide it."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from simcore import metrics, outputs
from simcore.assembly import Result
from simcore.errors import InputError
from simcore.trace import numbers
from simcore.units import SIZE, TIME, short

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

FEW = 5
"""Rows or values that are listed."""


THOUSAND = 1000
"""From so much on a quantity is also told in a larger unit."""


def values(result: Result, name: str) -> list[tuple[str, Any]]:
    """Return every metric of ``result`` that ``name`` means, by its key: one, or that of every rank, job or pair;
    raises ``InputError`` where the run has none."""
    held = dict(metrics.leaves(result.metrics))
    if name in held:
        return [(name, held[name])]
    wanted = {each.name for each in outputs.find(name) if each.file == "metrics.json"}
    found = [(key, value) for key, value in held.items() if outputs.pattern(key) in wanted]
    if wanted and not found:
        raise InputError(f"{name}: this run has none; its scenario does not measure it")
    return found


def told(value: Any, unit: str) -> str:
    """Return a value with its unit, and as its reader says it."""
    if not isinstance(value, int | float):
        return str(value)
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
    dimension = {"ps": TIME, "bytes": SIZE}.get(unit)
    if dimension is None:
        return f"{shown} {unit}".rstrip() if unit not in ("1", "name") else shown
    return f"{shown} {unit}" + (f" ({short(value, dimension)})" if abs(value) >= THOUSAND else "")


def reasons(result: Result, key: str) -> list[str]:
    """Return sentences about the rows that decide the metric ``key`` of ``result``; none where it is a plain count."""
    kind = outputs.pattern(key)
    if kind.startswith("ranks.rankN."):
        return _of_rank(result, key, kind.removeprefix("ranks.rankN."))
    found = _REASONS.get(kind)
    return found(result.tables) if found else []


def _row(table: "pa.Table", place: int) -> str:
    """Return a row of a table on one line, empty columns left out."""
    row = table.slice(place, 1).to_pylist()[0]
    return ", ".join(f"{name} {told(value, outputs.unit_of(name))}" for name, value in row.items() if value != "")


def _greatest(table: str, column: str) -> Callable[[Mapping[str, "pa.Table"]], list[str]]:
    def found(tables: Mapping[str, "pa.Table"]) -> list[str]:
        if not len(tables[table]):
            return []
        return [f"row of {table}: {_row(tables[table], int(numbers(tables[table], column).argmax()))}"]

    return found


def _last(tables: Mapping[str, "pa.Table"]) -> list[str]:
    span, message = _greatest("spans", "t1_ps")(tables), _greatest("transfers", "arrived_ps")(tables)
    ends = [numbers(tables["spans"], "t1_ps").max(initial=0), numbers(tables["transfers"], "arrived_ps").max(initial=0)]
    return (span if ends[0] >= ends[1] else message) or []


def _latest_seen(tables: Mapping[str, "pa.Table"]) -> list[str]:
    flags = tables["flags"]
    late = numbers(flags, "set_ps") >= numbers(flags, "t0_ps")
    if not late.any():
        return []
    delay = (numbers(flags, "detected_ps") - numbers(flags, "set_ps")) * late
    return [f"row of flags: {_row(flags, int(delay.argmax()))}"]


def _most(table: str, by: str, what: str) -> Callable[[Mapping[str, "pa.Table"]], list[str]]:
    """Return what sums the column ``what`` by the words of the column ``by``."""

    def found(tables: Mapping[str, "pa.Table"]) -> list[str]:
        return _sums(tables[table], by, numbers(tables[table], what), outputs.unit_of(what))

    return found


def _sums(table: "pa.Table", by: str, amounts: "np.ndarray[Any, Any]", unit: str) -> list[str]:
    import numpy as np

    words, places = np.unique(numbers(table, by).astype(str), return_inverse=True)
    sums = np.zeros(len(words), np.int64)
    np.add.at(sums, places, amounts)
    order = sorted(range(len(words)), key=lambda i: (-sums[i], _natural(str(words[i]))))
    lines = [f"{words[i]}: {told(int(sums[i]), unit)}" for i in order[:FEW] if sums[i]]
    return lines + ([f"and {len(words) - FEW} more"] if len(words) > FEW and sums[order[FEW]] else [])


def _natural(word: str) -> list[tuple[int, str]]:
    """Return what sorts rank9 before rank10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", word)]


def _busiest(tables: Mapping[str, "pa.Table"]) -> list[str]:
    links = tables["links"]
    if not len(links):
        return []
    share = numbers(links, "busy_ps") / (numbers(links, "t1_ps") - numbers(links, "t0_ps"))
    return [f"row of links: {_row(links, int(share.argmax()))}"]


_REASONS: dict[str, Callable[[Mapping[str, "pa.Table"]], list[str]]] = {
    "makespan_ps": _last,
    "queue_delay_ps.max": _greatest("transfers", "queued_ps"),
    "flags.detection_delay_ps.max": _latest_seen,
    "flags.flag_reads": _most("flags", "location", "flag_reads"),
    "flags.wakeups": _most("flags", "location", "wakeups"),
    "links.utilisation_peak": _busiest,
    "links.utilisation_mean": _most("links", "link", "busy_ps"),
    "links.busiest": _most("links", "link", "busy_ps"),
    "transfers.data_bytes": _most("transfers", "what", "size_bytes"),
}
"""By the pattern of its key, what finds the rows that decide a metric."""
_ACTIVITIES = {"compute_ps": ("compute", "what"), "wait_ps": ("wait", "reason"), "replay_ps": ("replay", "what")}
"""Durations of a rank: the activity that they sum, and what its spans are listed by."""


def _of_rank(result: Result, key: str, name: str) -> list[str]:
    job, _, rank = key.rpartition(".ranks.")[0], None, key.rpartition("ranks.")[2].partition(".")[0]
    where = f"{job.removeprefix('jobs.')}.{rank}" if job else rank
    spans = result.tables["spans"]
    here = numbers(spans, "location") == where
    lengths = numbers(spans, "t1_ps") - numbers(spans, "t0_ps")
    if name in _ACTIVITIES:
        activity, by = _ACTIVITIES[name]
        return _sums(spans, by, lengths * (here & (numbers(spans, "activity") == activity)), "ps")
    if name == "overlap_fraction":
        about = result.metrics["jobs"][job.removeprefix("jobs.")]["ranks"] if job else result.metrics["ranks"]
        of = about[rank]
        return [
            f"1 - {told(of['exposed_communication_ps'], 'ps')} exposed / {told(of['communication_ps'], 'ps')} in all"
        ]
    if name == "flag_reads":
        flags = result.tables["flags"]
        mine = [location == where or location.startswith(f"{where}.") for location in flags["location"].to_pylist()]
        return _sums(flags, "flag", numbers(flags, "flag_reads") * mine, "")
    return []
