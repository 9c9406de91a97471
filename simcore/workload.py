"""What a paper provides, and the one door that its programs have to the machine."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from simpy.events import Event

from simcore.collectives import ALGORITHMS
from simcore.collectives.library import Library, adds_in_switches, reducers
from simcore.collectives.meeting import Call, Meetings, members
from simcore.device import Device
from simcore.errors import InputError, SimulationError, quoted
from simcore.fabric import Fabric, Writes
from simcore.flags import Flag, FlagMemory, Flags, record
from simcore.formats.comparison import Compared
from simcore.hardware import EnergySpec, WaitSpec
from simcore.metrics import Metric
from simcore.schedule import Schedule
from simcore.simulation import Simulation
from simcore.trace import Recorder, Schemas, Span
from simcore.work import CostModel, Kernel, Virtual, Work, width

if TYPE_CHECKING:
    from simcore.fabric import Column

FEW_WRITES = 16
"""Writes of this instant that are issued one by one; a table of more costs less as a whole."""

Program = Generator[Event, Any, None]
T = TypeVar("T")


class Workload(Protocol):
    """One paper: parameters, decisions made before time runs, the plain answer, and what one rank does."""

    Params: ClassVar[type]
    """A frozen dataclass; every field has a default, quantities are ``Annotated`` with their unit."""

    counters: ClassVar[Mapping[str, str]] = {}
    """What its programs count (`Rank.count`), by name, with the meaning of each."""
    tables: ClassVar[Schemas] = {}
    """Tables that its programs write (`Rank.record`) besides those of every run, by name; the first column of each is
    ``location``."""
    metrics: ClassVar[Sequence[Metric]] = ()
    """What `summarise` returns, by its dotted key below ``jobs.NAME``."""
    headlines: ClassVar[Sequence[str]] = ()
    """Keys of those that a summary of the run shows, where the run has them."""

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

    def summarise(self, params: Any, tables: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return metrics of a job from its rows in the workload's own ``tables``, columns as arrays."""
        return {}

    def kernels(self, rng: Any) -> Iterable[tuple[Kernel, Sequence[Any]]]:
        """Return the kernels whose time its programs take from formulas and not from `Rank.compute`, each with real
        payloads to try it on."""
        return ()

    def program(self, rank: "Rank", plan: Any) -> Program:
        """Run the life of one rank: a generator that waits through the methods of ``rank``."""
        ...


