"""A new model: a folder that runs and passes the battery, written from templates for an author to fill in."""

import keyword
import re
import tempfile
from importlib.util import find_spec
from pathlib import Path

from simcore import registry, scenario, source
from simcore.errors import InputError, quoted, writing

LONGEST = 40
"""Letters of a name."""
PLACEHOLDER = "@NAME@"
_TEMPLATES = Path(__file__).parent
_SUFFIX = ".txt"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def write(name: str, into: Path | None = None) -> tuple[list[Path], bool]:
    """Write the model ``name`` and return its files, and whether simcore knows it already.

    Within the checkout that simcore runs from it becomes a folder of `models/`, which is registered by being there.
    Elsewhere, or ``into`` a folder, it becomes a package with an entry point, to be installed. Nothing is written where
    anything is wrong; raises ``InputError``.
    """
    check_name(name)
    home = _models_here(Path()) if into is None else _models_at(into)
    parent = home or into or Path()
    if home is None and find_spec(name) is not None:
        raise InputError(f"{name}: a module of that name is installed, and would be hidden; call the model else")
    return _written(name, parent, whole=home is None), home is not None


def check_name(name: str) -> None:
    """Raise ``InputError`` unless a model may be called ``name`` and none is."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        near = _spelt(name)
        better = f"; write {near}" if _NAME.fullmatch(near) and len(near) <= LONGEST else ""
        raise InputError(
            f"{quoted(name)}: a model's name is a letter, then letters, digits and '_', lower case, {LONGEST} at "
            f"most{better}"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise InputError(f"{name}: a word of Python's own; call the model else, e.g. {name}_model")
    taken = "a model" if name in registry.folders() else "a scenario" if name in scenario.names() else ""
    if taken:
        raise InputError(f"{name}: {taken} of that name is there already, and would be hidden; call the model else")


def _spelt(name: str) -> str:
    """Return ``name`` in the letters of a model's name: HaloMean and halo-mean become halo_mean."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")


def _checkout() -> Path | None:
    """Return the root of the checkout that simcore runs from, or None where it is installed."""
    root = source.bundle("models").resolve().parent
    return root if (root / "setup.cfg").is_file() and (root / "models").is_dir() else None


def _models_here(here: Path) -> Path | None:
    root = _checkout()
    return root / "models" if root and here.resolve().is_relative_to(root) else None


def _models_at(into: Path) -> Path | None:
    """Return ``into`` where it is the `models/` of the checkout that simcore runs from; None where it is not."""
    if not into.is_dir():
        raise InputError(f"{into}: no such folder; --into names the folder in which the model's is made")
    root = _checkout()
    return into if root and into.resolve() == root / "models" else None


def _written(name: str, parent: Path, *, whole: bool) -> list[Path]:
    """Write the folder ``name`` beside its place and move it there at once: the model, or the ``whole`` package around
    it; return the files."""
    target = parent / name
    if target.exists() or target.is_symlink():
        raise InputError(f"{target}: exists already; it is left alone")
    with writing(target), tempfile.TemporaryDirectory(prefix=".simcore-", dir=parent) as staging:
        staged = Path(staging) / name
        if whole:
            _render(_TEMPLATES / "package", staged, name)
        _render(_TEMPLATES / "model", staged / name if whole else staged, name)
        files = sorted(path.relative_to(staging) for path in staged.rglob("*") if path.is_file())
        staged.rename(target)
    return [parent / path for path in files]


def _render(templates: Path, folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    for template in sorted(templates.glob(f"*{_SUFFIX}")):
        path = folder / template.name.removesuffix(_SUFFIX).replace(PLACEHOLDER, name)
        path.write_text(template.read_text(encoding="utf-8").replace(PLACEHOLDER, name), encoding="utf-8")
