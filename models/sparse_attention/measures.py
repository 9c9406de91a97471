"""What the claims want to know of a run beside its metrics: operations as the paper counts them, a sum of stages."""

from functools import lru_cache

import numpy as np

from simcore import Result

from . import kernel
from .program import Params


def formula(result: Result) -> int:
    """Return the operations of a whole prompt in one layer as the paper states them, which is not as they are counted:
    half of all pairs, and as many kept blocks for the first query as for the last; its equations 1 and 12."""
    params: Params = result.scenario.workloads[0].params
    shape, tokens = params.shape, params.tokens
    if params.attention == "dense":
        return 2 * shape.query_heads * shape.width * tokens**2
    kept = 4 * shape.query_heads * shape.width * tokens * shape.keep * shape.block
    return shape.heads * shape.index_width * tokens**2 + kept


def attention_ms(result: Result) -> float:
    """Return the time of the kept blocks in prefill: reverse index, attention to them and combination, ms."""
    found = result.metrics["jobs"]["sparse_attention"]["attention"]
    return float(sum(found[f"{name}_ps"] for name in ("lists", "blocks", "combine"))) / 1e9


def kept(result: Result) -> float:
    """Return how many blocks a token keeps, mean, where the index branch chooses among random keys."""
    found = _chosen(result)
    return found.kept / found.rows


def fresh(result: Result) -> float:
    """Return the share of its blocks that a token keeps and the one before it did not, of the same choice."""
    found = _chosen(result)
    return 1 - found.common / found.followed


def hottest(result: Result) -> int:
    """Return the longest list of queries of a block, of the same choice."""
    return _chosen(result).hottest


def _chosen(result: Result) -> kernel.Statistics:
    return _statistics(result.scenario.workloads[0].params, result.scenario.seed)


@lru_cache
def _statistics(params: Params, seed: int) -> kernel.Statistics:
    """Let the reference kernels of index and choice run on a whole prompt of random tensors of float32."""
    shape, tokens, draw = params.shape, params.tokens, np.random.default_rng(seed)
    queries = draw.standard_normal((tokens, shape.heads, shape.index_width), np.float32)
    scores, _ = kernel.score_blocks(queries, draw.standard_normal((tokens, shape.index_width), np.float32), shape.block)
    return kernel.statistics(kernel.choose_blocks(scores, tokens, shape.block, shape.keep)[0])
