"""Metrics: by hand on small tables, and interval arithmetic against sets of picoseconds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simcore import metrics
from simcore.trace import Recorder, Span

INTERVALS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda i: (i[0], i[0] + i[1])), max_size=12)


def members(world: int) -> list[metrics.Members]:
    return [metrics.Members("job", 0, [f"rank{i}" for i in range(world)])]


@given(INTERVALS, INTERVALS)
def test_communication_is_exposed_where_nothing_is_computed(
    computing: list[tuple[int, int]], carrying: list[tuple[int, int]]
) -> None:
    recorder = Recorder()
    for begin, end in computing:
        recorder.add("spans", Span("rank0", begin, end, "compute", "", "", 0))
    for i, (begin, end) in enumerate(carrying):
        recorder.add("transfers", [0, 1, i, 10, "data", begin, end, 0, ""])

    found = metrics.summarise(recorder.tables(), members(2), {})["ranks"]["rank0"]

    compute = {t for begin, end in computing for t in range(begin, end)}
    carried = {t for begin, end in carrying for t in range(begin, end)}
    assert found["compute_ps"] == len(compute)
    assert found["communication_ps"] == len(carried)
    assert found["exposed_communication_ps"] == len(carried - compute)
    assert found["overlap_fraction"] == (len(carried & compute) / len(carried) if carried else 0.0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 9)), max_size=20), st.integers(0, 2))
def test_messages_of_a_rank_are_those_from_and_to_it(rows: list[tuple[int, int, int]], first: int) -> None:
    src, dst, begin = np.array(rows, np.int64).reshape(-1, 3).T
    found = metrics._by_rank({"src": src, "dst": dst, "issued_ps": begin, "arrived_ps": begin + 1}, first, 3)

    for rank, (issued, arrived) in enumerate(found):
        expected = [begin for a, b, begin in rows for end in (a, b) if end == first + rank]
        assert sorted(issued.tolist()) == sorted(expected)
        assert (arrived == issued + 1).all()
    assert len(found) == 3


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)), max_size=40))
def test_bytes_by_pair_are_those_of_its_messages_one_by_one(rows: list[tuple[int, int, int]]) -> None:
    src, dst, size = np.array(rows, np.int64).reshape(-1, 3).T
    expected: dict[str, int] = {}
    for a, b, each in sorted(rows):
        expected[f"{a}->{b}"] = expected.get(f"{a}->{b}", 0) + each

    assert list(metrics._pairs({"src": src, "dst": dst, "size_bytes": size}).items()) == list(expected.items())


def test_a_small_run_by_hand() -> None:
    recorder = Recorder()
    recorder.add("spans", Span("rank0", 0, 60, "compute", "", "", 0))
    recorder.add("spans", Span("rank0", 60, 100, "wait", "flag of rank1", "", 0))
    recorder.add("transfers", [1, 0, 0, 1000, "data", 0, 50, 0, "x"])
    recorder.add("transfers", [1, 0, 1, 8, "flag", 0, 80, 30, "x"])
    recorder.add("flags", ["f", "rank0", "spin", 60, 80, 90, 3, 0, 0, 0])
    recorder.add("links", ["a", 0, 64, 64, 900])
    recorder.add("links", ["a", 64, 128, 9, 108])

    found = metrics.summarise(recorder.tables(), members(2), {"rank0": {"other_reads": 7}})

    assert found["makespan_ps"] == 100
    assert found["ranks"]["rank0"] == {
        "end_ps": 100, "compute_ps": 60, "wait_ps": 40, "replay_ps": 0,
        "communication_ps": 80, "exposed_communication_ps": 20,
        "overlap_fraction": 0.75, "flag_reads": 3, "other_reads": 7,
    }  # fmt: skip
    assert found["links"] == {
        "used": 1,
        "utilisation_mean": 0.73,
        "utilisation_p95": float(np.quantile([1, 9 / 36], 0.95)),
        "utilisation_peak": 1.0,
        "busiest": "a",
    }
    assert found["queue_delay_ps"] == {"mean": 15, "p95": 30, "max": 30}
    assert found["flags"]["detection_delay_ps"] == {"mean": 10, "p95": 10, "max": 10}
    assert found["transfers"] == {"messages": 2, "data_bytes": 1000, "flag_bytes": 8}
    assert found["bytes_per_pair"] == {"1->0": 1008}


def test_a_flag_that_was_set_before_the_wait_has_no_detection_delay() -> None:
    recorder = Recorder()
    recorder.add("flags", ["f", "rank0", "spin", 60, 20, 70, 1, 0, 0, 0])

    assert metrics.summarise(recorder.tables(), members(1), {})["flags"]["detection_delay_ps"] == {
        "mean": 0,
        "p95": 0,
        "max": 0,
    }


def test_links_booked_beyond_the_end_of_an_interrupted_run_do_not_count_there() -> None:
    recorder = Recorder()
    recorder.add("spans", Span("rank0", 0, 70, "compute", "", "", 0))
    for begin, busy in ((0, 32), (64, 48), (128, 64), (192, 64)):
        recorder.add("links", ["a", begin, begin + 64, busy, busy])
    recorder.add("links", ["b", 128, 192, 64, 64])

    found = metrics.summarise(recorder.tables(), members(1), {}, whole=False)["links"]

    assert found == {
        "used": 1, "utilisation_mean": 80 / 128, "utilisation_p95": float(np.quantile([32 / 64, 48 / 64], 0.95)),
        "utilisation_peak": 48 / 64, "busiest": "a",
    }  # fmt: skip


def test_an_empty_run_has_all_metrics() -> None:
    found = metrics.summarise(Recorder().tables(), members(1), {})

    assert found["makespan_ps"] == 0
    assert found["links"]["used"] == 0
    assert found["bytes_per_pair"] == {}
