"""Chakra execution traces (schema: github.com/mlcommons/chakra, schema/protobuf/et_def.proto), one file a rank.

A file holds records, each preceded by its length: first what concerns all of it, then a node each.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from simcore.errors import InputError, quoted
from simcore.formats.events import one_line
from simcore.formats.execution import HOST, Execution, Node, ordered
from simcore.formats.wire import LARGEST_FILE, Field, Message, read_records
from simcore.units import LARGEST, SIZE, TIME, short

EXPECTED = "a Chakra execution trace: records, each preceded by its length"
MOST_NODES = 2**22
"""Nodes of one file."""
PS_PER_US = 10**6

_TYPES = (
    "invalid", "metadata", "memory load", "memory store", "compute", "send", "receive", "collective", "storage",
    "batch", "checkpoint",
)  # fmt: skip
_METADATA, _LOAD, _STORE, _COMPUTE, _SEND, _RECEIVE, _COLLECTIVE = range(1, 8)
_OPERATIONS = {
    0: "all_reduce", 1: "reduce", 2: "all_gather", 3: "gather", 4: "scatter", 5: "broadcast", 6: "all_to_all",
    7: "reduce_scatter", 8: "reduce_scatter", 9: "barrier",
}  # fmt: skip
_WHOLE_IS_LARGER = ("all_gather", "gather")
"""Operations of which ``comm_size``, what one rank puts in, is a part of the whole."""
_USED = (
    "is_cpu_op", "comm_type", "comm_size", "comm_src", "comm_dst", "comm_tag", "num_ops", "tensor_size",
    "involved_dim", "pg_name", "stream", "root_rank",
)  # fmt: skip
_FIXED = {3: "<d", 5: "<f", 19: "<I", 21: "<Q", 23: "<i", 25: "<q"}
_ZIGZAG, _LISTS_OF_INTEGERS, _TEXT = (15, 17), (8, 10, 12, 14, 28), 29


@dataclass(frozen=True, slots=True)
class Record:
    """One node as its file has it; ``offset``: the byte at which it begins. Of a field that is there twice the last
    counts."""

    offset: int
    id: int
    name: str
    type: int
    after: tuple[int, ...]
    start: int
    duration: int
    inputs: Field | None
    attributes: dict[str, Field]


@dataclass(frozen=True)
class Trace:
    """What one file holds: the rank in its name (None: there is none), the version of its schema, the names of what is
    stated beside the nodes, and the bytes at its end that are of no whole record (``lost`` of ``total``)."""

    file: str
    rank: int | None
    version: str
    about: tuple[str, ...]
    records: list[Record]
    lost: int
    total: int


def read_trace(path: Path, *, largest: int = LARGEST_FILE) -> Trace:
    """Return the trace in ``path``, up to the cut where the file is cut off.

    Unknown fields are skipped, unknown attributes kept. Raises ``InputError``, which names file and byte, for a file
    that cannot be read or is no such trace.
    """
    found = read_records(path, EXPECTED, largest=largest)
    if len(found.whole) - 1 > MOST_NODES:
        raise InputError(f"{path}: {len(found.whole) - 1} nodes; {MOST_NODES} is the limit")
    version, about = _about(found.whole[0])
    named = re.search(r"\.([0-9]{1,6})\.et$", path.name)
    records = [_record(message) for message in found.whole[1:]]
    return Trace(str(path), int(named[1]) if named else None, version, about, records, found.lost, found.total)


def _about(message: Message) -> tuple[str, tuple[str, ...]]:
    """Return the version, and the names of the attributes: fields 1 and 2, or, in older schemas, attributes alone."""
    version, names = "unknown", []
    fields = list(message.fields())
    strange = next((field for field in fields if field.number > 2 or not field.is_bytes), None)
    if strange is not None:
        raise message.error(
            strange.offset,
            f"the first record has a field {strange.number} that it should not have; expected {EXPECTED}, the first of "
            "them with a version and attributes alone",
        )
    for field in fields:
        if field.number == 1 and not field.content().startswith(b"\n"):  # with which an attribute begins
            version = one_line(field.text(), 60)
        else:
            names.append(_attribute(field.inner())[0])
    return version, tuple(names)


def _attribute(message: Message) -> tuple[str, Field | None]:
    """Return the name of an attribute and the field with its value, None where it has none."""
    name, value = "", None
    for field in message.fields():
        if field.number == 1:
            name = one_line(field.text(), 60)
        elif field.number > 2:
            value = field
    return name, value


def _record(message: Message) -> Record:
    number = {1: 0, 3: 0, 6: 0, 7: 0}
    name, after, attributes = "", dict[int, None](), dict[str, Field]()
    inputs: Field | None = None
    for field in message.fields():
        if field.number in number:
            number[field.number] = field.unsigned()
        elif field.number == 2:
            name = one_line(field.text())
        elif field.number in (4, 5):
            after |= dict.fromkeys(field.integers())
        elif field.number == 8:
            inputs = field
        elif field.number == 10:
            key, value = _attribute(field.inner())
            if value is not None:
                attributes[key] = value
    return Record(message.begin, number[1], name, number[3], tuple(after), number[6], number[7], inputs, attributes)


def to_executions(traces: Sequence[Trace], dimensions: Sequence[int] = ()) -> list[Execution]:
    """Return what the ranks of one job did, by rank: the traces of all of them, in any order.

    A collective is among the ranks of its ``pg_name``: those that a metadata node lists, else all that have a
    collective of this name. ``dimensions``: how many ranks each dimension of ``involved_dim`` has, rank 1 being next to
    rank 0 in the first.

    Raises ``InputError``, which names file and node, for ranks that are missing or there twice, and for nodes that
    contradict themselves or each other.
    """
    by_rank: dict[int, Trace] = {}
    for trace in traces:
        if trace.rank is None:
            raise InputError(f"{trace.file}: no rank in its name; expected NAME.RANK.et, e.g. step.0.et")
        if trace.rank in by_rank:
            raise InputError(f"{trace.file}: rank {trace.rank} is also {by_rank[trace.rank].file}; one file a rank")
        by_rank[trace.rank] = trace
    missing = next((rank for rank in range(len(by_rank)) if rank not in by_rank), None)
    if missing is not None:
        raise InputError(
            f"{traces[0].file}: no file of rank {missing} among {len(by_rank)}, which go up to rank {max(by_rank)}"
        )
    listed = _listed(traces)
    return [_Reader(by_rank[rank], len(by_rank), listed, dimensions).execution() for rank in range(len(by_rank))]


def _listed(traces: Sequence[Trace]) -> dict[str, tuple[int, ...]]:
    """Return the ranks of every process group: as listed, else those that have a collective of its name."""
    met: dict[str, set[int]] = {}
    for trace in traces:
        for record in trace.records:
            name = _Attributes(trace.file, record).word("pg_name") if record.type == _COLLECTIVE else ""
            if name:
                met.setdefault(name, set()).add(trace.rank or 0)
    found = {name: tuple(sorted(ranks)) for name, ranks in met.items()}
    for trace in traces:
        for record in trace.records:
            if record.inputs and record.type == _METADATA:
                for field in record.inputs.inner().fields():
                    if field.number == 1:
                        found |= dict(_groups(field.text()))
    return found


def _groups(text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and ranks of the groups that a metadata node lists as JSON within its text; none where it lists
    something else."""
    listing = re.search(r"\[\s*\{.*\}\s*\]", text, re.DOTALL)
    try:
        groups = json.loads(listing[0]) if listing else []
    except (ValueError, RecursionError):
        return
    for group in groups:
        name, ranks = (group.get("pg_name"), group.get("ranks")) if isinstance(group, dict) else (None, None)
        if isinstance(name, str) and isinstance(ranks, list) and all(type(rank) is int for rank in ranks):
            yield one_line(name), tuple(ranks)


