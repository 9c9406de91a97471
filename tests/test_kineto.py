"""Kineto traces: every guard, exact times, and profiles whose bytes and skew are known beforehand."""

import gzip
import json
import os
import tracemalloc
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore import source
from simcore.errors import InputError
from simcore.formats import events as trace_events
from simcore.formats import json_text, kineto, profile, writes
from simcore.formats.profile import FLAG_BYTES, Profile


def nccl(
    ts: float, dur: float, name: str = "allreduce", elements: int = 1000, ranks: str = "[0, 1, 2, 3]", **more: Any
) -> dict[str, Any]:
    """Return one NCCL kernel as the profiler writes it."""
    args = {
        "Collective name": name,
        "In msg nelems": elements,
        "Out msg nelems": elements,
        "dtype": "Float",
        "Process Group Ranks": ranks,
        **more,
    }
    return {
        "ph": "X",
        "cat": "kernel",
        "name": f"ncclDevKernel_{name}",
        "ts": ts,
        "dur": dur,
        "pid": 0,
        "tid": 7,
        "args": args,
    }


def job(
    rank: int, events: list[dict[str, Any]], world: int = 4, base: int | None = 1_700_000_000_000_000_000
) -> dict[str, Any]:
    """Return the trace of one rank of a distributed job."""
    whole: dict[str, Any] = {
        "distributedInfo": {"backend": "nccl", "rank": rank, "world_size": world},
        "traceEvents": events,
    }
    return whole if base is None else whole | {"baseTimeNanoseconds": base}


def saved(folder: Path, whole: Any, name: str = "trace.json") -> Path:
    path = folder / name
    text = json.dumps(whole).encode()
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    return path


def traces(folder: Path, *wholes: dict[str, Any]) -> list[kineto.Trace]:
    return [kineto.read_trace(saved(folder, whole, f"t{i}.json")) for i, whole in enumerate(wholes)]


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
@pytest.mark.parametrize("form", ["object", "list"])
def test_plain_and_gzip_object_and_list_are_read(tmp_path: Path, name: str, form: str) -> None:
    whole = job(2, [nccl(10.5, 2.25)])

    trace = kineto.read_trace(saved(tmp_path, whole if form == "object" else whole["traceEvents"], name))

    assert [(c.name, c.size) for c in trace.collectives] == [("all_reduce", 4000)]
    assert (trace.rank, trace.world) == ((2, 4) if form == "object" else (None, None))


def test_microseconds_since_1970_become_exact_picoseconds(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(
        '{"baseTimeNanoseconds": 1, "traceEvents": ['
        '{"ph": "X", "cat": "kernel", "name": "nccl", "ts": 4458677009853.422001, "dur": 0.001}]}'
    )

    (found,) = kineto.read_trace(path).collectives

    assert found.start == 4_458_677_009_853_422_001 + 1000
    assert found.end - found.start == 1000


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"", "empty; expected a Kineto trace"),
        (b"{}", "not a Kineto trace; expected an object with 'traceEvents'"),
        (b"5", "not a Kineto trace; expected"),
        (b"[]", "none of its 0 events is a profiler's"),
        (b'[{"ph": "X", "cat": "blink", "name": "x", "ts": 1}]', "none of its 1 events is a profiler's"),
        (b'[{"ph": "X", "cat": "kernel", "name": "x", "ts": "soon"}]', "none of its 1 events is a profiler's"),
        (b'{"traceEvents": [{"ph": "X", "ca', "the trace is cut off"),
        (b"hello", "not JSON"),
        (b"\x89PNG\xff\xfe", "not a text file"),
        (b'{"traceEvents": [', "the trace is cut off: expecting value: there is no whole event before the cut"),
        (b'{"traceEvents": [], "a": tru', "there is no whole event before the cut"),
        (b"\x1f\x8bnonsense", "the gzip file is damaged"),
        (gzip.compress(b'{"traceEvents": []}', mtime=0)[:-9], "none of its 0 events is a profiler's"),
        (gzip.compress(b'{"traceEvents": []}', mtime=0)[:8], "empty"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_line(tmp_path: Path, raw: bytes, complaint: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(raw)

    with pytest.raises(InputError) as caught:
        kineto.read_trace(path)

    assert str(caught.value).startswith(str(path))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_gzip_bomb_is_refused_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * 10_000_000))

    with pytest.raises(InputError, match="unpacks to more than 1000000 bytes"):
        kineto.read_trace(path, limit=1_000_000)


