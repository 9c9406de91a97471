"""Algorithms in sequence: which one runs among which ranks, flat, in levels of nodes, or along rails."""

from collections.abc import Callable, Mapping, Sequence
from math import gcd

import numpy as np

from simcore.collectives import exchanges, rings_and_trees
from simcore.collectives.rows import NONE, Batch, Column, Rows, before, split

Algorithm = Callable[[Rows, Batch], Column]

FLAT: Mapping[str, Mapping[str, Algorithm]] = {
    "all_reduce": {
        "ring": rings_and_trees.ring_all_reduce,
        "tree": rings_and_trees.tree_all_reduce,
        "double_tree": rings_and_trees.double_tree_all_reduce,
        "halving_doubling": exchanges.halving_doubling_all_reduce,
        "direct": exchanges.direct_all_reduce,
        "in_switch": exchanges.switch_all_reduce,
    },
    "reduce_scatter": {
        "ring": rings_and_trees.ring_reduce_scatter,
        "halving_doubling": exchanges.halving_reduce_scatter,
        "direct": exchanges.direct_reduce_scatter,
        "in_switch": exchanges.switch_reduce_scatter,
    },
    "all_gather": {
        "ring": rings_and_trees.ring_all_gather,
        "halving_doubling": exchanges.doubling_all_gather,
        "direct": exchanges.direct_all_gather,
        "in_switch": exchanges.switch_all_gather,
    },
    "broadcast": {
        "ring": rings_and_trees.ring_broadcast,
        "tree": rings_and_trees.tree_broadcast,
        "double_tree": rings_and_trees.double_tree_broadcast,
        "direct": exchanges.direct_broadcast,
        "in_switch": exchanges.switch_broadcast,
    },
    "reduce": {
        "ring": rings_and_trees.ring_reduce,
        "tree": rings_and_trees.tree_reduce,
        "double_tree": rings_and_trees.double_tree_reduce,
        "direct": exchanges.direct_reduce,
        "in_switch": exchanges.switch_reduce,
    },
}
"""The algorithms among ranks that are all alike, by operation; position 0 is the root of a broadcast or reduce."""


class Stages:
    """The stages of one collective; a stage begins at a rank, lane by lane, when the rank's part in the last one is
    over."""

    def __init__(self, rows: Rows, lanes: int, ranks: int, reducers: Sequence[int]) -> None:
        self._rows = rows
        self._reducers = np.array(reducers, np.int64)
        self._held = np.full((lanes, ranks, 0), NONE)

    def run(
        self, algorithm: Algorithm, order: Column, lane: Column, offset: Column, size: Column, node: Column | int = 0
    ) -> None:
        """Run ``algorithm`` among the groups of ``order`` (G, m), each on the region ``offset``, ``size`` (G, P) of its
        ``lane`` (G,), and with the reducing switch of its ``node``."""
        if order.shape[1] == 1:
            return
        place = (lane[:, None], order)
        ready = self._rows.merged(order, self._held[place], lane)
        switch = np.broadcast_to(self._reducers[node], lane.shape)
        done = algorithm(self._rows, Batch(order, lane, offset, size, ready, switch))
        held = np.full((*self._held.shape[:2], max(self._held.shape[2], done.shape[2])), NONE)
        held[..., : self._held.shape[2]] = self._held
        held[place] = NONE
        held[..., : done.shape[2]][place] = done
        self._held = held


def orders(ranks: int, nodes: int, channels: int) -> Column:
    """Return (channels, ranks): the rank at each position, node after node, the ranks of a node in another order for
    every channel.

    Channel c begins at local index c and goes on by the c-th stride that has no common divisor with the ranks of a
    node, so that on a full mesh its ring uses other links, and between nodes other GPUs' NICs.
    """
    local = ranks // nodes
    strides = [stride for stride in range(1, max(local, 2)) if gcd(stride, local) == 1]
    channel = np.arange(channels)[:, None]
    stride = np.array(strides, np.int64)[channel % len(strides)]
    within = (channel + stride * np.arange(local)) % local
    order: Column = ((np.arange(nodes) * local)[:, None] + within[:, None, :]).reshape(channels, ranks)
    return order


def rooted(order: Column, root: int) -> Column:
    """Return the same circular orders, each beginning at rank ``root``."""
    begin = np.argmax(order == root, axis=1)[:, None]
    return np.take_along_axis(order, (begin + np.arange(order.shape[1])) % order.shape[1], axis=1)