class Memory:
    """What the ranks of a job share: their flags, and the meetings for collectives."""

    def __init__(self, simulation: Simulation, library: Library, flags: FlagMemory) -> None:
        self.flags = flags
        self.meetings = Meetings(simulation, library)
        self.said: dict[str, None] = {}
        self.compared: list[Compared] = []
        self.shared: Any = None


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
        self._waits_for = ""
        self._watched: tuple[Event, Sequence[str]] | None = None
        self.results: list[Any] = []
        self._open: tuple[int, str, str] | None = None
        self._simulation, self._device, self._fabric, self._memory = simulation, device, fabric, memory
        self._waiting, self._cost, self._recorder = waiting, cost, recorder
        self.counts: dict[str, int] = {}
        self._groups: list[WorkGroup] = []
        self._busy, self._reason = 0, ""

    @property
    def waits_for(self) -> str:
        """What the rank waits for: the first few things that are not there yet."""
        if self._watched is None:
            waiting = [f"{group.location} for {group.waits_for}" for group in self._groups if group.waits_for]
            return ", ".join(waiting[:3]) or self._waits_for
        event, reasons = self._watched
        return ", ".join(reasons[place] for place in self._fabric.unseen(event)[:3].tolist())

    @property
    def now(self) -> int:
        """The present instant, ps since the job's start."""
        return self._simulation.now - self._start

    @property
    def clock(self) -> int:
        """Cycles per second of the rank's GPU."""
        return self._device.spec.clock

    def compute(self, kernel: Kernel, *payloads: Any, what: str = "") -> Generator[Event, Any, Any]:
        """Run ``kernel`` on payloads for as long as the cost model says; return its outputs, virtual where the payloads
        were."""
        outputs, work = kernel(*payloads)
        self._begin("compute", what or kernel.name)
        duration = (kernel.timing or self._cost).duration(work, self._device.spec)
        yield self._device.compute(duration, work.bytes_read.get("hbm", 0))
        self._end("", work.bytes_read.get("hbm", 0) + work.bytes_written.get("hbm", 0))
        return outputs

    def groups(self, count: int) -> "list[WorkGroup]":
        """Return ``count`` work-groups of a kernel of this rank, all of them resident; their programs run in
        `together`."""
        if count < 1:
            raise SimulationError(f"{self.location} runs {count} work-groups; a kernel has 1 or more")
        self._groups = [WorkGroup(self, index, count) for index in range(count)]
        return self._groups

    def together(self, programs: Iterable[Program], what: str) -> Program:
        """Run the programs of work-groups beside each other until all have ended; meanwhile this rank computes while
        any group does, and else waits for what the last one to go on waited for."""
        self._begin("wait", what)
        self._waits_for = f"the work-groups of {what}"
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

    def put(self, dst: int, payload: Any, what: str, *, sets: str | Flag = "", value: int = 1) -> None:
        """Write ``payload`` into the memory of rank ``dst`` (one-sided, posted: the rank goes on at once).

        The message has the size of the payload. With ``sets`` it is a flag: on arrival it sets that flag there to
        ``value``.
        """
        self._require(dst, dst)
        word = self._memory.flags.word(dst, sets) if sets else -1
        self._fabric.put(self._first + self.index, self._first + dst, payload.nbytes, what, word, value)

    def flags(self, name: str, count: int) -> Flags:
        """Return the array ``name`` of ``count`` words, the same for all ranks of the job."""
        return self._memory.flags.array(name, count)

    def replay(self, writes: Writes, sets: "Sequence[str] | Column", *, flags: Flags | None = None) -> None:
        """Issue a whole table of stamped writes; row i, where ``sets[i]`` names a flag, or is an index into ``flags``
        and not -1, sets that flag at its destination to 1 on arrival."""
        import numpy as np

        memory = self._memory.flags
        if len(writes.dst):
            self._require(int(writes.dst.min()), int(writes.dst.max()))
        if flags is not None:
            words = memory.words(writes.dst, flags, np.asarray(sets))
        else:
            if len(sets) != len(writes.dst):
                raise SimulationError(f"{self.location} issues {len(writes.dst)} writes and names {len(sets)} flags")
            pairs = zip(writes.dst.tolist(), sets, strict=True)
            words = np.array([memory.word(dst, name) if name else -1 for dst, name in pairs], np.int64)
        if len(writes.dst) <= FEW_WRITES and (writes.time == self.now).all():
            names = [writes.what] * len(writes.dst) if isinstance(writes.what, str) else writes.what
            rows = zip(
                writes.dst.tolist(), writes.size.tolist(), writes.flag.tolist(), names, words.tolist(), strict=True
            )
            for dst, size, flag, name, word in rows:
                self._fabric.put(self._first + self.index, self._first + dst, size, name, word, flag=flag)
            return
        moved = Writes(writes.time + self._start, writes.dst + self._first, writes.size, writes.flag, writes.what)
        self._fabric.send_many(self._first + self.index, moved, sets=words)

    def _require(self, least: int, most: int) -> None:
        if not 0 <= least <= most < self.world:
            strange = least if least < 0 else most
            raise SimulationError(
                f"{self.location} writes to rank {strange}; its job has the ranks 0 to {self.world - 1}"
            )

    def landed(self, flags: Sequence[str | Flag]) -> Event:
        """Return an event that happens when all ``flags`` here have been set, known without a read: for what a rank
        does that runs no program."""
        import numpy as np

        words = np.array([self._memory.flags.word(self.index, flag) for flag in flags], np.int64)
        return self._fabric.landed(self._first + self.index, words)

    def at(self, instant: int) -> Event:
        """Return an event that happens at ``instant``, ps since the job's start."""
        return self._simulation.at(self._start + instant)

    def until(self, event: Event, activity: str, what: str) -> Program:
        """Let time pass until ``event`` as ``activity`` (compute, replay or idle)."""
        self._waits_for = f"{what} to end"
        self._begin(activity, what)
        yield event
        self._end()

    def wait(self, flags: Sequence[tuple[str | Flag, str]], what: str) -> Program:
        """Wait until every flag is set, one waiter a flag, all at once, by the scenario's policy.

        ``flags`` are pairs (flag, reason). The span carries the reason of the flag that was seen last.
        """
        import numpy as np

        memory = self._memory.flags
        words = np.array([memory.word(self.index, flag) for flag, _ in flags], np.int64)
        yield from self._wait(words, 1, [str(flag) for flag, _ in flags], [reason for _, reason in flags], what)

    def wait_all(
        self, flags: Flags, indices: "Column", what: str, reason: str | Sequence[str], values: "Column | int" = 1
    ) -> Program:
        """Wait until the words ``indices`` of ``flags`` here have reached ``values``, one waiter each, all at once."""
        import numpy as np

        indices = np.asarray(indices)
        if len(indices):
            flags.check(int(indices.min()), int(indices.max()))
        words = self._memory.flags.words(np.full(len(indices), self.index), flags, indices)
        names = [f"{flags.name}[{index}]" for index in indices.tolist()]
        reasons = [reason] * len(names) if isinstance(reason, str) else reason
        if len(reasons) != len(names):
            raise SimulationError(f"{self.location} waits for {len(names)} flags for {len(reasons)} reasons")
        yield from self._wait(words, values, names, reasons, what)

    def _wait(
        self, words: "Column", values: "Column | int", names: Sequence[str], reasons: Sequence[str], what: str
    ) -> Program:
        if not len(words):
            return
        self._begin("wait", what)
        event = self._fabric.watch(self._first + self.index, words, values)
        self._watched = event, reasons
        found = yield event
        self._watched, self._waits_for = None, ""
        record(self._recorder, found, names, self.location, self._waiting.policy)
        # Of those that were seen at the last instant, the last one in the order given.
        self._end(reasons[len(words) - 1 - int(found.detected[::-1].argmax())])

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
        call = self._call(group, operation, size, algorithm, adds, form)
        name = what or operation
        meeting = self._memory.meetings.call(self.index, group, call, partial(self._play, group, call, name))
        self._waits_for = f"the other ranks to call {call}"
        self._begin("wait", name)
        last, ended = yield meeting.complete
        self._end(f"rank{last} to call {operation}")
        self._waits_for = f"{call} to end"
        self._begin("wait", name)
        yield ended
        self._end(f"{call.algorithm} {operation}", size)

    def schedule(
        self, operation: str, size: int, ranks: Sequence[int], *, algorithm: str = "", adds: str = "", **form: Any
    ) -> Schedule:
        """Return what `collective` plays for the same arguments, as a schedule whose rank i is ``ranks[i]``; this rank
        need not be among them."""
        group = tuple(ranks)
        return self._schedule(group, self._call(group, operation, size, algorithm, adds, form))

    def _call(
        self, group: tuple[int, ...], operation: str, size: int, algorithm: str, adds: str, form: dict[str, Any]
    ) -> Call:
        if "matrix" in form:
            form["matrix"] = tuple(tuple(row) for row in form["matrix"])
        if adds_in_switches(algorithm, form.get("inner", "")):
            switch_of = {each: self._fabric.reducer_of(self._first + each) for each in group}
            form.setdefault("reducers", reducers(group, form.get("nodes", 1), switch_of.__getitem__))
        default = ALGORITHMS.get(operation, ("",))[0]
        return Call(operation, size, algorithm or default, tuple(sorted(form.items())), adds)

    def _schedule(self, group: tuple[int, ...], call: Call) -> Schedule:
        return self._memory.meetings.schedule(group, call, partial(self._adding, call.adds) if call.adds else None)

    def _play(self, group: tuple[int, ...], call: Call, what: str) -> Event:
        return self._fabric.play(self._schedule(group, call), [self._first + rank for rank in group], what)

    def _adding(self, dtype: str, size: int) -> int:
        try:
            elements = -(-size // width(dtype))
        except TypeError:
            raise InputError(f"adds: {quoted(dtype)} is no dtype; write e.g. 'float32'") from None
        work = Work({dtype: elements}, {"hbm": 2 * size}, {"hbm": size}, launches=0)
        return self._cost.duration(work, self._device.spec)

    def record(self, table: str, *values: Any) -> None:
        """Add a row to a table of the workload's own: the location, and ``values`` in the order of its other
        columns."""
        self._recorder.add(table, (self.location, *values))

    def give(self, result: Any) -> None:
        """Hand over one result, to be compared with the reference; results without data are dropped."""
        if not isinstance(result, Virtual):
            self.results.append(result)

    def play(
        self, schedule: Schedule, what: str, *, ranks: Sequence[int] | None = None
    ) -> Generator[Event, Any, tuple[Any, Any]]:  # fmt: skip
        """Take part in a schedule of all ranks of the job, which is the same for all; return when it has ended.

        With ``ranks``, its rank i is ``ranks[i]``, and this rank plays it for all of them, at once: the others take no
        part. Returns when what each row depends on had ended, and when it ended itself, as columns, ps since the job's
        start.
        Records no span: the caller knows what the rows mean, and says so by `lived`.
        """
        if ranks is not None:
            ended = self.begin(schedule, what, ranks)
        else:
            everybody = tuple(range(self.world))
            call = Call(what, len(schedule), "", (), "")
            begin = partial(self.begin, schedule, what, everybody)
            meeting = self._memory.meetings.call(self.index, everybody, call, begin)
            self._waits_for = f"the other ranks to call {what}"
            _, ended = yield meeting.complete
        self._waits_for = f"{what} to end"
        ready, ends = yield ended
        return (ready - self._start, ends - self._start) if self._start else (ready, ends)

    def begin(self, schedule: Schedule, what: str, ranks: Sequence[int]) -> Event:
        """Begin a schedule, whose rank i is ``ranks[i]``, and go on at once; the event happens when all of its rows
        have ended."""
        if ranks:
            self._require(min(ranks), max(ranks))
        return self._fabric.play(schedule, [self._first + rank for rank in ranks], what, timed=True)

    def event(self) -> Event:
        """Return an event that happens when a program of the job calls its ``succeed``: for decisions that no message
        carries."""
        return self._simulation.event()

    def shared(self, make: Callable[[], T]) -> T:
        """Return the one object that all ranks of the job share, made by the first that asks: for decisions that no
        message carries, such as a scheduler's.

        Model: what a rank learns through it costs no time.
        """
        memory = self._memory
        if memory.shared is None:
            memory.shared = make()
        return memory.shared  # type: ignore[no-any-return]

    def lived(
        self, begin: int, end: int, activity: str, what: str, *, reason: str = "", size: int = 0, part: str = ""
    ) -> None:
        """Record what the rank, or a ``part`` of it, was at from ``begin`` to ``end``, ps since the job's start; the
        spans of its life are given in order and leave nothing out."""
        location = f"{self.location}.{part}" if part else self.location
        self._recorder.add("spans", (location, begin + self._start, end + self._start, activity, reason, what, size))

    def duration(self, work: Work, timing: CostModel | None = None) -> int:
        """Return how long ``work`` takes on this rank's GPU, ps, by ``timing`` or the cost model of the run."""
        return (timing or self._cost).duration(work, self._device.spec)

    def host(self, rank: int) -> int:
        """Return what stands in a schedule for the memory of the host beside the GPU of ``rank``; raises ``InputError``
        where the machine has no hosts."""
        self._require(rank, rank)
        place = self._fabric.host_of(self._first + rank)
        if place is None:
            raise InputError("the machine has no hosts; machine.host: {link: ..., memory_bandwidth: ...} gives it some")
        return -1 - place

    @property
    def memory(self) -> int:
        """Bytes of memory of the rank's GPU."""
        return self._device.spec.memory_size

    @property
    def energy(self) -> EnergySpec:
        """What the rank's GPU spends; raises ``SimulationError`` where its sheet does not say."""
        if self._device.spec.energy is None:
            raise SimulationError(f"{self.location}: its GPU states no energy; give machine.gpu.energy")
        return self._device.spec.energy

    def hops(self, dst: int) -> list[tuple[int, int]]:
        """Return the ranks at both ends of every link that a message to rank ``dst`` crosses, -1 for a switch or a GPU
        of another job."""
        self._require(dst, dst)
        ends = self._fabric.hops_between(self._first + self.index, self._first + dst)
        return [(self._within(tail), self._within(head)) for tail, head in ends]

    def _within(self, rank: int) -> int:
        """Return the number in this job of a rank of the fabric, -1 where it is none of it."""
        return rank - self._first if 0 <= rank - self._first < self.world else -1

    def warn(self, sentence: str) -> None:
        """Tell the user of the run something that a careful reader should know; once, whoever of the job says it."""
        self._memory.said.setdefault(sentence)

    def compare(
        self, what: str, number: int, ranks: int, size: int, measured: tuple[int, int], simulated: tuple[int, int]
    ) -> None:
        """Put what was measured beside what was simulated: begin (measured: -1 where unknown) and duration, ps, of
        something that ``ranks`` ranks did together, ``number`` telling which with that name."""
        self._memory.compared.append(Compared(self.location, what, number, ranks, size, *measured, *simulated))

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
        self._waits_for, self._watched = "", None
        self._rank, self._share = rank, count
        self._open, self._groups = None, []

    def compute(self, kernel: Kernel, *payloads: Any, what: str = "") -> Generator[Event, Any, Any]:
        """Run ``kernel`` on payloads for as long as the cost model says of a share of the GPU; return its outputs."""
        outputs, work = kernel(*payloads)
        read = work.bytes_read.get("hbm", 0)
        self._begin("compute", what or kernel.name)
        yield from self._device.share(work, kernel.timing or self._cost, self._share)
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