@dataclass(frozen=True)
class _Attributes:
    """The attributes of one node, each with the type that it should have."""

    file: str
    record: Record

    def error(self, sentence: str) -> InputError:
        record = self.record
        name = f" {quoted(record.name)}" if record.name else ""
        return InputError(f"{self.file}: byte {record.offset}: node {record.id}{name}: {sentence}")

    def number(self, key: str, default: int | None = None, below: int = LARGEST) -> int:
        """Return a whole number from 0 to below ``below``, whichever of the number types it was written as."""
        field = self.record.attributes.get(key)
        if field is None:
            if default is None:
                raise self.error(f"it has no {key}")
            return default
        value = _number(field)
        if value is None or not 0 <= value < below or value != int(value):
            raise self.error(f"its {key} is {quoted(value)}; expected a whole number from 0 to below {below}")
        return int(value)

    def word(self, key: str) -> str:
        """Return a text, "" where there is none."""
        field = self.record.attributes.get(key)
        if field is None:
            return ""
        return one_line(field.text() if field.number == _TEXT else str(_number(field)))

    def flags(self, key: str) -> list[bool]:
        """Return a list of bools, [] where there is none."""
        field = self.record.attributes.get(key)
        if field is None:
            return []
        if field.number not in _LISTS_OF_INTEGERS:
            raise self.error(f"its {key} is no list of bools")
        return [bool(value) for inner in field.inner().fields() if inner.number == 1 for value in inner.integers()]


