"""Commands on many runs: sweep."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from simcore.cli._console import print_files, say
from simcore.errors import InputError, Interrupted

if TYPE_CHECKING:
    from simcore.executors import Executor, Swept
    from simcore.executors.store import Store

FAILED = 4
"""Exit code where some points failed."""
MOST_SAID = 10
"""Failures and warnings that are printed; the manifest lists more."""

SweepName = Annotated[
    str, typer.Argument(metavar="SWEEP", help="A sweep file, or a scenario by file, name, paper or run folder.")
]
Axes = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUES",
        help="Values parted by commas, or a range: '50 GB/s..400 GB/s log 8'. One value holds for all points.",
    ),
]
Metrics = Annotated[
    list[str], typer.Option("--metric", metavar="PATH", help="A further column, by its path in metrics.json.")
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default one for each core.")]
Kind = Annotated[Literal["processes", "serial", "dask"], typer.Option("--executor", help="Where points are computed.")]
Scheduler = Annotated[str, typer.Option("--scheduler", metavar="ADDRESS", help="The scheduler of a Dask cluster.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The folder of the results.")]
StoreFolder = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="Where computed points are kept; default runs/.points.")
]


def sweep(
    name: SweepName,
    overrides: Axes = [],  # noqa: B006 typer copies it
    zipped: Annotated[
        list[str], typer.Option("--zip", metavar="KEY=VALUES", help="All keys given so change together, on one axis.")
    ] = [],  # noqa: B006
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Draw so many points, not every combination.")
    ] = None,
    sampling: Annotated[
        Literal["latin_hypercube", "random"] | None, typer.Option("--sampling", help="How samples are drawn.")
    ] = None,
    sample_seed: Annotated[int | None, typer.Option("--sample-seed", min=0, help="Seed of the samples.")] = None,
    repeats: Annotated[
        int | None, typer.Option("--repeats", min=1, help="Run each point so often, with seeds of its own.")
    ] = None,
    metrics: Metrics = [],  # noqa: B006
    workers: Workers = None,
    kind: Kind = "processes",
    scheduler: Scheduler = "",
    out: Out = None,
    store: StoreFolder = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw line.png too; simcore plot draws more.")] = False,
) -> None:
    """Run a scenario with every combination of values; write one table. Points that were computed before are read."""
    from dataclasses import replace

    from simcore import executors
    from simcore.executors import folder
    from simcore.sweep import Samples, reading

    asked = reading.read(name, overrides, zipped)
    if samples or sampling or sample_seed is not None:
        if asked.samples is None and samples is None:
            raise InputError("--sampling and --sample-seed say how --samples are drawn; say how many")
        stated = asked.samples or Samples(samples or 1)
        seed = stated.seed if sample_seed is None else sample_seed
        asked = replace(asked, samples=Samples(samples or stated.count, sampling or stated.method, seed))
    asked = replace(asked, repeats=repeats or asked.repeats, metrics=(*asked.metrics, *metrics))
    target = out or folder.usual(asked)
    folder.check(target)
    begin = time.monotonic()
    with computing(store) as (kept, progress):
        swept = executors.run(asked, kept, executor(kind, workers, scheduler), progress)
    files = folder.write(swept, target)
    _print(swept, time.monotonic() - begin)
    print_files(files)
    if plot and len(swept.failures) < len(swept.records):
        _draw(target)
    if swept.failures:
        raise typer.Exit(FAILED)


def _draw(folder: Path) -> None:
    from simcore import executors
    from simcore import plot as drawing

    print_files([drawing.save(drawing.sweep(executors.folder.load(folder)), folder / "line.png")])


def executor(kind: Literal["processes", "serial", "dask"], workers: int | None, scheduler: str) -> "Executor":
    """Return the executor that the options ask for; raises ``InputError`` where they do not fit."""
    from simcore.executors import Executor

    if scheduler and kind != "dask":
        raise InputError(f"--scheduler {scheduler}: only of --executor dask")
    if scheduler and workers is not None:
        raise InputError("--workers: the scheduler has its own; leave it out")
    return Executor(kind, workers or len(os.sched_getaffinity(0)), scheduler)


@contextmanager
def computing(store: Path | None) -> "Iterator[tuple[Store, Progress]]":
    """Give a store and something to report progress to on stderr; Ctrl-C says what it leaves behind."""
    from simcore import executors
    from simcore.executors.store import Store

    kept = Store(store or executors.STORE)
    with Progress() as progress:
        try:
            yield kept, progress
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; {progress.there + progress.done} of {progress.total} runs are kept in {kept.folder}, "
                "and the same command goes on from there"
            ) from None


def _print(swept: "Swept", elapsed: float) -> None:
    from simcore.sweep import table

    points, failures = len(swept.records), swept.failures
    read = swept.runs - swept.computed
    print(
        f"{swept.sweep.name}: {points} points, {swept.computed} runs computed, {read} read, {len(failures)} points "
        f"failed; {elapsed:.1f} s"
    )
    for sentence in table.doubts(swept.sweep, swept.records):
        print(f"warning  {sentence}")
    warned = swept.warnings
    for sentence, count in list(warned.items())[:MOST_SAID]:
        print(f"warning  {sentence}" + (f" ({count} of {points} points)" if count < points else ""))
    if len(warned) > MOST_SAID:
        print(f"warning  and {len(warned) - MOST_SAID} more, in the manifest")
    for point, why in failures[:MOST_SAID]:
        print(f"failed   {why}\n         {swept.sweep.command(point)}")
    if len(failures) > MOST_SAID:
        print(f"failed   and {len(failures) - MOST_SAID} more points, in the manifest")


class Progress:
    """Shows how many runs are computed and the time left on stderr, once a second, where it takes more than two."""

    def __init__(self) -> None:
        self._begin = self._last = time.monotonic()
        self._shown = False
        self.total = self.there = self.done = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            say("")

    def __call__(self, total: int, there: int, done: int) -> None:
        """Take note of a run, and show it now and then."""
        now = time.monotonic()
        self.total, self.there, self.done = total, there, done
        if done <= 1:
            # The first one waits for everything to be loaded and compiled.
            self._begin = now
        if now - self._last < 1 or now - self._begin < 2 or not sys.stderr.isatty():
            return
        self._last = now
        left = (now - self._begin) / (done - 1) * (total - there - done)
        text = f"{there + done} of {total} runs, about {left:.0f} s left"
        print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)
        self._shown = True
