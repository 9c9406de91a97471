"""Frozen specifications of GPUs, links and nodes, read from sheets in which every value has its source."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from simcore import source
from simcore.errors import FieldError, InputError
from simcore.shapes import Direct, Dragonfly, FatTree, LinkChange, RailOptimised, Switch, Torus
from simcore.source import Tagged
from simcore.units import PS_PER_S, Bandwidth, Cycles, Energy, Frequency, Power, Size, Throughput, Time

Duplex = Literal["full", "half", "bus"]
Family = Literal["switch", "full_mesh", "ring", "hybrid_cube_mesh", "edges"]
"""Topologies that need no parameters beyond the machine's link and edges."""
LatencyKind = Literal["wire", "store", "step"]
"""What a latency covers: wire and switch; a one-sided store until its flag is visible; a step of a library, software
included."""
Sharing = Literal["ideal", "fair", "fifo"]
"""How messages share links: not at all, all at once in fair shares, or one whole message after another."""


@dataclass(frozen=True)
class Origin:
    """Where a number comes from: a public source, and whether it is a vendor's figure, a measurement, a fit or an
    assumption."""

    source: str
    kind: Literal["spec", "measured", "fitted", "assumed"]
    note: str = ""


@dataclass(frozen=True)
class EnergySpec:
    """What a GPU or a smaller device spends: on an operation, by dtype; on a byte, by level of memory; on a byte that
    it sends or receives over a link; and all the time that it is ``awake`` or ``asleep``, beside that."""

    operations: dict[str, Energy]
    memory: dict[str, Energy]
    sent: Energy = 0
    received: Energy = 0
    awake: Power = 0
    asleep: Power = 0


