"""Background traffic: what is offered, that cutting it into chunks changes nothing, that all of it arrives."""

from collections import Counter
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore import Rank, Result, read_scenario, registry, run, traffic
from simcore.simulation import Simulation
from simcore.traffic import CHUNK, Stream, Traffic
from simcore.units import LARGEST

GB = 10**9
PATTERNS = [
    Traffic("uniform", 4096, 2 * GB, "u"),
    Traffic("uniform", 1000, 2 * GB, "sizes", largest_size=64_000),
    Traffic("permutation", 4096, 2 * GB, "p"),
    Traffic("incast", 4096, 2 * GB, "i"),
    Traffic("all_to_all", 4096, 2 * GB, "a"),
    Traffic("matrix", 4096, None, "m", matrix={"gpu0": {"gpu5": 3 * GB, "gpu2": GB}, "gpu7": {"gpu0": 2 * GB}}),
    Traffic("uniform", 4096, 2 * GB, "some", gpus=["gpu6", "gpu1", "gpu3"], start=123_456, stop=4 * 10**8),
]
BY_NAME = {about.name: about for about in PATTERNS}


def stream(about: Traffic, seed: int = 1) -> Stream:
    return Stream(about, 8, Simulation(seed=seed).rng)


def rows(parts: list[traffic.Batch]) -> list[tuple[int, ...]]:
    return [row for part in parts for row in zip(*(c.tolist() for c in vars(part).values()), strict=True)]


@settings(max_examples=30)
@given(name=st.sampled_from(sorted(BY_NAME)), cuts=st.lists(st.integers(1, 5 * 10**8), max_size=6))
def test_cutting_into_chunks_changes_no_message(name: str, cuts: list[int]) -> None:
    limits = sorted({*cuts, 5 * 10**8})
    whole, parts = stream(BY_NAME[name]), stream(BY_NAME[name])

    assert rows([parts.until(limit) for limit in limits]) == rows([whole.until(limits[-1])])
    assert parts.next == whole.next


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_messages_come_in_order_between_different_gpus_that_take_part(name: str) -> None:
    found = stream(BY_NAME[name]).until(10**9)

    assert (np.diff(found.time) >= 0).all()
    assert (found.src != found.dst).all()
    assert {*found.src.tolist(), *found.dst.tolist()} == set(BY_NAME[name].endpoints(8))
    assert set(found.size.tolist()) <= set(BY_NAME[name].sizes())


@pytest.mark.parametrize("name", ["u", "sizes", "p", "i", "a", "m"])
def test_the_offered_rate_is_the_stated_one(name: str) -> None:
    """Within four standard deviations: of a Poisson number of arrivals whose sizes vary, each a burst."""
    about, time = BY_NAME[name], 10**10
    found = stream(about).until(time)

    sizes = np.array(about.sizes(), np.float64)
    burst = about.burst(8)
    arrivals = about.offered(8) * time / 1e12 / (burst * sizes.mean())
    expected = about.offered(8) * time / 1e12
    # Variance of a compound Poisson sum: arrivals times the second moment of what one of them carries.
    deviation = np.sqrt(arrivals * (burst * sizes.var() + (burst * sizes.mean()) ** 2))
    assert arrivals > 300
    assert abs(found.size.sum() - expected) < 4 * deviation


def test_each_source_offers_the_rate_and_each_pair_its_own() -> None:
    time = 10**11
    uniform, matrix = stream(BY_NAME["u"]).until(time), stream(BY_NAME["m"]).until(time)

    # 8 sources and 48,828 messages of 4,096 bytes a source: four deviations are 1.9 %.
    sent = Counter(uniform.src.tolist())
    assert all(abs(sent[gpu] * 4096 / (2 * GB * time / 1e12) - 1) < 0.019 for gpu in range(8))
    pairs = Counter(zip(matrix.src.tolist(), matrix.dst.tolist(), strict=True))
    assert set(pairs) == {(0, 5), (0, 2), (7, 0)}
    for pair, rate in {(0, 5): 3 * GB, (0, 2): GB, (7, 0): 2 * GB}.items():
        assert abs(pairs[pair] * 4096 / (rate * time / 1e12) - 1) < 0.026


def test_bursts_and_partners() -> None:
    incast, everybody, fixed = (stream(BY_NAME[name]).until(2 * 10**8) for name in "iap")

    assert set(incast.dst.tolist()) == {0}
    assert set(Counter(incast.time.tolist()).values()) == {7}
    assert set(Counter(everybody.time.tolist()).values()) == {56}
    assert len(set(zip(fixed.src.tolist(), fixed.dst.tolist(), strict=True))) == 8
    assert set(fixed.dst.tolist()) == set(range(8))


def test_sizes_are_log_uniform_between_both_ends() -> None:
    sizes = BY_NAME["sizes"].sizes()

    assert (sizes[0], sizes[-1], len(sizes)) == (1000, 64_000, 1024)
    assert abs(sizes[511] * sizes[512] / (1000 * 64_000) - 1) < 1e-3


def test_a_stream_begins_and_stops_when_it_says() -> None:
    found = stream(BY_NAME["some"])
    made = found.until(LARGEST)

    assert made.time[0] >= 123_456
    assert made.time[-1] < 4 * 10**8
    assert found.next == LARGEST


