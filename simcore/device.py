"""A live GPU: its compute stream, which runs kernels one after another, and the reads its memory port serves."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from simpy.events import Event

from simcore.fabric import Fabric
from simcore.hardware import GpuSpec
from simcore.simulation import Simulation
from simcore.work import CostModel, Work


class Device:
    """The GPU of one rank at work; ``other_reads`` counts the lines that its kernels read.

    Its compute stream is that of fabric rank ``rank`` in the data plane: kernels and the computations of schedules
    take turns on it. Work-groups of a kernel run beside each other.

    Model: kernels that run alone on the GPU do not queue at the memory port, where it is shared.
    """

    def __init__(self, spec: GpuSpec, simulation: Simulation, fabric: Fabric, rank: int) -> None:
        self.spec = spec
        self.other_reads = 0
        self._simulation, self._fabric, self._rank = simulation, fabric, rank

    def compute(self, duration: int, bytes_read: int = 0) -> Event:
        """Queue work of ``duration`` ps on the compute stream; the event happens when it ends.

        ``bytes_read`` from memory count as other reads, in lines, rounded up.
        """
        self.other_reads += -(-bytes_read // self.spec.memory_line)
        return self._fabric.compute(self._rank, duration)

    def share(self, work: Work, cost: CostModel, count: int) -> Generator[Event, Any, None]:
        """Do the work of one of ``count`` work-groups, as if each had an equal share of the GPU.

        Where the memory port is shared, what is read queues there first, at the full bandwidth, and what is left takes
        its time after that.
        """
        read = work.bytes_read.get("hbm", 0)
        self.other_reads += -(-read // self.spec.memory_line)
        if self._fabric.shares_ports and read:
            yield self._fabric.read(self._rank, read)
            work = replace(work, bytes_read={**work.bytes_read, "hbm": 0})
        yield self._simulation.timeout(cost.duration(work * count, self.spec))
