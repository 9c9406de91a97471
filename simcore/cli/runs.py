"""Commands on scenarios and runs: run, plot, check, models, schema."""

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simcore.cli._console import Overrides, ScenarioName, Seed, print_files, say
from simcore.errors import InputError, Interrupted, reason, writing

DURATIONS = {
    "compute": "compute_ps",
    "wait": "wait_ps",
    "replayed": "replay_ps",
    "comm.": "communication_ps",
    "exposed": "exposed_communication_ps",
}
"""Durations of a rank by the heading of their column."""
MOST_ROWS = 8
"""Rows of a table that are printed."""
MOST_DIFFERENCES = 40
"""Differences of two runs that are printed."""

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simcore.assembly import Result
    from simcore.page.differences import Difference
    from simcore.simulation import Simulation


def run(
    name: ScenarioName,
    overrides: Overrides = [],  # noqa: B006 typer copies it
    seed: Seed = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The run folder; default runs/NAME-DIGEST.")
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw timeline.png and traffic.png too.")] = False,
) -> None:
    """Simulate a scenario and write its run folder."""
    from simcore import assembly, report
    from simcore.fabric import compiled
    from simcore.hardware import Queues

    scenario = assembly.read_scenario(name, overrides, seed)
    target = out or Path("runs") / report.run_name(scenario)
    left = "nothing was written"
    try:
        with report.staging(target) as folder, _Progress() as progress:
            if not compiled(scenario.machine.sharing, scenario.machine.queues or Queues()):
                say(f"compiling the loops for {scenario.machine.sharing} links, once after an installation ...")
            result = assembly.run(scenario, folder=folder, progress=progress)
            report.write_run(result, target, folder)
        left = f"{target} holds the whole run"
        if result.interrupted_at is not None:
            left = f"{target} holds the run up to there"
        _print_result(result)
        print_files(report.files(target))
        if plot:
            print_files(_draw(result, target))
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {left}") from None
    if result.interrupted_at is not None:
        raise Interrupted(f"interrupted at {result.interrupted_at} ps of simulated time; {left}")


def plot(folder: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run folder.")]) -> None:
    """Draw timeline.png and traffic.png from the tables of a run folder, into it."""
    from simcore import report

    print_files(_draw(report.load_run(folder), folder))


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder, or a sweep folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The page to write; default DIR/report.html.")
    ] = None,
) -> None:
    """Write the report of a run or a sweep: one HTML page that opens from disk, without a network."""
    from simcore import page

    print_files([page.write(folder, out)])


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A run folder, or a sweep folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another of the same kind.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page to write.")] = Path("compare.html"),
) -> None:
    """Say what differs in the inputs of two runs or sweeps and what that did to their metrics; write both as a page."""
    from simcore import page
    from simcore.executors import folder
    from simcore.page import differences, paired

    if folder.is_sweep(first) or folder.is_sweep(second):
        path, old, new = page.write_sweep_comparison(first, second, out)
        _print_differences("inputs", paired.inputs(old, new))
        moved = paired.outputs(old, new)
        print(f"metrics  {len(moved) or 'none'} differ where both have a point")
        for one in moved:
            ratio = "" if one.ratio is None else f", the mean by {differences.change_text(one.ratio)}"
            print(f"  {one.key}: at {one.count} of {one.shared} points{ratio}")
        return print_files([path])
    path, a, b = page.write_comparison(first, second, out)
    _print_differences("inputs", differences.inputs(a, b))
    _print_differences("metrics", differences.outputs(a, b))
    return print_files([path])


def _print_differences(heading: str, found: "Sequence[Difference]") -> None:
    from simcore.page.differences import change_text

    print(f"{heading:8} {len(found) or 'none'} differ")
    for each in found[:MOST_DIFFERENCES]:
        change = "" if each.ratio is None else f" ({change_text(each.ratio)})"
        print(f"  {each.key}: {each.first} -> {each.second}{change}")
    if len(found) > MOST_DIFFERENCES:
        print(f"  ... and {len(found) - MOST_DIFFERENCES} more, on the page")


