"""Outputs of nccl-tests and rccl-tests: every variant of the table, JSON, and what is none of them."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore.errors import InputError
from simcore.formats import nccl_tests
from simcore.formats.nccl_tests import Measurement

RANKS = "\n".join(
    f"#  Rank {i:2d} Group  0 Pid {4000 + i:6d} on node01 device {i:2d} [0000:{i + 1:x}b:00] NVIDIA H100 80GB HBM3"
    for i in range(4)
)
FIGURES = "    time   algbw   busbw"
COLUMNS = f"""#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root {FIGURES} #wrong {FIGURES} #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""
FOOTER = """# Out of bounds values : 0 OK
# Avg bus bandwidth    : 12.3
#
"""
ROWS = """\
     1048576        262144     float     sum      -1    42.10   24.91   37.36      0    41.90   25.03   37.54      0
     4194304       1048576     float     sum      -1    58.30   71.94  107.92    N/A    57.80   72.57  108.85    N/A
"""


def header(program: str = "", *, threads: int = 1, gpus: int = 4, graph: int = 0) -> str:
    starting = f"# Collective test starting: {program}\n" if program else ""
    return (
        f"{starting}# nThread {threads} nGpus {gpus} minBytes 1048576 maxBytes 4194304 step: 4(factor) warmup iters: 1 "
        f"iters: 20 agg iters: 1 validation: 1 graph: {graph} unalign: 0\n#\n# Using devices\n{RANKS}\n"
    )


def read(folder: Path, text: str, operation: str = "") -> nccl_tests.Output:
    path = folder / "out.txt"
    path.write_text(text, encoding="utf-8")
    return nccl_tests.read(path, operation=operation)


def test_a_row_is_two_measurements(tmp_path: Path) -> None:
    output = read(tmp_path, header("all_reduce_perf") + COLUMNS + ROWS + FOOTER)

    line = header("all_reduce_perf").count("\n") + 5
    file = str(tmp_path / "out.txt")
    assert output.rows == (
        Measurement(file, line, "all_reduce", 4, 1048576, 42_100_000, False, 0),
        Measurement(file, line, "all_reduce", 4, 1048576, 41_900_000, True, 0),
        Measurement(file, line + 1, "all_reduce", 4, 4194304, 58_300_000, False, None),
        Measurement(file, line + 1, "all_reduce", 4, 4194304, 57_800_000, True, None),
    )
    assert (output.device, output.finished) == ("NVIDIA H100 80GB HBM3", True)


@pytest.mark.parametrize(
    ("threads", "gpus", "graph", "said"),
    [
        (1, 4, 0, "one process for all GPUs"),
        (4, 1, 0, "4 threads of one process"),
        (1, 1, 0, "one process a GPU"),
        (1, 2, 0, "2 GPUs a process"),
        (1, 1, 8, "one process a GPU, CUDA graph"),
    ],
)
def test_the_launch_mode_is_told(threads: int, gpus: int, graph: int, said: str, tmp_path: Path) -> None:
    text = header("all_reduce_perf", threads=threads, gpus=gpus, graph=graph) + COLUMNS + ROWS + FOOTER

    assert read(tmp_path, text).launch == said


START = "#       size         count      type"
FIRST, SECOND = "   1268.1   31.58   31.58", "   1279.3   31.30   31.30"
ROW = "    40046416      10011604     float"
SPREAD = "   i_min   i_max   i_p99   i_cv%"
SPREADS = "   1200.   1300.   1290.     2.1"


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (f"{START}    root{FIGURES}  error{FIGURES}  error", f"{ROW}       0{FIRST}  0e+00{SECOND}  0e+00"),
        (f"{START}{FIGURES}  error{FIGURES}  error", f"{ROW}{FIRST}  0e+00{SECOND}  0e+00"),
        (f"{START}   redop    root{FIGURES} #wrong{FIGURES} #wrong", f"{ROW}{FIRST}    N/A{SECOND}    N/A"),
        (
            f"{START}   redop    root{FIGURES} #wrong{SPREAD}{FIGURES} #wrong{SPREAD}",
            f"{ROW}    none      -1{FIRST}      0{SPREADS}{SECOND}      0{SPREADS}",
        ),
        (
            f"{START}   redop    root{FIGURES} #wrong{FIGURES} #wrong           timestamp",
            f"{ROW}    none      -1{FIRST}      0{SECOND}      0  2026-01-02 03:04:05",
        ),
        (
            f"{START}   redop    root{FIGURES} #wrong{FIGURES} #wrong".replace("time", "cputime"),
            f"{ROW}    none      -1{FIRST}      0{SECOND}      0",
        ),
    ],
    ids=["no redop", "neither redop nor root", "blank redop and root", "per iteration", "timestamps", "CPU time"],
)
def test_every_variant_of_the_columns_is_read(columns: str, row: str, tmp_path: Path) -> None:
    output = read(tmp_path, f"{header('all_gather_perf')}{columns}\n{row}\n{FOOTER}")

    assert [(row.time, row.in_place) for row in output.rows] == [(1_268_100_000, False), (1_279_300_000, True)]
    assert {row.wrong for row in output.rows} <= {0, None}


