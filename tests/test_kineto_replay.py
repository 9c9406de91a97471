"""From what a profiler recorded of single ranks to a replay: dependencies, gaps, skew, and what is compared."""

import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore import read_scenario, run, source
from simcore.collectives import build
from simcore.collectives.library import Library
from simcore.collectives.timing import duration
from simcore.errors import InputError
from simcore.formats import comparison, recorded
from simcore.formats.comparison import WHOLE, Compared
from simcore.formats.execution import Execution, Node
from simcore.formats.kineto_streams import read_recorded
from simcore.formats.ranks import to_executions
from simcore.formats.streams import Activity, Wait, graph

US = 10**6
BASE = 1_700_000_000_000_000_000


def gpu(name: str, ts: float, dur: float, stream: int, correlation: int, **args: Any) -> dict[str, Any]:
    """Return one kernel as the profiler writes it."""
    inner = {"stream": stream, "device": 0, "correlation": correlation, **args}
    return {"ph": "X", "cat": "kernel", "name": name, "ts": ts, "dur": dur, "pid": 0, "tid": stream, "args": inner}


def nccl(
    ts: float, dur: float, correlation: int, elements: int | None = 2_000_000, world: int = 2, name: str = "allreduce"
) -> dict[str, Any]:
    about = {"Collective name": name, "In msg nelems": elements, "Out msg nelems": elements, "dtype": "Float"}
    about = about if elements is not None else {}
    ranks = {"Process Group Ranks": str(list(range(world)))}
    return gpu("ncclDevKernel_AllReduce", ts, dur, 20, correlation, **about, **ranks)


def host(name: str, ts: float, correlation: int | None, dur: float = 1, tid: int = 1) -> dict[str, Any]:
    category = "cuda_runtime" if correlation is not None else "cpu_op"
    args = {} if correlation is None else {"correlation": correlation}
    return {"ph": "X", "cat": category, "name": name, "ts": ts, "dur": dur, "pid": 9, "tid": tid, "args": args}


def step(begin: float = 1000.0, elements: int | None = 2_000_000, world: int = 2) -> list[dict[str, Any]]:
    """Return a training step: a gradient, its all-reduce beside the next gradient, and an update that waits for it."""
    return [
        host("cudaLaunchKernel", begin, 1), gpu("gradient 1", begin + 10, 100, 7, 1),
        host("c10d::allreduce_", begin + 20, None, 20), host("cudaStreamWaitEvent", begin + 25, 2),
        host("cudaLaunchKernelExC", begin + 30, 3), nccl(begin + 115, 500, 3, elements, world),
        host("cudaLaunchKernel", begin + 50, 4), gpu("gradient 2", begin + 112, 300, 7, 4),
        host("cudaStreamWaitEvent", begin + 60, 5),
        host("cudaLaunchKernel", begin + 70, 6), gpu("update", begin + 620, 50, 7, 6),
    ]  # fmt: skip


def saved(
    folder: Path, rank: int, events: list[dict[str, Any]], world: int = 2, base: int | None = BASE, cut: int = 0
) -> Path:
    whole: dict[str, Any] = {
        "baseTimeNanoseconds": base, "distributedInfo": {"backend": "nccl", "rank": rank, "world_size": world},
        "traceEvents": events,
    }  # fmt: skip
    path = folder / f"rank{rank}.json"
    text = json.dumps({key: value for key, value in whole.items() if value is not None})
    path.write_text(text[: len(text) - cut], encoding="utf-8")
    return path


def named(one: Execution) -> dict[str, Node]:
    return {node.name: node for node in one.nodes}


def replayed(nodes: Sequence[Node]) -> list[int]:
    """Return when every node begins if each takes as long as recorded."""
    ends: dict[int, int] = {}
    begins = []
    for node in nodes:
        begins.append(max((ends[other] for other in node.after), default=0) + node.gap)
        ends[node.id] = begins[-1] + node.duration
    return begins


