"""The fabric against its twins, to the picosecond (`fair`: within one); and the twins against examples by hand."""

from collections import Counter
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twins import service, wire, worlds
from twins.fair import Fair, complaint, shares
from twins.fifo import Fifo
from twins.ideal import Ideal
from twins.programs import Act, Outcome, Play, Row, Send, Table, Twin, Write, over_fabric, over_twin, sources, writes_of

from simcore.errors import Deadlock, SimulationError
from simcore.fabric import Fabric, _kernels, _shares
from simcore.hardware import LinkSpec, Queues, Sharing
from simcore.simulation import Simulation
from simcore.topology import Edge, Server, Topology


def fifo(queues: Queues | None = None) -> Twin:
    return lambda env, topology: Fifo(env, topology, queues)


def arrivals(topology: Topology, how: Queues | Literal["fair"], acts: list[Act]) -> list[int]:
    """Return the arrivals in the order (source, sequence), on which the twin and the fabric agree."""
    if how == "fair":
        messages, twin = over_fabric(topology, "fair", acts).messages, over_twin(topology, Fair, acts).messages
    else:
        messages, twin = (
            over_fabric(topology, "fifo", acts, how).messages,
            over_twin(topology, fifo(how), acts).messages,
        )
    assert messages == twin
    return [messages[key][1] for key in sorted(messages)]


def chain(*links: tuple[int, int]) -> Topology:
    """Return GPUs in a row, every link with its own bandwidth (B/s) and latency (ps); a byte takes 10**12 / bandwidth
    ps."""
    edges = [
        Edge((f"gpu{i}", f"gpu{i + 1}"), bandwidth, latency, "full") for i, (bandwidth, latency) in enumerate(links)
    ]
    return Topology("edges", len(links) + 1, LinkSpec(10**12, 0), edges)


def at_once(*writes: tuple[int, int, int]) -> list[Act]:
    """Return one table of (source, destination, size), all issued at once."""
    return [Table(0, tuple(Write(src, 0, dst, size) for src, dst, size in writes))]


# By hand: the twins, and with them the fabric.


def test_cut_through_by_hand() -> None:
    """1,000 B at 1 B/ps (10 ps of latency), then at 2 B/ps (20 ps), then at 1 B/ps (30 ps), by cut-through.

    The head leaves the links at 0, 10, 30. The first ends at 1000; by the rule the second would end at 10 + 500, but
    its last byte comes at 1010, which is the end; the third ends at the later of 30 + 1000 and 1010 + 20, both 1030.
    """
    topology = chain((10**12, 10), (2 * 10**12, 20), (10**12, 30))

    assert arrivals(topology, Queues(), at_once((0, 3, 1000))) == [1010 + 520 + 1030]
    assert arrivals(topology, Queues("cut_through"), at_once((0, 3, 1000))) == [1060]


def test_cut_through_behind_a_busy_link_by_hand() -> None:
    """A second message behind one that was held up by a slow link before: the busy period begins anew at its end.

    Link 1 at 1 B/ps, link 2 at 3 B/ps, both without latency. Message A (100 B) from gpu0 begins on link 2 at 0 and ends
    with its tail at 100. B (10 B) from gpu1 joins link 2 at 0 behind it: it begins at 100 and ends at 100 + ceil(10/3).
    Had the period gone on with A's bytes, from 0, B would end at ceil(110/3).
    """
    acts = at_once((0, 2, 100), (1, 2, 10))

    assert arrivals(chain((10**12, 0), (3 * 10**12, 0)), Queues("cut_through"), acts) == [100, 104]


def test_packets_by_hand() -> None:
    """250 B in packets of 100, 100, 50 over two links of 1 B/ps and 5 ps each: the first link ends packets at 100, 200,
    250; the second at 205, 305, 355; the message has arrived 5 ps after. Cut through, the second link ends with the
    first, 5 ps later: 255."""
    topology = chain((10**12, 5), (10**12, 5))

    assert arrivals(topology, Queues(mtu=100), at_once((0, 2, 250))) == [360]
    assert arrivals(topology, Queues("cut_through", 100), at_once((0, 2, 250))) == [260]
    assert arrivals(topology, Queues(mtu=250), at_once((0, 2, 250))) == [510]


