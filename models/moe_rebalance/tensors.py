"""One layer of one micro-step on real tensors, as the plan of its EP group serves it, and the plain way."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from . import layer
from .placement import Counts, Group, Plan

WIDTH = 4
"""Elements of a token, and of what experts make of it."""


@dataclass(frozen=True)
class Operands:
    """Of an EP group: random ``tokens`` [n, h] of every source, the experts that they chose, [n, K] each, the weights,
    and the plan.

    Model: all of the plan is carried out, even where the step drops replicas, for results do not depend on links.
    """

    tokens: Sequence[Any]
    choices: Sequence[Counts]
    weights: layer.Weights
    plan: Plan
    group: Group

    @classmethod
    def draw(cls, counts: Counts, top: int, plan: Plan, group: Group, rng: np.random.Generator) -> Self:
        """Return random tokens of which so many chose each expert, ``counts`` [R, E].

        Model: vectors of few elements, whatever the shape of the model is; which experts a token chose together is not
        known: neighbours by number.
        """
        choices = []
        for row in counts:
            # No expert has more than there are tokens: laid out one below the other, no token has one twice.
            chosen = np.repeat(np.arange(len(row)), row)
            choices.append(chosen.reshape(top, -1).T.astype(np.int32))
        tokens = [rng.standard_normal((len(choice), WIDTH)) for choice in choices]
        shapes = ((WIDTH,), (WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH))
        weights = layer.Weights(*(rng.standard_normal((group.experts, *shape)) for shape in shapes))
        return cls(tokens, choices, weights, plan, group)

    @cached_property
    def served(self) -> list[list[Any]]:
        """What every rank has in the end: the outputs of its tokens, and the gradients of ``down`` of the experts that
        are at home there, those of replicas summed, where that of every output is 1."""
        passed = layer.forward(self.tokens, self.weights, self.choices, self.plan, self.group)
        outer = [np.ones_like(each) for each in passed.outputs]
        found, _ = layer.backward(self.tokens, self.weights, passed, outer, self.plan, self.group)
        return self._of_ranks(passed.outputs, found.weights.down)

    def plain(self) -> list[list[Any]]:
        """Return the same of one rank that has all experts, expert by expert."""
        own, down = self.weights, np.zeros_like(self.weights.down)
        outputs = []
        for tokens, choice in zip(self.tokens, self.choices, strict=True):
            chosen = np.take_along_axis(tokens @ own.router.T, choice, axis=1)
            powers = np.exp(chosen - chosen.max(axis=1, keepdims=True))
            shares = np.zeros((len(tokens), len(own.router)))
            np.put_along_axis(shares, choice, powers / powers.sum(axis=1, keepdims=True), axis=1)
            output = np.zeros_like(tokens)
            for expert in range(len(own.router)):
                (rows,) = np.nonzero(shares[:, expert])
                gate, up = tokens[rows] @ own.gate[expert].T, tokens[rows] @ own.up[expert].T
                inner = gate / (1 + np.exp(-gate)) * up
                output[rows] += shares[rows, expert, None] * (inner @ own.down[expert].T)
                down[expert] += np.outer(np.ones(WIDTH), shares[rows, expert] @ inner)
            outputs.append(output)
        return self._of_ranks(outputs, down)

    def _of_ranks(self, outputs: Sequence[Any], down: Any) -> list[list[Any]]:
        return [[output, down[self.plan.home == rank]] for rank, output in enumerate(outputs)]
