"""Which kernel, its parameters, and who lives it: recorded collectives, or a fused kernel work-group by work-group."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from simcore import Time, TraceFile, Transform

from . import exchange, fused, recorded
from .tracking import BackEnd

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np

    from simcore import Rank

Plan = recorded.Plan | exchange.Plan


@dataclass(frozen=True)
class Params:
    """``kernel``: the collectives of ``profile``, a recorded timing profile (CSV), or a fused kernel.

    Fused kernels compute [``rows``, ``columns``] on every rank (GEMV: one column) over ``inner`` elements, or, for
    embeddings, pool ``pooling`` of the ``entries`` of ``tables`` tables a rank for ``rows`` samples. Their result is
    cut into tiles of ``tile_rows`` x ``tile_columns`` (GEMM) for ``work_groups`` persistent work-groups.
    ``gather_flags``: an all-reduce says that its sums have arrived with a flag a rank, or one a work-group.

    ``peers: eidolons``: ``target`` alone is simulated alive, the others replay writes; recorded kernels have no other.
    They are issued when the ``profile`` says, or, with a fused kernel and ``times: delay``, at its start;
    ``delay`` later (the paper's wake-up time), and after ``transforms``. ``loop: closed`` lets a write wait for what it
    would have waited for. ``table``: whether writes fire at the picosecond, or with a cycle of the target's clock that
    is reckoned (event) or polled for.

    ``payload: real`` computes with random tensors from the seed, otherwise only with their shapes.
    """

    kernel: Literal["recorded", "gemv_allreduce", "gemm_alltoall", "embedding_alltoall"] = "recorded"
    profile: TraceFile = "ddp_4ranks/profile.csv"
    rows: int = 1024
    columns: int = 1024
    inner: int = 1024
    tables: int = 1
    entries: int = 65536
    pooling: int = 32
    tile_rows: int = 1
    tile_columns: int = 64
    work_groups: int = 256
    gather_flags: Literal["rank", "work_group"] = "rank"
    peers: Literal["live", "eidolons"] = "live"
    target: int = 0
    times: Literal["delay", "profile"] = "delay"
    delay: Time = 0
    transforms: list[Transform] = field(default_factory=list)
    loop: Literal["open", "closed"] = "open"
    table: BackEnd = "exact"
    payload: Literal["virtual", "real"] = "virtual"


class FusedAllReduce:
    """Eidola's question: how much polling traffic does a fused kernel cause while its peers are late?"""

    Params = Params
    counters: ClassVar[dict[str, str]] = {
        "tiles": "tiles of a fused kernel that the rank's work-groups computed",
        "writes_registered": "writes that eidolons registered in the write-tracking table of the target",
        "writes_fired": "writes of that table that were issued",
        "writes_deepest": "the most writes that were in that table at once",
        "writes_compared": "comparisons of the head of that table with the clock",
    }

    def world(self, params: Params) -> int | None:
        """Return the number of ranks that a profile speaks of, or None: any number takes part in a fused kernel; raises
        ``InputError`` for parameters that do not fit."""
        if params.kernel == "recorded":
            return recorded.world(params)
        exchange.check(params)
        return None

    def plan(self, params: Params, world: int, nodes: int, rng: "np.random.Generator") -> Plan:
        """Return who is alive, what it does, and what everybody else replays."""
        make = recorded.plan if params.kernel == "recorded" else exchange.plan
        return make(params, world, rng)

    def reference(self, params: Params, plan: Plan) -> list[Any]:
        """Return the results computed the obvious way: every sum of a recorded target, or the result of every live rank
        of a fused kernel, in float64."""
        return recorded.reference(plan) if isinstance(plan, recorded.Plan) else exchange.reference(plan)

    def program(self, rank: "Rank", plan: Plan) -> "Generator[Any, Any, None]":
        """Live, or replay as an eidolon."""
        if isinstance(plan, recorded.Plan):
            return recorded.program(rank, plan)
        if plan.peers is None or rank.index == plan.target:
            return fused.live(rank, plan)
        return plan.peers.program(rank, plan)
