"""The tidy table of a sweep: a row a point, its values on the axes and its metrics, units in the columns' names."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simcore import source
from simcore.errors import InputError
from simcore.sweep import Sweep, axes

if TYPE_CHECKING:
    import pyarrow as pa

Record = Mapping[str, Any]
"""What came out of a point: ``metrics``, ``warnings`` and ``digest`` of its run with the keys that it ``read``, or why
it ``failed``."""


def columns(sweep: Sweep, records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return the columns of the table, in order: the point's number, the axes, its metrics (none of a point that
    failed), the digest of its run and why it failed.

    Metrics are called by their path in metrics.json; of those of every rank there are mean and maximum. Raises
    ``InputError`` for a metric asked for that no point has.
    """
    found: dict[str, list[Any]] = {"point": list(range(len(records)))}
    found |= dict(_of_axes(sweep))
    rows = [dict(flat(record["metrics"])) if "metrics" in record else {} for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    found |= {name: [row.get(name) for row in rows] for name in names if name not in found}
    for path in sweep.metrics:
        if path not in found:
            found[path] = _further(path, records)
    found["digest"] = [record.get("digest") for record in records]
    found["failed"] = [record.get("failed") for record in records]
    return found


def axis_columns(sweep: Sweep) -> list[str]:
    """Return the names of the columns that hold what the points vary, in order."""
    return [name for name, _ in _of_axes(sweep)]


def _of_axes(sweep: Sweep) -> Iterator[tuple[str, list[Any]]]:
    """Yield a column an axis, and one a key where an axis sets several."""
    points = sweep.points
    for name in points[0].values:
        values = [point.values[name] for point in points]
        keys = _keys(sweep, name)
        if len(keys) == 1 and name != keys[0] and all(not isinstance(value, str) for value in values):
            # Bare numbers of an axis with a name of its own: what they set has the unit.
            values = [point.changes[keys[0]].value for point in points]
        yield axes.column(name, values)
        if len(keys) > 1:
            yield from (axes.column(key, [point.changes[key].value for point in points]) for key in keys)


def flat(metrics: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every metric that is a single number or text by its dotted path; those of ranks as mean and maximum over
    the ranks."""
    for name, value in metrics.items():
        here = f"{path}.{name}" if path else name
        if name == "ranks" and isinstance(value, dict):
            yield from _over_ranks(here, list(value.values()))
        elif isinstance(value, dict):
            yield from flat(value, here)
        else:
            yield here, value


def _over_ranks(path: str, ranks: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name in dict.fromkeys(name for rank in ranks for name in rank):
        values = [rank.get(name, 0) for rank in ranks]
        yield f"{path}.{name}.mean", sum(values) / len(values)
        yield f"{path}.{name}.max", max(values)


def _further(path: str, records: Sequence[Record]) -> list[Any]:
    """Return the metric at ``path`` in metrics.json of every point."""
    values = [_looked_up(record.get("metrics", {}), path) for record in records]
    if any("metrics" in record for record in records) and all(value is None for value in values):
        known = sorted({name for record in records for name in dict(flat(record.get("metrics", {})))})
        raise InputError(source.unknown("metric", path, known))
    return values


def _looked_up(metrics: Any, path: str) -> Any:
    for key in path.split("."):
        metrics = metrics.get(key) if isinstance(metrics, dict) else None
    return None if isinstance(metrics, dict | list) else metrics


def arrow(found: Mapping[str, Sequence[Any]]) -> "pa.Table":
    """Return columns as an Arrow table: integers, floating-point numbers, booleans or text; a column of several kinds
    is text."""
    import pyarrow as pa

    return pa.table({name: _array(values) for name, values in found.items()})


def _array(values: Sequence[Any]) -> "pa.Array[Any]":
    """Return values as an Arrow array, from its buffers: ``pa.array`` would import pandas."""
    import numpy as np
    import pyarrow as pa

    kinds = {type(value) for value in values} - {type(None)}
    there = [value is not None for value in values]
    valid = None if all(there) else pa.py_buffer(np.packbits(there, bitorder="little"))
    if kinds == {bool}:
        bits = np.packbits([value is True for value in values], bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [valid, pa.py_buffer(bits)])
    if kinds and kinds <= {int, float}:
        whole = kinds == {int}
        held = np.array([0 if value is None else value for value in values], np.int64 if whole else np.float64)
        return pa.Array.from_buffers(pa.int64() if whole else pa.float64(), len(held), [valid, pa.py_buffer(held)])
    texts = [value if isinstance(value, str) else "" if value is None else json.dumps(value) for value in values]
    encoded = [text.encode() for text in texts]
    ends = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], out=ends[1:])
    buffers = [valid, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def doubts(sweep: Sweep, records: Sequence[Record]) -> list[str]:
    """Return a sentence for every axis of a product of which all values gave the same runs, everything else equal, and
    for every other key that is changed, though no run read it."""
    whole = [record for record in records if "metrics" in record]
    read = {tuple(name.split(".")) for record in whole for name in record["read"]}
    idle = [name for name in sweep.points[0].values if sweep.samples is None and _is_idle(name, sweep, records)]
    said = {key for name in idle for key in _keys(sweep, name)}
    changed = sorted({key for point in sweep.points for key in point.changes} - said)
    unread = [key for key in changed if whole and not any(_touch(tuple(key.split(".")), seen) for seen in read)]
    return [
        *(_sentence(name, sweep) for name in idle),
        *(f"{key} is set, but nothing read it: another value changes nothing" for key in unread),
    ]


def _touch(key: tuple[str, ...], seen: tuple[str, ...]) -> bool:
    return key[: len(seen)] == seen[: len(key)]


def _keys(sweep: Sweep, name: str) -> list[str]:
    """Return the keys that the axis ``name`` changes; the seeds of repeats are no axis of the sweep."""
    return list(dict.fromkeys(key for entry in sweep.varied.get(name, []) for key in entry.changes)) or [name]


def _is_idle(name: str, sweep: Sweep, records: Sequence[Record]) -> bool:
    digests = defaultdict(list)
    for point, record in zip(sweep.points, records, strict=True):
        others = repr([value for other, value in point.values.items() if other != name])
        digests[others].append(record.get("digest"))
    compared = [group for group in digests.values() if len(group) > 1]
    return bool(compared) and all(None not in group and len(set(group)) == 1 for group in compared)


def _sentence(name: str, sweep: Sweep) -> str:
    if name == "seed" and name not in sweep.axes:
        return f"{sweep.repeats} repeats with seeds of their own gave the same: nothing was drawn"
    return f"the axis {name} changed nothing: all of its values gave the same, whatever the others were"
