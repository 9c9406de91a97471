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


@dataclass(frozen=True)
class Paces:
    """The pace of everything that a policy runs, by the names that `Policy.whole` and `Policy.each` give; ps."""

    eplb: Pace = field(default_factory=lambda: Pace(24_000_000, 1150))
    flexmoe: Pace = field(default_factory=lambda: Pace(6_000_000, 3600))
    laer: Pace = field(default_factory=lambda: Pace(30_000_000, 2000))
    exchange: Pace = field(default_factory=lambda: Pace(9_000_000, 1600))
    replicate: Pace = field(default_factory=lambda: Pace(16_000_000, 1900))
    relocate: Pace = field(default_factory=lambda: Pace(8_000_000, 6500))
    flow: Pace = field(default_factory=lambda: Pace(12_000_000, 650))
    highs: Pace = field(default_factory=lambda: Pace(1_740_000_000, 8_100_000))

    def duration(self, name: str, effort: int) -> int:
        """Return how long the planner ``name`` takes, ps; nothing where the name is empty."""
        pace: Pace | None = getattr(self, name) if name else None
        return pace.duration(effort) if pace else 0
