"""Frozen specifications of GPUs, links and nodes, read from sheets in which every value has its source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from simcore import source
from simcore.errors import InputError
from simcore.units import PS_PER_S, Bandwidth, Cycles, Frequency, Size, Throughput, Time

Duplex = Literal["full", "half", "bus"]
Family = Literal["switch", "full_mesh", "ring", "edges"]
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
class GpuSpec:
    """One GPU. Throughput is the dense peak in operations per second by dtype; polls and monitors count cycles of
    ``clock``."""

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

    def cycles(self, count: int) -> int:
        """Return the duration of ``count`` clock cycles in ps, rounded up once."""
        return -(-count * PS_PER_S // self.clock)

    @property
    def line_service(self) -> int:
        """Time for which the memory port serves one line, ps, rounded up."""
        return -(-self.memory_line * PS_PER_S // self.memory_bandwidth)

    def __post_init__(self) -> None:
        if self.poll_period == 0 or self.memory_line == 0:
            raise ValueError("poll_period and memory_line must be greater than zero")
        trip = self.cycles(self.poll_request) + self.line_service + self.cycles(self.poll_response)
        if trip > self.cycles(self.poll_period):
            # Model: one outstanding poll per waiter, so the next poll is issued only when the last one has come back.
            raise ValueError(
                f"a poll takes {trip} ps (request, one line, response), longer than poll_period "
                f"({self.cycles(self.poll_period)} ps)"
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
    """One link: bandwidth per direction, latency of one traversal, how its directions share (a bus: one server for
    all members), time that each message costs on top, and the share of bandwidth that messages of a size reach."""

    bandwidth: Bandwidth
    latency: Time
    duplex: Duplex = "full"
    overhead: Time = 0
    efficiency: list[Efficiency] = field(default_factory=list)


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


@dataclass(frozen=True)
class NodeSpec:
    """A machine of equal GPUs joined by equal links in one topology."""

    name: str
    description: str
    gpus: int
    topology: Family
    gpu: GpuSpec
    link: LinkSpec

    def __post_init__(self) -> None:
        if self.gpus < 1:
            raise ValueError(f"gpus: a machine has at least 1 GPU, not {self.gpus}")


@dataclass(frozen=True)
class Sheet:
    """A hardware sheet: its plain values as a document (places kept), and the origin of each by dotted key."""

    values: source.Document
    origins: Mapping[str, Origin]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the sheet in ``path``; raises ``InputError`` where a value lacks its source or kind."""
        document = source.read(path)
        origins: dict[str, Origin] = {}
        values = source.Document({}, document.file, {(): document.place(())})
        _split(document, (), values, origins)
        return cls(values, origins)

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


def names() -> list[str]:
    """Return the names of the bundled hardware sheets, sorted."""
    return sorted(path.stem for path in (source.bundle("scenarios") / "hardware").glob("*.yaml"))


def find(name: str, folder: Path) -> Path:
    """Return the path of the sheet ``name``: a file in ``folder``, or a bundled one; raises ``InputError`` with the
    nearest spelling."""
    for path in (folder / name, source.bundle("scenarios") / "hardware" / f"{name}.yaml"):
        if path.is_file():
            return path
    raise InputError(source.unknown("preset", name, names()))
