"""The algorithms in which everybody meets everybody: halving-doubling, direct, and reduction in a switch.

Functions take and return what those of `rings_and_trees` do.

Model: a switch adds and copies at no cost, and has room for all that is under way.
"""

import numpy as np

from simcore.collectives.rows import NONE, Batch, Column, Rows, padded, stacked


class _Cube:
    """Recursive halving and doubling among the largest power of two of positions, its corners.

    The positions over, r of them, are folded in: of the first 2r, each odd one hands what it has to the even one
    before it, and gets its result from there at the end. The parts of a folded pair travel together.
    """

    def __init__(self, rows: Rows, batch: Batch) -> None:
        self._rows, self._batch = rows, batch
        count = batch.shape[1]
        self.corners = 1 << (count.bit_length() - 1)
        corner = np.arange(self.corners)
        over = count - self.corners
        self._active = np.where(corner < over, 2 * corner, corner + over)
        self.near, self.far = 2 * corner[:over], 2 * corner[:over] + 1
        # Position by position, the rows after which it may send on what it has.
        self.held = batch.ready

    def bounds(self, batch: Batch) -> Column:
        """Return (G, corners + 1): where the parts of each corner begin; they end where the next corner's begin."""
        begins = batch.offset if batch.offset.shape[1] == self.corners else batch.offset[:, self._active]
        return np.hstack([begins, batch.offset[:, -1:] + batch.size[:, -1:]])

    def halve(self, bounds: Column) -> None:
        """Reduce: after it each corner has its own parts summed over all corners."""
        for level in reversed(range(self.corners.bit_length() - 1)):
            self._swap(bounds, 1 << level, halving=True)

    def double(self, bounds: Column) -> None:
        """Gather: after it each corner has the parts of all corners."""
        for level in range(self.corners.bit_length() - 1):
            self._swap(bounds, 1 << level, halving=False)

    def _swap(self, bounds: Column, distance: int, *, halving: bool) -> None:
        """Let every corner swap with the one at ``distance``: the half that it gives up, or all that it has."""
        corner = np.arange(self.corners)
        partner = corner ^ distance
        begin = (partner if halving else corner) // distance * distance
        offset = bounds[:, begin]
        sent, usable = self._move(
            self._active, self._active[partner], offset, bounds[:, begin + distance] - offset, reduces=halving
        )
        self.held = stacked(*(padded(each, self._active, self._batch.shape[1]) for each in (sent, usable[:, partner])))

    def fold(self, part: Batch, *, reduces: bool) -> None:
        """Move the first part of ``part``, or the far position's own where there is one for each, from far to near."""
        _, usable = self._move(self.far, self.near, *_of(part, self.far), reduces=reduces)
        self.held = stacked(self.held, padded(usable, self.near, self._batch.shape[1]))

    def unfold(self, part: Batch) -> Column:
        """Move the same from near to far; return the rows after which all positions are done."""
        sent, _ = self._move(self.near, self.far, *_of(part, self.far), reduces=False)
        return stacked(self.held, *(padded(sent, at, self._batch.shape[1]) for at in (self.near, self.far)))

    def _move(
        self, tail: Column, head: Column, offset: Column, size: Column, *, reduces: bool
    ) -> tuple[Column, Column]:
        shape = (self._batch.shape[0], len(tail))
        sent, usable = self._rows.numbers(shape, reduces=reduces)
        self._rows.send(
            shape,
            rank=self._batch.order[:, tail],
            peer=self._batch.order[:, head],
            offset=offset,
            size=size,
            step=self._rows.next_step,
            lane=self._batch.lane[:, None],
            after=stacked(self.held[:, tail], self._batch.ready[:, head]),
            reduces=reduces,
        )
        return sent, usable


def _of(part: Batch, position: Column) -> tuple[Column, Column]:
    """Return offset and size of the parts of ``position``, or of the only part."""
    whole = part.offset.shape[1] == 1
    return (part.offset, part.size) if whole else (part.offset[:, position], part.size[:, position])


