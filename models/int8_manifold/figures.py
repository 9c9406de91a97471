"""Figures of the paper that are no lines over one axis: damage as colours, energy by where it goes, ways to share."""

import math
from collections.abc import Mapping
from typing import Any

from simcore import Bar, BarPanel, CellPanel, Curve, CurvePanel, bars, cells, curves

Row = Mapping[str, Any]
PARTS = {"weights_uj": "weights from memory", "chip_uj": "memory on the chip", "arithmetic_uj": "arithmetic",
         "idle_uj": "awake and asleep"}  # fmt: skip
PERIOD_MS = 100
"""From one input to the next, in the experiments shown here."""
METHODS = {
    "float32": "multiply float32", "float16": "multiply float16", "int8": "multiply int8", "adds": "add all signs",
    "binary": "one bit, all", "planes": "count bit-planes", "events": "add events, int8 rows",
    "row_planes": "add events, bit-planes",
}  # fmt: skip


def damage(title: str, pairs: Any, frame: Any, width: str) -> Any:
    """Return the figure of the cosine as colour over truncation and destruction, for both readings."""
    panels = [
        _cells(found.rows, name)
        for name, found in (("20 stored pairs, votes", pairs), ("frame of 128 inputs, ternary", frame))
    ]
    return cells(panels, title=title, label="cosine", digits=2, width=width, subtitle="8192 nodes; seed 0")


def _cells(rows: list[Row], title: str) -> CellPanel:
    x, y = (list(dict.fromkeys(row[key] for row in rows)) for key in ("truncated", "destroyed"))
    at = {(row["truncated"], row["destroyed"]): row["cosine"] for row in rows}
    return CellPanel(
        title, [_percent(each) for each in x], [_percent(each) for each in y], [[at[a, b] for a in x] for b in y],
        "truncated (%)", "destroyed (%)",
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:g}"


def faults(title: str, flipped: Any, stuck: Any, width: str) -> Any:
    """Return the figure of the cosine over the share of faulty weights, by fault."""
    found = {"one bit flipped": flipped.rows}
    for value in dict.fromkeys(row["at"] for row in stuck.rows):
        found[f"stuck at {value}"] = [row for row in stuck.rows if row["at"] == value]
    lines = [
        Curve(name, [100 * row["share"] for row in rows], [row["cosine"] for row in rows])
        for name, rows in found.items()
    ]
    panel = CurvePanel(curves=lines, x_label="faulty weights (%)", y_label="cosine on living nodes", height=340)
    subtitle = "20 stored pairs, 90 % truncated, 20 % destroyed"
    return curves([panel], title=title, subtitle=subtitle, width=width)


def capacity(title: str, found: Any, width: str) -> Any:
    """Return the figure of the cosine over stored pairs, both directions, living nodes and all nodes."""
    lines = []
    for column, whom in (("cosine", "living nodes"), ("cosine_all", "all nodes")):
        for way, name in (("forward", "spatial to structural"), ("backward", "structural to spatial")):
            rows = [row for row in found.rows if row["direction"] == way]
            x = list(dict.fromkeys(row["pairs"] for row in rows))
            y = [_mean([row[column] for row in rows if row["pairs"] == each]) for each in x]
            lines.append(Curve(f"{name}, {whom}", x, y))
    panel = CurvePanel(
        curves=lines, x_label="stored pairs", y_label="cosine, mean of 5 seeds", log="x", height=420,
        lines=[("near perfect: 0.99", 0.99, 0), ("dead nodes counted: sqrt(0.8)", 0.8**0.5, 0)],
    )  # fmt: skip
    return curves([panel], title=title, subtitle="random signs, noise uniform on -1, 0, 1", width=width)


