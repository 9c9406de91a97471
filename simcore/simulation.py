"""The clock: SimPy with integer picoseconds, named random streams, and the boundary to the data plane."""

from collections.abc import Callable
from heapq import heappush
from typing import TYPE_CHECKING, Any, Protocol

import simpy
from simpy.core import EmptySchedule
from simpy.events import Event

from simcore import randomness
from simcore.errors import SimulationError
from simcore.units import LARGEST

if TYPE_CHECKING:
    import numpy as np

COMPLETION, URGENT, NORMAL, SETTLE, OBSERVE = -1, 0, 1, 2, 3
"""Order within one instant: completions of the data plane, processes, admission of what they sent, observers."""

PROGRESS_EVERY = 2_048

END = 2 * LARGEST - 1
"""The last moment: nothing happens after it."""


class DataPlane(Protocol):
    """What computes between two decisions: it announces when it must go on, and advances up to a bound.

    Both are *moments*: twice an instant (ps), and one more once every process of that instant has acted.
    """

    next_due: int
    """Nothing happens before this moment."""

    def advance(self, bound: int) -> None:
        """Compute up to the moment ``bound``, or to the first instant at which a process must act, and schedule that
        as an event."""
        ...


class Simulation(simpy.Environment):
    """The environment of one run; time is ``int`` picoseconds, and a data plane may be attached behind it."""

    def __init__(self, *, seed: int = 0, progress: Callable[["Simulation"], None] | None = None) -> None:
        super().__init__(initial_time=0)
        self.seed = seed
        self.events = 0
        self.horizon = 0
        """The last instant at which something is known to be planned, ps; only for estimates of the time left."""
        self._progress = progress
        self._streams: list[tuple[np.random.Generator, Any]] = []
        self._plane: DataPlane | None = None

    @property
    def now(self) -> int:
        """The present instant, ps."""
        return int(self._now)

    def attach(self, plane: DataPlane) -> None:
        """Put the data plane behind the clock: it advances before every event."""
        self._plane = plane

    def rng(self, name: str) -> "np.random.Generator":
        """Return the random stream ``name``; it depends on the seed and the name only."""
        found = randomness.stream(self.seed, name)
        self._streams.append((found, found.bit_generator.state))
        return found

    @property
    def seed_matters(self) -> bool:
        """Whether anything was drawn from a random stream so far."""
        return any(found.bit_generator.state != first for found, first in self._streams)

    def schedule(self, event: Event, priority: Any = NORMAL, delay: Any = 0) -> None:
        """Schedule ``event``; the one gate that refuses a delay that is not a whole, non-negative number of ps."""
        if type(delay) is not int or delay < 0 or self._now + delay >= LARGEST:
            raise SimulationError(
                f"a delay of {delay!r} ({type(delay).__name__}); time is int picoseconds, from 0 to below {LARGEST}"
            )
        super().schedule(event, priority, delay)

    def at(self, instant: int, *, priority: int = NORMAL) -> Event:
        """Return an event that happens at ``instant``, ps, in the given order within it."""
        event = Event(self)
        event._ok, event._value = True, None
        self.schedule(event, priority, instant - self._now)
        return event

    def announce(self, event: Event, instant: int, value: Any = None) -> None:
        """Let ``event`` happen at ``instant``, ps, with ``value``, before every process of that instant; for the data
        plane, whose instants are integers and never in the past."""
        event._ok, event._value = True, value
        heappush(self._queue, (instant, COMPLETION, next(self._eid), event))  # type: ignore[misc]

    def step(self) -> None:
        """Let the data plane advance to the next event, then process that event; this is the only place where the
        planes meet."""
        queue, plane = self._queue, self._plane
        if plane is not None:
            bound = END if not queue else 2 * int(queue[0][0]) + (queue[0][1] > SETTLE)
            if plane.next_due <= bound:
                plane.advance(bound)
        if not queue:
            raise EmptySchedule
        super().step()
        self.events += 1
        if self._progress is not None and self.events % PROGRESS_EVERY == 0:
            self._progress(self)
