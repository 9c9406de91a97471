"""The algorithms that move along rings and trees.

Every function adds the rows of its algorithm for all groups of a `Batch` at once and returns, as (G, m, D), the rows
after which each position has played its part and holds its result. A message may begin once the positions at both its
ends are ready, what it forwards has arrived, and what it overwrites has left.
"""

from collections.abc import Callable

import numpy as np

from simcore.collectives.rows import NONE, Batch, Column, Rows, padded, stacked

Tree = Callable[[Rows, Batch, Column], Column]


def _circulate(rows: Rows, batch: Batch, ahead: int, first: Column, *, reduces: bool) -> Column:
    """Let every position send m - 1 parts to the next one, in step s part (p - s - ``ahead``) mod m; return the last
    rows sent and received, (G, m, 2).

    Step s waits for the sender's own send of step s - 1 and for what it received then; step 0 waits for ``first``
    (G, m, D).
    """
    groups, count = batch.shape
    shape = (count - 1, groups, count)
    step, group = np.arange(count - 1)[:, None, None], np.arange(groups)[:, None]
    part = (np.arange(count) - step - ahead) % count
    sent, usable = rows.numbers(shape, reduces=reduces)
    received = np.roll(usable, 1, axis=-1)
    after = np.full((*shape, max(2, first.shape[-1])), NONE)
    after[0, ..., : first.shape[-1]] = first
    after[1:, ..., 0] = sent[:-1]
    after[1:, ..., 1] = received[:-1]
    rows.send(
        shape,
        rank=batch.order,
        peer=np.roll(batch.order, -1, axis=1),
        offset=batch.offset[group, part],
        size=batch.size[group, part],
        step=rows.next_step + step,
        lane=batch.lane[:, None],
        after=after,
        reduces=reduces,
    )
    return np.stack([sent[-1], received[-1]], axis=-1)


def _both_ready(batch: Batch) -> Column:
    return stacked(batch.ready, np.roll(batch.ready, -1, axis=1))


def ring_reduce_scatter(rows: Rows, batch: Batch) -> Column:
    """Add up each part on its way round the ring to the position that owns it."""
    return _circulate(rows, batch, 1, _both_ready(batch), reduces=True)


def ring_all_gather(rows: Rows, batch: Batch) -> Column:
    """Pass each part round the ring from the position that owns it."""
    return _circulate(rows, batch, 0, _both_ready(batch), reduces=False)


def ring_all_reduce(rows: Rows, batch: Batch) -> Column:
    """Reduce, then gather, without a seam: the gathering half goes on where the reducing half ended."""
    batch = batch.parted(batch.shape[1])
    reduced = _circulate(rows, batch, 1, _both_ready(batch), reduces=True)
    return _circulate(rows, batch, 0, reduced, reduces=False)


def chain(count: int) -> Column:
    """Return the parents of the tree in which everybody has one child; -1 for the root, position 0."""
    return np.arange(count) - 1


def binary_tree(count: int) -> Column:
    """Return the parents of ``count`` positions in a binary tree whose in-order walk is 0, 1, 2, ...; -1 for the root,
    position 0.

    Odd positions are leaves: mirrored, or shifted by one, the tree has other leaves, which makes a pair of trees in
    which nobody forwards in both (Sanders, Speck, Träff: Two-tree algorithms for full bandwidth broadcast, reduction
    and scan, Parallel Computing 35 (2009), doi:10.1016/j.parco.2009.09.001).
    """
    position = np.arange(1, count)
    lowest = position & -position
    parent = (position ^ lowest) | (lowest << 1)
    return np.concatenate([[-1], np.where(parent < count, parent, position ^ lowest)])


def depths(parent: Column) -> Column:
    """Return how many edges each position is away from the root."""
    depth, above = np.zeros(len(parent), np.int64), parent
    while (above >= 0).any():
        depth += above >= 0
        above = np.where(above >= 0, parent[above], -1)
    return depth


def _edges(parent: Column) -> Column:
    """Return the lower ends of all edges, those near the root first."""
    order = np.argsort(depths(parent), kind="stable")
    return order[parent[order] >= 0]


def _children(parent: Column, rows: Column, edge: Column) -> Column:
    """Return (G, m, K): for each position the ``rows`` (G, m - 1) of the edges to its children."""
    count = len(parent)
    used = np.zeros(count, np.int64)
    table = np.full((len(rows), count, int(np.bincount(parent[edge]).max())), NONE)
    for column, below in enumerate(edge):
        above = parent[below]
        table[:, above, used[above]] = rows[:, column]
        used[above] += 1
    return table


