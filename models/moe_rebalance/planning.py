"""When plans are there: jobs of the planner wait for a thread of a node's CPU, and take as long as a formula says."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from simcore import Ratio

from .paces import Paces


@dataclass(frozen=True)
class Planner:
    """``threads`` of a node plan for the EP groups on it, ``slower`` times as long as the ``paces`` say. ``late``:
    whether what is planned is waited for; otherwise plans are there at once."""

    threads: int = 8
    slower: Ratio = "1"
    late: bool = True
    paces: Paces = field(default_factory=Paces)

    def duration(self, name: str, effort: int) -> int:
        """Return the CPU time, ps, that the planner ``name`` takes for so much effort, rounded up."""
        slower = Fraction(self.slower)
        return -(-self.paces.duration(name, effort) * slower.numerator // slower.denominator)


def served(durations: Sequence[int], threads: int, begin: int = 0) -> list[int]:
    """Return when each job ends, ps, of those that wait from ``begin`` on and are taken in order by ``threads``."""
    free = [begin] * threads
    ends = []
    for duration in durations:
        end = heapq.heappop(free) + duration
        heapq.heappush(free, end)
        ends.append(end)
    return ends
