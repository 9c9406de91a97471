"""Figures of the model: what policies are worth by preset, who is faster than whom, what is left of it with rollout,
how even the loads are, what each part is worth, by which path weights come, how slow a planner may be, and where 1.45
is reached."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from simcore import Bar, BarPanel, CellPanel, Curve, CurvePanel, bars, cells, curves

Row = Mapping[str, Any]

HEADLINE = 1.45
"""Times faster on 64 GPUs: at most, by the abstract."""
CERTAIN = 0.975
"""Quantile at which a 95 % interval ends."""
LP = "EPLB, oracle, split by LP"
NAMES = {
    "static": "static",
    "eplb_previous": "EPLB, step before", "eplb_mean": "EPLB, mean of steps", "eplb_oracle": "EPLB, this step (oracle)",
    "eplb_lp": "EPLB, step before, split by LP", "eplb_oracle_lp": LP,
    "eplb_highs": "EPLB, step before, HiGHS every micro-step",
    "flexmoe": "FlexMoE-like", "laer": "LAER-like", "relibra": "ReLibra-like",
    "stale": "foresight, a micro-step late", "foremoe_base": "foresight, homes alone",
    "foremoe_adjust": "foresight, replicas alone", "foremoe_relocate": "foresight, relocation",
    "foremoe_node": "foresight, in the node", "foremoe": "foresight", "ideal": "ideal",
}  # fmt: skip
PRESETS = {
    "ep8_same_prompt": "EP8, one prompt", "ep16": "EP16", "ep32": "EP32", "ep64": "EP64",
    "ep32_same_prompt": "EP32, one prompt",
    "mild_ep8": "EP8, mild", "mild_ep16": "EP16, mild", "mild_ep32": "EP32, mild", "mild_ep64": "EP64, mild",
}  # fmt: skip
BINS = {
    "below_1_1": "below 1.1", "from_1_1": "1.1 to 1.3", "from_1_3": "1.3 to 1.5", "from_1_5": "1.5 to 2",
    "from_2": "2 and more",
}  # fmt: skip
FASTER = "times faster than static"
LAYERS, TRAINING = "recompute and update", "placement, recompute, update and reduction"
PARTS = ("eplb_oracle_lp", "foremoe_base", "foremoe_adjust", "foremoe_relocate", "stale", "foremoe_node", "foremoe")


def speedup(title: str, steps: Any, width: str) -> Any:
    """Return the figure of the speed-up over static homes, by preset and policy."""
    policies = [policy for policy in _values(steps.rows, "policy") if policy != "static"]
    panels = [_worth(steps.rows, policies, column, said) for column, said in
              (("layers_ms", LAYERS), ("train_ms", TRAINING))]  # fmt: skip
    said = "times faster than static; Qwen3-30B-A3B on 64 H800, no rollout; a line goes around 1.45 and more"
    return cells(
        panels, title=title, subtitle=said, label="times faster", digits=3, mark=HEADLINE, stacked=True, width=width
    )


def _worth(rows: Sequence[Row], policies: Iterable[str], column: str, title: str) -> CellPanel:
    """Return how many times faster than static ``policies`` are, the first on top, by preset."""
    presets = _values(rows, "preset")
    times = [
        [_one(rows, column, preset=preset, policy="static") / _one(rows, column, preset=preset, policy=policy)
         for preset in presets]
        for policy in policies
    ]  # fmt: skip
    names = [NAMES[policy] for policy in policies]
    return CellPanel(title, [PRESETS[preset] for preset in presets], names[::-1], times[::-1], "", "")


def order(title: str, presets: Any, mild: Any, width: str) -> Any:
    """Return the figure of differences between policies that should follow each other, with 95 % intervals."""
    panels = []
    for first, second in (
        ("eplb_previous", "static"),
        ("eplb_oracle", "eplb_previous"),
        ("foremoe", "eplb_oracle"),
        ("foremoe", "eplb_oracle_lp"),
        ("ideal", "foremoe"),
        ("ideal", "eplb_oracle_lp"),
    ):
        drawn = []
        for rows in (presets.rows, mild.rows):
            for preset in _values(rows, "preset"):
                sides = [
                    np.array([row["layers_ms"] for row in _chosen(rows, preset=preset, policy=policy)])
                    for policy in (first, second)
                ]
                mean, half = _interval(100 * (sides[0] - sides[1]) / sides[1].mean())
                note = f"{mean:+.1f} ± {half:.1f}" + (", a tie" if abs(mean) <= half else "")
                drawn.append(Bar(PRESETS[preset], 0, mean, half, note=note))
        panels.append(BarPanel(drawn, "% of the latter's time", f"{NAMES[first]} less {NAMES[second]}", base=0))
    said = f"{LAYERS}, one EP group; paired by seed, ten seeds, 95 % intervals; below zero: the first is faster"
    return bars(panels, title=title, subtitle=said, width=width)


def _interval(differences: Any) -> tuple[float, float]:
    """Return the mean of ``differences`` and half the 95 % interval around it, by Student's t."""
    from scipy.special import stdtrit

    count = len(differences)
    half = float(stdtrit(count - 1, CERTAIN)) * differences.std(ddof=1) / count**0.5
    return float(differences.mean()), float(half)


