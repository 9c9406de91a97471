"""Reading `claims.yaml` and `params.yaml` of a paper, and checking that their parts fit each other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simcore import registry, source
from simcore.claims.sheet import Chart, Claim, Constant, Experiment, Own, Panel, Paper, Sheet, Timelines
from simcore.claims.statistics import Where
from simcore.errors import InputError, quoted
from simcore.trace import SCHEMAS

CLAIMS, CONSTANTS = "claims.yaml", "params.yaml"
"""Files of a paper's folder: its claims, and the constants of its model with their sources."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def names() -> list[str]:
    """Return the papers that have claims."""
    return [name for name, folder in registry.folders().items() if (folder / CLAIMS).is_file()]


def read(name: str) -> Paper:
    """Return the claims of the paper ``name``; raises ``InputError`` with the place of what is wrong."""
    if name not in names():
        raise InputError(source.unknown("paper with claims", name, names()))
    return read_folder(name, registry.folders()[name])


def read_folder(name: str, folder: Path) -> Paper:
    """Return the claims that stand in ``folder``."""
    document = source.read(folder / CLAIMS, inherit=False)
    sheet = document.build(Sheet)
    for keys, sentence in _faults(sheet):
        raise document.error(keys, sentence)
    return Paper(name, folder, sheet, document, _constants(folder, sheet))


def _constants(folder: Path, sheet: Sheet) -> dict[str, Constant]:
    """Return the constants of `params.yaml` by their dotted key: groups of them, as ``params`` and ``machine``."""
    path, found = folder / CONSTANTS, {}
    if not path.is_file():
        return {}
    document = source.read(path, inherit=False)
    groups = document.build(dict[str, dict[str, Constant]])
    claims = [claim.id for claim in sheet.claims]
    for group, constants in groups.items():
        for name, constant in constants.items():
            found[f"{group}.{name}"] = constant
            for i, claim in enumerate(constant.fitted_on):
                if claim not in claims:
                    raise document.error((group, name, "fitted_on", i), source.unknown("claim", claim, claims))
    return found


Fault = tuple[source.Keys, str]


def _faults(sheet: Sheet) -> Iterator[Fault]:
    """Yield what is wrong between the parts of a sheet, each right in itself."""
    for group in ("experiments", "figures"):
        for name in getattr(sheet, group):
            if not _NAME.fullmatch(name):
                yield (group, name), f"{quoted(name)} names files: letters, digits, '_' and '-' only"
    for name, about in sheet.experiments.items():
        for table in about.keep:
            for axis in about.axes.keys() & {column.name for column in SCHEMAS[table]}:
                yield ("experiments", name, "axes", axis), f"is a column of {table}, which is kept; call the axis else"
    seen: set[str] = set()
    for i, claim in enumerate(sheet.claims):
        if claim.id in seen:
            yield ("claims", i, "id"), f"{quoted(claim.id)} stands twice"
        seen.add(claim.id)
        if claim.experiment:
            yield from _faults_of_use(sheet, claim.experiment, claim, ("claims", i))
    for name, figure in sheet.figures.items():
        keys: source.Keys = ("figures", name)
        if isinstance(figure, Own):
            for k, experiment in enumerate(figure.experiments):
                if experiment not in sheet.experiments:
                    yield (*keys, "experiments", k), _strange("experiment", experiment, sheet.experiments)
            continue
        yield from _faults_of_use(sheet, figure.experiment, figure, keys)
        shown = sheet.experiments.get(figure.experiment)
        if shown and isinstance(figure, Timelines) and {"spans", "flags"} - set(shown.keep):
            yield (*keys, "experiment"), f"{quoted(figure.experiment)} must keep the tables spans and flags"


def _faults_of_use(sheet: Sheet, experiment: str, user: Any, keys: source.Keys) -> Iterator[Fault]:
    """Yield what is wrong with what ``user``, a claim or a figure, wants of ``experiment``."""
    if experiment not in sheet.experiments:
        yield (*keys, "experiment"), _strange("experiment", experiment, sheet.experiments)
        return
    about = sheet.experiments[experiment]
    parts: list[tuple[Any, source.Keys]] = [(user, keys)]
    if isinstance(user, Claim):
        parts.append((user.statistic, (*keys, "statistic")))
    elif isinstance(user, Chart):
        parts += [(panel, (*keys, "panels", k)) for k, panel in enumerate(user.panels)]
    for part, at in parts:
        for key, column in _columns_of(part):
            if column not in about.columns:
                yield (*at, *key), _strange("column", column, about.columns)
        for choice in ("where", "of", "to"):
            yield from _faults_of_choice(about, getattr(part, choice, {}), (*at, choice))


def _columns_of(part: Any) -> Iterator[tuple[source.Keys, str]]:
    """Yield the columns that a part of a claim or figure names, each with the key that names it."""
    single = {Panel: ("x", "y"), Timelines: ("runs",)}.get(type(part), ("x", "y", "over"))
    for key in single:
        if hasattr(part, key):
            yield (key,), getattr(part, key)
    for key in ("each", "series"):
        for k, column in enumerate(getattr(part, key, [])):
            yield (key, k), column


def _faults_of_choice(about: Experiment, where: Where, keys: source.Keys) -> Iterator[Fault]:
    for axis, wanted in where.items():
        if axis not in about.axes:
            yield (*keys, axis), _strange("axis", axis, about.axes)
            continue
        values = about.axes[axis].values
        for value in wanted if isinstance(wanted, list) else [wanted]:
            if value not in values:
                listed = ", ".join(map(str, values))
                yield (*keys, axis), f"{quoted(value)} is no value of {axis}; it has {listed}"


def _strange(noun: str, name: object, allowed: Any) -> str:
    return source.unknown(noun, name, list(allowed))
