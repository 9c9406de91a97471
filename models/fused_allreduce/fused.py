"""A live rank of a fused kernel: what each of its work-groups computes, stores, waits for and adds up.

One owner after the other, the peers first, in rotation, its own rank last, a work-group computes its part, stores it
into the owner's memory, and sets one flag there. Then it waits for the flags of the same work-group of all peers
(arXiv:2305.06942). An all-to-all ends here. An all-reduce adds up what arrived, in the order of the ranks, and stores
the sums into the memory of every peer, with a flag for each that says when all is there.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import Virtual, Writes, label

from .exchange import FLAG_BYTES, Phase, Plan
from .operands import ELEMENT, REDUCE, START

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from simcore import Rank

NAMES = {"ready": "part for its owner", "gathered": "sums for all"}


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
            tiles = self._tiles.part(owner, group.number)
            to = "peer" if owner != me else "registers" if self._plan.problem.adds else "hbm"
            inputs = self._plan.problem.inputs(me, tiles)
            part = yield from group.compute(self._kernels[to], *inputs, what=f"part of rank{owner}")
            self._rank.count("tiles", len(tiles))
            self._keep("ready", group.number, [owner], part)
            if owner != me:
                self._store(group, "ready", [owner], part)
        if owners[-1] == me:
            yield from self.wait(group, "ready", group.number)
            if self._plan.problem.adds:
                parts = [self._plan.held("ready", source, group.number, me) for source in range(world)]
                yield from self._gather(group, parts)
        if self._plan.gather_flags == "work_group" and self._plan.problem.adds:
            yield from self.wait(group, "gathered", group.number)

    def _gather(self, group: Any, parts: list[Any]) -> "Generator[Any, Any, None]":
        """Add up the parts of all ranks, and store the sums at every peer; the last work-group to do so says it."""
        total = yield from group.compute(REDUCE, *parts, what="sum of parts")
        self._keep("gathered", group.number, range(self._tiles.world), total)
        self._store(group, "gathered", self._peers.tolist(), total)
        self._left -= 1
        if self._left == 0 and self._plan.gather_flags == "rank":
            word = self._flags["gathered"][self._plan.index("gathered", self._rank.index, 0)]
            what = label(NAMES["gathered"], step=1, group=self._tiles.work_groups)
            for peer in self._peers.tolist():
                group.put(peer, Virtual((FLAG_BYTES,), "uint8"), what, sets=word)

    def _store(self, group: Any, phase: Phase, peers: "Sequence[int]", payload: Any) -> None:
        """Store ``payload`` at ``peers``, each store followed, where work-groups have flags, by the flag: behind its
        data on the same route, it is seen after it.

        Model: under fair sharing, where messages do not queue, a flag can be there before its data.
        """
        flags = phase == "ready" or self._plan.gather_flags == "work_group"
        each = 1 + flags
        size, index = [payload.nbytes, FLAG_BYTES][:each], [-1, self._plan.index(phase, self._rank.index, group.number)]
        count = len(peers)
        now = np.full(each * count, group.now)
        is_flag = np.array([False, True][:each] * count)
        what = label(NAMES[phase], step=self._plan.phases.index(phase), group=group.number)
        writes = Writes(now, np.repeat(peers, each), np.array(size * count), is_flag, what)
        group.replay(writes, np.array(index[:each] * count), flags=self._flags[phase])

    def _keep(self, phase: Phase, group: int, ranks: "Sequence[int]", payload: Any) -> None:
        if not self._plan.virtual:
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
