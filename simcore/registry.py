"""Which workloads there are: each folder of `models/`, and each entry point of the group `simcore.models`."""

import ast
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcore import source
from simcore.errors import InputError
from simcore.trace import SCHEMAS, Column, Schemas

if TYPE_CHECKING:
    from simcore.workload import Workload

GROUP = "simcore.models"


@cache
def _outside() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def folders() -> dict[str, Path]:
    """Return the folder of every workload by name, sorted, without importing any; a leading underscore hides a folder.

    The same name twice is an ``InputError``, never "the last one wins", and so is an entry point to no package.
    """
    found = {path.parent.name: path.parent for path in source.bundle("models").glob("[!_]*/__init__.py")}
    for name, point in _outside().items():
        if name in found:
            raise InputError(
                f"the model {name!r} is bundled and also given by the entry point {point.value!r}; rename one"
            )
        spec = find_spec(point.module)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"the model {name!r}: its entry point {point.value!r} names no package that is there; "
                "install it again, or pip uninstall it"
            )
        found[name] = Path(next(iter(spec.submodule_search_locations)))
    return dict(sorted(found.items()))


def folder(name: str) -> Path:
    """Return the folder of the workload ``name``; raises ``InputError`` with the nearest spelling."""
    found = folders()
    if name not in found:
        raise InputError(source.unknown("model", name, list(found)))
    return found[name]


def load(name: str) -> "Workload":
    """Return the workload ``name``, imported now; raises ``InputError`` with the nearest spelling."""
    folder(name)
    workload: Workload = import_module(_package(name)).WORKLOAD()
    return workload


def _package(name: str) -> str:
    return _outside()[name].module if name in _outside() else f"simcore.models.{name}"


def part(name: str, module: str, function: str) -> Callable[..., Any]:
    """Return a function of a module beside the workload ``name``; raises ``InputError`` where there is none."""
    path = folders()[name] / f"{module}.py"
    if not path.is_file():
        raise InputError(f"the model {name!r} has no {path.name}, in which {function!r} would stand")
    functions = {
        key: value
        for key, value in vars(import_module(f"{_package(name)}.{module}")).items()
        if isfunction(value) and not key.startswith("_")
    }
    if function not in functions:
        raise InputError(source.unknown(f"function of {path.name}", function, list(functions)))
    return functions[function]


def tables(models: Iterable[str]) -> dict[str, tuple[Column, ...]]:
    """Return the tables that the programs of ``models`` write besides those of every run; raises ``InputError`` where
    two have one name, or a table does not begin with ``location``."""
    found: dict[str, tuple[Column, ...]] = {}
    for name in dict.fromkeys(models):
        own: Schemas = getattr(load(name), "tables", {})
        for table, columns in own.items():
            if table in found or table in SCHEMAS:
                raise InputError(f"the model {name!r} has a table {table!r}, which is there already; call it else")
            if not columns or columns[0].name != "location":
                raise InputError(f"the model {name!r}: the first column of its table {table!r} is 'location'")
            found[table] = columns
    return found


def citation(name: str) -> str:
    """Return the first line of the model's docstring, its citation, without importing the model."""
    tree = ast.parse((folders()[name] / "__init__.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]
