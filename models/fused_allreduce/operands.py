"""The three fused kernels as problems: which operands each rank holds, what a tile of the result needs of them, and the
result computed the plain way.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from simcore import Kernel, Virtual

from . import cost, kernel

if TYPE_CHECKING:
    from .program import Params
    from .tiles import Tile

ELEMENT = np.dtype(np.float32)
INDEX = np.dtype(np.int64)

START = Kernel("start", kernel.start, cost.start)
REDUCE = Kernel("reduce_parts", kernel.reduce_parts, cost.reduce_parts)


class Problem(Protocol):
    """What a fused kernel computes. Payloads are real tensors, or `Virtual` ones of the same shapes."""

    adds: bool
    """Whether the results of all ranks are added up (all-reduce), or every owner keeps what each rank computed for it
    (all-to-all)."""
    shape: tuple[int, int]
    """Rows and columns of the result of one rank."""
    tile_columns: int
    """Columns of a tile."""

    def kernel(self, to: str) -> Kernel:
        """Return the kernel whose results are written to the level of memory ``to``."""
        ...

    def shared(self, rank: int) -> list[Any]:
        """Return the operands of ``rank`` that all of its work-groups use."""
        ...

    def inputs(self, rank: int, part: "list[Tile]") -> list[Any]:
        """Return what the kernel takes to compute the tiles of ``part`` on ``rank``."""
        ...

    def plain(self, dtype: Any) -> list[Any]:
        """Return the result of every rank, before any exchange, as products and sums of whole tensors in ``dtype``."""
        ...


class VectorProduct:
    """GEMV + AllReduce: y is the sum over ranks r of A_r x_r, with A_r [rows, inner] and x_r [inner], tensor parallel
    over ``inner``."""

    adds = True
    tile_columns = 1

    def __init__(self, params: "Params", world: int, tensors: "Tensors") -> None:
        self.shape = (params.rows, 1)
        self._matrices = [tensors.normal(params.rows, params.inner) for _ in range(world)]
        self._vectors = [tensors.normal(params.inner) for _ in range(world)]

    def kernel(self, to: str) -> Kernel:
        """Return the product of rows with the vector."""
        return _kernel("multiply_vector", to)

    def shared(self, rank: int) -> list[Any]:
        """Return the vector."""
        return [self._vectors[rank]]

    def inputs(self, rank: int, part: "list[Tile]") -> list[Any]:
        """Return the rows of the tiles as one matrix, and the vector."""
        return [_rows(self._matrices[rank], [tile.rows for tile in part]), self._vectors[rank]]

    def plain(self, dtype: Any) -> list[Any]:
        """Return A_r x_r of every rank, [rows, 1]."""
        pairs = zip(self._matrices, self._vectors, strict=True)
        return [(a.astype(dtype) @ x.astype(dtype))[:, np.newaxis] for a, x in pairs]


class MatrixProduct:
    """GEMM + All-to-All: rank r computes X_r W_r, with X_r [rows, inner] and W_r [inner, columns], whose rows are the
    owners'."""

    adds = False

    def __init__(self, params: "Params", world: int, tensors: "Tensors") -> None:
        self.shape = (params.rows, params.columns)
        self.tile_columns = params.tile_columns
        self._left = [tensors.normal(params.rows, params.inner) for _ in range(world)]
        self._right = [tensors.normal(params.inner, params.columns) for _ in range(world)]

    def kernel(self, to: str) -> Kernel:
        """Return the products of pairs of blocks."""
        return _kernel("multiply_tiles", to)

    def shared(self, rank: int) -> list[Any]:
        """Return nothing: every tile reads what it needs."""
        return []

    def inputs(self, rank: int, part: "list[Tile]") -> list[Any]:
        """Return a block of rows and a block of columns for every tile."""
        left, right = self._left[rank], self._right[rank]
        return [block for tile in part for block in (_rows(left, [tile.rows]), _columns(right, tile.columns))]

    def plain(self, dtype: Any) -> list[Any]:
        """Return X_r W_r of every rank."""
        return [a.astype(dtype) @ b.astype(dtype) for a, b in zip(self._left, self._right, strict=True)]


class EmbeddingPool:
    """Embedding + All-to-All: rank r holds ``tables`` whole tables [entries, columns], and sums ``pooling`` entries of
    each for the ``rows`` samples of all ranks (model parallel); every owner gets its samples."""

    adds = False

    def __init__(self, params: "Params", world: int, tensors: "Tensors") -> None:
        self.shape = (params.rows, params.tables * params.columns)
        self.tile_columns = params.columns
        self._tables = [
            [tensors.normal(params.entries, params.columns) for _ in range(params.tables)] for _ in range(world)
        ]
        self._indices = [
            [tensors.indices(params.entries, params.rows, params.pooling) for _ in range(params.tables)]
            for _ in range(world)
        ]

    def kernel(self, to: str) -> Kernel:
        """Return the pooling of samples."""
        return _kernel("pool_tiles", to)

    def shared(self, rank: int) -> list[Any]:
        """Return nothing: every tile reads what it needs."""
        return []

    def inputs(self, rank: int, part: "list[Tile]") -> list[Any]:
        """Return a table and the indices of some samples into it for every tile."""
        tables, indices = self._tables[rank], self._indices[rank]
        which = [(tile.columns.start // self.tile_columns, tile.rows) for tile in part]
        return [each for table, rows in which for each in (tables[table], _rows(indices[table], [rows]))]

    def plain(self, dtype: Any) -> list[Any]:
        """Return the samples pooled by all tables of a rank, side by side, for every rank."""
        found = []
        for tables, indices in zip(self._tables, self._indices, strict=True):
            pairs = zip(tables, indices, strict=True)
            found.append(np.concatenate([table.astype(dtype)[at].sum(axis=1) for table, at in pairs], axis=1))
        return found


PROBLEMS = {"gemv_allreduce": VectorProduct, "gemm_alltoall": MatrixProduct, "embedding_alltoall": EmbeddingPool}


class Tensors:
    """Random tensors from ``rng``, or, without one, shapes; ``nbytes`` of them so far."""

    def __init__(self, rng: np.random.Generator | None) -> None:
        self._rng = rng
        self.nbytes = 0

    def normal(self, *shape: int) -> Any:
        """Return a tensor of the normal distribution."""
        return self._counted(ELEMENT, shape, lambda rng: rng.standard_normal(shape, ELEMENT))

    def indices(self, end: int, *shape: int) -> Any:
        """Return a tensor of integers from 0 to below ``end``."""
        return self._counted(INDEX, shape, lambda rng: rng.integers(end, size=shape, dtype=INDEX))

    def _counted(self, dtype: Any, shape: tuple[int, ...], draw: Callable[[np.random.Generator], Any]) -> Any:
        tensor = Virtual(shape, dtype.name) if self._rng is None else draw(self._rng)
        self.nbytes += tensor.nbytes
        return tensor


def _kernel(name: str, to: str) -> Kernel:
    return Kernel(name, partial(getattr(kernel, name), to=to), partial(getattr(cost, name), to=to))


def _rows(matrix: Any, cuts: list[slice]) -> Any:
    if isinstance(matrix, Virtual):
        return Virtual((sum(cut.stop - cut.start for cut in cuts), matrix.shape[1]), matrix.dtype)
    return np.concatenate([matrix[cut] for cut in cuts])


def _columns(matrix: Any, cut: slice) -> Any:
    if isinstance(matrix, Virtual):
        return Virtual((matrix.shape[0], cut.stop - cut.start), matrix.dtype)
    return matrix[:, cut]