def test_a_trickle_stays_within_64_bits() -> None:
    found = stream(Traffic("uniform", 2**61, 1, "t")).until(LARGEST)

    assert len(found.time) > 100
    assert (np.diff(found.time) >= 0).all()


def test_streams_depend_on_their_name_and_the_seed_alone() -> None:
    def first(name: str, seed: int) -> list[tuple[int, ...]]:
        return rows([stream(Traffic("uniform", 4096, GB, name), seed).until(10**8)])

    assert first("x", 1) == first("x", 1)
    assert first("x", 1) != first("y", 1)
    assert first("x", 1) != first("x", 2)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"pattern": "matrix"}, "'pattern: matrix' and the rates in 'matrix' go together"),
        ({"pattern": "uniform"}, "rate is missing; write the bytes per second that each source offers"),
        ({"pattern": "uniform", "rate": GB, "stop": 0}, "stop must be later than start"),
        ({"pattern": "uniform", "rate": GB, "size": 0}, "size must be greater than zero"),
        ({"pattern": "uniform", "rate": GB, "largest_size": 4}, "largest_size no less than size"),
        ({"pattern": "uniform", "rate": GB, "name": "a.b"}, "letters, digits, '_' and '-' only"),
    ],
)
def test_traffic_that_makes_no_sense_is_refused(stated: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Traffic(**{"size": 8} | stated)


def test_more_messages_than_could_be_meant_are_refused() -> None:
    with pytest.raises(ValueError, match="1048576 is the limit"):
        Traffic("uniform", 1, 10**12 * 1000).gap(8)
    with pytest.raises(ValueError, match="1048576 is the limit"):
        Traffic("all_to_all", 2**30, GB).gap(2000)


class Sleeper:
    """A workload whose ranks compute for a while, or for ever wait for nobody."""

    Params = registry.load("fused_allreduce").Params

    def __init__(self, duration: int) -> None:
        self._duration = duration

    def world(self, params: Any) -> None:
        """Return None: any number of ranks will do."""

    def plan(self, params: Any, world: int, nodes: int, rng: Any) -> None:
        """Return nothing: there is nothing to plan."""

    def program(self, rank: Rank, plan: None) -> Generator[Any, Any, None]:
        if self._duration < 0:
            yield from rank.wait([("never", "flag of nobody")], "x")
        yield from rank.spend(self._duration, "compute", "x")


def with_traffic(monkeypatch: pytest.MonkeyPatch, duration: int, *streams: str) -> Result:
    monkeypatch.setattr(registry, "load", lambda name: Sleeper(duration))
    text = f"traffic=[{', '.join(streams)}]"
    return run(read_scenario("fused_allreduce", ["machine.gpus=8", "workloads.0.ranks=2", text]))


TWO = ("{pattern: uniform, size: 4 KiB, rate: 2 GB/s}", "{pattern: incast, size: 1 kB, rate: 1 GB/s, name: in}")


def test_all_that_is_offered_arrives_until_the_chunk_after_the_last_job(monkeypatch: pytest.MonkeyPatch) -> None:
    result = with_traffic(monkeypatch, 3 * CHUNK - 5, *TWO)

    sent = result.tables["transfers"].to_pylist()
    made = {}
    for about in result.scenario.traffic:
        parts = Stream(about, 8, Simulation(seed=0).rng).until(3 * CHUNK)
        made[about.name] = sorted((t, 2 + s, 2 + d, n) for t, s, d, n in rows([parts]))
        mine = [row for row in sent if row["what"] == about.name]
        assert sorted((r["issued_ps"], r["src"], r["dst"], r["size_bytes"]) for r in mine) == made[about.name]
        found = result.metrics["traffic"][about.name]
        assert found["messages"] == len(mine) > 100
        assert found["data_bytes"] == sum(row["size_bytes"] for row in mine)
    assert len(sent) == sum(map(len, made.values()))
    assert result.metrics["transfers"]["messages"] == 0
    assert result.metrics["makespan_ps"] == 3 * CHUNK - 5
    assert result.metrics["jobs"]["fused_allreduce"]["slowdown"] == 1.0
    for src in range(2, 10):
        mine = sorted((row["sequence"], row["issued_ps"]) for row in sent if row["src"] == src)
        assert [seq for seq, _ in mine] == list(range(len(mine)))
        assert [at for _, at in mine] == sorted(at for _, at in mine)


def test_the_chunk_moves_the_end_of_traffic_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    long = with_traffic(monkeypatch, 3 * CHUNK - 5, *TWO).tables["transfers"].to_pylist()
    monkeypatch.setattr(traffic, "CHUNK", CHUNK // 10)
    short = with_traffic(monkeypatch, 3 * CHUNK - 5, *TWO).tables["transfers"].to_pylist()

    assert short == long


def test_traffic_does_not_hide_a_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    from simcore import Deadlock

    with pytest.raises(Deadlock, match=r"rank0 waits for flag of nobody; rank1 waits for flag of nobody$"):
        with_traffic(monkeypatch, -1, *TWO)
