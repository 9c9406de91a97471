"""From a source to a frozen `Scenario`: allowed keys, units, the hardware sheet below the machine, and the way back to YAML."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from simcore import hardware, registry, source, units
from simcore.errors import InputError
from simcore.flags import WaitSpec
from simcore.hardware import Family, GpuSpec, LinkSpec, Sharing
from simcore.topology import Edge


@dataclass(frozen=True)
class Machine:
    """The machine of a run: a hardware sheet (``node``) with whatever the scenario changes, and how its links are shared."""

    node: str
    name: str
    description: str
    gpus: int
    topology: Family
    gpu: GpuSpec
    link: LinkSpec
    edges: list[Edge] = field(default_factory=list)
    sharing: Sharing = "fifo"

    def __post_init__(self) -> None:
        if self.gpus < 1:
            raise ValueError(f"gpus must be 1 or more, not {self.gpus}")
        if (self.topology == "edges") != bool(self.edges):
            raise ValueError("'topology: edges' and a list of 'edges' go together; one of them is missing")


@dataclass(frozen=True)
class Job:
    """One workload: its model, its parameters, how many ranks, and the GPU of each (block: rank i on gpu i)."""

    model: str
    params: Any = None
    ranks: int | None = None
    placement: Literal["block"] | list[str] = "block"


@dataclass(frozen=True)
class Scenario:
    """Everything that decides a run; equal scenarios give byte-identical results."""

    name: str
    machine: Machine
    workloads: list[Job]
    wait: WaitSpec = field(default_factory=WaitSpec)
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.workloads) != 1:
            raise ValueError(f"workloads: exactly one workload a scenario so far, not {len(self.workloads)}")
        if self.seed < 0:
            raise ValueError(f"seed must be zero or more, not {self.seed}")


def names() -> dict[str, Path]:
    """Return every scenario that has a name: bundled ones, and each paper's own by the paper's name."""
    bundled = {path.stem: path for path in sorted(source.bundle("scenarios").glob("*.yaml"))}
    return bundled | {name: folder / "scenario.yaml" for name, folder in registry.folders().items() if (folder / "scenario.yaml").is_file()}


def find(name: str) -> Path:
    """Return the file behind ``name``: a path, a run folder's manifest, a bundled scenario or a paper; raises ``InputError``."""
    path = Path(name)
    if path.is_dir() and (path / "manifest.yaml").is_file():
        return path / "manifest.yaml"
    if path.exists() and not path.is_dir():
        return path
    if name in names():
        return names()[name]
    if path.suffix in (".yaml", ".yml") or "/" in name:
        raise InputError(f"{name}: no such file")
    raise InputError(source.unknown("scenario", name, list(names())))


def read(path: Path, overrides: list[str] | None = None, seed: int | None = None) -> Scenario:
    """Return the scenario in ``path`` with ``key=value`` overrides; the manifest of a run is read as the scenario that made it."""
    document = source.read(path)
    if isinstance(document.value, dict) and "manifest" in document.value:
        if not isinstance(document.value.get("scenario"), dict):
            raise document.error(("manifest",), "a manifest without its scenario")
        document = document.at("scenario")
    for assignment in overrides or []:
        source.override(document, assignment)
    if seed is not None:
        source.override(document, f"seed={seed}")
    return build(document, path.stem if path.stem != "scenario" else path.parent.name)


def build(document: source.Document, name: str) -> Scenario:
    """Return the scenario that ``document`` describes, called ``name`` unless it names itself."""
    if not isinstance(document.value, dict):
        raise document.error((), "expected keys with values")
    document.value.setdefault("name", name)
    machine = document.value.get("machine")
    if isinstance(machine, dict) and isinstance(machine.get("node"), str):
        _put_sheet_below(document)
    scenario = document.build(Scenario)
    return dataclasses.replace(scenario, workloads=[_with_params(document, i, job) for i, job in enumerate(scenario.workloads)])


def _put_sheet_below(document: source.Document) -> None:
    place = document.place(("machine", "node"))
    try:
        path = hardware.find(document.value["machine"]["node"], Path(place.file).parent)
    except InputError as error:
        raise document.error(("machine", "node"), str(error)) from None
    sheet = hardware.Sheet.read(path).values
    source.merge(sheet, document.at("machine"))
    document.put(("machine",), sheet)


def _with_params(document: source.Document, index: int, job: Job) -> Job:
    keys: source.Keys = ("workloads", index)
    try:
        workload = registry.load(job.model)
    except InputError as error:
        raise document.error((*keys, "model"), str(error)) from None
    if job.params is None:
        document.put((*keys, "params"), source.Document({}, document.file, {(): document.place(keys)}))
    if not isinstance(document.value["workloads"][index]["params"], dict):
        raise document.error((*keys, "params"), "expected keys with values")
    part = document.at(*keys, "params")
    try:
        return dataclasses.replace(job, params=part.build(workload.Params))
    except InputError as error:
        prefix = f"{part.place(())}: "
        raise InputError(str(error) if not str(error).startswith(prefix) else prefix + "params: " + str(error)[len(prefix) :]) from None


def resolved(record: Any) -> dict[str, Any]:
    """Return a frozen record as plain values for YAML, quantities as text with units; reading that back gives an equal record."""
    hints = get_type_hints(type(record), include_extras=True)
    plain = {}
    for each in dataclasses.fields(record):
        value = getattr(record, each.name)
        if value != each.default or each.default is dataclasses.MISSING:
            plain[each.name] = _plain(value, hints[each.name])
    return {key: value for key, value in plain.items() if value not in (None, [])}


def _plain(value: Any, hint: Any) -> Any:
    quantity = _quantity(hint)
    if quantity is not None and isinstance(value, int):
        return units.text(value, quantity.dimension)
    if dataclasses.is_dataclass(value):
        return resolved(value)
    if isinstance(value, dict):
        return {key: _plain(part, get_args(hint)[1]) for key, part in value.items()}
    if isinstance(value, list | tuple):
        inner = get_args(hint)[0] if get_origin(hint) is list else None
        return [_plain(part, inner) for part in value]
    return value


def _quantity(hint: Any) -> units.Quantity | None:
    for part in (hint, *get_args(hint)):
        if get_origin(part) is Annotated:
            return next((mark for mark in get_args(part) if isinstance(mark, units.Quantity)), None)
    return None


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file, for editors; what a hardware sheet provides is optional in it."""
    from pydantic import TypeAdapter

    whole = TypeAdapter(Scenario).json_schema()
    definitions = whole["$defs"]
    for part in (whole, *definitions.values()):
        if "properties" in part:
            part["additionalProperties"] = False
    for name, required in (("Machine", ["node"]), ("GpuSpec", []), ("LinkSpec", [])):
        definitions[name]["required"] = required
    whole["required"] = ["machine", "workloads"]
    whole["properties"]["base"] = {"type": "string", "description": "another scenario, bundled or beside this file, below this one"}
    definitions["Machine"]["properties"]["node"]["examples"] = hardware.names()
    models = {"type": "string", "enum": registry.names()}
    definitions["Job"]["properties"]["model"] = models
    for name in registry.names():
        params = TypeAdapter(registry.load(name).Params).json_schema(ref_template="#/$defs/{model}")
        definitions.update(params.pop("$defs", {}))
        definitions[f"params of {name}"] = params | {"additionalProperties": False}
    definitions["Job"]["allOf"] = [
        {"if": {"properties": {"model": {"const": name}}}, "then": {"properties": {"params": {"$ref": f"#/$defs/params of {name}"}}}}
        for name in registry.names()
    ]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "simcore scenario"} | whole
