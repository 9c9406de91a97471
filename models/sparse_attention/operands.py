"""Real tensors of one layer, what its stages compute with them, and the same the plain way."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernel
from .layer import Shape, Step

Array = NDArray[Any]


@dataclass(frozen=True)
class Sequence:
    """Queries of the last tokens of one sequence, keys and values of all of them, float64; shapes as in `kernel`."""

    queries: Array
    keys: Array
    values: Array
    index_queries: Array
    index_keys: Array

    def part(self, first: int, last: int, total: int, heads: slice, each: int) -> "Sequence":
        """Return queries ``first`` to ``last`` and the ``total`` tokens that there are then, of some KV heads, each
        with ``each`` query heads."""
        of_queries = slice(heads.start * each, heads.stop * each)
        return Sequence(
            self.queries[first:last, of_queries], self.keys[:total, heads], self.values[:total, heads],
            self.index_queries[first:last, heads], self.index_keys[:total],
        )  # fmt: skip


@dataclass(frozen=True)
class State:
    """The sequences of a step on one rank, and what its stages have found of each so far."""

    sequences: list[Sequence]
    shape: Shape
    found: dict[str, list[Any]] = field(default_factory=dict)

    def having(self, name: str, results: list[Any]) -> "State":
        """Return this with the results of one more stage."""
        return replace(self, found={**self.found, name: results})


def draw(shape: Shape, queries: int, total: int, rng: np.random.Generator) -> Sequence:
    """Return random tensors: ``queries`` of the last of ``total`` tokens."""
    return Sequence(
        rng.standard_normal((queries, shape.query_heads, shape.width)),
        rng.standard_normal((total, shape.heads, shape.width)),
        rng.standard_normal((total, shape.heads, shape.width)),
        rng.standard_normal((queries, shape.heads, shape.index_width)),
        rng.standard_normal((total, shape.index_width)),
    )


def index(state: State) -> State:
    """Score the blocks of every sequence."""
    size = state.shape.block
    scores = [kernel.score_blocks(each.index_queries, each.index_keys, size)[0] for each in state.sequences]
    return state.having("scores", scores)


def propose(state: State, place: int, places: int) -> State:
    """Score every ``places``-th block from block ``place`` on, and keep the best of them: the others have no score."""
    size, keep = state.shape.block, state.shape.keep
    proposed = []
    for each, scores in zip(state.sequences, index(state).found["scores"], strict=True):
        own = np.full_like(scores, -np.inf)
        own[:, :, place::places] = scores[:, :, place::places]
        choice = kernel.choose_blocks(own, len(each.keys), size, keep + 1)[0]  # the query's own is among them anyhow
        best = np.full_like(scores, -np.inf)
        rows, heads, slots = np.nonzero(choice >= 0)
        blocks = choice[rows, heads, slots]
        best[rows, heads, blocks] = own[rows, heads, blocks]
        proposed.append(best)
    return state.having("scores", proposed)


def choice(state: State) -> State:
    """Choose the blocks of every query."""
    size, keep = state.shape.block, state.shape.keep
    chosen = [
        kernel.choose_blocks(scores, len(each.keys), size, keep)[0]
        for each, scores in zip(state.sequences, state.found["scores"], strict=True)
    ]
    return state.having("choice", chosen)


def lists(state: State) -> State:
    """List the queries of every block."""
    found = [
        kernel.list_queries(chosen, -(-len(each.keys) // state.shape.block))[0]
        for each, chosen in zip(state.sequences, state.found["choice"], strict=True)
    ]
    return state.having("lists", found)


def blocks(state: State) -> State:
    """Attend block by block."""
    partial = [
        kernel.attend_by_block(each.queries, each.keys, each.values, chosen, listed, state.shape.block)[0]
        for each, chosen, listed in zip(state.sequences, state.found["choice"], state.found["lists"], strict=True)
    ]
    return state.having("partial", partial)


def combine(state: State) -> State:
    """Combine what the blocks gave."""
    outputs = [
        kernel.combine(*partial, chosen)[0]
        for partial, chosen in zip(state.found["partial"], state.found["choice"], strict=True)
    ]
    return state.having("outputs", outputs)


def decode(state: State) -> State:
    """Choose blocks, score them first where that was not done together with others, and attend query by query."""
    state = choice(state if "scores" in state.found else index(state))
    outputs = [
        kernel.attend_by_query(each.queries, each.keys, each.values, chosen, state.shape.block)[0]
        for each, chosen in zip(state.sequences, state.found["choice"], strict=True)
    ]
    return state.having("outputs", outputs)


def dense(state: State) -> State:
    """Attend to everything."""
    outputs = [kernel.attend_densely(each.queries, each.keys, each.values)[0] for each in state.sequences]
    return state.having("outputs", outputs)


PREFILL: dict[str, Callable[[State], State]] = {
    "index": index, "choice": choice, "lists": lists, "blocks": blocks, "combine": combine,
}  # fmt: skip


def stage(attention: str, step: Step, name: str) -> Callable[[State], State]:
    """Return what the stage ``name`` computes."""
    if name != "attention":
        return PREFILL[name]
    return dense if attention == "dense" else decode


def plain(of: Sequence, shape: Shape, attention: str) -> Array:
    """Return the outputs [queries, query heads, width] reckoned query by query and head by head: softmax over the
    visible tokens, of sparse attention those of the blocks with the highest scores and of the query's own."""
    count, heads, _ = of.queries.shape
    each = heads // of.keys.shape[1]
    found = np.zeros_like(of.queries)
    for query in range(count):
        position = len(of.keys) - count + query
        for head in range(heads):
            group = head // each
            tokens = np.arange(position + 1)
            if attention == "sparse":
                tokens = tokens[np.isin(tokens // shape.block, _kept(of, query, group, position, shape))]
            weights = np.exp(of.keys[tokens, group] @ of.queries[query, head] * shape.width**-0.5)
            found[query, head] = weights @ of.values[tokens, group] / weights.sum()
    return found


def _kept(of: Sequence, query: int, group: int, position: int, shape: Shape) -> list[int]:
    scores = of.index_keys[: position + 1] @ of.index_queries[query, group]
    own = position // shape.block
    best = {b: scores[b * shape.block : b * shape.block + shape.block].max() for b in range(own)}
    return [own, *sorted(best, key=lambda b: -best[b])[: shape.keep - 1]]
