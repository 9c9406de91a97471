"""The exported trace: decoded by Perfetto's own schema it holds what the tables hold, and nothing is misnested."""

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema

from simcore import InputError, cli, read_scenario, report, run
from simcore.formats import perfetto, tracks, wire
from simcore.trace import SCHEMAS, Recorder

PROCESSOR = os.environ.get("SIMCORE_TRACE_PROCESSOR")
RANKS = ["rank0", "rank1", "rank2", "gpu7 (traffic)"]
Tables = dict[str, pa.Table]


@dataclass
class Shown:
    """What a viewer makes of a trace: events by the path of their track, ns; slices nested at most ``depth`` deep."""

    slices: list[tuple[tuple[str, ...], str, int, int, dict[str, Any]]] = field(default_factory=list)
    instants: list[tuple[tuple[str, ...], str, int, dict[str, Any]]] = field(default_factory=list)
    samples: list[tuple[tuple[str, ...], int, float]] = field(default_factory=list)
    arrows: dict[int, list[tuple[str, ...]]] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    depth: int = 0


def decoded(data: bytes) -> Shown:
    """Show the packets of a trace in their order, as Perfetto's trace processor does; fails where it would complain."""
    trace = schema.Trace.FromString(data)
    # A field that the schema does not know, or one not in its place, would not come back in the same bytes.
    assert trace.SerializeToString() == data
    about: dict[int, Any] = {}
    texts: dict[tuple[str, int], str] = {}
    open_slices: dict[int, list[Any]] = {}
    shown, last, valid = Shown(), 0, False
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id == 1
        valid |= bool(packet.sequence_flags & schema.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED)
        assert valid
        if packet.HasField("track_descriptor"):
            assert packet.track_descriptor.uuid not in about
            assert packet.track_descriptor.parent_uuid in {0, *about}
            about[packet.track_descriptor.uuid] = packet.track_descriptor
        for table in ("event_names", "event_categories", "debug_annotation_names"):
            for entry in getattr(packet.interned_data, table):
                assert (table, entry.iid) not in texts
                texts[table, entry.iid] = entry.name
        for entry in packet.interned_data.debug_annotation_string_values:
            texts["values", entry.iid] = entry.str.decode()
        if packet.HasField("track_event"):
            event = packet.track_event
            assert packet.HasField("timestamp")
            assert packet.timestamp >= last
            assert packet.sequence_flags & 2 or not event.name_iid
            last = packet.timestamp
            show(shown, packet.timestamp, event, about, texts, open_slices.setdefault(event.track_uuid, []))
    assert not any(open_slices.values())
    shown.slices.sort(key=repr)
    return shown


def show(shown: Shown, ns: int, event: Any, about: Any, texts: dict[tuple[str, int], str], stack: list[Any]) -> None:
    where = path(event.track_uuid, about)
    shown.used.add(event.track_uuid)
    if event.type == schema.TrackEvent.TYPE_COUNTER:
        assert about[event.track_uuid].counter.unit_name == "%"
        shown.samples.append((where, ns, event.double_counter_value))
        return
    if event.type == schema.TrackEvent.TYPE_SLICE_END:
        name, begin, said = stack.pop()
        shown.slices.append((where, name, begin, ns, said))
        return
    said = {
        texts["debug_annotation_names", note.name_iid]: texts["values", note.string_value_iid]
        if note.HasField("string_value_iid")
        else note.int_value
        for note in event.debug_annotations
    }
    (category,) = event.category_iids
    said["category"] = texts["event_categories", category]
    name = texts["event_names", event.name_iid]
    for flow in event.flow_ids:
        assert flow not in shown.arrows
        shown.arrows[flow] = [where]
    for flow in event.terminating_flow_ids:
        shown.arrows[flow].append(where)
    if event.type == schema.TrackEvent.TYPE_SLICE_BEGIN:
        stack.append((name, ns, said))
        shown.depth = max(shown.depth, len(stack))
    else:
        assert event.type == schema.TrackEvent.TYPE_INSTANT
        shown.instants.append((where, name, ns, said))


