"""No wake-up is lost: whoever waits for a word that reaches its value and keeps it ends, in bounded time, whatever the
interleaving of write, check, arm, re-check and sleep, to the picosecond."""

import itertools
from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from twins.waits import Life, Machine, Policy, Taken, Wait, Waits, Word
from twins.watches import POLICIES, Case, Link, Put, Watch, by_fabric, machines, outcome_of, policies

START = 1_000
"""ps: nothing begins before, so that messages have time to travel."""
LINK, TRAVEL = Link(10**15, 5), 6
"""Up to 1,000 B reach the other GPU's memory after as many ps."""
WORDS = [Word(0, 0), Word(0, 1), Word(0, 7), Word(1, 0)]
"""Two or three of one line, and one of another array."""
GPUS = st.sampled_from([0, 0, 0, 1])
TINY = Machine(10**12, 64, 64 * 10**12, 4, 1, 1, 1, 1, 2, 3)
"""A GPU with a cycle of 1 ps on which every part of a wait takes 1 to 3 ps."""


class Bounds:
    """What is known of waits from the constants alone, whatever their interleaving."""

    def __init__(self, machine: Machine, policy: Policy, waits: int, backlog: int) -> None:
        """``waits``: how many there are at a GPU at most; ``backlog``: bytes that a read may find before it at a shared
        port, 0 at a free one."""
        self.machine, self.policy, self.waits = machine, policy, waits
        self.service = ceil(Fraction((machine.memory_line + backlog) * 10**12, machine.memory_bandwidth))
        self.to_sample = machine.cycles(machine.poll_request) + self.service
        self.back = machine.cycles(machine.poll_response)
        self.trip = self.to_sample + self.back
        self.arm = machine.cycles(machine.monitor_arm)

    def waking(self, overflows: int) -> int:
        """Return the time from a write to the wake-up of a sleeper, ps."""
        gpu = self.machine
        log = gpu.cycles(gpu.monitor_log) if overflows else 0
        return gpu.cycles(gpu.monitor_notify) + gpu.cycles(gpu.monitor_wake) + log

    def most(self, wait: Wait) -> int:
        """Return how long after its beginning and the write that satisfies it for good the wait ends at the latest."""
        policy = self.policy
        ahead = self.waits if policy.wake == "one" else 1
        if policy.policy == "spin":
            return max(self.machine.cycles(self.machine.poll_period), self.trip) + self.trip
        if policy.policy in ("backoff", "yield"):
            pause = policy.yield_for if policy.policy == "yield" else policy.backoff_most
            return self.back + self.machine.cycles(pause) + self.trip
        waking = self.waking(wait.overflows if ahead == 1 else 1)
        if policy.policy == "waiting_atomic":
            return max(self.trip, ahead * waking)
        return max(self.back + self.arm + self.trip, ahead * (waking + self.trip))

    def taken(self, wait: Wait, since: int) -> Taken:
        """Return what a monitored wait takes at a free port if the one write that hits its granule, at ``since``,
        satisfies it; 0: it always held."""
        checked = wait.begin + self.to_sample
        rechecked = checked + self.back + self.arm + self.to_sample
        asleep = rechecked + self.back
        log = wait.overflows
        if since <= checked:
            return Taken(checked + self.back, since, 1, 0, 0, 0)
        if self.policy.policy == "waiting_atomic":
            return Taken(since + self.waking(log), since, 1, 1, 0, log)
        if since <= rechecked:
            return Taken(asleep, since, 2, 0, 0, log)
        if since <= asleep:
            return Taken(asleep + self.trip, since, 3, 0, 0, log)
        return Taken(since + self.waking(log) + self.trip, since, 3, 1, 0, log)

    def spun(self, begin: int, since: int) -> tuple[int, int]:
        """Return (end, reads) of a spinner at a free port whose polls return within a period."""
        period = Fraction(self.machine.poll_period * 10**12, self.machine.clock * self.policy.outstanding)
        seen = next(
            k for k in itertools.count() if begin + ceil(k * period) + self.to_sample >= since
        )  # fmt: skip
        end = begin + ceil(seen * period) + self.trip
        return end, next(k for k in itertools.count(seen) if begin + ceil(k * period) >= end)


