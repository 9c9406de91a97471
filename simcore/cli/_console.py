"""What every command shares: its arguments, and how it speaks to its user."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

INTERRUPTED = 130

ScenarioName = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A file, a bundled scenario, a paper's name, or a run folder.")
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one value, e.g. wait.policy=spin.")
]
Formats = Annotated[
    list[Literal["png", "svg", "pdf"]], typer.Option("--format", help="Of pictures; several may be given; default png.")
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
