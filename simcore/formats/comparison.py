"""What was measured, beside what simulating it again gave: a table of a run, and its summary."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

from simcore.units import SIZE, TIME, short

FILE = "comparison.csv"
WHOLE = "all that the rank did"
"""Name of the row on the whole life of a rank: from time zero to its last end."""


@dataclass(frozen=True)
class Compared:
    """Something that one location did, as measured and as simulated, ps; ``measured_begin_ps`` is -1 where only the
    duration is known.

    ``number`` tells which of several with one name it is, equal at all ``ranks`` locations that took part.
    """

    location: str
    what: str
    number: int
    ranks: int
    size_bytes: int
    measured_begin_ps: int
    measured_ps: int
    simulated_begin_ps: int
    simulated_ps: int


_COLUMNS = tuple(part.name for part in fields(Compared))


def text(rows: Sequence[Compared]) -> str:
    """Return the table as CSV."""
    found = io.StringIO()
    writer = csv.writer(found, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([getattr(row, name) for name in _COLUMNS] for row in rows)
    return found.getvalue()


def read(lines: Iterable[str]) -> list[Compared]:
    """Return the rows of a table that ``text`` wrote; raises ``ValueError`` where it is none."""
    rows = csv.DictReader(lines, restval="")
    if tuple(rows.fieldnames or ()) != _COLUMNS:
        raise ValueError(f"{FILE} has not the columns of {FILE}")
    return [Compared(row["location"], row["what"], *(int(row[name]) for name in _COLUMNS[2:])) for row in rows]


@dataclass(frozen=True)
class Group:
    """Equal things: how many there are, and the median of what each took, measured and simulated, ps."""

    what: str
    size: int
    ranks: int
    count: int
    measured: int
    simulated: int


def groups(rows: Sequence[Compared]) -> list[Group]:
    """Return what was done, by name, size and number of ranks, in order.

    Model: what several ranks do together takes as long as on the rank for which it is shortest: the one that waited
    least for the others. That needs no clock that the ranks share.
    """
    together: dict[tuple[str, int, int, int], list[Compared]] = defaultdict(list)
    for row in rows:
        if row.what != WHOLE:
            together[row.what, row.size_bytes, row.ranks, row.number].append(row)
    equal: dict[tuple[str, int, int], list[tuple[int, int]]] = defaultdict(list)
    for (what, size, ranks, _), those in together.items():
        shortest = min(row.measured_ps for row in those), min(row.simulated_ps for row in those)
        equal[what, size, ranks].append(shortest)
    return [
        Group(*key, len(those), *(sorted(column)[len(those) // 2] for column in zip(*those, strict=True)))
        for key, those in equal.items()
    ]


def lines(rows: Sequence[Compared], most: int) -> Iterator[str]:
    """Yield the summary for a reader: a line a group of equal things, a line a rank, the first ``most`` of each."""
    found = groups(rows)
    whole = [row for row in rows if row.what == WHOLE]
    if found:
        yield f"{'measured beside simulated':26} {'size':>9} {'ranks':>6} {'count':>6}{_HEADS}"
    for each in found[:most]:
        size = short(each.size, SIZE)
        yield f"{each.what[:26]:26} {size:>9} {each.ranks:6} {each.count:6}{_pair(each.measured, each.simulated)}"
    if len(found) > most:
        yield f"... and {len(found) - most} more in {FILE}"
    if whole:
        yield f"{'end of a rank':50}{_HEADS}"
    for row in whole[:most]:
        yield f"{row.location:50}{_pair(row.measured_ps, row.simulated_ps)}"
    if len(whole) > most:
        yield f"... and {len(whole) - most} more ranks in {FILE}"


_HEADS = f" {'measured':>10} {'simulated':>10} {'sim/meas':>9}"


def _pair(measured: int, simulated: int) -> str:
    ratio = f"{simulated / measured:9.3g}" if measured else f"{'-':>9}"
    return f" {short(measured, TIME):>10} {short(simulated, TIME):>10} {ratio}"
