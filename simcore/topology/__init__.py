"""From a machine's specification to directed links, the servers behind them, and the route of every pair of GPUs."""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from simcore.hardware import Degraded, Edge, Family, Host, LinkSpec, Network, NodeSpec
from simcore.shapes import Direct, Dragonfly, FatTree, RailOptimised, Switch, Torus
from simcore.topology import bulk, families
from simcore.topology.ecmp import pair_hash
from simcore.topology.wiring import Link, Server, TopologyError, Wiring

if TYPE_CHECKING:
    import networkx
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MOST_LINKS", "Edge", "Link", "Routes", "Server", "Topology", "TopologyError"]

MOST_LINKS = 2**22
"""Directed links of a machine; more is a slip of the pen, or needs gigabytes before anything is simulated."""

InNode = Switch | Direct | Torus | FatTree | Dragonfly


FEW_PAIRS = 64
"""Pairs up to which routes are found one by one: the arrays of all of a machine's links cost more."""


class Routes(NamedTuple):
    """Routes of k pairs as one table: pair i takes the links ``links[begin[i]:begin[i + 1]]`` in that order."""

    begin: "NDArray[np.int64]"
    links: "NDArray[np.int64]"


class Topology:
    """Directed links between GPUs and switches, and the route of every pair, by rule or by search.

    ``gpus`` counts all GPUs; ``nodes`` equal parts of them each have the ``shape`` inside, and ``network`` joins the
    nodes. Endpoints 0 to ``gpus - 1`` are the GPUs, ``gpus + k`` is the reducing switch ``reducers[k]``; with a
    ``host`` there follows for each GPU the memory of its node's host.

    Model: a switch is a point where links meet; it has no capacity and no latency beyond those of its links. A flow
    stays on one of its equal paths. Each GPU has a NIC of its own, whose link begins at the GPU: the PCIe hop between
    the two is part of that link. What a host sends to other nodes goes by the link between host and GPU to that NIC.
    """

    def __init__(
        self,
        shape: InNode | Family,
        gpus: int,
        link: LinkSpec,
        edges: Sequence[Edge] = (),
        *,
        nodes: int = 1,
        network: Network | None = None,
        host: Host | None = None,
        routes: Sequence[Sequence[str]] = (),
        failed: Sequence[Sequence[str]] = (),
        degraded: Sequence[Degraded] = (),
    ) -> None:
        if isinstance(shape, str):
            shape = Switch() if shape == "switch" else Direct(shape)
        self.shape, self.gpus, self.nodes, self.network = shape, gpus, nodes, network
        self._per_node, self._link, self._host = gpus // nodes, link, host
        _refuse_too_many(shape, gpus, nodes, link, network, len(edges))
        self._wiring = Wiring()
        self._before_hosts = MOST_LINKS
        self.servers, self.links = self._wiring.servers, self._wiring.links
        self._inside = [self._node(node, edges) for node in range(nodes)]
        self._add_nodes()
        self._outside = self._joined()
        self._before_hosts = len(self.links)
        self._add_hosts()
        self._routes: dict[tuple[int, int], tuple[int, ...]] = {}
        self._changed = bool(routes or failed)
        self._damage(failed, degraded)
        for index, path in enumerate(routes):
            self._add_route(path, ("routes", index))
        reduces = isinstance(shape, Switch) and shape.in_switch_reduction
        self.reducers = [f"{each.prefix}switch" for each in self._inside] if reduces else []
        """Names of the switches that can reduce, one a node."""

    @classmethod
    def of(cls, spec: NodeSpec) -> Self:
        """Return the links and routes of the machine in a sheet or scenario; raises ``TopologyError`` where it is
        none."""
        return cls(
            spec.topology, spec.gpu_count, spec.link, spec.edges, nodes=spec.nodes, network=spec.network,
            host=spec.host, routes=spec.routes, failed=spec.failed, degraded=spec.degraded,
        )  # fmt: skip

    # ---- links

    def _node(self, node: int, edges: Sequence[Edge]) -> families.Layout:
        first = node * self._per_node
        ends = [f"gpu{i}" for i in range(first, first + self._per_node)]
        prefix = "" if self.network is None else f"node{node}."
        return families.layout(self.shape, ends, prefix, self._link.bandwidth, edges)

    def _add_nodes(self) -> None:
        for layout in self._inside:
            for index, edge in enumerate(self._listed(layout)):
                self._wiring.add(edge, self._link, ("edges", index) if self.shape.family == "edges" else ("topology",))
        self._inside_links = len(self.links)
        self._out: dict[str, list[int]] = {}
        self._index_links(0)
        if self.shape.family == "edges":
            self._require_reachable(self._per_node, ("edges",))

    def _listed(self, layout: families.Layout) -> Iterator[Edge]:
        """Yield the edges of a node; of a list, after a look at the names of its GPUs."""
        for index, edge in enumerate(layout.listed if isinstance(layout, families.Searched) else ()):
            a, b = edge.ends
            if a == b:
                raise TopologyError(f"the edge {a} - {b} joins {a} to itself", ("edges", index))
            for end in edge.ends:
                number = end[3:] if end.startswith("gpu") and end[3:].isdigit() else None
                if number is not None and (int(number) >= self._per_node or number != str(int(number))):
                    known = f"gpu0 to gpu{self._per_node - 1}"
                    raise TopologyError(f"{end} is none of the machine's GPUs, {known}", ("edges", index))
        yield from layout.edges()

    def _joined(self) -> families.Layout | None:
        """Add the network's links to those of the nodes, and return its layout."""
        if self.network is None:
            return None
        ends, shape = [f"gpu{i}" for i in range(self.gpus)], self.network.topology
        bandwidth = self.network.link.bandwidth
        layout: families.Layout
        if isinstance(shape, RailOptimised):
            layout = families.Rails(ends, shape, bandwidth, self.nodes, self._names_inside)
        else:
            layout = families.layout(shape, ends, "", bandwidth, ())
        for edge in layout.edges():
            self._wiring.add(edge, self.network.link, ("network",))
        self._index_links(self._inside_links)
        return layout

    def _add_hosts(self) -> None:
        """Add the links of the hosts, which no search finds: they lead from and to a host alone."""
        if self._host is None:
            return
        link = self._host.link
        memory = replace(link, bandwidth=self._host.memory_bandwidth, latency=0, overhead=0, efficiency=[])
        for layout in self._inside:
            for end in layout.ends:
                self._wiring.add(Edge((end, f"{layout.prefix}host")), link, ("host",))
            ends = (f"{layout.prefix}host", f"{layout.prefix}memory")
            self._wiring.add(Edge(ends, duplex="half"), memory, ("host",))

    def _index_links(self, first: int) -> None:
        for position in range(first, len(self.links)):
            self._out.setdefault(self.links[position].tail, []).append(position)

    def _damage(self, failed: Sequence[Sequence[str]], degraded: Sequence[Degraded]) -> None:
        for index, ends in enumerate(failed):
            self._wiring.fail(list(ends), ("failed", index))
        for index, worse in enumerate(degraded):
            self._wiring.degrade(worse, ("degraded", index))
        if max(self._wiring.dead, default=-1) >= self._before_hosts:
            raise TopologyError("a host and its links do not fail; they may be degraded", ("failed",))
        if failed:
            self._require_reachable(self.gpus, ("failed",))

    def _require_reachable(self, gpus: int, keys: tuple[str, ...]) -> None:
        """Refuse a machine in which some of the first ``gpus`` GPUs cannot send to, or be reached from, some other
        one."""
        for backwards in (False, True):
            reached = self._reached("gpu0", backwards)
            for i in range(1, gpus):
                if f"gpu{i}" not in reached:
                    way = f"gpu{i} to gpu0" if backwards else f"gpu0 to gpu{i}"
                    what = "edges" if keys == ("edges",) else "working links"
                    raise TopologyError(f"gpu{i} is unreachable: no path of {what} leads from {way}", keys)

    def _reached(self, start: str, backwards: bool) -> set[str]:
        neighbours: dict[str, list[str]] = {}
        for index, link in enumerate(self.links[: self._before_hosts]):
            if index not in self._wiring.dead:
                tail, head = (link.head, link.tail) if backwards else (link.tail, link.head)
                neighbours.setdefault(tail, []).append(head)
        reached, ahead = {start}, [start]
        while ahead:
            for name in neighbours.get(ahead.pop(), []):
                if name not in reached:
                    reached.add(name)
                    ahead.append(name)
        return reached

    # ---- routes

    def route(self, src: int, dst: int) -> tuple[int, ...]:
        """Return the indices of the links from endpoint ``src`` to endpoint ``dst``; computed on first use, the same
        for every call.

        Ties of a ring or torus go the way of rising numbers; ties of an edge list go to the edge listed first; of
        equal paths of a network the hash of the pair picks one. A reducing switch has routes to and from the GPUs of
        its node. The memory beside a GPU has routes to and from all GPUs, and to and from the memory of other nodes;
        to other nodes they take the NIC of the GPU beside it.
        """
        pair = (src, dst)
        if pair not in self._routes:
            self._routes[pair] = self._found(src, dst)
        return self._routes[pair]

    @property
    def endpoints(self) -> int:
        """GPUs, reducing switches and memory of hosts together: what routes lead from and to."""
        return self.gpus + len(self.reducers) + (self.gpus if self._host else 0)

    def routes(self, src: "NDArray[np.int64]", dst: "NDArray[np.int64]") -> Routes:
        """Return the routes of k pairs of endpoints, ``src`` and ``dst`` int64[k]; the same as ``route``, in bulk.

        Many pairs of switches and fat trees are computed in arrays; few pairs, reducing switches, other families, and
        machines with failed links or own routes, pair by pair, each distinct pair once.
        """
        reduces = len(src) > 0 and max(src.max(), dst.max()) >= self.gpus
        hops = None
        if not self._changed and not reduces and len(src) > FEW_PAIRS:
            hops = bulk.hops(self._inside, self._outside, self._wiring.link_of, src, dst)
        if hops is not None:
            return Routes(*bulk.packed(hops))
        known = self._routes
        return Routes(*bulk.gathered(lambda a, b: known.get((a, b)) or self._found(a, b), self.endpoints, src, dst))

    def reducer_of(self, gpu: int) -> int | None:
        """Return k such that ``reducers[k]`` reduces for ``gpu``; endpoint ``gpus + k``. None: no switch reduces."""
        return gpu // self._per_node if self.reducers else None

    def host_of(self, gpu: int) -> int | None:
        """Return the endpoint that is the host's memory beside ``gpu``; None where nodes have no host."""
        return self.gpus + len(self.reducers) + gpu if self._host else None

    def _found(self, src: int, dst: int) -> tuple[int, ...]:
        if max(src, dst) >= self.gpus + len(self.reducers):
            return self._to_host(src, dst)
        if max(src, dst) >= self.gpus:
            return self._to_reducer(src, dst)
        a, b = src // self._per_node, dst // self._per_node
        first = a * self._per_node if a == b else 0
        layout = self._inside[a] if a == b else self._outside
        assert layout is not None
        i, j = src - first, dst - first
        paths = layout.equal_paths(i, j)
        choice = pair_hash(src, dst, self._seed(layout)) % paths if paths > 1 else 0
        if not self._wiring.dead:
            names = layout.path(i, j, choice)
            return self._searched(src, dst, inside=True) if names is None else self._linked(names)
        alive = [path for k in range(paths) if (path := self._alive(layout.path(i, j, k)))]
        if alive:
            return alive[pair_hash(src, dst, self._seed(layout)) % len(alive)]
        return self._searched(src, dst, inside=a == b) or self._searched(src, dst, inside=False)

    def _seed(self, layout: families.Layout) -> int:
        shape = self.shape if layout is not self._outside or self.network is None else self.network.topology
        return shape.ecmp_seed if isinstance(shape, FatTree | RailOptimised) else 0

    def _linked(self, names: Sequence[str]) -> tuple[int, ...]:
        return tuple(self._wiring.link_of[pair] for pair in itertools.pairwise(names))

    def _alive(self, names: Sequence[str] | None) -> tuple[int, ...]:
        """Return the links of a path if all of them work, else nothing."""
        path = self._linked(names or ())
        return () if self._wiring.dead.intersection(path) else path

    def _names_inside(self, src: int, dst: int) -> list[str]:
        """Return the nodes that a message within one node passes, its ends included."""
        layout, first = self._inside[src // self._per_node], src - src % self._per_node
        names = layout.path(src - first, dst - first, 0)
        if names is None:
            path = self._searched(src, dst, inside=True)
            names = [f"gpu{src}", *(self.links[index].head for index in path)]
        return names

    def _to_reducer(self, src: int, dst: int) -> tuple[int, ...]:
        gpu, reducer = min(src, dst), max(src, dst) - self.gpus
        if reducer >= len(self.reducers) or gpu // self._per_node != reducer:
            raise ValueError(f"no route leads from endpoint {src} to {dst}; a switch reduces for the GPUs of its node")
        names = (f"gpu{gpu}", self.reducers[reducer])
        return self._linked(names if src < dst else names[::-1])

    def _to_host(self, src: int, dst: int) -> tuple[int, ...]:
        """Return the way from or to the memory of a host, or from one host's to another's."""
        first = self.gpus + len(self.reducers)
        a, b = (end - first if end >= first else end for end in (src, dst))
        if self._host is None or max(a, b) >= self.gpus:
            raise ValueError(f"no route leads from endpoint {src} to {dst}; a host has some to GPUs and other hosts")
        node, other = a // self._per_node, b // self._per_node
        up, down = self._inside[node].prefix, self._inside[other].prefix
        before, after = (f"{up}memory", f"{up}host"), (f"{down}host", f"{down}memory")
        if node != other:
            out = self._linked((*before, f"gpu{a}")) if src >= first else ()
            return (*out, *self.route(a, b), *(self._linked((f"gpu{b}", *after)) if dst >= first else ()))
        if src >= first and dst >= first:
            raise ValueError(f"no route leads from endpoint {src} to {dst}, memory of one host")
        return self._linked((*before, f"gpu{b}") if src >= first else (f"gpu{a}", *after))

    def _searched(self, src: int, dst: int, *, inside: bool) -> tuple[int, ...]:
        """Return the shortest path of working links, inside the node alone or anywhere; nothing where there is
        none."""
        start, goal = f"gpu{src}", f"gpu{dst}"
        came: dict[str, int] = {start: -1}
        ahead = deque([start])
        while goal not in came:
            if not ahead:
                return ()
            for index in self._out.get(ahead.popleft(), []):
                head = self.links[index].head
                usable = index not in self._wiring.dead and (not inside or index < self._inside_links)
                if usable and head not in came:
                    came[head] = index
                    ahead.append(head)
        path: list[int] = []
        while goal != start:
            path.append(came[goal])
            goal = self.links[came[goal]].tail
        return tuple(path[::-1])

    def _add_route(self, path: Sequence[str], keys: tuple[str | int, ...]) -> None:
        """Put a route of the user's in place of the one that a rule or search would find."""
        ends = [int(name[3:]) for name in (*path[:1], *path[1:][-1:]) if _is_gpu(name, self.gpus)]
        if len(ends) != 2 or len(set(path)) != len(path):
            raise TopologyError("a route leads from a GPU to another one and passes nothing twice", keys)
        for pair in itertools.pairwise(path):
            if pair not in self._wiring.link_of:
                for name in pair:
                    self._wiring.require(name, keys)
                raise TopologyError(f"no link leads from {pair[0]} to {pair[1]}", keys)
        links = self._linked(path)
        if self._wiring.dead.intersection(links):
            raise TopologyError("the route takes a link that has failed", keys)
        if (ends[0], ends[1]) in self._routes:
            raise TopologyError(f"{path[0]} to {path[-1]} has two routes", keys)
        self._routes[ends[0], ends[1]] = links

    # ---- the machine as a graph

    def graph(self) -> "networkx.DiGraph[Any]":
        """Return the machine as a graph.

        Nodes have ``kind`` gpu or switch, ``role`` (gpu, switch, leaf, spine, core, rail, router), ``node`` (the number
        of their node, where they are in one) and what their family adds; edges have ``server``, ``bandwidth`` (B/s),
        ``latency`` (ps), ``failed`` and ``inside`` a node. The graph itself has ``family``, ``network``, ``nodes`` and
        ``latency_is``, what its latencies cover. Hosts are left out.
        """
        import networkx

        links = [self._link, *([self.network.link] if self.network else [])]
        graph: networkx.DiGraph[Any] = networkx.DiGraph(
            family=str(self.shape), network=str(self.network.topology) if self.network else "", nodes=self.nodes,
            latency_is=list(dict.fromkeys(link.latency_is for link in links)),
        )  # fmt: skip
        graph.add_nodes_from((f"gpu{i}", {"node": i // self._per_node}) for i in range(self.gpus))
        graph.add_nodes_from((f"gpu{i}", {"kind": "gpu", "role": "gpu"}) for i in range(self.gpus))
        for index, link in enumerate(self.links[: self._before_hosts]):
            inside = index < self._inside_links
            for end in (link.tail, link.head):
                if end not in graph:
                    graph.add_node(end, kind="switch", role="switch")
                    if inside:
                        graph.nodes[end]["node"] = index * self.nodes // self._inside_links
            server = self.servers[link.server]
            graph.add_edge(
                link.tail, link.head, server=server.name, bandwidth=server.bandwidth, latency=link.latency,
                failed=index in self._wiring.dead, inside=inside,
            )  # fmt: skip
        for layout in (*self._inside, *([self._outside] if self._outside else [])):
            for name, about in layout.about().items():
                graph.nodes[name].update(about)
        return graph


def _is_gpu(name: str, gpus: int) -> bool:
    number = name.removeprefix("gpu")
    return number.isdigit() and name == f"gpu{int(number)}" and int(number) < gpus


def _refuse_too_many(shape: InNode, gpus: int, nodes: int, link: LinkSpec, network: Network | None, edges: int) -> None:
    """Refuse parameters that do not fit together, and machines with more than ``MOST_LINKS`` links, before any is
    made."""
    key: tuple[str, ...] = ("topology",)
    what = f"{gpus // nodes} GPUs in a {shape}"
    try:
        count = nodes * max(2 * edges, _count(shape, gpus // nodes, link.bandwidth, 1))
        if network is not None:
            key = ("network", "topology")
            count += _count(network.topology, gpus, network.link.bandwidth, nodes)
            what += f" in each of {nodes} nodes, joined by a {network.topology},"
    except ValueError as error:
        raise TopologyError(str(error), key) from None
    if count > MOST_LINKS:
        raise TopologyError(f"{what} make {count} links; {MOST_LINKS} is the limit")


def _count(shape: InNode | RailOptimised, ends: int, bandwidth: int, nodes: int) -> int:
    if isinstance(shape, RailOptimised):
        return shape.links(ends, shape.uplinks(bandwidth, nodes)[0], nodes)
    return shape.links(ends, shape.uplinks(bandwidth)[0]) if isinstance(shape, FatTree) else shape.links(ends)
