"""What the ranks of a job did, read from whatever recorded it."""

from collections.abc import Sequence
from pathlib import Path

from simcore.errors import InputError
from simcore.formats.execution import Execution
from simcore.formats.kineto import Trace

CHAKRA = (".et",)
PROFILED = (".json", ".json.gz", ".sqlite")
"""Names of execution traces, and of those of profilers, end so."""


def read_trace(path: Path) -> Trace:
    """Return the collectives and events that a profiler recorded of one rank: a Kineto trace, or an export of Nsight
    Systems; raises ``InputError``."""
    from simcore.formats import kineto, nsys

    return nsys.read_trace(path) if nsys.is_export(path) else kineto.read_trace(path)


def read_traces(paths: Sequence[Path]) -> list[Trace]:
    """Return the collectives of each rank, as a profiler recorded them, or, of Chakra execution traces, as they follow
    from durations and dependencies; raises ``InputError``."""
    from simcore.formats import walk

    if not any(path.name.endswith(CHAKRA) for path in paths):
        return [read_trace(path) for path in paths]
    executions = read_executions(paths)
    return [walk.to_trace(execution, len(executions)) for execution in executions]


def read_executions(
    paths: Sequence[Path], dimensions: Sequence[int] = (), *, align: str | None = None, clone_rank: int | None = None
) -> list[Execution]:
    """Return what each rank did, by rank, from the traces of all ranks of a job; files that are no traces by their name
    are passed over. ``dimensions`` as for `chakra.to_executions`; ``align`` and ``clone_rank``, of profilers' traces,
    as for `ranks.to_executions`.

    Raises ``InputError`` where there is none, where there are several kinds, and for what the reader of the format
    refuses.
    """
    from simcore.formats import chakra, kineto_streams, nsys, ranks

    chosen = [path for path in paths if path.name.endswith((*CHAKRA, *PROFILED))]
    graphs = [path for path in chosen if path.name.endswith(CHAKRA)]
    if not chosen:
        where = paths[0].parent if paths else "there"
        raise InputError(
            f"{where}: no traces; expected a file a rank, whose name ends in {', '.join((*CHAKRA, *PROFILED))}"
        )
    if graphs and len(graphs) < len(chosen):
        other = next(path for path in chosen if path not in graphs)
        raise InputError(f"{graphs[0]} is a Chakra execution trace, {other} is none; give files of one kind")
    if graphs:
        return chakra.to_executions([chakra.read_trace(path) for path in graphs], dimensions)
    recorded = [
        nsys.read_recorded(path) if nsys.is_export(path) else kineto_streams.read_recorded(path) for path in chosen
    ]
    return ranks.to_executions(recorded, align=align, clone_rank=clone_rank)
