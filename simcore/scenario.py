"""From a source to a frozen `Scenario`: allowed keys, units, the hardware sheet below, and the way back to YAML."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args, get_origin

from simcore import hardware, placement, registry, source, traffic, units
from simcore.errors import FieldError, InputError, quoted, reason
from simcore.hardware import MemoryPort, NodeSpec, Queues, Sharing, WaitSpec
from simcore.placement import Order, Placement
from simcore.reads import Reads
from simcore.topology import Topology, TopologyError
from simcore.traffic import Traffic
from simcore.units import Time


@dataclass(frozen=True, kw_only=True)
class Machine(NodeSpec):
    """The machine of a run: a hardware sheet (``node``) with whatever the scenario changes, how its links are shared,
    how they queue where sharing is `fifo` (not stated: whole messages, endless buffers), and whether flags are read
    through the memory port that everything else passes."""

    node: str
    sharing: Sharing = "fifo"
    queues: Queues | None = None
    memory_port: MemoryPort = "free"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queues is not None and self.sharing != "fifo":
            raise FieldError(
                f"only 'sharing: fifo' queues, not {self.sharing!r}; leave it out or share by fifo", "queues"
            )
        if self.memory_port == "shared" and (self.sharing != "fifo" or (self.queues or Queues()).buffer is not None):
            raise FieldError("'shared' needs 'sharing: fifo' and queues without a buffer", "memory_port")

    def build_topology(self) -> Topology:
        """Return the links and routes of this machine; raises ``TopologyError`` where they make none."""
        return Topology.of(self)


@dataclass(frozen=True)
class Job:
    """One workload: its model, its parameters, its name (else its model's), how many ranks, on which GPUs, and the
    instant at which they begin."""

    model: str
    params: Any = None
    name: str = ""
    ranks: int | None = None
    placement: Placement = "block"
    start: Time = 0

    def __post_init__(self) -> None:
        if self.name and not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise FieldError(f"{quoted(self.name)} names rows of tables: letters, digits, '_' and '-' only", "name")
        if self.ranks is not None and self.ranks < 1:
            raise FieldError("a workload has 1 rank or more", "ranks")


@dataclass(frozen=True)
class Scenario:
    """Everything that decides a run; equal scenarios give byte-identical results.

    ``slowdown`` says whether each job is simulated once more alone; unless stated, it is where anything could slow it.
    """

    name: str
    machine: Machine
    workloads: list[Job]
    traffic: list[Traffic] = field(default_factory=list)
    slowdown: bool | None = None
    wait: WaitSpec = field(default_factory=WaitSpec)
    seed: int = 0

    stated: ClassVar[frozenset[source.Keys]] = frozenset()
    """Keys that its source and its overrides state, but for those that were of use while it was read: no part of the
    value, only for the warning about keys that no run reads."""

    places: ClassVar[Mapping[str, str]] = {}
    """Where each key that somebody wrote stands, by dotted key: ``slow.yaml:3``, or ``--set``; no part of the value
    either, only for who reads the run."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.name):
            sentence = "names the run folder: letters, digits, '_', '-' and '.' only, the first none of the last two"
            raise FieldError(f"{quoted(self.name)} {sentence}", "name")
        if not self.workloads:
            raise FieldError("a scenario has one workload or more", "workloads")
        if self.seed < 0:
            raise FieldError(f"must be zero or more, not {self.seed}", "seed")

    @cached_property
    def gpus(self) -> dict[str, list[int]]:
        """The GPU of every rank of every job, by the job's name."""
        asked = {job.name: (job.placement, job.ranks or 0) for job in self.workloads}
        return placement.allocate(asked, self.nodes)

    @property
    def nodes(self) -> list[range]:
        """The GPUs of each node of the machine."""
        size = self.machine.gpus
        return [range(first, first + size) for first in range(0, self.machine.gpu_count, size)]

    @property
    def is_shared(self) -> bool:
        """Whether a job meets anything but itself on the links."""
        return len(self.workloads) > 1 or bool(self.traffic)

    def alone(self, job: Job) -> "Scenario":
        """Return this scenario with ``job`` alone, on the GPUs that it has here, without traffic."""
        where = [f"gpu{gpu}" for gpu in self.gpus[job.name]]
        return dataclasses.replace(
            self, workloads=[dataclasses.replace(job, placement=where)], traffic=[], slowdown=False
        )


@dataclass
class Known:
    """What was found out while scenarios were read that share most of their parts: hardware sheets, the ranks that
    parameters call for with the keys that this was read from, digests of files. Files are taken to stay as they
    are."""

    sheets: dict[Path, source.Document] = field(default_factory=dict)
    worlds: dict[str, tuple[int | None, set[source.Keys]]] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)
    workloads: dict[str, Any] = field(default_factory=dict)

    def workload(self, model: str) -> Any:
        """Return the workload ``model``; raises ``InputError``."""
        if model not in self.workloads:
            self.workloads[model] = registry.load(model)
        return self.workloads[model]

    def sheet(self, path: Path) -> source.Document:
        """Return the values of the hardware sheet in ``path``, to be changed at will."""
        if path not in self.sheets:
            self.sheets[path] = hardware.Sheet.read(path).values
        return self.sheets[path].copy()

    def world(self, job: Job) -> tuple[int | None, set[source.Keys]]:
        """Return the ranks that the parameters of ``job`` call for, and the keys in them that say so; raises
        ``InputError``."""
        key = repr((job.model, job.params))
        if key not in self.worlds:
            reads = Reads()
            self.worlds[key] = self.workload(job.model).world(reads.lend(job.params)), reads.seen
        return self.worlds[key]

    def digest(self, path: Path) -> str:
        """Return the SHA-256 of a file, hexadecimal; raises ``InputError`` where it cannot be read."""
        if path not in self.digests:
            try:
                with path.open("rb") as stream:
                    self.digests[path] = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise InputError(f"{path}: cannot be read: {reason(error)}") from None
        return self.digests[path]


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
    try:
        folder, there = path.is_dir(), path.exists()
    except OSError as error:
        raise InputError(f"{quoted(name)}: {reason(error)}") from None
    if folder and source.is_file(path / "manifest.yaml"):
        return path / "manifest.yaml"
    if there and not folder:
        return path
    if name in names():
        return names()[name]
    if folder:
        raise InputError(f"{name}: a folder, but no run's (it holds no manifest.yaml); expected a scenario file")
    if path.suffix in (".yaml", ".yml") or "/" in name:
        raise InputError(f"{name}: no such file")
    raise InputError(source.unknown("scenario", name, list(names())))