def test_packets_of_two_messages_queue_by_arrival_then_source_then_sequence_by_hand() -> None:
    """Two sources send 2 packets each to gpu2 of a switch, all issued at once, links of 1 B/ps without latency: the
    packets come to the down link at 100 (0), 100 (1), 200 (0), 200 (1), and leave it one every 100 ps."""
    topology = Topology("switch", 3, LinkSpec(10**12, 0))

    assert arrivals(topology, Queues(mtu=100), at_once((0, 2, 200), (1, 2, 200))) == [400, 500]


def test_back_pressure_by_hand() -> None:
    """gpu0 -> gpu1 -> gpu2; the first link takes 100 ps a packet of 100 B, the second 1,000 ps; no latency; room for
    one packet at the second link.

    Packet 0 is sent 0-100 and served 100-1100. Its room is free at 1100 only, so packet 1 is sent 1100-1200, served
    1200-2200, and packet 2 is sent 2200-2300, served 2300-3300. With room for two, packet 1 is sent 100-200 and waits;
    packet 2 finds room at 1100; the second link is never idle: 3100.
    """
    topology, acts = chain((10**12, 0), (10**11, 0)), at_once((0, 2, 300))

    assert arrivals(topology, Queues(mtu=100, buffer=100), acts) == [3300]
    assert arrivals(topology, Queues(mtu=100, buffer=199), acts) == [3300]
    assert arrivals(topology, Queues(mtu=100, buffer=200), acts) == [3100]


def test_room_goes_to_whoever_waited_first_and_never_past_it_by_hand() -> None:
    """Three up links of a switch want the down link of gpu3, 1 B/ps all, 1 ps of latency, room for 100 B.

    gpu2's 100 B begin at 0 and take the room; they leave the down link at 201, which frees it. gpu1 waits since 10 with
    60 B, gpu0 since 20 with 30 B: both fit, gpu1's are sent 201-261 and gpu0's 201-231. The down link serves gpu0's
    first, 232-262, for they arrive first, then gpu1's, 262-322. A further 20 B of gpu0 wait since 231 and fit only
    when the 30 B are through, at 262: sent 262-282, served 322-342.
    """
    topology = Topology("switch", 4, LinkSpec(10**12, 1))
    rows = (Write(2, 0, 3, 100), Write(1, 10, 3, 60), Write(0, 20, 3, 30), Write(0, 30, 3, 20))

    assert arrivals(topology, Queues(buffer=100), [Table(0, rows)]) == [263, 343, 323, 202]


def test_a_small_packet_does_not_overtake_one_that_waits_for_room_by_hand() -> None:
    """As above, but gpu1 waits with 80 B and gpu0 with 30 B, together more than the room: gpu0 waits behind gpu1,
    though its bytes would fit as soon as gpu2's 50 B have begun (0-50, served 51-101).

    gpu1: sent 101-181, served 182-262. gpu0: sent 262-292, served 293-323.
    """
    topology = Topology("switch", 4, LinkSpec(10**12, 1))
    rows = (Write(2, 0, 3, 50), Write(1, 10, 3, 80), Write(0, 20, 3, 30))

    assert arrivals(topology, Queues(buffer=100), [Table(0, rows)]) == [324, 263, 102]


def test_the_cost_of_a_link_by_hand() -> None:
    """Overhead is paid a message and shifts the busy period; efficiency is interpolated in wire bytes, rounded up."""
    server = Server("link", 3 * 10**12, 7, ((100, 200), (300, 330)))

    assert [wire(server, size) for size in (0, 1, 50, 100, 101, 200, 300, 301)] == [0, 2, 100, 200, 201, 265, 330, 332]
    assert service(server, 100) == 7 + 67
    plain = Server("plain", 3 * 10**12)
    assert (wire(plain, 10**15), service(plain, 10**15)) == (10**15, 333_333_333_333_334)
    topology = chain((3 * 10**12, 5), (10**12, 0))
    topology.servers[0] = server
    # Three messages of 101 B, 201 wire bytes and 7 ps each, in one busy period: 7 + 67, 14 + 134, 21 + 201.
    assert arrivals(topology, Queues(), at_once(*[(0, 1, 101)] * 3)) == [79, 153, 227]
    # Fluid over both links: 7 + 5 ps, then as charged by the link that takes longest: 201 bytes at 3 B/ps are done in
    # 67 ps, 101 plain ones at 1 B/ps in 101.
    assert arrivals(topology, "fair", at_once((0, 2, 101))) == [113]
    assert arrivals(topology, "fair", at_once((0, 1, 101))) == [79]


