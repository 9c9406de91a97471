"""The recorder: rows come back as they went in, whatever the chunks, and the digest sees every value."""

import hashlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore import trace
from simcore.trace import SCHEMAS, Recorder, Span, deferred_interrupt

SPANS = st.lists(
    st.builds(
        Span,
        st.sampled_from(["rank0", "rank1"]),
        st.integers(0, 9),
        st.integers(9, 99),
        *[st.text(max_size=3)] * 3,
        st.integers(0, 2**40),
    )
)


@given(SPANS, st.integers(1, 4))
def test_rows_come_back_in_order_whatever_the_size_of_chunks(spans: list[Span], chunk: int) -> None:
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "CHUNK", chunk)
        for span in spans:
            recorder.add("spans", span)

    rows = recorder.tables()["spans"].to_pylist()

    assert rows == [vars(span) for span in spans]


@given(SPANS, st.integers(1, 4))
def test_the_digest_is_that_of_all_values_one_by_one(spans: list[Span], chunk: int) -> None:
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "CHUNK", chunk)
        for span in spans:
            recorder.add("spans", span)
        tables = recorder.tables()
    seen = hashlib.sha256()
    for kind in sorted(tables):
        for name in tables[kind].column_names:
            values = tables[kind][name].to_pylist()
            seen.update(f"{kind}.{name}:{len(values)};".encode())
            for value in values:
                seen.update(f"{value}\0".encode() if isinstance(value, str) else value.to_bytes(8, "little"))

    assert trace.digest(tables) == seen.hexdigest()
    for word in ("rank0", "nobody"):
        expected = [span.location == word for span in spans]
        assert trace.says(tables["spans"], "location", word).tolist() == expected


def test_spilled_tables_are_those_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "CHUNK", 10)
    kept, spilled = Recorder(), Recorder(tmp_path)
    for recorder in (kept, spilled):
        for i in range(25):
            recorder.add("spans", Span("rank0", i, i + 1, "compute", "", "k\u00e9rnel", i))
        recorder.extend(
            "links",
            {
                "link": ["a"] * 3,
                "t0_ps": np.arange(3),
                "t1_ps": np.arange(1, 4),
                "busy_ps": np.ones(3, int),
                "size_bytes": np.zeros(3, int),
            },
        )

    first, second = kept.tables(), spilled.tables()

    assert {kind: table.to_pylist() for kind, table in first.items()} == {
        kind: table.to_pylist() for kind, table in second.items()
    }
    assert trace.digest(first) == trace.digest(second)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{kind}.parquet" for kind in SCHEMAS)


def test_the_digest_changes_with_any_value() -> None:
    def digest(location: str = "rank0", size: int = 1, reason: str = "") -> str:
        recorder = Recorder()
        recorder.add("spans", Span(location, 0, 1, "compute", reason, "", size))
        return trace.digest(recorder.tables())

    assert len({digest(), digest(location="rank1"), digest(size=2), digest(reason="x")}) == 4
    assert digest() == digest()


def test_every_column_says_what_it_means_and_its_unit_is_in_its_name() -> None:
    for kind, schema in SCHEMAS.items():
        for column in schema:
            assert column.meaning, f"{kind}.{column.name}"
            if "picosecond" in column.meaning:
                assert column.name.endswith("_ps")
            if column.name.endswith("_ps"):
                assert column.type == "int64"
            assert trace.arrow_schema(schema).field(column.name).metadata[b"meaning"] == column.meaning.encode()


def test_an_interrupt_waits_until_rows_are_safe() -> None:
    moved = []

    def interrupted_move() -> None:
        with deferred_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            moved.append("all of them")

    with pytest.raises(KeyboardInterrupt):
        interrupted_move()
    assert moved == ["all of them"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
