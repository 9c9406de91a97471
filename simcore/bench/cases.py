"""What is measured: a machine, and what begins on it at time 0."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from simpy.events import Event

from simcore.bench import machines, messages
from simcore.bench.messages import GPUS_PER_NODE, KIB, MIB, Column, Messages
from simcore.fabric import Fabric, Writes
from simcore.hardware import GpuSpec, Wait, WaitSpec
from simcore.schedule import Schedule
from simcore.simulation import Simulation
from simcore.topology import Topology

W2_SIZE = 64 * MIB
POLL_PERIOD = 100_000
"""Time between two reads of W4's poller, ps; a read is free and local."""
LOOP_SIZES = (4 * KIB, MIB)
ROUND = 2_000_000
"""Time between two rounds of the eidolons, ps; each is late by up to half of it."""
EIDOLON_SIZES = (1024, 8)
"""What an eidolon writes in a round: data, and a flag behind them."""
INJECTION_GAP = 3_500
"""Time between two injections, ps: about one for every ten stamped writes."""
INJECTED_LOAD = 0.8
"""Offered load of the stamped writes under injections, which add 0.08."""


@dataclass(frozen=True)
class Case:
    """A workload of ``count`` messages on ``topology`` between ``pairs`` of GPUs (sources, destinations); ``start``
    hands the messages over, or starts the processes that will."""

    workload: str
    topology: Topology
    count: int
    pairs: tuple[Column, Column]
    start: Callable[[Simulation, Fabric], object]
    gpu: GpuSpec | None = None
    wait: WaitSpec = field(default_factory=WaitSpec)


def w1(gpus: int) -> Case:
    """Return the all-to-all of 1 MiB a pair."""
    return _listed("W1", machines.star(gpus), messages.all_to_all(gpus))


def w2(gpus: int) -> Case:
    """Return the ring all-reduce of 64 MiB, as a schedule that the data plane plays."""
    ring = ring_all_reduce(gpus, W2_SIZE)

    def start(_: Simulation, fabric: Fabric) -> None:
        fabric.play(ring, range(gpus), "all_reduce")

    return Case("W2", machines.star(gpus), len(ring), (ring.rank[:gpus], ring.peer[:gpus]), start)


def w3(nodes: int, listed: Messages) -> Case:
    """Return ``listed`` messages on nodes of eight GPUs below leaves and spines."""
    return _listed("W3", machines.leaf_spine(nodes), listed)


def w4(listed: Messages) -> Case:
    """Return stamped writes to GPU 7, of which every peer's last is its flag, and the poller that waits for all
    flags."""
    last = _last_of_each(listed.src)

    def start(simulation: Simulation, fabric: Fabric) -> Event:
        flags = [Event(simulation) for _ in last]
        calls = {row: flag.succeed for row, flag in zip(last.tolist(), flags, strict=True)}
        fabric.send_many(listed.src, _table(listed, last), calls)
        return simulation.process(_poller(simulation, flags))

    return Case("W4", machines.star(GPUS_PER_NODE), len(listed), _to_target(), start)