def test_fair_by_hand() -> None:
    """Two flows into one down link halve it; a third, between the others' up link and another GPU, takes what is left.

    Links of 1 B/ps. gpu0 -> gpu2 (1,000 B) and gpu1 -> gpu2 (500 B) at 1/2 each: the second ends at 1000, when the
    first has 500 left and goes on alone: 1500. gpu0 -> gpu1 (300 B): shares gpu0's up link, 1/2 as well, until 600.
    """
    topology = Topology("switch", 3, LinkSpec(10**12, 0))

    assert arrivals(topology, "fair", at_once((0, 2, 1000), (1, 2, 500))) == [1500, 1000]
    assert arrivals(topology, "fair", at_once((0, 2, 1000), (0, 1, 300))) == [1300, 600]


def test_fair_latency_comes_first_and_an_end_is_rounded_up_once_by_hand() -> None:
    """Latency 10 + 10, then 100 B at 3 B/ps: 53.33, rounded up. An end within 2**-10 ps after an instant is at it."""
    assert arrivals(Topology("switch", 2, LinkSpec(3 * 10**12, 10)), "fair", at_once((0, 1, 100))) == [54]
    # One byte at 10**12 - 10**8 B/s takes 1.0001 ps, at 10**12 - 10**10 B/s 1.0101 ps.
    assert arrivals(Topology("full_mesh", 2, LinkSpec(10**12 - 10**8, 0)), "fair", at_once((0, 1, 1))) == [1]
    assert arrivals(Topology("full_mesh", 2, LinkSpec(10**12 - 10**10, 0)), "fair", at_once((0, 1, 1))) == [2]


def test_water_filling_by_hand_and_its_certificate() -> None:
    """Capacities 1 and 10; A on both links, B on the first, C on the second: 1/2, 1/2, 19/2."""
    paths = {"A": Counter([0, 1]), "B": Counter([0]), "C": Counter([1])}
    capacity = [Fraction(1), Fraction(10)]
    rates = shares(paths, capacity)

    assert rates == {"A": Fraction(1, 2), "B": Fraction(1, 2), "C": Fraction(19, 2)}
    assert complaint(paths, capacity, rates) == ""
    assert "could be faster" in complaint(paths, capacity, rates | {"C": Fraction(9)})
    assert "carries" in complaint(paths, capacity, rates | {"C": Fraction(10)})
    assert "could be faster" in complaint(paths, capacity, rates | {"A": Fraction(1, 4), "B": Fraction(3, 4)})


@given(st.data())
def test_water_filling_always_has_its_certificate(data: st.DataObject) -> None:
    links = data.draw(st.integers(1, 5))
    capacity = [Fraction(rate, 10**12) for rate in data.draw(st.lists(worlds.RATES, min_size=links, max_size=links))]
    path = st.lists(st.integers(0, links - 1), min_size=1, max_size=4).map(Counter)
    paths = dict(enumerate(data.draw(st.lists(path, max_size=8))))

    assert complaint(paths, capacity, shares(paths, capacity)) == ""


def test_a_schedule_by_hand() -> None:
    """A transfer, a computation that waits for it, one that does not and takes the stream first, and a transfer of
    both."""
    rows = (Row(0, 1, 100, ()), Row(1, 1, 50, (0,)), Row(1, 1, 120, ()), Row(1, 0, 10, (1, 2)))
    topology, acts = Topology("full_mesh", 2, LinkSpec(10**12, 5)), [Play(7, (1, 0), rows)]

    # Transfer 7-112; the stream works 7-127, then 127-177; the last transfer 177-192.
    for outcome in (over_twin(topology, fifo(), acts), over_fabric(topology, "fifo", acts)):
        assert outcome.messages == {(1, 0): (7, 112), (0, 2): (177, 192)}
        assert outcome.ends == {0: 192}


def test_a_ring_of_full_buffers_waits_for_itself_by_hand() -> None:
    """Everybody sends two messages two links on: the first ones fill the rooms and stand behind the second ones, which
    wait for room."""
    acts = at_once(*((i, (i + 2) % 4, 100) for i in range(4) for _ in range(2)))
    ring = Topology("ring", 4, LinkSpec(10**12, 1))

    outcome = over_twin(ring, fifo(Queues(buffer=100)), acts)
    assert outcome.messages == {}
    assert outcome.stuck == {f"gpu{i}->gpu{(i + 1) % 4}" for i in range(4)}
    assert over_twin(ring, fifo(Queues(buffer=200)), acts).stuck == set()


