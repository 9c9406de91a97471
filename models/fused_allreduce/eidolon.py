"""An eidolon of a fused kernel: the writes into the target's memory, and nothing else of the rank that made them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import Writes

from .exchange import Plan

if TYPE_CHECKING:
    from collections.abc import Generator

    from simcore import Rank


def replay(rank: "Rank", plan: Plan) -> "Generator[Any, Any, None]":
    """Issue every write into the target's memory at one instant, the plan's delay (the paper's wake-up time).

    Model: open loop, as in the paper; what the target stores at an eidolon changes nothing there.
    """
    for phase in plan.phases:
        stores = plan.stores(rank.index, phase, plan.target)
        stamps = np.full(len(stores.dst), plan.delay)
        writes = Writes(stamps, stores.dst, stores.size, stores.index >= 0, f"replayed {phase}")
        rank.replay(writes, stores.index, flags=rank.flags(phase, plan.words(phase)))
    yield from rank.spend(plan.delay, "replay", "until its writes")
