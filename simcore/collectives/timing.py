"""How long a collective takes on a machine that carries nothing else."""

from collections.abc import Sequence

from simcore.fabric import Fabric
from simcore.hardware import Queues, Sharing
from simcore.schedule import Schedule
from simcore.simulation import Simulation
from simcore.topology import Topology


def duration(
    schedule: Schedule, topology: Topology, sharing: Sharing, gpus: Sequence[int], queues: Queues | None = None
) -> int:
    """Return the time, ps, from the begin of ``schedule`` to the end of its last row, its rank i on GPU ``gpus[i]``."""
    simulation = Simulation()
    fabric = Fabric(simulation, topology, sharing, None, gpus, queues or Queues())
    simulation.run(until=fabric.play(schedule, range(len(gpus)), "collective"))
    return simulation.now