def test_a_trace_of_nothing_but_commas_is_refused_before_memory_is_spent(tmp_path: Path) -> None:
    """Twenty million numbers in a gzip of a few kB would be a list of many times the size of their text."""
    path = tmp_path / "commas.json.gz"
    path.write_bytes(gzip.compress(b'{"traceEvents": [' + b"0," * 20_000_000 + b"0]}", 1))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="event 0 is no object with keys, but 0"):
            kineto.read_trace(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000


@pytest.mark.parametrize(
    ("limit", "events", "complaint"),
    [
        ("MOST_EVENTS", b"{}," * 20, "more than 10 events"),
        ("LARGEST_VALUE", b'{"name": "' + b"x" * 2_000_000 + b'"},', "a value of more than 10 characters"),
        ("LARGEST_KEPT", json.dumps(nccl(1.0, 1.0)).encode() + b",", "10 characters of collectives"),
    ],
)
def test_the_limits_of_a_trace_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, events: bytes, complaint: str
) -> None:
    monkeypatch.setattr(json_text if limit == "LARGEST_VALUE" else trace_events, limit, 10)
    path = tmp_path / "t.json"
    path.write_bytes(b"[" + events + b"{}]")

    with pytest.raises(InputError, match=complaint):
        kineto.read_trace(path)


def test_values_may_lie_across_the_pieces_in_which_a_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job(2, [nccl(10.5 + i, 2.25, note="é" * i) for i in range(40)]) | {"number": 1.5e-7, "last": 12345}
    text = json.dumps(whole, ensure_ascii=False, indent=1).encode()
    (tmp_path / "t.json").write_bytes(text)
    expected = kineto.read_trace(tmp_path / "t.json")
    for size in (1, 7, 100):
        monkeypatch.setattr(json_text, "CHUNK", size)
        assert kineto.read_trace(tmp_path / "t.json") == expected
    (tmp_path / "t.json").write_bytes(text.replace(b'"last"', b'"last'))
    with pytest.raises(InputError, match=rf"t\.json:{text.decode().count(chr(10))}:\d+: .*invalid|delimiter"):
        kineto.read_trace(tmp_path / "t.json")


def cut_job() -> bytes:
    """Return a trace whose text has all that can be cut: letters of two bytes, escapes, exponents, words, keys behind
    the events."""
    whole = job(
        1,
        [
            nccl(10.5 + i, 2.25, elements=1000 * (i + 1), note='é "\\\u20ac', flag=None, other=[True, 1.5e-7])
            for i in range(4)
        ],
    )
    return (
        json.dumps(whole | {"about": "é\ud83d\ude00", "last": 12345}, ensure_ascii=True)
        .encode()
        .replace(b"\\u00e9", "é".encode())
    )


@pytest.mark.parametrize("chunk", [7, 2**20])
def test_a_file_cut_off_anywhere_is_read_up_to_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """The events before the cut are those whose text is whole, and the trace says how much was read."""
    monkeypatch.setattr(json_text, "CHUNK", chunk)
    text = cut_job()
    path = tmp_path / "t.json"
    ends = [end for end in range(1, len(text)) if text[:end].endswith(b'"other": [true, 1.5e-07]}}')]
    assert len(ends) == 4
    for cut in range(text.index(b"traceEvents"), len(text)):
        path.write_bytes(text[:cut])
        count = sum(end <= cut for end in ends)
        if not count:
            with pytest.raises(InputError, match=r"cut off.*no whole event before the cut"):
                kineto.read_trace(path)
            continue
        found = kineto.read_trace(path)
        assert [c.size for c in found.collectives] == [4 * 1000 * (i + 1) for i in range(count)]
        assert found.lacks[0] == (
            f"the file is cut off after {cut} bytes of text: the {count} events before the cut are imported, what is "
            "missing is unknown"
        )


