"""Words of memory that messages set and waiters watch: their places, and what came out of each wait."""

from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import TypeVar

import numpy as np
from simpy.events import Event

from simcore.errors import InputError, SimulationError
from simcore.fabric import _kernels as kernels
from simcore.fabric import _waits as waits
from simcore.fabric._policies import Policy
from simcore.fabric._store import Gaps, Table
from simcore.hardware import GpuSpec, WaitSpec
from simcore.units import PS_PER_S

Number = TypeVar("Number", int, Table)

LARGEST_VALUE = 2**62
LONGEST = 2**50
"""ps, 19 minutes: beyond what any step of a wait lasts, and few enough for sums of them."""
FEW_WAITS = 16
FOUND = (
    waits.WORD, waits.T0, waits.SET, waits.END, waits.READS, waits.WAKEUPS, waits.FALSE_WAKEUPS, waits.OVERFLOWS,
)  # fmt: skip
"""The columns of a waiter that outlive it, in the order of `Waits`."""


@dataclass(frozen=True)
class Waits:
    """Finished waits, one row each, in the order in which their words were given: the word, when the wait began, since
    when the word had held the value, when that was seen (ps), and what it took."""

    word: Table
    t0: Table
    set: Table
    detected: Table
    reads: Table
    wakeups: Table
    false_wakeups: Table
    overflows: Table


@dataclass(frozen=True)
class Words:
    """An array of ``count`` words in the memory of each of ``ranks``, zero at first; words count over all arrays, from
    ``first`` here."""

    first: int
    count: int
    ranks: range

    def word(self, rank: Number, index: Number) -> Number:
        """Return the number of word ``index`` in the memory of ``rank``, or of many."""
        return self.first + (rank - self.ranks.start) * self.count + index


