"""A table of transfers and computations with dependencies, which the data plane plays without an event a row."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simcore.errors import SimulationError

if TYPE_CHECKING:
    import numpy as np

    Column = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Schedule:
    """Rows of work; parallel ``int64`` columns of length n.

    A row is a transfer of ``size`` bytes from ``rank`` to ``peer``, or, where the two are equal, a computation of
    ``duration`` ps on that rank's compute stream. It may begin once every row of
    ``after[after_begin[i]:after_begin[i + 1]]`` has ended: a transfer when its last byte has arrived.
    Ranks count from 0 within the schedule; ``-1 - k`` is the k-th reducing switch.
    """

    rank: "Column"
    peer: "Column"
    size: "Column"
    duration: "Column"
    after_begin: "Column"
    after: "Column"

    def __len__(self) -> int:
        return len(self.rank)

    def check(self) -> None:
        """Raise ``SimulationError`` for a negative size or duration and for a dependency on a row that does not
        exist."""
        least = int(min(self.size.min(), self.duration.min()))
        if least < 0:
            raise SimulationError(f"a schedule has a size or duration of {least}")
        if len(self.after) and (self.after.min() < 0 or self.after.max() >= len(self)):
            raise SimulationError(f"a schedule of {len(self)} rows depends on row {int(self.after.max())}")
