"""What of a layer goes onto which array, and from where its oscillators begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import cost, settling
from .kernel import Tile

if TYPE_CHECKING:
    from .program import Params


@dataclass(frozen=True)
class Placed:
    """A tile: ``number``, its ``head`` and rows ``first`` .. ``last`` - 1, on array ``array``, which writes ``writes``
    couplings and anchors for it and converts ``samples`` numbers; the link carries ``sent`` and ``returned`` bytes."""

    number: int
    head: int
    first: int
    last: int
    array: int
    writes: int
    samples: int
    sent: int
    returned: int

    @property
    def rows(self) -> slice:
        """Its rows of the layer."""
        return slice(self.first, self.last)


def tiles(params: "Params") -> list[Placed]:
    """Return the tiles of a sequence: rows of one head, as many as an array holds; each array has a stretch of them, so
    that it changes heads, and loads anchors, as seldom as may be. In the order in which the host computes them: one for
    each array in turn."""
    shape, array = params.shape, params.array
    room = array.states(shape.dimension)
    cuts = [(head, first) for head in range(shape.heads) for first in range(0, shape.tokens, room)]
    found, before = [], {}
    for place, (head, first) in enumerate(cuts):
        owner = place * params.arrays // len(cuts)
        last = min(first + room, shape.tokens)
        seen = cost.pairs(Tile(first, shape.tokens, shape.causal), last - first)
        anchors = shape.tokens * shape.dimension if before.get(owner) != head else 0
        before[owner] = head
        samples = seen if params.means == "pairwise" else (last - first) * shape.dimension
        found.append(
            (head, first, last, owner, seen + anchors, samples, (seen + anchors) * params.reading.coupling_bytes,
             samples * params.reading.sample_bytes)
        )  # fmt: skip
    turn: dict[int, int] = {}
    order = []
    for each in found:
        order.append((turn.get(each[3], 0), each[3]))
        turn[each[3]] = turn.get(each[3], 0) + 1
    ranked = [found[i] for i in sorted(range(len(found)), key=order.__getitem__)]
    return [Placed(number, *each) for number, each in enumerate(ranked)]


def beginnings(params: "Params", placed: Sequence[Placed], wants: Any, starts: Any) -> Any:
    """Return where oscillators [H, T, d] begin: at ``starts``, or, where they are kept, at the equilibrium of the row
    that the same oscillator settled in the tile before on its array.

    Model: whenever it was read, the tile before had settled; the first tiles of every sequence begin at ``starts``.
    """
    if params.reading.start == "random":
        return starts
    goals = settling.fixed_points(wants)
    found = np.array(starts)
    left: dict[int, Any] = {}
    for tile in placed:
        rows = tile.last - tile.first
        if tile.array in left:
            before = left[tile.array][:rows]
            found[tile.head, tile.first : tile.first + len(before)] = before
        left[tile.array] = goals[tile.head, tile.rows]
    return found
