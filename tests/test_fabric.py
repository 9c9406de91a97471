"""The fabric by hand: the rounding rule, ties, duplex, closed loops, schedules, bins, and what it refuses."""

from collections.abc import Generator, Sequence
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore.errors import Deadlock, SimulationError
from simcore.fabric import Fabric, Writes, _kernels
from simcore.hardware import Edge, LinkSpec, Sharing
from simcore.schedule import Schedule
from simcore.simulation import Simulation
from simcore.topology import Topology
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


def test_one_table_of_many_sources_equals_a_table_of_each() -> None:
    """Rows of one source are numbered in the order of the table, whatever stands between them."""
    topology = Topology("switch", 3, LinkSpec(10**12, 0))
    messages = [(0, 1, 2, 300), (0, 0, 2, 100), (5, 1, 0, 7), (0, 1, 2, 50), (0, 0, 2, 40)]
    simulation, recorder = Simulation(), Recorder()
    fabric = Fabric(simulation, topology, "fifo", recorder, range(3))
    time, src, dst, size = (np.array(column) for column in zip(*messages, strict=True))
    fabric.send_many(src, Writes(time, dst, size, size < 50, "m"))
    simulation.run()
    fabric.record()

    # gpu2's link serves the 100 B (at 100), then 40 B (at 140), then gpu1's, which come at 300 and 350.
    rows = {(row["src"], row["sequence"]): row for row in recorder.tables()["transfers"].to_pylist()}
    assert {key: row["arrived_ps"] for key, row in rows.items()} == {
        (0, 0): 200, (0, 1): 240, (1, 0): 600, (1, 1): 364, (1, 2): 650,
    }  # fmt: skip
    assert [row["kind"] for _, row in sorted(rows.items())] == ["data", "flag", "data", "flag", "data"]
    assert [at for at, key in zip(carry(topology, messages)[0], sorted(rows), strict=True)] == [
        rows[key]["arrived_ps"] for key in sorted(rows)
    ]


def test_computations_of_a_rank_follow_one_another_beside_those_of_a_schedule() -> None:
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("full_mesh", 2, LinkSpec(10**12, 0)), "fair", Recorder(), range(2))
    ends = []
    one, none = np.array([1]), np.zeros(0, np.int64)

    def program() -> Generator[Any, Any, None]:
        first = fabric.compute(1, 30)
        played = fabric.play(Schedule(one, one, one * 0, one * 50, np.array([0, 0]), none), range(2), "work")
        second = fabric.compute(1, 20)
        for event in (first, played, second):
            yield event
            ends.append(simulation.now)

    simulation.process(program())
    simulation.run()

    assert ends == [30, 80, 100]


def test_an_empty_schedule_has_ended() -> None:
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("full_mesh", 2, LinkSpec(10**12, 0)), "fifo", Recorder(), range(2))
    none = np.zeros(0, np.int64)

    played = fabric.play(Schedule(none, none, none, none, np.zeros(1, np.int64), none), range(2), "nothing")
    simulation.run()

    assert played.processed
    assert simulation.now == 0


def test_on_arrival_is_called_before_any_process_of_that_instant() -> None:
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("full_mesh", 2, LinkSpec(10**12, 0)), "fifo", Recorder(), range(2))
    seen: list[tuple[str, int]] = []
    simulation.timeout(200).callbacks.append(lambda _: seen.append(("process", simulation.now)))
    two = np.array([1, 1])
    writes = Writes(two * 0, two, two * 100, two > 1, "m")
    fabric.send_many(0, writes, {1: lambda: seen.append(("arrival", simulation.now))})
    simulation.run()

    assert seen == [("arrival", 200), ("process", 200)]


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


def test_a_flow_that_another_link_holds_up_leaves_a_link_idle_in_part() -> None:
    topology = Topology(
        "edges", 2, LinkSpec(10**9, 0), [Edge(("gpu0", "hub")), Edge(("gpu1", "hub"), bandwidth=25 * 10**7)]
    )
    simulation, recorder = Simulation(), Recorder()
    fabric = Fabric(simulation, topology, "fair", recorder, range(2))
    fabric.send(0, 1, 10**6, "data")
    simulation.run()
    fabric.record()

    busy: dict[str, int] = {}
    for row in recorder.tables()["links"].to_pylist():
        busy[row["link"]] = busy.get(row["link"], 0) + row["busy_ps"]
    assert busy["hub->gpu1"] == pytest.approx(4 * 10**9, abs=9)
    # Bytes are whole in each of the bins.
    assert busy["gpu0->hub"] == pytest.approx(10**9, rel=0.005)


