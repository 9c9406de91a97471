"""Checks of what stands in a model's folder: its citation, its imports, its card, its claims, its parameters."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from simcore import registry, scenario, source
from simcore.claims import reading
from simcore.testing.subject import Inapplicable, Subject, Unmet


def check_citation(subject: Subject) -> str:
    """The first line of the package says what the model is and where it comes from."""
    line = registry.citation(subject.name)
    if not line:
        raise Unmet("__init__.py has no docstring; its first line is the citation that `simcore models` prints")
    return line


def check_imports(subject: Subject) -> str:
    """The model knows the core by what `simcore` itself offers, and no other model."""
    found = strangers(subject.folder)
    if found:
        raise Unmet(f"{found[0]}; a model imports from `simcore` and from its own folder")
    return f"{len(list(subject.folder.rglob('*.py')))} files"


def strangers(folder: Path) -> list[str]:
    """Return every import of a model that is neither the façade, nor its own folder, nor a library."""
    # The façade stands above this floor; only its list of names is asked for.
    offered = import_module("simcore").__all__
    found = []
    for path in sorted(folder.rglob("*.py")):
        depth = len(path.relative_to(folder).parts)
        for name, line in imports(path):
            parts = name.split(".")
            up = len(name) - len(name.lstrip("."))
            if parts[0] == "simcore" and (len(parts) != 2 or parts[1] not in offered):
                found.append(f"{path.name}:{line} imports {name}")
            elif up > depth:
                found.append(f"{path.name}:{line} imports from outside its folder")
    return found


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every module that a file imports when it runs, wherever in it, dotted and in full, with its line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for block in ast.walk(tree):
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "." * node.level + (node.module or ""), node.lineno
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def check_card(subject: Subject) -> str:
    """The README says what is not modelled."""
    path = subject.folder / "README.md"
    if not path.is_file():
        raise Unmet("no README.md: the model's card, with the question, what is modelled and what is not")
    if not re.search(r"not modelled", path.read_text(encoding="utf-8"), re.IGNORECASE):
        raise Unmet("README.md does not say what is not modelled")
    return "says what is not modelled"


def check_claims(subject: Subject) -> str:
    """Every claim has its place and grade, and every constant its source; a constant is what the parameter says."""
    if not (subject.folder / reading.CLAIMS).is_file():
        raise Inapplicable(f"no {reading.CLAIMS}")
    paper = reading.read(subject.name)
    empty = [claim.id for claim in paper.sheet.claims if not claim.place.strip()]
    if empty:
        raise Unmet(f"{reading.CLAIMS}: claim {empty[0]} does not say where it stands")
    names = [each.name for each in subject.fields]
    defaults = subject.workload.Params()
    for key, constant in paper.constants.items():
        group, _, name = key.partition(".")
        if not constant.source.strip():
            raise Unmet(f"{reading.CONSTANTS}: {key} has no source")
        if group != "params":
            continue
        if name not in names:
            raise Unmet(f"{reading.CONSTANTS}: {source.unknown('parameter', name, names)}")
        stated = source.Document({name: constant.value}, reading.CONSTANTS, prefix=("params",)).build(
            subject.workload.Params
        )
        if stated != defaults:
            raise Unmet(f"{reading.CONSTANTS}: {key} is {constant.value}, but the default of Params is another")
    return f"{len(paper.sheet.claims)} claims, {len(paper.constants)} constants"


def check_parameters(subject: Subject) -> str:
    """Params is frozen, has a default for everything, says what everything is, and survives the way to YAML."""
    kind = subject.workload.Params
    fields = subject.fields
    if not kind.__dataclass_params__.frozen:
        raise Unmet("Params can be changed; decorate it with @dataclass(frozen=True)")
    required = [
        each.name for each in fields
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    if required:
        raise Unmet(f"the parameter {required[0]} has no default")
    card = subject.folder / "README.md"
    pages = (kind.__doc__ or "") + (card.read_text(encoding="utf-8") if card.is_file() else "")
    for each in fields:
        if not re.search(rf"\b{re.escape(each.name)}\b", pages):
            raise Unmet(f"neither the docstring of Params nor README.md says what {each.name} is")
    for case in subject.cases:
        params = subject.asked(case).workloads[subject.job(case)].params
        again = source.Document(scenario.resolved(params), "the parameters").build(kind)
        if again != params:
            raise Unmet(f"case {case}: written to YAML and read again, the parameters are others")
    return f"{len(fields)} parameters"
