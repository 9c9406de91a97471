"""Parameters, and which question they ask: what one device recalls, or what sensors on links recall together."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from simcore import Column, Energy, InputError, Metric, Power, Time

from . import plan as planning
from . import recalling, sharing
from .damage import Truncation
from .fetch import Fetch
from .forms import Method
from .frames import Coding, Kind
from .kernel import Rule
from .ledger import Level
from .reference import answers

if TYPE_CHECKING:
    from simcore import Rank

MOST_SCALE = 2**16 - 1
"""256ths in 16 bits."""
MOST_PS = 10**18
"""Of all recalls together, 11 days; and femtojoules of a server, 1 kJ: what adds up from them has 63 bits."""
MOST_NODES = 2**15
"""Of a population: an event is 15 bits of index and a sign."""


@dataclass(frozen=True)
class Damage:
    """``truncated``: share of a code's active nodes, or of the weights, that is cut away, by ``truncation``: all but
    the largest (top), by lot (random), or the smallest weights (weights). ``destroyed``: share of nodes that are dead
    from the start, ``where``: of the inputs, the outputs, or both. ``flipped`` and ``stuck``: share of weights of which
    a bit flips, or that stay ``stuck_at`` a value. In service ``strikes`` failures, ``every`` so long on average,
    destroy a share ``each`` of the nodes."""

    truncated: float = 0.9
    truncation: Truncation = "top"
    destroyed: float = 0.2
    where: Literal["inputs", "outputs", "both"] = "both"
    flipped: float = 0.0
    stuck: float = 0.0
    stuck_at: int = 0
    strikes: int = 0
    every: Time = 10**12
    each: float = 0.05


@dataclass(frozen=True)
class Frame:
    """Of the frame reading: the ``kind`` of its weights, the ``coding`` of nodes and the ``threshold`` that they must
    exceed; items are white, or waves of so many ``harmonics`` and ``amplitude``; an estimate is summed up (transpose),
    filtered (low_pass), or refined by ``steps`` of conjugate gradients."""

    kind: Kind = "sign"
    coding: Coding = "ternary"
    threshold: int = 0
    harmonics: int = 0
    amplitude: int = 127
    decode: Literal["transpose", "low_pass", "conjugate_gradients"] = "transpose"
    steps: int = 10


@dataclass(frozen=True)
class Server:
    """A server with a GPU, of which only its time and power are known: ``software`` before, and ``recall`` while it
    computes, which alone takes ``power``."""

    software: Time = 10**9
    recall: Time = 20 * 10**6
    power: Power = 700 * 10**9


@dataclass(frozen=True)
class Sensors:
    """``count`` sensors that each see a part of the input and a hub that wants the answer. ``share``: the hub gathers
    codes and recalls (gather), is a server that does so (offload), or sensors add up charges of their own rows from one
    to the next (rows), or tell each other their codes and find outputs each (columns). They send ``sends``: every value
    of a byte, events of two bytes, or masks of two bits."""

    count: int = 0
    share: Literal["gather", "offload", "rows", "columns"] = "gather"
    sends: Literal["values", "events", "masks"] = "events"
    server: Server = field(default_factory=Server)


@dataclass(frozen=True)
class Params:
    """``reading``: pairs written into the weights and recalled (hebbian), or a fixed frame (frame). ``nodes`` and
    ``outputs`` are the populations; of a frame, nodes and inputs.

    Hebbian: ``pairs`` of ``items``, random signs of which, of the nodes, a share is ``active``, or images, written with
    ``gain`` and ``noise``; recalled ``direction`` forward, from nodes to outputs, or backward. ``rule`` says what an
    event adds; charges below ``reject`` are undecided, and with a ``reject`` of 0 charges are the answer, times
    ``scale`` 256ths where that is not 0. ``frame``: of the frame. ``damage``: what is lost.

    ``recalls`` recalls, one every ``period``, by ``method``, with the weights in the memory ``level``, which come by
    ``fetch``; ``sensors`` that share them, if any; ``battery`` of each device. ``payload``: real computes on real
    weights, virtual with their shapes alone.
    """

    reading: Literal["hebbian", "frame"] = "hebbian"
    nodes: int = 8192
    outputs: int = 4096
    items: Literal["random", "white", "pink", "shapes"] = "random"
    pairs: int = 20
    active: float = 1.0
    gain: int = 16
    noise: int = 1
    direction: Literal["forward", "backward"] = "forward"
    rule: Rule = field(default_factory=Rule)
    reject: int = 8
    scale: int = 0
    frame: Frame = field(default_factory=Frame)
    damage: Damage = field(default_factory=Damage)
    recalls: int = 1
    period: Time = 10**11
    method: Method = "events"
    level: Level = "dram"
    fetch: Fetch = field(default_factory=Fetch)
    sensors: Sensors = field(default_factory=Sensors)
    battery: Energy = 2430 * 10**15
    payload: Literal["virtual", "real"] = "virtual"


class Int8Manifold:
    """Does recall in int8 survive damage, and what does it cost on small devices and slow links?"""

    Params = Params
    tables: ClassVar[Mapping[str, tuple[Column, ...]]] = recalling.TABLES
    metrics: ClassVar[Sequence[Metric]] = recalling.METRICS
    headlines: ClassVar[Sequence[str]] = recalling.HEADLINES

    def world(self, params: Params) -> int:
        """Return one device, or the sensors and their hub; raises ``InputError``."""
        check(params)
        return params.sensors.count + 1

    def plan(self, params: Params, world: int, nodes: int, rng: Any) -> planning.Plan:
        """Return weights, codes and failures."""
        return planning.make(params, rng)

    def reference(self, params: Params, plan: planning.Plan) -> list[Any]:
        """Return the answers the plain way."""
        return answers(params, plan)

    def summarise(self, params: Params, tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return latency, energy by where it goes, and how long a battery lasts."""
        return recalling.summarise(tables["recalls"], tables["hops"], params.period, params.battery)

    def program(self, rank: "Rank", plan: planning.Plan) -> Generator[Any, Any, None]:
        """Recall alone, or with others."""
        return sharing.program(rank, plan) if plan.params.sensors.count else recalling.program(rank, plan)


