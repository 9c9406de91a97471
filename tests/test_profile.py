"""Timing profiles: what is written is what is read, and every bad line is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore.errors import InputError
from simcore.formats import profile
from simcore.formats.profile import COLUMNS, FORMAT, Profile

GOOD = f"# format: {FORMAT}\n# world: 2\n# note: by hand\n{','.join(COLUMNS)}\n"

COLUMN = {
    "rank": st.integers(0, 3),
    "start": st.integers(0, 50),
    "wait": st.integers(0, 50),
    "way": st.integers(0, 9),
    "hop": st.integers(1, 3),
    "size": st.integers(0, 2**40),
    "flag": st.booleans(),
    "collective": st.integers(0, 3),
    "step": st.integers(0, 3),
    "group": st.integers(0, 255),
    "reduce": st.booleans(),
}


@given(st.lists(st.fixed_dictionaries(COLUMN), max_size=20))
def test_a_profile_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, int]]
) -> None:
    column = {name: np.array([row[name] for row in rows], np.int64) for name in COLUMN}
    time = column["start"] + column["wait"]
    made = Profile(
        column["rank"], column["start"], time, time + column["way"], (column["rank"] + column["hop"]) % 4,
        column["size"], column["flag"].astype(bool), column["collective"], column["step"], column["group"],
        column["reduce"].astype(bool), [f"n{i}" for i in range(len(rows))], (("k", "s: t"),), 4,
    ).ordered()  # fmt: skip
    path = tmp_path_factory.mktemp("profile") / "p.csv"

    profile.write_profile(made, path)
    found = profile.read_profile(path)

    for name, expected in vars(made).items():
        assert list(getattr(found, name)) == list(expected) if name != "world" else found.world == 4, name


def test_rows_in_any_order_are_sorted_by_time_and_rank(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(
        GOOD + "1,0,9,9,0,8,flag,0,0,0,copy,a\n1,0,5,5,0,8,flag,0,0,0,copy,b\n0,0,5,5,1,8,flag,0,0,0,copy,c\n",
        encoding="utf-8",
    )

    assert profile.read_profile(path).name == ["c", "b", "a"]
    assert profile.read_profile(path).ranks == (0, 1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty; expected a timing profile"),
        ("hello\n", ":1: not a timing profile"),
        ("# no colon\n", ":1: expected '# key: value'"),
        (f"# format: {FORMAT}\n", "the header needs '# world: N'"),
        (f"# format: {FORMAT}\n# world: 0\n", "the header needs '# world: N'"),
        (f"# format: {FORMAT}\n# world: 2\na,b\n", ":3: expected the columns rank,start_ps"),
        (GOOD + "0,0,1,1,1,8,flag,0,0,0,copy\n", ":5: 11 values where 12 columns are"),
        (
            GOOD + "0,0,1,1,1,8,flag,0,0,0,copy,x\n0,0,1.5,1.5,1,8,flag,0,0,0,copy,x\n",
            ":6: time_ps '1.5' is not a whole number",
        ),
        (GOOD + "0,0,1,1,1,8,flag,0,0,0,copy,x\n\n", ":6: 1 values where 12 columns are"),
        (GOOD + "0,0,1,1,1,8,post,0,0,0,copy,x\n", ":5: unknown kind 'post'; allowed: data, flag"),
        (GOOD + "0,0,1,1,1,8,data,0,0,0,add,x\n", ":5: unknown phase 'add'; allowed: reduce, copy"),
        (
            GOOD + "0,0,1,1,1,8,data,0,0,0,copy,x\n2,0,1,1,1,8,data,0,0,0,copy,x\n",
            ":6: rank 2 is none of 0 to world - 1 (2 ranks)",
        ),
        (GOOD + "0,0,1,1,5,8,data,0,0,0,copy,x\n", ":5: dst 5 is none of"),
        (GOOD + "1,0,1,1,1,8,data,0,0,0,copy,x\n", ":5: rank 1 writes to itself"),
        (GOOD + "0,-1,1,1,1,8,data,0,0,0,copy,x\n", ":5: start_ps -1 is negative"),
        (GOOD + "0,5,1,1,1,8,data,0,0,0,copy,x\n", ":5: time_ps 1 is before start_ps 5"),
        (GOOD + "0,0,5,4,1,8,data,0,0,0,copy,x\n", ":5: arrived_ps 4 is before time_ps 5"),
        (GOOD + "0,0,1,1,1,8,data,0,0,-1,copy,x\n", ":5: group -1 is negative"),
        ("# format: simcore timing profile 1\n# world: 2\n", "profile 1' is no longer read; expected"),
        (GOOD + "0,0,1,1,1,-8,data,0,0,0,copy,x\n", ":5: size_bytes -8 is negative"),
        (
            GOOD + "0,0,9000000000000000000,9000000000000000000,1,8,data,0,0,0,copy,x\n",
            ":5: time_ps 9000000000000000000 is too large",
        ),
        (
            GOOD + "0,0,99999999999999999999,99999999999999999999,1,8,data,0,0,0,copy,x\n",
            ":5: time_ps '99999999999999999999' is not a whole number",
        ),
        (GOOD + "0,0,--5,--5,1,8,data,0,0,0,copy,x\n", ":5: time_ps '--5' is not a whole number"),
        (GOOD + "0,0,²,²,1,8,data,0,0,0,copy,x\n", ":5: time_ps '²' is not a whole number"),
        (f"# format: {FORMAT}\n# world: ²\n", "the header needs '# world: N'"),
    ],
)
def test_a_bad_profile_is_refused_by_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(InputError) as caught:
        profile.read_profile(path)

    assert str(caught.value).startswith(str(path))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_binary_file_or_a_folder_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"\x89PNG\xff\x00")
    with pytest.raises(InputError, match="not a text file"):
        profile.read_profile(tmp_path / "p.csv")
    with pytest.raises(InputError, match="is a directory"):
        profile.read_profile(tmp_path)


def test_writing_where_nothing_can_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(GOOD, encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        profile.write_profile(profile.read_profile(path), tmp_path / "gone" / "p.csv")
    assert [each.name for each in tmp_path.iterdir()] == ["p.csv"]


def test_what_would_be_refused_when_read_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(GOOD + "0,0,5,5,1,8,data,0,0,0,copy,x\n", encoding="utf-8")
    good = profile.read_profile(tmp_path / "p.csv")

    for part, complaint in (
        ({"dst": np.array([2])}, "not written: write 0: dst 2 is none of"),
        ({"dst": np.array([-1])}, "dst -1 is none of"),
        ({"dst": np.array([0])}, "rank 0 writes to itself"),
        ({"arrived": np.array([4])}, "arrived_ps 4 is before time_ps 5"),
        ({"time": np.array([-1])}, "time_ps -1 is before start_ps 0"),
        ({"size": np.array([-8])}, "size_bytes -8 is negative"),
        ({"name": ["a,b"]}, "a name has a comma"),
        ({"header": (("note", "two\nlines"),)}, "more than one line"),
    ):
        with pytest.raises(InputError, match=complaint):
            profile.write_profile(replace(good, **part), tmp_path / "out.csv")
        assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("name", [".", "", "/"])
def test_a_profile_is_not_written_over_a_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.csv").write_text(GOOD, encoding="utf-8")
    good = profile.read_profile(tmp_path / "p.csv")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match="is a folder; give the file to write"):
        profile.write_profile(good, Path(name))
