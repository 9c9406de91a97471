"""The work of the kernels from shapes alone; each equals what its namesake in ``kernel`` counts."""

from simcore import Virtual, Work


def reduce_shards(*shards: Virtual) -> tuple[Virtual, Work]:
    """Return the shape of the sum of k shards of n elements, and its work: (k - 1) n additions, k n elements read, n
    written."""
    first, count = shards[0], len(shards)
    elements = first.shape[0]
    return first, Work(
        {first.dtype: (count - 1) * elements}, {"hbm": count * first.nbytes}, {"hbm": first.nbytes}, launches=1
    )


def start(*shared: Virtual) -> tuple[tuple[Virtual, ...], Work]:
    """Return ``shared``, and the work of a launch and of reading each once."""
    size = sum(each.nbytes for each in shared)
    return shared, Work({}, {"hbm": size}, {"l2": size}, launches=1)


def multiply_vector(matrix: Virtual, vector: Virtual, to: str) -> tuple[Virtual, Work]:
    """Return the shape of [rows, K] times [K], and its work: 2 rows K operations; rows K elements read from memory and
    K from the L2; rows written."""
    rows, columns = matrix.shape
    product = Virtual((rows,), matrix.dtype)
    read = {"hbm": matrix.nbytes, "l2": vector.nbytes}
    return product, Work({matrix.dtype: 2 * rows * columns}, read, {to: product.nbytes})


def multiply_tiles(*operands: Virtual, to: str) -> tuple[Virtual, Work]:
    """Return the shape of all products of [rows, K] and [K, columns], and their work: 2 rows K columns operations each,
    both operands read, rows times columns elements written."""
    pairs = list(zip(operands[::2], operands[1::2], strict=True))
    whole = Virtual((sum(a.shape[0] * b.shape[1] for a, b in pairs),), operands[0].dtype)
    operations = sum(2 * a.shape[0] * a.shape[1] * b.shape[1] for a, b in pairs)
    return whole, Work({whole.dtype: operations}, {"hbm": sum(each.nbytes for each in operands)}, {to: whole.nbytes})


def pool_tiles(*operands: Virtual, to: str) -> tuple[Virtual, Work]:
    """Return the shape of all sums over [entries, columns] by [samples, pooling], and their work: samples (pooling - 1)
    columns additions each; the indices and samples pooling columns elements read, samples columns written."""
    pairs = list(zip(operands[::2], operands[1::2], strict=True))
    whole = Virtual((sum(table.shape[1] * indices.shape[0] for table, indices in pairs),), operands[0].dtype)
    operations = sum(table.shape[1] * indices.shape[0] * (indices.shape[1] - 1) for table, indices in pairs)
    read = operations * (whole.nbytes // whole.shape[0]) + whole.nbytes + sum(indices.nbytes for _, indices in pairs)
    return whole, Work({whole.dtype: operations}, {"hbm": read}, {to: whole.nbytes})


def reduce_parts(*parts: Virtual) -> tuple[Virtual, Work]:
    """Return the shape of the sum of k parts of n elements, and its work: (k - 1) n additions and elements read, n
    written."""
    first, others = parts[0], len(parts) - 1
    elements = first.shape[0]
    return first, Work({first.dtype: others * elements}, {"hbm": others * first.nbytes}, {"hbm": first.nbytes})
