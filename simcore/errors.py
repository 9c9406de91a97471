"""The few error types; each carries one finished sentence, because SimPy rebuilds exceptions from their arguments."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST = 2000
"""Characters of a message; what is longer echoes something that nobody would read."""


class SimcoreError(Exception):
    """Anything simcore reports to its user: one finished line, and the exit code of the command line."""

    exit_code = 1

    def __init__(self, text: str) -> None:
        super().__init__(printable(text, LONGEST))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of the error: its line."""
        return [f"{type(self).__name__}: {self}"]


class InputError(SimcoreError):
    """What was given cannot be used; the text says where, what was wrong and what would be right."""

    exit_code = 2


class SimulationError(SimcoreError):
    """The simulation itself failed: an impossible delay, a watch-dog limit, a program that broke the rules."""

    exit_code = 3


class Deadlock(SimulationError):
    """Nothing can happen any more although some ranks still wait; the text names them and what they wait for."""


class Interrupted(SimcoreError):
    """The user ended the command; the text says what it left behind."""

    exit_code = 130


class FieldError(ValueError):
    """A record's own check failed: ``keys`` lead from the record to the value that is to blame, of which the
    ``sentence`` is said, without naming it."""

    def __init__(self, sentence: str, *keys: str | int) -> None:
        super().__init__(f"{'.'.join(map(str, keys))} {sentence}")
        self.sentence, self.keys = sentence, keys


def printable(text: str, longest: int) -> str:
    """Return ``text`` on one line: line breaks, control characters and lone surrogates as escapes, and the middle left
    out where it is longer than ``longest`` characters."""
    if len(text) > longest:
        kept = longest - 5
        text = f"{text[: kept - kept // 4]} ... {text[len(text) - kept // 4 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quoted(value: object) -> str:
    """Return ``value`` as it may stand in a message: quoted where it is text, cut to a length that can be read."""
    return printable(repr(value[:200] if isinstance(value, str) else value), 80)


def reason(error: OSError) -> str:
    """Return why the system refused a file, in its own words."""
    text = os.strerror(error.errno) if error.errno else str(error) or "unknown error"
    return printable(text.lower(), 200)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a refusal of the system inside into the ``InputError`` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {reason(error)}") from None
