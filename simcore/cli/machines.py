"""Commands on machines: topo, presets."""

from pathlib import Path
from typing import Annotated, Any

import typer

from simcore.cli._console import Overrides, ScenarioName, print_files


def topo(
    name: ScenarioName,
    overrides: Overrides = [],  # noqa: B006 typer copies it
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The picture to write.")] = Path("topology.png"),
) -> None:
    """Draw the machine of a scenario."""
    from simcore import assembly, plot

    asked = assembly.read_scenario(name, overrides)
    graph = asked.machine.build_topology().graph()
    drawn = plot.topology(graph, out, title=f"{asked.machine.name}, {asked.machine.topology}")
    print(
        f"{asked.machine.name}: {asked.machine.gpus} GPUs, {asked.machine.topology}, "
        f"{graph.number_of_edges()} directed links"
    )
    print_files([drawn])


def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A preset; without it, all are listed.")] = None,
) -> None:
    """List the hardware presets, or show one: every value with its kind and source."""
    from simcore import hardware

    if name is None:
        for each in hardware.names():
            print(f"{each:12} {hardware.Sheet.read(hardware.find(each, Path())).spec().description}")
        return
    sheet = hardware.Sheet.read(hardware.find(name, Path()))
    spec = sheet.spec()
    print(f"{spec.name}: {spec.description}")
    for key, origin in sheet.origins.items():
        value: Any = sheet.values.value
        for part in key.split("."):
            value = value[part]
        print(f"{key:26} {value!s:15} {origin.kind:9} {origin.source}" + (f"; {origin.note}" if origin.note else ""))
