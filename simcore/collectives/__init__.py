"""Collectives as schedules: who sends what to whom, in which order, for every operation and algorithm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simcore import source
from simcore.collectives import personal, stages
from simcore.collectives.formulas import MOST_ROWS, rows_at_most
from simcore.collectives.rows import Column, Rows, split
from simcore.errors import InputError
from simcore.schedule import Schedule

ALGORITHMS: dict[str, tuple[str, ...]] = {
    operation: (*flat, "hierarchical", *(("rail_aligned",) if operation not in ("broadcast", "reduce") else ()))
    for operation, flat in stages.FLAT.items()
} | {
    "all_to_all": ("direct", "rail_aligned"),
    "all_to_all_v": ("direct", "rail_aligned"),
    "send_recv": ("direct",),
}
"""The algorithms of every operation; the first is the default."""


@dataclass(frozen=True)
class Collective:
    """A collective as a schedule, and what each of its rows means.

    ``size`` counts as in nccl-tests: bytes of the whole array, the larger side of a gather or scatter. Parallel to the
    schedule's rows: ``step``; ``lane``, the number of the (channel, chunk), lane = channel * chunks + chunk; ``offset``
    and ``lands``, where the bytes begin in the memory of the sender and of the receiver; ``reduces``, whether the
    receiver adds them to what it has or stores them. A computation adds what the one transfer that it waits for has
    brought; without computations the bytes are added as they arrive. One of no duration that does not reduce is a
    join.

    ``memory`` is the number of bytes that a rank needs. ``part_offset`` and ``part_size`` (lanes, P): where the parts
    of the payload lie in it, by rank, for reduce_scatter and all_gather; P is 1 for operations that have no parts, and
    0 for all-to-all and send_recv, whose memory `personal` describes.
    """

    operation: str
    algorithm: str
    ranks: int
    size: int
    chunks: int
    channels: int
    schedule: Schedule
    step: NDArray[np.int32]
    lane: NDArray[np.int32]
    offset: Column
    lands: Column
    reduces: NDArray[np.bool_]
    memory: int
    part_offset: Column
    part_size: Column

    def __len__(self) -> int:
        return len(self.step)

    @property
    def transfers(self) -> NDArray[np.bool_]:
        """Which rows are transfers."""
        moved: NDArray[np.bool_] = self.schedule.rank != self.schedule.peer
        return moved

    def sent(self) -> Column:
        """Return the bytes that each rank sends, (ranks,)."""
        from_rank = self.transfers & (self.schedule.rank >= 0)
        total = np.zeros(self.ranks, np.int64)
        np.add.at(total, self.schedule.rank[from_rank], self.schedule.size[from_rank])
        return total


def build(
    operation: str, ranks: int, size: int = 0, algorithm: str = "", *, root: int = 0, chunks: int = 1,
    channels: int = 1, window: int = 1, nodes: int = 1, inner: str = "ring", outer: str = "ring",
    reducers: Sequence[int] = (), matrix: Sequence[Sequence[int]] | None = None,
    reduce_time: Callable[[int], int] | None = None,
) -> Collective:  # fmt: skip
    """Return ``operation`` of ``size`` bytes among ``ranks`` ranks by ``algorithm`` (default: the operation's first).

    The payload is cut into ``channels`` times ``chunks`` pieces, each of which goes through the whole algorithm; the
    channels take different rings or trees, and a connection (channel, sender, receiver) has at most ``window`` messages
    of its chunks under way. ``nodes`` cuts the ranks into so many blocks for rings and for the forms in levels, which
    use ``inner`` within a node and ``outer`` between nodes. ``reducers`` [i] is the number of the reducing switch of
    node i (default: i). ``matrix`` [i][j] are the bytes from rank i to rank j of an all_to_all_v.
    ``reduce_time`` (bytes -> ps) makes adding take time on the receiver's compute stream.

    Raises ``InputError`` for what there is not, or what does not fit together.
    """
    algorithm = algorithm or ALGORITHMS.get(operation, ("",))[0]
    counts = {"ranks": ranks, "chunks": chunks, "channels": channels, "window": window, "nodes": nodes}
    _check(operation, algorithm, counts, size, root)
    _check_levels(operation, algorithm, inner, outer)
    lanes = channels * chunks
    rows = Rows(reduce_time)
    none = np.zeros((lanes, 0), np.int64)
    if operation == "send_recv":
        memory, part = personal.send_recv(rows, ranks, size, lanes), (none, none)
    elif operation.startswith("all_to_all"):
        table = _matrix(operation, ranks, size, matrix)
        size = int(table.sum(axis=1).max())
        rail = algorithm == "rail_aligned"
        memory, part = personal.all_to_all(rows, table, lanes, nodes, along_rails=rail), (none, none)
    else:
        stage = stages.Stages(rows, lanes, ranks, reducers or range(nodes))
        channel = np.arange(lanes) // chunks
        order = stages.orders(ranks, nodes, channels)[channel]
        memory, part = size, _staged(stage, operation, algorithm, order, channel, size, (root, nodes, inner, outer))
    return Collective(
        operation, algorithm, ranks, size, chunks, channels, rows.schedule(chunks, window),
        rows.column("step", np.int32), rows.column("lane", np.int32), rows.column("offset"), rows.column("lands"),
        rows.column("reduces", np.bool_),
        memory, *part,
    )  # fmt: skip


def _staged(
    stage: stages.Stages, operation: str, algorithm: str, order: Column, channel: Column, size: int,
    form: tuple[int, int, str, str],
) -> tuple[Column, Column]:  # fmt: skip
    """Add the rows of an operation on one payload in place; return offset and size of its parts, by rank."""
    root, nodes, inner, outer = form
    lanes, ranks = order.shape
    parts = ranks if operation in ("reduce_scatter", "all_gather") else 1
    sizes = stages.lane_sizes(size, parts, lanes)
    levels = stages.Levels(stage, nodes, ranks // nodes, channel, inner, outer)
    if algorithm == "rail_aligned":
        by_rank = sizes if parts > 1 else _cut_for_rails(sizes, nodes, ranks // nodes)
        offset, by_rail = stages.rail_regions(by_rank, nodes)
        levels.along_rails(operation, offset, by_rail)
        return (offset.swapaxes(1, 2).reshape(lanes, ranks), sizes) if parts > 1 else (offset[:, :1, 0], sizes)
    if algorithm == "hierarchical":
        offset = stages.consecutive(sizes)
        levels.through_leaders(operation, root, offset, sizes)
        return offset, sizes
    if operation in ("broadcast", "reduce"):
        order = stages.rooted(order, root)
    by_position = np.take_along_axis(sizes, order, axis=1) if parts > 1 else sizes
    offset = stages.consecutive(by_position)
    stage.run(stages.FLAT[operation][algorithm], order, np.arange(lanes), offset, by_position)
    return np.take_along_axis(offset, np.argsort(order, axis=1), axis=1) if parts > 1 else offset, sizes


def _cut_for_rails(sizes: Column, nodes: int, local: int) -> Column:
    """Return (lanes, ranks) by rank: the payload of each lane cut into one part a local index, each of them into one a
    node."""
    return split(split(sizes[:, 0], local), nodes).swapaxes(1, 2).reshape(len(sizes), nodes * local)


def _matrix(operation: str, ranks: int, size: int, matrix: Sequence[Sequence[int]] | None) -> Column:
    if operation == "all_to_all":
        return np.tile(split(np.array(size), ranks), (ranks, 1))
    table: NDArray[Any] = np.asarray(matrix if matrix is not None else [])
    if table.shape != (ranks, ranks) or table.dtype.kind not in "iu" or table.min() < 0:
        raise InputError(
            f"all_to_all_v among {ranks} ranks needs a matrix of {ranks} x {ranks} whole numbers of bytes, zero or more"
        )
    return table.astype(np.int64)


def _check(operation: str, algorithm: str, counts: dict[str, int], size: int, root: int) -> None:
    if operation not in ALGORITHMS:
        raise InputError(source.unknown("operation", operation, list(ALGORITHMS)))
    if algorithm not in ALGORITHMS[operation]:
        raise InputError(source.unknown(f"algorithm of {operation}", algorithm, list(ALGORITHMS[operation])))
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name}: a collective needs 1 or more, not {count}")
    ranks, nodes = counts["ranks"], counts["nodes"]
    if size < 0:
        raise InputError(f"size: zero bytes or more, not {size}")
    if not 0 <= root < ranks:
        raise InputError(f"root: {root} is none of the ranks 0 to {ranks - 1}")
    if ranks % nodes:
        raise InputError(f"nodes: {ranks} ranks do not make {nodes} nodes of equal size")
    if algorithm == "in_switch" and nodes > 1:
        raise InputError("in_switch: a switch adds up within one node; between nodes use hierarchical or rail_aligned")
    expected = rows_at_most(operation, algorithm, ranks, counts["chunks"] * counts["channels"])
    if expected > MOST_ROWS:
        raise InputError(f"{algorithm} {operation} among {ranks} ranks makes {expected} rows; {MOST_ROWS} is the limit")


def _check_levels(operation: str, algorithm: str, inner: str, outer: str) -> None:
    """Refuse algorithms within and between nodes that the form of the operation does not have, and where it uses none,
    those that no operation has."""
    needed: dict[str, str] = {}
    if operation in stages.FLAT and algorithm == "rail_aligned":
        needed = {"inner": "all_gather" if operation == "all_gather" else "reduce_scatter", "outer": operation}
    elif operation in stages.FLAT and algorithm == "hierarchical":
        needed = {"inner": "reduce" if operation in ("reduce", "reduce_scatter") else "broadcast", "outer": operation}
    every = list(dict.fromkeys(name for flat in stages.FLAT.values() for name in flat))
    form = f" of {algorithm} {operation}" if needed else ""
    for level, given in (("inner", inner), ("outer", outer)):
        names = stages.FLAT[needed[level]] if needed else every
        allowed = [name for name in names if not needed or level == "inner" or name != "in_switch"]
        if given not in allowed:
            raise InputError(source.unknown(f"{level} algorithm{form}", given, allowed))
