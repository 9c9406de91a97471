"""What `simcore calibrate` measures: the kernels of an expert of Qwen3-30B-A3B (hidden 2048, width 768, 8 of 128), and
the planners for one layer of 128 experts on 8 and on 64 GPUs, whose times are in ``paces``."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from simcore import Benchmark, Work

from . import bases, kernel, quotas, rivals, splits
from .placement import Group
from .policies import at_home, by_eplb, by_laer
from .routing import PRESETS, generate

SEED = 20261125


def benchmarks(tensor: Callable[..., Any], device: str, quick: bool) -> Iterator[Benchmark]:
    """Yield the kernels on tensors that ``tensor(shape, dtype)`` makes on ``device``, and, on the CPU, the planners;
    few tokens and GPUs where ``quick``."""
    yield from _kernels(tensor, "bfloat16" if device == "cuda" else "float32", 16 if quick else 1024, quick)
    if device == "cpu":
        for preset in ("ep8_same_prompt",) if quick else ("ep8_same_prompt", "ep64"):
            yield from planners(preset, 1 if quick else 12)


def _kernels(tensor: Callable[..., Any], kind: str, count: int, quick: bool) -> Iterator[Benchmark]:
    hidden, width, experts, top = (8, 4, 4, 2) if quick else (2048, 768, 128, 8)
    words = f"{count} tokens, hidden {hidden}, width {width}, {top} of {experts} experts, {kind}"
    tokens, outer, router = (
        tensor((count, hidden), kind),
        tensor((count, hidden), kind),
        tensor((experts, hidden), kind),
    )
    matrices = [tensor(shape, kind) for shape in ((width, hidden), (width, hidden), (hidden, width))]

    def measured(name: str, run: Callable[..., Any], *given: Any) -> tuple[Any, Benchmark]:
        found, work = run(*given)
        return found, Benchmark(name, words, lambda: run(*given), work)

    (choice, weights), benchmark = measured("route", kernel.route, tokens, router, top)
    yield benchmark
    yield measured("replay", kernel.replay, tokens, router, choice)[1]
    (_, left, right), benchmark = measured("expert", kernel.expert, tokens, *matrices)
    yield benchmark
    yield measured("expert gradients", kernel.expert_gradients, tokens, left, right, *matrices, outer)[1]
    served = tensor((count, top, hidden), kind)
    yield measured("combine", kernel.combine, served, weights)[1]
    yield measured("combine gradients", kernel.combine_gradients, served, weights, outer)[1]


def planners(preset: str, micro: int) -> Iterator[Benchmark]:
    """Yield every planner of `Paces` on the first layer and EP group of ``preset``, ``micro`` micro-steps of it."""
    about = PRESETS[preset]
    routing = generate(about, 1, micro, about.ep, 128, 8, 1, np.random.default_rng(SEED))
    counts, past = routing.group(0)
    group, loads, history = Group(about.ep, min(8, about.ep), 128, 2), counts[0].sum(axis=1), past[0, 0]
    home, load = at_home(group), loads[0]
    laid = (home[:, None] == np.arange(group.ranks)).astype(np.int64)
    resident = by_eplb(home, laid, history, group)[0] > 0
    words = f"128 experts, {about.ep} GPUs, 2 slots"
    for name, run in (
        ("eplb", lambda: by_eplb(home, laid, history, group)),
        ("flexmoe", lambda: rivals.shadow(home, laid, history, group)),
        ("laer", lambda: by_laer(home, laid, history, group)),
        ("exchange", lambda: bases.exchange(home, loads, group)),
        ("replicate", lambda: quotas.replicate(home, load, group, True)),
        ("relocate", lambda: quotas.relocate(home, load, group)),
        ("flow", lambda: splits.by_flow(load, resident)),
        ("highs", lambda: splits.by_programme(load, resident)),
    ):
        yield Benchmark(f"planner: {name}", words, run, Work())