@given(cut=st.integers(1, 10**6), level=st.integers(0, 9), members=st.booleans())
def test_a_gzip_stream_cut_off_anywhere_is_unpacked_up_to_the_cut(
    tmp_path_factory: pytest.TempPathFactory, cut: int, level: int, members: bool
) -> None:
    """What the plain file of the same unpacked bytes gives, the cut gzip file gives too."""
    folder = tmp_path_factory.mktemp("cut")
    text = json.dumps(job(1, [nccl(10.5 + i, 2.25, elements=i * i * 7919) for i in range(60)])).encode()
    half = len(text) // 2 if members else 0
    packed = gzip.compress(text[:half], level) + b"\0" * 5 * members + gzip.compress(text[half:], level)
    packed = packed[: 18 + cut % (len(packed) - 18)]
    (folder / "t.json.gz").write_bytes(packed)
    unpacked, rest = b"", packed
    while rest:
        stream = zlib.decompressobj(31)
        unpacked += stream.decompress(rest)
        rest = stream.unused_data.lstrip(b"\0")
    (folder / "t.json").write_bytes(unpacked)
    read = []
    for name in ("t.json", "t.json.gz"):
        try:
            trace = kineto.read_trace(folder / name)
            read.append((trace.collectives, trace.lacks))
        except InputError as error:
            read.append(str(error).partition(":")[2].replace(".gz", ""))
    if unpacked == text:
        assert read[1] == (read[0][0], ["the gzip file is cut off behind its last event: all 60 events are there"])
    else:
        assert read[0] == read[1]


def test_a_number_at_the_cut_is_not_believed(tmp_path: Path) -> None:
    text = json.dumps(job(0, [nccl(1.0, 1.0)], base=1_700_000_000_000_000_000))
    assert text.endswith("1700000000000000000}")
    (tmp_path / "t.json").write_text(text[:-5])

    trace = kineto.read_trace(tmp_path / "t.json")

    assert not trace.epoch
    assert trace.collectives[0].start == 10**6
    assert trace.lacks[0].startswith("the file is cut off after ")
    assert "it may have stood behind the cut" in trace.lacks[1]
    header = writes.to_profile([trace], clone_rank=0).header
    assert ("lacks", f"rank 0: {trace.lacks[0]}") in header


def changed(whole: Any, keys: list[Any], value: Any) -> Any:
    """Return ``whole`` as text of JSON, its value at ``keys`` replaced by the text ``value``."""
    inner = whole
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = "PLANTED"
    return json.dumps(whole).replace('"PLANTED"', value)


HOST = {
    "ph": "X", "cat": "user_annotation", "name": "nccl:all_reduce", "ts": 10, "dur": 5, "pid": 1, "tid": 1,
    "args": {"Input Dims": [[30]], "Input type": ["float"]},
}  # fmt: skip
LAUNCH = {
    "ph": "X", "cat": "cuda_runtime", "name": "launch", "ts": 12, "dur": 1, "pid": 1, "tid": 1,
    "args": {"correlation": 1},
}  # fmt: skip
KERNEL = {"ph": "X", "cat": "kernel", "name": "ncclKernel_AllReduce", "ts": 20, "dur": 5, "args": {"correlation": 1}}


def rich_job() -> dict[str, Any]:
    """Return a good trace that has everything an importer looks at."""
    whole = job(0, [nccl(10.0, 2.0), HOST, LAUNCH, KERNEL])
    whole["distributedInfo"]["pg_config"] = [{"ranks": [0, 1, 2, 3]}]
    whole["deviceProperties"] = [{"name": "GPU"}]
    return dict(json.loads(json.dumps(whole)))


