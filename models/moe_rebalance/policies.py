"""Policies of placement: what is where, and who serves which tokens, for every layer and micro-step of a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .placement import NONE, Counts, Group, Plan, StepPlan


class Policy(Protocol):
    """Plans a step of one EP group."""

    def plan(self, counts: Counts, group: Group, past: Counts) -> StepPlan:
        """Return the plans for ``counts`` [L, M, R, E]; ``past`` [H, L, E] are the sums of earlier steps, the oldest
        first."""
        ...


def at_home(group: Group) -> Counts:
    """Return the home of every expert where they are laid out in order, equally many a rank, [E]."""
    return np.arange(group.experts) * group.ranks // group.experts


@dataclass(frozen=True)
class Static:
    """Experts stay where they were laid out; nothing moves."""

    def plan(self, counts: Counts, group: Group, past: Counts) -> StepPlan:
        """Return the same placement for every micro-step."""
        layers, micro = counts.shape[:2]
        home = at_home(group)
        resident = np.zeros((group.experts, group.ranks), bool)
        resident[np.arange(group.experts), home] = True

        def one(load: Counts) -> Plan:
            return Plan(home, resident, np.where(resident, load[:, None], 0), NONE)

        plans = [[one(counts[layer, m].sum(axis=0)) for m in range(micro)] for layer in range(layers)]
        none = np.zeros((0, 4), np.int64)
        return StepPlan(plans, none, none, [0] * layers)


@dataclass(frozen=True)
class Ideal:
    """Every rank serves its equal share, and holds every expert for it: the bound, not a plan that `check` accepts."""

    def plan(self, counts: Counts, group: Group, past: Counts) -> StepPlan:
        """Return equal loads, within a token."""
        layers, micro = counts.shape[:2]
        home = at_home(group)
        everywhere = np.ones((group.experts, group.ranks), bool)

        def one(load: Counts) -> Plan:
            # Tokens laid end to end, expert by expert, and cut into equal shares.
            ends = np.concatenate([[0], np.cumsum(load)])
            cuts = int(ends[-1]) * np.arange(group.ranks + 1) // group.ranks
            low = np.maximum(ends[:-1, None], cuts[None, :-1])
            high = np.minimum(ends[1:, None], cuts[None, 1:])
            return Plan(home, everywhere, np.maximum(high - low, 0), NONE)

        plans = [[one(counts[layer, m].sum(axis=0)) for m in range(micro)] for layer in range(layers)]
        none = np.zeros((0, 4), np.int64)
        return StepPlan(plans, none, none, [0] * layers)


POLICIES: Mapping[str, Policy] = {"static": Static(), "ideal": Ideal()}
