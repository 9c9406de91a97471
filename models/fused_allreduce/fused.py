"""A live rank of a fused kernel: what each of its work-groups computes, stores, waits for and adds up.

One owner after the other, the peers first, in rotation, its own rank last, a work-group computes its part tile by tile,
stores each tile into the owner's memory as soon as it is there, and behind the last one sets one flag. Then it waits
for the flags of the same work-group of all peers (arXiv:2305.06942). An all-to-all ends here. An all-reduce adds up
what arrived, in the order of the ranks, and stores the sums into the memory of every peer, with a flag for each that
says when all is there.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import Virtual, label

from .exchange import FLAG_BYTES, Phase, Plan
from .operands import ELEMENT, REDUCE, START

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from simcore import Rank

NAMES = {"ready": "part for its owner", "gathered": "sums for all"}
FLAG = Virtual((FLAG_BYTES,), "uint8")


def live(rank: "Rank", plan: Plan) -> "Generator[Any, Any, None]":
    """Launch the kernel, run its work-groups, and end when everything meant for this rank has arrived."""
    yield from rank.compute(START, *plan.problem.shared(rank.index), what="start")
    groups = rank.groups(plan.tiles.work_groups)
    busy = [group for group in groups if plan.tiles.elements[:, group.number].any()]
    life = _Life(rank, plan)
    yield from rank.together([life.of(group) for group in busy], "work-groups")
    if plan.problem.adds and plan.gather_flags == "rank":
        yield from life.wait(rank, "gathered", 0)
    if not plan.virtual:
        rank.give(life.result())


class _Life:
    """What the work-groups of one rank share: its arrays of flags, and how many have sums still to store."""

    def __init__(self, rank: "Rank", plan: Plan) -> None:
        self._rank, self._plan, self._tiles = rank, plan, plan.tiles
        self._flags = {phase: rank.flags(phase, plan.words(phase)) for phase in plan.phases}
        self._kernels = {to: plan.problem.kernel(to) for to in ("peer", "registers", "hbm")}
        self._left = np.count_nonzero(plan.tiles.elements[rank.index])
        self._peers = (rank.index + np.arange(1, plan.tiles.world)) % plan.tiles.world

    def of(self, group: Any) -> "Generator[Any, Any, None]":
        """Run one work-group."""
        me, world = self._rank.index, self._tiles.world
        owners = [owner for owner in (*self._peers.tolist(), me) if self._tiles.elements[owner, group.number]]
        for owner in owners:
            yield from self._compute(group, owner)
        if owners[-1] == me:
            yield from self.wait(group, "ready", group.number)
            if self._plan.problem.adds:
                parts = [self._plan.held("ready", source, group.number, me) for source in range(world)]
                yield from self._gather(group, parts)
        if self._plan.gather_flags == "work_group" and self._plan.problem.adds:
            yield from self.wait(group, "gathered", group.number)

    def _compute(self, group: Any, owner: int) -> "Generator[Any, Any, None]":
        """Compute the part of ``owner`` tile by tile, and, where that is a peer, store each there as soon as it is
        ready, and the flag behind the last one.

        Model: under fair sharing, where messages do not queue, a flag can be there before its data.
        """
        me, problem = self._rank.index, self._plan.problem
        kernel = self._kernels["peer" if owner != me else "registers" if problem.adds else "hbm"]
        data, what = label(NAMES["ready"], group=group.number), f"part of rank{owner}"
        found = []
        for tile in self._tiles.part(owner, group.number):
            found.append((yield from group.compute(kernel, *problem.inputs(me, [tile]), what=what)))
            if owner != me:
                group.put(owner, found[-1], data)
        self._rank.count("tiles", len(found))
        self._keep("ready", group.number, [owner], found)
        if owner != me:
            self._set(group, "ready", owner, data)

    def _gather(self, group: Any, parts: list[Any]) -> "Generator[Any, Any, None]":
        """Add up the parts of all ranks, and store the sums at every peer; the last work-group to do so says it, or,
        where work-groups have flags, each by a flag behind each store.

        Model: the sums of a work-group are one store a peer; they are ready together, because what they need is.
        """
        total = yield from group.compute(REDUCE, *parts, what="sum of parts")
        self._keep("gathered", group.number, range(self._tiles.world), [total])
        data = label(NAMES["gathered"], step=1, group=group.number)
        for peer in self._peers.tolist():
            group.put(peer, total, data)
            if self._plan.gather_flags == "work_group":
                self._set(group, "gathered", peer, data)
        self._left -= 1
        if self._left == 0 and self._plan.gather_flags == "rank":
            # Counts as of a work-group more than there are.
            what = label(NAMES["gathered"], step=1, group=self._tiles.work_groups)
            for peer in self._peers.tolist():
                self._set(group, "gathered", peer, what)

    def _set(self, group: Any, phase: Phase, peer: int, what: str) -> None:
        """Set the flag of a work-group, or of this rank, at a peer: behind its data on the same route, it is seen after
        it."""
        word = self._flags[phase][self._plan.index(phase, self._rank.index, group.number)]
        group.put(peer, FLAG, what, sets=word)

    def _keep(self, phase: Phase, group: int, ranks: "Sequence[int]", tiles: list[Any]) -> None:
        if not self._plan.virtual:
            payload = np.concatenate(tiles)
            self._plan.memory.update({(phase, self._rank.index, group, rank): payload for rank in ranks})

    def wait(self, door: Any, phase: Phase, group: int) -> "Generator[Any, Any, None]":
        """Wait for the flags that ``group`` needs, through the doors of a work-group or of the rank."""
        peers = self._plan.awaited(phase, self._rank.index, group)
        if len(peers):
            words = self._plan.index(phase, peers, group)
            reasons = [f"flag of rank{peer}" for peer in peers.tolist()]
            yield from door.wait_all(self._flags[phase], words, NAMES[phase], reasons)

    def result(self) -> Any:
        """Return what the rank holds in the end: the whole sum, [rows, columns], or what each rank computed of its own
        shard, [world, its rows, columns]."""
        me, world, tiles = self._rank.index, self._tiles.world, self._tiles
        adds, shard = self._plan.problem.adds, tiles.shard(me)
        found = np.zeros((1, tiles.rows, tiles.columns) if adds else (world, len(shard), tiles.columns), ELEMENT)
        for source in range(world):
            owner, place, top = (source, 0, 0) if adds else (me, source, shard.start)
            for group in np.nonzero(tiles.elements[owner])[0].tolist():
                payload, begin = self._plan.held("gathered" if adds else "ready", source, group, me), 0
                for rows, columns in tiles.part(owner, group):
                    block = found[place, rows.start - top : rows.stop - top, columns]
                    block[...] = payload[begin : begin + block.size].reshape(block.shape)
                    begin += block.size
        return found[0] if adds else found