@pytest.mark.parametrize("prefix", ["[1,0]<stdout>:", "0: ", "    "])
def test_what_launchers_put_before_a_line_is_put_off(prefix: str, tmp_path: Path) -> None:
    text = header("all_reduce_perf") + COLUMNS + ROWS + FOOTER
    noise = "node01:528157:528268 [0] NCCL INFO Channel 00/24 : 0 1 2 3\n"
    labelled = "".join(f"{prefix}{line}\n" for line in text.splitlines())

    assert len(read(tmp_path, noise + labelled).rows) == 4


def test_wrong_elements_are_counted(tmp_path: Path) -> None:
    text = header("all_reduce_perf") + COLUMNS + ROWS.replace("37.36      0", "37.36     17") + FOOTER

    assert [row.wrong for row in read(tmp_path, text).rows] == [17, 0, None, None]


def test_several_operations_in_one_file(tmp_path: Path) -> None:
    gathered = ROWS.replace("sum", "none").replace("262144 ", "65536 ")
    text = f"{header('all_reduce_perf')}{COLUMNS}{ROWS}{FOOTER}{header('all_gather_perf')}{COLUMNS}{gathered}{FOOTER}"

    assert [row.operation for row in read(tmp_path, text).rows] == ["all_reduce"] * 4 + ["all_gather"] * 4


def test_a_command_line_above_names_the_operation(tmp_path: Path) -> None:
    text = "$ mpirun -np 4 ./build/reduce_scatter_perf -b 1M -e 4M\n" + header() + COLUMNS + ROWS + FOOTER

    assert {row.operation for row in read(tmp_path, text).rows} == {"reduce_scatter"}


def test_counts_tell_an_all_reduce_from_a_reduce_scatter(tmp_path: Path) -> None:
    part = ROWS.splitlines()[0].replace("262144", " 65536") + "\n"

    assert read(tmp_path, header() + COLUMNS + ROWS + FOOTER).rows[0].operation == "all_reduce"
    assert read(tmp_path, header() + COLUMNS + part + FOOTER).rows[0].operation == "reduce_scatter"


def test_an_operation_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    text = header() + COLUMNS + ROWS.replace("sum", "none") + FOOTER

    with pytest.raises(InputError, match=r"out\.txt:12: .* name it with --operation, one of all_reduce"):
        read(tmp_path, text)
    assert read(tmp_path, text, "alltoall").rows[0].operation == "alltoall"


def test_a_run_of_rccl_tests_is_read(tmp_path: Path) -> None:
    devices = "\n".join(
        f"#   Rank {i:2d} Pid  21284 on gfx942 device {i:2d} [0000:{i + 1:x}c:00.0] AMD Instinct MI300X"
        for i in range(8)
    )
    text = (
        "# nThread: 1 nGpus: 8 minBytes: 1048576 maxBytes: 4194304 step: 4(factor) warmupIters: 5 iters: 20 graph: 0\n"
        f"#\nrccl-tests: Version develop:3f7f785\n# Using devices\n{devices}\n{COLUMNS}{ROWS}{FOOTER}"
    )

    output = read(tmp_path, text)

    assert (output.device, output.launch, output.rows[0].ranks) == (
        "AMD Instinct MI300X",
        "one process for all GPUs",
        8,
    )


def test_a_run_that_did_not_end_says_so(tmp_path: Path) -> None:
    output = read(tmp_path, header("all_reduce_perf") + COLUMNS + ROWS)

    assert (len(output.rows), output.finished) == (4, False)


BODY = {"time": 42.1, "alg_bw": 24.91, "bus_bw": 37.36, "nwrong": 0.0}


def as_json(**changes: Any) -> dict[str, Any]:
    """Return what nccl-tests writes with -J, in small."""
    row = {"size": 1048576, "count": 262144, "type": "float", "redop": "sum", "root": "    -1"}
    return {
        "version": 2,
        "start_time": "2026-01-02 03:04:05",
        "args": ["/opt/nccl-tests/all_reduce_perf", "-b", "1M"],
        "env": ["HOME=/root", "NCCL_ALGO=Ring"],
        "nccl_version": 22902,
        "config": {
            "nthreads": 1,
            "ngpus": 8,
            "graph": 0,
            "devices": [{"rank": 0, "device": 0, "device_info": "NVIDIA H100 80GB HBM3"}],
        },
        "results": [row | {"out_of_place": BODY, "in_place": BODY | {"time": 41.9, "nwrong": None}}],
        "end_time": "2026-01-02 03:05:05",
    } | changes


