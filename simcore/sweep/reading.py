"""What states a sweep: a YAML file of its own, or a scenario with several values behind a key of the command line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simcore import scenario, source, sweep
from simcore.errors import FieldError, InputError, printable, quoted
from simcore.sweep import Changes, Continuum, Entry, Samples, Sweep, Varied, axes
from simcore.sweep.axes import Axis


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A sweep file: a ``scenario``, by name or file; what is ``set`` in all points; the ``axes`` by dotted key, each a
    list, a range, or by name what it sets; ``samples`` of them instead of their product; ``repeats`` with seeds of
    their own; and further ``metrics``, by their path in metrics.json."""

    scenario: str
    axes: dict[str, Axis]
    name: str = ""
    set: dict[str, Any] = field(default_factory=dict)
    samples: Samples | None = None
    repeats: int = 1
    metrics: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise FieldError("is one or more", "repeats")


def is_sheet(path: Path) -> bool:
    """Return whether the YAML in ``path`` is a sweep, not a scenario: it has axes."""
    value = source.read(path, inherit=False).value
    return isinstance(value, dict) and "axes" in value


def names() -> dict[str, Path]:
    """Return the bundled sweep files by name."""
    return {path.stem: path for path in sorted((source.bundle("scenarios") / "sweeps").glob("*.yaml"))}


def find(name: str) -> Path | None:
    """Return the sweep file ``name``, or the bundled one that is called so; None where there is none."""
    path = Path(name)
    if source.is_file(path):
        return path if is_sheet(path) else None
    return names().get(name)


def read(name: str, overrides: Sequence[str] = (), zipped: Sequence[str] = ()) -> Sweep:
    """Return the sweep in the file ``name``, a bundled one, or of the scenario that is called so; raises ``InputError``
    with the place.

    ``key=values`` adds axes and values: several, parted by commas, or a range make an axis, and all ``zipped`` ones
    together one.
    """
    path = find(name)
    if path is not None:
        found = _read_sheet(path)
    else:
        file = scenario.find(name)
        document, _ = scenario.document(file)
        # A bundled scenario is better known by its name than by its file.
        shown = Path(name) if name in scenario.names() else file
        found = Sweep(scenario.usual_name(file), shown, document)
    for assignment in overrides:
        found = _with(found, *_assigned(assignment, "--set"))
    return _zipped(found, [_assigned(assignment, "--zip") for assignment in zipped]) if zipped else found


def _read_sheet(path: Path) -> Sweep:
    document = source.read(path, inherit=False)
    about = document.value.get("axes")
    if not isinstance(about, dict):
        raise document.error(("axes",), "expected keys with values, each an axis by the key that it sets")
    ranges = {name: _normal(document, name) for name in about}
    sheet = document.build(Sheet)
    file = _scenario(document, sheet, path)
    varied: Varied = {
        name: ranges[name] or sweep.entries(axis, document.at("axes", name)) for name, axis in sheet.axes.items()
    }
    for key in sheet.set:
        _check_key(key, str(document.place(("set", key), of_key=True)))
    fixed = {key: document.at("set", key) for key in sheet.set}
    base, _ = scenario.document(file)
    shown = (
        Path(sheet.scenario)
        if sheet.scenario in scenario.names() and not (path.parent / sheet.scenario).exists()
        else file
    )
    return Sweep(
        sheet.name or path.stem, shown, base, fixed, varied, sheet.samples, sheet.repeats, tuple(sheet.metrics)
    )  # fmt: skip


def _scenario(document: source.Document, sheet: Sheet, path: Path) -> Path:
    beside = path.parent / sheet.scenario
    if source.is_file(beside):
        return beside
    try:
        return scenario.find(sheet.scenario)
    except InputError as error:
        raise document.error(("scenario",), str(error)) from None


def _normal(document: source.Document, name: str) -> Continuum | None:
    """Bring an axis of a file into its long form; return its range where it has one without a count."""
    part = document.at("axes", name)
    keys: source.Keys = ("axes", name, "values")
    if not isinstance(part.value, dict):
        document.put(("axes", name), source.Document({}, part.file, {(): part.place(())}))
        document.put(keys, part)
    about = document.value["axes"][name]
    if isinstance(about.get("set"), dict) and "values" not in about:
        columns = [entries for entries in about["set"].values() if isinstance(entries, list)]
        labels = [", ".join(axes.written(value) for value in row) for row in zip(*columns, strict=False)]
        document.put(keys, source.Document(labels, part.file, {(): part.place(())}))
    if "set" not in about:
        document.put(("axes", name, "set"), source.Document(name, part.file, {(): part.place(())}))
    for key in [about["set"]] if isinstance(about["set"], str) else about["set"]:
        _check_key(key, str(document.place(("axes", name), of_key=True)))
    if "values" not in about:
        return None
    text = document.at(*keys)
    found = _range(text)
    if found is None or found.count is not None:
        axes.expanded(document, keys)
        return None
    if not isinstance(about["set"], str):
        raise document.error(keys, "a range without a count sets one key")
    ends = [found.value(0), found.value(1)]
    document.put(keys, source.Document(ends, text.file, {(): text.place(())}))
    return Continuum(about["set"], found, text.place(()))


