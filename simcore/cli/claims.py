"""Commands on papers: reproduce, figure."""

import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simcore.cli._console import Formats, Width, formats_of, print_files, say
from simcore.errors import Interrupted

if TYPE_CHECKING:
    from simcore.claims.reproduction import Reproduction

MISSED = 1
"""Exit code where a claim that should hold does not."""
WIDTHS = {"id": 5, "what": 44, "grade": 8, "paper": 22, "ours": 22, "error": 8, "tolerance": 14, "verdict": 20}
"""Columns of the table and the letters of each; what is longer goes on in the next line."""

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where a folder for each paper goes.")]


def reproduce(
    papers: Annotated[
        list[str] | None, typer.Argument(metavar="[PAPER]...", help="Papers with claims; default all.")
    ] = None,
    out: Out = Path("runs/reproduce"),
    formats: Formats = "png",
    width: Width = "screen",
) -> None:
    """Run the experiments of papers, judge their claims, draw their figures; exit 1 if one that should hold does
    not."""
    from simcore.claims import reading, reproduction

    read = [reading.read(name) for name in dict.fromkeys(papers or reading.names())]
    for paper in read:
        reproduction.check_folder(out / paper.name)
    missed = []
    for paper in read:
        begin = time.monotonic()
        try:
            done = reproduction.reproduce(paper, lambda name: say(f"{paper.name}: {name} ..."))  # noqa: B023 at once
            files = reproduction.write(done, out / paper.name, formats_of(formats), width)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted in {paper.name}; nothing of it was written") from None
        _print(done)
        print_files(files)
        say(f"{paper.name}: {time.monotonic() - begin:.0f} s")
        missed += [f"{paper.name} {claim}" for claim in done.missed]
    if missed:
        say(f"missed: {', '.join(missed)}")
        raise typer.Exit(MISSED)


def figure(
    name: Annotated[str, typer.Argument(metavar="PAPER", help="A paper with claims.")],
    figures: Annotated[
        list[str] | None, typer.Argument(metavar="[FIGURE]...", help="Its figures; default all.")
    ] = None,
    out: Out = Path("runs/reproduce"),
    formats: Formats = "png",
    width: Width = "screen",
) -> None:
    """Run what figures of a paper show, and draw them."""
    from simcore import source
    from simcore.claims import figures as drawing
    from simcore.claims import reading, reproduction
    from simcore.errors import InputError, writing

    paper = reading.read(name)
    known = paper.sheet.figures
    for asked in figures or []:
        if asked not in known:
            raise InputError(source.unknown(f"figure of {name}", asked, list(known)))
    wanted = list(dict.fromkeys(figures or known))
    needed = [experiment for each in wanted for experiment in known[each].experiments]
    folder = out / name
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    found = reproduction.run(paper, needed, lambda each: say(f"{name}: {each} ..."))
    print_files(
        [path for each in wanted for path in drawing.draw(paper, each, found, folder, formats_of(formats), width)]
    )


def _print(done: "Reproduction") -> None:
    from simcore import registry
    from simcore.claims import cells
    from simcore.claims.reproduction import score

    print(f"{done.paper.name}: {registry.citation(done.paper.name)}")
    _print_row({name: name for name in WIDTHS})
    print(" ".join("-" * width for width in WIDTHS.values()))
    for judged in done.judged:
        _print_row(cells.row(judged))
    counts = score(done.judged)
    scored = sum(counts.values()) - counts["not scored"]
    print(
        f"{counts['holds']} of {scored} scored claims hold, {counts['consistent']} consistent with the paper's words,"
    )
    print(f"{counts['misses']} missed; {counts['not scored']} not scored")
    print(*textwrap.wrap(done.paper.sheet.basis, 120), sep="\n")


def _print_row(row: dict[str, str]) -> None:
    lines = [textwrap.wrap(row[name], width) or [""] for name, width in WIDTHS.items()]
    for i in range(max(map(len, lines))):
        parts = (part[i] if i < len(part) else "" for part in lines)
        print(" ".join(f"{text:{width}}" for text, width in zip(parts, WIDTHS.values(), strict=True)).rstrip())
