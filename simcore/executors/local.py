"""Serial, and processes of this machine: started once, each with the plans that it has made."""

import contextlib
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

from simcore import fabric
from simcore.assembly import Plans
from simcore.errors import InputError
from simcore.executors.points import compute
from simcore.executors.store import Store
from simcore.executors.tasks import Outcome, Task, failed
from simcore.hardware import Queues

MOST_DEATHS = 2
"""Times that a task may lose its worker before it counts as failed: what killed two will kill a third."""
SPARE_S = 5.0
"""Seconds in which a worker that is told to end does."""


def serial(tasks: Sequence[Task], store: Store) -> Iterator[Outcome]:
    """Yield the outcome of every task, computed here, one after another, each kept as soon as it is there."""
    plans = Plans()
    for task in tasks:
        yield _kept(compute(task, plans), store)


def _kept(outcome: Outcome, store: Store) -> Outcome:
    if outcome.lasting:
        store.put(outcome.key, outcome.record)
    return outcome


@dataclass
class _Worker:
    process: Any
    pipe: "connection.Connection[Any, Any]"
    task: Task | None = None


def processes(tasks: Sequence[Task], store: Store, count: int) -> Iterator[Outcome]:
    """Yield the outcome of every task in the order in which ``count`` worker processes end them. A worker keeps what
    it has found before it says so; one that dies is replaced, and its task given to another.

    Loops that are not compiled yet are compiled here, before there are workers that would all do so.
    """
    first = list({_loops(task): task for task in reversed(tasks)}.values())
    cold = {task.number for task in first if not fabric.compiled(*_loops(task))}
    yield from serial([task for task in tasks if task.number in cold], store)
    waiting = deque(task for task in tasks if task.number not in cold)
    workers = [_start(store.folder) for _ in range(min(count, len(waiting)))]
    deaths: dict[int, int] = {}
    try:
        while waiting or any(worker.task for worker in workers):
            for i, worker in enumerate(workers):
                if worker.task is None and waiting:
                    task = waiting.popleft()
                    workers[i] = worker = worker if worker.process.is_alive() else _replaced(worker, store)
                    worker.task = task
                    _give(worker, task)
            busy = [worker for worker in workers if worker.task]
            ready = connection.wait([worker.pipe for worker in busy])
            for worker in (worker for worker in busy if worker.pipe in ready):
                outcome = _received(worker, store, deaths)
                if outcome is None:
                    assert worker.task is not None
                    waiting.appendleft(worker.task)
                else:
                    yield outcome
                worker.task = None
    finally:
        _end(workers)


def _loops(task: Task) -> tuple[Any, Queues]:
    return task.asked.machine.sharing, task.asked.machine.queues or Queues()


def _give(worker: _Worker, task: Task) -> None:
    # Where it has died meanwhile, that shows when its answer is read.
    with contextlib.suppress(OSError):
        worker.pipe.send(task)


def _received(worker: _Worker, store: Store, deaths: dict[int, int]) -> Outcome | None:
    """Return what a worker has found, or None where it died and its task is to be given to another."""
    task = worker.task
    assert task is not None
    try:
        outcome: Outcome | InputError = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(SPARE_S)
        record = store.get(task.key)
        if record is not None:
            return Outcome(task.number, task.key, record)
        deaths[task.number] = deaths.get(task.number, 0) + 1
        if deaths[task.number] < MOST_DEATHS:
            return None
        return failed(task, f"{_cause(worker.process.exitcode)}, {MOST_DEATHS} times")
    if isinstance(outcome, InputError):
        raise outcome
    return outcome


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        ended = signal.Signals(-exitcode).name
        return f"its process was ended by {ended}" + (" (out of memory?)" if ended == "SIGKILL" else "")
    return f"its process ended with exit code {exitcode}"


def _start(folder: Path) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, folder), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _replaced(worker: _Worker, store: Store) -> _Worker:
    worker.pipe.close()
    return _start(store.folder)


def _work(pipe: "connection.Connection[Any, Any]", folder: Path) -> None:
    """Compute what comes through the pipe until its other end is gone."""
    # Ctrl-C reaches every process of the terminal; the one that gives out the work ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store, plans = Store(folder), Plans()
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        found: Outcome | InputError
        try:
            found = _kept(compute(task, plans), store)
        except InputError as error:
            # The store cannot be written: that ends the sweep, there where its user sees it.
            found = error
        try:
            pipe.send(found)
        except OSError:
            return


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.pipe.close()
        if worker.task is not None:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(SPARE_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()
