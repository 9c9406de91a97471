"""The links: messages in, one event at each instant at which a process must know; policies `ideal`, `fair`, `fifo`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from simpy.events import Event

from simcore.errors import Deadlock, SimulationError
from simcore.fabric import _kernels as kernels
from simcore.fabric import _policies as policies
from simcore.fabric import _waits as waits
from simcore.fabric._kernels import META_DST, META_SEEN, META_SILENT, META_WHAT, META_WORD, SEEN
from simcore.fabric._store import Gaps, Table
from simcore.fabric.deliveries import Deliveries
from simcore.fabric.routes import Routes, servers_of
from simcore.fabric.watching import Waits, Watching, Words
from simcore.hardware import GpuSpec, MemoryPort, Queues, Sharing, WaitSpec
from simcore.schedule import Schedule
from simcore.simulation import END, Simulation
from simcore.topology import Topology
from simcore.trace import CHUNK, Recorder
from simcore.units import LARGEST

FEW_TABLES = 16
NEVER = 2 * LARGEST
"""Beyond the last moment."""
NO_DELAYS = np.zeros(0, np.int64)
NOBODY = (0, -1, 0, 0, 0)
"""In place of a message that is to be admitted."""

Column = Table


@dataclass(frozen=True)
class Writes:
    """Stamped one-sided writes: parallel columns of issue instants (ps), destination ranks, sizes (bytes), flags, and
    names, or one name for all."""

    time: Column
    dst: Column
    size: Column
    flag: NDArray[np.bool_]
    what: Sequence[str] | str


class Fabric:
    """Carries messages between ranks over shared links; ``gpus[rank]`` is the GPU that hosts a rank.

    ``fifo``: every link serves whole messages, or packets, one after another, in the order (arrival, source rank,
    source sequence). ``fair``: a message waits the latency of its path, then flows; flows share links max-min fairly.
    ``ideal``: every message travels as if alone, except that messages of one pair arrive in the order sent.

    Model: a message is its payload, without headers; what a link costs per message or small message is for its
    ``overhead`` and ``efficiency`` to say.
    """

    def __init__(
        self, simulation: Simulation, topology: Topology, sharing: Sharing, recorder: Recorder | None,
        gpus: Sequence[int], queues: Queues = Queues(),  # noqa: B008 frozen
        gpu: GpuSpec | None = None, wait: WaitSpec = WaitSpec(), memory_port: MemoryPort = "free",  # noqa: B008 frozen
    ) -> None:  # fmt: skip
        self._simulation, self._topology, self._recorder = simulation, topology, recorder
        self._gpus = list(gpus)
        self._servers = [server.name for server in topology.servers]
        rates = [gpu.memory_bandwidth] * topology.gpus if gpu is not None and memory_port == "shared" else []
        self._port = len(self._servers) if rates else -1
        """The server of GPU 0's memory port, where ports are shared."""
        self._servers += [f"gpu{each} memory port" for each, _ in enumerate(rates)]
        self._endpoints = np.array([*gpus, *range(topology.gpus, topology.endpoints)], np.int64)
        self._following = np.arange(len(self._endpoints)) << kernels.ORDER_SOURCE
        self._next = memoryview(cast(Any, self._following))
        self._names: dict[str, int] = {}
        self._waiting: dict[int, Event] = {}
        self._playing: dict[int, tuple[Event, int, int, int, int, bool]] = {}
        self._pending_gaps, self._operation_gaps, self._dependent_gaps = Gaps(), Gaps(), Gaps()
        self._run_gaps, self._group_gaps = Gaps(), Gaps()
        self._running: list[tuple[int, int, int]] = []
        self._tables_most = FEW_TABLES
        # A compute stream an endpoint, and one server that takes no time, for the delays of schedules.
        servers = servers_of(topology, rates, len(self._endpoints) + 1)
        self._policy = policies.choose(sharing, queues, servers, topology, CHUNK, len(rates))
        self._state, self._head = self._policy.state, self._policy.head
        self._kernel, self._addresses = self._policy.kernel, self._state.addresses
        self._words = memoryview(cast(Any, self._head))
        self._see(self._state[kernels.T_SEEN])
        self._deliveries = Deliveries(self._policy, recorder, self._servers, self._names)
        self._routes = Routes(topology, self._policy, self._endpoints, self._gpus, self._port, sharing == "fair")
        self._sets = 0
        self._watching: Watching | None = None
        if gpu is not None:
            ports_of = self._port + self._endpoints if rates else None
            self._watching = Watching(self._policy, len(gpus), self._group_gaps, gpu, wait, ports_of)
        self._held: tuple[int, int, int, int, int] | None = None
        """One message that was sent now and is not yet admitted: its instant, order, size, first hop, meta."""
        self._ways: dict[tuple[int, int, str], tuple[int, int]] = {}
        self.next_due = NEVER
        simulation.attach(self)

    def send(self, src: int, dst: int, size: int, what: str, *, flag: bool = False) -> Event:
        """Send one message of ``size`` bytes now; the event happens when its last byte is in the destination's
        memory."""
        hop, meta = self._ways.get((src, dst, what)) or self._way(src, dst, what)
        ended = self._waiting[self._hold(src, size, hop, meta | META_SEEN | flag)] = Event(self._simulation)
        return ended

    def put(
        self, src: int, dst: int, size: int, what: str, word: int = -1, value: int = 1, *, flag: bool | None = None
    ) -> None:  # fmt: skip
        """Send one message now, of whose arrival nobody is told; with a ``word`` it sets that, and is a flag unless
        ``flag`` says that it is data."""
        hop, meta = self._ways.get((src, dst, what)) or self._way(src, dst, what)
        if word >= 0:
            self._sets += 1
            store = self._watch.store(word, value, self._names[what])
            meta = dst << META_DST | store << META_WHAT | META_WORD
        self._hold(src, size, hop, meta | (word >= 0 if flag is None else flag))

    def _way(self, src: int, dst: int, what: str) -> tuple[int, int]:
        """Return the first hop of messages between two ranks, and their meta: destination and name."""
        self._require_rank(src)
        self._require_rank(dst)
        hop = int(self._routes.first_hops(np.array([src]), np.array([dst]))[0])
        way = self._ways[src, dst, what] = hop, dst << META_DST | self._name(what) << META_WHAT
        return way

    def compute(self, rank: int, duration: int) -> Event:
        """Queue ``duration`` ps of computation on the compute stream of ``rank``; the event happens when it ends."""
        self._require_rank(rank)
        return self._admit(rank, duration, rank, META_SILENT | META_SEEN)

    def read(self, rank: int, size: int) -> Event:
        """Queue a read of ``size`` bytes at the memory port of the GPU of ``rank``, which must be shared; the event
        happens when it has been served."""
        self._require_rank(rank)
        hop = self._routes.to_port(int(self._endpoints[rank]))
        return self._admit(rank, size, hop, META_SILENT | META_SEEN)

    def words(self, count: int, ranks: range) -> Words:
        """Return a new array of ``count`` words in the memory of each of ``ranks``, zero at first."""
        return self._watch.place(count, ranks)

    def fill_lines(self, count: int) -> int:
        """Return the least multiple of ``count`` words of an array that ends where a watched line does."""
        return self._watch.fill_lines(count)

    def landed(self, rank: int, words: Column) -> Event:
        """Return an event that happens at the instant at which the last of ``words``, in the memory of ``rank``, is
        above zero: known without a read."""
        return self.watch(rank, self._watch.unset(words, 1), reads=False)

    def watch(self, rank: int, words: Column, values: "Column | int" = 1, *, reads: bool = True) -> Event:
        """Let ``rank`` wait, by the fabric's policy, for each of ``words`` to be seen to hold at least its value, one
        waiter a word, all from now on; the event happens when the last has been seen, with `Waits` as its value.
        Without ``reads`` the words, which do not yet hold their values, are known at once when they do."""
        self._require_rank(rank)
        event = Event(self._simulation)
        if not len(words):
            return event.succeed(Waits(*(np.zeros(0, np.int64) for _ in range(8))))
        self._see(self._state.reserve(kernels.T_SEEN, self._policy.seen_rows + self._watch.open + 1))
        self._watch.watch(event, rank, np.asarray(words, np.int64), values, self._simulation.now, reads=reads)
        self.next_due = min(self.next_due, 2 * self._simulation.now + 1)
        return event

    def unseen(self, event: Event) -> Column:
        """Return the places of the words for which the wait of ``event`` has not ended by now."""
        return self._watch.unseen(event, self._simulation.now)

    @property
    def visits(self) -> int:
        """Steps of the data plane so far: items taken off its agenda, and flows that ended."""
        return int(self._head[kernels.VISITS])

    @property
    def shares_ports(self) -> bool:
        """Whether reads and arrivals queue at memory ports."""
        return self._port >= 0

    @property
    def _watch(self) -> Watching:
        if self._watching is None:
            raise SimulationError("this fabric was not told of which GPU it joins, so it has no words")
        return self._watching

    def _see(self, table: Column) -> None:
        # Views that Python reads faster than arrays.
        self._seen = memoryview(cast(Any, table.reshape(-1)))

    def _require_rank(self, rank: int) -> None:
        if not 0 <= rank < len(self._gpus):
            raise SimulationError(f"there is no rank {rank}; the fabric has 0 to {len(self._gpus) - 1}")

    def _admit(self, src: int, size: int, hop: int, meta: int) -> Event:
        ended = self._waiting[self._hold(src, size, hop, meta)] = Event(self._simulation)
        return ended

    def _hold(self, src: int, size: int, hop: int, meta: int) -> int:
        """Send one message now, or queue one computation; return its order."""
        if type(size) is not int or not 0 <= size < LARGEST:
            raise SimulationError(
                f"rank {src} sends a message of {size!r} bytes; a size is an int, 0 to below {LARGEST}"
            )
        following = self._next
        order = following[src]
        following[src] = order + 1
        if self._held is not None:
            self._admit_held()
        # Most often one process acts at an instant, and what it sends is admitted by the loop that carries it on.
        now = self._simulation._now
        self._held = (now, order, size, hop, meta)  # type: ignore[assignment]
        if 2 * now < self.next_due:
            self.next_due = 2 * now + 1  # type: ignore[assignment]
        return order

    def _admit_held(self) -> None:
        assert self._held is not None
        while not kernels.inject(self._addresses, *self._held):
            self._policy.make_room()
        self._held = None

    def send_many(
        self, src: int | Column, writes: Writes, on_arrival: Mapping[int, Callable[[], object]] | None = None, *,
        sets: Column | None = None, values: "Column | int" = 1,
    ) -> None:  # fmt: skip
        """Send a table of stamped writes, none of them in the past, each to be issued at its own instant; ``src`` is
        their rank, or a column of ranks.

        ``on_arrival[row]`` is called at the instant at which that row has arrived, before any process of that instant;
        rows without it are carried and recorded without an event. ``sets[row]`` is the number of a word that row sets
        to its value on arrival, -1 none.
        """
        count = len(writes.time)
        if not count:
            return
        sources, targets = _column(src), _column(writes.dst)
        lengths = {len(column) for column in (sources, targets, writes.size, writes.flag)} - {1}
        if lengths - {count} or (not isinstance(writes.what, str) and len(writes.what) != count):
            raise SimulationError(f"a table of {count} instants has columns of other lengths")
        if min(sources.min(), targets.min()) < 0 or max(sources.max(), targets.max()) >= len(self._next):
            raise SimulationError(f"a table names ranks beyond the {len(self._gpus)} there are")
        if np.asarray(writes.time).dtype.kind not in "iu" or writes.time.max() >= LARGEST // 2:
            raise SimulationError(f"a stamp is an integer instant below {LARGEST // 2} ps")
        if writes.time.min() < self._simulation.now:
            row = int(writes.time.argmin())
            raise SimulationError(
                f"rank {sources[row % len(sources)]} sends at {writes.time[row]} ps, in the past of "
                f"{self._simulation.now} ps"
            )
        size = _column(writes.size)
        if size.max() >= LARGEST:
            raise SimulationError(f"a message is smaller than {LARGEST} bytes")
        if size.min() < 0:
            row = int(size.argmin())
            raise SimulationError(f"rank {sources[row % len(sources)]} sends a message of {size[row]} bytes")
        meta = _column(writes.flag)
        if isinstance(writes.what, str):
            meta = meta | self._name(writes.what) << META_WHAT
        else:
            meta = meta | np.array([self._name(what) for what in writes.what], np.int64) << META_WHAT
        if sets is not None:
            meta = self._setting(np.array(np.broadcast_to(meta, count)), sets, values)
        calls = on_arrival or {}
        if calls:
            meta = np.array(np.broadcast_to(meta, count))
            meta[list(calls)] |= META_SEEN
        begin, places = self._begin_run(sources, writes, meta)
        orders = self._state[kernels.T_PENDING][kernels.P_ORDER]
        for row, call in calls.items():
            order = orders.item(begin + (places.item(row) if len(places) else row))
            self._waiting[order] = _calling(self._simulation, call)

    def _setting(self, meta: Column, sets: Column, values: "Column | int") -> Column:
        """Return ``meta`` with a store in place of the name, where a row sets a word."""
        if np.shape(sets) != meta.shape or np.shape(values) not in ((), meta.shape):
            raise SimulationError(f"a table of {len(meta)} instants sets words by columns of other lengths")
        (rows,) = np.nonzero(sets >= 0)
        self._sets += len(rows)
        values = np.broadcast_to(values, len(meta))
        if len(rows) == 1:
            row = rows.item()
            first = self._watch.store(int(sets[row]), values[row].item(), int(meta[row]) >> META_WHAT)
        else:
            first = self._watch.stores(sets[rows], values[rows], meta[rows] >> META_WHAT)
        meta[rows] = meta[rows] & (META_WORD - 1) | META_WORD | (first + np.arange(len(rows))) << META_WHAT
        return meta

    def _begin_run(self, sources: Column, writes: Writes, meta: Column) -> tuple[int, Column]:
        """Put a stamped table on the agenda; return where in ``pending`` it begins and the place of each row there,
        empty where they stand as they came."""
        state, count = self._state, len(writes.time)
        time, dst = np.ascontiguousarray(writes.time, np.int64), _column(writes.dst)
        self._routes.know(sources, dst)
        self._free_runs()
        begin, run = self._pending_gaps.take(count), self._run_gaps.take(1)
        pending = state.reserve(kernels.T_PENDING, self._pending_gaps.length, axis=1)
        places = _places(time, sources, len(self._next))
        largest = kernels.stamp(
            time, sources, dst, _column(writes.size), meta, places, self._endpoints, self._routes.of, self._routes.hop,
            self._following, pending, begin,
        )  # fmt: skip
        state.reserve(kernels.T_RUNS, self._run_gaps.length)[run] = begin, begin + count
        self._running.append((run, begin, count))
        self._policy.make_room(messages=count, largest=largest)
        kernels.begin_run(self._addresses, begin, run)
        self.next_due = min(self.next_due, 2 * pending.item(kernels.P_TIME, begin) + 1)
        self._simulation.horizon = max(self._simulation.horizon, pending.item(kernels.P_TIME, begin + count - 1))
        return begin, places

    def _free_runs(self) -> None:
        """Free the rows of stamped tables that are through, whenever there are twice as many tables as last time."""
        if len(self._running) < self._tables_most:
            return
        runs, left = self._state[kernels.T_RUNS], []
        for run, first, length in self._running:
            if runs[run, kernels.RUN_NEXT] == runs[run, kernels.RUN_END]:
                self._pending_gaps.give(first, length)
                self._run_gaps.give(run, 1)
            else:
                left.append((run, first, length))
        self._running = left
        self._tables_most = 2 * len(left) + FEW_TABLES

    def play(self, schedule: Schedule, ranks: Sequence[int], what: str, *, timed: bool = False) -> Event:
        """Begin a schedule now, its rank i being rank ``ranks[i]``; the event happens when all of its rows have ended.

        Transfers queue and share with everything else; computations queue on the compute stream of their rank. With
        ``timed``, the value of the event is two columns: when what each row depends on had ended, and when it ended
        itself, ps.
        """
        ended = Event(self._simulation)
        count = len(schedule)
        if not count:
            return ended.succeed((NO_DELAYS, NO_DELAYS) if timed else None)
        others = len(self._endpoints) - len(self._gpus)
        try:
            schedule.check(len(ranks), others)
        except SimulationError as error:
            raise SimulationError(f"{what}: {error}") from None
        for rank in ranks:
            self._require_rank(rank)
        known = np.array([*ranks, *range(len(self._endpoints) - 1, len(self._gpus) - 1, -1)], np.int64)
        # Reducing switches and hosts count down from -1, so Python's way of counting from the end finds them.
        if kernels.first_unknown_move(known, schedule.rank, schedule.peer, self._endpoints, self._routes.of) >= 0:
            moves = schedule.rank != schedule.peer
            self._routes.first_hops(known[schedule.rank[moves]], known[schedule.peer[moves]])
        begin, group = self._operation_gaps.take(count + 1), self._group_gaps.take(1)
        edge_count = len(schedule.after)
        edges = self._dependent_gaps.take(edge_count) if edge_count else 0
        state = self._state
        state.reserve(kernels.T_OPERATIONS, self._operation_gaps.length)
        state.reserve(kernels.T_DEPENDENTS, self._dependent_gaps.length)
        state.reserve(kernels.T_GROUPS, self._group_gaps.length)[group] = count, self._simulation.now
        kernels.enlist(
            self._addresses, begin, edges, group, self._simulation.now, self._name(what) << META_WHAT, known,
            schedule.rank, schedule.peer, schedule.size, schedule.duration,
            NO_DELAYS if schedule.stream is None else schedule.stream, schedule.after_begin, schedule.after,
            self._endpoints, self._routes.of, self._routes.hop, self._routes.leads, self._following,
            np.zeros(count + 1, np.int64),
        )  # fmt: skip
        self._playing[group] = (ended, begin, count, edges, edge_count, timed)
        self._policy.make_room(operations=count, largest=int(schedule.size.max()))
        kernels.begin_schedule(self._addresses, begin, begin + count)
        self.next_due = min(self.next_due, 2 * self._simulation.now + 1)
        return ended

    def reducer_of(self, rank: int) -> int | None:
        """Return the number of the reducing switch of a rank's node, None where there is none."""
        return self._topology.reducer_of(self._gpus[rank])

    def hops_between(self, src: int, dst: int) -> list[tuple[int, int]]:
        """Return the ranks at both ends of every link that a message from rank ``src`` to rank ``dst`` crosses, -1 for
        a switch or another GPU."""
        rank_of = {f"gpu{gpu}": rank for rank, gpu in enumerate(self._gpus)}
        links = [self._topology.links[each] for each in self._topology.route(self._gpus[src], self._gpus[dst])]
        return [(rank_of.get(link.tail, -1), rank_of.get(link.head, -1)) for link in links]

    def host_of(self, rank: int) -> int | None:
        """Return k such that -1 - k is, in a schedule, the host's memory beside the GPU of ``rank``; None where nodes
        have no host."""
        end = self._topology.host_of(self._gpus[rank])
        return None if end is None else end - self._topology.gpus

    def prepare(self, src: Column, dst: Column) -> None:
        """Find the routes of many pairs of ranks at once, before they are first used."""
        for ranks in (src, dst):
            self._require_rank(int(np.min(ranks)))
            self._require_rank(int(np.max(ranks)))
        self._routes.know(np.ascontiguousarray(src, np.int64), np.ascontiguousarray(dst, np.int64))

    @property
    def awaited(self) -> int:
        """Messages, computations and schedules under way whose end somebody must know, flags under way, and whether a
        wait will end without one."""
        flags = self._sets - int(self._head[kernels.LANDED])
        return len(self._waiting) + len(self._playing) + flags + waits.any_ends(self._addresses)

    def _name(self, what: str) -> int:
        return self._names.setdefault(what, len(self._names))

    def advance(self, bound: int) -> None:
        """Compute up to the moment ``bound``, or to the first instant at which somebody must know, and schedule
        that."""
        held, self._held = self._held or NOBODY, None
        due = self._kernel(self._addresses, bound, *held)
        if self._words[SEEN]:
            bound = min(bound, self._announce(self._words[SEEN]))
        while due < 0:
            if due == kernels.NOTHING:
                due = NEVER
                stuck = self._stuck()
                if stuck:
                    # Whoever else can still act does so first; this is asked again when nobody is left.
                    if not self._simulation._queue:
                        raise Deadlock(stuck)
                    due = END
                break
            if due in (kernels.ROOM, kernels.ROOM_FIRST):
                self._policy.make_room()
            elif due == kernels.DRAIN:
                self._deliveries.collect()
            elif due != kernels.PAUSE:
                self._policy.refuse(due)
            if due != kernels.ROOM_FIRST:
                held = NOBODY
            due = self._kernel(self._addresses, bound, *held)
            if self._words[SEEN]:
                bound = min(bound, self._announce(self._words[SEEN]))
        self.next_due = due

    def _stuck(self) -> str:
        """Return what waits for ever once nothing is due, in words, or nothing."""
        if self._playing:
            return self._policy.stuck() or "a schedule under way has rows that wait for each other; it never ends"
        return self._policy.stuck()

    def _announce(self, count: int) -> int:
        """Schedule the events of the instants that processes wait for; return the moment of the earliest."""
        self._words[SEEN] = 0
        seen, announce = self._seen, self._simulation.announce
        if count == 1 and seen[0] >= 0:
            instant = seen[1]
            announce(self._waiting.pop(seen[0]), instant)
            return 2 * instant
        for place in range(0, 2 * count, 2):
            order, instant = seen[place], seen[place + 1]
            if order >= 0:
                announce(self._waiting.pop(order), instant)
            elif -1 - order not in self._playing:
                announce(*self._watch.ended(-1 - order, instant))
            else:
                announce(*self._ended(-1 - order, instant))
        return 2 * min(seen[1 : 2 * count : 2])

    def _ended(self, group: int, instant: int) -> tuple[Event, int, Any]:
        """Free the rows of a schedule that has ended; return its event, when that happens, and its value."""
        event, begin, count, edges, edge_count, timed = self._playing.pop(group)
        rows = self._state[kernels.T_OPERATIONS][begin : begin + count]
        times = (rows[:, kernels.READY].copy(), rows[:, kernels.O_ENDED].copy()) if timed else None
        self._group_gaps.give(group, 1)
        self._operation_gaps.give(begin, count + 1)
        self._policy.ended(count)
        if edge_count:
            self._dependent_gaps.give(edges, edge_count)
        return event, instant, times

    def record(self, until: int = LARGEST) -> None:
        """Hand the recorder what it has not seen: the deliveries before ``until``, ps, and the utilisation of every
        link that carried something.

        What a link has accepted is booked ahead, so a run that is cut short must say where.
        """
        self._deliveries.record(until)

    def completions(self) -> tuple[Column, Column]:
        """Return when each message so far was issued and when it arrived, ps; only for a fabric without recorder."""
        return self._deliveries.completions()


