"""What the layers of an EP group take, as planned, and where replicas are dropped whose weights would come too late."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .chunks import Load
from .drops import Serving, unworthy
from .placement import Counts, Group
from .planned import Meaning, Planned
from .timing import Layer, Shape


@dataclass(frozen=True)
class Left:
    """What is left of the plan of a layer and micro-step: ``load``, what it takes; ``kept``, the places of its moves
    among those planned, of which so many were ``dropped``; ``uneven`` as of `Loads`."""

    load: Load
    kept: Counts
    dropped: int
    uneven: Sequence[int]


class Loads:
    """What a pass through each layer and micro-step of ``planned`` takes."""

    def __init__(self, planned: Planned, layer: Layer, group: Group, shape: Shape) -> None:
        self._planned, self._layer, self._group, self._shape = planned, layer, group, shape
        self._loads: dict[tuple[int, int], Load] = {}
        self._attention: dict[int, Counts] = {}
        self._uneven = _uneven(planned.loads, group).tolist()

    def of(self, layer: int, m: int) -> Load:
        """Return what is planned."""
        if (layer, m) not in self._loads:
            planned = self._planned
            meaning = Meaning(planned.loads[layer, m], planned.active[layer, m], planned.sizes[layer, m])
            self._loads[layer, m] = self._load(m, meaning)
        return self._loads[layer, m]

    def uneven(self, layer: int, m: int) -> Sequence[int]:
        """Return all tokens as planned, those of the rank with most, and of the node."""
        found: Sequence[int] = self._uneven[layer][m]
        return found

    def moves(self, layer: int, m: int) -> Counts:
        """Return the moves [n, 3] that are planned."""
        return self._planned.moves[layer][m]

    def without(self, layer: int, m: int, passes: int, waits: Callable[[list[int]], tuple[int, int]]) -> Left | None:
        """Return what is left where replicas are dropped whose gain in ``passes`` passes is below what they let the
        ranks wait, by `unworthy`; nothing where none is."""
        planned, counts = self._planned, self._planned.counts[layer, m]
        moves, served, totals = planned.moves[layer][m], planned.served[layer][m], counts.sum(axis=0)
        serving = Serving(moves, served, totals, planned.loads[layer, m], planned.active[layer, m])
        gone = unworthy(serving, len(moves), passes, self._layer.experts, waits)
        if not gone:
            return None
        kept = np.delete(np.arange(len(moves)), gone)
        serving = Serving(moves, served, totals, planned.loads[layer, m], planned.active[layer, m])
        for move in gone:
            serving.take_away(move)
        plan = serving.plan(planned.homes[layer][m], totals, self._group.ranks)
        meaning = Meaning.of(plan, counts, planned.tokens[m], self._group, self._shape)
        uneven = _uneven(meaning.loads, self._group).tolist()
        return Left(self._load(m, meaning), kept, len(gone), uneven)

    def _load(self, m: int, meaning: Meaning) -> Load:
        if m not in self._attention:
            self._attention[m] = np.array([self._layer.attention(each) for each in self._planned.tokens[m].tolist()])
        experts = [
            self._layer.experts(*each) for each in zip(meaning.loads.tolist(), meaning.active.tolist(), strict=True)
        ]
        return Load(self._attention[m], np.array(experts), meaning.sizes)


def _uneven(loads: Counts, group: Group) -> Counts:
    """Return of ``loads`` [..., R] all, those of the rank with most, and of the node."""
    nodes = loads.reshape(*loads.shape[:-1], group.nodes, -1).sum(axis=-1)
    return np.stack([loads.sum(axis=-1), loads.max(axis=-1), nodes.max(axis=-1)], axis=-1)
