"""A sweep folder: the table as Parquet and CSV, and a manifest that says of what; whole or not at all."""

import hashlib
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcore import source
from simcore.errors import InputError, writing
from simcore.executors import Swept
from simcore.executors.store import LIBRARIES
from simcore.sweep import Continuum, Sweep, table
from simcore.trace import uninterrupted

if TYPE_CHECKING:
    import pyarrow as pa

LAYOUT = 1
"""Version of the layout of a sweep folder."""
MANIFEST, PARQUET = "manifest.yaml", "points.parquet"
PICTURES = ("report.html", *(f"{kind}.{end}" for kind in ("line", "heatmap", "front") for end in ("png", "svg", "pdf")))
"""What `simcore report` and `simcore plot` write into a sweep folder, of the table that they found there."""
MOST_FAILURES = 1_000
"""Failures that the manifest lists; the table has them all."""


def usual(sweep: Sweep) -> Path:
    """Return the folder of ``sweep`` unless told otherwise: its name and eight digits of the digest of its points."""
    described = [sweep.base.value, list(map(_settings, sweep.points)), sweep.metrics]
    return Path("runs") / f"{sweep.name}-sweep-{hashlib.sha256(repr(described).encode()).hexdigest()[:8]}"


def _settings(point: Any) -> dict[str, Any]:
    return {key: part.value for key, part in point.changes.items()}


def check(folder: Path, kind: str = "sweep") -> None:
    """Raise ``InputError`` where ``folder`` holds anything, but nothing of its ``kind``: a sweep, or a study."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: exists and is no folder; give another --out")
    if folder.is_dir() and any(folder.iterdir()) and kind_of(folder) != kind:
        raise InputError(f"{folder}: exists and is not a {kind} folder; it is left alone, give another --out")


def kind_of(folder: Path) -> str:
    """Return what the manifest in ``folder`` says that it holds: a study, which speaks of its sweep too, or a sweep;
    empty where it says neither."""
    if not source.is_file(folder / MANIFEST):
        return ""
    try:
        stated = source.read(folder / MANIFEST, inherit=False).value
    except InputError:
        return ""
    return next((kind for kind in ("study", "sweep") if isinstance(stated, dict) and kind in stated), "")


def is_sweep(folder: Path) -> bool:
    """Return whether ``folder`` holds a sweep."""
    return kind_of(folder) == "sweep"


def load(folder: Path) -> tuple[dict[str, Any], "pa.Table"]:
    """Return the manifest and the table of the sweep in ``folder``; raises ``InputError`` where it holds none that can
    be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not is_sweep(folder):
        raise InputError(f"{folder}: is no sweep folder; simcore sweep writes one")
    about = source.read(folder / MANIFEST, inherit=False).value
    layout = about.get("manifest", {}).get("layout")
    if layout != LAYOUT:
        raise InputError(f"{folder / MANIFEST}: layout {layout}; this version reads {LAYOUT}: sweep again")
    try:
        found = pq.read_table(folder / PARQUET)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{folder / PARQUET}: cannot be read: {str(error).splitlines()[0]}; sweep again") from None
    missing = [name for name in about["manifest"]["axes"] if name not in found.column_names]
    if missing:
        raise InputError(f"{folder / PARQUET}: lacks the column {missing[0]}, which the manifest names; sweep again")
    return about, found


def write(swept: Swept, folder: Path) -> list[Path]:
    """Write the table and the manifest of ``swept`` into ``folder``; return the files. Raises ``InputError`` for a
    folder that is no sweep's, and for a metric that no point has."""
    found = table.arrow(table.columns(swept.sweep, swept.records))
    return put(folder, "sweep", lambda staged: write_table(found, staged, Path(PARQUET).stem), _manifest(swept))


def write_table(found: "pa.Table", folder: Path, name: str) -> list[str]:
    """Write a table as Parquet and CSV; return the names of both files."""
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    pq.write_table(found, folder / f"{name}.parquet")
    pa_csv.write_csv(found, folder / f"{name}.csv")
    return [f"{name}.parquet", f"{name}.csv"]


def put(folder: Path, kind: str, fill: Callable[[Path], list[str]], manifest: str) -> list[Path]:
    """Write what ``fill`` puts into a folder, and returns the names of, and the ``manifest`` into ``folder``, whole or
    not at all; return the files. Raises ``InputError`` for a folder of another ``kind``."""
    check(folder, kind)
    with writing(folder), uninterrupted():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".simcore-", dir=folder) as name:
            staged = Path(name)
            files = fill(staged)
            (staged / MANIFEST).write_text(manifest, encoding="utf-8")
            # The manifest, which says what a folder holds, goes first and comes last.
            (folder / MANIFEST).unlink(missing_ok=True)
            for older in PICTURES:
                (folder / older).unlink(missing_ok=True)
            return [(staged / each).replace(folder / each) for each in (*files, MANIFEST)]


def _manifest(swept: Swept) -> str:
    import yaml

    sweep, failures = swept.sweep, swept.failures
    about: dict[str, Any] = {
        "layout": LAYOUT,
        "points": len(swept.records),
        "failed": len(failures),
        "axes": table.axis_columns(sweep),
        "warnings": [*table.doubts(sweep, swept.records), *swept.warnings],
        "failures": [{"why": why, "command": sweep.command(point)} for point, why in failures[:MOST_FAILURES]],
        "versions": {"simcore": version("simcore"), "python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
    }
    return yaml.safe_dump(
        {"manifest": about, "sweep": described(sweep), "scenario": sweep.base.value}, sort_keys=False, width=120
    )


def described(sweep: Sweep) -> dict[str, Any]:
    """Return a sweep as plain values: its scenario, what is set, its axes with all values, and how they combine."""
    axes: dict[str, Any] = {}
    for name, axis in sweep.axes.items():
        if isinstance(axis, Continuum):
            low, high = axis.range.value(0), axis.range.value(1)
            axes[name] = {"set": axis.key, "range": f"{low}..{high} {axis.range.spacing}"}
        else:
            keys = list(dict.fromkeys(key for entry in axis for key in entry.changes))
            listed = {key: [entry.changes[key].value for entry in axis] for key in keys}
            axes[name] = {"values": [entry.value for entry in axis], "set": listed}
    samples = sweep.samples
    return {
        "scenario": str(sweep.file),
        "set": {key: part.value for key, part in sweep.fixed.items()},
        "axes": axes,
        **({"samples": {"count": samples.count, "method": samples.method, "seed": samples.seed}} if samples else {}),
        "repeats": sweep.repeats,
        "metrics": list(sweep.metrics),
    }