class Interleaving(RuleBasedStateMachine):
    """Begins waits and lets writes land exactly at the next instant at which something happens, 1 ps before and after
    it, and goes on instant by instant."""

    model: ClassVar[type[Waits]] = Waits
    names: ClassVar[Sequence[str]] = POLICIES
    most_watches: ClassVar[int] = 4

    @initialize(data=st.data(), shared=st.booleans())
    def build(self, data: st.DataObject, shared: bool) -> None:
        self.machine = data.draw(machines() | st.just(TINY))
        self.policy = data.draw(policies(self.names))
        self.shared = shared
        self.twin = self.model(self.machine, self.policy, shared)
        self.twin.now = START
        self.watches: list[Watch] = []
        self.puts: list[Put] = []
        self.steps: list[int] = []

    def instant(self, nudge: int) -> int:
        """Return an instant to come: ``nudge`` ps from the next one at which something happens."""
        ahead = self.twin.next if self.twin.next is not None else self.twin.now + 2
        return max(self.twin.now + 1, ahead + nudge)

    @rule(gpu=GPUS, word=st.sampled_from(WORDS), wanted=st.lists(st.sampled_from([1, 1, 2]), min_size=1, max_size=3),
          nudge=st.integers(-1, 1))  # fmt: skip
    def begin(self, gpu: int, word: Word, wanted: list[int], nudge: int) -> None:
        if len(self.watches) < self.most_watches:
            instant = self.instant(nudge)
            self.watches.append(Watch(instant, gpu, (word,) * len(wanted), tuple(wanted)))
            for value in wanted:
                self.twin.begin(instant, gpu, word, value)

    @rule(gpu=GPUS, word=st.sampled_from(WORDS), value=st.sampled_from([1, 1, 2, 0]),
          nudge=st.integers(-1, 1), size=st.sampled_from([1, 8, 100]))  # fmt: skip
    def write(self, gpu: int, word: Word, value: int, nudge: int, size: int) -> None:
        self.put(self.instant(nudge), gpu, word, value, size)

    def put(self, instant: int, gpu: int, word: Word, value: int, size: int = 1) -> None:
        """Let a write reach the memory of ``gpu``; at a free port it lands at once."""
        self.puts.append(Put(instant - TRAVEL, 1 - gpu, gpu, size, word, value))
        if self.shared:
            # Sequence numbers are given in the order of issue, whoever is told of a message first.
            key = 1 - gpu, instant << 32 | len(self.puts)
            self.twin.message(instant, gpu, size, key, (word, value))
        else:
            self.twin.write(instant, gpu, word, value)

    @rule(times=st.sampled_from([1, 1, 2, 4, 10]))
    def go_on(self, times: int) -> None:
        for _ in range(times):
            if self.twin.next is not None:
                self.twin.step()
                self.steps.append(self.twin.now)

    def bounds(self) -> Bounds:
        waits, backlog = sum(len(watch.words) for watch in self.watches), 0
        if self.shared:
            reads = waits * (self.policy.outstanding if self.policy.policy == "spin" else 1)
            backlog = reads * self.machine.memory_line + sum(put.size for put in self.puts)
        return Bounds(self.machine, self.policy, waits, backlog)

    @invariant()
    def nobody_waits_longer_than_the_bound(self) -> None:
        for wait in self.twin.waits:
            since = self.twin.since(wait.gpu, wait.word, wait.wanted)
            if since is not None and wait.ended is None:
                assert self.twin.now < max(since, wait.begin) + self.bounds().most(wait)

    @invariant()
    def who_has_ended_was_right(self) -> None:
        for wait in self.twin.waits:
            if wait.taken is not None:
                took = wait.taken
                writes = self.twin.history(wait.gpu, wait.word)
                held = [value for instant, value in writes if instant <= took.set_ps]
                assert took.set_ps <= took.detected_ps
                assert held[-1] >= wait.wanted
                assert took.detected_ps <= max(took.set_ps, wait.begin) + self.bounds().most(wait)
                assert took.wakeups <= took.reads
                if not self.shared:
                    self.check_counts(wait, took)

    def check_counts(self, wait: Wait, took: Taken) -> None:
        """Where only one write hit the granule during the wait, and satisfied it, everything is known beforehand; and
        always the end and the reads of a spinner, from the instant at which its value was set."""
        bounds, policy = self.bounds(), self.policy
        if policy.policy == "spin":
            if bounds.trip <= self.machine.poll_period * 10**12 // self.machine.clock:
                assert (took.detected_ps, took.reads) == bounds.spun(wait.begin, took.set_ps)
        elif policy.policy in ("monitor", "waiting_atomic") and policy.wake == "all":
            line = policy.policy == "monitor" and policy.granularity == "line"
            hits = [
                (instant, word)
                for word in WORDS
                for instant, _ in self.twin.history(wait.gpu, word)[1:]
                if (word == wait.word or line) and wait.begin <= instant <= took.detected_ps
            ]
            if not hits or hits == [(took.set_ps, wait.word)]:
                assert took == bounds.taken(wait, took.set_ps)

    def teardown(self) -> None:
        """Let everything come to an end: first whoever's word holds its value by now, then, after a last write to each
        word, everybody; this must be so in the fabric too."""
        if not hasattr(self, "twin"):
            return
        for last in (False, True):
            if last:
                for gpu, word in itertools.product((0, 1), WORDS):
                    self.put(self.instant(1), gpu, word, 2)
            while self.twin.unended:
                self.twin.step()
                self.nobody_waits_longer_than_the_bound()
                self.who_has_ended_was_right()
            for wait in self.twin.waits:
                assert wait.ended is not None or self.twin.since(wait.gpu, wait.word, wait.wanted) is None
        assert all(wait.ended is not None for wait in self.twin.waits)
        if self.model is Waits:
            case = Case(
                self.machine,
                self.policy,
                tuple(self.watches),
                tuple(self.puts),
                LINK,
                self.shared,
                2,
                tuple(self.steps),
            )
            assert by_fabric(case) == outcome_of(case, [wait.taken for wait in self.twin.waits])