def _number(field: Field) -> int | float | None:
    """Return the number that the value of an attribute is; None for one that is no finite number."""
    if field.number in _FIXED:
        value = field.fixed(_FIXED[field.number])
        return value if abs(value) < float("inf") else None
    if field.number in _ZIGZAG:
        return field.zigzag()
    if field.number == _TEXT:
        text = field.text()
        return int(text) if re.fullmatch("[0-9]{1,20}", text) else None
    return field.signed() if field.wire == 0 else None


class _Reader:
    """Brings the records of one rank into the common form."""

    def __init__(self, trace: Trace, world: int, listed: dict[str, tuple[int, ...]], dimensions: Sequence[int]) -> None:
        self._trace, self._world, self._listed, self._dimensions = trace, world, listed, dimensions
        self._rank = trace.rank or 0
        self._idle: Counter[str] = Counter()

    def execution(self) -> Execution:
        """Return the execution; raises ``InputError`` for a node that contradicts itself, and as `ordered` does."""
        trace = self._trace
        nodes = [self._node(record) for record in trace.records]
        said = [f"{count} nodes of type {kind}: no time, only their dependencies" for kind, count in self._idle.items()]
        if trace.lost:
            kept = _supported(nodes)
            said.append(
                f"cut off: {trace.lost} of {trace.total} bytes, those at its end, are of no whole node; {len(kept)} "
                f"nodes are used, and {len(nodes) - len(kept)} left out, which depend on what is lost"
            )
            nodes = kept
        return Execution(trace.file, self._rank, self._world, ordered(nodes, trace.file), tuple(said), trace.lost)

    def _node(self, record: Record) -> Node:
        about = _Attributes(self._trace.file, record)
        for value, what in ((record.start, "start"), (record.duration, "duration")):
            if value * PS_PER_US >= LARGEST:
                raise about.error(f"its {what} of {value} us is beyond the range of time")
        node = Node(
            record.id, record.name, "compute", record.after, record.duration * PS_PER_US,
            begin=record.start * PS_PER_US if record.start else -1,
            stream=HOST if about.number("is_cpu_op", 0) else self._stream(about),
        )  # fmt: skip
        if record.type == _COMPUTE:
            return replace(node, operations=about.number("num_ops", 0), size=about.number("tensor_size", 0))
        if record.type in (_LOAD, _STORE):
            return replace(node, kind="memory", size=about.number("tensor_size", 0))
        if record.type in (_SEND, _RECEIVE):
            return self._message(about, node)
        if record.type == _COLLECTIVE:
            return self._collective(about, node)
        if record.type != _METADATA:
            known = record.type < len(_TYPES)
            self._idle[_TYPES[record.type] if known else str(record.type)] += 1
        return replace(node, duration=0, stream=HOST)

    def _stream(self, about: _Attributes) -> str:
        word = about.word("stream")
        return f"stream {word}" if word else ""

    def _message(self, about: _Attributes, node: Node) -> Node:
        sends = about.record.type == _SEND
        own, other = ("comm_src", "comm_dst") if sends else ("comm_dst", "comm_src")
        if about.number(own, self._rank) != self._rank:
            raise about.error(f"its {own} is {about.number(own)}, but the file is that of rank {self._rank}")
        peer = about.number(other)
        if peer >= self._world or peer == self._rank:
            raise about.error(f"its {other} is {peer}; expected another of the ranks 0 to {self._world - 1}")
        size = about.number("comm_size", None if sends else 0)
        return replace(node, kind="send" if sends else "receive", peer=peer, size=size, tag=about.number("comm_tag", 0))

    def _collective(self, about: _Attributes, node: Node) -> Node:
        kind = about.number("comm_type", 0)
        if kind not in _OPERATIONS:
            raise about.error(f"its comm_type is {kind}; expected 0 to {max(_OPERATIONS)}")
        operation, group = _OPERATIONS[kind], self._group(about)
        members = group or tuple(range(self._world))
        size = about.number("comm_size", 0 if operation == "barrier" else None)
        if operation in _WHOLE_IS_LARGER:
            size *= len(members)
        if size >= LARGEST:
            raise about.error(f"it moves {size} bytes; the limit is below {LARGEST}")
        root = about.number("root_rank", members[0])
        if root not in members:
            raise about.error(f"its root_rank is {root}, none of its ranks {quoted(members)}")
        return replace(node, kind="collective", operation=operation, size=size, group=group, root=members.index(root))

    def _group(self, about: _Attributes) -> tuple[int, ...]:
        """Return the ranks that take part, () for all."""
        name, involved = about.word("pg_name"), about.flags("involved_dim")
        if name:
            group = self._listed[name] or tuple(range(self._world))
            if (
                self._rank not in group
                or len(set(group)) < len(group)
                or not 0 <= min(group) <= max(group) < self._world
            ):
                raise about.error(
                    f"its group {quoted(name)} is {quoted(group)}; expected different ranks of 0 to {self._world - 1}, "
                    f"{self._rank} among them"
                )
        elif involved and not all(involved[: len(self._dimensions) or None]):
            group = self._along(about, involved)
        else:
            return ()
        return () if group == tuple(range(self._world)) else group

    def _along(self, about: _Attributes, involved: list[bool]) -> tuple[int, ...]:
        """Return the ranks that differ from this one in the involved dimensions alone."""
        total = 1
        for extent in self._dimensions:
            total *= extent
        if total != self._world or len(involved) < len(self._dimensions):
            raise about.error(
                f"it involves some of {len(involved)} dimensions; the dimensions stated are {list(self._dimensions)}, "
                f"expected as many, whose product is the {self._world} ranks"
            )
        group, stride = [self._rank], 1
        for extent, is_involved in zip(self._dimensions, involved, strict=False):
            if is_involved:
                here = self._rank // stride % extent
                group = [rank + (other - here) * stride for rank in group for other in range(extent)]
            stride *= extent
        return tuple(sorted(group))


