"""Programs, what ranks do with a fabric, as data: run over the fabric itself, or over a twin, with the same outcome."""

from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import simpy

from simcore.errors import Deadlock
from simcore.fabric import Fabric, Writes
from simcore.hardware import Queues, Sharing
from simcore.schedule import Schedule
from simcore.simulation import Simulation
from simcore.topology import Topology
from simcore.trace import Recorder
from twins import Key
from twins.fair import Fair
from twins.fifo import Fifo
from twins.ideal import Ideal, Streams


@dataclass(frozen=True)
class Send:
    """At instant ``at``, ``src`` begins to send ``amounts`` of bytes to ``dst``, each when the last one has arrived;
    where the two are one, to compute ``amounts`` of ps."""

    at: int
    src: int
    dst: int
    amounts: tuple[int, ...]


class Write(NamedTuple):
    """A row of a stamped table."""

    src: int
    delay: int
    dst: int
    size: int


@dataclass(frozen=True)
class Table:
    """At instant ``at``, all rows are handed over; each is issued its own ``delay`` later."""

    at: int
    rows: tuple[Write, ...]


class Row(NamedTuple):
    """A row of a schedule: a transfer of ``amount`` bytes, or, where rank and peer are equal, ``amount`` ps of
    work."""

    rank: int
    peer: int
    amount: int
    after: tuple[int, ...]


@dataclass(frozen=True)
class Play:
    """At instant ``at``, a schedule begins; ``ranks`` are the fabric's ranks of the schedule's."""

    at: int
    ranks: tuple[int, ...]
    rows: tuple[Row, ...]


Act = Send | Table | Play


def sources(act: Act) -> set[int]:
    """Return the ranks that send or compute."""
    if isinstance(act, Send):
        return {act.src}
    return {row.src for row in act.rows} if isinstance(act, Table) else set(act.ranks)


