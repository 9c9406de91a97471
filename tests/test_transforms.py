"""Transforms of timing profiles and profiles from stated distributions: exact laws, and chance by named seeds."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simcore.traces.write_chakra import COLLECTIVE, COMPUTE, file, node
from typer.testing import CliRunner

from simcore import source
from simcore.cli import app
from simcore.errors import InputError
from simcore.formats import profile, writes
from simcore.formats.lateness import Lateness
from simcore.formats.profile import Profile
from simcore.formats.recorded import read_traces
from simcore.formats.synthesis import Synthesis
from simcore.formats.transforms import Jitter, Scale, Shift, Straggler, WakeUp, scaled, transform

REAL = source.bundle("traces") / "ddp_4ranks" / "profile.csv"


def made(rows: list[tuple[int, ...]], world: int = 3) -> Profile:
    """Return a profile of rows (rank, start, time, collective, group); its writes take 7 ps and tell their place."""
    rank, start, time, collective, group = np.array(rows, np.int64).reshape(-1, 5).T
    none = np.zeros_like(rank)
    flag = none.astype(bool)
    names = [f"w{i}" for i in range(len(rows))]
    return Profile(
        rank, start, time, time + 7, (rank + 1) % world, none + 8, flag, collective, none, group, flag, names, (), world
    ).ordered()


PROFILES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 99), st.integers(0, 99), st.integers(0, 3), st.integers(0, 2)),
    min_size=1,
    max_size=20,
).map(lambda rows: made([(rank, start, start + wait, c, group) for rank, start, wait, c, group in rows]))


def instants(found: Profile, name: str = "time") -> dict[str, int]:
    return dict(zip(found.name, getattr(found, name).tolist(), strict=True))


def order(found: Profile, rank: int, group: int | None = None) -> list[str]:
    rows = (found.rank == rank) & (True if group is None else found.group == group)
    return [found.name[row] for row in np.nonzero(rows)[0]]


@given(PROFILES, st.sampled_from([None, 0, 2]), st.integers(0, 2**40))
def test_a_shift_adds_to_every_instant_of_the_rank(before: Profile, rank: int | None, by: int) -> None:
    after = transform(before, [Shift(by=by, rank=rank)])

    for name in ("start", "time", "arrived"):
        old, new = instants(before, name), instants(after, name)
        moved = {w for w, r in zip(before.name, before.rank, strict=True) if rank in (None, r)}
        assert new == {w: t + by * (w in moved) for w, t in old.items()}


@given(PROFILES, st.sampled_from(["1/3", "3/2", "1000000000/999999999", "2"]))
def test_a_scale_rounds_each_instant_once_to_the_nearest_and_the_way_of_a_write_stays(
    before: Profile, factor: str
) -> None:
    after = transform(before, [Scale(factor=factor)])

    for name in ("start", "time"):
        expected = {w: (2 * t * Fraction(factor) + 1) // 2 for w, t in instants(before, name).items()}
        assert instants(after, name) == expected
    assert (after.arrived - after.time).tolist() == [7] * len(after.time)


@given(st.integers(0, 2**62 - 1), st.integers(1, 10**9), st.integers(1, 10**9))
def test_scaling_is_exact_as_far_as_words_reach(value: int, num: int, den: int) -> None:
    factor = Fraction(num, den)
    if value * factor >= 2**62 - 1:
        with pytest.raises(InputError, match="too large"):
            scaled(np.array([2**62 - 1]), factor + 1)
        return
    assert scaled(np.array([value]), factor).tolist() == [(2 * value * factor + 1) // 2]


def test_a_straggler_takes_longer_between_its_operations_and_no_longer_within_them() -> None:
    before = made([(0, 10, 30, 0, 0), (0, 10, 40, 0, 0), (0, 50, 60, 1, 0), (0, 55, 61, 2, 0), (1, 10, 30, 0, 0)])

    after = transform(before, [Straggler(rank=0, factor="3/2")])

    # Computed before the first operation 10, between it and the second 10, and the third begins within the second.
    assert instants(after, "start") == {"w0": 15, "w1": 15, "w2": 60, "w3": 65, "w4": 10}
    assert instants(after) == {"w0": 35, "w1": 45, "w2": 70, "w3": 71, "w4": 30}


def test_a_straggler_from_an_instant_on_is_late_by_as_much() -> None:
    before = made([(0, 10, 30, 0, 0), (0, 10, 40, 0, 0), (0, 50, 60, 1, 0), (1, 50, 60, 1, 0)])

    after = transform(before, [Straggler(rank=0, by=100, since=40)])

    assert instants(after, "start") == {"w0": 10, "w1": 10, "w2": 150, "w3": 50}
    assert instants(after) == {"w0": 30, "w1": 140, "w2": 160, "w3": 60}


@given(PROFILES, st.integers(0, 99))
def test_a_constant_wake_up_puts_all_writes_of_an_operation_at_one_instant_after_its_begin(
    before: Profile, after: int
) -> None:
    found = transform(before, [WakeUp(after=after, rank=1)])

    for w, start in instants(before, "start").items():
        rank = before.rank[before.name.index(w)]
        assert instants(found)[w] == (start + after if rank == 1 else instants(before)[w])


@given(PROFILES, st.sampled_from(["write", "rank", "group"]), st.sampled_from(["uniform", "normal", "exponential"]))
def test_jitter_makes_late_and_keeps_the_order(before: Profile, per: Any, distribution: Any) -> None:
    change = Jitter(
        distribution=distribution, mean=30, deviation=10 if distribution == "normal" else 0, per=per, seed=5
    )

    after = transform(before, [change])

    old, new = instants(before), instants(after)
    assert all(new[w] >= old[w] for w in old)
    assert instants(after, "start") == instants(before, "start")
    for rank in range(3):
        for group in range(3) if per == "group" else [None]:
            assert order(after, rank, group) == order(before, rank, group)
    assert new == instants(transform(before, [change]))


def test_one_draw_moves_all_writes_of_a_rank_in_an_operation_or_of_a_work_group() -> None:
    rows = [(rank, 0, 10**9 * c, c, group) for c in (0, 1) for rank in (0, 1) for group in (0, 1, 1)]
    for per, draws in (("rank", 4), ("group", 8)):
        change = Jitter(mean=10**6, per=per, seed=1)
        found = transform(made(rows), [change])
        keys = zip(found.rank, found.time - 10**9 * found.collective, found.collective, strict=True)
        assert len(set(keys)) == draws


def test_chance_depends_on_seed_rank_and_place_and_on_nothing_else() -> None:
    real, jitter = profile.read_profile(REAL), Jitter(mean=10**6)

    def times(changes: list[Any], seed: int, rank: int) -> list[int]:
        found = transform(real, changes, seed)
        return found.time[found.rank == rank].tolist()

    assert times([jitter], 1, 2) == times([jitter], 1, 2) == times([replace(jitter, rank=2)], 1, 2)
    assert times([jitter], 1, 2) == times([replace(jitter, seed=1)], 7, 2)
    assert times([jitter], 1, 2) != times([jitter], 2, 2)
    ranks = [np.array(times([jitter], 1, rank)) - np.array(times([], 1, rank)) for rank in (1, 2)]
    assert ranks[0].tolist() != ranks[1].tolist()
    twice = np.array(times([jitter, jitter], 1, 2)) - np.array(times([jitter], 1, 2))
    assert twice.tolist() != ranks[1].tolist()
    with pytest.raises(InputError, match="jitter: seed is missing"):
        transform(real, [jitter])


def test_transforms_are_applied_in_order_and_stated_in_the_header() -> None:
    before = made([(0, 0, 100, 0, 0)])
    shift, scale = Shift(by=10), Scale(factor="2")

    assert transform(before, [shift, scale]).time.tolist() == [220]
    assert transform(before, [scale, shift]).time.tolist() == [210]
    said = transform(before, [scale, shift]).header
    assert said == (("transform", "instants of all ranks times 2"), ("transform", "all ranks later by 10 ps"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (Shift(by=1, rank=3), "shift: rank 3 is none of 0 to 2"),
        (Shift(by=2**62 - 50), "shift: an instant of the changed profile is too large"),
        (Scale(factor="1000000000"), "scale: times 1000000000 an instant is too large"),
    ],
)
def test_what_leads_out_of_range_is_refused(change: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        transform(made([(0, 0, 10**12, 0, 0)]), [change])


@pytest.mark.parametrize(
    ("about", "deviation"),
    [
        (Lateness(distribution="uniform", mean=10**6), 10**6 / 3**0.5),
        (Lateness(distribution="exponential", mean=10**6), 10**6),
        (Lateness(distribution="normal", mean=10**6, deviation=10**5), 10**5),
        (Lateness(distribution="normal", mean=10**6, deviation=10**6), 0.539 * 10**6),
        (Lateness(), 0),
    ],
)
def test_means_are_as_stated_within_three_sigma(about: Lateness, deviation: float) -> None:
    """Named seed 11; the last normal one is cut at one deviation, which leaves 0.539 of it."""
    drawn = about.draw(np.random.default_rng(11), 100_000)

    assert abs(drawn.mean() - about.mean) <= 3 * deviation / len(drawn) ** 0.5
    assert abs(drawn.std() - deviation) <= 0.02 * deviation
    assert drawn.min() >= 0
    assert about.distribution == "exponential" or drawn.max() <= 2 * about.mean


SYNTHESIS = Synthesis(
    world=4, groups=3, operations=400, size=4 * 1001, delay=10**6,
    rank_late=Lateness(distribution="exponential", mean=10**6), group_late=Lateness(mean=10**5), seed=3,
)  # fmt: skip


def test_a_synthetic_profile_has_the_stated_writes_and_means() -> None:
    found = SYNTHESIS.profile()

    begin, parts, _ = SYNTHESIS.issued()
    late = parts - begin[:, None, None] - SYNTHESIS.delay
    assert abs(late.mean() - 1.1e6) <= 3 * 10**6 / (400 * 4) ** 0.5
    data = ~found.flag
    assert found.size[data].sum() == 2 * 400 * 3 * 4 * 1001
    assert data.sum() == (found.flag).sum() == 400 * 4 * 2 * 3 * 3
    for c in (0, 399):
        for g in range(3):
            mine = (found.collective == c) & (found.group == g)
            first, second = found.time[mine & found.reduce], found.time[mine & ~found.reduce]
            assert set(second.tolist()) == {first.max()}
            assert first.min() >= begin[c] + SYNTHESIS.delay
    ends = [found.time[found.collective == c].max() for c in range(400)]
    assert begin.tolist() == [0, *ends[:-1]]
    assert found.start.tolist() == begin[found.collective].tolist()


def test_a_synthetic_profile_depends_on_its_seed_alone() -> None:
    one, same, other = SYNTHESIS.profile(), SYNTHESIS.profile(), replace(SYNTHESIS, seed=4).profile()

    assert one.time.tolist() == same.time.tolist() != other.time.tolist()
    assert [key for key, _ in one.header] == [key for key, _ in other.header]
    assert ("seed", "3") in one.header


def test_a_work_group_without_a_part_still_sets_its_flags() -> None:
    found = replace(SYNTHESIS, size=4, operations=1).profile()

    assert found.size[~found.flag].tolist() == [4] * 6  # three parts to the only owner, one sum to three peers
    assert found.flag.sum() == 4 * 3 * 3 * 2


def test_an_execution_trace_becomes_writes_where_its_collectives_end_by_their_dependencies(tmp_path: Path) -> None:
    def rank(computed: int) -> bytes:
        nodes = [
            node(1, "gemm", COMPUTE, duration=computed),
            node(2, "sum", COLLECTIVE, [1], 7, {"comm_type": 0, "comm_size": 1002}),
            node(3, "more", COMPUTE, [2], 5),
            node(4, "sum", COLLECTIVE, [2, 3], 3, {"comm_type": 0, "comm_size": 8}),
        ]
        return file(nodes)

    paths = [tmp_path / f"t.{number}.et" for number in range(2)]
    for path, computed in zip(paths, (10, 30), strict=True):
        path.write_bytes(rank(computed))

    made = writes.to_profile(read_traces(paths), align="none")

    ends = set(zip(made.rank.tolist(), made.collective.tolist(), made.time.tolist(), strict=True))
    assert ends == {(0, 0, 7 * 10**6), (0, 1, 15 * 10**6), (1, 0, 27 * 10**6), (1, 1, 35 * 10**6)}
    data = made.size[~made.flag & (made.collective == 0)]
    assert data.tolist() == [501] * 4
    assert "rank 0: instants: computed from durations and dependencies of this rank alone" in [
        said for _, said in made.header
    ]


def test_a_profile_names_the_files_of_chakra_traces_without_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / f"t.{rank}.et" for rank in range(2)]
    for path in paths:
        path.write_bytes(file([node(0, "sum", COLLECTIVE, [], 0, {"comm_type": 0, "comm_size": 8})]))

    made = writes.to_profile(read_traces(paths), align="none")

    assert dict(made.header)["source"] == "t.0.et, t.1.et"


def test_chakra_traces_without_nodes_become_no_profile(tmp_path: Path) -> None:
    (tmp_path / "t.0.et").write_bytes(file([]))

    with pytest.raises(InputError, match=r"t\.0\.et: no collective can become writes"):
        writes.to_profile(read_traces([tmp_path / "t.0.et"]))


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["trace", *arguments])


def test_options_are_applied_in_the_order_given(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    done = invoke("transform", str(REAL), "-o", str(out), "--shift", "10us", "--scale=1.5", "--shift", "rank=1,by=2 us")

    assert done.exit_code == 0, done.output
    found = profile.read_profile(out)
    before = profile.read_profile(REAL)
    for rank, more in ((0, 0), (1, 2 * 10**6)):
        then = scaled(before.time[before.rank == rank] + 10**7, Fraction(3, 2)) + more
        assert found.time[found.rank == rank].tolist() == then.tolist()
    assert [said for key, said in found.header if key == "transform"] == [
        "all ranks later by 10 us", "instants of all ranks times 3/2", "rank 1 later by 2 us"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--shift 10", "--shift 10: by: 10 has no unit"),
        ("--scale 0", "--scale 0: factor: 0 is no ratio above zero"),
        ("--jitter uniform,mean=1us", "jitter: seed is missing"),
        ("--straggler rank=1", "--straggler rank=1: factor: or by"),
        ("--straggler rank=1,factor=2,since=1us", "since: goes with by"),
        ("--shift by=1us,by=2us", "by is given twice"),
        ("--wakeup rank=4,after=1us", "wakeup: rank 4 is none of 0 to 3"),
        ("", "nothing to change"),
    ],
)
def test_a_bad_option_is_named(option: str, complaint: str, tmp_path: Path) -> None:
    done = invoke("transform", str(REAL), "-o", str(tmp_path / "out.csv"), *option.split())

    assert complaint in str(done.exception)
    assert not (tmp_path / "out.csv").exists()


def test_synthesize_writes_a_profile_that_states_everything(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    done = invoke(
        "synthesize", "-o", str(out), "--world", "3", "--groups", "2", "--size", "64KiB", "--delay", "5us",
        "--late", "exponential,mean=3us", "--group-late", "normal,mean=1us,deviation=300ns", "--seed", "9",
    )  # fmt: skip

    assert done.exit_code == 0, done.output
    found = profile.read_profile(out)
    assert dict(found.header)["lateness of a rank"] == "exponential, mean 3 us; drawn once an operation"
    assert (found.world, len(found.time)) == (3, 3 * 2 * 2 * 2 * 2)
