"""The page of errors, its figure, and the fitted values as data."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcore import fit, source
from simcore.units import SIZE, short
from simcore.validation import BOUNDS, FLAGS, MIB, Evaluated, Score, error, geometric, rows, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TARGET = 0.05
"""What forced Ring on H100 shall stay within, at 16 MiB and more, on a GPU count that the fit did not see."""
PEER = "9.7 to 20.6 %"
"""Geometric mean errors that ASTRA-sim's documentation states for HGX H100."""
PANELS = (
    ("HGX H100", "all_reduce", "ring", "Ring, forced"),
    ("HGX H100", "all_reduce", "nvls", "auto, NVLS"),
    ("HGX H100", "all_gather", "ring", "auto"),
    ("HGX H100", "alltoall", "direct", "auto"),
    ("DGX A100", "all_reduce", "ring", "auto"),
    ("MI300X x 8, mesh", "all_reduce", "ring", "auto"),
)
"""Studies that the figure shows, a panel each."""

HEAD = """# Simulated against measured

Written by `simcore calibrate`; a test writes it anew from `traces/hardware/` and compares. Nothing here is edited
by hand.

A machine is fitted on some sizes and GPU counts and scored on others that the fit did not see. What is scored is a
simulation: every rank launches, then simcore's own schedule of the collective is played over a switch with fair shares
(`simcore.fit.simulated`).

    time = launch + steps x latency + x + 2 sqrt(fill x)        x = bytes that a GPU sends / bandwidth

- *launch*, *bandwidth* and *fill* are fitted for each machine, collective and algorithm, on every other power of two
  (4^k bytes), by least squares on the logarithm of time with outliers damped (soft L1).
- *latency*, one step's, is the machine's: fitted once on its all-reduces of at most 4 KiB, whose bytes cost next to
  nothing, without the GPU count that is scored. Where no small messages of several counts exist it is the one that the
  hardware sheet assumes.
- *fill* is one time constant. Without it time is a straight line in size, which measured curves are not: a message that
  is cut into the best number of chunks fills its pipeline in a time that grows as the square root of its size. The last
  table shows what it brings.
- *ring*: 2(n-1) steps for an all-reduce, n-1 for an all-gather or a reduce-scatter; *direct*: one step to all peers at
  once; *nvls*: the switch reduces, in n chunks, so that a GPU sends 1 + 1/n of the size.

*error* = exp(mean |ln(simulated/measured)|) - 1; *geometric* is the geometric mean of
|simulated - measured| / measured. *Spread* is how far independent real systems lie apart at the same sizes: the
geometric mean of slowest / fastest, minus one; nobody can be asked to come nearer than the machines do to each other. A
dash: no rows, or no second system. Rows flagged {flags}
are left out; in-place times and CUDA graphs are not used; launch modes are never mixed.
"""


def page(studies: Sequence[Evaluated]) -> str:
    """Return the whole page in Markdown."""
    flags = ", ".join(FLAGS[:-1]) + " or " + FLAGS[-1]
    parts = [HEAD.format(flags=flags), _headline(studies), _unseen_counts(studies), _unseen_sizes(studies)]
    parts += [_parameters(studies), _left_out(), _sources(studies)]
    return "\n".join(parts)


def _table(heading: Sequence[str], lines: Sequence[Sequence[str]], words: int) -> str:
    """Return a Markdown table whose first ``words`` columns are text."""
    rule = ["---"] * words + ["---:"] * (len(heading) - words)
    return "\n".join("| " + " | ".join(line) + " |" for line in (heading, rule, *lines)) + "\n"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _errors(score: Score) -> list[str]:
    """Return the four columns of errors, and the number of points at the lower bound."""
    found = [score.errors(bound) for bound in BOUNDS]
    columns = [_percent(measure(logs) if logs else None) for logs in found for measure in (error, geometric)]
    return [str(len(found[0])), *columns]


