"""Run folders: whole or not at all, readable again, byte-identical wherever they were made."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from simcore import InputError, load_run, read_scenario, report, run, scenario, simulation, source, write_run
from simcore.fabric import deliveries
from simcore.simulation import Simulation

GOLDEN = yaml.safe_load((source.bundle("traces") / "golden.yaml").read_text(encoding="utf-8"))


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_a_run_folder_comes_back_as_the_result_that_made_it(tmp_path: Path) -> None:
    result = run(read_scenario("fused_allreduce"))

    found = load_run(write_run(result, tmp_path / "run"))

    assert found.scenario == result.scenario
    assert found.metrics == result.metrics
    assert found.digest == result.digest
    assert found.warnings == result.warnings
    assert {kind: table.to_pylist() for kind, table in found.tables.items()} == {
        kind: table.to_pylist() for kind, table in result.tables.items()
    }


def test_the_manifest_runs_again_to_the_same_digest(tmp_path: Path) -> None:
    asked = read_scenario("fused_allreduce", ["wait.policy=monitor", "machine.link.bandwidth=48 GB/s"], seed=3)
    first = run(asked)
    write_run(first, tmp_path / "run")

    assert run(read_scenario(str(tmp_path / "run"))).digest == first.digest


def test_an_older_run_is_replaced_and_anything_else_is_left_alone(tmp_path: Path) -> None:
    result = run(read_scenario("fused_allreduce"))
    write_run(result, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("my notes", encoding="utf-8")
    (tmp_path / "run" / "timeline.png").touch()
    write_run(result, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()

    with pytest.raises(InputError, match="is not a run folder; it is left alone"):
        write_run(result, tmp_path / "mine")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "run"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "flags.parquet", "links.parquet", "manifest.yaml", "metrics.json", "notes.txt", "spans.parquet",
        "transfers.parquet",
    ]  # fmt: skip
    assert (tmp_path / "run" / "notes.txt").read_text(encoding="utf-8") == "my notes"
    assert load_run(tmp_path / "run").digest == result.digest


@pytest.mark.parametrize(
    "manifest", ["", "a: list of tests", "manifest: {layout: 1}", "manifest: {}\nscenario: {}", "["]
)
def test_a_folder_with_somebody_elses_manifest_is_left_alone(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.yaml").write_text(manifest, encoding="utf-8")
    (tmp_path / "thesis.txt").touch()

    with pytest.raises(InputError, match="is not a run folder; it is left alone"), report.staging(tmp_path):
        pass

    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.yaml", "thesis.txt"]


def test_links_and_the_present_folder_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(read_scenario("fused_allreduce"))
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    (tmp_path / "dangling").symlink_to(tmp_path / "later")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    monkeypatch.chdir(here)

    for target in (".", "../link", "../dangling", "../dangling"):
        assert load_run(write_run(result, Path(target))).digest == result.digest
    with pytest.raises(InputError, match="circle: "), report.staging(Path("../circle")):
        pass

    assert sorted(path.name for path in tmp_path.iterdir()) == ["circle", "dangling", "here", "later", "link"]
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in here.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match="cannot be written"):
        write_run(run(read_scenario("fused_allreduce")), tmp_path / "file" / "run")


def test_an_interrupted_run_is_valid_marked_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "PROGRESS_EVERY", 100)

    def interrupt(at: Simulation) -> None:
        if at.events:
            raise KeyboardInterrupt

    result = run(read_scenario("fused_allreduce"), folder=None, progress=interrupt)
    write_run(result, tmp_path / "run")

    found = load_run(tmp_path / "run")
    manifest = yaml.safe_load((tmp_path / "run" / "manifest.yaml").read_text(encoding="utf-8"))["manifest"]
    assert manifest["status"] == "interrupted"
    assert found.interrupted_at == result.interrupted_at == manifest["interrupted_at_ps"]
    whole = run(read_scenario("fused_allreduce"))
    rows = found.tables["transfers"].to_pylist()
    assert 0 < len(rows) < len(whole.tables["transfers"])
    spans = found.tables["spans"].to_pylist()
    for rank in range(4):
        life = [(span["t0_ps"], span["t1_ps"]) for span in spans if span["location"] == f"rank{rank}"]
        assert [0, *(end for _, end in life)] == [*(begin for begin, _ in life), found.interrupted_at]
    assert found.metrics["makespan_ps"] == found.interrupted_at
    assert 0 < found.metrics["links"]["utilisation_peak"] <= 1
    begun = {(s["location"], s["t0_ps"], s["activity"]) for s in whole.tables["spans"].to_pylist()}
    assert {(s["location"], s["t0_ps"], s["activity"]) for s in spans} <= begun
    assert rows == whole.tables["transfers"].to_pylist()[: len(rows)]


def test_a_damaged_run_folder_is_one_line(tmp_path: Path) -> None:
    write_run(run(read_scenario("fused_allreduce")), tmp_path / "run")
    (tmp_path / "run" / "spans.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="the run folder is damaged"):
        load_run(tmp_path / "run")
    with pytest.raises(InputError, match="not a run folder"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("warnings: []", "warnings: 5", "'warnings' must be a list"),
        ("layout: 1", "layout: 7", "layout 7 of a run folder; this simcore reads 1"),
        ("  status: whole", "  interrupted_at_ps: soon", "'interrupted_at_ps' a number"),
    ],
)
def test_a_manifest_that_is_not_ours_is_one_line(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = write_run(run(read_scenario("fused_allreduce")), tmp_path / "run") / "manifest.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")

    with pytest.raises(InputError, match=complaint):
        load_run(tmp_path / "run")


def test_a_table_with_the_columns_of_another_is_one_line(tmp_path: Path) -> None:
    folder = write_run(run(read_scenario("fused_allreduce")), tmp_path / "run")
    (folder / "spans.parquet").write_bytes((folder / "flags.parquet").read_bytes())

    with pytest.raises(InputError, match=r"damaged: spans\.parquet has not the columns of spans"):
        load_run(folder)


def test_two_processes_with_two_hash_seeds_write_the_same_bytes(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        command = [
            sys.executable,
            "-m",
            "simcore.cli",
            "run",
            "fused_allreduce",
            "--seed",
            "5",
            "--plot",
            "--out",
            str(tmp_path / seed),
        ]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed})

    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")
    assert {"manifest.yaml", "metrics.json", "spans.parquet", "timeline.png"} <= set(hashes(tmp_path / "1"))


@pytest.mark.parametrize("name", sorted(scenario.names()))
def test_every_bundled_scenario_has_its_golden_digest(name: str) -> None:
    """A digest changes only together with a line under Results in the change log."""
    assert run(read_scenario(name)).digest == GOLDEN[name]


@pytest.mark.parametrize("chunk", [1, 7])
def test_messages_handed_on_few_at_a_time_are_the_same(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "CHUNK", chunk)

    assert run(read_scenario("two_jobs")).digest == GOLDEN["two_jobs"]


def test_the_name_of_a_run_depends_on_everything_that_decides_it() -> None:
    names = {
        report.run_name(read_scenario("fused_allreduce", overrides, seed))
        for overrides, seed in (([], 0), ([], 1), (["wait.policy=monitor"], 0), (["machine.link.latency=1 ns"], 0))
    }

    assert len(names) == 4


def test_the_name_of_a_run_depends_on_what_stands_in_its_files_and_the_manifest_states_their_digests(
    tmp_path: Path,
) -> None:
    profile = tmp_path / "p.csv"
    text = (source.bundle("traces") / "ddp_4ranks" / "profile.csv").read_text(encoding="utf-8")
    names = set()
    for version in (text, text + "0,1,2,2,1,8,flag,99,0,0,copy,x\n"):
        profile.write_text(version, encoding="utf-8")
        names.add(report.run_name(read_scenario("fused_allreduce", [f"workloads.0.params.profile={profile}"])))
    asked = read_scenario("fused_allreduce", [f"workloads.0.params.profile={profile}"])
    folder = write_run(run(asked), tmp_path / "run")

    assert len(names) == 2
    stated = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))["manifest"]
    assert stated["sha256_of_inputs"] == {str(profile): hashlib.sha256(profile.read_bytes()).hexdigest()}
