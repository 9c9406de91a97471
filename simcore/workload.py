"""What a paper provides, and the one door that its programs have to the machine."""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol

from simpy.events import Event

from simcore.collectives import ALGORITHMS
from simcore.collectives.library import Library, adds_in_switches, reducers
from simcore.collectives.meeting import Call, Meetings, members
from simcore.device import Device
from simcore.errors import InputError, SimulationError, quoted
from simcore.fabric import Fabric, Writes
from simcore.flags import Flag, WaitSpec, wait
from simcore.simulation import Simulation
from simcore.trace import Recorder, Sample, Span
from simcore.work import CostModel, Kernel, Virtual, Work

Program = Generator[Event, Any, None]


class Workload(Protocol):
    """One paper: parameters, decisions made before time runs, the plain answer, and what one rank does."""

    Params: ClassVar[type]
    """A frozen dataclass; every field has a default, quantities are ``Annotated`` with their unit."""

    def world(self, params: Any) -> int | None:
        """Return the number of ranks that ``params`` call for, or None if any number will do."""
        ...

    def plan(self, params: Any, world: int, nodes: int, rng: Any) -> Any:
        """Return everything decided before simulated time begins, for ``world`` ranks that are on ``nodes`` nodes; sees
        no bandwidth and no latency."""
        ...

    def reference(self, params: Any, plan: Any) -> list[Any]:
        """Return the result computed the obvious way, one array per result of the simulated program."""
        ...

    def program(self, rank: "Rank", plan: Any) -> Program:
        """Run the life of one rank: a generator that waits through the methods of ``rank``."""
        ...


class Memory:
    """What the ranks of a job share: all flags by (owner, name), made on first use, so that a writer and a waiter find
    the same word, and the meetings for collectives."""

    def __init__(self, simulation: Simulation, library: Library) -> None:
        self._simulation = simulation
        self._flags: dict[tuple[int, str], Flag] = {}
        self.meetings = Meetings(simulation, library)

    def flag(self, owner: int, name: str) -> Flag:
        """Return the flag ``name`` in the memory of rank ``owner``."""
        if (owner, name) not in self._flags:
            self._flags[owner, name] = Flag(self._simulation, name)
        return self._flags[owner, name]


