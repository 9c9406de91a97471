"""A sweep, computed: what is there already is read, the rest runs here, in processes, or on a cluster."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from simcore.errors import InputError
from simcore.executors.store import Store, key
from simcore.executors.tasks import Outcome, Task
from simcore.scenario import Known
from simcore.sweep import Point, Sweep

Kind = Literal["processes", "serial", "dask"]
STORE = Path("runs") / ".points"
"""Where records are kept unless told otherwise."""


@dataclass(frozen=True)
class Executor:
    """Where points are computed: here, one after the other; in ``workers`` processes; or on Dask, of this machine or
    behind the address of a ``scheduler``."""

    kind: Kind = "serial"
    workers: int = 1
    scheduler: str = ""

    def run(self, tasks: Sequence[Task], store: Store) -> Iterator[Outcome]:
        """Yield the outcomes of ``tasks`` as they come, each kept in ``store`` by then if it lasts."""
        if not tasks:
            return iter(())
        # Nothing that simulates is loaded where everything is there already.
        from simcore.executors import cluster, local

        if self.kind == "dask":
            return cluster.dask(tasks, store, self.workers, self.scheduler)
        if self.kind == "processes" and min(self.workers, len(tasks)) > 1:
            return local.processes(tasks, store, self.workers)
        return local.serial(tasks, store)


@dataclass(frozen=True)
class Swept:
    """A sweep with the record of every point, in order; how many were ``computed`` now, and of how many runs in
    all."""

    sweep: Sweep
    records: list[dict[str, Any]]
    computed: int
    runs: int

    @property
    def failures(self) -> list[tuple[Point, str]]:
        """The points that failed, and why."""
        return [
            (point, str(record["failed"]))
            for point, record in zip(self.sweep.points, self.records, strict=True)
            if "failed" in record
        ]

    @property
    def warnings(self) -> dict[str, int]:
        """What the runs warned of, and how many points did."""
        found: dict[str, int] = {}
        for record in self.records:
            for sentence in record.get("warnings", []):
                found[sentence] = found.get(sentence, 0) + 1
        return found


Progress = Callable[[int, int, int], None]
"""Is told of how many runs there are, how many of them were there already, and how many have been computed since."""


def run(
    sweep: Sweep, store: Store, executor: Executor | None = None, progress: Progress = lambda total, there, done: None
) -> Swept:
    """Return what all points of ``sweep`` give, computing those that ``store`` lacks. A point that fails does not end
    the others; raises ``InputError`` where no point has a scenario, or the store cannot be written."""
    points = sweep.points
    tasks, refused = _tasks(sweep, points)
    if refused and not tasks:
        raise next(iter(refused.values()))
    store.check()
    found: dict[str, dict[str, Any]] = {}
    distinct = {task.key: task for task in reversed(tasks)}
    missing = []
    for task in reversed(distinct.values()):
        record = store.get(task.key)
        if record is None:
            missing.append(task)
        else:
            found[task.key] = record
    there = len(found)
    progress(len(distinct), there, 0)
    for done, outcome in enumerate((executor or Executor()).run(missing, store), 1):
        found[outcome.key] = outcome.record
        progress(len(distinct), there, done)
    keys = {task.number: task.key for task in tasks}
    records = [found[keys[i]] if i in keys else {"failed": str(refused[i])} for i in range(len(points))]
    return Swept(sweep, records, len(missing), len(distinct))


def _tasks(sweep: Sweep, points: Sequence[Point]) -> tuple[list[Task], dict[int, InputError]]:
    """Return a task for every point that has a scenario, and the errors of those that have none."""
    known, tasks, refused = Known(), [], {}
    for number, point in enumerate(points):
        try:
            asked = sweep.asked(point, known)
            tasks.append(Task(number, key(asked, known), asked))
        except InputError as error:
            refused[number] = error
    return tasks, refused
