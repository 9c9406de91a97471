"""Replicas that are not worth waiting for: which of a layer's are taken away, and who serves their tokens then."""

from collections.abc import Callable, Sequence

import numpy as np

from .placement import Counts, Plan


class Serving:
    """Who serves the tokens of a layer's experts that have replicas, one after another of which is taken away.

    ``moves`` [n, 3] (expert, home, to) are the replicas, ``served`` [n] what each serves, ``totals`` [E] the tokens of
    every expert; ``loads`` and ``active`` [R] what every rank serves in all: tokens, and experts that have some.
    """

    def __init__(self, moves: Counts, served: Counts, totals: Counts, loads: Counts, active: Counts) -> None:
        self.loads: list[int] = loads.tolist()
        self.active: list[int] = active.tolist()
        self._moves: list[tuple[int, int, int]] = [(a, b, c) for a, b, c in moves.tolist()]
        # By expert, the tokens that its residents serve, home first.
        self._quotas: dict[int, dict[int, int]] = {}
        for (expert, home, target), tokens in zip(self._moves, served.tolist(), strict=True):
            quota = self._quotas.setdefault(expert, {home: int(totals[expert])})
            quota[home] -= tokens
            quota[target] = tokens

    def take_away(self, move: int) -> list[int]:
        """Take away the replica of a move; its tokens go to the expert's other residents, each to the one with the
        least load, home first among equals. Return the ranks whose load may be another."""
        expert, _, target = self._moves[move]
        quota = self._quotas[expert]
        tokens = quota.pop(target)
        if not tokens:
            return []
        self.loads[target] -= tokens
        self.active[target] -= 1
        gains = shared([self.loads[rank] for rank in quota], tokens)
        for rank, gain in zip(quota, gains, strict=True):
            if gain:
                self.active[rank] += quota[rank] == 0
                self.loads[rank] += gain
                quota[rank] += gain
        return [target, *quota]

    def plan(self, home: Counts, totals: Counts, ranks: int) -> Plan:
        """Return the plan by which ranks serve so; ``home`` and ``totals`` [E] are those of all experts."""
        every = np.arange(len(home))
        quota, resident = np.zeros((len(home), ranks), np.int64), np.zeros((len(home), ranks), bool)
        quota[every, home], resident[every, home] = totals, True
        for expert, of in self._quotas.items():
            quota[expert, list(of)], resident[expert, list(of)] = list(of.values()), True
        moves = [(expert, source, to) for expert, source, to in self._moves if to in self._quotas[expert]]
        return Plan(home, resident, quota, np.array(moves, np.int64).reshape(-1, 3))


def shared(loads: Sequence[int], tokens: int) -> list[int]:
    """Return how many of ``tokens`` each gets when one after another goes to the least of ``loads``, the first among
    equals."""
    below, level = 0, 0
    for count, load in enumerate(sorted(loads), 1):
        if load * (count - 1) - below > tokens:
            break
        below += load
        level = (below + tokens) // count
    gains = [max(0, level - load) for load in loads]
    rest = tokens - sum(gains)
    for place, load in enumerate(loads):
        if rest and load <= level:
            gains[place] += 1
            rest -= 1
    return gains


def unworthy(
    serving: Serving, moves: int, passes: int, experts: Callable[[int, int], int],
    waits: Callable[[list[int]], tuple[int, int]],
) -> list[int]:  # fmt: skip
    """Return which of so many moves to do without, in the order in which they were taken away from ``serving``: always
    the one that comes last of those left, as many as make experts and waits together shortest, fewest among equals.

    ``experts`` says how long so many tokens of so many experts take, ``passes`` how often that is; ``waits`` what is
    waited for the moves that are left, and which of these comes last.
    """
    left, gone = list(range(moves)), list[int]()
    times = [experts(tokens, active) for tokens, active in zip(serving.loads, serving.active, strict=True)]
    wait, last = waits(left)
    least, best = passes * max(times) + wait, 0
    while left:
        left.remove(last)
        gone.append(last)
        for rank in serving.take_away(last):
            times[rank] = experts(serving.loads[rank], serving.active[rank])
        wait, last = waits(left) if left else (0, -1)
        took = passes * max(times) + wait
        if took < least:
            least, best = took, len(gone)
    return gone[:best]
