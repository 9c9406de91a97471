"""What one device spends on one recall, counted: operations and bytes by memory level times the prices of its sheet."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from simcore import Kernel, Virtual, Work

if TYPE_CHECKING:
    from simcore.hardware import EnergySpec

Level = Literal["dram", "flash", "sram_1m", "sram"]
"""Where the weights are: outside the chip, or in a large or small memory on it."""
ON_CHIP = ("sram_1m", "sram")


@dataclass
class Ledger:
    """``prices`` of the device whose weights are in ``level``; energies so far, fJ; bytes that came from the weights'
    memory and that went over links; and how long the adder waited for weights, ps."""

    prices: "EnergySpec"
    level: Level
    arithmetic: int = 0
    weights: int = 0
    chip: int = 0
    link: int = 0
    moved: int = 0
    sent: int = 0
    waited: int = 0

    def compute(self, work: Work) -> None:
        """Enter the operations and bytes of ``work``. Weights that are on the chip already pass through no buffer."""
        read, written = dict(work.bytes_read), dict(work.bytes_written)
        moved = read.pop("weights", 0)
        if self.level in ON_CHIP and moved:
            read["sram"] -= moved
            written["sram"] -= moved
        arithmetic, chip = replace(work, bytes_read=read, bytes_written=written).energy(self.prices)
        self.arithmetic += arithmetic
        self.chip += chip
        self.weights += Work({}, {self.level: moved}).energy(self.prices)[1]
        self.moved += moved

    def send(self, size: int, links: int) -> None:
        """Enter a message of ``size`` bytes that goes over ``links`` links, and the energy of sending it on the
        first."""
        self.link += size * self.prices.sent
        self.sent += size * links


def counted(kernel: Kernel, payloads: tuple[Any, ...]) -> Work:
    """Return the work of ``kernel`` on ``payloads`` by its formula."""
    shapes = [each if isinstance(each, Virtual) else Virtual(tuple(each.shape), str(each.dtype)) for each in payloads]
    return kernel.cost(*shapes)[1]
