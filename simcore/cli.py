"""The commands: each reads, calls, prints; what is heavy is imported by the command that needs it."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from simcore import errors

if TYPE_CHECKING:
    from simcore.assembly import Result
    from simcore.simulation import Simulation

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
trace_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(trace_app, name="trace", help="Look into profiler traces and turn them into timing profiles.")

INTERRUPTED = 130

ScenarioName = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A file, a bundled scenario, a paper's name, or a run folder.")
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one value, e.g. wait.policy=spin.")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all random streams.")]


def main() -> NoReturn:
    """Run the command line and exit; every error a user can cause is one line on stderr."""
    try:
        status = app(standalone_mode=False)
    except errors.SimcoreError as error:
        _say(f"error: {error}")
        status = error.exit_code
    except typer.TyperException as error:
        _say(f"error: {' '.join(error.format_message().split())}")
        status = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted; nothing was written")
        status = INTERRUPTED
    sys.exit(status if isinstance(status, int) else 0)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


@app.command()
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

    scenario = assembly.read_scenario(name, overrides, seed)
    target = out or Path("runs") / report.run_name(scenario)
    if not compiled():
        _say("compiling the data plane, once after an installation ...")
    with report.staging(target) as folder, _Progress() as progress:
        result = assembly.run(scenario, folder=folder, progress=progress)
        report.write_run(result, target, folder)
    _print_result(result)
    _print_files([*sorted(target.iterdir()), *(_draw(result, target) if plot else [])])
    if result.interrupted_at is not None:
        _say(f"interrupted at {result.interrupted_at} ps of simulated time; {target} holds the run up to there")
        raise typer.Exit(INTERRUPTED)


@app.command()
def plot(folder: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run folder.")]) -> None:
    """Draw timeline.png and traffic.png from the tables of a run folder, into it."""
    from simcore import report

    _print_files(_draw(report.load_run(folder), folder))


@app.command()
def check(name: ScenarioName, overrides: Overrides = [], seed: Seed = None) -> None:  # noqa: B006 typer copies it
    """Read a scenario and the machine in it without running it; say what is wrong, or print it resolved."""
    import yaml

    from simcore import assembly, scenario

    asked = assembly.read_scenario(name, overrides, seed)
    print(yaml.safe_dump(scenario.resolved(asked), sort_keys=False, width=120), end="")


@app.command()
def topo(
    name: ScenarioName,
    overrides: Overrides = [],  # noqa: B006 typer copies it
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The picture to write.")] = Path("topology.png"),
) -> None:
    """Draw the machine of a scenario."""
    from simcore import assembly, plot

    asked = assembly.read_scenario(name, overrides)
    graph = asked.machine.build_topology().graph()
    drawn = plot.topology(graph, out, title=f"{asked.machine.name}, {asked.machine.topology}")
    print(
        f"{asked.machine.name}: {asked.machine.gpus} GPUs, {asked.machine.topology}, "
        f"{graph.number_of_edges()} directed links"
    )
    _print_files([drawn])


@app.command()
def models() -> None:
    """List the models: one folder a paper."""
    from simcore import registry

    for name in registry.folders():
        print(f"{name:20} {registry.citation(name)}")


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A preset; without it, all are listed.")] = None,
) -> None:
    """List the hardware presets, or show one: every value with its kind and source."""
    from simcore import hardware

    if name is None:
        for each in hardware.names():
            print(f"{each:12} {hardware.Sheet.read(hardware.find(each, Path())).spec().description}")
        return
    sheet = hardware.Sheet.read(hardware.find(name, Path()))
    spec = sheet.spec()
    print(f"{spec.name}: {spec.description}")
    for key, origin in sheet.origins.items():
        value: Any = sheet.values.value
        for part in key.split("."):
            value = value[part]
        print(f"{key:26} {value!s:15} {origin.kind:9} {origin.source}" + (f"; {origin.note}" if origin.note else ""))


@app.command()
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    import json

    from simcore import scenario

    print(json.dumps(scenario.schema(), indent=1))


@trace_app.command("import")
def trace_import(
    files: Annotated[list[Path], typer.Argument(metavar="FILES", help="Kineto traces, one a rank, plain or gzip.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="PROFILE", help="The timing profile to write (CSV).")],
    algorithm: Annotated[
        str, typer.Option("--as", metavar="direct|ring", help="The algorithm whose writes a collective becomes.")
    ] = "direct",
    align: Annotated[
        str | None, typer.Option(metavar="none|base|match", help="How the clocks of ranks are aligned.")
    ] = None,
    clone_rank: Annotated[
        int | None,
        typer.Option("--clone-rank", metavar="RANK", help="Give ranks without a trace the writes of this one."),
    ] = None,
) -> None:
    """Turn the collectives of profiler traces into an annotated timing profile."""
    from simcore.formats import kineto, profile, writes

    made = writes.to_profile(
        [kineto.read_trace(path) for path in files], algorithm=algorithm, align=align, clone_rank=clone_rank
    )
    profile.write_profile(made, out)
    for key, value in made.header:
        print(f"{key}: {value}")
    _print_files([out])


@trace_app.command("inspect")
def trace_inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Kineto trace or a timing profile.")],
) -> None:
    """Say what a trace or a timing profile holds, and what it lacks."""
    from simcore.formats import kineto, profile

    lines = (
        profile.inspect(profile.read_profile(file))
        if file.suffix == ".csv"
        else kineto.inspect(kineto.read_trace(file))
    )
    print("\n".join(lines))


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
    from simcore.units import SIZE, TIME, short

    found, asked = result.metrics, result.scenario
    machine = (
        f"{asked.machine.gpus} GPUs of {asked.machine.name}, {asked.machine.topology}, {asked.machine.sharing} links"
    )
    print(f"{asked.name} on {machine}, wait policy {asked.wait.policy}: {short(found['makespan_ps'], TIME)} simulated")
    _print_ranks(found["ranks"])
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
    print(
        f"flags    {flags['flag_reads']} reads in {flags['waits']} waits, {flags['wakeups']} wake-ups, "
        f"detection delay mean {short(delay['mean'], TIME)}, max {short(delay['max'], TIME)}"
    )
    for warning in result.warnings:
        print(f"warning  {warning}")


def _print_ranks(ranks: dict[str, dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from simcore.units import TIME

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("rank")
    durations = {
        "compute": "compute_ps",
        "wait": "wait_ps",
        "replayed": "replay_ps",
        "comm.": "communication_ps",
        "exposed": "exposed_communication_ps",
    }
    scales = {}
    for heading, key in durations.items():
        largest = max(row[key] for row in ranks.values())
        unit = next((unit for unit in TIME.display if largest >= TIME.units[unit]), TIME.base)
        scales[key] = TIME.units[unit]
        table.add_column(f"{heading}\n({unit})", justify="right")
    for heading in ("overlap\n(%)", "flag\nreads", "other\nreads"):
        table.add_column(heading, justify="right")
    for rank, row in list(ranks.items())[:8]:
        times = [f"{row[key] / scale:.4g}" for key, scale in scales.items()]
        table.add_row(
            rank, *times, f"{row['overlap_fraction']:.1%}".rstrip("%"), str(row["flag_reads"]), str(row["other_reads"])
        )
    Console(highlight=False).print(table)
    if len(ranks) > 8:
        print(f"... and {len(ranks) - 8} more ranks in metrics.json")


def _print_files(paths: list[Path]) -> None:
    for path in paths:
        print(f"wrote    {path}")


class _Progress:
    """Shows simulated time, events per second and time left on stderr, once a second, for runs of more than two
    seconds."""

    def __init__(self) -> None:
        self._begin = self._last = time.monotonic()
        self._shown = False

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            _say("")

    def __call__(self, simulation: "Simulation") -> None:
        now = time.monotonic()
        if now - self._last < 1 or now - self._begin < 2:
            return
        from simcore.units import TIME, short

        self._last, elapsed = now, now - self._begin
        share = simulation.now / simulation.horizon if simulation.horizon > simulation.now > 0 else 0
        left = f", about {elapsed * (1 - share) / share:.0f} s left" if share else ""
        text = f"simulated {short(simulation.now, TIME)}, {simulation.events / elapsed:,.0f} events/s{left}"
        print(f"\r{text:<70}", end="", file=sys.stderr, flush=True)
        self._shown = True


if __name__ == "__main__":
    main()
