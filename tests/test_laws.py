"""Laws of the fabric on random machines under random traffic, whatever its policy."""

from collections import Counter, defaultdict
from collections.abc import Generator
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st
from twins import worlds
from twins.fair import Fair
from twins.fifo import Fifo
from twins.ideal import Ideal
from twins.programs import Act, Play, Send, Table, over_fabric

from simcore.fabric import Fabric, Writes
from simcore.hardware import LinkSpec, Queues, Sharing
from simcore.simulation import Simulation
from simcore.topology import Topology
from simcore.trace import Recorder, digest

POLICIES = st.sampled_from(
    [
        ("ideal", Queues()),
        ("fair", Queues()),
        ("fifo", Queues()),
        ("fifo", Queues("cut_through")),
        ("fifo", Queues(mtu=1000)),
        ("fifo", Queues("cut_through", 100)),
    ]
)
ALL_SHARINGS: list[Sharing] = ["ideal", "fair", "fifo"]


def moved(acts: list[Act]) -> list[tuple[int, int, int]]:
    """Return (source, destination, size) of every message of a program."""
    messages: list[tuple[int, int, int]] = []
    for act in acts:
        if isinstance(act, Table):
            messages += [(row.src, row.dst, row.size) for row in act.rows]
        elif isinstance(act, Play):
            messages += [
                (act.ranks[row.rank], act.ranks[row.peer], row.amount) for row in act.rows if row.rank != row.peer
            ]
        else:
            messages += [(act.src, act.dst, amount) for amount in act.amounts if act.src != act.dst]
    return messages


@given(st.data())
def test_bytes_are_conserved_and_no_link_carries_more_than_its_capacity_in_any_bin(data: st.DataObject) -> None:
    topology = data.draw(worlds.machines(least_latency=1))
    sharing, queues = data.draw(POLICIES)
    acts = data.draw(worlds.programs(topology.gpus, worlds.sizes(most=5000)))

    tables = over_fabric(topology, sharing, acts, queues).tables

    messages = moved(acts)
    rows = tables["transfers"].to_pylist()
    assert Counter((row["src"], row["dst"], row["size_bytes"]) for row in rows) == Counter(messages)
    expected: dict[str, int] = defaultdict(int)
    for src, dst, size in messages:
        for index in topology.route(src, dst):
            expected[topology.servers[topology.links[index].server].name] += size
    carried: dict[str, int] = defaultdict(int)
    bandwidth = {server.name: server.bandwidth for server in topology.servers}
    seen = set()
    for row in tables["links"].to_pylist():
        carried[row["link"]] += row["size_bytes"]
        width = row["t1_ps"] - row["t0_ps"]
        seen.add((row["link"], row["t0_ps"]))
        assert row["size_bytes"] >= 0
        assert row["busy_ps"] >= 0
        if sharing != "ideal":
            assert row["busy_ps"] <= width
            # Bytes are whole in a bin, and an end is rounded up by less than a picosecond.
            assert row["size_bytes"] <= bandwidth[row["link"]] * (width + 1) / 10**12 + 2
    assert len(seen) == len(tables["links"])
    assert carried == {name: size for name, size in expected.items() if size or name in carried}


@given(st.data())
def test_nothing_arrives_before_an_empty_path_and_alone_it_is_never_queued(data: st.DataObject) -> None:
    """The delay in queues is what is left when the twin's time over an empty path is taken off."""
    topology = data.draw(worlds.machines())
    sharing, queues = data.draw(POLICIES)
    acts = [data.draw(worlds.tables(topology.gpus, worlds.sizes(most=5000)))]

    rows = over_fabric(topology, sharing, acts, queues).tables["transfers"].to_pylist()

    for row in rows:
        assert row["queued_ps"] >= 0
        if queues.mtu is not None and crosses_twice(topology, row["src"], row["dst"]):
            # Packets of one message that wait for one another on a bus: the time of the empty path is then an estimate.
            continue
        alone = time_alone(topology, sharing, queues, row["src"], row["dst"], row["size_bytes"])
        assert abs(row["queued_ps"] - (row["arrived_ps"] - row["issued_ps"] - alone)) <= (sharing == "fair")
    lone = Send(data.draw(worlds.instants()), rows[0]["src"], rows[0]["dst"], (rows[0]["size_bytes"],))
    (row,) = over_fabric(topology, sharing, [lone], queues).tables["transfers"].to_pylist()
    assert row["queued_ps"] == 0


def crosses_twice(topology: Topology, src: int, dst: int) -> bool:
    servers = [topology.links[index].server for index in topology.route(src, dst)]
    return len(set(servers)) < len(servers)