NAMES = ("machine", "collective", "simulated as (measured as)")
SPREADS = ("spread, 1 MiB+", "16 MiB+")
ERRORS = ("points", "error, 1 MiB+", "geometric", "error, 16 MiB+", "geometric")


def _headline(studies: Sequence[Evaluated]) -> str:
    (study,) = (each for each in studies if each.study.threshold)
    scores = [score for score in study.scores if score.unseen.endswith("GPUs")]
    lines = []
    for score in scores:
        free = fit.fitted(score.fit.points, study.study.algorithm, fill=True)
        times = fit.predicted(free.parameters, study.study.algorithm, score.points)
        logs = [math.log(time / point.time) for time, point in zip(times, score.points, strict=True)]
        lines.append([score.unseen, *_errors(score)[-2:], _percent(error(logs))])
    worst = max(error(score.errors(BOUNDS[1])) for score in scores)
    between = _percent(spread(study.study.spread, BOUNDS[1]))
    return (
        "## H100, forced Ring, 16 MiB and more\n\n"
        f"The one threshold: at most {TARGET:.0%} on a GPU count that the fit did not see. "
        f"It is {'reached' if worst <= TARGET else 'NOT reached'}: the worst count is at {_percent(worst)}.\n"
        f"The peer, ASTRA-sim, states geometric means of {PEER} for HGX H100. Two real systems lie {between} apart "
        "(16 to 64 MiB).\n\n"
        + _table(["unseen", "error", "geometric", "error with the latency free"], lines, 1)
        + "\nThese rows are digitised from a plot, to 7 to 20 us each: 3 to 10 % of the time up to 64 MiB. The "
        "last column is what the\nfit gives where it has to find the latency of a step too, in these rows alone: of 16 "
        "MiB and more, they do not tell\n2(n-1) latencies from a launch. The small messages of the same GPU do.\n\n"
        "![measured and simulated time against size](validation.png)\n"
    )


def _name(study: Any) -> list[str]:
    return [study.machine, study.operation, f"{study.algorithm} ({study.measured_as})"]


def _spreads(study: Any) -> list[str]:
    return [_percent(spread(study.spread, bound) if study.spread else None) for bound in BOUNDS]


def _unseen_counts(studies: Sequence[Evaluated]) -> str:
    lines = [
        [*_name(each.study), score.unseen.removesuffix(" GPUs"), *_errors(score), *_spreads(each.study)]
        for each in studies
        for score in each.scores
        if score.unseen.endswith("GPUs")
    ]
    heading = [
        "machine",
        "collective",
        "simulated as (measured as)",
        "unseen GPUs",
        *ERRORS,
        "spread, 1 MiB+",
        "16 MiB+",
    ]
    return "## Scored on a GPU count that the fit did not see\n\n" + _table(heading, lines, 3)


def _unseen_sizes(studies: Sequence[Evaluated]) -> str:
    lines = [
        [*_name(each.study), score.unseen, *_errors(score), *_spreads(each.study)]
        for each in studies
        for score in each.scores
        if not score.unseen.endswith("GPUs")
    ]
    heading = [*NAMES, "unseen", *ERRORS, *SPREADS]
    return (
        "## Scored on sizes, or systems, that the fit did not see\n\n"
        "*sizes*: all counts were fitted, at the other sizes. *systems*: another system's curve, no row of which was "
        "fitted.\n\n" + _table(heading, lines, 3)
    )


