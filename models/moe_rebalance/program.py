"""Which step of which model is simulated, by which policy, and what its ranks do."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from simcore import Column, InputError, Metric, Time, TraceFile, locate

from . import records, report, step, trials
from .placement import Group
from .planned import Planned
from .planning import Planner
from .policies import POLICIES
from .routing import MOST_TOKENS, PRESETS, Routing, Synthetic, generate
from .tensors import Operands
from .timing import Rates, Shape
from .transfers import Transfers

if TYPE_CHECKING:
    from simcore import Kernel, Rank

MOST = 1 << 16
"""Factors of what takes time, at most."""


@dataclass(frozen=True)
class Params:
    """One step of ``gpus`` GPUs: ``micro`` micro-steps of ``layers`` layers, ``tokens`` tokens a GPU and micro-step on
    average, each in a sequence of ``context``; ``tensor`` ranks share the heads of a token.

    ``policy``: who places the experts, with ``slots`` more on every GPU than it is home to. ``preset`` names how the
    routing is drawn, or is empty: as ``routing`` says. With ``trace``, a file of `records`, it is the first layers and
    micro-steps of the last step there; ``preset``, ``tokens`` and all of ``routing`` but its ``ep`` are then unread.
    ``history``: earlier steps that policies know. The step begins with a ``rollout``; the update ends with an optimizer
    step after each of ``mini_batches`` parts. Where ``payload`` is real, the first layer, micro-step and EP group is
    computed with small tensors besides, which takes no time.
    """

    policy: str = "foremoe"
    preset: str = "ep8_same_prompt"
    routing: Synthetic = field(default_factory=Synthetic)
    trace: TraceFile | None = None
    gpus: int = 64
    layers: int = 4
    micro: int = 4
    tokens: int = 4096
    context: int = 8192
    tensor: int = 4
    slots: int = 2
    history: int = 3
    rollout: Time = 0
    mini_batches: int = 1
    payload: Literal["virtual", "real"] = "virtual"
    shape: Shape = field(default_factory=Shape)
    rates: Rates = field(default_factory=Rates)
    transfers: Transfers = field(default_factory=Transfers)
    planner: Planner = field(default_factory=Planner)


class MoeRebalance:
    """What is foresight of routing worth, and on which machine?"""

    Params = Params
    tables: ClassVar[Mapping[str, tuple[Column, ...]]] = report.TABLES
    metrics: ClassVar[Sequence[Metric]] = report.METRICS
    headlines: ClassVar[Sequence[str]] = report.HEADLINES

    def world(self, params: Params) -> int:
        """Return the ranks of the step; raises ``InputError``."""
        _check(params)
        return params.gpus

    def plan(self, params: Params, world: int, nodes: int, rng: Any) -> step.Plan:
        """Return the routing of the step and what the policy makes of it, for every EP group; raises
        ``InputError``."""
        ep = _ep(params)
        if world % nodes:
            raise InputError(f"{world} ranks are not shared evenly by {nodes} nodes")
        per_node = min(world // nodes, ep)
        if ep % per_node or world // nodes % per_node:
            raise InputError(f"routing.ep: EP groups of {ep} GPUs do not fit nodes of {world // nodes}")
        if per_node % params.tensor:
            raise InputError(f"tensor: {params.tensor} ranks do not divide the {per_node} of an EP group on a node")
        shape = params.shape
        routing = _routing(params, world, rng)
        group = Group(ep, per_node, shape.experts, params.slots, world // ep)
        policy = POLICIES[params.policy]
        planned, operands = [], []
        for index in range(routing.groups):
            counts, past = routing.group(index)
            plans = policy.plan(counts, group, past)
            planned.append(Planned.of(plans, group, shape))
            if params.payload == "real" and not index:
                operands.append(Operands.draw(plans.counts[0, 0], shape.top, plans.plans[0][0], group, rng))
        return step.Plan(params, group, world // nodes, planned, operands)

    def reference(self, params: Params, plan: step.Plan) -> list[Any]:
        """Return what every rank has in the end, the plain way; nothing where bytes move without values."""
        return [each for operands in plan.operands for rank in operands.plain() for each in rank]

    def summarise(self, params: Params, tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return how long the stages took, what was waited for, and how even the loads were."""
        return report.summarise(tables)

    def kernels(self, rng: Any) -> Iterable[tuple["Kernel", Sequence[Any]]]:
        """Return the kernels, each with payloads; their time comes from formulas."""
        return trials.trials(rng)

    def program(self, rank: "Rank", plan: step.Plan) -> Generator[Any, Any, None]:
        """Run the step."""
        about = plan.params
        if about.trace is not None and about.preset not in ("", Params.preset):
            rank.warn(f"preset {about.preset!r} is set, but not read: the routing is that of the trace")
        yield from step.program(rank, plan)


