"""Which workloads there are: each folder of `models/`, and each entry point of the group `simcore.models`."""

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from simcore import source
from simcore.errors import InputError

if TYPE_CHECKING:
    from simcore.workload import Workload

GROUP = "simcore.models"


@cache
def _outside() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def folders() -> dict[str, Path]:
    """Return the bundled papers by name, without importing any; a leading underscore hides a folder."""
    return {path.parent.name: path.parent for path in sorted(source.bundle("models").glob("[!_]*/__init__.py"))}


def names() -> list[str]:
    """Return the names of all workloads, sorted; the same name twice is an error, never "the last one wins"."""
    bundled, outside = folders(), _outside()
    twice = sorted(set(bundled) & set(outside))
    if twice:
        raise InputError(
            f"the model {twice[0]!r} is bundled and also given by the entry point "
            f"{outside[twice[0]].value!r}; rename one"
        )
    return sorted({*bundled, *outside})


def load(name: str) -> "Workload":
    """Return the workload ``name``, imported now; raises ``InputError`` with the nearest spelling."""
    if name not in names():
        raise InputError(source.unknown("model", name, names()))
    module = _outside()[name].load() if name in _outside() else import_module(f"simcore.models.{name}")
    workload: Workload = module.WORKLOAD()
    return workload


def citation(name: str) -> str:
    """Return the first line of the model's docstring, its citation, without importing the model where it is bundled."""
    import ast

    if name in folders():
        tree = ast.parse((folders()[name] / "__init__.py").read_text(encoding="utf-8"))
        doc = ast.get_docstring(tree) or ""
    else:
        doc = _outside()[name].load().__doc__ or ""
    return doc.splitlines()[0] if doc else ""
