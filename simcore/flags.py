"""Flags: words in a GPU's memory that arriving messages set and ranks wait for, named and counted.

How a wait reads is the scenario's (`WaitSpec`); it is exact in reads and in the instant of detection, and computed in
the data plane (`simcore.fabric._waits`).

Model: a flag is read past the caches. What a rank writes to its own memory reaches it by messages only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simcore.errors import SimulationError
from simcore.fabric import Column, Fabric
from simcore.fabric.watching import Waits, Words
from simcore.hardware import WaitSpec
from simcore.trace import SCHEMAS, Coded, Recorder

__all__ = ["Flag", "FlagMemory", "Flags", "WaitSpec", "record"]

FEW = 64
"""Rows up to which a wait's rows are added one by one; a table of many is one batch."""


@dataclass(frozen=True)
class Flags:
    """An array of ``count`` words in the memory of every rank of a job, by one name, zero at first."""

    name: str
    count: int
    words: Words

    def __getitem__(self, index: int) -> "Flag":
        self.check(index, index)
        return Flag(self, index)

    def check(self, least: int, most: int) -> None:
        """Raise ``SimulationError`` unless the indices from ``least`` to ``most`` are words of the array."""
        if not 0 <= least <= most < self.count:
            wrong = least if least < 0 else most
            raise SimulationError(f"{self.name} has the words 0 to {self.count - 1}, not {wrong}")


@dataclass(frozen=True)
class Flag:
    """One word of an array, the same in the memory of every rank."""

    array: Flags
    index: int

    def __str__(self) -> str:
        return f"{self.array.name}[{self.index}]"


class FlagMemory:
    """The flags of a job, whose rank 0 is fabric rank ``first``: arrays by name, and single words by owner and name,
    made on first use, so that a writer and a waiter find the same word."""

    def __init__(self, fabric: Fabric, first: int, world: int) -> None:
        self._fabric, self._ranks = fabric, range(first, first + world)
        self._arrays: dict[str, Flags] = {}
        self._single: dict[tuple[int, str], int] = {}

    def array(self, name: str, count: int) -> Flags:
        """Return the array ``name``; raises ``SimulationError`` where it was declared with another length."""
        if name not in self._arrays:
            self._arrays[name] = Flags(name, count, self._fabric.words(count, self._ranks))
        array = self._arrays[name]
        if array.count != count:
            raise SimulationError(f"the flags {name!r} are {array.count} words, not {count}")
        return array

    def word(self, owner: int, flag: "str | Flag") -> int:
        """Return the number of a flag in the memory of rank ``owner`` of the job."""
        rank = self._ranks[owner]
        if isinstance(flag, Flag):
            return flag.array.words.word(rank, flag.index)
        if (owner, flag) not in self._single:
            self._single[owner, flag] = self._fabric.words(1, range(rank, rank + 1)).first
        return self._single[owner, flag]

    def words(self, owners: Column, flags: Flags, indices: Column) -> Column:
        """Return the numbers of many words of an array, in the memory of many ranks; -1 where an index is -1."""
        import numpy as np

        if len(indices):
            flags.check(max(int(indices.min()), 0), max(int(indices.max()), 0))
        return np.where(indices < 0, -1, flags.words.word(self._ranks.start + owners, indices))


def record(recorder: Recorder, found: Waits, names: Sequence[str], location: str, policy: str) -> None:
    """Hand over the rows of a wait that ended, in the order in which its words were seen."""
    import numpy as np

    order = np.argsort(found.detected, kind="stable")
    counts = (
        found.t0, found.set, found.detected, found.reads, found.wakeups, found.false_wakeups, found.overflows,
    )  # fmt: skip
    texts = [names[row] for row in order.tolist()]
    if len(order) < FEW:
        for text, *row in zip(texts, *(column[order].tolist() for column in counts), strict=True):
            recorder.add("flags", [text, location, policy, *row])
        return
    same = np.zeros(len(order), np.int64)
    columns: list[Any] = [texts, Coded([location], same), Coded([policy], same), *(column[order] for column in counts)]
    recorder.extend("flags", {about.name: column for about, column in zip(SCHEMAS["flags"], columns, strict=True)})
