"""Policies of placement: what is where, and who serves which tokens, for every layer and micro-step of a step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from simcore import InputError

from . import bases, eplb, matching, quotas, rivals, splits
from .placement import NONE, Counts, Group, Mask, Plan, StepPlan


class Policy(Protocol):
    """Plans a step of one EP group. ``whole`` and ``each`` name what it runs once a step and layer, and for every layer
    and micro-step; empty where it runs nothing: `Paces` says how long that takes. ``travels``: whether weights move
    within a step."""

    @property
    def whole(self) -> str: ...  # noqa: D102

    @property
    def travels(self) -> bool: ...  # noqa: D102

    @property
    def each(self) -> str: ...  # noqa: D102

    def plan(self, counts: Counts, group: Group, past: Counts) -> StepPlan:
        """Return the plans for ``counts`` [L, M, R, E], or for what the policy routes instead; ``past`` [H, L, E] are
        the histograms of earlier steps, the oldest first. Raises ``InputError`` where there are too few."""
        ...


def at_home(group: Group) -> Counts:
    """Return the home of every expert where they are laid out in order, equally many a rank, [E]."""
    return np.arange(group.experts) * group.ranks // group.experts


@dataclass(frozen=True)
class Static:
    """Experts stay where they were laid out; nothing moves."""

    whole = each = ""
    travels = False

    def plan(self, counts: Counts, group: Group, past: Counts) -> StepPlan:
        """Return the same placement for every micro-step."""
        home = at_home(group)
        resident = _resident(home, group)
        plans = [
            [Plan(home, resident, np.where(resident, load[:, None], 0), NONE) for load in loads]
            for loads in counts.sum(axis=2)
        ]
        return StepPlan(plans, counts, _table([]), _table([]), [0] * len(plans))


@dataclass(frozen=True)
class Ideal(Static):
    """Force-balanced routing, the yardstick of ReLibra (arXiv:2605.08639) and UltraEP (arXiv:2606.04101): the router
    chooses all experts equally often, and they stay where they were laid out. It plans for `balanced` counts in place
    of those that were drawn.

    It is no bound on time: its tokens go everywhere, and a plan that keeps them near their source may be faster.
    """

    def plan(self, counts: Counts, group: Group, past: Counts) -> StepPlan:
        """Return the plans of static homes for `balanced` counts."""
        return super().plan(balanced(counts), group, past)


def balanced(counts: Counts) -> Counts:
    """Return ``counts`` [..., R, E] with what every source has spread evenly over all experts. What does not divide
    goes on where the source before ended, a rank after the other: where R divides E, the loads of static homes are
    equal within a token."""
    ranks, experts = counts.shape[-2:]
    home = np.arange(experts) * ranks // experts
    order = np.lexsort((home, np.arange(experts) - np.searchsorted(home, home)))
    each, left = np.divmod(counts.sum(axis=-1), experts)
    begin = np.cumsum(left, axis=-1) - left
    found = np.empty_like(counts)
    found[..., order] = each[..., None] + ((np.arange(experts) - begin[..., None]) % experts < left[..., None])
    return found


@dataclass(frozen=True)
class PerStep:
    """One placement with replicas for the whole step. ``place`` makes it, [E, R] copies, from the homes and copies of
    the step before and loads [E] of the layer; it ``knows`` the step before, the mean of all steps before, or, an
    oracle, this one. Tokens are then ``split`` evenly over copies, near their source first, or so that the largest load
    is the least (`splits`).

    Earlier steps were placed in the same way, from the layout of static homes on: with the shortest history that will
    do, the first placement of all moves in this step.

    Model: they were placed by the histograms of the whole job; an oracle places this one by those of its EP group.

    No law says that it is better than static homes: a micro-step has other loads than the step that was known, and
    homes are others, so that even an oracle's best split may leave one worse.
    """

    place: Callable[[Counts, Counts, Counts, Group], tuple[Counts, int]]
    whole: str
    knows: Literal["previous", "mean", "oracle"]
    split: Literal["even", "near", "flow", "highs"] = "even"
    travels = False

    @property
    def each(self) -> str:
        """The linear programme, where there is one."""
        return self.split if self.split in ("flow", "highs") else ""

    def plan(self, counts: Counts, group: Group, past: Counts) -> StepPlan:
        """Return one placement for all micro-steps, tokens split for each."""
        if self.knows != "oracle" and len(past) == 0:
            raise InputError(f"history must be 1 or more, not 0: {self.whole} places experts by earlier steps")
        plans, efforts = [], []
        relocated: list[Sequence[int]] = []
        copied: list[Sequence[int]] = []
        for layer in range(len(counts)):
            home, copies, effort = at_home(group), _resident(at_home(group), group).astype(np.int64), 0
            before, had = home, copies > 0
            for known in self._known(past[:, layer], counts[layer].sum(axis=(0, 1))):
                before, had = home, copies > 0
                copies, effort = self.place(home, copies, known, group)
                home = matching.rehome(copies > 0, before, had)
            _note(layer, before, home, had, copies > 0, relocated, copied)
            plans.append([self._split(home, copies, here, group) for here in counts[layer]])
            efforts.append(effort)
        return StepPlan(plans, counts, _table(relocated), _table(copied), efforts)

    def _known(self, past: Counts, own: Counts) -> Sequence[Counts]:
        """Return the loads [E] by which every step was placed, this one the last, of which these are the histograms
        before and its own."""
        if self.knows == "oracle":
            return [*past, own]
        return list(past if self.knows == "previous" else past.cumsum(axis=0))

    def _split(self, home: Counts, copies: Counts, counts: Counts, group: Group) -> Plan:
        load, resident = counts.sum(axis=0), copies > 0
        effort = 0
        if self.split == "even":
            quota = splits.evenly(load, copies)
        elif self.split == "near":
            quota = rivals.split_near(counts, resident, group)
        elif self.split == "flow":
            quota, effort = splits.by_flow(load, resident)
        else:
            quota, effort = splits.by_programme(load, resident)
        return Plan(home, resident, quota, NONE, effort)


@dataclass(frozen=True)
class PerMicroStep:
    """Homes for the step, and what moves for every micro-step.

    ``base``: homes are exchanged by the loads of the ``micro`` steps, or of the whole step alone; or stay. ``adjust``:
    replicas on the ``node`` of their home, ``anywhere``, or whole experts served elsewhere (``relocate``), or nothing.
    Without ``foresight`` replicas are those that the micro-step before would have wanted, and tokens are split so that
    the largest load is the least.

    A layer whose largest loads would be larger in sum than those of static homes keeps these: no policy of this kind is
    worse than static by that sum. It may be in a single micro-step, or in time, by what moves. Without foresight nobody
    knows that they would be: it may be worse.
    """

    base: Literal["micro", "whole", ""] = "micro"
    adjust: Literal["node", "anywhere", "relocate", ""] = "anywhere"
    foresight: bool = True

    @property
    def whole(self) -> str:
        """The exchanges of homes, where there are some."""
        return "exchange" if self.base else ""

    @property
    def each(self) -> str:
        """What finds the replicas."""
        return "" if not self.adjust else "relocate" if self.adjust == "relocate" else "replicate"

    @property
    def travels(self) -> bool:
        """Whatever is adjusted travels."""
        return bool(self.adjust)

    def plan(self, counts: Counts, group: Group, past: Counts) -> StepPlan:
        """Return homes for the step, and replicas for every micro-step."""
        plans, efforts = [], []
        relocated: list[Sequence[int]] = []
        for layer, loads in enumerate(counts.sum(axis=2)):
            static = at_home(group)
            before = self._before(past[:, layer], group)
            home, effort = self._based(before, loads, group)
            last = past[-1, layer] if len(past) else np.zeros_like(loads[0])
            found = self._adjusted(home, loads, last, group)
            if self.foresight and self.base and _largest(found) > sum(_spread(static, one, group) for one in loads):
                home, found = static, self._adjusted(static, loads, last, group)
            none = np.zeros((group.experts, group.ranks), bool)
            _note(layer, before, home, none, none, relocated, [])
            plans.append(found)
            efforts.append(effort)
        return StepPlan(plans, counts, _table(relocated), _table([]), efforts)

    def _before(self, past: Counts, group: Group) -> Counts:
        """Return the homes [E] that earlier steps, of histograms [H, E], left.

        Model: of earlier steps the histograms of the whole job are known, not what its EP groups and micro-steps had.
        """
        home = at_home(group)
        for load in past:
            home, _ = self._based(home, load[None], group)
        return home

    def _based(self, home: Counts, loads: Counts, group: Group) -> tuple[Counts, int]:
        if not self.base:
            return home, 0
        known = loads if self.base == "micro" else loads.sum(axis=0, keepdims=True)
        return bases.exchange(home, known, group)

    def _adjusted(self, home: Counts, loads: Counts, last: Counts, group: Group) -> list[Plan]:
        """Return the plans of a layer of ``loads`` [M, E]; ``last`` [E] is what is known before its first."""
        if self.foresight:
            return [self._moved(home, load, group) for load in loads]
        stale = [self._moved(home, load, group) for load in [last, *loads[:-1]]]
        return [
            replace(plan, quota=splits.by_flow(load, plan.resident)[0]) for plan, load in zip(stale, loads, strict=True)
        ]

    def _moved(self, home: Counts, load: Counts, group: Group) -> Plan:
        if self.adjust == "relocate":
            return quotas.relocate(home, load, group)
        if self.adjust:
            return quotas.replicate(home, load, group, self.adjust == "anywhere")
        resident = _resident(home, group)
        return Plan(home, resident, np.where(resident, load[:, None], 0), NONE)


def _largest(plans: Sequence[Plan]) -> int:
    return sum(int(plan.loads.max()) for plan in plans)


def _spread(home: Counts, load: Counts, group: Group) -> int:
    """Return the largest load of a rank where all is served at home."""
    sums = np.zeros(group.ranks, np.int64)
    np.add.at(sums, home, load)
    return int(sums.max())


def _resident(home: Counts, group: Group) -> Mask:
    resident = np.zeros((group.experts, group.ranks), bool)
    resident[np.arange(group.experts), home] = True
    return resident


def _note(
    layer: int, before: Counts, home: Counts, had: Mask, has: Mask,
    relocated: list[Sequence[int]], copied: list[Sequence[int]],
) -> None:  # fmt: skip
    """Add what has to move for a layer's homes and replicas of a step, where those of the step before are ``before``
    and ``had``."""
    for expert in np.flatnonzero(before != home):
        relocated.append((layer, expert, before[expert], home[expert]))
    for expert, rank in np.argwhere(has & ~had):
        if rank != home[expert]:
            copied.append((layer, expert, before[expert], rank))


def _table(rows: list[Sequence[int]]) -> Counts:
    return np.array(rows, np.int64).reshape(-1, 4)


def by_eplb(home: Counts, before: Counts, load: Counts, group: Group) -> tuple[Counts, int]:
    """Return the copies [E, R] that EPLB makes, on the ranks where most of ``home`` [E] and of the copies ``before``
    stays; its policy without groups of experts, which is the same whatever the nodes are."""
    places = group.room * group.ranks
    found, effort = eplb.place(load, places, 1, 1, group.ranks)
    copies = np.zeros((group.experts, group.ranks), np.int64)
    np.add.at(copies, (found, np.arange(places) // group.room), 1)
    matched, more = matching.match(copies, home, before > 0, group, by_node=False)
    return matched, effort + more


def by_laer(home: Counts, before: Counts, load: Counts, group: Group) -> tuple[Counts, int]:
    """Return the copies [E, R] of a LAER-like placement, matched in the same way, by nodes."""
    copies, effort = rivals.lay_out(load, group)
    matched, more = matching.match(copies, home, before > 0, group, by_node=True)
    return matched, effort + more


POLICIES: Mapping[str, Policy] = {
    "static": Static(),
    "eplb_previous": PerStep(by_eplb, "eplb", "previous"),
    "eplb_mean": PerStep(by_eplb, "eplb", "mean"),
    "eplb_oracle": PerStep(by_eplb, "eplb", "oracle"),
    # Placed by history as a library would, or knowing the step: the strongest that moves nothing within a step.
    "eplb_lp": PerStep(by_eplb, "eplb", "previous", "flow"),
    "eplb_oracle_lp": PerStep(by_eplb, "eplb", "oracle", "flow"),
    "eplb_highs": PerStep(by_eplb, "eplb", "previous", "highs"),
    "flexmoe": PerStep(rivals.shadow, "flexmoe", "previous"),
    "laer": PerStep(by_laer, "laer", "previous", "near"),
    "relibra": PerMicroStep("whole", "node"),
    "stale": PerMicroStep("micro", "anywhere", foresight=False),
    "foremoe_base": PerMicroStep("micro", ""),
    "foremoe_adjust": PerMicroStep("", "anywhere"),
    "foremoe_relocate": PerMicroStep("micro", "relocate"),
    "foremoe_node": PerMicroStep("micro", "node"),
    "foremoe": PerMicroStep("micro", "anywhere"),
    "ideal": Ideal(),
}
"""All policies by name."""