def _parameters(studies: Sequence[Evaluated]) -> str:
    lines = []
    for each in studies:
        found, sizes = each.fit.parameters, [score for score in each.scores if score.unseen == "sizes"]
        without = fit.predicted(each.plain.parameters, each.study.algorithm, sizes[0].points)
        pairs = [
            (point.size, math.log(float(time) / point.time))
            for point, time in zip(sizes[0].points, without, strict=True)
        ]
        columns = [[log for size, log in pairs if size >= bound] for bound in BOUNDS]
        lines.append(
            [
                *_name(each.study),
                f"{found.launch / 1e6:.2f}",
                f"{found.latency / 1e6:.2f}",
                f"{found.bandwidth / 1e9:.1f}",
                f"{found.fill / 1e6:.2f}",
                str(len(each.fit.points)),
                *(_percent(error(logs) if logs else None) for logs in columns),
            ]
        )
    heading = [*NAMES, "launch, us", "latency, us", "bandwidth, GB/s", "fill, us", "rows fitted"]
    heading += ["no fill: 1 MiB+", "16 MiB+"]
    return (
        "## Fitted values\n\nOn every other size of all counts; `traces/hardware/fits.yaml` holds them as data. The "
        "last two columns are the errors\non the other sizes without the fill, launch and bandwidth fitted anew.\n\n"
        + _table(heading, lines, 3)
        + _point_to_point()
    )


def _point_to_point() -> str:
    """Return what one GPU copies to another, to hold beside the fitted bandwidths."""
    with (source.bundle("traces") / "hardware" / "p2p.csv").open(encoding="utf-8", newline="") as stream:
        found = [
            f"{row['gpu']} {float(row['bandwidth_GBps']):g} ({row['link']}, {row['tool']})"
            for row in csv.DictReader(stream)
        ]
    return (
        "\nTo hold beside them, what one GPU copies to another in one direction, in GB/s:\n"
        + ";\n".join(found)
        + ". A ring reaches no more on NVLink; on a mesh it uses several links at once.\n"
    )


def _left_out() -> str:
    return """## Left out, and why

- Automatic choices between two nodes: NCCL's tree has a special case there that is no rate of a link. Two nodes are
  simulated as one switch; the bandwidth is what a GPU gets in all.
- All-reduce on 8 Hopper or Blackwell GPUs below 2 MiB; from 2 MiB it is taken to be NVLS where the source does not say
  otherwise. All-gather and reduce-scatter are simulated as rings whatever NCCL chose.
- The copy of a GPU's own part (all-gather, all-to-all) is not modelled; with 2 GPUs it is half of the data, and the
  errors there show it.
- Inference libraries' one- and two-shot kernels, in-place times, systems measured at fewer than 6 sizes.
"""


def _sources(studies: Sequence[Evaluated]) -> str:
    used = {curve for each in studies for curve in (*each.study.curves, *each.study.others, *each.study.latency)}
    urls = sorted({row["source_url"] for row in rows() if row["curve"] in used})
    lines = [f"- <{url}>" if url.startswith("http") and "{" not in url else f"- `{url}`" for url in urls]
    return (
        "## Sources\n\nEvery row of `traces/hardware/collectives.csv` names its own; the numbers are quoted with it. "
        "Those of aiconfigurator are\nunder Apache-2.0. Of some the address of the public file is not known; they are "
        "marked so in the data.\n\n" + "\n".join(lines) + "\n"
    )


