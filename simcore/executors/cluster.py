"""A Dask cluster: one of this machine for the length of a sweep, or any whose scheduler has an address."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from typing import Any

from simcore.assembly import Plans
from simcore.errors import InputError, printable
from simcore.executors.points import compute
from simcore.executors.store import Store, key
from simcore.executors.tasks import Outcome, Task, failed
from simcore.scenario import Known

AHEAD = 8
"""Tasks given out for each thread of the cluster: so many that none waits for the next."""
PATIENCE_S = 30
"""Seconds in which a scheduler answers."""

ANY_PORT = ":0"
"""Where a cluster of this machine serves its health page: on the usual port another cluster may be."""

_one = threading.Lock()


def dask(tasks: Sequence[Task], store: Store, count: int, scheduler: str = "") -> Iterator[Outcome]:
    """Yield the outcome of every task in the order in which they end on the cluster of ``scheduler``, or on ``count``
    processes here, each kept as soon as it arrives; raises ``InputError`` without Dask or without an answer."""
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError:
        raise InputError("--executor dask needs Dask; install simcore[dask]") from None
    with ExitStack() as stack:
        if not scheduler:
            local = LocalCluster(n_workers=count, threads_per_worker=1, processes=True, dashboard_address=ANY_PORT)
            scheduler = stack.enter_context(local).scheduler_address
        if scheduler.rpartition(":")[2].strip("/").isdigit() is False:
            raise InputError(f"--scheduler {scheduler}: has no port; give its address, e.g. tcp://host:8786")
        try:
            client = stack.enter_context(Client(scheduler, timeout=PATIENCE_S, set_as_default=False))
        except (OSError, ValueError, TimeoutError) as error:
            said = printable(str(error) or type(error).__name__, 200)
            raise InputError(
                f"--scheduler {scheduler}: no answer: {said}; give its address, e.g. tcp://host:8786"
            ) from None
        try:
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except TimeoutError:
            raise InputError(
                f"--scheduler {scheduler}: has no workers after {PATIENCE_S} s; start one: dask worker {scheduler}"
            ) from None
        token = f"{id(store)}-{client.id}"
        waiting = iter(tasks)
        given: dict[str, Task] = {}
        ahead = max(AHEAD * sum(client.nthreads().values()), AHEAD)
        done = as_completed(loop=client.loop)
        while True:
            while len(given) < ahead and (task := next(waiting, None)) is not None:
                future = client.submit(_computed, task, token, pure=False)
                given[future.key] = task
                done.add(future)
            if not given:
                return
            future = next(done)
            task = given.pop(future.key)
            outcome = _outcome(future, task)
            if outcome.lasting:
                store.put(outcome.key, outcome.record)
            yield outcome


def _outcome(future: Any, task: Task) -> Outcome:
    if future.status == "finished":
        found: Outcome = future.result()
        return found
    error = future.exception() if future.status == "error" else None
    if isinstance(error, InputError):
        raise error
    name = type(error).__name__ if error is not None else future.status
    if name == "KilledWorker":
        return failed(task, "the workers that computed it died, one after another (out of memory?)")
    return failed(task, printable(f"{name}: {error}", 500))


@lru_cache(maxsize=1)
def _of_sweep(token: str) -> tuple[Plans, Known]:
    """Return what this process knows of the sweep ``token``: files may be others in the next one."""
    return Plans(), Known()


def _computed(task: Task, token: str) -> Outcome:
    """Compute a task on a worker, one at a time in a process; raises ``InputError`` where it would be another run."""
    with _one:
        plans, known = _of_sweep(token)
        if key(task.asked, known) != task.key:
            raise InputError(
                "a worker of the cluster has another version of simcore, of a library or of an input file than this "
                "machine; install the same on both"
            )
        return compute(task, plans)
