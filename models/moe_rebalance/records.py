"""Recorded routing: a Parquet file of counts, written and read in chunks, and what others record as Parquet or CSV:
counts, or the experts of every token.

A row of counts is (step, layer, micro, source, expert, count), of choices (step, layer, micro, source, expert0,
expert1, ...), one a token and layer; without step all are of step 0. Rows come in any order, and those of one place are
added. Our own files say in their metadata how large everything is.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from simcore import InputError

from .placement import Counts
from .routing import MOST_TOKENS, Routing

PLACE = ("step", "layer", "micro", "source")
KEY = b"simcore.routing"
ROWS = 1 << 16
"""Rows of a chunk."""
LARGEST = 1 << 28
"""Counts of a step at most, and sums by expert or by source of all steps together: 2 GiB of memory each."""
MOST = 1 << 32
"""What a row counts at most."""


@dataclass(frozen=True)
class Extent:
    """How many steps, layers, micro-steps, sources and experts there are, and experts a token chose, 0 where that is
    not known; ``first`` is the number of the first step."""

    steps: int
    layers: int
    micro: int
    sources: int
    experts: int
    top: int
    first: int = 0


def write(path: Path, steps: Iterable[Counts], top: int) -> None:
    """Write the counts [L, M, sources, E] of steps, ``top`` experts a token, one step a chunk; zeros are left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    held = list(steps)
    extent = Extent(len(held), *held[0].shape, top)
    fields = [pa.field(name, pa.int32()) for name in (*PLACE, "expert", "count")]
    schema = pa.schema(fields, metadata={KEY: json.dumps(vars(extent))})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for step, counts in enumerate(held):
            places = np.nonzero(counts)
            columns = [np.full(len(places[0]), step), *places, counts[places]]
            writer.write_table(pa.table([pa.array(column, pa.int32()) for column in columns], schema))


