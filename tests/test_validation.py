"""The published errors: the page and the fitted values are what the bundled measurements give, by simulation."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from simcore import fit, validation
from simcore.validation import page
from simcore.validation.studies import STUDIES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def studies() -> list[validation.Evaluated]:
    return validation.evaluated()


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the pages are not here")
def test_the_page_is_what_the_measurements_give(studies: Sequence[validation.Evaluated]) -> None:
    assert page.page(studies) == (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
    assert page.values(studies) == (ROOT / "traces" / "hardware" / "fits.yaml").read_text(encoding="utf-8")


def test_forced_ring_on_h100_stays_within_five_percent_on_unseen_counts(
    studies: Sequence[validation.Evaluated],
) -> None:
    (study,) = (each for each in studies if each.study.threshold)
    scores = [score for score in study.scores if score.unseen.endswith("GPUs")]

    assert [score.unseen for score in scores] == ["2 GPUs", "4 GPUs", "8 GPUs"]
    for score in scores:
        assert validation.error(score.errors(16 * 2**20)) <= page.TARGET


def test_no_scored_point_was_fitted(studies: Sequence[validation.Evaluated]) -> None:
    for each in studies:
        for score in each.scores:
            assert score.points
            assert not set(score.points) & set(score.fit.points)
            if score.unseen.endswith("GPUs"):
                assert {point.ranks for point in score.points}.isdisjoint({p.ranks for p in score.fit.points})


def test_what_is_scored_is_a_simulation_equal_to_the_fitted_form(studies: Sequence[validation.Evaluated]) -> None:
    for each in studies:
        for score in each.scores:
            closed = fit.predicted(score.fit.parameters, each.study.algorithm, score.points)
            for simulated, formula in zip(score.simulated, closed, strict=True):
                assert abs(simulated - formula) <= 100


def test_rows_of_one_study_are_of_one_algorithm_and_launch_mode() -> None:
    rows = validation.rows()
    for study in STUDIES:
        found = {(row["algorithm"], row["launch"], row["nodes"]) for row in rows if row["curve"] in study.curves}
        assert len(found) == 1, study


def test_every_row_names_its_source_and_no_flagged_one_is_used() -> None:
    for row in validation.rows():
        assert row["source_url"]
        assert not any(flag in row["note"] for flag in validation.FLAGS)


def test_errors_are_those_of_the_definition() -> None:
    logs = [math.log(1.1), math.log(1 / 1.1)]

    assert validation.error(logs) == pytest.approx(0.1)
    assert validation.geometric(logs) == pytest.approx(math.sqrt(0.1 * (1 - 1 / 1.1)))
    assert validation.geometric([0.0]) == pytest.approx(validation.LEAST_ERROR)


def test_the_spread_of_independent_systems_is_read() -> None:
    assert validation.spread("H100x8 1-node all_reduce Ring", 16 * 2**20) == pytest.approx(0.0963, abs=1e-3)
    assert validation.spread("H100x8 1-node all_reduce Ring", 2**40) is None


def test_the_figure_is_drawn_and_the_files_are_written(studies: Sequence[validation.Evaluated], tmp_path: Path) -> None:
    written = page.write(studies, tmp_path / "out", tmp_path / "out" / "fits.yaml")

    assert [path.name for path in written] == ["validation.md", "validation.png", "fits.yaml"]
    assert written[1].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
