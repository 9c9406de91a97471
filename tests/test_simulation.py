"""The clock: integers only, a stated order within an instant, random streams by name, and the boundary to the data
plane."""

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
from simpy.events import Event

from simcore.errors import SimulationError
from simcore.simulation import COMPLETION, END, NORMAL, OBSERVE, SETTLE, Simulation
from simcore.units import LARGEST


@pytest.mark.parametrize("delay", [1.0, np.int64(5), True, -1, "1", LARGEST])
def test_time_that_is_not_a_plain_integer_is_refused(delay: Any) -> None:
    simulation = Simulation()

    with pytest.raises((SimulationError, ValueError, TypeError)):
        simulation.timeout(delay)


def test_the_order_within_an_instant_is_completions_processes_settling_observers() -> None:
    simulation, seen = Simulation(), []
    for priority in (OBSERVE, SETTLE, NORMAL, COMPLETION):
        simulation.at(7, priority=priority).callbacks.append(lambda _, priority=priority: seen.append(priority))

    simulation.run()

    assert seen == [COMPLETION, NORMAL, SETTLE, OBSERVE]
    assert simulation.now == 7
    assert type(simulation.now) is int


def test_a_random_stream_depends_on_the_seed_and_its_name_only() -> None:
    first, other = Simulation(seed=1), Simulation(seed=2)
    first.rng("something else").random()

    assert first.rng("a").random() == Simulation(seed=1).rng("a").random()
    assert first.rng("a").random() != first.rng("b").random()
    assert first.rng("a").random() != other.rng("a").random()


def test_coinciding_periods_coincide_a_thousand_times() -> None:
    simulation = Simulation()
    instants: dict[str, set[int]] = {"three": set(), "one": set()}

    def ticks(name: str, period: int) -> Generator[Any, Any, None]:
        for _ in range(3_000):
            yield simulation.timeout(period)
            instants[name].add(simulation.now)

    simulation.process(ticks("three", 300_000))
    simulation.process(ticks("one", 100_000))
    simulation.run()

    assert len(instants["three"] & instants["one"]) == 1_000


class Plane:
    """A data plane that completes visibly at given instants and notes how far it was allowed to go."""

    def __init__(self, simulation: Simulation, instants: list[int]) -> None:
        self.simulation, self.instants, self.limits = simulation, instants, []
        self.next_due = 2 * instants[0]

    def advance(self, bound: int) -> None:
        self.limits.append(bound)
        if self.instants and 2 * self.instants[0] <= bound:
            instant = self.instants.pop(0)
            told = Event(self.simulation)
            told.callbacks.append(lambda _: self.seen.append(("data", instant)))
            self.simulation.announce(told, instant)
        self.next_due = 2 * (self.instants[0] if self.instants else LARGEST)

    seen: list[tuple[str, int]]


def test_the_data_plane_advances_to_the_next_event_and_no_further() -> None:
    simulation, seen = Simulation(), []
    plane = Plane(simulation, [5, 10, 25])
    plane.seen = seen
    simulation.attach(plane)
    for instant in (10, 20):
        simulation.at(instant).callbacks.append(lambda _, instant=instant: seen.append(("process", instant)))

    simulation.run()

    assert seen == [("data", 5), ("data", 10), ("process", 10), ("process", 20), ("data", 25)]
    assert plane.limits == [20, 20, END]


def test_progress_is_called_while_events_pass() -> None:
    calls = []
    simulation = Simulation(progress=lambda s: calls.append(s.events))
    for i in range(5_000):
        simulation.timeout(i)

    simulation.run()

    assert calls == [2_048, 4_096]
