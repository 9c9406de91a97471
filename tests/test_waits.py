"""Waits for words: the fabric equals the event-per-poll twin in every policy, and both equal arithmetic by hand."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twins.waits import Machine, Policy, Taken, Word
from twins.watches import POLICIES, Case, Link, Put, Watch, by_fabric, by_twin, cases

from simcore.hardware import Sharing

GPU = Machine(
    clock=10**9, memory_line=64, memory_bandwidth=64 * 10**9, poll_period=40, poll_request=20, poll_response=10,
    monitor_arm=1, monitor_notify=2, monitor_wake=100, monitor_log=50,
)  # fmt: skip
"""A cycle is 1 ns. A read: 20 ns to the port, 1 ns for its line, 10 ns back."""
START = 1_000
"""ns: the waits of the examples begin at, and their instants are told from, here."""


@pytest.mark.parametrize("sharing", ["fifo", "ideal", "fair"])
@pytest.mark.parametrize("name", POLICIES)
@given(data=st.data())
def test_waits_at_a_free_port_equal_an_event_per_poll(name: str, sharing: Sharing, data: st.DataObject) -> None:
    case = data.draw(cases([name], sharing=sharing))

    assert by_fabric(case) == by_twin(case)


@pytest.mark.parametrize("name", POLICIES)
@given(data=st.data())
def test_waits_at_a_shared_port_equal_an_event_per_poll(name: str, data: st.DataObject) -> None:
    case = data.draw(cases([name], shared=True))

    assert by_fabric(case) == by_twin(case)


CROWDED = [
    Policy("monitor", capacity=1, wake="one"), Policy("monitor", capacity=1, granularity="line"),
    Policy("waiting_atomic", capacity=1, wake="one"),
]  # fmt: skip


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("policy", CROWDED)
def test_every_interleaving_of_two_waits_equals_an_event_per_poll(policy: Policy, shared: bool) -> None:
    """Exhaustively: on a GPU on which every step takes 1 to 3 ps, with room for one of two waits in its monitor."""
    tiny = Machine(10**12, 64, 64 * 10**12, 4, 1, 1, 1, 1, 2, 3)
    ours, other = Word(0, 0), Word(0, 1)
    for behind, instant, word, wanted in itertools.product(range(6), range(24), (ours, other), (1, 2)):
        watches = Watch(100, 0, (ours,), (wanted,)), Watch(100 + behind, 0, (word,), (1,))
        puts = [Put(100 + instant, 1, 0, 0, ours, 1), Put(160, 1, 0, 0, ours, 2), Put(160, 1, 0, 0, other, 2)]
        case = Case(tiny, policy, watches, tuple(puts), Link(latency=0), shared)
        assert by_fabric(case) == by_twin(case)


def observe(
    policy: Policy, *writes: tuple[int, int, int], waits: tuple[tuple[int, int, int], ...] = ((0, 0, 1),),
    machine: Machine = GPU, traffic: tuple[tuple[int, int], ...] = (), shared: bool = False,
) -> list[Taken]:  # fmt: skip
    """Return what the waits (begin, word, wanted) take while ``writes`` (instant, word, value) land and ``traffic``
    (instant, bytes) reaches the port; in ns, by the fabric and by the twin."""
    link = Link(bandwidth=10**12, latency=0, sharing="fifo")
    puts = [Put((START + instant) * 1000, 1, 0, 0, Word(0, word), value) for instant, word, value in writes]
    # The last byte of so many has left after as many ps.
    puts += [Put((START + instant) * 1000 - size, 1, 0, size) for instant, size in traffic]
    watches = [Watch((START + begin) * 1000, 0, (Word(0, word),), (wanted,)) for begin, word, wanted in waits]
    case = Case(machine, policy, tuple(watches), tuple(puts), link, shared)
    outcome = by_twin(case)
    assert by_fabric(case) == outcome
    taken = []
    for rows in outcome:
        assert rows is not None
        (row,) = rows
        assert row.detected_ps % 1000 == row.set_ps % 1000 == 0
        since = row.set_ps // 1000 - START
        taken.append(row._replace(detected_ps=row.detected_ps // 1000 - START, set_ps=since))
    return taken


def test_spin_by_hand() -> None:
    """Samples at 21, 61, 101: poll 2, issued at 80, sees what landed at 100 and at 101, and is back at 111."""
    assert observe(Policy("spin"), (100, 0, 1)) == [Taken(111, 100, 3, 0, 0, 0)]
    assert observe(Policy("spin"), (101, 0, 1)) == [Taken(111, 101, 3, 0, 0, 0)]
    assert observe(Policy("spin"), (102, 0, 1)) == [Taken(151, 102, 4, 0, 0, 0)]


def test_a_value_that_falls_between_two_polls_is_not_seen() -> None:
    """Samples at 21, 61, 101: it holds from 22 to 60, and again from 90."""
    assert observe(Policy("spin"), (22, 0, 1), (60, 0, 0), (90, 0, 1)) == [Taken(111, 90, 3, 0, 0, 0)]


def test_a_value_set_before_the_wait_takes_one_read() -> None:
    for name in POLICIES:
        assert observe(Policy(name), (-50, 0, 1), (10, 0, 2)) == [Taken(31, -50, 1, 0, 0, 0)]


def test_spin_with_several_polls_outstanding_by_hand() -> None:
    """Four polls in 40: one every 10. Poll 8, of 80, samples at 101 and is back at 111; polls 0 to 11 were issued by
    then, the last at 110. With a response at 30 + 80 the poll of that very instant is not issued."""
    four = Policy("spin", outstanding=4)

    assert observe(four, (100, 0, 1)) == [Taken(111, 100, 12, 0, 0, 0)]
    assert observe(four, (100, 0, 1), machine=replace(GPU, poll_request=19)) == [Taken(110, 100, 11, 0, 0, 0)]


def test_backoff_by_hand() -> None:
    """Back at 31, pause 5; at 67, pause 15; at 113, pause 45, which 40 limits; so polls at 0, 36, 82, 153, samples at
    21, 57, 103, 174."""
    policy = Policy("backoff", backoff_first=5, backoff_factor=3, backoff_most=40)

    assert observe(policy, (103, 0, 1)) == [Taken(113, 103, 3, 0, 0, 0)]
    assert observe(policy, (104, 0, 1)) == [Taken(184, 104, 4, 0, 0, 0)]


def test_yield_by_hand() -> None:
    """A trip of 31 and a pause of 7: polls at 0, 38, 76, 114, samples at 21, 59, 97, 135."""
    assert observe(Policy("yield", yield_for=7), (97, 0, 1)) == [Taken(107, 97, 3, 0, 0, 0)]
    assert observe(Policy("yield", yield_for=7), (98, 0, 1)) == [Taken(145, 98, 4, 0, 0, 0)]


@pytest.mark.parametrize(
    ("instant", "taken"),
    [
        (21, Taken(31, 21, 1, 0, 0, 0)),
        (22, Taken(63, 22, 2, 0, 0, 0)),
        (32, Taken(63, 32, 2, 0, 0, 0)),
        (53, Taken(63, 53, 2, 0, 0, 0)),
        (54, Taken(94, 54, 3, 0, 0, 0)),
        (63, Taken(94, 63, 3, 0, 0, 0)),
        (64, Taken(197, 64, 3, 1, 0, 0)),
    ],
)
def test_monitor_by_hand(instant: int, taken: Taken) -> None:
    """Checked at 21, back at 31, armed at 32; re-checked at 53, back at 63. A write between falls through to a read
    from 63 to 94; one after that notifies, 2, and wakes, 100, for a read, 31."""
    assert observe(Policy("monitor"), (instant, 0, 1)) == [taken]


def test_a_false_wakeup_by_hand() -> None:
    """Word 1 of the line is written at 100: awake at 202, back in vain at 233, armed at 234, re-checked, back at 265,
    asleep; the word itself at 300: awake at 402, back at 433. Five reads. The word alone watched: only the second."""
    line = Policy("monitor", granularity="line")

    assert observe(line, (100, 1, 1), (300, 0, 1)) == [Taken(433, 300, 5, 2, 1, 0)]
    assert observe(replace(line, stride=64), (100, 1, 1), (300, 0, 1)) == [Taken(433, 300, 3, 1, 0, 0)]
    assert observe(Policy("monitor"), (100, 1, 1), (300, 0, 1)) == [Taken(433, 300, 3, 1, 0, 0)]


def test_a_fall_through_in_vain_by_hand() -> None:
    """Word 1 of the line is written at 54, between re-check and sleep: read again from 63 to 94, armed at 95,
    re-checked, back at 126, asleep; the word itself at 200: awake at 302, back at 333."""
    line = Policy("monitor", granularity="line")

    assert observe(line, (54, 1, 1), (200, 0, 1)) == [Taken(333, 200, 5, 1, 1, 0)]


def test_a_full_monitor_by_hand() -> None:
    """Three waits of one instant and room for one: two are in the log, and searching it takes 50. The one that arms at
    242, begun at 210, finds the room that the first has left at 100, the ones in the log not counted."""
    waits = ((0, 0, 1), (0, 1, 1), (0, 2, 1), (210, 3, 1))

    taken = observe(Policy("monitor", capacity=1), (100, 0, 1), *((400, word, 1) for word in (1, 2, 3)), waits=waits)

    assert taken == [Taken(233, 100, 3, 1, 0, 0), *[Taken(583, 400, 3, 1, 0, 1)] * 2, Taken(533, 400, 3, 1, 0, 0)]


def test_wake_one_by_hand() -> None:
    """Three asleep, called at 100: the first awake at 202, back at 233; the second notified then, awake at 335, back at
    366; the third, in the log, at 366 + 2 + 100 + 50 + 31."""
    policy = Policy("monitor", wake="one", capacity=2)

    taken = observe(policy, (100, 0, 1), waits=((0, 0, 1),) * 3)

    assert [row.detected_ps for row in taken] == [233, 366, 549]
    assert {row.reads for row in taken} == {3}


def test_who_was_called_for_nothing_hands_on_too() -> None:
    """The first wants 2 and is back in vain at 233; the second is notified all the same, and back at 366. The first
    armed again at 234 and sleeps from 265; called at 300 behind the third, which is notified at 366 and back at 499, it
    is back at 632."""
    taken = observe(Policy("monitor", wake="one"), (100, 0, 1), (300, 0, 2), waits=((0, 0, 2), (0, 0, 1), (0, 0, 1)))

    assert taken == [Taken(632, 300, 5, 2, 1, 0), Taken(366, 100, 3, 1, 0, 0), Taken(499, 100, 3, 1, 0, 0)]


def test_sleepers_are_called_in_the_order_in_which_they_armed() -> None:
    """What is written at 100 wakes the first for nothing: it armed again at 234. The second, begun at 150, armed at 182
    and is called first: awake at 402, back at 433; the first awake at 535, back at 566."""
    taken = observe(Policy("monitor", wake="one"), (100, 0, 0), (300, 0, 1), waits=((0, 0, 1), (150, 0, 1)))

    assert taken == [Taken(566, 300, 5, 2, 1, 0), Taken(433, 300, 3, 1, 0, 0)]


def test_waiting_atomic_by_hand() -> None:
    """Compared at 21: satisfied, back at 31; else asleep at once, and awake 102 after the write that satisfies. One at
    a time: the next is notified when the one before has ended."""
    one = replace(Policy("waiting_atomic"), wake="one", capacity=1)

    assert observe(Policy("waiting_atomic"), (21, 0, 1)) == [Taken(31, 21, 1, 0, 0, 0)]
    assert observe(Policy("waiting_atomic"), (22, 0, 1)) == [Taken(124, 22, 1, 1, 0, 0)]
    assert observe(Policy("waiting_atomic"), (50, 0, 1), (60, 0, 2), waits=((0, 0, 2),)) == [Taken(162, 60, 1, 1, 0, 0)]
    assert observe(one, (100, 0, 1), waits=((0, 0, 1),) * 2) == [
        Taken(202, 100, 1, 1, 0, 0), Taken(202 + 152, 100, 1, 1, 0, 1)
    ]  # fmt: skip


def test_a_shared_port_by_hand() -> None:
    """Two spinners' first polls reach the port at 20, behind a message of 640 B, 10 ns, and the write of that instant:
    served by 31 and 32, they see it, and are back at 41 and 42; later than the next poll is due, which is not issued
    then. With the port free, what lands at 22 is seen by the second polls."""
    waits = ((0, 0, 1), (0, 0, 1))

    assert observe(Policy("spin"), (20, 0, 1), traffic=((20, 640),), waits=waits, shared=True) == [
        Taken(41, 30, 1, 0, 0, 0), Taken(42, 30, 1, 0, 0, 0)
    ]  # fmt: skip
    assert observe(Policy("spin"), (22, 0, 1), waits=waits) == [Taken(71, 22, 2, 0, 0, 0)] * 2


def test_polls_that_wait_for_the_port_come_later() -> None:
    """A message of 6,400 B holds the port from 15 to 115: the first poll is served by 116 and back at 126, and the grid
    begins again there. What lands at 117 is seen by the second, of 126: back at 157."""
    taken = observe(Policy("spin"), (117, 0, 1), traffic=((15, 6400),), shared=True)

    assert taken == [Taken(157, 117, 2, 0, 0, 0)]


def test_two_outstanding_polls_that_wait_for_the_port() -> None:
    """Polls 0 and 1, of 0 and 20, are served by 116 and 117, back at 126 and 127. Poll 2, due at 40, is issued at 126,
    and the grid begins again there: poll 3 at 146, poll 4 at 166. They sample at 147, 167, 187; what lands at 148 is
    seen by poll 3, back at 177, when five have been issued."""
    taken = observe(Policy("spin", outstanding=2), (148, 0, 1), traffic=((15, 6400),), shared=True)

    assert taken == [Taken(177, 148, 5, 0, 0, 0)]
