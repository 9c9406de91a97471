"""Where experts are and who serves their tokens: the plan of one layer, micro-step and EP group, its checker, and the
flows of tokens that follow from it.

An EP group is R ranks, numbered 0 .. R - 1; source d of tokens is rank d of the group. ``counts`` [R, E] are tokens of
source d for expert e; a token that chose K experts counts K times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simcore import SimulationError

Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]

NONE: Counts = np.zeros((0, 3), np.int64)
"""No moves."""
OPTIMIZER = 6
"""State of the optimizer, in multiples of weights of 2 B an element: 12 B."""


@dataclass(frozen=True)
class Group:
    """An EP group: ``ranks``, ``per_node`` of them on a node, consecutive; every rank has room for its equal share of
    the ``experts`` and ``slots`` more. The job has ``groups`` of them, which share the state of its optimizer."""

    ranks: int
    per_node: int
    experts: int
    slots: int
    groups: int = 1

    @property
    def nodes(self) -> int:
        """Nodes that the group lies on."""
        return -(-self.ranks // self.per_node)

    @property
    def room(self) -> int:
        """Experts that a rank has room for."""
        return -(-self.experts // self.ranks) + self.slots

    def owned(self, size: int) -> int:
        """Return what moves with the home of an expert of ``size`` bytes: its weights, and this group's share of the
        optimizer."""
        return size + OPTIMIZER * size // self.groups


@dataclass(frozen=True)
class Plan:
    """``home`` [E] is the rank that owns an expert: optimizer, gradients; ``resident`` [E, R] where its weights are, at
    home and in replicas; ``quota`` [E, R] how many of its tokens a rank serves; ``moves`` [n, 3] (expert, from, to) is
    what must have arrived before the layer of this micro-step may start. ``effort``: what the planner did, in the unit
    of its own cost formula."""

    home: Counts
    resident: Mask
    quota: Counts
    moves: Counts
    effort: int = 0

    @property
    def loads(self) -> Counts:
        """Tokens that each rank serves, [R]."""
        return self.quota.sum(axis=0)


@dataclass(frozen=True)
class StepPlan:
    """``plans[layer][micro]`` of a step for ``counts`` [L, M, R, E]. ``relocated`` [n, 4] (layer, expert, from, to) are
    homes that moved before the step, ``copied`` [n, 4] the replicas that were placed for all of it; ``effort`` is that
    of the plans for the whole step, one a layer."""

    plans: Sequence[Sequence[Plan]]
    counts: Counts
    relocated: Counts
    copied: Counts
    effort: Sequence[int]


def imbalance(loads: Counts) -> float:
    """Return the largest of ``loads`` [R] over their mean; 1 where there is no load."""
    total = int(loads.sum())
    return float(loads.max()) * len(loads) / total if total else 1.0


def check(plan: Plan, counts: Counts, group: Group) -> None:
    """Raise ``SimulationError`` with what is wrong with ``plan`` for these ``counts`` [R, E]."""
    ranks, experts = counts.shape
    if (ranks, experts) != (group.ranks, group.experts):
        raise SimulationError(f"counts are of {ranks} ranks and {experts} experts, the group has {group}")
    for name, array, shape in (
        ("home", plan.home, (experts,)),
        ("resident", plan.resident, (experts, ranks)),
        ("quota", plan.quota, (experts, ranks)),
    ):
        if array.shape != shape:
            raise SimulationError(f"{name} is {array.shape}, expected {shape}")
    wrong = _wrong(plan, counts, group)
    if wrong:
        raise SimulationError(wrong)


def _wrong(plan: Plan, counts: Counts, group: Group) -> str:
    """Return what is wrong, in words, or nothing."""
    ranks, experts = counts.shape
    if ((plan.home < 0) | (plan.home >= ranks)).any():
        return f"expert {int(np.argmax((plan.home < 0) | (plan.home >= ranks)))} has no home among {ranks} ranks"
    lost = ~plan.resident[np.arange(experts), plan.home]
    if lost.any():
        return f"expert {int(np.argmax(lost))} is not resident at its home"
    held = plan.resident.sum(axis=0)
    if (held > group.room).any():
        full = int(np.argmax(held))
        return f"rank {full} holds {held[full]} experts, it has room for {group.room}"
    if (plan.quota < 0).any():
        return "a quota is negative"
    absent = (plan.quota > 0) & ~plan.resident
    if absent.any():
        expert, rank = np.argwhere(absent)[0]
        return f"rank {rank} serves {plan.quota[expert, rank]} tokens of expert {expert}, which is not there"
    served, wanted = plan.quota.sum(axis=1), counts.sum(axis=0)
    if (served != wanted).any():
        expert = int(np.argmax(served != wanted))
        return f"{served[expert]} tokens of expert {expert} are served, there are {wanted[expert]}"
    for expert, source, target in plan.moves:
        if source == target or not plan.resident[expert, target]:
            return f"expert {expert} moves from rank {source} to rank {target}, where it is not resident"
    return ""


def flows(plan: Plan, counts: Counts, group: Group) -> Counts:
    """Return the tokens from every source to every serving rank, [R, R].

    A replica serves the tokens of its own rank first, then of its own node, then of the others; in both of these
    sources and replicas are matched in the order of their ranks.
    """
    found = np.zeros((1, group.ranks, group.ranks), np.int64)
    _share(plan.quota, counts, group.per_node, found)
    return found[0]


def shares(plan: Plan, counts: Counts, group: Group) -> Counts:
    """Return what `flows` does for each expert by itself, [E, R, R]."""
    found = np.zeros((group.experts, group.ranks, group.ranks), np.int64)
    _share(plan.quota, counts, group.per_node, found)
    return found


@njit(cache=True)
def _share(quota: Any, counts: Any, per_node: int, found: Any) -> None:
    """Add the tokens of expert e to found[e % len(found)]."""
    experts, ranks = quota.shape
    left, room = np.empty(ranks, np.int64), np.empty(ranks, np.int64)
    for expert in range(experts):
        here = found[expert % len(found)]
        for rank in range(ranks):
            own = min(counts[rank, expert], quota[expert, rank])
            here[rank, rank] += own
            left[rank] = counts[rank, expert] - own
            room[rank] = quota[expert, rank] - own
        for first in range(0, ranks, per_node):
            _match(here, left, room, first, min(first + per_node, ranks))
        _match(here, left, room, 0, ranks)


@njit(cache=True)
def _match(found: Any, left: Any, room: Any, first: int, last: int) -> None:
    """Match what is left at sources first .. last - 1 with the room of these ranks, both in order."""
    target = first
    for source in range(first, last):
        while left[source] > 0 and target < last:
            moved = min(left[source], room[target])
            found[source, target] += moved
            left[source] -= moved
            room[target] -= moved
            if room[target] == 0:
                target += 1
