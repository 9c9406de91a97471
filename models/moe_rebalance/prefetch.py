"""What comes for the layers of an EP group before they begin: weights, over which paths, and without which replicas."""

from collections.abc import Callable, Sequence

import numpy as np

from .chunks import BACK, BACKWARD, Load
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
        # What was decided; nothing where all replicas stay.
        self._left: dict[tuple[Stage, int, int], Left | None] = {}

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

        Where the last would come later, or gradients too late home, replicas are dropped that are not worth the wait;
        what was decided stays.
        """
        moves, left = self._loads.moves(layer, m), self._left.get((stage, layer, m))
        if not len(moves):
            return moves[:, 1:]
        ways = self._paths.ways(moves, stage)
        choice = self._paths.choose(ways.only(left.kept) if left else ways, window)
        if not drops or not self._about.drop or (stage, layer, m) in self._left:
            return choice.messages
        if choice.latest > window or self._home_late(stage, layer, m):
            left = self._loads.without(layer, m, 1 if stage == "recompute" else 1 + BACK,
                self._waits(stage, layer, m, ways, window))  # fmt: skip
        self._left[stage, layer, m] = left
        return self._paths.choose(ways.only(left.kept), window).messages if left else choice.messages

    def _waits(
        self, stage: Stage, layer: int, m: int, ways: Ways, window: int
    ) -> Callable[[list[int]], tuple[int, int]]:  # fmt: skip
        """Return what says of the moves that are left how long ranks wait for them by estimate, and which comes last on
        the way there.

        In the update the way back counts: weights that come again after the gradients of the layer that had their
        buffer, and gradients before which those of another do not come.

        Model: other layers are reckoned as decided by then, or as planned, and gradients of each layer by themselves;
        what hides them is what is computed, not the exchange of tokens.
        """
        paths, buffers = self._paths, self._about.buffers
        back = ways if stage == "update" and layer + buffers < self._layers else None
        home = self._direct(layer, m) if stage == "update" and self._about.gradient else None
        before = hidden = after = 0
        if back:
            before = self._home(layer + buffers, m) - self._rest(layer + buffers, m)
            hidden = self._hidden(layer + 1, layer + buffers, m)
        if home:
            after = self._again(layer - buffers, m) - self._while_home(layer, m)

        def waits(left: list[int]) -> tuple[int, int]:
            some = ways.only(left)
            there = paths.choose(some, window)
            took = max(0, there.latest - window)
            if back:
                took += max(0, before + paths.choose(some, hidden).latest - hidden)
            if home:
                gradients = self._about.gradient * paths.choose(home.only(left), 0).latest
                took += max(0, gradients + after) - max(0, after)
            return took, left[int(np.flatnonzero(there.ends == there.latest)[-1])]

        return waits

    def _home_late(self, stage: Stage, layer: int, m: int) -> bool:
        """Return whether gradients are longer on their way home than what hides it."""
        if stage == "recompute" or not self._about.gradient:
            return False
        return self._home(layer, m) > self._while_home(layer, m)

    def _while_home(self, layer: int, m: int) -> int:
        """Return the time, ps, that hides the gradients of a layer at least, until another needs its buffer."""
        return self._rest(layer, m) + self._hidden(layer - self._about.buffers + 1, layer, m)

    def _rest(self, layer: int, m: int) -> int:
        """Return the time, ps, that a layer takes at least on the way back once it has sent off its gradients."""
        return BACKWARD * int(self.load("update", layer, m).attention.max())

    def _direct(self, layer: int, m: int) -> Ways:
        """Return the ways, from GPU to GPU, of what the update moves."""
        moves, left = self._loads.moves(layer, m), self._left.get(("update", layer, m))
        direct = self._paths.from_gpus(moves)
        ways = Ways(moves, direct, direct, GPUS)
        return ways.only(left.kept) if left else ways

    def _home(self, layer: int, m: int) -> int:
        """Return how long gradients are on their way home, ps."""
        return self._about.gradient * self._paths.choose(self._direct(layer, m), 0).latest

    def _again(self, layer: int, m: int) -> int:
        """Return how long the weights of a layer take to come on the way back, ps; 0 where there is no such layer."""
        if layer < 0:
            return 0
        moves, left = self._loads.moves(layer, m), self._left.get(("update", layer, m))
        ways = self._paths.ways(moves, "update")
        hidden = self._hidden(layer + 1, layer + self._about.buffers, m)
        return self._paths.choose(ways.only(left.kept) if left else ways, hidden).latest

    def _hidden(self, first: int, last: int, m: int) -> int:
        """Return the time, ps, that the layers from ``first`` to before ``last`` take at least on the way back."""
        layers = range(max(0, first), min(last, self._layers))
        return sum(BACK * self.load("update", layer, m).least for layer in layers)
