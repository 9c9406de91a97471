"""Where the ranks of a job meet for a collective: it begins when the last of them has called."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from simpy.events import Event

from simcore.collectives import build
from simcore.collectives.library import Library
from simcore.errors import SimulationError
from simcore.schedule import Schedule
from simcore.simulation import Simulation


@dataclass(frozen=True)
class Call:
    """What a rank asks for: an operation of ``size`` bytes by an algorithm ("": the operation's first), the other
    options of `build` as sorted (name, value), and the dtype in which adding takes time ("": it takes none)."""

    operation: str
    size: int
    algorithm: str
    form: tuple[tuple[str, Any], ...]
    adds: str

    def __str__(self) -> str:
        form = "".join(f", {name} {value}" for name, value in self.form)
        return f"{self.algorithm} {self.operation} of {self.size} B{form}{', adding ' if self.adds else ''}{self.adds}"


class Meeting:
    """One collective of one group; ``complete`` happens when the last rank has called, with that rank and the event of
    the collective's end.

    Model: no rank's part begins before the last rank has called, and all leave together, when the last row has ended;
    with real libraries a rank may begin, and leave, before others.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.complete = Event(simulation)
        self.first: tuple[int, Call] | None = None
        self.here: set[int] = set()


class Meetings:
    """All meetings of a job; the n-th call of a rank for a group meets the n-th calls of the others for it."""

    def __init__(self, simulation: Simulation, library: Library) -> None:
        self._simulation, self._library = simulation, library
        self._open: dict[tuple[tuple[int, ...], int], Meeting] = {}
        self._calls: dict[tuple[tuple[int, ...], int], int] = {}
        self._built: dict[tuple[int, Call], Schedule] = {}
        self._whole: dict[tuple[tuple[int, ...], Call], Schedule] = {}

    def call(self, rank: int, group: tuple[int, ...], call: Call, play: Callable[[], Event]) -> Meeting:
        """Let ``rank`` arrive; when the last rank of ``group`` has arrived the collective begins, by ``play``.

        Raises ``SimulationError`` where the ranks of a group ask for different things.
        """
        number = self._calls.get((group, rank), 0)
        self._calls[group, rank] = number + 1
        meeting = self._open.setdefault((group, number), Meeting(self._simulation))
        meeting.first = meeting.first or (rank, call)
        if meeting.first[1] != call:
            raise SimulationError(f"rank{rank} calls {call}, but rank{meeting.first[0]} called {meeting.first[1]}")
        meeting.here.add(rank)
        if len(meeting.here) == len(group):
            del self._open[group, number]
            meeting.complete.succeed((rank, play()))
        return meeting

    def schedule(self, group: tuple[int, ...], call: Call, reduce_time: Callable[[int], int] | None) -> Schedule:
        """Return the schedule of a call with what the library adds, built once a group; raises ``InputError`` for what
        `build` refuses."""
        if (group, call) not in self._whole:
            if (len(group), call) not in self._built:
                collective = build(
                    call.operation, len(group), call.size, call.algorithm, reduce_time=reduce_time, **dict(call.form)
                )
                self._built[len(group), call] = collective.schedule
            self._whole[group, call] = self._library.around(self._built[len(group), call], group)
        return self._whole[group, call]


def members(group: Sequence[int] | None, world: int, rank: int) -> tuple[int, ...]:
    """Return the ranks of a group, all ``world`` of them by default; raises ``SimulationError`` for a group that is
    none."""
    chosen = tuple(range(world) if group is None else group)
    if len(set(chosen)) != len(chosen) or not all(0 <= each < world for each in chosen) or rank not in chosen:
        raise SimulationError(
            f"rank{rank} calls a collective of the ranks {list(chosen)}: they must be different, among 0 to "
            f"{world - 1}, and include the rank itself"
        )
    return chosen
