"""Several jobs on one machine: own ranks, own flags, own time; what they cost each other, and what they do not."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore import (
    Rank,
    Result,
    SimulationError,
    Virtual,
    load_run,
    read_scenario,
    registry,
    run,
    scenario,
    simulation,
    source,
    write_run,
)  # fmt: skip
from simcore.simulation import Simulation

Program = Callable[[Rank], Generator[Any, Any, None]]

MACHINE = """
machine:
  node: mi300x-8
  gpus: 8
  topology: edges
  link: {{bandwidth: 1 TB/s, latency: 0 ns}}
  edges: [{}, {{ends: [a, b], bandwidth: 1 GB/s}}]
wait: {{policy: monitor}}
workloads:
""".format(", ".join(f"{{ends: [gpu{i}, {'ab'[i // 4]}]}}" for i in range(8)))


class Given:
    """A workload whose program is given, for any number of ranks; it draws a number from its random stream."""

    Params = registry.load("fused_allreduce").Params

    def __init__(self, program: Program) -> None:
        self._program = program

    def world(self, params: Any) -> None:
        """Return None: any number of ranks will do."""

    def plan(self, params: Any, world: int, nodes: int, rng: Any) -> int:
        """Return a random number."""
        return int(rng.integers(10**9))

    def program(self, rank: Rank, plan: int) -> Generator[Any, Any, None]:
        rank.give(plan)
        yield from self._program(rank)


@pytest.fixture
def lived(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs a program on the jobs that a text in YAML lists."""

    def live(program: Program, *jobs: str, more: str = "", **about: Any) -> Result:
        monkeypatch.setattr(registry, "load", lambda name: Given(program))
        lines = "".join(f"  - {{model: any, {job}}}\n" for job in jobs)
        (tmp_path / "many.yaml").write_text(MACHINE + lines + more, encoding="utf-8")
        return run(read_scenario(str(tmp_path / "many.yaml")), **about)

    return live


def shift(rank: Rank) -> Generator[Any, Any, None]:
    """Every rank computes, sends a megabyte and a flag to the next rank, and waits for its own; three times."""
    for turn in range(3):
        yield from rank.spend(1_000_003 * (rank.index + 1), "compute", "step")
        right = (rank.index + 1) % rank.world
        rank.put(right, Virtual((10**6,), "uint8"), "shift")
        rank.put(right, Virtual((8,), "uint8"), "shift", sets=f"turn {turn}")
        yield from rank.wait([(f"turn {turn}", "flag of the left")], "shift")


def once(rank: Rank) -> Generator[Any, Any, None]:
    """Rank 0 sends a megabyte to the last rank."""
    yield from rank.spend(0, "compute", "nothing")
    if rank.index == 0:
        rank.put(rank.world - 1, Virtual((10**6,), "uint8"), "m")


def rows(result: Result, kind: str, job: str = "") -> list[dict[str, Any]]:
    """Return the rows of a table that belong to ``job``, with ranks numbered within it and locations without its
    name."""
    about = result.metrics["jobs"][job] if job else {"first_rank": 0}
    world = len(result.scenario.gpus[job])
    found = []
    for row in result.tables[kind].to_pylist():
        if "src" in row and about["first_rank"] <= row["src"] < about["first_rank"] + world:
            found.append(row | {"src": row["src"] - about["first_rank"], "dst": row["dst"] - about["first_rank"]})
        elif "location" in row and row["location"].startswith(f"{job}."):
            found.append(row | {"location": row["location"].removeprefix(f"{job}.")})
        elif "location" in row and "." not in row["location"]:
            found.append(row)
    return found


def test_two_messages_over_one_link_by_hand(lived: Callable[..., Result]) -> None:
    found = lived(once, "name: x, placement: [gpu0, gpu4]", "name: y, placement: [gpu1, gpu5]").metrics

    # A megabyte takes 1 ms over the link between the halves, and 1 us over each of the two others on its way.
    alone = 10**9 + 2 * 10**6
    assert found["jobs"]["x"]["makespan_ps"] == found["jobs"]["x"]["alone_makespan_ps"] == alone
    assert found["jobs"]["y"]["makespan_ps"] == alone + 10**9
    assert found["jobs"]["y"]["slowdown"] == (alone + 10**9) / alone
    assert [found["jobs"][name]["queue_delay_ps"]["max"] for name in "xy"] == [0, 10**9]
    assert [found["jobs"][name]["first_rank"] for name in "xy"] == [0, 2]
    assert found["makespan_ps"] == alone + 10**9
    assert "ranks" not in found
    assert sorted(found["jobs"]["y"]["ranks"]) == ["rank0", "rank1"]
    assert found["transfers"]["data_bytes"] == 2 * found["jobs"]["x"]["data_bytes"] == 2 * 10**6


