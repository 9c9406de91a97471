"""The commands, as a user types them: output, files, exit codes, one-line errors."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from simcore import cli, hardware, source
from simcore.cli import runs
from simcore.simulation import Simulation

HEAVY = ("numpy", "pandas", "matplotlib", "numba", "torch", "pyarrow", "scipy", "networkx", "pydantic", "yaml", "rich")


def simcore(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simcore.cli", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_run_prints_a_table_and_the_files_that_it_wrote(tmp_path: Path) -> None:
    done = simcore("run", "fused_allreduce", "--plot", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("fused_allreduce-")
    for name in (
        "manifest.yaml",
        "metrics.json",
        "spans.parquet",
        "transfers.parquet",
        "links.parquet",
        "flags.parquet",
        "timeline.png",
        "traffic.png",
    ):
        assert f"wrote    runs/{folder.name}/{name}\n" in done.stdout
        assert (folder / name).stat().st_size > 100
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert f"{metrics['flags']['flag_reads']} reads in {metrics['flags']['waits']} waits" in done.stdout
    for rank in range(4):
        assert f"rank{rank}" in done.stdout
    assert "ms simulated" in done.stdout


def test_several_jobs_print_a_row_each_with_what_they_cost_each_other(tmp_path: Path) -> None:
    traffic = "traffic=[{pattern: incast, size: 1 kB, rate: 1 MB/s, stop: 5 ms}]"
    done = simcore("run", "two_jobs", "--set", traffic, "--out", "r", cwd=tmp_path)

    found = json.loads((tmp_path / "r" / "metrics.json").read_text(encoding="utf-8"))
    for name in ("spread", "packed"):
        row = next(line.split() for line in done.stdout.splitlines() if line.startswith(f" {name} "))
        assert row[1] == f"{found['jobs'][name]['makespan_ps'] / 1e9:.4g}"
        assert row[2] == f"{found['jobs'][name]['alone_makespan_ps'] / 1e9:.4g}"
        assert row[-1] == f"{found['jobs'][name]['slowdown']:.3f}"
        assert found["jobs"][name]["slowdown"] > 1.2
    assert f"traffic  incast: {found['traffic']['incast']['data_bytes'] / 1e3:g} kB in " in done.stdout


def test_plot_draws_from_a_run_folder(tmp_path: Path) -> None:
    simcore("run", "fused_allreduce", "--out", "r", cwd=tmp_path)
    assert not (tmp_path / "r" / "timeline.png").exists()

    done = simcore("plot", "r", cwd=tmp_path)

    assert done.stdout == "wrote    r/timeline.png\nwrote    r/traffic.png\n"
    assert (tmp_path / "r" / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_a_warning_says_what_has_no_effect(tmp_path: Path) -> None:
    done = simcore("run", "fused_allreduce", "--set", "machine.gpus=8", "--set", "machine.sharing=ideal", cwd=tmp_path)

    assert "warning  4 ranks on 8 GPUs: 4 GPUs take no part" in done.stdout
    assert "warning  sharing is 'ideal'" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("run", "fused_alreduce"), "error: unknown scenario 'fused_alreduce'; did you mean 'fused_allreduce'?"),
        (("run", "gone.yaml"), "error: gone.yaml: no such file"),
        (("run",), "error: Missing argument 'SCENARIO'."),
        (("run", "fused_allreduce", "--set", "wait.policy"), "error: --set wait.policy: write key=value"),
        (
            ("run", "fused_allreduce", "--set", "wait.polcy=spin"),
            "error: --set wait.polcy=spin: wait.polcy: unknown key 'polcy'; did you mean 'policy'?",
        ),
        (("run", "fused_allreduce", "--set", "machine.link.bandwidth=450 GB"), "'450 GB' is a size, not a bandwidth"),
        (("run", "fused_allreduce", "--seed", "-1"), "error: Invalid value for '--seed'"),
        (
            ("check", "fused_allreduce", "--set", "machine.gpus=2"),
            "4 ranks of fused_allreduce need as many GPUs; the machine has 2",
        ),
        (("plot", "nowhere"), "error: nowhere: not a run folder"),
        (("presets", "h100"), "error: unknown preset 'h100'"),
        (("topo", "hgx-h10"), "error: unknown scenario or preset 'hgx-h10'; did you mean 'hgx-h100'?"),
        (("topo", "hgx-h100", "--set", "machine.nodes=2"), "nodes: 2 nodes need a network"),
        (("trace", "inspect", "nowhere"), "error: nowhere: cannot be read: no such file or directory"),
        (("trace", "import", "nowhere", "-o", "x.csv"), "error: nowhere: cannot be read"),
        (("rnu",), "error: No such command 'rnu'."),
        (("check", "x" * 300), "error: 'xxx"),
        (("presets", "x" * 300), "error: unknown preset 'xxx"),
        (("plot", "x" * 300), "x: not a run folder"),
        (("run", "fused_allreduce", "--out", "x" * 300), "x: cannot be written: file name too long"),
        (("run", "fused_allreduce", "--set", "wait.policy='\"a\n\nb\"'"), "--set wait.policy='\"a\\n\\nb\"'"),
        (("check", "."), "error: .: a folder, but no run's"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_and_writes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    done = simcore(*arguments, cwd=tmp_path)

    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_out_never_overwrites_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("words", encoding="utf-8")

    done = simcore("run", "fused_allreduce", "--out", "thesis", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (
        2,
        "error: thesis: exists and is not a run folder; it is left alone, give another --out\n",
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["thesis", "chapter.txt"]


@pytest.mark.parametrize("arguments", [(), ("trace",)])
def test_a_command_without_arguments_prints_its_help_as_it_is(arguments: tuple[str, ...]) -> None:
    done = simcore(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith("Usage: ")
    assert done.stderr.rstrip() == simcore(*arguments, "--help").stdout.rstrip()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="the system has no device that is always full")
def test_output_that_cannot_be_written_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "simcore.cli", "models"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert (done.returncode, done.stderr) == (2, "error: no space left on device\n")


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(
        [sys.executable, "-m", "simcore.cli", "run", "fused_allreduce", "--out", "r"],
        capture_output=True, text=True, cwd=tmp_path, check=False, preexec_fn=limited,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (2, "error: r: cannot be written: file too large\n")
    assert list(tmp_path.iterdir()) == []


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run the command line in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["simcore", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def struck(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_says_what_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("run", "fused_allreduce", "--out", "r", "--plot")
    with monkeypatch.context() as patch:
        patch.setattr("simcore.assembly.run", struck)
        assert ended(patch, *command) == 130
    assert capsys.readouterr().err == "interrupted; nothing was written\n"
    assert list(tmp_path.iterdir()) == []

    with monkeypatch.context() as patch:
        patch.setattr("simcore.plot.timeline", struck)
        assert ended(patch, *command) == 130
    assert capsys.readouterr().err == "interrupted; r holds the whole run\n"
    assert (tmp_path / "r" / "manifest.yaml").exists()

    with monkeypatch.context() as patch:
        patch.setattr("simcore.registry.folders", struck)
        assert ended(patch, "models") == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def swollen() -> None:
        raise MemoryError

    monkeypatch.setattr("simcore.registry.folders", swollen)

    assert ended(monkeypatch, "models") == 2
    assert capsys.readouterr().err == "error: this needs more memory than there is\n"


def test_the_clock_of_the_progress_starts_when_time_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    simulation = Simulation()
    simulation.horizon = 1000
    with runs._Progress() as progress:
        now[0] = 200.0
        progress(simulation)
        simulation.events, simulation._now = 500, 250
        now[0] = 201.5
        progress(simulation)
        assert capsys.readouterr().err == ""
        now[0] = 204.0
        progress(simulation)

    assert capsys.readouterr().err.strip() == "simulated 250 ps, 125 events/s, about 12 s left"


def test_check_prints_the_resolved_scenario(tmp_path: Path) -> None:
    done = simcore("check", "fused_allreduce", "--set", "machine.link.latency=7 ns")

    resolved = yaml.safe_load(done.stdout)
    assert resolved["machine"]["link"].items() >= {"bandwidth": "64 GB/s", "latency": "7 ns", "duplex": "full"}.items()
    assert resolved["workloads"][0]["ranks"] == 4


def test_models_presets_schema_and_topo(tmp_path: Path) -> None:
    assert "arXiv:2606.12638" in simcore("models").stdout
    assert [line.split()[0] for line in simcore("presets").stdout.splitlines()] == hardware.names()
    assert "link.bandwidth             450 GB/s        spec" in simcore("presets", "hgx-h100").stdout
    assert json.loads(simcore("schema").stdout)["title"] == "simcore scenario"
    done = simcore("topo", "fused_allreduce", "--out", "t.png", cwd=tmp_path)
    assert done.stdout == "mi300x-8: 4 GPUs, full_mesh, 12 directed links\nwrote    t.png\n"
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_topo_draws_a_preset_and_presets_shows_where_its_values_come_from(tmp_path: Path) -> None:
    done = simcore("topo", "hgx-h100-fat-tree", "--set", "machine.nodes=4", "-o", "t.svg", cwd=tmp_path)

    assert done.stdout == (
        "hgx-h100-fat-tree: 32 GPUs, switch, 4 nodes on a fat_tree, 160 directed links\nwrote    t.svg\n"
    )
    assert "<svg" in (tmp_path / "t.svg").read_text(encoding="utf-8")
    shown = simcore("presets", "tpu-v3-8x8").stdout
    assert "topology                   {family: torus, dimensions: [{size: 8}, {size: 8}]} spec" in shown
    assert "link.latency_is            wire            assumed" in shown


def test_traces_become_a_profile_that_runs(tmp_path: Path) -> None:
    files = [str(path) for path in sorted((source.bundle("traces") / "ddp_4ranks").glob("*.json.gz"))]

    imported = simcore("trace", "import", *files, "-o", "p.csv", "--as", "ring", cwd=tmp_path)
    looked = simcore("trace", "inspect", files[0])
    profile = simcore("trace", "inspect", "p.csv", cwd=tmp_path)
    done = simcore(
        "run",
        "fused_allreduce",
        "--set",
        "workloads.0.params.profile=p.csv",
        "--set",
        "machine.topology=ring",
        cwd=tmp_path,
    )

    assert "algorithm: ring: inferred" in imported.stdout
    assert "rank 0 of 4, backend gloo" in looked.stdout
    assert "timing profile of 4 ranks" in profile.stdout
    assert done.returncode == 0, done.stderr


def long_profile(path: Path) -> None:
    """Write a profile of so many collectives that running it takes seconds."""
    lines = [
        "# format: simcore timing profile 2",
        "# world: 2",
        "rank,start_ps,time_ps,arrived_ps,dst,size_bytes,kind,collective,step,group,phase,name",
    ]
    for i in range(60_000):
        for rank in (0, 1):
            lines.append(f"{rank},{i * 10**8},{i * 10**8 + 10**7},{i * 10**8 + 10**7},{1 - rank},8,flag,{i},0,0,copy,x")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_an_interrupt_leaves_a_valid_marked_run_and_exits_130(tmp_path: Path) -> None:
    long_profile(tmp_path / "p.csv")
    command = [sys.executable, "-m", "simcore.cli", "run", "fused_allreduce", "--out", "r"]
    overrides = ["--set", "workloads.0.params.profile=p.csv", "--set", "machine.gpus=2"]
    process = subprocess.Popen(
        [*command, *overrides],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    seen = b""
    until = time.monotonic() + 60
    while b"events/s" not in seen and process.poll() is None and time.monotonic() < until:
        seen += process.stderr.read() or b""
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    os.set_blocking(process.stderr.fileno(), True)
    _, rest = process.communicate(timeout=60)

    assert process.returncode == 130, seen + rest
    assert b"holds the run up to there" in rest
    manifest = yaml.safe_load((tmp_path / "r" / "manifest.yaml").read_text(encoding="utf-8"))["manifest"]
    assert manifest["status"] == "interrupted"
    assert 0 < manifest["interrupted_at_ps"] < 60_000 * 10**8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "r"]
    assert simcore("plot", "r", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("statement", ["import simcore", "import simcore.cli"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    code = f"import sys; {statement}; print([name for name in {HEAVY!r} if name in sys.modules])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_run_without_a_plot_imports_neither_pandas_nor_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['simcore', 'run', 'fused_allreduce']\nfrom simcore.cli import main\n"
        "try: main()\nexcept SystemExit: print([n for n in ('pandas', 'matplotlib', 'torch', 'networkx') if "
        "n in sys.modules])"
    )

    assert subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout.endswith("\n[]\n")