# The fabric against the twins.


@given(st.data())
def test_fifo_equals_an_event_per_message_model_to_the_picosecond(data: st.DataObject) -> None:
    """Whole messages or cut through, any latency, a stamped table of many sources."""
    topology = data.draw(worlds.machines())
    acts = [data.draw(worlds.tables(topology.gpus, worlds.sizes()))]
    queues = Queues(data.draw(st.sampled_from(["store_and_forward", "cut_through"])))

    assert over_fabric(topology, "fifo", acts, queues).messages == over_twin(topology, fifo(queues), acts).messages


@given(st.data())
def test_fifo_programs_equal_an_event_per_packet_model_to_the_picosecond(data: st.DataObject) -> None:
    """Closed loops, stamped tables and schedules side by side, in packets or not."""
    topology = data.draw(worlds.machines())
    queues = data.draw(worlds.queueing(buffers=False))
    most = 2**30 if queues.mtu is None else 12 * queues.mtu
    acts = data.draw(worlds.programs(topology.gpus, worlds.sizes(most=most)))

    outcome, expected = over_fabric(topology, "fifo", acts, queues), over_twin(topology, fifo(queues), acts)

    assert (outcome.messages, outcome.ends) == (expected.messages, expected.ends)


@given(st.data())
def test_fifo_keeps_its_order_where_most_things_happen_in_the_same_picoseconds(data: st.DataObject) -> None:
    finite = data.draw(st.booleans())
    switching = data.draw(st.sampled_from(["store_and_forward", "cut_through"]))
    queues = Queues(
        switching, data.draw(st.sampled_from([None, 3, 5])), data.draw(st.integers(12, 20)) if finite else None
    )
    topology, acts = data.draw(worlds.crowds(sluggish=finite))

    outcome, expected = over_fabric(topology, "fifo", acts, queues), over_twin(topology, fifo(queues), acts)

    assert outcome.messages == expected.messages
    assert bool(outcome.deadlock) == bool(expected.stuck)


@pytest.mark.parametrize("queues", [Queues(), Queues("cut_through", 1000), Queues(mtu=1000, buffer=10**7)], ids=str)
def test_thousands_of_messages_at_once_equal_the_twin(queues: Queues) -> None:
    """More of everything than the tables hold at first: stamped rows, loops, a schedule of many rows and waits."""
    rng = np.random.default_rng(11)
    topology = Topology("ring", 8, LinkSpec(450 * 10**9, 300))
    count = 1500

    def numbers(most: int, least: int = 0) -> list[int]:
        return rng.integers(least, most, count).tolist()

    src = numbers(8)
    dst = [(a + b) % 8 for a, b in zip(src, numbers(8, 1), strict=True)]
    table = tuple(map(Write, src, numbers(10**5), dst, numbers(3000)))
    rows = []
    for i, (rank, peer, amount) in enumerate(zip(numbers(8), numbers(8), numbers(3000, 1), strict=True)):
        rows.append(Row(rank, peer, amount, tuple({max(i - step, 0) for step in numbers(40, 1)[:3]} if i else ())))
    loops = [Send(7, a, (a + 3) % 8, tuple(numbers(2000, 1)[:50])) for a in range(8)]
    acts: list[Act] = [Table(0, table), *loops, Table(50_000, table), Play(1000, tuple(range(8)), tuple(rows))]

    outcome, expected = over_fabric(topology, "fifo", acts, queues), over_twin(topology, fifo(queues), acts)

    assert (outcome.messages, outcome.ends) == (expected.messages, expected.ends)
    assert len(expected.messages) > 2 * count


@given(st.data())
def test_finite_buffers_equal_an_event_per_packet_model_to_the_picosecond(data: st.DataObject) -> None:
    """Also where they end in a deadlock: the same messages have arrived by then, and the same links wait.

    Latencies of 1 ps at least: what within an instant comes of a start at that instant has no order by the rule.
    """
    topology = data.draw(worlds.machines(least_latency=1))
    queues = data.draw(worlds.queueing(buffers=True))
    assert queues.mtu is not None
    acts = data.draw(worlds.programs(topology.gpus, worlds.sizes(least=1, most=8 * queues.mtu)))

    outcome, expected = over_fabric(topology, "fifo", acts, queues), over_twin(topology, fifo(queues), acts)

    assert (outcome.messages, outcome.ends) == (expected.messages, expected.ends)
    assert bool(outcome.deadlock) == bool(expected.stuck)
    if expected.stuck:
        assert outcome.deadlock.startswith(f"{len(expected.stuck)} link")
        assert sum(link in outcome.deadlock for link in expected.stuck) >= min(len(expected.stuck), 4)