class Watching:
    """The words of a fabric, and who waits for them."""

    def __init__(
        self, policy: Policy, ranks: int, groups: Gaps, gpu: GpuSpec, wait: WaitSpec, ports: Table | None
    ) -> None:
        self._policy, self._state, self._groups = policy, policy.state, groups
        # Words of one line share a watch only where a monitor watches lines.
        self._line = gpu.memory_line if wait.policy == "monitor" and wait.granularity == "line" else 0
        # Words further apart than a line are one a line all the same.
        self._stride = min(wait.stride, self._line)
        self._ports = ports
        self._words = self._stores = self._serial = 0
        self._gaps = Gaps()
        self._named: dict[tuple[int, int, int], int] = {}
        self._watches: dict[int, tuple[Event, int, int]] = {}
        self._busy: list[tuple[int, int]] = []
        self._busy_most = FEW_WAITS
        self._state[kernels.T_MONITORS] = np.zeros(ranks, np.int64)
        eyes = self._state[kernels.T_EYES]
        _fill(eyes, gpu, wait, ports is not None)
        self._items = 2 + (int(eyes[waits.OUTSTANDING]) if ports is not None else 1)

    def place(self, count: int, ranks: range) -> Words:
        """Return a new array of ``count`` words in the memory of each of ``ranks``; an array begins at a line."""
        first, total = self._words, count * len(ranks)
        self._words += total
        rows = self._state.reserve(kernels.T_WORDS, self._words)[first : self._words]
        if self._line:
            index = np.arange(total) % count
            first_of_line = -(-(index * self._stride // self._line * self._line) // self._stride)
            rows[:, waits.BACK] = index - first_of_line
        return Words(first, count, ranks)

    def fill_lines(self, count: int) -> int:
        """Return the least multiple of ``count`` words that ends where a watched line does."""
        return count * self._line // gcd(count * self._stride, self._line) if self._line else count

    def store(self, word: int, value: int, what: int) -> int:
        """Return the number of the store that sets ``word`` to ``value``, under the name ``what``."""
        number = self._named.get((word, value, what))
        if number is None:
            number = self._named[word, value, what] = self.stores(np.array([word]), np.array([value]), what)
        return number

    def stores(self, words: Table, values: Table, what: "int | Table") -> int:
        """Note many stores; return the number of the first."""
        if len(words) and not 0 <= int(words.min()) <= int(words.max()) < self._words:
            raise SimulationError(f"a message sets word {words.max()}, but there are {self._words}")
        if values.dtype.kind not in "iub" or ((values >= LARGEST_VALUE) | (values <= -LARGEST_VALUE)).any():
            raise SimulationError(f"a word holds an integer between -{LARGEST_VALUE} and {LARGEST_VALUE}")
        first, count = self._stores, len(words)
        self._stores += count
        rows = self._state.reserve(kernels.T_STORES, self._stores)[first : self._stores]
        rows[:, kernels.STORE_WORD], rows[:, kernels.STORE_VALUE], rows[:, kernels.STORE_WHAT] = words, values, what
        return first

    def unset(self, words: Table, value: int) -> Table:
        """Return those of ``words`` that hold less than ``value``."""
        unset: Table = words[self._state[kernels.T_WORDS][words, waits.VALUE] < value]
        return unset

    def watch(
        self, event: Event, rank: int, words: Table, values: "Table | int", now: int, *, reads: bool = True
    ) -> None:
        """Begin to wait in ``rank`` for all of ``words`` to be seen to hold at least ``values``; ``event`` happens when
        the last of them has been, or, without ``reads``, when it does, of words that do not yet."""
        count, state, wanted = len(words), self._state, np.atleast_1d(values)
        wrong = words[(words < 0) | (words >= self._words)]
        if len(wrong):
            raise SimulationError(f"rank {rank} waits for word {wrong[0]}, but there are {self._words}")
        if wanted.dtype.kind not in "iub" or wanted.shape not in ((1,), (count,)):
            raise SimulationError(f"rank {rank} waits for {count} words; their values are an integer, or one a word")
        if wanted.min() < 1 or wanted.max() >= LARGEST_VALUE:
            value = wanted[(wanted < 1) | (wanted >= LARGEST_VALUE)][0]
            raise SimulationError(
                f"rank {rank} waits for the value {value}; words hold 0 at first, and at most {LARGEST_VALUE - 1}"
            )
        if now > kernels.LATEST_INSTANT:
            raise SimulationError(
                f"rank {rank} waits at {now} ps, beyond {kernels.LATEST_INSTANT} ps, the end of simulated time"
            )
        self._free_rows()
        first, group = self._gaps.take(count), self._groups.take(1)
        state.reserve(kernels.T_WAITERS, self._gaps.length)
        state.reserve(kernels.T_GROUPS, self._groups.length)[group] = count, now
        self._watches[group] = event, first, count
        self._policy.make_room(operations=self._items * count)
        self._policy.head[kernels.WATCHES] += 1
        port = -1 if self._ports is None else int(self._ports[rank])
        wanted = np.ascontiguousarray(wanted, np.int64)
        waits.begin_watch(state.addresses, first, words, wanted, group, rank, port, now, self._serial, reads)
        self._serial += count

    @property
    def open(self) -> int:
        """Waits for several words that have not ended."""
        return len(self._watches)

    def ended(self, group: int, instant: int) -> tuple[Event, int]:
        """Return the event of a wait for several words, which happens at ``instant``; its value is what is known then,
        when polls that were under way have been counted."""
        event = self._watches[group][0]
        assert event.callbacks is not None
        event.callbacks.insert(0, partial(self._found, group))
        return event, instant

    def _found(self, group: int, event: Event) -> None:
        _, first, count = self._watches.pop(group)
        self._groups.give(group, 1)
        rows = self._state[kernels.T_WAITERS][first : first + count]
        event._value = Waits(*np.take(rows, FOUND, axis=1).T)
        self._busy.append((first, count))

    def unseen(self, event: Event, now: int) -> Table:
        """Return the places, in the order given, of the words for which the wait of ``event`` has not ended before
        ``now``."""
        for watched, first, count in self._watches.values():
            if watched is event:
                rows = self._state[kernels.T_WAITERS][first : first + count]
                ends = rows[:, waits.END]
                return np.nonzero((ends < 0) | (ends >= now))[0]
        return np.zeros(0, np.int64)

    def _free_rows(self) -> None:
        """Free the rows of ended waits of which nothing is on the agenda any more, whenever there are twice as many as
        last time."""
        if len(self._busy) < self._busy_most:
            return
        left, rows = [], self._state[kernels.T_WAITERS]
        for first, count in self._busy:
            if rows[first : first + count, waits.ITEMS].any():
                left.append((first, count))
            else:
                self._gaps.give(first, count)
                self._policy.ended(self._items * count)
        self._busy, self._busy_most = left, 2 * len(left) + FEW_WAITS


def _fill(eyes: Table, gpu: GpuSpec, wait: WaitSpec, shared: bool) -> None:
    """Write the constants of all waits; only what the policy uses is read. Raises ``InputError`` where one is beyond
    what the loops can reckon with."""

    def lasting(about: GpuSpec | WaitSpec, key: str) -> int:
        cycles: int = getattr(about, key)
        if gpu.cycles(cycles) >= LONGEST:
            raise InputError(f"{key}: {cycles} cycles of {gpu.clock} Hz last longer than {LONGEST - 1} ps")
        return gpu.cycles(cycles)

    eyes[waits.REQUEST], eyes[waits.RESPONSE] = lasting(gpu, "poll_request"), lasting(gpu, "poll_response")
    eyes[waits.SERVICE], eyes[waits.LINE], eyes[waits.SHARED] = gpu.line_service, gpu.memory_line, shared
    common = gcd(PS_PER_S, gpu.clock)
    eyes[waits.CYCLE_NUM], eyes[waits.CYCLE_DEN] = PS_PER_S // common, gpu.clock // common
    eyes[waits.OUTSTANDING], eyes[waits.CAPACITY] = 1, -1
    if wait.policy == "spin":
        eyes[waits.POLICY], eyes[waits.OUTSTANDING] = waits.SPIN, wait.outstanding
        period, lanes = gpu.poll_period * PS_PER_S, gpu.clock * wait.outstanding
        common = gcd(period, lanes)
        if max(period, lanes) // common >= kernels.SAFE:
            raise InputError(f"poll_period: {gpu.poll_period} cycles of {gpu.clock} Hz is no ratio of 62-bit terms")
        eyes[waits.PERIOD_NUM], eyes[waits.PERIOD_DEN] = period // common, lanes // common
    elif wait.policy in ("backoff", "yield"):
        eyes[waits.POLICY] = waits.BACKOFF
        for key in ("backoff_most", "yield_for"):
            lasting(wait, key)
        factor = min(wait.backoff_factor, max(wait.backoff_most, 1))
        backing = (wait.backoff_first, factor, wait.backoff_most)
        intervals = backing if wait.policy == "backoff" else (wait.yield_for, 1, wait.yield_for)
        eyes[[waits.FIRST_INTERVAL, waits.FACTOR, waits.MOST_INTERVAL]] = intervals
    else:
        eyes[waits.POLICY] = waits.MONITOR if wait.policy == "monitor" else waits.ATOMIC
        eyes[waits.ARM], eyes[waits.NOTIFY] = lasting(gpu, "monitor_arm"), lasting(gpu, "monitor_notify")
        eyes[waits.WAKE], eyes[waits.LOG] = lasting(gpu, "monitor_wake"), lasting(gpu, "monitor_log")
        eyes[waits.CAPACITY] = -1 if wait.capacity is None else min(wait.capacity, kernels.SAFE)
        eyes[waits.WAKE_ONE] = wait.wake == "one"
