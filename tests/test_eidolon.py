"""Eidolons: the write-tracking table and its back ends, open and closed loop, and how far closed loop is sound."""

import time
from collections.abc import Callable, Generator
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st
from simcore.models.fused_allreduce import eidolon, recorded, tracking
from simcore.models.fused_allreduce.tracking import WriteTable
from typer.testing import CliRunner

from simcore import InputError, Result, load_run, read_profile, read_scenario, run, source, write_run
from simcore.cli import app
from simcore.formats import profile, recording
from simcore.formats.recording import label

DDP = source.bundle("traces") / "ddp_4ranks" / "profile.csv"

# The write-tracking table


def slow_polls(stamps: list[int], clock: int) -> tuple[list[int], int]:
    """Return when each write fires, and how often the head was compared, with a SimPy event for every cycle; the clock
    ticks in fractions."""
    environment, fired, left = simpy.Environment(), dict[int, int](), sorted((s, i) for i, s in enumerate(stamps))
    compared = 0

    def poll() -> Generator[Any, Any, None]:
        nonlocal compared
        while left:
            compared += 1
            now = ceil(environment.now)
            while left and left[0][0] <= now:
                fired[left.pop(0)[1]] = now
            yield environment.timeout(Fraction(10**12, clock))

    environment.process(poll())
    environment.run()
    return [fired[i] for i in range(len(stamps))], compared


@given(
    st.lists(st.lists(st.integers(0, 9000), max_size=5), min_size=1, max_size=3),
    st.sampled_from([10**9, 2_100_000_000, 1_234_567_891, 7 * 10**9, 3 * 10**11, 10**12]),
)
def test_both_back_ends_fire_as_one_event_a_cycle_does(batches: list[list[int]], clock: int) -> None:
    every = [stamp for batch in batches for stamp in batch]
    expected, compared = slow_polls(every, clock)
    tables = {name: WriteTable(name, clock) for name in ("event", "polled")}
    for name, table in tables.items():
        for batch in batches:
            table.register(np.array(batch, np.int64))
        found = table.fire(0)
        instants = []
        for batch, (order, due) in zip(batches, found, strict=True):
            assert [batch[place] for place in order] == sorted(batch), name
            back = dict(zip(order.tolist(), due.tolist(), strict=True))
            instants += [back[place] for place in range(len(batch))]
        assert instants == expected, name
        assert (table.registered, table.fired, table.deepest) == (len(every),) * 3
    assert tables["polled"].compared == compared
    assert tables["event"].compared == len(set(expected))


