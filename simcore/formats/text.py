"""Text files from elsewhere, read whole within a stated limit."""

from pathlib import Path

from simcore.errors import InputError


def read_text(path: Path, largest: int, expected: str) -> str:
    """Return the text of a file of at most ``largest`` bytes; raises ``InputError`` for a file that cannot be read, is
    larger, empty, or not text, and says what was ``expected``."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(largest + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or 'error').lower()}") from None
    if len(raw) > largest:
        raise InputError(f"{path}: larger than {largest} bytes; expected {expected}")
    if b"\0" in raw:
        raise InputError(f"{path}: not a text file (byte {raw.index(0)} is zero); expected {expected}")
    text = raw.decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise InputError(f"{path}: empty; expected {expected}")
    return text