def test_a_step_keeps_its_order_its_gaps_and_what_crosses_streams(tmp_path: Path) -> None:
    (one,) = to_executions([read_recorded(saved(tmp_path, 0, step(world=1), 1))])

    (two,) = to_executions([read_recorded(saved(tmp_path, 0, step(), 2))], clone_rank=0)[:1]
    by_name = named(two)
    first, second, reduce = (by_name[name].id for name in ("gradient 1", "gradient 2", "all_reduce"))
    assert {name: node.after for name, node in by_name.items()} == {
        "gradient 1": (), "gradient 2": (first,), "all_reduce": (first,), "update": tuple(sorted((second, reduce))),
    }  # fmt: skip
    assert [by_name[n].gap // US for n in ("gradient 1", "gradient 2", "all_reduce", "update")] == [0, 2, 5, 5]
    assert by_name["all_reduce"].kind == "collective"
    assert (by_name["all_reduce"].size, by_name["all_reduce"].group) == (8_000_000, (0, 1))
    assert by_name["all_reduce"].duration == 500 * US
    assert named(one)["all_reduce"].kind == "compute"
    assert "1 x all_reduce of one rank: kept as recorded, not timed anew" in one.said


def test_a_collective_does_not_wait_for_what_the_host_launched_after_it(tmp_path: Path) -> None:
    """The second all-reduce stands behind the first one in its stream; what was computed meanwhile is not its
    cause."""
    events = [
        *step(), host("c10d::allreduce_", 1052, None, 6), host("cudaLaunchKernelExC", 1055, 7), nccl(1616, 100, 7)
    ]  # fmt: skip
    (one, _) = to_executions([read_recorded(saved(tmp_path, 0, events))], clone_rank=0)

    begin = {node.name: node for node in one.nodes if node.begin < 606 * US}
    last = next(node for node in one.nodes if node.begin == 606 * US)
    assert set(last.after) == {begin["all_reduce"].id, begin["gradient 2"].id}


def test_streams_that_the_trace_names_are_those_that_wait(tmp_path: Path) -> None:
    """With rows of ``cuda_sync`` nothing is inferred: here the update waits for nothing but its own stream."""
    events = [event for event in step() if event["name"] != "cudaStreamWaitEvent"]
    events += [
        host("cudaEventRecord", 1015, 10), host("cudaStreamWaitEvent", 1025, 11),
        {"ph": "X", "cat": "cuda_sync", "name": "Stream Wait Event", "ts": 1025, "dur": 0, "pid": 0, "tid": 20,
         "args": {"stream": 20, "correlation": 11, "device": 0, "wait_on_stream": 7,
                  "wait_on_cuda_event_record_corr_id": 10}},
    ]  # fmt: skip

    (one, _) = to_executions([read_recorded(saved(tmp_path, 0, events))], clone_rank=0)

    by_name = named(one)
    assert by_name["all_reduce"].after == (by_name["gradient 1"].id,)
    assert by_name["update"].after == (by_name["gradient 2"].id,)
    assert any("that the trace names" in sentence for sentence in one.said)


def test_without_calls_that_wait_a_stream_found_idle_waited(tmp_path: Path) -> None:
    events = [event for event in step() if event["name"] != "cudaStreamWaitEvent"]

    (one, _) = to_executions([read_recorded(saved(tmp_path, 0, events))], clone_rank=0)

    by_name = named(one)
    assert by_name["all_reduce"].id in by_name["update"].after
    assert by_name["all_reduce"].id not in by_name["gradient 2"].after
    assert any("streams found idle waited" in sentence for sentence in one.said)


def test_skew_between_ranks_is_kept_or_taken_out_as_asked(tmp_path: Path) -> None:
    late = [read_recorded(saved(tmp_path, rank, step(1000 + 40 * rank))) for rank in (0, 1)]

    assert [one.nodes[0].begin for one in to_executions(late)] == [0, 40 * US]
    assert [one.nodes[0].gap for one in to_executions(late)] == [0, 40 * US]
    assert [one.nodes[0].gap for one in to_executions(late, align="match")] == [0, 0]
    own = [read_recorded(saved(tmp_path, rank, step(1000 + 40 * rank), base=None)) for rank in (0, 1)]
    with pytest.raises(InputError, match="--align base or --align match"):
        to_executions(own)


def test_collectives_that_not_all_ranks_have_alike_keep_their_duration(tmp_path: Path) -> None:
    events = [*step(), nccl(1800, 30, 8, 100), nccl(1900, 40, 9, 300)]
    other = [*step(), nccl(1800, 30, 8, 200)]
    found = to_executions([read_recorded(saved(tmp_path, 0, events)), read_recorded(saved(tmp_path, 1, other))])

    assert [[node.kind == "collective" for node in one.nodes if node.name == "all_reduce"] for one in found] == [
        [True, False, False], [True, False],
    ]  # fmt: skip
    assert "1 x all_reduce that other ranks have with another size or name: kept as recorded, not timed anew" in (
        found[0].said
    )
    assert "1 x all_reduce that ranks 1 have no trace of: kept as recorded, not timed anew" in found[0].said
    assert all(replayed(one.nodes) == [node.begin for node in one.nodes] for one in found)


def test_collectives_without_sizes_keep_their_duration(tmp_path: Path) -> None:
    (one, other) = to_executions([read_recorded(saved(tmp_path, 0, step(elements=None)))], clone_rank=0)

    assert named(one)["all_reduce"].kind == "compute"
    assert named(one)["all_reduce"].duration == 500 * US
    assert "1 x all_reduce without a size: kept as recorded, not timed anew" in one.said
    assert "rank 0 stands for 1 ranks without a trace: same instants, no skew among them" in one.said
    assert other.nodes == one.nodes
    with pytest.raises(InputError, match="--clone-rank 1: there is no trace of that rank"):
        to_executions([read_recorded(saved(tmp_path, 0, step()))], clone_rank=1)


def test_ranks_without_a_trace_do_nothing_and_are_told(tmp_path: Path) -> None:
    found = to_executions([read_recorded(saved(tmp_path, 1, step(world=3), 3))])

    assert [len(one.nodes) for one in found] == [0, 4, 0]
    assert "2 of 3 ranks (0, 2) have no trace and do nothing; give all, or clone one" in found[1].said


def test_a_cut_off_trace_is_replayed_up_to_the_cut(tmp_path: Path) -> None:
    """Rank 1 lacks the second of two steps: what rank 0 has alone keeps its duration."""
    events = [*step(), *step(3000)]
    text = json.dumps(events[len(step()) :])
    whole, cut = saved(tmp_path, 0, events), saved(tmp_path, 1, events, cut=len(text) - 40)

    found = to_executions([read_recorded(whole), read_recorded(cut)])

    assert [sum(node.kind == "collective" for node in one.nodes) for one in found] == [1, 1]
    assert any("the file is cut off after " in sentence for sentence in found[1].said)
    assert "1 x all_reduce that ranks 1 have no trace of: kept as recorded, not timed anew" in found[0].said


def test_collectives_that_were_never_under_way_at_once_are_told(tmp_path: Path) -> None:
    """A rank that lacks its first step has its second all-reduce matched with the first one of the others."""
    steps = [*step(), *step(3000)]
    found = to_executions([read_recorded(saved(tmp_path, 0, steps)), read_recorded(saved(tmp_path, 1, step(3000)))])
    expected = "1 of 1 collectives timed anew ended on some rank before they began on another, by up to 1.5 ms: "
    assert [sum(sentence.startswith(expected) for sentence in one.said) for one in found] == [1, 1]

    for late, count in ((499, 0), (501, 1)):
        skewed = [read_recorded(saved(tmp_path, rank, step(1000 + late * rank))) for rank in (0, 1)]
        assert sum("ended on some rank before" in said for said in to_executions(skewed)[0].said) == count
        assert not any("ended on some rank before" in said for said in to_executions(skewed, align="match")[0].said)


def test_a_broadcast_may_have_ended_on_its_root_before_others_ask_for_it(tmp_path: Path) -> None:
    ranks = [
        read_recorded(saved(tmp_path, rank, [nccl(1000 + 900 * rank, 30, 1, name="broadcast")])) for rank in (0, 1)
    ]

    found = to_executions(ranks)

    assert [one.nodes[0].kind for one in found] == ["collective", "collective"]
    assert not any("ended on some rank before" in said for said in found[0].said)


def test_overlaps_within_a_stream_are_cut_not_carried_on() -> None:
    activities = [
        Activity("a", "compute", "s", 0, 100), Activity("b", "compute", "s", 90, 120),
        Activity("c", "compute", "s", 110, 115), Activity("d", "compute", "s", 130, 140),
    ]  # fmt: skip

    nodes, said = graph(activities, None)

    assert [(node.begin, node.begin + node.duration) for node in nodes] == [
        (0, 100),
        (100, 120),
        (120, 120),
        (130, 140),
    ]
    assert said == ["2 began before the one before them in their stream had ended, by 20 ps in all"]


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Activity], list[Wait] | None]:
    """Return activities that do not overlap within their stream, launched in its order, and calls that wait."""
    found, calls = [], 0
    free = dict.fromkeys(("7", "8", "20"), 0)
    for _ in range(draw(st.integers(1, 14))):
        stream = draw(st.sampled_from(sorted(free)))
        calls += draw(st.integers(0, 4))
        begin = max(free[stream], calls) + draw(st.integers(0, 6))
        free[stream] = begin + draw(st.integers(0, 9))
        kind = "collective" if stream == "20" else draw(st.sampled_from(["compute", "memory"]))
        launched = calls if draw(st.booleans()) or stream == "7" else -1
        thread = draw(st.integers(0, 1))
        found.append(Activity(f"{len(found)}", kind, stream, begin, free[stream], launched=launched, thread=thread))
    waits = draw(st.none() | st.lists(st.builds(Wait, st.integers(0, 40), st.integers(0, 1)), max_size=6))
    return draw(st.permutations(found)), waits


