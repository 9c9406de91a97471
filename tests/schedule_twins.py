"""Slow, obvious ways to carry out a schedule: on real arrays, and on links with one SimPy process a row."""

import random
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import simpy

from simcore.collectives import Collective
from simcore.schedule import Schedule
from simcore.simulation import OBSERVE, Simulation
from simcore.topology import Topology


def dependencies(schedule: Schedule) -> list[list[int]]:
    """Return, row by row, the rows that it waits for."""
    begin = schedule.after_begin.tolist()
    return [schedule.after[begin[i] : begin[i + 1]].tolist() for i in range(len(schedule))]


def execute(collective: Collective, memory: dict[int, Any], dice: random.Random) -> None:
    """Carry out every row on ``memory[rank]``, in any order that the dependencies allow, ``dice`` choosing.

    A row is under way for a while: it reads its bytes at its begin or at its end, as the dice fall, and writes at its
    end.
    """
    schedule, waits = collective.schedule, dependencies(collective.schedule)
    missing, waiters = [len(rows) for rows in waits], defaultdict(list)
    for row, rows in enumerate(waits):
        for earlier in rows:
            waiters[earlier].append(row)
    ready = [row for row, count in enumerate(missing) if not count]
    under_way: list[int] = []
    carried: dict[int, Any] = {}
    computed = {waits[row][0] for row in np.nonzero(~collective.transfers & collective.reduces)[0]}
    ended = 0

    def read(row: int) -> Any:
        begin, size = int(collective.offset[row]), int(schedule.size[row])
        return memory[int(schedule.rank[row])][begin : begin + size].copy()

    def end(row: int) -> None:
        target, lands = memory[int(schedule.peer[row])], int(collective.lands[row])
        if collective.transfers[row]:
            carried.setdefault(row, None)
            if carried[row] is None:
                carried[row] = read(row)
            if row in computed:
                return
            brought = carried.pop(row)
        elif collective.reduces[row]:
            brought = carried.pop(waits[row][0])
        else:
            return
        where = slice(lands, lands + len(brought))
        target[where] = target[where] + brought if collective.reduces[row] else brought

    while ready or under_way:
        if ready and (not under_way or dice.random() < 0.5):
            row = ready.pop(dice.randrange(len(ready)))
            if collective.transfers[row] and dice.random() < 0.5:
                carried[row] = read(row)
            under_way.append(row)
        else:
            row = under_way.pop(dice.randrange(len(under_way)))
            end(row)
            ended += 1
            for later in waiters[row]:
                missing[later] -= 1
                if not missing[later]:
                    ready.append(later)
    assert ended == len(schedule), "rows that wait for each other"


class Player:
    """A schedule on store-and-forward links: a SimPy process a row, exact fractions, queue order (arrival, source's
    rank in the fabric, row)."""

    def __init__(self, topology: Topology, schedule: Schedule, ranks: Sequence[int]) -> None:
        self.env = simpy.Environment()
        # GPU i hosts rank i of the fabric.
        self.topology, self.schedule, self.ranks = topology, schedule, ranks
        self.ended = [self.env.event() for _ in range(len(schedule))]
        self.at = [0] * len(schedule)
        self.waiting: dict[Any, list[Any]] = defaultdict(list)
        self.busy: dict[int, tuple[int, int]] = {}
        self.stream_free: dict[int, int] = defaultdict(int)

    def play(self) -> list[int]:
        """Return when each row ended, ps."""
        for row, waits in enumerate(dependencies(self.schedule)):
            self.env.process(self._life(row, waits))
        self.env.run()
        return self.at

    def _life(self, row: int, waits: list[int]) -> Generator[Any, Any, None]:
        if waits:
            yield self.env.all_of([self.ended[each] for each in waits])
        rank, peer = int(self.schedule.rank[row]), int(self.schedule.peer[row])
        if rank == peer:
            yield self._in_line(("stream", rank), row, rank, int(self.schedule.duration[row]))
        else:
            yield from self._travel(row, rank, peer)
        self.at[row] = self.env.now
        self.ended[row].succeed()

    def _travel(self, row: int, rank: int, peer: int) -> Generator[Any, Any, None]:
        for index in self.topology.route(self._end(rank), self._end(peer)):
            link = self.topology.links[index]
            yield self._in_line(link.server, row, rank, int(self.schedule.size[row]))
            yield self.env.timeout(link.latency)

    def _end(self, rank: int) -> int:
        return self.ranks[rank] if rank >= 0 else self.topology.gpus - 1 - rank

    def _in_line(self, server: Any, row: int, rank: int, work: int) -> Any:
        served = self.env.event()
        source = self.ranks[rank] if rank >= 0 else len(self.ranks) - 1 - rank
        self.waiting[server].append(((source, row), work, served))
        if len(self.waiting[server]) == 1:
            # Everybody who arrives at this instant is in line before the line is served.
            late = self.env.event()
            late._ok, late._value = True, None
            late.callbacks = [lambda _: self._serve(server)]
            self.env.schedule(late, OBSERVE)
        return served

    def _serve(self, server: Any) -> None:
        for _, work, served in sorted(self.waiting.pop(server), key=lambda entry: entry[0]):
            if isinstance(server, tuple):
                leaves = max(self.env.now, self.stream_free[server[1]]) + work
                self.stream_free[server[1]] = leaves
            else:
                leaves = self._leaves(server, work)
            served._ok, served._value = True, None
            self.env.schedule(served, 1, leaves - self.env.now)

    def _leaves(self, server: int, size: int) -> int:
        about = self.topology.servers[server]
        t0, c = self.busy.get(server, (0, 0))
        if self.env.now >= t0 + ceil(Fraction(c * 10**12, about.bandwidth)):
            t0, c = self.env.now, 0
        self.busy[server] = (t0 + getattr(about, "overhead", 0), c + size)
        return self.busy[server][0] + ceil(Fraction((c + size) * 10**12, about.bandwidth))


def drive(simulation: Simulation, send: Callable[[int, int, int], Any], schedule: Schedule) -> list[int]:
    """Carry out ``schedule`` with one process a row, each message by ``send(rank, peer, size) -> Event``; return when
    each row ended, ps."""
    ended = [simulation.event() for _ in range(len(schedule))]
    at = [0] * len(schedule)
    free: dict[int, int] = defaultdict(int)
    lines: dict[int, list[Any]] = defaultdict(list)

    def compute(row: int, rank: int) -> Any:
        done = simulation.event()
        lines[rank].append((row, done))
        if len(lines[rank]) == 1:
            # Everybody who is ready at this instant is in line before the line is served, in order of rows.
            simulation.at(simulation.now, priority=OBSERVE).callbacks.append(lambda _: serve(rank))
        return done

    def serve(rank: int) -> None:
        for row, done in sorted(lines.pop(rank), key=lambda entry: entry[0]):
            free[rank] = max(free[rank], simulation.now) + int(schedule.duration[row])
            simulation.at(free[rank]).callbacks.append(lambda _, done=done: done.succeed())

    def life(row: int, waits: list[int]) -> Generator[Any, Any, None]:
        if waits:
            yield simulation.all_of([ended[each] for each in waits])
        rank, peer = int(schedule.rank[row]), int(schedule.peer[row])
        if rank != peer:
            yield send(rank, peer, int(schedule.size[row]))
        else:
            yield compute(row, rank)
        at[row] = simulation.now
        ended[row].succeed()

    for row, waits in enumerate(dependencies(schedule)):
        simulation.process(life(row, waits))
    simulation.run()
    return at
