"""Chakra execution traces: the wire format byte by byte, every way to write an attribute, groups, cuts, and
any bytes at all."""

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from simcore.traces.write_chakra import COLLECTIVE, COMPUTE, RECEIVE, SEND, attribute, field, file, node, step, varint

from simcore import source
from simcore.errors import InputError
from simcore.formats import chakra
from simcore.formats.execution import HOST, Node, ordered
from simcore.formats.recorded import read_executions
from simcore.formats.wire import Message, read_records

EXTRA = os.environ.get("SIMCORE_EXTRA_TRACES")
LOAD, METADATA = 2, 1


def saved(folder: Path, *ranks: bytes, name: str = "t") -> list[Path]:
    paths = [folder / f"{name}.{rank}.et" for rank in range(len(ranks))]
    for path, content in zip(paths, ranks, strict=True):
        path.write_bytes(content)
    return paths


def one(folder: Path, *nodes: bytes) -> list[Node]:
    """Return the nodes of rank 0 of four, of which the others did nothing but a computation."""
    rest = [file([node(0, "c", COMPUTE, duration=1)])] * 3
    return read_executions(saved(folder, file(nodes), *rest))[0].nodes


def message(content: bytes) -> Message:
    return Message("f", content, 0, len(content))


@given(st.integers(0, 2**64 - 1))
@example(2**63)
def test_a_varint_is_read_as_it_was_written(value: int) -> None:
    (found,) = message(field(5, value)).fields()

    assert (found.number, found.unsigned()) == (5, value)
    assert found.signed() == value - (2**64 if value >= 2**63 else 0)
    assert found.zigzag() == (value // 2 if value % 2 == 0 else -(value + 1) // 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x08" + b"\x80" * 10 + b"\x01", "f: byte 1: a varint is longer than 10 bytes"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "f: byte 1: a varint needs more than 64 bits"),
        (b"\x08\x80", "f: byte 1: a varint does not end before its message does"),
        (b"\x00\x01", "f: byte 0: a field has number 0; expected 1 to 536870911"),
        (b"\x08\x01\x0b", "f: byte 2: field 1 is of wire type 3; expected 0, 1, 2 or 5"),
        (b"\x12\x05abc", "f: byte 0: field 2 needs 5 bytes, but its message ends after 3"),
        (b"\x0d\x01\x02", "f: byte 0: field 1 needs 4 bytes, but its message ends after 2"),
    ],
)
def test_what_is_no_field_is_named_with_its_byte(content: bytes, said: str) -> None:
    with pytest.raises(InputError) as found:
        list(message(content).fields())

    assert str(found.value) == said


def test_a_field_is_asked_for_the_type_that_it_has() -> None:
    (text,) = message(field(2, b"\xff")).fields()

    with pytest.raises(InputError, match="byte 0: field 2 is length and bytes; expected varint"):
        text.unsigned()
    with pytest.raises(InputError, match="byte 2: field 2 is text, but not in UTF-8"):
        text.text()


@pytest.mark.parametrize("packed", [True, False])
def test_dependencies_are_read_packed_or_one_by_one(packed: bool, tmp_path: Path) -> None:
    some = [node(i, f"n{i}", COMPUTE, duration=1) for i in range(400)]
    after = field(5, varint(7) + varint(399)) if packed else field(5, 7) + field(5, 399)

    *_, last = one(tmp_path, *some, node(400, "last", COMPUTE) + field(4, 300) + after)

    assert sorted(last.after) == [7, 300, 399]


def test_every_cut_leaves_the_records_before_it(tmp_path: Path) -> None:
    whole = step(1)
    ends = [0]
    while ends[-1] < len(whole):
        length, begin = message(whole).varint(ends[-1])
        ends.append(begin + length)
    for cut in range(1, len(whole)):
        path = tmp_path / "cut.1.et"
        path.write_bytes(whole[:cut])
        expected = sum(end <= cut for end in ends[1:])
        if not expected:
            with pytest.raises(InputError, match=f"not one of its {cut} bytes belongs to a whole record"):
                read_records(path, "x")
            continue
        found = chakra.read_trace(path)
        assert (len(found.records), found.lost, found.total) == (expected - 1, cut - ends[expected], cut)


