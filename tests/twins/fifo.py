"""`fifo`, one event for every message and hop: whole messages, cut-through, packets, buffers with back-pressure."""

import heapq
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

from simcore.hardware import Queues
from simcore.topology import Link, Topology
from twins import Key, at_last, ratio_up, wire


@dataclass(eq=False)
class Packet:
    """What is sent in one piece, and where it is: at its ``hop``-th link since ``arrived``; its last byte reaches that
    link at ``tail`` (ps)."""

    key: Key
    size: int
    links: Sequence[Link]
    served: simpy.Event
    hop: int = 0
    arrived: int = 0
    tail: int = 0

    def __lt__(self, other: "Packet") -> bool:
        return self.key < other.key


@dataclass
class Busy:
    """A busy period: begin (ps), bytes accepted since, and its end (ps; -1 for a server that never served)."""

    t0: int = 0
    c: int = 0
    free: int = -1


class Fifo:
    """Carries messages; with endless buffers a packet is told its begin and end when it arrives, otherwise when it
    starts."""

    def __init__(self, env: simpy.Environment, topology: Topology, queues: Queues | None = None) -> None:
        self.env, self.topology, self.queues = env, topology, queues or Queues()
        self.cut_through = self.queues.switching == "cut_through"
        self.busy: dict[int, Busy] = defaultdict(Busy)
        self.line: list[Packet] = []
        """Endless buffers: packets that arrived at this very instant, anywhere."""
        self.queued: dict[int, list[tuple[int, Packet]]] = defaultdict(list)
        """Finite buffers: packets in line at a server, by (arrival, key)."""
        self.sending: set[int] = set()
        self.used: dict[int, int] = defaultdict(int)
        """Finite buffers: bytes for which room is taken at a server."""
        self.since: dict[Key, int] = {}
        """Finite buffers: when the link of a packet at the head of its line began to wait for room."""

    def send(self, key: Key, src: int, dst: int, size: int) -> simpy.Event:
        """Send now; the event happens when the last byte of the last packet has arrived."""
        mtu = self.queues.mtu
        parts = [size] if mtu is None or size <= mtu else [min(mtu, size - at) for at in range(0, size, mtu)]
        links = [self.topology.links[index] for index in self.topology.route(src, dst)]
        if self.queues.buffer is not None and len(links) > 1 and parts[0] > self.queues.buffer:
            raise ValueError(f"a packet of {parts[0]} bytes enters no buffer of {self.queues.buffer}")
        packets = [Packet((*key, number), part, links, self.env.event()) for number, part in enumerate(parts)]
        return self.env.all_of([self.env.process(self._life(packet)) for packet in packets])

    def _life(self, packet: Packet) -> Generator[Any, Any, None]:
        for hop, link in enumerate(packet.links):
            packet.hop, packet.arrived, packet.served = hop, self.env.now, self.env.event()
            if self.queues.buffer is None:
                self.line.append(packet)
                at_last(self.env, self._serve)
            else:
                heapq.heappush(self.queued[link.server], (packet.arrived, packet))
                at_last(self.env, self._start)
            begin, end = yield packet.served
            packet.tail = end + link.latency
            early = self.cut_through and hop + 1 < len(packet.links)
            yield self.env.timeout((begin if early else end) + link.latency - self.env.now)

    def _serve(self) -> None:
        """Endless buffers: one packet of this instant, the first in order, joins the work of its server; what follows
        from it without delay comes before the next one."""
        packet = min(self.line)
        self.line.remove(packet)
        busy = self.busy[packet.links[packet.hop].server]
        packet.served.succeed(self._transmit(packet, new=self.env.now >= busy.free))

    def _transmit(self, packet: Packet, *, new: bool) -> tuple[int, int]:
        """Return the instants at which the packet's first byte begins and its last byte ends to leave, by the rule."""
        server = packet.links[packet.hop].server
        spec, busy = self.topology.servers[server], self.busy[server]
        begin = (self.env.now if new else busy.free) + spec.overhead
        if new:
            busy.t0, busy.c = self.env.now, 0
        busy.t0 += spec.overhead
        busy.c += wire(spec, packet.size)
        busy.free = busy.t0 + ratio_up(busy.c * 10**12, spec.bandwidth)
        if self.cut_through and packet.tail > busy.free:
            busy.t0, busy.c, busy.free = packet.tail, 0, packet.tail
        return begin, busy.free

    def _start(self) -> None:
        """Finite buffers: every free link whose first packet has room ahead starts it; room goes to whoever began to
        wait first."""
        assert self.queues.buffer is not None
        heads: dict[int | None, list[tuple[int, Packet]]] = defaultdict(list)
        for server, queue in self.queued.items():
            if queue and server not in self.sending:
                _, packet = queue[0]
                ahead = packet.links[packet.hop + 1].server if packet.hop + 1 < len(packet.links) else None
                heads[ahead].append((self.since.setdefault(packet.key, self.env.now), packet))
        for ahead, waiting in heads.items():
            for _, packet in sorted(waiting):
                if ahead is not None:
                    if self.used[ahead] + packet.size > self.queues.buffer:
                        break
                    self.used[ahead] += packet.size
                server = packet.links[packet.hop].server
                heapq.heappop(self.queued[server])
                del self.since[packet.key]
                continues = self.busy[server].free == self.env.now and packet.arrived < self.env.now
                begin, end = self._transmit(packet, new=not continues)
                self.sending.add(server)
                self._at_end(packet, server, packet.hop > 0, end)
                packet.served.succeed((begin, end))

    def _at_end(self, packet: Packet, server: int, took_room: bool, end: int) -> None:
        """At ``end``, before anything arrives: the link is free, and so is the room that the packet took."""

        def free(_: simpy.Event) -> None:
            self.sending.remove(server)
            self.used[server] -= packet.size if took_room else 0
            at_last(self.env, self._start)

        ended = self.env.event()
        ended._ok, ended._value = True, None
        ended.callbacks = [free]
        self.env.schedule(ended, 0, end - self.env.now)