def halving_reduce_scatter(rows: Rows, batch: Batch) -> Column:
    """Halve; a folded pair's own parts are parted at the end."""
    cube = _Cube(rows, batch)
    cube.fold(batch.whole(), reduces=True)
    cube.halve(cube.bounds(batch))
    return cube.unfold(batch)


def doubling_all_gather(rows: Rows, batch: Batch) -> Column:
    """Double; a folded position gets everything at the end."""
    cube = _Cube(rows, batch)
    cube.fold(batch, reduces=False)
    cube.double(cube.bounds(batch))
    return cube.unfold(batch.whole())


def halving_doubling_all_reduce(rows: Rows, batch: Batch) -> Column:
    """Halve, then double back, on as many parts as there are corners."""
    cube = _Cube(rows, batch)
    bounds = cube.bounds(batch.parted(cube.corners))
    cube.fold(batch.whole(), reduces=True)
    cube.halve(bounds)
    cube.double(bounds)
    return cube.unfold(batch.whole())


def _exchange(rows: Rows, batch: Batch, first: Column, *, scatter: bool) -> tuple[Column, Column]:
    """Let every position send one part to every other, the receiver's own (``scatter``, which adds) or its own, as soon
    as ``first`` (G, m, D) has ended; return the rows sent and received, (G, m, m - 1) each.

    Position p sends to p + 1, p + 2, ... in this order, so that no receiver is met by all senders at once.
    """
    groups, count = batch.shape
    shape = (count - 1, groups, count)
    position, shift = np.arange(count), np.arange(1, count)[:, None, None]
    peer, group = (position + shift) % count, np.arange(groups)[:, None]
    part = peer if scatter else np.broadcast_to(position, peer.shape)
    sent, usable = rows.numbers(shape, reduces=scatter)
    rows.send(
        shape,
        rank=batch.order,
        peer=batch.order[group, peer],
        offset=batch.offset[group, part],
        size=batch.size[group, part],
        step=rows.next_step,
        lane=batch.lane[:, None],
        after=stacked(first, batch.ready[group, peer]),
        reduces=scatter,
    )
    received = np.take_along_axis(usable, np.broadcast_to((position - shift) % count, shape), axis=-1)
    return np.moveaxis(sent, 0, -1), np.moveaxis(received, 0, -1)


def direct_reduce_scatter(rows: Rows, batch: Batch) -> Column:
    """Send every other position its part in one step."""
    return stacked(*_exchange(rows, batch, batch.ready, scatter=True))


def direct_all_gather(rows: Rows, batch: Batch) -> Column:
    """Send the own part to every other position in one step."""
    return stacked(*_exchange(rows, batch, batch.ready, scatter=False))


def direct_all_reduce(rows: Rows, batch: Batch) -> Column:
    """Reduce directly, then gather directly: two steps."""
    batch = batch.parted(batch.shape[1])
    _, received = _exchange(rows, batch, batch.ready, scatter=True)
    reduced = rows.merged(batch.order, received, batch.lane)
    return stacked(*_exchange(rows, batch, reduced, scatter=False))


def _star(rows: Rows, batch: Batch, *, inward: bool, own: bool, reduces: bool) -> Column:
    """Move between position 0 and every other one, in one step, the whole region or (``own``) the other's part."""
    (groups, count), others = batch.shape, np.arange(1, batch.shape[1])
    part = batch if own else batch.whole()
    offset, size = _of(part, others) if own else (part.offset, part.size)
    root, shape = batch.order[:, :1], (groups, count - 1)
    sent, usable = rows.numbers(shape, reduces=reduces)
    rows.send(
        shape,
        rank=batch.order[:, 1:] if inward else root,
        peer=root if inward else batch.order[:, 1:],
        offset=offset,
        size=size,
        step=rows.next_step,
        lane=batch.lane[:, None],
        after=stacked(batch.ready[:, 1:], batch.ready[:, :1]),
        reduces=reduces,
    )
    done = np.full((groups, count, count - 1), NONE)
    done[:, 0], done[:, 1:, 0] = (usable, sent) if inward else (sent, usable)
    return done


def direct_broadcast(rows: Rows, batch: Batch) -> Column:
    """Position 0 sends the region to every other one."""
    return _star(rows, batch, inward=False, own=False, reduces=False)


