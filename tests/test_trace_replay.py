"""Execution traces of all ranks run again: the spelled-out ring is our ring, jobs equal one process a node, lives are
tiled, and what meets nobody is named."""

import os
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simcore.models.trace_replay.life import pieces, times
from simcore.models.trace_replay.lowering import Lowered, lower
from simcore.models.trace_replay.matching import Job, Meeting, match
from simcore.traces.write_chakra import COLLECTIVE, COMPUTE, RECEIVE, SEND, field, file, node

from simcore import InputError, Result, read_scenario, run
from simcore.collectives import ALGORITHMS, build
from simcore.collectives.library import Library
from simcore.collectives.timing import duration
from simcore.fabric import Fabric
from simcore.formats.execution import HOST, Execution, Node
from simcore.hardware import LinkSpec
from simcore.schedule import Schedule
from simcore.simulation import OBSERVE, Simulation
from simcore.topology import Topology

EXTRA = os.environ.get("SIMCORE_EXTRA_TRACES")
US = 10**6


def replayed(traces: Path | str, *overrides: str, gpus: int = 8, machine: str = "hgx-h100") -> Result:
    return run(
        read_scenario(
            "trace_replay",
            [f"machine.node={machine}", f"machine.gpus={gpus}", f"workloads.0.params.traces={traces}"]
            + [each if "." in each else f"workloads.0.params.{each}" for each in overrides],
        )
    )


def saved(folder: Path, *ranks: Sequence[bytes], cut: int = 0) -> Path:
    for rank, nodes in enumerate(ranks):
        content = file(nodes)
        (folder / f"t.{rank}.et").write_bytes(content[: len(content) - cut] if rank == 0 else content)
    return folder