def test_a_job_that_starts_later_meets_no_queue(lived: Callable[..., Result]) -> None:
    result = lived(once, "name: x, placement: [gpu0, gpu4]", "name: y, placement: [gpu1, gpu5], start: 1 ms")
    found = result.metrics["jobs"]

    assert (found["y"]["slowdown"], found["y"]["start_ps"]) == (1.0, 10**9)
    assert found["y"]["end_ps"] == 10**9 + found["y"]["makespan_ps"]
    assert [
        (row["location"], row["t0_ps"], row["t1_ps"], row["activity"]) for row in result.tables["spans"].to_pylist()
    ] == [(f"y.rank{i}", 0, 10**9, "idle") for i in range(2)]


def test_the_order_of_jobs_changes_numbers_and_nothing_else(lived: Callable[..., Result]) -> None:
    jobs = [
        "name: x, placement: [gpu0, gpu4, gpu1]",
        "name: y, placement: [gpu5, gpu3], start: 777 ns",
        "name: z, placement: [gpu2, gpu6, gpu7], start: 33333 ps",
    ]
    one = lived(shift, *jobs)
    other = lived(shift, *jobs[::-1])

    for name in "xyz":
        assert one.scenario.gpus[name] == other.scenario.gpus[name]
        for kind in ("spans", "transfers", "flags"):
            assert rows(one, kind, name) == rows(other, kind, name) != []
        numbered = [about["jobs"][name] | {"first_rank": 0} for about in (one.metrics, other.metrics)]
        assert numbered[0] == numbered[1]
        assert one.metrics["jobs"][name]["slowdown"] > 1
    assert one.tables["links"].equals(other.tables["links"])