def _range(part: source.Document) -> axes.Range | None:
    try:
        return axes.read_range(part.value)
    except ValueError as error:
        raise part.error((), str(error)) from None


def _check_key(key: object, place: str) -> None:
    if not isinstance(key, str) or not all(key.strip().split(".")) or key == "base":
        raise InputError(f"{place}: {quoted(key)} is no key of a scenario, e.g. machine.link.bandwidth")


def _assigned(assignment: str, option: str) -> tuple[str, list[source.Document] | Continuum]:
    """Return the key and the values of one ``key=values``."""
    place = printable(f"{option} {assignment}", 200)
    key, equals, text = assignment.partition("=")
    if not equals:
        raise InputError(f"{place}: write key=values, e.g. --set machine.link.bandwidth=100GB/s,200GB/s")
    key = key.strip()
    _check_key(key, place)
    parts = [source.fragment(part, place) for part in axes.split(text)]
    found = _range(parts[0]) if len(parts) == 1 else None
    if found is None:
        return key, parts
    if found.count is None:
        return key, Continuum(key, found, source.Place(place))
    return key, [source.Document(value, place, {(): source.Place(place)}) for value in found.values()]


def _with(found: Sweep, key: str, values: list[source.Document] | Continuum) -> Sweep:
    """Return the sweep with other values of ``key``: an axis of its own, or one value for all points."""
    varied = {name: axis for name, axis in found.axes.items() if key not in _keys(axis)}
    fixed = {other: part for other, part in found.fixed.items() if other != key}
    if isinstance(values, Continuum):
        return replace(found, fixed=fixed, axes=varied | {key: values})
    if len(values) == 1:
        return replace(found, fixed=fixed | {key: values[0]}, axes=varied)
    axis = [Entry(part.value, {key: part}) for part in values]
    _check_distinct(axis, key, values[0])
    # An axis of a file keeps its place in the order.
    order = {name: axis if key in _keys(about) else about for name, about in found.axes.items()}
    if not any(about is axis for about in order.values()):
        order[key] = axis
    return replace(found, fixed=fixed, axes=order)


def _check_distinct(axis: list[Entry], key: str, part: source.Document) -> None:
    if len({repr(entry.value) for entry in axis}) != len(axis):
        raise part.error((), f"{key} holds a value twice")


def _keys(axis: list[Entry] | Continuum) -> set[str]:
    return {axis.key} if isinstance(axis, Continuum) else {key for entry in axis for key in entry.changes}


def _zipped(found: Sweep, columns: Iterable[tuple[str, list[source.Document] | Continuum]]) -> Sweep:
    """Return the sweep with one axis more, on which several keys change together."""
    lists: dict[str, list[source.Document]] = {}
    for key, values in columns:
        if isinstance(values, Continuum):
            raise InputError(f"{values.place}: a range without a count cannot be zipped; write {axes.SHAPE}")
        first = next(iter(lists.values()), values)
        if len(values) != len(first):
            raise values[0].error((), f"{key} has {len(values)} values; the first zipped key has {len(first)}")
        lists[key] = values
    rows: list[Changes] = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    axis = [Entry(", ".join(axes.written(part.value) for part in row.values()), row) for row in rows]
    return replace(found, axes={**found.axes, "+".join(lists): axis})


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a sweep file, for editors."""
    from pydantic import TypeAdapter

    whole = TypeAdapter(Sheet).json_schema()
    definitions = whole["$defs"]
    for part in (whole, *definitions.values()):
        part["additionalProperties"] = False
    values = {"anyOf": [{"type": "array", "minItems": 1}, {"type": "string", "pattern": r"\.\."}]}
    definitions["Axis"]["required"] = []
    definitions["Axis"]["properties"]["values"] = values
    whole["properties"]["axes"]["additionalProperties"] = {"anyOf": [*values["anyOf"], {"$ref": "#/$defs/Axis"}]}
    whole["properties"]["scenario"]["examples"] = list(scenario.names())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | whole | {"title": "simcore sweep"}
