"""The wire format of protocol buffers (protobuf.dev/programming-guides/encoding): read strictly and within bounds,
written field by field or, where there are many messages of one form, column by column.

A message is a run of fields; a field is a key (number and wire type, one varint) and a value: a varint, four or eight
bytes, or a length and as many bytes. Which number means what is the reader's business.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcore.errors import InputError, reason

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

LARGEST_FILE = 2**30
"""Bytes of one file, which is in memory as a whole."""
MOST_NUMBER = 2**29 - 1
"""The largest number of a field."""
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_WIRE = {_VARINT: "varint", _EIGHT: "8 bytes", _BYTES: "length and bytes", _FOUR: "4 bytes"}


@dataclass(frozen=True, slots=True)
class Message:
    """The bytes from ``begin`` to ``end`` of the file ``name``, whose whole content is ``data``."""

    name: str
    data: bytes
    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin

    def error(self, offset: int, sentence: str) -> InputError:
        """Return the error that says where, byte ``offset`` of the file, and what."""
        return InputError(f"{self.name}: byte {offset}: {sentence}")

    def fields(self) -> Iterator["Field"]:
        """Yield the fields in the order in which they stand; raises ``InputError`` at the first that is none."""
        at = self.begin
        while at < self.end:
            key, after = self.varint(at)
            number, wire = key >> 3, key & 7
            if not 0 < number <= MOST_NUMBER:
                raise self.error(at, f"a field has number {number}; expected 1 to {MOST_NUMBER}")
            if wire == _VARINT:
                value, end = self.varint(after)
                yield Field(self, at, number, wire, value, after, end)
            else:
                begin, length = self._extent(at, number, wire, after)
                end = begin + length
                if end > self.end:
                    raise self.error(
                        at, f"field {number} needs {length} bytes, but its message ends after {self.end - begin}"
                    )
                yield Field(self, at, number, wire, 0, begin, end)
            at = end

    def _extent(self, at: int, number: int, wire: int, after: int) -> tuple[int, int]:
        """Return where the value of a field that is no varint begins, and its length."""
        if wire == _BYTES:
            length, begin = self.varint(after)
            return begin, length
        if wire not in (_EIGHT, _FOUR):
            raise self.error(at, f"field {number} is of wire type {wire}; expected 0, 1, 2 or 5")
        return after, 8 if wire == _EIGHT else 4

    def varint(self, at: int) -> tuple[int, int]:
        """Return the varint that begins at byte ``at`` of the file, and where it ends."""
        data, end, value, shift, here = self.data, self.end, 0, 0, at
        while here < end:
            byte = data[here]
            here += 1
            value |= (byte & 127) << shift
            if byte < 128:
                if value >= 2**64:
                    raise self.error(at, "a varint needs more than 64 bits")
                return value, here
            shift += 7
            if shift == 70:
                raise self.error(at, "a varint is longer than 10 bytes")
        raise self.error(at, "a varint does not end before its message does")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of ``message``: where its key begins, its number, its wire type, its value if it is a varint, and where
    its value lies in the file."""

    message: Message
    offset: int
    number: int
    wire: int
    value: int
    begin: int
    end: int

    @property
    def is_bytes(self) -> bool:
        """Whether the value is bytes: a text, a message, a packed list."""
        return self.wire == _BYTES

    def unsigned(self) -> int:
        """Return the value of a uint32, uint64, bool or enum."""
        self._check(_VARINT)
        return self.value

    def signed(self) -> int:
        """Return the value of an int32 or int64: two's complement in 64 bits."""
        self._check(_VARINT)
        return self.value - 2**64 if self.value >= 2**63 else self.value

    def zigzag(self) -> int:
        """Return the value of a sint32 or sint64: 0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
        self._check(_VARINT)
        return (self.value >> 1) ^ -(self.value & 1)

    def fixed(self, form: str) -> int | float:
        """Return the value of a field of four or eight bytes; ``form`` as in `struct`: "<d", "<f", "<Q", ..."""
        self._check(_EIGHT if struct.calcsize(form) == 8 else _FOUR)
        (value,) = struct.unpack_from(form, self.message.data, self.begin)
        number: int | float = value
        return number

    def inner(self) -> Message:
        """Return the message that the field holds."""
        self._check(_BYTES)
        return Message(self.message.name, self.message.data, self.begin, self.end)

    def content(self) -> bytes:
        """Return the bytes that the field holds."""
        self._check(_BYTES)
        return self.message.data[self.begin : self.end]

    def text(self) -> str:
        """Return the UTF-8 text that the field holds."""
        try:
            return self.content().decode()
        except UnicodeDecodeError as error:
            at = self.begin + error.start
            raise self.message.error(at, f"field {self.number} is text, but not in UTF-8") from None

    def integers(self) -> list[int]:
        """Return the values of a repeated uint64: packed into one field, or this one alone."""
        if self.wire == _VARINT:
            return [self.value]
        packed, at, found = self.inner(), self.begin, []
        while at < self.end:
            value, at = packed.varint(at)
            found.append(value)
        return found

    def _check(self, wire: int) -> None:
        if self.wire != wire:
            raise self.message.error(self.offset, f"field {self.number} is {_WIRE[self.wire]}; expected {_WIRE[wire]}")


@dataclass(frozen=True)
class Records:
    """What a file of records holds, each preceded by its length as a varint: the whole ones, and, where the file is cut
    off, how many bytes at its end are of a record that is not (``lost`` of ``total``)."""

    whole: list[Message]
    lost: int
    total: int


def read_records(path: Path, expected: str, *, largest: int = LARGEST_FILE) -> Records:
    """Return the records of ``path``, up to the cut where the file is cut off.

    Raises ``InputError``, which says what was ``expected``, for a file that cannot be read, has more than ``largest``
    bytes, is empty, or holds not one whole record.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(largest + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from None
    if len(data) > largest:
        raise InputError(f"{path}: larger than {largest} bytes; expected {expected}")
    if not data:
        raise InputError(f"{path}: empty; expected {expected}")
    records = _split(Message(str(path), data, 0, len(data)))
    if not records.whole:
        raise InputError(f"{path}: not one of its {len(data)} bytes belongs to a whole record; expected {expected}")
    return records


def _split(file: Message) -> Records:
    whole, at = [], 0
    while at < file.end:
        if _ends_in_varint(file, at):
            break
        length, begin = file.varint(at)
        if begin + length > file.end:
            break
        whole.append(Message(file.name, file.data, begin, begin + length))
        at = begin + length
    return Records(whole, file.end - at, file.end)


def _ends_in_varint(file: Message, at: int) -> bool:
    """Return whether the file is cut off within the varint at ``at``."""
    rest = file.data[at : at + 10]
    return len(rest) < 10 and all(byte >= 128 for byte in rest)


def varint(value: int) -> bytes:
    """Return ``value`` of 64 bits as a varint, a negative one in two's complement."""
    value &= 2**64 - 1
    found = bytearray()
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def integer(number: int, value: int) -> bytes:
    """Return field ``number`` as an int, bool or enum."""
    return varint(number << 3 | _VARINT) + varint(value)


def content(number: int, value: bytes | str) -> bytes:
    """Return field ``number`` as bytes, text or a message."""
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _BYTES) + varint(len(data)) + data


