"""`ideal` and the compute streams: everything alone on its path, and one computation of a rank after another."""

import heapq
from collections import defaultdict
from typing import Any

import simpy

from simcore.topology import Topology
from twins import Key, at_last, service


class Ideal:
    """Carries every message as if alone, except that messages of one pair arrive in the order sent."""

    def __init__(self, env: simpy.Environment, topology: Topology) -> None:
        self.env, self.topology = env, topology
        self.latest: dict[tuple[int, int], int] = defaultdict(int)
        self.line: list[tuple[Key, int, int, int, simpy.Event]] = []

    def send(self, key: Key, src: int, dst: int, size: int) -> simpy.Event:
        """Send now; the event happens when the last byte has arrived."""
        arrived = self.env.event()
        heapq.heappush(self.line, (key, src, dst, size, arrived))
        at_last(self.env, self._serve)
        return arrived

    def _serve(self) -> None:
        _, src, dst, size, arrived = heapq.heappop(self.line)
        links = [self.topology.links[index] for index in self.topology.route(src, dst)]
        at = self.env.now + sum(service(self.topology.servers[link.server], size) + link.latency for link in links)
        self.latest[src, dst] = max(at, self.latest[src, dst])
        happen(arrived, self.latest[src, dst] - self.env.now)


class Streams:
    """The compute stream of every rank: one computation after another, in the order (ready, sequence)."""

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.free: dict[int, int] = defaultdict(int)
        self.line: list[tuple[Key, int, simpy.Event]] = []

    def compute(self, key: Key, duration: int) -> simpy.Event:
        """Compute for ``duration`` ps on the stream of the rank that ``key`` begins with; the event happens at the
        end."""
        ended = self.env.event()
        heapq.heappush(self.line, (key, duration, ended))
        at_last(self.env, self._serve)
        return ended

    def _serve(self) -> None:
        key, duration, ended = heapq.heappop(self.line)
        self.free[key[0]] = max(self.env.now, self.free[key[0]]) + duration
        happen(ended, self.free[key[0]] - self.env.now)


def happen(event: simpy.Event, delay: Any) -> None:
    """Let ``event`` happen ``delay`` from now."""
    event._ok, event._value = True, None
    event.env.schedule(event, 1, delay)
