"""Edges become directed links, each behind a server; what is named wrongly is refused with its place."""

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from simcore.hardware import Degraded, Edge, LinkSpec

Keys = tuple[str | int, ...]

_COSTS = ("bandwidth", "latency", "overhead")


@dataclass(frozen=True)
class Server:
    """What serves messages one after another: a direction of a link, both directions of a half-duplex link, or a bus.

    ``overhead`` is the time in ps that each message costs on top; ``wire`` holds breakpoints (size of a message, bytes
    that the link is charged with).
    """

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


class TopologyError(ValueError):
    """A description that makes no machine; ``keys`` lead from the machine to the offending value."""

    def __init__(self, sentence: str, keys: Keys = ()) -> None:
        super().__init__(sentence)
        self.keys = keys


class Wiring:
    """The links and servers of a machine, as edges are added and then fail or degrade."""

    def __init__(self) -> None:
        self.servers: list[Server] = []
        self.links: list[Link] = []
        self.link_of: dict[tuple[str, str], int] = {}
        self.dead: set[int] = set()
        self._server_of: dict[str, int] = {}

    def add(self, edge: Edge, link: LinkSpec, keys: Keys = ()) -> None:
        """Add the one or two directed links of ``edge``; what it leaves open is as in ``link``."""
        duplex = edge.duplex or link.duplex
        a, b = edge.ends
        if edge.reverse is not None and duplex != "full":
            raise TopologyError(f"the edge {a} - {b} is {duplex}; only a full one has a 'reverse' of its own", keys)
        names = {"half": (f"{a}--{b}",) * 2, "bus": (edge.bus,) * 2}.get(duplex, (f"{a}->{b}", f"{b}->{a}"))
        there = tuple(_first(getattr(edge, name), getattr(link, name)) for name in _COSTS)
        back = tuple(_first(getattr(edge.reverse, name, None), cost) for name, cost in zip(_COSTS, there, strict=True))
        ways = ((a, b, names[0], there), (b, a, names[1], back))
        for tail, head, name, (bandwidth, latency, overhead) in ways[: 1 if duplex == "simplex" else 2]:
            if (tail, head) in self.link_of:
                raise TopologyError(f"the link {tail} -> {head} is listed twice", keys)
            server = Server(name, bandwidth, overhead, link.wire)
            index = self._server_of.setdefault(name, len(self.servers))
            if index == len(self.servers):
                self.servers.append(server)
            elif self.servers[index] != server:
                raise TopologyError(
                    f"the edge {a} - {b} gives {name!r} a second bandwidth or overhead; a bus has one for all its "
                    "members",
                    keys,
                )
            self.link_of[tail, head] = len(self.links)
            self.links.append(Link(tail, head, index, latency))

    def between(self, ends: Iterable[str], keys: Keys) -> list[int]:
        """Return the links that join two ends, one or both directions; raises ``TopologyError`` where there are
        none."""
        a, b = ends
        found = [self.link_of[pair] for pair in ((a, b), (b, a)) if pair in self.link_of]
        if not found:
            for name in (a, b):
                self.require(name, keys)
            raise TopologyError(f"no link joins {a} and {b}", keys)
        return found

    def require(self, name: str, keys: Keys) -> None:
        """Refuse a ``name`` that no link has as an end, with the nearest that there is."""
        names = {end for link in self.links for end in (link.tail, link.head)}
        if name not in names:
            near = difflib.get_close_matches(name, sorted(names), n=1)
            raise TopologyError(f"no link ends at {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""), keys)

    def fail(self, ends: list[str], keys: Keys) -> None:
        """Take the link between two ends down, or a whole switch where one name is given."""
        if len(ends) == 1:
            self.require(ends[0], keys)
            self.dead |= {i for i, link in enumerate(self.links) if ends[0] in (link.tail, link.head)}
        elif len(ends) == 2:
            self.dead.update(self.between(ends, keys))
        else:
            raise TopologyError(f"a failed link has two ends and a failed switch one name, not {len(ends)}", keys)

    def degrade(self, worse: Degraded, keys: Keys) -> None:
        """Lower the bandwidth, or change the latency, of a link in every direction that it has; of a bus for all its
        members."""
        found = self.between(worse.ends, keys)
        for server in {self.links[i].server for i in found}:
            bandwidth = worse.bandwidth or self.servers[server].bandwidth
            if worse.percent is not None:
                bandwidth = max(1, int(bandwidth * Fraction(str(worse.percent)) / 100))
            self.servers[server] = dataclasses.replace(self.servers[server], bandwidth=bandwidth)
        if worse.latency is not None:
            for i in found:
                self.links[i] = dataclasses.replace(self.links[i], latency=worse.latency)


def _first(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