def rollout(title: str, steps: Any, large: Any, width: str) -> Any:
    """Return the figure of the speed-up of whole steps over the share that rollout has of the static one."""
    shares = [each / 100 for each in range(0, 65, 5)]
    panels = []
    for shape, rows in (("Qwen3-30B-A3B", steps.rows), ("Qwen3-235B-A22B", large.rows)):
        for base in ("static", "eplb_oracle_lp"):
            lines = []
            for preset in _values(rows, "preset"):
                took = {row["policy"]: row["train_ms"] for row in _chosen(rows, preset=preset)}
                # Rollout is the same with all, so that it and the training of the static step make a whole.
                slow, fast = (took[policy] / took["static"] for policy in (base, "foremoe"))
                times = [(r + (1 - r) * slow) / (r + (1 - r) * fast) for r in shares]
                lines.append(Curve(PRESETS[preset], [100 * r for r in shares], times))
            panels.append(
                CurvePanel(
                    curves=lines, x_label="share of rollout in a static step (%)", y_label="times faster",
                    title=f"foresight over {NAMES[base]}, {shape}", lines=[("paper, at most: 1.45", HEADLINE, 0)],
                    height=260,
                )
            )  # fmt: skip
    return curves(panels, title=title, subtitle=f"64 H800; {TRAINING}; rollout itself is untouched", width=width)


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
        panels.append(BarPanel(drawn, "share of layers and micro-steps (%)", PRESETS[preset]))
    said = "largest load of a rank over the mean"
    return bars(panels, title=title, subtitle=said, width=width)


def ablation(
    title: str, steps: Any, slots: Any, sizes: Any, lengths: Any, pcie: Any, unmoved: Any, width: str
) -> Any:  # fmt: skip
    """Return the figure of what is left without a part, with fewer slots, smaller micro-steps, shorter steps and slower
    PCIe."""
    both = ("foremoe", "eplb_oracle_lp")
    panels = [_worth(steps.rows, PARTS, "layers_ms", "parts; 64 GPUs")]
    counts = _values(slots.rows, "slots")
    panels.append(_grid(
        slots.rows, "slots", counts,
        {f"{NAMES[policy]}; {PRESETS[preset]}": {"preset": preset, "policy": policy}
         for preset in _values(slots.rows, "preset") for policy in both},
        "experts that a GPU holds beside its own; one EP group", "",
    ))  # fmt: skip
    panels.append(_grid(
        sizes.rows, "tokens", _values(sizes.rows, "tokens"),
        {f"{NAMES[policy]}; {'one prompt' if same else 'any prompts'}": {"same_prompt": same, "policy": policy}
         for same in (True, False) for policy in both},
        "size of micro-steps; one EP group of 32", "tokens a GPU",
    ))  # fmt: skip
    panels.append(_grid(
        lengths.rows, "micro", _values(lengths.rows, "micro"), {NAMES[policy]: {"policy": policy} for policy in both},
        "length of the step; one EP group of 32", "micro-steps",
    ))  # fmt: skip
    still = {row["policy"]: row["layers_ms"] for row in unmoved.rows}
    speeds = _values(pcie.rows, "gb_s")
    lines = {
        "foresight, weights from hosts": [_one(pcie.rows, "layers_ms", path="cpu", gb_s=each) for each in speeds],
        "foresight, both paths": [_one(pcie.rows, "layers_ms", path="dual", gb_s=each) for each in speeds],
        LP: [still["eplb_oracle_lp"]] * len(speeds),
    }
    times = [[still["static"] / took for took in line] for line in lines.values()]
    panels.append(CellPanel(
        "PCIe; 64 GPUs, EP32, one prompt, Qwen3-235B-A22B, 2,048 tokens a GPU", [f"{each} GB/s" for each in speeds],
        list(lines)[::-1], times[::-1], "", "",
    ))  # fmt: skip
    said = f"{FASTER}; {LAYERS}; Qwen3-30B-A3B on H800 where not said otherwise; a line goes around 1.45 and more"
    return cells(
        panels, title=title, subtitle=said, label="times faster", digits=3, mark=HEADLINE, stacked=True, width=width
    )


