"""A whole paper: its experiments run, its claims judged, everything in one folder."""

import csv
import json
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from simcore import registry, source
from simcore.claims import experiments, figures, verdicts
from simcore.claims.experiments import Found
from simcore.claims.sheet import Paper, Range
from simcore.claims.verdicts import Judged
from simcore.errors import InputError, writing
from simcore.report import PACKAGES

LAYOUT = 1
"""Version of the layout of claims.json."""
RECORD = "claims.json"


@dataclass(frozen=True)
class Reproduction:
    """A paper with what its experiments gave and its claims judged."""

    paper: Paper
    found: dict[str, Found]
    judged: list[Judged]

    @property
    def missed(self) -> list[str]:
        """The claims that should hold and do not."""
        return [judged.claim.id for judged in self.judged if judged.verdict == "misses"]


def reproduce(paper: Paper, progress: Callable[[str], None] = lambda name: None) -> Reproduction:
    """Run every experiment that a claim or a figure of ``paper`` wants, and judge all claims; ``progress`` is told the
    name of each experiment before it runs."""
    wanted = [claim.experiment for claim in paper.sheet.claims]
    wanted += [name for figure in paper.sheet.figures.values() for name in figure.experiments]
    found = run(paper, wanted, progress)
    return Reproduction(paper, found, verdicts.judge(paper, found))


def run(paper: Paper, names: Sequence[str], progress: Callable[[str], None]) -> dict[str, Found]:
    """Return what the experiments called ``names`` give, each run once."""
    found = {}
    for name in experiments.needed(names):
        progress(name)
        found[name] = experiments.run(paper, name)
    return found


def check_folder(folder: Path) -> None:
    """Raise ``InputError`` where ``folder`` cannot be made, or holds anything, but no reproduction."""
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: exists and is no folder; give another --out")
    if folder.is_dir() and any(folder.iterdir()) and not source.is_file(folder / RECORD):
        raise InputError(f"{folder}: holds files, but no {RECORD}; it is left alone, give another --out")


def write(done: Reproduction, folder: Path, formats: Sequence[str] = ("png",), width: str = "screen") -> list[Path]:
    """Write tables, figures and the record of everything into ``folder``; return the files. They are written beside
    their place and moved there at the end, the record last; what else is there stays."""
    check_folder(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".simcore-", dir=folder) as name:
            staged = Path(name)
            written = [path for name, found in done.found.items() for path in write_tables(name, found, staged)]
            for name in done.paper.sheet.figures:
                written += figures.draw(done.paper, name, done.found, staged, formats, width)
            written.append(staged / RECORD)
            written[-1].write_text(json.dumps(record(done), indent=1) + "\n", encoding="utf-8")
            (folder / RECORD).unlink(missing_ok=True)
            return [path.replace(folder / path.name) for path in written]


def write_tables(name: str, found: Found, folder: Path) -> list[Path]:
    """Write the rows of an experiment as CSV and its kept tables as Parquet; return the files."""
    import pyarrow.parquet as pq

    path = folder / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(found.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found.rows)
    written = [path]
    for table, rows in found.tables.items():
        written.append(folder / f"{name}.{table}.parquet")
        pq.write_table(rows, written[-1])
    return written


def record(done: Reproduction) -> dict[str, Any]:
    """Return everything that was asked, found and judged, as plain values."""
    paper = done.paper
    return {
        "layout": LAYOUT,
        "paper": paper.name,
        "citation": registry.citation(paper.name),
        "basis": paper.sheet.basis,
        "versions": {"simcore": version("simcore"), "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "constants": {name: asdict(constant) for name, constant in paper.constants.items()},
        "score": score(done.judged),
        "claims": [_of_claim(judged) for judged in done.judged],
        "experiments": {name: _of_experiment(paper, name, found) for name, found in done.found.items()},
    }


def score(judged: Sequence[Judged]) -> dict[str, int]:
    """Return how many claims have each verdict."""
    verdict = [each.verdict for each in judged]
    return {name: verdict.count(name) for name in ("holds", "consistent", "misses", "not scored")}


def _of_claim(judged: Judged) -> dict[str, Any]:
    claim = judged.claim
    values = [
        {"group": group, "value": value} if group else {"value": value}
        for group, value in zip(judged.groups, judged.values, strict=True)
    ]
    return {
        "id": claim.id,
        "what": claim.what,
        "place": claim.place,
        "grade": claim.grade,
        "paper": asdict(claim.paper) if isinstance(claim.paper, Range) else claim.paper,
        "unit": claim.unit,
        "experiment": claim.experiment,
        "where": claim.where,
        "statistic": asdict(claim.statistic) if claim.statistic else None,
        "ours": values,
        "error": judged.error,
        "tolerance": str(claim.holds) if claim.holds else None,
        "verdict": judged.verdict,
        "why": judged.why,
        "because": judged.because,
        "note": claim.note,
    }


def _of_experiment(paper: Paper, name: str, found: Found) -> dict[str, Any]:
    return {
        **asdict(paper.sheet.experiments[name]),
        "seeds": sorted(set(found.seeds)),
        "cpu_s": round(found.cpu_s, 3),
        "warnings": found.warnings,
        "points": [row | {"digest": digest} for row, digest in zip(found.rows, found.digests, strict=True)],
    }