@settings(max_examples=10)
@given(start=st.integers(0, 10**7), sizes=st.tuples(st.integers(2, 4), st.integers(2, 4)))
def test_jobs_that_share_no_link_slow_each_other_by_exactly_nothing(start: int, sizes: tuple[int, int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load", lambda name: Given(shift))
        places = [[f"gpu{4 * half + i}" for i in range(size)] for half, size in enumerate(sizes)]
        jobs = [{"model": "any", "placement": place} for place in places]
        text = yaml.safe_load(MACHINE) | {"workloads": [jobs[0], jobs[1] | {"start": f"{start} ps"}], "name": "apart"}
        found = run(scenario.build(source.fragment(yaml.safe_dump(text), "here"), "apart")).metrics["jobs"]

    assert [about["slowdown"] for about in found.values()] == [1.0, 1.0]
    assert [about["makespan_ps"] for about in found.values()] == [
        about["alone_makespan_ps"] for about in found.values()
    ]


def test_a_job_lives_in_its_own_time(lived: Callable[..., Result]) -> None:
    now, later = lived(shift, "ranks: 4"), lived(shift, "ranks: 4, start: 12345 ps")

    assert later.metrics["jobs"]["any"]["makespan_ps"] == now.metrics["jobs"]["any"]["makespan_ps"]
    for kind in ("transfers", "spans", "flags"):
        moved = [
            {key: value + 12345 if key.endswith("_ps") and key != "queued_ps" else value for key, value in row.items()}
            for row in now.tables[kind].to_pylist()
        ]
        assert moved == [row for row in later.tables[kind].to_pylist() if row.get("activity") != "idle"]


def test_a_name_or_a_list_of_one_changes_no_table(lived: Callable[..., Result]) -> None:
    plain = lived(shift, "ranks: 3")
    named = lived(shift, "ranks: 3, name: mine, placement: [gpu0, gpu1, gpu2]", more="slowdown: true\n")

    assert named.digest == plain.digest
    assert named.metrics["jobs"]["mine"]["slowdown"] == 1.0
    assert "slowdown" not in plain.metrics["jobs"]["any"]
    assert plain.metrics["ranks"] == named.metrics["ranks"]


def test_random_streams_belong_to_the_name_of_a_job(lived: Callable[..., Result]) -> None:
    both = lived(once, "name: x, ranks: 2", "name: y, ranks: 2").results
    one = lived(once, "name: y, ranks: 2").results

    assert both["x.rank0"] == both["x.rank1"] != both["y.rank0"]
    assert one["rank0"] == both["y.rank0"]


def test_jobs_get_names_and_gpus_one_after_another(lived: Callable[..., Result]) -> None:
    found = lived(once, "ranks: 2", "ranks: 2, placement: round_robin", "name: any-2, ranks: 2", "placement: block")

    assert found.scenario.gpus == {"any": [0, 1], "any-3": [2, 5], "any-2": [3, 4], "any-4": [6, 7]}
    assert scenario.resolved(found.scenario)["workloads"][1]["placement"] == "round_robin"


def test_placements_come_back_from_the_manifest(lived: Callable[..., Result], tmp_path: Path) -> None:
    traffic = "{pattern: matrix, size: 64 KiB, matrix: {gpu0: {gpu7: 10 MB/s}}, stop: 1 ms}"
    first = lived(
        shift,
        "ranks: 4, placement: {order: [dp, tp], tp: 2}",
        "ranks: 2, start: 1 us",
        more=f"traffic: [{traffic}]\nslowdown: false\n",
    )
    write_run(first, tmp_path / "run")

    assert first.scenario.gpus["any"] == [0, 2, 1, 3]
    assert "slowdown" not in first.metrics["jobs"]["any"]
    assert load_run(tmp_path / "run").scenario == first.scenario
    assert run(read_scenario(str(tmp_path / "run"))).digest == first.digest


def test_a_rank_cannot_write_into_another_job(lived: Callable[..., Result]) -> None:
    def astray(rank: Rank) -> Generator[Any, Any, None]:
        yield from rank.spend(1, "compute", "x")
        rank.put(rank.index + 1, Virtual((8,), "uint8"), "m")

    with pytest.raises(SimulationError, match=r"^x\.rank1 writes to rank 2; its job has the ranks 0 to 1$"):
        lived(astray, "name: x, ranks: 2", "name: y, ranks: 2")


def test_an_interrupt_while_a_job_runs_alone_keeps_the_whole_run(
    lived: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(simulation, "PROGRESS_EVERY", 10)
    seen: list[Simulation] = []

    def interrupt(at: Simulation) -> None:
        seen.extend([at] if at not in seen else [])
        if len(seen) == 3:
            raise KeyboardInterrupt

    jobs = ["name: x, placement: [gpu0, gpu4]", "name: y, placement: [gpu1, gpu5]"]
    whole = lived(shift, *jobs)
    found = lived(shift, *jobs, progress=interrupt)
    write_run(found, tmp_path / "run")

    about = yaml.safe_load((tmp_path / "run" / "manifest.yaml").read_text(encoding="utf-8"))["manifest"]
    assert (about["status"], about["digest"]) == ("interrupted", whole.digest)
    assert "interrupted while 'y' ran alone: its slowdown and those after it are missing" in about["warnings"]
    assert found.metrics["jobs"]["x"] == whole.metrics["jobs"]["x"]
    assert "slowdown" not in found.metrics["jobs"]["y"]


def test_an_interrupt_of_all_jobs_together_simulates_nothing_more(
    lived: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "PROGRESS_EVERY", 10)
    seen: list[Simulation] = []

    def interrupt(at: Simulation) -> None:
        if at.events:
            seen.append(at)
            raise KeyboardInterrupt

    found = lived(shift, "ranks: 2", "ranks: 2", progress=interrupt)

    assert len(seen) == 1
    assert found.interrupted_at == seen[0].now
    assert all("slowdown" not in about for about in found.metrics["jobs"].values())


def test_traffic_in_the_background_slows_a_job_down(lived: Callable[..., Result]) -> None:
    traffic = "traffic: [{pattern: permutation, size: 64 KiB, rate: 100 MB/s}]\n"
    found = lived(shift, "placement: [gpu0, gpu4]", more=traffic).metrics

    assert found["jobs"]["any"]["slowdown"] > 1.05
    assert found["jobs"]["any"]["messages"] == found["transfers"]["messages"] == 12
    assert found["traffic"]["permutation"]["messages"] > 10
    assert 0 < found["links"]["utilisation_peak"] <= 1