def ring(rank: int, ranks: int, size: int, adding: int) -> list[bytes]:
    """Return a ring all-reduce of one rank, each of whose additions takes ``adding`` us."""
    nodes: list[bytes] = []
    for turn in range(2 * (ranks - 1)):
        at, about = len(nodes), {"comm_size": size // ranks}
        nodes.append(node(at, f"s{turn}", SEND, [at - 1] if at else [], 0, {"comm_dst": (rank + 1) % ranks, **about}))
        nodes.append(node(at + 1, f"r{turn}", RECEIVE, [at], 0, {"comm_src": (rank - 1) % ranks, **about}))
        if turn < ranks - 1:
            nodes.append(node(at + 2, f"add{turn}", COMPUTE, [at + 1], adding))
    return nodes


def our_ring(found: Result, size: int, reduction: int | None) -> int:
    """Return how long our own ring all-reduce takes on the machine of ``found``, ps."""
    machine, topology = found.scenario.machine, found.scenario.machine.build_topology()
    add = None if reduction is None else lambda _: reduction
    schedule = build("all_reduce", topology.gpus, size, "ring", reduce_time=add).schedule
    (gpus,) = found.scenario.gpus.values()
    return duration(schedule, topology, machine.sharing, gpus)


MACHINES = [
    ("hgx-h100", ["machine.sharing=fair"]),
    ("hgx-h100", ["machine.sharing=fifo"]),
    ("hgx-h100", ["machine.sharing=ideal"]),
    ("mi300x-8", ["machine.sharing=fifo"]),
    ("mi300x-8", ["machine.topology={family: ring}", "machine.sharing=fair"]),
    ("dgx-1-v100", ["machine.sharing=fair"]),
    ("dgx-1-v100", ["machine.sharing=fifo"]),
]


@pytest.mark.parametrize("reduction", [7 * US, 0])
@pytest.mark.parametrize(("machine", "how"), MACHINES)
def test_the_spelled_out_ring_is_our_ring_to_the_picosecond(
    machine: str, how: list[str], reduction: int, tmp_path: Path
) -> None:
    traces = saved(tmp_path, *(ring(rank, 8, 2**20, 7) for rank in range(8)))
    override = [] if reduction else ["reduction=0 ps"]

    found = replayed(traces, *how, *override, machine=machine)

    expected = our_ring(found, 2**20, reduction)
    assert found.metrics["makespan_ps"] == expected
    if not reduction:
        assert expected == our_ring(found, 2**20, None)


@pytest.mark.parametrize("sends", ["posted", "delivered"])
def test_on_equal_links_it_does_not_matter_when_a_send_has_ended(sends: str, tmp_path: Path) -> None:
    traces = saved(tmp_path, *(ring(rank, 8, 2**20, 7) for rank in range(8)))

    found = replayed(traces, f"sends={sends}")

    assert found.metrics["makespan_ps"] == our_ring(found, 2**20, 7 * US)


def test_a_delivered_send_ends_when_its_message_is_there_and_a_posted_one_at_once(tmp_path: Path) -> None:
    first = [node(0, "s", SEND, (), 0, {"comm_dst": 1, "comm_size": 10**6}), node(1, "c", COMPUTE, [0], 3)]
    traces = saved(tmp_path, first, [node(0, "r", RECEIVE, (), 0, {"comm_src": 0})])

    posted, delivered = (replayed(traces, f"sends={sends}", gpus=2) for sends in ("posted", "delivered"))

    (arrived,) = posted.tables["transfers"]["arrived_ps"].to_pylist()
    assert lives(posted)["rank0"] == [(0, 3 * US, "compute", "", "c")]
    assert lives(delivered)["rank0"] == [
        (0, arrived, "wait", "data to rank1", "s"),
        (arrived, arrived + 3 * US, "compute", "", "c"),
    ]
    assert lives(posted)["rank1"] == lives(delivered)["rank1"] == [(0, arrived, "wait", "data of rank0", "r")]


def lives(found: Result) -> dict[str, list[tuple[int, int, str, str, str]]]:
    rows: dict[str, list[tuple[int, int, str, str, str]]] = defaultdict(list)
    for row in found.tables["spans"].to_pylist():
        rows[row["location"]].append((row["t0_ps"], row["t1_ps"], row["activity"], row["reason"], row["what"]))
    return {location: sorted(spans) for location, spans in rows.items()}


@pytest.mark.parametrize(
    ("kind", "operation", "whole"),
    [(0, "all_reduce", 1), (1, "reduce", 1), (2, "all_gather", 8), (5, "broadcast", 1), (6, "all_to_all", 1),
     (7, "reduce_scatter", 1)],
)  # fmt: skip
def test_a_collective_node_is_our_collective_by_every_algorithm(
    kind: int, operation: str, whole: int, tmp_path: Path
) -> None:
    about = {"comm_type": kind, "comm_size": 2**20}
    traces = saved(tmp_path, *[[node(0, "c", COLLECTIVE, attributes=about)]] * 8)
    for algorithm in ALGORITHMS[operation]:
        if algorithm == "in_switch":
            continue
        found = replayed(traces, f"algorithm={algorithm}", "chunks=2")
        machine, topology = found.scenario.machine, found.scenario.machine.build_topology()
        schedule = build(operation, 8, whole * 2**20, algorithm, chunks=2).schedule
        expected = Library(machine.collective, topology, range(8)).around(schedule, range(8))
        assert found.metrics["makespan_ps"] == duration(expected, topology, machine.sharing, range(8))


@pytest.mark.parametrize(
    ("kind", "bytes_moved"), [(3, 7 * 1000), (4, 1000 - 125), (9, 0)], ids=["gather", "scatter", "barrier"]
)
def test_collectives_without_an_algorithm_move_what_they_must(kind: int, bytes_moved: int, tmp_path: Path) -> None:
    about = {"comm_type": kind, "comm_size": 1000, "root_rank": 5} if kind != 9 else {"comm_type": 9}
    traces = saved(tmp_path, *[[node(0, "c", COLLECTIVE, attributes=about)]] * 8)

    found = replayed(traces)

    rows = found.tables["transfers"].to_pylist()
    assert sum(row["size_bytes"] for row in rows) == bytes_moved
    assert kind == 9 or {row["dst" if kind == 3 else "src"] for row in rows if row["size_bytes"]} == {5}
    assert found.metrics["makespan_ps"] > 0


def test_in_switch_reduction_is_played_where_the_switch_reduces(tmp_path: Path) -> None:
    traces = saved(tmp_path, *[[node(0, "c", COLLECTIVE, attributes={"comm_size": 2**20})]] * 8)

    found = replayed(traces, "algorithm=in_switch")

    assert 0 < found.metrics["makespan_ps"] < replayed(traces, "algorithm=ring").metrics["makespan_ps"]
    with pytest.raises(InputError, match="no switch of the machine reduces"):
        replayed(traces, "algorithm=in_switch", machine="mi300x-8")


def test_a_collective_waits_for_a_late_rank_and_others_pass_it(tmp_path: Path) -> None:
    """Rank 3 comes 50 us late to a collective of ranks 2 and 3; ranks 0 and 1 have one of their own at once."""
    flags = field(10, field(1, "involved_dim") + field(28, field(1, b"\x01\x00")))
    call = [node(1, "c", COLLECTIVE, [0], 4, {"comm_size": 2**10}) + flags]
    traces = saved(tmp_path, *[[node(0, "w", COMPUTE, (), late), *call] for late in (1, 1, 1, 51)])

    found = replayed(traces, "dimensions=[2, 2]", gpus=4)

    life = lives(found)
    assert life["rank0"][-1][1] == life["rank1"][-1][1] < 20 * US
    assert life["rank2"][-1][1] == life["rank3"][-1][1] == life["rank0"][-1][1] + 50 * US
    assert life["rank2"][-1][2:] == ("wait", "all_reduce of 2 ranks", "c")
    counted = found.metrics["ranks"]["rank2"]
    assert counted["recorded_communication_ps"] == 4 * US
    assert counted["simulated_communication_ps"] == life["rank2"][-1][1] - 1 * US


def test_work_without_a_duration_takes_what_the_roofline_says(tmp_path: Path) -> None:
    ops, size = 67 * 10**9, 335 * 10**6
    nodes = [
        node(0, "a", COMPUTE, (), 0, {"num_ops": ops, "tensor_size": 1}),
        node(1, "b", COMPUTE, [0], 0, {"num_ops": 1, "tensor_size": size}),
        node(2, "c", 2, [1], 0, {"tensor_size": size}),
        node(3, "d", COMPUTE, [2], 0),
    ]
    traces = saved(tmp_path, nodes, [node(0, "e", COMPUTE, (), 1)])

    found = replayed(traces, gpus=2)

    gpu = found.scenario.machine.gpu
    by_ops = -(-ops * 10**12 // gpu.throughput["float32"])
    by_size = -(-size * 10**12 // gpu.memory_bandwidth)
    spans = lives(found)["rank0"]
    assert [end - begin for begin, end, *_ in spans] == [by_ops, by_size, by_size]
    faster = replayed(traces, "dtype=float16", gpus=2)
    assert lives(faster)["rank0"][0][1] == -(-ops * 10**12 // gpu.throughput["float16"])
    with pytest.raises(Exception, match="the GPU states no throughput for float99"):
        replayed(traces, "dtype=float99", gpus=2)


def test_reductions_are_the_computations_that_wait_for_receives_alone(tmp_path: Path) -> None:
    nodes = [
        node(0, "first", COMPUTE, (), 5),
        node(1, "r", RECEIVE, (), 0, {"comm_src": 1}),
        node(2, "add", COMPUTE, [1], 7),
        node(3, "both", COMPUTE, [0, 1], 11),
    ]
    traces = saved(tmp_path, nodes, [node(0, "s", SEND, (), 0, {"comm_dst": 0, "comm_size": 0})])

    work = {what: end - begin for begin, end, _, _, what in lives(replayed(traces, "reduction=9 us", gpus=2))["rank0"]}

    assert (work["first"], work["add"], work["both"]) == (5 * US, 9 * US, 11 * US)


def test_the_bundled_step_runs_and_its_spans_tile_the_lives_of_its_ranks() -> None:
    found = run(read_scenario("trace_replay"))

    assert found.warnings == []
    for rank, spans in lives(found).items():
        assert spans[0][0] == 0
        assert all(a[1] == b[0] for a, b in pairwise(spans))
        assert all(bool(reason) == (activity == "wait") for _, _, activity, reason, _ in spans)
        computed = sum(end - begin for begin, end, _, _, what in spans if what == "backward")
        assert computed == (40 + 3 * int(rank.removeprefix("rank"))) * US
        assert sum(what.startswith("add ") for *_, what in spans) == 3


def message(src: int, dst: int, number: int, size: int = 8, tag: int = 0, after: Sequence[int] = ()) -> list[bytes]:
    """Return a send, and a receive to go with it."""
    return [
        node(number, f"s{number}", SEND, after, 0, {"comm_dst": dst, "comm_size": size, "comm_tag": tag}),
        node(number, f"r{number}", RECEIVE, after, 0, {"comm_src": src, "comm_size": size, "comm_tag": tag}),
    ]


def test_what_meets_nobody_names_both_files(tmp_path: Path) -> None:
    send, receive = message(0, 1, 0)
    second, late = message(0, 1, 1)
    other, _ = message(0, 1, 2, tag=4)
    idle = node(9, "c", COMPUTE, duration=1)
    collective = {"comm_size": 8}
    for ranks, said in [
        (([send, second], [receive]), r"t.0.et: node 1 's1' sends to rank 1 with tag 0, the 2nd time, but .*t.1.et"
         " receives 1 such messages"),
        (([send], [receive, late]), r"t.1.et: node 1 'r1' receives from rank 0 with tag 0, the 2nd time, but .*t.0.et"
         " sends 1 such messages"),
        (([other], [idle]), r"t.0.et: node 2 's2' sends to rank 1 with tag 4, the 1st time, but .*t.1.et receives 0"),
        (([send], [message(0, 1, 0, 9)[1]]), r"t.0.et: node 0 's0' sends 8 B, but .*t.1.et: node 0 'r0' receives 9 B"),
        (([node(0, "a", COLLECTIVE, attributes=collective)], [idle]),
         r"t.0.et: node 0 'a' is collective 1 of 2 ranks, but .*t.1.et has 0"),
        (([node(0, "a", COLLECTIVE, attributes=collective)], [node(0, "b", COLLECTIVE, attributes={"comm_size": 9})]),
         r"t.0.et: node 0 'a' is all_reduce of 8 B, root 0, but .*t.1.et: node 0 'b', which meets it, is all_reduce of "
         "9 B, root 0"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=said):
            replayed(saved(tmp_path, *ranks), gpus=2)


def test_ranks_that_wait_for_each_other_are_named(tmp_path: Path) -> None:
    there, back = message(0, 1, 0, after=[1]), message(1, 0, 1)
    ring_of_two = ([there[0], back[1]], [message(1, 0, 1, after=[0])[0], message(0, 1, 0)[1]])

    with pytest.raises(InputError, match=r"t.0.et: node 1 'r1' needs .*t.1.et: node 1 's1' needs .*: no order of them"):
        replayed(saved(tmp_path, *ring_of_two), gpus=2)


def test_an_algorithm_that_none_of_the_operations_has_is_refused(tmp_path: Path) -> None:
    traces = saved(tmp_path, *[[node(0, "c", COLLECTIVE, attributes={"comm_type": 6, "comm_size": 8})]] * 2)

    with pytest.raises(InputError, match=r"none of the operations of .* has it; they have direct, rail_aligned"):
        replayed(traces, "algorithm=ring", gpus=2)


def test_a_cut_off_file_runs_up_to_the_cut_and_says_so(tmp_path: Path) -> None:
    whole = replayed(saved(tmp_path, *(ring(rank, 4, 2**20, 7) for rank in range(4))), gpus=4)

    found = replayed(saved(tmp_path, *(ring(rank, 4, 2**20, 7) for rank in range(4)), cut=1), gpus=4)

    cut, left = (sentence for sentence in found.warnings if "cut off" in sentence)
    assert "t.0.et: cut off: " in cut
    assert "14 nodes are used, and 0 left out" in cut
    assert left == "7 of 59 nodes of all ranks are left out: they need what was cut off"
    # The last receive of rank 0 is lost, and with it the last send of rank 3 and the receive behind that, whose
    # message is that of rank 2, and so on round the ring, up to the last send of rank 0.
    assert len(found.tables["transfers"]) == len(whole.tables["transfers"]) - 4
    assert 0 < found.metrics["makespan_ps"] <= whole.metrics["makespan_ps"]


def test_traces_may_be_a_folder_or_a_pattern_and_decide_the_name_of_the_run(tmp_path: Path) -> None:
    from simcore.report import run_name

    traces = saved(tmp_path, *([node(0, "c", COMPUTE, (), 1)] for _ in range(2)))
    (tmp_path / "other.0.et").write_bytes(b"x")

    def asked(name: Path) -> Any:
        return read_scenario("trace_replay", ["machine.gpus=2", f"workloads.0.params.traces={name}"])

    with pytest.raises(InputError, match=r"other.0.et: not one of its 1 bytes"):
        asked(traces)
    name = run_name(asked(traces / "t.*.et"))
    assert name == run_name(asked(traces / "t.*.et"))
    (tmp_path / "t.1.et").write_bytes(file([node(0, "c", COMPUTE, (), 2)]))
    assert run_name(asked(traces / "t.*.et")) != name
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(InputError, match=r"the folder '.*empty' holds no files; expected those of one job"):
        read_scenario("trace_replay", [f"workloads.0.params.traces={tmp_path / 'empty'}"])
    with pytest.raises(InputError, match=r"no files 'absent' here and none bundled; bundled are: .*step_4ranks"):
        read_scenario("trace_replay", ["workloads.0.params.traces=absent"])


ANY_TIME = st.integers(0, 3000)


@st.composite
def jobs(draw: st.DrawFn) -> list[Execution]:
    """Nodes of a few ranks that some order of all of them carries out."""
    ranks = draw(st.integers(2, 4))
    nodes: list[list[Node]] = [[] for _ in range(ranks)]

    def add(rank: int, kind: Any, **more: Any) -> None:
        earlier = st.lists(st.sampled_from(range(len(nodes[rank]))), max_size=3, unique=True)
        after = tuple(draw(earlier)) if nodes[rank] and draw(st.booleans()) else tuple(range(len(nodes[rank])))[-1:]
        gap = draw(st.sampled_from([0, 0, 0, 500]))
        nodes[rank].append(Node(len(nodes[rank]), f"n{len(nodes[rank])}", kind, after, gap=gap, **more))

    for _ in range(draw(st.integers(1, 14))):
        what = draw(st.sampled_from(["compute", "host", "memory", "message", "message", "collective"]))
        rank = draw(st.integers(0, ranks - 1))
        if what == "message":
            peer, tag = (rank + draw(st.integers(1, ranks - 1))) % ranks, draw(st.integers(0, 1))
            size = draw(st.integers(0, 3000))
            add(rank, "send", peer=peer, tag=tag, size=size)
            add(peer, "receive", peer=rank, tag=tag, size=size)
        elif what == "collective":
            group = tuple(draw(st.lists(st.integers(0, ranks - 1), min_size=1, unique=True)))
            operation, size = (
                draw(st.sampled_from(["all_reduce", "all_gather", "broadcast"])),
                draw(st.integers(0, 3000)),
            )
            for each in group:
                add(each, "collective", operation=operation, group=group, size=size)
        else:
            kind = "memory" if what == "memory" else "compute"
            add(rank, kind, duration=draw(ANY_TIME), stream=HOST if what == "host" else "")
    return [Execution(f"rank {rank}", rank, ranks, each) for rank, each in enumerate(nodes)]


class Twin:
    """A process a node and a process a row of a collective, on the fabric's own messages."""

    def __init__(self, simulation: Simulation, fabric: Fabric, job: Job, how: dict[str, Any]) -> None:
        self.simulation, self.fabric, self.job, self.how = simulation, fabric, job, how
        places = [(r, n) for r, each in enumerate(job.executions) for n in range(len(each.nodes))]
        self.begun = {place: simulation.event() for place in places}
        self.ended = {place: simulation.event() for place in places}
        self.at: dict[tuple[int, int], tuple[int, int]] = {}
        self.partner = {receive: send for send, receive in job.messages}
        self.arrived = {send: simulation.event() for send, _ in job.messages}
        self.free: dict[int, int] = defaultdict(int)
        self.lines: dict[int, list[Any]] = defaultdict(list)
        self.of_call: dict[tuple[int, int], list[Any]] = defaultdict(list)
        for meeting in job.meetings:
            self.collective(meeting)
        for place in places:
            simulation.process(self.life(place))

    def life(self, place: tuple[int, int]) -> Generator[Any, Any, None]:
        rank, number = place
        nodes = self.job.executions[rank].nodes
        one = nodes[number]
        place_of = {each.id: (rank, i) for i, each in enumerate(nodes)}
        yield self.simulation.all_of([self.ended[place_of[other]] for other in one.after])
        yield self.simulation.timeout(one.gap)
        begin = self.simulation.now
        self.begun[place].succeed()
        if one.kind == "compute" and one.stream != HOST and one.duration:
            yield self.compute(rank, number, one.duration)
        elif one.kind in ("compute", "memory"):
            yield self.simulation.timeout(one.duration)
        elif one.kind == "send":
            self.simulation.process(self.travel(place, one))
            if self.how["delivered"]:
                yield self.arrived[place]
        elif one.kind == "receive":
            yield self.arrived[self.partner[place]]
        else:
            yield self.simulation.all_of(self.of_call[place])
        self.at[place] = begin, self.simulation.now
        self.ended[place].succeed()

    def travel(self, place: tuple[int, int], one: Node) -> Generator[Any, Any, None]:
        """Send, once the message ``window`` before on the same connection has arrived."""
        connection = [
            send for send, receive in self.job.messages
            if (send[0], receive[0], self.job.node(send).tag) == (place[0], one.peer, one.tag)
        ]  # fmt: skip
        before = connection.index(place) - (self.how["window"] or 99)
        if before >= 0:
            yield self.arrived[connection[before]]
        yield self.fabric.send(place[0], one.peer, one.size, "m")
        self.arrived[place].succeed()

    def compute(self, rank: int, number: int, work: int) -> Any:
        done = self.simulation.event()
        self.lines[rank].append((number, work, done))
        if len(self.lines[rank]) == 1:
            self.simulation.at(self.simulation.now, priority=OBSERVE).callbacks.append(lambda _: self.serve(rank))
        return done

    def serve(self, rank: int) -> None:
        for _, work, done in sorted(self.lines.pop(rank), key=lambda entry: entry[0]):
            self.free[rank] = max(self.free[rank], self.simulation.now) + work
            self.simulation.at(self.free[rank]).callbacks.append(lambda _, done=done: done.succeed())

    def collective(self, meeting: Meeting) -> None:
        schedule = built(meeting)
        row_ended = [self.simulation.event() for _ in range(len(schedule))]

        def row(i: int) -> Generator[Any, Any, None]:
            src, dst = int(schedule.rank[i]), int(schedule.peer[i])
            after = schedule.after[schedule.after_begin[i] : schedule.after_begin[i + 1]]
            yield self.simulation.all_of([self.begun[meeting.calls[src]], *(row_ended[each] for each in after)])
            if src != dst:
                yield self.fabric.send(meeting.group[src], meeting.group[dst], int(schedule.size[i]), "m")
            row_ended[i].succeed()

        for i in range(len(schedule)):
            self.simulation.process(row(i))
            for end in {int(schedule.rank[i]), int(schedule.peer[i])}:
                self.of_call[meeting.calls[end]].append(row_ended[i])


def built(meeting: Meeting) -> Schedule:
    return build(meeting.asked.operation, len(meeting.group), meeting.asked.size).schedule


HOW = st.fixed_dictionaries({"delivered": st.booleans(), "window": st.sampled_from([None, 1, 2])})


def played(executions: list[Execution], how: dict[str, Any]) -> tuple[Job, Lowered, Any, dict[tuple[int, int], Any]]:
    """Return a job, its schedule, when its rows ended, and what the twin says of every node."""
    topology = Topology("full_mesh", len(executions), LinkSpec(10**12, 700))
    twins = Simulation()
    job = match(executions)
    twin = Twin(twins, Fabric(twins, topology, "fair", None, range(topology.gpus)), job, how)
    twins.run()
    simulation = Simulation()
    fabric = Fabric(simulation, topology, "fair", None, range(topology.gpus))
    durations = [[each.duration for each in execution.nodes] for execution in executions]
    lowered = lower(job, durations, built, **how)
    ended = fabric.play(lowered.schedule, range(len(executions)), "trace", timed=True)
    simulation.run(ended)
    return job, lowered, ended.value[1], twin.at


@given(jobs(), HOW)
@settings(max_examples=150)
def test_a_job_equals_one_process_a_node(executions: list[Execution], how: dict[str, Any]) -> None:
    _, lowered, ended, expected = played(executions, how)

    assert {place: times(lowered, *place, ended) for place in expected} == expected


@given(jobs(), HOW)
@settings(max_examples=60)
def test_a_life_is_tiled_and_computes_when_a_computation_runs(executions: list[Execution], how: dict[str, Any]) -> None:
    job, lowered, ended, expected = played(executions, how)

    for rank, execution in enumerate(executions):
        found = list(pieces(job, lowered, rank, ended))
        ends = [expected[rank, number][1] for number in range(len(execution.nodes))]
        assert [each.begin for each in found] == [0, *(each.end for each in found)][: len(found)]
        assert (found[-1].end if found else 0) == max(ends, default=0)
        on_stream = [each for each in execution.nodes if each.kind == "compute" and each.stream != HOST]
        computed = sum(piece.end - piece.begin for piece in found if piece.level == 0)
        assert computed == sum(each.duration for each in on_stream)
        assert not any(piece.what == "nothing under way" for piece in found)


@given(jobs(), st.data())
@settings(max_examples=60)
def test_what_was_cut_off_takes_with_it_what_needs_it_and_nothing_else(
    executions: list[Execution], data: st.DataObject
) -> None:
    """Drop the last nodes of one rank: what is left runs, and is the largest part without them that can."""
    rank = data.draw(st.sampled_from([r for r, each in enumerate(executions) if each.nodes]))
    kept = data.draw(st.integers(0, len(executions[rank].nodes) - 1))
    whole = match(executions)
    gone = {(rank, number) for number in range(kept, len(executions[rank].nodes))}
    partner = dict([*whole.messages, *((b, a) for a, b in whole.messages)])
    together = {call: each.calls for each in whole.meetings for call in each.calls}
    while True:
        spread = {
            (r, n) for r, each in enumerate(executions) for n, one in enumerate(each.nodes)
            if partner.get((r, n)) in gone or gone & set(together.get((r, n), ())) or gone & {(r, o) for o in one.after}
        }  # fmt: skip
        if spread <= gone:
            break
        gone |= spread
    cut = list(executions)
    cut[rank] = replace(cut[rank], nodes=cut[rank].nodes[:kept], lost=1)

    found = match(cut)

    left = {(r, n) for r, each in enumerate(executions) for n in range(len(each.nodes))} - gone
    assert {(r, one.id) for r, each in enumerate(found.executions) for one in each.nodes} == left


@pytest.mark.skipif(EXTRA is None, reason="SIMCORE_EXTRA_TRACES names no folder of further real traces")
@pytest.mark.parametrize(("machine", "how"), MACHINES)
def test_real_files_run_on_every_machine_and_the_spelled_out_ring_is_ours(machine: str, how: list[str]) -> None:
    folders = {path.parent.name.partition(".")[0]: path.parent for path in Path(str(EXTRA)).rglob("*.et")}

    for reduction, override in ((7 * US, []), (0, ["reduction=0 ps"])):
        found = replayed(folders["custom_ring_allreduce"], *how, *override, machine=machine)
        assert found.metrics["makespan_ps"] == our_ring(found, 2**20, reduction)
    for operation in ("all_reduce", "all_gather", "all_to_all"):
        for algorithm in ALGORITHMS[operation]:
            if algorithm != "in_switch":
                found = replayed(folders[operation], *how, f"algorithm={algorithm}", machine=machine)
                assert found.metrics["makespan_ps"] > 0
