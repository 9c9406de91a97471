"""Changes of a timing profile, one after another: what if a rank were late, everything slower, every wake-up alike?

Each is a record that a scenario or an option states, and a pure function of a profile. Instants are whole picoseconds,
rounded once and to the nearest. What is issued later arrives later by as much: the way of a write lasts as recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from simcore import randomness
from simcore.errors import FieldError, InputError
from simcore.formats.lateness import Lateness
from simcore.formats.profile import Numbers, Profile
from simcore.source import Tagged
from simcore.units import LARGEST, TIME, Ratio, Time, text


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Everything of a rank, or of all, happens ``by`` later."""

    by: Time
    rank: int | None = None
    kind: Literal["shift"] = "shift"

    def applied(self, profile: Profile, _: int) -> Profile:
        """Return the shifted profile."""
        rows = _rows(profile, self.rank)
        return _moved(profile, profile.start + self.by * rows, profile.time + self.by * rows)

    def __str__(self) -> str:
        return f"{_who(self.rank)} later by {text(self.by, TIME)}"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Every instant of a rank, or of all, times ``factor``."""

    factor: Ratio
    rank: int | None = None
    kind: Literal["scale"] = "scale"

    def applied(self, profile: Profile, _: int) -> Profile:
        """Return the scaled profile."""
        rows, factor = _rows(profile, self.rank), Fraction(self.factor)
        start, time = (np.where(rows, scaled(each, factor), each) for each in (profile.start, profile.time))
        return _moved(profile, start, time)

    def __str__(self) -> str:
        return f"instants of {_who(self.rank)} times {self.factor}"


@dataclass(frozen=True, kw_only=True)
class Straggler:
    """What a rank computes before and between its operations takes ``factor`` times as long; or from the instant
    ``since`` on everything of it happens ``by`` later.

    Model: an operation itself lasts as long as recorded, and no other rank waits for the straggler.
    """

    rank: int
    factor: Ratio | None = None
    by: Time | None = None
    since: Time = 0
    kind: Literal["straggler"] = "straggler"

    def __post_init__(self) -> None:
        if (self.factor is None) == (self.by is None):
            raise FieldError("or by, one of the two, says how a straggler is late", "factor")
        if self.since and self.by is None:
            raise FieldError("goes with by; a factor holds from the begin", "since")

    def applied(self, profile: Profile, _: int) -> Profile:
        """Return the profile with the rank late."""
        rows = _rows(profile, self.rank)
        if self.by is not None:
            late = [each + self.by * (rows & (each >= self.since)) for each in (profile.start, profile.time)]
            return _moved(profile, *late)
        shift = np.zeros_like(profile.time)
        shift[rows] = _stretch(profile, rows, Fraction(self.factor or 1))
        return _moved(profile, profile.start + shift, profile.time + shift)

    def __str__(self) -> str:
        if self.by is not None:
            return f"{_who(self.rank)} later by {text(self.by, TIME)} from {text(self.since, TIME)} on"
        return f"what {_who(self.rank)} computes before and between its operations takes {self.factor} times as long"


@dataclass(frozen=True, kw_only=True)
class Jitter(Lateness):
    """Every write of a rank, or of all, is late by chance: by one draw for each write, or all writes of a work-group,
    or of the rank, in one operation by the same draw.

    The writes of a rank keep their order, one waits for those before it; where work-groups are late independently of
    each other, those of a work-group keep it. What is drawn for a rank depends on the seed, the rank, and which
    transform this is. Without a ``seed`` of its own it is the run's.
    """

    rank: int | None = None
    per: Literal["write", "group", "rank"] = "write"
    seed: int | None = None
    kind: Literal["jitter"] = "jitter"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed is not None and self.seed < 0:
            raise FieldError(f"must be zero or more, not {self.seed}", "seed")

    def applied(self, profile: Profile, seed: int) -> Profile:
        """Return the profile with every write late."""
        rows, time = _rows(profile, self.rank), profile.time.copy()
        by_group = self.per == "group"
        for rank in profile.ranks:
            (mine,) = np.nonzero(rows & (profile.rank == rank))
            groups = profile.group[mine] if by_group else np.zeros(len(mine), np.int64)
            which = np.arange(len(mine))
            if self.per != "write":
                which = np.unique(np.stack([profile.collective[mine], groups]), axis=1, return_inverse=True)[1]
            late = self.draw(randomness.stream(seed, f"rank {rank}"), int(which.max(initial=-1)) + 1)[which]
            time[mine] += late
            for group in np.unique(groups):
                kept = mine[groups == group]
                time[kept] = np.maximum.accumulate(time[kept])
        return _moved(profile, profile.start, time)

    def __str__(self) -> str:
        return f"writes of {_who(self.rank)} late by chance, drawn per {self.per}: {Lateness.__str__(self)}"


@dataclass(frozen=True, kw_only=True)
class WakeUp:
    """Every write of an operation is issued ``after`` its begin on the rank, or on all."""

    after: Time
    rank: int | None = None
    kind: Literal["wakeup"] = "wakeup"

    def applied(self, profile: Profile, _: int) -> Profile:
        """Return the profile with constant wake-ups."""
        rows = _rows(profile, self.rank)
        return _moved(profile, profile.start, np.where(rows, profile.start + self.after, profile.time))

    def __str__(self) -> str:
        return f"all writes of an operation of {_who(self.rank)} {text(self.after, TIME)} after its begin"


Transform = Annotated[Shift | Scale | Straggler | Jitter | WakeUp, Tagged("kind")]
KINDS: dict[str, Any] = {
    "shift": Shift, "scale": Scale, "straggler": Straggler, "jitter": Jitter, "wakeup": WakeUp
}  # fmt: skip


def transform(profile: Profile, transforms: Sequence[Any], seed: int | None = None) -> Profile:
    """Return ``profile`` after all ``transforms``, in their order, each stated in its header; ``seed`` is for jitter
    without one of its own.

    Raises ``InputError`` for a rank that the profile does not know, an instant out of range, and a missing seed.
    """
    _check(transforms, profile.world)
    profile = profile.ordered()
    for place, each in enumerate(transforms):
        said, drawn = str(each), 0
        if isinstance(each, Jitter):
            own = seed if each.seed is None else each.seed
            if own is None:
                raise InputError("jitter: seed is missing; chance needs one, e.g. seed=1")
            # Two equal transforms draw different numbers.
            drawn = int(randomness.stream(own, f"transform {place}").integers(2**62))
            said += f", seed {own}"
        try:
            changed = each.applied(profile, drawn)
        except InputError as error:
            raise InputError(f"{each.kind}: {error}") from None
        profile = replace(changed, header=(*profile.header, ("transform", said)))
    return profile


def _check(transforms: Sequence[Any], world: int) -> None:
    """Raise ``InputError`` where a transform is of a rank that is none of ``world``."""
    for each in transforms:
        if each.rank is not None and not 0 <= each.rank < world:
            raise InputError(f"{each.kind}: rank {each.rank} is none of 0 to {world - 1}")


def scaled(values: Numbers, factor: Fraction) -> Numbers:
    """Return ``values``, zero or more, times ``factor``, rounded to the nearest, halves up."""
    if len(values) and int(values.max()) * factor >= LARGEST:
        raise InputError(f"times {factor} an instant is too large; it stays below {text(LARGEST, TIME)}")
    num, den = factor.numerator, factor.denominator
    whole, rest = np.divmod(values, den)
    found: Numbers = whole * num + (2 * rest * num + den) // (2 * den)
    return found


def _stretch(profile: Profile, rows: NDArray[np.bool_], factor: Fraction) -> Numbers:
    """Return by how much each of ``rows``, all of one rank, is later when the time before and between its operations
    is stretched."""
    numbers, operation = np.unique(profile.collective[rows], return_inverse=True)
    begin, end = np.full(len(numbers), LARGEST), np.zeros(len(numbers), np.int64)
    np.minimum.at(begin, operation, profile.start[rows])
    np.maximum.at(end, operation, profile.time[rows])
    order = np.lexsort((numbers, begin))
    before = np.maximum.accumulate(np.concatenate([[0], end[order][:-1]]))
    computed = np.cumsum(np.maximum(begin[order] - before, 0))
    shift = np.empty(len(numbers), np.int64)
    shift[order] = scaled(computed, factor) - computed
    found: Numbers = shift[operation]
    return found


def _rows(profile: Profile, rank: int | None) -> NDArray[np.bool_]:
    if rank is None:
        return np.ones(len(profile.rank), bool)
    rows: NDArray[np.bool_] = profile.rank == rank
    return rows


def _moved(profile: Profile, start: Numbers, time: Numbers) -> Profile:
    """Return ``profile`` with other instants, sorted by them again; each is later by less than ``LARGEST``."""
    arrived = profile.arrived + (time - profile.time)
    if len(arrived) and (int(arrived.max()) >= LARGEST or int(arrived.min()) < 0):
        raise InputError(f"an instant of the changed profile is too large; it stays below {text(LARGEST, TIME)}")
    return replace(profile, start=start, time=time, arrived=arrived).ordered()


def _who(rank: int | None) -> str:
    return "all ranks" if rank is None else f"rank {rank}"
