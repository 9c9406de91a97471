"""The fabric: the rounding rule by hand, and equality with an event-per-message SimPy model, to the picosecond."""

from collections import defaultdict
from collections.abc import Generator, Sequence
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from simcore.errors import SimulationError
from simcore.fabric import Fabric, Writes, _kernels
from simcore.hardware import Family, LinkSpec, Sharing
from simcore.simulation import OBSERVE, Simulation
from simcore.topology import Edge, Topology
from simcore.trace import Recorder

Message = tuple[int, int, int, int]
"""Issue instant (ps), source, destination, size (bytes)."""


def carry(topology: Topology, messages: Sequence[Message], sharing: Sharing = "fifo") -> tuple[list[int], Any]:
    """Return the arrival of every message, in order of (source, its sequence), and the recorded tables."""
    simulation, recorder = Simulation(), Recorder()
    fabric = Fabric(simulation, topology, sharing, recorder, range(topology.gpus))
    for src in range(topology.gpus):
        mine = [m for m in messages if m[1] == src]
        if mine:
            time, _, dst, size = (np.array(column) for column in zip(*mine, strict=True))
            fabric.send_many(src, Writes(time, dst, size, np.zeros(len(mine), bool), ["m"] * len(mine)))
    simulation.run()
    fabric.record()
    tables = recorder.tables()
    rows = tables["transfers"].to_pylist()
    return [row["arrived_ps"] for row in sorted(rows, key=lambda row: (row["src"], row["sequence"]))], tables


class Twin:
    """The obvious way: one SimPy process a message, one event a hop, exact fractions instead of compiled arithmetic."""

    def __init__(self, topology: Topology) -> None:
        self.env = simpy.Environment()
        self.topology = topology
        self.arrived: dict[tuple[int, int], int] = {}
        self.waiting: dict[int, list[Any]] = defaultdict(list)
        self.busy: dict[int, tuple[int, int]] = {}

    def life(self, key: tuple[int, int], message: Message) -> Generator[Any, Any, None]:
        at, src, dst, size = message
        yield self.env.timeout(at)
        for index in self.topology.route(src, dst):
            link = self.topology.links[index]
            served = self.env.event()
            self.waiting[link.server].append((key, size, served))
            if len(self.waiting[link.server]) == 1:
                # Everybody who arrives at this instant is in line before the line is served.
                late = self.env.event()
                late._ok, late._value = True, None
                late.callbacks = [lambda _, server=link.server: self.serve(server)]
                self.env.schedule(late, OBSERVE)
            yield served
            yield self.env.timeout(link.latency)
        self.arrived[key] = self.env.now

    def serve(self, server: int) -> None:
        rate = self.topology.servers[server].bandwidth
        for _, size, served in sorted(self.waiting.pop(server), key=lambda entry: entry[0]):
            t0, c = self.busy.get(server, (0, 0))
            if self.env.now >= t0 + ceil(Fraction(c * 10**12, rate)):
                t0, c = self.env.now, 0
            self.busy[server] = (t0, c + size)
            served._ok, served._value = True, None
            self.env.schedule(served, 1, t0 + ceil(Fraction((c + size) * 10**12, rate)) - self.env.now)

    def carry(self, messages: Sequence[Message]) -> list[int]:
        count: dict[int, int] = defaultdict(int)
        for message in messages:
            self.env.process(self.life((message[1], count[message[1]]), message))
            count[message[1]] += 1
        self.env.run()
        return [self.arrived[key] for key in sorted(self.arrived)]


RATES = st.sampled_from(
    [1, 3, 999_999_999_989, 450_000_000_000, 64_000_000_000, 333_333_333_333, 2**43 + 1, 9_999_999_999_999]
)
"""Round and awkward bandwidths, among them primes near 10**12 for which bytes * 10**12 / rate has no small terms."""


