"""What one rank does: compute for a given time, take part in a collective, and again."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal

from simcore import InputError, Rank, Size, Time


@dataclass(frozen=True)
class Params:
    """``repeat`` times: ``compute`` (rank i: ``compute`` + i ``skew``), then ``operation`` of ``size`` by ``algorithm``
    among all ranks, or among each block of ``group`` ranks.

    ``algorithm`` "" is the operation's first; chunks, channels, window, nodes, inner, outer and root as in
    docs/collectives.md. ``adds``: the dtype in which adding takes time; "" for none.
    """

    operation: Literal[
        "all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce", "all_to_all", "send_recv"
    ] = "all_reduce"
    algorithm: str = ""
    size: Size = 64 * 2**20
    repeat: int = 4
    compute: Time = 200_000_000
    skew: Time = 0
    group: int | None = None
    chunks: int = 1
    channels: int = 1
    window: int = 1
    nodes: int = 1
    inner: str = "ring"
    outer: str = "ring"
    root: int = 0
    adds: Literal["", "float32", "float16", "bfloat16", "int8"] = ""


@dataclass(frozen=True)
class Plan:
    """The parameters, and the ranks of each group."""

    params: Params
    groups: list[list[int]] = field(default_factory=list)


class CollectiveLoop:
    """How much of a collective is exposed, and what do late ranks cost the others?"""

    Params = Params

    def world(self, params: Params) -> int | None:
        """Return None: any number of ranks will do; raises ``InputError`` for a loop that cannot be run."""
        if params.repeat < 1:
            raise InputError(f"repeat must be 1 or more, not {params.repeat}")
        if params.group is not None and params.group < 1:
            raise InputError(f"group must be 1 or more ranks, not {params.group}")
        return None

    def plan(self, params: Params, world: int, nodes: int, rng: Any) -> Plan:
        """Return the groups: blocks of ``group`` neighbouring ranks, the last one shorter where they do not divide."""
        length = params.group or world
        return Plan(params, [list(range(i, min(i + length, world))) for i in range(0, world, length)])

    def reference(self, params: Params, plan: Plan) -> list[Any]:
        """Return nothing: the loop moves bytes without values."""
        return []

    def program(self, rank: Rank, plan: Plan) -> Generator[Any, Any, None]:
        """Compute, then meet the others of the group, as often as asked."""
        params = plan.params
        (group,) = (ranks for ranks in plan.groups if rank.index in ranks)
        for turn in range(params.repeat):
            yield from rank.spend(params.compute + rank.index * params.skew, "compute", f"turn {turn}")
            yield from rank.collective(
                params.operation,
                params.size,
                algorithm=params.algorithm,
                ranks=group,
                adds=params.adds,
                chunks=params.chunks,
                channels=params.channels,
                window=params.window,
                nodes=params.nodes,
                inner=params.inner,
                outer=params.outer,
                root=params.root,
            )
