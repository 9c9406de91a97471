"""Planners of one layer and micro-step that know its loads: replicas by quota (of the paper, arXiv:2606.11867, only the
abstract is known), and experts that move whole."""

from typing import Any

import numpy as np
from numba import njit

from . import splits
from .placement import Counts, Group, Mask, Plan

ENOUGH = 1.02
"""A load this many times the target is left as it is."""


def replicate(home: Counts, load: Counts, group: Group, anywhere: bool) -> Plan:
    """Return the plan in which the rank with the largest load gives of it, to the rank where the most of one expert
    fits, again and again, until that load is `ENOUGH` of what can be reached; ``load`` [E]. Replicas are on the home's
    own node unless ``anywhere``. No step makes the largest load larger.

    An expert moves min(what the rank has too much, what the other has too little, what the rank serves of it) tokens;
    where it is not resident a slot is needed. Of equal ones it is the expert that is resident already, then the nearest
    rank. Where that ends too early the tokens are split anew over the replicas that there are, as well as can be
    (`splits`), and replicas that serve none are left out.
    """
    quota, resident = _at_home(home, load, group)
    scope = group.ranks if anywhere else group.per_node
    goal, effort = _replicate(home, quota, resident, group.per_node, scope, group.room)
    if quota.sum(axis=0).max() > ENOUGH * goal:
        quota, more = splits.by_flow(load, resident)
        effort += more // 2  # a visit of a flow takes half as long
        resident = quota > 0
        resident[np.arange(group.experts), home] = True
    return Plan(home, resident, quota, moves(home, resident), effort)


def moves(home: Counts, resident: Mask) -> Counts:
    """Return the moves [n, 3] from home to every replica, by expert and rank."""
    experts, ranks = np.nonzero(resident)
    away = home[experts] != ranks
    return np.stack([experts[away], home[experts[away]], ranks[away]], axis=1)


def relocate(home: Counts, load: Counts, group: Group, tolerated: float = 0.1, most: float = 1.5) -> Plan:
    """Return the plan of the adjuster that third-party reviews of the paper describe: whole experts served elsewhere.

    Ranks above 1 + ``tolerated`` times the mean are paired with those below 1 - ``tolerated``, in the order of their
    loads. A rank gives its experts with most tokens first, each at most ``most`` times what it has too much, to the
    first rank that would stay below it and has a slot; until it is no longer above.
    """
    quota, resident = _at_home(home, load, group)
    effort = _relocate(quota, resident, group.room, tolerated, most)
    return Plan(home, resident, quota, moves(home, resident), effort)


def _at_home(home: Counts, load: Counts, group: Group) -> tuple[Any, Any]:
    """Return quotas and residence [E, R] where everything is served at home."""
    every = np.arange(group.experts)
    quota, resident = np.zeros((group.experts, group.ranks), np.int64), np.zeros((group.experts, group.ranks), bool)
    quota[every, home], resident[every, home] = load, True
    return quota, resident


@njit(cache=True)
def _replicate(
    home: Any, quota: Any, resident: Any, per_node: int, scope: int, room: int
) -> tuple[int, int]:  # fmt: skip
    """Return what the largest load can be at best, and how much was looked at."""
    experts, ranks = quota.shape
    loads, held = quota.sum(axis=0), resident.sum(axis=0)
    target = 0
    for first in range(0, ranks, scope):
        last = min(first + scope, ranks)
        target = max(target, -(-loads[first:last].sum() // (last - first)))
    effort = experts * ranks
    while True:
        hot = np.argmax(loads)
        effort += ranks + experts
        if loads[hot] <= ENOUGH * target:
            return target, effort
        first = hot // scope * scope
        best = expert_of = rank_of = near_of = 0
        for expert in range(experts):
            if quota[expert, hot] <= best:
                continue
            effort += min(scope, ranks - first)
            for rank in range(first, min(first + scope, ranks)):
                there = resident[expert, rank]
                if rank == hot or not (there or held[rank] < room):
                    continue
                moved = min(loads[hot] - target, target - loads[rank], quota[expert, hot])
                near = 2 * there + (home[expert] // per_node == rank // per_node)
                if moved > best or (moved == best and moved > 0 and near > near_of):
                    best, expert_of, rank_of, near_of = moved, expert, rank, near
        if best == 0:
            return target, effort
        quota[expert_of, hot] -= best
        quota[expert_of, rank_of] += best
        loads[hot] -= best
        loads[rank_of] += best
        if not resident[expert_of, rank_of]:
            resident[expert_of, rank_of] = True
            held[rank_of] += 1


@njit(cache=True)
def _relocate(quota: Any, resident: Any, room: int, tolerated: float, most: float) -> int:
    experts, ranks = quota.shape
    loads, held = quota.sum(axis=0), resident.sum(axis=0)
    mean = loads.sum() / ranks
    order = np.argsort(-loads, kind="mergesort")
    effort = experts * ranks
    above = (loads > (1 + tolerated) * mean).sum()
    for hot in order[:above]:
        for expert in np.argsort(-quota[:, hot], kind="mergesort"):
            tokens, excess = quota[expert, hot], loads[hot] - mean
            if tokens == 0 or loads[hot] <= (1 + tolerated) * mean:
                break
            if tokens > most * excess:
                continue
            for cold in order[::-1]:
                effort += 1
                if loads[cold] >= (1 - tolerated) * mean:
                    continue
                if held[cold] < room and not resident[expert, cold] and loads[cold] + tokens < loads[hot]:
                    quota[expert, cold], quota[expert, hot] = tokens, 0
                    loads[cold] += tokens
                    loads[hot] -= tokens
                    resident[expert, cold] = True
                    held[cold] += 1
                    break
    return effort