def read(
    path: Path, overrides: list[str] | None = None, seed: int | None = None, known: Known | None = None
) -> Scenario:
    """Return the scenario in ``path`` with ``key=value`` overrides; the manifest of a run is read as the scenario that
    made it. ``known`` as for `build`."""
    described, stated, places = _opened(path)
    for assignment in [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]:
        keys = source.override(described, assignment)
        stated |= {keys + inner for inner in leaves(described.at(*keys).value)}
    places |= {".".join(map(str, keys)): told_place(described.place(keys)) for keys in stated}
    scenario = build(described, usual_name(path), stated, known)
    object.__setattr__(scenario, "places", places)
    return scenario


def told_place(place: source.Place) -> str:
    """Return a place as it is on any machine: the name of the file and the line, or the option."""
    if not place.line:
        return place.file.partition(" ")[0]
    path = Path(place.file)
    name = f"{path.parent.name}/{path.name}" if path.stem == "scenario" and path.parent.name else path.name
    return f"{name}:{place.line}"


def document(path: Path) -> tuple[source.Document, set[source.Keys]]:
    """Return what stands in ``path``, a scenario or the manifest of a run, and the keys that somebody wrote there."""
    return _opened(path)[:2]


def _opened(path: Path) -> tuple[source.Document, set[source.Keys], dict[str, str]]:
    """Return what ``document`` returns, and what a manifest says of the places of its keys."""
    found = source.read(path)
    if isinstance(found.value, dict) and "manifest" in found.value:
        if not isinstance(found.value.get("scenario"), dict):
            raise found.error(("manifest",), "a manifest without its scenario")
        for kind in ("study", "sweep"):
            if kind in found.value:
                raise InputError(
                    f"{path.parent}: is the folder of a {kind}, not of a run; what runs a point of it stands "
                    f"there, or run its scenario, {found.value[kind].get('scenario', 'which it names')}"
                )
        about = found.value["manifest"]
        kept = about.get("stated") if isinstance(about, dict) else None
        places = {str(key): str(place) for key, place in kept.items()} if isinstance(kept, dict) else {}
        # A manifest states every value there is; nobody asked for each of them.
        return found.at("scenario"), set(), places
    return found, set(leaves(found.value)), {}