def check(name: ScenarioName, overrides: Overrides = [], seed: Seed = None) -> None:  # noqa: B006 typer copies it
    """Read a scenario and the machine in it without running it; say what is wrong, or print it resolved."""
    import yaml

    from simcore import assembly, scenario

    asked = assembly.read_scenario(name, overrides, seed)
    print(yaml.safe_dump(scenario.resolved(asked), sort_keys=False, width=120), end="")


def models() -> None:
    """List the models: one folder a paper."""
    from simcore import registry

    for name in registry.folders():
        print(f"{name:20} {registry.citation(name)}")


def schema(
    outputs: Annotated[
        Path | None,
        typer.Option(
            "--outputs", metavar="PAGE", help="Make the tables of columns and metrics in a Markdown page anew."
        ),
    ] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="That of sweep files.")] = False,
) -> None:
    """Print the JSON Schema of scenario files, for editors."""
    import json

    from simcore import scenario
    from simcore.sweep import reading

    if outputs is not None:
        _fill(outputs)
        return
    print(json.dumps(reading.schema() if sweep else scenario.schema(), indent=1))


def _fill(page: Path) -> None:
    from simcore.outputs import filled

    try:
        text = filled(page.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{page}: cannot be read: {reason(error) if isinstance(error, OSError) else 'is no text'}"
        ) from None
    except InputError as error:
        raise InputError(f"{page}: {error}") from None
    with writing(page):
        page.write_text(text, encoding="utf-8")
    print_files([page])


def _draw(result: "Result", folder: Path) -> list[Path]:
    from simcore import plot

    title = result.scenario.name + (
        "" if result.interrupted_at is None else f", interrupted at {result.interrupted_at} ps"
    )
    return [
        plot.timeline(result.tables, folder / "timeline.png", title=title),
        plot.traffic(result.tables, folder / "traffic.png", title=title),
    ]


def _print_result(result: "Result") -> None:
    """Print what matters with units: a row a rank (the first eight), then links, queues and flags; then the
    warnings."""
    from simcore.formats import comparison
    from simcore.units import SIZE, TIME, short

    found, asked = result.metrics, result.scenario
    about = asked.machine
    machine = f"{about.gpu_count} GPUs of {about.name}, {about.topology}, {about.sharing} links"
    policy = f", wait policy {asked.wait.policy}" if found["flags"]["waits"] else ""
    print(f"{asked.name} on {machine}{policy}: {short(found['makespan_ps'], TIME)} simulated")
    if asked.is_shared:
        _print_jobs(found["jobs"])
    if "ranks" in found:
        _print_ranks(found["ranks"])
    for name, about in found.get("traffic", {}).items():
        size, delay = short(about["data_bytes"], SIZE), short(about["queue_delay_ps"]["mean"], TIME)
        print(f"traffic  {name}: {size} in {about['messages']} messages, queue delay mean {delay}")
    links, queue, flags, moved = found["links"], found["queue_delay_ps"], found["flags"], found["transfers"]
    used = f"over {links['used']} links, busiest {links['busiest']}" if links["used"] else "(no link was used)"
    print(
        f"links    utilisation mean {links['utilisation_mean']:.2%}, p95 {links['utilisation_p95']:.2%}, peak "
        f"{links['utilisation_peak']:.2%} {used}"
    )
    print(
        f"queues   delay mean {short(queue['mean'], TIME)}, p95 {short(queue['p95'], TIME)}, max "
        f"{short(queue['max'], TIME)}"
    )
    print(
        f"moved    {short(moved['data_bytes'], SIZE)} of data, {short(moved['flag_bytes'], SIZE)} of flags in "
        f"{moved['messages']} messages"
    )
    delay = flags["detection_delay_ps"]
    if flags["waits"]:
        print(
            f"flags    {flags['flag_reads']} reads in {flags['waits']} waits, {flags['wakeups']} wake-ups, "
            f"detection delay mean {short(delay['mean'], TIME)}, max {short(delay['max'], TIME)}"
        )
    for line in comparison.lines(result.compared, MOST_ROWS):
        print(line)
    for warning in result.warnings:
        print(f"warning  {warning}")


