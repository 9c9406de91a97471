"""Which rank gets which bin of experts, where a placement is made from nothing: so that the least has to move from
where it was, homes staying where a copy does."""

from typing import Any

import numpy as np
from numba import njit

from .placement import OPTIMIZER, Counts, Group, Mask

COMPARED, ASSIGNED = 16, 2000
"""Visits that take as long as to compare what two ranks have, and as an assignment (`linear_sum_assignment`)."""


def match(copies: Counts, home: Counts, had: Mask, group: Group, by_node: bool) -> tuple[Counts, int]:
    """Return ``copies`` [E, R] with its columns in another order, and how much was looked at: the order in which most
    of ``had`` [E, R] and of ``home`` [E] stays, a home counting as the share of the optimizer that moves with it.

    ``by_node``: the placement knows nodes: nodes change places with each other, and ranks inside them.
    """
    weight = had * float(group.groups)
    weight[np.arange(group.experts), home] += OPTIMIZER
    kept = np.rint((copies > 0).T.astype(np.float64) @ weight).astype(np.int64)
    size = group.per_node if by_node else group.ranks
    nodes = [slice(first, min(first + size, group.ranks)) for first in range(0, group.ranks, size)]
    # What stays where a new node becomes an old one, and who becomes whom inside; never of another size.
    stays = np.full((len(nodes), len(nodes)), -1 - kept.sum())
    inside = {}
    for i, j in np.ndindex(stays.shape):
        block = kept[nodes[i], nodes[j]]
        if block.shape[0] == block.shape[1]:
            inside[i, j] = _assign(block)
            stays[i, j] = block[inside[i, j], np.arange(len(block))].sum()
    order = np.empty(group.ranks, np.int64)
    for j, i in enumerate(_assign(stays).tolist()):
        order[nodes[j]] = nodes[i].start + inside[i, j]
    return copies[:, order], COMPARED * group.ranks**2 + ASSIGNED * (len(inside) + 1)


def _assign(kept: Counts) -> Counts:
    """Return the row that every column gets so that the sum of ``kept`` there is the largest."""
    from scipy.optimize import linear_sum_assignment

    rows: Counts = linear_sum_assignment(kept.T, maximize=True)[1]
    return rows


def rehome(resident: Mask, home: Counts, had: Mask) -> Counts:
    """Return the homes [E]: where they were, if a copy is there still; or else where a copy comes new, as its weights
    travel with the home, and of these the rank with the fewest homes.

    Model: a home that goes where a replica was takes its weights along all the same.
    """
    found = home.copy()
    _rehome(resident, had, found)
    return found


@njit(cache=True)
def _rehome(resident: Any, had: Any, home: Any) -> None:
    experts, ranks = resident.shape
    homes = np.zeros(ranks, np.int64)
    for expert in range(experts):
        homes[home[expert]] += resident[expert, home[expert]]
    for expert in range(experts):
        if resident[expert, home[expert]]:
            continue
        best = -1
        for rank in range(ranks):
            if not resident[expert, rank]:
                continue
            if (
                best < 0
                or had[expert, rank] < had[expert, best]
                or (had[expert, rank] == had[expert, best] and homes[rank] < homes[best])
            ):
                best = rank
        home[expert] = best
        homes[best] += 1