def slow(order: list[Activity], waits: list[Wait] | None) -> list[set[int]]:
    """Infer dependencies as `graph` states it, looking at all pairs."""
    after: list[set[int]] = [set() for _ in order]

    def launched(other: int) -> int:
        """Return when it was launched; what has no call was launched at the latest when the one before it was."""
        return max(each.launched for each in order[: other + 1] if each.stream == order[other].stream)

    def last(collective: bool, before: int, ended: int) -> int:
        fit = [
            other
            for other, each in enumerate(order)
            if (each.kind == "collective") == collective
            and each.end <= ended
            and (before < 0 or launched(other) < before)
        ]
        return max(fit, key=lambda other: (order[other].end, other), default=-1)

    def add(number: int, other: int) -> None:
        if 0 <= other < number:
            after[number].add(other)

    for number, each in enumerate(order):
        add(number, max((o for o in range(number) if order[o].stream == each.stream), default=-1))
    idle = [max((order[other].end for other in those), default=order[0].begin) for those in after]
    for number, each in enumerate(order):
        other = last(each.kind != "collective", each.launched, each.begin)
        if each.kind == "collective" or (waits is None and other >= 0 and order[other].end >= idle[number]):
            add(number, other)
    for wait in waits or ():
        later = [
            (each.launched, number)
            for number, each in enumerate(order)
            if each.thread == wait.thread and each.launched > wait.called
        ]
        if later and order[min(later)[1]].kind != "collective":
            number = min(later)[1]
            add(number, last(True, wait.called, order[number].begin))
    return after


