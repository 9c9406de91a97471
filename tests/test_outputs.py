"""Every column and metric has an entry, every entry is written by some run, and the page says what the code says."""

import sys
from functools import cache
from pathlib import Path

import pytest

from simcore import cli, explanation, metrics, outputs, read_scenario, registry, run, summary, write_run
from simcore.assembly import Result
from simcore.errors import InputError
from simcore.formats import profile
from simcore.metrics import METRICS
from simcore.trace import SCHEMAS
from simcore.units import SIZE, TIME, short

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "outputs.md"
BUSY = ["slowdown=true", "traffic=[{pattern: uniform, size: 1 MB, rate: 10 MB/s, stop: 1 ms}]"]


@cache
def result(name: str, *overrides: str) -> Result:
    return run(read_scenario(name, list(overrides)))


def keys(of: Result) -> set[str]:
    return {key for key, _ in metrics.leaves(of.metrics)}


def every_run() -> list[Result]:
    return [
        result("fused_allreduce", *BUSY),
        result("fused_allreduce", "workloads.0.params.table=event"),
        result("fused_gemv"),
        result("two_jobs"),
        result("trace_replay", "workloads.0.params.traces=ddp_4ranks"),
        result("sparse_serving", "workloads.0.params.serving.arrivals.requests=8"),
        result("sparse_attention"),
        result("int8_manifold"),
        result("moe_rebalance"),
        result("oscillator_attention"),
        result("oscillator_attention", "workloads.0.params.mode=settling"),
        result("oscillator_attention", "workloads.0.params.mode=learned"),
    ]


def test_the_page_is_what_the_schema_says() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert outputs.filled(page) == page, "run: simcore schema --outputs docs/outputs.md"


def test_a_page_that_lacks_a_table_is_refused() -> None:
    page = PAGE.read_text(encoding="utf-8")

    with pytest.raises(InputError, match="generated: metrics"):
        outputs.filled(page.replace("<!-- generated: metrics -->", ""))
    with pytest.raises(InputError, match="did you mean 'metrics'"):
        outputs.filled(page.replace("<!-- generated: metrics -->", "<!-- generated: metric -->"))
    assert outputs.filled(page.replace("| `makespan_ps` |", "| `makespan` |")) == page


def test_every_metric_of_a_run_has_an_entry_and_every_entry_a_run() -> None:
    written = {outputs.pattern(key) for of in every_run() for key in keys(of)}

    declared = {each.name for each in outputs.everything() if each.file == "metrics.json"}
    assert written == declared


def test_every_column_has_an_entry() -> None:
    names = {each.name for each in outputs.everything()}

    assert {f"{table}.{column.name}" for table, columns in SCHEMAS.items() for column in columns} <= names
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in profile.COLUMNS if f"| `{name}` |" not in page] == []


def test_entries_are_sentences_with_units() -> None:
    for each in outputs.everything():
        assert each.meaning
        assert each.meaning[0] != " "
        if each.name.endswith(("_ps", "_bytes")) or "_ps." in each.name:
            assert each.unit in ("ps", "bytes"), each.name
    assert len({metric.key for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("makespan_ps", ["makespan_ps"]),
        ("ranks.rank12.compute_ps", ["ranks.rankN.compute_ps"]),
        ("compute_ps", ["ranks.rankN.compute_ps"]),
        ("jobs.a.b.ranks.rank0.wait_ps", ["ranks.rankN.wait_ps"]),
        ("jobs.a.b.queue_delay_ps.max", ["jobs.NAME.queue_delay_ps.max"]),
        ("ranks.wait_ps.mean", ["ranks.wait_ps.mean"]),
        ("t0_ps", ["spans.t0_ps", "links.t0_ps", "flags.t0_ps"]),
        ("flags.flag_reads", ["flags.flag_reads", "flags.flag_reads"]),
        ("bytes_per_pair.0->3", ["bytes_per_pair.A->B"]),
        ("tiles", ["ranks.rankN.tiles"]),
    ],
)
def test_names_are_found_however_they_are_written(name: str, found: list[str]) -> None:
    assert [each.name for each in outputs.find(name)] == found


def test_the_rows_that_decide_a_metric_are_those_that_make_it() -> None:
    of = result("fused_gemv")

    (reads,) = [value for key, value in explanation.values(of, "flags.flag_reads")]
    spans, flags = of.tables["spans"].to_pylist(), of.tables["flags"].to_pylist()
    assert reads == sum(row["flag_reads"] for row in flags)
    last = max(spans, key=lambda row: row["t1_ps"])
    (said,) = explanation.reasons(of, "makespan_ps")
    assert f"location {last['location']}" in said
    assert f"{last['t1_ps']:,} ps" in said
    waits = explanation.reasons(of, "ranks.rank0.wait_ps")
    total = of.metrics["ranks"]["rank0"]["wait_ps"]
    assert sum(int(line.split(": ")[1].split(" ps")[0].replace(",", "")) for line in waits) == total
    shares = explanation.reasons(result("fused_allreduce", *BUSY), "ranks.rank0.wait_ps")
    lengths = [int(line.split(": ")[1].split(" ps")[0].replace(",", "")) for line in shares]
    assert len(lengths) > 1
    assert lengths == sorted(lengths, reverse=True)
    delay = max(row["detected_ps"] - row["set_ps"] for row in flags if row["set_ps"] >= row["t0_ps"])
    assert explanation.values(of, "flags.detection_delay_ps.max") == [("flags.detection_delay_ps.max", delay)]


def test_reasons_exist_for_every_metric_of_every_run() -> None:
    for of in every_run():
        for key in keys(of):
            assert all(isinstance(sentence, str) and sentence for sentence in explanation.reasons(of, key))


def test_a_metric_is_explained_with_its_value_in_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(result("fused_gemv"), tmp_path / "run")

    def said(*arguments: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["simcore", "explain", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        held = capsys.readouterr()
        return ended.value.code, held.out + held.err

    code, text = said("makespan_ps", "--run", str(folder))
    assert (code, "makespan_ps = 20,704,064 ps (20.7 us)" in text, "row of spans: location rank0" in text) == (
        0,
        True,
        True,
    )
    assert said("makespn")[0] == 2
    assert "did you mean 'makespan_ps'" in said("makespn")[1]
    assert "measure" in said("jobs.NAME.slowdown", "--run", str(folder))[1]
    code, text = said()
    assert (code, "transfers.queued_ps" in text) == (0, True)


def test_a_summary_begins_with_a_models_headlines() -> None:
    found = result("sparse_serving", "workloads.0.params.serving.arrivals.requests=8")
    seen = found.metrics["jobs"]["sparse_attention"]

    what, said = next(summary.facts(found))

    assert what == "sparse_attention"
    assert said.startswith("served 8 requests, refused 0 requests, goodput ")
    assert f"ttft.p50 {short(seen['ttft_ps']['p50'], TIME)}, " in said
    assert said.endswith(f"kv_peak {short(seen['kv_peak_bytes'], SIZE)}")
    assert "attention.all" not in said


@pytest.mark.parametrize("name", sorted(registry.folders()))
def test_headlines_are_metrics(name: str) -> None:
    workload = registry.load(name)

    assert set(getattr(workload, "headlines", ())) <= {metric.key for metric in getattr(workload, "metrics", ())}