@given(st.integers(0, 2**61), st.sampled_from([1_234_567_891, 999_999_937, 2 * 10**9]))
def test_the_cycle_of_a_late_instant_is_exact(stamp: int, clock: int) -> None:
    (found,) = WriteTable("event", clock).due(np.array([stamp])).tolist()

    cycle = found * clock // 10**12
    assert found == -(-cycle * 10**12 // clock) >= stamp
    assert cycle == 0 or -(-(cycle - 1) * 10**12 // clock) < stamp


def test_writes_of_one_wake_up_fire_in_the_order_of_registration() -> None:
    table = WriteTable("exact", 10**9)
    for stamp in (7, 5):
        table.register(stamp)
    table.register(np.array([9, 7, 9, 5]))

    fired = table.fire(5)

    assert [(order.tolist(), due.tolist()) for order, due in fired] == [
        ([0], [7]), ([0], [5]), ([3, 1, 0, 2], [5, 7, 9, 9])
    ]  # fmt: skip
    assert (table.registered, table.deepest, table.compared) == (6, 6, 3)


def test_the_depth_counts_what_has_not_fired_yet() -> None:
    table = WriteTable("event", 10**12)
    depths = []
    for now, stamps in ((0, [10, 20]), (10, [30]), (25, [40]), (50, [60])):
        table.register(np.array(stamps))
        table.fire(now)
        depths.append(table.deepest)

    assert depths == [2, 2, 2, 2]
    table.register(np.array([60, 70, 80]))
    table.fire(55)
    assert table.deepest == 4


def test_the_compiled_walk_is_the_written_one() -> None:
    stamps = np.sort(np.random.default_rng(3).integers(0, 10**6, 50))
    due = [np.zeros(50, np.int64) for _ in range(2)]

    counts = [
        walk(stamps, 3, 0, 21, 10_000, into) for walk, into in zip((tracking.walk, tracking.walker()), due, strict=True)
    ]

    assert counts[0] == counts[1]
    assert due[0].tolist() == due[1].tolist()


def test_a_million_writes_cost_less_than_a_microsecond_each() -> None:
    stamps = np.random.default_rng(1).integers(0, 10**10, 10**6)
    begin = time.process_time()
    table = WriteTable("event", 2_100_000_000)
    table.register(stamps)
    ((_, due),) = table.fire(0)

    assert time.process_time() - begin < 1
    assert (np.diff(due) >= 0).all()


# Closed loop: what waits for what


def made(rows: list[tuple[int, ...]], world: int) -> profile.Profile:
    """Return a profile of rows (rank, dst, start, time, arrived, collective, step, group), all of them flags."""
    rank, dst, start, at, arrived, collective, step, group = np.array(rows, np.int64).T
    size, flag = np.full_like(rank, 8), np.ones(len(rank), bool)
    names = [f"c{number}" for number in collective]
    return profile.Profile(
        rank, start, at, arrived, dst, size, flag, collective, step, group, ~flag, names, (), world
    )  # fmt: skip


def test_a_write_waits_for_the_flags_of_the_step_before_and_then_as_long_as_recorded() -> None:
    rows = [
        (0, 1, 0, 100, 150, 0, 0, 0), (0, 1, 0, 110, 170, 0, 0, 1), (1, 0, 0, 120, 160, 0, 0, 0),
        (1, 0, 0, 130, 180, 0, 0, 1), (1, 0, 0, 190, 230, 0, 1, 0), (1, 0, 0, 195, 240, 0, 1, 1),
        (0, 1, 0, 200, 260, 0, 1, 0), (0, 1, 0, 210, 270, 0, 1, 1), (1, 0, 300, 320, 350, 1, 0, 0),
    ]  # fmt: skip
    found = eidolon.script(made(rows, 2), 1, [f"f{i}" for i in range(len(rows))])

    about = [(s.awaits, s.after, s.rows.tolist(), s.think.tolist()) for s in found.stages]
    assert about == [
        ([], [], [0], [120]),
        ([], [], [1], [130]),
        (["f0"], [0], [2], [40]),
        (["f1"], [1], [3], [25]),
        (["f0", "f1", "f6", "f7"], [0, 1, 2, 3], [], []),
        ([], [4], [4], [50]),
        ([], [5], [], []),
    ]
    assert found.operations == [(4, "c0"), (6, "c1")]
    assert found.sets == ["f2", "f3", "f4", "f5", "f8"]


def test_what_no_flag_precedes_waits_for_all_work_groups() -> None:
    rows = [
        (0, 1, 0, 100, 150, 0, 0, 0), (1, 0, 0, 120, 160, 0, 0, 0), (1, 0, 0, 125, 180, 0, 0, 1),
        (1, 0, 0, 190, 230, 0, 1, 0), (1, 0, 0, 200, 240, 0, 1, 2),
    ]  # fmt: skip
    found = eidolon.script(made(rows, 2), 1, [f"f{i}" for i in range(len(rows))])

    assert [(s.awaits, s.after, s.think.tolist()) for s in found.stages[:4]] == [
        ([], [], [120]), ([], [], [125]), (["f0"], [0], [40]), ([], [0, 1, 2], [10])
    ]  # fmt: skip


def test_operations_that_overlapped_wait_for_the_last_that_had_ended() -> None:
    rows = [(1, 0, 0, 100, 100, 0, 0, 0), (1, 0, 50, 180, 180, 1, 0, 0), (1, 0, 120, 150, 150, 2, 0, 0)]
    found = eidolon.script(made(rows, 2), 1, ["f0", "f1", "f2"])

    writes = [stage for stage in found.stages if len(stage.rows)]
    assert [(stage.after, stage.think.tolist()) for stage in writes] == [([], [100]), ([], [180]), ([1], [50])]


# Closed loop: sound


def fused(*overrides: str, kind: str = "gemv_allreduce", policy: str = "waiting_atomic", **params: Any) -> Result:
    """Run a small fused kernel on four ranks."""
    sizes = {
        "gemv_allreduce": {"rows": 131, "inner": 64},
        "gemm_alltoall": {"rows": 37, "inner": 20, "columns": 11, "tile_rows": 4, "tile_columns": 3},
        "embedding_alltoall": {"rows": 37, "columns": 6, "tables": 2, "entries": 19, "pooling": 5, "tile_rows": 3},
    }[kind]
    stated = {"kernel": kind, "work_groups": 8, "peers": "eidolons", "gather_flags": "work_group"} | sizes | params
    text = "{" + ", ".join(f"{key}: {value}" for key, value in stated.items()) + "}"
    return run(read_scenario("fused_gemv", [f"workloads.0.params={text}", f"wait.policy={policy}", *overrides]))


def link(bandwidth: str, latency: str, sharing: str) -> list[str]:
    return [
        f"machine.link.bandwidth={bandwidth}", f"machine.link.latency={latency}", f"machine.sharing={sharing}"
    ]  # fmt: skip


def lived(result: Result, rank: int) -> tuple[list[Any], list[Any]]:
    """Return spans and flag samples of a rank and its work-groups."""
    tables = (result.tables[name].to_pylist() for name in ("spans", "flags"))
    spans, flags = ([row for row in rows if row["location"].split(".")[0] == f"rank{rank}"] for rows in tables)
    return spans, flags


@pytest.fixture
def record(tmp_path: Path) -> Callable[[Result], str]:
    """Return a function that writes the profile of a live run and returns its path."""

    def written(result: Result) -> str:
        made = recording.recorded(result.tables["transfers"], 4, 0, "a run")
        profile.write_profile(made, tmp_path / "recorded.csv")
        return str(tmp_path / "recorded.csv")

    return written


@pytest.mark.parametrize("sharing", ["ideal", "fifo", "fair"])
@pytest.mark.parametrize(
    ("kind", "policy", "gather"),
    [
        ("gemv_allreduce", "spin", "rank"),
        ("gemv_allreduce", "backoff", "work_group"),
        ("gemv_allreduce", "monitor", "rank"),
        ("gemm_alltoall", "waiting_atomic", "rank"),
        ("embedding_alltoall", "monitor", "rank"),
    ],
)
def test_replayed_in_closed_loop_on_the_same_link_a_run_is_the_same_to_its_target(
    kind: str, policy: str, gather: str, sharing: str, record: Callable[[Result], str]
) -> None:
    same = link("20 GB/s", "100 ns", sharing)
    live = fused(*same, kind=kind, policy=policy, peers="live", gather_flags=gather)

    replayed = fused(
        *same, kind=kind, policy=policy, gather_flags=gather, target=2, times="profile", profile=record(live),
        loop="closed",
    )  # fmt: skip

    assert lived(replayed, 2) == lived(live, 2)
    assert len(lived(live, 2)[1]) > 0


@pytest.mark.parametrize("sharing", ["ideal", "fifo", "fair"])
@pytest.mark.parametrize("policy", ["waiting_atomic", "monitor"])
def test_on_a_slower_link_closed_loop_is_the_live_run_to_the_picosecond_where_ranks_sleep(
    policy: str, sharing: str, record: Callable[[Result], str]
) -> None:
    """A flag that is slept for is detected a constant time after it landed, on any link. Open loop is another run."""
    path = record(fused(*link("50 GB/s", "2 us", sharing), policy=policy, peers="live"))
    replays = {"times": "profile", "profile": path, "policy": policy}

    for slower in (link("50 GB/s", "4 us", sharing), link("100 MB/s", "3 us", sharing)):
        live = fused(*slower, policy=policy, peers="live")
        assert lived(fused(*slower, **replays, loop="closed"), 0) == lived(live, 0)
        assert lived(fused(*slower, **replays, loop="open"), 0) != lived(live, 0)


@pytest.mark.parametrize("sharing", ["ideal", "fifo"])
def test_where_ranks_spin_closed_loop_is_off_by_less_than_a_poll_a_step(
    sharing: str, record: Callable[[Result], str]
) -> None:
    """Recorded in the think time is how long after it landed a flag was sampled, which a grid of polls decides anew."""
    period = 340_000
    path = record(fused(*link("50 GB/s", "2 us", sharing), policy="spin", peers="live"))
    replays = {"times": "profile", "profile": path, "policy": "spin"}
    slower = link("50 GB/s", "4100 ns", sharing)

    live = fused(*slower, policy="spin", peers="live")
    closed, open_ = (fused(*slower, **replays, loop=loop) for loop in ("closed", "open"))

    ends = [max(row["t1_ps"] for row in lived(result, 0)[0]) for result in (live, closed, open_)]
    # The eidolons' one step that waited for flags, and the target's own poll of what it brings.
    assert abs(ends[1] - ends[0]) <= 2 * period
    assert lived(closed, 0) != lived(live, 0)
    assert ends[0] - ends[2] > 10 * period


def test_an_eidolon_of_the_recorded_kernel_is_late_when_what_it_waits_for_is() -> None:
    def end(loop: str, rate: str) -> int:
        result = run(
            read_scenario("fused_allreduce", [f"workloads.0.params.loop={loop}", f"machine.link.bandwidth={rate}"])
        )
        rows = [row for row in result.tables["transfers"].to_pylist() if row["src"] == 1]
        assert len(rows) == 144
        return max(row["issued_ps"] for row in rows)

    assert end("open", "64 GB/s") == end("open", "100 MB/s") == 576_669_358_000
    assert end("closed", "100 MB/s") > end("closed", "64 GB/s") + 10**9


def test_polled_and_event_tables_make_the_same_run_and_the_exact_one_is_within_a_cycle() -> None:
    for loop in ("open", "closed"):
        runs = {
            name: fused(
                *link("50 GB/s", "1 us", "fifo"), "machine.gpu.clock=1.7 GHz", table=name, delay="1234567 ps", loop=loop
            )
            for name in ("exact", "event", "polled")
        }
        assert runs["event"].digest == runs["polled"].digest != runs["exact"].digest
        counts = {name: result.metrics["ranks"]["rank1"] for name, result in runs.items()}
        for name in ("writes_registered", "writes_fired", "writes_deepest"):
            assert counts["event"][name] == counts["polled"][name] == counts["exact"][name] > 0
        assert counts["polled"]["writes_compared"] > 2000 > counts["event"]["writes_compared"]


# Parameters


def test_transforms_of_a_scenario_change_what_is_replayed_and_come_back_from_its_run_folder(tmp_path: Path) -> None:
    changes = "[{kind: shift, rank: 1, by: 10 us}, {kind: scale, factor: 3/2}, {kind: scale, factor: 0.5, rank: 2}]"
    asked = read_scenario("fused_allreduce", [f"workloads.0.params.transforms={changes}"])
    result = run(asked)

    before = read_profile(DDP)
    rows = result.tables["transfers"].to_pylist()
    for rank, times in ((1, before.time[before.rank == 1] + 10**7), (2, before.time[before.rank == 2])):
        expected = sorted(ceil(int(t) * Fraction(3, 2) / (rank if rank == 2 else 1)) for t in times)
        found = sorted(row["issued_ps"] for row in rows if row["src"] == rank)
        assert [abs(a - b) <= 1 for a, b in zip(found, expected, strict=True)] == [True] * len(expected)
    again = load_run(write_run(result, tmp_path / "run")).scenario
    assert again.workloads == asked.workloads


def test_jitter_without_a_seed_of_its_own_depends_on_the_scenarios() -> None:
    def times(seed: int, own: str = "") -> list[int]:
        changes = f"[{{kind: jitter, distribution: exponential, mean: 1 us{own}}}]"
        result = run(read_scenario("fused_allreduce", [f"workloads.0.params.transforms={changes}"], seed))
        return sorted(row["issued_ps"] for row in result.tables["transfers"].to_pylist() if row["src"] == 3)

    assert times(1) == times(1) != times(2)
    assert times(1, ", seed: 5") == times(2, ", seed: 5")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{kind: shfit, by: 1 us}", "p.yaml:8:11: workloads.0.params.transforms.0"),
        ("{kind: shift, by: 1}", "p.yaml:8:29: workloads.0.params.transforms.0.by: 1 has no unit"),
        ("{kind: shift, by: 1 us, rnak: 2}", "p.yaml:8:35: workloads.0.params.transforms.0.rnak: unknown key"),
        ("{kind: scale, factor: -1}", "p.yaml:8:33: workloads.0.params.transforms.0.factor"),
        ("{kind: straggler, rank: 1}", "p.yaml:8:11: workloads.0.params.transforms.0.factor: or by, one of the two"),
        ("{kind: wakeup, after: 1 us, rank: 7}", "rank 7 is none of 0 to 3"),
    ],
)
def test_a_bad_transform_is_refused_with_its_place(line: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "machine:\n  node: mi300x-8\n  gpus: 4\nworkloads:\n  - model: fused_allreduce\n    params:\n"
        "      transforms:\n"
        f"        - {line}\n",
        encoding="utf-8",
    )
    with pytest.raises(InputError) as caught:
        read_scenario(str(tmp_path / "p.yaml"))

    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"work_groups": 3}, "has 8 work-groups, the gemv_allreduce 3"),
        ({"kind": "gemm_alltoall"}, "has 2 steps, the gemm_alltoall 1"),
    ],
)
def test_a_profile_of_another_kernel_is_refused(
    params: dict[str, Any], complaint: str, record: Callable[[Result], str]
) -> None:
    path = record(fused(peers="live", gather_flags="rank"))
    with pytest.raises(InputError, match=complaint):
        fused(times="profile", profile=path, **params)


