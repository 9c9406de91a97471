"""What a kernel does, counted, and how long that takes: `Work`, cost models, and payloads real or virtual."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Literal, Protocol

from simcore.errors import SimulationError
from simcore.hardware import EnergySpec, GpuSpec
from simcore.units import PS_PER_S


@dataclass(frozen=True)
class Work:
    """Operations by dtype, bytes read and written by memory level, and kernel launches; all exact counts."""

    operations: Mapping[str, int] = field(default_factory=dict)
    bytes_read: Mapping[str, int] = field(default_factory=dict)
    bytes_written: Mapping[str, int] = field(default_factory=dict)
    launches: int = 0

    def __add__(self, other: "Work") -> "Work":
        def added(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
            return {key: a.get(key, 0) + b.get(key, 0) for key in sorted({*a, *b})}

        return Work(
            added(self.operations, other.operations),
            added(self.bytes_read, other.bytes_read),
            added(self.bytes_written, other.bytes_written),
            self.launches + other.launches,
        )

    def __mul__(self, count: int) -> "Work":
        """Return ``count`` times the operations and bytes of one launch: what all work-groups of a kernel do while one
        of them does this."""

        def times(of: Mapping[str, int]) -> dict[str, int]:
            return {key: count * amount for key, amount in of.items()}

        return Work(times(self.operations), times(self.bytes_read), times(self.bytes_written), self.launches)

    def energy(self, prices: EnergySpec) -> tuple[int, int]:
        """Return what the operations and what the bytes cost by ``prices``, fJ; raises ``SimulationError`` where one of
        them has no price."""
        spent = []
        for counts, price, what in (
            ((self.operations,), prices.operations, "an operation of"),
            ((self.bytes_read, self.bytes_written), prices.memory, "a byte of"),
        ):
            kinds = sorted({kind for each in counts for kind in each})
            missing = [kind for kind in kinds if kind not in price]
            if missing:
                raise SimulationError(f"the GPU states no energy of {what} {missing[0]}; it has {', '.join(price)}")
            spent.append(sum(price[kind] * each.get(kind, 0) for kind in kinds for each in counts))
        return spent[0], spent[1]


NARROW = {"bfloat16": 2, "float8": 1}
"""Bytes of an element of the dtypes that NumPy does not know."""


def width(dtype: str) -> int:
    """Return the bytes of one element of ``dtype``; raises ``TypeError`` for one that is not known."""
    import numpy as np

    return NARROW.get(dtype) or np.dtype(dtype).itemsize


@dataclass(frozen=True)
class Virtual:
    """A payload without data: a shape and a dtype. Arithmetic on it raises, because there is nothing to compute
    with."""

    shape: tuple[int, ...]
    dtype: str

    @cached_property
    def nbytes(self) -> int:
        """Bytes that an array of this shape and dtype holds."""
        return prod(self.shape) * width(self.dtype)


@dataclass(frozen=True)
class Kernel:
    """A reference kernel and its formula: ``run(*arrays)`` and ``cost(*virtuals)`` both return (outputs, Work), and
    agree on Work. ``timing`` says how long its work takes, where that is known better than by the roofline. The
    operations of its Work are all arithmetic, or, as many papers count, that of products of matrices alone."""

    name: str
    run: Callable[..., tuple[Any, Work]]
    cost: Callable[..., tuple[Any, Work]]
    timing: "CostModel | None" = None
    counts: Literal["all", "products"] = "all"

    def __call__(self, *payloads: Any) -> tuple[Any, Work]:
        """Run on real payloads, or apply the formula when any payload is ``Virtual``."""
        virtual = any(isinstance(payload, Virtual) for payload in payloads)
        return self.cost(*payloads) if virtual else self.run(*payloads)


class CostModel(Protocol):
    """How long counted work takes on a GPU."""

    def duration(self, work: Work, gpu: GpuSpec) -> int:
        """Return the duration of ``work`` on ``gpu`` in ps."""
        ...


class Roofline:
    """The slower of arithmetic at peak and memory traffic at full bandwidth, plus the launches.

    Model: dense peak and streaming bandwidth, no efficiency below one and no cache (Williams et al.,
    doi:10.1145/1498765.1498785).
    """

    def duration(self, work: Work, gpu: GpuSpec) -> int:
        """Return ``max(sum(operations / peak), bytes / bandwidth) + launches * launch`` in ps, each quotient rounded
        up."""
        missing = sorted(set(work.operations) - set(gpu.throughput))
        if missing:
            raise SimulationError(f"the GPU states no throughput for {missing[0]}; it has {', '.join(gpu.throughput)}")
        compute = sum(-(-count * PS_PER_S // gpu.throughput[dtype]) for dtype, count in work.operations.items())
        traffic = work.bytes_read.get("hbm", 0) + work.bytes_written.get("hbm", 0)
        return max(compute, -(-traffic * PS_PER_S // gpu.memory_bandwidth)) + work.launches * gpu.launch
