"""Figures of the model: what foresight is worth by preset and share of rollout, how even the loads are, by which path
weights come, how slow a planner may be, and where 1.45 is reached."""

from collections.abc import Iterable, Mapping
from typing import Any

from simcore import Bar, BarPanel, Curve, CurvePanel, bars, curves

Row = Mapping[str, Any]

HEADLINE = 1.45
"""Times faster on 64 GPUs: at most, by the abstract."""
NAMES = {
    "static": "static", "eplb_previous": "EPLB, step before",
    "eplb_oracle": "EPLB, this step (oracle)",
    "eplb_lp": "EPLB, step before, split by LP", "eplb_oracle_lp": "EPLB, oracle, split by LP",
    "flexmoe": "FlexMoE-like", "laer": "LAER-like", "relibra": "ReLibra-like", "stale": "micro-step before",
    "foremoe_relocate": "relocation alone",
    "foremoe_node": "foresight, in the node", "foremoe": "foresight", "ideal": "ideal",
}  # fmt: skip
BINS = {
    "below_1_1": "below 1.1", "from_1_1": "1.1 to 1.3", "from_1_3": "1.3 to 1.5", "from_1_5": "1.5 to 2",
    "from_2": "2 and more",
}  # fmt: skip


def speedup(title: str, steps: Any, width: str) -> Any:
    """Return the figure of the speed-up over static homes, by preset and policy."""
    panels = []
    for preset in _values(steps.rows, "preset"):
        rows = {row["policy"]: row["train_ms"] for row in _chosen(steps.rows, preset=preset)}
        found = {policy: rows["static"] / took for policy, took in rows.items() if policy != "static"}
        drawn = [Bar(NAMES[policy], 1, each, note=f"{each:.2f}") for policy, each in found.items()]
        panels.append(BarPanel(drawn, "times faster than static", preset, base=1))
    said = "placement, recompute, update and reduction; Qwen3-30B-A3B on 64 H800, no rollout"
    return bars(panels, title=title, subtitle=said, width=width)


def rollout(title: str, steps: Any, large: Any, width: str) -> Any:
    """Return the figure of the speed-up of whole steps over the share that rollout has of the static one."""
    shares = [each / 100 for each in range(0, 65, 5)]
    panels = []
    for shape, rows in (("Qwen3-30B-A3B", steps.rows), ("Qwen3-235B-A22B", large.rows)):
        lines = []
        for preset in _values(rows, "preset"):
            took = {row["policy"]: row["train_ms"] for row in _chosen(rows, preset=preset)}
            # Rollout is the same with either, so that it and the training of the static step make a whole.
            left = took["foremoe"] / took["static"]
            lines.append(Curve(preset, [100 * r for r in shares], [1 / (r + (1 - r) * left) for r in shares]))
        panels.append(
            CurvePanel(
                curves=lines, x_label="share of rollout in a static step (%)", y_label="times faster than static",
                title=f"foresight, {shape}", lines=[("paper, at most: 1.45", HEADLINE, 0)], height=340,
            )
        )  # fmt: skip
    return curves(panels, title=title, subtitle="64 H800; rollout itself is untouched", width=width)


def imbalance(title: str, steps: Any, width: str) -> Any:
    """Return the histograms of the largest load of a rank over the mean, by preset and policy."""
    policies = ["static", "eplb_previous", "eplb_oracle_lp", "foremoe"]
    panels = []
    for preset in _values(steps.rows, "preset"):
        drawn = [
            Bar(name, 0, 100 * row[column], series=NAMES[policy])
            for column, name in BINS.items()
            for policy in policies
            for row in _chosen(steps.rows, preset=preset, policy=policy)
        ]
        panels.append(BarPanel(drawn, f"{preset}: share of layers and micro-steps (%)"))
    said = "largest load of a rank over the mean"
    return bars(panels, title=title, subtitle=said, width=width)


def paths(title: str, paths: Any, width: str) -> Any:
    """Return the figure of the path ablation: waits for weights and time of the layers, with fan-out and without."""
    kinds = {"dual": "dual", "cpu": "hosts alone", "gpu": "GPUs alone", "split": "hosts, then GPUs"}
    panels = []
    for label, column, scale in (
        ("waits for weights, share of recompute and update (%)", "exposed", 100),
        ("recompute and update (ms)", "layers_ms", 1),
    ):
        drawn = [
            Bar(kinds[row["path"]], 0, scale * row[column], series=series, note=f"{scale * row[column]:.3g}")
            for row in paths.rows
            for series in ["one home for all copies" if row["fan_out"] else "a source of its own for each copy"]
        ]
        panels.append(BarPanel(drawn, label))
    return bars(panels, title=title, subtitle="Qwen3-235B-A22B, EP32, four sequences of one prompt", width=width)


def lateness(title: str, lateness: Any, width: str) -> Any:
    """Return the figure of what slow planners cost: speed-up over static, and waits for plans."""
    static = {row["slower"]: row["train_ms"] for row in _chosen(lateness.rows, policy="static")}
    names = {"foremoe": "foresight", "eplb_highs": "EPLB, step before, HiGHS every micro-step"}
    found = {name: _chosen(lateness.rows, policy=policy) for policy, name in names.items()}
    faster = [
        Curve(name, [row["slower"] for row in rows], [static[row["slower"]] / row["train_ms"] for row in rows])
        for name, rows in found.items()
    ]
    waits = [
        Curve(name, [row["slower"] for row in rows], [row["late_ms"] for row in rows]) for name, rows in found.items()
    ]
    across = "planner slower than measured (times)"
    panels = [
        CurvePanel(
            curves=faster, x_label=across, y_label="times faster than static", log="x", from_zero=True, height=300,
            lines=[("as fast as static", 1, 0)],
        ),
        CurvePanel(curves=waits, x_label=across, y_label="waits of layers for plans (ms)", log="x", height=260),
    ]  # fmt: skip
    return curves(panels, title=title, subtitle="EP64, two threads a node", width=width)


def map(title: str, map: Any, width: str) -> Any:
    """Return the figure of where 1.45 is reached: speed-up over how far prompts differ, by size of the EP groups."""
    over: dict[str, list[Curve]] = {"static": [], "eplb_previous": []}
    for ep in _values(map.rows, "ep"):
        took = {policy: _chosen(map.rows, ep=ep, policy=policy) for policy in (*over, "foremoe")}
        for policy, lines in over.items():
            pairs = zip(took[policy], took["foremoe"], strict=True)
            times = [slow["layers_ms"] / fast["layers_ms"] for slow, fast in pairs]
            lines.append(Curve(f"EP{ep}", [row["burst"] for row in took[policy]], times))
    panels = [
        CurvePanel(
            curves=lines, x_label="how far prompts differ in the experts they prefer (sigma of log-weights)",
            y_label="times faster", title=f"foresight over {NAMES[policy]}", height=320, from_zero=False,
            lines=[("paper, at most: 1.45", HEADLINE, 0)],
        )
        for policy, lines in over.items()
    ]  # fmt: skip
    return curves(panels, title=title, subtitle="two sequences for eight GPUs; 64 H800, Qwen3-30B-A3B", width=width)


def _chosen(rows: Iterable[Row], **where: Any) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def _values(rows: Iterable[Row], column: str) -> list[Any]:
    return list(dict.fromkeys(row[column] for row in rows))