class Levels:
    """M nodes of L ranks each; rank node * L + l has the local index l. One group of a level is a row of ranks."""

    def __init__(self, stages: Stages, nodes: int, local: int, channel: Column, inner: str, outer: str) -> None:
        self._stages, self._channel = stages, channel
        self._nodes, self._local = nodes, local
        self._inner, self._outer = inner, outer

    def _within(self, algorithm: Algorithm, first: Column, offset: Column, size: Column) -> None:
        """Run in every node, position 0 at local index ``first`` (lanes,); ``offset`` and ``size`` are (lanes, M, P), P
        by position."""
        lanes = len(first)
        order = self._nodes_of(first).reshape(lanes * self._nodes, self._local)
        lane = np.repeat(np.arange(lanes), self._nodes)
        flat_offset, flat_size = (part.reshape(len(order), -1) for part in (offset, size))
        node = np.tile(np.arange(self._nodes), lanes)
        self._stages.run(algorithm, order, lane, flat_offset, flat_size, node)

    def _nodes_of(self, first: Column) -> Column:
        """Return (lanes, M, L): the ranks of each node, from local index ``first`` on."""
        within = (first[:, None] + np.arange(self._local)) % self._local
        return np.arange(self._nodes)[:, None] * self._local + within[:, None, :]

    def _leaders(self, algorithm: Algorithm, order: Column, offset: Column, size: Column) -> None:
        self._stages.run(algorithm, order, np.arange(len(order)), offset, size)

    def through_leaders(self, operation: str, root: int, offset: Column, size: Column) -> None:
        """Gather or reduce to one leader in every node, run among the leaders, spread within the nodes.

        ``offset`` and ``size`` are (lanes, 1) or, for reduce_scatter and all_gather, (lanes, ranks) by rank. The leader
        is the local index of the root, or that of the channel's number.
        """
        is_rooted = operation in ("broadcast", "reduce")
        first = np.full(len(offset), root % self._local) if is_rooted else self._channel % self._local
        leaders = np.arange(self._nodes) * self._local + first[:, None]
        every = (offset[:, :1, None], size.sum(axis=1)[:, None, None])
        whole = tuple(np.broadcast_to(part, (len(offset), self._nodes, 1)) for part in every)
        own = own_by_node = whole
        if offset.shape[1] > 1:
            by_position, lane = self._nodes_of(first), np.arange(len(offset))[:, None, None]
            own = (offset[lane, by_position], size[lane, by_position])
            in_nodes = (len(offset), self._nodes, self._local)
            own_by_node = (offset.reshape(in_nodes)[..., 0], size.reshape(in_nodes).sum(axis=-1))
        among = FLAT[operation][self._outer]
        if operation in ("all_reduce", "reduce", "reduce_scatter"):
            self._within(FLAT["reduce"][self._inner], first, *whole)
        elif operation == "all_gather":
            self._within(exchanges.direct_gather, first, *own)
        if is_rooted:
            leaders = rooted(leaders, root)
        split_among = operation in ("reduce_scatter", "all_gather")
        self._leaders(among, leaders, *(own_by_node if split_among else (part[:, 0] for part in whole)))
        if operation == "reduce_scatter":
            self._within(exchanges.direct_scatter, first, *own)
        elif operation != "reduce":
            self._within(FLAT["broadcast"][self._inner], first, *whole)

    def along_rails(self, operation: str, offset: Column, size: Column) -> None:
        """Split the payload within the nodes, run between equal local indices of all nodes, join within the nodes.

        ``offset`` and ``size`` are (lanes, L, M): the part of local index l, cut into one part a node.
        """
        lanes = len(offset)
        first = np.zeros(lanes, np.int64)
        whole_rail = (offset[:, None, :, 0], size.sum(axis=-1)[:, None, :])
        rail = tuple(np.broadcast_to(part, (lanes, self._nodes, self._local)) for part in whole_rail)
        if operation != "all_gather":
            self._within(FLAT["reduce_scatter"][self._inner], first, *rail)
        lane = np.repeat(np.arange(lanes), self._local)
        order = np.tile(np.arange(self._nodes) * self._local + np.arange(self._local)[:, None], (lanes, 1))
        regions = (part.reshape(lanes * self._local, self._nodes) for part in (offset, size))
        self._stages.run(FLAT[operation][self._outer], order, lane, *regions)
        if operation != "reduce_scatter":
            self._within(FLAT["all_gather"][self._inner], first, *rail)


def rail_regions(size: Column, nodes: int) -> tuple[Column, Column]:
    """Return offset and size (lanes, L, M) of the parts of all ranks, ordered by local index, then node; ``size`` is
    (lanes, ranks) by rank."""
    lanes, ranks = size.shape
    ordered = size.reshape(lanes, nodes, ranks // nodes).swapaxes(1, 2)
    return consecutive(ordered.reshape(lanes, ranks)).reshape(ordered.shape), ordered


def consecutive(size: Column) -> Column:
    """Return where the parts of (lanes, P) sizes begin, part after part, lane after lane."""
    return before(size.reshape(-1)).reshape(size.shape)


def lane_sizes(size: int, parts: int, lanes: int) -> Column:
    """Return (lanes, parts): ``size`` bytes in ``parts`` parts that differ by one byte at most, each cut into ``lanes``
    pieces that differ by one byte at most."""
    return split(split(np.array(size), parts), lanes).T
