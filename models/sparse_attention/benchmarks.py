"""The kernels that `simcore calibrate` measures: stages of prefill and decode, and dense attention beside them, at the
shapes of the paper (arXiv:2606.13392, section 5.1); on the CPU those of ``kernel``, on a GPU those of ``gpu``."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from simcore import Benchmark, InputError

from . import kernel

HEADS, GROUPS, WIDTH, SIZE, KEEP = 64, 4, 128, 128, 16
LONG = [2**n for n in range(13, 21)]
"""Contexts on a GPU: 8K to 1M."""
CHUNK = 4096
"""Queries of a chunk of prefill, the last ones of the context."""


def benchmarks(tensor: Callable[..., Any], device: str, quick: bool) -> Iterator[Benchmark]:
    """Yield the kernels on tensors that ``tensor(shape, dtype)`` makes on ``device``; few tokens where ``quick``."""
    if device == "cuda" and find_spec("triton") is None:
        raise InputError("the GPU kernels of sparse attention need triton: pip install 'simcore[torch]'")
    if device == "cuda":
        from . import gpu

        by: Any = gpu
    else:
        by = kernel
    kind = "bfloat16" if device == "cuda" else "float32"
    for total in [256] if quick else LONG if device == "cuda" else [4096]:
        chunk = min(total // 2 if device == "cpu" else total, CHUNK)
        yield from stages(
            tensor, by, kind, total, chunk, (8, 2, 16, 16, 4) if quick else (HEADS, GROUPS, WIDTH, SIZE, KEEP)
        )


def stages(
    tensor: Callable[..., Any], by: Any, kind: str, total: int, chunk: int, shape: tuple[int, int, int, int, int]
) -> Iterator[Benchmark]:
    """Yield what a chunk of prefill and one token of decode do, each stage on what the one before it returned."""
    heads, groups, width, size, keep = shape
    keys, values = tensor((total, groups, width), kind), tensor((total, groups, width), kind)
    index_keys = tensor((total, width), kind)
    for phase, count in (("prefill", chunk), ("decode", 1)):
        queries, index_queries = tensor((count, heads, width), kind), tensor((count, groups, width), kind)
        words = f"{count} of {total} tokens, {heads}/{groups} heads of {width}, {keep} blocks of {size}, {kind}"

        def measured(name: str, run: Callable[..., Any], *given: Any, phase: str = phase, words: str = words) -> Any:
            found, work = run(*given)
            return found, Benchmark(f"{phase}: {name}", words, lambda: run(*given), work)

        scores, benchmark = measured("index", by.score_blocks, index_queries, index_keys, size)
        yield benchmark
        choice, benchmark = measured("choice", by.choose_blocks, scores, total, size, keep)
        yield benchmark
        if phase == "prefill":
            listed, benchmark = measured("lists", by.list_queries, choice, scores.shape[2])
            yield benchmark
            parts, benchmark = measured("blocks", by.attend_by_block, queries, keys, values, choice, listed, size)
            yield benchmark
            yield measured("combine", by.combine, *parts, choice)[1]
        else:
            yield measured("attention", by.attend_by_query, queries, keys, values, choice, size)[1]
        yield measured("dense attention", by.attend_densely, queries, keys, values)[1]
