"""From a machine's specification to directed links, the servers behind them, and the route of every pair of GPUs."""

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from simcore.hardware import Duplex, Family, LinkSpec
from simcore.units import Bandwidth, Time

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True)
class Edge:
    """One edge of an edge list: two ends, and whatever differs from the machine's link; ``simplex`` runs from the first
    end only.

    GPUs are called gpu0, gpu1, ...; every other name is a switch. Edges with ``duplex: bus`` and the same ``bus`` share
    one server.
    """

    ends: tuple[str, str]
    bandwidth: Bandwidth | None = None
    latency: Time | None = None
    duplex: Duplex | Literal["simplex"] | None = None
    bus: str = "bus"


@dataclass(frozen=True)
class Server:
    """What serves messages one after another: a direction of a link, both directions of a half-duplex link, or a
    bus."""

    name: str
    bandwidth: int
    overhead: int = 0
    wire: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Link:
    """A directed link: its ends, the index of its server, and the latency of one traversal in ps."""

    tail: str
    head: str
    server: int
    latency: int


class EdgeError(ValueError):
    """An edge list that makes no machine; ``index`` is the place of the offending edge in it, or -1 for the list as a
    whole."""

    def __init__(self, sentence: str, index: int = -1) -> None:
        super().__init__(sentence)
        self.index = index


