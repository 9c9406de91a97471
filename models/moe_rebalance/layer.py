"""A layer of experts on the ranks of an EP group with real tensors, whatever the plan: the same results and gradients
as where one rank does it all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simcore import Work

from . import kernel
from .placement import Counts, Group, Plan, shares


@dataclass(frozen=True)
class Weights:
    """``router`` [E, h]; ``gate`` and ``up`` [E, f, h], ``down`` [E, h, f] of all experts."""

    router: Any
    gate: Any
    up: Any
    down: Any

    def expert(self, index: int) -> tuple[Any, Any, Any]:
        """Return the three matrices of an expert."""
        return self.gate[index], self.up[index], self.down[index]


@dataclass(frozen=True)
class Gradients:
    """Of the tokens of every source, and of the weights; those of an expert summed over its replicas."""

    tokens: Sequence[Any]
    weights: Weights


@dataclass(frozen=True)
class Passed:
    """What a forward pass left: ``outputs`` of every source, and what going back needs. ``places``: rows of `dispatch`
    by (source, expert, serving rank): places in the choice, row K + slot. ``work`` of every rank, all kernels."""

    outputs: Sequence[Any]
    choices: Sequence[Any]
    weights: Sequence[Any]
    served: Sequence[Any]
    places: Mapping[tuple[int, int, int], Any]
    kept: Mapping[tuple[int, int], tuple[Any, Any, Any]]
    work: Sequence[Work]


def count(choices: Sequence[Any], experts: int) -> Counts:
    """Return the counts [R, E] of what the tokens of every source chose."""
    return np.stack([np.bincount(choice.ravel(), minlength=experts) for choice in choices]).astype(np.int64)


def forward(tokens: Sequence[Any], weights: Weights, choices: Sequence[Any], plan: Plan, group: Group) -> Passed:
    """Return the outputs of the layer for the ``tokens`` of every source, whose ``choices`` are replayed; experts are
    computed where ``plan`` says, the first tokens of a source by the first rank."""
    xp, top = kernel.library(tokens[0]), choices[0].shape[1]
    work = [Work() for _ in tokens]
    gates = []
    for rank, (own, choice) in enumerate(zip(tokens, choices, strict=True)):
        gate, done = kernel.replay(own, weights.router, choice)
        gates.append(gate)
        work[rank] += done
    places = _places(choices, plan, group)
    served = [xp.zeros((len(own), top, own.shape[1]), dtype=own.dtype) for own in tokens]
    kept = {}
    for expert, rank in np.argwhere(plan.quota > 0):
        parts = [(s, places[s, expert, rank]) for s in range(group.ranks) if (s, expert, rank) in places]
        sent = []
        for source, rows in parts:
            copies, done = kernel.dispatch(tokens[source], rows // top)
            sent.append(copies)
            work[source] += done
        there = xp.concatenate(sent)
        (found, left, right), done = kernel.expert(there, *weights.expert(expert))
        work[rank] += done
        kept[int(expert), int(rank)] = there, left, right
        _scatter(served, parts, found, top)
    outputs = []
    for rank, (parts_of, gate) in enumerate(zip(served, gates, strict=True)):
        out, done = kernel.combine(parts_of, gate)
        outputs.append(out)
        work[rank] += done
    return Passed(outputs, choices, gates, served, places, kept, work)


def backward(
    tokens: Sequence[Any], weights: Weights, passed: Passed, outer: Sequence[Any], plan: Plan, group: Group
) -> tuple[Gradients, Mapping[tuple[int, int], Sequence[Any]]]:
    """Return the gradients of tokens and weights, and, by (expert, serving rank), what every replica found for its own
    copy: what is sent home and summed there."""
    xp, top = kernel.library(tokens[0]), passed.choices[0].shape[1]
    to_tokens, to_served = [], []
    to_router = xp.zeros_like(weights.router)
    for rank, own in enumerate(tokens):
        (into, gates), _ = kernel.combine_gradients(passed.served[rank], passed.weights[rank], outer[rank])
        choice = passed.choices[rank]
        (direct, router), _ = kernel.replay_gradients(own, weights.router, choice, passed.weights[rank], gates)
        to_served.append(into)
        to_tokens.append(direct)
        to_router = to_router + router
    sums = [xp.zeros_like(each) for each in (weights.gate, weights.up, weights.down)]
    replicas = {}
    for (expert, rank), (there, left, right) in passed.kept.items():
        parts = [(s, passed.places[s, expert, rank]) for s in range(group.ranks) if (s, expert, rank) in passed.places]
        came = xp.concatenate([to_served[s][rows // top, rows % top] for s, rows in parts])
        (back, *own_sums), _ = kernel.expert_gradients(there, left, right, *weights.expert(expert), came)
        replicas[expert, rank] = own_sums
        for total, each in zip(sums, own_sums, strict=True):
            total[expert] += each
        begin = 0
        for source, rows in parts:
            # A token is at most once among those of an expert.
            to_tokens[source][rows // top] += back[begin : begin + len(rows)]
            begin += len(rows)
    return Gradients(to_tokens, Weights(to_router, *sums)), replicas


def _places(choices: Sequence[Any], plan: Plan, group: Group) -> dict[tuple[int, int, int], Any]:
    counts = count(choices, group.experts)
    given = shares(plan, counts, group)
    found = {}
    for source, choice in enumerate(choices):
        flat = choice.ravel()
        for expert in np.unique(flat):
            rows = np.flatnonzero(flat == expert)
            ends = np.cumsum(given[expert, source])
            for rank in np.flatnonzero(given[expert, source]):
                found[source, int(expert), int(rank)] = rows[ends[rank] - given[expert, source, rank] : ends[rank]]
    return found


def _scatter(served: Sequence[Any], parts: Sequence[tuple[int, Any]], found: Any, top: int) -> None:
    """Put what an expert made of the tokens of every source where they came from."""
    begin = 0
    for source, rows in parts:
        served[source][rows // top, rows % top] = found[begin : begin + len(rows)]
        begin += len(rows)
