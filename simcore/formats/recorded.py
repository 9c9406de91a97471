"""What the ranks of a job did, read from whatever recorded it."""

from collections.abc import Sequence
from pathlib import Path

from simcore.errors import InputError
from simcore.formats.execution import Execution

SUFFIXES = (".et",)
"""Names of execution traces end so."""


def read_executions(paths: Sequence[Path], dimensions: Sequence[int] = ()) -> list[Execution]:
    """Return what each rank did, by rank, from the traces of all ranks of a job; files that are no traces by their name
    are passed over. ``dimensions`` as for `chakra.to_executions`.

    Raises ``InputError`` where there is none, and for what the reader of the format refuses.
    """
    from simcore.formats import chakra

    chosen = [path for path in paths if path.name.endswith(SUFFIXES)]
    if not chosen:
        where = paths[0].parent if paths else "there"
        raise InputError(f"{where}: no execution traces; expected a file a rank, whose name ends in {SUFFIXES[0]}")
    return chakra.to_executions([chakra.read_trace(path) for path in chosen], dimensions)
