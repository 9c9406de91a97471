"""Servers and paths: which links a message crosses, found when a pair is first used, and the tables they stand in."""

from collections.abc import Sequence
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simcore.errors import SimulationError
from simcore.fabric import _kernels as kernels
from simcore.fabric._policies import Policy
from simcore.fabric._store import Table, grown, zeros
from simcore.topology import Topology
from simcore.units import PS_PER_S


class Routes:
    """The paths between endpoints, GPUs first, then switches that reduce, then hosts; each a stretch of hops.

    ``endpoints`` are those of the ranks. ``of`` and ``hop`` say, for a pair of endpoints, its route (from 1, 0 not
    known yet) and that route's first hop; ``leads`` how long a message waits before it flows. The first hops of all are
    those of compute streams, one an endpoint, and a last one that takes no time.
    """

    def __init__(
        self, topology: Topology, policy: Policy, endpoints: Table, gpus: Sequence[int], port: int, waits_first: bool
    ) -> None:
        self._topology, self._policy, self._state = topology, policy, policy.state
        self._gpus, self._port, self._waits_first = gpus, port, waits_first
        self.endpoints = endpoints
        self.of: NDArray[np.int32] = zeros((topology.endpoints,) * 2, np.int32)
        self.hop, self.leads = np.zeros(1024, np.int64), np.zeros(1024, np.int64)
        self.count = 0
        links = [(link.server, index, link.latency) for index, link in enumerate(topology.links)]
        if port >= 0:
            links += [(port + gpu, len(topology.links) + gpu, 0) for gpu in range(topology.gpus)]
        self._link_rows = np.array(links, np.int64).reshape(-1, 3)
        self._port_hops: dict[int, int] = {}
        self._hops = streams = len(endpoints) + 1
        hops = self._state.reserve(kernels.T_HOPS, streams)[:streams]
        hops[:, kernels.HOP_SERVER] = len(self._state[kernels.T_SERVERS]) - streams + np.arange(streams)
        hops[:, kernels.HOP_LINK], hops[:, kernels.HOP_LEFT] = -1, 1

    def know(self, src: Table, dst: Table) -> None:
        """Find every route between pairs of ranks that is not known yet."""
        if kernels.first_unknown(src, dst, self.endpoints, self.of) >= 0:
            self.first_hops(*np.broadcast_arrays(src, dst))

    def first_hops(self, src: Table, dst: Table) -> Table:
        """Return the first hops of the routes of many pairs of ranks."""
        tail, head = self.endpoints[src], self.endpoints[dst]
        number = self.of[tail, head]
        if not number.all():
            self._learn(tail[number == 0], head[number == 0])
            number = self.of[tail, head]
        return self.hop[number - 1]

    def _learn(self, tail: Table, head: Table) -> None:
        if np.any(tail == head):
            gpu = int(tail[tail == head][0])
            ranks = [rank for rank, each in enumerate(self._gpus) if each == gpu]
            raise SimulationError(
                f"rank {ranks[0]} sends to rank {ranks[-1]} on its own GPU, gpu{gpu}; there is no link to itself"
            )
        pairs = np.unique(tail * len(self.of) + head)
        tail, head = np.divmod(pairs, len(self.of))
        begin, links = self._topology.routes(tail, head)
        if self._port >= 0:
            begin, links = self._through_ports(begin, links, head)
        first, count = self._hops, self.count
        self._hops += len(links)
        self.count += len(pairs)
        hops = self._state.reserve(kernels.T_HOPS, self._hops)[first : self._hops]
        lengths = np.diff(begin)
        place = np.arange(len(links)) - np.repeat(begin[:-1], lengths)
        hops[:, : kernels.HOP_LATENCY + 1] = self._link_rows[links]
        hops[:, kernels.HOP_PLACE], hops[:, kernels.HOP_LEFT] = place, np.repeat(lengths, lengths) - place
        hops[:, kernels.ROUTE] = np.repeat(np.arange(count, self.count), lengths)
        self._state.reserve(kernels.T_SCRATCH, int(lengths.max()))
        self.hop = grown(self.hop, self.count)
        self.hop[count : self.count] = first + begin[:-1]
        self.leads = grown(self.leads, self.count)
        if self._waits_first:
            overhead = self._state[kernels.T_SERVERS][hops[:, kernels.HOP_SERVER], kernels.OVERHEAD]
            lead = hops[:, kernels.HOP_LATENCY] + overhead
            self.leads[count : self.count] = np.add.reduceat(lead, begin[:-1])
        self.of[tail, head] = np.arange(count + 1, self.count + 1)
        self._policy.make_room_for_routes(self.count)

    def _through_ports(self, begin: Table, links: Table, head: Table) -> tuple[Table, Table]:
        """Return the routes with the memory port of the GPU that each leads to as its last link."""
        to_gpu = head < self._topology.gpus
        links = np.insert(links, begin[1:][to_gpu], len(self._topology.links) + head[to_gpu])
        return begin + np.concatenate(([0], np.cumsum(to_gpu))), links

    def to_port(self, gpu: int) -> int:
        """Return the route from a GPU to its own memory port."""
        if gpu not in self._port_hops:
            hop = self._port_hops[gpu] = self._hops
            self._hops += 1
            row = self._state.reserve(kernels.T_HOPS, self._hops)[hop]
            row[: kernels.HOP_LATENCY + 1] = self._link_rows[len(self._topology.links) + gpu]
            row[kernels.HOP_LEFT] = 1
        return self._port_hops[gpu]


def servers_of(topology: Topology, ports: list[int], streams: int) -> tuple[Table, Table]:
    """Return the rows of all servers, then of the memory ports, by bandwidth, and of the compute streams; and the
    points of efficiency."""
    links = len(topology.servers)
    rows = np.zeros((links + len(ports) + streams, kernels.SERVER_COLUMNS), np.int64)
    rows[:, kernels.NUM] = rows[:, kernels.DEN] = 1
    for row, bandwidth in zip(rows[links:], ports, strict=False):
        common = gcd(PS_PER_S, bandwidth)
        row[kernels.NUM], row[kernels.DEN] = PS_PER_S // common, bandwidth // common
    curves: list[tuple[int, int]] = []
    known: dict[Any, int] = {}
    for row, server in zip(rows, topology.servers, strict=False):
        common = gcd(PS_PER_S, server.bandwidth)
        row[kernels.NUM], row[kernels.DEN] = PS_PER_S // common, server.bandwidth // common
        row[kernels.OVERHEAD] = server.overhead
        if server.wire and server.wire not in known:
            known[server.wire] = len(curves)
            curves.extend(server.wire)
        row[kernels.CURVE] = known.get(server.wire, 0)
        row[kernels.CURVE_END] = row[kernels.CURVE] + len(server.wire)
    return rows, np.array(curves, np.int64).reshape(-1, 2)
