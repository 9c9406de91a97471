"""From a source to a frozen `Scenario`: allowed keys, units, the hardware sheet below, and the way back to YAML."""

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from simcore import hardware, registry, source, units
from simcore.errors import InputError
from simcore.flags import WaitSpec
from simcore.hardware import Family, GpuSpec, LinkSpec, Sharing
from simcore.topology import Edge, EdgeError, Topology

MOST_LINKS = 2**22
"""Directed links of a machine; more is a slip of the pen, or needs gigabytes before anything is simulated."""


@dataclass(frozen=True)
class Machine:
    """The machine of a run: a hardware sheet (``node``) with whatever the scenario changes, and how its links are
    shared."""

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
        links = self.gpus * (self.gpus - 1 if self.topology == "full_mesh" else 2)
        if links > MOST_LINKS:
            raise ValueError(f"{self.gpus} GPUs in a {self.topology} make {links} links; {MOST_LINKS} is the limit")
        if (self.topology == "edges") != bool(self.edges):
            raise ValueError("'topology: edges' and a list of 'edges' go together; one of them is missing")

    def build_topology(self) -> Topology:
        """Return the links and routes of this machine; raises ``EdgeError`` for edges that make none."""
        return Topology(self.topology, self.gpus, self.link, self.edges)


@dataclass(frozen=True)
class Job:
    """One workload: its model, its parameters, how many ranks, and the GPU of each (block: rank i on gpu i)."""

    model: str
    params: Any = None
    ranks: int | None = None
    placement: Literal["block"] | list[str] = "block"

    @property
    def gpus(self) -> list[int]:
        """The GPU of every rank."""
        return list(range(self.ranks or 0)) if self.placement == "block" else [int(name[3:]) for name in self.placement]


@dataclass(frozen=True)
class Scenario:
    """Everything that decides a run; equal scenarios give byte-identical results."""

    name: str
    machine: Machine
    workloads: list[Job]
    wait: WaitSpec = field(default_factory=WaitSpec)
    seed: int = 0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.name):
            raise ValueError(f"name {self.name!r} names the run folder: letters, digits, '_', '-' and '.' only")
        if any(job.ranks is not None and job.ranks < 1 for job in self.workloads):
            raise ValueError("workloads: a workload has 1 rank or more")
        if len(self.workloads) != 1:
            raise ValueError(f"workloads: exactly one workload a scenario so far, not {len(self.workloads)}")
        if self.seed < 0:
            raise ValueError(f"seed must be zero or more, not {self.seed}")


def names() -> dict[str, Path]:
    """Return every scenario that has a name: bundled ones, and each paper's own by the paper's name."""
    bundled = {path.stem: path for path in sorted(source.bundle("scenarios").glob("*.yaml"))}
    return bundled | {
        name: folder / "scenario.yaml"
        for name, folder in registry.folders().items()
        if (folder / "scenario.yaml").is_file()
    }


def find(name: str) -> Path:
    """Return the file behind ``name``: a path, a run folder's manifest, a bundled scenario or a paper; raises
    ``InputError``."""
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
    """Return the scenario in ``path`` with ``key=value`` overrides; the manifest of a run is read as the scenario that
    made it."""
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
    _check_edges(document, scenario.machine)
    jobs = [
        _complete(document.at("workloads", i), job, scenario.machine.gpus) for i, job in enumerate(scenario.workloads)
    ]
    return dataclasses.replace(scenario, workloads=jobs)


def _put_sheet_below(document: source.Document) -> None:
    place = document.place(("machine", "node"))
    try:
        path = hardware.find(document.value["machine"]["node"], place.folder)
    except InputError as error:
        raise document.error(("machine", "node"), str(error)) from None
    sheet = hardware.Sheet.read(path).values
    source.merge(sheet, document.at("machine"))
    document.put(("machine",), sheet)


def _check_edges(document: source.Document, machine: Machine) -> None:
    try:
        machine.build_topology()
    except EdgeError as error:
        keys: source.Keys = ("machine", "edges") if error.index < 0 else ("machine", "edges", error.index)
        raise document.error(keys, str(error)) from None


def _complete(document: source.Document, job: Job, gpus: int) -> Job:
    """Return ``job`` with its parameters read, its number of ranks settled and its placement checked against ``gpus``
    GPUs."""
    try:
        workload = registry.load(job.model)
    except InputError as error:
        raise document.error(("model",), str(error)) from None
    if job.params is None:
        document.put(("params",), source.Document({}, document.file, {(): document.place(())}))
    if not isinstance(document.value["params"], dict):
        raise document.error(("params",), "expected keys with values")
    params: Any = document.at("params").build(workload.Params)
    try:
        wanted = workload.world(params)
    except InputError as error:
        raise document.error(("params",), str(error)) from None
    if job.ranks is not None and wanted is not None and job.ranks != wanted:
        raise document.error(("ranks",), f"{job.ranks} ranks, but the parameters of {job.model} call for {wanted}")
    ranks = job.ranks or wanted or gpus
    if ranks > gpus:
        raise document.error((), f"{ranks} ranks of {job.model} need as many GPUs; machine.gpus is {gpus}")
    if job.placement != "block":
        _check_placement(document, job.placement, ranks, gpus)
    return dataclasses.replace(job, params=params, ranks=ranks)


def _check_placement(document: source.Document, placement: list[str], ranks: int, gpus: int) -> None:
    names = [f"gpu{i}" for i in range(gpus)]
    for i, name in enumerate(placement):
        if name not in names:
            raise document.error(("placement", i), f"{name!r} is none of gpu0 to gpu{gpus - 1}")
        if name in placement[:i]:
            raise document.error(("placement", i), f"{name!r} stands twice; a GPU hosts one rank")
    if len(placement) != ranks:
        raise document.error(("placement",), f"{len(placement)} GPUs for {ranks} ranks")


def resolved(record: Any) -> dict[str, Any]:
    """Return a frozen record as plain values for YAML, defaults included, quantities as text with units; reading that
    back gives an equal record."""
    hints = get_type_hints(type(record), include_extras=True)
    plain = {part.name: _plain(getattr(record, part.name), hints[part.name]) for part in dataclasses.fields(record)}
    return {key: value for key, value in plain.items() if value not in (None, [], {})}


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
    whole["properties"]["base"] = {
        "type": "string",
        "description": "another scenario, bundled or beside this file, below this one",
    }
    definitions["Machine"]["properties"]["node"]["examples"] = hardware.names()
    models = {"type": "string", "enum": list(registry.folders())}
    definitions["Job"]["properties"]["model"] = models
    for name in registry.folders():
        params = TypeAdapter(registry.load(name).Params).json_schema(ref_template="#/$defs/{model}")
        definitions.update(params.pop("$defs", {}))
        definitions[f"params of {name}"] = params | {"additionalProperties": False}
    definitions["Job"]["allOf"] = [
        {
            "if": {"properties": {"model": {"const": name}}},
            "then": {"properties": {"params": {"$ref": f"#/$defs/params of {name}"}}},
        }
        for name in registry.folders()
    ]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | whole | {"title": "simcore scenario"}