@given(recordings())
def test_dependencies_are_those_of_the_slow_twin_and_begins_those_recorded(
    made: tuple[list[Activity], list[Wait] | None],
) -> None:
    activities, waits = made
    order = sorted(activities, key=lambda each: (each.begin, each.end))

    nodes, _ = graph(activities, waits)

    assert [node.name for node in nodes] == [each.name for each in order]
    assert [set(node.after) for node in nodes] == slow(order, waits)
    assert replayed(nodes) == [each.begin for each in order]
    assert all(node.gap >= 0 for node in nodes)


def scenario(folder: Path, traces: str, ranks: int, **params: Any) -> Path:
    path = folder / "replay.yaml"
    about = {
        "machine": {"node": "hgx-h100", "gpus": ranks, "sharing": "fair"},
        "workloads": [{"model": "trace_replay", "params": {"traces": traces, **params}}],
    }
    path.write_text(json.dumps(about), encoding="utf-8")
    return path


def test_two_ranks_are_replayed_with_their_gaps_and_skew_and_the_collective_timed_anew(tmp_path: Path) -> None:
    """The all-reduce begins with the later rank and takes what it takes alone; the update follows it after its gap."""
    (tmp_path / "traces").mkdir()
    for rank in (0, 1):
        saved(tmp_path / "traces", rank, step(1000 + 40 * rank))
    asked = read_scenario(str(scenario(tmp_path, "traces", 2)))
    topology = asked.machine.build_topology()
    whole = Library(asked.machine.collective, topology, range(2)).around(
        build("all_reduce", 2, 8_000_000).schedule, range(2)
    )
    alone = duration(whole, topology, "fair", range(2), None)

    result = run(asked)

    rows = {(row.location, row.what): row for row in result.compared}
    early, late = rows["rank0", "all_reduce"], rows["rank1", "all_reduce"]
    assert (early.measured_begin_ps, early.measured_ps, late.measured_begin_ps) == (105 * US, 500 * US, 145 * US)
    assert (early.simulated_begin_ps, late.simulated_begin_ps) == (105 * US, 145 * US)
    assert late.simulated_ps == alone
    assert early.simulated_ps == alone + 40 * US
    assert alone < 100 * US
    gradient_ends = 402 * US + 40 * US
    assert rows["rank1", WHOLE].measured_ps == (610 + 40 + 50) * US
    # Faster than computing, the all-reduce no longer holds up the update: its gap follows the second gradient.
    assert rows["rank1", WHOLE].simulated_ps == gradient_ends + 5 * US + 50 * US
    (group,) = comparison.groups(result.compared)
    assert (group.what, group.size, group.ranks, group.count) == ("all_reduce", 8_000_000, 2, 1)
    assert (group.measured, group.simulated) == (500 * US, alone)