def energy(title: str, methods: Any, platforms: Any, one_bit: Any, width: str) -> Any:
    """Return the figure of the energy of a recall by parts: by method on one device, beside it what a network of one
    bit still recalls; and by device as shares."""
    cosine = next(row["cosine"] for row in one_bit.rows if row["method"] == "binary")
    notes = {"binary": f"cosine {cosine:.2f}, the others 1"}
    at = {row["method"]: row for row in methods.rows if row["level"] == "dram"}
    panels = [
        BarPanel(
            [bar for key, name in METHODS.items() for bar in _stack(name, at[key], 1.0, notes.get(key, ""))],
            "energy of a recall (uJ)",
            "by method, weights in DRAM, energies of 45 nm", stacked=True,
        )
    ]  # fmt: skip
    for method, name in (("int8", "multiplying all weights"), ("events", "adding events")):
        rows = [row for row in platforms.rows if row["method"] == method]
        shown = [bar for row in rows for bar in _stack(row["node"], row, 100 / row["energy_uj"], _said(row))]
        panels.append(BarPanel(shown, "share of the energy of a recall (%)", f"by device, {name}", stacked=True))
    return bars(
        panels,
        title=title,
        subtitle="8192 x 4096, one recall every 100 ms; too late: after the next input",
        width=width,
    )


def _stack(label: str, row: Row, scale: float, note: str) -> list[Bar]:
    """Return the bars of the parts of a row, one after another, the note behind the last."""
    found, begin = [], 0.0
    for place, (key, name) in enumerate(PARTS.items()):
        end = begin + scale * row[key]
        found.append(Bar(label, begin, end, series=name, note=note if place == len(PARTS) - 1 else ""))
        begin = end
    return found


def _said(row: Row) -> str:
    late = "" if row["latest_ms"] <= PERIOD_MS else ": too late"
    return f"{row['energy_uj'] / 1000:.2g} mJ, {float(format(row['latency_ms'], '.2g')):,.10g} ms{late}"


def sharing(title: str, found: Any, width: str) -> Any:
    """Return the figure of what an answer takes and costs by link and by who sends what."""
    links = list(dict.fromkeys(row["node"] for row in found.rows))
    ways = list(dict.fromkeys(row["how"] for row in found.rows))
    at = {(row["node"], row["how"]): row for row in found.rows}
    panels = [
        CellPanel(
            name, [link.removeprefix("sensors-") for link in links], ways,
            [[_shown(at[link, way], column) * scale for link in links] for way in ways], "link", "",
        )
        for name, column, scale in (
            ("energy of the sensors' batteries (mJ)", "energy_uj", 1e-3),
            ("time to the answer (ms)", "latency_ms", 1.0),
            ("until the first battery is empty (days)", "life_h", 1 / 24),
        )
    ]  # fmt: skip
    subtitle = (
        "four Cortex-M7 with a quarter of the input each, 10 answers a second, 655 events an answer; "
        "no life where answers come after the next input; "
        f"a server spends {max(row['server_uj'] for row in found.rows) / 1000:.2g} mJ an answer on top"
    )
    return cells(
        panels,
        title=title,
        label="mJ, ms or days, logarithmic",
        digits=2,
        log=True,
        stacked=True,
        subtitle=subtitle,
        width=width,
    )


def _shown(row: Row, column: str) -> float:
    """Return a number of ``row``; none for the life of a battery whose device does not keep up with its inputs."""
    return math.nan if column == "life_h" and row["latest_ms"] > PERIOD_MS else row[column]


def prices(title: str, found: Any, width: str) -> Any:
    """Return the figure of the energy of an answer over the price of a byte on the link."""
    ways = list(dict.fromkeys(row["how"] for row in found.rows))
    lines = []
    for way in ways:
        rows = [row for row in found.rows if row["how"] == way]
        lines.append(Curve(way, [row["price_nj"] for row in rows], [row["energy_uj"] / 1000 for row in rows]))
    x, server = list(dict.fromkeys(row["price_nj"] for row in found.rows)), max(row["server_uj"] for row in found.rows)
    lines.append(Curve("what the server spends on top", x, [server / 1000] * len(x)))
    panel = CurvePanel(
        curves=lines,
        x_label="energy of a byte on the link (nJ)",
        y_label="energy of the sensor's battery, an answer (mJ)",
        log="xy",
        height=380,
    )
    subtitle = "one Cortex-M7, weights in DRAM: 1.3 kB of events, 8.2 kB of values, 1 kB of answer"
    return curves([panel], title=title, subtitle=subtitle, width=width)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
