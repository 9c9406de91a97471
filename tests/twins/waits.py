"""Waits for words in GPU memory: one event for every write, read, sample, response, arm and wake, exact integers.

Everything that happens at an instant happens in the order of its phases; what waits do in a phase, in the order in
which the waits began. A wait is a generator: it yields the (instant, phase) at which it goes on, or what it waits for.
"""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any, NamedTuple

from twins import ratio_up

MESSAGE, LAND, BEGIN, SAMPLE, RESPOND, ARM, ISSUE, POLL = range(8)
"""Messages reach a shared port; writes land; processes begin waits; ports end reads; reads return; monitors arm; reads
are issued; they reach the port. A read takes 1 ps at least, so nothing leads back to an earlier phase."""


@dataclass(frozen=True)
class Machine:
    """A GPU as far as waits see it: Hz, bytes and bytes per second, and cycles."""

    clock: int
    memory_line: int
    memory_bandwidth: int
    poll_period: int
    poll_request: int
    poll_response: int
    monitor_arm: int
    monitor_notify: int
    monitor_wake: int
    monitor_log: int

    def cycles(self, count: int) -> int:
        """Return the duration of ``count`` cycles, ps, rounded up."""
        return ratio_up(count * 10**12, self.clock)


@dataclass(frozen=True)
class Policy:
    """How waits wait; the names and defaults are those of the scenario key ``wait``."""

    policy: str
    outstanding: int = 1
    backoff_first: int = 1
    backoff_factor: int = 2
    backoff_most: int = 1
    yield_for: int = 1
    granularity: str = "word"
    stride: int = 8
    capacity: int | None = None
    wake: str = "all"


class Word(NamedTuple):
    """Word ``number`` of a symmetric array; it is in the memory of every GPU."""

    array: int
    number: int


class Taken(NamedTuple):
    """What a wait took that ended: instants in ps, and counts."""

    detected_ps: int
    set_ps: int
    reads: int
    wakeups: int
    false_wakeups: int
    overflows: int


Life = Generator[Any, None, Any]
Place = tuple[int, Word]
"""A word in the memory of a GPU."""


@dataclass(eq=False)
class Signal:
    """Something that happens once, for the one life that waits for it."""

    instant: int = -1
    then: Callable[[], None] | None = None


@dataclass(eq=False)
class Wait:
    """A wait begun: for its word to be seen to hold ``wanted`` at least."""

    number: int
    begin: int
    gpu: int
    word: Word
    wanted: int
    reads: int = 0
    wakeups: int = 0
    false_wakeups: int = 0
    overflows: int = 0
    set_at: int | None = None
    """The instant since which the word held the value when that was seen; None until then."""
    ended: int | None = None
    triggered: bool = False
    """A write hit the granule after it was armed and before the wait slept."""
    logged: bool = False
    """The monitor was full when the wait armed."""
    called: Signal | None = None
    """While it sleeps: happens when it is awake."""

    @property
    def taken(self) -> Taken | None:
        """What the wait took, None as long as it goes on."""
        if self.ended is None or self.set_at is None:
            return None
        return Taken(self.ended, self.set_at, self.reads, self.wakeups, self.false_wakeups, self.overflows)


@dataclass
class Port:
    """A server by the rule of `fifo`: begin of the busy period (ps), bytes accepted since, and the end of both."""

    bandwidth: int
    begin: int = 0
    accepted: int = 0
    free: int = 0

    def serve(self, now: int, size: int) -> int:
        """Return the instant at which ``size`` bytes that arrive now have been served."""
        if now >= self.free:
            self.begin, self.accepted = now, 0
        self.accepted += size
        self.free = self.begin + ratio_up(self.accepted * 10**12, self.bandwidth)
        return self.free


