"""How the tokens of an expert are split over the ranks that have it: evenly, or so that the largest load is as small as
it can be.

The last is a linear programme: least T with sum over r of q[e, r] = load[e], sum over e of q[e, r] <= T, q >= 0, and q
[e, r] = 0 where e is not resident. It is solved twice over: by HiGHS, and as a series of flows, whose T is whole.
"""

from typing import Any

import numpy as np
from numba import njit

from .placement import Counts, Mask


def evenly(load: Counts, copies: Counts) -> Counts:
    """Return the quotas [E, R] where every copy of an expert serves the same, the first ones a token more where it does
    not divide; ``copies`` [E, R] are how many a rank has."""
    ends = np.cumsum(copies, axis=1)
    cuts = -(-load[:, None] * ends // ends[:, -1:])
    return np.diff(cuts, axis=1, prepend=0)


def by_programme(load: Counts, resident: Mask) -> tuple[Counts, int]:
    """Return the quotas [E, R] of the linear programme by HiGHS, in whole tokens, and its pivots.

    Rounded down, and what is missing of an expert given to its rank with the least load: a load may exceed T by as many
    tokens as the rank has experts, at most.
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    experts, ranks = resident.shape
    rows, columns = np.nonzero(resident)
    count = len(rows)
    places = np.arange(count)
    equal = coo_array((np.ones(count), (rows, places)), shape=(experts, count + 1))
    limited = coo_array(
        (
            np.concatenate([np.ones(count), -np.ones(ranks)]),
            (np.concatenate([columns, np.arange(ranks)]), np.concatenate([places, np.full(ranks, count)])),
        ),
        shape=(ranks, count + 1),
    )
    goal = np.zeros(count + 1)
    goal[-1] = 1
    solved = linprog(goal, limited.tocsr(), np.zeros(ranks), equal.tocsr(), load, method="highs")
    quota = np.zeros((experts, ranks), np.int64)
    quota[rows, columns] = np.floor(solved.x[:-1] + 1e-6).astype(np.int64)
    _complete(quota, load, resident)
    return quota, int(solved.nit)


@njit(cache=True)
def _complete(quota: Any, load: Any, resident: Any) -> None:
    """Give what no quota serves to the rank with the least load, token by token; take back what is too much."""
    loads = quota.sum(axis=0)
    for expert in range(len(load)):
        missing = load[expert] - quota[expert].sum()
        while missing != 0:
            step = 1 if missing > 0 else -1
            best = -1
            for rank in range(len(loads)):
                fits = resident[expert, rank] and (step > 0 or quota[expert, rank] > 0)
                if fits and (best < 0 or step * loads[rank] < step * loads[best]):
                    best = rank
            quota[expert, best] += step
            loads[best] += step
            missing -= step


def by_flow(load: Counts, resident: Mask) -> tuple[Counts, int]:
    """Return quotas [E, R] in whole tokens whose largest load is the smallest there is, and how much was looked at.

    T begins at the mean. Where a flow with capacity T at every rank cannot take all tokens, its minimum cut names ranks
    that alone have some experts: T is at least the mean of these, and the flow goes on with that.
    """
    quota = np.zeros(resident.shape, np.int64)
    return quota, int(_flow(load, resident, quota))


@njit(cache=True)
def _flow(load: Any, resident: Any, quota: Any) -> int:
    experts, ranks = resident.shape
    effort = 0
    total = load.sum()
    capacity = -(-total // ranks)
    left, loads = load.copy(), np.zeros(ranks, np.int64)
    # Who reached an expert or a rank in a search: the rank or expert before it, -2 for nobody, -1 for a begin.
    before_expert, before_rank = np.empty(experts, np.int64), np.empty(ranks, np.int64)
    queue = np.empty(experts + ranks, np.int64)
    while True:
        before_expert[:], before_rank[:] = -2, -2
        head = tail = 0
        for expert in range(experts):
            if left[expert] > 0:
                before_expert[expert] = -1
                queue[tail] = expert
                tail += 1
        if tail == 0:
            return effort
        end = -1
        while head < tail and end < 0:
            node = queue[head]
            head += 1
            if node < experts:
                effort += ranks
                for rank in range(ranks):
                    if resident[node, rank] and before_rank[rank] == -2:
                        before_rank[rank] = node
                        if loads[rank] < capacity:
                            end = rank
                            break
                        queue[tail] = experts + rank
                        tail += 1
            else:
                effort += experts
                for expert in range(experts):
                    if quota[expert, node - experts] > 0 and before_expert[expert] == -2:
                        before_expert[expert] = node - experts
                        queue[tail] = expert
                        tail += 1
        if end < 0:
            # The ranks that were reached are full, and nobody else has the experts that were reached.
            confined = reached = 0
            for expert in range(experts):
                if before_expert[expert] != -2:
                    confined += load[expert]
            for rank in range(ranks):
                reached += before_rank[rank] != -2
            capacity = -(-confined // reached)
            continue
        _augment(left, loads, quota, before_expert, before_rank, end, capacity)


@njit(cache=True)
def _augment(
    left: Any, loads: Any, quota: Any, before_expert: Any, before_rank: Any, end: int, capacity: int
) -> None:  # fmt: skip
    """Send as many tokens as the path to rank ``end`` allows."""
    most = capacity - loads[end]
    expert = before_rank[end]
    while before_expert[expert] >= 0:
        rank = before_expert[expert]
        most = min(most, quota[expert, rank])
        expert = before_rank[rank]
    most = min(most, left[expert])
    left[expert] -= most
    loads[end] += most
    expert = before_rank[end]
    quota[expert, end] += most
    while before_expert[expert] >= 0:
        rank = before_expert[expert]
        quota[expert, rank] -= most
        expert = before_rank[rank]
        quota[expert, rank] += most
