"""What a run reads of its scenario is noted, and a key that somebody wrote and nothing read is warned of."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from simcore import read_scenario, run, scenario, write_run
from simcore.reads import Reads


@dataclass(frozen=True)
class Inner:
    name: str
    size: int = 3
    by_name: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Outer:
    first: Inner
    many: list[Inner]
    count: int = 1

    @property
    def double(self) -> int:
        return 2 * self.count


GIVEN = Outer(Inner("a", by_name={"x": 1}), [Inner("b"), Inner("c", 9)])


def test_a_lent_record_is_what_it_was_and_notes_what_is_read() -> None:
    reads = Reads()
    lent = reads.lend(GIVEN)

    assert isinstance(lent, Outer)
    assert not reads.has_seen(("count",))
    assert lent.double == 2
    assert lent.many[1].size == lent.many[1].size == 9
    assert lent.first.by_name["x"] == 1

    read = {("count",), ("many", 1, "size"), ("first", "by_name", "x"), ("first", "name"), ("many",)}
    unread = {("many", 0, "size"), ("first", "size"), ("many", 1, "by_name")}
    assert {keys for keys in read | unread if reads.has_seen(keys)} == read
    assert replace(lent, count=5).double == 10


def test_a_lent_record_is_whole_for_those_who_look_inside() -> None:
    reads = Reads()

    assert vars(reads.lend(GIVEN)).keys() == vars(GIVEN).keys()
    assert reads.has_seen(("count",))
    assert vars(reads.lend(GIVEN.first)) == vars(GIVEN.first)
    assert replace(GIVEN.first, **vars(reads.lend(GIVEN.many[1]))) == GIVEN.many[1]


@pytest.mark.parametrize("name", sorted(scenario.names()))
def test_bundled_scenarios_state_nothing_in_vain(name: str) -> None:
    assert [warning for warning in run(read_scenario(name)).warnings if "nothing read" in warning] == []


@pytest.mark.parametrize(
    ("overrides", "seed", "idle"),
    [
        ([], None, set()),
        (["machine.gpu.memory_size=1 B"], None, {"machine.gpu.memory_size"}),
        (["machine.gpu.monitor_arm=5 cycles"], None, {"machine.gpu.monitor_arm"}),
        (["machine.gpu.monitor_arm=5 cycles", "wait.policy=monitor"], None, set()),
        ([], 5, {"seed"}),
        (["workloads.0.params.payload=real"], 5, set()),
        (["workloads.0={model: fused_allreduce, params: {delay: 1 ns, target: 1}, ranks: 4}"], None, set()),
    ],
)
def test_a_key_that_nothing_reads_is_warned_of(overrides: list[str], seed: int | None, idle: set[str]) -> None:
    warnings = run(read_scenario("fused_allreduce", overrides, seed)).warnings

    assert {
        warning.partition(" is set, but nothing read it")[0] for warning in warnings if "read it" in warning
    } == idle


def test_running_again_from_a_manifest_warns_of_what_is_changed_alone(tmp_path: Path) -> None:
    write_run(run(read_scenario("fused_allreduce")), tmp_path / "run")

    assert run(read_scenario(str(tmp_path / "run"))).warnings == []
    assert len(run(read_scenario(str(tmp_path / "run"), ["machine.gpu.memory_size=1 B"])).warnings) == 1
