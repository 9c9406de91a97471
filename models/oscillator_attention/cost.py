"""The work of the kernels from shapes alone, each equal to what its namesake in ``kernel`` counts; and the table of
operations of the paper."""

from dataclasses import dataclass

from simcore import Virtual, Work

from .kernel import Coupling, Softmax, Tile

EXPONENTIAL = 10
"""Multiplications and additions that an exponential is worth; arXiv:2606.12059, its code."""
PLAIN = {"softplus": 3, "relu": 2, "elu": 3}
SPECIAL = {"softplus": 2, "relu": 0, "elu": 1}
"""Operations of a coupling: plain ones, and exponentials or logarithms."""


def pairs(tile: Tile, rows: int) -> int:
    """Return how many pairs of query and key ``rows`` rows of a tile see."""
    return rows * tile.first + rows * (rows + 1) // 2 if tile.causal else rows * tile.tokens


def project(x: Virtual, weights: Virtual) -> tuple[Virtual, Work]:
    """Return the shape of [T, m] times [m, k], and its work: 2 T m k operations."""
    (rows, inner), columns = x.shape, weights.shape[1]
    found = Virtual((rows, columns), x.dtype)
    return found, _work(found, 2 * rows * inner * columns, 0, x, weights)


def couple(
    queries: Virtual, keys: Virtual, tile: Tile, kind: Coupling = "softplus", normalised: bool = False
) -> tuple[Virtual, Work]:
    """Return the shape of the couplings, and their work: 2 w + 1 operations a pair, and those of the function."""
    (rows, width), total = queries.shape, keys.shape[0]
    seen = pairs(tile, rows)
    found = Virtual((rows, total), queries.dtype)
    plain = seen * (2 * width + 1 + PLAIN[kind] + (2 if normalised else 0))
    return found, _work(found, plain, SPECIAL[kind] * seen, queries, keys)


def settle(couplings: Virtual, anchors: Virtual, tile: Tile) -> tuple[Virtual, Work]:
    """Return the shape of the equilibria, and their work: 2 d operations a pair, 3 d a row."""
    rows, width = couplings.shape[0], anchors.shape[1]
    states = Virtual((rows, width), couplings.dtype)
    return states, _work(states, 2 * width * pairs(tile, rows) + 3 * width * rows, 0, couplings, anchors)


def mix_states(states: Virtual, anchors: Virtual, values: Virtual, tile: Tile, power: int = 1) -> tuple[Virtual, Work]:
    """Return the shape of the outputs, and their work: 2 d + 2 w + 3 + power operations a pair."""
    rows, width = states.shape[0], values.shape[1]
    found = Virtual((rows, width), values.dtype)
    each = 2 * anchors.shape[1] + 2 * width + 3 + power
    return found, _work(found, each * pairs(tile, rows), 0, states, anchors, values)


def mix_products(products: Virtual, values: Virtual, tile: Tile, power: int = 1) -> tuple[Virtual, Work]:
    """Return the shape of the outputs, and their work: 2 w + 3 + power operations a pair."""
    rows, width = products.shape[0], values.shape[1]
    found = Virtual((rows, width), values.dtype)
    return found, _work(found, (2 * width + 3 + power) * pairs(tile, rows), 0, products, values)


def attend_softly(
    queries: Virtual, keys: Virtual, values: Virtual, tile: Tile, kind: Softmax = "softmax"
) -> tuple[Virtual, Work]:
    """Return the shape of the outputs, and their work: 4 w + 5 operations a pair, with a table 7; of softmax an
    exponential each."""
    (rows, width), seen = queries.shape, pairs(tile, queries.shape[0])
    found = Virtual((rows, values.shape[1]), values.dtype)
    plain = seen * (2 * width + 2 * values.shape[1] + (7 if kind == "lut" else 5))
    return found, _work(found, plain, seen if kind == "softmax" else 0, queries, keys, values)


def _work(found: Virtual, plain: int, special: int, *read: Virtual) -> Work:
    operations = {found.dtype: plain} | ({"exponential": special} if special else {})
    return Work(operations, {"hbm": sum(each.nbytes for each in read)}, {"hbm": found.nbytes}, launches=1)


@dataclass(frozen=True)
class Operations:
    """Multiplications and additions, an exponential as ten, of one layer as arXiv:2606.12059 counts them: of the
    attention stage by ``softmax``; with everything ``digital``; with settling physical (``vector``); with settling and
    inner products physical (``pairwise``); and ``common``, projections, scores and values, of all of them alike."""

    softmax: int
    digital: int
    vector: int
    pairwise: int
    common: int
    writes: int


def operations(tokens: int, heads: int, width: int, dimension: int, causal: bool, coupling: Coupling) -> Operations:
    """Return the table of a layer of ``heads`` of ``width`` each; ``writes`` are its couplings, which it charges
    nothing for."""
    seen = pairs(Tile(0, tokens, causal), tokens)
    pair, row = heads * seen, heads * tokens
    weight = 1 if coupling == "relu" else EXPONENTIAL
    model = heads * width
    return Operations(
        softmax=EXPONENTIAL * pair + 2 * row,
        digital=weight * pair + 2 * pair * dimension + 4 * row,
        vector=weight * pair + pair * dimension + 2 * row,
        pairwise=weight * pair + 2 * row,
        common=4 * tokens * model**2 + 2 * pair * width,
        writes=pair,
    )
