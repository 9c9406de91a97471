"""How long the stages of a layer last: shares of the roofline, fixed costs, and laws for what no roofline describes.

Every default is the value for one H800 in ``params.yaml``, with its source.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from simcore import Work

if TYPE_CHECKING:
    from simcore.hardware import GpuSpec

PS = 10**12


@dataclass(frozen=True)
class Share:
    """The slower of arithmetic at a share ``compute`` of the peak and traffic at a share ``memory`` of the bandwidth,
    then ``fixed``."""

    compute: Fraction
    memory: Fraction
    fixed: int = 0

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the duration of ``work`` in ps, each quotient rounded up."""
        arithmetic = sum(
            _over(count * PS, self.compute, gpu.throughput[dtype]) for dtype, count in work.operations.items()
        )
        traffic = work.bytes_read.get("hbm", 0) + work.bytes_written.get("hbm", 0)
        return max(arithmetic, _over(traffic * PS, self.memory, gpu.memory_bandwidth)) + self.fixed


@dataclass(frozen=True)
class Ranking:
    """The choice of blocks: so long a ``row`` of scores and a ``score``, in ps; arXiv:2606.13392, table 1."""

    row: Fraction
    score: Fraction
    keep: int

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the duration in ps, rounded up, from the scores read and the blocks written, 4 B each."""
        rows, scores = work.bytes_written["hbm"] // (4 * self.keep), work.bytes_read["hbm"] // 4
        return -(-(rows * self.row + scores * self.score) // 1)


@dataclass(frozen=True)
class Listing:
    """The reverse index and the schedule: a fixed time, and so long a query, in ps."""

    fixed: int
    query: Fraction
    chosen: int

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the duration in ps, rounded up, from the choice read: ``chosen`` blocks of 4 B a query."""
        return self.fixed - (-(work.bytes_read["hbm"] // (4 * self.chosen)) * self.query // 1)


def _over(amount: int, share: Fraction, rate: int) -> int:
    """Return ``amount`` over a share of ``rate``, rounded up; in integers, because fractions take ten times as long."""
    return -(-amount * share.denominator // (share.numerator * rate))
