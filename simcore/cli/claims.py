"""Commands on papers: reproduce, figure."""

import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simcore.cli._console import Formats, Width, print_files, say
from simcore.errors import Interrupted

if TYPE_CHECKING:
    from simcore.claims.reproduction import Reproduction
    from simcore.claims.verdicts import Judged

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
    formats: Formats = [],  # noqa: B006 typer copies it
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
            files = reproduction.write(done, out / paper.name, formats or ["png"], width)
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
    formats: Formats = [],  # noqa: B006
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
        [path for each in wanted for path in drawing.draw(paper, each, found, folder, formats or ["png"], width)]
    )


def _print(done: "Reproduction") -> None:
    from simcore import registry
    from simcore.claims.reproduction import score

    print(f"{done.paper.name}: {registry.citation(done.paper.name)}")
    _print_row({name: name for name in WIDTHS})
    print(" ".join("-" * width for width in WIDTHS.values()))
    for judged in done.judged:
        _print_row(_row(judged))
    counts = score(done.judged)
    scored = sum(counts.values()) - counts["not scored"]
    print(
        f"{counts['holds']} of {scored} scored claims hold, {counts['consistent']} consistent with the paper's words,"
    )
    print(f"{counts['misses']} missed; {counts['not scored']} not scored")
    print(*textwrap.wrap(done.paper.sheet.basis, 120), sep="\n")


def _print_row(cells: dict[str, str]) -> None:
    lines = [textwrap.wrap(cells[name], width) or [""] for name, width in WIDTHS.items()]
    for i in range(max(map(len, lines))):
        row = (part[i] if i < len(part) else "" for part in lines)
        print(" ".join(f"{text:{width}}" for text, width in zip(row, WIDTHS.values(), strict=True)).rstrip())


def _row(judged: "Judged") -> dict[str, str]:
    claim = judged.claim
    verdict = f"{judged.verdict}: {judged.why}" if judged.why else judged.verdict
    return {
        "id": claim.id,
        "what": claim.what,
        "grade": claim.grade,
        "paper": _said(claim.paper, claim.unit),
        "ours": _ours(judged),
        "error": "-" if judged.error is None else f"{judged.error:+.1%}",
        "tolerance": str(claim.holds) if claim.holds else "-",
        "verdict": verdict,
    }


def _said(paper: Any, unit: str) -> str:
    behind = f" {unit}" if unit else ""
    if isinstance(paper, str):
        return paper
    if isinstance(paper, list):
        return ", ".join(f"{value:.4g}" for value in paper) + behind
    if isinstance(paper, int | float):
        return f"{_number(paper)}{behind}"
    return f"{_number(paper.low)} to {_number(paper.high)}{behind}"


def _ours(judged: "Judged") -> str:
    """Return our numbers: one, or the smallest and the largest of several."""
    if not judged.values:
        return "-"
    low, high = min(judged.values), max(judged.values)
    count = len(judged.values)
    said = _number(low) if _number(low) == _number(high) else f"{_number(low)} to {_number(high)}"
    return said + (f" {judged.claim.unit}" if judged.claim.unit else "") + (f" ({count})" if count > 1 else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"