def _print_jobs(jobs: dict[str, dict[str, Any]]) -> None:
    """Print a row a job: what it took here and alone, and the mean over its ranks where those are listed."""
    rows = {}
    for name, job in jobs.items():
        row = {"makespan": job["makespan_ps"], "alone": job.get("alone_makespan_ps")}
        ranks = list(job.get("ranks", {}).values())
        for heading in ("compute", "wait", "exposed") if ranks else ():
            row[heading] = sum(rank[DURATIONS[heading]] for rank in ranks) // len(ranks)
        rows[name] = row | {"queued": job["queue_delay_ps"]["mean"]}
    extra = {"slowdown": [f"{job['slowdown']:.3f}" if "slowdown" in job else "-" for job in jobs.values()]}
    _print_table("job", rows, extra)


def _print_ranks(ranks: dict[str, dict[str, Any]]) -> None:
    """Print a row a rank; what no rank did has no column."""
    done = {heading: key for heading, key in DURATIONS.items() if any(rank[key] for rank in ranks.values())}
    rows = {name: {heading: rank[key] for heading, key in done.items()} for name, rank in ranks.items()}
    extra = {
        "overlap\n(%)": [f"{rank['overlap_fraction']:.1%}".rstrip("%") for rank in ranks.values()],
        "flag\nreads": [str(rank["flag_reads"]) for rank in ranks.values()],
        "other\nreads": [str(rank["other_reads"]) for rank in ranks.values()],
    }
    _print_table("rank", rows, {heading: column for heading, column in extra.items() if set(column) != {"0"}})


def _print_table(what: str, rows: dict[str, dict[str, int | None]], extra: dict[str, list[str]]) -> None:
    """Print the first eight of ``rows``, durations in ps by heading, each column in its own unit, then the ``extra``
    columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from simcore.units import TIME

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(what)
    scales = {}
    for heading in next(iter(rows.values())):
        largest = max(row[heading] or 0 for row in rows.values())
        unit = next((unit for unit in TIME.display if largest >= TIME.units[unit]), TIME.base)
        scales[heading] = TIME.units[unit]
        table.add_column(f"{heading}\n({unit})", justify="right")
    for heading in extra:
        table.add_column(heading, justify="right")
    for i, (name, row) in enumerate(list(rows.items())[:MOST_ROWS]):
        times = ["-" if (time := row[heading]) is None else f"{time / scale:.4g}" for heading, scale in scales.items()]
        table.add_row(name, *times, *(column[i] for column in extra.values()))
    Console(highlight=False).print(table)
    if len(rows) > MOST_ROWS:
        print(f"... and {len(rows) - MOST_ROWS} more {what}s in metrics.json")


class _Progress:
    """Shows simulated time, events per second and time left on stderr, once a second, for runs of more than two
    seconds; before the first event, that it is planned."""

    def __init__(self) -> None:
        self._begin = self._last = 0.0
        self._shown = False
        self._planning = threading.Timer(2, say, ["planning ..."])
        self._planning.daemon = True

    def __enter__(self) -> "_Progress":
        self._planning.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._planning.cancel()
        if self._shown:
            say("")

    def __call__(self, simulation: "Simulation") -> None:
        now = time.monotonic()
        if not simulation.events:
            # The clock starts here: what was planned before says nothing about the speed of the simulation.
            self._planning.cancel()
            self._begin = self._last = now
        if now - self._last < 1 or now - self._begin < 2:
            return
        from simcore.units import TIME, short

        self._last, elapsed = now, now - self._begin
        share = simulation.now / simulation.horizon if simulation.horizon > simulation.now > 0 else 0
        left = f", about {elapsed * (1 - share) / share:.0f} s left" if share else ""
        text = f"simulated {short(simulation.now, TIME)}, {simulation.events / elapsed:,.0f} events/s{left}"
        print(f"\r{text:<70}", end="", file=sys.stderr, flush=True)
        self._shown = True