def test_a_profile_of_another_world_is_refused() -> None:
    with pytest.raises(InputError, match="has 4 ranks, the gemv_allreduce 3"):
        fused("machine.gpus=3", times="profile", profile=str(DDP))


# Recording


def test_a_run_is_recorded_write_by_write(tmp_path: Path) -> None:
    live = fused(*link("50 GB/s", "1 us", "fifo"), peers="live", gather_flags="rank")
    folder = write_run(live, tmp_path / "run")

    done = CliRunner().invoke(app, ["trace", "record", str(folder), "-o", str(tmp_path / "p.csv")])

    assert done.exit_code == 0, done.output
    found = read_profile(tmp_path / "p.csv")
    rows = live.tables["transfers"].to_pylist()
    assert sorted(zip(found.rank, found.dst, found.time, found.arrived, found.size, strict=True)) == sorted(
        (row["src"], row["dst"], row["issued_ps"], row["arrived_ps"], row["size_bytes"]) for row in rows
    )
    assert set(found.name) == {"part for its owner", "sums for all"}
    assert set(found.step.tolist()) == {0, 1}
    # The flag that is one for a whole rank counts as of a work-group more.
    assert set(found.group[~found.flag].tolist()) == set(range(8))
    assert set(found.group[found.flag & (found.step == 1)].tolist()) == {8}
    assert set(found.start.tolist()) == {0}


