"""One layer of the model on one rank of a tensor-parallel group, dense or sparse: stages in series, each with its
counted work and how long it takes. arXiv:2606.13392, sections 4 and 5.1."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simcore import CostModel, Ratio, Work, width

from . import cost
from .timing import Listing, Ranking, Rates, Share, exact

Column = NDArray[np.int64]
Attention = Literal["dense", "sparse"]
Across = Literal["tensor", "data", "context"]
Kind = Literal["prefill", "decode"]
Dtype = Literal["float32", "float16", "bfloat16", "float8"]

DENSE: Attention = "dense"
SPARSE: Attention = "sparse"
STAGES = ("index", "choice", "lists", "blocks", "combine", "attention", "linear")
"""Names of all stages, of prefill in their order; attention is one stage where it is dense, and in decode."""


@dataclass(frozen=True)
class Shape:
    """The model: heads and widths of attention, tokens of a block and blocks that a query keeps, layers, width,
    parameters in all and active for a token, experts and how many of them a token takes; ``dtype`` of everything but
    index queries and keys, which have ``index_dtype``. ``fresh``: share of its blocks that a token keeps and the one
    before it did not; 1, the most, where nothing is known of what a model keeps."""

    query_heads: int = 64
    heads: int = 4
    width: int = 128
    index_width: int = 128
    block: int = 128
    keep: int = 16
    fresh: Ratio = "1"
    layers: int = 41
    model: int = 3072
    total: int = 109 * 10**9
    active: int = 6 * 10**9
    experts: int = 128
    chosen: int = 4
    dtype: Dtype = "bfloat16"
    index_dtype: Dtype = "bfloat16"

    @property
    def element(self) -> int:
        """Bytes of an element of weights, queries, keys and values."""
        return width(self.dtype)

    @property
    def index_element(self) -> int:
        """Bytes of an element of an index key."""
        return width(self.index_dtype)


@dataclass(frozen=True)
class Step:
    """What goes through: ``new`` tokens of each sequence, which then is ``total`` long; [sequences]."""

    kind: Kind
    new: Column
    total: Column

    @property
    def pairs(self) -> int:
        """Pairs of a query and a visible key, all sequences together."""
        # In integers of Python: prompts can be so long that 64 bits do not do.
        return sum(n * (t - n) + n * (n + 1) // 2 for n, t in zip(self.new.tolist(), self.total.tolist(), strict=True))


@dataclass(frozen=True)
class Division:
    """Into how many shares ranks divide a layer: its heads, the blocks that the index scores, sequences."""

    heads: int = 1
    blocks: int = 1
    sequences: int = 1

    @classmethod
    def of(cls, ranks: int, across: Across, kind: Kind) -> "Division":
        """Return how so many ``ranks`` divide a layer ``across`` heads (tensor), sequences (data), or heads and, in
        decode, index blocks (context)."""
        if across == "data":
            return cls(sequences=ranks)
        return cls(heads=ranks, blocks=ranks if (across, kind) == ("context", "decode") else 1)


@dataclass(frozen=True)
class Stage:
    """One kernel or a few: its work, and how long that takes."""

    name: str
    work: Work
    timing: CostModel


def stages(
    shape: Shape, attention: Attention, step: Step, rates: Rates, parallel: int, index_parallel: int = 1
) -> list[Stage]:
    """Return the stages of attention and of the linear layers, in series."""
    found = attend(shape, attention, step, rates, parallel, index_parallel)
    return [*found, linear(shape, int(step.new.sum()), rates, parallel)]


def linear(shape: Shape, tokens: int, rates: Rates, parallel: int) -> Stage:
    """Return projections and experts for ``tokens`` tokens.

    Model: tokens choose experts evenly and independently, so 1 - (1 - chosen / experts)^tokens of them are read.
    """
    left = 1 - shape.chosen / shape.experts
    per_expert = (shape.total - shape.active) / left / shape.experts if left else 0.0
    shared = shape.active - per_expert * shape.chosen
    read = shared + per_expert * shape.experts * (1 - (1 - shape.chosen / shape.experts) ** tokens)
    work = Work(
        {shape.dtype: 2 * shape.active * tokens // (shape.layers * parallel)},
        {"hbm": round(read * shape.element / (shape.layers * parallel))},
    )
    return Stage("linear", work, Share(rates.linear, rates.stream))


def attend(
    shape: Shape, attention: Attention, step: Step, rates: Rates, parallel: int, index_parallel: int = 1
) -> list[Stage]:
    """Return the stages of attention, of whose heads this rank has one share in ``parallel``; in decode it scores the
    blocks of one share in ``index_parallel`` for all heads."""
    if attention == "dense":
        return [_dense(shape, step, rates, parallel)]
    if step.kind == "decode":
        return [_decode(shape, step, rates, parallel, index_parallel)]
    return _prefill(shape, step, rates, parallel)


def _dense(shape: Shape, step: Step, rates: Rates, parallel: int) -> Stage:
    """Return dense attention: 4 d Hq operations a visible pair; in decode its bytes are those of keys and values.

    Model: dense prefill reads keys and values once, however many tiles of queries there are.
    """
    operations: dict[str, int] = {shape.dtype: 4 * shape.query_heads // parallel * shape.width * step.pairs}
    cached = 2 * shape.element * shape.width * (shape.heads // parallel) * int(step.total.sum())
    if step.kind == "decode":
        return Stage("attention", Work(operations, {"hbm": cached}),
            Share(rates.dense, rates.stream, rates.dense_decode))  # fmt: skip
    queries = shape.element * shape.width * (shape.query_heads // parallel) * int(step.new.sum())
    work = Work(operations, {"hbm": cached + queries}, {"hbm": queries})
    return Stage("attention", work, Share(rates.dense, rates.gather, rates.dense_prefill))


def _decode(shape: Shape, step: Step, rates: Rates, parallel: int, index_parallel: int) -> Stage:
    """Return sparse attention of a few tokens as one stage: index keys and scores, written and read, then the blocks
    that are kept.

    Model: blocks are read whole; scoring, choice and attention are one stream of bytes with one fixed cost.
    """
    heads, queries = shape.heads // parallel, shape.query_heads // parallel
    scored = heads if index_parallel == 1 else shape.heads
    keys = shape.index_element * shape.index_width * int(step.total.sum())
    scores = 4 * scored * int((step.new * -(-step.total // shape.block)).sum())
    first = np.minimum(step.total, shape.keep * shape.block)
    seen = int((step.new * first).sum())
    read = different(shape, seen, int(first.sum()))
    work = _sum(
        (shape.index_dtype, -(-2 * scored * shape.index_width * step.pairs // index_parallel)),
        (shape.dtype, 4 * queries * shape.width * seen),
        read=-(-(keys + scores) // index_parallel) + 2 * heads * shape.width * shape.element * read,
        written=-(-scores // index_parallel),
    )
    return Stage("attention", work, Share(rates.index, rates.stream, rates.sparse_decode))


def _prefill(shape: Shape, step: Step, rates: Rates, parallel: int) -> list[Stage]:
    """Return the five stages of sparse attention of many tokens."""
    heads, queries = shape.heads // parallel, shape.query_heads // parallel
    new, total = step.new.tolist(), step.total.tolist()
    tokens = sum(new)
    scores = 4 * heads * sum(c * -(-n // shape.block) for c, n in zip(new, total, strict=True))
    each = [cost.kept(c, n, shape.block, shape.keep) for c, n in zip(new, total, strict=True)]
    kept = sum(each)
    first = [cost.kept(1, n - c + 1, shape.block, shape.keep) for c, n in zip(new, total, strict=True)]
    touched = sum(min(n, different(shape, k, one) * shape.block) for n, k, one in zip(total, each, first, strict=True))
    choice = 4 * shape.keep * heads * tokens
    row = queries * shape.width * shape.element  # a query, or its output, all heads of the rank
    index = Work(
        {shape.index_dtype: 2 * heads * shape.index_width * step.pairs},
        {"hbm": shape.index_element * shape.index_width * sum(total)}, {"hbm": scores},
    )  # fmt: skip
    attention = Work(
        {shape.dtype: 4 * queries * shape.width * shape.block * kept},
        {"hbm": 2 * shape.element * heads * shape.width * touched + row * kept}, {"hbm": row * kept},
    )  # fmt: skip
    return [
        Stage("index", index, Share(rates.index, rates.gather, rates.sparse_prefill)),
        Stage("choice", Work({}, {"hbm": scores}, {"hbm": choice}), Ranking(rates.row, rates.score, shape.keep)),
        Stage("lists", Work({}, {"hbm": choice}), Listing(rates.lists, rates.listed, shape.keep * heads)),
        Stage("blocks", attention, Share(rates.blocks, rates.gather)),
        Stage("combine", Work({}, {"hbm": row * kept}, {"hbm": row * tokens}), Share("1", rates.gather)),
    ]


def different(shape: Shape, kept: int, first: int) -> int:
    """Return how many of ``kept`` blocks, or tokens of them, are read: all of ``first``, which the first tokens keep,
    and of the others those that the token before did not keep.

    Model: a block that an earlier token kept, but not the one before, is read again.
    """
    return first + math.ceil((kept - first) * exact(shape.fresh))


def cache_bytes(shape: Shape, attention: Attention, tokens: int, parallel: int, index_parallel: int = 1) -> int:
    """Return the bytes of keys, values and index keys of ``tokens`` tokens in one layer on one rank."""
    index = shape.index_element * shape.index_width * tokens if attention == "sparse" else 0
    cached = 2 * shape.element * (shape.heads // parallel) * shape.width * tokens
    return cached + -(-index // index_parallel)


def workspace_bytes(shape: Shape, attention: Attention, step: Step, parallel: int) -> int:
    """Return the bytes of scores, and in prefill of partial outputs, that a rank needs for ``step``."""
    if attention == "dense":
        return 0
    heads, tokens = shape.heads // parallel, int(step.new.sum())
    rows = zip(step.new.tolist(), step.total.tolist(), strict=True)
    scores = 4 * heads * sum(n * -(-total // shape.block) for n, total in rows)
    if step.kind == "decode":
        return scores
    return scores + shape.keep * shape.query_heads // parallel * shape.width * shape.element * tokens


def _sum(*operations: tuple[str, int], read: int, written: int) -> Work:
    counted: dict[str, int] = {}
    for dtype, count in operations:
        counted[dtype] = counted.get(dtype, 0) + count
    return Work(counted, {"hbm": read}, {"hbm": written})