def time_alone(topology: Topology, sharing: Sharing, queues: Queues, src: int, dst: int, size: int) -> int:
    env = simpy.Environment()
    twin = (
        Fifo(env, topology, queues)
        if sharing == "fifo"
        else Fair(env, topology)
        if sharing == "fair"
        else Ideal(env, topology)
    )
    arrived: list[int] = []
    twin.send((src, 0), src, dst, size).callbacks.append(lambda _: arrived.append(int(env.now)))
    env.run()
    return arrived[0]


@given(st.data())
def test_faster_links_never_slow_a_single_message(data: st.DataObject) -> None:
    topology = data.draw(worlds.machines())
    sharing, queues = data.draw(POLICIES)
    src, dst = data.draw(worlds.pairs(topology.gpus))
    lone = [Send(0, src, dst, (data.draw(worlds.sizes(most=50_000)),))]
    before = over_fabric(topology, sharing, lone, queues).ends[0]

    for index, server in enumerate(topology.servers):
        faster = server.bandwidth + data.draw(st.one_of(st.integers(0, 2), st.integers(0, 10**13)))
        overhead = data.draw(st.integers(0, server.overhead))
        topology.servers[index] = replace(server, bandwidth=faster, overhead=overhead)
    topology.links[:] = [replace(link, latency=data.draw(st.integers(0, link.latency))) for link in topology.links]

    assert over_fabric(topology, sharing, lone, queues).ends[0] <= before


@given(st.data())
def test_cut_through_is_never_later_than_store_and_forward_for_a_lone_message(data: st.DataObject) -> None:
    topology = data.draw(worlds.machines())
    src, dst = data.draw(worlds.pairs(topology.gpus))
    lone = [Send(data.draw(worlds.instants()), src, dst, (data.draw(worlds.sizes()),))]

    cut = over_fabric(topology, "fifo", lone, Queues("cut_through")).ends[0]

    assert cut <= over_fabric(topology, "fifo", lone).ends[0]


@given(st.data())
def test_the_order_of_insertion_within_an_instant_does_not_matter(data: st.DataObject) -> None:
    """Every rank has one act; all tables are the same whatever the order in which their processes run."""
    bus = st.builds(Topology, st.just("switch"), st.integers(2, 5), st.just(LinkSpec(10**9, 1, "bus")))
    topology = data.draw(st.one_of(bus, worlds.machines(least_latency=1)))
    sharing, queues = data.draw(POLICIES)
    size = worlds.sizes(most=5000)
    instant = st.sampled_from([0, 0, 1000])
    acts: list[Act] = []
    playing = data.draw(st.integers(0, topology.gpus))
    if playing > 1:
        play = data.draw(worlds.plays(playing, size))
        acts.append(replace(play, at=data.draw(instant)))
        playing = max(play.ranks) + 1
    for src in range(playing, topology.gpus):
        dst = (src + data.draw(st.integers(1, topology.gpus - 1))) % topology.gpus
        sizes = tuple(data.draw(st.lists(size, min_size=1, max_size=4)))
        table = data.draw(worlds.tables(topology.gpus, size, most=6))
        rows = tuple(row._replace(src=src, delay=row.delay % 2000) for row in table.rows if row.dst != src)
        stamped = data.draw(st.booleans()) and rows
        acts.append(Table(data.draw(instant), rows) if stamped else Send(data.draw(instant), src, dst, sizes))
    order = data.draw(st.permutations(range(len(acts))))

    first = over_fabric(topology, sharing, acts, queues).tables
    second = over_fabric(topology, sharing, acts, queues, order=order).tables

    assert digest(first) == digest(second)


@given(st.data())
def test_a_stamped_table_equals_the_same_writes_sent_one_by_one(data: st.DataObject) -> None:
    topology = data.draw(worlds.machines())
    sharing, queues = data.draw(POLICIES)
    table = data.draw(worlds.tables(topology.gpus, worlds.sizes(most=5000), most=30))
    # A process numbers its messages as it sends them: so does the table.
    table = replace(table, rows=tuple(sorted(table.rows, key=lambda row: row.delay)))

    stamped = over_fabric(topology, sharing, [table], queues).tables
    one_by_one = over_fabric(topology, sharing, [table], queues, by_process=True).tables

    assert digest(stamped) == digest(one_by_one)