@st.composite
def machines(draw: st.DrawFn) -> Topology:
    family: Family = draw(st.sampled_from(["switch", "full_mesh", "ring", "edges"]))
    gpus = draw(st.integers(2, 5))
    link = LinkSpec(draw(RATES), draw(st.sampled_from([0, 1, 500_000])), draw(st.sampled_from(["full", "half", "bus"])))
    if family != "edges":
        return Topology(family, gpus, link)
    edges = [Edge((f"gpu{i}", f"gpu{i + 1}"), draw(RATES), draw(st.integers(0, 9)), "full") for i in range(gpus - 1)]
    return Topology("edges", gpus, link, edges)


def traffic(gpus: int) -> st.SearchStrategy[list[Message]]:
    """Messages of mixed sizes with idle gaps and near ties."""
    instants = st.one_of(st.integers(0, 3), st.integers(0, 10**7), st.sampled_from([10**6, 10**6 + 1]))
    sizes = st.one_of(st.integers(0, 10), st.integers(0, 10**5), st.just(128))
    pair = st.permutations(range(gpus)).map(lambda order: order[:2])
    return st.lists(
        st.tuples(instants, pair, sizes).map(lambda m: (m[0], m[1][0], m[1][1], m[2])), min_size=1, max_size=40
    )


@given(st.data())
def test_fifo_equals_an_event_per_message_model_to_the_picosecond(data: st.DataObject) -> None:
    topology = data.draw(machines())
    messages = data.draw(traffic(topology.gpus))

    arrived, _ = carry(topology, messages)

    assert arrived == Twin(topology).carry(messages)


@given(st.data())
def test_ideal_is_the_empty_path_in_order_and_never_later_than_fifo(data: st.DataObject) -> None:
    topology = data.draw(machines())
    messages = data.draw(traffic(topology.gpus))

    ideal, _ = carry(topology, messages, "ideal")

    latest: dict[tuple[int, int], int] = {}
    expected: dict[int, list[int]] = defaultdict(list)
    in_order = sorted(enumerate(messages), key=lambda m: (m[1][0], m[1][1], m[0]))
    arrivals = {}
    for index, (at, src, dst, size) in in_order:
        alone = at
        for link in (topology.links[i] for i in topology.route(src, dst)):
            alone += ceil(Fraction(size * 10**12, topology.servers[link.server].bandwidth)) + link.latency
        arrivals[index] = latest[src, dst] = max(alone, latest.get((src, dst), 0))
    for index, message in enumerate(messages):
        expected[message[1]].append(arrivals[index])
    assert ideal == [at for src in sorted(expected) for at in expected[src]]
    assert all(a <= b for a, b in zip(ideal, carry(topology, messages)[0], strict=True))


@given(st.data())
def test_bytes_and_busy_time_are_conserved_and_no_bin_is_fuller_than_time(data: st.DataObject) -> None:
    topology = data.draw(machines())
    messages = data.draw(traffic(topology.gpus))

    _, tables = carry(topology, messages)

    carried: dict[str, int] = defaultdict(int)
    for _, src, dst, size in messages:
        for index in topology.route(src, dst):
            carried[topology.servers[topology.links[index].server].name] += size
    recorded: dict[str, int] = defaultdict(int)
    for row in tables["links"].to_pylist():
        recorded[row["link"]] += row["size_bytes"]
        assert 0 <= row["busy_ps"] <= row["t1_ps"] - row["t0_ps"]
    assert {k: v for k, v in carried.items() if v} == {k: v for k, v in recorded.items() if v}
    assert min(tables["transfers"]["queued_ps"].to_pylist()) >= 0


@given(st.integers(0, 2**61), st.integers(1, 10**12), st.integers(1, 2**62 - 1))
def test_divide_up_is_exact_where_the_product_overflows(a: int, num: int, den: int) -> None:
    exact = ceil(Fraction(a * num, den))
    if exact < 2**62:
        assert _kernels.divide_up(a, num, den) == exact


def test_one_message_by_hand() -> None:
    """128 bytes at 450 GB/s hold a link for 284.44 ps, rounded up; two links of 500 ns each."""
    topology = Topology("switch", 2, LinkSpec(450_000_000_000, 500_000))

    assert carry(topology, [(0, 0, 1, 128)])[0] == [2 * (285 + 500_000)]


