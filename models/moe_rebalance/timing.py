"""How long a layer's computations last, and how many bytes its exchanges carry, from shapes and token counts alone.

The formulas and their constants are assumptions (``params.yaml``), not the paper's, which states none. Durations are
exact: quotients of integers, each rounded up once to the picosecond.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import Rank, Ratio, SimulationError, Work

from .placement import Counts

if TYPE_CHECKING:
    from simcore.hardware import GpuSpec

PS = 10**12
DTYPE = "bfloat16"
ELEMENT = 2
"""Bytes of a weight or of an element of a token's vector."""


@dataclass(frozen=True)
class Shape:
    """A model of experts; Qwen3-30B-A3B unless stated. ``hidden``: width of a token; ``width``: of an expert; ``top``:
    experts that a token takes; ``query_heads`` and ``heads`` of ``head`` elements each."""

    hidden: int = 2048
    width: int = 768
    experts: int = 128
    top: int = 8
    query_heads: int = 32
    heads: int = 4
    head: int = 128

    @property
    def expert_bytes(self) -> int:
        """Weights of an expert in one layer: three matrices."""
        return 3 * self.hidden * self.width * ELEMENT

    @property
    def dense(self) -> int:
        """Weights of a layer outside its experts: projections of attention, and the router."""
        projections = 2 * self.hidden * (self.query_heads + self.heads) * self.head
        return projections + self.hidden * self.experts

    @property
    def token_bytes(self) -> int:
        """What a token's vector is on a link."""
        return self.hidden * ELEMENT


@dataclass(frozen=True)
class Rates:
    """Shares of the peak that ``attention`` with its projections and the ``experts`` reach; an expert of ``half``
    tokens reaches half of the latter. ``permute``: how often the routed tokens are read or written to sort them by
    expert and back."""

    attention: Ratio = "1/2"
    experts: Ratio = "11/20"
    half: int = 160
    permute: int = 6


