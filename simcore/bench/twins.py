"""The workloads in plain SimPy, as one writes them first: a process a message, a Resource a link, float seconds.

The yardstick of the data plane: same machines, same messages, store and forward, an event for everything.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import simpy
from simpy.events import Event

from simcore.bench import cases, machines
from simcore.bench.messages import Messages
from simcore.hardware import Wait
from simcore.topology import Topology
from simcore.units import PS_PER_S

Steps = Generator[Event, Any, None]
Hop = tuple[simpy.Resource, float, float]
"""A link, its bandwidth in bytes per second, its latency in seconds."""


@dataclass
class Twin:
    """An environment that is ready to run ``count`` messages; ``last`` is the latest arrival so far, in seconds, and
    ``reads`` those of its waiters."""

    env: simpy.Environment
    count: int
    last: float = 0.0
    reads: int = 0

    def run(self) -> None:
        """Run until nothing is left to happen."""
        self.env.run()

    def transfer(self, path: list[Hop], size: int) -> Steps:
        """Carry one message over ``path``, hop by hop."""
        for link, bandwidth, latency in path:
            with link.request() as turn:
                yield turn
                yield self.env.timeout(size / bandwidth)
            yield self.env.timeout(latency)
        self.last = self.env.now


class _Paths:
    """The hops of every pair, looked up once."""

    def __init__(self, env: simpy.Environment, topology: Topology) -> None:
        self._topology = topology
        self._servers = [simpy.Resource(env) for _ in topology.servers]
        self._found: dict[tuple[int, int], list[Hop]] = {}

    def __call__(self, src: int, dst: int) -> list[Hop]:
        if (src, dst) not in self._found:
            links = [self._topology.links[index] for index in self._topology.route(src, dst)]
            self._found[src, dst] = [
                (
                    self._servers[link.server],
                    float(self._topology.servers[link.server].bandwidth),
                    link.latency / PS_PER_S,
                )
                for link in links
            ]
        return self._found[src, dst]


def listed(topology: Topology, messages: Messages) -> Twin:
    """Return the twin of a list of messages: every source issues its own, each at its instant."""
    env = simpy.Environment()
    twin, paths = Twin(env, len(messages)), _Paths(env, topology)
    outbox: list[list[tuple[float, list[Hop], int]]] = [[] for _ in range(topology.gpus)]
    columns = (messages.time, messages.src, messages.dst, messages.size)
    for time, src, dst, size in zip(*(column.tolist() for column in columns), strict=True):
        outbox[src].append((time / PS_PER_S, paths(src, dst), size))

    def source(rows: Iterator[tuple[float, list[Hop], int]]) -> Steps:
        for time, path, size in rows:
            if time > env.now:
                yield env.timeout(time - env.now)
            env.process(twin.transfer(path, size))

    for rows in outbox:
        env.process(source(iter(rows)))
    return twin


def ring_all_reduce(topology: Topology, size: int) -> Twin:
    """Return the twin of the ring: a process a rank that sends, then waits for what it sent and receives."""
    env, ranks = simpy.Environment(), topology.gpus
    twin, paths = Twin(env, 2 * (ranks - 1) * ranks), _Paths(env, topology)
    inbox = [simpy.Store(env) for _ in range(ranks)]

    def message(src: int, dst: int) -> Steps:
        yield from twin.transfer(paths(src, dst), size // ranks)
        yield inbox[dst].put(src)

    def rank(own: int) -> Steps:
        for _ in range(2 * (ranks - 1)):
            sent = env.process(message(own, (own + 1) % ranks))
            yield inbox[own].get()
            yield sent

    for own in range(ranks):
        env.process(rank(own))
    return twin


def closed_loop(topology: Topology, count: int) -> Twin:
    """Return the twin of the closed loop: a process a GPU, which starts a process a message and waits for it."""
    env = simpy.Environment()
    paths = _Paths(env, topology)
    dst, size = cases.loop_messages(topology.gpus, count)
    twin = Twin(env, dst.size)

    def rank(src: int) -> Steps:
        for target, length in zip(dst[src].tolist(), size[src].tolist(), strict=True):
            yield env.process(twin.transfer(paths(src, target), length))

    for src in range(topology.gpus):
        env.process(rank(src))
    return twin


def eidolons(gpus: int, count: int, policy: Wait) -> Twin:
    """Return the twin of the eidolons: a process a message, which sets its word when it has arrived, and a process a
    waiter, which polls again and again, or waits for an event of its word and reads three times."""
    topology = machines.star(gpus)
    env = simpy.Environment()
    time, src = cases.eidolon_rounds(gpus, count)
    twin, paths = Twin(env, len(cases.EIDOLON_SIZES) * len(time)), _Paths(env, topology)
    words = [0] * gpus
    written = [env.event() for _ in range(gpus)]
    gpu = machines.GPU
    port = gpu.line_service / PS_PER_S
    out, back, period = (cycles / gpu.clock for cycles in (gpu.poll_request, gpu.poll_response, gpu.poll_period))

    def write(peer: int, value: int) -> Steps:
        data, flag = cases.EIDOLON_SIZES
        env.process(twin.transfer(paths(peer, 0), data))
        # The data take their place in the queue first.
        yield env.timeout(0)
        yield from twin.transfer(paths(peer, 0), flag)
        words[peer] = value
        event, written[peer] = written[peer], env.event()
        event.succeed()

    def eidolon(peer: int, stamps: list[int]) -> Steps:
        for number, stamp in enumerate(stamps):
            if stamp / PS_PER_S > env.now:
                yield env.timeout(stamp / PS_PER_S - env.now)
            env.process(write(peer, number + 1))

    def read(peer: int, value: int) -> Generator[Event, Any, bool]:
        twin.reads += 1
        yield env.timeout(out + port)
        seen = words[peer] >= value
        yield env.timeout(back)
        return seen

    def waiter(peer: int, value: int) -> Steps:
        while not (yield from read(peer, value)):
            if policy == "spin":
                yield env.timeout(period - out - port - back)
            elif (yield from read(peer, value)):
                return
            elif words[peer] < value:
                yield written[peer]

    def target() -> Steps:
        for number in range(len(time) // (gpus - 1)):
            yield env.all_of([env.process(waiter(peer, number + 1)) for peer in range(1, gpus)])

    for peer in range(1, gpus):
        env.process(eidolon(peer, time[src == peer].tolist()))
    env.process(target())
    return twin