@given(st.data())
def test_packets_larger_than_every_message_change_nothing(data: st.DataObject) -> None:
    topology = data.draw(worlds.machines())
    switching = data.draw(st.sampled_from(["store_and_forward", "cut_through"]))
    acts = data.draw(worlds.programs(topology.gpus, worlds.sizes(most=5000)))
    largest = max((size for _, _, size in moved(acts)), default=1)

    whole = over_fabric(topology, "fifo", acts, Queues(switching)).tables
    packets = over_fabric(topology, "fifo", acts, Queues(switching, max(largest, 1))).tables

    assert digest(whole) == digest(packets)


@given(st.data())
def test_a_huge_buffer_equals_an_endless_one(data: st.DataObject) -> None:
    topology = data.draw(worlds.machines(least_latency=1))
    queues = data.draw(worlds.queueing(buffers=False))
    acts = data.draw(worlds.programs(topology.gpus, worlds.sizes(most=5000)))

    endless = over_fabric(topology, "fifo", acts, queues).tables
    huge = over_fabric(topology, "fifo", acts, replace(queues, buffer=2**50)).tables

    assert digest(endless) == digest(huge)


@given(st.data())
def test_without_a_recorder_the_same_messages_are_completed(data: st.DataObject) -> None:
    topology = data.draw(worlds.machines(least_latency=1))
    sharing, queues = data.draw(POLICIES)
    acts = data.draw(worlds.programs(topology.gpus, worlds.sizes(most=5000)))

    issued, arrived = over_fabric(topology, sharing, acts, queues, recorded=False).completions
    rows = over_fabric(topology, sharing, acts, queues).tables["transfers"].to_pylist()

    assert sorted(zip(issued.tolist(), arrived.tolist(), strict=True)) == sorted(
        (row["issued_ps"], row["arrived_ps"]) for row in rows
    )


@pytest.mark.parametrize("sharing", ALL_SHARINGS)
def test_stopping_and_looking_does_not_change_what_happens(sharing: Sharing) -> None:
    """A simulation that is interrupted by a process at every other instant ends as one that is not."""
    topology = Topology("ring", 5, LinkSpec(333_333_333_333, 500))
    rng = np.random.default_rng(5)
    src = rng.integers(0, 5, 300)
    dst = (src + rng.integers(1, 5, 300)) % 5
    writes = Writes(rng.integers(0, 10**6, 300), dst, rng.integers(0, 10**4, 300), np.zeros(300, bool), "w")

    def run(step: int) -> str:
        simulation, recorder = Simulation(), Recorder()
        fabric = Fabric(simulation, topology, sharing, recorder, range(5))
        fabric.send_many(src, writes)

        def looker() -> Generator[Any, Any, None]:
            while simulation.now < 2 * 10**6:
                yield simulation.timeout(step)

        simulation.process(looker())
        simulation.run()
        fabric.record()
        return digest(recorder.tables())

    assert len({run(step) for step in (10**7, 1009, 333)}) == 1


def test_a_link_that_is_never_idle_is_done_when_its_bytes_are_through() -> None:
    """Fluid shares do not drift: 100,000 messages that overlap, one flow or more at any time, end as their sum does."""
    count = 100_000
    rng = np.random.default_rng(7)
    size = rng.integers(1, 10**4, count)
    # At 0.9 B/ps the work that has come is always ahead of what is done.
    time = (np.cumsum(size) - size) * 19 // 20
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("full_mesh", 2, LinkSpec(9 * 10**11, 0)), "fair", None, range(2))
    fabric.send_many(0, Writes(time, np.ones(count, np.int64), size, np.zeros(count, bool), "w"))
    simulation.run()

    _, arrived = fabric.completions()
    assert abs(int(arrived.max()) - int(size.sum()) * 10 / 9) <= 1


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_the_mean_wait_at_a_link_is_that_of_an_m_d_1_queue(load: float) -> None:
    """Poisson arrivals at one server of constant service S wait load * S / (2 * (1 - load)) on average.

    The mean of n waits that are correlated over about 1 / (1 - load)**2 services has a relative error near
    2 / ((1 - load) * sqrt(load * n)); four of those at the stream "m/d/1" of seed 0.
    """
    count, service = 400_000, 1_000_000
    rng = Simulation(seed=0).rng("m/d/1")
    time = np.cumsum(rng.exponential(service / load, count)).astype(np.int64)
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("full_mesh", 2, LinkSpec(10**9, 0)), "fifo", None, range(2))
    fabric.send_many(0, Writes(time, np.ones(count, np.int64), np.full(count, 1000), np.zeros(count, bool), "w"))
    simulation.run()
    issued, arrived = fabric.completions()

    wait = float(np.mean(arrived - issued - service))
    assert wait == pytest.approx(load * service / (2 * (1 - load)), rel=8 / ((1 - load) * sqrt(load * count)))
