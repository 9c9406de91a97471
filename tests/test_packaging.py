"""Wheel, sdist and editable install carry every module, model, scenario and trace, and nothing else."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALLED = {"simcore/": "simcore/", "models/": "simcore/models/", "scenarios/": "simcore/scenarios/"}
INSTALLED["traces/"] = "simcore/traces/"

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="compares with git ls-files; this is no checkout")


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(name for name in listed.stdout.split("\0") if name and (ROOT / name).exists())


def built(what: str, tree: Path, out: Path) -> Path:
    """Return the wheel or sdist that setuptools makes of ``tree``, with every warning about packages as a failure."""
    out.mkdir(exist_ok=True)
    program = f"import setuptools.build_meta as b, sys; print(b.build_{what}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-W", "error::setuptools.errors.SetupError", "-c", program, str(out)],
        cwd=tree,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return out / done.stdout.splitlines()[-1]


def contents(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(name for name in archive.namelist() if not name.endswith("/") and ".dist-info/" not in name)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks, with the litter that a used checkout has."""
    tree = tmp_path_factory.mktemp("tree")
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    for package in ("simcore", "models/fused_allreduce", "scenarios", "traces"):
        (tree / package / "__pycache__").mkdir()
        (tree / package / "__pycache__" / "litter.cpython-311.pyc").touch()
    return tree


@pytest.fixture(scope="module")
def sdist(tree: Path) -> Path:
    return built("sdist", tree, tree.parent / "sdist")


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    return built("wheel", tree, tree.parent / "wheel")


def expected() -> list[str]:
    return sorted(
        there + name.removeprefix(here)
        for name in tracked()
        for here, there in INSTALLED.items()
        if name.startswith(here)
    )


def test_the_wheel_is_what_git_tracks(wheel: Path) -> None:
    assert contents(wheel) == expected()
    assert {name.split("/")[0] for name in contents(wheel)} == {"simcore"}


def test_the_sdist_is_what_git_tracks(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}

    generated = {name for name in names if name == "PKG-INFO" or ".egg-info/" in name}
    assert sorted(names - generated) == [name for name in tracked() if not name.startswith(".")]


def test_the_sdist_makes_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # type: ignore[assignment]
        archive.extractall(tmp_path)
    (unpacked,) = tmp_path.iterdir()

    assert contents(built("wheel", unpacked, tmp_path / "again")) == contents(wheel)


def test_a_file_that_no_pattern_carries_would_be_missed(tree: Path, tmp_path: Path) -> None:
    maimed = tmp_path / "maimed"
    shutil.copytree(tree, maimed, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    setup = (maimed / "setup.cfg").read_text(encoding="utf-8")
    (maimed / "setup.cfg").write_text(setup.replace("simcore.traces = **/*\n", ""), encoding="utf-8")

    lost = set(expected()) - set(contents(built("wheel", maimed, tmp_path / "out")))

    assert "simcore/traces/ddp_4ranks/profile.csv" in lost


@pytest.mark.slow
def test_the_installed_wheel_runs_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = (
        "import sys; sys.path.insert(0, 'site')\n"
        "sys.meta_path = [finder for finder in sys.meta_path if 'editable' not in repr(finder)]\n"
        "import simcore; print(simcore.__file__)\n"
        "print(simcore.run(simcore.read_scenario('fused_allreduce')).metrics['transfers']['messages'])"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)

    where, messages = done.stdout.splitlines()
    assert Path(where) == tmp_path / "site" / "simcore" / "__init__.py"
    assert int(messages) > 0


def test_constraints_pin_everything_that_is_asked_for() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    asked = setup["options"]["install_requires"] + setup["options.extras_require"]["test"]
    asked += "\n".join(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"])
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }

    wanted = {
        re.split(r"[\[>]", line)[0].strip().lower().replace("_", "-") for line in asked.splitlines() if line.strip()
    }
    assert wanted - pinned == set()
