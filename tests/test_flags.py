"""Waiting for flags: counts and instants equal an event-per-poll model, and no write is lost whenever it comes."""

import itertools
from collections.abc import Generator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from simcore.fabric import Fabric, Writes
from simcore.fabric._waits import first_poll
from simcore.hardware import GpuSpec, LinkSpec, Wait, WaitSpec
from simcore.simulation import COMPLETION, OBSERVE, Simulation
from simcore.topology import Topology

GPU = GpuSpec(
    clock=2_100_000_000, memory_size=1, memory_bandwidth=5_300_000_000_000, memory_line=64, throughput={}, launch=0,
    poll_period=340, poll_request=220, poll_response=116, monitor_arm=1, monitor_notify=1, monitor_wake=100,
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """What one wait took."""

    set_ps: int
    detected_ps: int
    flag_reads: int
    wakeups: int
    false_wakeups: int


def observe(policy: Wait, begin: int, writes: list[tuple[int, int]], gpu: GpuSpec = GPU) -> Sample:
    """Return what a wait for the value 1 takes that begins at ``begin`` while ``writes`` (instant, value) reach the
    flag: empty messages, which arrive when they are sent."""
    simulation = Simulation()
    topology = Topology("full_mesh", 2, LinkSpec(10**9, 0))
    fabric = Fabric(simulation, topology, "fifo", None, range(2), gpu=gpu, wait=WaitSpec(policy))
    word, taken = fabric.words(1, range(1)).word(0, 0), []
    for instant, value in sorted(writes):
        one = Writes(*(np.array([number]) for number in (instant, 0, 0)), np.array([True]), "f")
        fabric.send_many(1, one, sets=np.array([word]), values=value)

    def waiter() -> Generator[Any, Any, None]:
        yield simulation.timeout(begin)
        found = yield fabric.watch(0, np.array([word]))
        assert simulation.now == found.detected[0]
        taken.append(found)

    simulation.process(waiter())
    simulation.run()
    (found,) = taken
    return Sample(*(int(column[0]) for column in (
        found.set, found.detected, found.reads, found.wakeups, found.false_wakeups
    )))  # fmt: skip


def poll_by_poll(begin: int, writes: list[tuple[int, int]], gpu: GpuSpec) -> tuple[int, int]:
    """Return (reads, instant of detection) of a spinner in which every poll is an event: issue, request, port,
    response."""
    env = simpy.Environment()
    word = {"value": 0}
    found = []

    def set_later(instant: int, value: int) -> None:
        event = env.event()
        event._ok, event._value = True, None
        event.callbacks = [lambda _: word.update(value=value)]
        env.schedule(event, COMPLETION, instant)

    def cycles(count: int) -> int:
        return ceil(Fraction(count * 10**12, gpu.clock))

    def poller() -> Generator[Any, Any, None]:
        k = 0
        while True:
            event = env.event()
            event._ok, event._value = True, None
            at_port = begin + cycles(k * gpu.poll_period) + cycles(gpu.poll_request)
            end = at_port + ceil(Fraction(gpu.memory_line * 10**12, gpu.memory_bandwidth))
            env.schedule(event, OBSERVE, end - env.now)
            yield event
            k += 1
            if word["value"] >= 1:
                yield env.timeout(cycles(gpu.poll_response))
                found.append((k, env.now))
                return

    for write in writes:
        set_later(*write)
    env.process(poller())
    env.run()
    return found[0]


ONE_PERIOD = GPU.cycles(GPU.poll_period)
INSTANTS = st.one_of(
    st.integers(0, 20 * ONE_PERIOD),
    st.integers(0, 20).map(lambda k: GPU.cycles(k * 340) + GPU.cycles(220) + GPU.line_service),
)


@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(INSTANTS, st.integers(0, 1)), max_size=6, unique_by=lambda w: w[0]),
    INSTANTS,
    st.integers(0, 2),
)
def test_spin_equals_an_event_per_poll(begin: int, early: list[tuple[int, int]], last: int, nudge: int) -> None:
    """Also when the value falls back between two polls, and when a write meets a sample to the picosecond."""
    end = max([instant for instant, _ in early], default=0) + last
    writes = sorted([*early, (max(0, end + begin + nudge - 1) + 1, 1)])

    sample = observe("spin", begin, writes)

    assert (sample.flag_reads, sample.detected_ps) == poll_by_poll(begin, writes, GPU)


