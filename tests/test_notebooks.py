"""The gallery: what is stored is what running each notebook gives, small enough to read where it lies."""

import base64
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES, MOST_PICTURE_BYTES, MOST_LINES = 200_000, 60_000, 60

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the notebooks are not here")


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def said(output: Any) -> str:
    """Return the text of an output."""
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    return text if isinstance(text, str) else "".join(text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored_is_whole_and_small(path: Path) -> None:
    held = path.read_text(encoding="utf-8")
    notebook = json.loads(held)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]

    assert len(held) < MOST_BYTES
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert [cell["id"] for cell in notebook["cells"]] == [f"cell-{i:02}" for i in range(len(notebook["cells"]))]
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["cells"][0]["source"][0].startswith("# ")
    assert "**Not modelled" in held
    for output in outputs(notebook):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr", said(output)
        assert said(output).count("\n") < MOST_LINES
        assert len(base64.b64decode(output.get("data", {}).get("image/png", ""))) < MOST_PICTURE_BYTES
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert re.findall(r"/(?:home|root|tmp|work|usr)/", "".join(map(said, outputs(notebook)))) == []


def test_the_gallery_shows_every_notebook() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")

    assert len(NOTEBOOKS) >= 6
    for path in NOTEBOOKS:
        assert f"]({path.name})" in page
    for picture in re.findall(r"\((pictures/[^)]+)\)", page):
        assert (FOLDER / picture).stat().st_size < MOST_PICTURE_BYTES


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_running_a_notebook_gives_what_is_stored(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    execute = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(execute)

    found = execute.executed(path, tmp_path)

    stored = json.loads(path.read_text(encoding="utf-8"))
    for fresh, old in zip(found["cells"], stored["cells"], strict=True):
        assert [said(output) for output in fresh.get("outputs", [])] == [
            said(output) for output in old.get("outputs", [])
        ]
        pictures = [["image/png" in o.get("data", {}) for o in cell.get("outputs", [])] for cell in (fresh, old)]
        assert pictures[0] == pictures[1]