@dataclass(frozen=True)
class GpuSpec:
    """One GPU. Throughput is the dense peak in operations per second by dtype; polls and monitors count cycles of
    ``clock``; ``energy`` is stated where it is known or assumed."""

    clock: Frequency
    memory_size: Size
    memory_bandwidth: Bandwidth
    memory_line: Size
    throughput: dict[str, Throughput]
    launch: Time
    poll_period: Cycles
    poll_request: Cycles
    poll_response: Cycles
    monitor_arm: Cycles
    monitor_notify: Cycles
    monitor_wake: Cycles
    monitor_log: Cycles = 0
    energy: EnergySpec | None = None

    def cycles(self, count: int) -> int:
        """Return the duration of ``count`` clock cycles in ps, rounded up once."""
        return -(-count * PS_PER_S // self.clock)

    @property
    def line_service(self) -> int:
        """Time for which the memory port serves one line, ps, rounded up."""
        return -(-self.memory_line * PS_PER_S // self.memory_bandwidth)

    def __post_init__(self) -> None:
        for key in ("poll_period", "memory_line"):
            if getattr(self, key) == 0:
                raise FieldError("must be greater than zero", key)
        trip = self.cycles(self.poll_request) + self.line_service + self.cycles(self.poll_response)
        period = self.poll_period * PS_PER_S // self.clock
        if trip > period:
            # The next poll of a lane is issued only when the last one has come back.
            raise FieldError(
                f"a poll takes {trip} ps (request, one line, response), longer than poll_period ({period} ps)",
                "poll_period",
            )


@dataclass(frozen=True)
class Efficiency:
    """One measured point: messages of ``size`` reach ``percent`` of the bandwidth."""

    size: Size
    percent: float

    def __post_init__(self) -> None:
        if self.size == 0 or not 0 < self.percent <= 100:
            raise ValueError(
                f"an efficiency needs a size above zero and 0 < percent <= 100, not {self.size} B, {self.percent}"
            )


@dataclass(frozen=True)
class LinkSpec:
    """One link: bandwidth per direction, latency of one traversal and what that latency covers, how its directions
    share (a bus: one server for all members), time that each message costs on top, and the share of bandwidth that
    messages of a size reach."""

    bandwidth: Bandwidth
    latency: Time
    duplex: Duplex = "full"
    overhead: Time = 0
    efficiency: list[Efficiency] = field(default_factory=list)
    latency_is: LatencyKind = "wire"

    def __post_init__(self) -> None:
        for (size, charged), (more, charged_more) in itertools.pairwise(self.wire):
            if more <= size or charged_more < charged:
                raise ValueError(
                    f"efficiency: {size} B charged as {charged} B, then {more} B as {charged_more} B; "
                    "sizes rise, and a longer message is never the faster one"
                )

    @property
    def wire(self) -> tuple[tuple[int, int], ...]:
        """Breakpoints of the efficiency: (size of a message, bytes that the link is charged with), ascending."""
        return tuple(
            (point.size, math.ceil(point.size * 100 / Fraction(str(point.percent)))) for point in self.efficiency
        )


@dataclass(frozen=True)
class Edge:
    """One edge of an edge list: two ends, and whatever differs from the machine's link; ``simplex`` runs from the first
    end only, ``reverse`` is what differs on the way back.

    GPUs are called gpu0, gpu1, ...; every other name is a switch. Edges with ``duplex: bus`` and the same ``bus`` share
    one server.
    """

    ends: tuple[str, str]
    bandwidth: Bandwidth | None = None
    latency: Time | None = None
    duplex: Duplex | Literal["simplex"] | None = None
    bus: str = "bus"
    overhead: Time | None = None
    reverse: LinkChange | None = None


@dataclass(frozen=True)
class Degraded:
    """A link that does less than the others, in both directions: a share of its bandwidth, or a bandwidth, and
    another latency."""

    ends: tuple[str, str]
    percent: float | None = None
    bandwidth: Bandwidth | None = None
    latency: Time | None = None

    def __post_init__(self) -> None:
        if self.percent is not None and (self.bandwidth is not None or not 0 < self.percent <= 100):
            raise ValueError("a percent of the bandwidth above 0 and up to 100, or a bandwidth, not both")
        if self.percent is None and self.bandwidth is None and self.latency is None:
            raise ValueError("nothing is degraded; give percent, bandwidth or latency")


@dataclass(frozen=True)
class Network:
    """What joins the nodes of a cluster: a NIC for every GPU, its link to the first switch, and the switches'
    shape."""

    link: LinkSpec
    topology: Annotated[Switch | FatTree | RailOptimised | Dragonfly, Tagged("family")]

    def __post_init__(self) -> None:
        if isinstance(self.topology, Switch) and self.topology.in_switch_reduction:
            # Model: only the switch inside a node reduces.
            raise ValueError("in_switch_reduction: only of the switch inside the nodes, not of the network's")


@dataclass(frozen=True)
class Host:
    """The host of every node: its ``link`` to each of the node's GPUs, and the bandwidth of its memory, which all that
    is read and written there shares."""

    link: LinkSpec
    memory_bandwidth: Bandwidth


@dataclass(frozen=True)
class Queues:
    """How links queue under `fifo`: whole messages or cut through, cut into packets of ``mtu`` bytes, and room for
    ``buffer`` bytes in every queue inside the network (none stated: endless)."""

    switching: Literal["store_and_forward", "cut_through"] = "store_and_forward"
    mtu: Size | None = None
    buffer: Size | None = None

    def __post_init__(self) -> None:
        if self.mtu == 0 or self.buffer == 0:
            raise ValueError("mtu and buffer must be greater than zero")
        if self.buffer is not None and self.mtu is not None and self.buffer < self.mtu:
            raise ValueError(f"a buffer of {self.buffer} B holds no packet of {self.mtu} B; make it at least the mtu")


MOST_OUTSTANDING = 2**16
"""Reads of a waiter that may be under way: far more than a GPU has, and few enough for their table."""
Wait = Literal["spin", "backoff", "yield", "monitor", "waiting_atomic"]
MemoryPort = Literal["free", "shared"]
"""Whether reads of flags queue at the memory port of their GPU: never, or with each other, with what arrives, and with
what work-groups read."""


@dataclass(frozen=True)
class WaitSpec:
    """How ranks wait for flags.

    ``spin`` reads again and again, with up to ``outstanding`` reads of a waiter under way. ``backoff`` pauses between
    reads, ``backoff_first`` cycles at first, each time ``backoff_factor`` times as long, up to ``backoff_most``;
    ``yield`` gives its place to others for ``yield_for`` cycles. ``monitor`` arms a watch on the word or its memory
    line (``granularity``), reads once more and sleeps until a write (monitor/mwait); ``waiting_atomic`` reads once and
    leaves the comparison to the monitor. The monitor of a GPU has room for ``capacity`` watches (none stated:
    endless), the rest go to a log; a write wakes ``all`` sleepers of a word at once, or ``one`` after another.
    ``stride`` is the distance between flags of an array in memory.
    """

    policy: Wait = "spin"
    outstanding: int = 1
    backoff_first: Cycles = 64
    backoff_factor: int = 2
    backoff_most: Cycles = 4_096
    yield_for: Cycles = 1_000
    granularity: Literal["word", "line"] = "word"
    stride: Size = 8
    capacity: int | None = None
    wake: Literal["all", "one"] = "all"

    def __post_init__(self) -> None:
        for key in ("outstanding", "backoff_factor", "stride"):
            if getattr(self, key) < 1:
                raise FieldError("must be 1 or more", key)
        if self.outstanding > MOST_OUTSTANDING:
            raise FieldError(f"must be at most {MOST_OUTSTANDING}", "outstanding")
        if self.capacity is not None and self.capacity < 0:
            raise FieldError("must be zero or more", "capacity")
        if self.backoff_most < self.backoff_first:
            raise FieldError(f"is less than backoff_first, {self.backoff_first} cycles", "backoff_most")


@dataclass(frozen=True)
class CollectiveCost:
    """What a library adds to each collective: the time to launch it, and the time constant of filling its pipeline,
    which takes 2 sqrt(fill x) where the bytes alone take x."""

    launch: Time = 0
    fill: Time = 0


@dataclass(frozen=True)
class NodeSpec:
    """A machine of equal GPUs: ``gpus`` in each of its equal nodes, joined by ``link`` in one topology; several nodes
    are joined by a network. With a ``host``, every node has one, whose memory messages lead from and to.

    ``routes`` are paths, node by node, that replace those found by rule; ``failed`` names links by their ends, or a
    switch, that are down; ``degraded`` links do less.
    """

    name: str
    description: str
    gpus: int
    topology: Annotated[Switch | Direct | Torus | FatTree | Dragonfly, Tagged("family")]
    gpu: GpuSpec
    link: LinkSpec
    collective: CollectiveCost = field(default_factory=CollectiveCost)
    edges: list[Edge] = field(default_factory=list)
    nodes: int = 1
    network: Network | None = None
    host: Host | None = None
    routes: list[list[str]] = field(default_factory=list)
    failed: list[list[str]] = field(default_factory=list)
    degraded: list[Degraded] = field(default_factory=list)

    @property
    def gpu_count(self) -> int:
        """GPUs of all nodes together."""
        return self.gpus * self.nodes

    def __post_init__(self) -> None:
        if self.gpus < 1:
            raise FieldError(f"a machine has at least 1 GPU, not {self.gpus}", "gpus")
        if self.nodes < 1:
            raise FieldError(f"a machine has at least 1 node, not {self.nodes}", "nodes")
        if self.nodes > 1 and self.network is None:
            raise FieldError(f"{self.nodes} nodes need a network, e.g. {{topology: switch, link: ...}}", "nodes")
        if (self.topology.family == "edges") != bool(self.edges):
            raise ValueError("'topology: edges' and a list of 'edges' go together; one of them is missing")


@dataclass(frozen=True)
class Sheet:
    """A hardware sheet: its plain values as a document (places kept), and the origin of each by dotted key."""

    values: source.Document
    origins: Mapping[str, Origin]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the sheet in ``path``, the sheet that its ``base`` names below it; raises ``InputError`` where a value
        lacks its source or kind."""
        return cls._read(path, ())

    @classmethod
    def _read(cls, path: Path, above: tuple[Path, ...]) -> Self:
        document = source.read(path, inherit=False)
        if not isinstance(document.value, dict):
            raise document.error((), "expected keys with values")
        origins: dict[str, Origin] = {}
        values = source.Document({}, document.file, {(): document.place(())})
        base = document.value.pop("base", None)
        _split(document, (), values, origins)
        if base is None:
            return cls(values, origins)
        above = (*above, path.resolve())
        try:
            under = find(str(base), path.parent)
        except InputError as error:
            raise document.error(("base",), str(error)) from None
        if under.resolve() in above:
            raise document.error(("base",), f"the chain of base sheets is a circle: {under.name} is below itself")
        parent = cls._read(under, above)
        source.merge(parent.values, values)
        parent.values.file = values.file
        # A value that replaces a whole record also replaces the origins of its parts, and the other way round.
        kept = {key: origin for key, origin in parent.origins.items() if not any(_overlap(key, new) for new in origins)}
        return cls(parent.values, kept | origins)

    def spec(self) -> NodeSpec:
        """Return the machine as the sheet describes it."""
        return self.values.build(NodeSpec)


def _split(document: source.Document, keys: source.Keys, values: source.Document, origins: dict[str, Origin]) -> None:
    """Part the leaves ``{value, source, kind, note}`` into plain values and origins; a leaf without them is text of the
    sheet itself."""
    here: Any = document.value
    for key in keys:
        here = here[key]
    if isinstance(here, dict) and "value" in here:
        values.put(keys, document.at(*keys, "value"))
        stated = document.at(*keys)
        del stated.value["value"]
        origins[".".join(map(str, keys))] = stated.build(Origin)
    elif isinstance(here, dict):
        for key in list(here):
            _split(document, (*keys, key), values, origins)
    elif len(keys) == 1 and isinstance(here, str):
        values.put(keys, document.at(*keys))
    else:
        raise document.error(
            keys,
            "a value of a hardware sheet needs its origin: "
            "{value: ..., source: ..., kind: spec|measured|fitted|assumed}",
        )


def _overlap(key: str, other: str) -> bool:
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def names() -> list[str]:
    """Return the names of the bundled hardware sheets, sorted."""
    return sorted(path.stem for path in (source.bundle("scenarios") / "hardware").glob("*.yaml"))


def is_sheet(path: Path) -> bool:
    """Return whether the YAML in ``path`` describes hardware, not a scenario: it has a key that only sheets have."""
    value = source.read(path, inherit=False).value
    return isinstance(value, dict) and bool(value.keys() & {"gpu", "gpus", "link", "topology", "nodes", "network"})


def find(name: str, folder: Path) -> Path:
    """Return the path of the sheet ``name``: a file in ``folder``, or a bundled one; raises ``InputError`` with the
    nearest spelling."""
    bundled = source.bundle("scenarios") / "hardware"
    for path in (folder / name, bundled / f"{name}.yaml"):
        if source.is_file(path):
            return path
    raise InputError(source.unknown("preset", name, names()))
