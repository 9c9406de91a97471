"""What one rank does: serve requests together with others."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from simcore import Column, Metric, Rank

from . import serving as system
from .layer import Shape
from .timing import Rates


@dataclass(frozen=True)
class Params:
    """``attention``: dense or sparse; ``serving``: the system around it."""

    mode: Literal["serving"] = "serving"
    attention: Literal["dense", "sparse"] = "sparse"
    serving: system.Serving = field(default_factory=system.Serving)


class SparseAttention:
    """What becomes of the speed-up of sparse attention in a serving system?"""

    Params = Params
    tables: ClassVar[Mapping[str, tuple[Column, ...]]] = system.TABLES
    metrics: ClassVar[Sequence[Metric]] = system.METRICS

    def world(self, params: Params) -> int:
        """Return the ranks of all instances; raises ``InputError``."""
        return system.world(params.serving, Shape())

    def plan(self, params: Params, world: int, nodes: int, rng: Any) -> system.Plan:
        """Return the requests beside the parameters; raises ``InputError``."""
        return system.plan(params.serving, params.attention, Shape(), Rates(), rng)

    def reference(self, params: Params, plan: system.Plan) -> list[Any]:
        """Return nothing: serving moves bytes without values."""
        return []

    def summarise(self, params: Params, tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return what the requests saw."""
        return system.summarise(params.serving, tables)

    def program(self, rank: Rank, plan: system.Plan) -> Generator[Any, Any, None]:
        """Serve."""
        yield from system.program(rank, plan)
