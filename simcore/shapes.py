"""The shapes in which links join GPUs or their NICs: one record a family, its parameters, how many links it makes."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from simcore.units import Bandwidth, Time

HYBRID_CUBE_MESH = 8
"""GPUs of the hybrid cube mesh; it exists in this one size."""


@dataclass(frozen=True)
class LinkChange:
    """What differs from the link that a machine or network has everywhere else."""

    bandwidth: Bandwidth | None = None
    latency: Time | None = None
    overhead: Time | None = None


class Shape:
    """What all families share: their name, and how many directed links they make of ``ends`` ends."""

    family: str

    def __str__(self) -> str:
        return self.family

    def links(self, ends: int) -> int:
        """Return the number of directed links that join ``ends`` GPUs or NICs, or more; raises ``ValueError`` where
        they do not fit."""
        raise NotImplementedError


@dataclass(frozen=True)
class Switch(Shape):
    """One switch, every end joined to it; it may reduce and multicast what passes it."""

    in_switch_reduction: bool = False
    family: Literal["switch"] = "switch"
    __str__ = Shape.__str__

    def links(self, ends: int) -> int:
        """Return two for each end."""
        return 2 * ends


@dataclass(frozen=True)
class Direct(Shape):
    """GPUs joined without parameters: every pair, a ring, the hybrid cube mesh of eight, or the machine's list of
    edges."""

    family: Literal["full_mesh", "ring", "hybrid_cube_mesh", "edges"]

    def links(self, ends: int) -> int:
        """Return one for each ordered pair of neighbours; none for a list of edges, which has its own length."""
        if self.family == "hybrid_cube_mesh" and ends != HYBRID_CUBE_MESH:
            raise ValueError(f"a hybrid_cube_mesh joins {HYBRID_CUBE_MESH} GPUs, not {ends}")
        return ends * {"full_mesh": ends - 1, "ring": 2, "hybrid_cube_mesh": 4}.get(self.family, 0)


@dataclass(frozen=True)
class Dimension:
    """One dimension of a torus: how many GPUs it is long, whether its ends are joined, and what differs in its
    links."""

    size: int
    wrap: bool = True
    bandwidth: Bandwidth | None = None
    latency: Time | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size: a dimension is 1 or more long, not {self.size}")


@dataclass(frozen=True)
class Torus(Shape):
    """A torus, or a mesh where dimensions do not wrap around; gpu0, gpu1, ... run along the first dimension first."""

    dimensions: list[Dimension]
    family: Literal["torus"] = "torus"

    def __post_init__(self) -> None:
        if not 1 <= len(self.dimensions) <= 6:
            raise ValueError(f"dimensions: a torus has 1 to 6, not {len(self.dimensions)}")

    def links(self, ends: int) -> int:
        """Return two for each GPU and dimension."""
        places = 1
        for each in self.dimensions:
            places *= each.size
        if places != ends:
            sizes = " x ".join(str(each.size) for each in self.dimensions)
            raise ValueError(f"a torus of {sizes} has {places} places for {ends} GPUs; they must be as many")
        return 2 * ends * len(self.dimensions)


@dataclass(frozen=True)
class FatTree(Shape):
    """Leaf switches under spines (a Clos network of two levels), or pods of them under cores (three levels).

    ``oversubscription`` is the bandwidth down from a leaf over the bandwidth up; of it, ``spines`` and
    ``uplink.bandwidth`` two decide the third. A flow keeps one of its equal paths, chosen by a hash of its ends.
    """

    per_leaf: int
    spines: int | None = None
    oversubscription: float | None = None
    uplink: LinkChange = field(default_factory=LinkChange)
    leaves_per_pod: int | None = None
    cores: int | None = None
    core_link: LinkChange = field(default_factory=LinkChange)
    ecmp_seed: int = 0
    family: Literal["fat_tree"] = "fat_tree"

    def __post_init__(self) -> None:
        _require_positive(self, "per_leaf", "spines", "leaves_per_pod", "cores")
        if self.leaves_per_pod is None and (self.cores is not None or self.core_link != LinkChange()):
            raise ValueError("cores and core_link are the third level; give leaves_per_pod too")

    def uplinks(self, bandwidth: int) -> tuple[int, int]:
        """Return the number of spines over a leaf (in each pod) and the bandwidth of each uplink, B/s, above ends of
        ``bandwidth`` B/s."""
        return split(self.per_leaf * bandwidth, self.oversubscription, self.spines, self.uplink.bandwidth, bandwidth)

    @property
    def cores_per_spine(self) -> int:
        """Cores that each spine of a pod reaches; as many as it has leaves unless stated."""
        return self.cores or self.leaves_per_pod or 0

    def links(self, ends: int, spines: int = 1) -> int:
        """Return those of all levels, with ``spines`` over each leaf."""
        leaves = -(-ends // self.per_leaf)
        if self.leaves_per_pod is None:
            return 2 * (ends + leaves * spines)
        pods = -(-leaves // self.leaves_per_pod)
        return 2 * (ends + leaves * spines + pods * spines * self.cores_per_spine)


@dataclass(frozen=True)
class RailOptimised(Shape):
    """Rail r joins the NICs of local GPU r of all nodes: on one switch, or on leaves of ``nodes_per_leaf`` nodes under
    spines.

    Between two rails a message goes inside its node to the GPU on the right rail (``pxn``), or over the spines.
    """

    nodes_per_leaf: int | None = None
    spines: int | None = None
    oversubscription: float | None = None
    uplink: LinkChange = field(default_factory=LinkChange)
    cross_rail: Literal["pxn", "spines"] = "pxn"
    ecmp_seed: int = 0
    family: Literal["rail_optimised"] = "rail_optimised"

    def __post_init__(self) -> None:
        _require_positive(self, "nodes_per_leaf", "spines")

    def has_spines(self, nodes: int) -> bool:
        """Return whether spines are there at all: stated, needed to cross rails, or to join several leaves of a
        rail."""
        return self.spines is not None or self.cross_rail == "spines" or nodes > (self.nodes_per_leaf or nodes)

    def uplinks(self, bandwidth: int, nodes: int) -> tuple[int, int]:
        """Return the number of spines and the bandwidth of each uplink, B/s, above NICs of ``bandwidth`` B/s."""
        if not self.has_spines(nodes):
            return 0, bandwidth
        down = (self.nodes_per_leaf or nodes) * bandwidth
        return split(down, self.oversubscription, self.spines, self.uplink.bandwidth, bandwidth)

    def links(self, ends: int, spines: int = 1, nodes: int = 1) -> int:
        """Return those of NICs and uplinks, with ``spines`` over each leaf."""
        leaves = -(-nodes // (self.nodes_per_leaf or nodes)) * (ends // nodes)
        return 2 * (ends + leaves * spines)


@dataclass(frozen=True)
class Dragonfly(Shape):
    """Groups of routers that are all joined to each other, every pair of groups joined by one link; routes are
    minimal."""

    groups: int
    routers: int
    hosts: int
    within_groups: LinkChange = field(default_factory=LinkChange)
    between_groups: LinkChange = field(default_factory=LinkChange)
    family: Literal["dragonfly"] = "dragonfly"

    def __post_init__(self) -> None:
        _require_positive(self, "groups", "routers", "hosts")

    @property
    def ports(self) -> int:
        """Links to other groups that each router of a group has at most."""
        return -(-(self.groups - 1) // self.routers)

    def links(self, ends: int) -> int:
        """Return those of hosts, inside groups and between groups."""
        places = self.groups * self.routers * self.hosts
        if ends > places:
            raise ValueError(
                f"a dragonfly of {self.groups} groups x {self.routers} routers x {self.hosts} hosts has {places} "
                f"places for {ends} ends"
            )
        return 2 * ends + self.groups * (self.routers * (self.routers - 1) + self.groups - 1)


def split(down: int, ratio: float | None, spines: int | None, bandwidth: int | None, otherwise: int) -> tuple[int, int]:
    """Return (spines, bandwidth of one uplink in B/s) of a leaf with ``down`` B/s towards its ends.

    Without a ``ratio`` what is not stated is non-blocking: uplinks of ``otherwise`` B/s, as many as carry ``down``.
    Raises ``ValueError`` where the three contradict each other or give no whole number of spines.
    """
    if ratio is not None and not 0 < ratio < math.inf:
        raise ValueError(f"oversubscription: {ratio} is no ratio of bandwidth down to bandwidth up; write e.g. 2")
    wanted = down / Fraction(str(1 if ratio is None else ratio))
    if spines is not None and bandwidth is not None:
        if ratio is not None and spines * bandwidth != wanted:
            raise ValueError(
                f"oversubscription: {spines} spines at {bandwidth} B/s are {down / (spines * bandwidth):g} : 1, not "
                f"{ratio:g} : 1; state two of oversubscription, spines and uplink.bandwidth"
            )
        return spines, bandwidth
    if spines is not None:
        return spines, max(1, round(wanted / spines)) if ratio is not None else otherwise
    count = wanted / (bandwidth or otherwise)
    if count.denominator != 1:
        raise ValueError(f"{float(count):g} spines would carry that; state spines or another uplink.bandwidth")
    return int(count), bandwidth or otherwise


def _require_positive(record: Shape, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}: 1 or more, not {value}")
