"""Run the notebooks of this folder and store what they print: ``python notebooks/execute.py [NAME...]``.

What is stored depends on nothing but the notebook and simcore: no times, no places, cells numbered in order.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
PATIENCE_S = 300
"""Seconds that a cell may take."""


def executed(path: Path, folder: Path) -> Any:
    """Return the notebook at ``path`` after it was run in ``folder``, an empty one; raises where a cell does."""
    notebook = nbformat.read(path, as_version=4)
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    before = os.environ | {}
    os.environ |= {"PATH": commands, "COLUMNS": "110"}
    try:
        NotebookClient(
            notebook, timeout=PATIENCE_S, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
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


def main(names: list[str]) -> None:
    """Run the notebooks called so, or all, and write them back."""
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)
        print(f"wrote    notebooks/{path.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