class Rows:
    """``count`` messages that have the same fields, built a field at a time for all of them at once.

    Every field is a matrix of bytes, a row a message, as wide as its longest value, and a mask of the bytes that count.
    """

    def __init__(self, count: int) -> None:
        import numpy as np

        self._count = count
        self._bytes: list[Array] = []
        self._masks: list[Array] = []
        self._lengths = np.zeros(count, np.int64)

    def add_constant(self, data: bytes) -> None:
        """Add fields that are the same in all messages, encoded."""
        import numpy as np

        shape = (self._count, len(data))
        self._add(np.broadcast_to(np.frombuffer(data, np.uint8), shape), np.broadcast_to(np.True_, shape))

    def add_integers(self, number: int, values: "Array") -> None:
        """Add field ``number``, an int: one value a message."""
        self.add_constant(varint(number << 3 | _VARINT))
        self._add_varints(values)

    def add_eights(self, number: int, values: "Array") -> None:
        """Add field ``number``, a fixed64 or double: one value of eight bytes a message."""
        import numpy as np

        self.add_constant(varint(number << 3 | _EIGHT))
        shape = (self._count, 8)
        held = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        self._add(held.view(np.uint8).reshape(shape), np.broadcast_to(np.True_, shape))

    def add_messages(self, number: int, rows: "Rows") -> None:
        """Add field ``number``, a message: one of ``rows`` each."""
        self.add_constant(varint(number << 3 | _BYTES))
        self._add_varints(rows._lengths)
        self._bytes += rows._bytes
        self._masks += rows._masks
        self._lengths += rows._lengths

    def encoded(self) -> list[bytes]:
        """Return the messages."""
        import numpy as np

        data = np.hstack(self._bytes)[np.hstack(self._masks)].tobytes()
        ends = np.cumsum(self._lengths).tolist()
        return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    def _add_varints(self, values: "Array") -> None:
        import numpy as np

        rest = values.astype(np.int64).view(np.uint64)
        digits: list[Array] = []
        more: list[Array] = []
        while not digits or rest.any():
            digits.append((rest & np.uint64(127)).astype(np.uint8))
            rest = rest >> np.uint64(7)
            more.append(rest > 0)
        goes_on = np.column_stack(more)
        starts = np.column_stack([np.ones(self._count, np.bool_), goes_on[:, :-1]])
        self._add(np.column_stack(digits) | goes_on.view(np.uint8) << 7, starts)

    def _add(self, data: "Array", mask: "Array") -> None:
        self._bytes.append(data)
        self._masks.append(mask)
        self._lengths += mask.sum(axis=1)
