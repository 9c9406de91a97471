"""A live GPU: its compute stream, which runs kernels one after another, and the reads its memory port serves."""

from simpy.events import Event

from simcore.fabric import Fabric
from simcore.hardware import GpuSpec


class Device:
    """The GPU of one rank at work; ``flag_reads`` and ``other_reads`` count lines read by polls and by everything else.

    Its compute stream is that of fabric rank ``rank`` in the data plane: kernels and the computations of schedules
    take turns on it.

    Model: polls do not queue at the memory port, neither behind each other nor behind the reads of kernels.
    """

    def __init__(self, spec: GpuSpec, fabric: Fabric, rank: int) -> None:
        self.spec = spec
        self.flag_reads = 0
        self.other_reads = 0
        self._fabric, self._rank = fabric, rank

    def read(self, size: int) -> None:
        """Count ``size`` bytes read from memory as other reads, in lines, rounded up."""
        self.other_reads += -(-size // self.spec.memory_line)

    def compute(self, duration: int, bytes_read: int = 0) -> Event:
        """Queue work of ``duration`` ps on the compute stream; the event happens when it ends.

        ``bytes_read`` from memory count as other reads, in lines, rounded up.
        """
        self.read(bytes_read)
        return self._fabric.compute(self._rank, duration)