ARGS = ["traceEvents", 0, "args"]


@pytest.mark.parametrize(
    ("keys", "value", "complaint"),
    [
        (ARGS, "[1]", "args is a list; expected keys with values"),
        ([*ARGS, "In msg nelems"], '"abc"', "'In msg nelems' is \"abc\"; expected a whole number"),
        ([*ARGS, "In msg nelems"], "null", "'In msg nelems' is null; expected"),
        ([*ARGS, "In msg nelems"], "1.5", "'In msg nelems' is \"1.5\"; expected"),
        ([*ARGS, "In msg nelems"], "-4", "'In msg nelems' is -4; expected"),
        ([*ARGS, "In msg nelems"], "1" + "0" * 30, "expected a whole number from 0 to below"),
        ([*ARGS, "In msg nelems"], str(2**61), "moves 9223372036854775808 bytes; the limit is below"),
        ([*ARGS, "Process Group Ranks"], '"[0, 0, 0]"', "expected different ranks, each 0 or more"),
        ([*ARGS, "Process Group Ranks"], '"[0, -1]"', "expected different ranks, each 0 or more"),
        ([*ARGS, "Process Group Ranks"], '"[0, 99]"', "its group has rank 99, but ranks are 0 to 3"),
        ([*ARGS[:2], "dur"], "-5", "dur is -5; expected zero or more"),
        ([*ARGS[:2], "ts"], "1e999999", "its ts or dur is out of range"),
        ([*ARGS[:2], "ts"], "1e99999999999999999999", "a number with too many digits"),
        ([*ARGS[:2], "ts"], "1" * 5000, "a number with too many digits"),
        ([*ARGS[:2], "ts"], "null", "ts and dur must be numbers of microseconds"),
        (["traceEvents", 1, "args", "Input Dims"], "7", "'Input Dims' is 7; expected a list of shapes"),
        (["traceEvents", 1, "args", "Input Dims"], "[[-3]]", "expected shapes of at most 64 lengths, zero or more"),
        (["traceEvents", 1, "args", "Input Dims"], "[[1" + "0" * 30 + "]]", "below 4611686018427387904 elements"),
        (["traceEvents", 1, "args", "Input type"], "5", "'Input type' is 5; expected a list of words"),
        (["traceEvents", 1, "pid"], "[1]", "pid, tid and correlation are a number or a word, not a list"),
        (["traceEvents", 2, "args", "correlation"], "[1]", "'correlation' is a list; expected"),
        (["distributedInfo"], "[1]", "distributedInfo is a list; expected an object"),
        (["distributedInfo"], '"x"', 'distributedInfo is "x"; expected an object'),
        (["distributedInfo", "world_size"], "1" + "0" * 12, "expected ranks counted from 0, at most 131072"),
        (["distributedInfo", "rank"], "true", "states rank true of world_size 4; expected"),
        (["distributedInfo", "rank"], "4", "states rank 4 of world_size 4; expected"),
        (["distributedInfo", "pg_config"], "5", "pg_config is 5; expected a list of objects"),
        (["deviceProperties"], '["a"]', "deviceProperties is a list; expected a list of objects"),
        (["deviceProperties"], '{"a": 1}', "deviceProperties is an object; expected a list of objects"),
        (["baseTimeNanoseconds"], "-1", "baseTimeNanoseconds is -1; expected nanoseconds"),
    ],
)
def test_a_field_of_a_wrong_type_or_size_is_named(tmp_path: Path, keys: list[Any], value: str, complaint: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(changed(rich_job(), keys, value), encoding="utf-8")

    with pytest.raises(InputError) as caught:
        kineto.read_trace(path)

    assert str(caught.value).startswith(str(path))
    assert complaint in str(caught.value)


def test_null_arguments_are_none_at_all_and_odd_letters_can_be_printed(tmp_path: Path) -> None:
    whole = rich_job()
    whole["traceEvents"][0]["args"] = None
    whole["distributedInfo"]["backend"] = "nc\ud800cl\nx"

    trace = kineto.read_trace(saved(tmp_path, whole))

    assert trace.backend == r"nc\ud800cl\nx"
    assert [c.size for c in trace.collectives] == [None, 120]


PATHS = [
    ["traceEvents"], ["distributedInfo"], ["deviceProperties"], ["baseTimeNanoseconds"],
    *(["distributedInfo", key] for key in ("rank", "world_size", "backend", "pg_config")),
    *(
        ["traceEvents", i, key]
        for i, event in enumerate(rich_job()["traceEvents"])
        for key in event
    ),
    *(["traceEvents", 0, "args", key] for key in rich_job()["traceEvents"][0]["args"]),
    *(["traceEvents", 1, "args", key] for key in ("Input Dims", "Input type")),
    *(["traceEvents", i, "args", "correlation"] for i in (2, 3)),
]  # fmt: skip
JUNK = st.recursive(
    st.sampled_from(
        ["null", "true", "-5", "1.5", "1e999999", "1" * 30, '"\\ud800"', '"a\\nb,"', '"²"', "[0, 99]", "NaN"]
    )
    | st.integers(-2, 2**70).map(str)
    | st.text(max_size=5).map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | inner.map(lambda part: f'{{"a": {part}}}')
    ),
    max_leaves=4,
)


