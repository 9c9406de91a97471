"""The recorded kernel: the collectives of a timing profile, replayed around one live GPU."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import InputError, Kernel, Profile, Shift, Virtual, Writes, locate, read_profile, transform

from . import cost, eidolon, kernel
from .tracking import BackEnd

if TYPE_CHECKING:
    from collections.abc import Generator

    from simcore import Rank

    from .program import Params

REDUCE = Kernel("reduce_shards", kernel.reduce_shards, cost.reduce_shards)
ELEMENT = np.dtype(np.float32)


@dataclass(frozen=True)
class Step:
    """One step of a collective at the target: its own writes as (destination, size, flag they set or ""), the flags it
    waits for as (name, source), and shards to reduce."""

    own: list[tuple[int, int, str]]
    flags: list[tuple[str, int]]
    shards: list[Any]


@dataclass(frozen=True)
class Collective:
    """A collective of the target: its name, the computation recorded before it (ps), and its steps in order."""

    name: str
    gap: int
    steps: list[Step]


@dataclass(frozen=True)
class Eidolon:
    """A replayed rank: its stamped writes with the flags they set at the target, and its recorded collectives as
    (begin, end, name)."""

    writes: eidolon.Batch
    recorded: list[tuple[int, int, str]]


@dataclass(frozen=True)
class Plan:
    """Who is alive, what it does, and what everybody else replays, in open or closed loop."""

    target: int
    collectives: list[Collective]
    eidolons: dict[int, Eidolon | eidolon.Script]
    table: BackEnd


def world(params: "Params") -> int:
    """Return the number of ranks that the profile speaks of; raises ``InputError`` for a target that is none of
    them."""
    profile = timing(params, np.random.default_rng(0))
    if not 0 <= params.target < profile.world:
        raise InputError(f"target {params.target} is no rank of {params.profile}; it has 0 to {profile.world - 1}")
    return profile.world


def timing(params: "Params", rng: np.random.Generator) -> Profile:
    """Return the profile that ``params`` name, after their transforms."""
    return transform(read_profile(locate(params.profile, "traces")), params.transforms, eidolon.seed(params, rng))


def plan(params: "Params", world: int, rng: np.random.Generator) -> Plan:
    """Return the target's collectives and the eidolons' writes as the profile states them."""
    profile = timing(params, rng)
    others = [rank for rank in range(world) if rank != params.target]
    eidolons: dict[int, Eidolon | eidolon.Script]
    if params.loop == "open":
        eidolons = {rank: _eidolon(profile, rank, params) for rank in others}
    else:
        late = transform(profile, [Shift(by=params.delay)])
        words = [_flag_name(late, row) if late.flag[row] else "" for row in range(len(late.flag))]
        eidolons = {rank: eidolon.script(late, rank, words) for rank in others}
    return Plan(params.target, _collectives(profile, params, rng), eidolons, params.table)


def reference(plan: Plan) -> list[Any]:
    """Return the plain sum of the shards of every reducing step, in the order in which the target meets them."""
    steps = [step for collective in plan.collectives for step in collective.steps if step.shards]
    return [np.sum(np.stack(step.shards, dtype=np.float64), axis=0).astype(ELEMENT) for step in steps]


def program(rank: "Rank", plan: Plan) -> "Generator[Any, Any, None]":
    """Live as the target, or replay as an eidolon."""
    if rank.index == plan.target:
        yield from _live(rank, plan)
        return
    replayed = plan.eidolons[rank.index]
    if isinstance(replayed, Eidolon):
        yield from _replay(rank, replayed, plan.table)
    else:
        yield from eidolon.follow(rank, replayed, plan.table)


def _live(rank: "Rank", plan: Plan) -> "Generator[Any, Any, None]":
    """Compute as recorded, then run each collective step by step: store to the peers, wait for their flags, reduce.

    Model: what the target computed between two collectives lasts as long as recorded, whatever the machine.
    """
    for collective in plan.collectives:
        yield from rank.spend(collective.gap, "compute", f"before {collective.name}")
        for step in collective.steps:
            for dst, size, sets in step.own:
                rank.put(dst, Virtual((size,), "uint8"), collective.name, sets=sets)
            yield from rank.wait([(name, f"flag of rank{src}") for name, src in step.flags], collective.name)
            if step.shards:
                total = yield from rank.compute(REDUCE, *step.shards, what=f"reduce of {collective.name}")
                rank.give(total)


def _replay(rank: "Rank", replayed: Eidolon, table: BackEnd) -> "Generator[Any, Any, None]":
    """Issue every write at its stamp, and let the recorded time pass."""
    eidolon.replay(rank, [replayed.writes], table)
    for begin, end, name in replayed.recorded:
        yield from rank.spend(begin - rank.now, "compute", f"before {name}")
        yield from rank.spend(end - rank.now, "replay", name)


def _eidolon(profile: Profile, rank: int, params: "Params") -> Eidolon:
    rows = np.nonzero(profile.rank == rank)[0]
    sets = [_flag_name(profile, row) if profile.flag[row] and profile.dst[row] == params.target else "" for row in rows]
    names = [profile.name[row] for row in rows]
    writes = Writes(profile.time[rows] + params.delay, profile.dst[rows], profile.size[rows], profile.flag[rows], names)
    spans = {
        int(profile.collective[row]): (int(profile.start[row]), int(profile.time[row]), profile.name[row])
        for row in rows
    }
    recorded = sorted((begin + params.delay, end + params.delay, name) for begin, end, name in spans.values())
    return Eidolon(eidolon.Batch(writes, sets), recorded)


def _collectives(profile: Profile, params: "Params", rng: np.random.Generator) -> list[Collective]:
    """Return the target's collectives in the order in which it met them, or, where its own trace is absent, its peers
    did."""
    own, inbound = profile.rank == params.target, profile.dst == params.target
    involved = np.nonzero(own | inbound)[0]
    order: dict[int, tuple[bool, int]] = {}
    for row in involved:
        number = int(profile.collective[row])
        key = (not own[row], int(profile.start[row]))
        order[number] = min(order.get(number, key), key)
    collectives = []
    previous_end = 0
    for number in sorted(order, key=lambda number: (order[number][1], number)):
        rows = involved[profile.collective[involved] == number]
        mine = rows[own[rows]]
        gap = max(0, int(profile.start[mine[0]]) - previous_end) if len(mine) else 0
        previous_end = max(previous_end, int(profile.time[mine].max())) if len(mine) else previous_end
        steps = [
            _step(profile, rows[profile.step[rows] == step], params, rng) for step in np.unique(profile.step[rows])
        ]
        collectives.append(Collective(profile.name[rows[0]], gap, steps))
    return collectives


def _step(profile: Profile, rows: "np.ndarray[Any, Any]", params: "Params", rng: np.random.Generator) -> Step:
    mine = [int(row) for row in rows if profile.rank[row] == params.target]
    theirs = [int(row) for row in rows if profile.rank[row] != params.target]
    own = [
        (int(profile.dst[row]), int(profile.size[row]), _flag_name(profile, row) if profile.flag[row] else "")
        for row in mine
    ]
    flags = [(_flag_name(profile, row), int(profile.rank[row])) for row in theirs if profile.flag[row]]
    sizes = [int(profile.size[row]) for row in theirs if profile.reduce[row] and not profile.flag[row]]
    # The target's own shard is as long as the longest that it receives.
    elements = [-(-size // ELEMENT.itemsize) for size in sizes]
    shards = [max(elements), *elements] if elements else []
    return Step(own, flags, [_shard(count, params, rng) for count in shards])


def _shard(elements: int, params: "Params", rng: np.random.Generator) -> Any:
    if params.payload == "virtual":
        return Virtual((elements,), ELEMENT.name)
    return rng.standard_normal(elements, dtype=ELEMENT)


def _flag_name(profile: Profile, row: Any) -> str:
    group = f".group{profile.group[row]}" if profile.group[row] else ""
    return f"rank{profile.rank[row]}.collective{profile.collective[row]}.step{profile.step[row]}{group}"
