"""Cases of waiting, as data: played by the twin of the waits, or by the fabric, with the same outcome; random ones."""

from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import simpy
from hypothesis import strategies as st

from simcore.fabric import Fabric, Writes
from simcore.hardware import GpuSpec, LinkSpec, Sharing, WaitSpec
from simcore.simulation import Simulation
from simcore.topology import Topology
from twins import ratio_up
from twins.waits import Machine, Policy, Port, Taken, Waits, Word

ARRAYS, WORDS = 2, 8
"""Symmetric arrays, and words of each."""
POLICIES = ("spin", "backoff", "yield", "monitor", "waiting_atomic")
ASLEEP = ("monitor", "waiting_atomic")
"""Policies that end to read by themselves."""


class Put(NamedTuple):
    """A message of ``size`` bytes, issued at ``time``; where it has landed it sets ``word``, if any, to ``value``."""

    time: int
    src: int
    dst: int
    size: int
    word: Word | None = None
    value: int = 1


class Watch(NamedTuple):
    """At ``begin``, a process on ``gpu`` begins to wait for several words, each for its own value."""

    begin: int
    gpu: int
    words: tuple[Word, ...]
    wanted: tuple[int, ...]


@dataclass(frozen=True)
class Link:
    """The link from each GPU to each other: bytes per second, ps, and how messages share it."""

    bandwidth: int = 10**12
    latency: int = 5
    sharing: Sharing = "fifo"


@dataclass(frozen=True)
class Case:
    """Who sends and who waits; ``pauses`` are instants at which a bystander's process acts."""

    machine: Machine
    policy: Policy
    watches: tuple[Watch, ...]
    puts: tuple[Put, ...] = ()
    link: Link = Link()
    shared: bool = False
    gpus: int = 3
    pauses: tuple[int, ...] = ()


Outcome = list[list[Taken] | None]
"""What every watch took, word by word; None for a watch that never ends."""


def in_order(puts: Sequence[Put]) -> list[tuple[tuple[int, int], Put]]:
    """Return the messages with the key of each, (source rank, source sequence), in the order of issue."""
    following: dict[int, int] = defaultdict(int)
    keyed = []
    for put in sorted(puts, key=lambda put: put.time):
        keyed.append(((put.src, following[put.src]), put))
        following[put.src] += 1
    return keyed


def arrivals(case: Case) -> list[tuple[int, tuple[int, int], Put]]:
    """Return (arrival at the memory, key, message) of all messages, in order."""
    links: dict[tuple[int, int], Port] = defaultdict(lambda: Port(case.link.bandwidth))
    latest: dict[tuple[int, int], int] = defaultdict(int)
    arrived = []
    for key, put in in_order(case.puts):
        pair = put.src, put.dst
        if case.link.sharing == "ideal":
            left = put.time + ratio_up(put.size * 10**12, case.link.bandwidth)
        else:
            left = links[pair].serve(put.time, put.size)
        latest[pair] = max(latest[pair], left + case.link.latency)
        arrived.append((latest[pair], key, put))
    return sorted(arrived)


def twin_of(case: Case) -> Waits:
    """Return the twin that has yet to play the case."""
    twin = Waits(case.machine, case.policy, case.shared)
    for instant, key, put in arrivals(case):
        write = None if put.word is None else (put.word, put.value)
        if case.shared:
            twin.message(instant, put.dst, put.size, key, write)
        elif write is not None:
            twin.write(instant, put.dst, *write)
    for watch in case.watches:
        for word, wanted in zip(watch.words, watch.wanted, strict=True):
            twin.begin(watch.begin, watch.gpu, word, wanted)
    return twin


def by_twin(case: Case) -> Outcome:
    """Return what comes of the case by the twin."""
    twin = twin_of(case)
    twin.run()
    return outcome_of(case, [wait.taken for wait in twin.waits])


def outcome_of(case: Case, waits: Sequence[Taken | None]) -> Outcome:
    """Return the outcome by watch of waits in the order in which they began."""
    begun = iter(waits)
    by_watch: dict[int, list[Taken | None]] = {}
    for index in sorted(range(len(case.watches)), key=lambda index: case.watches[index].begin):
        by_watch[index] = [next(begun) for _ in case.watches[index].words]
    whole = [[taken for taken in by_watch[index] if taken is not None] for index in range(len(case.watches))]
    return [rows if len(rows) == len(watch.words) else None for rows, watch in zip(whole, case.watches, strict=True)]


