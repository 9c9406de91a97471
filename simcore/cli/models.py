"""Commands on models: models, verify, new-model."""

import time
from pathlib import Path
from typing import Annotated

import typer

from simcore.cli._console import print_files, say

UNMET = 1
"""Exit code where a check of the battery fails."""


def models() -> None:
    """List the models: one folder a paper."""
    from simcore import registry

    for name in registry.folders():
        print(f"{name:20} {registry.citation(name)}")


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Models, by name; default all.")
    ] = None,
) -> None:
    """Put models through the battery: what every model must pass, a line a check; exit 1 if one fails."""
    from simcore import registry, testing

    wanted = list(dict.fromkeys(names or registry.folders()))
    for name in wanted:
        registry.folder(name)
    failed = []
    for name in wanted:
        begin = time.monotonic()
        for outcome in testing.verify(name):
            print(outcome, flush=True)
            failed += [] if outcome.ok else [f"{name} {outcome.check}"]
        say(f"{name}: {time.monotonic() - begin:.1f} s")
    if failed:
        say(f"failed: {', '.join(failed)}")
        raise typer.Exit(UNMET)


def new_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the model is, e.g. halo_exchange.")],
    into: Annotated[
        Path | None,
        typer.Option(
            "--into", metavar="DIR", help="Where its folder is made; default models/ in a checkout, else here."
        ),
    ] = None,
) -> None:
    """Write a new model for you to fill in: a small one that runs and passes the battery."""
    from simcore import scaffold

    files, known = scaffold.write(name, into)
    print_files(files)
    if not known:
        print(f"next     pip install -e {(into or Path()) / name}")
    print(f"next     simcore run {name}, then simcore verify {name}")