def usual_name(path: Path) -> str:
    """Return what a scenario in ``path`` is called unless it names itself."""
    return path.stem if path.stem != "scenario" else path.parent.name


def leaves(value: Any, keys: source.Keys = ()) -> Iterator[source.Keys]:
    """Yield the keys of every value that is neither a mapping nor a list of mappings."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*keys, key))
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        for i, part in enumerate(value):
            yield from leaves(part, (*keys, i))
    else:
        yield keys


def read_machine(name: str, overrides: list[str]) -> Machine:
    """Return the machine of the scenario ``name``, or of the hardware sheet that is called so, with ``key=value``
    overrides of a scenario; links of a sheet alone share fairly, which asks for no further choice."""
    path = Path(name)
    is_preset = name in hardware.names() and name not in names() and not path.exists()
    if not is_preset and not (path.is_file() and hardware.is_sheet(path)):
        try:
            return read(find(name), overrides).machine
        except InputError as error:
            if path.suffix or "/" in name or name in names() or path.exists():
                raise
            known = [*names(), *hardware.names()]
            raise InputError(source.unknown("scenario or preset", name, known)) from error
    document = source.Document({"machine": {}}, name)
    for assignment in overrides:
        source.override(document, assignment)
    strangers = [key for key in document.value if key != "machine"]
    if strangers:
        raise InputError(f"--set {strangers[0]}: {name} is a machine, no scenario; keys begin with 'machine.'")
    if not isinstance(document.value["machine"], dict):
        raise document.error(("machine",), "expected keys with values")
    document.value["machine"] = {"node": name, "sharing": "fair"} | document.value["machine"]
    _put_sheet_below(document, Known())
    machine = document.at("machine").build(Machine)
    _check_topology(document, machine)
    return machine


def build(
    document: source.Document, name: str, stated: Iterable[source.Keys] = (), known: Known | None = None
) -> Scenario:
    """Return the scenario that ``document`` describes, called ``name`` unless it names itself; ``stated`` are the keys
    that somebody wrote, ``known`` what the reading of others like it has found out."""
    known = known or Known()
    if not isinstance(document.value, dict):
        raise document.error((), "expected keys with values")
    document.value.setdefault("name", name)
    machine = document.value.get("machine")
    if isinstance(machine, dict) and isinstance(machine.get("node"), str):
        _put_sheet_below(document, known)
    _check_shapes(document)
    scenario = document.build(Scenario, also=["base"])
    _check_topology(document, scenario.machine)
    jobs, streams = _named(document, scenario)
    gpus = scenario.machine.gpu_count
    reads = Reads()
    jobs = [_complete(document.at("workloads", i), job, gpus, reads, known, i) for i, job in enumerate(jobs)]
    jobs = _settled(document, jobs, gpus)
    for i, about in enumerate(streams):
        traffic.check(document.at("traffic", i), about, gpus)
    scenario = dataclasses.replace(scenario, workloads=jobs, traffic=streams)
    object.__setattr__(scenario, "stated", frozenset(keys for keys in stated if not reads.has_seen(keys)))
    return scenario


def _put_sheet_below(document: source.Document, known: Known) -> None:
    place = document.place(("machine", "node"))
    try:
        path = hardware.find(document.value["machine"]["node"], place.folder)
    except InputError as error:
        raise document.error(("machine", "node"), str(error)) from None
    sheet = known.sheet(path)
    source.merge(sheet, document.at("machine"))
    document.put(("machine",), sheet)


def _check_topology(document: source.Document, machine: Machine) -> None:
    try:
        machine.build_topology()
    except TopologyError as error:
        keys: source.Keys = ("machine", *error.keys)
        # What a sheet says is right as it stands there; wrong is what the scenario made of it.
        in_sheet = document.place(keys).line and document.place(keys).file != document.file
        raise document.error(("machine",) if in_sheet else keys, str(error)) from None


def _check_shapes(document: source.Document) -> None:
    """Refuse a placement that is neither a name, nor a list of GPUs, nor an order, in the words of what was meant."""
    jobs = document.value.get("workloads")
    for i, job in enumerate(jobs if isinstance(jobs, list) else []):
        stated = job.get("placement", "block") if isinstance(job, dict) else "block"
        part = ("workloads", i, "placement")
        if isinstance(stated, dict):
            document.at(*part).build(Order)
        elif isinstance(stated, list):
            strange = next((k for k, name in enumerate(stated) if not isinstance(name, str)), None)
            if strange is not None:
                raise document.error((*part, strange), f"{quoted(stated[strange])} is no GPU; write gpu0, gpu1, ...")
        elif stated not in ("block", "round_robin"):
            allowed = "block, round_robin, a list of GPUs, or an order of parallelism {order: [tp, dp], tp: 4}"
            raise document.error(part, f"unknown placement {quoted(stated)}; allowed: {allowed}")


def _named(document: source.Document, scenario: Scenario) -> tuple[list[Job], list[Traffic]]:
    """Return jobs and traffic, each with a name of its own: the stated one, else that of its model or pattern, numbered
    from the second on."""
    parts = [("workloads", i, job.name, job.model) for i, job in enumerate(scenario.workloads)]
    parts += [("traffic", i, about.name, about.pattern) for i, about in enumerate(scenario.traffic)]
    taken: set[str] = set()
    for key, i, stated, _ in parts:
        if stated in taken:
            raise document.error(
                (key, i, "name"), f"the name {stated!r} stands twice; each job and traffic has its own"
            )
        taken |= {stated} - {""}
    names = []
    for _, _, stated, base in parts:
        counted = (f"{base}-{n}" if n > 1 else base for n in range(1, len(parts) + len(taken) + 2))
        names.append(stated or next(name for name in counted if name not in taken))
        taken.add(names[-1])
    jobs = [dataclasses.replace(job, name=name) for job, name in zip(scenario.workloads, names, strict=False)]
    rest = names[len(jobs) :]
    return jobs, [dataclasses.replace(about, name=name) for about, name in zip(scenario.traffic, rest, strict=True)]


def _complete(document: source.Document, job: Job, gpus: int, reads: Reads, known: Known, number: int) -> Job:
    """Return ``job``, the scenario's ``number``-th, with its parameters read, and its number of ranks where it does not
    depend on other jobs."""
    try:
        workload = known.workload(job.model)
    except InputError as error:
        raise document.error(("model",), str(error)) from None
    if job.params is None:
        document.put(("params",), source.Document({}, document.file, {(): document.place(())}))
    if not isinstance(document.value["params"], dict):
        raise document.error(("params",), "expected keys with values")
    params: Any = document.at("params").build(workload.Params)
    try:
        wanted, seen = known.world(dataclasses.replace(job, params=params))
    except InputError as error:
        raise document.error(("params",), str(error)) from None
    reads.seen |= {("workloads", number, "params", *keys) for keys in seen}
    if job.ranks is not None and wanted is not None and job.ranks != wanted:
        raise document.error(("ranks",), f"{job.ranks} ranks, but the parameters of {job.model} call for {wanted}")
    ranks = job.ranks or wanted
    if ranks is None and isinstance(job.placement, list):
        ranks = len(job.placement)
    if ranks is None and isinstance(job.placement, Order):
        ranks = job.placement.ranks
    if ranks is not None and ranks > gpus:
        raise document.error((), f"{ranks} ranks of {job.model} need as many GPUs; the machine has {gpus}")
    return dataclasses.replace(job, params=params, ranks=ranks)


def _settled(document: source.Document, jobs: list[Job], gpus: int) -> list[Job]:
    """Return the jobs with their ranks settled (a job that states none has the GPUs that the others leave) and their
    placements checked."""
    known = {i: job.ranks for i, job in enumerate(jobs) if job.ranks is not None}
    used = 0
    for i, job in enumerate(jobs):
        if i not in known:
            known[i] = max(0, gpus - sum(known.values()))
        used += known[i]
        if not known[i] or used > gpus:
            left = gpus - used + known[i] if known[i] else 0
            wants = f"needs {known[i]} GPUs" if known[i] else "states no ranks"
            raise document.error(("workloads", i), f"{job.name!r} {wants}, but the other jobs leave {left} of {gpus}")
    jobs = [dataclasses.replace(job, ranks=known[i]) for i, job in enumerate(jobs)]
    owner: dict[str, str] = {}
    for i, job in enumerate(jobs):
        _check_placement(document.at("workloads", i), job, gpus)
        for k, name in enumerate(job.placement if isinstance(job.placement, list) else []):
            if owner.setdefault(name, job.name) != job.name:
                raise document.error(
                    ("workloads", i, "placement", k),
                    f"{name!r} hosts a rank of {owner[name]!r}; {job.name!r} needs another GPU",
                )
    return jobs


def _check_placement(document: source.Document, job: Job, gpus: int) -> None:
    if isinstance(job.placement, list):
        placement.check_gpus(document, ("placement",), job.placement, gpus)
        if len(job.placement) != job.ranks:
            raise document.error(("placement",), f"{len(job.placement)} GPUs for {job.ranks} ranks")
    elif isinstance(job.placement, Order):
        try:
            job.placement.sizes(job.ranks or 0)
        except ValueError as error:
            raise document.error(("placement",), str(error)) from None


def resolved(record: Any) -> dict[str, Any]:
    """Return a frozen record as plain values for YAML, defaults included, quantities as text with units; reading that
    back gives an equal record."""
    hints = source.type_hints(type(record))
    plain = {part.name: _plain(getattr(record, part.name), hints[part.name]) for part in dataclasses.fields(record)}
    return {key: value for key, value in plain.items() if value not in (None, [], {})}


def _plain(value: Any, hint: Any) -> Any:
    quantity = _quantity(hint)
    if quantity is not None and isinstance(value, int):
        return units.text(value, quantity.dimension)
    if dataclasses.is_dataclass(value):
        record = resolved(value)
        usual = {part.name for part in dataclasses.fields(value) if getattr(value, part.name) == part.default}
        tags = {mark.key for mark in get_args(hint) if isinstance(mark, source.Tagged)}
        return record[tags.pop()] if tags and record.keys() - usual <= tags else record
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


def files(record: Any) -> dict[str, Path]:
    """Return the path of every file that a frozen record names, by its name there."""
    found: dict[str, Path] = {}
    kind: Any = type(record)
    for name, mark in _file_fields(kind):
        value = getattr(record, name)
        if mark is not None and mark.many:
            several = source.matching(source.locate(value, mark.package))
            found |= {f"{value}: {path.name}": path for path in several}
        elif mark is not None and value is not None:
            found[value] = source.locate(value, mark.package)
        for each in value if isinstance(value, list) else [value]:
            if dataclasses.is_dataclass(each):
                found |= files(each)
    return found


@cache
def _file_fields(record: Any) -> list[tuple[str, source.File | None]]:
    """Return the fields of a record, each with its mark as the name of a file; those without that cannot hold
    records are left out."""
    found: list[tuple[str, source.File | None]] = []
    for name, hint in source.type_hints(record).items():
        # Where a file may be left out, its mark is on a part of the union.
        parts = [getattr(part, "__metadata__", ()) for part in (hint, *get_args(hint))]
        marks = [mark for metadata in parts for mark in metadata if isinstance(mark, source.File)]
        if name in {part.name for part in dataclasses.fields(record)} and (
            marks or hint not in (int, str, bool, float)
        ):
            found.append((name, marks[0] if marks else None))
    return found


def digests(record: Any, known: Known | None = None) -> dict[str, str]:
    """Return the SHA-256 of every file that a frozen record names, by its name there."""
    known = known or Known()
    return {name: known.digest(path) for name, path in files(record).items()}


def fingerprint(asked: Scenario, known: Known | None = None) -> str:
    """Return the SHA-256 of everything in a scenario that decides its run, contents of the files that it names
    included."""
    text = json.dumps([resolved(asked), digests(asked, known)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file, for editors; what a hardware sheet provides is optional in it."""
    from pydantic import TypeAdapter

    whole = TypeAdapter(Scenario).json_schema()
    definitions = whole["$defs"]
    for part in (whole, *definitions.values()):
        if "properties" in part:
            part["additionalProperties"] = False
    for name in ("Machine", "GpuSpec", "LinkSpec"):
        definitions[name]["required"] = []
    del whole["required"]
    complete = {"required": ["machine", "workloads"], "properties": {"machine": {"required": ["node"]}}}
    whole["anyOf"] = [{"required": ["base"]}, complete]
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