def _poller(simulation: Simulation, flags: list[Event]) -> Generator[Event, Any, int]:
    """Wait for all flags and return the number of reads, at 0, 100 ns, ..., up to the one that sees them; a read sees
    what arrives at its own instant."""
    yield simulation.all_of(flags)
    reads = -(-simulation.now // POLL_PERIOD)
    yield simulation.at(reads * POLL_PERIOD)
    return reads + 1


def closed_loop(topology: Topology, count: int) -> Case:
    """Return one process a GPU that sends its share of ``count`` messages one by one, each to a random other GPU,
    log-uniform from 4 KiB to 1 MiB, and waits until it has arrived."""
    dst, size = loop_messages(topology.gpus, count)
    pairs = np.repeat(np.arange(topology.gpus), dst.shape[1]), dst.ravel()

    def rank(fabric: Fabric, src: int) -> Generator[Event, Any, None]:
        for target, length in zip(dst[src].tolist(), size[src].tolist(), strict=True):
            yield fabric.send(src, target, length, "loop")

    def start(simulation: Simulation, fabric: Fabric) -> None:
        for src in range(topology.gpus):
            simulation.process(rank(fabric, src))

    return Case("closed-loop", topology, dst.size, pairs, start)


def loop_messages(gpus: int, count: int) -> tuple[Column, Column]:
    """Return destinations and sizes of the closed loop, a row a GPU; the seed is (5, gpus, count)."""
    rng = np.random.default_rng([5, gpus, count])
    dst = rng.integers(gpus - 1, size=(gpus, count // gpus))
    dst += dst >= np.arange(gpus)[:, np.newaxis]
    size = np.rint(np.exp(rng.uniform(np.log(LOOP_SIZES[0]), np.log(LOOP_SIZES[1]), dst.shape))).astype(np.int64)
    return dst, size


def injections(injected: int, stamped: int) -> Case:
    """Return ``stamped`` writes as in W4 and seven processes, one a peer, that between them send ``injected`` more to
    GPU 7, each at an instant of its own."""
    listed = messages.stamped_writes(stamped, INJECTED_LOAD)

    def peer(simulation: Simulation, fabric: Fabric, src: int) -> Generator[Event, Any, None]:
        yield simulation.at(src * INJECTION_GAP)
        for _ in range(src, injected, messages.W4_PEERS):
            fabric.send(src, messages.W4_PEERS, messages.W4_SIZE, "injected")
            yield simulation.timeout(messages.W4_PEERS * INJECTION_GAP)

    def start(simulation: Simulation, fabric: Fabric) -> None:
        if stamped:
            fabric.send_many(listed.src, _table(listed, np.zeros(0, np.int64)))
        for src in range(messages.W4_PEERS):
            simulation.process(peer(simulation, fabric, src))

    return Case("injections", machines.star(GPUS_PER_NODE), injected + stamped, _to_target(), start)


def eidolons(gpus: int, count: int, policy: Wait) -> Case:
    """Return ``count`` stamped writes of all GPUs but the first, round by round data and a flag, and a waiter on GPU 0
    that needs the flags of a round from all of them before it looks for the next; its value is the reads it took."""
    time, src = eidolon_rounds(gpus, count)
    rounds = len(time) // (gpus - 1)
    both = len(EIDOLON_SIZES)
    flag = np.tile([False, True], len(time))
    sizes = np.tile(EIDOLON_SIZES, len(time))
    writes = Writes(np.repeat(time, both), np.zeros(both * len(time), np.int64), sizes, flag, "round")
    values = np.repeat(np.arange(len(time)) // (gpus - 1) + 1, both)

    def start(simulation: Simulation, fabric: Fabric) -> Event:
        words = fabric.words(gpus, range(1))
        sets = np.where(flag, words.first + np.repeat(src, both), -1)
        fabric.send_many(np.repeat(src, both), writes, sets=sets, values=values)
        awaited = words.first + np.arange(1, gpus)

        def target() -> Generator[Event, Any, int]:
            reads = 0
            for number in range(rounds):
                found = yield fabric.watch(0, awaited, number + 1)
                reads += int(found.reads.sum())
            return reads

        return simulation.process(target())

    pairs = np.arange(1, gpus), np.zeros(gpus - 1, np.int64)
    return Case("eidolons", machines.star(gpus), both * len(time), pairs, start, machines.GPU, WaitSpec(policy))


def eidolon_rounds(gpus: int, count: int) -> tuple[Column, Column]:
    """Return when which eidolon writes, round by round; the seed is (6, gpus, count)."""
    peers = gpus - 1
    rounds = count // (len(EIDOLON_SIZES) * peers)
    rng = np.random.default_rng([6, gpus, count])
    late = rng.integers(ROUND // 2, size=(rounds, peers)) + ROUND * np.arange(rounds)[:, np.newaxis]
    return late.ravel(), np.tile(np.arange(1, gpus), rounds)


def ring_all_reduce(ranks: int, size: int) -> Schedule:
    """Return the schedule of a ring: in each of 2(ranks - 1) steps every rank sends one chunk of ``size // ranks``
    bytes to the next, once its own send and its receipt of the step before have ended."""
    steps = 2 * (ranks - 1)
    rank = np.tile(np.arange(ranks), steps)
    before = np.arange((steps - 1) * ranks)
    received = before.reshape(-1, ranks)[:, (np.arange(ranks) - 1) % ranks].ravel()
    begin = np.concatenate((np.zeros(ranks, np.int64), np.arange(0, 2 * len(before) + 1, 2)))
    return Schedule(
        rank,
        (rank + 1) % ranks,
        np.full_like(rank, size // ranks),
        np.zeros_like(rank),
        begin,
        np.stack((before, received), axis=1).ravel(),
    )


def _listed(workload: str, topology: Topology, listed: Messages) -> Case:
    def start(_: Simulation, fabric: Fabric) -> None:
        fabric.send_many(listed.src, _table(listed, np.zeros(0, np.int64)))

    return Case(workload, topology, len(listed), (listed.src, listed.dst), start)


def _to_target() -> tuple[Column, Column]:
    return np.arange(messages.W4_PEERS), np.full(messages.W4_PEERS, messages.W4_PEERS)


def _table(listed: Messages, flags: Column) -> Writes:
    flag = np.zeros(len(listed), np.bool_)
    flag[flags] = True
    return Writes(listed.time, listed.dst, listed.size, flag, "message")


def _last_of_each(src: Column) -> Column:
    """Return the row of the last message of every source that has one."""
    _, back = np.unique(src[::-1], return_index=True)
    return len(src) - 1 - back
