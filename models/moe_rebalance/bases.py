"""Base placement of the experts of one layer for a whole step: to nodes first, then to the ranks of each, from the
placement of the step before by exchanges that pay."""

from typing import Any

import numpy as np
from numba import njit

from .placement import Counts, Group

WORTH = 0.002
"""An exchange has to lower the sum of the largest loads by this share, because it moves two experts."""


def exchange(home: Counts, loads: Counts, group: Group) -> tuple[Counts, int]:
    """Return the homes [E] after exchanges that lower the sum over micro-steps of the largest load of a node, then the
    largest load that a rank of each node has in all micro-steps together, and how much was looked at; ``loads`` [M, E].

    Every rank keeps as many experts as it had. The best exchange of two experts is made again and again, until it is
    not `WORTH` it or there were half as many as there are experts.
    """
    found, effort = home.copy(), 0
    whole = loads.sum(axis=0, keepdims=True)
    every = np.arange(group.experts)
    if group.nodes > 1:
        effort += int(_exchange(found, every, loads, 0, group.per_node, group.nodes))
    for node in range(group.nodes):
        first = node * group.per_node
        own = every[(found >= first) & (found < first + group.per_node)]
        bins = min(group.per_node, group.ranks - first)
        effort += int(_exchange(found, own, whole[:, own], first, 1, bins))
    return found, effort


@njit(cache=True)
def _exchange(home: Any, own: Any, loads: Any, first: int, size: int, bins: int) -> int:
    """Exchange homes of the experts ``own``, of loads [M, own], between ``bins`` of ``size`` ranks from ``first`` on;
    return how much was looked at."""
    micro, experts = loads.shape
    sums = np.zeros((micro, bins), np.int64)
    for m in range(micro):
        for e in range(experts):
            sums[m, (home[own[e]] - first) // size] += loads[m, e]
    effort = micro * experts
    highest = np.empty((micro, 3), np.int64)
    for _ in range(experts // 2):
        total = _rank(sums, highest)
        best, one, other = 0, -1, -1
        for e in range(experts):
            a = (home[own[e]] - first) // size
            for f in range(e + 1, experts):
                b = (home[own[f]] - first) // size
                if a == b:
                    continue
                gain = total
                effort += 2
                for m in range(micro):
                    moved = loads[m, e] - loads[m, f]
                    top = max(sums[m, a] - moved, sums[m, b] + moved)
                    for place in range(3):
                        there = highest[m, place]
                        if there != a and there != b:
                            if there >= 0:
                                top = max(top, sums[m, there])
                            break
                    gain -= top
                    effort += 1
                    if gain <= best:
                        break
                if gain > best:
                    best, one, other = gain, e, f
        if best <= WORTH * total:
            break
        a, b = (home[own[one]] - first) // size, (home[own[other]] - first) // size
        for m in range(micro):
            moved = loads[m, one] - loads[m, other]
            sums[m, a] -= moved
            sums[m, b] += moved
        home[own[one]], home[own[other]] = home[own[other]], home[own[one]]
    return effort


@njit(cache=True)
def _rank(sums: Any, highest: Any) -> int:
    """Put the three bins with the most load into ``highest`` [M, 3], -1 where there are fewer; return the sum of the
    largest loads."""
    micro, bins = sums.shape
    highest[:] = -1
    total = 0
    for m in range(micro):
        for candidate in range(bins):
            for place in range(3):
                there = highest[m, place]
                if there < 0 or sums[m, candidate] > sums[m, there]:
                    for later in range(2, place, -1):
                        highest[m, later] = highest[m, later - 1]
                    highest[m, place] = candidate
                    break
        total += sums[m, highest[m, 0]]
    return total
