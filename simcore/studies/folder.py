"""The folder of a study: its table as Parquet and CSV, its figure, and a manifest that says of what."""

import hashlib
import json
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from simcore import source
from simcore.errors import InputError, writing
from simcore.executors.folder import described
from simcore.studies import figures, optimum, sensitivity
from simcore.sweep import Sweep, table
from simcore.trace import uninterrupted

LAYOUT = 1
"""Version of the layout of a study's folder."""
MANIFEST = "manifest.yaml"


def usual(sweep: Sweep, kind: str, asked: object) -> Path:
    """Return the folder of a study unless told otherwise: its name, and eight digits of the digest of what is asked."""
    text = repr([sweep.base.value, described(sweep), asked])
    return Path("runs") / f"{sweep.name}-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def check(folder: Path) -> None:
    """Raise ``InputError`` where ``folder`` holds anything, but no study."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: exists and is no folder; give another --out")
    if folder.is_dir() and any(folder.iterdir()) and not _is_study(folder):
        raise InputError(f"{folder}: exists and is no folder of a study; it is left alone, give another --out")


def _is_study(folder: Path) -> bool:
    try:
        stated = source.read(folder / MANIFEST, inherit=False).value
    except InputError:
        return False
    return isinstance(stated, dict) and "study" in stated


def write_sensitivity(sweep: Sweep, found: sensitivity.Found, folder: Path) -> list[Path]:
    """Write what moves the metrics; return the files."""
    names = list(dict.fromkeys(name for row in found.rows for name in row))
    columns = {name: [row.get(name) for row in found.rows] for name in names}
    about = {"kind": "sensitivity", **asdict(found.asked), "points": len(found.swept.records)}
    title = f"{sweep.name}: what moves {', '.join(found.asked.metrics)}"
    return _write(sweep, about, "sensitivity", columns, folder, lambda p: figures.draw_sensitivity(found, title, p))


def write_optimum(sweep: Sweep, found: optimum.Found, folder: Path) -> list[Path]:
    """Write every trial; return the files."""
    asked = found.asked
    columns = table.columns(found.swept.sweep, found.swept.records)
    taken = {"digest": columns.pop("digest"), "failed": [trial.failed or None for trial in found.trials]}
    columns.pop("failed")
    for k, objective in enumerate(asked.objectives):
        way = 1 if objective.way == "minimise" else -1
        columns[f"{objective.way}: {objective.formula}"] = [
            way * trial.costs[k] if trial.costs else None for trial in found.trials
        ]
    for k, limit in enumerate(asked.limits):
        columns[f"excess: {limit}"] = [trial.excess[k] if trial.excess else None for trial in found.trials]
    best = {trial.number for trial in found.best}
    columns["best"] = [trial.number in best for trial in found.trials]
    about = {
        "kind": "optimize",
        "objectives": [f"{objective.way} {objective.formula}" for objective in asked.objectives],
        "keep": [str(limit) for limit in asked.limits],
        "budget": asked.budget, "seed": asked.seed, "exhaustive": found.exhaustive,
        "best": [{"point": trial.number, "command": found.swept.sweep.command(found.swept.sweep.points[trial.number])}
                 for trial in found.best],
    }  # fmt: skip
    goal = " and ".join(f"{objective.way} {objective.formula}" for objective in asked.objectives)
    limits = f", keeping {', '.join(map(str, asked.limits))}" if asked.limits else ""
    title = f"{sweep.name}: {goal}{limits}"
    return _write(
        sweep, about, "trials", columns | taken, folder,
        lambda path: figures.draw_optimum(found, title, path.with_name("optimize.png")),
    )  # fmt: skip


def _write(
    sweep: Sweep, about: dict[str, Any], name: str, columns: Mapping[str, Sequence[Any]], folder: Path,
    draw: Callable[[Path], Path],
) -> list[Path]:  # fmt: skip
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq
    import yaml

    check(folder)
    found = table.arrow(columns)
    packages = [*("numpy", "numba", "simpy", "pyarrow"), *_extras(about)]
    versions = {"simcore": version("simcore"), "python": platform.python_version()}
    plain = json.loads(json.dumps(about))
    text = yaml.safe_dump(
        {
            "manifest": {"layout": LAYOUT, "versions": versions | {each: version(each) for each in packages}},
            "study": plain, "sweep": described(sweep), "scenario": sweep.base.value,
        },
        sort_keys=False, width=120,
    )  # fmt: skip
    with writing(folder), uninterrupted():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".simcore-", dir=folder) as scratch:
            staged = Path(scratch)
            pq.write_table(found, staged / f"{name}.parquet")
            pa_csv.write_csv(found, staged / f"{name}.csv")
            drawn = draw(staged / f"{name}.png").name
            (staged / MANIFEST).write_text(text, encoding="utf-8")
            # The manifest, which makes a folder a study, goes first and comes last.
            (folder / MANIFEST).unlink(missing_ok=True)
            files = (f"{name}.parquet", f"{name}.csv", drawn, MANIFEST)
            return [(staged / each).replace(folder / each) for each in files]


def _extras(about: dict[str, Any]) -> list[str]:
    if about["kind"] == "optimize":
        return [] if about["exhaustive"] else ["optuna"]
    return [] if about["method"] == "one_at_a_time" else ["SALib"]
