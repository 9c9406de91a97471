"""What the pages say is what happens: their commands run, their tables are the schemas, their examples work."""

import dataclasses
import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from test_layers import FLOORS
from test_new_model import installed

import simcore
from simcore import read_scenario, scaffold, shapes
from simcore.hardware import Degraded, Edge, LinkSpec
from simcore.testing import CHECKS

ROOT = Path(__file__).parents[1]
SITE = ".site"
"""Folder of a page's workplace in which the packages are that the page installs."""
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("traces/*.md"),
        *ROOT.glob("notebooks/*.md"),
        *ROOT.glob("models/*/*.md"),
    ]
)
FILE = re.compile(
    r"^`([\w./]+\.(?:py|yaml|txt))`[^\n]*\n\n```(?:python|yaml|text)\n(.*?)^```", re.MULTILINE | re.DOTALL
)
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the pages are not here")


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands(page: str) -> list[tuple[str, str]]:
    """Return every command of a page's console blocks with the output that the page shows."""
    found = []
    for block in CONSOLE.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append((command, shown.rstrip("\n")))
    return found


def workplace(page: str, folder: Path) -> dict[str, str]:
    """Write the files of a page into ``folder``, with a place to install packages to; return the environment."""
    for name, content in FILE.findall(page):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    (folder / "traces").symlink_to(ROOT / "traces")
    (folder / SITE).mkdir()
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": commands, "PYTHONPATH": str(folder / SITE), "COLUMNS": "80"}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(str(page.relative_to(ROOT)), marks=[] if page.name == "README.md" else [pytest.mark.slow])
        for page in PAGES
        if "```console" in page.read_text(encoding="utf-8")
    ],
)
def test_the_commands_of_a_page_print_what_it_shows(page: str, tmp_path: Path) -> None:
    environment = workplace(text(page), tmp_path)

    shown = commands(text(page))
    for command, expected in shown:
        if command.startswith("pip install -e "):
            installed(tmp_path / command.split()[-1], tmp_path / SITE)
            continue
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "\n".join(line.rstrip() for line in done.stdout.rstrip("\n").split("\n")) == expected


def test_the_page_on_models_shows_what_new_model_writes(tmp_path: Path) -> None:
    page = text("docs/writing-a-model.md")
    files, _ = scaffold.write("tile_shift", tmp_path)
    written = {file.name: file.read_text(encoding="utf-8") for file in files}

    shown = re.findall(r"^\*\*`(\w+\.py)`\*\*|^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    file, seen = "", []
    for name, block in shown:
        file = name or file
        if block:
            assert block in written[file]
            seen.append(file)
    assert seen == ["kernel.py", "cost.py", "program.py", "program.py"]
    assert all(f"`{name}`" in page for name in written if name not in ("pyproject.toml", "test_tile_shift.py"))
    assert all(f"`{check}`" in page for check in CHECKS)


def test_the_page_on_models_names_everything_that_a_program_may_call() -> None:
    rules = text("docs/writing-a-model.md").partition("## The rules")[2]
    door = [name for name in vars(simcore.Rank) if name[0] != "_" and name != "cut"]

    assert len(door) >= 8
    assert [name for name in door if f"`{name}`" not in rules] == []


def table_rows(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]


def test_limits_repeats_every_simplification() -> None:
    rows = [row for row in table_rows(text("docs/limits.md")) if row[0].startswith("`")]
    stated = sorted(row[0].strip("`") for row in rows)
    commented = sorted(
        str(path.relative_to(ROOT))
        for folder in ("simcore", "models")
        for path in (ROOT / folder).rglob("*.py")
        for _ in re.findall(r"Model: ", path.read_text(encoding="utf-8"))
    )

    assert stated == commented


def test_the_machines_of_the_page_are_machines(tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(machine:\n.*?)^```", text("docs/machines.md"), re.MULTILINE | re.DOTALL)

    assert len(examples) >= 2
    for example in examples:
        path = tmp_path / "x.yaml"
        path.write_text(example + "workloads: [{model: fused_allreduce}]\n", encoding="utf-8")
        assert read_scenario(str(path)).machine.gpu_count == 128


def test_the_page_of_machines_names_every_family_and_key() -> None:
    page = text("docs/machines.md")
    records = [shapes.Dimension, shapes.LinkChange, LinkSpec, Edge, Degraded]
    for record in (shapes.Switch, shapes.Direct, shapes.Torus, shapes.FatTree, shapes.RailOptimised, shapes.Dragonfly):
        records.append(record)
        assert all(f"| `{family}` |" in page for family in get_args(get_type_hints(record)["family"]))
    names = {field.name for record in records for field in dataclasses.fields(record)}

    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", page)] == []


def test_the_readme_begins_as_a_readme_should() -> None:
    page = text("README.md")
    order = [page.index(mark) for mark in ("![", "```yaml", "```console", "**Not modelled**")]

    assert order == sorted(order)
    assert len(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1].splitlines()) == 8  # type: ignore[index]
    assert "make demo" in page
    assert "make test" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_pages_with_commands_are_found() -> None:
    found = [page.name for page in PAGES if len(commands(page.read_text(encoding="utf-8"))) >= 3]

    assert {"README.md", "collectives.md", "machines.md", "performance.md", "writing-a-model.md"} <= set(found)


def test_the_readme_quotes_the_worst_error_of_the_published_table() -> None:
    worst = re.search(r"the worst count is at ([\d.]+ %)", text("docs/validation.md"))

    assert worst is not None
    assert f"error at most {worst[1]}" in text("README.md")


def test_the_design_has_the_table_of_floors() -> None:
    rows = [row for row in table_rows(text("docs/design.md")) if row[0].isdigit()]

    stated = {int(row[0]): set(re.findall(r"`(\w+)`", row[1])) for row in rows}
    assert stated == {floor: set(modules) for floor, modules in FLOORS.items()}


def test_the_readme_names_every_command() -> None:
    done = subprocess.run([sys.executable, "-m", "simcore.cli", "--help"], capture_output=True, text=True, check=True)
    listed = re.findall(r"^  ([a-z]+)  ", done.stdout, re.MULTILINE)

    assert len(listed) >= 12
    for name in listed:
        assert f"simcore {name}" in text("README.md")


EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "simcore").rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_in_docstrings_are_true(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(module))

    assert (failed, tried > 0) == (0, True)


def test_the_changelog_names_every_golden_digest() -> None:
    golden = (Path(simcore.__file__).parents[1] / "traces" / "golden.yaml").read_text(encoding="utf-8")

    for name, digest in re.findall(r"^(\w+): ([0-9a-f]{64})$", golden, re.MULTILINE):
        assert f"`{name}`, `{digest[:8]}" in " ".join(text("CHANGELOG.md").split())


def test_pages_name_no_machine() -> None:
    tracked = [path for path in ROOT.rglob("*") if path.suffix in (".md", ".py", ".yaml", ".cfg", ".toml", ".csv")]
    strangers = [
        str(path)
        for path in tracked
        if not {".venv", "build", "runs"} & set(path.relative_to(ROOT).parts) and path != Path(__file__)
        if re.search(r"/(?:home|root|tmp|work)/\w", path.read_text(encoding="utf-8", errors="ignore"))
    ]

    assert strangers == []
