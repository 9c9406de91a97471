"""Flags, words in a GPU's memory, and two ways to wait for one, exact in reads and in the instant of detection."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

from simpy.events import Event

from simcore.device import Device
from simcore.simulation import OBSERVE, Simulation
from simcore.trace import Sample
from simcore.units import PS_PER_S

Policy = Literal["spin", "monitor"]


@dataclass(frozen=True)
class WaitSpec:
    """How ranks wait for flags: ``spin`` reads again and again; ``monitor`` arms a watch on the word and sleeps
    (monitor/mwait)."""

    policy: Policy = "spin"


class Flag:
    """A word in the memory of one GPU, zero until written."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.name = name
        self.value = 0
        self._simulation = simulation
        self._history: list[tuple[int, int]] = []
        self._written: list[Event] = []

    def write(self, value: int) -> None:
        """Store ``value`` now and wake everything that watches the word."""
        self.value = value
        self._history.append((self._simulation.now, value))
        written, self._written = self._written, []
        for event in written:
            event.succeed()

    def reached(self, value: int) -> int:
        """Return the instant since which the word has held at least ``value``, ps; 0 if it always has."""
        since = 0
        for instant, held in reversed(self._history):
            if held < value:
                break
            since = instant
        return since

    def written(self) -> Event:
        """Return an event that happens with the next write, whatever its value."""
        event = Event(self._simulation)
        self._written.append(event)
        return event


Wait = Generator[Event, Any, Sample]


def wait(simulation: Simulation, device: Device, flag: Flag, value: int, policy: Policy, location: str) -> Wait:
    """Wait in ``location`` until ``flag`` is seen to hold at least ``value``; return what the wait took.

    A read of the flag is issued, spends ``poll_request`` on the way, holds the memory port for one line, and
    spends ``poll_response`` on the way back. It sees the value in force when the port service ends, a write
    of that very instant included.

    Model: a flag is read past the caches, by one waiter that has one read under way.
    """
    run = _spin if policy == "spin" else _monitor
    sample = yield from run(simulation, device, flag, value, location)
    device.flag_reads += sample.flag_reads
    return sample


def _spin(simulation: Simulation, device: Device, flag: Flag, value: int, location: str) -> Wait:
    """Poll k is issued at ``t0 + ceil(k * poll_period * 10**12 / clock)``; only the poll that can see a change is an
    event."""
    gpu, t0 = device.spec, simulation.now
    sampling = gpu.cycles(gpu.poll_request) + gpu.line_service
    while True:
        while flag.value < value:
            yield flag.written()
        k = first_poll(simulation.now - t0 - sampling, gpu.poll_period * PS_PER_S, gpu.clock)
        yield simulation.at(t0 + gpu.cycles(k * gpu.poll_period) + sampling, priority=OBSERVE)
        if flag.value >= value:
            break
    set_at = flag.reached(value)
    yield simulation.timeout(gpu.cycles(gpu.poll_response))
    return Sample(flag.name, location, "spin", t0, set_at, simulation.now, k + 1, 0, 0)


def first_poll(delay: int, num: int, den: int) -> int:
    """Return the smallest k >= 0 with ``ceil(k * num / den) >= delay``: the first poll issued at or after ``delay``."""
    if delay <= 0:
        return 0
    # ceil(k * num / den) >= delay holds exactly if k * num > (delay - 1) * den.
    return (delay - 1) * den // num + 1


def _monitor(simulation: Simulation, device: Device, flag: Flag, value: int, location: str) -> Wait:
    """Check; arm; re-check, so that no write between check and sleep is lost; sleep until a write; notify; wake;
    re-check.

    A write that comes after arming and before sleeping makes the sleep fall through. One read if the flag was
    set, two if it was set before arming ended, three if the waiter slept once.
    """
    gpu, t0 = device.spec, simulation.now
    reads = wakeups = false_wakeups = 0
    set_at = -1

    def read() -> Generator[Event, Any, bool]:
        nonlocal reads, set_at
        reads += 1
        yield simulation.at(simulation.now + gpu.cycles(gpu.poll_request) + gpu.line_service, priority=OBSERVE)
        seen = flag.value >= value
        set_at = flag.reached(value)
        yield simulation.timeout(gpu.cycles(gpu.poll_response))
        return seen

    seen = yield from read()
    while not seen:
        yield simulation.timeout(gpu.cycles(gpu.monitor_arm))
        triggered = flag.written()
        seen = yield from read()
        if seen:
            break
        if not triggered.triggered:
            yield triggered
            yield simulation.timeout(gpu.cycles(gpu.monitor_notify) + gpu.cycles(gpu.monitor_wake))
            wakeups += 1
        seen = yield from read()
        false_wakeups += not seen
    return Sample(flag.name, location, "monitor", t0, set_at, simulation.now, reads, wakeups, false_wakeups)
