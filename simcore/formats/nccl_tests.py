"""Measured collectives from the output of nccl-tests and rccl-tests, as text or as JSON."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcore.errors import InputError
from simcore.formats.text import read_text

LARGEST_FILE = 2**28
"""Bytes of one output that are read; logs of NCCL can be long."""
OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "alltoall", "broadcast", "reduce", "sendrecv")
"""Operations that are told apart; the programs of both suites are called ``OPERATION_perf``."""
TYPE_BYTES = {
    **dict.fromkeys(("int8", "uint8", "f8e4m3", "f8e5m2", "fp8_e4m3", "fp8_e5m2"), 1),
    **dict.fromkeys(("half", "bfloat16"), 2),
    **dict.fromkeys(("float", "int32", "uint32"), 4),
    **dict.fromkeys(("double", "int64", "uint64"), 8),
}

_PREFIX = re.compile(r"^\s*(?:\[\d+,\d+\]<std(?:out|err)>:\s?|\d+:\s(?=\s*[#\d]))")
"""What mpirun (--tag-output) and srun (--label) put before a line."""
_PROGRAM = re.compile(r"\b(\w+)_perf\b")
_HEADER = re.compile(r"#\s*nThread:?\s+(\d+)\s+nGpus:?\s+(\d+)\b")
_GRAPH = re.compile(r"\bgraph:?\s+(\d+)")
_RANK = re.compile(r"#?\s*Rank\s+(\d+)\b.*?\bdevice\s+\d+\s+\[[^\]]*\]\s*(.*)")
_COLUMNS = re.compile(r"#\s*size\s+count\s+type\b")
_ROW = re.compile(r"\s*\d+\s+\d+\s+[a-z]\w*\s")
_CUT_ROW = re.compile(r"\s*\d+(\s+\d+(\s+[a-z]\w*)?)?\s*$")


@dataclass(frozen=True)
class Measurement:
    """One measured collective: ``size`` bytes as nccl-tests counts them, over ``ranks`` ranks, in ``time`` ps.

    Size is the whole output of an all-gather, the whole input of a reduce-scatter, and what one rank sends in all in an
    all-to-all. ``wrong`` counts wrong elements, None where the run did not check.
    """

    file: str
    line: int
    operation: str
    ranks: int
    size: int
    time: int
    in_place: bool
    wrong: int | None = None


@dataclass(frozen=True)
class Output:
    """What one file holds: its rows, how its ranks were launched, on which GPUs, and whether its last run ended."""

    rows: tuple[Measurement, ...]
    launch: str
    device: str
    algorithm: str = ""
    finished: bool = True


@dataclass
class _Run:
    """The run that is being read: one program, its devices, the columns of its table."""

    operation: str = ""
    threads: int = 0
    gpus: int = 0
    ranks: int = 0
    graph: bool = False
    device: str = ""
    columns: Sequence[str] = ()
    rows: int = 0
    finished: bool = False


def read(path: Path, *, operation: str = "") -> Output:
    """Return the measurements in ``path``, text or JSON; raises ``InputError`` with file and line.

    ``operation`` names the collective of a text that does not say it: older versions print neither their own name
    nor enough to tell an all-gather from an all-to-all.
    """
    text = read_text(path, LARGEST_FILE, "output of nccl-tests")
    if text.lstrip()[:1] in ("{", "["):
        return _from_json(path, text)
    return _from_text(path, text, operation)


def _from_text(path: Path, text: str, operation: str) -> Output:
    rows: list[Measurement] = []
    runs = [_Run()]
    named = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = _PREFIX.sub("", raw)
        run = runs[-1]
        if found := _program(line):
            named = found
        if header := _HEADER.search(line):
            graph = _GRAPH.search(line)
            run = _Run(named, int(header[1]), int(header[2]), graph=bool(graph and int(graph[1])))
            runs.append(run)
        elif rank := _RANK.match(line):
            run.ranks, run.device = max(run.ranks, int(rank[1]) + 1), rank[2].strip()
        elif _COLUMNS.match(line.lstrip()):
            run.columns = line.lstrip("# ").split()
        elif "Avg bus bandwidth" in line:
            run.finished, named = True, ""
        elif run.columns and _ROW.match(line):
            rows += _measured(path, number, line.split(), run, operation)
            run.rows += 1
        elif run.columns and not run.finished and _CUT_ROW.match(line):
            raise InputError(f"{path}:{number}: the row ends after {line.split()[-1]!r}; the output is cut off")
    runs = [run for run in runs if run.columns]
    if not runs:
        raise InputError(
            f"{path}: no table of nccl-tests (a line '# size count type ...'); expected what all_reduce_perf prints"
        )
    if not rows:
        raise InputError(f"{path}: the table has no rows; the output is cut off, or the run failed")
    return Output(
        tuple(rows),
        _one(path, "launch mode", {_launch(r.threads, r.gpus, _ranks(path, r), r.graph) for r in runs}),
        _one(path, "device", {run.device for run in runs}),
        finished=all(run.finished for run in runs),
    )


def _program(line: str) -> str:
    """Return the operation that a line names as a program, e.g. ``./build/all_reduce_perf -b 8``."""
    return next((name for name in _PROGRAM.findall(line) if name in OPERATIONS), "")


def _one(path: Path, noun: str, found: set[str]) -> str:
    if len(found) > 1:
        raise InputError(f"{path}: runs of more than one {noun} ({', '.join(sorted(found))}); put each in its own file")
    return found.pop()


def _ranks(path: Path, run: _Run) -> int:
    """Return the number of ranks; without lines on devices there was one process."""
    ranks = run.ranks or run.threads * run.gpus
    if not ranks:
        raise InputError(f"{path}: says neither 'Rank 0 ... device' nor 'nThread ... nGpus', so the ranks are unknown")
    return ranks


def _launch(threads: int, gpus: int, ranks: int, graph: bool) -> str:
    if threads * gpus >= ranks > 1:
        mode = "one process for all GPUs" if threads == 1 else f"{threads} threads of one process"
    else:
        mode = "one process a GPU" if threads * gpus <= 1 else f"{threads * gpus} GPUs a process"
    return mode + (", CUDA graph" if graph else "")


def _measured(path: Path, number: int, cells: list[str], run: _Run, operation: str) -> Iterator[Measurement]:
    """Yield the out-of-place and the in-place measurement of a row whose cells stand in the order of the columns."""
    columns = [name.lower() for name in run.columns]
    if len(cells) < len(columns):
        absent = [name for name in ("redop", "root") if name in columns]
        columns = [name for name in columns if name not in absent[: len(columns) - len(cells)]]
    starts = [i for i, name in enumerate(columns) if name in ("time", "cputime")]
    if len(cells) < len(columns) or not starts:
        raise InputError(
            f"{path}:{number}: the row has {len(cells)} entries where the table has {len(run.columns)} columns; "
            "the output is cut off"
        )
    ranks = _ranks(path, run)
    size, count = int(cells[0]), int(cells[1])
    redop = cells[columns.index("redop")] if "redop" in columns else "none"
    told = operation or run.operation or _inferred(size, count, cells[2], redop, ranks)
    if not told:
        raise InputError(
            f"{path}:{number}: the output does not say which collective it measured; name it with --operation, "
            f"one of {', '.join(OPERATIONS)}"
        )
    for in_place, start in enumerate(starts[:2]):
        time = _picoseconds(path, number, cells[start])
        wrong = cells[start + 3] if columns[start + 3 : start + 4] in (["#wrong"], ["error"]) else "N/A"
        if time is not None:
            yield Measurement(
                str(path),
                number,
                told,
                ranks,
                size,
                time,
                bool(in_place),
                None if wrong == "N/A" else int(float(wrong)),
            )


def _inferred(size: int, count: int, kind: str, redop: str, ranks: int) -> str:
    """Return the operation of a row where its numbers leave no other: the count of an all-reduce is its whole size,
    that of a reduce-scatter a rank's part."""
    width = TYPE_BYTES.get(kind, 0)
    if redop in ("none", "") or not width or ranks < 2:
        return ""
    return {size: "all_reduce", size // ranks: "reduce_scatter"}.get(count * width, "")


def _picoseconds(path: Path, number: int, cell: str) -> int | None:
    """Return microseconds as ps, None for what was not measured."""
    if cell == "N/A":
        return None
    try:
        time = round(float(cell) * 10**6)
    except (ValueError, OverflowError):
        time = 0
    if time <= 0:
        raise InputError(f"{path}:{number}: {cell!r} is no time; expected microseconds above zero")
    return time


def _from_json(path: Path, text: str) -> Output:
    """Read what nccl-tests writes with ``-J`` (an object) or rccl-tests with ``--output_format json`` (a list, or an
    object a line)."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        try:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError:
            raise InputError(
                f"{path}:{error.lineno}: not JSON ({error.msg.lower()}); the output is cut off, or no output of "
                "nccl-tests"
            ) from None
    try:
        return _from_object(path, found) if isinstance(found, dict) and "results" in found else _from_list(path, found)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{path}: JSON, but not of nccl-tests ({type(error).__name__}: {error}); expected what -J writes: "
            "args, config with devices, results"
        ) from None


def _from_object(path: Path, found: dict[str, Any]) -> Output:
    config = found["config"]
    threads, gpus = int(config["nthreads"]), int(config["ngpus"])
    devices = config["devices"]
    # A process lists its first device only.
    ranks = len(devices) * threads * gpus
    operation = _program(str(found["args"][0]))
    if not operation:
        raise InputError(f"{path}: args[0] is {found['args'][0]!r}; expected one of the programs *_perf")
    rows: list[Measurement] = []
    for number, row in enumerate(found["results"], 1):
        for in_place, key in enumerate(("out_of_place", "in_place")):
            part = row.get(key)
            if part is None:
                continue
            time = _picoseconds(path, number, str(part.get("time", part.get("cpu_time"))))
            wrong = part.get("nwrong")
            checked = None if wrong is None else int(wrong)
            if time is not None:
                rows.append(
                    Measurement(str(path), number, operation, ranks, int(row["size"]), time, bool(in_place), checked)
                )
    if not rows:
        raise InputError(f"{path}: results is empty; the run failed or was cut off")
    chosen = [entry.partition("=")[2] for entry in found.get("env", ()) if entry.startswith("NCCL_ALGO=")]
    return Output(
        tuple(rows),
        _launch(threads, gpus, ranks, bool(int(config.get("graph", 0)))),
        str(devices[0].get("device_info", "")) if devices else "",
        algorithm=chosen[0].lower() if chosen else "",
        finished="end_time" in found,
    )


def _from_list(path: Path, found: Any) -> Output:
    rows: list[Measurement] = []
    modes: set[str] = set()
    for number, row in enumerate(found, 1):
        operation = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(row["name"])).lower().removesuffix("_perf")
        operation = operation.replace("all_to_all", "alltoall")
        operation = "sendrecv" if operation == "send_recv" else operation
        if operation not in OPERATIONS:
            raise InputError(f"{path}:{number}: name is {row['name']!r}; expected one of {', '.join(OPERATIONS)}")
        ranks, nodes = int(row["ranks"]), int(row.get("nodes", 1))
        in_place, time = bool(int(row["inPlace"])), _picoseconds(path, number, str(row["time"]))
        a_rank = int(row.get("gpusPerRank", 1))
        modes.add("one process for all GPUs" if a_rank * nodes >= ranks > 1 else "one process a GPU")
        wrong = str(row.get("wrong", "N/A"))
        checked = None if wrong in ("N/A", "-1") else int(float(wrong))
        if time is not None:
            rows.append(Measurement(str(path), number, operation, ranks, int(row["size"]), time, in_place, checked))
    if not rows:
        raise InputError(f"{path}: holds no rows; the run failed or was cut off")
    return Output(tuple(rows), _one(path, "launch mode", modes), "")
