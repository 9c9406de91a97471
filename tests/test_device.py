"""A GPU's compute stream: kernels, and the computations of schedules, one after another."""

import numpy as np
from simpy.events import Event

from simcore.device import Device
from simcore.fabric import Fabric
from simcore.hardware import LinkSpec, Sheet, find
from simcore.schedule import Schedule
from simcore.simulation import Simulation
from simcore.source import bundle
from simcore.topology import Topology

GPU = Sheet.read(find("mi300x-8", bundle("scenarios"))).spec().gpu


def alone(rank: int, duration: int) -> Schedule:
    """Return the schedule of one computation."""
    one = [np.array([value]) for value in (rank, rank, 0, duration)]
    return Schedule(*one, np.array([0, 0]), np.zeros(0, np.int64))


def test_kernels_and_computations_of_schedules_take_turns_on_one_stream() -> None:
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("full_mesh", 2, LinkSpec(10**9, 0)), "fair", None, range(2))
    devices = [Device(GPU, simulation, fabric, rank) for rank in range(2)]
    ends: dict[str, int] = {}

    def note(name: str, event: Event) -> None:
        assert event.callbacks is not None
        event.callbacks.append(lambda _: ends.__setitem__(name, simulation.now))

    note("kernel", devices[0].compute(100))
    note("schedule", fabric.play(alone(0, 70), range(2), "adds"))
    note("next kernel", devices[0].compute(5))
    note("elsewhere", devices[1].compute(40))
    simulation.run()

    assert ends == {"kernel": 100, "schedule": 170, "next kernel": 175, "elsewhere": 40}


def test_lines_that_a_kernel_reads_are_counted_rounded_up() -> None:
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("full_mesh", 2, LinkSpec(10**9, 0)), "fair", None, range(1))
    device = Device(GPU, simulation, fabric, 0)

    device.compute(1, bytes_read=GPU.memory_line + 1)
    device.compute(1)

    assert device.other_reads == 2
