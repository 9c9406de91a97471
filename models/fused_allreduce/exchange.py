"""Who stores what for whom, which flag says so, and who waits for it: what all ranks of a fused kernel agree on."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simcore import InputError, Virtual

from .operands import ELEMENT, PROBLEMS, REDUCE, Problem, Tensors
from .peers import Peers, peers
from .tiles import Tiles

if TYPE_CHECKING:
    from .program import Params

Column = np.ndarray[Any, np.dtype[np.int64]]
Phase = Literal["ready", "gathered"]
"""The two exchanges, and the arrays of their flags: a part lies at its owner; sums of the owner lie at a peer."""

FLAG_BYTES = 8
"""Size of a flag, one 64-bit word."""
MOST_TILES = 2**24
MOST_ELEMENTS = 2**40
MOST = {"work_groups": 2**16, "tables": 2**12}
"""The largest values of parameters, each of which costs memory or time on its own."""
MOST_REAL = 2**32
"""Bytes of real operands, all ranks together."""

SIZES = {
    "gemv_allreduce": ("rows", "inner"),
    "gemm_alltoall": ("rows", "inner", "columns", "tile_columns"),
    "embedding_alltoall": ("rows", "columns", "tables", "entries", "pooling"),
}
"""The parameters that say how large each kernel's operands are."""


@dataclass(frozen=True, eq=False)
class Stores:
    """The writes of one rank in the order in which it issues them, without times: parallel columns.

    ``size`` bytes go to rank ``dst`` from work-group ``group``; ``index`` is the word of the array ``flags`` that is
    set on arrival, -1 for data. ``step`` counts what a work-group does before, in turn: first the owners that it
    computes for, then the peers that it sends its sums to.
    """

    flags: Phase
    dst: Column
    size: Column
    index: Column
    group: Column
    step: Column


