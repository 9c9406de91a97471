"""What a paper provides, and the one door that its programs have to the machine."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from simpy.events import Event

from simcore.collectives import ALGORITHMS
from simcore.collectives.library import Library, adds_in_switches, reducers
from simcore.collectives.meeting import Call, Meetings, members
from simcore.device import Device
from simcore.errors import InputError, SimulationError, quoted
from simcore.fabric import Fabric, Writes
from simcore.flags import Flag, WaitSpec, wait
from simcore.schedule import Schedule
from simcore.simulation import Simulation
from simcore.trace import Recorder, Sample, Span
from simcore.work import CostModel, Kernel, Virtual, Work

if TYPE_CHECKING:
    from simcore.fabric import Column

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
        self._arrays: dict[str, Flags] = {}
        self.meetings = Meetings(simulation, library)

    def array(self, name: str, count: int) -> "Flags":
        """Return the array ``name``; raises ``SimulationError`` where it was declared with another length."""
        array = self._arrays.setdefault(name, Flags(name, count))
        if array.count != count:
            raise SimulationError(f"the flags {name!r} are {array.count} words, not {count}")
        return array

    def flag(self, owner: int, name: str) -> Flag:
        """Return the flag ``name`` in the memory of rank ``owner``."""
        if (owner, name) not in self._flags:
            self._flags[owner, name] = Flag(self._simulation, name)
        return self._flags[owner, name]


@dataclass(frozen=True)
class Flags:
    """An array of ``count`` words in the memory of every rank of a job, by one name, zero at first; ``flags[i]`` names
    its word i."""

    name: str
    count: int

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < self.count:
            raise SimulationError(f"{self.name} has the words 0 to {self.count - 1}, not {index}")
        return f"{self.name}[{index}]"


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
        self.counts: dict[str, int] = {}
        self._groups: list[WorkGroup] = []
        self._busy, self._reason = 0, ""

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

    def groups(self, count: int) -> "list[WorkGroup]":
        """Return ``count`` work-groups of a kernel of this rank, all of them resident; their programs run in
        `together`."""
        self._groups = [WorkGroup(self, index, count) for index in range(count)]
        return self._groups

    def together(self, programs: Iterable[Program], what: str) -> Program:
        """Run the programs of work-groups beside each other until all have ended; meanwhile this rank computes while
        any group does, and else waits for what the last one to go on waited for."""
        self._begin("wait", what)
        self.waits_for = f"the work-groups of {what}"
        yield self._simulation.all_of([self._simulation.process(program) for program in programs])
        self._end(self._reason)
        self._groups = []

    def count(self, name: str, amount: int) -> None:
        """Add ``amount`` to the rank's counter ``name``, which stands among its metrics."""
        self.counts[name] = self.counts.get(name, 0) + amount

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

    def flags(self, name: str, count: int) -> Flags:
        """Return the array ``name`` of ``count`` words, the same for all ranks of the job."""
        return self._memory.array(name, count)

    def replay(self, writes: Writes, sets: "Sequence[str] | Column", *, flags: Flags | None = None) -> None:
        """Issue a whole table of stamped writes; row i, where ``sets[i]`` names a flag, or an index into ``flags`` that
        is not -1, sets that flag at its destination on arrival."""
        if len(writes.dst) and not 0 <= writes.dst.min() <= writes.dst.max() < self.world:
            strange = int(writes.dst.min()) if writes.dst.min() < 0 else int(writes.dst.max())
            raise SimulationError(
                f"{self.location} writes to rank {strange}; its job has the ranks 0 to {self.world - 1}"
            )
        arrivals: dict[int, Callable[[], object]] = {}
        for row, which in enumerate(sets):
            name = which if flags is None else "" if which < 0 else flags[which]
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

    def wait_all(self, flags: Flags, indices: "Column", what: str, reason: str | Sequence[str]) -> Program:
        """Wait until the words ``indices`` of ``flags`` here are all set, one waiter each, all at once."""
        reasons = [reason] * len(indices) if isinstance(reason, str) else reason
        yield from self.wait([(flags[index], why) for index, why in zip(indices, reasons, strict=True)], what)

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

    def play(self, schedule: Schedule, what: str) -> Generator[Event, Any, tuple[Any, Any]]:
        """Take part in a schedule of all ranks of the job, which is the same for all; return when it has ended.

        Returns when what each row depends on had ended, and when it ended itself, as columns, ps since the job's
        start.
        Records no span: the caller knows what the rows mean.
        """
        everybody = [self._first + rank for rank in range(self.world)]

        def begin() -> Event:
            return self._fabric.play(schedule, everybody, what, timed=True)

        call = Call(what, len(schedule), "", (), "")
        meeting = self._memory.meetings.call(self.index, tuple(range(self.world)), call, begin)
        self.waits_for = f"the other ranks to call {what}"
        _, ended = yield meeting.complete
        self.waits_for = f"{what} to end"
        ready, ends = yield ended
        return (ready - self._start, ends - self._start) if self._start else (ready, ends)

    def cut(self) -> None:
        """End what the rank is at, because its user ended the run: a wait for the reason of the first flag not yet
        seen."""
        for group in self._groups:
            group.cut()
        waiting = self._open is not None and self._open[1] == "wait"
        self._end(self.waits_for.partition(", ")[0] if waiting else "")

    def _computing(self, change: int) -> None:
        """Note that a work-group begins or ends computing; the first to begin and the last to end change what the rank
        is at."""
        self._busy += change
        if self._open is not None and self._busy == (change + 1) // 2:
            name = self._open[2]
            if change > 0:
                self._end(self._reason)
                self._begin("compute", name)
            else:
                self._end()
                self._begin("wait", name)

    def _begin(self, activity: str, what: str) -> None:
        self._open = (self._simulation.now, activity, what)

    def _end(self, reason: str = "", size: int = 0) -> None:
        if self._open is not None:
            begin, activity, what = self._open
            self._open = None
            now = self._simulation.now
            if now > begin:
                self._recorder.add("spans", Span(self.location, begin, now, activity, reason, what, size))


class WorkGroup(Rank):
    """One of the work-groups of a kernel, all resident at once: a rank's doors, at its share of the GPU.

    Model: resident work-groups share throughput and bandwidth equally, whether the others work or wait.
    """

    def __init__(self, rank: Rank, number: int, count: int) -> None:
        self.__dict__.update(rank.__dict__)
        self.number = number
        self.location = f"{rank.location}.wg{number}"
        self.waits_for = ""
        self._rank, self._share = rank, count
        self._open, self._groups = None, []

    def compute(self, kernel: Kernel, *payloads: Any, what: str = "") -> Generator[Event, Any, Any]:
        """Run ``kernel`` on payloads for as long as the cost model says of a share of the GPU; return its outputs."""
        outputs, work = kernel(*payloads)
        read = work.bytes_read.get("hbm", 0)
        self._device.read(read)
        self._begin("compute", what or kernel.name)
        yield self._simulation.timeout(self._cost.duration(work * self._share, self._device.spec))
        self._end("", read + work.bytes_written.get("hbm", 0))
        return outputs

    def _begin(self, activity: str, what: str) -> None:
        super()._begin(activity, what)
        if activity == "compute":
            self._rank._computing(+1)

    def _end(self, reason: str = "", size: int = 0) -> None:
        computed = self._open is not None and self._open[1] == "compute"
        super()._end(reason, size)
        if computed:
            self._rank._computing(-1)
        elif reason:
            self._rank._reason = reason
