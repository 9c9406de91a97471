"""A table of transfers and computations with dependencies, which the data plane plays without an event a row."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simcore.errors import SimulationError

if TYPE_CHECKING:
    import numpy as np

    Column = np.ndarray[Any, np.dtype[np.int64]]


COMPUTE, DELAY = 0, -1
"""What a row of one rank occupies: its compute stream, or nothing."""


@dataclass(frozen=True)
class Schedule:
    """Rows of work; parallel ``int64`` columns of length n.

    A row is a transfer of ``size`` bytes from ``rank`` to ``peer``, or, where the two are equal, ``duration`` ps on
    that rank: a computation on its compute stream, which runs one after another, or, where ``stream`` is `DELAY`, time
    that passes without a queue. It may begin once every row of ``after[after_begin[i]:after_begin[i + 1]]`` has
    ended: a transfer when its last byte has arrived. Ranks count from 0 within the schedule; ``-1 - k`` is the k-th
    reducing switch, or the memory of a host (`Rank.host`). Without ``stream`` there are no delays.
    """

    rank: "Column"
    peer: "Column"
    size: "Column"
    duration: "Column"
    after_begin: "Column"
    after: "Column"
    stream: "Column | None" = None

    def __len__(self) -> int:
        return len(self.rank)

    def check(self, ranks: int, others: int) -> None:
        """Raise ``SimulationError`` unless the columns fit each other and name only ``ranks`` ranks, ``others``
        reducing switches and hosts, rows that exist, and no negative size or duration.

        The loops that play a schedule trust it.
        """
        count = len(self)
        stream = self.rank if self.stream is None else self.stream
        columns = (self.rank, self.peer, self.size, self.duration, stream, self.after_begin, self.after)
        if any(column.dtype.str != "<i8" for column in columns):
            raise SimulationError("a schedule's columns are int64")
        if any(len(column) != count for column in columns[1:5]) or len(self.after_begin) != count + 1:
            raise SimulationError(f"a schedule of {count} rows has columns of other lengths")
        import numpy as np

        begins = self.after_begin
        if begins[0] != 0 or begins[-1] != len(self.after) or (begins[1:] < begins[:-1]).any():
            raise SimulationError("a schedule's after_begin does not rise from 0 to the length of after")
        if len(self.after) and not 0 <= self.after.min() <= self.after.max() < count:
            wrong = self.after[(self.after < 0) | (self.after >= count)][0]
            raise SimulationError(f"a schedule of {count} rows depends on row {wrong}")
        least = int(min(self.size.min(), self.duration.min()))
        if least < 0:
            raise SimulationError(f"a schedule has a size or duration of {least}")
        if self.stream is not None and not np.isin(self.stream, (COMPUTE, DELAY)).all():
            raise SimulationError(f"a schedule's stream is {COMPUTE} (compute) or {DELAY} (a delay)")
        lowest, highest = min(self.rank.min(), self.peer.min()), max(self.rank.max(), self.peer.max())
        if lowest < -others:
            raise SimulationError(f"it uses switch or host {-1 - lowest}, but the machine has {others} of them")
        if highest >= ranks:
            raise SimulationError(f"it uses rank {highest}, but is played by {ranks} ranks")
