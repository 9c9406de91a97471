"""Ranks that meet for collectives: when it begins, what waits are called, groups, disagreement, deadlock."""

from collections.abc import Callable, Generator
from itertools import pairwise
from typing import Any

import pytest
from test_workload import Given

from simcore import Deadlock, InputError, Rank, Result, SimulationError, read_scenario, registry, run
from simcore.collectives import build
from simcore.collectives.library import Library
from simcore.collectives.timing import duration
from simcore.hardware import LinkSpec
from simcore.topology import Topology

Program = Callable[[Rank], Generator[Any, Any, None]]
SIZE = 2**20


def loop(*overrides: str) -> Result:
    params = [f"workloads.0.params.{assignment}" for assignment in overrides]
    return run(read_scenario("collective_loop", params))


def spans(found: Result, rank: int) -> list[tuple[int, int, str, str]]:
    rows = found.tables["spans"].to_pylist()
    mine = [row for row in rows if row["location"] == f"rank{rank}"]
    return [(row["t0_ps"], row["t1_ps"], row["activity"], row["reason"]) for row in mine]


def on_machine(found: Result, operation: str, size: int, **form: Any) -> int:
    machine = found.scenario.machine
    topology = machine.build_topology()
    schedule = Library(machine.collective, topology, range(8)).around(
        build(operation, 8, size, **form).schedule, range(8)
    )
    return duration(schedule, topology, machine.sharing, range(8))


def test_a_collective_begins_when_the_last_rank_has_called() -> None:
    found = loop("repeat=2", "compute=10 us", "skew=1 us", "size=1 MiB")

    us, length = 10**6, on_machine(found, "all_reduce", SIZE)
    begin = 17 * us
    for rank in range(8):
        mine = spans(found, rank)
        own = (10 + rank) * us
        early = [(own, begin, "wait", "rank7 to call all_reduce")] if rank < 7 else []
        assert mine[: 2 + len(early)] == [
            (0, own, "compute", ""),
            *early,
            (begin, begin + length, "wait", "ring all_reduce"),
        ]
        assert mine[-1][1] == 2 * (begin + length)
        assert all(a[1] == b[0] for a, b in pairwise(mine))


@pytest.mark.parametrize(
    "operation", ["reduce_scatter", "all_gather", "broadcast", "reduce", "all_to_all", "send_recv"]
)
def test_every_operation_takes_the_time_of_its_schedule(operation: str) -> None:
    form = [f"operation={operation}", "algorithm=direct", "chunks=2"]
    found = loop("repeat=1", *form, "size=1 MiB", "compute=0 ps", "skew=0 ps")

    assert found.metrics["makespan_ps"] == on_machine(found, operation, SIZE, algorithm="direct", chunks=2)


