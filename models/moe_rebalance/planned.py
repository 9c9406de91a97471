"""What a policy's plans mean for the links and GPUs of an EP group: loads, bytes of messages, weights that move."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from .placement import Counts, Group, Plan, StepPlan, check, flows
from .timing import Exchange, Shape


@dataclass(frozen=True)
class Meaning:
    """Of one plan: tokens and experts that every rank serves [R], bytes of the messages of the `Exchange`."""

    loads: Counts
    active: Counts
    sizes: Counts

    @classmethod
    def of(cls, plan: Plan, counts: Counts, tokens: Counts, group: Group, shape: Shape) -> Self:
        """Return the meaning of ``plan`` for ``counts`` [R, E] of so many ``tokens`` [R]; raises ``SimulationError``
        for a plan that is none."""
        check(plan, counts, group)
        exchange = Exchange(group.ranks, group.per_node)
        sizes = exchange.sizes(flows(plan, counts, group), tokens, shape.top, shape.token_bytes)
        return cls(plan.loads, (plan.quota > 0).sum(axis=0), sizes)


@dataclass(frozen=True)
class Planned:
    """A step of one EP group as its policy wants it for ``counts`` [L, M, R, E], by layer and micro-step: ``loads`` and
    ``active`` [L, M, R], tokens and experts that a rank serves; ``sizes`` [L, M, messages], bytes of the `Exchange`;
    ``moves`` [L][M], [n, 3] each, and ``served`` [n] each, tokens that what moved serves; ``homes`` [L][M], [E] each.
    ``efforts`` of the planner: for the whole step [jobs], and [M, L] for every plan. ``tokens`` [M, R] are those of a
    source. ``relocated`` and ``copied`` [n, 4] (layer, expert, from, to) come before the step."""

    counts: Counts
    loads: Counts
    active: Counts
    sizes: Counts
    moves: Sequence[Sequence[Counts]]
    served: Sequence[Sequence[Counts]]
    homes: Sequence[Sequence[Counts]]
    tokens: Counts
    efforts: tuple[Counts, Counts]
    relocated: Counts
    copied: Counts

    @classmethod
    def of(cls, plan: StepPlan, group: Group, shape: Shape) -> Self:
        """Return the meaning of ``plan``; raises ``SimulationError`` for plans that are none."""
        counts = plan.counts
        layers, micro = counts.shape[:2]
        tokens = counts[0].sum(axis=-1) // shape.top
        loads, active = (np.zeros((layers, micro, group.ranks), np.int64) for _ in range(2))
        sizes = np.zeros((layers, micro, len(Exchange(group.ranks, group.per_node).pairs[0])), np.int64)
        efforts = np.zeros((micro, layers), np.int64)
        for layer in range(layers):
            for m in range(micro):
                one = plan.plans[layer][m]
                of = Meaning.of(one, counts[layer, m], tokens[m], group, shape)
                loads[layer, m], active[layer, m], sizes[layer, m] = of.loads, of.active, of.sizes
                efforts[m, layer] = one.effort
        moves = [[one.moves for one in row] for row in plan.plans]
        served = [[one.quota[one.moves[:, 0], one.moves[:, 2]] for one in row] for row in plan.plans]
        homes = [[one.home for one in row] for row in plan.plans]
        whole = np.array(plan.effort, np.int64)
        return cls(
            counts, loads, active, sizes, moves, served, homes, tokens, (whole, efforts), plan.relocated, plan.copied
        )  # fmt: skip
