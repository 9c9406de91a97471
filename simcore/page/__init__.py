"""Pages that explain a run, a sweep or two runs: each one HTML file that opens from disk and fetches nothing."""

from pathlib import Path
from typing import Any

from simcore import report
from simcore.assembly import Result
from simcore.errors import InputError, writing
from simcore.executors import folder as folders
from simcore.page import bars, chapters, detail, differences, origins, paired, sweeps, waits
from simcore.page.markup import SWEEP, document
from simcore.units import TIME, short

RUN_PAGE = "report.html"
"""Name of a run's page in its folder."""
NEEDED = (
    "makespan_ps", "jobs", "links.used", "links.utilisation_mean", "links.utilisation_peak", "transfers.messages",
    "transfers.data_bytes", "transfers.flag_bytes", "queue_delay_ps.mean", "queue_delay_ps.p95", "queue_delay_ps.max",
    "flags.waits", "flags.flag_reads", "flags.wakeups",
)  # fmt: skip
"""Metrics that every page of a run shows."""


def write(folder: Path, path: Path | None = None) -> Path:
    """Write the page of the run or the sweep in ``folder``, ``report.html`` in it unless ``path`` says otherwise;
    return its path. Raises ``InputError`` where ``folder`` holds neither, or the page cannot be written."""
    if not folders.is_sweep(folder):
        return write_run(folder, path)
    about, found = folders.load(folder)
    subtitle, parts, data = sweeps.page_parts(about, found)
    name = folder.resolve().name
    return save(document(name, subtitle, parts, data, SWEEP), path or folder / RUN_PAGE)


def write_run(folder: Path, path: Path | None = None) -> Path:
    """Write the page of the run in ``folder``, ``report.html`` in it unless ``path`` says otherwise; return its path.

    Raises ``InputError`` where ``folder`` is no run folder, or the page cannot be written.
    """
    return save(run_page(loaded(folder), folder), path or folder / RUN_PAGE)


def loaded(folder: Path) -> Result:
    """Return the run in ``folder``; raises ``InputError`` where it is none, or lacks a metric that its page shows, as
    one that another version wrote."""
    result = report.load_run(folder)
    for name in NEEDED:
        found: Any = result.metrics
        for key in name.split("."):
            if not isinstance(found, dict) or key not in found:
                raise InputError(f"{folder / 'metrics.json'}: lacks {name}, which this version writes; simulate again")
            found = found[key]
    return result


def run_page(result: Result, folder: Path) -> str:
    """Return the page of ``result``, whose hardware sheet is looked for in ``folder`` too."""
    asked, end, ranks = result.scenario, last_end(result), report.rank_names(result)
    lines, lanes = bars.timeline(result.tables, end, ranks), detail.links(result.tables, end)
    cells = detail.pairs(result.tables, ranks)
    parts = [
        chapters.summary(result),
        chapters.warnings(result),
        chapters.timeline(lines),
        chapters.links(lanes),
        chapters.drawing(result, detail.means(result.tables, end)),
        chapters.matrix(cells),
        *chapters.waiting(result, ranks),
        *([chapters.measured_beside(result)] if result.compared else []),
        origins.parameters(result, folder),
        chapters.metrics(result),
        origins.origin(result, folder),
    ]
    policy = f", wait policy {asked.wait.policy}" if result.metrics["flags"]["waits"] else ""
    models = ", ".join(dict.fromkeys(job.model for job in asked.workloads))
    about = (
        f"{models} on {asked.machine.gpu_count:,} GPUs of {asked.machine.name}{policy}: "
        f"{short(result.metrics['makespan_ps'], TIME)} simulated"
    )
    data: dict[str, Any] = {"timeline": lines, "links": lanes, "pairs": cells, "shares": waits.shares(lines)}
    return document(asked.name, about, parts, data | waits.curves(result.tables, end))


def write_comparison(first: Path, second: Path, path: Path) -> tuple[Path, Result, Result]:
    """Write the page that compares the runs in two folders; return its path and both runs."""
    a, b = loaded(first), loaded(second)
    end = max(last_end(a), last_end(b))
    data = {name: bars.timeline(run.tables, end, report.rank_names(run)) for name, run in (("first", a), ("second", b))}
    names = (f"A: {first.resolve().name}", f"B: {second.resolve().name}")
    told = (f"{run.scenario.name}, {short(run.metrics['makespan_ps'], TIME)}" for run in (a, b))
    about = "; ".join(f"{name}: {each}" for name, each in zip("AB", told, strict=True))
    parts = differences.changes(a, b, names)
    return save(document(f"{names[0]}, {names[1]}", f"two runs compared; {about}", parts, data), path), a, b


def write_sweep_comparison(first: Path, second: Path, path: Path) -> tuple[Path, paired.Loaded, paired.Loaded]:
    """Write the page that compares the sweeps in two folders; return its path and both sweeps. Raises ``InputError``
    where either folder holds no sweep."""
    a, b = folders.load(first), folders.load(second)
    names = (f"A: {first.name}", f"B: {second.name}")
    about, found = paired.together(a, b)
    axes, parts, data = sweeps.charted(about, found)
    data["points"]["shown"]["by"] = paired.AXIS
    subtitle = f"two sweeps compared: {', '.join(map(sweeps.label, axes))}"
    parts = [*paired.changes(a, b, names), *parts]
    return save(document(f"{names[0]}, {names[1]}", subtitle, parts, data, SWEEP), path), a, b


def last_end(result: Result) -> int:
    """Return the instant at which everything was over, ps, background traffic included; 1 where nothing happened."""
    import pyarrow.compute as pc

    ends = [
        pc.max(result.tables[kind][name]).as_py() for kind, name in (("spans", "t1_ps"), ("transfers", "arrived_ps"))
    ]
    return max((end for end in ends if end), default=1)


def save(page: str, path: Path) -> Path:
    """Write ``page`` whole or not at all; return ``path``. Raises ``InputError`` where it cannot be written."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
    scratch = path.with_name(f".{path.name}.part")
    with writing(path):
        try:
            scratch.write_text(page, encoding="utf-8")
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    return path
