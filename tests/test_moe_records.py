"""MoE rebalance: routing that was recorded, from our own files and from those of others; the recorded run that is
bundled."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simcore.models.moe_rebalance import records
from simcore.models.moe_rebalance.placement import Group, check, imbalance
from simcore.models.moe_rebalance.policies import POLICIES

from simcore import InputError


def choices(steps: int, seed: int, experts: int = 6, top: int = 2) -> Any:
    """Return (step, layer, micro, source, K experts) of every token and layer, in any order."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 4, (steps, 2, 4))
    rows = [
        (step, layer, micro, source, *rng.permutation(experts)[:top])
        for (step, micro, source), count in np.ndenumerate(tokens)
        for layer in range(3)
        for _ in range(count)
    ]
    return rng.permutation(np.array([(steps - 1, layer, 1, 3, *range(top)) for layer in range(3)] + rows))


def counted(rows: Any, experts: int = 6) -> Any:
    """Return the counts [steps, 3, 2, 4, E] of rows of choices, one by one."""
    found = np.zeros((int(rows[:, 0].max()) + 1, 3, 2, 4, experts), np.int64)
    for step, layer, micro, source, *chosen in rows.tolist():
        for expert in chosen:
            found[step, layer, micro, source, expert] += 1
    return found


def save(path: Path, names: list[str], columns: Any) -> Path:
    """Write columns as Parquet or CSV, in small row groups."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(names, columns, strict=True))), path, row_group_size=5)
    else:
        lines = [",".join(names), *(",".join(map(str, row)) for row in zip(*columns, strict=True))]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@given(steps=st.integers(1, 3), seed=st.integers(0, 99), kind=st.sampled_from(["parquet", "csv"]), counts=st.booleans())
@settings(max_examples=30, deadline=None)
def test_counts_and_choices_of_others_are_those_of_their_rows(
    tmp_path_factory: pytest.TempPathFactory, steps: int, seed: int, kind: str, counts: bool
) -> None:
    path, rows = tmp_path_factory.mktemp("routing") / f"rows.{kind}", choices(steps, seed)
    expected = counted(rows)
    if counts:
        places = np.argwhere(expected)
        columns = [*places.T, expected[tuple(places.T)]]
        save(path, ["step", "layer", "micro", "source", "expert", "count"], columns)
    else:
        save(path, ["step", "layer", "micro", "source", "expert0", "expert1"], rows.T)

    found = records.read(path, ep=2, top=2 if counts else 0, experts=6)

    assert np.array_equal(found.counts, expected[-1])
    assert np.array_equal(found.past, expected[:-1].sum(axis=(2, 3)))
    assert np.array_equal(found.whole, expected[-1].sum(axis=(1, 2)))
    assert (found.top, found.ep, found.groups) == (2, 2, 2)


def test_what_is_written_is_read_again_zeros_and_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "ROWS", 7)
    steps = counted(choices(3, 1), experts=9)
    steps[:, :, :, 0] = 0
    records.write(tmp_path / "a.parquet", list(steps), 2)

    found = records.read(tmp_path / "a.parquet", ep=4)

    assert np.array_equal(found.counts, steps[-1])
    assert np.array_equal(found.past, steps[:-1].sum(axis=(2, 3)))
    assert found.counts.shape[-1] == 9
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 3


def test_of_a_step_that_is_too_large_only_the_last_is_held_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = counted(choices(3, 4))
    records.write(tmp_path / "a.parquet", list(steps), 2)

    monkeypatch.setattr(records, "LARGEST", steps[-1].size)
    assert np.array_equal(records.read(tmp_path / "a.parquet", ep=4).past, steps[:-1].sum(axis=(2, 3)))

    monkeypatch.setattr(records, "LARGEST", steps[-1].size - 1)
    with pytest.raises(InputError, match="3 x 2 x 4 x 6 counts are more than 143; give fewer"):
        records.read(tmp_path / "a.parquet", ep=4)


ASKED = {"gpus": 2, "ep": 2, "layers": 2, "micro": 1, "history": 1, "experts": 6, "top": 2}


def test_a_part_is_the_first_layers_micro_steps_and_sources_and_the_last_steps_before(tmp_path: Path) -> None:
    steps = counted(choices(4, 2))
    records.write(tmp_path / "a.parquet", list(steps), 2)

    found = records.read_part(tmp_path / "a.parquet", **ASKED)

    assert np.array_equal(found.counts, steps[-1, :2, :1, :2])
    assert np.array_equal(found.past, steps[2:3, :2].sum(axis=(2, 3)))
    assert np.array_equal(found.whole, steps[-1, :2].sum(axis=(1, 2)))
    assert (found.top, found.ep, found.groups) == (2, 2, 1)
    assert len(records.read_part(tmp_path / "a.parquet", **{**ASKED, "history": 0}).past) == 0


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"gpus": 8}, r"a.parquet: holds 4 sources \(GPUs\), not 8"),
        ({"gpus": 3}, "3 GPUs are not EP groups of 2"),
        ({"ep": 0}, "2 GPUs are not EP groups of 0"),
        ({"layers": 4}, "holds 3 layers, not 4"),
        ({"micro": 3}, "holds 2 micro-steps, not 3"),
        ({"history": 2}, r"holds 1 steps before the last \(history\), not 2"),
        ({"experts": 8}, "has 6 experts, not 8"),
        ({"experts": 5}, "has 6 experts, not 5"),
        ({"top": 1}, "a token chose 2 experts, not 1"),
    ],
)
def test_a_part_that_a_file_does_not_hold_is_refused_in_one_line(
    tmp_path: Path, asked: dict[str, int], words: str
) -> None:
    records.write(tmp_path / "a.parquet", list(counted(choices(2, 3))), 2)

    with pytest.raises(InputError, match=words):
        records.read_part(tmp_path / "a.parquet", **{**ASKED, **asked})


COUNTS = ["layer", "micro", "source", "expert", "count"]


@pytest.mark.parametrize(
    ("names", "columns", "words"),
    [
        (COUNTS, [[0], [0], [1], [2], [-4]], "rows.csv: row 2: count is below 0"),
        (COUNTS, [[0], [0], [1], [2], [1 << 40]], "rows.csv: row 2: count is above 4294967296"),
        (COUNTS, [[0], [0], [1], [2], [1 << 30]], "source 1: 536870912 tokens are more than 4194304"),
        ([*COUNTS, "count"], [[0], [0], [1], [2], [2], [2]], "found layer, micro, source, expert, count, count"),
        (COUNTS[:4], [[0], [0], [1], [2]], "expected the columns layer, micro, source and expert, count or expert0"),
        ([*COUNTS, "bias"], [[0], [0], [1], [2], [2], [3]], "found layer, micro, source, expert, count, bias"),
        (COUNTS, [[0], [0], [1], [2], ["many"]], "column count must hold whole numbers alone, it is string"),
        (COUNTS, [[0], [0], [1], [2], [0.5]], "column count must hold whole numbers alone, it is double"),
        (COUNTS, [[], [], [], [], []], "holds no row"),
        (COUNTS, [[0], [0], [1], [2], [3]], "layer 0, micro-step 0, source 1: 3 choices are no multiple of 2"),
        (COUNTS, [[0, 1], [0, 0], [1, 1], [2, 2], [2, 4]], "source 1: layer 1 has 2 tokens, layer 0 1"),
        (COUNTS, [[0], [0], [2], [2], [2]], "its 3 sources are not EP groups of 2"),
        (COUNTS, [[99_999], [99_999], [1], [2], [2]], "counts are more than"),
        (["layer", "micro", "source", "expert0", "expert1"], [[0], [0], [1], [3], [3]], "row 2: a token chooses"),
        (["layer", "micro", "source", "expert0", "expert2"], [[0], [0], [1], [3], [4]], "expected the columns"),
    ],
)
def test_what_is_no_routing_is_refused_in_one_line(tmp_path: Path, names: list[str], columns: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        records.read(save(tmp_path / "rows.csv", names, columns), ep=2, top=2)
    assert "\n" not in str(caught.value)


def test_steps_are_counted_from_the_first_that_there_is(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", ["step", *COUNTS], [[1007, 1005], [0, 0], [0, 0], [0, 0], [1, 0], [2, 2]])

    found = records.read(path, ep=1, top=1)

    assert found.past.tolist() == [[[2, 0]], [[0, 0]]]
    assert found.counts.ravel().tolist() == [0, 2]


def test_metadata_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    none = '{"steps": 0, "layers": 1, "micro": 1, "sources": 1, "experts": 1, "top": 1}'
    for text in ("[1]", "{}", "nonsense", none, none.replace("0", '"1"')):
        table = pa.table(dict(zip(COUNTS, [[0]] * 5, strict=True))).replace_schema_metadata({records.KEY: text})
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(InputError, match="is not what simcore writes"):
            records.read(tmp_path / "a.parquet", ep=1)
    records.write(tmp_path / "a.parquet", [np.ones((1, 1, 1, 2), np.int64)], 1)
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.set_column(4, "expert", pa.array([0, 2], pa.int32())), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="a row lies outside"):
        records.read(tmp_path / "b.parquet", ep=1)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no Parquet")
    (tmp_path / "a.csv").write_text("layer,micro\n1,2\n3\n", encoding="utf-8")
    for name, words in (
        ("a.parquet", "a.parquet: cannot be read"),
        ("a.csv", "a.csv: cannot be read: CSV parse error"),
        ("none.csv", "none.csv: cannot be read"),
        ("a.txt", "a.txt: routing is read from .parquet or .csv, not .txt"),
    ):
        with pytest.raises(InputError, match=words):
            records.read(tmp_path / name, ep=2)
    save(tmp_path / "b.csv", COUNTS, [[0], [0], [1], [2], [2]])
    with pytest.raises(InputError, match="counts do not say how many experts a token chose; give top"):
        records.read(tmp_path / "b.csv", ep=2)


def test_the_recorded_run_is_as_uneven_as_its_page_says() -> None:
    """traces/README.md: mean imbalance of the last step by policy, and how alike consecutive steps are."""
    found = records.read(Path(__file__).parents[1] / "traces" / "moe_routing" / "routing.parquet", ep=8)
    group = Group(8, 8, 32, 2)

    assert found.counts.shape == (4, 8, 16, 32)
    assert int(found.tokens.sum()) == 9254
    assert (round(found.similarity.min(), 2), round(found.similarity.max(), 2)) == (0.91, 0.99)
    stated = {"static": 1.29, "eplb_previous": 1.19, "eplb_oracle": 1.10, "foremoe": 1.02, "eplb_lp": 1.004}
    for name, mean in stated.items():
        loads = []
        for index in range(found.groups):
            counts, past = found.group(index)
            for layer, plans in enumerate(POLICIES[name].plan(counts, group, past).plans):
                for m, plan in enumerate(plans):
                    check(plan, counts[layer, m], group)
                    loads.append(imbalance(plan.loads))
        assert np.mean(loads) == pytest.approx(mean, abs=0.005 if name != "eplb_lp" else 0.0005)
