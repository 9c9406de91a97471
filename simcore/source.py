"""YAML with the file, line and column behind every value: `base`, overrides, limits, and typed records."""

import dataclasses
import difflib
import fnmatch
import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from simcore.errors import FieldError, InputError, printable, quoted, reason

LARGEST_FILE = 2**20
"""Bytes of one YAML file that are read; a scenario is written by people."""
MOST_VALUES = 100_000
"""Values that one file may expand to, aliases counted each time they are used."""

TAGS = ("kind", "family")
"""Keys whose text says which of several records a mapping is."""

Keys = tuple[str | int, ...]
T = TypeVar("T")

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_LONG_INT = re.compile(r"[-+]?[0-9]{19,}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,3})?")
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Place:
    """Where a value stands: a file with line and column, or the option of the command line that gave it."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    @property
    def folder(self) -> Path:
        """Where relative names start: beside the file, or where the command was given."""
        return Path(self.file).parent if self.line else Path()


@dataclass(frozen=True)
class File:
    """Marks a text field as the name of a file: relative to the file that names it, or bundled in
    ``simcore.<package>``; with ``many`` also of a folder, whose files are meant, or a pattern (``*``, ``?``)."""

    package: str
    many: bool = False


TraceFile = Annotated[str, File("traces")]
TraceFiles = Annotated[str, File("traces", many=True)]


@dataclass(frozen=True)
class Tagged:
    """Marks a union of records that the text at ``key`` tells apart; that text alone stands for a record without
    other keys."""

    key: str

    def __get_pydantic_core_schema__(self, union: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        choices = {
            tag: handler.generate_schema(record)
            for record in get_args(union)
            for tag in get_args(get_type_hints(record)[self.key])
        }
        return core_schema.tagged_union_schema(choices, discriminator=self.key)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "enum": list(schema["choices"])}, handler(schema)]}


@dataclass
class Document:
    """A tree of plain values and the place of each: ``places[keys]`` of a value, ``key_places[keys]`` of the key before
    it."""

    value: Any
    file: str
    places: dict[Keys, Place] = field(default_factory=dict)
    key_places: dict[Keys, Place] = field(default_factory=dict)
    prefix: Keys = ()
    """Keys that lead to this part in the document it was taken from; only for messages."""

    def copy(self) -> "Document":
        """Return a document that can be changed without changing this one."""
        return Document(_copied(self.value), self.file, dict(self.places), dict(self.key_places), self.prefix)

    def place(self, keys: Keys, *, of_key: bool = False) -> Place:
        """Return the place of the value at ``keys``, or of the nearest value around it."""
        if of_key and keys in self.key_places:
            return self.key_places[keys]
        while keys and keys not in self.places:
            keys = keys[:-1]
        return self.places.get(keys, Place(self.file))

    def error(self, keys: Keys, sentence: str, *, of_key: bool = False) -> InputError:
        """Return the error that says ``sentence`` of the value at ``keys``: place, dotted key, sentence."""
        dotted = _dotted(self.prefix + keys)
        return InputError(f"{self.place(keys, of_key=of_key)}: {dotted + ': ' if dotted else ''}{sentence}")

    def at(self, *keys: str | int) -> "Document":
        """Return the part below ``keys`` as a document of its own."""
        value = self.value
        for key in keys:
            value = value[key]
        n = len(keys)
        below = {k[n:]: p for k, p in self.places.items() if k[:n] == keys}
        below_keys = {k[n:]: p for k, p in self.key_places.items() if k[:n] == keys and len(k) > n}
        return Document(value, self.file, below, below_keys, self.prefix + keys)

    def put(self, keys: Keys, part: "Document") -> None:
        """Replace the value at ``keys`` by ``part``, places included; mappings on the way are made where they are
        missing."""
        if not keys:
            self.value, self.file, self.places, self.key_places = part.value, part.file, part.places, part.key_places
            return
        inner = self.value
        for depth, key in enumerate(keys):
            if isinstance(inner, dict) and isinstance(key, str):
                exists = key in inner
            elif isinstance(inner, list) and isinstance(key, int):
                exists = key < len(inner)
                if not exists:
                    raise InputError(
                        f"{part.file}: {_dotted(keys[: depth + 1])}: the list has {len(inner)} entries, counted from 0"
                    )
            else:
                here = _dotted(keys[:depth]) or "the document"
                raise InputError(f"{part.file}: {here} is {_kind(inner)}; it has no entry {quoted(str(key))}")
            if depth == len(keys) - 1:
                inner[key] = part.value
            elif not exists:
                inner[key] = {}
            inner = inner[key]
        for old in [k for k in self.places if k[: len(keys)] == keys]:
            del self.places[old]
        self.places.update({keys + k: p for k, p in part.places.items()})
        self.key_places.update({keys + k: p for k, p in part.key_places.items()})
        self.key_places[keys] = part.place(())

    def build(self, record: type[T], *, also: Sequence[str] = ()) -> T:
        """Return the value as a ``record`` (a frozen dataclass); every error names place and key, and what would be
        right.

        ``also`` are keys that a file may have beside those of the record, read by now: messages list them too.
        """
        from pydantic import ValidationError

        value = self._prepared(self.value, record, (), also)
        try:
            # JSON mode is the one in which strict validation still turns mappings into records and lists into tuples.
            kind: Any = record
            read: T = _adapter(kind).validate_json(json.dumps(value), strict=True)
            return read
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise self._explained(first, error.error_count() - 1) from None

    def _prepared(self, value: Any, wanted: Any, keys: Keys, also: Sequence[str] = ()) -> Any:
        """Refuse unknown keys with the nearest spelling, and find named files; the shape itself is left to pydantic."""
        wanted, marks = _unwrapped(wanted, value)
        for mark in marks:
            if isinstance(mark, File) and isinstance(value, str):
                return self._found(value, mark, keys)
            if isinstance(mark, Tagged) and isinstance(value, str):
                return {mark.key: value}
        if dataclasses.is_dataclass(wanted) and isinstance(value, dict):
            hints = type_hints(wanted)
            allowed = [f.name for f in dataclasses.fields(wanted) if f.init]
            for key in value:
                if key not in allowed:
                    inner = [f"{name}.{part.name}" for name in allowed for part in _fields(hints[name])]
                    raise self.error((*keys, key), unknown("key", key, [*allowed, *also], inner), of_key=True)
            return {key: self._prepared(part, hints[key], (*keys, key)) for key, part in value.items()}
        if get_origin(wanted) in (list, tuple) and isinstance(value, list):
            return [self._prepared(part, get_args(wanted)[0], (*keys, i)) for i, part in enumerate(value)]
        if get_origin(wanted) in (dict, Mapping) and isinstance(value, dict):
            return {key: self._prepared(part, get_args(wanted)[1], (*keys, key)) for key, part in value.items()}
        return value

    def _found(self, name: str, mark: File, keys: Keys) -> str:
        own = self.place(keys).folder / name
        bundled = bundle(mark.package)
        if is_file(own) or (mark.many and matching(own)):
            path = own.resolve()
            return str(path.relative_to(bundled)) if path.is_relative_to(bundled) else str(path)
        if is_file(bundled / name) or (mark.many and matching(bundled / name)):
            return name
        shipped = sorted(
            str(p.relative_to(bundled)) for p in bundled.rglob("*") if p.is_file() and p.suffix == Path(name).suffix
        )
        place = self.place(keys)
        beside = f"beside {Path(place.file).name}" if place.line else "here"
        if mark.many and own.is_dir():
            raise self.error(
                keys, f"the folder {quoted(name)} holds no files; expected those of one job, a file a rank"
            )
        if mark.many:
            shipped = sorted({str(p.relative_to(bundled).parent) for p in bundled.rglob("*/*") if p.is_file()})
        raise self.error(
            keys,
            f"no file{'s' if mark.many else ''} {quoted(name)} {beside} and none bundled; bundled are: "
            f"{', '.join(shipped) or 'none'}",
        )

    def _explained(self, problem: Any, others: int) -> InputError:
        keys: Keys = ()
        value = self.value
        for part in problem["loc"]:
            if (isinstance(value, dict) and part in value) or (
                isinstance(value, list) and isinstance(part, int) and part < len(value)
            ):
                value, keys = value[part], (*keys, part)
            elif problem["type"] == "missing":
                keys = (*keys, part)
        context = problem.get("ctx", {})
        sentence = str(problem["msg"])
        if problem["type"] == "missing":
            sentence = "is missing"
        elif problem["type"] in ("literal_error", "union_tag_invalid"):
            options = re.findall(r"'([^']*)'", str(context.get("expected") or context.get("expected_tags")))
            sentence = unknown("value", context.get("tag", value), options)
        elif problem["type"] == "union_tag_not_found":
            sentence = f"the key {context['discriminator']} is missing"
        elif problem["type"] == "value_error":
            failed = context["error"]
            sentence, blamed = (failed.sentence, failed.keys) if isinstance(failed, FieldError) else (str(failed), ())
            keys += blamed
        elif problem["type"] in ("too_long", "too_short"):
            allowed = context.get("max_length", context.get("min_length"))
            sentence = f"expected {allowed} entries, not {context['actual_length']}"
        elif problem["type"] != "quantity":
            sentence = f"{sentence[0].lower()}{sentence[1:]}, not {_kind(value)}"
        return self.error(keys, sentence + (f" (and {others} more)" if others else ""))


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


@cache
def _adapter(record: Any) -> Any:
    """Return what validates a ``record``; making one takes longer than using it a hundred times."""
    from pydantic import TypeAdapter

    return TypeAdapter(record)


def type_hints(record: Any) -> Mapping[str, Any]:
    """Return the type hints of a record, marks included."""
    return _type_hints(record)


@cache
def _type_hints(record: Any) -> Mapping[str, Any]:
    return get_type_hints(record, include_extras=True)


def unknown(noun: str, given: object, allowed: list[str], elsewhere: Sequence[str] = ()) -> str:
    """Return the sentence that refuses ``given``: the nearest of the ``allowed`` names where one is near, and all of
    them.

    ``elsewhere`` holds dotted names of one level below, looked through by their last part where nothing nearer is
    found.
    """
    near = difflib.get_close_matches(str(given), allowed, n=1)
    if not near:
        below = {name.rpartition(".")[2]: name for name in elsewhere}
        near = [below[name] for name in difflib.get_close_matches(str(given), below, n=1)]
    return (
        f"unknown {noun} {quoted(given)}; "
        + (f"did you mean {near[0]!r}? " if near else "")
        + f"allowed: {', '.join(allowed)}"
    )


def is_file(path: Path) -> bool:
    """Return whether ``path`` is a file; what the system refuses to look at, a name of a thousand letters say, is
    none."""
    try:
        return path.is_file()
    except OSError:
        return False


def bundle(package: str) -> Path:
    """Return the folder of the bundled ``simcore.<package>``: models, scenarios or traces."""
    return Path(str(files(f"simcore.{package}")))


def locate(name: str, package: str) -> Path:
    """Return the path of a file that a ``File`` field holds: an absolute one as it is, else bundled in
    ``simcore.<package>``."""
    return Path(name) if Path(name).is_absolute() else bundle(package) / name


def matching(path: Path) -> list[Path]:
    """Return the files that ``path`` means, by name: those in it if it is a folder, those whose names fit if its last
    part is a pattern, else itself; none where there is nothing of the kind. Hidden files are never meant."""
    try:
        if path.is_dir():
            found = list(path.iterdir())
        elif re.search(r"[*?\[]", path.name):
            found = [each for each in path.parent.iterdir() if fnmatch.fnmatchcase(each.name, path.name)]
        else:
            found = [path]
        return sorted(each for each in found if each.is_file() and not each.name.startswith("."))
    except (OSError, ValueError):
        return []


def read(path: Path, *, inherit: bool = True) -> Document:
    """Return the document in ``path``, its ``base`` files merged below it; raises ``InputError`` with line and
    column."""
    return _inherited(path, ()) if inherit else _parsed(_text(path), str(path))


def fragment(text: str, place: str) -> Document:
    """Return the value that ``text`` spells in YAML, standing at ``place``, an option of the command line."""
    document = _parsed(text, place, required=False)
    document.places = {keys: Place(place) for keys in document.places}
    document.key_places = {keys: Place(place) for keys in document.key_places}
    return document


def override(document: Document, assignment: str) -> Keys:
    """Carry out one ``key=value`` of ``--set``: a dotted key (list entries by number) and a value in YAML; return the
    key."""
    place = printable(f"--set {assignment}", 200)
    key, equals, text = assignment.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise InputError(f"{place}: write key=value, e.g. --set wait.policy=spin")
    if key.strip() == "base":
        raise InputError(f"{place}: the base of a scenario stands in its file; it cannot be set from outside")
    keys = split(key)
    document.put(keys, fragment(text, place))
    return keys


def split(dotted: str) -> Keys:
    """Return the keys of a dotted key; numbers are entries of lists."""
    return tuple(int(part) if re.fullmatch(r"[0-9]{1,9}", part) else part for part in dotted.strip().split("."))


def _inherited(path: Path, chain: tuple[Path, ...]) -> Document:
    document = _parsed(_text(path), str(path))
    if not isinstance(document.value, dict):
        raise document.error((), f"expected keys with values, not {_kind(document.value)}")
    if "base" not in document.value:
        return document
    name = document.value["base"]
    if not isinstance(name, str):
        raise document.error(("base",), f"expected the name of a scenario file, not {_kind(name)}")
    chain = (*chain, path.resolve())
    candidates = (
        path.parent / name,
        path.parent / f"{name}.yaml",
        bundle("scenarios") / f"{name}.yaml",
        bundle("models") / name / "scenario.yaml",
    )
    base = next((candidate for candidate in candidates if is_file(candidate)), None)
    if base is None:
        raise document.error(
            ("base",), f"no file {quoted(name)} beside {path.name} and no bundled scenario of that name"
        )
    if base.resolve() in chain:
        raise document.error(
            ("base",), "the chain of base files is a circle: " + " -> ".join(p.name for p in (*chain, base))
        )
    parent = _inherited(base, chain)
    del document.value["base"]
    merge(parent, document)
    parent.file, parent.places[()] = document.file, document.place(())
    return parent


def merge(parent: Document, child: Document) -> None:
    """Lay ``child`` over ``parent`` in place: mappings merge key by key, everything else is replaced, and so is a
    mapping that becomes another record."""
    for keys in list(_turned(parent.value, child.value)):
        parent.put(keys, child.at(*keys))
    for keys in list(_leaves(child.value)):
        _graft(parent, child, keys)


def _graft(parent: Document, child: Document, keys: Keys) -> None:
    """Put the child's value at ``keys`` into the parent; a mapping replaces a scalar or list of the parent whole."""
    inner = parent.value
    for depth, key in enumerate(keys):
        parent.places[keys[:depth]] = child.place(keys[:depth])
        if not isinstance(inner, dict):
            parent.put(keys[:depth], child.at(*keys[:depth]))
            return
        if key not in inner:
            parent.put(keys[: depth + 1], child.at(*keys[: depth + 1]))
            return
        inner = inner[key]
    part = child.at(*keys)
    if not (part.value == {} and isinstance(inner, dict)):
        parent.put(keys, part)


