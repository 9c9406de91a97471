"""The tables that a step leaves, and what is reckoned from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simcore import Column, Metric

STAGES = ("rollout", "refresh", "placement", "recompute", "update", "reduction")

TABLES: Mapping[str, tuple[Column, ...]] = {
    "layers": (
        Column("location", "string", "first rank of the EP group"),
        Column("group", "int32", "number of the EP group"),
        Column("stage", "string", "recompute or update"),
        Column("kind", "string", "forward, or backward: once more forward, then back"),
        Column("micro", "int32", "micro-step"),
        Column("layer", "int32", "layer"),
        Column("begin_ps", "int64", "when the layer before had ended, ps since the job's start"),
        Column("plan_ps", "int64", "wait for the plan"),
        Column("weights_ps", "int64", "wait for the weights of replicas: exposed transfer"),
        Column("attention_ps", "int64", "attention and its projections"),
        Column("tensor_ps", "int64", "exchange of tensor parallelism"),
        Column("dispatch_ps", "int64", "tokens to their experts"),
        Column("experts_ps", "int64", "experts of the rank that takes longest"),
        Column("combine_ps", "int64", "tokens back"),
        Column("end_ps", "int64", "end of the layer, ps since the job's start"),
        Column("ranks", "int32", "ranks of the group"),
        Column("nodes", "int32", "nodes that it lies on"),
        Column("tokens", "int64", "routed tokens that the group serves"),
        Column("most", "int64", "those of the rank with most"),
        Column("node_most", "int64", "those of the node with most"),
        Column("from_hosts", "int32", "weights that came from hosts"),
        Column("from_near", "int32", "weights that came from GPUs of the node"),
        Column("from_far", "int32", "weights that came from GPUs of other nodes"),
        Column("gradients", "int32", "gradients of replicas that went home"),
        Column("dropped", "int32", "replicas done without, as weights or gradients would come too late"),
    ),
    "stages": (
        Column("location", "string", "first rank of the EP group"),
        Column("group", "int32", "number of the EP group"),
        Column("stage", "string", ", ".join(STAGES)),
        Column("begin_ps", "int64", "its begin, ps since the job's start"),
        Column("end_ps", "int64", "its end, ps since the job's start"),
    ),
    "planner": (
        Column("location", "string", "first rank of the EP group"),
        Column("group", "int32", "number of the EP group"),
        Column("jobs", "int64", "plans"),
        Column("cpu_ps", "int64", "CPU time of all of them"),
        Column("longest_ps", "int64", "of the longest"),
        Column("end_ps", "int64", "when the last was there, ps since the job's start"),
    ),
}

_WAITS = "sum of layers.{}, mean of EP groups"
METRICS: Sequence[Metric] = (
    *(Metric(f"step.{name}_ps", "ps", f"time of the stage {name}", "sum of end_ps - begin_ps, longest EP group")
      for name in STAGES),
    Metric("step.train_ps", "ps", "placement, recompute, update, reduction of gradients, and what hosts get between "
        "mini-batches; not the wait for what they get during the rollout",
        "last end of a stage - first begin of placement or recompute"),
    Metric("exposed.recompute_ps", "ps", "waits for weights of replicas in recompute", _WAITS.format("weights_ps")),
    Metric("exposed.forward_ps", "ps", "the same on the way there in the update", _WAITS.format("weights_ps")),
    Metric("exposed.backward_ps", "ps", "the same on the way back", _WAITS.format("weights_ps")),
    Metric("exposed.plan_ps", "ps", "waits for plans", _WAITS.format("plan_ps")),
    Metric("exposed.share", "1", "waits for weights as a share of recompute and update"),
    Metric("imbalance.mean", "1", "largest load of a rank over the mean, mean over layers, micro-steps and EP groups"),
    Metric("imbalance.p95", "1", "the same, 95th percentile"),
    Metric("imbalance.max", "1", "the same, greatest"),
    Metric("imbalance.node_mean", "1", "the same of nodes, mean"),
    Metric("transfers.hosts", "messages", "weights that came from hosts"),
    Metric("transfers.near", "messages", "weights that came from GPUs of the node"),
    Metric("transfers.far", "messages", "weights that came from GPUs of other nodes"),
    Metric("transfers.gradients", "messages", "gradients of replicas that went home"),
    Metric("transfers.dropped", "replicas", "done without, in recompute and in the update", "sum of layers.dropped of "
        "forward rows"),
    Metric("planner.jobs", "plans", "plans of all EP groups"),
    Metric("planner.cpu_ps", "ps", "CPU time of all of them"),
    Metric("planner.longest_ps", "ps", "of the longest"),
    Metric("planner.late", "plans", "plans that were waited for"),
    Metric("planner.latest_ps", "ps", "the longest wait for one"),
)  # fmt: skip

HEADLINES = (
    "step.train_ps", "step.recompute_ps", "step.update_ps", "step.placement_ps", "imbalance.mean", "exposed.share",
    "exposed.plan_ps",
)  # fmt: skip
"""What a run prints of them."""


def summarise(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return `METRICS`."""
    layers, stages, planner = tables["layers"], tables["stages"], tables["planner"]
    groups = int(stages["group"].max()) + 1
    took = stages["end_ps"] - stages["begin_ps"]

    def longest(name: str) -> int:
        mine = stages["stage"] == name
        return int(np.bincount(stages["group"][mine], took[mine].astype(np.float64), groups).max())

    training = np.isin(stages["stage"], STAGES[2:])
    train = int(stages["end_ps"][training].max() - stages["begin_ps"][training].min())
    forward = layers["kind"] == "forward"
    recompute = layers["stage"] == "recompute"
    waits = layers["weights_ps"]
    exposed = {
        "recompute_ps": int(waits[recompute].sum()) // groups,
        "forward_ps": int(waits[forward & ~recompute].sum()) // groups,
        "backward_ps": int(waits[~forward].sum()) // groups,
        "plan_ps": int(layers["plan_ps"].sum()) // groups,
    }
    computing = int((layers["end_ps"] - layers["begin_ps"]).sum())
    return {
        "step": {**{f"{name}_ps": longest(name) for name in STAGES}, "train_ps": train},
        "exposed": {**exposed, "share": int(waits.sum()) / computing if computing else 0.0},
        "imbalance": _uneven(layers),
        "transfers": {
            **{name: int(layers[f"from_{name}"].sum()) for name in ("hosts", "near", "far")},
            "gradients": int(layers["gradients"].sum()),
            "dropped": int(layers["dropped"][forward].sum()),
        },
        "planner": {
            "jobs": int(planner["jobs"].sum()),
            "cpu_ps": int(planner["cpu_ps"].sum()),
            "longest_ps": int(planner["longest_ps"].max(initial=0)),
            "late": int((layers["plan_ps"] > 0).sum()),
            "latest_ps": int(layers["plan_ps"].max(initial=0)),
        },
    }


def _uneven(layers: Mapping[str, Any]) -> dict[str, float]:
    """Return how uneven the loads were of every layer and micro-step, each once."""
    once = layers["stage"] == "recompute"
    ranks, nodes = (layers[name][once] / np.maximum(layers["tokens"][once], 1) for name in ("most", "node_most"))
    ranks, nodes = ranks * layers["ranks"][once], nodes * layers["nodes"][once]
    return {
        "mean": float(ranks.mean()),
        "p95": float(np.quantile(ranks, 0.95, method="inverted_cdf")),
        "max": float(ranks.max()),
        "node_mean": float(nodes.mean()),
    }
