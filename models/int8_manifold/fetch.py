"""Rows of weights on their way from memory to the adder: banks, channels and buffers that are taken in turn.

One engine asks for tiles in their order. A tile takes a buffer on the chip; opens its bank; passes its channel; and is
added, one at a time. Its buffer is free again when it was added. With two buffers a tile is fetched while the one
before it is added.

Model: every tile opens its bank anew, and banks and channels are taken in turn, whatever rows are wanted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simcore import Time

PS = 10**12


@dataclass(frozen=True)
class Fetch:
    """``channels`` of the memory, which share its bandwidth evenly; ``banks`` of each, ``open`` and ``close``: how long
    a bank is busy before and after a tile passes; ``buffers`` on the chip, of one tile each. What is ``shown``, a span
    a tile for its channel and the adder, stands on the timeline."""

    channels: int = 1
    banks: int = 4
    buffers: int = 2
    open: Time = 30_000
    close: Time = 15_000
    shown: bool = False


@dataclass(frozen=True)
class Flow:
    """When tiles were asked for, passed their channel and were added: begin and end of each, int64 [tiles], ps."""

    opened: NDArray[np.int64]
    passes: NDArray[np.int64]
    arrived: NDArray[np.int64]
    adds: NDArray[np.int64]
    added: NDArray[np.int64]

    @property
    def duration(self) -> int:
        """From the first request to the last addition, ps."""
        return int(self.added[-1]) if len(self.added) else 0

    @property
    def waited(self) -> int:
        """How long the adder had nothing to add, ps."""
        return self.duration - int((self.added - self.adds).sum())


def flow(tiles: int, size: int, adding: int, bandwidth: int, fetch: Fetch) -> Flow:
    """Return how ``tiles`` tiles of ``size`` bytes flow from a memory of ``bandwidth`` B/s, each added in ``adding``
    ps; tile k is in bank k of all, counted over the channels first."""
    passing = -(-size * fetch.channels * PS // bandwidth)
    found = np.zeros((5, tiles), np.int64)
    bank_free = [0] * (fetch.channels * fetch.banks)
    channel_free = [0] * fetch.channels
    adder_free = asked = 0
    for k in range(tiles):
        bank, channel = k % len(bank_free), k % fetch.channels
        buffer_free = int(found[4, k - fetch.buffers]) if k >= fetch.buffers else 0
        asked = max(asked, buffer_free, bank_free[bank])
        passes = max(asked + fetch.open, channel_free[channel])
        arrived = channel_free[channel] = passes + passing
        bank_free[bank] = arrived + fetch.close
        adds = max(arrived, adder_free)
        adder_free = adds + adding
        found[:, k] = asked, passes, arrived, adds, adder_free
    return Flow(*found)