@given(st.sampled_from(PATHS), JUNK)
def test_whatever_stands_in_a_trace_it_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, keys: list[Any], value: str
) -> None:
    """No traceback, and no profile that would be refused when it is read."""
    folder = tmp_path_factory.mktemp("mutated")
    (folder / "t.json").write_text(changed(rich_job(), keys, value), encoding="utf-8")
    try:
        trace = kineto.read_trace(folder / "t.json")
        assert all(line.encode() and len(line.splitlines()) == 1 for line in kineto.inspect(trace))
        made = writes.to_profile([trace])
        profile.write_profile(made, folder / "p.csv")
    except InputError as error:
        made, refusal = None, str(error)
    if made is None:
        assert len(refusal.encode().splitlines()) == 1
    else:
        assert profile.read_profile(folder / "p.csv").header == made.header


def test_collectives_of_too_many_writes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_ = traces(tmp_path, job(0, [nccl(1.0, 1.0)] * 10))
    monkeypatch.setattr(writes, "MOST_WRITES", 10 * 4 * 3 * 4 - 1)

    assert len(writes.to_profile(given_).rank) == 10 * 4 * 3
    with pytest.raises(InputError, match="would become up to 480 writes; the limit is 479"):
        writes.to_profile(given_, clone_rank=0)


def test_inspect_says_what_a_trace_of_one_rank_cannot_hold(tmp_path: Path) -> None:
    whole = job(0, [nccl(1.0, 1.0), nccl(5.0, 1.0, "broadcast"), nccl(8.0, 1.0, "broadcast")])

    lines = kineto.inspect(*traces(tmp_path, whole))

    assert lines[-2].startswith("lacks: the other 3 of 4 ranks")
    assert lines[-1] == "lacks: the roots of 2 x broadcast: a trace names none"


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: no such file"):
        kineto.read_trace(tmp_path / "gone")
    with pytest.raises(InputError, match="cannot be read: is a directory"):
        kineto.read_trace(tmp_path)


def sums(found: Profile) -> dict[tuple[int, int, int], list[int]]:
    """Return data bytes received by (collective, rank), split by whether the receiver reduces."""
    received: dict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0, 0])
    for i in range(len(found.rank)):
        if not found.flag[i]:
            received[int(found.collective[i]), int(found.dst[i]), 0][0 if found.reduce[i] else 1] += int(found.size[i])
    return received


