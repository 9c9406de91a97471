"""Commands on what the numbers mean: explain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simcore.outputs import Output

FEW = 8
"""Values that are explained, and neighbours that are named."""


def explain(
    name: Annotated[
        str, typer.Argument(metavar="[METRIC]", help="A metric or a column; without it, all are listed.")
    ] = "",
    folder: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="A run folder: what the metric is there, and why.")
    ] = None,
) -> None:
    """Say what a metric or a column is, its unit, how it is reckoned, and what it is in a run."""
    from simcore import outputs

    if not name:
        _print_all()
        return
    if folder is not None:
        _print_values(name, folder)
        return
    for i, output in enumerate(outputs.find(name)):
        if i:
            print()
        _print_output(output)


def _print_all() -> None:
    from simcore import outputs

    group = ""
    for output in outputs.everything():
        if output.group != group:
            group = output.group
            print(f"{group} ({output.file})")
        print(f"  {output.name:42} {output.unit or '-':10} {output.meaning.partition(';')[0]}")


def _print_output(output: "Output") -> None:
    from simcore import outputs

    print(f"{output.name} ({output.unit})" if output.unit not in ("", "1") else output.name)
    print(f"  {output.meaning}")
    if output.reckoned:
        print(f"  reckoned: {output.reckoned}")
    print(f"  stands in: {output.file}")
    near = outputs.related(output)
    if near:
        print(f"  beside it: {', '.join(near[:FEW])}" + (f" and {len(near) - FEW} more" if len(near) > FEW else ""))


def _print_values(name: str, folder: Path) -> None:
    from simcore import explanation, outputs, report

    result = report.load_run(folder)
    found = explanation.values(result, name)
    for output in outputs.find(name):
        if output.file == "metrics.json" or not found:
            _print_output(output)
    if len(found) > FEW:
        # Of many, those that matter most: the greatest, where they can be compared.
        numbers = all(isinstance(value, int | float) for _, value in found)
        found = sorted(found, key=lambda item: -item[1])[:FEW] if numbers else found[:FEW]
        print(f"  in this run, the greatest {FEW}:")
    for key, value in found:
        unit = next((output.unit for output in outputs.find(key)), "")
        print(f"  {key} = {explanation.told(value, unit)}")
        for sentence in explanation.reasons(result, key):
            print(f"    {sentence}")
