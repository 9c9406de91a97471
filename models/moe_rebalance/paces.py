"""How long planners take on a thread of a CPU: a fixed time and a time for each of what they count as looked at."""

from dataclasses import dataclass, field

from simcore import Time


@dataclass(frozen=True)
class Pace:
    """``fixed`` time of a call, and time of a ``visit``."""

    fixed: Time
    visit: Time

    def duration(self, effort: int) -> int:
        """Return the time of a call of so much effort, ps."""
        return self.fixed + self.visit * effort


def _pace(fixed: int, visit: int) -> Pace:
    return field(default_factory=lambda: Pace(fixed, visit))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Paces:
    """The pace of everything that a policy runs, by the names that `Policy.whole` and `Policy.each` give; ps."""

    eplb: Pace = _pace(11_000_000, 1150)
    flexmoe: Pace = _pace(22_000_000, 8300)
    laer: Pace = _pace(14_000_000, 2600)
    exchange: Pace = _pace(9_000_000, 1600)
    replicate: Pace = _pace(18_000_000, 1300)
    relocate: Pace = _pace(8_000_000, 6500)
    flow: Pace = _pace(12_000_000, 650)
    highs: Pace = _pace(1_740_000_000, 8_100_000)

    def duration(self, name: str, effort: int) -> int:
        """Return how long the planner ``name`` takes, ps; nothing where the name is empty."""
        pace: Pace | None = getattr(self, name) if name else None
        return pace.duration(effort) if pace else 0
