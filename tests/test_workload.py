"""Ranks: their spans tile their lives, live ranks talk by flags, and a wait for nobody is a deadlock with names."""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest

from simcore import (
    COMPUTE,
    Deadlock,
    InputError,
    Kernel,
    Rank,
    Result,
    Roofline,
    Schedule,
    SimulationError,
    Virtual,
    Work,
    read_scenario,
    registry,
    run,
)  # fmt: skip
from simcore.workload import Flags, WorkGroup

Program = Callable[[Rank], Generator[Any, Any, None]]


class Given:
    """A workload whose program is given, for any number of ranks."""

    Params = registry.load("fused_allreduce").Params

    def __init__(self, program: Program) -> None:
        self._program = program

    def world(self, params: Any) -> None:
        """Return None: any number of ranks will do."""

    def plan(self, params: Any, world: int, nodes: int, rng: Any) -> None:
        """Return nothing: there is nothing to plan."""

    def program(self, rank: Rank, plan: None) -> Generator[Any, Any, None]:
        yield from self._program(rank)


@pytest.fixture
def lived(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs a program on the ranks of the default scenario."""

    def live(program: Program, *overrides: str) -> Result:
        monkeypatch.setattr(registry, "load", lambda name: Given(program))
        return run(read_scenario("fused_allreduce", list(overrides)))

    return live


def ping_pong(rank: Rank) -> Generator[Any, Any, None]:
    """Ranks 0 and 1 send each other one megabyte and a flag, twice, in turn."""
    for turn in range(4):
        if rank.index == turn % 2:
            rank.put(1 - rank.index, Virtual((10**6,), "uint8"), "ball")
            rank.put(1 - rank.index, Virtual((8,), "uint8"), "ball", sets=f"turn {turn}")
        elif rank.index < 2:
            yield from rank.wait([(f"turn {turn}", f"flag of rank{1 - rank.index}")], "ball")


@pytest.mark.parametrize("policy", ["spin", "monitor"])
def test_live_ranks_talk_by_flags(lived: Callable[..., Result], policy: str) -> None:
    found = lived(ping_pong, f"wait.policy={policy}")

    arrivals = [row["arrived_ps"] for row in found.tables["transfers"].to_pylist() if row["kind"] == "flag"]
    flight = 500_000 + -(-(10**6 + 8) * 10**12 // (64 * 10**9))
    assert arrivals[0] == flight
    waits = found.tables["flags"].to_pylist()
    assert [wait["set_ps"] for wait in waits] == arrivals
    assert [wait["location"] for wait in waits] == ["rank1", "rank0", "rank1", "rank0"]
    # Each throw leaves at the instant at which the last one was seen.
    assert arrivals[1:] == [wait["detected_ps"] + flight for wait in waits[:-1]]


def test_what_has_landed_is_known_at_once_and_without_a_read(lived: Callable[..., Result]) -> None:
    """Whatever the policy, of flags that were set before, and of flags that are set later."""
    heard: list[tuple[str, int]] = []

    def listening(rank: Rank) -> Generator[Any, Any, None]:
        words = rank.flags("words", 3)
        if rank.index == 0:
            for index in (0, 1, 2):
                rank.put(1, Virtual((64_000,), "uint8"), "word", sets=words[index])
        elif rank.index == 1:
            for name, flags in (
                ("both", [words[1], words[0]]),
                ("set", [words[0]]),
                ("none", []),
                ("last", [words[2]]),
            ):
                yield from rank.until(rank.landed(flags), "replay", name)
                heard.append((name, rank.now))
            yield rank.at(rank.now + 5)
            heard.append(("later", rank.now))

    for policy in ("spin", "backoff", "yield", "monitor", "waiting_atomic"):
        found = lived(listening, f"wait.policy={policy}", "machine.sharing=fifo")

        first, second, third = (row["arrived_ps"] for row in found.tables["transfers"].to_pylist())
        assert first < second < third
        assert heard == [("both", second), ("set", second), ("none", second), ("last", third), ("later", third + 5)]
        assert len(found.tables["flags"]) == 0
        rows = [row for row in found.tables["spans"].to_pylist() if row["location"] == "rank1"]
        assert [(row["what"], row["t0_ps"], row["t1_ps"]) for row in rows] == [
            ("both", 0, second),
            ("last", second, third),
        ]
        heard.clear()


def test_a_rank_knows_its_prices_and_who_is_at_the_ends_of_links(lived: Callable[..., Result]) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        if rank.index == 0:
            rank.give(np.array([rank.hops(dst) for dst in range(1, rank.world)]))
            rank.give(np.array([rank.energy.sent, rank.energy.awake]))
        yield from rank.spend(1, "idle", "nothing")

    energy = "machine.gpu.energy={operations: {}, memory: {}, sent: 80 nJ, awake: 2 mW}"
    mesh = lived(program, energy).results["rank0"]
    star = lived(program, energy, "machine.topology=switch").results["rank0"]

    assert [each.tolist() for each in mesh] == [[[[0, 1]], [[0, 2]], [[0, 3]]], [80_000_000, 2_000_000]]
    assert star[0].tolist() == [[[0, -1], [-1, dst]] for dst in (1, 2, 3)]
    with pytest.raises(SimulationError, match="rank0: its GPU states no energy"):
        lived(program)


def test_what_never_lands_is_a_deadlock_with_names(lived: Callable[..., Result]) -> None:
    def listening(rank: Rank) -> Generator[Any, Any, None]:
        if rank.index == 1:
            yield from rank.until(rank.landed(["never"]), "replay", "a collective")

    with pytest.raises(Deadlock, match="rank1 waits for a collective to end"):
        lived(listening)


def test_spans_tile_the_life_of_a_rank(lived: Callable[..., Result]) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.spend(100, "compute", "a")
        yield from rank.spend(0, "compute", "nothing")
        yield from rank.spend(7, "idle", "b")
        rank.put((rank.index + 1) % rank.world, Virtual((64,), "uint8"), "m", sets=f"from {rank.index}")
        yield from rank.wait([(f"from {(rank.index - 1) % rank.world}", "flag")], "m")
        yield from rank.wait([], "nobody")

    spans = lived(program).tables["spans"].to_pylist()

    for rank in range(4):
        mine = [(row["t0_ps"], row["t1_ps"], row["activity"]) for row in spans if row["location"] == f"rank{rank}"]
        assert [activity for *_, activity in mine] == ["compute", "idle", "wait"]
        assert mine[0][0] == 0
        assert [end for _, end, _ in mine[:-1]] == [begin for begin, _, _ in mine[1:]]


@pytest.mark.parametrize("policy", ["spin", "monitor"])
def test_a_flag_that_nobody_sets_is_a_deadlock_that_names_it(lived: Callable[..., Result], policy: str) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.spend(5, "compute", "a")
        if rank.index == 2:
            yield from rank.wait([("never", "flag of rank9")], "collective")

    with pytest.raises(
        Deadlock, match=r"nothing can happen after \d+ ps, but rank2 waits for flag of rank9$"
    ) as caught:
        lived(program, f"wait.policy={policy}")

    assert caught.value.exit_code == 3


def test_many_stuck_ranks_are_counted(lived: Callable[..., Result]) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.wait([("never", "flag of nobody")], "collective")

    with pytest.raises(Deadlock, match=r"rank3 waits for flag of nobody \(and 4 more ranks\)$"):
        lived(program, "machine.gpus=8", "workloads.0.ranks=8")


@pytest.mark.parametrize("delay", [1.5, 2**62])
def test_time_that_is_no_whole_number_is_refused(lived: Callable[..., Result], delay: Any) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.spend(delay, "compute", "a")

    with pytest.raises(SimulationError, match=rf"a delay of {delay} .*; time is int picoseconds"):
        lived(program)


def test_an_error_in_a_program_keeps_its_type(lived: Callable[..., Result]) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.spend(5, "compute", "a")
        raise ValueError("the author's own")

    with pytest.raises(ValueError, match=r"^the author's own$"):
        lived(program)


@pytest.mark.parametrize(("placement", "nodes"), [("block", [2, 1]), ("round_robin", [4, 2])])
def test_a_plan_is_told_on_how_many_nodes_the_ranks_of_its_job_are(
    monkeypatch: pytest.MonkeyPatch, placement: str, nodes: list[int]
) -> None:
    told = []

    class Counted(Given):
        def plan(self, params: Any, world: int, nodes: int, rng: Any) -> None:
            told.append(nodes)

    def nothing(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.spend(1, "compute", "a")

    monkeypatch.setattr(registry, "load", lambda name: Counted(nothing))
    jobs = ", ".join(f"{{model: fused_allreduce, ranks: {ranks}, placement: {placement}}}" for ranks in (4, 2))
    machine = "machine={node: hgx-h100-fat-tree, gpus: 2, nodes: 4, network: {topology: {per_leaf: 2}}}"
    run(read_scenario("fused_allreduce", [machine, f"workloads=[{jobs}]", "slowdown=false"]))

    assert told == nodes


class Point:
    """An entry point, as far as the registry looks at one."""

    def __init__(self, value: str) -> None:
        self.value = self.module = value


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("fused_allreduce", "json", "the model 'fused_allreduce' is bundled and also given by the entry point 'json'"),
        ("ghost", "no_such_package", "the model 'ghost': its entry point 'no_such_package' names no package"),
        ("flat", "this", "the model 'flat': its entry point 'this' names no package"),
    ],
)
def test_an_entry_point_that_cannot_be_is_an_input_error(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_outside", lambda: {name: Point(value)})

    with pytest.raises(InputError) as caught:
        registry.folders()

    assert str(caught.value).startswith(said)


def test_work_groups_share_their_gpu_and_their_rank_sums_them_up(lived: Callable[..., Result]) -> None:
    """Two work-groups a rank: each computes at half the GPU, stores to its twin next door, and waits for the word that
    its own twin sets; the rank computes while any of them does."""
    pause = Kernel("pause", lambda *_: (None, Work({"float32": 10**6})), lambda *_: (None, Work({"float32": 10**6})))

    def group_program(rank: Rank, group: WorkGroup, flags: Flags) -> Generator[Any, Any, None]:
        for _ in range(1 + group.number):
            yield from group.compute(pause)
        group.put((rank.index + 1) % rank.world, Virtual((8,), "uint8"), "m", sets=flags[group.number])
        yield from group.wait_all(flags, [group.number], "m", "next door")
        rank.count("groups", 1)

    def program(rank: Rank) -> Generator[Any, Any, None]:
        flags = rank.flags("ready", 2)
        yield from rank.together([group_program(rank, group, flags) for group in rank.groups(2)], "pair")

    found = lived(program)

    spans = found.tables["spans"].to_pylist()
    mine = {where: [s for s in spans if s["location"] == where] for where in ("rank0", "rank0.wg0", "rank0.wg1")}
    whole = Roofline().duration(Work({"float32": 10**6}), read_scenario("fused_allreduce").machine.gpu)
    assert mine["rank0.wg0"][0]["t1_ps"] in (2 * whole, 2 * whole - 1)
    assert [s["activity"] for s in mine["rank0.wg1"]] == ["compute", "compute", "wait"]
    assert [s["activity"] for s in mine["rank0"]] == ["compute", "compute", "wait"]
    for where, life in mine.items():
        assert [s["t0_ps"] for s in life] == [0, *(s["t1_ps"] for s in life[:-1])], where
    assert mine["rank0"][-1]["t1_ps"] == mine["rank0.wg1"][-1]["t1_ps"]
    assert found.metrics["ranks"]["rank0"]["groups"] == 2
    reads = {wait["location"]: wait["flag_reads"] for wait in found.tables["flags"].to_pylist()}
    assert found.metrics["ranks"]["rank0"]["flag_reads"] == reads["rank0.wg0"] + reads["rank0.wg1"]


def test_a_symmetric_array_has_one_length(lived: Callable[..., Result]) -> None:
    def program(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.spend(1, "compute", "a")
        rank.flags("ready", 2 + rank.index)

    with pytest.raises(SimulationError, match="'ready' are 2 words, not 3"):
        lived(program)


def test_a_deadlock_names_the_work_group_and_its_flag(lived: Callable[..., Result]) -> None:
    def group_program(group: WorkGroup, flags: Flags) -> Generator[Any, Any, None]:
        if group.number == 1:
            yield from group.wait_all(flags, [0], "m", "flag of nobody")

    def program(rank: Rank) -> Generator[Any, Any, None]:
        groups = rank.groups(2) if rank.index == 0 else []
        yield from rank.together([group_program(group, rank.flags("ready", 1)) for group in groups], "pair")

    with pytest.raises(Deadlock, match=r"rank0 waits for rank0\.wg1 for flag of nobody"):
        lived(program)


@pytest.mark.parametrize("policy", ["spin", "monitor"])
def test_a_wait_cut_between_sample_and_response_has_its_reason(lived: Callable[..., Result], policy: str) -> None:
    """The user's interrupt is tried at many instants about the end of the wait, one of them while the last read
    returns."""
    ended = set()
    for instant in range(400_000, 900_000, 20_000):

        def program(rank: Rank, instant: int = instant) -> Generator[Any, Any, None]:
            yield from rank.spend(0, "idle", "nothing")
            if rank.index == 0:
                yield from rank.wait([("a", "flag of 1")], "x")
            elif rank.index == 1:
                rank.put(0, Virtual((8,), "uint8"), "f", sets="a")
                yield from rank.spend(instant, "idle", "until the interrupt")
                raise KeyboardInterrupt

        result = lived(program, f"wait.policy={policy}")
        spans = [row for row in result.tables["spans"].to_pylist() if row["location"] == "rank0"]
        assert [row["reason"] for row in spans] == ["flag of 1"]
        ended.add(spans[0]["t1_ps"] < instant)
    assert ended == {False, True}


def wrong_reasons(rank: Rank) -> Generator[Any, Any, None]:
    yield from rank.wait_all(rank.flags("f", 4), [0, 1], "x", ["one"])


def word_before_the_first(rank: Rank) -> Generator[Any, Any, None]:
    yield from rank.wait_all(rank.flags("f", 4), [2, -1], "x", "flag")


def array_of_nothing(rank: Rank) -> Generator[Any, Any, None]:
    yield from rank.wait_all(rank.flags("f", 0), [0], "x", "flag")


def halves(rank: Rank) -> Generator[Any, Any, None]:
    yield from rank.wait_all(rank.flags("f", 4), [0.5], "x", "flag")  # type: ignore[arg-type]


def groups_of_nothing(rank: Rank) -> Generator[Any, Any, None]:
    yield from rank.together([], f"{rank.groups(-1)}")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (wrong_reasons, "waits for 2 flags for 1 reasons"),
        (word_before_the_first, "f has the words 0 to 3, not -1"),
        (array_of_nothing, "the flags 'f' are 0 words"),
        (halves, "words of f are chosen by 1 integers"),
        (groups_of_nothing, "runs -1 work-groups"),
    ],
)
def test_a_wait_for_what_there_cannot_be_is_refused(lived: Callable[..., Result], program: Program, said: str) -> None:
    with pytest.raises(SimulationError, match=said):
        lived(program)


def test_one_rank_plays_for_others_who_take_no_part(lived: Callable[..., Result]) -> None:
    """Ranks 3 and 1 as ranks 0 and 1 of the schedule: a computation, and then a message, while rank 1 lives on."""
    ones = np.ones(2, np.int64)
    schedule = Schedule(
        np.array([0, 0]), np.array([0, 1]), 64_000 * np.array([0, 1]), 5_000 * np.array([1, 0]), np.array([0, 0, 1]),
        np.array([0]), COMPUTE * ones,
    )  # fmt: skip
    heard: dict[str, Any] = {}

    def playing(rank: Rank) -> Generator[Any, Any, None]:
        if rank.index == 3:
            yield rank.at(1_000)
            ready, ends = yield from rank.play(schedule, "pair", ranks=[3, 1])
            heard["played"] = ready.tolist(), ends.tolist(), rank.now
            event = rank.begin(schedule, "again", [0, 2])
            heard["goes on"] = rank.now
            yield event
            heard["again"] = rank.now
        elif rank.index == 1:
            yield rank.at(2_000)
            heard["other"] = rank.now

    found = lived(playing)

    flight = found.tables["transfers"]["arrived_ps"].to_pylist()[0] - 6_000
    assert flight > 500_000
    end = 6_000 + flight
    assert heard == {
        "other": 2_000, "played": ([1_000, 6_000], [6_000, end], end), "goes on": end, "again": end + 5_000 + flight,
    }  # fmt: skip
    moved = found.tables["transfers"].to_pylist()
    assert [(row["src"], row["dst"], row["what"]) for row in moved] == [(3, 1, "pair"), (0, 2, "again")]


def test_a_schedule_of_ranks_that_there_are_not_is_refused(lived: Callable[..., Result]) -> None:
    nothing = np.zeros(1, np.int64)
    schedule = Schedule(nothing, nothing, nothing, nothing, np.zeros(2, np.int64), np.zeros(0, np.int64))

    def playing(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.play(schedule, "one", ranks=[4])

    with pytest.raises(SimulationError, match="rank 4; its job has the ranks 0 to 3"):
        lived(playing)


def test_what_ranks_share_is_made_once_a_job_and_an_event_wakes_them(lived: Callable[..., Result]) -> None:
    made: list[dict[str, Any]] = []
    heard: list[tuple[int, int]] = []

    def make() -> dict[str, Any]:
        made.append({})
        return made[-1]

    def sharing(rank: Rank) -> Generator[Any, Any, None]:
        own = rank.shared(make)
        if rank.index == 0:
            own["door"] = rank.event()
            yield rank.at(700)
            own["door"].succeed()
        else:
            yield own["door"]
            heard.append((rank.index, rank.now))

    for _ in range(2):
        lived(sharing)

    assert len(made) == 2
    assert heard == [(1, 700), (2, 700), (3, 700)] * 2