def by_fabric(case: Case) -> Outcome:
    """Return what comes of the case by the fabric."""
    simulation = Simulation()
    topology = Topology("full_mesh", case.gpus, LinkSpec(case.link.bandwidth, case.link.latency))
    fabric = Fabric(
        simulation, topology, case.link.sharing, None, range(case.gpus), wait=WaitSpec(**asdict(case.policy)),
        gpu=GpuSpec(memory_size=1, throughput={}, launch=0, **asdict(case.machine)),
        memory_port="shared" if case.shared else "free",
    )  # fmt: skip
    arrays = [fabric.words(WORDS, range(case.gpus)) for _ in range(ARRAYS)]
    for src in range(case.gpus):
        rows = [put for _, put in in_order(case.puts) if put.src == src]
        columns = (
            np.array([getattr(put, name) for put in rows], np.int64) for name in ("time", "dst", "size", "value")
        )
        time, dst, size, value = columns
        sets = [-1 if put.word is None else arrays[put.word.array].word(put.dst, put.word.number) for put in rows]
        writes = Writes(time, dst, size, np.array([put.word is not None for put in rows], bool), "put")
        fabric.send_many(src, writes, sets=np.array(sets, np.int64), values=value)
    outcome: Outcome = [None] * len(case.watches)

    def pause(instant: int) -> Generator[simpy.Event, Any, None]:
        yield simulation.timeout(instant)

    def watch(index: int) -> Generator[simpy.Event, Any, None]:
        begin, gpu, words, wanted = case.watches[index]
        yield simulation.timeout(begin)
        awaited = np.array([arrays[word.array].word(gpu, word.number) for word in words], np.int64)
        table = yield fabric.watch(gpu, awaited, np.array(wanted, np.int64))
        assert table.word.tolist() == awaited.tolist()
        assert set(table.t0.tolist()) == {begin}
        assert simulation.now == max(table.detected)
        outcome[index] = list(
            map(
                Taken._make,
                zip(*(getattr(table, name.removesuffix("_ps")).tolist() for name in Taken._fields), strict=True),
            )
        )

    for instant in case.pauses:
        simulation.process(pause(instant))
    for index in range(len(case.watches)):
        simulation.process(watch(index))
    simulation.run()
    return outcome


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Draw a GPU on which everything takes a few picoseconds, or nothing, or an awkward one; a poll returns within a
    period."""
    if draw(st.integers(0, 3)) == 0:
        return Machine(2_100_000_000, 64, 5_300_000_000_000, 340, 220, 116, 1, 1, 100, 30)
    clock = draw(st.sampled_from([10**12, 3 * 10**11, 7 * 10**11]))
    bandwidth = draw(st.sampled_from([64 * 10**12, 20 * 10**12, 7 * 10**12]))
    cycles = [draw(st.sampled_from([0, 1, 1, 2, 7])) for _ in range(6)]
    trip = ratio_up(cycles[0] * 10**12, clock) + ratio_up(64 * 10**12, bandwidth) + ratio_up(cycles[1] * 10**12, clock)
    period = ratio_up(trip * clock, 10**12) + draw(st.sampled_from([0, 1, 5]))
    return Machine(clock, 64, bandwidth, period, *cycles)


@st.composite
def policies(draw: st.DrawFn, names: Sequence[str] = POLICIES) -> Policy:
    """Draw a policy with its parameters."""
    name = draw(st.sampled_from(names))
    if name == "spin":
        return Policy(name, outstanding=draw(st.integers(1, 5)))
    if name == "backoff":
        first = draw(st.integers(1, 9))
        most = first * draw(st.integers(1, 9))
        return Policy(name, backoff_first=first, backoff_factor=draw(st.integers(1, 3)), backoff_most=most)
    if name == "yield":
        return Policy(name, yield_for=draw(st.integers(1, 9)))
    sleeping = Policy(
        name, capacity=draw(st.sampled_from([None, 0, 1, 1, 2])), wake=draw(st.sampled_from(["all", "one"]))
    )
    if name == "monitor":
        stride = draw(st.sampled_from([8, 24, 64]))
        return replace(sleeping, granularity=draw(st.sampled_from(["word", "line"])), stride=stride)
    return sleeping


@st.composite
def cases(draw: st.DrawFn, names: Sequence[str] = POLICIES, *, shared: bool = False, sharing: Sharing = "fifo") -> Case:
    """Draw a case, its waits and messages one by one, most of them so that they meet something that the twin does; in
    most cases everybody ends."""
    link = Link(draw(st.sampled_from([10**12, 7 * 10**11])), draw(st.sampled_from([0, 5])), sharing)
    case = Case(draw(machines()), draw(policies(names)), (), (), link, shared, draw(st.integers(2, 3)))
    pool = draw(st.lists(st.sampled_from([Word(0, 0), Word(0, 1), Word(0, 3), Word(1, 0)]), min_size=1, max_size=3))
    for _ in range(draw(st.integers(1, 5))):
        case = replace(case, watches=(*case.watches, draw(watch_near(case, pool))))
    for _ in range(draw(st.integers(0, 5))):
        case = replace(case, puts=(*case.puts, draw(put_near(case, pool))))
    if draw(st.integers(0, 7)):
        for gpu, word in sorted({(watch.gpu, word) for watch in case.watches for word in watch.words}):
            late = Put(max(life(case)) + draw(st.integers(0, 9)), (gpu + 1) % case.gpus, gpu, 0, word, 2)
            case = replace(case, puts=(*case.puts, late))
    return replace(case, pauses=tuple(draw(st.lists(st.sampled_from(life(case)), max_size=3))))


@st.composite
def watch_near(draw: st.DrawFn, case: Case, pool: Sequence[Word]) -> Watch:
    """Draw a watch that begins with the last one, or 1 ps or none from an instant of the case so far, or soon after
    its beginning."""
    start = 2 * period(case)
    begin = st.integers(start, start + 30)
    if case.watches:
        met = st.sampled_from(life(case)).flatmap(lambda instant: st.integers(instant - 1, instant + 1))
        begin = st.one_of(st.just(case.watches[-1].begin), met, begin)
    awaited = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=3))
    wanted = [draw(st.sampled_from([1, 1, 1, 2])) for _ in awaited]
    return Watch(draw(begin), draw(st.sampled_from([0, 0, 0, 0, 1])), tuple(awaited), tuple(wanted))


@st.composite
def put_near(draw: st.DrawFn, case: Case, pool: Sequence[Word]) -> Put:
    """Draw a message that reaches the memory exactly at an instant of the case so far, 1 ps before, after, or at
    random."""
    dst = draw(st.sampled_from(case.watches)).gpu
    src = (dst + draw(st.integers(1, case.gpus - 1))) % case.gpus
    # Flows of `fair` are floats: there, only what has no bytes arrives exactly.
    size = 0 if case.link.sharing == "fair" else draw(st.sampled_from([0, 0, 8, 64, 200] if case.shared else [0, 0, 8]))
    word = draw(st.sampled_from([*pool, *pool, Word(0, 2), None] if case.shared else [*pool, *pool, Word(0, 2)]))
    travel = case.link.latency + ratio_up(size * 10**12, case.link.bandwidth)
    met = draw(st.sampled_from(life(case))) + draw(st.sampled_from([-1, 0, 0, 1]))
    instant = met if draw(st.integers(0, 3)) else draw(st.integers(travel, 8 * period(case)))
    return Put(max(0, instant - travel), src, dst, size, word, draw(st.sampled_from([0, 1, 1, 1, 2])))


def period(case: Case) -> int:
    """Return a time in which much happens in the case, ps, and in which a message arrives."""
    gpu = case.machine
    return gpu.cycles(gpu.poll_period + gpu.poll_request + gpu.poll_response + gpu.monitor_wake) + 200


def life(case: Case, most: int = 40) -> list[int]:
    """Return the first instants at which something happens in the case, by the twin, also in waits that never end."""
    twin = twin_of(case)
    instants: list[int] = []
    while twin.next is not None and len(instants) < most:
        twin.step()
        instants.append(twin.now)
    return instants
