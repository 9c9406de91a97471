"""Which question is asked, and what one rank does for it: a layer by itself, or requests that ranks serve together."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from simcore import Column, Metric

from . import serving as system
from . import single, trials
from .layer import Across, Attention, Shape
from .timing import Rates

if TYPE_CHECKING:
    from simcore import Kernel, Rank


@dataclass(frozen=True)
class Params:
    """``mode``: one layer by itself, in prefill or decode, or serving: the system of ``serving``. ``attention`` is
    dense or sparse; ``shape`` is the model, ``rates`` say how fast a GPU is at its stages.

    Of one layer: ``sequences`` of ``tokens`` new tokens each after a ``prefix``, in prefill ``chunk`` at a time (0: all
    at once), on ``tensor`` ranks, which share it ``across`` heads (tensor), sequences (data), or heads and, in decode,
    index blocks (context). ``layers`` of them, all alike, whose cache has to fit. ``payload``: real computes with
    random tensors from the seed, virtual with their shapes alone.
    """

    mode: Literal["prefill", "decode", "serving"] = "serving"
    attention: Attention = "sparse"
    tokens: int = 131072
    prefix: int = 0
    chunk: int = 16384
    sequences: int = 1
    tensor: int = 1
    across: Across = "tensor"
    layers: int = 1
    payload: Literal["virtual", "real"] = "virtual"
    shape: Shape = field(default_factory=Shape)
    rates: Rates = field(default_factory=Rates)
    serving: system.Serving = field(default_factory=system.Serving)


Plan = single.Plan | system.Plan


class SparseAttention:
    """What is sparse attention worth at each length, and what becomes of it in a serving system?"""

    Params = Params
    tables: ClassVar[Mapping[str, tuple[Column, ...]]] = {**single.TABLES, **system.TABLES}
    metrics: ClassVar[Sequence[Metric]] = (*single.METRICS, *system.METRICS)
    headlines: ClassVar[Sequence[str]] = (*single.HEADLINES, *system.HEADLINES)

    def world(self, params: Params) -> int:
        """Return the ranks of the group, or of all instances; raises ``InputError``."""
        single.check(params)
        return system.world(params.serving, params.shape) if params.mode == "serving" else params.tensor

    def plan(self, params: Params, world: int, nodes: int, rng: Any) -> Plan:
        """Return what the ranks compute with, or the requests that they serve; raises ``InputError``."""
        if params.mode == "serving":
            return system.plan(params.serving, params.attention, params.shape, params.rates, rng)
        return single.plan(params, world, rng)

    def reference(self, params: Params, plan: Plan) -> list[Any]:
        """Return the outputs of a layer the plain way; serving moves bytes without values."""
        return single.reference(plan) if isinstance(plan, single.Plan) else []

    def summarise(self, params: Params, tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return how long the layer took and what it needed, or what the requests saw."""
        if params.mode == "serving":
            return system.summarise(params.serving, tables)
        return single.summarise(params, tables)

    def kernels(self, rng: Any) -> Iterable[tuple["Kernel", Sequence[Any]]]:
        """Return the kernels, each with payloads; their time comes from formulas."""
        return trials.trials(rng)

    def program(self, rank: "Rank", plan: Plan) -> Generator[Any, Any, None]:
        """Compute, or serve."""
        return single.program(rank, plan) if isinstance(plan, single.Plan) else system.program(rank, plan)
