"""The only place where parts meet: a scenario in, a result out."""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from simpy.events import Process

from simcore import metrics, registry, scenario, source, trace, traffic
from simcore.collectives.library import Library
from simcore.device import Device
from simcore.errors import Deadlock, InputError, SimcoreError
from simcore.fabric import Fabric
from simcore.flags import FlagMemory
from simcore.formats.comparison import Compared
from simcore.hardware import Queues
from simcore.reads import Reads
from simcore.scenario import Job, Scenario
from simcore.simulation import Simulation
from simcore.trace import Recorder
from simcore.units import LARGEST
from simcore.work import Roofline
from simcore.workload import Memory, Program, Rank, Workload


@dataclass(frozen=True, repr=False)
class Result:
    """What came out of a run: its tables, metrics, warnings, the results of its ranks, and the digest of all table
    values; what of it was measured, beside the measurements. A notebook shows what matters of it.

    ``interrupted_at`` is the simulated instant (ps) at which the run was stopped by its user, or None for a whole run.
    ``read`` are the keys of the scenario that decided something in it; what stands around or in one counts as well.
    """

    scenario: Scenario
    tables: dict[str, pa.Table]
    metrics: dict[str, Any]
    warnings: list[str]
    digest: str
    interrupted_at: int | None = None
    results: dict[str, list[Any]] = field(default_factory=dict)
    compared: list[Compared] = field(default_factory=list)
    read: frozenset[source.Keys] = frozenset()

    def __repr__(self) -> str:
        from simcore import summary  # which no run needs

        return f"<Result: {summary.headline(self)}>"

    def _repr_html_(self) -> str:
        from simcore import summary

        return summary.html(self)


MOST_UNREAD = 8
"""Keys that nothing read, each with a warning of its own."""

MOST_PLANS = 16
"""Plans that are kept for runs that share them."""

Progress = Callable[[Simulation], None]
Overrides = Sequence[str] | Mapping[str, Any]
"""Changes of a scenario: ``key=value`` as behind ``--set``, or values by dotted key."""
Load = Callable[[str], Workload]


class Plans:
    """The plans of jobs, each made once for all runs that have its model, parameters with the files they name, ranks,
    nodes, seed and name in common; those used last are kept. ``made`` counts them.

    Of parameters that went into a shared plan nobody knows who read them, so none counts as unread.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Any, Any, Any]] = OrderedDict()
        self._known = scenario.Known()
        self.made = 0

    def of(self, job: Job, nodes: int, simulation: Simulation) -> Any:
        """Return the plan of ``job`` on ``nodes`` nodes, made now or before."""
        files = scenario.digests(job.params, self._known)
        key = repr((job.model, job.params, files, job.ranks, nodes, job.name, simulation.seed))
        rng = simulation.rng(f"plan of {job.name}")
        if key in self._kept:
            self._kept.move_to_end(key)
            plan, drawn_from, state = self._kept[key]
            # A program that draws from its plan's stream would find it further on in the next run.
            if drawn_from.bit_generator.state == state:
                rng.bit_generator.state = state
                return plan
        self.made += 1
        plan = registry.load(job.model).plan(job.params, job.ranks or 0, nodes, rng)
        _freeze(plan, set())
        self._kept[key] = plan, rng, rng.bit_generator.state
        if len(self._kept) > MOST_PLANS:
            self._kept.popitem(last=False)
        return plan


def _freeze(part: Any, seen: set[int]) -> None:
    """Make every array in a plan read-only, so that a program which changes one fails instead of changing later
    runs."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, np.ndarray):
        part.flags.writeable = False
    elif isinstance(part, Mapping):
        for each in part.values():
            _freeze(each, seen)
    elif isinstance(part, list | tuple):
        # Of a million numbers, the first says what the others are.
        for each in part if part and not isinstance(part[0], int | float | str) else ():
            _freeze(each, seen)
    elif hasattr(part, "__dict__") and not isinstance(part, type | ModuleType | FunctionType):
        _freeze(vars(part), seen)


