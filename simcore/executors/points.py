"""One point of a sweep, computed: what came out, or why it failed."""

import dataclasses

from simcore import assembly
from simcore.assembly import Plans
from simcore.errors import SimcoreError, SimulationError, printable
from simcore.executors.tasks import Outcome, Task, failed

PER_PAIR = "bytes_per_pair"
"""The one metric that no record holds: a number for every pair of ranks, up to a million a point."""


def compute(task: Task, plans: Plans) -> Outcome:
    """Run the scenario of ``task``; whatever goes wrong is its outcome, and Ctrl-C goes on as ``KeyboardInterrupt``."""
    try:
        # Which keys somebody stated is no part of the key of a record, so no warning in it may speak of them.
        result = assembly.run(dataclasses.replace(task.asked), plans=plans)
    except SimcoreError as error:
        return Outcome(task.number, task.key, {"failed": str(error)}, isinstance(error, SimulationError))
    except Exception as error:
        # A model that breaks at one point must not end the other points.
        said = printable(f"{type(error).__name__}: {error}", 500)
        return failed(task, said)
    if result.interrupted_at is not None:
        raise KeyboardInterrupt
    metrics = {name: value for name, value in result.metrics.items() if name != PER_PAIR}
    read = sorted(".".join(map(str, keys)) for keys in result.read)
    record = {"metrics": metrics, "warnings": result.warnings, "digest": result.digest, "read": read}
    return Outcome(task.number, task.key, record)