def _ep(params: Params) -> int:
    """Return the GPUs of an EP group."""
    return PRESETS[params.preset].ep if params.preset and not params.trace else params.routing.ep


def _routing(params: Params, world: int, rng: Any) -> Routing:
    """Return the routing of the step, recorded or drawn; raises ``InputError``."""
    shape, layers, micro, history = params.shape, params.layers, params.micro, params.history
    if params.trace is None:
        return generate(synthetic(params), layers, micro, world, shape.experts, shape.top, history, rng)
    return records.read_part(
        locate(params.trace, "traces"), gpus=world, ep=params.routing.ep, layers=layers, micro=micro, history=history,
        experts=shape.experts, top=shape.top,
    )  # fmt: skip


def synthetic(params: Params) -> Synthetic:
    """Return how the routing is drawn: lengths so that a GPU has ``tokens`` tokens on average, the longest in the same
    proportion."""
    about = PRESETS[params.preset] if params.preset else params.routing
    length = params.tokens * about.ep / about.sequences
    return replace(about, length=length, longest=round(about.longest * length / about.length))


def _check(params: Params) -> None:
    drawn = params.trace is None
    for name in ("gpus", "layers", "micro", *(("tokens",) if drawn else ()), "context", "tensor", "mini_batches"):
        if getattr(params, name) < 1:
            raise InputError(f"{name} must be 1 or more, not {getattr(params, name)}")
    for name in ("slots", "history"):
        if getattr(params, name) < 0:
            raise InputError(f"{name} must be 0 or more, not {getattr(params, name)}")
    if params.policy not in POLICIES:
        raise InputError(f"policy: there is no {params.policy!r}; there are {', '.join(POLICIES)}")
    if params.preset and params.preset not in PRESETS:
        raise InputError(f"preset: there is no {params.preset!r}; there are {', '.join(PRESETS)}, or '' for routing")
    if params.micro % params.mini_batches:
        raise InputError(f"mini_batches: {params.mini_batches} do not divide {params.micro} micro-steps")
    # What a preset says is not read here either, so that a run can tell what was set for nothing.
    routing = ("ep",) if not drawn else () if params.preset else ("ep", "sequences", "length")
    for group, names in ((params.shape, ("hidden", "width", "experts", "top", "query_heads", "heads", "head")),
                         (params.planner, ("threads",)), (params.transfers, ("buffers",)),
                         (params.routing, routing)):  # fmt: skip
        for name in names:
            if getattr(group, name) < 1:
                raise InputError(f"{name} must be 1 or more, not {getattr(group, name)}")
    for name in (*(("tokens",) if drawn else ()), "context"):
        if getattr(params, name) > MOST_TOKENS:
            raise InputError(f"{name} must be at most {MOST_TOKENS}, not {getattr(params, name)}")
    for name, factor in (("rates.half", params.rates.half), ("rates.permute", params.rates.permute),
                         ("transfers.gradient", params.transfers.gradient)):  # fmt: skip
        if not 0 <= factor <= MOST:
            raise InputError(f"{name} must be from 0 to {MOST}, not {factor}")
    for name in ("attention", "experts"):
        if Fraction(getattr(params.rates, name)) > 1:
            raise InputError(f"rates.{name} is a share of the peak, at most 1, not {getattr(params.rates, name)}")