@dataclass(eq=False)
class Waits:
    """The memories of all GPUs, and who waits for what in them; ``shared``: reads and messages queue at one port a
    GPU."""

    machine: Machine
    policy: Policy
    shared: bool = False
    now: int = -1
    waits: list[Wait] = field(default_factory=list)
    """In the order in which they began."""

    def __post_init__(self) -> None:
        self._agenda: list[tuple[int, int, tuple[int, ...], int, Callable[[], None]]] = []
        self._ties = itertools.count()
        self._to_begin = 0
        self._to_land: dict[Place, int] = defaultdict(int)
        self._history: dict[Place, list[tuple[int, int]]] = defaultdict(lambda: [(0, 0)])
        """(Instant, value) of every write so far."""
        self._armed: dict[int, list[Wait]] = defaultdict(list)
        """By GPU, in the order in which they armed."""
        self._chains: dict[object, list[Wait]] = defaultdict(list)
        """By granule: who is called one after another; the first has been notified."""
        self._ports: dict[int, Port] = defaultdict(lambda: Port(self.machine.memory_bandwidth))

    def write(self, instant: int, gpu: int, word: Word, value: int) -> None:
        """Let a write land at ``instant``; of the writes of one instant, the one last told is the last."""
        self._to_land[gpu, word] += 1
        self._at(instant, LAND, (), lambda: self._land(gpu, word, value))

    def message(
        self, instant: int, gpu: int, size: int, key: tuple[int, int], write: tuple[Word, int] | None = None
    ) -> None:
        """Let a message from ``key``, source rank and sequence, reach the shared port of ``gpu``; what it writes lands
        when it has been served, of the writes of one instant in the order of their keys."""
        assert self.shared
        if write is not None:
            self._to_land[gpu, write[0]] += 1

        def arrive() -> None:
            end = self._ports[gpu].serve(self.now, size)
            if write is not None:
                self._at(end, LAND, key, lambda: self._land(gpu, *write))

        self._at(instant, MESSAGE, key, arrive)

    def begin(self, instant: int, gpu: int, word: Word, wanted: int) -> None:
        """Let a wait begin at ``instant``; of the waits of one instant, the one first told is the first."""
        self._to_begin += 1

        def start() -> None:
            self._to_begin -= 1
            wait = Wait(len(self.waits), self.now, gpu, word, wanted)
            self.waits.append(wait)
            self._go(wait.number, self._life(wait))

        self._at(instant, BEGIN, (), start)

    @property
    def next(self) -> int | None:
        """The next instant at which something happens."""
        return self._agenda[0][0] if self._agenda else None

    def step(self) -> None:
        """Let everything happen that happens at the next instant."""
        instant = self._agenda[0][0]
        while self._agenda and self._agenda[0][0] == instant:
            self.now, *_, call = heapq.heappop(self._agenda)
            call()

    def run(self) -> None:
        """Step until every wait has ended that can end."""
        while self.unended:
            self.step()

    @property
    def unended(self) -> bool:
        """Whether something is to come, and somebody waits, or will, who may yet end."""
        return bool(self._agenda) and (self._to_begin > 0 or any(map(self._may_end, self.waits)))

    def value(self, gpu: int, word: Word) -> int:
        """Return what the word holds now."""
        return self._history[gpu, word][-1][1]

    def history(self, gpu: int, word: Word) -> list[tuple[int, int]]:
        """Return (instant, value) of every write so far, behind the zero at first."""
        return self._history[gpu, word]

    def since(self, gpu: int, word: Word, wanted: int) -> int | None:
        """Return the instant since which the word has held ``wanted`` at least, 0 if always; None if it does not."""
        since = None
        for instant, value in reversed(self._history[gpu, word]):
            if value < wanted:
                break
            since = instant
        return since

    def _may_end(self, wait: Wait) -> bool:
        """Return whether the wait goes on, and has been or may yet be satisfied."""
        place = wait.gpu, wait.word
        hope = wait.set_at is not None or self.value(*place) >= wait.wanted or self._to_land[place] > 0
        return wait.ended is None and hope

    def _at(self, instant: int, phase: int, order: tuple[int, ...], call: Callable[[], None]) -> None:
        assert instant >= self.now
        heapq.heappush(self._agenda, (instant, phase, order, next(self._ties), call))

    def _go(self, number: int, life: Life) -> None:
        """Let a life go on until it next waits for something."""
        try:
            until = next(life)
        except StopIteration:
            return
        if not isinstance(until, Signal):
            instant, phase = until
            self._at(instant, phase, (number,), lambda: self._go(number, life))
        elif until.instant >= 0:
            self._go(number, life)
        else:
            until.then = lambda: self._go(number, life)

    def _happen(self, signal: Signal) -> None:
        signal.instant = self.now
        if signal.then is not None:
            signal.then()

    def _life(self, wait: Wait) -> Life:
        policy, cycles = self.policy, self.machine.cycles
        if policy.policy == "spin":
            yield from self._spin(wait)
        elif policy.policy == "monitor":
            yield from self._monitor(wait)
        elif policy.policy == "waiting_atomic":
            yield from self._waiting_atomic(wait)
        elif policy.policy == "yield":
            yield from self._again(wait, lambda j: cycles(policy.yield_for))
        else:
            first, factor, most = policy.backoff_first, policy.backoff_factor, policy.backoff_most
            yield from self._again(wait, lambda j: cycles(min(first * factor**j, most)))

    def _travel(self, wait: Wait) -> Life:
        """Issue a read now, and go on at its sample."""
        wait.reads += 1
        yield self.now + self.machine.cycles(self.machine.poll_request), POLL
        if self.shared:
            end = self._ports[wait.gpu].serve(self.now, self.machine.memory_line)
        else:
            end = self.now + ratio_up(self.machine.memory_line * 10**12, self.machine.memory_bandwidth)
        yield end, SAMPLE

    def _read(self, wait: Wait) -> Life:
        """Issue a read now, and go on at its response; return whether the value was seen."""
        yield from self._travel(wait)
        since = self.since(wait.gpu, wait.word, wait.wanted)
        if since is not None:
            self._disarm(wait)
            if wait.set_at is None:
                wait.set_at = since
        yield self.now + self.machine.cycles(self.machine.poll_response), RESPOND
        return since is not None

    def _spin(self, wait: Wait) -> Life:
        """Read on a grid; a poll waits for the response of the poll ``outstanding`` before it."""
        period = Fraction(self.machine.poll_period * 10**12, self.machine.clock * self.policy.outstanding)
        base, origin = wait.begin, 0
        responses: list[Signal] = []
        for k in itertools.count():
            due = base + ceil((k - origin) * period)
            yield due, ISSUE
            if k >= self.policy.outstanding:
                response = responses[k - self.policy.outstanding]
                yield response
                yield self.now, ISSUE
                if response.instant > due:
                    base, origin = response.instant, k
            if wait.ended is not None:
                return
            responses.append(Signal())
            self._go(wait.number, self._poll(wait, responses[k]))

    def _poll(self, wait: Wait, response: Signal) -> Life:
        seen = yield from self._read(wait)
        if seen and wait.ended is None:
            wait.ended = self.now
        self._happen(response)

    def _again(self, wait: Wait, interval: Callable[[int], int]) -> Life:
        """Read, and ``interval(j)`` after the j-th response without success read again."""
        for j in itertools.count():
            seen = yield from self._read(wait)
            if seen:
                break
            yield self.now + interval(j), ISSUE
        wait.ended = self.now

    def _monitor(self, wait: Wait) -> Life:
        """Check; arm, check again, sleep until a write, check; if that was for nothing, arm again."""
        seen = yield from self._read(wait)
        while not seen:
            yield self.now + self.machine.cycles(self.machine.monitor_arm), ARM
            self._arm(wait)
            yield self.now, ISSUE
            seen = yield from self._recheck(wait)
            if seen:
                break
            if self._sleeps(wait):
                yield from self._sleep(wait, ISSUE)
            seen = yield from self._read(wait)
            wait.false_wakeups += not seen
            self._hand_on(wait)
        wait.ended = self.now

    def _recheck(self, wait: Wait) -> Life:
        return (yield from self._read(wait))

    def _sleeps(self, wait: Wait) -> bool:
        return not wait.triggered

    def _waiting_atomic(self, wait: Wait) -> Life:
        """Compare where the word is; if that fails, sleep there until a write satisfies."""
        yield from self._travel(wait)
        wait.set_at = self.since(wait.gpu, wait.word, wait.wanted)
        if wait.set_at is not None:
            yield self.now + self.machine.cycles(self.machine.poll_response), RESPOND
        else:
            yield self._armed_from(), ARM
            self._arm(wait)
            yield from self._sleep(wait, RESPOND)
            self._hand_on(wait)
        wait.ended = self.now

    def _armed_from(self) -> int:
        """Return when a waiting atomic that is compared now, in vain, is armed: at once."""
        return self.now

    def _sleep(self, wait: Wait, phase: int) -> Life:
        wait.called = Signal()
        yield wait.called
        wait.called = None
        wait.wakeups += 1
        yield self.now, phase

    def _arm(self, wait: Wait) -> None:
        """Give the wait an entry in the monitor of its GPU, or in the log where that is full."""
        armed, capacity = self._armed[wait.gpu], self.policy.capacity
        wait.logged = capacity is not None and sum(not other.logged for other in armed) >= capacity
        wait.overflows += wait.logged
        wait.triggered = False
        armed.append(wait)

    def _disarm(self, wait: Wait) -> None:
        if wait in self._armed[wait.gpu]:
            self._armed[wait.gpu].remove(wait)

    def _granule(self, gpu: int, word: Word) -> object:
        """Return what a monitor watches for the word: the word, or its line of its array."""
        if self.policy.granularity == "line" and self.policy.policy == "monitor":
            return gpu, word.array, word.number * self.policy.stride // self.machine.memory_line
        return gpu, word

    def _land(self, gpu: int, word: Word, value: int) -> None:
        """Set the word, and call whoever is armed for it: sleepers, or whoever is about to sleep."""
        self._to_land[gpu, word] -= 1
        self._history[gpu, word].append((self.now, value))
        granule = self._granule(gpu, word)
        called = [wait for wait in self._armed[gpu] if self._granule(gpu, wait.word) == granule]
        if self.policy.policy == "waiting_atomic":
            called = [wait for wait in called if value >= wait.wanted]
        for wait in called:
            self._disarm(wait)
            if self.policy.policy == "waiting_atomic":
                wait.set_at = self.since(gpu, word, wait.wanted)
            wait.triggered = True
        sleepers = [wait for wait in called if wait.called is not None]
        if self.policy.wake == "all":
            for wait in sleepers:
                self._notify(wait)
        elif sleepers:
            chain = self._chains[granule]
            idle = not chain
            chain += sleepers
            if idle:
                self._notify(chain[0])

    def _notify(self, wait: Wait) -> None:
        """Wake a sleeper: after notify and wake, and the search of the log if its entry was there."""
        gpu, called = self.machine, wait.called
        assert called is not None
        delay = gpu.cycles(gpu.monitor_notify) + gpu.cycles(gpu.monitor_wake)
        delay += gpu.cycles(gpu.monitor_log) if wait.logged else 0
        phase = ISSUE if self.policy.policy == "monitor" else RESPOND
        self._at(self.now + delay, phase, (wait.number,), lambda: self._happen(called))

    def _hand_on(self, wait: Wait) -> None:
        """With wake-one, when a sleeper is through: notify the next that was called."""
        chain = self._chains[self._granule(wait.gpu, wait.word)]
        if chain and chain[0] is wait:
            del chain[0]
            if chain:
                self._notify(chain[0])
