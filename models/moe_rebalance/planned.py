"""What a policy's plans mean for the links and GPUs of an EP group: loads, bytes of messages, weights that move."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from .placement import Counts, Group, StepPlan, check, flows
from .timing import Exchange, Shape


@dataclass(frozen=True)
class Planned:
    """A step of one EP group as its policy wants it, by layer and micro-step: ``loads`` and ``active`` [L, M, R],
    tokens and experts that a rank serves; ``sizes`` [L, M, messages], bytes of the `Exchange`; ``moves`` [L][M], [n, 3]
    each; ``efforts`` of the planner: for the whole step [jobs], and [M, L] for every plan. ``tokens`` [M, R] are those
    of a source. ``relocated`` and ``copied`` [n, 4] (layer, expert, from, to) come before the step."""

    loads: Counts
    active: Counts
    sizes: Counts
    moves: Sequence[Sequence[Counts]]
    tokens: Counts
    efforts: tuple[Counts, Counts]
    relocated: Counts
    copied: Counts

    @classmethod
    def of(cls, plan: StepPlan, counts: Counts, group: Group, shape: Shape) -> Self:
        """Return the meaning of ``plan`` for ``counts`` [L, M, R, E]; raises ``SimulationError`` for plans that are
        none."""
        layers, micro = counts.shape[:2]
        exchange = Exchange(group.ranks, group.per_node)
        tokens = counts[0].sum(axis=-1) // shape.top
        loads, active = (np.zeros((layers, micro, group.ranks), np.int64) for _ in range(2))
        sizes = np.zeros((layers, micro, len(exchange.pairs[0])), np.int64)
        efforts = np.zeros((micro, layers), np.int64)
        for layer in range(layers):
            for m in range(micro):
                one, here = plan.plans[layer][m], counts[layer, m]
                check(one, here, group)
                loads[layer, m], active[layer, m] = one.loads, (one.quota > 0).sum(axis=0)
                sizes[layer, m] = exchange.sizes(flows(one, here, group), tokens[m], shape.top, shape.token_bytes)
                efforts[m, layer] = one.effort
        moves = [[one.moves for one in row] for row in plan.plans]
        whole = np.array(plan.effort, np.int64)
        return cls(loads, active, sizes, moves, tokens, (whole, efforts), plan.relocated, plan.copied)
