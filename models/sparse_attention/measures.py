"""What the claims want to know of a run beside its metrics: operations as the paper counts them, a sum of stages."""

from simcore import Result

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