class Rank:
    """One rank of a job. Its spans tile its life: whatever takes time passes through one of these methods.

    A rank knows its job alone: ranks count from 0 within it, and time from its ``start`` (ps). ``first`` is the fabric
    rank of the job's rank 0.
    """

    def __init__(
        self, index: int, world: int, simulation: Simulation, device: Device, fabric: Fabric, memory: Memory,
        waiting: WaitSpec, cost: CostModel, recorder: Recorder, *, location: str = "", first: int = 0, start: int = 0,
    ) -> None:  # fmt: skip
        self.index, self.world = index, world
        self.location = location or f"rank{index}"
        self._first, self._start = first, start
        self.waits_for = ""
        self.results: list[Any] = []
        self._open: tuple[int, str, str] | None = None
        self._simulation, self._device, self._fabric, self._memory = simulation, device, fabric, memory
        self._waiting, self._cost, self._recorder = waiting, cost, recorder

    @property
    def now(self) -> int:
        """The present instant, ps since the job's start."""
        return self._simulation.now - self._start

    def compute(self, kernel: Kernel, *payloads: Any, what: str = "") -> Generator[Event, Any, Any]:
        """Run ``kernel`` on payloads for as long as the cost model says; return its outputs, virtual where the payloads
        were."""
        outputs, work = kernel(*payloads)
        self._begin("compute", what or kernel.name)
        yield self._device.compute(self._cost.duration(work, self._device.spec), work.bytes_read.get("hbm", 0))
        self._end("", work.bytes_read.get("hbm", 0) + work.bytes_written.get("hbm", 0))
        return outputs

    def spend(self, duration: int, activity: str, what: str) -> Program:
        """Let ``duration`` ps pass as ``activity`` (compute, replay or idle): time that was measured elsewhere, its
        content unknown."""
        if duration > 0:
            self._begin(activity, what)
            yield self._simulation.timeout(duration)
            self._end()

    def put(self, dst: int, payload: Any, what: str, *, sets: str = "") -> None:
        """Write ``payload`` into the memory of rank ``dst`` (one-sided, posted: the rank goes on at once).

        The message has the size of the payload. With ``sets`` it is a flag: on arrival it sets the flag of that name
        there.
        """
        import numpy as np

        one = Writes(np.array([self.now]), np.array([dst]), np.array([payload.nbytes]), np.array([bool(sets)]), [what])
        self.replay(one, [sets])

    def replay(self, writes: Writes, sets: Sequence[str]) -> None:
        """Issue a whole table of stamped writes; row i, where ``sets[i]`` names a flag, sets that flag at its
        destination on arrival."""
        if len(writes.dst) and not 0 <= writes.dst.min() <= writes.dst.max() < self.world:
            strange = int(writes.dst.min()) if writes.dst.min() < 0 else int(writes.dst.max())
            raise SimulationError(
                f"{self.location} writes to rank {strange}; its job has the ranks 0 to {self.world - 1}"
            )
        arrivals: dict[int, Callable[[], object]] = {}
        for row, name in enumerate(sets):
            if name:
                flag = self._memory.flag(int(writes.dst[row]), name)
                arrivals[row] = partial(flag.write, 1)
        moved = Writes(writes.time + self._start, writes.dst + self._first, writes.size, writes.flag, writes.what)
        self._fabric.send_many(self._first + self.index, moved, arrivals)

    def wait(self, flags: Sequence[tuple[str, str]], what: str) -> Program:
        """Wait until every flag is set, one waiter a flag, all at once, by the scenario's policy.

        ``flags`` are pairs (name, reason). The span carries the reason of the flag that was seen last.
        """
        if not flags:
            return
        left = [reason for _, reason in flags]
        last = ""

        def waiter(name: str, reason: str) -> Generator[Event, Any, Sample]:
            nonlocal last
            flag = self._memory.flag(self.index, name)
            sample = yield from wait(self._simulation, self._device, flag, 1, self._waiting.policy, self.location)
            self._recorder.add("flags", sample)
            left.remove(reason)
            last = reason
            self.waits_for = ", ".join(left[:3])
            return sample

        self.waits_for = ", ".join(left[:3])
        self._begin("wait", what)
        yield self._simulation.all_of([self._simulation.process(waiter(*flag)) for flag in flags])
        self._end(last)

    def collective(
        self, operation: str, size: int = 0, *, algorithm: str = "", ranks: Sequence[int] | None = None,
        adds: str = "", what: str = "", **form: Any,
    ) -> Program:  # fmt: skip
        """Take part in a collective of ``ranks`` (default: all of the job), in this order; return when it has ended.

        ``size`` counts as in nccl-tests, and ``form`` is chunks, channels, nodes, ... as for
        `simcore.collectives.build`. With ``adds``, a dtype, adding what arrives takes time on the receiver's compute
        stream: reading twice and writing once, by the cost model. The wait for the last rank to call, and the
        collective, are a span each.
        """
        group = members(ranks, self.world, self.index)
        if "matrix" in form:
            form["matrix"] = tuple(tuple(row) for row in form["matrix"])
        if adds_in_switches(algorithm, form.get("inner", "")):
            switch_of = {each: self._fabric.reducer_of(self._first + each) for each in group}
            form.setdefault("reducers", reducers(group, form.get("nodes", 1), switch_of.__getitem__))
        call = Call(
            operation, size, algorithm or ALGORITHMS.get(operation, ("",))[0], tuple(sorted(form.items())), adds
        )
        name = what or operation
        meeting = self._memory.meetings.call(self.index, group, call, partial(self._play, group, call, name))
        self.waits_for = f"the other ranks to call {call}"
        self._begin("wait", name)
        last, ended = yield meeting.complete
        self._end(f"rank{last} to call {operation}")
        self.waits_for = f"{call} to end"
        self._begin("wait", name)
        yield ended
        self._end(f"{call.algorithm} {operation}", size)

    def _play(self, group: tuple[int, ...], call: Call, what: str) -> Event:
        schedule = self._memory.meetings.schedule(group, call, partial(self._adding, call.adds) if call.adds else None)
        return self._fabric.play(schedule, [self._first + rank for rank in group], what)

    def _adding(self, dtype: str, size: int) -> int:
        import numpy as np

        try:
            width = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize  # which NumPy itself does not know
        except TypeError:
            raise InputError(f"adds: {quoted(dtype)} is no dtype; write e.g. 'float32'") from None
        work = Work({dtype: -(-size // width)}, {"hbm": 2 * size}, {"hbm": size}, launches=0)
        return self._cost.duration(work, self._device.spec)

    def give(self, result: Any) -> None:
        """Hand over one result, to be compared with the reference; results without data are dropped."""
        if not isinstance(result, Virtual):
            self.results.append(result)

    def cut(self) -> None:
        """End what the rank is at, because its user ended the run: a wait for the reason of the first flag not yet
        seen."""
        waiting = self._open is not None and self._open[1] == "wait"
        self._end(self.waits_for.partition(", ")[0] if waiting else "")

    def _begin(self, activity: str, what: str) -> None:
        self._open = (self._simulation.now, activity, what)

    def _end(self, reason: str = "", size: int = 0) -> None:
        if self._open is not None:
            begin, activity, what = self._open
            self._open = None
            now = self._simulation.now
            if now > begin:
                self._recorder.add("spans", Span(self.location, begin, now, activity, reason, what, size))
