"""YAML with places: values by YAML 1.2, bases, overrides, and the twenty ways in which a scenario is malformed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from simcore import source, units
from simcore.assembly import read_scenario
from simcore.errors import InputError
from simcore.source import File

BAD = Path(__file__).parent / "bad"
EXPECTED = {line.split(".yaml")[0]: line for line in (BAD / "expected.txt").read_text(encoding="utf-8").splitlines()}
# The error of a circle stands in the other file.
EXPECTED |= {"cyclic_base": EXPECTED["cyclic_base_other"], "cyclic_base_other": EXPECTED["cyclic_base"]}


def test_every_malformed_scenario_has_its_message_and_there_are_twenty() -> None:
    assert set(EXPECTED) == {path.stem for path in BAD.glob("*.yaml")}
    assert len(EXPECTED) >= 20


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_malformed_scenario_gives_one_line_that_says_where_and_what(name: str) -> None:
    with pytest.raises(InputError) as caught:
        read_scenario(str(BAD / f"{name}.yaml"))

    assert str(caught.value).replace(f"{BAD}/", "") == EXPECTED[name]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("yes", "yes"), ("true", True), ("1e9", 1e9), ("1:30", "1:30"), ("010", 10), ("0x1f", "0x1f"),
        ("~", None),
        ("'5'", "5"), ("5", 5), ("-3", -3), ("2026-11-24", "2026-11-24"), (".5", 0.5), ("1_000", "1_000"),
        ("99999999999999999999", "99999999999999999999"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = source.fragment(text, "here").value

    assert found == value
    assert type(found) is type(value)


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / "main.yaml"


def test_a_base_is_merged_key_by_key_and_keeps_the_places_of_both(tmp_path: Path) -> None:
    main = written(
        tmp_path, main="base: parent\na:\n  x: 1\nlist: [3]\n", parent="a:\n  x: 0\n  y: 2\nlist: [1, 2]\nb: kept\n"
    )

    document = source.read(main)

    assert document.value == {"a": {"x": 1, "y": 2}, "list": [3], "b": "kept"}
    assert str(document.place(("a", "x"))) == f"{main}:3:6"
    assert str(document.place(("a", "y"))) == f"{tmp_path / 'parent.yaml'}:3:6"


def test_a_scalar_of_the_base_gives_way_to_a_mapping_and_an_empty_mapping_changes_nothing(tmp_path: Path) -> None:
    main = written(tmp_path, main="base: parent\na:\n  x: 1\nb: {}\n", parent="a: word\nb:\n  y: 2\n")

    assert source.read(main).value == {"a": {"x": 1}, "b": {"y": 2}}


def test_overrides_reach_into_lists_and_make_missing_mappings(tmp_path: Path) -> None:
    document = source.read(written(tmp_path, main="list:\n  - x: 1\n"))

    source.override(document, "list.0.x=300 ns")
    source.override(document, "new.deep.key=[1, two]")

    assert document.value == {"list": [{"x": "300 ns"}], "new": {"deep": {"key": [1, "two"]}}}
    assert str(document.place(("list", 0, "x"))) == "--set list.0.x=300 ns"


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("wait.policy", "write key=value"),
        ("=5", "write key=value"),
        ("a..b=5", "write key=value"),
        ("list.²=5", "list is a list; it has no entry '²'"),
        ("list.7=5", "the list has 1 entries"),
        ("word.x=5", "text 'w'; it has no entry 'x'"),
        ("x=[1", "not valid YAML"),
        ("base=other", "cannot be set from outside"),
    ],
)
def test_a_bad_override_names_itself(tmp_path: Path, assignment: str, complaint: str) -> None:
    document = source.read(written(tmp_path, main="list: [1]\nword: w\n"))

    with pytest.raises(InputError, match=r"^--set .*") as caught:
        source.override(document, assignment)

    assert complaint in str(caught.value)


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"] = "a"
    delay: units.Time = 0


@dataclass(frozen=True)
class Record:
    count: int
    inner: Inner = field(default_factory=Inner)
    many: list[Inner] = field(default_factory=list)
    named: dict[str, units.Size] = field(default_factory=dict)
    file: Annotated[str, File("traces")] = "ddp_4ranks/profile.csv"


def test_a_document_becomes_a_record() -> None:
    text = "{count: 3, inner: {delay: 2 ns}, many: [{kind: b}], named: {x: 1 KiB}}"

    record = source.fragment(text, "here").build(Record)

    assert record == Record(3, Inner("a", 2000), [Inner("b")], {"x": 1024})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}", "here: count: is missing"),
        ("{count: '3'}", "here: count: input should be a valid integer, not text '3'"),
        ("{count: true}", "here: count: input should be a valid integer, not true"),
        (
            "{count: 3, inner: {dely: 1 ns}}",
            "here: inner.dely: unknown key 'dely'; did you mean 'delay'? allowed: kind, delay",
        ),
        ("{count: 3, delay: 1 ns}", "here: delay: unknown key 'delay'; did you mean 'inner.delay'?"),
        ("{count: 3, many: [{}, {kind: c}]}", "here: many.1.kind: unknown value 'c'; allowed: a, b"),
        ("{count: 3, named: {x: 5 ns}}", "here: named.x: '5 ns' is a time, not a size"),
        ("{count: x, inner: {delay: 5}}", "(and 1 more)"),
        ("{count: 3, file: gone.csv}", "here: file: no file 'gone.csv'"),
        ("[]", "input should be an object, not a list"),
    ],
)
def test_a_bad_value_is_named_with_its_keys(text: str, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        source.fragment(text, "here").build(Record)

    assert complaint in str(caught.value)


def test_a_file_is_looked_for_beside_the_document_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("x", encoding="utf-8")
    main = written(tmp_path, main="count: 1\nfile: own.csv\n")

    assert source.read(main).build(Record).file == str(tmp_path / "own.csv")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("seed: -1", "5:7: seed: must be zero or more"),
        ("name: '..'", "5:7: name: '..' names the run folder"),
        ("machine: {node: mi300x-8, gpus: 0}", "5:33: machine.gpus: a machine has at least 1 GPU"),
        ("machine: {node: mi300x-8, gpu: {memory_line: 0 B}}", "5:46: machine.gpu.memory_line: must be greater"),
        ("workloads: [{model: fused_allreduce, ranks: 0}]", "5:45: workloads.0.ranks: a workload has 1 rank"),
        ("seed: 999999999999999999999", "5:7: seed: input should be a valid integer, not a number of more than 18"),
        ('name: "\\ud800"', "5:7: '\\ud800' has half of a surrogate pair"),
        ("wait: {policy: " + "x" * 500_000 + "}", "5:16: wait.policy: unknown value 'xxxx"),
        (
            "machine: {node: mi300x-8, link: {latency: 5 x" + " " * 300_000 + "y}}",
            "5:43: machine.link.latency: '5 x  ",
        ),
        ('"x\\ny": 5', r"5:1: x\ny: unknown key 'x\ny'; allowed: name, "),
        (
            "machine: {node: mi300x-8, topology: edges, edges: [{ends: [gpu0, gpu1, gpu2]}]}",
            "5:59: machine.edges.0.ends: expected 2 entries, not 3",
        ),
    ],
)
def test_a_failed_check_names_its_own_line_and_column_and_cuts_what_it_echoes(
    tmp_path: Path, text: str, place: str
) -> None:
    kept = {"machine": "machine: {node: mi300x-8}\n", "workloads": "workloads: [{model: fused_allreduce}]\n"}
    lines = "".join(line for key, line in kept.items() if not text.startswith(key))
    path = written(tmp_path, main=lines + "\n" * (4 - lines.count("\n")) + text + "\n")

    with pytest.raises(InputError) as caught:
        read_scenario(str(path))

    assert str(caught.value).startswith(f"{path}:{place}")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(path)) + 300


@pytest.mark.parametrize(
    "text",
    [
        "base: {name}",
        "machine: {{node: {name}}}",
        "workloads: [{{model: fused_allreduce, params: {{profile: {name}}}}}]",
    ],
)
def test_a_name_too_long_for_a_file_is_no_file(tmp_path: Path, text: str) -> None:
    lines = "machine: {node: mi300x-8}\n" if "machine" not in text else "workloads: [{model: fused_allreduce}]\n"
    path = written(tmp_path, main=lines + text.format(name="x" * 300) + "\n")

    with pytest.raises(InputError, match=r"no file 'xxx|unknown preset 'xxx"):
        read_scenario(str(path))


def test_a_file_that_is_no_scenario_is_not_printed_whole(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("\n".join(f"line {i}" for i in range(1000)), encoding="utf-8")

    with pytest.raises(InputError, match="expected keys with values, not text 'line 0 line 1") as caught:
        source.read(written(tmp_path, main="base: secret\n"))

    assert len(str(caught.value)) < 300


def test_limits_hold_before_memory_is_spent(tmp_path: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for name, before in zip("bcdefgh", "abcdefg", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    with pytest.raises(InputError, match="expands to more than"):
        source.read(written(tmp_path, main=bomb))
    with pytest.raises(InputError, match="larger than 1048576 bytes"):
        source.read(written(tmp_path, main="# " + "x" * 2**20))
    with pytest.raises(InputError, match="nested too deeply"):
        source.read(written(tmp_path, main="[" * 5000))
    with pytest.raises(InputError, match="cannot be read: is a directory"):
        source.read(tmp_path)
    with pytest.raises(InputError, match="cannot be read: no such file"):
        source.read(tmp_path / "gone.yaml")