def test_groups_meet_apart_and_share_links() -> None:
    found = loop("repeat=1", "group=4", "size=1 MiB", "compute=0 ps", "skew=0 ps")

    pairs = {(row["src"] // 4, row["dst"] // 4) for row in found.tables["transfers"].to_pylist()}
    assert pairs == {(0, 0), (1, 1)}
    assert found.metrics["transfers"]["messages"] == 2 * 6 * 4


def test_adding_takes_time_where_it_is_asked_for() -> None:
    plain = loop("repeat=1", "size=1 MiB", "compute=0 ps", "skew=0 ps")
    adding = loop("repeat=1", "size=1 MiB", "compute=0 ps", "skew=0 ps", "adds=float32")

    part = SIZE // 8
    bandwidth = plain.scenario.machine.gpu.memory_bandwidth
    once = -(-3 * part * 10**12 // bandwidth)
    assert adding.metrics["makespan_ps"] - plain.metrics["makespan_ps"] == 7 * once


@pytest.fixture
def lived(monkeypatch: pytest.MonkeyPatch) -> Callable[[Program], Result]:
    """Return a function that runs a program on the four ranks of the first paper's scenario."""

    def live(program: Program) -> Result:
        monkeypatch.setattr(registry, "load", lambda name: Given(program))
        return run(read_scenario("fused_allreduce"))

    return live


def test_ranks_of_a_group_are_numbered_in_its_order(lived: Callable[[Program], Result]) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        if rank.index in (3, 1):
            yield from rank.collective("broadcast", 1000, ranks=[3, 1], what="weights")

    rows = lived(program).tables["transfers"].to_pylist()

    assert [(row["src"], row["dst"], row["size_bytes"], row["what"]) for row in rows] == [(3, 1, 1000, "weights")]


def test_ranks_that_ask_for_different_things_are_told(lived: Callable[[Program], Result]) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.collective("all_reduce", 1000 + rank.index // 3, chunks=2)

    said = "rank3 calls ring all_reduce of 1001 B, chunks 2, but rank0 called ring all_reduce of 1000 B, chunks 2"
    with pytest.raises(SimulationError, match=said):
        lived(program)


def test_a_rank_that_never_calls_is_a_deadlock_that_names_the_collective(lived: Callable[[Program], Result]) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.spend(5, "compute", "a")
        if rank.index:
            yield from rank.collective("all_reduce", 64)

    with pytest.raises(Deadlock, match="rank1 waits for the other ranks to call ring all_reduce of 64 B; rank2 waits"):
        lived(program)


def test_a_dtype_that_there_is_not_is_told(lived: Callable[[Program], Result]) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.collective("all_reduce", 4096, adds="float99")

    with pytest.raises(InputError, match="adds: 'float99' is no dtype"):
        lived(program)


@pytest.mark.parametrize("group", [[0, 1], [0, 0, 2], [2, 4]])
def test_a_group_that_is_none_is_told(lived: Callable[[Program], Result], group: list[int]) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        if rank.index == 2:
            yield from rank.collective("all_reduce", 64, ranks=group)

    with pytest.raises(SimulationError, match=r"rank2 calls a collective of the ranks .* among 0 to 3"):
        lived(program)


def test_a_matrix_says_who_sends_how_much(lived: Callable[[Program], Result]) -> None:
    matrix = [[0, 5, 0, 0], [0, 0, 0, 0], [7, 0, 0, 0], [0, 0, 0, 0]]

    def program(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.collective("all_to_all_v", matrix=matrix)

    rows = lived(program).tables["transfers"].to_pylist()

    assert sorted((row["src"], row["dst"], row["size_bytes"]) for row in rows) == [(0, 1, 5), (2, 0, 7)]


def test_what_the_machine_or_the_algorithm_lacks_is_told() -> None:
    with pytest.raises(InputError, match=r"in_switch: no switch of the machine reduces; machine.topology: "):
        run(read_scenario("collective_loop", ["machine.node=mi300x-8", "workloads.0.params.algorithm=in_switch"]))
    run(
        read_scenario("collective_loop", ["machine.node=mi300x-8", "workloads.0.params.inner=in_switch"])
    )  # a ring has no levels
    with pytest.raises(InputError, match="unknown algorithm of all_reduce 'rings'; did you mean 'ring'"):
        loop("algorithm=rings")
    with pytest.raises(InputError, match=r"adds: unknown .*'float99'"):
        loop("adds=float99")
    with pytest.raises(InputError, match="repeat must be 1 or more, not 0"):
        loop("repeat=0")
    with pytest.raises(InputError, match="group must be 1 or more ranks, not 0"):
        loop("group=0")


def test_one_rank_alone_launches_and_waits_for_nobody() -> None:
    found = run(read_scenario("collective_loop", ["workloads.0.ranks=1", "workloads.0.params.repeat=1"]))

    begin, launch = 200 * 10**6, found.scenario.machine.collective.launch
    assert spans(found, 0) == [(0, begin, "compute", ""), (begin, begin + launch, "wait", "ring all_reduce")]


def test_played_on_part_of_a_machine_it_takes_its_own_gpus() -> None:
    mesh = Topology("full_mesh", 8, LinkSpec(10**12, 1000))

    assert duration(build("all_reduce", 4, 4000).schedule, mesh, "fifo", [7, 1, 4, 2]) == 6 * 2000


def test_along_rails_messages_between_nodes_stay_on_their_rail() -> None:
    found = run(read_scenario("two_nodes"))

    between = [row for row in found.tables["transfers"].to_pylist() if row["src"] // 8 != row["dst"] // 8]
    assert len(between) == 2 * 2 * 16
    assert all(row["src"] % 8 == row["dst"] % 8 for row in between)
    assert sum(row["size_bytes"] for row in between) == 2 * 2 * 64 * 2**20


def test_each_node_adds_in_its_own_switch() -> None:
    one = run(read_scenario("two_nodes", ["machine.nodes=1", *IN_SWITCH]))
    two = run(read_scenario("two_nodes", [*IN_SWITCH, "workloads.0.params.group=8"]))

    assert two.metrics["makespan_ps"] == one.metrics["makespan_ps"]
    assert two.metrics["transfers"]["messages"] == 2 * one.metrics["transfers"]["messages"]
    with pytest.raises(InputError, match="in_switch: rank0 and rank8 are on different nodes"):
        run(read_scenario("two_nodes", IN_SWITCH))


IN_SWITCH = ["workloads.0.params.algorithm=in_switch", "workloads.0.params.nodes=1"]


def test_a_schedule_that_needs_a_switch_that_is_not_there_is_refused() -> None:
    star = Topology("switch", 4, LinkSpec(10**12, 1000))

    with pytest.raises(SimulationError, match="uses switch or host 0, but the machine has 0 of them"):
        duration(build("all_reduce", 4, 4000, "in_switch").schedule, star, "fifo", range(4))
