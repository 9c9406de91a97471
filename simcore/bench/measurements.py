"""Running a case and saying what it cost."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from simpy.events import Event

from simcore.bench import cases
from simcore.bench.cases import Case
from simcore.bench.messages import Column
from simcore.bench.twins import Twin
from simcore.errors import SimulationError
from simcore.fabric import Fabric
from simcore.simulation import Simulation
from simcore.units import PS_PER_S

Policy = Literal["fair", "fifo"]


@dataclass(frozen=True)
class Measured:
    """What one workload cost, and what came out; the keys of the JSON line.

    ``cpu_s`` is the simulation proper, from the handing over of messages to the end. Machine, routes, schedule and
    lists of messages are built before that; ``wall_s`` includes them. ``compile_s`` is the loading of the compiled
    loops (the first time: compiling them), before either. ``peak_rss_bytes`` is the peak of the whole process. A
    message's completion time counts from the instant at which it is issued. ``flag_reads``: of those who wait for
    flags.
    """

    workload: str
    policy: Policy
    gpus: int
    messages: int
    compile_s: float
    cpu_s: float
    wall_s: float
    peak_rss_bytes: int
    makespan_s: float
    mean_completion_s: float
    p99_completion_s: float
    messages_per_cpu_s: float
    flag_reads: int


@dataclass(frozen=True)
class TwinMeasured:
    """What the plain-SimPy twin of a workload cost, at a size that it can do; ``ratio`` is of messages per CPU
    second."""

    twin_messages: int
    twin_cpu_s: float
    twin_makespan_s: float
    twin_messages_per_cpu_s: float
    ratio: float


@dataclass(frozen=True)
class InjectionsMeasured:
    """What it costs to inject messages one by one into a fabric that carries stamped writes, and what the two cost
    apart."""

    workload: str
    policy: Policy
    gpus: int
    messages: int
    compile_s: float
    cpu_s: float
    stamped_cpu_s: float
    injected_cpu_s: float
    ratio: float


def measure(small: Callable[[], Case], build: Callable[[], Case], policy: Policy) -> Measured:
    """Return what the case of ``build`` costs under ``policy``, after a run of ``small`` that loads what is
    compiled."""
    begin = time.perf_counter()
    simulate(small(), policy)
    ready = time.perf_counter()
    case = build()
    issued, arrived, cpu, reads = simulate(case, policy)
    took = arrived - issued
    return Measured(
        workload=case.workload,
        policy=policy,
        gpus=case.topology.gpus,
        messages=case.count,
        compile_s=ready - begin,
        cpu_s=cpu,
        wall_s=time.perf_counter() - ready,
        peak_rss_bytes=peak_rss(),
        makespan_s=int(arrived.max()) / PS_PER_S,
        mean_completion_s=int(took.sum()) / len(took) / PS_PER_S,
        p99_completion_s=float(np.percentile(took, 99)) / PS_PER_S,
        messages_per_cpu_s=case.count / cpu,
        flag_reads=reads,
    )


def simulate(case: Case, policy: Policy) -> tuple[Column, Column, float, int]:
    """Run ``case`` to its end; return when each message was issued and when it arrived (ps), the CPU seconds of the
    run, and the reads of whoever waits for flags."""
    simulation = Simulation()
    gpus = range(case.topology.gpus)
    fabric = Fabric(simulation, case.topology, policy, None, gpus, gpu=case.gpu, wait=case.wait)
    fabric.prepare(*case.pairs)
    begin = time.process_time()
    waiter = case.start(simulation, fabric)
    simulation.run()
    cpu = time.process_time() - begin
    issued, arrived = fabric.completions()
    if len(arrived) != case.count:
        raise SimulationError(f"{len(arrived)} of the {case.count} messages of {case.workload} have arrived")
    return issued, arrived, cpu, int(waiter.value) if isinstance(waiter, Event) else 0  # type: ignore[arg-type]


def measure_injections(injected: int, stamped: int, policy: Policy) -> InjectionsMeasured:
    """Return what ``injected`` messages and ``stamped`` writes cost together and apart."""
    begin = time.perf_counter()
    simulate(cases.injections(70, 700), policy)
    ready = time.perf_counter()
    case = cases.injections(injected, stamped)
    together = simulate(case, policy)[2]
    alone = simulate(cases.injections(0, stamped), policy)[2]
    single = simulate(cases.injections(injected, 0), policy)[2]
    return InjectionsMeasured(
        workload=case.workload,
        policy=policy,
        gpus=case.topology.gpus,
        messages=case.count,
        compile_s=ready - begin,
        cpu_s=together,
        stamped_cpu_s=alone,
        injected_cpu_s=single,
        ratio=together / (alone + single),
    )


def measure_twin(twin: Twin, beside: Measured) -> TwinMeasured:
    """Return what ``twin`` costs, and how many times more messages a CPU second ``beside`` simulates."""
    begin = time.process_time()
    twin.run()
    cpu = time.process_time() - begin
    rate = twin.count / cpu
    return TwinMeasured(twin.count, cpu, twin.last, rate, beside.messages_per_cpu_s / rate)


def peak_rss() -> int:
    """Return the largest resident set that this process has had, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
