"""Rows of a schedule in the making: blocks of transfers with what they depend on, and the groups that emit them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simcore.schedule import Schedule

Column = NDArray[np.int64]

NONE = -1
"""In an array of row numbers: no row."""
MOST_DIRECT = 4
"""Up to so many dependencies are written out row by row; more meet in one join row first, which keeps n ranks that wait
for n others at n**2 dependencies, not n**3."""


@dataclass(frozen=True)
class Batch:
    """G groups of m ranks each, which run the same algorithm side by side, each on its own region of the payload.

    ``order`` (G, m): the rank at each position. ``lane`` (G,): number of the region's (channel, chunk). ``offset`` and
    ``size`` (G, P): where the P contiguous parts of the region begin and how long they are, in bytes; P is 1, or m with
    part p belonging to position p. ``ready`` (G, m, D): rows that must have ended before a position takes part,
    ``NONE`` where there are fewer. ``switch`` (G,): the reducing switch of the group.
    """

    order: Column
    lane: Column
    offset: Column
    size: Column
    ready: Column
    switch: Column

    @property
    def shape(self) -> tuple[int, int]:
        """Number of groups, and of ranks in each."""
        return self.order.shape[0], self.order.shape[1]

    def whole(self) -> "Batch":
        """Return the same groups with their region as one part."""
        return replace(self, offset=self.offset[:, :1], size=self.size.sum(axis=1, keepdims=True))

    def parted(self, parts: int) -> "Batch":
        """Return the same groups with their region cut into ``parts`` parts that differ by one byte at most."""
        size = split(self.size.sum(axis=1), parts)
        return replace(self, offset=self.offset[:, :1] + before(size), size=size)


class Rows:
    """Collects blocks of rows; every block is given as arrays that broadcast to the shape of the block."""

    def __init__(self, reduce_time: Callable[[int], int] | None = None) -> None:
        self._reduce_time = reduce_time
        self._blocks: list[tuple[tuple[int, ...], dict[str, Any]]] = []
        self._dependencies: list[tuple[Column, Column]] = []
        self.count = 0
        self.next_step = 0
        """One more than the last step of any row so far."""

    def numbers(self, shape: tuple[int, ...], *, reduces: bool) -> tuple[Column, Column]:
        """Return the numbers of the rows that a block of ``shape`` will have if it comes next, and of the rows at
        whose end their bytes are usable: the same, or, where reducing takes time, those of the computations."""
        count = int(np.prod(shape))
        sent = np.arange(self.count, self.count + count).reshape(shape)
        return sent, sent + count if reduces and self._reduce_time is not None else sent

    def send(
        self, shape: tuple[int, ...], *, rank: Column, peer: Column, offset: Column, size: Column, step: Column | int,
        lane: Column, after: Column, reduces: bool, lands: Column | None = None, in_switch: bool = False,
    ) -> Column:  # fmt: skip
        """Add a block of transfers and return the numbers of the rows at whose end their bytes are usable.

        ``after`` (\\*shape, D) are the rows each waits for, ``NONE`` for none. The bytes are those from ``offset`` of
        the sender's memory and go to ``lands`` of the receiver's, by default the same place, where they are stored or,
        if ``reduces``, added: by a computation of the receiver's where reducing takes time, unless it is a switch
        (``in_switch``).
        """
        sent, usable = self.numbers(shape, reduces=reduces and not in_switch)
        lands = offset if lands is None else lands
        about = {"peer": peer, "offset": offset, "lands": lands, "step": step, "lane": lane, "reduces": reduces}
        self._add(shape, about | {"rank": rank, "size": size, "duration": 0}, after)
        if usable is not sent:
            durations = self._durations(np.broadcast_to(size, shape))
            self._add(shape, about | {"rank": peer, "size": 0, "duration": durations}, sent[..., None])
        return usable

    def merged(self, ranks: Column, after: Column, lane: Column) -> Column:
        """Return ``after`` (G, m, D) with at most ``MOST_DIRECT`` entries a position: where there are more, a join, a
        computation of no duration that waits for them all, stands for them. ``lane`` is (G,).

        Model: a join takes its turn on the compute stream of its rank, behind a computation that is running there.
        """
        if after.shape[-1] <= MOST_DIRECT:
            return after
        many = (after >= 0).sum(axis=-1) > 1
        joined: Column = after.max(axis=-1)
        joined[many] = self.count + np.arange(int(many.sum()))
        rank = ranks[many]
        lanes = np.broadcast_to(lane[:, None], many.shape)[many]
        about = {"rank": rank, "peer": rank, "lane": lanes, "step": self.next_step - 1, "reduces": False}
        self._add(rank.shape, about | {"size": 0, "duration": 0, "offset": 0, "lands": 0}, after[many])
        return joined[..., None]

    def _durations(self, size: Column) -> Column:
        assert self._reduce_time is not None
        sizes, place = np.unique(size, return_inverse=True)
        durations: Column = np.array([self._reduce_time(int(each)) for each in sizes], np.int64)
        whole: Column = durations[place.reshape(size.shape)]
        return whole

    def _add(self, shape: tuple[int, ...], columns: dict[str, Any], after: Column) -> None:
        count = int(np.prod(shape))
        if not count:
            return
        after = np.broadcast_to(after, (*shape, after.shape[-1])).reshape(count, after.shape[-1])
        there = after >= 0
        self._dependencies.append((np.count_nonzero(there, axis=1), after[there]))
        self._blocks.append((shape, columns))
        self.count += count
        self.next_step = max(self.next_step, int(np.max(columns["step"])) + 1)

    def column(self, name: str, dtype: Any = np.int64) -> NDArray[Any]:
        """Return a whole column, block after block."""
        whole, begin = np.empty(self.count, dtype), 0
        for shape, columns in self._blocks:
            count = int(np.prod(shape))
            whole[begin : begin + count].reshape(shape)[...] = columns[name]
            begin += count
        return whole

    def schedule(self, chunks: int, window: int) -> Schedule:
        """Return the schedule; of several chunks, those on one connection keep ``window`` messages under way."""
        begin = np.zeros(self.count + 1, np.int64)
        after = np.zeros(0, np.int64)
        if self._blocks:
            np.cumsum(np.concatenate([counts for counts, _ in self._dependencies]), out=begin[1:])
            after = np.concatenate([rows for _, rows in self._dependencies])
        rank, peer = self.column("rank"), self.column("peer")
        if chunks > 1 and self.count:
            begin, after = self._ordered(rank, peer, chunks, window, begin, after)
        return Schedule(rank, peer, self.column("size"), self.column("duration"), begin, after)

    def _ordered(
        self, rank: Column, peer: Column, chunks: int, window: int, begin: Column, after: Column
    ) -> tuple[Column, Column]:
        """Let every message of a connection (channel, sender, receiver) wait for the one ``window`` before it.

        A connection sends in order of (step, chunk), and a dependency of the data leads to a lower step of the same
        chunk, so that nothing can wait for itself.
        """
        (moved,) = np.nonzero(rank != peer)
        step, lane = self.column("step")[moved], self.column("lane")[moved]
        least = min(rank.min(), peer.min())
        span = max(rank.max(), peer.max()) - least + 1
        connection = ((lane // chunks) * span + rank[moved] - least) * span + peer[moved] - least
        order = np.lexsort((lane, step, connection))
        later, earlier = order[window:], order[:-window]
        same = connection[later] == connection[earlier]
        later, earlier = moved[later[same]], moved[earlier[same]]
        where = np.argsort(later, kind="stable")
        after = np.insert(after, begin[later[where] + 1], earlier[where])
        return begin + np.concatenate([[0], np.cumsum(np.bincount(later, minlength=self.count))]), after


def split(size: Column, parts: int) -> Column:
    """Return ``size`` cut into ``parts`` along a new last axis; the first parts take the bytes that are over, one
    each."""
    whole, over = np.divmod(np.asarray(size, np.int64)[..., None], parts)
    return whole + (np.arange(parts) < over)


def before(size: Column) -> Column:
    """Return the sum of all sizes before each along the last axis."""
    return np.cumsum(size, axis=-1) - size


def stacked(*columns: Column) -> Column:
    """Return the given (..., D) arrays side by side along their last axis, the other axes broadcast."""
    shape = np.broadcast_shapes(*(column.shape[:-1] for column in columns))
    return np.concatenate([np.broadcast_to(column, (*shape, column.shape[-1])) for column in columns], axis=-1)


def padded(rows: Column, places: Column, count: int) -> Column:
    """Return (G, count, 1) row numbers: ``rows`` (G, k) at ``places``, ``NONE`` elsewhere."""
    whole = np.full((rows.shape[0], count), NONE)
    whole[:, places] = rows
    return whole[..., None]
