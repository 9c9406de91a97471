"""The kernels for CUDA in Triton, behind the signatures of ``kernel``: index scores with the largest of a block, choice
of blocks, block-sparse attention by block and by query, combination; beside them dense attention by torch's library.

Tensors are of torch, bfloat16, float16 or float32, on one GPU; with TRITON_INTERPRET=1, set before this module is
imported, on the CPU. The work is what ``cost`` says; of blocks visited, the most that there can be. Products and sums
are in float32; probabilities are rounded to the dtype of the values before they meet them.

Checked against NumPy through the interpreter, and compiled for compute capabilities 9.0 and 10.0. Not measured: no run
on a GPU, so neither the sizes of tiles below nor the numbers of warps are tuned, and no efficiency of ``params.yaml``
comes from these kernels. arXiv:2606.13392, section 4.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from simcore import Virtual, Work

from . import cost, kernel

ROWS = 128
"""Rows of a tile, a query and a head each: what the matrix units like."""
SEGMENT = 16
"""Blocks that one program scores, so that a single query keeps the whole GPU busy."""
CHUNK = 64
"""Queries that meet a block in one program: a block that nearly all chose is spread over many."""

WIDEN = tl.constexpr(triton.knobs.runtime.interpret)
"""Whether factors become float32 first, which changes no product: the interpreter of Triton 3.9 multiplies the bits of
bfloat16 as whole numbers."""


def score_blocks(index_queries: Any, index_keys: Any, size: int) -> tuple[Any, Work]:
    """Return the score of every block in float32, and the work; as `kernel.score_blocks`."""
    count, heads, width = index_queries.shape
    total = len(index_keys)
    rows, blocks = count * heads, -(-total // size)
    scores = torch.full((count, heads, blocks), -torch.inf, device=index_keys.device)
    tile = min(ROWS, max(16, triton.next_power_of_2(rows)))
    _score[(triton.cdiv(rows, tile), triton.cdiv(blocks, SEGMENT))](
        index_queries.contiguous(), index_keys.contiguous(), scores, rows, total - count, total, heads, blocks, width,
        width**-0.5, WIDTH=_side(width), SIZE=size, TOKENS=_side(size), ROWS=tile, SEGMENT=SEGMENT,
        num_warps=8,
    )  # fmt: skip
    return scores, cost.score_blocks(_virtual(index_queries), _virtual(index_keys), size)[1]


def choose_blocks(scores: Any, total: int, size: int, keep: int) -> tuple[Any, Work]:
    """Return the choice, int32 on the same GPU, and the work; as `kernel.choose_blocks`."""
    count, heads, blocks = scores.shape
    few = min(keep, blocks)
    choice = torch.empty((count, heads, few), dtype=torch.int32, device=scores.device)
    _choose[(count * heads,)](
        scores, choice, total - count, heads, blocks, few, SIZE=size, BLOCKS=triton.next_power_of_2(blocks),
        KEEP=triton.next_power_of_2(few),
    )  # fmt: skip
    return choice, cost.choose_blocks(_virtual(scores), total, size, keep)[1]


def list_queries(choice: Any, blocks: int) -> tuple[tuple[Any, Any], Work]:
    """Return the reverse index, and the work; as `kernel.list_queries`. One number comes to the host: how many entries
    there are."""
    heads = choice.shape[1]
    flat = choice.movedim(1, 0).reshape(heads, -1)
    # The padding, -1, goes behind every block.
    flat = torch.where(flat < 0, blocks, flat)
    order = torch.sort(flat, dim=1, stable=True).indices
    counts = torch.zeros((heads, blocks + 1), dtype=torch.int64, device=choice.device)
    counts.scatter_add_(1, flat.long(), torch.ones_like(flat, dtype=torch.int64))
    starts = torch.zeros((heads, blocks + 1), dtype=torch.int32, device=choice.device)
    starts[:, 1:] = counts[:, :blocks].cumsum(dim=1)
    entries = order[:, : int(starts[0, -1])].to(torch.int32)
    work = Work({}, {"hbm": choice.nbytes}, {"hbm": starts.nbytes + entries.nbytes}, launches=1)
    return (starts, entries), work


def attend_by_block(
    queries: Any, keys: Any, values: Any, choice: Any, listed: tuple[Any, Any], size: int
) -> tuple[tuple[Any, Any], Work]:
    """Return partial outputs and log-sum-exps (float32) of every query and slot, and the work; as
    `kernel.attend_by_block`. Partial outputs of slots without a block are whatever stood in the memory."""
    count, heads, width = queries.shape
    total, groups = keys.shape[:2]
    each = heads // groups
    partial, logs = _room(queries, choice)
    starts, entries = listed
    group, block, begin = _schedule(starts, entries)
    step = max(1, ROWS // triton.next_power_of_2(each))
    _attend_by_block[(len(group),)](
        queries.contiguous(), keys.contiguous(), values.contiguous(), starts, entries.contiguous(), group, block, begin,
        partial, logs, count, total, heads, groups, entries.shape[1], starts.shape[1], choice.shape[2], width,
        width**-0.5, WIDTH=_side(width), SIZE=size, TOKENS=_side(size), EACH=each, STEP=step,
        ROWS=max(16, triton.next_power_of_2(step * each)), CHUNK=CHUNK, num_warps=8,
    )  # fmt: skip
    lists = _virtual(starts), _virtual(entries)
    work = cost.attend_by_block(*map(_virtual, (queries, keys, values, choice)), lists, size)[1]
    return (partial, logs), work


def combine(partial: Any, logs: Any, choice: Any) -> tuple[Any, Work]:
    """Return the outputs from partial ones, and the work; as `kernel.combine`. One number comes to the host: how many
    blocks were kept."""
    heads, width = partial.shape[2:]
    found = _combined(partial, logs)
    kept = int((choice[:, 0] >= 0).sum())
    read = kept * heads * width * partial.itemsize
    operations = {kernel.dtype(partial): 2 * kept * heads * width}
    return found, Work(operations, {"hbm": read}, {"hbm": found.nbytes}, launches=1)


def attend_by_query(queries: Any, keys: Any, values: Any, choice: Any, size: int) -> tuple[Any, Work]:
    """Return the attention of every query to the tokens of its blocks, and the work; as `kernel.attend_by_query`. A
    program takes one block of one query, so that few queries keep the GPU busy; a second kernel combines."""
    count, heads, width = queries.shape
    total, groups = keys.shape[:2]
    partial, logs = _room(queries, choice)
    _attend_by_query[(count, groups, choice.shape[2])](
        queries.contiguous(), keys.contiguous(), values.contiguous(), choice.contiguous(), partial, logs, count, total,
        heads, groups, choice.shape[2], width, width**-0.5, WIDTH=_side(width), SIZE=size, TOKENS=_side(size),
        EACH=heads // groups, ROWS=_side(heads // groups),
    )  # fmt: skip
    work = cost.attend_by_query(*map(_virtual, (queries, keys, values, choice)), size)[1]
    return _combined(partial, logs), work


def attend_densely(queries: Any, keys: Any, values: Any) -> tuple[Any, Work]:
    """Return the attention of every query to all visible tokens by the library's kernel for the case, and the work; as
    `kernel.attend_densely`. For a chunk after a prefix the library has no kernel of grouped queries: keys and values
    are copied for every query head first, which a measurement of this function holds."""
    from torch.nn.attention.bias import causal_lower_right
    from torch.nn.functional import scaled_dot_product_attention

    count, total = len(queries), len(keys)
    q, k, v = (each.movedim(0, 1)[None] for each in (queries, keys, values))
    if count == total or count == 1:
        found = scaled_dot_product_attention(q, k, v, is_causal=count > 1, enable_gqa=True)
    else:
        each = queries.shape[1] // keys.shape[1]
        k, v = (part.repeat_interleave(each, dim=1) for part in (k, v))
        found = scaled_dot_product_attention(q, k, v, attn_mask=causal_lower_right(count, total))
    work = cost.attend_densely(*map(_virtual, (queries, keys, values)))[1]
    return found[0].movedim(0, 1).contiguous(), work


def _room(queries: Any, choice: Any) -> tuple[Any, Any]:
    """Return room for partial outputs and log-sum-exps; slots without a block have the sum zero."""
    shape = (choice.shape[2], *queries.shape)
    logs = torch.full(shape[:-1], -torch.inf, dtype=torch.float32, device=queries.device)
    return torch.empty(shape, dtype=queries.dtype, device=queries.device), logs


def _schedule(starts: Any, entries: Any) -> tuple[Any, Any, Any]:
    """Return KV head, block and first entry of every program, as many as there can be at most; those that have nothing
    to do begin behind the last entry of their block."""
    heads, blocks = starts.shape[0], starts.shape[1] - 1
    chunks = (starts.diff(dim=1) + CHUNK - 1).div(CHUNK, rounding_mode="floor").reshape(-1)
    ends = chunks.cumsum(dim=0)
    most = heads * min(blocks + entries.shape[1] // CHUNK, entries.shape[1])
    item = torch.arange(most, device=starts.device)
    at = torch.searchsorted(ends, item, right=True).clamp_(max=heads * blocks - 1)
    group = at.div(blocks, rounding_mode="floor")
    begin = starts[:, :-1].reshape(-1)[at] + (item - (ends - chunks)[at]) * CHUNK
    return group.to(torch.int32), (at % blocks).to(torch.int32), begin.to(torch.int32)


def _combined(partial: Any, logs: Any) -> Any:
    keep, count, heads, width = partial.shape
    found = torch.empty((count, heads, width), dtype=partial.dtype, device=partial.device)
    few = min(16, triton.next_power_of_2(heads))
    _combine[(count, triton.cdiv(heads, few))](
        partial, logs, found, count, heads, width, KEEP=keep, HEADS=few, WIDTH=triton.next_power_of_2(width)
    )
    return found


def _virtual(array: Any) -> Virtual:
    return Virtual(tuple(array.shape), kernel.dtype(array))


def _side(length: int) -> int:
    """Return the side of a tile that holds ``length``: a power of two that the matrix units take."""
    return max(16, int(triton.next_power_of_2(length)))


@triton.jit
def _product(a, b):
    if WIDEN:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _score(
    index_queries, index_keys, scores, rows, first, total, heads, blocks, width, scale,
    WIDTH: tl.constexpr, SIZE: tl.constexpr, TOKENS: tl.constexpr, ROWS: tl.constexpr, SEGMENT: tl.constexpr,
):  # fmt: skip
    # A row is a query and a head; all heads meet one tile of keys, which is read once for them.
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    position = first + row // heads
    row = row.to(tl.int64)
    column = tl.arange(0, WIDTH)
    q = tl.load(index_queries + row[:, None] * width + column[None, :],
                mask=(row < rows)[:, None] & (column < width)[None, :], other=0.0)  # fmt: skip
    lane = tl.arange(0, TOKENS)
    latest = first + (tl.minimum(tl.program_id(0) * ROWS + ROWS, rows) - 1) // heads
    begin = tl.program_id(1) * SEGMENT
    end = tl.minimum(tl.minimum(begin + SEGMENT, blocks), latest // SIZE + 1)
    for block in range(begin, end):
        token = block * SIZE + lane
        there = (lane < SIZE) & (token < total)
        k = tl.load(index_keys + token.to(tl.int64)[None, :] * width + column[:, None],
                    mask=there[None, :] & (column < width)[:, None], other=0.0)  # fmt: skip
        products = _product(q, k) * scale
        products = tl.where(there[None, :] & (token[None, :] <= position[:, None]), products, float("-inf"))
        tl.store(scores + row * blocks + block, tl.max(products, axis=1), mask=row < rows)


@triton.jit
def _choose(
    scores, choice, first, heads, blocks, keep, SIZE: tl.constexpr, BLOCKS: tl.constexpr, KEEP: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    own = (first + row // heads) // SIZE
    block = tl.arange(0, BLOCKS)
    left = tl.load(scores + row * blocks + block, mask=block < blocks, other=float("-inf"))
    left = tl.where(block == own, float("inf"), left)
    slot = tl.arange(0, KEEP)
    chosen = tl.full((KEEP,), BLOCKS, tl.int32)
    for i in range(keep):
        best = tl.max(left, axis=0)
        # Of equal ones the first; BLOCKS, behind all, where none is left that is visible.
        at = tl.min(tl.where(left == best, block, BLOCKS), axis=0)
        at = tl.where(best > float("-inf"), at, BLOCKS)
        chosen = tl.where(slot == i, at, chosen)
        left = tl.where(block == at, float("-inf"), left)
    lower = (chosen[None, :] < chosen[:, None]) | (
        (chosen[None, :] == chosen[:, None]) & (slot[None, :] < slot[:, None])
    )
    place = tl.sum(lower.to(tl.int32), axis=1)
    tl.store(choice + row * keep + place, tl.where(chosen < BLOCKS, chosen, -1), mask=place < keep)


@triton.jit
def _answer(
    queries, partial, logs, t, slot, head, there, k, v, token, seen, count, heads, first, width, scale,
    WIDTH: tl.constexpr,
):  # fmt: skip
    # Rows, a query and a head each, meet the tokens of one block.
    column = tl.arange(0, WIDTH)
    fits = there[:, None] & (column < width)[None, :]
    at = t.to(tl.int64) * heads + head
    q = tl.load(queries + at[:, None] * width + column[None, :], mask=fits, other=0.0)
    products = _product(q, k) * scale
    products = tl.where(seen[None, :] & (token[None, :] <= first + t[:, None]), products, float("-inf"))
    top = tl.max(products, axis=1)
    # A row of padding may see nothing; its result is not stored.
    top = tl.where(there, top, 0.0)
    weights = tl.exp(products - top[:, None])
    total = tl.sum(weights, axis=1)
    total = tl.where(there, total, 1.0)
    out = _product(weights.to(v.dtype), v) / total[:, None]
    to = slot.to(tl.int64) * count * heads + at
    tl.store(partial + to[:, None] * width + column[None, :], out.to(partial.dtype.element_ty), mask=fits)
    tl.store(logs + to, top + tl.log(total), mask=there)


@triton.jit
def _attend_by_block(
    queries, keys, values, starts, entries, group_of, block_of, begin_of, partial, logs, count, total, heads, groups,
    listed, bounds, keep, width, scale,
    WIDTH: tl.constexpr, SIZE: tl.constexpr, TOKENS: tl.constexpr, EACH: tl.constexpr, STEP: tl.constexpr,
    ROWS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    item = tl.program_id(0)
    group, block, begin = tl.load(group_of + item), tl.load(block_of + item), tl.load(begin_of + item)
    end = tl.minimum(tl.load(starts + group * bounds + block + 1), begin + CHUNK)
    lane, column = tl.arange(0, TOKENS), tl.arange(0, WIDTH)
    token = block * SIZE + lane
    seen = (lane < SIZE) & (token < total)
    place = (token.to(tl.int64) * groups + group) * width
    k = tl.load(keys + place[None, :] + column[:, None], mask=seen[None, :] & (column < width)[:, None], other=0.0)
    v = tl.load(values + place[:, None] + column[None, :], mask=seen[:, None] & (column < width)[None, :], other=0.0)
    row = tl.arange(0, ROWS)
    for some in range(begin, end, STEP):
        number = some + row // EACH
        there = (row < STEP * EACH) & (number < end)
        entry = tl.load(entries + group.to(tl.int64) * listed + number, mask=there, other=0)
        _answer(queries, partial, logs, entry // keep, entry % keep, group * EACH + row % EACH, there, k, v, token,
                seen, count, heads, total - count, width, scale, WIDTH)  # fmt: skip


@triton.jit
def _attend_by_query(
    queries, keys, values, choice, partial, logs, count, total, heads, groups, keep, width, scale,
    WIDTH: tl.constexpr, SIZE: tl.constexpr, TOKENS: tl.constexpr, EACH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    query, group, slot = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    block = tl.load(choice + (query.to(tl.int64) * groups + group) * keep + slot)
    if block >= 0:
        lane, column = tl.arange(0, TOKENS), tl.arange(0, WIDTH)
        token = block * SIZE + lane
        seen = (lane < SIZE) & (token < total)
        place = (token.to(tl.int64) * groups + group) * width
        k = tl.load(keys + place[None, :] + column[:, None], mask=seen[None, :] & (column < width)[:, None], other=0.0)
        v = tl.load(
            values + place[:, None] + column[None, :], mask=seen[:, None] & (column < width)[None, :], other=0.0
        )
        row = tl.arange(0, ROWS)
        zero = tl.zeros((ROWS,), tl.int32)
        _answer(queries, partial, logs, zero + query, zero + slot, group * EACH + row, row < EACH, k, v, token, seen,
                count, heads, total - count, width, scale, WIDTH)  # fmt: skip


@triton.jit
def _combine(
    partial, logs, found, count, heads, width, KEEP: tl.constexpr, HEADS: tl.constexpr, WIDTH: tl.constexpr
):  # fmt: skip
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    column = tl.arange(0, WIDTH)
    at = tl.program_id(0).to(tl.int64) * heads + head
    far = count * heads
    top = tl.full((HEADS,), float("-inf"), tl.float32)
    for slot in range(KEEP):
        top = tl.maximum(top, tl.load(logs + slot * far + at, mask=head < heads, other=0.0))
    total = tl.zeros((HEADS,), tl.float32)
    out = tl.zeros((HEADS, WIDTH), tl.float32)
    for slot in range(KEEP):
        log = tl.load(logs + slot * far + at, mask=head < heads, other=0.0)
        weight = tl.exp(log - top)
        # Nothing was stored where there was no block.
        fits = ((head < heads) & (log > float("-inf")))[:, None] & (column < width)[None, :]
        part = tl.load(partial + (slot * far + at)[:, None] * width + column[None, :], mask=fits, other=0.0)
        out += weight[:, None] * part.to(tl.float32)
        total += weight
    out = (out / total[:, None]).to(found.dtype.element_ty)
    tl.store(
        found + at[:, None] * width + column[None, :], out, mask=(head < heads)[:, None] & (column < width)[None, :]
    )
