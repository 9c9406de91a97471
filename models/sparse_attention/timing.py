"""How long the stages of a layer last: shares of the roofline, fixed costs, and laws for what no roofline describes.

Every default is the value for one H800 in ``params.yaml``, with its source. Durations are exact: quotients of integers,
each rounded up once to the picosecond.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from simcore import Ratio, SimulationError, Time, Work

if TYPE_CHECKING:
    from simcore.hardware import GpuSpec

PS = 10**12


@dataclass(frozen=True)
class Rates:
    """Shares of peak arithmetic: of ``dense`` attention, the ``index``, the kept ``blocks``, ``linear`` layers; shares
    of the bandwidth of memory: ``gather`` in prefill, ``stream`` in decode. The choice of blocks lasts ``row`` for a
    row of scores and ``score`` ps for each of them; the reverse index ``lists`` and ``listed`` for each query; the
    others are what dense and sparse attention cost whatever their size."""

    dense: Ratio = "667/1000"
    index: Ratio = "381/1000"
    blocks: Ratio = "3/5"
    gather: Ratio = "4/5"
    stream: Ratio = "179/200"
    linear: Ratio = "1/2"
    row: Time = 2914
    score: Ratio = "1479/500"
    lists: Time = 40_000_000
    listed: Time = 1900
    dense_prefill: Time = 10_000_000
    dense_decode: Time = 8_000_000
    sparse_prefill: Time = 50_000_000
    sparse_decode: Time = 20_000_000


@dataclass(frozen=True)
class Share:
    """The slower of arithmetic at a share ``compute`` of the peak and traffic at a share ``memory`` of the bandwidth,
    then ``fixed``."""

    compute: str
    memory: str
    fixed: int = 0

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the duration of ``work`` in ps, each quotient rounded up."""
        missing = sorted(set(work.operations) - set(gpu.throughput))
        if missing:
            raise SimulationError(f"the GPU states no throughput for {missing[0]}; it has {', '.join(gpu.throughput)}")
        compute, memory = exact(self.compute), exact(self.memory)
        arithmetic = sum(_over(count * PS, compute, gpu.throughput[dtype]) for dtype, count in work.operations.items())
        traffic = work.bytes_read.get("hbm", 0) + work.bytes_written.get("hbm", 0)
        return max(arithmetic, _over(traffic * PS, memory, gpu.memory_bandwidth)) + self.fixed


@dataclass(frozen=True)
class Ranking:
    """The choice of blocks: so long a ``row`` of scores, ps, and so many ps a ``score``; arXiv:2606.13392, table 1.

    Model: the law does not know how many blocks are kept, nor which of them a query sees.
    """

    row: int
    score: str
    keep: int

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the duration in ps, rounded up, from the scores read and the blocks written, 4 B each."""
        rows, scores = work.bytes_written["hbm"] // (4 * self.keep), work.bytes_read["hbm"] // 4
        return rows * self.row + _times(scores, exact(self.score))


@dataclass(frozen=True)
class Listing:
    """The reverse index and the schedule: a fixed time, and so long a query, in ps."""

    fixed: int
    query: int
    chosen: int

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the duration in ps from the choice read: ``chosen`` blocks of 4 B a query, all heads."""
        return self.fixed + work.bytes_read["hbm"] // (4 * self.chosen) * self.query


@lru_cache
def exact(share: str) -> Fraction:
    """Return a share as the fraction that it is."""
    return Fraction(share)


def _over(amount: int, share: Fraction, rate: int) -> int:
    """Return ``amount`` over a share of ``rate``, rounded up; in integers, because fractions take ten times as long."""
    return -(-amount * share.denominator // (share.numerator * rate))


def _times(amount: int, each: Fraction) -> int:
    return -(-amount * each.numerator // each.denominator)