def check(params: Params) -> None:
    """Raise ``InputError`` for parameters that make no recall."""
    harm, about, images_ = params.damage, params.frame, params.items != "random"
    for place, name, least in (
        (params, "nodes", 1), (params, "outputs", 1), (params, "pairs", 1), (params, "gain", 0), (params, "noise", 0),
        (params, "reject", 0), (params, "scale", 0), (params, "recalls", 1), (params.rule, "cut", 1),
        (params.sensors, "count", 0), (harm, "strikes", 0), (about, "threshold", 0), (about, "harmonics", 0),
        (about, "steps", 1), (params.fetch, "channels", 1), (params.fetch, "banks", 1), (params.fetch, "buffers", 1),
    ):  # fmt: skip
        if getattr(place, name) < least:
            raise InputError(f"{name} must be {least} or more, not {getattr(place, name)}")
    for name in ("truncated", "destroyed", "flipped", "stuck", "each"):
        if not 0 <= getattr(harm, name) <= 1:
            raise InputError(f"damage.{name} is a share, from 0 to 1, not {getattr(harm, name)}")
    if not 0 < params.active <= 1:
        raise InputError(f"active is a share above 0 and up to 1, not {params.active}")
    for name, most in (
        ("nodes", MOST_NODES),
        ("outputs", MOST_NODES),
        ("gain", 127),
        ("noise", 127),
        ("scale", MOST_SCALE),
    ):
        if getattr(params, name) > most:
            raise InputError(f"{name} is at most {most}, not {getattr(params, name)}")
    if params.period == 0:
        raise InputError("period must be above 0, the time from one recall to the next")
    if not 1 <= about.amplitude <= 127 or abs(harm.stuck_at) > 127:
        raise InputError("frame.amplitude is from 1 to 127, and damage.stuck_at from -127 to 127")
    if images_ and (params.nodes, params.outputs) != (8192, 4096):
        raise InputError(f"items: images have 8192 nodes and 4096 outputs, not {params.nodes} and {params.outputs}")
    if images_ and params.gain < 2:
        raise InputError(f"gain must be 2 or more with images, not {params.gain}")
    if params.rule.arithmetic == "sums" and params.method in ("row_planes", "binary"):
        raise InputError(f"method: {params.method} counts votes; rule.arithmetic: sums is for the others")
    _check_sizes(params)
    if params.reading == "frame":
        _check_frame(params)
    if params.sensors.count:
        _check_sensors(params)


