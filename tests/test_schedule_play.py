"""`Fabric.play`: equal to the same schedule carried out by SimPy processes, under `fifo` and under `fair`."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_twins import Player, drive

from simcore.collectives import build
from simcore.fabric import Fabric
from simcore.hardware import LinkSpec, Sharing
from simcore.schedule import COMPUTE, DELAY, Schedule
from simcore.simulation import Simulation
from simcore.topology import Topology

RATES = st.sampled_from([3, 10**9, 999_999_999_989, 450_000_000_000, 2**43 + 1])


@st.composite
def machines(draw: st.DrawFn) -> Topology:
    family: Any = draw(st.sampled_from(["switch", "full_mesh", "ring"]))
    link = LinkSpec(draw(RATES), draw(st.sampled_from([0, 1, 500_000])), draw(st.sampled_from(["full", "half"])))
    return Topology(family, draw(st.integers(2, 5)), link)


@st.composite
def schedules(draw: st.DrawFn, ranks: int) -> Schedule:
    """Transfers and computations, each after some of those before it, in no particular order of rows."""
    count = draw(st.integers(1, 25))
    size = st.one_of(st.integers(1, 10), st.integers(1, 10**5), st.just(4096))
    one = st.tuples(st.integers(0, ranks - 1), st.integers(0, ranks - 1), size)
    ends = draw(st.lists(one, min_size=count, max_size=count))
    rank, peer, size_or_time = (np.array(column, np.int64) for column in zip(*ends, strict=True))
    place = draw(st.permutations(range(count)))
    after: list[list[int]] = [[] for _ in range(count)]
    for i in range(1, count):
        earlier = draw(st.lists(st.integers(0, i - 1), max_size=3, unique=True))
        after[place[i]] = [place[j] for j in earlier]
    begin = np.cumsum([0, *map(len, after)])
    moved = rank != peer
    return Schedule(
        rank, peer, np.where(moved, size_or_time, 0), np.where(moved, 0, size_or_time), begin,
        np.array([row for rows in after for row in rows], np.int64),
    )  # fmt: skip


def played(topology: Topology, schedule: Schedule, ranks: list[int], sharing: Sharing) -> tuple[int, list[int]]:
    """Return when the schedule ended, and when its messages arrived, sorted, ps."""
    simulation = Simulation()
    fabric = Fabric(simulation, topology, sharing, None, range(topology.gpus))
    ended = fabric.play(schedule, ranks, "schedule")
    simulation.run(until=ended)
    return simulation.now, sorted(fabric.completions()[1].tolist())


@given(st.data())
@settings(max_examples=150)
def test_fifo_equals_a_process_a_row_with_a_resource_a_link(data: st.DataObject) -> None:
    topology = data.draw(machines())
    ranks = data.draw(st.permutations(range(topology.gpus)))
    schedule = data.draw(schedules(topology.gpus))

    twin = Player(topology, schedule, ranks).play()

    moved = (schedule.rank != schedule.peer).tolist()
    arrivals = sorted(at for at, is_transfer in zip(twin, moved, strict=True) if is_transfer)
    assert played(topology, schedule, ranks, "fifo") == (max(twin), arrivals)


@given(st.data())
@settings(max_examples=100)
def test_fair_equals_the_same_messages_sent_by_processes(data: st.DataObject) -> None:
    topology = data.draw(machines())
    ranks = data.draw(st.permutations(range(topology.gpus)))
    schedule = data.draw(schedules(topology.gpus))
    simulation = Simulation()
    fabric = Fabric(simulation, topology, "fair", None, range(topology.gpus))

    twin = drive(simulation, lambda rank, peer, size: fabric.send(ranks[rank], ranks[peer], size, "m"), schedule)

    arrivals = sorted(fabric.completions()[1].tolist())
    end, found = played(topology, schedule, ranks, "fair")
    assert (end, found) == (max(twin), arrivals)


@pytest.mark.parametrize(
    ("operation", "algorithm"),
    [("all_reduce", "ring"), ("all_reduce", "double_tree"), ("all_to_all", "direct"), ("broadcast", "ring")],
)
def test_collectives_take_the_same_time_played_as_carried_out_by_processes(operation: str, algorithm: str) -> None:
    topology, ranks = Topology("switch", 6, LinkSpec(450 * 10**9, 500_000)), list(range(6))
    schedule = build(operation, 6, 10**6 + 7, algorithm, chunks=3, channels=2, reduce_time=lambda size: size).schedule
    simulation = Simulation()
    fabric = Fabric(simulation, topology, "fair", None, ranks)

    by_links = Player(topology, schedule, ranks).play()
    by_messages = drive(simulation, lambda rank, peer, size: fabric.send(rank, peer, size, "m"), schedule)

    assert played(topology, schedule, ranks, "fifo")[0] == max(by_links)
    found = (max(by_messages), sorted(fabric.completions()[1].tolist()))
    assert played(topology, schedule, ranks, "fair") == found


@pytest.mark.parametrize("sharing", ["ideal", "fair", "fifo"])
def test_delays_pass_beside_each_other_and_beside_computations(sharing: Any) -> None:
    """Two delays and two computations of 5 ps on one rank: the delays end together, the computations in turn; what
    follows a delay begins at its end."""
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("full_mesh", 2, LinkSpec(10**12, 0)), sharing, None, range(2))
    ones = np.zeros(5, np.int64)
    schedule = Schedule(
        ones, np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 0, 3]), np.array([5, 5, 5, 5, 0]),
        np.array([0, 0, 0, 0, 0, 1]), np.array([0]), np.array([DELAY, DELAY, COMPUTE, COMPUTE, COMPUTE]),
    )  # fmt: skip

    ended = fabric.play(schedule, range(2), "s", timed=True)
    simulation.run(ended)

    ready, ends = ended.value
    assert ready.tolist() == [0, 0, 0, 0, 5]
    assert ends.tolist() == [5, 5, 5, 10, 8]
    assert simulation.now == 10