def test_a_cut_is_said_with_its_bytes_and_takes_what_depends_on_it(tmp_path: Path) -> None:
    nodes = [node(0, "early", COMPUTE, (2,), 1), node(1, "fine", COMPUTE, (), 1), node(3, "later", COMPUTE, (0,), 1)]
    whole = file([*nodes, node(2, "lost", COMPUTE, (), 1)])
    other = file([node(0, "c", COMPUTE, duration=1)])

    cut, _ = read_executions(saved(tmp_path, whole[:-3], other))

    assert [each.name for each in cut.nodes] == ["fine"]
    lost = len(node(2, "lost", COMPUTE, (), 1)) + 1 - 3
    assert cut.lost == lost
    assert cut.said == (
        f"cut off: {lost} of {len(whole) - 3} bytes, those at its end, are of no whole node; 1 nodes are used, and 2 "
        "left out, which depend on what is lost",
    )
    assert "lacks: " + f"{lost} of its {len(whole) - 3} bytes, those at its end, are of no whole record" in (
        chakra.inspect(chakra.read_trace(tmp_path / "t.0.et"))
    )


def refused(use: Callable[[], object]) -> str:
    """Return what an ``InputError`` says; any other error is a failure."""
    try:
        use()
    except InputError as error:
        return str(error)
    return ""


@given(data=st.data())
def test_any_bytes_are_a_trace_or_one_line(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray(file([node(0, "pg", METADATA) + field(8, field(1, '[{"pg_name": "0", "ranks": [0, 1]}]'))]))
    about = {"comm_type": 2, "comm_size": 64, "pg_name": "0", "stream": 7, "is_cpu_op": False}
    content += step(0)[8:] + b"".join(varint(len(each)) + each for each in [node(99, "x", COLLECTIVE, (1,), 4, about)])
    for _ in range(data.draw(st.integers(1, 6))):
        where = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["change", "insert", "remove", "cut"]))
        if how == "change":
            content[where] = data.draw(st.integers(0, 255))
        elif how == "insert":
            content[where:where] = data.draw(st.binary(min_size=1, max_size=4))
        elif how == "remove":
            del content[where : where + data.draw(st.integers(1, 9))]
        elif where:
            del content[where:]
        if not content:
            content = bytearray(b"\x00")
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    paths = saved(folder, bytes(content), step(1), step(2), step(3))

    for use in (lambda: chakra.inspect(chakra.read_trace(paths[0])), lambda: read_executions(paths)):
        said = refused(use)
        assert "\n" not in said
        assert said == "" or str(folder) in said


def fixed(number: int, form: str, value: float) -> bytes:
    """Return a field of four or eight bytes."""
    content = struct.pack("<" + form, value)
    return varint(number << 3 | (1 if len(content) == 8 else 5)) + content


NUMBERS: list[tuple[int, Any]] = [
    (7, lambda n: field(7, n)), (9, lambda n: field(9, n)), (11, lambda n: field(11, n)), (13, lambda n: field(13, n)),
    (15, lambda n: field(15, 2 * n)), (17, lambda n: field(17, 2 * n)), (29, lambda n: field(29, str(n))),
    *((number, partial(fixed, number, form)) for number, form in
      [(3, "d"), (5, "f"), (19, "I"), (21, "Q"), (23, "i"), (25, "q")]),
]  # fmt: skip


