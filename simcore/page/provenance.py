"""Every parameter of a run with where it comes from: a sheet's source, the scenario, or a default."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcore import hardware, scenario
from simcore.errors import InputError
from simcore.scenario import Scenario

STATED, DEFAULT = "scenario", "default"


@dataclass(frozen=True)
class Parameter:
    """A value that decided a run: its dotted key, its text with unit, the ``kind`` of its origin (of a sheet: spec,
    measured, fitted or assumed), its source, and a note."""

    key: str
    value: str
    kind: str
    source: str = ""
    note: str = ""


def parameters(asked: Scenario, folder: Path) -> list[Parameter]:
    """Return all parameters of ``asked``, whose hardware sheet is looked for in ``folder`` and among the bundled ones.

    A value of the machine that is the sheet's has the sheet's origin; any other differs from its default, so that
    somebody stated it or it follows from what was stated, or is that default.
    """
    sheet, sheet_values = _sheet(asked, folder)
    defaults = set(_defaults(asked))
    found = []
    for key, value in flat(scenario.resolved(asked)).items():
        inner = key.removeprefix("machine.")
        origin = _origin(inner, sheet) if inner != key else None
        if origin is not None and sheet_values.get(inner) == value:
            found.append(Parameter(key, value, origin.kind, origin.source, origin.note))
        elif any(key == default or key.startswith(f"{default}.") for default in defaults):
            found.append(Parameter(key, value, DEFAULT))
        else:
            was = sheet_values.get(inner) if inner != key else None
            note = f"the sheet says {was}" if was is not None and was != value else ""
            found.append(Parameter(key, value, STATED, "", note))
    return found


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


def _sheet(asked: Scenario, folder: Path) -> tuple[Mapping[str, hardware.Origin], dict[str, str]]:
    try:
        sheet = hardware.Sheet.read(hardware.find(asked.machine.node, folder))
        return sheet.origins, flat(scenario.resolved(sheet.spec()))
    except InputError:
        # The sheet of an older run may be gone; its values are in the manifest, without their sources.
        return {}, {}


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
