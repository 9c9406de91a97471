"""Who may import whom: the core's floors, what the façade offers, no paper named by the core."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import simcore
from simcore.testing.folder import imports

ROOT = Path(__file__).parents[1]
FLOORS = {
    0: ["units", "errors"],
    1: ["columns", "source", "trace", "reads", "shapes", "randomness"],
    2: ["hardware", "formats", "metrics", "placement"],
    3: ["work", "simulation", "topology", "schedule"],
    4: ["fabric"],
    5: ["device", "collectives"],
    6: ["flags", "fit"],
    7: ["workload", "registry", "traffic"],
    8: ["outputs", "scenario", "calibration", "summary"],
    9: ["assembly", "sweep", "timing"],
    10: ["report", "plot", "bench", "executors", "scaffold"],
    11: ["claims", "explanation", "page", "studies", "validation"],
    12: ["notebook", "testing"],
    13: ["cli"],
}
"""The table of the design, plus metrics; a folder counts as one module."""
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names}


def module_of(path: Path, root: Path = ROOT) -> str:
    return path.relative_to(root / "simcore").parts[0].removesuffix(".py")


def trespasses(root: Path) -> list[str]:
    """Return every import of the core that does not lead to a lower floor."""
    found = []
    for path in sorted((root / "simcore").rglob("*.py")):
        here = module_of(path, root)
        if here == "__init__":
            continue
        for name, line in imports(path):
            parts = name.split(".")
            if not parts[0]:
                found.append(f"{here}:{line} imports relatively")
            elif parts[0] == "simcore":
                there = parts[1] if len(parts) > 1 else ""
                if there not in FLOOR:
                    found.append(f"{here}:{line} imports {name}")
                elif there != here and FLOOR[there] >= FLOOR[here]:
                    found.append(f"{here}:{line} imports {there}, floor {FLOOR[there]} from floor {FLOOR[here]}")
    return found


def test_every_module_of_the_core_has_its_floor() -> None:
    there = {module_of(path) for path in (ROOT / "simcore").rglob("*.py")} - {"__init__"}

    assert there == set(FLOOR)


def test_a_module_imports_from_lower_floors_only() -> None:
    assert trespasses(ROOT) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from simcore.assembly import run", "imports assembly, floor 9 from floor 3"),
        ("def f():\n    import simcore.topology", "imports topology, floor 3 from floor 3"),
        ("from simcore import topology", "imports topology, floor 3 from floor 3"),
        ("from simcore import Rank", "imports simcore.Rank"),
        ("from simcore.models.fused_allreduce import program", "imports simcore.models.fused_allreduce.program"),
        ("from .units import parse", "imports relatively"),
    ],
)
def test_a_planted_trespass_is_seen(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "simcore").mkdir()
    (tmp_path / "simcore" / "work.py").write_text(line, encoding="utf-8")

    (found,) = trespasses(tmp_path)

    assert found.endswith(said)


def test_the_core_never_names_a_paper() -> None:
    papers = [path.name for path in (ROOT / "models").iterdir() if (path / "__init__.py").exists()]
    named = [
        (str(path.relative_to(ROOT)), paper)
        for path in (ROOT / "simcore").rglob("*.py")
        for paper in papers
        if paper in path.read_text(encoding="utf-8")
    ]

    assert named == []


def test_the_facade_is_what_type_checkers_read() -> None:
    tree = ast.parse((ROOT / "simcore" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {
        (node.module, alias.name) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }

    assert typed == {(module, name) for name, module in simcore._MODULE.items()}
    assert sorted(simcore.__all__) == sorted(set(simcore.__all__)) == sorted(dir(simcore))
    assert all(getattr(simcore, name) is not None for name in simcore.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = simcore.Nothing


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import simcore", ["numpy", "pandas", "matplotlib", "numba", "torch", "pyarrow", "simpy", "pydantic"]),
        ("import simcore.cli", ["numpy", "pandas", "matplotlib", "numba", "torch", "pyarrow", "simpy", "pydantic"]),
        ("from simcore import run", ["pandas", "matplotlib", "torch"]),
    ],
)
def test_heavy_libraries_load_when_a_function_needs_them(statement: str, heavy: list[str]) -> None:
    program = f"{statement}\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
