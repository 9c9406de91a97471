"""When plans are there: jobs of the planner wait for a thread of a node's CPU, and take as long as a formula says."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from simcore import Ratio


@dataclass(frozen=True)
class Planner:
    """``threads`` of a node plan for the EP groups on it; ``slower``: how many times as long as in ``params.yaml`` a
    plan takes there. ``late``: whether what is planned is waited for; otherwise plans are there at once."""

    threads: int = 8
    slower: Ratio = "1"
    late: bool = True


def served(durations: Sequence[int], threads: int, begin: int = 0) -> list[int]:
    """Return when each job ends, ps, of those that wait from ``begin`` on and are taken in order by ``threads``."""
    free = [begin] * threads
    ends = []
    for duration in durations:
        end = heapq.heappop(free) + duration
        heapq.heappush(free, end)
        ends.append(end)
    return ends


def cost(policy: str, about: Planner, effort: int) -> int:
    """Return the CPU time, ps, of a plan of so much ``effort``."""
    return round((20_000_000 + 1000 * effort) * Fraction(about.slower)) if effort else 0
