"""Tables of integers that grow, and the gaps in them that can be used again."""

import math
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int64]


HUGE = 2**22
"""Bytes from which on a table lies on huge pages, where the system has them: a page fault and an entry of the TLB cover
512 times as much."""


def zeros(shape: tuple[int, ...], dtype: Any = np.int64) -> NDArray[Any]:
    """Return a table of zeros, which takes memory where it is touched."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < HUGE:
        return np.zeros(shape, dtype)
    room = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        room.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(room, dtype).reshape(shape)


def grown(array: NDArray[Any], length: int, axis: int = 0) -> NDArray[Any]:
    """Return ``array`` with room for ``length`` along ``axis``, doubled where it was too short; new room is zero."""
    have = array.shape[axis]
    if length <= have:
        return array
    shape = list(array.shape)
    shape[axis] = max(length, 2 * have)
    wider = zeros(tuple(shape), array.dtype)
    wider[(slice(None),) * axis + (slice(have),)] = array
    return wider


class Gaps:
    """Which stretches of a table are free; the lowest that fits is taken first."""

    def __init__(self) -> None:
        self.length = 0
        """Rows of the table that are in use or have been."""
        self._gaps: list[tuple[int, int]] = []

    def take(self, count: int) -> int:
        """Return the first row of ``count`` free ones, which are no longer free; the table may have to grow."""
        for place, (begin, end) in enumerate(self._gaps):
            if end - begin >= count:
                self._gaps[place : place + 1] = [(begin + count, end)] if end - begin > count else []
                return begin
        begin = self.length
        if self._gaps and self._gaps[-1][1] == self.length:
            begin = self._gaps.pop()[0]
        self.length = begin + count
        return begin

    def give(self, begin: int, count: int) -> None:
        """Free ``count`` rows from ``begin`` on."""
        gaps: list[tuple[int, int]] = []
        for gap in sorted([*self._gaps, (begin, begin + count)]):
            if gaps and gaps[-1][1] == gap[0]:
                gaps[-1] = (gaps[-1][0], gap[1])
            else:
                gaps.append(gap)
        self._gaps = gaps
