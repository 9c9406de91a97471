"""What is given out to be computed, and what comes back."""

from dataclasses import dataclass
from typing import Any

from simcore.scenario import Scenario


@dataclass(frozen=True)
class Task:
    """A point to be computed: its number, the key of its record, and its scenario."""

    number: int
    key: str
    asked: Scenario


@dataclass(frozen=True)
class Outcome:
    """The record of a task, and whether it is decided by the key alone, so that it may be kept."""

    number: int
    key: str
    record: dict[str, Any]
    lasting: bool = True


def failed(task: Task, why: str) -> Outcome:
    """Return the outcome of a task that failed for a reason outside its scenario."""
    return Outcome(task.number, task.key, {"failed": why}, lasting=False)