def path(uuid: int, about: Any) -> tuple[str, ...]:
    track = about[uuid]
    if track.HasField("process"):
        assert (track.process.pid, track.process.process_name) == (uuid, track.name)
        return (track.name,)
    if track.HasField("thread"):
        assert (track.thread.pid, track.thread.thread_name) == (track.parent_uuid, track.name)
    return (*path(track.parent_uuid, about), track.name)


def told(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def place(location: str) -> tuple[str, str]:
    """Return the process and the track of a location, the plain way."""
    parts = location.split(".")
    count = 2 if len(parts) > 1 and parts[1].startswith("rank") else 1
    return ".".join(parts[:count]), ".".join(parts[count:]) or "activity"


def expected_slices(tables: Tables, ranks: list[str]) -> list[Any]:
    """Return all slices that the tables call for, row by row."""
    found: list[Any] = []
    for row in told(tables["spans"]):
        where, begin, end = place(row.pop("location")), row["t0_ps"], row["t1_ps"]
        name = f"wait: {row['reason'] or row['what']}" if row["activity"] == "wait" else row["what"] or row["activity"]
        found.append((where, name, begin // 1000, end // 1000, {**row, "category": row["activity"]}))
    for row in told(tables["transfers"]):
        begin, end, kind, what = (row.pop(key) for key in ("issued_ps", "arrived_ps", "kind", "what"))
        src, dst = ranks[row.pop("src")], ranks[row.pop("dst")]
        said = {"t0_ps": begin, "t1_ps": end, **row, "src": src, "dst": dst, "category": kind}
        found.append(((src, f"sent: {kind}"), what or "message", begin // 1000, end // 1000, said))
    for row in told(tables["flags"]):
        where = (place(row["location"])[0], "flags", row.pop("flag"))
        name, begin, end = row.pop("policy"), row.pop("t0_ps"), row.pop("detected_ps")
        said = {"t0_ps": begin, "t1_ps": end, **row, "category": "flag"}
        found.append((where, name, begin // 1000, end // 1000, said))
    return sorted([(*row[:4], dict(sorted(row[4].items()))) for row in found], key=repr)


def expected_samples(tables: Tables) -> Counter[Any]:
    bins: dict[str, list[Any]] = {}
    for row in sorted(told(tables["links"]), key=lambda row: int(row["t0_ps"])):
        bins.setdefault(row["link"], []).append(row)
    found: Counter[Any] = Counter()
    for link, rows in bins.items():
        for row, follower in zip(rows, [*rows[1:], None], strict=True):
            found["links", link, row["t0_ps"] // 1000, 100 * row["busy_ps"] / (row["t1_ps"] - row["t0_ps"])] += 1
            if follower is None or follower["t0_ps"] != row["t1_ps"]:
                found["links", link, row["t1_ps"] // 1000, 0.0] += 1
    return found


def check(tables: Tables, ranks: list[str], data: bytes, counts: dict[str, int]) -> Shown:
    """Check a trace against the tables, row by row."""
    shown = decoded(data)
    slices = [(*row[:4], dict(sorted(row[4].items()))) for row in shown.slices]
    assert sorted(slices, key=repr) == expected_slices(tables, ranks)
    transfers = told(tables["transfers"])
    arrivals = Counter(
        (ranks[row["dst"]], f"received: {row['kind']}", row["what"] or "message", row["arrived_ps"])
        for row in transfers
    )
    sets = Counter(
        {
            (place(row["location"])[0], "flags", row["flag"], "set", row["set_ps"])
            for row in told(tables["flags"])
            if row["set_ps"]
        }
    )
    seen = Counter(
        (*where, name, said["t_ps"]) for where, name, ns, said in shown.instants if ns == said["t_ps"] // 1000
    )
    assert seen == arrivals + sets
    assert Counter((*where, ns, value) for where, ns, value in shown.samples) == expected_samples(tables)
    wanted = Counter(
        ((ranks[row["src"]], f"sent: {row['kind']}"), (ranks[row["dst"]], f"received: {row['kind']}"))
        for row in transfers
    )
    assert Counter(map(tuple, shown.arrows.values())) == wanted
    assert shown.depth <= 1
    assert (counts["slices"], counts["flows"]) == (len(shown.slices), len(shown.arrows))
    assert (counts["instants"], counts["samples"]) == (len(shown.instants), len(shown.samples))
    assert counts["tracks"] == len(shown.used)
    return shown


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("fused_allreduce", ["wait.policy=monitor"]),
        ("two_jobs", ["slowdown=false", "traffic=[{pattern: incast, size: 1 kB, rate: 1 MB/s, stop: 5 ms}]"]),
    ],
)
def test_a_trace_holds_what_the_tables_of_a_run_hold(name: str, changes: list[str], tmp_path: Path) -> None:
    result = run(read_scenario(name, changes))
    ranks = report.rank_names(result)

    made = perfetto.export(result.tables, ranks, tmp_path / "a.pftrace")

    data = (tmp_path / "a.pftrace").read_bytes()
    assert made.size == len(data)
    shown = check(result.tables, ranks, data, made.counts)
    assert made.counts["flows"] == len(result.tables["transfers"]) > 0
    processes = {row[0][0] for rows in (shown.slices, shown.instants, shown.samples) for row in rows}
    assert len(processes) == made.counts["processes"]


INSTANTS = st.one_of(st.integers(0, 5000), st.integers(0, 2**62))
WORDS = st.one_of(
    st.sampled_from(["", "data", "flag", "wait", "send"]), st.text(st.characters(codec="utf-8"), max_size=6)
)
COUNTS = st.integers(0, 2**40)


@st.composite
def runs(draw: st.DrawFn) -> Tables:
    """Draw tables whose rows overlap as they please."""
    recorder = Recorder()
    where = st.sampled_from(["rank0", "rank2", "rank0.wg1", "rank0.wg17", "other.rank1"])

    def interval() -> tuple[int, int]:
        begin = draw(INSTANTS)
        return begin, begin + draw(st.integers(0, 3000))

    for _ in range(draw(st.integers(0, 6))):
        recorder.add("spans", (draw(where), *interval(), draw(WORDS), draw(WORDS), draw(WORDS), draw(COUNTS)))
    for sequence in range(draw(st.integers(0, 8))):
        src, dst = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        kind = draw(st.sampled_from(["data", "flag"]))
        recorder.add("transfers", (src, dst, sequence, draw(COUNTS), kind, *interval(), draw(COUNTS), draw(WORDS)))
    for at in sorted(draw(st.sets(st.integers(0, 9)))):
        row = (
            draw(st.sampled_from(["a->b", "a->c"])),
            512 * at,
            512 * at + 512,
            draw(st.integers(0, 600)),
            draw(COUNTS),
        )
        recorder.add("links", row)
    for _ in range(draw(st.integers(0, 6))):
        begin, end = interval()
        counts = [draw(COUNTS) for _ in SCHEMAS["flags"][6:]]
        row = (draw(WORDS), draw(where), draw(WORDS), begin, draw(st.integers(0, 5000)), end, *counts)
        recorder.add("flags", row)
    return recorder.tables()


@settings(max_examples=60)
@given(runs(), st.integers(1, 9))
def test_any_tables_are_shown_row_by_row_and_nothing_is_misnested(tables: Tables, chunk: int) -> None:
    made = tracks.timeline(tables, RANKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracks, "CHUNK", chunk)
        patch.setattr(perfetto, "TEXTS", chunk)
        data = b"".join(perfetto._packets(made))

    check(tables, RANKS, data, made.counts())
    assert counted(json.loads(b"".join(perfetto._json(made)))) == counted_tables(tables)


def counted_tables(tables: Tables) -> Counter[Any]:
    """Return what JSON has to hold: every slice by its ends in ns and its arguments, arrivals as slices too."""
    found: Counter[Any] = Counter()
    for _, name, begin, end, said in expected_slices(tables, RANKS):
        said.pop("category")
        found["slice", name, begin, end, json.dumps(said, sort_keys=True)] += 1
    for row in told(tables["transfers"]):
        ns, said = row["arrived_ps"] // 1000, {"t_ps": row["arrived_ps"], "src": RANKS[row["src"]]}
        found["slice", row["what"] or "message", ns, ns, json.dumps(said, sort_keys=True)] += 1
        found["arrow", row["issued_ps"] // 1000, ns, RANKS[row["src"]], RANKS[row["dst"]]] += 1
    for *_, link, ns, value in expected_samples(tables).elements():
        found["sample", link, ns, value] += 1
    for key in {(place(row["location"])[0], row["flag"], row["set_ps"]) for row in told(tables["flags"])}:
        if key[2]:
            found["set", key[0], key[2] // 1000] += 1
    return found


def counted(trace: Any) -> Counter[Any]:
    """Read Chrome's trace events as Perfetto does, a stack a thread."""
    found: Counter[Any] = Counter()
    stacks: dict[Any, list[Any]] = {}
    names: dict[int, str] = {}
    arrows: dict[int, tuple[int, str]] = {}
    last = 0
    for event in trace["traceEvents"]:
        if event["ph"] == "M":
            if event["name"] == "process_name":
                names[event["pid"]] = event["args"]["name"]
            continue
        ns = int(event["ts"] * 1000.0)
        assert ns >= last
        last, stack, process = ns, stacks.setdefault((event["pid"], event["tid"]), []), names[event["pid"]]
        if event["ph"] == "B":
            assert not stack
            stack.append(event)
        elif event["ph"] == "E":
            begun = stack.pop()
            said = json.dumps(begun["args"], sort_keys=True)
            found["slice", begun["name"], int(begun["ts"] * 1000.0), ns, said] += 1
        elif event["ph"] == "s":
            assert stack
            assert event["id"] not in arrows
            arrows[event["id"]] = ns, process
        elif event["ph"] == "f":
            assert stack
            found["arrow", arrows[event["id"]][0], ns, arrows[event["id"]][1], process] += 1
        elif event["ph"] == "C":
            found["sample", event["name"], ns, event["args"]["%"]] += 1
        else:
            assert event["ph"] == "i"
            found["set", process, ns] += 1
    assert not any(stacks.values())
    return found


@given(st.integers(0, 2**53))
def test_microseconds_come_back_as_the_same_nanosecond(ns: int) -> None:
    assert int(float(perfetto._microseconds(ns)) * 1000.0) == ns


INTERVALS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 6)), max_size=25)


@given(INTERVALS)
def test_lanes_hold_what_does_not_overlap_and_are_as_few_as_can_be(rows: list[tuple[int, int, int]]) -> None:
    group, begin, length = np.array(rows, np.int64).reshape(-1, 3).T
    end = begin + length

    lane = tracks.lanes(group, begin, end, np.lexsort((end, begin)))

    for i, j in combinations(range(len(rows)), 2):
        apart = end[i] <= begin[j] or end[j] <= begin[i]
        assert apart or (group[i], lane[i]) != (group[j], lane[j])
    for which in set(group.tolist()):
        mine = sorted(
            (t0, t1) for g, t0, t1 in zip(group.tolist(), begin.tolist(), end.tolist(), strict=True) if g == which
        )
        most = max(sum(t1 > t0 for _, t1 in mine[:i]) + 1 for i, (t0, _) in enumerate(mine))
        assert lane[group == which].max() + 1 == most


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 300), st.floats(width=64)), min_size=1))
def test_messages_encoded_by_column_are_those_encoded_one_by_one(rows: list[tuple[int, int, float]]) -> None:
    wide, small, real = (np.array(column) for column in zip(*rows, strict=True))
    inner, outer = wire.Rows(len(rows)), wire.Rows(len(rows))
    inner.add_integers(4, wide)
    inner.add_eights(5, real)
    outer.add_constant(wire.content(1, "\u00e9" * 90))
    outer.add_integers(2, small)
    outer.add_messages(3, inner)

    found = outer.encoded()

    for (number, few, value), message in zip(rows, found, strict=True):
        part = wire.integer(4, number) + bytes([5 << 3 | 1]) + np.float64(value).tobytes()
        assert message == wire.content(1, "\u00e9" * 90) + wire.integer(2, few) + wire.content(3, part)
        whole = wire.Message("", message, 0, len(message))
        text, count, held = whole.fields()
        assert (text.text(), count.unsigned()) == ("\u00e9" * 90, few)
        assert next(held.inner().fields()).signed() == number


def small() -> Tables:
    """Return the tables of a run with names that no program expects."""
    recorder = Recorder()
    name = "\u03a9\u2192\ud7ff \U0001f680 \0\n\t\"'\\ </script>"
    recorder.add("spans", ("rank0", 1999, 5001, "compute", "", name, 7))
    recorder.add("spans", ("rank0", 5001, 9000, "wait", name, "x" * 70_000, 0))
    recorder.add("transfers", (0, 1, 0, 8, "data", 2500, 3999, 0, name))
    recorder.add("flags", (name, "rank0.wg17", "spin", 5001, 8000, 9000, 3, *[0] * len(SCHEMAS["flags"][7:])))
    recorder.add("links", (name, 0, 4096, 2048, 8))
    return recorder.tables()


@pytest.mark.parametrize("suffix", [".pftrace", ".perfetto-trace", ".json", ".pftrace.gz", ".json.gz"])
def test_strange_and_long_names_arrive_in_every_format(suffix: str, tmp_path: Path) -> None:
    tables, out = small(), tmp_path / f"run{suffix}"

    made = perfetto.export(tables, RANKS, out)

    data = out.read_bytes()
    assert made.size == len(data)
    data = gzip.decompress(data) if suffix.endswith(".gz") else data
    if "json" in suffix:
        assert counted(json.loads(data)) == counted_tables(tables)
    else:
        check(tables, RANKS, data, made.counts)
    perfetto.export(tables, RANKS, tmp_path / f"again{suffix}")
    assert (tmp_path / f"again{suffix}").read_bytes() == out.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"again{suffix}", f"run{suffix}"]


def test_ends_are_floored_and_picoseconds_stay(tmp_path: Path) -> None:
    perfetto.export(small(), RANKS, tmp_path / "a.pftrace")

    shown = decoded((tmp_path / "a.pftrace").read_bytes())

    ((_, _, begin, end, said),) = (row for row in shown.slices if row[0][1] == "sent: data")
    assert (begin, end, said["t0_ps"], said["t1_ps"]) == (2, 3, 2500, 3999)
    assert [(ns, said["t_ps"]) for where, _, ns, said in shown.instants if where[1] == "received: data"] == [(3, 3999)]


def test_processes_stand_in_the_order_of_ranks_and_work_groups_count_up(tmp_path: Path) -> None:
    recorder = Recorder()
    for where in ("rank10", "rank2", "rank2.wg10", "rank2.wg9"):
        recorder.add("spans", (where, 0, 1000, "compute", "", "k", 0))
    recorder.add("links", ("l", 0, 4096, 2048, 8))
    perfetto.export(recorder.tables(), [f"rank{i}" for i in range(11)], tmp_path / "a.pftrace")

    root, *found = [
        packet.track_descriptor
        for packet in schema.Trace.FromString((tmp_path / "a.pftrace").read_bytes()).packet
        if packet.HasField("track_descriptor")
    ]

    assert (root.uuid, root.process_ordering, root.thread_ordering) == (0, 1, 1)
    processes = {track.name: track for track in found if track.HasField("process")}
    assert sorted(processes, key=lambda name: processes[name].sibling_order_rank) == ["rank2", "rank10", "links"]
    parts = [track for track in found if track.parent_uuid == processes["rank2"].uuid]
    assert [track.name for track in sorted(parts, key=lambda track: track.sibling_order_rank)] == [
        "activity", "wg9", "wg10",
    ]  # fmt: skip
    assert len({track.thread.tid for track in found if track.HasField("thread")}) == 4
    assert parts[0].thread.tid == processes["rank2"].process.pid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return report.write_run(run(read_scenario("fused_allreduce")), tmp_path / "r")


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run the command line in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["simcore", "trace", "export", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_the_command_says_what_it_wrote(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)

    assert called(monkeypatch, "r", "-o", "a.pftrace") in (0, None)

    result = report.load_run(folder)
    made = tracks.timeline(result.tables, report.rank_names(result)).counts()
    said, wrote = capsys.readouterr().out.splitlines()
    assert said.startswith(f"{made['processes']} processes, {made['tracks']} tracks, {made['slices']} slices, ")
    assert f"{len(result.tables['transfers'])} flows; {Path('a.pftrace').stat().st_size / 1000:.4g} kB" in said
    assert wrote == "wrote    a.pftrace"


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("a.trace", "a.trace: the suffix says no format; expected .pftrace, .perfetto-trace or .json"),
        ("no/a.pftrace", "no/a.pftrace: cannot be written: no such file or directory"),
        ("a.json", "a.json: 1756 events; JSON holds at most 9, name the file .pftrace"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_exit_code_2(
    out: str, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr(perfetto, "LARGEST_JSON", 9)

    assert called(monkeypatch, "r", "-o", out) == 2

    assert capsys.readouterr().err.startswith(f"error: {said}")
    assert [file.name for file in folder.parent.iterdir()] == ["r"]


def test_a_folder_that_is_no_run_and_ranks_without_a_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, str(tmp_path), "-o", "a.pftrace") == 2
    assert "not a run folder" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"transfers.dst holds rank 1, but the run has 1 ranks"):
        perfetto.export(small(), ["rank0"], tmp_path / "a.pftrace")


@pytest.mark.skipif(PROCESSOR is None, reason="SIMCORE_TRACE_PROCESSOR names no trace_processor_shell")
@pytest.mark.parametrize("suffix", [".pftrace", ".json", ".pftrace.gz"])
def test_the_trace_processor_of_perfetto_counts_the_same(suffix: str, folder: Path, tmp_path: Path) -> None:
    result = report.load_run(folder)
    made = perfetto.export(result.tables, report.rank_names(result), tmp_path / f"a{suffix}").counts
    exact = (
        "select count(*) from slice where extract_arg(arg_set_id, '{0}.t1_ps') is not null and "
        "ts = extract_arg(arg_set_id, '{0}.t0_ps') / 1000 and ts + dur = extract_arg(arg_set_id, '{0}.t1_ps') / 1000"
    ).format("args" if "json" in suffix else "debug")
    queries = {
        "select count(*) from slice": made["slices"] + made["instants"],
        exact: made["slices"],
        "select count(*) from counter": made["samples"],
        "select count(*) from flow": made["flows"],
        "select count(*) from process where name is not null": made["processes"],
        "select count(*) from stats where severity in ('error', 'data_loss') and value > 0": 0,
    }
    (tmp_path / "q.sql").write_text(";\n".join(queries) + ";\n", encoding="utf-8")

    done = subprocess.run(
        [str(PROCESSOR), "-q", tmp_path / "q.sql", tmp_path / f"a{suffix}"], capture_output=True, text=True, check=True
    )

    numbers = [int(line) for line in done.stdout.split() if line.isdigit()]
    assert numbers == list(queries.values())


MILLION = """
import sys, time
from pathlib import Path
from simcore.formats import perfetto
from simcore.trace import load_tables
def peak():
    # Not getrusage, whose peak is that of the process which started this one.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
tables = load_tables(Path(sys.argv[1]))
before = peak()
made = perfetto.export(tables, [f"rank{i}" for i in range(64)], Path(sys.argv[1]) / "a.pftrace")
print(made.size, peak() - before, time.process_time())
"""


@pytest.mark.benchmark
def test_a_million_messages_are_exported_in_bounded_memory(tmp_path: Path) -> None:
    count, draw = 1_000_000, np.random.default_rng(1)
    issued, src = np.sort(draw.integers(0, 2000 * count, count)), draw.integers(0, 64, count)
    arrived = issued + draw.integers(1_000_000, 5_000_000, count)
    columns = {
        "src": src, "dst": (src + draw.integers(1, 64, count)) % 64, "sequence": np.arange(count),
        "size_bytes": draw.integers(64, 65_536, count), "kind": ["data"] * count, "issued_ps": issued,
        "arrived_ps": arrived, "queued_ps": (arrived - issued) // 3,
        "what": [f"all_to_all {i % 100}" for i in range(count)],
    }  # fmt: skip
    recorder = Recorder(tmp_path)
    recorder.extend("transfers", columns)
    recorder.tables()

    done = subprocess.run([sys.executable, "-c", MILLION, tmp_path], capture_output=True, text=True, check=True)

    size, grown, seconds = done.stdout.split()
    print(f"{int(size) / 1e6:.0f} MB in {float(seconds):.1f} s of CPU, {int(grown) / 1e6:.0f} MB beside the tables")
    # Columns and their order, no packets: in Python objects a message alone would be more.
    assert int(grown) < 250 * count < 2 * int(size)
