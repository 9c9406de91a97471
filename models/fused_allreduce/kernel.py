"""The reference kernels on real tensors: what one work-group does at a time, and the work that it counts doing so.

Where results go is the level of memory that they are written to: ``hbm``, the own memory; ``peer``, the memory of
another rank, by the message that carries them; ``registers``, where they wait for what is added to them.
"""

from typing import Any

import numpy as np

from simcore import Work


def reduce_shards(*shards: Any) -> tuple[Any, Work]:
    """Return the element-wise sum of ``shards``, each of shape (elements,) and one dtype, added in the order given; and
    the work done.

    Every shard is read once from memory, the running sum stays in registers, and the result is written once.
    """
    total = np.zeros_like(shards[0])
    operations = read = 0
    for shard in shards:
        if read:
            total += shard
            operations += shard.size
        else:
            total[...] = shard
        read += shard.nbytes
    return total, Work({str(total.dtype): operations}, {"hbm": read}, {"hbm": total.nbytes}, launches=1)


def start(*shared: Any) -> tuple[tuple[Any, ...], Work]:
    """Return ``shared``, operands that all work-groups use, as they are; and the work: the launch of the kernel, and
    one reading of each from memory into the L2.

    Model: what all work-groups share fits the L2, is read from memory once, before they begin, and stays there.
    """
    size = sum(each.nbytes for each in shared)
    return shared, Work({}, {"hbm": size}, {"l2": size}, launches=1)


def multiply_vector(matrix: Any, vector: Any, to: str) -> tuple[Any, Work]:
    """Return the product of ``matrix`` [rows, K] and ``vector`` [K], and the work: a multiplication and an addition per
    element, the matrix from memory, the vector from the L2.

    The sum of a row does not depend on which other rows are there.
    """
    product = np.zeros(len(matrix), matrix.dtype)
    operations = read = 0
    for place, row in enumerate(matrix):
        product[place] = np.sum(row * vector)
        operations += 2 * row.size
        read += row.nbytes
    return product, Work({str(product.dtype): operations}, {"hbm": read, "l2": vector.nbytes}, {to: product.nbytes})


def multiply_tiles(*operands: Any, to: str) -> tuple[Any, Work]:
    """Return the products of pairs of ``operands``, a [rows, K] and b [K, columns] in turn, one after another as one
    array (elements,); and the work: a multiplication and an addition per element of a and column of b.

    Model: every tile reads its rows and its columns from memory; nothing is reused between tiles.
    """
    products = []
    operations = read = 0
    for a, b in zip(operands[::2], operands[1::2], strict=True):
        products.append((a @ b).ravel())
        operations += 2 * a.size * b.shape[1]
        read += a.nbytes + b.nbytes
    whole = np.concatenate(products)
    return whole, Work({str(whole.dtype): operations}, {"hbm": read}, {to: whole.nbytes})


def pool_tiles(*operands: Any, to: str) -> tuple[Any, Work]:
    """Return sums of embeddings for pairs of ``operands``, a table [entries, columns] and indices [samples, pooling] in
    turn, one after another as one array (elements,); and the work: an addition for every entry but a sample's first.

    Model: every entry that is looked up is read from memory, whether or not it was read before.
    """
    pooled = []
    operations = read = 0
    for table, indices in zip(operands[::2], operands[1::2], strict=True):
        total = table[indices[:, 0]]
        read += indices.nbytes + total.nbytes
        for looked_up in indices.T[1:]:
            entries = table[looked_up]
            total = total + entries
            operations += entries.size
            read += entries.nbytes
        pooled.append(total.ravel())
    whole = np.concatenate(pooled)
    return whole, Work({str(whole.dtype): operations}, {"hbm": read}, {to: whole.nbytes})


def reduce_parts(*parts: Any) -> tuple[Any, Work]:
    """Return the element-wise sum of ``parts``, one of every rank, of shape (elements,), added in the order of the
    ranks, so that it is the same in every run; and the work.

    The part computed here is still in registers: of k parts, k - 1 are read from memory.
    """
    total = parts[0].copy()
    operations = read = 0
    for part in parts[1:]:
        total += part
        operations += part.size
        read += part.nbytes
    return total, Work({str(total.dtype): operations}, {"hbm": read}, {"hbm": total.nbytes})