@pytest.mark.parametrize(("number", "written"), NUMBERS)
def test_a_number_is_read_whichever_type_it_was_written_as(number: int, written: Any, tmp_path: Path) -> None:
    size = field(10, field(1, "comm_size") + written(4096))

    (found,) = one(tmp_path, node(0, "s", SEND, attributes={"comm_dst": 2}) + size)

    assert (found.kind, found.peer, found.size, found.tag) == ("send", 2, 4096, 0)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (field(9, -1), "is -1; expected a whole number"),
        (fixed(3, "d", 0.5), "is 0.5; expected a whole number"),
        (fixed(3, "d", float("nan")), "is None; expected a whole number"),
        (field(29, "many"), "is None; expected a whole number"),
        (field(9, 2**62), f"is {2**62}; expected a whole number from 0 to below {2**62}"),
        (b"", "it has no comm_size"),
    ],
)
def test_a_size_that_is_none_is_named_with_file_and_node(value: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t.0.et: byte 9: node 3 's': ") as found:
        one(tmp_path, node(3, "s", SEND, attributes={"comm_dst": 2}) + field(10, field(1, "comm_size") + value))

    assert said in str(found.value)


def test_what_a_node_states_stands_in_the_common_form(tmp_path: Path) -> None:
    found = one(
        tmp_path,
        node(0, "gemm", COMPUTE, (), 0, {"num_ops": 2000, "tensor_size": 300, "is_cpu_op": False, "stream": 7}),
        node(1, "launch", COMPUTE, (0,), 5, {"is_cpu_op": True}) + field(6, 12),
        node(2, "load", LOAD, (1,), 0, {"tensor_size": 64}),
        node(3, "take", RECEIVE, (2,), 3, {"comm_src": 3, "comm_size": 8, "comm_tag": 5}),
        node(4, "about", METADATA, (3,), 9),
        node(5, "checkpoint", 10, (4,), 9),
        node(6, "newest", 77, (5,), 9) + field(900, "unknown"),
    )

    assert found == [
        Node(0, "gemm", "compute", operations=2000, size=300, stream="stream 7"),
        Node(1, "launch", "compute", (0,), 5 * 10**6, stream=HOST, begin=12 * 10**6),
        Node(2, "load", "memory", (1,), size=64),
        Node(3, "take", "receive", (2,), 3 * 10**6, size=8, peer=3, tag=5),
        Node(4, "about", "compute", (3,), stream=HOST),
        Node(5, "checkpoint", "compute", (4,), stream=HOST),
        Node(6, "newest", "compute", (5,), stream=HOST),
    ]
    (execution, *_) = read_executions(sorted(tmp_path.iterdir()))
    assert execution.said == (
        "1 nodes of type checkpoint: no time, only their dependencies",
        "1 nodes of type 77: no time, only their dependencies",
    )


@pytest.mark.parametrize(
    ("kind", "operation", "whole"),
    [(0, "all_reduce", 64), (1, "reduce", 64), (2, "all_gather", 256), (3, "gather", 256), (4, "scatter", 64),
     (5, "broadcast", 64), (6, "all_to_all", 64), (7, "reduce_scatter", 64), (8, "reduce_scatter", 64)],
)  # fmt: skip
def test_sizes_of_collectives_become_those_of_the_whole_array(
    kind: int, operation: str, whole: int, tmp_path: Path
) -> None:
    (found,) = one(tmp_path, node(0, "c", COLLECTIVE, attributes={"comm_type": kind, "comm_size": 64}))

    assert (found.operation, found.size, found.group, found.root) == (operation, whole, (), 0)


def test_a_collective_without_a_type_is_an_all_reduce_and_a_barrier_needs_no_size(tmp_path: Path) -> None:
    found = one(
        tmp_path,
        node(0, "c", COLLECTIVE, attributes={"comm_size": 3}),
        node(1, "b", COLLECTIVE, (0,), 0, {"comm_type": 9}),
    )

    assert [(each.operation, each.size) for each in found] == [("all_reduce", 3), ("barrier", 0)]
    with pytest.raises(InputError, match="node 0 'c': its comm_type is 10; expected 0 to 9"):
        one(tmp_path, node(0, "c", COLLECTIVE, attributes={"comm_type": 10, "comm_size": 3}))


def test_groups_are_those_listed_else_those_that_use_the_name(tmp_path: Path) -> None:
    listing = field(8, field(1, '["[{\\"x\\": 1}]"]')) + field(
        8, field(1, 'x [{"pg_name": "5", "ranks": [2, 0]}, {"pg_name": "all", "ranks": []}, {"odd": 1}] y')
    )

    def calls(*groups: str) -> bytes:
        about = [{"comm_type": 2, "comm_size": 8, "pg_name": group} for group in groups]
        return file(
            [node(90, "groups", METADATA) + listing]
            + [node(i, f"c{i}", COLLECTIVE, attributes=each) for i, each in enumerate(about)]
        )

    found = read_executions(saved(tmp_path, calls("5", "all", "b"), calls(), calls("5"), calls("b")))

    assert [(each.group, each.size) for each in found[0].nodes[1:]] == [((2, 0), 16), ((), 32), ((0, 3), 16)]
    with pytest.raises(InputError, match=r"t.1.et: .*its group '5' is \(2, 0\); expected different ranks of 0 to 3, 1"):
        read_executions(saved(tmp_path, calls("5"), calls("5"), calls("5"), calls()))


def test_involved_dimensions_are_groups_of_ranks_that_differ_in_them(tmp_path: Path) -> None:
    def calls(*involved: bool) -> bytes:
        flags = field(10, field(1, "involved_dim") + field(28, field(1, bytes(involved))))
        return file([node(0, "c", COLLECTIVE, attributes={"comm_size": 8}) + flags])

    columns = saved(tmp_path, *[calls(False, True)] * 6)

    assert [each.nodes[0].group for each in read_executions(columns, [2, 3])] == [(0, 2, 4), (1, 3, 5)] * 3
    rows = read_executions(saved(tmp_path, *[calls(True, False)] * 6), [2, 3])
    assert [each.nodes[0].group for each in rows] == [(0, 1), (0, 1), (2, 3), (2, 3), (4, 5), (4, 5)]
    whole = read_executions(saved(tmp_path, *[calls(True, True, True, True)] * 6))
    assert {each.nodes[0].group for each in whole} == {()}
    with pytest.raises(InputError, match=r"the dimensions stated are \[\], expected as many, whose product is the 6"):
        read_executions(saved(tmp_path, *[calls(False, True)] * 6))


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node(1, "a", COMPUTE, (2,))], "t.0.et: node 1 depends on node 2, which is not there"),
        ([node(1, "a", COMPUTE, (1,))], "t.0.et: nodes depend on each other in a circle: node 1 after node 1"),
        (
            [node(1, "a", COMPUTE, (2,)), node(2, "b", COMPUTE, (3,)), node(3, "c", COMPUTE, (1,))],
            "t.0.et: nodes depend on each other in a circle: node 1 after node 2 after node 3 after node 1",
        ),
        ([node(1, "a", COMPUTE)] * 2, "t.0.et: node 1 is there twice; expected every id once"),
        (
            [node(1, "a", SEND, attributes={"comm_size": 1, "comm_dst": 0})],
            "node 1 'a': its comm_dst is 0; expected another of the ranks 0 to 3",
        ),
        (
            [node(1, "a", RECEIVE, attributes={"comm_src": 1, "comm_dst": 2})],
            "node 1 'a': its comm_dst is 2, but the file is that of rank 0",
        ),
        ([node(1, "a", RECEIVE)], "node 1 'a': it has no comm_src"),
        ([node(1, "a", COMPUTE, (), 2**62)], f"its duration of {2**62} us is beyond the range of time"),
    ],
)
def test_a_node_that_cannot_be_is_one_line_with_its_file(nodes: list[bytes], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as found:
        one(tmp_path, *nodes)

    assert said in str(found.value)
    assert str(found.value).startswith(str(tmp_path / "t.0.et"))


def test_nodes_come_after_those_that_they_depend_on_otherwise_in_their_order() -> None:
    nodes = [Node(number, "n", "compute", after) for number, after in [(5, (9,)), (1, ()), (9, (1,)), (2, ())]]

    assert [each.id for each in ordered(nodes, "f")] == [1, 9, 5, 2]


def test_files_are_those_of_all_ranks_once(tmp_path: Path) -> None:
    some = file([node(0, "c", COMPUTE, duration=1)])
    paths = saved(tmp_path, some, some, some)
    (tmp_path / "README.md").write_text("no trace")

    assert [each.rank for each in read_executions([*reversed(paths), tmp_path / "README.md"])] == [0, 1, 2]
    with pytest.raises(InputError, match="no file of rank 1 among 2, which go up to rank 2"):
        read_executions([paths[0], paths[2]])
    with pytest.raises(InputError, match=r"o.1.et: rank 1 is also .*t.1.et; one file a rank"):
        read_executions([*paths, saved(tmp_path, some, some, name="o")[1]])
    (tmp_path / "x.et").write_bytes(some)
    with pytest.raises(InputError, match=r"x.et: no rank in its name; expected NAME.RANK.et"):
        read_executions([tmp_path / "x.et"])
    with pytest.raises(InputError, match=r"no traces; expected a file a rank, whose name ends in .et"):
        read_executions([tmp_path / "README.md"])


@pytest.mark.parametrize(
    ("first", "version"),
    [(b"", "unknown"), (field(1, "0.0.4"), "0.0.4"), (field(1, attribute("schema", "1.0")), "unknown"),
     (field(2, attribute("schema", "1.0")), "unknown")],
)  # fmt: skip
def test_the_first_record_may_be_of_any_schema(first: bytes, version: str, tmp_path: Path) -> None:
    (tmp_path / "a.0.et").write_bytes(varint(len(first)) + first)

    found = chakra.read_trace(tmp_path / "a.0.et")

    assert found.version == version
    assert found.about == (("schema",) if b"schema" in first else ())


def test_a_file_that_is_no_trace_says_what_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "a.0.et"
    nodes = [node(0, "c", COMPUTE, duration=1)]
    for content, said in [
        (b"", "empty; expected a Chakra execution trace: records, each preceded by its length"),
        (b"hello, this is some text", "not one of its 24 bytes belongs to a whole record; expected a Chakra"),
        (
            b"".join(varint(len(each)) + each for each in nodes),
            "the first record has a field 3 that it should not have",
        ),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            chakra.read_trace(path)
    path.write_bytes(file(nodes))
    with pytest.raises(InputError, match="larger than 10 bytes; expected a Chakra"):
        chakra.read_trace(path, largest=10)
    with pytest.raises(InputError, match="cannot be read: no such file"):
        chakra.read_trace(tmp_path / "absent.et")


def test_inspect_says_what_a_file_holds(tmp_path: Path) -> None:
    about = {"comm_type": 2, "comm_size": 2**20, "pg_name": "tp", "seq_id": 3}
    path = tmp_path / "a.3.et"
    path.write_bytes(file([node(0, "c", COMPUTE, (), 7), node(1, "g", COLLECTIVE, (0,), 0, about)]))

    done = subprocess.run(
        [sys.executable, "-m", "simcore.cli", "trace", "inspect", str(path)], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == [
        "Chakra execution trace a.3.et",
        "rank 3, schema 0.0.4, 2 nodes, 1 dependencies",
        "nodes: 1 compute, 1 collective",
        "holds: 1 x compute lasting 7 us",
        "holds: 1 x all_gather, comm_size 1.049 MB in group tp",
        "not used: seq_id of 1 nodes",
    ]


def test_the_bundled_traces_are_what_their_writer_writes() -> None:
    found = {path.name: path.read_bytes() for path in (source.bundle("traces") / "step_4ranks").iterdir()}

    assert found == {f"step.{rank}.et": step(rank) for rank in range(4)}


@pytest.mark.skipif(EXTRA is None, reason="SIMCORE_EXTRA_TRACES names no folder of further real traces")
def test_real_files_from_elsewhere_are_read_whole() -> None:
    folders = {path.parent for path in Path(str(EXTRA)).rglob("*.et")}

    assert folders
    for folder in folders:
        for execution in read_executions(sorted(folder.iterdir())):
            assert execution.nodes
            assert execution.said == ()
