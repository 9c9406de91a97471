"""The folder of a study: its table as Parquet and CSV, its figure, and a manifest that says of what."""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from simcore.executors import folder as folders
from simcore.executors.store import LIBRARIES
from simcore.studies import figures, optimum, sensitivity
from simcore.sweep import Sweep, table

LAYOUT = 1
"""Version of the layout of a study's folder."""
KIND = "study"


def usual(sweep: Sweep, kind: str, asked: object) -> Path:
    """Return the folder of a study unless told otherwise: its name, and eight digits of the digest of what is asked."""
    text = repr([sweep.base.value, folders.described(sweep), asked])
    return Path("runs") / f"{sweep.name}-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def check(folder: Path) -> None:
    """Raise ``InputError`` where ``folder`` holds anything, but no study."""
    folders.check(folder, KIND)


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
    import yaml

    found = table.arrow(columns)
    packages = [*LIBRARIES, *_extras(about)]
    versions = {"simcore": version("simcore"), "python": platform.python_version()}
    plain = json.loads(json.dumps(about))
    text = yaml.safe_dump(
        {
            "manifest": {"layout": LAYOUT, "versions": versions | {each: version(each) for each in packages}},
            KIND: plain, "sweep": folders.described(sweep), "scenario": sweep.base.value,
        },
        sort_keys=False, width=120,
    )  # fmt: skip
    return folders.put(
        folder,
        KIND,
        lambda staged: [*folders.write_table(found, staged, name), draw(staged / f"{name}.png").name],
        text,
    )


def _extras(about: dict[str, Any]) -> list[str]:
    if about["kind"] == "optimize":
        return [] if about["exhaustive"] else ["optuna"]
    return [] if about["method"] == "one_at_a_time" else ["SALib"]