def test_rounding_is_never_carried_into_the_next_message() -> None:
    """Three messages of 128 bytes back to back end after ceil(k * 284.44) ps, not after k * 285."""
    topology = Topology("full_mesh", 2, LinkSpec(450_000_000_000, 0))

    assert carry(topology, [(0, 0, 1, 128)] * 3)[0] == [285, 569, 854]


def test_an_instant_of_ties_goes_by_source_rank_whatever_the_order_of_sending() -> None:
    topology = Topology("switch", 4, LinkSpec(10**12, 0))
    messages = [(0, src, 3, 100) for src in (2, 0, 1)]

    assert carry(topology, messages)[0] == [200, 300, 400]


def test_half_duplex_shares_one_server_and_full_does_not() -> None:
    both = [(0, 0, 1, 100), (0, 1, 0, 100)]

    assert carry(Topology("full_mesh", 2, LinkSpec(10**12, 0, "full")), both)[0] == [100, 100]
    assert carry(Topology("full_mesh", 2, LinkSpec(10**12, 0, "half")), both)[0] == [100, 200]


def test_a_bus_is_one_server_for_all_its_members() -> None:
    topology = Topology("full_mesh", 4, LinkSpec(10**12, 0, "bus"))

    assert carry(topology, [(0, 0, 1, 100), (0, 2, 3, 100)])[0] == [100, 200]


def test_one_gigabyte_over_one_gigabyte_a_second_takes_exactly_one_second() -> None:
    assert carry(Topology("full_mesh", 2, LinkSpec(10**9, 0)), [(0, 0, 1, 10**9)])[0] == [10**12]


def test_time_that_leaves_its_range_is_an_error_not_a_wrap() -> None:
    topology = Topology("full_mesh", 2, LinkSpec(1, 0))

    with pytest.raises(SimulationError, match="end of simulated time"):
        carry(topology, [(0, 0, 1, 2**40)])


def test_a_process_resumes_at_the_instant_of_its_message_before_later_ones_are_computed() -> None:
    """A closed loop: the second message is sent when the first has arrived, behind a stamped stream on the same
    link."""
    simulation, recorder = Simulation(), Recorder()
    fabric = Fabric(simulation, Topology("full_mesh", 2, LinkSpec(10**12, 7)), "fifo", recorder, range(2))
    seen = []

    def program() -> Generator[Any, Any, None]:
        for _ in range(2):
            yield fabric.send(0, 1, 100, "closed")
            seen.append(simulation.now)

    fabric.send_many(
        0, Writes(np.array([50, 150]), np.array([1, 1]), np.array([100, 100]), np.array([False, False]), ["a", "b"])
    )
    simulation.process(program())
    simulation.run()

    # The link serves closed 0-100, stamped (50) 100-200, closed again (sent at 107) 200-300, and only then stamped
    # (150).
    assert seen == [107, 307]
    fabric.record()
    arrived = {row["what"]: row["arrived_ps"] for row in recorder.tables()["transfers"].to_pylist()}
    assert (arrived["a"], arrived["b"]) == (207, 407)


def test_sending_into_the_past_or_to_oneself_is_refused() -> None:
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("full_mesh", 2, LinkSpec(10**12, 7)), "fifo", Recorder(), range(2))
    with pytest.raises(SimulationError, match="on its own GPU"):
        fabric.send(0, 0, 1, "self")
    simulation.timeout(5)
    simulation.run()
    with pytest.raises(SimulationError, match="in the past"):
        fabric.send_many(0, Writes(np.array([4]), np.array([1]), np.array([1]), np.array([False]), ["late"]))


def test_bins_merge_in_pairs_and_keep_their_sums() -> None:
    topology = Topology("full_mesh", 2, LinkSpec(10**9, 0))
    messages = [(i * 10**7, 0, 1, 1000 + i) for i in range(200)]

    _, tables = carry(topology, messages)
    rows = tables["links"].to_pylist()

    assert sum(row["size_bytes"] for row in rows) == sum(m[3] for m in messages)
    assert sum(row["busy_ps"] for row in rows) == sum(1000 * m[3] for m in messages)
    widths = {row["t1_ps"] - row["t0_ps"] for row in rows}
    assert len(widths) == 1
    assert bin(widths.pop()).count("1") == 1