def test_streams_that_ran_at_once_run_at_once_again(tmp_path: Path) -> None:
    events = [gpu(f"{i}", 1000 + 10 * i, 100, i, i) for i in range(4)]
    saved(tmp_path, 0, events, 1)

    result = run(read_scenario(str(scenario(tmp_path, "rank0.json", 1))))

    assert result.metrics["makespan_ps"] == 130 * US
    spans = result.tables["spans"].to_pylist()
    found = [(row["location"], row["t0_ps"] // US, row["t1_ps"] // US) for row in spans if row["activity"] == "compute"]
    assert {each for each in found if "stream" in each[0]} == {
        (f"rank0.stream {i}", 10 * i, 10 * i + 100) for i in range(4)
    }
    (rank,) = result.metrics["ranks"].values()
    assert rank["compute_ps"] == 130 * US  # of the rank, whichever of its streams worked
    assert "rank0.stream 3" not in result.metrics["ranks"]


def test_a_rank_with_one_stream_has_no_spans_of_it(tmp_path: Path) -> None:
    saved(tmp_path, 0, [gpu("k", 1000, 100, 7, 1)], 1)

    result = run(read_scenario(str(scenario(tmp_path, "rank0.json", 1))))

    assert set(result.tables["spans"]["location"].to_pylist()) == {"rank0"}


def test_the_bundled_training_is_replayed_on_a_machine_with_faster_links(tmp_path: Path) -> None:
    result = run(read_scenario(str(scenario(tmp_path, "ddp_4ranks", 4))))

    found = comparison.groups(result.compared)
    assert [(each.what, each.ranks, each.count) for each in found] == [("all_reduce", 4, 4)] * 3
    assert all(each.simulated < each.measured // 100 for each in found)
    whole = [row for row in result.compared if row.what == WHOLE]
    assert len(whole) == 4
    assert all(0.9 < row.simulated_ps / row.measured_ps < 1 for row in whole)
    assert any("gloo ran on the CPU" in warning for warning in result.warnings)
    lines = list(comparison.lines(result.compared, 2))
    assert [line.split()[0] for line in lines] == [
        "measured",
        "all_reduce",
        "all_reduce",
        "...",
        "end",
        "rank0",
        "rank1",
        "...",
    ]
    assert comparison.text(result.compared).count("\n") == 1 + 4 * 12 + 4


def test_what_is_said_of_several_files_is_said_once() -> None:
    result = run(read_scenario("trace_replay", ["workloads.0.params.traces=ddp_4ranks"]))

    about_clocks = [warning for warning in result.warnings if "clocks: none" in warning]
    assert about_clocks == [
        "rank0.json.gz and 3 more: clocks: none: clocks of the ranks as recorded, which count from 1970"
    ]
    assert not any("ended on some rank before" in warning for warning in result.warnings)
    assert sum("gloo ran on the CPU" in warning for warning in result.warnings) == 1


def test_as_recorded_the_bundled_training_is_as_it_was() -> None:
    folder = source.bundle("traces") / "ddp_4ranks"
    found = recorded.read_executions(sorted(folder.iterdir()))

    assert [one.rank for one in found] == [0, 1, 2, 3]
    for one in found:
        assert replayed(one.nodes) == [node.begin for node in one.nodes]
        assert sum(node.kind == "collective" for node in one.nodes) == 12


def test_kinds_of_traces_do_not_mix(tmp_path: Path) -> None:
    kinds = [saved(tmp_path, 0, step()), tmp_path / "x.0.et"]
    with pytest.raises(InputError, match=r"x\.0\.et is a Chakra execution trace, .*rank0\.json is none"):
        recorded.read_executions(kinds)
    with pytest.raises(InputError, match="no traces; expected a file a rank"):
        recorded.read_executions([tmp_path / "README.md"])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 50), st.integers(1, 50)), min_size=1))