def _supported(nodes: list[Node]) -> list[Node]:
    """Return the nodes that depend, over however many others, on nodes that are there alone."""
    there = {node.id for node in nodes}
    frees: dict[int, list[int]] = {}
    for node in nodes:
        for other in node.after:
            frees.setdefault(other, []).append(node.id)
    lost = [node.id for node in nodes if not there.issuperset(node.after)]
    gone = set(lost)
    while lost:
        for freed in frees.get(lost.pop(), ()):
            if freed not in gone:
                gone.add(freed)
                lost.append(freed)
    return [node for node in nodes if node.id not in gone]


def inspect(trace: Trace) -> list[str]:
    """Return lines for a reader: what the trace is, what it holds, what of it nothing uses, what it lacks."""
    kinds = Counter(_TYPES[each.type] if each.type < len(_TYPES) else str(each.type) for each in trace.records)
    lines = [
        f"Chakra execution trace {one_line(Path(trace.file).name)}",
        f"rank {'unknown: no .RANK.et in its name' if trace.rank is None else trace.rank}, schema {trace.version}, "
        f"{len(trace.records)} nodes, {sum(len(each.after) for each in trace.records)} dependencies",
        "nodes: " + (", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"),
        *_contents(trace),
    ]
    known = Counter(key for each in trace.records for key in each.attributes if key not in _USED)
    if trace.about:
        lines.append("states beside the nodes: " + ", ".join(trace.about))
    if known:
        lines.append("not used: " + ", ".join(f"{key} of {count} nodes" for key, count in known.most_common()))
    if trace.lost:
        lines.append(f"lacks: {trace.lost} of its {trace.total} bytes, those at its end, are of no whole record")
    return lines


def _contents(trace: Trace) -> Iterator[str]:
    rows: Counter[str] = Counter()
    for record in trace.records:
        about = _Attributes(trace.file, record)
        if record.type == _COMPUTE:
            time = f"lasting {short(record.duration * PS_PER_US, TIME)}" if record.duration else "without a duration"
            rows[f"compute {time}"] += 1
        elif record.type in (_SEND, _RECEIVE):
            other = "comm_dst" if record.type == _SEND else "comm_src"
            way = "to" if record.type == _SEND else "from"
            size = short(about.number("comm_size", 0), SIZE)
            rows[f"{_TYPES[record.type]} of {size} {way} rank {about.number(other)}"] += 1
        elif record.type == _COLLECTIVE:
            name = _OPERATIONS.get(about.number("comm_type", 0), "collective of an unknown kind")
            among = f" in group {about.word('pg_name')}" if about.word("pg_name") else ""
            rows[f"{name}, comm_size {short(about.number('comm_size', 0), SIZE)}{among}"] += 1
    shown = rows.most_common(12)
    yield from (f"holds: {count} x {what}" for what, count in shown)
    if len(rows) > len(shown):
        yield f"and {len(rows) - len(shown)} other kinds"