def _turned(parent: Any, child: Any, keys: Keys = ()) -> Iterator[Keys]:
    """Yield where the child's mapping is another record than the parent's: its tag differs."""
    if isinstance(parent, dict) and isinstance(child, dict):
        if any(tag in parent and child.get(tag, parent[tag]) != parent[tag] for tag in TAGS):
            yield keys
        else:
            for key in child:
                yield from _turned(parent.get(key), child[key], (*keys, key))


def _leaves(value: Any, keys: Keys = ()) -> Iterator[Keys]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _leaves(part, (*keys, key))
    elif keys:
        yield keys


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from None
    if len(raw) > LARGEST_FILE:
        raise InputError(f"{path}: larger than {LARGEST_FILE} bytes; this is not a scenario")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file (byte {error.start} is not UTF-8); expected YAML") from None
    if "\0" in text:
        raise InputError(f"{path}: not a text file (byte {text.index(chr(0))} is zero); expected YAML")
    return text


def _parsed(text: str, file: str, *, required: bool = True) -> Document:
    import yaml

    document = Document(None, file)
    try:
        # The base loader resolves nothing: `on`, `1e9` and `1:30` reach us as text, and _scalar decides by YAML 1.2.
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        raise InputError(f"{place}: {_yaml_problem(error, text)}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not YAML text: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise InputError(f"{file}: nested too deeply to be a scenario") from None
    if root is None:
        if required:
            raise InputError(f"{file}: empty; expected keys with values, e.g. 'machine: {{node: hgx-h100}}'")
        return document
    document.value = _converted(document, root, (), [0])
    return document


def _yaml_problem(error: Any, text: str) -> str:
    mark = error.problem_mark
    line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
    if "\t" in line[: mark.column + 1 if mark else None]:
        return "a tab character in the indentation; YAML is indented with spaces"
    return "not valid YAML: " + " ".join(part for part in (error.context, error.problem) if part)


def _converted(document: Document, node: Any, keys: Keys, seen: list[int]) -> Any:
    seen[0] += 1
    place = Place(document.file, node.start_mark.line + 1, node.start_mark.column + 1)
    document.places[keys] = place
    if seen[0] > MOST_VALUES or len(keys) > 100:
        raise InputError(f"{place}: expands to more than {MOST_VALUES} values or 100 levels; this is not a scenario")
    if node.tag.startswith("!") or node.tag.startswith("tag:yaml.org,2002:python"):
        raise InputError(f"{place}: the tag {quoted(node.tag)} is not allowed; write plain values")
    if node.id == "scalar":
        _check_letters(node.value, place)
        return _scalar(node.value) if node.style is None else node.value
    if node.id == "sequence":
        return [_converted(document, part, (*keys, i), seen) for i, part in enumerate(node.value)]
    mapping: dict[str, Any] = {}
    for key, part in node.value:
        where = Place(document.file, key.start_mark.line + 1, key.start_mark.column + 1)
        if key.id != "scalar":
            raise InputError(f"{where}: a key must be a word")
        _check_letters(key.value, where)
        if key.value in mapping:
            raise InputError(
                f"{where}: the key {quoted(key.value)} stands twice; first in line "
                f"{document.key_places[(*keys, key.value)].line}"
            )
        document.key_places[(*keys, key.value)] = where
        mapping[key.value] = _converted(document, part, (*keys, key.value), seen)
    return mapping


def _check_letters(text: str, place: Place) -> None:
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise InputError(f"{place}: {quoted(text)} has half of a surrogate pair in it; write the letter itself")


def _scalar(text: str) -> Any:
    """Resolve a plain scalar by the core schema of YAML 1.2, in which `on`, `yes` and `1:30` are text and `1e9` is a
    number."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) and len(text) < 40 else text


def _unwrapped(wanted: Any, value: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the record or container behind ``Annotated`` and unions, and the marks seen; of a union of records the one
    ``kind`` names."""
    marks: tuple[Any, ...] = ()
    while True:
        origin = get_origin(wanted)
        if origin is Annotated:
            wanted, *more = get_args(wanted)
            marks += tuple(more)
        elif origin in (Union, types.UnionType):
            parts = [part for part in get_args(wanted) if part is not type(None)]
            wanted = next((part for part in parts if _tagged(part, value)), parts[0])
            if len(parts) > 1 and not _tagged(wanted, value):
                return Any, marks
        else:
            return wanted, marks


def _fields(hint: Any) -> tuple[Any, ...]:
    record = _unwrapped(hint, None)[0]
    return dataclasses.fields(record) if dataclasses.is_dataclass(record) else ()


def _tagged(record: Any, value: Any) -> bool:
    if not (dataclasses.is_dataclass(record) and isinstance(value, dict)):
        return False
    hints = type_hints(record)
    return any(get_origin(hints.get(tag)) is Literal and value.get(tag) in get_args(hints[tag]) for tag in TAGS)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "keys with values" if isinstance(value, dict) else "a list"
    if isinstance(value, str) and _LONG_INT.fullmatch(value):
        return "a number of more than 18 digits"
    return "nothing" if value is None else f"text {quoted(value)}" if isinstance(value, str) else f"the number {value}"


def _dotted(keys: Keys) -> str:
    return ".".join(map(str, keys))