@given(st.data())
def test_fair_is_within_a_picosecond_of_exact_water_filling(data: st.DataObject) -> None:
    """And another one for every 2**50 ps that a message flows: bytes left are float64, of 53 bits."""
    topology = data.draw(worlds.machines())
    acts = [data.draw(worlds.tables(topology.gpus, worlds.sizes()))]

    outcome, expected = over_fabric(topology, "fair", acts).messages, over_twin(topology, Fair, acts).messages

    assert outcome.keys() == expected.keys()
    for key, (issued, arrived) in expected.items():
        assert outcome[key][0] == issued
        assert abs(outcome[key][1] - arrived) <= 1 + (arrived - issued) // 2**50


@given(st.data())
def test_fair_programs_are_within_a_picosecond_a_message_of_exact_water_filling(data: st.DataObject) -> None:
    """Where messages wait for one another, what one is off by is added to what the next one is."""
    topology = data.draw(worlds.machines())
    acts = data.draw(worlds.programs(topology.gpus, worlds.sizes(least=1)))

    outcome, expected = over_fabric(topology, "fair", acts), over_twin(topology, Fair, acts)

    assert outcome.messages.keys() == expected.messages.keys()
    within = len(expected.messages) + max([end for _, end in expected.messages.values()], default=0) // 2**50
    for key, instants in expected.messages.items():
        assert all(abs(a - b) <= within for a, b in zip(outcome.messages[key], instants, strict=True))
    assert all(abs(outcome.ends[act] - end) <= within for act, end in expected.ends.items())


@given(st.data())
def test_rates_are_the_water_filling_ones_within_one_part_in_10_to_the_12(data: st.DataObject) -> None:
    """Looked at in the midst of it, at a few instants; both the figures and their certificate.

    Most flows go on for longer than that; they come, and the small ones go, one after another.
    """
    topology = data.draw(worlds.machines(cost=False))
    size, delay = st.sampled_from([2**34, 2**34, 10**4, 10**6]), st.integers(0, 10**6)
    ends = data.draw(st.lists(worlds.pairs(topology.gpus), min_size=2, max_size=30))
    rows = [Write(src, data.draw(delay), dst, data.draw(size)) for src, dst in ends]
    simulation = Simulation()
    fabric = Fabric(simulation, topology, "fair", None, range(topology.gpus))
    fabric.send_many(np.array([row.src for row in rows]), writes_of(rows, 0))
    capacity = [Fraction(server.bandwidth, 10**12) for server in topology.servers]

    for until in sorted(data.draw(st.lists(st.integers(1, 4 * 10**6), min_size=2, max_size=4, unique=True))):
        simulation.run(until)
        flowing = flows_of(fabric, topology)
        paths = {name: path for name, (path, _) in flowing.items()}
        rates = {name: Fraction(rate) for name, (_, rate) in flowing.items()}
        for name, rate in shares(paths, capacity).items():
            assert abs(rates[name] - rate) <= rate / 10**12
        assert complaint(paths, capacity, rates, Fraction(2, 10**12)) == ""


def flows_of(fabric: Fabric, topology: Topology) -> dict[tuple[int, int], tuple[Counter[int], float]]:
    """Return the servers that every flow crosses, and its rate (bytes per ps), from the tables of the fabric."""
    state = fabric._policy.state
    hops, bundles, amounts = (state[table] for table in (_kernels.T_HOPS, _kernels.T_BUNDLES, _kernels.T_AMOUNTS))
    found = {}
    for route, bundle in enumerate(bundles[: fabric._routes.count].tolist()):
        first, count = bundle[_shares.B_HOP], bundle[_shares.B_HOPS]
        path = Counter(hops[first : first + count, _kernels.HOP_SERVER].tolist())
        for flow in range(bundle[_shares.B_FLOWS]):
            found[route, flow] = (path, float(amounts[route, _shares.RATE]))
    return found


