"""Run the notebooks of this folder and store what they print: ``python notebooks/execute.py [NAME...]``.

What is stored depends on nothing but the notebook and simcore: no times, no places, cells numbered in order. The
thumbnail of the gallery is the notebook's first figure.
"""

import base64
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image
from traitlets.config import Config

HERE = Path(__file__).parent
PATIENCE_S = 300
"""Seconds that a cell may take."""
THUMBNAIL = 560
"""Pixels of a thumbnail's width."""


def executed(path: Path, folder: Path) -> Any:
    """Return the notebook at ``path`` after it was run in ``folder``, an empty one; raises where a cell does."""
    notebook = nbformat.read(path, as_version=4)
    before = os.environ | {}
    # Sockets have short names, so they lie in a folder of their own. Nobody's settings are read.
    with tempfile.TemporaryDirectory(prefix="nb-") as own:
        os.environ |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "110",
            "NO_COLOR": "1",
            "IPYTHONDIR": own,
            "JUPYTER_CONFIG_DIR": own,
            "JUPYTER_RUNTIME_DIR": own,
        }
        try:
            sockets = Config(KernelManager={"transport": "ipc", "connection_file": str(Path(own) / "kernel.json")})
            where = {"metadata": {"path": str(folder)}}
            NotebookClient(
                notebook, kernel_name="python3", config=sockets, timeout=PATIENCE_S, resources=where
            ).execute()
        finally:
            os.environ.clear()
            os.environ |= before
    return plain(notebook)


def plain(notebook: Any) -> Any:
    """Return ``notebook`` without what differs from run to run; pieces of one stream are joined."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    count = 0
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place:02}"
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        joined: list[Any] = []
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            if joined and output.output_type == "stream" == joined[-1].output_type and output.name == joined[-1].name:
                joined[-1].text += output.text
            else:
                joined.append(output)
            if "metadata" in output:
                output.metadata = {}
        cell.outputs = joined
    return notebook


def pictures(notebook: Any) -> list[bytes]:
    """Return the figures of ``notebook``, as PNG."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    found = [output.get("data", {}).get("image/png") for output in outputs]
    return [base64.b64decode(text) for text in found if text]


def thumbnail(picture: bytes) -> bytes:
    """Return ``picture`` as small as the gallery shows it."""
    large, small = Image.open(io.BytesIO(picture)).convert("RGB"), io.BytesIO()
    shape = THUMBNAIL, round(large.height * THUMBNAIL / large.width)
    large.resize(shape, Image.Resampling.LANCZOS).quantize(128, dither=Image.Dither.NONE).save(
        small, "PNG", optimize=True
    )
    return small.getvalue()


def main(names: list[str]) -> None:
    """Run the notebooks called so, or all, and write them back."""
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        nbformat.write(notebook, path)
        print(f"wrote    notebooks/{path.name}")
        for picture in pictures(notebook)[:1]:
            (HERE / "pictures" / f"{path.stem}.png").write_bytes(thumbnail(picture))


if __name__ == "__main__":
    main(sys.argv[1:])
