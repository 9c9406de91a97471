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
from simcore.fabric.watching import Waits
from simcore.hardware import WaitSpec
from simcore.trace import SCHEMAS, Coded, Recorder

__all__ = ["Flag", "FlagMemory", "Flags", "WaitSpec", "record"]

BLOCK = 1024
"""Words of an array that are made together, when the first of them is used, or a multiple that fills memory lines."""

FEW = 64
"""Rows up to which a wait's rows are added one by one; a table of many is one batch."""


@dataclass(frozen=True)
class Flags:
    """An array of ``count`` words in the memory of every rank of a job, by one name, zero at first."""

    name: str
    count: int

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
    made on first use, so that a writer and a waiter find the same word.

    An array has words in the memory of every rank, and often few of them are used: they are made block by block.
    """

    def __init__(self, fabric: Fabric, first: int, world: int) -> None:
        self._fabric, self._ranks = fabric, range(first, first + world)
        self._arrays: dict[str, tuple[Flags, dict[int, int]]] = {}
        self._single: dict[tuple[int, str], int] = {}
        self._block_words = fabric.fill_lines(BLOCK)

    def array(self, name: str, count: int) -> Flags:
        """Return the array ``name``; raises ``SimulationError`` where it was declared with another length, or none."""
        if count < 1:
            raise SimulationError(f"the flags {name!r} are {count} words; an array has 1 or more")
        array, _ = self._arrays.setdefault(name, (Flags(name, count), {}))
        if array.count != count:
            raise SimulationError(f"the flags {name!r} are {array.count} words, not {count}")
        return array

    def word(self, owner: int, flag: "str | Flag") -> int:
        """Return the number of a flag in the memory of rank ``owner`` of the job."""
        if isinstance(flag, Flag):
            block, within = divmod(flag.index, self._block_words)
            return self._block(flag.array, owner, block) + within
        if (owner, flag) not in self._single:
            rank = self._ranks[owner]
            self._single[owner, flag] = self._fabric.words(1, range(rank, rank + 1)).first
        return self._single[owner, flag]

    def words(self, owners: Column, flags: Flags, indices: Column) -> Column:
        """Return the numbers of many words of an array, in the memory of many ranks; -1 where an index is -1."""
        import numpy as np

        if indices.shape != owners.shape or (indices.dtype.kind not in "iu" and len(indices)):
            raise SimulationError(f"words of {flags.name} are chosen by {len(owners)} integers here")
        if len(indices) and indices.min() < -1:
            flags.check(int(indices.min()), 0)
        found = np.full(len(indices), -1)
        (used,) = np.nonzero(indices >= 0)
        if not len(used):
            return found
        flags.check(0, int(indices.max()))
        size = self._block_words
        blocks = -(-flags.count // size)
        keys, places = np.unique(owners[used] * blocks + indices[used] // size, return_inverse=True)
        firsts = np.array([self._block(flags, *divmod(key, blocks)) for key in keys.tolist()])
        found[used] = firsts[places] + indices[used] % size
        return found

    def _block(self, flags: Flags, owner: int, block: int) -> int:
        """Return the number of the first word of a block of an array in the memory of ``owner``."""
        made, rank = self._arrays[flags.name][1], self._ranks[owner]
        key = owner * flags.count + block
        if key not in made:
            size = min(self._block_words, flags.count - block * self._block_words)
            made[key] = self._fabric.words(size, range(rank, rank + 1)).first
        return made[key]


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