@dataclass
class Outcome:
    """What came of a program: (issued, arrived) in ps of every message by (source rank, source sequence), the end of
    every act but tables, the tables of the recorder."""

    messages: dict[Key, tuple[int, int]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    completions: tuple[Any, Any] = ((), ())
    """Without a recorder: (issued, arrived) in ps."""
    deadlock: str = ""
    """What the fabric says of a deadlock."""
    stuck: set[str] = field(default_factory=set)
    """The links at which a twin's packets wait for ever."""


def later(env: simpy.Environment, delay: int) -> simpy.Event:
    """Return an event ``delay`` from now, behind whoever goes on at that instant because something has ended."""
    event = env.event()
    event._ok, event._value = True, None
    env.schedule(event, 1.5, delay)
    return event


def schedule_of(rows: Sequence[Row]) -> Schedule:
    """Return the rows as the columns of a schedule."""
    moved = [row.rank != row.peer for row in rows]
    begin = np.cumsum([0, *(len(row.after) for row in rows)])
    columns = [
        [row.rank for row in rows],
        [row.peer for row in rows],
        [row.amount if moves else 0 for row, moves in zip(rows, moved, strict=True)],
        [0 if moves else row.amount for row, moves in zip(rows, moved, strict=True)],
        begin,
        [other for row in rows for other in row.after],
    ]
    return Schedule(*(np.array(column, np.int64) for column in columns))


def writes_of(rows: Sequence[Write], now: int) -> Writes:
    """Return the rows as a stamped table of the present instant."""
    columns = [[now + row.delay for row in rows], [row.dst for row in rows], [row.size for row in rows]]
    return Writes(
        *(np.array(column, np.int64) for column in columns), np.zeros(len(rows), bool), [f"w{row.size}" for row in rows]
    )


def over_fabric(
    topology: Topology,
    sharing: Sharing,
    acts: Sequence[Act],
    queues: Queues | None = None,
    *,
    order: Sequence[int] = (),
    by_process: bool = False,
    recorded: bool = True,
) -> Outcome:
    """Return what the fabric makes of the program; ``order`` is that in which the processes are created; with
    ``by_process``, schedules and tables are driven by processes that send one message at a time."""
    simulation, recorder, outcome = Simulation(), Recorder(), Outcome()
    fabric = Fabric(
        simulation,
        topology,
        sharing,
        recorder if recorded else None,
        range(topology.gpus),
        *([queues] if queues else []),
    )

    def program(index: int, act: Act) -> Generator[Any, Any, None]:
        yield later(simulation, act.at)
        if isinstance(act, Table) and by_process:
            for src in {row.src for row in act.rows}:
                simulation.process(one_by_one(fabric, simulation, [row for row in act.rows if row.src == src]))
            return
        if isinstance(act, Table):
            sources = np.array([row.src for row in act.rows])
            same = len(set(sources.tolist())) == 1
            fabric.send_many(int(sources[0]) if same else sources, writes_of(act.rows, simulation.now))
            return
        if isinstance(act, Play) and by_process:
            yield play_by_processes(fabric, simulation, act)
        elif isinstance(act, Play):
            yield fabric.play(schedule_of(act.rows), act.ranks, "play")
        else:
            for amount in act.amounts:
                yield work(fabric, act.src, act.dst, amount, "send")
        outcome.ends[index] = simulation.now

    for index in order or range(len(acts)):
        simulation.process(program(index, acts[index]))
    try:
        simulation.run()
    except Deadlock as deadlock:
        outcome.deadlock = str(deadlock)
    if not recorded:
        outcome.completions = fabric.completions()
    fabric.record()
    outcome.tables = recorder.tables()
    for row in outcome.tables["transfers"].to_pylist():
        outcome.messages[row["src"], row["sequence"]] = (row["issued_ps"], row["arrived_ps"])
    return outcome


Twin = Callable[[simpy.Environment, Topology], Fifo | Fair | Ideal]


def over_twin(topology: Topology, twin: Twin, acts: Sequence[Act]) -> Outcome:
    """Return what a twin makes of the program: a process for every message."""
    env, outcome = simpy.Environment(), Outcome()
    carrier, streams, sequence = twin(env, topology), Streams(env), defaultdict[int, int](int)

    def numbered(src: int) -> Key:
        sequence[src] += 1
        return src, sequence[src] - 1

    def carry(key: Key, delay: int, dst: int, size: int) -> Generator[Any, Any, None]:
        yield env.timeout(delay)
        issued = env.now
        yield carrier.send(key, key[0], dst, size)
        outcome.messages[key] = (int(issued), int(env.now))

    def do(key: Key, dst: int, amount: int) -> Generator[Any, Any, None]:
        yield streams.compute(key, amount) if key[0] == dst else env.process(carry(key, 0, dst, amount))

    def row_life(act: Play, rows: list[simpy.Event], row: Row, key: Key) -> Generator[Any, Any, None]:
        yield env.timeout(0)
        yield env.all_of([rows[other] for other in row.after])
        yield env.process(do(key, act.ranks[row.peer], row.amount))

    def program(index: int, act: Act) -> Generator[Any, Any, None]:
        yield later(env, act.at)
        if isinstance(act, Table):
            for row in act.rows:
                env.process(carry(numbered(row.src), row.delay, row.dst, row.size))
            return
        if isinstance(act, Play):
            lives: list[simpy.Event] = []
            for row in act.rows:
                lives.append(env.process(row_life(act, lives, row, numbered(act.ranks[row.rank]))))
            yield env.all_of(lives)
        else:
            for amount in act.amounts:
                yield env.process(do(numbered(act.src), act.dst, amount))
        outcome.ends[index] = int(env.now)

    for index, act in enumerate(acts):
        env.process(program(index, act))
    env.run()
    if isinstance(carrier, Fifo):
        outcome.stuck = {topology.servers[server].name for server, queue in carrier.queued.items() if queue}
    return outcome


def one_by_one(fabric: Fabric, simulation: Simulation, rows: Sequence[Write]) -> Generator[Any, Any, None]:
    """Send the rows of one source, each when its time has come."""
    start = simulation.now
    for row in sorted(rows, key=lambda row: row.delay):
        yield simulation.timeout(start + row.delay - simulation.now)
        fabric.send(row.src, row.dst, row.size, f"w{row.size}")


def play_by_processes(fabric: Fabric, simulation: Simulation, act: Play) -> simpy.Event:
    """Play a schedule with a process a row over ``fabric.send``; the event happens when every row has ended.

    Rows of one instant are sent in the order of the schedule, after every end of that instant.
    """
    ready: list[tuple[int, simpy.Event]] = []
    lives: list[simpy.Event] = []

    def flush(_: simpy.Event) -> None:
        for index, ended in sorted(ready, key=lambda entry: entry[0]):
            row = act.rows[index]
            did = work(fabric, act.ranks[row.rank], act.ranks[row.peer], row.amount, "play")
            did.callbacks.append(lambda _, ended=ended: ended.succeed())
        ready.clear()

    def life(index: int, row: Row) -> Generator[Any, Any, None]:
        yield simulation.timeout(0)
        yield simulation.all_of([lives[other] for other in row.after])
        ready.append((index, simulation.event()))
        later(simulation, 0).callbacks.append(flush)
        yield ready[-1][1]

    lives += [simulation.process(life(index, row)) for index, row in enumerate(act.rows)]
    return simulation.all_of(lives)


def work(fabric: Fabric, src: int, dst: int, amount: int, what: str) -> simpy.Event:
    """Send ``amount`` bytes, or compute for ``amount`` ps where the two ranks are one."""
    return fabric.compute(src, amount) if src == dst else fabric.send(src, dst, amount, what)
