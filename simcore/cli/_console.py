"""What every command shares: its arguments, and how it speaks to its user."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

INTERRUPTED = 130
PICTURES = ("png", "svg", "pdf")
"""Formats of pictures."""

ScenarioName = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A file, a bundled scenario, a paper's name, or a run folder.")
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one value, e.g. wait.policy=spin.")
]
Formats = Annotated[
    str, typer.Option("--format", metavar="png,svg,pdf", help="Of pictures; several, parted by commas; default png.")
]
Width = Annotated[
    Literal["column", "page", "screen"],
    typer.Option("--width", help="Of pictures: one or both columns of a paper (3.5 and 7 inches), or 1200 pixels."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all random streams.")]


def say(text: str) -> None:
    """Print one line on stderr."""
    print(text, file=sys.stderr)


def print_files(paths: list[Path]) -> None:
    """Print the files that a command wrote, a line each."""
    for path in paths:
        print(f"wrote    {path}")


def formats_of(text: str) -> list[str]:
    """Return the formats of pictures that ``text`` lists; raises ``InputError`` for one that is none."""
    from simcore import source
    from simcore.errors import InputError

    found = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for kind in found:
        if kind not in PICTURES:
            raise InputError(f"--format {text}: {source.unknown('format', kind, list(PICTURES))}")
    return found