@given(st.integers(2, 6), st.integers(1, 5000), st.sampled_from(["direct", "ring"]))
def test_an_all_reduce_moves_the_bytes_of_its_algorithm(
    tmp_path_factory: pytest.TempPathFactory, world: int, elements: int, algorithm: str
) -> None:
    """Both forms are reduce-scatter and all-gather: every rank receives what the closed form says, element by
    element."""
    folder = tmp_path_factory.mktemp("kineto")
    ranks = str(list(range(world)))
    wholes = [job(rank, [nccl(1.0, 1.0 + rank, elements=elements, ranks=ranks)], world) for rank in range(world)]

    found = writes.to_profile(traces(folder, *wholes), algorithm=algorithm)

    parts = [4 * (elements // world + (i < elements % world)) for i in range(world)]
    reduced, copied = (sum(values[k] for values in sums(found).values()) for k in (0, 1))
    assert reduced == copied == (world - 1) * 4 * elements
    for rank in range(world):
        got = sums(found)[0, rank, 0]
        # Ring: rank r ends up owning part r + 1, so it receives all parts but the one it starts with.
        expected = (world - 1) * parts[rank] if algorithm == "direct" else sum(parts) - parts[rank]
        assert got[0] == expected
        assert got[1] == sum(parts) - parts[rank if algorithm == "direct" else (rank + 1) % world]
    flags = found.flag
    assert set(found.size[flags].tolist()) == {FLAG_BYTES}
    assert int(flags.sum()) == world * 2 * (world - 1)


@pytest.mark.parametrize(
    ("name", "received"),
    [("allgather", 3 * 1000), ("reducescatter", 3 * 1000), ("alltoall", 3 * 1000)],
)
@pytest.mark.parametrize("algorithm", ["direct", "ring"])
def test_other_collectives_move_their_bytes(tmp_path: Path, name: str, received: int, algorithm: str) -> None:
    wholes = [job(rank, [nccl(1.0, 1.0, name, 1000)]) for rank in range(4)]

    found = writes.to_profile(traces(tmp_path, *wholes), algorithm=algorithm)

    assert {rank: sum(values) for (_, rank, _), values in sums(found).items()} == dict.fromkeys(range(4), received)
    assert bool(found.reduce.any()) == (name == "reducescatter")


@pytest.mark.parametrize("algorithm", ["direct", "ring"])
def test_broadcast_starts_at_the_lowest_rank_and_reaches_everybody_once(tmp_path: Path, algorithm: str) -> None:
    wholes = [job(rank, [nccl(1.0, 1.0, "broadcast", 1000)]) for rank in range(4)]

    found = writes.to_profile(traces(tmp_path, *wholes), algorithm=algorithm)

    assert {rank: values[1] for (_, rank, _), values in sums(found).items()} == {1: 4000, 2: 4000, 3: 4000}
    assert "lowest rank" in dict(found.header)["root"]


def test_writes_are_stamped_with_the_end_and_begin_with_the_start(tmp_path: Path) -> None:
    wholes = [job(rank, [nccl(5.0 + rank, 10.0), nccl(100.0, 1.0 + rank)]) for rank in range(4)]

    found = writes.to_profile(traces(tmp_path, *wholes))

    assert {
        (int(r), int(s), int(t))
        for r, s, t, c in zip(found.rank, found.start, found.time, found.collective, strict=True)
        if c == 0
    } == {(rank, rank * 10**6, (10 + rank) * 10**6) for rank in range(4)}
    assert sorted(set(found.collective.tolist())) == [0, 1]


def test_absent_ranks_stay_absent_unless_cloned(tmp_path: Path) -> None:
    given_ = traces(tmp_path, job(1, [nccl(5.0, 10.0)]))

    alone = writes.to_profile(given_)
    cloned = writes.to_profile(given_, clone_rank=1)

    assert (alone.ranks, cloned.ranks, alone.world) == ((1,), (0, 1, 2, 3), 4)
    assert "3 of 4 ranks (0, 2 to 3) have" in dict(alone.header)["absent"]
    assert "rank 1 stands for 3 ranks" in dict(cloned.header)["clone"]
    assert {int(t) for t in cloned.time} == {10 * 10**6}
    with pytest.raises(InputError, match="--clone-rank 2: there is no trace of that rank"):
        writes.to_profile(given_, clone_rank=2)


def test_match_recovers_a_planted_skew_and_states_the_residual(tmp_path: Path) -> None:
    skew = {0: 0.0, 1: 1234.5, 2: -77.25, 3: 10_000_000.0}
    begins = [100.0, 250.0, 400.0]
    wholes = [job(rank, [nccl(begin + skew[rank], 10.0) for begin in begins], base=None) for rank in range(4)]
    given_ = traces(tmp_path, *wholes)

    matched = writes.to_profile(given_, align="match")
    plain = writes.to_profile(given_, align="none")

    for rank in range(4):
        assert sorted(set(matched.time[matched.rank == rank].tolist())) == [10 * 10**6, 160 * 10**6, 310 * 10**6]
    assert len(set(plain.time.tolist())) == 12
    assert "residual mean 0 ps, max 0 ps" in dict(matched.header)["align"]


def test_match_needs_something_in_common(tmp_path: Path) -> None:
    wholes = [job(0, [nccl(1.0, 1.0, ranks="[0, 1]")]), job(2, [nccl(1.0, 1.0, ranks="[2, 3]")])]

    with pytest.raises(InputError, match="rank 2 shares no collective"):
        writes.to_profile(traces(tmp_path, *wholes), align="match")


def test_clocks_of_their_own_need_an_alignment(tmp_path: Path) -> None:
    given_ = traces(tmp_path, *[job(rank, [nccl(1.0 + rank, 1.0)], base=None) for rank in range(2)])

    with pytest.raises(InputError, match="--align base or --align match"):
        writes.to_profile(given_)
    assert set(writes.to_profile(given_, align="base").start.tolist()) == {0}
    assert writes.to_profile(given_[:1]).ranks == (0,)


def test_a_trace_without_collectives_says_what_it_lacks(tmp_path: Path) -> None:
    given_ = traces(tmp_path, job(0, [{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "ts": 1, "dur": 1}]))

    with pytest.raises(InputError, match="no collective can become writes: no collectives"):
        writes.to_profile(given_)
    assert "lacks: no collectives" in kineto.inspect(given_[0])


def test_kernels_without_sizes_take_those_of_the_host_call_around_their_launch(tmp_path: Path) -> None:
    def kernel(correlation: int, ts: float) -> dict[str, Any]:
        return {
            "ph": "X",
            "cat": "kernel",
            "name": "ncclKernel_AllReduce_RING_LL_Sum_float()",
            "ts": ts,
            "dur": 5,
            "args": {"correlation": correlation},
        }

    host = [
        {
            "ph": "X",
            "cat": "user_annotation",
            "name": "nccl:all_reduce",
            "ts": 10,
            "dur": 5,
            "pid": 1,
            "tid": 1,
            "args": {"Input Dims": [[30]], "Input type": ["float"]},
        },
        {
            "ph": "X",
            "cat": "cuda_runtime",
            "name": "cudaLaunchKernel",
            "ts": 12,
            "dur": 1,
            "pid": 1,
            "tid": 1,
            "args": {"correlation": 1},
        },
        {
            "ph": "X",
            "cat": "cuda_runtime",
            "name": "cudaLaunchKernel",
            "ts": 99,
            "dur": 1,
            "pid": 1,
            "tid": 1,
            "args": {"correlation": 2},
        },
    ]

    (trace,) = traces(tmp_path, job(0, [*host, kernel(1, 20), kernel(2, 200)], 2))

    assert [c.size for c in trace.collectives] == [120, None]
    assert any("sizes are those of the tensors in the host's call" in sentence for sentence in trace.lacks)
    assert any("these collectives have no size" in sentence for sentence in trace.lacks)
    header = writes.to_profile([trace]).header
    assert (
        "left out",
        "rank 0: 1 x all_reduce become no writes (size, group or peer unknown, or no algorithm)",
    ) in header


def test_traces_of_one_rank_or_of_different_jobs_do_not_mix(tmp_path: Path) -> None:
    one = job(0, [nccl(1.0, 1.0)])
    with pytest.raises(InputError, match=r"rank 0 was already given by t0\.json"):
        writes.to_profile(traces(tmp_path, one, one))
    with pytest.raises(InputError, match="different jobs: they state 4, 8 ranks"):
        writes.to_profile(traces(tmp_path, one, job(1, [nccl(1.0, 1.0)], 8)))


def test_collectives_that_disagree_between_ranks_are_counted_in_the_header(tmp_path: Path) -> None:
    wholes = [job(0, [nccl(1.0, 1.0, elements=10)]), job(1, [nccl(1.0, 1.0, elements=20)])]

    assert dict(writes.to_profile(traces(tmp_path, *wholes)).header)["unequal"].startswith("1 collectives")


def test_an_unknown_algorithm_or_alignment_is_refused(tmp_path: Path) -> None:
    given_ = traces(tmp_path, job(0, [nccl(1.0, 1.0)]))
    with pytest.raises(InputError, match="--as tree: unknown algorithm; allowed: direct, ring"):
        writes.to_profile(given_, algorithm="tree")
    with pytest.raises(InputError, match="--align clock: unknown way; allowed: none, base, match"):
        writes.to_profile(given_, align="clock")


def test_the_bundled_profile_is_what_the_importer_makes_of_the_bundled_traces(tmp_path: Path) -> None:
    folder = source.bundle("traces") / "ddp_4ranks"
    made = writes.to_profile([kineto.read_trace(folder / f"rank{rank}.json.gz") for rank in range(4)])

    profile.write_profile(made, tmp_path / "profile.csv")

    assert (tmp_path / "profile.csv").read_text(encoding="utf-8") == (folder / "profile.csv").read_text(
        encoding="utf-8"
    )


def test_the_bundled_traces_are_a_real_training_with_skew_and_name_no_machine() -> None:
    found = [kineto.read_trace(path) for path in sorted((source.bundle("traces") / "ddp_4ranks").glob("*.json.gz"))]

    assert [(t.rank, t.world, t.backend, t.epoch) for t in found] == [(rank, 4, "gloo", True) for rank in range(4)]
    per_rank = [[(c.name, c.size) for c in t.collectives] for t in found]
    assert all(each == per_rank[0] for each in per_rank)
    assert len(per_rank[0]) == 12
    assert len({t.collectives[0].start for t in found}) == 4
    for path in (source.bundle("traces") / "ddp_4ranks").glob("*.json.gz"):
        whole = json.loads(gzip.decompress(path.read_bytes()))
        assert not {"host_name", "traceName", "trace_id"} & set(whole)


EXTRA = os.environ.get("SIMCORE_EXTRA_TRACES")


@pytest.mark.skipif(EXTRA is None, reason="SIMCORE_EXTRA_TRACES names no folder of further real traces")
def test_real_traces_from_elsewhere_are_read_and_say_what_they_lack() -> None:
    found = [kineto.read_trace(path) for path in sorted(Path(str(EXTRA)).rglob("*.json.gz"))]

    assert found
    for trace in found:
        assert trace.end > trace.start
        assert kineto.inspect(trace)
    sized = [t for t in found if t.collectives and not t.lacks]
    pair = [t for t in found if t.world == 128]
    bare = [t for t in found if not t.collectives]
    assert sized
    assert all(c.size for t in sized for c in t.collectives)
    made = writes.to_profile(sized[:1], algorithm="ring", clone_rank=sized[0].rank)
    assert made.world == sized[0].world == len(made.ranks)
    assert len(pair) == 2
    assert any("sizes are those of the tensors" in sentence for sentence in pair[0].lacks)
    header = dict(writes.to_profile(pair, align="match").header)
    assert "end together in the median" in header["align"]
    assert "126 of 128 ranks" in header["absent"]
    assert bare
    assert any("no collectives" in sentence for sentence in bare[0].lacks)
    with pytest.raises(InputError, match="no collective can become writes"):
        writes.to_profile(bare[:1])
