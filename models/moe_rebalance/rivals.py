"""Placements for a whole step from the loads of an earlier one, as FlexMoE and LAER-MoE make them; after the account of
both in github.com/PKU-DAIR/Hetu-Galvatron (branch laer-moe; arXiv:2602.11686)."""

from typing import Any

import numpy as np
from numba import njit

from .placement import Counts, Group

ROUNDS = 10
"""Exchanges of replicas that the FlexMoE-like policy makes at most."""
ROUNDED = 1e-9
"""Sums of loads that differ by this share are equal."""


def shadow(home: Counts, before: Counts, load: Counts, group: Group) -> tuple[Counts, int]:
    """Return the copies [E, R] of a FlexMoE-like placement, and how much was looked at; ``load`` [E].

    It goes on from the copies ``before``, free slots filled with experts of the ranks after theirs. A round takes the
    expert with the highest load a copy and the replicated one with the lowest, and turns one replica of the latter on
    each node into one of the former; it is kept unless the largest load rises, tokens being split evenly over copies.
    `ROUNDS` at most, none where ranks' loads are equal.

    Slow by construction, as ten rounds exchange few of many replicas: of the known loads of the preset ep64 the largest
    is 2.5 times the mean without replicas, 1.7 after the first step, 1.4 after four and 1.2 after six. It would stop
    at 1.9 if every round had to lower the largest load: the expert with the most a copy is seldom on that rank.

    Model: the original's score has the time of exchanges too.
    """
    copies = before.copy()
    _fill(home, copies, group.room)
    return copies, int(_shadow(home, load, copies, group.per_node))


@njit(cache=True)
def _fill(home: Any, copies: Any, room: int) -> None:
    """Fill free slots: the first with an expert of the next rank, the second with another of the rank after, ..."""
    experts, ranks = copies.shape
    for rank in range(ranks):
        held = copies[:, rank].sum()
        for slot in range(experts):
            if held == room:
                break
            there = np.flatnonzero((home == (rank + slot + 1) % ranks) & (copies[:, rank] == 0))
            if len(there):
                copies[there[slot % len(there)], rank] = 1
                held += 1


@njit(cache=True)
def _shadow(home: Any, load: Any, copies: Any, per_node: int) -> int:
    experts, ranks = copies.shape
    effort = 2 * experts * ranks
    loads = _loads(load, copies)
    before = np.empty_like(copies)
    for _ in range(ROUNDS):
        counts = copies.sum(axis=1)
        each = load / counts
        hot, cold = np.argmax(each), -1
        for expert in range(experts):
            if expert != hot and counts[expert] > 1 and (cold < 0 or each[expert] < each[cold]):
                cold = expert
        if cold < 0 or loads.max() <= loads.min() * (1 + ROUNDED):
            break
        effort += 2 * experts * ranks
        before[:] = copies
        for first in range(0, ranks, per_node):
            for rank in range(first, min(first + per_node, ranks)):
                if copies[cold, rank] and home[cold] != rank and not copies[hot, rank]:
                    copies[cold, rank], copies[hot, rank] = 0, 1
                    break
        now = _loads(load, copies)
        if now.max() > loads.max() * (1 + ROUNDED):
            copies[:] = before
            break
        loads = now
    return effort


@njit(cache=True)
def _loads(load: Any, copies: Any) -> Any:
    """Return the loads of ranks where tokens are split evenly over copies."""
    experts, ranks = copies.shape
    sums = np.zeros(ranks)
    for expert in range(experts):
        count = 0
        for rank in range(ranks):
            count += copies[expert, rank]
        for rank in range(ranks):
            sums[rank] += load[expert] * copies[expert, rank] / count
    return sums


def lay_out(load: Counts, group: Group) -> tuple[Counts, int]:
    """Return the copies [E, R] of a LAER-like placement, and how much was looked at; ``load`` [E].

    Two candidates: copies by load, one more for the expert with the largest load a copy, and for all nodes at once when
    it has as many as there are nodes; and equally many copies of all. Copies are placed by falling load, on the nodes
    with the fewest of their expert, on the rank with the least load that has room. The one with the smaller largest
    load is taken.

    Model: the original weighs the time of exchanges too, and tries exchanges of counts.
    """
    effort = np.zeros(1, np.int64)
    room = np.int64(group.room)
    by_load = _counts(load, room * group.ranks, group.nodes, group.ranks, effort)
    extra = room * group.ranks - group.experts
    even = np.ones(group.experts, np.int64) + extra // group.experts
    even[np.argsort(-load, kind="stable")[: extra % group.experts]] += 1
    candidates = by_load, np.minimum(even, group.ranks)
    found = [_lay_out(load, counts, group.ranks, group.per_node, room, effort) for counts in candidates]
    return min(found, key=lambda copies: float(_loads(load, copies).max())), int(effort[0])


@njit(cache=True)
def _counts(load: Any, places: int, nodes: int, ranks: int, effort: Any) -> Any:
    counts = np.ones(len(load), np.int64)
    left = places - len(load)
    full = np.zeros(len(load), np.bool_)
    while left > 0:
        best = -1
        for expert in range(len(load)):
            if not full[expert] and (best < 0 or load[expert] * counts[best] > load[best] * counts[expert]):
                best = expert
        effort[0] += len(load)
        if best < 0:
            break
        more = nodes if counts[best] >= nodes else 1
        if more > left or counts[best] + more > ranks:
            full[best] = True
        else:
            counts[best] += more
            left -= more
    return counts


@njit(cache=True)
def _lay_out(load: Any, counts: Any, ranks: int, per_node: int, room: int, effort: Any) -> Any:
    experts = len(load)
    copies, held, sums = np.zeros((experts, ranks), np.int64), np.zeros(ranks, np.int64), np.zeros(ranks)
    on_node = np.zeros(-(-ranks // per_node), np.int64)
    for expert in np.argsort(-(load / counts), kind="mergesort"):
        on_node[:] = 0
        share = load[expert] / counts[expert]
        for _ in range(counts[expert]):
            best = -1
            for rank in range(ranks):
                if held[rank] == room or copies[expert, rank]:
                    continue
                node = rank // per_node
                if best >= 0:
                    other = best // per_node
                    if on_node[node] > on_node[other] or (on_node[node] == on_node[other] and sums[rank] >= sums[best]):
                        continue
                best = rank
            effort[0] += ranks
            # A copy for which only ranks that have the expert have room is left out.
            if best >= 0:
                copies[expert, best] = 1
                held[best] += 1
                sums[best] += share
                on_node[best // per_node] += 1
    return copies


def split_near(counts: Counts, resident: Any, group: Group) -> Counts:
    """Return the quotas [E, R] where the tokens of a source are split evenly over the copies on its own node, and over
    all where there is none; ``counts`` [R, E]."""
    quota = np.zeros(resident.shape, np.int64)
    _split_near(counts, resident, group.per_node, quota)
    return quota


@njit(cache=True)
def _split_near(counts: Any, resident: Any, per_node: int, quota: Any) -> None:
    experts, ranks = resident.shape
    for expert in range(experts):
        for source in range(ranks):
            first = source // per_node * per_node
            last = min(first + per_node, ranks)
            there = resident[expert, first:last].sum()
            if there == 0:
                first, last = 0, ranks
                there = resident[expert].sum()
            # The remainder falls on another copy for another source.
            tokens, place = counts[source, expert], source
            for rank in range(first, last):
                if resident[expert, rank]:
                    quota[expert, rank] += tokens // there + (place % there < tokens % there)
                    place += 1
