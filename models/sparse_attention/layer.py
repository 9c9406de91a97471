"""One layer of the model on one rank of a tensor-parallel group, dense or sparse: stages in series, each with its
counted work and how long it takes. arXiv:2606.13392, sections 4 and 5.1."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simcore import CostModel, Work

from . import cost
from .timing import Listing, Ranking, Share

Column = NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """The model: heads and widths of attention, blocks, layers, width, parameters in all and active for a token,
    experts and how many of them a token takes; elements of ``element`` bytes."""

    query_heads: int = 64
    heads: int = 4
    width: int = 128
    index_width: int = 128
    block: int = 128
    keep: int = 16
    layers: int = 41
    model: int = 3072
    total: int = 109 * 10**9
    active: int = 6 * 10**9
    experts: int = 128
    chosen: int = 4
    element: int = 2
    dtype: str = "bfloat16"


@dataclass(frozen=True)
class Rates:
    """Shares of the roofline and fixed costs, of one H800."""

    dense: Fraction = Fraction(667, 1000)
    index: Fraction = Fraction(381, 1000)
    blocks: Fraction = Fraction(60, 100)
    gather: Fraction = Fraction(80, 100)
    stream: Fraction = Fraction(895, 1000)
    linear: Fraction = Fraction(1, 2)
    row: Fraction = Fraction(2914)
    score: Fraction = Fraction(2958, 1000)
    lists: int = 40_000_000
    listed: Fraction = Fraction(1900)
    dense_prefill: int = 10_000_000
    dense_decode: int = 8_000_000
    sparse_prefill: int = 50_000_000
    sparse_decode: int = 20_000_000


@dataclass(frozen=True)
class Step:
    """What goes through: ``new`` tokens of each sequence, which then is ``total`` long; [sequences]."""

    kind: Literal["prefill", "decode"]
    new: Column
    total: Column


@dataclass(frozen=True)
class Stage:
    """One kernel or a few: its work, and how long that takes."""

    name: str
    work: Work
    timing: CostModel


def stages(
    shape: Shape, attention: Literal["dense", "sparse"], step: Step, rates: Rates, parallel: int,
    index_parallel: int = 1,
) -> list[Stage]:  # fmt: skip
    """Return the stages of attention and of the linear layers, in series."""
    found = attend(shape, attention, step, rates, parallel, index_parallel)
    return [*found, linear(shape, int(step.new.sum()), rates, parallel)]


def linear(shape: Shape, tokens: int, rates: Rates, parallel: int) -> Stage:
    """Return projections and experts for ``tokens`` tokens.

    Model: tokens choose experts evenly and independently, so 1 - (1 - chosen / experts)^tokens of them are read.
    """
    per_expert = (shape.total - shape.active) / (1 - shape.chosen / shape.experts) / shape.experts
    shared = shape.active - per_expert * shape.chosen
    read = shared + per_expert * shape.experts * (1 - (1 - shape.chosen / shape.experts) ** tokens)
    work = Work(
        {shape.dtype: 2 * shape.active * tokens // (shape.layers * parallel)},
        {"hbm": round(read * shape.element / (shape.layers * parallel))},
    )
    return Stage("linear", work, Share(rates.linear, rates.stream))


def attend(
    shape: Shape, attention: str, step: Step, rates: Rates, parallel: int, index_parallel: int = 1
) -> list[Stage]:
    """Return the stages of attention, of whose heads this rank has one share in ``parallel``; in decode it scores one
    index block in ``index_parallel``."""
    heads, queries, width = shape.heads // parallel, shape.query_heads // parallel, shape.width
    tokens, length = int(step.new.sum()), int(step.total.sum())
    if attention == "sparse" and step.kind == "decode":
        blocks = int((-(-step.total // shape.block)).sum())
        seen = int(np.minimum(step.total, shape.keep * shape.block).sum())
        moved = (shape.element * shape.index_width * length + 8 * heads * blocks) // index_parallel
        moved += 2 * heads * width * shape.element * seen
        work = Work({shape.dtype: 4 * queries * width * seen}, {"hbm": moved})
        return [Stage("attention", work, Share(rates.blocks, rates.stream, rates.sparse_decode))]
    if attention == "dense":
        pairs = int((step.new * (step.total - step.new) + step.new * (step.new + 1) // 2).sum())
        moved = 2 * shape.element * width * (queries * tokens + heads * length)
        work = Work({shape.dtype: 4 * queries * width * pairs}, {"hbm": moved})
        if step.kind == "decode":
            return [Stage("attention", work, Share(rates.dense, rates.stream, rates.dense_decode))]
        return [Stage("attention", work, Share(rates.dense, rates.gather, rates.dense_prefill))]
    new, total = step.new.tolist(), step.total.tolist()
    pairs = sum(cost.pairs(c, n) for c, n in zip(new, total, strict=True))
    scores = sum(c * -(-n // shape.block) for c, n in zip(new, total, strict=True))
    kept = sum(cost.kept(c, n, shape.block, shape.keep) for c, n in zip(new, total, strict=True))
    touched = sum(
        min(n, cost.kept(c, n, shape.block, shape.keep) * shape.block) for c, n in zip(new, total, strict=True)
    )
    row = 2 * queries * width * shape.element
    return [
        Stage(
            "index",
            Work(
                {shape.dtype: 2 * heads * shape.index_width * pairs},
                {"hbm": shape.element * shape.index_width * length},
                {"hbm": 4 * heads * scores},
            ),
            Share(rates.index, rates.gather, rates.sparse_prefill),
        ),
        Stage(
            "choice",
            Work({}, {"hbm": 4 * heads * scores}, {"hbm": 4 * shape.keep * heads * tokens}),
            Ranking(rates.row, rates.score, shape.keep),
        ),
        Stage(
            "lists",
            Work({}, {"hbm": 4 * shape.keep * tokens}),
            Listing(rates.lists, rates.listed, shape.keep),
        ),
        Stage(
            "blocks",
            Work(
                {shape.dtype: 4 * queries * width * shape.block * kept},
                {"hbm": 2 * shape.element * heads * width * touched + row * kept},
            ),
            Share(rates.blocks, rates.gather),
        ),
        Stage("combine", Work({}, {"hbm": row * (kept + tokens) // 2}), Share(Fraction(1), rates.gather)),
    ]
