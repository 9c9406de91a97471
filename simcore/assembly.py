"""The only place where parts meet: a scenario in, a result out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from simcore import metrics, registry, scenario, trace
from simcore.device import Device
from simcore.errors import Deadlock, SimcoreError
from simcore.fabric import Fabric
from simcore.scenario import Scenario
from simcore.simulation import Simulation
from simcore.trace import Recorder
from simcore.work import Roofline
from simcore.workload import Memory, Rank


@dataclass(frozen=True)
class Result:
    """What came out of a run: its tables, metrics, warnings, the results of its ranks, and the digest of all table
    values.

    ``interrupted_at`` is the simulated instant (ps) at which the run was stopped by its user, or None for a whole run.
    """

    scenario: Scenario
    tables: dict[str, pa.Table]
    metrics: dict[str, Any]
    warnings: list[str]
    digest: str
    interrupted_at: int | None = None
    results: dict[str, list[Any]] = field(default_factory=dict)


def read_scenario(name: str, overrides: list[str] | None = None, seed: int | None = None) -> Scenario:
    """Return the scenario called ``name``: a path, a bundled name, a paper, or a run folder; ``overrides`` as in
    ``--set``."""
    return scenario.read(scenario.find(name), overrides, seed)


def run(asked: Scenario, *, folder: Path | None = None, progress: Callable[[Simulation], None] | None = None) -> Result:
    """Run ``asked`` to its end and return the result; the same scenario gives the same bytes.

    Full chunks of rows are spilled to Parquet in ``folder`` where one is given. A keyboard interrupt ends the run
    early: the result then holds what was simulated so far. Raises ``InputError`` and ``SimulationError``.
    """
    job = asked.workloads[0]
    workload = registry.load(job.model)
    world = len(job.gpus)
    simulation = Simulation(seed=asked.seed, progress=progress)
    recorder = Recorder(folder)
    fabric = Fabric(simulation, asked.machine.build_topology(), asked.machine.sharing, recorder, job.gpus)
    memory, cost = Memory(simulation), Roofline()
    devices = [Device(simulation, asked.machine.gpu) for _ in range(world)]
    ranks = [
        Rank(i, world, simulation, device, fabric, memory, asked.wait, cost, recorder)
        for i, device in enumerate(devices)
    ]
    plan = workload.plan(job.params, world, 1, simulation.rng(f"plan of {job.model}"))
    lives = [simulation.process(workload.program(rank, plan)) for rank in ranks]
    interrupted_at = None
    try:
        simulation.run()
        stuck = [rank for rank, life in zip(ranks, lives, strict=True) if life.is_alive]
        if stuck:
            waits = "; ".join(
                f"{rank.location} waits for {rank.waits_for or 'something unnamed'}" for rank in stuck[:4]
            )
            more = f" (and {len(stuck) - 4} more ranks)" if len(stuck) > 4 else ""
            raise Deadlock(f"{asked.name}: nothing can happen after {simulation.now} ps, but {waits}{more}")
    except KeyboardInterrupt:
        interrupted_at = simulation.now
    except SimcoreError as error:
        raise type(error)(str(error)) from None
    with trace.uninterrupted():
        fabric.record()
        tables = recorder.tables()
        counters = {
            rank.location: {"other_reads": device.other_reads} for rank, device in zip(ranks, devices, strict=True)
        }
        found = metrics.summarise(tables, world, counters)
        results = {rank.location: rank.results for rank in ranks}
        return Result(
            asked, tables, found, _doubts(asked, world, tables), trace.digest(tables), interrupted_at, results
        )


def _doubts(asked: Scenario, world: int, tables: dict[str, pa.Table]) -> list[str]:
    """Return what a careful reader would ask about: settings without effect, and results that are suspiciously
    empty."""
    doubts = []
    if world != asked.machine.gpus:
        doubts.append(f"{world} ranks on {asked.machine.gpus} GPUs: {asked.machine.gpus - world} GPUs take no part")
    if not pc.sum(tables["transfers"]["size_bytes"]).as_py():
        doubts.append("zero bytes moved: no setting of a link changes anything")
    if not len(tables["flags"]):
        doubts.append(f"no flag was waited for: wait.policy {asked.wait.policy!r} changes nothing")
    if asked.machine.sharing == "ideal":
        doubts.append("sharing is 'ideal': links do not slow each other's messages")
    return doubts