@given(st.data())
def test_ideal_is_the_empty_path_in_order_and_never_later_than_fifo(data: st.DataObject) -> None:
    topology = data.draw(worlds.machines(least_latency=1))
    acts = data.draw(worlds.programs(topology.gpus, worlds.sizes()))

    ideal, expected = over_fabric(topology, "ideal", acts), over_twin(topology, Ideal, acts)

    assert (ideal.messages, ideal.ends) == (expected.messages, expected.ends)
    if all(isinstance(act, Table) for act in acts):
        fifo_ = over_fabric(topology, "fifo", acts).messages
        assert all(arrived <= fifo_[key][1] for key, (_, arrived) in ideal.messages.items())


@given(st.data())
def test_playing_equals_the_same_schedule_driven_by_processes(data: st.DataObject) -> None:
    """Alone, or beside traffic of other ranks over the same links; messages by (source, destination, size, issued,
    arrived), because a process numbers its messages when it sends them."""
    topology = data.draw(worlds.machines(least_latency=1, tidy=True))
    sharing: Sharing = data.draw(st.sampled_from(["ideal", "fair", "fifo"]))
    play = data.draw(worlds.plays(topology.gpus, worlds.sizes(least=1)))
    others = [
        act
        for act in data.draw(worlds.programs(topology.gpus, worlds.sizes(least=1), play=False))
        if not sources(act) & sources(play)
    ]

    played = over_fabric(topology, sharing, [play, *others])
    driven = over_fabric(topology, sharing, [play, *others], by_process=True)

    assert played.ends == driven.ends
    assert seen(played) == seen(driven)


def seen(outcome: Outcome) -> list[tuple[int, ...]]:
    """Return (source, destination, size, issued, arrived) of every message, sorted."""
    names = ("src", "dst", "size_bytes", "issued_ps", "arrived_ps")
    return sorted(tuple(row[name] for name in names) for row in outcome.tables["transfers"].to_pylist())


@pytest.mark.parametrize("last", [3, 5 * 10**6])
def test_a_ring_of_finite_buffers_is_reported_as_a_deadlock_that_names_what_waits(last: int) -> None:
    """As by hand above; what does not wait comes to its end before, and what has arrived is recorded."""
    edges = [Edge((f"gpu{i}", f"gpu{(i + 1) % 4}"), 10**12, 1, "simplex") for i in range(4)]
    edges += [Edge(("gpu3", "gpu4"), 10**9, 1, "full")]
    topology = Topology("edges", 5, LinkSpec(10**12, 1), edges)
    ring = [Send(0, i, (i + 2) % 4, (100,)) for i in range(4) for _ in range(2)]
    apart: list[Act] = [Send(0, 3, 4, (1000, 1000)), Send(last, 4, 4, (7,))]

    outcome = over_fabric(topology, "fifo", [*apart, *ring], Queues(buffer=100))

    assert all(f"gpu{i}->gpu{(i + 1) % 4}" in outcome.deadlock for i in range(4))
    assert "gpu3->gpu4" not in outcome.deadlock
    assert len(outcome.deadlock.splitlines()) == 1
    assert outcome.messages.keys() == {(3, 0), (3, 3)}
    assert outcome.ends == {0: 2 * (10**6 + 1), 1: last + 7}
    assert not over_fabric(topology, "fifo", ring, Queues(buffer=200)).deadlock


def test_a_deadlock_is_reported_however_long_processes_go_on_without_the_fabric() -> None:
    ring = Topology("ring", 4, LinkSpec(10**12, 1))
    simulation = Simulation()
    fabric = Fabric(simulation, ring, "fifo", None, range(4), Queues(buffer=100))
    for _ in range(2):
        for i in range(4):
            fabric.send(i, (i + 2) % 4, 100, "around")
    simulation.timeout(10**9)

    with pytest.raises(Deadlock, match="gpu0->gpu1"):
        simulation.run()

    assert simulation.now == 10**9


def test_a_packet_that_no_buffer_holds_is_an_error_that_names_mtu_and_buffer() -> None:
    """Only where it must enter a queue inside the network: the first link of a path takes it."""
    acts = at_once((0, 1, 101))

    with pytest.raises(SimulationError, match=r"(?s)mtu.*buffer|buffer.*mtu"):
        over_fabric(Topology("switch", 2, LinkSpec(10**12, 1)), "fifo", acts, Queues(buffer=100))
    assert over_fabric(Topology("full_mesh", 2, LinkSpec(10**12, 1)), "fifo", acts, Queues(buffer=100)).messages
