"""The eidolons of a fused kernel: which writes each replays, and at which instants."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simcore import InputError, Profile, Shift, Writes, locate, read_profile, transform

from . import eidolon
from .tracking import BackEnd, Column

if TYPE_CHECKING:
    from collections.abc import Generator

    from simcore import Rank

    from .exchange import Phase, Plan
    from .program import Params


@dataclass(frozen=True, eq=False)
class Peers:
    """How all ranks but the target are replayed: from ``profile``, or, where it is None, all writes of a rank at
    ``delay`` (the paper's wake-up time)."""

    profile: Profile | None
    delay: int
    loop: Literal["open", "closed"]
    table: BackEnd

    def program(self, rank: "Rank", plan: "Plan") -> "Generator[Any, Any, None]":
        """Replay the writes of ``rank`` into the target's memory, or, in closed loop, into everybody's."""
        if self.loop == "closed":
            assert self.profile is not None
            script = eidolon.script(self.profile, rank.index, self._words(plan))
            yield from eidolon.follow(rank, script, self.table)
            return
        batches = [self._batch(rank.index, phase, plan) for phase in plan.phases]
        eidolon.replay(rank, batches, self.table)
        last = max(int(batch.writes.time.max(initial=0)) for batch in batches)
        yield from rank.spend(last - rank.now, "replay", "until its writes")

    def _batch(self, rank: int, phase: "Phase", plan: "Plan") -> eidolon.Batch:
        """Return the writes of ``rank`` to the target in one phase."""
        flags, profile = (phase, plan.words(phase)), self.profile
        if profile is None:
            stores = plan.stores(rank, phase, plan.target)
            stamps = np.full(len(stores.dst), self.delay)
            writes = Writes(stamps, stores.dst, stores.size, stores.index >= 0, f"replayed {phase}")
            return eidolon.Batch(writes, stores.index, flags)
        mine = (profile.rank == rank) & (profile.dst == plan.target) & (profile.step == plan.phases.index(phase))
        (rows,) = np.nonzero(mine)
        index = np.where(profile.flag[rows], plan.index(phase, rank, profile.group[rows]), -1)
        writes = Writes(
            profile.time[rows], profile.dst[rows], profile.size[rows], profile.flag[rows], f"replayed {phase}"
        )
        return eidolon.Batch(writes, index, flags)

    def _words(self, plan: "Plan") -> list[eidolon.Word]:
        """Return the flag that each write of the profile sets."""
        if not self._known:
            assert self.profile is not None
            rows = zip(
                *(getattr(self.profile, name).tolist() for name in ("flag", "step", "rank", "group")), strict=True
            )
            arrays = [(phase, plan.words(phase)) for phase in plan.phases]
            self._known.extend(
                (*arrays[step], int(plan.index(plan.phases[step], rank, group))) if flag else ""
                for flag, step, rank, group in rows
            )
        return self._known

    @cached_property
    def _known(self) -> list[eidolon.Word]:
        return []


def peers(params: "Params", plan: "Plan", rng: np.random.Generator) -> Peers:
    """Return how the peers are replayed that ``params`` ask for; raises ``InputError`` for a profile that is none of
    this kernel's."""
    profile = None
    if params.times == "profile":
        profile = read_profile(locate(params.profile, "traces"))
        _check(profile, params, plan)
    elif params.transforms or params.loop == "closed":
        profile = untimed(plan, plan.target if params.loop == "open" else None)
    if profile is not None:
        changes = [Shift(by=params.delay), *params.transforms]
        profile = transform(profile, changes, eidolon.seed(params, rng))
    return Peers(profile, params.delay, params.loop, params.table)


def untimed(plan: "Plan", to: int | None = None) -> Profile:
    """Return all writes of all ranks, or those ``to`` one rank, in the order of each rank and at time zero.

    A flag that is one for the whole rank counts as of a work-group more than there are.
    """
    parts: list[tuple[Column, ...]] = []
    for step, phase in enumerate(plan.phases):
        for rank in range(plan.tiles.world):
            stores = plan.stores(rank, phase, to)
            same, flag = np.full_like(stores.dst, rank), (stores.index >= 0).astype(np.int64)
            group = np.where((flag > 0) & ~plan.flags_by_group(phase), plan.tiles.work_groups, stores.group)
            parts.append((same, stores.dst, stores.size, flag, np.full_like(same, step), group))
    rank_, dst, size, flag, steps, group = (np.concatenate(column) for column in zip(*parts, strict=True))
    zero = np.zeros_like(rank_)
    return Profile(
        rank_, zero, zero, zero, dst, size, flag > 0, zero, steps, group, zero > 0, ["replayed"] * len(zero), (),
        plan.tiles.world,
    ).ordered()  # fmt: skip


def _check(profile: Profile, params: "Params", plan: "Plan") -> None:
    about = {
        "ranks": (profile.world, plan.tiles.world),
        "steps": (int(profile.step.max(initial=0)) + 1, len(plan.phases)),
        "operations": (int(profile.collective.max(initial=0)) + 1, 1),
        # A flag for the whole rank is of a work-group more.
        "work-groups": (max(0, int(profile.group.max(initial=0))), plan.tiles.work_groups),
    }
    for name, (found, wanted) in about.items():
        if found > wanted or (name == "ranks" and found != wanted):
            raise InputError(f"profile: {params.profile} has {found} {name}, the {params.kernel} {wanted}")
