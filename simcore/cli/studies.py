"""Commands that choose their own points: sensitivity, optimize."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simcore.cli._console import print_files
from simcore.cli.sweeps import FAILED, Kind, Out, Scheduler, StoreFolder, SweepName, Workers, computing, executor
from simcore.errors import InputError

if TYPE_CHECKING:
    from simcore.studies.optimum import Found, Trial
    from simcore.studies.sensitivity import Found as Effects
    from simcore.sweep import Sweep

MISSED = 1
"""Exit code where nothing keeps the limits."""

Ranges = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=RANGE",
        help="An axis: 'LOW..HIGH', with 'log' behind it or not; or values parted by commas.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the points that are chosen; runs keep their own.")]


def sensitivity(
    name: SweepName,
    overrides: Ranges = [],  # noqa: B006 typer copies it
    method: Annotated[
        Literal["one_at_a_time", "morris", "sobol"], typer.Option("--method", help="How points are chosen.")
    ] = "one_at_a_time",
    metrics: Annotated[
        list[str], typer.Option("--metric", metavar="PATH", help="What is looked at; default makespan_ps.")
    ] = [],  # noqa: B006
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="Values of a range (5), Morris's trajectories (10), Sobol's base (64)."),
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    kind: Kind = "processes",
    scheduler: Scheduler = "",
    out: Out = None,
    store: StoreFolder = None,
) -> None:
    """Say which axes move a metric, and by how much."""
    from simcore.studies import folder
    from simcore.studies import sensitivity as study
    from simcore.sweep import reading

    sweep = reading.read(name, overrides, [])
    asked = study.Asked(method, tuple(dict.fromkeys(metrics)) or ("makespan_ps",), samples or 0, seed)
    target = out or folder.usual(sweep, "sensitivity", asked)
    folder.check(target)
    with computing(store) as (kept, progress):
        found = study.study(sweep, asked, kept, executor(kind, workers, scheduler), progress)
    files = folder.write_sensitivity(sweep, found, target)
    _print_sensitivity(sweep, found)
    print_files(files)
    if found.swept.failures:
        raise typer.Exit(FAILED)


def _print_sensitivity(sweep: "Sweep", found: "Effects") -> None:
    swept = found.swept
    print(
        f"{sweep.name}: {found.asked.method}, {len(swept.records)} points, {swept.computed} runs computed, "
        f"{len(swept.failures)} points failed"
    )
    for metric in found.asked.metrics:
        rows = [row for row in found.rows if row["metric"] == metric]
        print()
        _print_table(metric, rows)
    print()
    for point, why in swept.failures[:10]:
        print(f"failed   {why}\n         {swept.sweep.command(point)}")


def _print_table(metric: str, rows: list[dict[str, Any]]) -> None:
    columns = [
        name for name in dict.fromkeys(key for row in rows for key in row) if name not in ("axis", "metric", "points")
    ]
    cells = [[metric, *columns], *([row["axis"], *(_cell(row.get(name)) for name in columns)] for row in rows)]
    for line in aligned(cells):
        print(line)


def aligned(lines: list[list[str]]) -> list[str]:
    """Return rows of a table as lines, the first column to the left and the others to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def optimize(
    name: SweepName,
    overrides: Ranges = [],  # noqa: B006
    minimise: Annotated[
        list[str], typer.Option("--minimise", metavar="FORMULA", help="Of axes and metrics, e.g. makespan_ps.")
    ] = [],  # noqa: B006
    maximise: Annotated[list[str], typer.Option("--maximise", metavar="FORMULA")] = [],  # noqa: B006
    keep: Annotated[
        list[str], typer.Option("--keep", metavar="LIMIT", help="What must hold, e.g. 'makespan_ps <= 40 us'.")
    ] = [],  # noqa: B006
    budget: Annotated[int, typer.Option("--budget", min=1, help="Points that may be run.")] = 100,
    seed: Seed = 0,
    workers: Workers = None,
    kind: Kind = "processes",
    scheduler: Scheduler = "",
    out: Out = None,
    store: StoreFolder = None,
) -> None:
    """Find the values on the axes that are best, under limits, within a budget of points."""
    from simcore.studies import folder, formula
    from simcore.studies import optimum as study
    from simcore.sweep import reading

    sweep = reading.read(name, overrides, [])
    objectives = [
        *(study.Objective(formula.read(text, "--minimise"), "minimise") for text in minimise),
        *(study.Objective(formula.read(text, "--maximise"), "maximise") for text in maximise),
    ]
    asked = study.Asked(tuple(objectives), tuple(formula.read_limit(text, "--keep") for text in keep), budget, seed)
    target = out or folder.usual(sweep, "optimize", asked)
    folder.check(target)
    with computing(store) as (kept, progress):
        found = study.search(sweep, asked, kept, executor(kind, workers, scheduler), progress)
    if all(trial.failed for trial in found.trials):
        raise InputError(f"no point could be judged; the first: {found.trials[0].failed}")
    files = folder.write_optimum(sweep, found, target)
    _print_optimum(sweep, found)
    print_files(files)
    if not found.best:
        raise typer.Exit(MISSED)
    if any(trial.failed for trial in found.trials):
        raise typer.Exit(FAILED)


