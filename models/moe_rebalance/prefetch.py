"""What comes for the layers of an EP group before they begin: weights, over which paths, and without which replicas."""

from collections.abc import Callable, Sequence

import numpy as np

from .chunks import BACK, Load
from .loads import Left, Loads
from .placement import Counts
from .transfers import GPUS, Paths, Stage, Transfers, Ways


class Prefetch:
    """The weights, gradients and loads of every layer and micro-step; of some, replicas are dropped. Recompute and
    update decide that each for itself, the update for both of its ways.

    Model: to decide takes no time.
    """

    def __init__(self, about: Transfers, paths: Paths, loads: Loads, layers: int) -> None:
        self._about, self._paths, self._loads, self._layers = about, paths, loads, layers
        self._left: dict[tuple[Stage, int, int], Left] = {}

    def load(self, stage: Stage, layer: int, m: int) -> Load:
        """Return what a pass takes."""
        left = self._left.get((stage, layer, m))
        return left.load if left else self._loads.of(layer, m)

    def uneven(self, stage: Stage, layer: int, m: int) -> tuple[Sequence[int], int]:
        """Return all tokens, those of the rank with most, and of the node; and how many replicas were dropped."""
        left = self._left.get((stage, layer, m))
        return (left.uneven, left.dropped) if left else (self._loads.uneven(layer, m), 0)

    def gradients(self, stage: Stage, layer: int, m: int) -> Counts:
        """Return the messages [n, 2] by which the gradients of replicas go home."""
        left = self._left.get((stage, layer, m))
        direct = self._paths.from_gpus(self._loads.moves(layer, m))[:, ::-1]
        return direct[left.kept] if left else direct

    def weights(self, stage: Stage, layer: int, m: int, window: int, *, drops: bool) -> Counts:
        """Return the messages [n, 2] by which the weights for a layer come, ``window`` ps after they may begin.

        Where the last would come later, replicas are dropped that are not worth the wait; what was decided stays.
        """
        moves, left = self._loads.moves(layer, m), self._left.get((stage, layer, m))
        if not len(moves):
            return moves[:, 1:]
        ways = self._paths.ways(moves, stage)
        choice = self._paths.choose(ways.only(left.kept) if left else ways, window)
        if drops and self._about.drop and choice.latest > window and not left:
            left = self._loads.without(layer, m, 1 if stage == "recompute" else 1 + BACK,
                self._waits(stage, layer, m, ways, window))  # fmt: skip
            if left:
                self._left[stage, layer, m] = left
                choice = self._paths.choose(ways.only(left.kept), window)
        return choice.messages

    def _waits(
        self, stage: Stage, layer: int, m: int, ways: Ways, window: int
    ) -> Callable[[list[int]], tuple[int, int]]:  # fmt: skip
        """Return what says of the moves that are left how long ranks wait for them by estimate, and which comes last on
        the way there; in the update the way back counts, and that of gradients.

        Model: the layers that hide what comes on the way back are reckoned as planned.
        """
        paths, about = self._paths, self._about
        back = home = None
        if stage == "update":
            hiding = about.buffers - 1
            if layer < self._layers - about.buffers:
                back = self._least_back(range(layer + 1, layer + 1 + hiding), m)
            if about.gradient:
                home = self._least_back(range(max(0, layer - hiding), layer), m)
        direct = ways if home is None else ways._replace(direct=paths.from_gpus(ways.moves), allowed=GPUS)

        def waits(left: list[int]) -> tuple[int, int]:
            some = ways.only(left)
            there = paths.choose(some, window)
            took = max(0, there.latest - window)
            if back is not None:
                took += max(0, paths.choose(some, back).latest - back)
            if home is not None:
                took += max(0, about.gradient * paths.choose(direct.only(left), 0).latest - home)
            return took, left[int(np.flatnonzero(there.ends == there.latest)[-1])]

        return waits

    def _least_back(self, layers: range, m: int) -> int:
        """Return the time, ps, that layers take at least on the way back."""
        return sum(BACK * self._loads.of(layer, m).least for layer in layers)