def figure(studies: Sequence[Evaluated], path: Path) -> Path:
    """Draw measured points and simulated curves of a few studies, time against size, both logarithmic."""
    from simcore.plot import save, sheet_of

    shown = {
        (each.study.machine, each.study.operation, each.study.algorithm, each.study.measured_as): each
        for each in studies
    }
    title, said = "Simulated against measured", "points: measured (filled: fitted, hollow: not); lines: simulated"
    with sheet_of("screen") as sheet:
        head, high, wide = sheet.head(title, said), 340, sheet.width / 2
        sheet.begin(head + len(PANELS) / 2 * (high + 92), title, said)
        for i, key in enumerate(PANELS):
            axes = sheet.axes(wide * (i % 2) + 84, head + 24 + i // 2 * (high + 92), wide - 100, high)
            _draw(axes, shown[key])
        return save(sheet.figure, path)


def _draw(axes: "Axes", each: Evaluated) -> None:
    from matplotlib.ticker import FuncFormatter

    from simcore.plot import line_style

    study, counts = each.study, sorted({point.ranks for point in each.measured})
    unseen = {score.unseen: score for score in each.scores}
    for number, count in enumerate(counts):
        style = line_style(number)
        points = sorted((point for point in each.measured if point.ranks == count and point.size >= MIB), key=_size)
        score = unseen.get(f"{count} GPUs")
        parameters = score.fit.parameters if score else each.fit.parameters
        fitted = set() if score else set(each.fit.points)
        sizes = [point.size for point in points]
        line = [fit.simulated(parameters, study.algorithm, point) / 1e6 for point in points]
        told = "count not fitted" if score else "other sizes fitted"
        axes.plot(sizes, line, **style | {"marker": ""})
        axes.plot([], [], label=f"{count} GPUs, {told}", **style | {"mfc": "white" if score else style["color"]})
        for hollow in (False, True):
            chosen = [point for point in points if (point not in fitted) == hollow]
            places = [point.size for point in chosen], [point.time / 1e6 for point in chosen]
            axes.plot(*places, **style | {"ls": "", "mfc": "white" if hollow else style["color"]})
    drawn_sizes = [point.size for point in each.measured if point.size >= MIB]
    min_size, max_size = min(drawn_sizes), max(drawn_sizes)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([4**k for k in range(10, 18) if min_size <= 4**k <= max_size])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _binary(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlabel("size")
    axes.set_ylabel("time (us)")
    axes.set_title(f"{study.machine}, {study.operation}, {study.algorithm}")
    axes.legend(loc="upper left", borderaxespad=0.6)


def _size(point: fit.Point) -> int:
    return point.size


def _binary(value: float) -> str:
    """Return a power of two as nccl-tests users write it."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= scale:
            return f"{value / scale:g} {unit}"
    return short(value, SIZE)


def values(studies: Sequence[Evaluated]) -> str:
    """Return the fitted values in YAML, each with unit, kind and the rows behind it."""
    import yaml

    found = []
    for each in studies:
        study, numbers = each.study, each.fit.parameters
        counts = sorted({point.ranks for point in each.fit.points})
        sizes = sorted(point.size for point in each.fit.points)
        basis = f"{len(each.fit.points)} rows on {', '.join(map(str, counts))} GPUs"
        basis += f", {_binary(sizes[0])} to {_binary(sizes[-1])}"
        latency = f"all_reduce up to 4 KiB: {', '.join(study.latency)}" if study.latency else "assumed, as in the sheet"
        found.append(
            {
                "machine": study.machine,
                "collective": study.operation,
                "algorithm": study.algorithm,
                "measured_as": study.measured_as,
                "curves": list(study.curves),
                "launch": {"value": f"{numbers.launch / 1e6:.2f} us", "kind": "fitted", "note": basis},
                "latency": {
                    "value": f"{numbers.latency / 1e6:.2f} us",
                    "kind": "fitted" if study.latency else "assumed",
                    "note": f"of one step; {latency}",
                },
                "bandwidth": {"value": f"{numbers.bandwidth / 1e9:.1f} GB/s", "kind": "fitted", "note": basis},
                "fill": {"value": f"{numbers.fill / 1e6:.2f} us", "kind": "fitted", "note": basis},
            }
        )
    head = "# Fitted by `simcore calibrate` on collectives.csv beside this file; docs/validation.md says how.\n"
    return head + yaml.safe_dump({"fits": found}, sort_keys=False, width=120)


def write(studies: Sequence[Evaluated], folder: Path, fits: Path) -> list[Path]:
    """Write validation.md and validation.png into ``folder`` and the values to ``fits``; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "validation.md").write_text(page(studies), encoding="utf-8")
    figure(studies, folder / "validation.png")
    fits.write_text(values(studies), encoding="utf-8")
    return [folder / "validation.md", folder / "validation.png", fits]