def _check_sizes(params: Params) -> None:
    """Raise ``InputError`` where times or energies would not fit the columns that hold them."""
    fetch, server = params.fetch, params.sensors.server
    tiles = max(params.nodes, params.outputs) * (2 * params.frame.steps + 1 if params.reading == "frame" else 1)
    for name, amount in (
        ("period", params.recalls * params.period),
        ("damage.every", params.damage.strikes * params.damage.every),
        ("fetch.open and fetch.close", params.recalls * tiles * (fetch.open + fetch.close)),
        ("sensors.server: software and recall", params.recalls * (server.software + server.recall)),
    ):
        if amount > MOST_PS:
            raise InputError(
                f"{name} take {amount / 10**12:.4g} s in all; at most {MOST_PS // 10**12} s can be counted"
            )
    spent = params.recalls * server.power * server.recall // 10**6
    if spent > MOST_PS:
        raise InputError(
            f"sensors.server: power and recall make {spent / 10**15:.4g} J in all; at most {MOST_PS // 10**15} J"
        )


def _check_frame(params: Params) -> None:
    about = params.frame
    if about.kind == "hadamard" and (params.nodes & (params.nodes - 1) or params.outputs >= params.nodes):
        raise InputError(f"frame.kind: hadamard has a power of two of nodes and fewer inputs, not {params.nodes}")
    if about.harmonics and 2 * about.harmonics >= params.outputs:
        raise InputError(f"frame.harmonics: {params.outputs} samples hold fewer than {params.outputs // 2} frequencies")
    if (about.decode == "low_pass") and not about.harmonics:
        raise InputError("frame.decode: low_pass keeps frame.harmonics frequencies; give 1 or more")
    if about.decode == "conjugate_gradients" and about.coding != "analog":
        raise InputError("frame.decode: conjugate_gradients needs frame.coding: analog")
    if params.rule.arithmetic != "sums" or params.rule.accumulator != "int32" or params.reject:
        raise InputError("reading: frame needs rule: {arithmetic: sums, accumulator: int32} and reject: 0")
    if (about.coding == "analog") != (params.method == "int8"):
        raise InputError("method: int8 is for frame.coding: analog, which multiplies; the other codings do not")
    if params.damage.where == "outputs":
        raise InputError(
            "damage.where: outputs is for reading: hebbian; of a frame its nodes are destroyed, the inputs"
        )
    if params.direction == "backward" or params.sensors.count:
        raise InputError("reading: frame is for one device, forward")


def _check_sensors(params: Params) -> None:
    count = params.sensors.count
    nodes, outputs = (params.nodes, params.outputs) if params.direction == "forward" else (params.outputs, params.nodes)
    if nodes % count or outputs % count:
        raise InputError(f"sensors.count: {count} do not share {nodes} nodes and {outputs} outputs evenly")
    if params.method not in ("events", "row_planes"):
        raise InputError(f"sensors share method: events or row_planes, not {params.method}")
    most = params.nodes if params.rule.arithmetic == "votes" else 127 * params.nodes
    if params.direction == "backward":
        most = most // params.nodes * params.outputs
    if params.sensors.share == "rows" and most > params.rule.most:
        raise InputError(
            f"sensors.share: rows adds up charges of up to {most}, and {params.rule.accumulator} saturates on the way; "
            "use rule.accumulator: int32"
        )