def _climb(rows: Rows, batch: Batch, parent: Column) -> tuple[Column, Column]:
    """Reduce up the tree; return the row sent by each position (G, m, 1), and those that bring what its children sent
    (G, m, K)."""
    edge = _edges(parent)
    depth = depths(parent)[edge]
    shape = (batch.shape[0], len(edge))
    sent, usable = rows.numbers(shape, reduces=True)
    inbound = _children(parent, usable, edge)
    rows.send(
        shape,
        rank=batch.order[:, edge],
        peer=batch.order[:, parent[edge]],
        offset=batch.offset,
        size=batch.size,
        step=rows.next_step + depth.max() - depth,
        lane=batch.lane[:, None],
        after=stacked(inbound[:, edge], batch.ready[:, edge], batch.ready[:, parent[edge]]),
        reduces=True,
    )
    return padded(sent, edge, len(parent)), inbound


def _descend(rows: Rows, batch: Batch, parent: Column, source: Column) -> Column:
    """Pass the region down the tree; the root has it after ``source`` (G, D)."""
    edge = _edges(parent)
    above = parent[edge]
    shape = (batch.shape[0], len(edge))
    sent, _ = rows.numbers(shape, reduces=False)
    received = padded(sent, edge, len(parent))
    at_root = np.where((above == 0)[:, None], source[:, None, :], NONE)
    rows.send(
        shape,
        rank=batch.order[:, above],
        peer=batch.order[:, edge],
        offset=batch.offset,
        size=batch.size,
        step=rows.next_step + depths(parent)[edge] - 1,
        lane=batch.lane[:, None],
        after=stacked(received[:, above], at_root, batch.ready[:, edge], batch.ready[:, above]),
        reduces=False,
    )
    return stacked(received, _children(parent, sent, edge))


def _tree_reduce(rows: Rows, batch: Batch, parent: Column) -> Column:
    return stacked(*_climb(rows, batch.whole(), parent))


def _tree_broadcast(rows: Rows, batch: Batch, parent: Column) -> Column:
    return _descend(rows, batch.whole(), parent, np.full((batch.shape[0], 1), NONE))


def _tree_all_reduce(rows: Rows, batch: Batch, parent: Column) -> Column:
    _, inbound = _climb(rows, batch.whole(), parent)
    return _descend(rows, batch.whole(), parent, inbound[:, 0])


def ring_broadcast(rows: Rows, batch: Batch) -> Column:
    """Pass the region along a chain from position 0."""
    return _tree_broadcast(rows, batch, chain(batch.shape[1]))


def ring_reduce(rows: Rows, batch: Batch) -> Column:
    """Reduce along a chain towards position 0."""
    return _tree_reduce(rows, batch, chain(batch.shape[1]))


def tree_broadcast(rows: Rows, batch: Batch) -> Column:
    """Pass the region down a binary tree from position 0."""
    return _tree_broadcast(rows, batch, binary_tree(batch.shape[1]))


def tree_reduce(rows: Rows, batch: Batch) -> Column:
    """Reduce up a binary tree to position 0."""
    return _tree_reduce(rows, batch, binary_tree(batch.shape[1]))


def tree_all_reduce(rows: Rows, batch: Batch) -> Column:
    """Reduce up a binary tree, and pass the result down it."""
    return _tree_all_reduce(rows, batch, binary_tree(batch.shape[1]))


def double_tree_all_reduce(rows: Rows, batch: Batch) -> Column:
    """Two trees, each on half of the region; who forwards in one is a leaf of the other."""
    count = batch.shape[1]
    return _in_two(rows, batch, _tree_all_reduce, binary_tree(count), _partner(count))


def double_tree_broadcast(rows: Rows, batch: Batch) -> Column:
    """Position 0 gives each half of the region to the root of one of two trees among the others."""
    return _in_two(rows, batch, _tree_broadcast, *below_root(batch.shape[1]))


def double_tree_reduce(rows: Rows, batch: Batch) -> Column:
    """Position 0 gets each half of the region from the root of one of two trees among the others."""
    return _in_two(rows, batch, _tree_reduce, *below_root(batch.shape[1]))


def _partner(count: int) -> Column:
    """Return which position of the first tree stands at each position of the second: mirrored, or shifted by one."""
    return np.arange(count)[::-1] if count % 2 == 0 else np.roll(np.arange(count), 1)


def below_root(count: int) -> tuple[Column, Column]:
    """Return the parents and the partners of two trees below position 0, which belongs to neither."""
    return np.append(-1, binary_tree(count - 1) + 1), np.append(0, _partner(count - 1) + 1)


def _in_two(rows: Rows, batch: Batch, algorithm: Tree, parent: Column, partner: Column) -> Column:
    half, groups = batch.parted(2), batch.shape[0]
    both = Batch(
        np.concatenate([batch.order, batch.order[:, partner]]),
        np.tile(batch.lane, 2),
        half.offset.T.reshape(-1, 1),
        half.size.T.reshape(-1, 1),
        np.concatenate([batch.ready, batch.ready[:, partner]]),
        np.tile(batch.switch, 2),
    )
    done = algorithm(rows, both, parent)
    return stacked(done[:groups], done[groups:][:, np.argsort(partner)])
