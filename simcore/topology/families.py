"""One class a family: which edges it has, and which nodes a message passes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from simcore.hardware import Edge
from simcore.shapes import Dimension, Direct, Dragonfly, FatTree, LinkChange, RailOptimised, Switch, Torus

HYBRID_CUBE_MESH = (
    (0, 1, 1), (0, 2, 1), (0, 3, 2), (1, 2, 2), (1, 3, 1), (2, 3, 2),
    (4, 5, 1), (4, 6, 1), (4, 7, 2), (5, 6, 2), (5, 7, 1), (6, 7, 2),
    (0, 4, 2), (1, 5, 2), (2, 6, 1), (3, 7, 1),
)  # fmt: skip
"""Pairs of GPUs of a DGX-1 with V100s and their number of NVLinks, six a GPU (NVIDIA DGX-1 With Tesla V100 System
Architecture, WP-08437-002)."""

Names = Sequence[str]
About = dict[str, dict[str, Any]]


class Layout:
    """How one family joins ``ends``, in order; names of its switches begin with ``prefix``."""

    def __init__(self, ends: Names, prefix: str = "") -> None:
        self.ends, self.prefix = ends, prefix

    def edges(self) -> Iterator[Edge]:
        """Yield every edge once."""
        raise NotImplementedError

    def equal_paths(self, src: int, dst: int) -> int:
        """Return how many equally good paths lead from end ``src`` to end ``dst``."""
        return 1

    def path(self, src: int, dst: int, choice: int) -> list[str] | None:
        """Return the nodes of one of the equal paths, both ends included; None: whatever a search finds."""
        raise NotImplementedError

    def about(self) -> About:
        """Return what a drawing needs to know of each switch and end: ``role``, and where it stands in the family."""
        return {}


class Star(Layout):
    """Every end joined to one switch."""

    def __init__(self, ends: Names, prefix: str = "") -> None:
        super().__init__(ends, prefix)
        self.switch = f"{prefix}switch"

    def edges(self) -> Iterator[Edge]:
        """Yield one edge an end."""
        return (Edge((end, self.switch)) for end in self.ends)

    def path(self, src: int, dst: int, choice: int) -> list[str]:
        """Return the way over the switch."""
        return [self.ends[src], self.switch, self.ends[dst]]

    def about(self) -> About:
        """Return the switch."""
        return {self.switch: {"role": "switch", "level": 1}}


class Mesh(Layout):
    """Every pair of ends joined by a link of its own."""

    def edges(self) -> Iterator[Edge]:
        """Yield one edge a pair."""
        return (Edge((a, b)) for i, a in enumerate(self.ends) for b in self.ends[i + 1 :])

    def path(self, src: int, dst: int, choice: int) -> list[str]:
        """Return the pair itself."""
        return [self.ends[src], self.ends[dst]]


class Grid(Layout):
    """A torus of any number of dimensions, a ring among them; a message settles the first dimension first, the shorter
    way round, a tie upwards."""

    def __init__(self, ends: Names, shape: Torus) -> None:
        super().__init__(ends)
        self.dimensions = shape.dimensions
        self.strides = [1]
        for each in self.dimensions:
            self.strides.append(self.strides[-1] * each.size)

    def place(self, end: int, axis: int) -> int:
        """Return the coordinate of an end along one dimension."""
        return end // self.strides[axis] % self.dimensions[axis].size

    def edges(self) -> Iterator[Edge]:
        """Yield one edge for each end and dimension, to the next end along it; the last one's only if it wraps."""
        for end, name in enumerate(self.ends):
            for axis, each in enumerate(self.dimensions):
                there = self.place(end, axis) + 1
                if there == each.size and (not each.wrap or each.size < 3):
                    continue
                other = end + ((there % each.size) - there + 1) * self.strides[axis]
                yield Edge((name, self.ends[other]), bandwidth=each.bandwidth, latency=each.latency)

    def path(self, src: int, dst: int, choice: int) -> list[str]:
        """Return the ends passed, dimension by dimension."""
        at, names = src, [self.ends[src]]
        for axis, each in enumerate(self.dimensions):
            here, goal = self.place(src, axis), self.place(dst, axis)
            turn = 1 if goal > here else -1
            if each.wrap and each.size > 2:
                turn = 1 if 2 * ((goal - here) % each.size) <= each.size else -1
            while here != goal:
                step = (here + turn) % each.size if each.wrap else here + turn
                at += (step - here) * self.strides[axis]
                here = step
                names.append(self.ends[at])
        return names

    def about(self) -> About:
        """Return the coordinates of every end, ``at``."""
        axes = range(len(self.dimensions))
        return {name: {"at": tuple(self.place(end, axis) for axis in axes)} for end, name in enumerate(self.ends)}


