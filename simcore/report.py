"""A result to a run folder and back: manifest, metrics, tables as Parquet; whole or not at all."""

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from simcore import scenario, source
from simcore.assembly import Result
from simcore.errors import InputError
from simcore.scenario import Scenario
from simcore.trace import load_tables, uninterrupted

MANIFEST = 1
"""Version of the layout of a run folder."""
PACKAGES = ("numpy", "numba", "simpy", "pyarrow")


def run_name(asked: Scenario) -> str:
    """Return the name of the run folder: the scenario's name and eight digits of the digest of everything that decides
    it."""
    text = json.dumps(scenario.resolved(asked), sort_keys=True)
    return f"{asked.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``target`` that ``write_run`` moves into place; nothing half-written is ever left
    behind.

    Raises ``InputError`` when ``target`` exists and is no run folder, or cannot be made.
    """
    if target.exists() and not (target / "manifest.yaml").is_file() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: exists and is not a run folder; it is left alone, give another --out")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {(error.strerror or 'error').lower()}") from None
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_run(result: Result, target: Path, staged: Path | None = None) -> Path:
    """Write ``result`` as the run folder ``target``, replacing an older run of that name; return it.

    ``staged`` is the folder to which the run spilled its tables, if it did.
    """
    if staged is None:
        with staging(target) as folder:
            return write_run(result, target, folder)
    with uninterrupted():
        return _written(result, target, staged)


def _written(result: Result, target: Path, staged: Path) -> Path:
    for kind, table in result.tables.items():
        if not (staged / f"{kind}.parquet").exists():
            pq.write_table(table, staged / f"{kind}.parquet")
    (staged / "metrics.json").write_text(json.dumps(result.metrics, indent=1) + "\n", encoding="utf-8")
    (staged / "manifest.yaml").write_text(_manifest(result), encoding="utf-8")
    if target.exists():
        older = target.with_name(staged.name + "-older")
        target.rename(older)
        staged.rename(target)
        shutil.rmtree(older)
    else:
        staged.rename(target)
    return target


def _manifest(result: Result) -> str:
    import yaml

    status = "whole" if result.interrupted_at is None else "interrupted"
    manifest: dict[str, Any] = {"layout": MANIFEST, "status": status, "digest": result.digest}
    if result.interrupted_at is not None:
        manifest["interrupted_at_ps"] = result.interrupted_at
    manifest["warnings"] = result.warnings
    manifest["versions"] = {"simcore": version("simcore"), "python": platform.python_version()} | {
        name: version(name) for name in PACKAGES
    }
    return yaml.safe_dump(
        {"manifest": manifest, "scenario": scenario.resolved(result.scenario)}, sort_keys=False, width=120
    )


def load_run(folder: Path) -> Result:
    """Return the result in a run folder, as far as it is written there; raises ``InputError`` where it is none."""
    path = folder / "manifest.yaml"
    if not path.is_file():
        raise InputError(f"{folder}: not a run folder (it holds no manifest.yaml)")
    manifest = source.read(path, inherit=False).value
    if not isinstance(manifest, dict) or not isinstance(manifest.get("manifest"), dict):
        raise InputError(f"{path}: not the manifest of a run")
    stated = manifest["manifest"]
    try:
        tables = load_tables(folder)
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{folder}: the run folder is damaged: {str(error).splitlines()[0]}") from None
    return Result(
        scenario.read(path),
        tables,
        metrics,
        list(stated.get("warnings", [])),
        str(stated.get("digest", "")),
        stated.get("interrupted_at_ps"),
    )
