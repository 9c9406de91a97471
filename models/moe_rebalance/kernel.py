"""The reference kernels of a layer of experts on real tensors, of NumPy or torch, forwards and backwards; each counts
the work that it does.

Shapes: ``tokens`` [n, h]; ``router`` [E, h]; of an expert ``gate`` and ``up`` [f, h], ``down`` [h, f]. ``choice``
[n, K] are the experts of a token, the best first; ``weights`` [n, K] what each counts, their sum 1. ``outer``: the
gradient of what a kernel returned forwards. Router and experts are those of Qwen3 (arXiv:2505.09388): softmax over the
chosen K, SwiGLU. Multiplications of matrices alone are counted as operations, and weighted sums.
"""

from typing import Any

import numpy as np

from simcore import Work


def library(array: Any) -> Any:
    """Return the library of ``array``: NumPy or torch."""
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def route(tokens: Any, router: Any, top: int) -> tuple[tuple[Any, Any], Work]:
    """Return the choice of the ``top`` experts with the highest logits, of equal ones the first, int32 of NumPy, and
    their weights; and the work: a multiplication and an addition an element of every pair of token and expert."""
    logits = tokens @ router.T
    choice = np.argsort(-_plain(logits), axis=1, kind="stable")[:, :top].astype(np.int32)
    weights = _softmax(logits, choice)
    written = {"hbm": choice.nbytes + _bytes(weights)}
    return (choice, weights), _routed(tokens, router, 2, {}, written)


def replay(tokens: Any, router: Any, choice: Any) -> tuple[Any, Work]:
    """Return the weights of experts that were chosen before, from the logits of now; and the work, as in `route`."""
    weights = _softmax(tokens @ router.T, choice)
    return weights, _routed(tokens, router, 2, {"hbm": choice.nbytes}, {"hbm": _bytes(weights)})


def replay_gradients(
    tokens: Any, router: Any, choice: Any, weights: Any, outer: Any
) -> tuple[tuple[Any, Any], Work]:  # fmt: skip
    """Return the gradients of tokens and router; and the work: twice that of `route`. The choice has none."""
    xp = library(tokens)
    chosen = weights * (outer - (weights * outer).sum(axis=1)[:, None])
    logits = xp.zeros((len(tokens), len(router)), dtype=tokens.dtype)
    logits[np.arange(len(tokens))[:, None], choice] = chosen
    found = logits @ router, logits.T @ tokens
    read = {"hbm": choice.nbytes + _bytes(weights) + _bytes(outer)}
    return found, _routed(tokens, router, 4, read, {"hbm": sum(map(_bytes, found))})


def dispatch(tokens: Any, rows: Any) -> tuple[Any, Work]:
    """Return copies of ``rows`` [m] of the tokens, [m, h], as they are sent; and the work: each read and written."""
    copies = tokens[rows]
    return copies, Work({}, {"hbm": _bytes(copies) + rows.nbytes}, {"hbm": _bytes(copies)}, launches=1)


def expert(tokens: Any, gate: Any, up: Any, down: Any) -> tuple[tuple[Any, Any, Any], Work]:
    """Return what an expert makes of its tokens, [n, h], and the products with ``gate`` and ``up``, [n, f], that going
    back needs; and the work: 6 h f operations a token, the weights read once."""
    left, right = tokens @ gate.T, tokens @ up.T
    found = (left * _sigmoid(left) * right) @ down.T
    read = _bytes(tokens) + sum(map(_bytes, (gate, up, down)))
    written = sum(map(_bytes, (found, left, right)))
    return (found, left, right), _multiplied(tokens, gate, 6, read, written)


def expert_gradients(
    tokens: Any, left: Any, right: Any, gate: Any, up: Any, down: Any, outer: Any
) -> tuple[tuple[Any, Any, Any, Any], Work]:  # fmt: skip
    """Return the gradients of tokens, ``gate``, ``up`` and ``down``; and the work: 12 h f operations a token."""
    share = _sigmoid(left)
    inner = outer @ down
    to_left = inner * right * share * (1 + left * (1 - share))
    to_right = inner * left * share
    found = (
        to_left @ gate + to_right @ up,
        to_left.T @ tokens,
        to_right.T @ tokens,
        outer.T @ (left * share * right),
    )
    read = sum(map(_bytes, (tokens, left, right, gate, up, down, outer)))
    return found, _multiplied(tokens, gate, 12, read, sum(map(_bytes, found)))


def combine(served: Any, weights: Any) -> tuple[Any, Work]:
    """Return the outputs [n, h]: what the experts made of a token, ``served`` [n, K, h], by their weights; and the
    work: 2 h K operations a token."""
    found = library(served).einsum("nkh,nk->nh", served, weights)
    work = Work(
        {_dtype(served): 2 * _size(served)}, {"hbm": _bytes(served) + _bytes(weights)}, {"hbm": _bytes(found)},
        launches=1,
    )  # fmt: skip
    return found, work


def combine_gradients(served: Any, weights: Any, outer: Any) -> tuple[tuple[Any, Any], Work]:
    """Return the gradients of ``served`` and ``weights``; and the work: 3 h K operations a token."""
    found = weights[:, :, None] * outer[:, None, :], library(served).einsum("nkh,nh->nk", served, outer)
    read = {"hbm": _bytes(served) + _bytes(weights) + _bytes(outer)}
    return found, Work({_dtype(served): 3 * _size(served)}, read, {"hbm": sum(map(_bytes, found))}, launches=1)


def _softmax(logits: Any, choice: Any) -> Any:
    xp = library(logits)
    chosen = logits[np.arange(len(choice))[:, None], choice]
    powers = xp.exp(chosen - xp.amax(chosen, axis=1)[:, None])
    return powers / powers.sum(axis=1)[:, None]


def _sigmoid(array: Any) -> Any:
    # tanh does not overflow.
    return (1 + library(array).tanh(array / 2)) / 2


def _routed(tokens: Any, router: Any, each: int, read: dict[str, int], written: dict[str, int]) -> Work:
    """Return the work of ``each`` operations an element of every pair of token and expert."""
    pairs = len(tokens) * _size(router)
    both = {"hbm": _bytes(tokens) + _bytes(router) + read.get("hbm", 0)}
    return Work({_dtype(tokens): each * pairs}, both, written, launches=1)


def _multiplied(tokens: Any, gate: Any, each: int, read: int, written: int) -> Work:
    operations = {_dtype(tokens): each * len(tokens) * _size(gate)}
    return Work(operations, {"hbm": read}, {"hbm": written}, launches=1)


def _plain(array: Any) -> Any:
    """Return ``array`` as one of NumPy, from whatever device; NumPy has no bfloat16."""
    return array if library(array) is np else array.double().numpy(force=True)


def _dtype(array: Any) -> str:
    return str(array.dtype).removeprefix("torch.")


def _size(array: Any) -> int:
    return int(np.prod(array.shape))


def _bytes(array: Any) -> int:
    return int(array.nbytes)