@dataclass(frozen=True, eq=False)
class Plan:
    """Which problem, cut how, and who is alive: the ``target`` alone, the others being replayed as ``peers`` says, or
    all ranks where it is None.

    ``memory`` holds the real payloads that ranks stored at others, by (phase, source, work-group, destination), because
    the links carry sizes alone. It is empty before time begins.
    """

    problem: Problem
    tiles: Tiles
    virtual: bool
    target: int | None
    gather_flags: Literal["rank", "work_group"]
    peers: Peers | None = None
    memory: dict[tuple[Phase, int, int, int], Any] = field(default_factory=dict)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The exchanges that there are."""
        return ("ready", "gathered") if self.problem.adds else ("ready",)

    def words(self, phase: Phase) -> int:
        """Return the length of the array of flags of ``phase``."""
        return self.tiles.world * (self.tiles.work_groups if self.flags_by_group(phase) else 1)

    def index(self, phase: Phase, source: Any, group: Any) -> Any:
        """Return the word that ``group`` of rank ``source`` sets at others; scalars or columns."""
        return source * self.tiles.work_groups + group if self.flags_by_group(phase) else source + 0 * group

    def awaited(self, phase: Phase, rank: int, group: int) -> Column:
        """Return the peers for whose flag ``group`` of ``rank`` waits: those whose same group stores something for it;
        with a flag per rank, those of which any group does."""
        peers = np.delete(np.arange(self.tiles.world), rank)
        if phase == "ready":
            return peers if self.tiles.elements[rank, group] else peers[:0]
        return (
            peers[self.tiles.elements[peers, group] > 0] if self.flags_by_group(phase) else peers[self._owning[peers]]
        )

    def stores(self, rank: int, phase: Phase, to: int | None = None) -> Stores:
        """Return what ``rank`` writes in ``phase``: everything, or what goes ``to`` one other rank."""
        return self._ready(rank, to) if phase == "ready" else self._gathered(rank, to)

    def _ready(self, rank: int, to: int | None) -> Stores:
        """Return the stores of every tile, owner by owner, because every work-group takes them in this order, and
        behind the last one of a work-group its flag."""
        tiles, world = self.tiles, self.tiles.world
        number = np.arange(tiles.count) if to is None else np.array(tiles.numbers(to), np.int64)
        number = number[tiles.owners[number] != rank]
        dst, group = tiles.owners[number], number % tiles.work_groups
        step = (dst - rank) % world - 1
        order = np.lexsort((number, group, step))
        number, dst, group, step = number[order], dst[order], group[order], step[order]
        data = np.stack((dst, tiles.sizes[number] * ELEMENT.itemsize, np.full_like(dst, -1), group, step))
        (last,) = np.nonzero(np.diff(dst * tiles.work_groups + group, append=-1))
        dst, group, step = dst[last], group[last], step[last]
        flags = np.stack((dst, np.full_like(dst, FLAG_BYTES), self.index("ready", rank, group), group, step))
        return Stores("ready", *np.insert(data, last + 1, flags, axis=1))

    def _gathered(self, rank: int, to: int | None) -> Stores:
        """Return the stores of sums, work-group by work-group, because each stores to all peers when it has its own,
        with its flags, or behind the last ones the flags of the rank."""
        tiles, distance = self.tiles, np.arange(1, self.tiles.world)
        dst = (rank + distance) % tiles.world
        if to is not None:
            dst, distance = dst[dst == to], distance[dst == to]
        own = np.nonzero(tiles.elements[rank])[0]
        group, place = np.repeat(own, len(dst)), np.tile(np.arange(len(dst)), len(own))
        dst, step = dst[place], tiles.world + distance[place] - 1
        size = tiles.elements[rank, group] * ELEMENT.itemsize
        data = np.stack((dst, size, np.full_like(dst, -1), group, step))
        flags = np.stack((dst, np.full_like(dst, FLAG_BYTES), self.index("gathered", rank, group), group, step))
        if self.flags_by_group("gathered"):
            return Stores("gathered", *np.stack((data, flags), axis=2).reshape(5, -1))
        # The last work-group tells every peer once.
        peers = len(distance) if len(own) else 0
        return Stores("gathered", *np.concatenate((data, flags[:, len(dst) - peers :]), axis=1))

    def held(self, phase: Phase, source: int, group: int, rank: int) -> Any:
        """Return the payload that ``group`` of ``source`` stored at ``rank``; of an eidolon, what it would have
        stored."""
        if self.virtual:
            return Virtual((int(self.tiles.elements[rank if phase == "ready" else source, group]),), ELEMENT.name)
        if self.target in (None, source):
            return self.memory[phase, source, group, rank]
        if phase == "ready":
            return self.computed(source, rank, group)
        return REDUCE.run(*(self.computed(each, source, group) for each in range(self.tiles.world)))[0]

    def computed(self, rank: int, owner: int, group: int) -> Any:
        """Return what ``group`` of ``rank`` computes for ``owner``."""
        return self.problem.kernel("peer")(*self.problem.inputs(rank, self.tiles.part(owner, group)))[0]

    def flags_by_group(self, phase: Phase) -> bool:
        """Return whether every work-group sets a flag in ``phase``, or the last one of a rank a single one."""
        return phase == "ready" or self.gather_flags == "work_group"

    @cached_property
    def _owning(self) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        return self.tiles.elements.any(axis=1)


def check(params: "Params") -> None:
    """Raise ``InputError`` for sizes that no kernel can have."""
    for name in (*SIZES[params.kernel], "tile_rows", "work_groups"):
        value = getattr(params, name)
        if value < 1:
            raise InputError(f"{name} must be 1 or more, not {value}")
        if value > MOST.get(name, MOST_ELEMENTS):
            raise InputError(f"{name} must be {MOST.get(name, MOST_ELEMENTS)} or fewer, not {value}")
    if params.peers == "eidolons" and params.target < 0:
        raise InputError(f"target must be 0 or more, not {params.target}")


def plan(params: "Params", world: int, rng: np.random.Generator) -> Plan:
    """Return the problem with its operands, cut into tiles; raises ``InputError`` where it is too large, or the target
    is no rank."""
    target = params.target if params.peers == "eidolons" else None
    if target is not None and target >= world:
        raise InputError(f"target {target} is no rank of {world}; they count from 0 to {world - 1}")
    shapes = Tensors(None)
    problem: Problem = PROBLEMS[params.kernel](params, world, shapes)
    tiles = Tiles(*problem.shape, params.tile_rows, problem.tile_columns, world, params.work_groups)
    if tiles.count > MOST_TILES:
        raise InputError(f"{tiles.count} tiles; {MOST_TILES} or fewer: make rows smaller or tile_rows larger")
    if tiles.rows * tiles.columns > MOST_ELEMENTS:
        raise InputError(f"a result of {tiles.rows * tiles.columns} elements; {MOST_ELEMENTS} or fewer: fewer rows")
    if params.payload == "real":
        if shapes.nbytes > MOST_REAL:
            raise InputError(f"payload: real needs {shapes.nbytes} B of operands; {MOST_REAL} or fewer, or virtual")
        problem = PROBLEMS[params.kernel](params, world, Tensors(rng))
    # Read only where they matter, so that a run warns of a value that changes nothing.
    gather_flags = params.gather_flags if problem.adds else "rank"
    made = Plan(problem, tiles, params.payload == "virtual", target, gather_flags)
    return made if target is None else replace(made, peers=peers(params, made, rng))


def reference(plan: Plan) -> list[Any]:
    """Return the result of every live rank, in their order, from products and sums of whole tensors in float64: the
    sum, [rows, columns], or, stacked by the rank that computed it, what the rank owns, [world, its rows, columns]."""
    plain = plan.problem.plain(np.float64)
    ranks = range(plan.tiles.world) if plan.target is None else [plan.target]
    if plan.problem.adds:
        return [np.sum(plain, axis=0)] * len(ranks)
    return [np.stack([each[plan.tiles.shard(rank)] for each in plain]) for rank in ranks]
