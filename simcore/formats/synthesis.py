"""Timing profiles that nobody recorded: fused all-reduces, late as stated distributions have it."""

from dataclasses import dataclass, field

import numpy as np

from simcore import randomness
from simcore.errors import FieldError, InputError
from simcore.formats.lateness import Lateness
from simcore.formats.profile import FLAG_BYTES, MOST_WRITES, Numbers, Profile
from simcore.units import LARGEST, SIZE, TIME, Size, Time, text

ELEMENT = 4
"""Bytes of an element."""


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """``operations`` all-reduces of ``size`` bytes among ``world`` ranks of ``groups`` work-groups each.

    An operation begins on all ranks when the last write of the one before is issued. Work-group g of rank r stores its
    part of every shard at the shard's owner, and a flag behind it, ``delay`` after the begin, later by what is drawn
    for the rank (``rank_late``) and for the work-group (``group_late``) in this operation. When the work-groups g of
    all ranks have, it stores its part of the sum at every peer, and a flag behind it.

    Model: neither sums nor the way of a write take time, since no machine is known here.
    """

    world: int
    groups: int = 1
    operations: int = 1
    size: Size = 2**20
    delay: Time = 0
    rank_late: Lateness = field(default_factory=Lateness)
    group_late: Lateness = field(default_factory=Lateness)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("world", 2), ("groups", 1), ("operations", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise FieldError(f"is {least} or more, not {getattr(self, name)}", name)
        if self.size % ELEMENT:
            raise FieldError(f"is a whole number of elements of {ELEMENT} bytes, not {self.size} bytes", "size")
        count = 4 * self.operations * self.world * (self.world - 1) * self.groups
        if count > MOST_WRITES:
            raise FieldError(f"would become {count} writes; the limit is {MOST_WRITES}", "operations")

    def issued(self) -> tuple[Numbers, Numbers, Numbers]:
        """Return the begin of every operation, [operation]; when every work-group issues its parts, [operation, rank,
        work-group]; and when its sums, [operation, work-group]; ps."""
        shape = self.operations, self.world, self.groups
        late = np.zeros(shape, np.int64)
        for rank in range(self.world):
            for name, about, draws in (("rank", self.rank_late, 1), ("groups", self.group_late, self.groups)):
                rng = randomness.stream(self.seed, f"lateness of the {name} of rank {rank}")
                late[:, rank] += about.draw(rng, self.operations * draws).reshape(self.operations, draws)
        parts = self.delay + late
        lasts = parts.max(axis=(1, 2))
        if int(lasts.astype(object).sum()) >= LARGEST:
            raise InputError(f"an instant is too large; it stays below {text(LARGEST, TIME)}")
        begin = np.cumsum(lasts) - lasts
        parts += begin[:, None, None]
        return begin, parts, parts.max(axis=1)

    def profile(self) -> Profile:
        """Return the profile; its header states everything that it was made of."""
        begin, parts, sums = self.issued()
        # One row a pair of ranks, work-group, operation, step and kind, the flag behind its data.
        shape = self.operations, self.world, 2, self.groups, self.world - 1, 2
        operation, rank, step, group, hop, flag = (axis.ravel() for axis in np.indices(shape, np.int64))
        dst = (rank + 1 + hop) % self.world
        owner = np.where(step == 0, dst, rank)
        elements = self.size // ELEMENT
        shard = _part(elements, self.world, owner)
        size = np.where(flag == 1, FLAG_BYTES, _part(shard, self.groups, group) * ELEMENT)
        time = np.where(step == 0, parts[operation, rank, group], sums[operation, group])
        made = Profile(
            rank, begin[operation], time, time, dst, size, flag == 1, operation, step, group, step == 0,
            ["all_reduce"] * len(rank), self._header(), self.world,
        )  # fmt: skip
        return made.taken(size > 0).ordered()

    def _header(self) -> tuple[tuple[str, str], ...]:
        return (
            ("source", "synthetic: no run, no machine"),
            ("operations", f"{self.operations} all_reduces of {text(self.size, SIZE)} in two direct steps"),
            ("groups", f"{self.groups} work-groups a rank, each with its part of every shard"),
            ("split", f"elements of {ELEMENT} bytes; the first parts one longer where they do not divide evenly"),
            ("flags", f"one of {FLAG_BYTES} bytes behind the data of every work-group, step and peer"),
            ("delay", f"{text(self.delay, TIME)} from the begin of an operation to its first writes"),
            ("lateness of a rank", f"{self.rank_late}; drawn once an operation"),
            ("lateness of a work-group", f"{self.group_late}; drawn once an operation"),
            ("sums", "stored when the parts of all ranks for the work-group are, at once"),
            ("seed", str(self.seed)),
        )


def _part(elements: Numbers | int, count: int, index: Numbers) -> Numbers:
    found: Numbers = elements // count + (index < elements % count)
    return found
