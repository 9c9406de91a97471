"""JSON that is read from a stream value by value, and as far as it goes where the stream is cut off."""

import codecs
import json
import re
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from simcore.errors import InputError

CHUNK = 2**20
LARGEST_VALUE = 2**22
"""Characters of one value, an event or what stands beside the list of events: all that is in memory at a time."""


class Cut(Exception):
    """The file ends in the middle; its text says where."""


class Gzip:
    """The content of a gzip stream of one or more members; all that can be unpacked where the stream is cut off.

    Python's own reader raises at a cut, and loses what it had unpacked but not yet handed over.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self._unpack = read, zlib.decompressobj(31)
        self.cut = False

    def read(self, most: int) -> bytes:
        """Return up to ``most`` bytes, none at the end; raises ``zlib.error`` for a damaged stream."""
        while True:
            if not self._unpack.eof:
                rest = self._unpack.unconsumed_tail or self._read(CHUNK)
            elif (rest := self._next_member()) != b"":
                self._unpack = zlib.decompressobj(31)
            else:
                return b""
            text = self._unpack.decompress(rest, most)
            self.cut = not rest and not self._unpack.eof
            if text or self.cut:
                return text

    def _next_member(self) -> bytes:
        """Return the begin of what follows a member; members may be padded with zeros."""
        rest = self._unpack.unused_data
        while not rest.lstrip(b"\0"):
            rest = self._read(CHUNK)
            if not rest:
                return b""
        return rest.lstrip(b"\0")


class Text:
    """The text of a stream behind a window that moves on, one value at a time; errors carry line and column."""

    def __init__(self, read: Callable[[int], bytes], path: Path, limit: int) -> None:
        self._next, self._path, self._limit = read, path, limit
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        # Decimal, because microseconds since 1970 with fractions of a nanosecond do not fit a double.
        self._json = json.JSONDecoder(parse_float=Decimal)
        self._window, self._at, self._read, self._ended = "", 0, 0, False
        self._before, self._line, self._column = 0, 1, 1

    @property
    def position(self) -> int:
        """Characters read so far."""
        return self._before + self._at

    @property
    def size(self) -> int:
        """Bytes read so far, unpacked."""
        return self._read

    @property
    def ended(self) -> bool:
        """Whether everything has been taken, to the last character."""
        return self._ended and self._at == len(self._window)

    def _more(self) -> None:
        """Read a further chunk, at least as long as the window, so that a long value is tried but a few times."""
        raw = self._next(max(CHUNK, len(self._window) - self._at))
        self._read += len(raw)
        if self._read > self._limit:
            raise InputError(f"{self._path}: unpacks to more than {self._limit} bytes; record fewer steps")
        try:
            text = self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            if not raw:  # the bytes of a letter of which the last ones are missing
                raise Cut(f"{self._path}: the trace is cut off") from None
            raise InputError(
                f"{self._path}: not a text file (byte {self._read - len(raw) + error.start}); expected a Kineto trace "
                "(JSON, plain or gzip)"
            ) from None
        self._ended = not raw
        done = self._window[: self._at]
        lines = done.count("\n")
        self._column = len(done) - done.rfind("\n") if lines else self._column + len(done)
        self._line, self._before = self._line + lines, self._before + len(done)
        self._window, self._at = self._window[self._at :] + text, 0

    def peek(self) -> str:
        """Return the next character that is no space, without taking it; an empty text at the end."""
        while True:
            found = _SPACE.match(self._window, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._window) or self._ended:
                return self._window[self._at : self._at + 1]
            self._more()

    def take(self, mark: str) -> None:
        """Take the next character, which must be ``mark``."""
        if self.peek() != mark:
            raise self._error(f"expecting {mark!r}", self._at)
        self._at += 1

    def items(self, opening: str, closing: str) -> Iterator[None]:
        """Yield at the begin of every item between two brackets; the caller takes the item."""
        self.take(opening)
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            yield
            if self.peek() == closing:
                self._at += 1
                return
            if self.peek() != ",":
                raise self._error("expecting ',' delimiter", self._at)
            self._at += 1

    def value(self) -> Any:
        """Take one whole value of JSON."""
        self.peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._window, self._at)
                # A number that reaches the end of the window may go on behind it, at most "e+" before a digit.
                if end + 3 <= len(self._window) or self._ended:
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                # What is cut off by the window fails at its end, or is a text that begins anywhere.
                inside = error.pos < len(self._window) - 100 and not error.msg.startswith("Unterminated")
                if self._ended or inside:
                    raise self._error(f"{error.msg[0].lower()}{error.msg[1:]}", error.pos) from None
            except (ValueError, ArithmeticError):
                raise self._error("a number with too many digits", self._at) from None
            if len(self._window) - self._at > LARGEST_VALUE:
                raise self._error(f"a value of more than {LARGEST_VALUE} characters", self._at)
            self._more()

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek():
            raise self._error("extra data", self._at)

    def _error(self, what: str, at: int) -> Exception:
        done = self._window[:at]
        lines = done.count("\n")
        column = len(done) - done.rfind("\n") if lines else self._column + len(done)
        place = f"{self._path}:{self._line + lines}:{column}"
        rest = self._window[at:].rstrip()
        begun = "unterminated" in what or (_ESCAPE if "escape" in what else _BEGUN).fullmatch(rest)
        if self._ended and begun:
            return Cut(f"{place}: the trace is cut off: {what}")
        return InputError(f"{place}: not JSON: {what}")


_SPACE = re.compile(r"[ \t\n\r]*")
_WORDS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_BEGUN = re.compile(
    "|".join([".?", "[eE][+-]?", *(re.escape(word[:i]) for word in _WORDS for i in range(2, len(word)))]), re.DOTALL
)
_ESCAPE = re.compile(r"\\?u?[0-9a-fA-F]{0,4}")
"""What a cut can leave of a value where the decoder stops: the begin of a number's exponent or of a word; of an
escape."""
