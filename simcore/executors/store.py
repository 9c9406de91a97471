"""Results by what decides them: the resolved scenario, the contents of its files, and the source that simulates it."""

import hashlib
import json
import os
import platform
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from simcore import registry, scenario
from simcore.errors import InputError, writing
from simcore.scenario import Known, Scenario

LAYOUT = 1
"""Version of the layout of a record."""
LIBRARIES = ("numba", "numpy", "pyarrow", "simpy")
"""Libraries that take part in a run."""
ABOVE = (
    "bench", "calibration", "claims", "cli", "columns", "executors", "explanation", "notebook", "outputs", "page",
    "plot", "report", "scaffold", "studies", "summary", "sweep", "testing", "timing", "validation",
)  # fmt: skip
"""Modules of the core that no run reaches: a change of theirs changes no result."""


def key(asked: Scenario, known: Known) -> str:
    """Return the digest, hexadecimal, of everything that decides the run of ``asked``."""
    models = tuple(sorted({job.model for job in asked.workloads}))
    text = json.dumps([LAYOUT, repr(asked), scenario.digests(asked, known), code(models)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def code(models: tuple[str, ...]) -> str:
    """Return the digest of the core's source, of the ``models``' and of the versions of what they stand on."""
    core = Path(scenario.__file__).parent
    seen = hashlib.sha256(f"{platform.python_version()} {[version(name) for name in LIBRARIES]}".encode())
    found = [(path.relative_to(core), path) for path in core.rglob("*.py")]
    files = [(str(name), path) for name, path in found if name.parts[0].removesuffix(".py") not in ABOVE]
    for model in models:
        folder = registry.folders()[model]
        # What stands in YAML beside a model is read as part of a scenario, or not at all.
        files += [(f"{model}/{path.relative_to(folder)}", path) for path in folder.rglob("*.py")]
    for name, path in sorted(files):
        content = path.read_bytes()
        seen.update(f"{name}:{len(content)};".encode() + content)
    return seen.hexdigest()


class Store:
    """A folder with a record a point, each written whole or not at all, so that any number of processes may write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return where the record with ``key`` is or would be."""
        return self.folder / key[:2] / f"{key[2:]}.json"

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the record with ``key``, or None where there is none that can be read."""
        try:
            found = json.loads(self.path(key).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def put(self, key: str, record: dict[str, Any]) -> None:
        """Keep ``record``; raises ``InputError`` where it cannot be written."""
        path = self.path(key)
        with writing(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", dir=path.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    json.dump(record, stream)
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def check(self) -> None:
        """Raise ``InputError`` now where nothing can be written here."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK):
            raise InputError(f"{self.folder}: cannot be written")