def read_scenario(name: str | Path, overrides: Overrides = (), seed: int | None = None) -> Scenario:
    """Return the scenario called ``name``: a path, a bundled name, a paper, or a run folder, with ``overrides``; raises
    ``InputError``."""
    return scenario.read(scenario.find(str(name)), assignments(overrides), seed)


def assignments(overrides: Overrides) -> list[str]:
    """Return ``overrides`` as they are written behind ``--set``."""
    if not isinstance(overrides, Mapping):
        return list(overrides)
    # JSON is YAML too, and keeps text that looks like a number text.
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in overrides.items()]


def run(
    asked: Scenario | str | Path, overrides: Overrides = (), *, folder: Path | None = None,
    progress: Progress | None = None, plans: Plans | None = None, load: Load | None = None,
) -> Result:  # fmt: skip
    """Run ``asked``, a scenario or the name of one with ``overrides``, to its end and return the result; the same
    scenario gives the same bytes.

    Full chunks of rows are spilled to Parquet in ``folder`` where one is given. Where slowdowns are wanted, every job
    is simulated once more alone, for its makespan. ``progress`` is called when everything is planned, and now and then
    while time runs. Plans are taken from ``plans``, if given, and added there. ``load`` gives a model's workload by its
    name, where it is not to be the registry's own. A keyboard interrupt ends the run early: the result then holds what
    was simulated so far. Raises ``InputError`` and ``SimulationError``.
    """
    if not isinstance(asked, Scenario):
        asked = read_scenario(asked, overrides)
    elif overrides:
        raise InputError(f"{asked.name}: a scenario that was read is not changed; give its name with the overrides")
    simulation = Simulation(seed=asked.seed, progress=progress)
    own = registry.tables(job.model for job in asked.workloads)
    recorder, reads = Recorder(folder, own), Reads()
    cluster = _Cluster(reads.lend(asked), simulation, recorder, reads, plans, load or registry.load)
    interrupted_at = None
    try:
        if progress is not None:
            progress(simulation)
        simulation.run()
        cluster.check_ended()
    except KeyboardInterrupt:
        interrupted_at = simulation.now
    except SimcoreError as error:
        raise type(error)(str(error)) from None
    with trace.uninterrupted():
        found, tables = cluster.found(interrupted_at)
        digest, warnings = trace.digest(tables), [*cluster.said(), *_doubts(asked, tables)]
        # Both are read in this module: the one always used, the other only where something was drawn.
        reads.seen.add(("slowdown",))
        if not simulation.seed_matters:
            reads.seen.discard(("seed",))
        if interrupted_at is None:
            warnings += _unread(asked, reads)
    wanted = asked.is_shared if asked.slowdown is None else asked.slowdown
    if wanted and interrupted_at is None:
        late = _add_slowdowns(asked, found, progress, plans, load)
        if late:
            interrupted_at = simulation.now
            warnings.append(f"interrupted while {late!r} ran alone: its slowdown and those after it are missing")
    return Result(
        asked, tables, found, warnings, digest, interrupted_at, cluster.results(), cluster.compared(),
        frozenset(reads.seen),
    )  # fmt: skip


def _add_slowdowns(
    asked: Scenario, found: dict[str, Any], progress: Progress | None, plans: Plans | None, load: Load | None
) -> str:
    """Simulate every job of ``asked`` alone and put into ``found`` what the others cost it; return the job at which the
    user interrupted, or an empty text."""
    name = ""
    try:
        for job in asked.workloads:
            name = job.name
            about = found["jobs"][name]
            alone = about["makespan_ps"]
            if asked.is_shared:
                result = run(asked.alone(job), progress=progress, plans=plans, load=load)
                if result.interrupted_at is not None:
                    return name
                alone = result.metrics["jobs"][name]["makespan_ps"]
            about |= {"alone_makespan_ps": alone, "slowdown": about["makespan_ps"] / alone if alone else 1.0}
    except KeyboardInterrupt:
        return name
    return ""


