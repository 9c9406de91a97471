"""Figures of the paper that need more than a table of points."""

from typing import Any

import numpy as np

from simcore import Curve, CurvePanel, curves


def variability(title: str, late: Any, real: Any, width: str) -> Any:
    """Return the figure of when the work-groups of the target end, sorted, for each profile of ``late``, above that of
    when the whole kernel ends, for each operation of ``real``."""
    spans = late.tables["spans"].to_pandas()
    spans = spans[spans["location"].str.contains(".", regex=False)]
    of_groups = []
    for profile in dict.fromkeys(spans["profile"]):
        mine = spans[spans["profile"] == profile]
        ends = np.sort(mine.groupby("location", observed=True)["t1_ps"].max().to_numpy()) / 1e6
        of_groups.append(Curve(profile, (100 * np.arange(1, len(ends) + 1) / len(ends)).tolist(), ends.tolist()))
    of_operations = Curve(
        "starts as recorded", [row["operation"] for row in real.rows], [row["makespan_ms"] for row in real.rows]
    )
    panels = [
        CurvePanel(
            curves=of_groups, x_label="work-groups that have ended (%)", y_label="simulated time (us)", drawn="steps",
            title="when work-groups end", from_zero=True,
        ),
        CurvePanel(
            curves=[of_operations], x_label="all-reduce of the recorded training", y_label="simulated time (ms)",
            title="when the kernel ends, its peers as late as those of a recorded training", from_zero=True, height=260,
            drawn="points",
        ),
    ]  # fmt: skip
    subtitle = "under constant wake-ups all work-groups end at one instant"
    return curves(panels, title=title, subtitle=subtitle, width=width)