def direct_reduce(rows: Rows, batch: Batch) -> Column:
    """Every position sends the region to position 0, which adds."""
    return _star(rows, batch, inward=True, own=False, reduces=True)


def direct_scatter(rows: Rows, batch: Batch) -> Column:
    """Position 0 sends every other one its part."""
    return _star(rows, batch, inward=False, own=True, reduces=False)


def direct_gather(rows: Rows, batch: Batch) -> Column:
    """Every position sends its part to position 0."""
    return _star(rows, batch, inward=True, own=True, reduces=False)


def _up(rows: Rows, batch: Batch, part: Batch, position: Column, *, reduces: bool) -> Column:
    """Send the parts of ``position`` (k,) to the group's switch; return the rows (G, k)."""
    offset, size = _of(part, position)
    return rows.send(
        (batch.shape[0], len(position)),
        rank=batch.order[:, position],
        peer=-1 - batch.switch[:, None],
        offset=offset,
        size=size,
        step=rows.next_step,
        lane=batch.lane[:, None],
        after=batch.ready[:, position],
        reduces=reduces,
        in_switch=True,
    )


def _down(rows: Rows, batch: Batch, part: Batch, position: Column, after: Column) -> Column:
    """Send the parts of ``position`` (k,) from the switch to these positions after ``after`` (G, k, D); return the rows
    as (G, m, 1)."""
    offset, size = _of(part, position)
    received = rows.send(
        (batch.shape[0], len(position)),
        rank=-1 - batch.switch[:, None],
        peer=batch.order[:, position],
        offset=offset,
        size=size,
        step=rows.next_step,
        lane=batch.lane[:, None],
        after=stacked(after, batch.ready[:, position]),
        reduces=False,
    )
    return padded(received, position, batch.shape[1])


def switch_all_reduce(rows: Rows, batch: Batch) -> Column:
    """Everybody sends the region up, the switch adds, and everybody gets the sum."""
    every, part = np.arange(batch.shape[1]), batch.whole()
    up = _up(rows, batch, part, every, reduces=True)
    return _down(rows, batch, part, every, up[:, None, :])


def switch_reduce_scatter(rows: Rows, batch: Batch) -> Column:
    """Everybody sends the region up, the switch adds, and everybody gets its part of the sum."""
    every = np.arange(batch.shape[1])
    up = _up(rows, batch, batch.whole(), every, reduces=True)
    return _down(rows, batch, batch, every, up[:, None, :])


def switch_reduce(rows: Rows, batch: Batch) -> Column:
    """Everybody sends the region up, the switch adds, and position 0 gets the sum."""
    every, part = np.arange(batch.shape[1]), batch.whole()
    up = _up(rows, batch, part, every, reduces=True)
    return stacked(_down(rows, batch, part, every[:1], up[:, None, :]), up[..., None])


def switch_broadcast(rows: Rows, batch: Batch) -> Column:
    """Position 0 sends the region up once, and the switch copies it to every other one."""
    every, part = np.arange(batch.shape[1]), batch.whole()
    up = _up(rows, batch, part, every[:1], reduces=False)
    return stacked(_down(rows, batch, part, every[1:], up[:, None, :]), padded(up, every[:1], len(every)))


def switch_all_gather(rows: Rows, batch: Batch) -> Column:
    """Everybody sends its part up once, and the switch copies it to every other one."""
    groups, count = batch.shape
    up = _up(rows, batch, batch, np.arange(count), reduces=False)
    shape = (count - 1, groups, count)
    position = np.arange(count)
    peer = (position + np.arange(1, count)[:, None, None]) % count
    group = np.arange(groups)[:, None]
    down = rows.send(
        shape,
        rank=-1 - batch.switch[:, None],
        peer=batch.order[group, peer],
        offset=batch.offset,
        size=batch.size,
        step=rows.next_step,
        lane=batch.lane[:, None],
        after=stacked(up[..., None], batch.ready[group, peer]),
        reduces=False,
    )
    received = np.take_along_axis(down, np.broadcast_to((2 * position - peer) % count, shape), axis=-1)
    return stacked(up[..., None], np.moveaxis(received, 0, -1))
