"""`simcore new-model`: what it writes runs at once, in a checkout and as a package of one's own, and is edited live."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from simcore import InputError, registry, scaffold

ROOT = Path(__file__).parents[1]


def python(*arguments: str, cwd: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with ``path`` before everything that is installed."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
    )


def installed(project: Path, site: Path) -> None:
    """Install the package in ``project`` editable into ``site``, as pip would: the links to it in a wheel."""
    program = "import setuptools.build_meta as b, sys; b.build_editable(sys.argv[1])"
    done = python("-c", program, str(site), cwd=project, path=site)
    assert done.returncode == 0, done.stderr
    (wheel,) = site.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Links (.pth) count only in folders that Python's own site knows.
    (site / "sitecustomize.py").write_text(f"import site\nsite.addsitedir({str(site)!r})\n", encoding="utf-8")


def edit(file: Path, there: str, instead: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert there in text
    file.write_text(text.replace(there, instead), encoding="utf-8")


def test_a_package_of_ones_own_runs_passes_its_tests_and_is_edited_live(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    made = python("-m", "simcore.cli", "new-model", "tile_shift", cwd=tmp_path, path=site)
    assert (made.returncode, made.stderr) == (0, "")
    assert "wrote    tile_shift/pyproject.toml\n" in made.stdout
    assert made.stdout.endswith(
        "next     pip install -e tile_shift\nnext     simcore run tile_shift, then simcore verify tile_shift\n"
    )
    project = tmp_path / "tile_shift"
    installed(project, site)

    tested = python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project, path=site)
    assert tested.returncode == 0, tested.stdout

    judged = python("-m", "simcore.cli", "reproduce", "tile_shift", cwd=tmp_path, path=site)
    assert judged.returncode == 0, judged.stderr
    assert "2 of 2 scored claims hold" in judged.stdout
    assert (tmp_path / "runs" / "reproduce" / "tile_shift" / "sizes.png").is_file()

    edit(project / "tile_shift" / "program.py", 'rank.put(after, product, "tile")', 'rank.put(after, FLAG, "tile")')
    run = python("-m", "simcore.cli", "run", "tile_shift", "--plot", cwd=tmp_path, path=site)
    assert "moved    32 B of data, 32 B of flags in 8 messages" in run.stdout
    assert "warning" not in run.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout, as far as simcore can tell: its folders, the files in them those of this one."""
    root = tmp_path / "checkout"
    for folder in ("simcore", "models", "docs"):
        (root / folder).mkdir(parents=True)
        for file in (ROOT / folder).iterdir():
            if file.name != "__pycache__":
                (root / folder / file.name).symlink_to(file)
    for folder in ("scenarios", "traces"):
        (root / "simcore" / folder).symlink_to(ROOT / folder)
    (root / "simcore" / "models").symlink_to(root / "models")
    (root / "setup.cfg").touch()
    return root


def test_in_a_checkout_it_is_a_folder_of_models_and_runs_at_once(checkout: Path, tmp_path: Path) -> None:
    made = python("-m", "simcore.cli", "new-model", "tile_shift", cwd=checkout / "docs", path=checkout)
    assert (made.returncode, made.stderr) == (0, "")
    home = checkout / "models" / "tile_shift"
    assert {file.name for file in home.iterdir()} == {
        "__init__.py", "kernel.py", "cost.py", "program.py", "params.yaml", "claims.yaml", "scenario.yaml",
        "verify.yaml", "README.md",
    }  # fmt: skip
    assert "pip" not in made.stdout

    edit(home / "program.py", '"late start"', '"the author\'s own words"')
    program = (
        "import simcore\n"
        "found = simcore.run(simcore.read_scenario('tile_shift'))\n"
        "print(simcore.__file__, 'the author\\'s own words' in found.tables['spans']['what'].to_pylist())"
    )
    run = python("-c", program, cwd=tmp_path, path=checkout)
    assert run.stdout == f"{checkout / 'simcore' / '__init__.py'} True\n", run.stderr

    program = (
        "from pathlib import Path; from simcore import scaffold\n"
        "print(scaffold.write('tile_swap')[1], scaffold.write('tile_turn', Path('checkout/models'))[1])"
    )
    elsewhere = python("-c", program, cwd=tmp_path, path=checkout)
    assert elsewhere.stdout == "False True\n", elsewhere.stderr
    assert (tmp_path / "tile_swap" / "tile_swap" / "program.py").is_file()
    assert (checkout / "models" / "tile_turn" / "program.py").is_file()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("halo-mean", "'halo-mean': a model's name is a letter, then letters, digits and '_', lower case, 40 at most; "
                      "write halo_mean"),
        ("HaloMean", "write halo_mean"),
        ("_hidden", "write hidden"),
        ("2nd", "'2nd': a model's name is a letter, then letters"),
        ("größe", "'größe': a model's name is a letter"),
        ("../up", "write up"),
        ("", "'': a model's name is a letter"),
        ("a" * 41, "40 at most"),
        ("lambda", "lambda: a word of Python's own; call the model else, e.g. lambda_model"),
        ("match", "match: a word of Python's own"),
        ("trace_replay", "trace_replay: a model of that name is there already"),
        ("two_jobs", "two_jobs: a scenario of that name is there already"),
        ("json", "json: a module of that name is installed"),
        ("simcore", "simcore: a module of that name is installed"),
        ("taken", "taken: exists already; it is left alone"),
        ("dangling", "dangling: exists already; it is left alone"),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_is_one_line_and_leaves_nothing(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")

    with pytest.raises(InputError) as caught:
        scaffold.write(name, tmp_path)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.rglob("*")} == {"taken", "dangling"}


def test_a_place_that_cannot_be_written_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder; --into names the folder"):
        scaffold.write("tile_shift", tmp_path / "nowhere")

    def refused(self: Path, *_: object, **__: object) -> int:
        raise PermissionError(13, "no", str(self))

    monkeypatch.setattr(Path, "write_text", refused)
    with pytest.raises(InputError, match=r"tile_shift: cannot be written: permission denied"):
        scaffold.write("tile_shift", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_it_in_one_line_with_exit_code_2(tmp_path: Path) -> None:
    done = python("-m", "simcore.cli", "new-model", "Halo", cwd=tmp_path, path=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: 'Halo': a model's name is")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_is_written_is_formatted_linted_and_typed_whatever_its_name(tmp_path: Path) -> None:
    names = ["x", "rank", "kernel", "params", "zz_" + 37 * "y"]
    for name in names:
        scaffold.write(name, tmp_path)
    for command in (["check"], ["format", "--check"]):
        config = ["--config", str(ROOT / "pyproject.toml")]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *config, "."], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
    strict = ["--strict", "--ignore-missing-imports", "--follow-imports", "silent"]
    files = [str(path.relative_to(tmp_path)) for path in (tmp_path / "rank").rglob("*.py")]

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", "cache", *strict, *files],
        cwd=tmp_path, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert "rank" not in registry.folders()
