"""Commands on machines: topo, presets."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from simcore.cli._console import Overrides, Width, print_files

MachineName = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A scenario as for `run`, a preset, or a hardware sheet.")
]


def topo(
    name: MachineName,
    overrides: Overrides = [],  # noqa: B006 typer copies it
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The picture to write.")] = Path(
        "topology.png"
    ),
    width: Width = "screen",
) -> None:
    """Draw the machine of a scenario, or a preset."""
    from simcore import plot, scenario

    machine = scenario.read_machine(name, overrides)
    graph = machine.build_topology().graph()
    joined = f", {machine.nodes} nodes on a {machine.network.topology}" if machine.network else ""
    drawn = plot.save(plot.topology(graph, title=f"{machine.name}, {machine.topology}{joined}", width=width), out)
    print(
        f"{machine.name}: {machine.gpu_count} GPUs, {machine.topology}{joined}, "
        f"{graph.number_of_edges()} directed links"
    )
    print_files([drawn])


def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A preset; without it, all are listed.")] = None,
) -> None:
    """List the hardware presets, or show one: every value with its kind and source."""
    from simcore import hardware

    if name is None:
        width = max(map(len, hardware.names()))
        for each in hardware.names():
            print(f"{each:{width}} {hardware.Sheet.read(hardware.find(each, Path())).spec().description}")
        return
    sheet = hardware.Sheet.read(hardware.find(name, Path()))
    spec = sheet.spec()
    print(f"{spec.name}: {spec.description}")
    for key, origin in sheet.origins.items():
        value: Any = sheet.values.value
        for part in key.split("."):
            value = value[part]
        shown = json.dumps(value).replace('"', "") if isinstance(value, dict | list | bool) else value
        print(f"{key:26} {shown!s:15} {origin.kind:9} {origin.source}" + (f"; {origin.note}" if origin.note else ""))
