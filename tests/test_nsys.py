"""Nsight Systems exports: databases made of the documented columns, whole, with tables and columns missing, damaged."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore.errors import InputError
from simcore.formats import kineto, nsys, ranks, writes

TID = 0x0123_0000_4500_0001
PID = 0x0123_0000_4500_0000
COLUMNS = {
    "StringIds": "id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL",
    "TARGET_INFO_GPU": "vmId INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT",
    "TARGET_INFO_SESSION_START_TIME": "utcEpochNs INTEGER, utcTime TEXT, localTime TEXT",
    "CUPTI_ACTIVITY_KIND_KERNEL": (
        "start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL, contextId INTEGER NOT NULL, "
        "streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER, demangledName INTEGER NOT NULL, "
        "shortName INTEGER NOT NULL"
    ),
    "CUPTI_ACTIVITY_KIND_MEMCPY": (
        "start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL, contextId INTEGER NOT NULL, "
        "streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER, bytes INTEGER NOT NULL, "
        "copyKind INTEGER NOT NULL"
    ),
    "CUPTI_ACTIVITY_KIND_RUNTIME": (
        "start INTEGER NOT NULL, end INTEGER NOT NULL, eventClass INTEGER NOT NULL, globalTid INTEGER, "
        "correlationId INTEGER, nameId INTEGER NOT NULL, returnValue INTEGER NOT NULL"
    ),
    "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": (
        "start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL, contextId INTEGER NOT NULL, "
        "streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER, syncType INTEGER NOT NULL, "
        "eventId INTEGER NOT NULL, eventSyncId INTEGER"
    ),
    "CUPTI_ACTIVITY_KIND_CUDA_EVENT": (
        "deviceId INTEGER NOT NULL, contextId INTEGER NOT NULL, streamId INTEGER NOT NULL, correlationId INTEGER, "
        "globalPid INTEGER, eventId INTEGER NOT NULL, eventSyncId INTEGER"
    ),
    "NVTX_EVENTS": (
        "start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, text TEXT, globalTid INTEGER, "
        "textId INTEGER, domainId INTEGER, jsonTextId INTEGER, jsonText TEXT"
    ),
}
"""The documented columns that are used, and some that are not."""

NAMES = {
    1: "gemm", 2: "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<(unsigned long)4096>)",
    3: "cudaLaunchKernel_v7000", 4: "ncclAllReduce", 5: "ncclCommInitRank", 6: "cudaStreamWaitEvent_v3020",
    7: "ncclDevKernel_AllGather_RING_LL", 8: "ncclAllGather", 9: "cudaEventRecord_v3020",
}  # fmt: skip


def kernel(start: int, end: int, stream: int, correlation: int, name: int = 1, device: int = 0) -> tuple[int, ...]:
    return start, end, device, 1, stream, correlation, PID, name, name


def call(start: int, correlation: int, name: int = 3) -> tuple[int, ...]:
    return start, start + 1, 0, TID, correlation, name, 0


def nvtx(start: int, end: int, name: int, **said: Any) -> tuple[Any, ...]:
    text = json.dumps({"NvtxEvent": {"Payload": {key.replace("_", " "): value for key, value in said.items()}}})
    return start, end, 59, None, TID, name, 1, None, text


def step() -> dict[str, list[tuple[Any, ...]]]:
    """Return a step: a computation, an all-reduce of 1 MB among 4 launched behind it, a computation that waits."""
    return {
        "StringIds": list(NAMES.items()),
        "TARGET_INFO_GPU": [(0, 0, "NVIDIA A100")],
        "TARGET_INFO_SESSION_START_TIME": [(1_700_000_000_000_000_000, "", "")],
        "CUPTI_ACTIVITY_KIND_KERNEL": [
            kernel(1000, 5000, 7, 11), kernel(5100, 25_000, 20, 12, 2), kernel(6000, 9000, 7, 13),
            kernel(26_000, 27_000, 7, 15),
        ],
        "CUPTI_ACTIVITY_KIND_MEMCPY": [(28_000, 29_000, 0, 1, 7, 16, PID, 4096, 8)],
        "CUPTI_ACTIVITY_KIND_RUNTIME": [
            call(900, 11), call(905, 30, 9), call(920, 31, 6), call(930, 12), call(1000, 13), call(1050, 32, 9),
            call(1100, 14, 6), call(1200, 15), call(1300, 16),
        ],
        "NVTX_EVENTS": [
            nvtx(0, 10, 5, **{"Rank": 2, "No. of ranks": 4}),
            nvtx(910, 940, 4, **{"Message_size [bytes]": 10**6}),
            (1, None, 34, "a mark", TID, None, 0, None, None),
        ],
    }  # fmt: skip


def saved(path: Path, rows: dict[str, list[tuple[Any, ...]]], columns: dict[str, str] | None = None) -> Path:
    """Write the tables of ``rows`` that are not empty, as Nsight Systems does."""
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    for table, those in rows.items():
        if those:
            connection.execute(f"CREATE TABLE {table} ({(columns or COLUMNS)[table]})")
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(those[0]))})", those)
    connection.commit()
    connection.close()
    return path


def test_kernels_become_a_rank_whose_collectives_have_the_sizes_that_nccl_stated(tmp_path: Path) -> None:
    found = nsys.read_recorded(saved(tmp_path / "a.sqlite", step()))

    trace = found.trace
    assert (trace.rank, trace.world, trace.backend, trace.device) == (2, 4, "nccl", "1 x NVIDIA A100")
    (one,) = trace.collectives
    zero = 1_700_000_000_000_000_000 * nsys.PS_PER_NS
    assert (one.name, one.size, one.group) == ("all_reduce", 10**6, (0, 1, 2, 3))
    assert (one.start - zero, one.end - zero) == (5_100_000, 25_000_000)
    assert trace.lacks[0].startswith("UNVERIFIED: ")
    assert [(a.kind, a.stream, a.size) for a in found.activities] == [
        ("compute", "stream 7", 0), ("collective", "stream 20", 10**6), ("compute", "stream 7", 0),
        ("compute", "stream 7", 0), ("memory", "stream 7", 4096),
    ]  # fmt: skip


def test_waits_are_the_hosts_calls_outside_those_of_nccl(tmp_path: Path) -> None:
    """The call at 920 lies in the range of ncclAllReduce, the one at 1100 makes the next computation wait."""
    (one,) = ranks.to_executions([nsys.read_recorded(saved(tmp_path / "a.sqlite", step()))])[2:3]

    assert [node.after for node in one.nodes] == [(), (0,), (0,), (1, 2), (3,)]
    assert [node.gap for node in one.nodes] == [0, 100_000, 1_000_000, 1_000_000, 1_000_000]
    assert [node.begin for node in one.nodes] == [0, 4_100_000, 5_000_000, 25_000_000, 27_000_000]
    assert any("host's calls" in sentence for sentence in one.said)


def test_the_table_of_synchronization_names_the_streams(tmp_path: Path) -> None:
    """Stream 7 waits for what stream 20 had been given when the event was recorded at 1050."""
    rows = step()
    rows["CUPTI_ACTIVITY_KIND_CUDA_EVENT"] = [(0, 1, 7, 30, PID, 1, 100), (0, 1, 20, 32, PID, 2, 101)]
    rows["CUPTI_ACTIVITY_KIND_SYNCHRONIZATION"] = [
        (920, 921, 0, 1, 20, 31, PID, 2, 1, 100), (1100, 1101, 0, 1, 7, 14, PID, 2, 2, 101),
        (1400, 1401, 0, 1, 7, 14, PID, 4, 2, 101),
    ]  # fmt: skip

    found = nsys.read_recorded(saved(tmp_path / "a.sqlite", rows))

    assert [(w.stream, w.other) for w in found.waits or ()] == [("stream 20", "stream 7"), ("stream 7", "stream 20")]
    (one,) = ranks.to_executions([found])[2:3]
    assert [node.after for node in one.nodes] == [(), (0,), (0,), (1, 2), (3,)]
    assert any("that the trace names" in sentence for sentence in one.said)


def test_an_all_gather_is_as_large_as_what_all_ranks_put_in(tmp_path: Path) -> None:
    rows = step()
    rows["CUPTI_ACTIVITY_KIND_KERNEL"][1] = kernel(5100, 25_000, 20, 12, 7)
    rows["NVTX_EVENTS"][1] = nvtx(910, 940, 8, **{"Message_size [bytes]": 1000})

    assert [c.size for c in nsys.read_trace(saved(tmp_path / "a.sqlite", rows)).collectives] == [4000]


def test_collectives_make_a_timing_profile(tmp_path: Path) -> None:
    made = writes.to_profile([nsys.read_trace(saved(tmp_path / "a.sqlite", step()))], clone_rank=2)

    assert made.world == 4
    assert int(made.size[~made.flag].sum()) == 4 * 2 * 3 * 250_000
    assert ("lacks", f"rank 2: {nsys.UNVERIFIED}") in made.header
    assert any("UNVERIFIED" in line for line in kineto.inspect(nsys.read_trace(tmp_path / "a.sqlite")))


@pytest.mark.parametrize("table", sorted(set(COLUMNS) - {"CUPTI_ACTIVITY_KIND_KERNEL"}))
def test_tables_that_are_not_there_are_told_not_fatal(tmp_path: Path, table: str) -> None:
    rows = step()
    rows[table] = []

    found = nsys.read_recorded(saved(tmp_path / "rank2.sqlite", rows))

    kernels = [a for a in found.activities if a.kind != "memory"]
    assert len(kernels) == 4
    sizes = [c.size for c in found.trace.collectives]
    lost = {"NVTX_EVENTS": [None], "CUPTI_ACTIVITY_KIND_RUNTIME": [None], "StringIds": []}.get(table, [10**6])
    assert sizes == lost
    if lost == [None]:
        assert any("NCCL kernels without an NVTX range" in sentence for sentence in found.trace.lacks)
    if table == "CUPTI_ACTIVITY_KIND_RUNTIME":
        assert found.waits is None
    if table == "TARGET_INFO_SESSION_START_TIME":
        assert not found.trace.epoch
    if table == "NVTX_EVENTS":
        assert (found.trace.rank, found.trace.world) == (2, None)


@pytest.mark.parametrize("column", ["globalPid", "correlationId", "deviceId", "contextId", "shortName"])
def test_columns_that_are_not_used_or_not_needed_may_be_missing(tmp_path: Path, column: str) -> None:
    names = [part.split()[0] for part in COLUMNS["CUPTI_ACTIVITY_KIND_KERNEL"].split(", ")]
    keep = [i for i, name in enumerate(names) if name != column]
    rows = step()
    rows["CUPTI_ACTIVITY_KIND_KERNEL"] = [tuple(row[i] for i in keep) for row in rows["CUPTI_ACTIVITY_KIND_KERNEL"]]
    rows["CUPTI_ACTIVITY_KIND_MEMCPY"] = []
    columns = COLUMNS | {"CUPTI_ACTIVITY_KIND_KERNEL": ", ".join(f"{names[i]} INTEGER" for i in keep)}

    found = nsys.read_recorded(saved(tmp_path / "a.sqlite", rows, columns))

    assert len(found.activities) == 4
    assert [c.size for c in found.trace.collectives] == [None if column == "correlationId" else 10**6]


def broken(table: str, row: Sequence[Any]) -> dict[str, list[tuple[Any, ...]]]:
    return step() | {table: [*step()[table], tuple(row)]}


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ({"StringIds": [(1, "x")]}, "none of the tables of a CUDA trace"),
        ({"NVTX_EVENTS": step()["NVTX_EVENTS"]}, "no kernels and no copies"),
        (broken("CUPTI_ACTIVITY_KIND_KERNEL", kernel(30_000, 31_000, 7, 40, 1, 1)), "kernels of several GPUs"),
        (broken("CUPTI_ACTIVITY_KIND_KERNEL", kernel(30_000, 29_000, 7, 40)), "ends at 29000, before its start 30000"),
        (broken("CUPTI_ACTIVITY_KIND_KERNEL", kernel(2**62, 2**62, 7, 40)), "is no time in nanoseconds"),
        (broken("CUPTI_ACTIVITY_KIND_KERNEL", ("soon", 1, 0, 1, 7, 4, PID, 1, 1)), "'soon' is no time in nanosec"),
    ],
)
def test_what_cannot_be_a_rank_is_refused_in_one_line(
    tmp_path: Path, rows: dict[str, list[tuple[Any, ...]]], complaint: str
) -> None:
    path = saved(tmp_path / "a.sqlite", rows)

    with pytest.raises(InputError) as caught:
        nsys.read_recorded(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_kernel_table_without_its_times_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.sqlite", {"CUPTI_ACTIVITY_KIND_KERNEL": [(1,)]}, {"CUPTI_ACTIVITY_KIND_KERNEL": "end"})

    with pytest.raises(InputError, match="table CUPTI_ACTIVITY_KIND_KERNEL has no column start"):
        nsys.read_recorded(path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"hello")
    with pytest.raises(InputError, match="not an SQLite database; expected an SQLite export of Nsight Systems"):
        nsys.read_trace(tmp_path / "a.sqlite")
    with pytest.raises(InputError, match="cannot be read: no such file"):
        nsys.read_trace(tmp_path / "gone.sqlite")
    (tmp_path / "a.sqlite").write_bytes(nsys.MAGIC)
    with pytest.raises(InputError, match=r"damaged or cut off, nothing can be read"):
        nsys.read_trace(tmp_path / "a.sqlite")


def long_step() -> dict[str, list[tuple[Any, ...]]]:
    """Return a step of many kernels, over many pages of the database, the kernels behind everything else."""
    rows = step()
    kernels = [kernel(100_000 + 20 * i, 100_010 + 20 * i, 7, 50 + i) for i in range(3000)]
    return {table: those for table, those in rows.items() if "KERNEL" not in table} | {
        "CUPTI_ACTIVITY_KIND_KERNEL": [*rows["CUPTI_ACTIVITY_KIND_KERNEL"], *kernels]
    }


def test_a_cut_off_database_is_read_up_to_the_cut(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.sqlite", long_step())
    raw = path.read_bytes()
    counts = []
    for part in (10, 6, 4):
        path.write_bytes(raw[: len(raw) * part // 10 // 4096 * 4096])
        found = nsys.read_recorded(path)
        counts.append(len(found.activities))
        if part < 10:
            (said,) = [sentence for sentence in found.trace.lacks if "damaged or cut off" in sentence]
            kernels = len(found.activities) - 1
            assert said.startswith("table CUPTI_ACTIVITY_KIND_KERNEL is damaged or cut off")
            assert f"its first {kernels} rows are imported, what is missing is unknown" in said
    assert counts[0] == 3005
    assert counts[0] > counts[1] > counts[2] > 5


@given(cut=st.integers(0, 10**6), flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4))
def test_whatever_is_wrong_with_a_database_it_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flips: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("nsys")
    raw = bytearray(saved(folder / "a.sqlite", step()).read_bytes())
    for place, byte in flips:
        raw[place % len(raw)] = byte
    (folder / "a.sqlite").write_bytes(raw[: cut % (len(raw) + 1)] if cut % 3 else raw)
    try:
        found = nsys.read_recorded(folder / "a.sqlite")
        assert found.trace.lacks[0] == nsys.UNVERIFIED
        assert all(len(line.splitlines()) == 1 for line in kineto.inspect(found.trace))
        assert ranks.to_executions([found])
        refusal = "none"
    except InputError as error:
        refusal = str(error)
    assert len(refusal.encode().splitlines()) == 1