@pytest.mark.parametrize("sharing", ["fifo", "fair"])
def test_rows_that_become_ready_find_room_whatever_else_is_under_way(sharing: Sharing) -> None:
    """Two hundred rows wait for one while a thousand messages fill the agenda."""
    count = 201
    rank = np.array([0] + [1] * (count - 1))
    begins = np.arange(count + 1) - 1
    begins[0] = 0
    schedule = Schedule(
        rank, np.array([1] + [1] * (count - 1)), np.full(count, 9), np.full(count, 7), begins,
        np.zeros(count - 1, np.int64),
    )  # fmt: skip
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("switch", 4, LinkSpec(10**9, 1000)), sharing, None, range(4))
    played = fabric.play(schedule, range(4), "many")

    sent = [fabric.send(2, 3, 1, "one") for _ in range(1000)]
    simulation.run()

    assert played.processed
    assert all(event.processed for event in sent)
    assert len(fabric.completions()[0]) == 1001


def refused(act: Any, said: str) -> None:
    fabric = Fabric(Simulation(), Topology("switch", 4, LinkSpec(10**9, 5)), "fifo", None, range(4))
    with pytest.raises(SimulationError, match=said):
        act(fabric)


def rows(**changed: Any) -> Schedule:
    zero = np.zeros(1, np.int64)
    columns = {
        "rank": zero, "peer": zero + 1, "size": zero + 8, "duration": zero, "after_begin": np.zeros(2, np.int64),
        "after": zero[:0],
    }  # fmt: skip
    return Schedule(**(columns | changed))


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda f: f.send(0, -1, 5, "x"), "no rank -1"),
        (lambda f: f.send(-1, 0, 5, "x"), "no rank -1"),
        (lambda f: f.send(0, 4, 5, "x"), "no rank 4"),
        (lambda f: f.compute(-1, 5), "no rank -1"),
        (lambda f: f.send(0, 1, 2**63, "x"), "an int, 0 to below"),
        (lambda f: f.send(0, 1, 5.9, "x"), "an int, 0 to below"),
        (lambda f: f.prepare(np.array([10**6]), np.array([10**7])), "no rank 1000000"),
        (lambda f: f.play(rows(), [0, 10**6], "x"), "no rank 1000000"),
        (lambda f: f.play(rows(rank=np.array([10**7]), peer=np.array([10**7])), range(4), "x"), "uses rank 10000000"),
        (lambda f: f.play(rows(after_begin=np.array([0, 10**9])), range(4), "x"), "does not rise"),
        (lambda f: f.play(rows(after_begin=np.array([0])), range(4), "x"), "other lengths"),
        (lambda f: f.play(rows(after_begin=np.array([0, 1]), after=np.array([-7])), range(4), "x"), "on row -7"),
        (lambda f: f.play(rows(size=np.array([1.5])), range(4), "x"), "int64"),
        (lambda f: f.play(rows(size=np.array([-1])), range(4), "x"), "duration of -1"),
        (lambda f: f.send_many(0, Writes(*(np.array([v]) for v in (2**62 + 7, 1, 5, False)), "x")), "integer instant"),
        (lambda f: f.send_many(0, Writes(*(np.array([v]) for v in (0.5, 1, 5, False)), "x")), "integer instant"),
        (lambda f: f.send_many(0, Writes(*(np.array([v]) for v in (0, 1, 5.5, False)), "x")), "holds integers"),
        (lambda f: f.send_many(0, Writes(*(np.array([v]) for v in (0, 9, 5, False)), "x")), "beyond the 4"),
        (lambda f: f.send_many(0, Writes(np.zeros(3, np.int64), *(np.ones(2, int),) * 3, "x")), "other lengths"),
    ],
)
def test_what_the_loops_trust_is_checked_at_the_door(act: Any, said: str) -> None:
    refused(act, said)