@given(st.integers(0, 10**15), st.integers(1, 10**15), st.integers(1, 10**12))
def test_first_poll_is_the_smallest(delay: int, num: int, den: int) -> None:
    k = first_poll(delay, num, den)

    assert ceil(Fraction(k * num, den)) >= delay
    assert k == 0 or ceil(Fraction((k - 1) * num, den)) < delay


def test_a_poll_by_hand() -> None:
    """At 1 GHz with 20 + 10 cycles on the way and 40 a period: a flag set at 100 ns is sampled by poll 2 (at 100 ns
    plus service)."""
    gpu = replace(GPU, clock=10**9, poll_period=40, poll_request=20, poll_response=10, memory_bandwidth=64 * 10**12)

    sample = observe("spin", 0, [(100_000, 1)], gpu)

    assert (sample.flag_reads, sample.set_ps, sample.detected_ps) == (3, 100_000, 80_000 + 20_000 + 1 + 10_000)


def test_a_write_at_the_instant_of_sampling_is_seen() -> None:
    sampled = GPU.cycles(GPU.poll_request) + GPU.line_service

    assert observe("spin", 0, [(sampled, 1)]).flag_reads == 1
    assert observe("spin", 0, [(sampled + 1, 1)]).flag_reads == 2


def test_spin_reads_grow_with_the_delay_and_monitor_reads_do_not() -> None:
    delays = [10**6 * k for k in range(1, 41)]

    spinning = [observe("spin", 0, [(delay, 1)]).flag_reads for delay in delays]
    watching = [observe("monitor", 0, [(delay, 1)]).flag_reads for delay in delays]

    assert all(a < b for a, b in itertools.pairwise(spinning))
    assert set(watching) == {3}


def phases() -> dict[str, int]:
    """Return the instants of a monitor's life that begins at 0: check sampled, armed, re-check sampled, asleep."""
    service = GPU.cycles(GPU.poll_request) + GPU.line_service
    back, arm = GPU.cycles(GPU.poll_response), GPU.cycles(GPU.monitor_arm)
    armed = service + back + arm
    return {"checked": service, "armed": armed, "rechecked": armed + service, "asleep": armed + service + back}


@pytest.mark.parametrize(
    ("instant", "reads", "wakeups"),
    [
        (0, 1, 0),
        (phases()["checked"], 1, 0),
        (phases()["checked"] + 1, 2, 0),
        (phases()["armed"], 2, 0),
        (phases()["rechecked"], 2, 0),
        (phases()["rechecked"] + 1, 3, 0),
        (phases()["asleep"] - 1, 3, 0),
        (phases()["asleep"] + 1, 3, 1),
        (10**9, 3, 1),
    ],
)
def test_monitor_reads_by_the_instant_of_the_write(instant: int, reads: int, wakeups: int) -> None:
    sample = observe("monitor", 0, [(instant, 1)])

    assert (sample.flag_reads, sample.wakeups, sample.false_wakeups) == (reads, wakeups, 0)


@given(st.integers(0, phases()["asleep"] + 10), st.lists(st.integers(0, phases()["asleep"] + 10), max_size=3))
def test_no_wake_up_is_lost_whenever_the_write_comes(instant: int, others: list[int]) -> None:
    """Other writes that leave the value too low only cost wake-ups; the wait ends soon after the one that counts."""
    gpu = GPU
    trip = gpu.cycles(gpu.poll_request) + gpu.line_service + gpu.cycles(gpu.poll_response)
    longest = 3 * trip + gpu.cycles(gpu.monitor_arm) + gpu.cycles(gpu.monitor_notify) + gpu.cycles(gpu.monitor_wake)
    before = [(other, 0) for other in others if other < instant]

    sample = observe("monitor", 0, [*before, (instant, 1)])

    assert sample.set_ps == instant
    assert instant <= sample.detected_ps <= max(instant, phases()["checked"]) + longest


def test_monitor_detects_after_notify_wake_and_one_read() -> None:
    trip = GPU.cycles(GPU.poll_request) + GPU.line_service + GPU.cycles(GPU.poll_response)

    sample = observe("monitor", 0, [(10**9, 1)])

    assert sample.detected_ps == 10**9 + GPU.cycles(1) + GPU.cycles(100) + trip


def test_a_write_below_the_awaited_value_is_a_false_wake_up() -> None:
    sample = observe("monitor", 0, [(10**9, 0), (2 * 10**9, 1)])

    assert (sample.wakeups, sample.false_wakeups, sample.flag_reads) == (2, 1, 5)


def test_a_poll_longer_than_its_period_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than poll_period"):
        replace(GPU, poll_period=300)
