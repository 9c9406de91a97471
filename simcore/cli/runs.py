"""Commands on scenarios and runs: run, plot, report, compare, check, schema."""

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simcore.cli._console import Overrides, ScenarioName, Seed, print_files, say
from simcore.errors import InputError, Interrupted, reason, writing

MOST_DIFFERENCES = 40
"""Differences of two runs that are printed."""

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simcore.assembly import Result
    from simcore.page.differences import Difference
    from simcore.simulation import Simulation
    from simcore.summary import Table


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
    """Read a scenario and the machine in it, or a sweep and all of its points, without running anything; say what is
    wrong, or print it resolved."""
    import yaml

    from simcore import assembly, scenario
    from simcore.sweep import reading

    if reading.find(name) is not None:
        _check_sweep(name, overrides, seed)
        return

    asked = assembly.read_scenario(name, overrides, seed)
    print(yaml.safe_dump(scenario.resolved(asked), sort_keys=False, width=120), end="")


def _check_sweep(name: str, overrides: list[str], seed: int | None) -> None:
    import yaml

    from simcore.executors.folder import described
    from simcore.scenario import Known
    from simcore.sweep import reading

    sweep = reading.read(name, overrides if seed is None else [*overrides, f"seed={seed}"])
    known = Known()
    for point in sweep.points:
        sweep.asked(point, known)
    about = {"points": len(sweep.points), **described(sweep)}
    print(yaml.safe_dump(about, sort_keys=False, width=120), end="")


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
    """Print what matters of a result; then the warnings."""
    from simcore import summary
    from simcore.formats import comparison

    print(summary.headline(result))
    for table in summary.tables(result):
        _print_table(table)
    for what, text in summary.facts(result):
        print(f"{what:8} {text}")
    for line in comparison.lines(result.compared, summary.MOST_ROWS):
        print(line)
    for warning in result.warnings:
        print(f"warning  {warning}")


def _print_table(shown: "Table") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    what, *headings = shown.headings
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(what)
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in shown.rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
    if shown.rest:
        print(shown.rest)


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