class Searched(Layout):
    """Any list of edges; routes are found by breadth-first search, ties go to the edge listed first.

    Names of switches get the prefix, so that every node of a cluster has its own.
    """

    def __init__(self, ends: Names, prefix: str, listed: Sequence[Edge]) -> None:
        super().__init__(ends, prefix)
        self.listed = listed

    def edges(self) -> Iterator[Edge]:
        """Yield the listed edges under the names that they have in this node."""
        for edge in self.listed:
            a, b = (self._name(end) for end in edge.ends)
            yield replace(edge, ends=(a, b), bus=f"{self.prefix}{edge.bus}")

    def _name(self, end: str) -> str:
        if end.startswith("gpu") and end[3:].isdigit():
            return self.ends[int(end[3:])]
        return f"{self.prefix}{end}"

    def path(self, src: int, dst: int, choice: int) -> None:
        """Return nothing: the way is searched."""
        return


class Clos(Layout):
    """Leaves under spines, and pods of them under cores; core c of plane s joins spine s of every pod."""

    def __init__(self, ends: Names, prefix: str, shape: FatTree, bandwidth: int) -> None:
        super().__init__(ends, prefix)
        self.shape = shape
        self.spines, self.uplink_bandwidth = shape.uplinks(bandwidth)
        self.leaves = -(-len(ends) // shape.per_leaf)
        self.leaves_per_pod = shape.leaves_per_pod or self.leaves
        self.pods = -(-self.leaves // self.leaves_per_pod)
        self.cores = shape.cores_per_spine if self.pods > 1 else 0

    def leaf(self, leaf: int) -> str:
        """Return the name of a leaf."""
        return f"{self.prefix}leaf{leaf}"

    def spine(self, pod: int, spine: int) -> str:
        """Return the name of a spine of a pod."""
        return f"{self.prefix}spine{spine}" if self.pods == 1 else f"{self.prefix}pod{pod}.spine{spine}"

    def core(self, spine: int, core: int) -> str:
        """Return the name of one of the cores over the spines that have number ``spine`` in their pods."""
        return f"{self.prefix}core{spine * self.cores + core}"

    def edges(self) -> Iterator[Edge]:
        """Yield the edges of the ends, of the leaves, then of the spines."""
        up = replace(self.shape.uplink, bandwidth=self.uplink_bandwidth)
        for end, name in enumerate(self.ends):
            yield Edge((name, self.leaf(end // self.shape.per_leaf)))
        for leaf in range(self.leaves):
            for spine in range(self.spines):
                yield _edge(self.leaf(leaf), self.spine(leaf // self.leaves_per_pod, spine), up)
        given = self.shape.core_link
        top = replace(up, **{key: value for key, value in vars(given).items() if value is not None})
        for pod in range(self.pods if self.cores else 0):
            for spine in range(self.spines):
                for core in range(self.cores):
                    yield _edge(self.spine(pod, spine), self.core(spine, core), top)

    def equal_paths(self, src: int, dst: int) -> int:
        """Return one below a leaf, one a spine within a pod, one a core between pods."""
        a, b = src // self.shape.per_leaf, dst // self.shape.per_leaf
        if a == b:
            return 1
        return self.spines if a // self.leaves_per_pod == b // self.leaves_per_pod else self.spines * self.cores

    def path(self, src: int, dst: int, choice: int) -> list[str]:
        """Return the way up to the lowest common level and down; ``choice`` counts spines first, then cores."""
        a, b = src // self.shape.per_leaf, dst // self.shape.per_leaf
        core, spine = divmod(choice, self.spines)
        pod, other = a // self.leaves_per_pod, b // self.leaves_per_pod
        above = [] if a == b else [self.spine(pod, spine)]
        if pod != other:
            above += [self.core(spine, core), self.spine(other, spine)]
        return [self.ends[src], *dict.fromkeys([self.leaf(a), *above, self.leaf(b)]), self.ends[dst]]

    def about(self) -> About:
        """Return every switch with its ``level`` and, below the cores, its ``pod``."""
        found: About = {}
        for leaf in range(self.leaves):
            found[self.leaf(leaf)] = {"role": "leaf", "level": 1, "pod": leaf // self.leaves_per_pod}
        for pod in range(self.pods):
            found |= {self.spine(pod, s): {"role": "spine", "level": 2, "pod": pod} for s in range(self.spines)}
        cores = range(self.spines * self.cores)
        return found | {f"{self.prefix}core{c}": {"role": "core", "level": 3} for c in cores}


class Rails(Layout):
    """A switch, or leaves under spines, for each local GPU number; ``inside`` finds the way to another GPU of a node.

    Model: a message that changes rails passes the GPU on the other rail without waiting in its memory and without
    loading it.
    """

    def __init__(
        self,
        ends: Names,
        shape: RailOptimised,
        bandwidth: int,
        nodes: int,
        inside: Callable[[int, int], list[str]],
    ) -> None:
        super().__init__(ends)
        self.shape, self.nodes, self.rails, self._inside = shape, nodes, len(ends) // nodes, inside
        self.nodes_per_leaf = shape.nodes_per_leaf or nodes
        self.blocks = -(-nodes // self.nodes_per_leaf)
        self.spines, self.uplink_bandwidth = shape.uplinks(bandwidth, nodes)

    def leaf(self, rail: int, block: int) -> str:
        """Return the name of a rail's leaf."""
        return f"rail{rail}" if self.blocks == 1 else f"rail{rail}.leaf{block}"

    def _place(self, end: int) -> tuple[int, int]:
        node, rail = divmod(end, self.rails)
        return rail, node // self.nodes_per_leaf

    def edges(self) -> Iterator[Edge]:
        """Yield the edges of the NICs, then of the leaves."""
        for end, name in enumerate(self.ends):
            yield Edge((name, self.leaf(*self._place(end))))
        up = replace(self.shape.uplink, bandwidth=self.uplink_bandwidth)
        for rail in range(self.rails):
            for block in range(self.blocks):
                for spine in range(self.spines):
                    yield _edge(self.leaf(rail, block), f"spine{spine}", up)

    def _entry(self, src: int, dst: int) -> int:
        """Return the end whose NIC a message from ``src`` takes."""
        crosses = src % self.rails != dst % self.rails and self.shape.cross_rail == "pxn"
        return src - src % self.rails + dst % self.rails if crosses else src

    def equal_paths(self, src: int, dst: int) -> int:
        """Return one within a leaf, else one a spine."""
        return 1 if self._place(self._entry(src, dst)) == self._place(dst) else self.spines

    def path(self, src: int, dst: int, choice: int) -> list[str]:
        """Return the way along the rail of ``dst``, before it the way inside the node to that rail."""
        entry = self._entry(src, dst)
        a, b = self._place(entry), self._place(dst)
        above = [self.leaf(*a)] if a == b else [self.leaf(*a), f"spine{choice}", self.leaf(*b)]
        before = self._inside(src, entry)[:-1] if entry != src else []
        return [*before, self.ends[entry], *above, self.ends[dst]]

    def about(self) -> About:
        """Return every switch; a leaf with its ``rail`` and ``block`` of nodes."""
        found: About = {}
        for rail in range(self.rails):
            for block in range(self.blocks):
                found[self.leaf(rail, block)] = {"role": "rail", "level": 1, "rail": rail, "block": block}
        return found | {f"spine{spine}": {"role": "spine", "level": 2} for spine in range(self.spines)}


class Groups(Layout):
    """A dragonfly: port p of group g leads to group g + p + 1, and its router has ports p = router * h and on."""

    def __init__(self, ends: Names, prefix: str, shape: Dragonfly) -> None:
        super().__init__(ends, prefix)
        self.shape = shape

    def router(self, group: int, router: int) -> str:
        """Return the name of a router."""
        return f"{self.prefix}group{group}.router{router}"

    def _gate(self, group: int, other: int) -> str:
        """Return the router of ``group`` whose link leads to the group ``other``."""
        port = (other - group - 1) % self.shape.groups
        return self.router(group, port // self.shape.ports)

    def _router_of(self, end: int) -> tuple[int, int]:
        return divmod(end // self.shape.hosts, self.shape.routers)

    def edges(self) -> Iterator[Edge]:
        """Yield the edges of the hosts, within groups, then between groups."""
        for end, name in enumerate(self.ends):
            yield Edge((name, self.router(*self._router_of(end))))
        for group in range(self.shape.groups):
            for a in range(self.shape.routers):
                for b in range(a + 1, self.shape.routers):
                    yield _edge(self.router(group, a), self.router(group, b), self.shape.within_groups)
        for group in range(self.shape.groups):
            for other in range(group + 1, self.shape.groups):
                yield _edge(self._gate(group, other), self._gate(other, group), self.shape.between_groups)

    def path(self, src: int, dst: int, choice: int) -> list[str]:
        """Return the minimal way: at most one link in each of the two groups and one between them."""
        (group, a), (other, b) = self._router_of(src), self._router_of(dst)
        gates = [] if group == other else [self._gate(group, other), self._gate(other, group)]
        routers = dict.fromkeys([self.router(group, a), *gates, self.router(other, b)])
        return [self.ends[src], *routers, self.ends[dst]]

    def about(self) -> About:
        """Return every router with its ``group`` and its number in it."""
        found: About = {}
        for group in range(self.shape.groups):
            for router in range(self.shape.routers):
                found[self.router(group, router)] = {"role": "router", "level": 1, "group": group, "router": router}
        return found


def _edge(a: str, b: str, change: LinkChange) -> Edge:
    return Edge((a, b), bandwidth=change.bandwidth, latency=change.latency, overhead=change.overhead)


def cube_edges(bandwidth: int) -> list[Edge]:
    """Return the edges of the hybrid cube mesh whose single NVLinks carry ``bandwidth`` B/s each way; two links of a
    pair are one of twice the bandwidth."""
    return [Edge((f"gpu{a}", f"gpu{b}"), bandwidth=count * bandwidth) for a, b, count in HYBRID_CUBE_MESH]


def layout(
    shape: Switch | Direct | Torus | FatTree | Dragonfly,
    ends: Names,
    prefix: str,
    bandwidth: int,
    edges: Sequence[Edge],
) -> Layout:
    """Return the layout of GPUs ``ends`` in a ``shape``, its links of ``bandwidth`` B/s unless it says otherwise."""
    if isinstance(shape, Switch):
        return Star(ends, prefix)
    if isinstance(shape, Torus):
        return Grid(ends, shape)
    if isinstance(shape, FatTree):
        return Clos(ends, prefix, shape, bandwidth)
    if isinstance(shape, Dragonfly):
        return Groups(ends, prefix, shape)
    if shape.family == "full_mesh":
        return Mesh(ends, prefix)
    if shape.family == "ring":
        return Grid(ends, Torus([Dimension(len(ends))]))
    return Searched(ends, prefix, edges if shape.family == "edges" else cube_edges(bandwidth))