class _Cluster:
    """A machine with all jobs and the traffic of a scenario on it, ready to run.

    Fabric ranks are numbered over the jobs in their order, then over the GPUs with background traffic.
    """

    def __init__(
        self, asked: Scenario, simulation: Simulation, recorder: Recorder, reads: Reads, plans: Plans | None,
        load: Load,
    ) -> None:  # fmt: skip
        self._asked, self._simulation, self._recorder = asked, simulation, recorder
        self._reads, self._plans, self._load = reads, plans, load
        machine, gpus = asked.machine, sum(map(len, asked.nodes))
        self._topology = machine.build_topology()
        hosts = [gpu for placed in asked.gpus.values() for gpu in placed]
        self._background = traffic.endpoints(asked.traffic, gpus)
        self._fabric = Fabric(
            simulation, self._topology, machine.sharing, recorder, [*hosts, *self._background],
            machine.queues or Queues(), machine.gpu, asked.wait, machine.memory_port,
        )  # fmt: skip
        self._ranks: dict[str, list[Rank]] = {}
        self._devices: dict[str, Device] = {}
        self._lives: list[Process] = []
        self._memories: list[Memory] = []
        first = 0
        for job in asked.workloads:
            self._begin(job, first)
            first += len(self._ranks[job.name])
        if asked.traffic:
            streams = [traffic.Stream(about, gpus, simulation.rng) for about in asked.traffic]
            ranks = {gpu: first + i for i, gpu in enumerate(self._background)}
            simulation.process(traffic.play(simulation, self._fabric, streams, ranks, self._over))

    def _begin(self, job: Job, first: int) -> None:
        """Give every rank of ``job`` its device and its process, the first of them at fabric rank ``first``."""
        workload, world = self._load(job.model), job.ranks or 0
        prefix = f"{job.name}." if len(self._asked.workloads) > 1 else ""
        machine, gpus = self._asked.machine, self._asked.gpus[job.name]
        library, flags = Library(machine.collective, self._topology, gpus), FlagMemory(self._fabric, first, world)
        memory = Memory(self._simulation, library, flags)
        self._memories.append(memory)
        cost, nodes = Roofline(), {gpu // machine.gpus for gpu in gpus}
        if self._plans is None:
            plan = workload.plan(job.params, world, len(nodes), self._simulation.rng(f"plan of {job.name}"))
        else:
            shared = Job(job.model, self._reads.whole(job.params), job.name, world)
            plan = self._plans.of(shared, len(nodes), self._simulation)
        self._ranks[job.name] = ranks = []
        for index in range(world):
            device = Device(machine.gpu, self._simulation, self._fabric, first + index)
            rank = Rank(
                index, world, self._simulation, device, self._fabric, memory, self._asked.wait, cost, self._recorder,
                location=f"{prefix}rank{index}", first=first, start=job.start,
            )  # fmt: skip
            ranks.append(rank)
            self._devices[rank.location] = device
        self._lives += [self._simulation.process(_life(rank, workload, plan, job.start)) for rank in ranks]

    def _over(self) -> bool:
        return not any(life.is_alive for life in self._lives)

    def check_ended(self) -> None:
        """Raise ``Deadlock`` with names if a rank still waits, though nothing can happen any more."""
        everybody = [rank for ranks in self._ranks.values() for rank in ranks]
        stuck = [rank for rank, life in zip(everybody, self._lives, strict=True) if life.is_alive]
        if stuck:
            waits = "; ".join(
                f"{rank.location} waits for {rank.waits_for or 'something unnamed'}" for rank in stuck[:4]
            )
            more = f" (and {len(stuck) - 4} more ranks)" if len(stuck) > 4 else ""
            now = self._simulation.now
            raise Deadlock(f"{self._asked.name}: nothing can happen after {now} ps, but {waits}{more}")

    def found(self, interrupted_at: int | None = None) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Return metrics and tables of what was simulated so far; where that is not the whole run, what every rank is
        at ends with it."""
        if interrupted_at is not None:
            for rank in (rank for ranks in self._ranks.values() for rank in ranks):
                rank.cut()
        self._fabric.record(LARGEST if interrupted_at is None else interrupted_at + 1)
        tables = self._recorder.tables()
        everybody = [rank for ranks in self._ranks.values() for rank in ranks]
        counters = {
            rank.location: {"other_reads": self._devices[rank.location].other_reads, **rank.counts}
            for rank in everybody
        }
        jobs, first = [], 0
        for job in self._asked.workloads:
            locations = [rank.location for rank in self._ranks[job.name]]
            jobs.append(metrics.Members(job.name, first, locations, job.start))
            first += len(locations)
        names = [about.name for about in self._asked.traffic]
        found = metrics.summarise(tables, jobs, counters, names, whole=interrupted_at is None)
        for job in self._asked.workloads:
            found["jobs"][job.name] |= self._own(job, tables)
        return found | {"work": {"events": self._simulation.events, "visits": self._fabric.visits}}, tables

    def _own(self, job: Job, tables: Mapping[str, pa.Table]) -> Mapping[str, Any]:
        """Return the metrics that the workload of ``job`` makes of its own tables."""
        workload = registry.load(job.model)
        own: trace.Schemas = getattr(workload, "tables", {})
        if not own:
            return {}
        locations = {rank.location for rank in self._ranks[job.name]}
        held = {}
        for name in own:
            columns = {each: trace.numbers(tables[name], each) for each in tables[name].column_names}
            mine = np.array([where in locations for where in columns["location"]], bool)
            held[name] = {each: column[mine] for each, column in columns.items()}
        return workload.summarise(job.params, held)

    def said(self) -> list[str]:
        """Return what the programs had to tell the user, job by job."""
        return [sentence for memory in self._memories for sentence in memory.said]

    def compared(self) -> list[Compared]:
        """Return what the programs put beside measurements, job by job."""
        return [row for memory in self._memories for row in memory.compared]

    def results(self) -> dict[str, list[Any]]:
        """Return what the ranks handed over, by location."""
        return {rank.location: rank.results for ranks in self._ranks.values() for rank in ranks}


def _life(rank: Rank, workload: Workload, plan: Any, start: int) -> Program:
    """Live as one rank of a job that begins at ``start``, ps."""
    yield from rank.spend(start, "idle", "before the start")
    yield from workload.program(rank, plan)


def _unread(asked: Scenario, reads: Reads) -> Iterator[str]:
    """Yield a sentence for every key that somebody wrote and the run did not read."""
    idle = sorted(".".join(map(str, keys)) for keys in asked.stated if not reads.has_seen(keys))
    yield from (f"{key} is set, but nothing read it: another value changes nothing" for key in idle[:MOST_UNREAD])
    if len(idle) > MOST_UNREAD:
        yield f"and {len(idle) - MOST_UNREAD} more keys that nothing read"


def _doubts(asked: Scenario, tables: dict[str, pa.Table]) -> list[str]:
    """Return what a careful reader would ask about: settings without effect, and results that are suspiciously
    empty."""
    doubts = []
    world, gpus = sum(map(len, asked.gpus.values())), sum(map(len, asked.nodes))
    if world != gpus and not asked.traffic:
        doubts.append(f"{world} ranks on {gpus} GPUs: {gpus - world} GPUs take no part")
    if not pc.sum(tables["transfers"]["size_bytes"]).as_py():
        doubts.append("zero bytes moved: no setting of a link changes anything")
    if not len(tables["flags"]) and any(keys[0] == "wait" for keys in asked.stated):
        doubts.append(f"no flag was waited for: wait.policy {asked.wait.policy!r} changes nothing")
    if asked.machine.sharing == "ideal":
        doubts.append("sharing is 'ideal': links do not slow each other's messages")
    return doubts
