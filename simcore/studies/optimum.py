"""The best values on the axes within a budget of points, under limits that they keep."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from simcore.errors import InputError
from simcore.executors import Executor, Progress, Swept, run
from simcore.executors.store import Store
from simcore.studies import Row, check_axes, rows
from simcore.studies.formula import Formula, Limit, check_names
from simcore.sweep import Continuum, Entry, Picked, Sweep

if TYPE_CHECKING:
    import optuna

BATCH = 8
"""Points that are chosen before any of them is known: the same for one worker and for many, so that these find the
same."""


@dataclass(frozen=True)
class Objective:
    """A formula, and whether little or much of it is good."""

    formula: Formula
    way: Literal["minimise", "maximise"]

    def cost(self, row: Mapping[str, Any]) -> float:
        """Return the formula's value, so turned that less is better."""
        value = self.formula.value(row)
        return value if self.way == "minimise" else -value


@dataclass(frozen=True)
class Asked:
    """What is looked for: one or two ``objectives``, the ``limits`` to keep, how many points may be run, and the seed
    of the search."""

    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...] = ()
    budget: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.objectives) <= 2:
            raise InputError("give one --minimise or --maximise, or two for the front between them")


@dataclass(frozen=True)
class Trial:
    """A point that was tried: what it costs by each objective, and by how much it breaks each limit (zero: kept); or
    why it is not known."""

    number: int
    pick: Mapping[str, Entry]
    row: Row
    costs: tuple[float, ...] = ()
    excess: tuple[float, ...] = ()
    failed: str = ""

    @property
    def keeps(self) -> bool:
        """Whether it is known and keeps all limits."""
        return not self.failed and all(each <= 0 for each in self.excess)


@dataclass(frozen=True)
class Found:
    """All trials in order, the best of them (one, or a front from one objective to the other), and whether everything
    that the axes allow was tried."""

    asked: Asked
    swept: Swept
    trials: list[Trial]
    best: list[Trial]
    exhaustive: bool

    @property
    def nearest(self) -> Trial | None:
        """The trial that breaks the limits least, where none keeps them."""
        known = [trial for trial in self.trials if not trial.failed]
        return min(known, key=lambda trial: max(trial.excess, default=0.0), default=None)


def search(
    sweep: Sweep, asked: Asked, store: Store, executor: Executor | None = None, progress: Progress | None = None
) -> Found:
    """Return the best of at most ``budget`` points: of all, where the axes make no more than that, else of those that a
    search chooses; raises ``InputError`` for a column that no point has."""
    check_axes(sweep)
    told = progress or (lambda total, there, done: None)
    exhaustive = _count(sweep) <= asked.budget
    if exhaustive:
        picks = [dict(zip(sweep.axes, each, strict=True)) for each in _all(sweep)]
        swept = run(Picked.of(sweep, picks), store, executor, told)
        trials = _judged(asked, picks, swept)
    else:
        swept, trials = _searched(sweep, asked, store, executor, told)
    kept = [trial for trial in trials if trial.keeps]
    return Found(asked, swept, trials, _front(kept), exhaustive)


def _count(sweep: Sweep) -> float:
    return math.prod(math.inf if isinstance(axis, Continuum) else len(axis) for axis in sweep.axes.values())


def _all(sweep: Sweep) -> Iterator[tuple[Entry, ...]]:
    import itertools

    return itertools.product(*(axis for axis in sweep.axes.values() if not isinstance(axis, Continuum)))


def _judged(asked: Asked, picks: Sequence[Mapping[str, Entry]], swept: Swept, first: int = 0) -> list[Trial]:
    """Return the trials of points that were run; raises ``InputError`` for a column that none of them has."""
    known = rows(swept)
    names = {name: None for row in known for name in row}
    if any("metrics" in record for record in swept.records):
        for objective in asked.objectives:
            check_names(objective.formula, names, f"--{objective.way}")
        for limit in asked.limits:
            check_names(limit.left, names, "--keep")
            check_names(limit.right, names, "--keep")
    trials = []
    for i, (pick, row, record) in enumerate(zip(picks, known, swept.records, strict=True)):
        if "failed" in record:
            trials.append(Trial(first + i, pick, row, failed=str(record["failed"])))
            continue
        try:
            costs = tuple(objective.cost(row) for objective in asked.objectives)
            excess = tuple(max(0.0, limit.excess(row)) for limit in asked.limits)
        except InputError as error:
            trials.append(Trial(first + i, pick, row, failed=str(error)))
        else:
            trials.append(Trial(first + i, pick, row, costs, excess))
    return trials


def _searched(
    sweep: Sweep, asked: Asked, store: Store, executor: Executor | None, progress: Progress
) -> tuple[Swept, list[Trial]]:
    """Ask the search for batches of points, run each, and tell it what came out, in order."""
    study, space = _study(sweep, asked)
    import optuna

    trials: list[Trial] = []
    records: list[dict[str, Any]] = []
    computed = runs = 0
    while len(trials) < asked.budget:
        given = [study.ask(space) for _ in range(min(BATCH, asked.budget - len(trials)))]
        picks = [{name: _entry(sweep, name, trial.params[name]) for name in sweep.axes} for trial in given]
        before = len(trials)
        swept = run(
            Picked.of(sweep, picks), store, executor,
            lambda total, there, done: progress(asked.budget, 0, before + there + done),  # noqa: B023 used at once
        )  # fmt: skip
        fresh = _judged(asked, picks, swept, before)
        for ours, theirs in zip(fresh, given, strict=True):
            if ours.failed:
                study.tell(theirs, state=optuna.trial.TrialState.FAIL)
            else:
                for limit, excess in zip(asked.limits, ours.excess, strict=True):
                    theirs.set_constraint(str(limit), excess)
                study.tell(theirs, list(ours.costs))
        trials += fresh
        records += swept.records
        computed, runs = computed + swept.computed, runs + swept.runs
    return Swept(Picked.of(sweep, [trial.pick for trial in trials]), records, computed, runs), trials


def _study(sweep: Sweep, asked: Asked) -> tuple["optuna.Study", dict[str, Any]]:
    """Return a seeded search, and what it may choose: a share of a range, or a place in a list."""
    try:
        import optuna
    except ImportError:
        raise InputError("a search over more points than its budget needs Optuna; install simcore[optimize]") from None
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    sampler: Any = (
        optuna.samplers.TPESampler(seed=asked.seed)
        if len(asked.objectives) == 1
        else optuna.samplers.NSGAIISampler(seed=asked.seed, population_size=2 * BATCH)
    )
    study = optuna.create_study(directions=["minimize"] * len(asked.objectives), sampler=sampler)
    space = {
        name: FloatDistribution(0.0, 1.0) if isinstance(axis, Continuum) else CategoricalDistribution(range(len(axis)))
        for name, axis in sweep.axes.items()
    }
    return study, space


def _entry(sweep: Sweep, name: str, chosen: Any) -> Entry:
    axis = sweep.axes[name]
    return axis.entry(chosen) if isinstance(axis, Continuum) else axis[chosen]


def _front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials than which no other is at least as good by all objectives and better by one, by the first
    objective; of equal ones the first that was tried."""
    ordered = sorted(trials, key=lambda trial: (*trial.costs, trial.number))
    if not ordered or len(ordered[0].costs) == 1:
        return ordered[:1]
    best, front = math.inf, []
    for trial in ordered:
        if trial.costs[1] < best:
            best = trial.costs[1]
            front.append(trial)
    return front
