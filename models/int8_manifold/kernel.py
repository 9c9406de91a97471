"""The kernels of a recall on real arrays, and the work that they count: a code in, a charge for every output out.

A code is int8 [nodes] of -1, 0, 1, or its events: ``index`` uint16 [events] of the nodes that are not 0 and ``sign``
int8 [events]. Weights are int8 [nodes, outputs], row after row. Charges add up exactly and saturate when they are
stored: at 127 in int8, at 32767 in int16. Whatever implementation of the same `Rule` computes them, they are the same
bit by bit. Work calls the memory of the weights ``weights``, and that on the chip ``sram``.

Model: rows pass through a buffer on the chip, and charges are read and written there once for every row.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simcore import Work

from . import frames, loops
from .storing import pack


@dataclass(frozen=True)
class Rule:
    """What an event adds to a charge: the sign of a weight whose magnitude reaches ``cut`` (votes), or the weight
    (sums); and the dtype in which charges are stored."""

    arithmetic: Literal["votes", "sums"] = "votes"
    cut: int = 2
    accumulator: Literal["int8", "int16", "int32"] = "int16"

    @property
    def most(self) -> int:
        """The largest charge that can be stored."""
        return int(np.iinfo(self.accumulator).max)

    def stored(self, charge: Any) -> Any:
        """Return ``charge`` int32 [outputs] as it is stored; it saturates, the same in both directions."""
        return np.clip(charge, -self.most, self.most).astype(self.accumulator)


def compact(code: Any) -> tuple[tuple[Any, Any], Work]:
    """Return the events of ``code``, in the order of the nodes, and the work: every node tested, the events
    written."""
    plain = np.asarray(code)
    index = np.flatnonzero(plain).astype(np.uint16)
    sign = plain[index]
    events = index.nbytes + sign.nbytes
    return (index, sign), Work({"vote": code.size}, {"sram": code.nbytes}, {"sram": events}, launches=1)


def mask(code: Any) -> tuple[tuple[Any, Any], Work]:
    """Return the masks uint64 [words] of the nodes of ``code`` that are 1 and -1, and the work: as `compact`."""
    plain = np.asarray(code)
    plus, minus = pack(plain[None] > 0)[0], pack(plain[None] < 0)[0]
    masks = plus.nbytes + minus.nbytes
    return (plus, minus), Work({"vote": code.size}, {"sram": code.nbytes}, {"sram": masks}, launches=1)


def add_events(weights: Any, index: Any, sign: Any, rule: Rule) -> tuple[Any, Work]:
    """Return the charges, and the work: the row of each event read, and an addition for each output."""
    weights, index, sign = np.asarray(weights), np.asarray(index), np.asarray(sign)
    charge = np.zeros(weights.shape[1], np.int32)
    if rule.arithmetic == "votes":
        loops.add_votes(weights, index, sign, rule.cut, charge)
    else:
        loops.add_rows(weights, index, sign, charge)
    found = rule.stored(charge)
    return found, _row_by_row("vote", len(index), weights.shape[1], index.nbytes + sign.nbytes, found)


def add_row_planes(positive: Any, negative: Any, index: Any, sign: Any, outputs: int, rule: Rule) -> tuple[Any, Work]:
    """Return the charges by votes, from planes uint64 [nodes, words] of the rows' signs, and the work: as that of
    `add_events`, with two bits a weight."""
    positive, negative, index, sign = (np.asarray(each) for each in (positive, negative, index, sign))
    charge = np.zeros(outputs, np.int32)
    loops.add_bits(positive, negative, index, sign, charge)
    found = rule.stored(charge)
    row = positive[0].nbytes + negative[0].nbytes
    return found, _row_by_row("vote", len(index), row, index.nbytes + sign.nbytes, found)


def count_planes(plus: Any, minus: Any, *planes: Any, rule: Rule) -> tuple[Any, Work]:
    """Return the charges from masks uint64 [words] of the code and planes uint64 [outputs, words] of the weights, and
    the work: an AND and a count for each word of a plane under each mask.

    Planes are one pair (positive, negative) of votes, or seven of them, of the bits of the weights' magnitudes.
    """
    plain = [np.asarray(each) for each in (plus, minus, *planes)]
    charge = np.zeros(len(plain[2]), np.int32)
    for bit, (positive, negative) in enumerate(zip(plain[2::2], plain[3::2], strict=True)):
        loops.count_bits(positive, negative, plain[0], plain[1], 1 << bit, charge)
    found = rule.stored(charge)
    words, read = sum(each.size for each in planes), sum(each.nbytes for each in planes)
    staged = {"weights": read, "sram": read + plus.nbytes + minus.nbytes}
    return found, Work({"word": 2 * words}, staged, {"sram": read + found.nbytes}, launches=1)


def add_all(weights: Any, code: Any, rule: Rule) -> tuple[Any, Work]:
    """Return the charges, and the work, where every node is added, active or not, without multiplying."""
    (index, sign), _ = compact(code)
    found, _ = add_events(weights, index, sign, rule)
    return found, _row_by_row("vote", len(code), weights.shape[1], code.nbytes, found)


def multiply_all(weights: Any, code: Any, rule: Rule, dtype: str) -> tuple[Any, Work]:
    """Return the charges by multiplying in ``dtype``, int8, float16 or float32, and the work: a multiplication and an
    addition a weight, all weights read.

    Model: float16 adds up in float32, where whole charges stay exact.
    """
    plain, signs = np.asarray(weights), np.asarray(code)
    if rule.arithmetic == "votes":
        plain = (plain >= rule.cut).astype(np.int8) - (plain <= -rule.cut).astype(np.int8)
    kind = np.int32 if dtype == "int8" else np.float32
    charge = (signs.astype(kind) @ plain.astype(kind)).astype(np.int32)
    found = rule.stored(charge)
    width = np.dtype(dtype).itemsize
    return found, _row_by_row(dtype, len(code), width * weights.shape[1], code.nbytes, found, each=2)


def count_equal(plus: Any, positive: Any, nodes: int, rule: Rule) -> tuple[Any, Work]:
    """Return the charges of a network of one bit: nodes whose sign is that of the weight less those whose sign is not,
    from the mask ``plus`` uint64 [words] and the plane ``positive`` uint64 [outputs, words], and the work.

    A bit cannot say 0: what is silent counts as -1.
    """
    differ = np.asarray(positive) ^ np.asarray(plus)
    none, every = np.zeros_like(differ), np.full(differ.shape[1], 2**64 - 1, np.uint64)
    count = np.zeros(len(differ), np.int32)
    loops.count_bits(differ, none, every, none[0], 1, count)
    found = rule.stored(nodes - 2 * count)
    read = {"weights": positive.nbytes, "sram": positive.nbytes + plus.nbytes}
    return found, Work({"word": positive.size}, read, {"sram": positive.nbytes + found.nbytes}, launches=1)


def decide(charge: Any, reject: int) -> tuple[Any, Work]:
    """Return the sign of each charge that reaches ``reject`` in magnitude, else 0, int8 [outputs], and the work."""
    plain = np.asarray(charge).astype(np.int32)
    found = np.where(np.abs(plain) >= reject, np.sign(plain), 0).astype(np.int8)
    return found, Work({"vote": charge.size}, {"sram": charge.nbytes}, {"sram": found.nbytes}, launches=1)


def scale(charge: Any, factor: int) -> tuple[Any, Work]:
    """Return charges times ``factor`` / 256, rounded down, int32 [outputs], and the work: the one multiplication an
    output of a global scaling factor."""
    found = (np.asarray(charge).astype(np.int64) * factor >> 8).astype(np.int32)
    return found, Work({"int8": charge.size}, {"sram": charge.nbytes}, {"sram": found.nbytes}, launches=1)


def add_charges(charge: Any, other: Any, rule: Rule) -> tuple[Any, Work]:
    """Return the sum of two charges, saturating, and the work."""
    found = rule.stored(np.asarray(charge).astype(np.int64) + np.asarray(other))
    return found, Work(
        {"vote": charge.size}, {"sram": charge.nbytes + other.nbytes}, {"sram": found.nbytes}, launches=1
    )


def spread(weights: Any, item: Any) -> tuple[Any, Work]:
    """Return what an input int8 [inputs] is worth at every node of a frame int8 [nodes, inputs], int32 [nodes], and the
    work."""
    plain = np.asarray(weights)
    charge = np.zeros(len(plain), np.int32)
    loops.multiply(plain, np.asarray(item).astype(np.int32), charge)
    read = {"weights": weights.nbytes, "sram": weights.nbytes + item.nbytes}
    return charge, Work({"int8": 2 * weights.size}, read, {"sram": weights.nbytes + charge.nbytes}, launches=1)


def gather(weights: Any, code: Any) -> tuple[Any, Work]:
    """Return the sum float64 [inputs] of the rows of a frame times an analog ``code`` int32 [nodes], and the work: a
    multiplication and an addition for each input of each row whose code is not 0.

    Model: of a wide code too they count as operations of int8.
    """
    plain = np.asarray(code)
    rows = np.flatnonzero(plain)
    found = plain[rows].astype(np.float64) @ np.asarray(weights)[rows].astype(np.float64)
    return found, _row_by_row("int8", len(rows), weights.shape[1], code.nbytes, found, each=2)


def low_pass(estimate: Any, harmonics: int) -> tuple[Any, Work]:
    """Return ``estimate`` [inputs] with its first ``harmonics`` frequencies alone, float64, and the work: 5 n log2 n
    operations there and back (Model: as a transform of that length takes, rounded up)."""
    found = frames.low_pass(np.asarray(estimate).astype(np.float64), harmonics)
    count = 2 * 5 * len(estimate) * int(np.ceil(np.log2(len(estimate))))
    return found, Work({"float32": count}, {"sram": estimate.nbytes}, {"sram": found.nbytes}, launches=1)


def refine(weights: Any, code: Any, alive: Any, steps: int) -> tuple[Any, Work]:
    """Return the estimate float64 [inputs] by ``steps`` of conjugate gradients on the rows that are ``alive`` (int8
    [nodes]), and the work: two products with them a step, and one before."""
    rows = int(np.asarray(alive).sum())
    found = frames.conjugate_gradients(np.asarray(weights), np.asarray(code), np.asarray(alive).astype(bool), steps)
    work = _row_by_row("float32", rows * (2 * steps + 1), weights.shape[1], code.nbytes, found, each=2)
    return found, work


def _row_by_row(kind: str, rows: int, row: int, code: int, charge: Any, each: int = 1) -> Work:
    """Return the work of ``rows`` rows of ``row`` bytes, ``each`` operations of ``kind`` an output of ``charge``."""
    size = rows * (row + charge.nbytes)
    return Work(
        {kind: each * rows * charge.size}, {"weights": rows * row, "sram": size + code}, {"sram": size}, launches=1
    )
