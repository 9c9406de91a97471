"""The work of the kernels from shapes alone; each equals what its namesake in ``kernel`` counts."""

from math import prod

from simcore import Virtual, Work


def route(tokens: Virtual, router: Virtual, top: int) -> tuple[tuple[Virtual, Virtual], Work]:
    """Return the shapes of choice and weights, and the work: 2 h E operations a token."""
    count = tokens.shape[0]
    choice, weights = Virtual((count, top), "int32"), Virtual((count, top), tokens.dtype)
    return (choice, weights), _routed(tokens, router, 2, 0, choice.nbytes + weights.nbytes)


def replay(tokens: Virtual, router: Virtual, choice: Virtual) -> tuple[Virtual, Work]:
    """Return the shape of the weights, and the work: 2 h E operations a token."""
    weights = Virtual(choice.shape, tokens.dtype)
    return weights, _routed(tokens, router, 2, choice.nbytes, weights.nbytes)


def replay_gradients(
    tokens: Virtual, router: Virtual, choice: Virtual, weights: Virtual, outer: Virtual
) -> tuple[tuple[Virtual, Virtual], Work]:  # fmt: skip
    """Return the shapes of the gradients of tokens and router, and the work: 4 h E operations a token."""
    read = choice.nbytes + weights.nbytes + outer.nbytes
    return (tokens, router), _routed(tokens, router, 4, read, tokens.nbytes + router.nbytes)


def dispatch(tokens: Virtual, rows: Virtual) -> tuple[Virtual, Work]:
    """Return the shape of the copies, and the work: each read and written."""
    copies = Virtual((rows.shape[0], tokens.shape[1]), tokens.dtype)
    return copies, Work({}, {"hbm": copies.nbytes + rows.nbytes}, {"hbm": copies.nbytes}, launches=1)


def expert(tokens: Virtual, gate: Virtual, up: Virtual, down: Virtual) -> tuple[tuple[Virtual, Virtual, Virtual], Work]:
    """Return the shapes of outputs and products, and the work: 6 h f operations a token."""
    product = Virtual((tokens.shape[0], gate.shape[0]), tokens.dtype)
    read = tokens.nbytes + gate.nbytes + up.nbytes + down.nbytes
    return (tokens, product, product), _multiplied(tokens, gate, 6, read, tokens.nbytes + 2 * product.nbytes)


def expert_gradients(
    tokens: Virtual, left: Virtual, right: Virtual, gate: Virtual, up: Virtual, down: Virtual, outer: Virtual
) -> tuple[tuple[Virtual, Virtual, Virtual, Virtual], Work]:  # fmt: skip
    """Return the shapes of the gradients of tokens and matrices, and the work: 12 h f operations a token."""
    written = tokens.nbytes + gate.nbytes + up.nbytes + down.nbytes
    read = written + left.nbytes + right.nbytes + outer.nbytes
    return (tokens, gate, up, down), _multiplied(tokens, gate, 12, read, written)


def combine(served: Virtual, weights: Virtual) -> tuple[Virtual, Work]:
    """Return the shape of the outputs, and the work: 2 h K operations a token."""
    found = Virtual((served.shape[0], served.shape[2]), served.dtype)
    read = served.nbytes + weights.nbytes
    return found, Work({served.dtype: 2 * prod(served.shape)}, {"hbm": read}, {"hbm": found.nbytes}, launches=1)


def combine_gradients(served: Virtual, weights: Virtual, outer: Virtual) -> tuple[tuple[Virtual, Virtual], Work]:
    """Return the shapes of the gradients of ``served`` and ``weights``, and the work: 3 h K operations a token."""
    written = served.nbytes + weights.nbytes
    read = {"hbm": written + outer.nbytes}
    work = Work({served.dtype: 3 * prod(served.shape)}, read, {"hbm": written}, launches=1)
    return (served, weights), work


def _routed(tokens: Virtual, router: Virtual, each: int, read: int, written: int) -> Work:
    operations = {tokens.dtype: each * tokens.shape[0] * prod(router.shape)}
    return Work(operations, {"hbm": tokens.nbytes + router.nbytes + read}, {"hbm": written}, launches=1)


def _multiplied(tokens: Virtual, gate: Virtual, each: int, read: int, written: int) -> Work:
    operations = {tokens.dtype: each * tokens.shape[0] * prod(gate.shape)}
    return Work(operations, {"hbm": read}, {"hbm": written}, launches=1)