TestInterleaving = Interleaving.TestCase
TestInterleaving.settings = settings(max_examples=60, stateful_step_count=30)


class NoRecheck(Waits):
    """Armed, it sleeps without reading again: what was written between check and arm is lost."""

    def _recheck(self, wait: Wait) -> Life:
        yield from ()
        return False


class SleepsThoughTriggered(Waits):
    """It sleeps even where a write hit the granule since it was armed."""

    def _sleeps(self, wait: Wait) -> bool:
        return True


class NoHandOn(Waits):
    """Who is through with its wake-up does not call the next one."""

    def _hand_on(self, wait: Wait) -> None:
        pass


class ArmsLate(Waits):
    """A waiting atomic compares at the word, but is armed only when the response is back."""

    def _armed_from(self) -> int:
        return self.now + self.machine.cycles(self.machine.poll_response)


DEFECTS = [
    (NoRecheck, "monitor"), (SleepsThoughTriggered, "monitor"), (NoHandOn, "monitor"), (NoHandOn, "waiting_atomic"),
    (ArmsLate, "waiting_atomic"),
]  # fmt: skip


@pytest.mark.parametrize(("defect", "name"), DEFECTS)
def test_a_planted_defect_is_caught(defect: type[Waits], name: str) -> None:
    class Broken(Interleaving):
        model, names = defect, (name,)

    few = settings(
        max_examples=300, stateful_step_count=30, phases=[Phase.generate], report_multiple_bugs=False, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=few)


@pytest.mark.parametrize("name", ["monitor", "waiting_atomic"])
@pytest.mark.parametrize("wake", ["all", "one"])
@pytest.mark.parametrize("capacity", [None, 1])
def test_every_interleaving_of_two_waits_and_two_writes(name: str, wake: str, capacity: int | None) -> None:
    """On a GPU on which a wait is over in some 15 ps, exhaustively: each write at each instant."""
    lost = exhaust(Waits, Policy(name, wake=wake, capacity=capacity, granularity="line"))

    assert not lost


@pytest.mark.parametrize(("defect", "name"), DEFECTS)
def test_exhausting_all_interleavings_finds_a_planted_defect(defect: type[Waits], name: str) -> None:
    assert exhaust(defect, Policy(name, wake="one", granularity="line"))


def exhaust(model: type[Waits], policy: Policy) -> list[tuple[int, ...]]:
    """Return (begin of the second wait, instants of two writes, word of the first) of every case in which one of two
    waits for one word does not end in time; the first begins at 0, the second write is to the word itself."""
    lost: list[tuple[int, ...]] = []
    for begin, early, late, word in itertools.product(range(0, 12, 3), range(1, 16), range(1, 22), WORDS[:2]):
        twin = model(TINY, policy)
        twin.begin(0, 0, WORDS[0], 1)
        twin.begin(begin, 0, WORDS[0], 1)
        twin.write(early, 0, word, 1)
        twin.write(late, 0, WORDS[0], 1)
        twin.run()
        first = min(early, late) if word == WORDS[0] else late
        most = Bounds(TINY, policy, 2, 0).most
        if not all(wait.ended is not None and wait.ended <= max(first, wait.begin) + most(wait) for wait in twin.waits):
            lost.append((begin, early, late, word.number))
    return lost
