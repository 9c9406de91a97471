"""Which kernel, its parameters, and who lives it: recorded collectives, or fused kernels work-group by work-group."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simcore import Time, TraceFile

from . import recorded

if TYPE_CHECKING:
    from collections.abc import Generator

    from simcore import Rank

Plan = recorded.Plan


@dataclass(frozen=True)
class Params:
    """``profile``: a timing profile (CSV). ``target``: the rank that is simulated alive.

    ``delay`` is added to every time stamp of the eidolons (the paper's wake-up time). With ``payload: real``
    the target reduces random tensors from the seed, otherwise only their shapes.
    """

    kernel: Literal["recorded"] = "recorded"
    profile: TraceFile = "ddp_4ranks/profile.csv"
    target: int = 0
    delay: Time = 0
    payload: Literal["virtual", "real"] = "virtual"


class FusedAllReduce:
    """Eidola's question: how much polling traffic does a fused kernel cause while its peers are late?"""

    Params = Params

    def world(self, params: Params) -> int | None:
        """Return the number of ranks that the parameters call for; raises ``InputError`` where there can be none."""
        return recorded.world(params)

    def plan(self, params: Params, world: int, nodes: int, rng: np.random.Generator) -> Plan:
        """Return who is alive and what everybody does."""
        return recorded.plan(params, world, rng)

    def reference(self, params: Params, plan: Plan) -> list[Any]:
        """Return the results computed the obvious way, in the order in which the simulated ones are given."""
        return recorded.reference(plan)

    def program(self, rank: "Rank", plan: Plan) -> "Generator[Any, Any, None]":
        """Live as one rank."""
        return recorded.program(rank, plan)