def test_a_busy_period_of_more_bytes_than_a_word_holds_is_refused() -> None:
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("full_mesh", 2, LinkSpec(10**13, 0)), "fifo", None, range(2))
    for _ in range(10):
        fabric.send(0, 1, 2**60, "huge")

    with pytest.raises(SimulationError, match="end of simulated time"):
        simulation.run()


def test_paths_are_as_long_as_they_are() -> None:
    simulation, recorder = Simulation(), Recorder()
    fabric = Fabric(simulation, Topology("ring", 10_000, LinkSpec(10**12, 1)), "fifo", recorder, [0, 5_000])

    arrived = fabric.send(0, 1, 1, "far")
    simulation.run()
    fabric.record()

    assert arrived.processed
    assert recorder.tables()["transfers"]["queued_ps"].to_pylist() == [0]


def test_links_that_never_rest_keep_their_books_across_epochs() -> None:
    """Two links stay busy for five seconds, more than four epochs of 2**40 ps: flows overlap all the time."""
    simulation, recorder = Simulation(), Recorder()
    fabric = Fabric(simulation, Topology("switch", 2, LinkSpec(10**9, 0)), "fair", recorder, range(2))
    stamps = np.arange(25) * 2 * 10**11
    fabric.send_many(0, Writes(stamps, *(np.full(25, v) for v in (1, 250_000_000)), np.zeros(25, bool), "long"))

    simulation.run()
    fabric.record()

    tables = recorder.tables()
    arrived = tables["transfers"]["arrived_ps"].to_pylist()
    exact = max_min_of_one_link(stamps.tolist(), 250_000_000)
    assert all(abs(a - b) <= 1 for a, b in zip(arrived, exact, strict=True))
    for link in ("gpu0->switch", "switch->gpu1"):
        bins = [row for row in tables["links"].to_pylist() if row["link"] == link]
        assert sum(row["size_bytes"] for row in bins) == 25 * 250_000_000
        assert all(0 <= row["t0_ps"] < arrived[-1] and row["busy_ps"] <= row["t1_ps"] - row["t0_ps"] for row in bins)
        assert all(row["size_bytes"] <= (row["t1_ps"] - row["t0_ps"] + 1) / 1000 + 2 for row in bins)


def max_min_of_one_link(stamps: list[int], size: int) -> list[int]:
    """When equal flows through one link of 1 GB/s end, in exact fractions; a byte takes 1,000 ps alone."""
    left: list[Fraction] = []
    now, ends, ahead = Fraction(0), [], list(stamps)
    while left or ahead:
        step = min(left) * 1000 * len(left) if left else None
        if ahead and (step is None or now + step > ahead[0]):
            step = ahead[0] - now
            left = [rest - step / (1000 * len(left)) for rest in left]
            left.append(Fraction(size))
            now = Fraction(ahead.pop(0))
        else:
            assert step is not None
            now += step
            least = min(left)
            ends += [ceil(now - Fraction(1, 1024))] * left.count(least)
            left = [rest - least for rest in left if rest > least]
    return ends


def test_a_schedule_of_more_ranks_than_play_it_is_refused() -> None:
    zero = np.zeros(1, np.int64)
    schedule = Schedule(zero, zero + 2, zero + 8, zero, np.zeros(2, np.int64), zero[:0])
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("switch", 4, LinkSpec(10**9, 5)), "fifo", None, range(4))

    with pytest.raises(SimulationError, match="uses rank 2, but is played by 2 ranks"):
        fabric.play(schedule, [0, 1], "too many")


def test_a_schedule_that_waits_for_itself_is_a_deadlock() -> None:
    zero = np.zeros(2, np.int64)
    ring = Schedule(zero, zero + 1, zero + 8, zero, np.array([0, 1, 2]), np.array([1, 0]))
    simulation = Simulation()
    Fabric(simulation, Topology("switch", 4, LinkSpec(10**9, 5)), "fifo", None, range(4)).play(ring, [0, 1], "ring")

    with pytest.raises(Deadlock, match="wait for each other"):
        simulation.run()
