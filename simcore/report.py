"""A result to a run folder and back: manifest, metrics, tables as Parquet; whole or not at all."""

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

from simcore import registry, scenario, source, traffic
from simcore.assembly import Result
from simcore.errors import InputError, quoted, reason, writing
from simcore.formats import comparison
from simcore.scenario import Scenario
from simcore.trace import SCHEMAS, Schemas, load_tables, natural, uninterrupted

MANIFEST = 1
"""Version of the layout of a run folder."""
MANIFEST_NAME = "manifest.yaml"
OWN = {
    MANIFEST_NAME,
    "metrics.json",
    comparison.FILE,
    *(f"{name}.{kind}" for name in ("timeline", "traffic") for kind in ("png", "svg", "pdf")),
    "report.html",
}
"""Files of a run folder that are simcore's, besides its tables: an older run's are replaced, whatever lies beside them
stays."""
PACKAGES = ("numpy", "numba", "simpy", "pyarrow")


def run_name(asked: Scenario) -> str:
    """Return the name of the run folder: the scenario's name and eight digits of the digest of everything that decides
    it, the contents of the files that it names included."""
    return f"{asked.name}-{scenario.fingerprint(asked)[:8]}"


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Give a temporary folder from which ``write_run`` moves files into ``target``; nothing half-written is ever left
    behind.

    Raises ``InputError`` when ``target`` exists and is no run folder, cannot be made, or has no room left.
    """
    place = _checked(target)
    with writing(target):
        there = place.is_dir()
        place.parent.mkdir(parents=True, exist_ok=True)
        # Inside a folder that exists, which may be all that its user can write to; beside one that does not, so that a
        # run that fails leaves none.
        folder = Path(tempfile.mkdtemp(prefix=".simcore-", dir=place if there else place.parent))
        folder.chmod(0o755)
    try:
        # A full disk is met as often by the tables that a run spills as by what is written at its end.
        with writing(target):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _checked(target: Path) -> Path:
    """Return ``target`` without symbolic links; raises ``InputError`` for anything but a run folder, an empty one, or
    none."""
    refusal = InputError(f"{target}: exists and is not a run folder; it is left alone, give another --out")
    try:
        place = target.resolve()
        there, folder = place.exists(), place.is_dir()
        empty = folder and not any(place.iterdir())
    except (OSError, RuntimeError) as error:
        told = reason(error) if isinstance(error, OSError) else "its links lead in a circle"
        raise InputError(f"{target}: cannot be written: {told}") from None
    if there and not folder:
        raise refusal
    if there and not empty:
        try:
            stated(place)
        except InputError:
            raise refusal from None
    return place


def write_run(result: Result, target: Path, staged: Path | None = None) -> Path:
    """Write ``result`` as the run folder ``target``; return it. Of an older run there only simcore's own files are
    replaced.

    ``staged`` is the folder to which the run spilled its tables, if it did.
    """
    if staged is None:
        with staging(target) as folder:
            return write_run(result, target, folder)
    with uninterrupted():
        return _written(result, target, staged)


def files(folder: Path) -> list[Path]:
    """Return the files of a run folder that are simcore's own, sorted by name."""
    names = {*OWN, *(f"{kind}.parquet" for kind in _schemas(folder))}
    return [folder / name for name in sorted(names) if (folder / name).is_file()]


def _schemas(folder: Path) -> Schemas:
    """Return the columns of the tables of the run in ``folder``; those of every run alone where it cannot be known
    which models took part."""
    try:
        jobs = source.read(folder / MANIFEST_NAME, inherit=False).value["scenario"]["workloads"]
        return {**SCHEMAS, **registry.tables(str(job["model"]) for job in jobs)}
    except (InputError, LookupError, TypeError):
        return SCHEMAS


