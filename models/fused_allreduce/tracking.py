"""The write-tracking table: stamped writes, registered in any order, that fire at their wake-ups.

Beyond the paper, ``exact`` fires a write at the picosecond of its stamp. In the paper's way it fires with the first
cycle of the target's clock that begins then or later; ``event`` reckons which that is, ``polled`` compares the head of
the table once in every cycle until it is. Both give the same instants.
"""

from collections.abc import Callable
from functools import cache
from math import gcd
from typing import Any, Literal

import numpy as np

BackEnd = Literal["exact", "event", "polled"]
Column = np.ndarray[Any, np.dtype[np.int64]]
_NONE: Column = np.zeros(0, np.int64)

PS_PER_S = 10**12


class WriteTable:
    """A table whose writes fire in the order of (wake-up, registration), with what it counted doing so.

    Writes are ``registered`` and have ``fired``; ``deepest`` is the most that were there at once, and ``compared`` how
    often the head was: once a cycle where it is polled, else once for every instant at which something fires.
    """

    def __init__(self, back_end: BackEnd, clock: int) -> None:
        common = gcd(clock, PS_PER_S)
        self._back_end = back_end
        self._num, self._den = clock // common, PS_PER_S // common
        """A cycle lasts den / num picoseconds; cycle k begins with the first whole picosecond of its own."""
        self._registered: list[Column] = []
        self._waiting = _NONE
        self._next = 0
        self.registered = self.fired = self.deepest = self.compared = 0

    def register(self, stamps: Column | int) -> None:
        """Add writes with these stamps, ps."""
        self._registered.append(np.atleast_1d(np.asarray(stamps, np.int64)))

    def fire(self, now: int) -> list[tuple[Column, Column]]:
        """Take everything that was registered, none of it for an instant before ``now``; return for each registration
        the order in which its writes fire, and their instants in that order, ps."""
        batches, self._registered = self._registered, []
        count = sum(map(len, batches))
        self.registered += count
        self.fired += count
        orders = [np.argsort(stamps, kind="stable") for stamps in batches]
        wakeups = [stamps[order] for stamps, order in zip(batches, orders, strict=True)]
        instants = self._polled(wakeups, now) if self._back_end == "polled" else list(map(self.due, wakeups))
        still = self._waiting[self._waiting > now]
        self.deepest = max(self.deepest, len(still) + count)
        self._waiting = np.concatenate([still, *instants])
        if self._back_end != "polled":
            self.compared += _different(instants)
        return list(zip(orders, instants, strict=True))

    def due(self, stamps: Column) -> Column:
        """Return the instants at which writes with these stamps fire, ps."""
        return stamps if self._back_end == "exact" else self._begin(self._cycle(stamps))

    def report(self, count: Callable[[str, int], None]) -> None:
        """Hand over the counters by name."""
        for name in ("registered", "fired", "deepest", "compared"):
            count(f"writes_{name}", getattr(self, name))

    def _polled(self, batches: list[Column], now: int) -> list[Column]:
        """Compare the head with every cycle from the one at ``now`` on, until all are due."""
        lengths = np.cumsum([len(stamps) for stamps in batches])
        wakeups = np.concatenate([_NONE, *batches])
        order = np.argsort(wakeups, kind="stable")
        first = int(self._cycle(np.array([now]))[0])
        whole, rest = divmod(first * self._den, self._num)
        due = np.empty_like(wakeups)
        if len(wakeups):
            last = first + walker()(wakeups[order], whole, rest, self._num, self._den, due)
            self.compared += max(0, last + 1 - max(first, self._next))
            self._next = max(self._next, last + 1)
        instants = np.empty_like(due)
        instants[order] = due
        return np.split(instants, lengths[:-1])

    def _cycle(self, instants: Column) -> Column:
        """Return the first cycle that begins at or after each instant."""
        # ceil(k * den / num) >= t holds exactly if k * den > (t - 1) * num.
        return np.maximum(_down(instants - 1, self._num, self._den) + 1, 0)

    def _begin(self, cycles: Column) -> Column:
        return -_down(-cycles, self._den, self._num)


def _different(instants: list[Column]) -> int:
    """Return how many instants there are, each column being sorted."""
    every = np.sort(np.concatenate([_NONE, *instants]), kind="stable")
    return int(np.count_nonzero(np.diff(every, prepend=-1)))


def _down(values: Column, num: int, den: int) -> Column:
    """Return values * num / den, rounded down; num * den may be beyond a word, the result not."""
    whole, rest = np.divmod(values, den)
    exact: Any = rest if num * den < 2**62 else rest.astype(object)
    return np.asarray(whole * num + exact * num // den, np.int64)


def walk(wakeups: Any, whole: int, rest: int, num: int, den: int, due: Any) -> int:
    """Compare the head of sorted ``wakeups`` with cycle after cycle, the first of which begins ``whole`` + ``rest`` /
    ``num`` ps; put into ``due`` the begin of the cycle in which each fires, and return how many cycles went by."""
    step, more = den // num, den % num
    cycles = 0
    for place in range(len(wakeups)):
        while whole + (rest > 0) < wakeups[place]:
            cycles += 1
            whole += step
            rest += more
            if rest >= num:
                rest -= num
                whole += 1
        due[place] = whole + (rest > 0)
    return cycles


@cache
def walker() -> Callable[..., int]:
    """Return ``walk``, compiled: there are billions of cycles in a second."""
    from numba import njit

    compiled: Callable[..., int] = njit(cache=True)(walk)
    return compiled
