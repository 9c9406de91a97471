"""`fair` in exact fractions: water-filling after every arrival and every end, and the certificate of its optimality."""

from collections import Counter
from collections.abc import Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any, TypeVar

import simpy

from simcore.topology import Server, Topology
from twins import Key, at_last, wire

TOLERANCE = Fraction(1, 2**10)
"""ps: an end this little after a whole instant counts as at that instant."""

Name = TypeVar("Name", bound=Hashable)


def shares(paths: Mapping[Name, Counter[int]], capacity: Sequence[Fraction]) -> dict[Name, Fraction]:
    """Return the max-min fair rate of every path, in the unit of ``capacity``: raise all rates together; a link that
    is full stops those that cross it. A path counts a link as often as it crosses it."""
    rates: dict[Name, Fraction] = {}
    while len(rates) < len(paths):
        left = list(capacity)
        open_: Counter[int] = Counter()
        for name, path in paths.items():
            for link, times in path.items():
                if name in rates:
                    left[link] -= rates[name] * times
                else:
                    open_[link] += times
        level = min(left[link] / times for link, times in open_.items())
        full = {link for link, times in open_.items() if left[link] / times == level}
        rates |= {name: level for name, path in paths.items() if name not in rates and full & path.keys()}
    return rates


def complaint(
    paths: Mapping[Name, Counter[int]],
    capacity: Sequence[Fraction],
    rates: Mapping[Name, Fraction],
    within: Fraction = Fraction(0),
) -> str:
    """Return why ``rates`` are not max-min fair, or nothing: no link above its capacity, and every path has a full
    link on which no path is faster; comparisons hold ``within`` a relative margin."""
    load, fastest = [Fraction(0)] * len(capacity), [Fraction(0)] * len(capacity)
    for name, path in paths.items():
        for link, times in path.items():
            load[link] += rates[name] * times
            fastest[link] = max(fastest[link], rates[name])
    for link, (used, most) in enumerate(zip(load, capacity, strict=True)):
        if used > most * (1 + within):
            return f"link {link} carries {float(used)} of {float(most)}"
    for name, path in paths.items():
        if not any(
            load[link] >= capacity[link] * (1 - within) and rates[name] >= fastest[link] * (1 - within) for link in path
        ):
            return f"{name} could be faster than {float(rates[name])}: no link holds it back"
    return ""


def sending(server: Server, size: int) -> int:
    """Return how long a server takes for what it is charged for a message, ps, rounded up."""
    return -(-wire(server, size) * 10**12 // server.bandwidth)


@dataclass(eq=False)
class Flow:
    """A message that shares links: bytes left, its links, its rate (bytes per ps)."""

    left: Fraction
    path: Counter[int]
    ended: simpy.Event
    rate: Fraction = Fraction(0)


class Fair:
    """Carries messages; the clock of ``env`` runs on fractions, so that every end of a flow is exact."""

    def __init__(self, env: simpy.Environment, topology: Topology) -> None:
        self.env, self.topology = env, topology
        self.capacity = [Fraction(server.bandwidth, 10**12) for server in topology.servers]
        self.flows: dict[Key, Flow] = {}
        self.seen = Fraction(0)
        """The instant up to which the bytes left are counted."""
        self.turn = 0

    def send(self, key: Key, src: int, dst: int, size: int) -> simpy.Event:
        """Send now; the event happens at the whole instant at which the last byte has arrived."""
        return self.env.process(self._life(key, src, dst, size))

    def _life(self, key: Key, src: int, dst: int, size: int) -> Generator[Any, Any, None]:
        links = [self.topology.links[index] for index in self.topology.route(src, dst)]
        servers = [self.topology.servers[link.server] for link in links]
        yield self.env.timeout(sum(link.latency for link in links) + sum(server.overhead for server in servers))
        if size:
            flow = Flow(
                Fraction(wire(max(servers, key=lambda server: sending(server, size)), size)),
                Counter(link.server for link in links),
                self.env.event(),
            )
            self.flows[key] = flow
            at_last(self.env, self._settle)
            yield flow.ended
        instant = ceil(self.env.now - TOLERANCE) if self.env.now % 1 else self.env.now
        yield self.env.timeout((instant if instant >= self.env.now else ceil(self.env.now)) - self.env.now)

    def _settle(self) -> None:
        """Bring the bytes left up to date, let go who has none, share anew, and wake up at the next end."""
        now = Fraction(self.env.now)
        for key, flow in list(self.flows.items()):
            flow.left -= flow.rate * (now - self.seen)
            if flow.rate and flow.left <= (flow.rate * TOLERANCE if now.denominator == 1 else 0):
                flow.ended.succeed()
                del self.flows[key]
        self.seen = now
        rates = shares({key: flow.path for key, flow in self.flows.items()}, self.capacity)
        for key, flow in self.flows.items():
            flow.rate = rates[key]
        self.turn += 1
        ends = [now + flow.left / flow.rate for flow in self.flows.values()]
        whole = [Fraction(ceil(end - TOLERANCE)) for end in ends]
        if ends:
            first = min(instant if now < instant < end else end for instant, end in zip(whole, ends, strict=True))
            wake = self.env.timeout(first - now)
            wake.callbacks.append(lambda _, turn=self.turn: self._settle() if turn == self.turn else None)