def _print_optimum(sweep: "Sweep", found: "Found") -> None:
    trials, failed = found.trials, [trial for trial in found.trials if trial.failed]
    kept = sum(trial.keeps for trial in trials)
    print(
        f"{sweep.name}: {len(trials)} points{', all that the axes allow' if found.exhaustive else ''}, "
        f"{found.swept.computed} runs computed, {kept} keep the limits, {len(failed)} failed"
    )
    for trial in failed[:10]:
        print(f"failed   {trial.failed}\n         {_command(found, trial)}")
    if not found.best:
        nearest = found.nearest
        assert nearest is not None
        print("no point keeps all limits; the nearest:")
        _print_trial(found, nearest)
    if len(found.best) == 1:
        print("best")
        _print_trial(found, found.best[0])
    elif found.best:
        _print_front(found)


def _print_trial(found: "Found", trial: "Trial") -> None:
    for name in found.swept.sweep.axes:
        print(f"  {name} = {trial.pick[name].value}")
    for objective, value in zip(found.asked.objectives, _values(found, trial), strict=True):
        print(f"  {objective.formula}: {value}")
    for limit, excess in zip(found.asked.limits, trial.excess, strict=True):
        told = f"broken by {excess:.3%}" if excess > 0 else "kept"
        print(f"  {limit}: {told}, {_shown(found, str(limit.left), limit.left.value(trial.row))}")
    print(f"  {_command(found, trial)}")


def _print_front(found: "Found") -> None:
    axes, objectives = list(found.swept.sweep.axes), [str(each.formula) for each in found.asked.objectives]
    lines = [["point", *objectives, *(name for name in axes if name not in objectives)]]
    for trial in found.best:
        picked = [str(trial.pick[name].value) for name in axes if name not in objectives]
        lines.append([str(trial.number), *_values(found, trial), *picked])
    print("the front, and the command of its first point")
    for line in aligned(lines):
        print(f"  {line}")
    print(f"  {_command(found, found.best[0])}")


def _values(found: "Found", trial: "Trial") -> list[str]:
    turned = zip(found.asked.objectives, trial.costs, strict=True)
    return [_shown(found, str(each.formula), cost if each.way == "minimise" else -cost) for each, cost in turned]


def _shown(found: "Found", formula: str, value: float) -> str:
    from simcore.studies import with_unit
    from simcore.studies.figures import unit_of

    unit, length = unit_of(with_unit(found.swept.sweep, formula), abs(value))
    return f"{value / length:.6g}" + (f" {unit}" if unit else "")


def _command(found: "Found", trial: "Trial") -> str:
    return found.swept.sweep.command(found.swept.sweep.points[trial.number])