def read(path: Path, ep: int, top: int = 0, experts: int = 0) -> Routing:
    """Return the routing of the last step of a file, in EP groups of ``ep`` sources; the steps before are its past.

    ``top`` experts a token and ``experts`` in all need to be given where a file of counts does not say them; of choices
    ``top`` follows. The file is read chunk by chunk; of the steps before only sums are kept: 48 layers,
    12 micro-steps, 64 sources and 128 experts take 38 MB, and 0.3 MB a step before. Raises ``InputError``.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"{path}: routing is read from .parquet or .csv, not {path.suffix or 'a file without suffix'}")
    extent = _extent(path, top, experts)
    steps, shape = extent.steps, (extent.layers, extent.micro, extent.sources, extent.experts)
    _fits(path, shape)
    _fits(path, (steps, extent.layers, extent.experts))
    _fits(path, (steps, *shape[:-1]))
    if ep < 1 or extent.sources % ep:
        raise InputError(f"{path}: its {extent.sources} sources are not EP groups of {ep}")
    counts, sums = np.zeros(shape, np.int64), np.zeros((steps, extent.layers, extent.experts), np.int64)
    choices = np.zeros((steps, *shape[:-1]), np.int64)
    for chunk in _chunks(path):
        step = chunk["step"] - extent.first
        layer, micro, source = (chunk[name] for name in PLACE[1:])
        last = step == steps - 1
        for column in _choices(chunk):
            expert, count = chunk[column], chunk.get("count", np.ones_like(step))
            try:
                np.add.at(counts, tuple(each[last] for each in (layer, micro, source, expert)), count[last])
                np.add.at(sums, (step, layer, expert), count)
                np.add.at(choices, (step, layer, micro, source), count)
            except IndexError:
                raise InputError(f"{path}: a row lies outside of what the metadata {KEY.decode()} says") from None
    _check(path, choices, extent.top)
    return Routing(counts, sums[:-1], sums[-1], extent.top, ep)


def read_part(
    path: Path, *, gpus: int, ep: int, layers: int, micro: int, history: int, experts: int, top: int
) -> Routing:
    """Return what `read` does of the first ``layers``, ``micro`` micro-steps and ``gpus`` sources, and of as many steps
    before it as ``history`` says. Raises ``InputError`` where the file has fewer of these, or other experts."""
    if ep < 1 or gpus % ep:
        raise InputError(f"{path}: {gpus} GPUs are not EP groups of {ep}")
    found = read(path, ep, top, experts)
    for name, has, wanted in zip(
        ("layers", "micro-steps", "sources (GPUs)", "steps before the last (history)"),
        (*found.counts.shape[:3], len(found.past)),
        (layers, micro, gpus, history),
        strict=True,
    ):
        if has < wanted:
            raise InputError(f"{path}: holds {has} {name}, not {wanted}")
    counts, past = found.counts[:layers, :micro, :gpus], found.past[len(found.past) - history :, :layers]
    return replace(found, counts=counts, past=past, whole=found.whole[:layers])


def _fits(path: Path, shape: tuple[int, ...]) -> None:
    if np.prod(shape, dtype=float) > LARGEST:
        raise InputError(f"{path}: {' x '.join(map(str, shape))} counts are more than {LARGEST}; give fewer")


def _extent(path: Path, top: int, experts: int) -> Extent:
    """Return how large the counts of a file are: as its metadata says, or the largest of its rows, with ``top`` and
    ``experts`` where these are given; raises ``InputError`` where it has others."""
    stated = _stated(path)
    extent = stated or _counted(path)
    if top and extent.top not in (0, top):
        raise InputError(f"{path}: a token chose {extent.top} experts, not {top}")
    if experts and (extent.experts > experts or (stated and stated.experts < experts)):
        raise InputError(f"{path}: has {extent.experts} experts, not {experts}")
    if extent.top + top < 1:
        raise InputError(f"{path}: counts do not say how many experts a token chose; give top")
    return replace(extent, top=extent.top or top, experts=max(extent.experts, experts))


def _stated(path: Path) -> Extent | None:
    """Return what the metadata of our own files says."""
    if path.suffix != ".parquet":
        return None
    import pyarrow.parquet as pq

    with _reading(path):
        metadata = pq.read_schema(path).metadata or {}
    if KEY not in metadata:
        return None
    try:
        extent = Extent(**json.loads(metadata[KEY]))
        if min(extent.steps, extent.layers, extent.micro, extent.sources, extent.experts, extent.top) < 1:
            raise ValueError
        return extent
    except (ValueError, TypeError):
        raise InputError(f"{path}: its metadata {KEY.decode()} is not what simcore writes") from None


def _counted(path: Path) -> Extent:
    """Return the largest of all rows."""
    largest = dict.fromkeys((*PLACE, "expert"), -1)
    top, first = 0, 2**62
    for chunk in _chunks(path):
        for name in PLACE:
            largest[name] = max(largest[name], int(chunk[name].max()))
        first = min(first, int(chunk["step"].min()))
        columns = _choices(chunk)
        top = 0 if "count" in chunk else len(columns)
        largest["expert"] = max(largest["expert"], *(int(chunk[name].max()) for name in columns))
    if largest["layer"] < 0:
        raise InputError(f"{path}: holds no row")
    largest["step"] -= first
    return Extent(*(largest[name] + 1 for name in (*PLACE, "expert")), top, first)


def _chunks(path: Path) -> Iterator[Mapping[str, Counts]]:
    """Yield the columns of a file, some rows at a time; raises ``InputError`` for what is no routing."""
    first = 1 + (path.suffix == ".csv")
    for batch in _batches(path):
        _named(path, batch.schema.names)
        columns = {}
        for name in batch.schema.names:
            column = batch.column(name)
            if (
                str(column.type) not in ("int64", "int32", "int16", "int8", "uint32", "uint16", "uint8")
                or column.null_count
            ):
                raise InputError(f"{path}: column {name} must hold whole numbers alone, it is {column.type}")
            columns[name] = column.to_numpy(zero_copy_only=False).astype(np.int64)
            if len(columns[name]) and columns[name].min() < 0:
                raise InputError(f"{path}: row {first + int(columns[name].argmin())}: {name} is below 0")
            if name == "count" and len(columns[name]) and columns[name].max() > MOST:
                raise InputError(f"{path}: row {first + int(columns[name].argmax())}: {name} is above {MOST}")
        columns.setdefault("step", np.zeros(len(batch), np.int64))
        _once(path, first, columns)
        first += len(batch)
        if len(batch):
            yield columns


def _named(path: Path, names: list[str]) -> None:
    """Raise ``InputError`` for columns that are neither those of counts nor of choices."""
    others = sorted(name for name in names if name not in PLACE)
    chosen = [name for name in others if name != "expert" and name.startswith("expert")]
    known = others == ["count", "expert"] or (
        chosen and sorted(chosen) == others == sorted(f"expert{place}" for place in range(len(chosen)))
    )
    if not known or set(PLACE[1:]) - set(names) or len(set(names)) < len(names):
        raise InputError(
            f"{path}: expected the columns layer, micro, source and expert, count or expert0, expert1, ...; perhaps "
            f"step; found {', '.join(names)}"
        )


def _once(path: Path, first: int, columns: Mapping[str, Counts]) -> None:
    """Raise ``InputError`` for a token that chose an expert twice."""
    if "count" in columns:
        return
    rows = np.sort(np.stack([columns[name] for name in _choices(columns)]), axis=0)
    twice = (rows[1:] == rows[:-1]).any(axis=0)
    if twice.any():
        raise InputError(f"{path}: row {first + int(twice.argmax())}: a token chooses an expert once, not twice")


def _choices(columns: Mapping[str, Any]) -> list[str]:
    return [name for name in columns if name.startswith("expert")]


def _batches(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with _reading(path), pq.ParquetFile(path) as file:
            yield from file.iter_batches(ROWS)
        return
    from pyarrow import csv

    with _reading(path), csv.open_csv(path) as reader:
        yield from reader


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what pyarrow or the system says of a file into an ``InputError`` of one line."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None


def _check(path: Path, choices: Counts, top: int) -> None:
    """Raise ``InputError`` for ``choices`` [steps, layers, micro-steps, sources] that no tokens can have made."""
    if choices.max() > MOST_TOKENS * top:
        step, layer, micro, source = np.argwhere(choices > MOST_TOKENS * top)[0]
        raise InputError(
            f"{path}: step {step}, layer {layer}, micro-step {micro}, source {source}: "
            f"{choices[step, layer, micro, source] // top} tokens are more than {MOST_TOKENS}"
        )
    odd = choices % top != 0
    if odd.any():
        step, layer, micro, source = np.argwhere(odd)[0]
        raise InputError(
            f"{path}: step {step}, layer {layer}, micro-step {micro}, source {source}: "
            f"{choices[step, layer, micro, source]} choices are no multiple of {top} a token"
        )
    differ = choices != choices[:, :1]
    if differ.any():
        step, layer, micro, source = np.argwhere(differ)[0]
        raise InputError(
            f"{path}: step {step}, micro-step {micro}, source {source}: layer {layer} has "
            f"{choices[step, layer, micro, source] // top} tokens, layer 0 {choices[step, 0, micro, source] // top}"
        )
