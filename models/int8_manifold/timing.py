"""How long the kernels last on a device: tiles of weights fetched while others are added, or a server's own time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcore import SimulationError, Work

from .fetch import PS, Fetch, Flow, flow

if TYPE_CHECKING:
    from simcore.hardware import GpuSpec

PORT = 8
"""Bytes that a memory on the chip gives every cycle. Model: whatever its size."""


@dataclass(frozen=True)
class Tiles:
    """Weights that come from memory in ``tiles`` tiles, by ``fetch`` from outside the chip, else at the width of the
    chip's memory, and the operations on each when it is there."""

    tiles: int
    fetch: Fetch
    outside: bool

    def flow(self, work: Work, gpu: "GpuSpec") -> Flow:
        """Return when each tile came and was added; raises ``SimulationError`` where the device cannot compute so."""
        count = max(self.tiles, 1)
        adding = operating(work, gpu, count)
        size = work.bytes_read.get("weights", 0) // count
        if self.outside:
            return flow(self.tiles, size, adding, gpu.memory_bandwidth, self.fetch)
        on_chip = Fetch(1, 1, self.fetch.buffers, 0, 0)
        return flow(self.tiles, size, adding, PORT * gpu.clock, on_chip)

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the duration of ``work`` in ps, its launches included."""
        return self.flow(work, gpu).duration + work.launches * gpu.launch


class Watch:
    """A cost model that remembers how tiles flowed when it was last asked."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles
        self.seen: Flow | None = None

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return what the tiles take."""
        self.seen = self._tiles.flow(work, gpu)
        return self._tiles.duration(work, gpu)


@dataclass(frozen=True)
class Operations:
    """Work on what is on the chip: its operations alone, rounded up, and the launches."""

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the duration of ``work`` in ps."""
        return operating(work, gpu, 1) + work.launches * gpu.launch


@dataclass(frozen=True)
class Constant:
    """Work that lasts ``time`` ps whatever it is.

    Model: of a server, its own machine is not simulated.
    """

    time: int

    def duration(self, work: Work, gpu: "GpuSpec") -> int:
        """Return the time."""
        return self.time


def operating(work: Work, gpu: "GpuSpec", parts: int) -> int:
    """Return how long one of ``parts`` equal parts of the operations takes, ps, rounded up; raises
    ``SimulationError``."""
    missing = sorted(set(work.operations) - set(gpu.throughput))
    if missing:
        raise SimulationError(f"the GPU states no throughput for {missing[0]}; it has {', '.join(gpu.throughput)}")
    return sum(-(-count * PS // (parts * gpu.throughput[kind])) for kind, count in work.operations.items())
