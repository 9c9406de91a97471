"""The kernels that `simcore calibrate` measures: one recall of full size by each method, on the CPU."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from simcore import Benchmark, Work

from . import forms
from .fetch import Fetch
from .kernel import Rule

METHODS: tuple[forms.Method, ...] = ("events", "row_planes", "planes", "adds", "int8", "float32")
KEPT = 0.08
"""Share of the nodes that are active: a tenth, of which a fifth is destroyed (arXiv:2606.13328)."""


def benchmarks(tensor: Callable[..., Any], device: str, quick: bool) -> Iterator[Benchmark]:
    """Yield a recall by each method on weights made of what ``tensor(shape, dtype)`` gives; none on a GPU."""
    if device != "cpu":
        return
    nodes, outputs = (256, 128) if quick else (8192, 4096)
    weights = np.clip(np.rint(40 * np.asarray(tensor((nodes, outputs), "float32"))), -127, 127).astype(np.int8)
    drawn = np.asarray(tensor((nodes,), "float32"))
    code = np.where(np.abs(drawn) >= np.quantile(np.abs(drawn), 1 - KEPT), np.sign(drawn), 0).astype(np.int8)
    events = int(np.count_nonzero(code))
    for method in METHODS:
        rule = Rule()
        made, _ = forms.reading(method, events).run(code)
        adder, _ = forms.adding(method, rule, nodes, outputs, events, Fetch(), True)
        given = forms.code_of(method, code, made, forms.form(weights, method, rule))
        found, counted = adder.run(*given)
        # A processor states no throughput of votes and words; what bounds it is how fast weights come.
        work = Work({}, {"hbm": counted.bytes_read["weights"]}, {"hbm": found.nbytes}, launches=1)
        yield Benchmark(method, f"{nodes} x {outputs}, {events} events", partial(adder.run, *given), work)