def _column(values: "Column | NDArray[np.bool_] | int") -> Column:
    """Return ``values`` as integers, one row where all are the same object in memory."""
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise SimulationError(f"a column of a table holds integers, not {array.dtype}")
    if array.ndim == 0 or array.strides == (0,):
        return np.array([array.flat[0]], np.int64)
    return np.ascontiguousarray(array, np.int64)


def _places(time: Column, sources: Column, count: int) -> Column:
    """Return the place of every row of a stamped table in the order of (time, source), empty if it lies so."""
    lies = kernels.order_of(time, sources)
    if lies == kernels.IN_ORDER:
        return np.zeros(0, np.int64)
    sources = np.array(np.broadcast_to(sources, len(time)))
    places = np.empty(len(time), np.int64)
    if lies == kernels.ONE_INSTANT:
        kernels.by_source(sources, places, np.zeros(count + 1, np.int64))
    else:
        places[np.lexsort((sources, time))] = np.arange(len(time))
    return places


def _calling(simulation: Simulation, call: Callable[[], object]) -> Event:
    """Return an event that calls ``call`` when it happens."""
    event = Event(simulation)
    event.callbacks = [lambda _: call()]  # type: ignore[list-item]
    return event


def compiled(sharing: Sharing, queues: Queues | None = None) -> bool:
    """Return whether the compiled loops of a policy are on disk already, so that the next run starts at once."""
    return policies.on_disk(sharing, queues or Queues())
