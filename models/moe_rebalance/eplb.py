"""EPLB, as github.com/deepseek-ai/EPLB (commit d52c72d) describes it: copies for the experts with the most load, packed
so that ranks hold equal loads. It knows one load an expert, and neither what moving costs nor micro-steps."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .placement import Counts

Loads = NDArray[np.float64]


def place(loads: Loads, copies: int, groups: int, nodes: int, ranks: int) -> tuple[Counts, int]:
    """Return the expert in every physical place, [copies], ``copies / ranks`` consecutive ones a rank, and how much was
    looked at; ``loads`` [E]. Tokens are to be split evenly over the copies of an expert.

    Where the nodes divide the ``groups`` of experts these are packed to nodes first, and copied inside; otherwise the
    whole is one node.
    """
    if groups % nodes:
        groups = nodes = 1
    effort = np.zeros(1, np.int64)
    return _place(np.asarray(loads, np.float64), copies, groups, nodes, ranks, effort), int(effort[0])


@njit(cache=True)
def _place(loads: Any, copies: int, groups: int, nodes: int, ranks: int, effort: Any) -> Any:
    experts = len(loads)
    size, own = experts // groups, experts // nodes
    bins = _pack(loads.reshape(groups, size).sum(axis=1), nodes, effort)
    found = np.empty(copies, np.int64)
    here, each = copies // nodes, copies // ranks
    members = np.empty(own, np.int64)
    for node in range(nodes):
        count = 0
        for group in range(groups):
            if bins[group] == node:
                members[count : count + size] = np.arange(group * size, (group + 1) * size)
                count += size
        experts_of, counts = _copy(loads[members], here, effort)
        shares = loads[members][experts_of] / counts[experts_of]
        ranks_of = _pack(shares, ranks // nodes, effort)
        filled = np.zeros(ranks // nodes, np.int64)
        for place in range(here):
            rank = ranks_of[place]
            found[node * here + rank * each + filled[rank]] = members[experts_of[place]]
            filled[rank] += 1
    return found


@njit(cache=True)
def _pack(weights: Any, bins: int, effort: Any) -> Any:
    """Return the bin of every weight, equally many in each: the heaviest first, into the lightest bin with room."""
    room = len(weights) // bins
    sums, held = np.zeros(bins), np.zeros(bins, np.int64)
    found = np.empty(len(weights), np.int64)
    for item in np.argsort(-weights, kind="mergesort"):
        best = -1
        for candidate in range(bins):
            if held[candidate] < room and (best < 0 or sums[candidate] < sums[best]):
                best = candidate
        found[item] = best
        sums[best] += weights[item]
        held[best] += 1
    effort[0] += len(weights) * bins
    return found


@njit(cache=True)
def _copy(loads: Any, copies: int, effort: Any) -> Any:
    """Return the expert of every copy, [copies], and how many of each there are, [E]: one each, then one more for the
    expert with the largest load a copy."""
    experts = len(loads)
    found, counts = np.empty(copies, np.int64), np.ones(experts, np.int64)
    found[:experts] = np.arange(experts)
    for copy in range(experts, copies):
        found[copy] = np.argmax(loads / counts)
        counts[found[copy]] += 1
    effort[0] += (copies - experts) * experts
    return found, counts