class Topology:
    """Directed links between GPUs and switches, and routes by rule (switch, full mesh, ring) or by breadth-first search
    (edges).

    Model: a switch is a point where links meet; it has no capacity and no latency beyond those of its links, and one
    path serves a pair.
    """

    def __init__(self, family: Family, gpus: int, link: LinkSpec, edges: Sequence[Edge] = ()) -> None:
        self.family, self.gpus = family, gpus
        self.servers: list[Server] = []
        self.links: list[Link] = []
        self._server_of: dict[str, int] = {}
        self._link_of: dict[tuple[str, str], int] = {}
        for index, edge in enumerate(edges if family == "edges" else family_edges(family, gpus)):
            self._add(index, edge, link)
        self._routes: dict[tuple[int, int], tuple[int, ...]] = {}
        self._out: dict[str, list[int]] = {}
        for position, each in enumerate(self.links):
            self._out.setdefault(each.tail, []).append(position)
        if family == "edges":
            self._require_reachable()

    def _add(self, number: int, edge: Edge, link: LinkSpec) -> None:
        a, b = edge.ends
        bandwidth = link.bandwidth if edge.bandwidth is None else edge.bandwidth
        latency = link.latency if edge.latency is None else edge.latency
        duplex = edge.duplex or link.duplex
        if a == b:
            raise EdgeError(f"the edge {a} - {b} joins {a} to itself", number)
        for end in (a, b):
            if (
                end.startswith("gpu")
                and end[3:].isdigit()
                and (int(end[3:]) >= self.gpus or end != f"gpu{int(end[3:])}")
            ):
                raise EdgeError(f"{end} is none of the machine's GPUs, gpu0 to gpu{self.gpus - 1}", number)
        names = {"half": (f"{a}--{b}",) * 2, "bus": (edge.bus,) * 2}.get(duplex, (f"{a}->{b}", f"{b}->{a}"))
        for (tail, head), name in zip(((a, b), (b, a)), names, strict=True):
            if (tail, head) in self._link_of:
                raise EdgeError(f"the link {tail} -> {head} is listed twice", number)
            index = self._server_of.setdefault(name, len(self.servers))
            if index == len(self.servers):
                self.servers.append(Server(name, bandwidth))
            elif self.servers[index].bandwidth != bandwidth:
                raise EdgeError(
                    f"the edge {a} - {b} gives {name!r} a second bandwidth; a bus has one for all its members", number
                )
            self._link_of[tail, head] = len(self.links)
            self.links.append(Link(tail, head, index, latency))
            if duplex == "simplex":
                return

    def _require_reachable(self) -> None:
        """Refuse a machine in which some GPU cannot send to, or be reached from, some other one."""
        for backwards in (False, True):
            reached = self._reached("gpu0", backwards)
            for i in range(1, self.gpus):
                if f"gpu{i}" not in reached:
                    way = f"gpu{i} to gpu0" if backwards else f"gpu0 to gpu{i}"
                    raise EdgeError(f"gpu{i} is unreachable: no path of edges leads from {way}")

    def _reached(self, start: str, backwards: bool) -> set[str]:
        neighbours: dict[str, list[str]] = {}
        for link in self.links:
            tail, head = (link.head, link.tail) if backwards else (link.tail, link.head)
            neighbours.setdefault(tail, []).append(head)
        reached, ahead = {start}, [start]
        while ahead:
            for name in neighbours.get(ahead.pop(), []):
                if name not in reached:
                    reached.add(name)
                    ahead.append(name)
        return reached

    def route(self, src: int, dst: int) -> tuple[int, ...]:
        """Return the indices of the links from GPU ``src`` to GPU ``dst``; computed on first use, the same for every
        call.

        Ties of a ring go the way of rising numbers; ties of an edge list go to the edge listed first.
        """
        pair = (src, dst)
        if pair not in self._routes:
            self._routes[pair] = tuple(self._searched(*pair) if self.family == "edges" else self._by_rule(*pair))
        return self._routes[pair]

    @property
    def endpoints(self) -> int:
        """Endpoints of routes."""
        return self.gpus

    def routes(self, src: "Any", dst: "Any") -> "tuple[Any, Any]":
        """Return the routes of many pairs, (begin, links)."""
        import numpy as np

        paths = [self.route(a, b) for a, b in zip(src.tolist(), dst.tolist(), strict=True)]
        begin = np.zeros(len(paths) + 1, np.int64)
        np.cumsum([len(path) for path in paths], out=begin[1:])
        return begin, np.array(list(itertools.chain.from_iterable(paths)), np.int64)

    def _by_rule(self, src: int, dst: int) -> list[int]:
        names = [f"gpu{src}", f"gpu{dst}"]
        if self.family == "switch":
            names.insert(1, "switch")
        elif self.family == "ring":
            n = self.gpus
            ahead = (dst - src) % n
            turn, count = (1, ahead) if 2 * ahead <= n else (-1, n - ahead)
            names = [f"gpu{(src + turn * k) % n}" for k in range(count + 1)]
        return [self._link_of[pair] for pair in itertools.pairwise(names)]

    def _searched(self, src: int, dst: int) -> list[int]:
        start, goal = f"gpu{src}", f"gpu{dst}"
        came: dict[str, int] = {start: -1}
        ahead = deque([start])
        while goal not in came:
            for index in self._out.get(ahead.popleft(), []):
                head = self.links[index].head
                if head not in came:
                    came[head] = index
                    ahead.append(head)
        path: list[int] = []
        while goal != start:
            path.append(came[goal])
            goal = self.links[came[goal]].tail
        return path[::-1]

    def graph(self) -> "networkx.DiGraph[Any]":
        """Return the machine as a graph: nodes with ``kind`` gpu or switch, edges with ``server``, ``bandwidth`` (B/s),
        ``latency`` (ps)."""
        import networkx

        graph: networkx.DiGraph[Any] = networkx.DiGraph()
        graph.add_nodes_from((f"gpu{i}" for i in range(self.gpus)), kind="gpu")
        for link in self.links:
            for end in (link.tail, link.head):
                if end not in graph:
                    graph.add_node(end, kind="switch")
            server = self.servers[link.server]
            graph.add_edge(link.tail, link.head, server=server.name, bandwidth=server.bandwidth, latency=link.latency)
        return graph


def family_edges(family: Family, gpus: int) -> list[Edge]:
    """Return the edges of a named family, every property left to the machine's link."""
    names = [f"gpu{i}" for i in range(gpus)]
    if family == "switch":
        return [Edge((name, "switch")) for name in names]
    if family == "full_mesh":
        return [Edge((a, b)) for i, a in enumerate(names) for b in names[i + 1 :]]
    if gpus < 3:
        return [Edge((names[0], names[1]))] if gpus == 2 else []
    return [Edge((a, names[(i + 1) % gpus])) for i, a in enumerate(names)]