def _written(result: Result, target: Path, staged: Path) -> Path:
    for kind, table in result.tables.items():
        if not (staged / f"{kind}.parquet").exists():
            pq.write_table(table, staged / f"{kind}.parquet")
    (staged / "metrics.json").write_text(json.dumps(result.metrics, indent=1) + "\n", encoding="utf-8")
    if result.compared:
        (staged / comparison.FILE).write_text(comparison.text(result.compared), encoding="utf-8")
    (staged / "manifest.yaml").write_text(_manifest(result), encoding="utf-8")
    place = target.resolve() if staged.parent == target.resolve() else _checked(target)
    if not place.exists():
        staged.rename(place)
        return target
    # The manifest, which makes a folder a run, goes first and comes last.
    for old in sorted(files(place), key=lambda path: path.name != MANIFEST_NAME):
        old.unlink()
    for new in sorted(staged.iterdir(), key=lambda path: path.name == MANIFEST_NAME):
        new.replace(place / new.name)
    return target


def _manifest(result: Result) -> str:
    import yaml

    status = "whole" if result.interrupted_at is None else "interrupted"
    manifest: dict[str, Any] = {"layout": MANIFEST, "status": status, "digest": result.digest}
    if result.interrupted_at is not None:
        manifest["interrupted_at_ps"] = result.interrupted_at
    manifest["warnings"] = result.warnings
    if result.scenario.places:
        manifest["stated"] = dict(sorted(result.scenario.places.items(), key=lambda item: natural(item[0])))
    inputs = scenario.digests(result.scenario)
    if inputs:
        manifest["sha256_of_inputs"] = inputs
    manifest["versions"] = {"simcore": version("simcore"), "python": platform.python_version()} | {
        name: version(name) for name in PACKAGES
    }
    return yaml.safe_dump(
        {"manifest": manifest, "scenario": scenario.resolved(result.scenario)}, sort_keys=False, width=120
    )


def rank_names(result: Result) -> list[str]:
    """Return what every rank number of the transfers stands for: the location of a rank, or behind them the GPU of
    background traffic."""
    asked = result.scenario
    several = len(asked.workloads) > 1
    ranks = [
        f"{job.name}.rank{rank}" if several else f"rank{rank}"
        for job in asked.workloads
        for rank in range(job.ranks or 0)
    ]
    background = traffic.endpoints(asked.traffic, sum(map(len, asked.nodes)))
    return ranks + [f"gpu{gpu} (traffic)" for gpu in background]


def load_run(folder: Path | str) -> Result:
    """Return the result in a run folder, as far as it is written there; raises ``InputError`` where it is none."""
    folder = Path(folder)
    about = stated(folder)
    try:
        tables = load_tables(folder, _schemas(folder))
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        compared = _compared(folder / comparison.FILE)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{folder}: the run folder is damaged: {str(error).splitlines()[0]}") from None
    return Result(
        scenario.read(folder / MANIFEST_NAME),
        tables,
        metrics,
        list(about["warnings"]),
        str(about.get("digest", "")),
        about.get("interrupted_at_ps"),
        compared=compared,
    )


def _compared(path: Path) -> list[comparison.Compared]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stored:
        return comparison.read(stored)


def stated(folder: Path) -> dict[str, Any]:
    """Return what the manifest in ``folder`` states of its run; raises ``InputError`` where it is no manifest of
    simcore's."""
    path = folder / MANIFEST_NAME
    if not source.is_file(path):
        raise InputError(f"{folder}: not a run folder (it holds no {MANIFEST_NAME})")
    manifest = source.read(path, inherit=False).value
    about = manifest.get("manifest") if isinstance(manifest, dict) else None
    if not isinstance(about, dict) or not isinstance(manifest.get("scenario"), dict):
        raise InputError(f"{path}: not the manifest of a run")
    if about.get("layout") != MANIFEST:
        raise InputError(f"{path}: layout {quoted(about.get('layout'))} of a run folder; this simcore reads {MANIFEST}")
    warnings, instant = about.setdefault("warnings", []), about.get("interrupted_at_ps")
    if not isinstance(warnings, list) or not isinstance(instant, int | None):
        raise InputError(f"{path}: 'warnings' must be a list, and 'interrupted_at_ps' a number of picoseconds")
    return about