@dataclass(frozen=True)
class Peak:
    """Arithmetic at a ``share`` of the peak, of ``more`` operations than are counted."""

    share: str
    more: int = 0

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the duration of ``work`` in ps, rounded up."""
        if DTYPE not in gpu.throughput:
            raise SimulationError(f"the GPU states no throughput for {DTYPE}; it has {', '.join(gpu.throughput)}")
        share, operations = _exact(self.share), work.operations.get(DTYPE, 0) + self.more
        return -(-operations * PS * share.denominator // (gpu.throughput[DTYPE] * share.numerator))


@dataclass(frozen=True)
class Grouped:
    """Multiplications with the weights of some experts, as long as ``weights`` bytes of them take to be read at least;
    then the sorting of tokens by expert and back, at the bandwidth of memory.

    A share m / (m + half) of the peak is reached with m tokens an expert, so ``more`` operations are those of ``half``
    tokens more for every expert.
    """

    peak: Peak
    weights: int

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the duration of ``work`` in ps, each part rounded up."""
        traffic = work.bytes_read.get("hbm", 0) + work.bytes_written.get("hbm", 0)
        sorting, weights = ((each * PS, gpu.memory_bandwidth) for each in (traffic - self.weights, self.weights))
        return max(self.peak.duration(work, gpu), -(-weights[0] // weights[1])) + -(-sorting[0] // sorting[1])


class Layer:
    """Durations of one layer on the GPU of ``rank``; what was asked before is remembered.

    ``context``: tokens of the sequence that a token stands in, half of which it sees.
    """

    def __init__(self, rank: Rank, shape: Shape, rates: Rates, context: int) -> None:
        self._rank, self._shape, self._rates, self._context = rank, shape, rates, context
        self._known: dict[tuple[int, int], int] = {}

    def attention(self, tokens: int) -> int:
        """Return the time, ps, of attention and its projections for ``tokens`` tokens."""
        if (tokens, -1) not in self._known:
            shape = self._shape
            projections = 4 * shape.hidden * (shape.query_heads + shape.heads) * shape.head
            each = projections + 2 * self._context * shape.query_heads * shape.head
            work = Work({DTYPE: each * tokens})
            self._known[tokens, -1] = self._rank.duration(work, Peak(self._rates.attention))
        return self._known[tokens, -1]

    def experts(self, tokens: int, active: int) -> int:
        """Return the time, ps, of ``active`` experts that serve ``tokens`` tokens together."""
        if (tokens, active) not in self._known:
            shape, rates = self._shape, self._rates
            each = 6 * shape.hidden * shape.width
            weights, sorted_ = active * shape.expert_bytes, rates.permute * tokens * shape.token_bytes
            work = Work({DTYPE: each * tokens}, {"hbm": weights + sorted_ // 2}, {"hbm": sorted_ - sorted_ // 2})
            timing = Grouped(Peak(rates.experts, active * rates.half * each), weights)
            self._known[tokens, active] = self._rank.duration(work, timing) if tokens else 0
        return self._known[tokens, active]


@dataclass(frozen=True)
class Exchange:
    """The messages by which an EP group sends its tokens to their experts: from ``src`` to ``dst``, ranks of the group,
    in nodes of ``per_node``.

    To every other node a token goes once, to the GPU there of its own GPU's local number; from there, and from its own
    GPU, inside the node to every expert that it chose. The way back is the same messages reversed.

    Model: both ways are under way at once, as chunks in a pipeline; within a node a token goes once for every expert.
    """

    ranks: int
    per_node: int

    @property
    def pairs(self) -> tuple[Counts, Counts]:
        """Source and destination of every message."""
        nodes, local = self.ranks // self.per_node, self.per_node
        every = np.arange(self.ranks)
        src = np.repeat(every, nodes)
        dst = (np.arange(nodes)[None, :] * local + (every % local)[:, None]).reshape(-1)
        here = np.repeat(every, local)
        there = ((every // local * local)[:, None] + np.arange(local)[None, :]).reshape(-1)
        far, near = src != dst, here != there
        return np.concatenate([src[far], here[near]]), np.concatenate([dst[far], there[near]])

    def sizes(self, flows: Counts, tokens: Counts, top: int, token_bytes: int) -> Counts:
        """Return the bytes of every message; ``flows`` [R, R] are routed tokens from source to serving rank,
        ``tokens`` [R] those of a source, each of which chose ``top`` experts.

        Model: which experts a token chose together is not known; a source's tokens for a node are taken to be drawn
        independently, so that tokens (1 - (1 - c / (tokens top))^top) of them go there, where c choices lead there.
        """
        nodes, local = self.ranks // self.per_node, self.per_node
        to_node = flows.reshape(self.ranks, nodes, local).sum(axis=2)
        missed = 1 - to_node / np.maximum(tokens * top, 1)[:, None]
        none = np.ones_like(missed)
        for _ in range(top):
            # Not a power: libraries differ in the last digit.
            none *= missed
        distinct = np.minimum(np.rint(tokens[:, None] * (1 - none)).astype(np.int64), to_node)
        own = np.arange(self.ranks) // local
        far = np.ones((self.ranks, nodes), bool)
        far[np.arange(self.ranks), own] = False
        # By node of the server, local number of the source, local number of the server.
        inside = flows.reshape(nodes, local, nodes, local).sum(axis=0).transpose(1, 0, 2)
        near = ~np.eye(local, dtype=bool)
        found: Counts = np.concatenate([distinct[far], inside[:, near].reshape(-1)]) * token_bytes
        return found


@lru_cache
def _exact(share: str) -> Fraction:
    found = Fraction(share)
    if found <= 0:
        raise SimulationError(f"a share of the peak is above 0, not {share}")
    return found


def quotient(above: Any, below: Any) -> float:
    """Return ``above / below``; 0 where there is nothing to divide by."""
    return float(above) / float(below) if below else 0.0