def _grid(
    rows: Sequence[Row], column: str, across: Sequence[Any], lines: Mapping[str, Mapping[str, Any]], title: str,
    x_label: str,
) -> CellPanel:  # fmt: skip
    """Return how many times faster than static the rows are that each of ``lines`` chooses, by ``column``."""
    times = [
        [
            _one(rows, "layers_ms", **{**where, "policy": "static", column: each})
            / _one(rows, "layers_ms", **{**where, column: each})
            for each in across
        ]
        for where in lines.values()
    ]
    return CellPanel(title, [f"{each:,}" for each in across], list(lines)[::-1], times[::-1], x_label, "")


def paths(title: str, paths: Any, unmoved: Any, width: str) -> Any:
    """Return the figure of the path ablation: waits for weights and time of the layers, with fan-out and without."""
    kinds = {"dual": "both", "cpu": "hosts alone", "gpu": "GPUs alone", "split": "hosts, then GPUs"}
    panels = []
    for label, column, scale, digits in (
        ("waits for weights, share of recompute and update (%)", "exposed", 100, 1),
        ("recompute and update (ms)", "layers_ms", 1, 0),
    ):
        drawn = [
            Bar(kinds[row["path"]], 0, scale * row[column], series=series, note=f"{scale * row[column]:,.{digits}f}")
            for row in paths.rows
            for series in ["one home for all copies" if row["fan_out"] else "a source of its own for each copy"]
        ]
        panels.append(BarPanel(drawn, label))
    still = "; ".join(f"{NAMES[row['policy']]}: {row['layers_ms']:,.0f} ms" for row in unmoved.rows)
    said = f"Qwen3-235B-A22B, EP32, four sequences of one prompt; {still}"
    return bars(panels, title=title, subtitle=said, width=width)


def lateness(title: str, lateness: Any, width: str) -> Any:
    """Return the figure of what slow planners cost: speed-up over static, and waits for plans."""
    static = {row["slower"]: row["train_ms"] for row in _chosen(lateness.rows, policy="static")}
    policies = ("foremoe", "eplb_oracle_lp", "eplb_highs")
    found = {NAMES[policy]: _chosen(lateness.rows, policy=policy) for policy in policies}
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
            curves=faster, x_label=across, y_label=FASTER, log="x", from_zero=True, height=300,
            lines=[("as fast as static", 1, 0)],
        ),
        CurvePanel(curves=waits, x_label=across, y_label="waits of layers for plans (ms)", log="x", height=260),
    ]  # fmt: skip
    return curves(panels, title=title, subtitle=f"EP64, two threads a node; {TRAINING}", width=width)


def map(title: str, map: Any, width: str) -> Any:
    """Return the map of where 1.45 is reached: speed-up over others, by size of EP groups and how far prompts
    differ."""
    sizes, bursts = _values(map.rows, "ep"), _values(map.rows, "burst")
    panels = [
        CellPanel(
            f"over {NAMES[policy]}", [f"{burst:g}" for burst in bursts], [f"EP{ep}" for ep in sizes],
            [[_one(map.rows, "layers_ms", ep=ep, burst=burst, policy=policy)
              / _one(map.rows, "layers_ms", ep=ep, burst=burst, policy="foremoe") for burst in bursts]
             for ep in sizes],
            "how far prompts differ (sigma)", "",
        )
        for policy in ("static", "eplb_previous", "eplb_oracle_lp")
    ]  # fmt: skip
    said = (
        f"foresight, {LAYERS}; sigma of log-weights with which prompts prefer experts; two sequences for eight GPUs, "
        "Qwen3-30B-A3B, one EP group of H800; a line goes around 1.45 and more"
    )
    return cells(panels, title=title, subtitle=said, label="times faster", digits=3, mark=HEADLINE, width=width)


def _chosen(rows: Iterable[Row], **where: Any) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def _one(rows: Iterable[Row], column: str, **where: Any) -> float:
    (row,) = _chosen(rows, **where)
    return float(row[column])


def _values(rows: Iterable[Row], column: str) -> list[Any]:
    return list(dict.fromkeys(row[column] for row in rows))