def test_a_group_is_as_long_as_for_the_rank_that_waited_least(found: list[tuple[int, int, int, int]]) -> None:
    rows = [
        Compared(f"rank{i}", "all_reduce", number, 4, size, -1, measured, 0, simulated)
        for i, (number, size, measured, simulated) in enumerate(found)
    ]

    for group in comparison.groups(rows):
        mine = [row for row in rows if row.size_bytes == group.size]
        least = [min(r.measured_ps for r in mine if r.number == n) for n in sorted({r.number for r in mine})]
        assert group.count == len(least)
        assert group.measured == sorted(least)[len(least) // 2]


EXTRA = os.environ.get("SIMCORE_EXTRA_TRACES")


@pytest.mark.skipif(EXTRA is None, reason="SIMCORE_EXTRA_TRACES names no folder of further real traces")
def test_real_traces_are_as_they_were_recorded_and_are_replayed(tmp_path: Path) -> None:
    paths = sorted(Path(str(EXTRA)).rglob("*.json.gz"))
    for path in paths:
        (one,) = to_executions([read_recorded(path)])[:1] if "rank1" not in path.name else [None]
        if one is not None and one.nodes:
            assert replayed(one.nodes) == [node.begin for node in one.nodes]
            assert all(a.begin <= b.begin for a, b in pairwise(one.nodes))
    pair = [read_recorded(path) for path in paths if "128" in path.name]
    found = to_executions(pair, align="match")
    assert found[1].nodes[0].begin > 0
    assert any("kept as recorded" in sentence for sentence in found[0].said)
    (two,) = [path for path in paths if "2gpu" in path.name]
    result = run(read_scenario(str(scenario(tmp_path, str(two), 2, clone_rank=0))))
    groups = comparison.groups(result.compared)
    assert sum(each.count for each in groups if each.what == "all_reduce") == 15
    assert sum(each.count for each in groups if each.what == "broadcast") == 6
    assert any("rank 0 stands for 1 ranks" in warning for warning in result.warnings)
