"""How long a collective takes on a machine, size by size, with what its library adds: the table of nccl-tests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from simcore import collectives
from simcore.collectives.formulas import busbw_factor
from simcore.collectives.library import Library, adds_in_switches, reducers
from simcore.collectives.timing import duration
from simcore.errors import InputError
from simcore.hardware import Queues
from simcore.scenario import Machine


@dataclass(frozen=True)
class Timed:
    """A collective of ``size_bytes`` by an ``algorithm`` among ``ranks``: its time, ps, and its bandwidths, GB/s."""

    algorithm: str
    ranks: int
    size_bytes: int
    time_ps: int
    algbw_gb_per_s: float
    busbw_gb_per_s: float


def times(
    machine: Machine, operation: str, sizes: Sequence[int], algorithm: str = "", *, ranks: int | None = None,
    nodes: int | None = None, inner: str = "ring", outer: str = "ring", **lanes: Any,
) -> Iterator[Timed]:  # fmt: skip
    """Yield the time of ``operation`` on the first ``ranks`` GPUs of ``machine`` (all, unless stated), which carries
    nothing else, for each of ``sizes``, bytes; ``lanes`` are root, chunks, channels and window.

    ``nodes`` are those that the ranks fill, unless stated. Raises ``InputError``.
    """
    topology = machine.build_topology()
    count = topology.gpus if ranks is None else ranks
    if count > topology.gpus:
        raise InputError(f"{count} ranks need as many GPUs; {machine.name} has {topology.gpus}")
    levels: dict[str, Any] = {"nodes": nodes or _nodes(machine, count), "inner": inner, "outer": outer}
    if adds_in_switches(algorithm, inner):
        lanes["reducers"] = reducers(range(count), levels["nodes"], topology.reducer_of, machine.name)
    library, factor = Library(machine.collective, topology, range(count)), None
    for size in sizes:
        built = collectives.build(operation, count, size, algorithm, **levels, **lanes)
        factor = factor or float(busbw_factor(built.operation, built.ranks))
        whole = library.around(built.schedule, range(count))
        time = duration(whole, topology, machine.sharing, range(count), machine.queues or Queues())
        algbw = size * 1000 / time if time else 0.0
        yield Timed(built.algorithm, count, size, time, algbw, algbw * factor)


def _nodes(machine: Machine, ranks: int) -> int:
    """Return on how many nodes the first ``ranks`` GPUs are, 1 where they do not fill them."""
    return ranks // machine.gpus if ranks % machine.gpus == 0 else 1
