"""How weights lie in memory for each method of recall, the kernel that reads them so, and what it is given of a
code."""

from functools import partial
from typing import Any, Literal

import numpy as np

from simcore import Kernel, Virtual

from . import cost, kernel
from .fetch import Fetch
from .kernel import Rule
from .storing import magnitudes, pack, planes
from .timing import Operations, Tiles

Method = Literal["events", "row_planes", "planes", "adds", "int8", "float16", "float32", "binary"]
"""Rows of int8 of the active nodes; their signs as two bit-planes; counts over all planes; and what these are compared
with: all rows, without or with multiplying, and a network of one bit."""
ROWS = ("events", "row_planes")
MASKS = ("planes", "binary")


def form(weights: Any, method: Method, rule: Rule) -> tuple[Any, ...]:
    """Return ``weights`` [nodes, outputs] as ``method`` reads them: themselves, or planes of bits."""
    nodes, outputs = weights.shape
    if method not in ("row_planes", *MASKS):
        return (weights,)
    if isinstance(weights, Virtual):
        rows, columns = (nodes, outputs) if method == "row_planes" else (outputs, nodes)
        count = {"row_planes": 2, "binary": 1}.get(method) or (2 if rule.arithmetic == "votes" else 14)
        return (Virtual((rows, -(-columns // 64)), "uint64"),) * count
    if method == "row_planes":
        return planes(weights, rule.cut)
    turned = np.ascontiguousarray(weights.T)
    if method == "binary":
        return (pack(turned >= 0),)
    if rule.arithmetic == "votes":
        return planes(turned, rule.cut)
    return tuple(plane for pair in magnitudes(turned) for plane in pair)


def size(held: tuple[Any, ...], method: Method) -> int:
    """Return the bytes of weights ``held`` for ``method``: those of floats, which are made of int8, are as wide as
    floats."""
    return {"float16": 2, "float32": 4}.get(method, 1) * sum(each.nbytes for each in held)


def reading(method: Method, events: int) -> Kernel:
    """Return the kernel that makes of a code [nodes] with ``events`` active nodes what ``method`` wants of it."""
    if method in ROWS:
        return Kernel("compact", kernel.compact, partial(cost.compact, events=events), Operations())
    return Kernel("mask", kernel.mask, cost.mask, Operations())


def adding(
    method: Method, rule: Rule, nodes: int, outputs: int, events: int, fetch: Fetch, outside: bool
) -> tuple[Kernel, Tiles]:
    """Return the kernel of ``method``, to be given its form of the weights and then the code, and how its tiles
    flow."""
    by_output = method in MASKS
    tiles = Tiles(outputs if by_output else events if method in ROWS else nodes, fetch, outside)
    given: dict[str, Any] = {"rule": rule}
    name = {"events": "add_events", "row_planes": "add_row_planes", "planes": "count_planes", "adds": "add_all",
            "binary": "count_equal"}.get(method, "multiply_all")  # fmt: skip
    if method == "row_planes":
        given["outputs"] = outputs
    elif method == "binary":
        given["nodes"] = nodes
    elif name == "multiply_all":
        given["dtype"] = method
    run, formula = partial(getattr(kernel, name), **given), partial(getattr(cost, name), **given)
    return Kernel(name, run, formula, tiles), tiles


def code_of(method: Method, code: Any, made: Any, weights: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the payloads of the kernel of ``method`` in its order, from the code and what `reading` made of it."""
    if method in ROWS:
        return (*weights, *made)
    if method == "planes":
        return (*made, *weights)
    if method == "binary":
        return (made[0], *weights)
    return (*weights, code)