def test_an_operation_begins_where_the_one_before_ended_on_its_rank() -> None:
    begins = recording._begins(*(np.array(column) for column in zip(
        (0, 1, 10, 15, 0), (1, 0, 12, 20, 0), (0, 1, 30, 33, 1), (1, 0, 25, 28, 1), (0, 1, 40, 41, 2), strict=True
    )))  # fmt: skip

    # Rank 0 heard at 20 what rank 1 issued at 12; rank 1 heard at 15.
    assert begins.tolist() == [0, 0, 20, 15, 30]


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_a_label_is_read_back(operation: int, step: int, group: int) -> None:
    text = label("sums, of all", operation=operation, step=step, group=group)

    found = recording._LABEL.fullmatch(text)

    assert found is not None
    assert [part or "0" for part in found.groups()] == ["sums, of all", str(operation), str(step), str(group)]


def test_a_recording_says_what_a_run_does_not(record: Callable[[Result], str]) -> None:
    without = run(read_scenario("trace_replay"))
    labelled = fused(*link("20 GB/s", "100 ns", "fifo"), kind="gemv_allreduce", policy="spin", peers="live")

    headers = [dict(profile.read_profile(Path(record(each))).header) for each in (without, labelled)]

    assert [header["phase"].startswith("unknown") for header in headers] == [True, True]
    assert ["operations" in header for header in headers] == [True, False]


def test_a_run_of_several_workloads_is_not_recorded(tmp_path: Path) -> None:
    folder = write_run(run(read_scenario("two_jobs")), tmp_path / "run")

    done = CliRunner().invoke(app, ["trace", "record", str(folder), "-o", str(tmp_path / "p.csv")])

    assert "a run of 2 workloads" in str(done.exception)


def test_names_of_flags_tell_work_groups_apart() -> None:
    found = made([(1, 0, 0, 5, 5, 3, 1, 0), (1, 0, 0, 5, 5, 3, 1, 4)], 2)

    assert [recorded._flag_name(found, row) for row in range(2)] == [
        "rank1.collective3.step1", "rank1.collective3.step1.group4"
    ]  # fmt: skip
