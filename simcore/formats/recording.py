"""The writes of a simulated run as a timing profile, each when it was issued and when it arrived."""

import re
from typing import TYPE_CHECKING

import numpy as np

from simcore.errors import InputError
from simcore.formats.profile import Numbers, Profile
from simcore.trace import numbers

if TYPE_CHECKING:
    import pyarrow as pa

_LABEL = re.compile(r"(?s)(.*?)(?:, operation (\d{1,9}))?(?:, step (\d{1,9}))?(?:, wg(\d{1,9}))?")


def label(name: str, *, operation: int = 0, step: int = 0, group: int = 0) -> str:
    """Return the name of a message that also says of which operation, step and work-group it is, so that a run can be
    recorded.

    >>> label("all_reduce", step=1, group=17)
    'all_reduce, step 1, wg17'
    """
    parts = ((f", operation {operation}", operation), (f", step {step}", step), (f", wg{group}", group))
    return name + "".join(part for part, number in parts if number)


def recorded(transfers: "pa.Table", world: int, start: int, source: str) -> Profile:
    """Return the profile of a run's ``transfers`` among its first ``world`` ranks, which began at ``start``, ps;
    ``source`` says where they come from. Raises ``InputError`` where none wrote anything.

    An operation of a rank begins when the one before has ended there: its writes issued, those to it arrived.
    """
    (among,) = np.nonzero((numbers(transfers, "src") < world) & (numbers(transfers, "dst") < world))
    rows = transfers.take(among).sort_by([("src", "ascending"), ("sequence", "ascending")])
    if not len(rows):
        raise InputError(f"{source}: no rank wrote anything; there is nothing to record")
    rank, dst, size = (numbers(rows, name).astype(np.int64) for name in ("src", "dst", "size_bytes"))
    time, arrived = (numbers(rows, name) - start for name in ("issued_ps", "arrived_ps"))
    texts = rows["what"].combine_chunks().dictionary_encode()
    which = np.from_dlpack(texts.indices)
    parts = [found.groups() for found in map(_LABEL.fullmatch, texts.dictionary.to_pylist()) if found]
    operation, step, group = (np.array([int(part[i] or 0) for part in parts])[which] for i in (1, 2, 3))
    names = np.array([re.sub(r'[,"\n\r]', "", part[0]) for part in parts], object)[which].tolist()
    flag = numbers(rows, "kind") == "flag"
    header = [
        ("source", source),
        ("stamps", "when each write was issued, and when it arrived, in the simulated run"),
        ("start", "of an operation: the end of the one before on that rank, whose computing in between is part of it"),
        ("phase", "unknown, copy throughout: a run does not say which writes the receiver adds"),
    ]
    if not any(part[1] or part[2] or part[3] for part in parts):
        header.append(
            ("operations", "unknown: no message says of which operation and step it is, so all are taken for one step")
        )
    begin = _begins(rank, dst, time, arrived, operation)
    copies = np.zeros(len(rank), bool)
    return Profile(
        rank, begin, time, arrived, dst, size, flag, operation, step, group, copies, names, tuple(header), world
    ).ordered()


def _begins(rank: Numbers, dst: Numbers, time: Numbers, arrived: Numbers, operation: Numbers) -> Numbers:
    """Return for each write the end of the operation before on its rank, or 0, and never later than the write."""
    count = int(operation.max()) + 1
    ends = np.zeros((int(max(rank.max(), dst.max())) + 1, count + 1), np.int64)
    np.maximum.at(ends, (rank, operation + 1), time)
    np.maximum.at(ends, (dst, operation + 1), arrived)
    earlier = np.maximum.accumulate(ends, axis=1)[rank, operation]
    return np.minimum(earlier, time)
