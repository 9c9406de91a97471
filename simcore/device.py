"""A live GPU: its compute stream, which runs kernels one after another, and the reads its memory port serves."""

from simpy.events import Event

from simcore.hardware import GpuSpec
from simcore.simulation import Simulation


class Device:
    """One GPU at work; ``flag_reads`` and ``other_reads`` count lines read by polls and by everything else.

    Model: polls do not queue at the memory port, neither behind each other nor behind the reads of kernels.
    """

    def __init__(self, simulation: Simulation, spec: GpuSpec) -> None:
        self.spec = spec
        self.flag_reads = 0
        self.other_reads = 0
        self._simulation = simulation
        self._stream_free = 0

    def compute(self, duration: int, bytes_read: int = 0) -> Event:
        """Queue work of ``duration`` ps on the compute stream; the event happens when it ends.

        ``bytes_read`` from memory count as other reads, in lines, rounded up.
        """
        self.other_reads += -(-bytes_read // self.spec.memory_line)
        self._stream_free = max(self._stream_free, self._simulation.now) + duration
        return self._simulation.at(self._stream_free)
