"""Every parameter of a run with where it comes from: a sheet's source, the scenario, or a default."""

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simcore import hardware, scenario
from simcore.errors import InputError
from simcore.scenario import Scenario
from simcore.source import Document, split

STATED, SHEET, DEFAULT, FOLLOWS = "scenario", "sheet", "default", "follows"
"""Kinds of origins beside those of a sheet's values: somebody wrote it, it is text of the sheet, nobody wrote it, or it
follows from what was written."""


@dataclass(frozen=True)
class Parameter:
    """A value that decided a run: its dotted key, its text with unit, the ``kind`` of its origin (of a sheet: spec,
    measured, fitted or assumed), where it stands (file and line, or ``--set``), its source, and a note."""

    key: str
    value: str
    kind: str
    place: str = ""
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Known:
    """What a hardware sheet says: its values as texts, their origins and their places, by dotted key."""

    values: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, hardware.Origin] = field(default_factory=dict)
    document: Document = field(default_factory=lambda: Document({}, ""))

    def place(self, key: str) -> str:
        return scenario.told_place(self.document.place(split(key)))


def parameters(asked: Scenario, folder: Path) -> list[Parameter]:
    """Return all parameters of ``asked``, whose hardware sheet is looked for in ``folder`` and among the bundled ones.

    A value is its scenario's where somebody wrote it there, else that of the machine's sheet, or the default; any other
    follows from what was stated.
    """
    sheet, defaults = _sheet(asked, folder), set(_defaults(asked))
    return [
        _parameter(key, value, asked.places, sheet, defaults) for key, value in flat(scenario.resolved(asked)).items()
    ]


def _parameter(key: str, value: str, places: Mapping[str, str], sheet: _Known, defaults: Collection[str]) -> Parameter:
    inner = key.removeprefix("machine.") if key.startswith("machine.") else ""
    was = sheet.values.get(inner)
    if key in places:
        return Parameter(
            key, value, STATED, places[key], "", f"the sheet says {was}" if was not in (None, value) else ""
        )
    origin = _origin(inner, sheet.origins) if was == value else None
    if origin is not None:
        return Parameter(key, value, origin.kind, sheet.place(inner), origin.source, origin.note)
    if was == value and split(inner) in sheet.document.places:
        return Parameter(key, value, SHEET, sheet.place(inner))
    if any(key == default or key.startswith(f"{default}.") for default in defaults):
        return Parameter(key, value, DEFAULT)
    # The manifests of older runs do not say what was stated.
    kind = FOLLOWS if places else STATED
    return Parameter(key, value, kind, note=f"the sheet says {was}" if was not in (None, value) else "")


def flat(values: Any, key: str = "") -> dict[str, str]:
    """Return plain values as texts by dotted key; a list without mappings is one text."""
    if isinstance(values, dict) and values:
        parts: Mapping[Any, Any] = values
    elif isinstance(values, list) and any(isinstance(part, dict) for part in values):
        parts = dict(enumerate(values))
    else:
        return {key: values if isinstance(values, str) else json.dumps(values, default=str)}
    found: dict[str, str] = {}
    for name, part in parts.items():
        found |= flat(part, f"{key}.{name}" if key else str(name))
    return found


def _sheet(asked: Scenario, folder: Path) -> _Known:
    try:
        sheet = hardware.Sheet.read(hardware.find(asked.machine.node, folder))
        return _Known(flat(scenario.resolved(sheet.spec())), sheet.origins, sheet.values)
    except InputError:
        # The sheet of an older run may be gone; its values are in the manifest, without their sources.
        return _Known()


def _origin(key: str, origins: Mapping[str, hardware.Origin]) -> hardware.Origin | None:
    """Return the origin of ``key``, or of the record that it is a part of."""
    parts = key.split(".")
    keys = (".".join(parts[:i]) for i in range(len(parts), 0, -1))
    return next((origins[each] for each in keys if each in origins), None)


def _defaults(record: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a frozen record whose values are the defaults of their fields."""
    for part in dataclasses.fields(record):
        value = getattr(record, part.name)
        key = f"{prefix}{part.name}"
        usual = part.default_factory() if callable(part.default_factory) else part.default
        if usual is not dataclasses.MISSING and value == usual:
            yield key
            continue
        several = enumerate(value) if isinstance(value, list) else [("", value)]
        for number, each in several:
            if dataclasses.is_dataclass(each):
                yield from _defaults(each, f"{key}.{number}." if number != "" else f"{key}.")