def test_json_is_read(tmp_path: Path) -> None:
    output = read(tmp_path, json.dumps(as_json()))

    assert [(row.operation, row.ranks, row.time, row.in_place, row.wrong) for row in output.rows] == [
        ("all_reduce", 8, 42_100_000, False, 0),
        ("all_reduce", 8, 41_900_000, True, None),
    ]
    assert (output.algorithm, output.device, output.finished) == ("ring", "NVIDIA H100 80GB HBM3", True)


def test_json_of_rccl_tests_is_read(tmp_path: Path) -> None:
    row = {"name": "AllReduce", "nodes": 1, "ranks": 8, "ranksPerNode": 8, "gpusPerRank": 1, "size": 1048576}
    rows = [row | {"type": "float", "redop": "sum", "inPlace": i, "time": 42.1 + i, "wrong": "0"} for i in (0, 1)]

    for text in (json.dumps(rows), "\n".join(map(json.dumps, rows))):
        output = read(tmp_path, text)
        assert [(row.operation, row.ranks, row.time) for row in output.rows] == [
            ("all_reduce", 8, 42_100_000),
            ("all_reduce", 8, 43_100_000),
        ]
        assert output.launch == "one process a GPU"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty; expected output of nccl-tests"),
        (b" \n\n", "empty; expected output of nccl-tests"),
        (b"\x7fELF\0\0", r"not a text file \(byte 4 is zero\)"),
        (b"hello\nworld\n", "no table of nccl-tests"),
        ((header("all_reduce_perf") + COLUMNS).encode(), "the table has no rows; the output is cut off"),
        (
            (header("all_reduce_perf") + COLUMNS + ROWS[:70]).encode(),
            r":13: the row has 7 entries where the table has 13",
        ),
        ((header("all_reduce_perf") + COLUMNS + ROWS[:20]).encode(), r":13: the row ends after '1048576'"),
        ((header("all_reduce_perf") + COLUMNS + ROWS.replace("42.10", "0.00 ")).encode(), r":13: '0.00' is no time"),
        ((header("all_reduce_perf") + COLUMNS + ROWS.replace("42.10", "42_0x")).encode(), r":13: '42_0x' is no time"),
        ((COLUMNS + ROWS).encode(), "says neither 'Rank 0"),
        (
            (header("all_reduce_perf") + COLUMNS + ROWS + header("all_reduce_perf", gpus=1) + COLUMNS + ROWS).encode(),
            "more than one launch mode .*; put each in its own file",
        ),
        (json.dumps(as_json())[:200].encode(), r":1: not JSON"),
        (json.dumps(as_json(results=[])).encode(), "results is empty"),
        (json.dumps(as_json(args=["/bin/true"])).encode(), "args\\[0\\] is '/bin/true'"),
        (json.dumps({"results": []}).encode(), "JSON, but not of nccl-tests"),
        (b"[]", "holds no rows"),
        (b"[1, 2]", "JSON, but not of nccl-tests"),
        (json.dumps([{"name": "Gossip", "ranks": 2}]).encode(), "name is 'Gossip'; expected one of all_reduce"),
    ],
)
def test_what_is_no_output_is_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_bytes(content)

    with pytest.raises(InputError, match=said) as error:
        nccl_tests.read(path)

    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: no such file"):
        nccl_tests.read(tmp_path / "none.txt")


@given(st.lists(st.tuples(st.integers(1, 2**40), st.integers(1, 10**9)), min_size=1, max_size=20), st.data())
def test_any_cut_of_an_output_is_read_or_refused_in_one_line(
    rows: Sequence[tuple[int, int]], data: st.DataObject
) -> None:
    body = "".join(
        f"{size:12d}  {size:12d}  int8  sum  -1  {time / 100:.2f}  1.00  1.00  0  {time / 100:.2f}  1.00  1.00  0\n"
        for size, time in rows
    )
    text = header("all_reduce_perf") + COLUMNS + body + FOOTER
    cut = data.draw(st.integers(0, len(text)))
    whole = [(size, time * 10_000) for size, time in rows for _ in range(2)]
    refused = ""
    found: list[tuple[int, int]] = []

    with tempfile.TemporaryDirectory() as folder:
        try:
            found = [(row.size, row.time) for row in read(Path(folder), text[:cut]).rows]
        except InputError as error:
            refused = str(error)

    assert bool(found) != bool(refused)
    assert "\n" not in refused
    assert found == whole[: len(found)]
