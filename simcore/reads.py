"""Which values of a frozen record were read: it is lent in a form that notes that, at no cost after the first time."""

import dataclasses
from functools import cache
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")
Keys = tuple[str | int, ...]


class Reads:
    """What was read of the records that it lent: ``seen`` holds the keys that lead to each value.

    A value in a mapping counts as read when the mapping is. Text for people (fields of type ``str``) counts at once:
    a name decides nothing.
    """

    def __init__(self) -> None:
        self.seen: set[Keys] = set()

    def lend(self, value: T, keys: Keys = ()) -> T:
        """Return ``value`` in a form whose reading is noted: a frozen dataclass, or a list of such; all else as it
        is."""
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            lent: Any = object.__new__(_noting(type(value)))
            object.__setattr__(lent, _LENT, (self, value, keys))
            self.seen |= {(*keys, name) for name in _texts(type(value))}
            return lent  # type: ignore[no-any-return]
        if isinstance(value, list) and any(map(dataclasses.is_dataclass, value)):
            return [self.lend(part, (*keys, i)) for i, part in enumerate(value)]  # type: ignore[return-value]
        return value

    def whole(self, lent: T) -> T:
        """Return the record behind one that was ``lent``; all of it counts as read."""
        _, value, keys = getattr(lent, _LENT)
        self.seen.add(keys)
        return value  # type: ignore[no-any-return]

    def has_seen(self, keys: Keys) -> bool:
        """Return whether the value at ``keys``, something around it or something in it was read."""
        return any(keys[: len(seen)] == seen[: len(keys)] for seen in self.seen)


_LENT = "_lent"


class _Field:
    """Notes that a field is read, and puts its value where the next reading finds it without asking here."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, record: Any, owner: type) -> Any:
        if record is None:
            return self
        reads, value, keys = getattr(record, _LENT)
        here = (*keys, self._name)
        part = getattr(value, self._name)
        lent = reads.lend(part, here)
        if lent is part:
            reads.seen.add(here)
        object.__setattr__(record, self._name, lent)
        return lent


@cache
def _noting(record: type) -> type:
    """Return a subclass of a frozen dataclass whose fields note that they are read."""
    names = [field.name for field in dataclasses.fields(record)]
    held = next(base.__dict__["__dict__"] for base in record.__mro__ if "__dict__" in base.__dict__)

    def everything(lent: Any) -> Any:
        """Read every field, because `vars` sees only what is there."""
        if hasattr(lent, _LENT):
            for name in names:
                getattr(lent, name)
        return held.__get__(lent)

    fields: dict[str, Any] = {name: _Field(name) for name in names}
    return type(record.__name__, (record,), fields | {"__slots__": (_LENT,), "__dict__": property(everything)})


@cache
def _texts(record: type) -> tuple[str, ...]:
    hints = get_type_hints(record)
    return tuple(field.name for field in dataclasses.fields(record) if hints[field.name] in (str, str | None))
