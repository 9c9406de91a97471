"""Commands on collectives: explain, bench."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simcore.cli._console import Overrides, print_files, say
from simcore.errors import InputError, writing

if TYPE_CHECKING:
    from simcore.scenario import Machine

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Operation = Annotated[
    str, typer.Argument(metavar="OPERATION", help="all_reduce, all_gather, broadcast, ...: see docs/collectives.md.")
]
Algorithm = Annotated[str, typer.Option("--algorithm", help="ring, tree, direct, ...; default: the first there is.")]
Ranks = Annotated[int | None, typer.Option("--ranks", help="How many ranks take part.")]
Root = Annotated[int, typer.Option("--root", help="Root of a broadcast or reduce.")]
Chunks = Annotated[int, typer.Option("--chunks", help="Pieces of the payload that follow each other.")]
Channels = Annotated[int, typer.Option("--channels", help="Pieces that take rings or trees of their own.")]
Window = Annotated[int, typer.Option("--window", help="Messages that a connection has under way.")]
Nodes = Annotated[int | None, typer.Option("--nodes", help="Nodes of equal size, for forms in levels and for rings.")]
Inner = Annotated[str, typer.Option("--inner", help="Algorithm within a node.")]
Outer = Annotated[str, typer.Option("--outer", help="Algorithm between nodes.")]


@app.command()
def explain(
    operation: Operation, algorithm: Algorithm = "", ranks: Ranks = 8,
    size: Annotated[str, typer.Option("--size", help="The whole array, as nccl-tests counts it.")] = "64 MiB",
    root: Root = 0, chunks: Chunks = 1, channels: Channels = 1, window: Window = 1, nodes: Nodes = 1,
    inner: Inner = "ring", outer: Outer = "ring",
    everything: Annotated[bool, typer.Option("--all", help="List every message, however many.")] = False,
) -> None:  # fmt: skip
    """Print the steps of a collective: who sends what to whom."""
    from simcore import collectives
    from simcore.collectives import explain as text
    from simcore.collectives import formulas

    levels: dict[str, Any] = {"nodes": nodes or 1, "inner": inner, "outer": outer}
    collective = collectives.build(
        operation, 8 if ranks is None else ranks, _size("--size", size), algorithm,
        root=root, chunks=chunks, channels=channels, window=window, **levels,
    )  # fmt: skip
    formula = None
    if channels == window == 1:
        formula = formulas.alpha_beta(
            operation, collective.algorithm, collective.ranks, collective.size, chunks=chunks, **levels
        )
    for line in text.lines(collective, formula, len(collective) if everything else text.MOST_LINES):
        print(line)


@app.command()
def bench(
    operation: Operation,
    machine: Annotated[str, typer.Option("--machine", metavar="MACHINE", help="A preset, or a scenario.")],
    algorithm: Algorithm = "", ranks: Ranks = None,
    least: Annotated[str, typer.Option("--from", metavar="SIZE", help="Smallest size.")] = "1 KiB",
    most: Annotated[str, typer.Option("--to", metavar="SIZE", help="Largest size.")] = "1 GiB",
    factor: Annotated[int, typer.Option("--factor", min=2, help="From one size to the next.")] = 2,
    policy: Annotated[
        Literal["ideal", "fair", "fifo"] | None,
        typer.Option("--policy", help="How links share: as the scenario says; a preset's fair."),
    ] = None,
    overrides: Overrides = [],  # noqa: B006 typer copies it
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the table there too.")] = None,
    root: Root = 0, chunks: Chunks = 1, channels: Channels = 1, window: Window = 1, nodes: Nodes = None,
    inner: Inner = "ring", outer: Outer = "ring",
) -> None:  # fmt: skip
    """Simulate a collective at many sizes and print the table of nccl-tests: time, algbw, busbw."""
    from simcore import collectives, scenario
    from simcore.collectives.library import Library, adds_in_switches, reducers
    from simcore.collectives.timing import duration
    from simcore.fabric import compiled
    from simcore.hardware import Queues

    if csv is not None:
        _check_file(csv)
    asked = scenario.read_machine(machine, [*overrides, *([f"machine.sharing={policy}"] if policy else [])])
    topology = asked.build_topology()
    count = topology.gpus if ranks is None else ranks
    if count > topology.gpus:
        raise InputError(f"--ranks: {count} ranks need as many GPUs; {asked.name} has {topology.gpus}")
    sizes = _sizes(_size("--from", least), _size("--to", most), factor)
    levels: dict[str, Any] = {"nodes": nodes or _nodes(asked, count), "inner": inner, "outer": outer}
    lanes: dict[str, Any] = {"root": root, "chunks": chunks, "channels": channels, "window": window}
    if adds_in_switches(algorithm, inner):
        lanes["reducers"] = reducers(range(count), levels["nodes"], topology.reducer_of, asked.name)
    if not compiled(asked.sharing, asked.queues or Queues()):
        say(f"compiling the loops for {asked.sharing} links, once after an installation ...")
    library, rows = Library(asked.collective, topology, range(count)), []
    for size in sizes:
        collective = collectives.build(operation, count, size, algorithm, **levels, **lanes)
        if size == sizes[0]:
            print(f"{collective.algorithm} {operation}, {count} ranks on {asked.name}, {asked.sharing} links")
            print(
                f"{'size':>13} {'time':>12} {'algbw':>9} {'busbw':>9}\n{'(B)':>13} {'(us)':>12}" + f"{'(GB/s)':>10}" * 2
            )
        whole = library.around(collective.schedule, range(count))
        time = duration(whole, topology, asked.sharing, range(count), asked.queues)
        rows.append((size, *_rates(collective, time)))
        print(f"{size:13} {rows[-1][1] / 10**6:12.2f} {rows[-1][2]:9.2f} {rows[-1][3]:9.2f}")
    if csv is not None:
        text = "".join(f"{size},{time},{algbw:.6g},{busbw:.6g}\n" for size, time, algbw, busbw in rows)
        with writing(csv):
            csv.write_text(f"size_bytes,time_ps,algbw_gb_per_s,busbw_gb_per_s\n{text}", encoding="utf-8")
        print_files([csv])


def _check_file(csv: Path) -> None:
    """Refuse, before anything is simulated, a file that cannot be written at the end."""
    if not csv.parent.is_dir():
        raise InputError(f"--csv: {csv}: there is no folder {csv.parent}")
    if csv.is_dir():
        raise InputError(f"--csv: {csv}: is a folder; name a file")
    if not os.access(csv if csv.exists() else csv.parent, os.W_OK):
        raise InputError(f"--csv: {csv}: may not be written")


def _rates(collective: Any, time: int) -> tuple[int, float, float]:
    from simcore.collectives.formulas import busbw_factor

    algbw = collective.size * 1000 / time if time else 0.0
    return time, algbw, algbw * float(busbw_factor(collective.operation, collective.ranks))


def _nodes(machine: "Machine", ranks: int) -> int:
    """Return on how many nodes the first ``ranks`` GPUs are, 1 where they do not fill them."""
    return ranks // machine.gpus if ranks % machine.gpus == 0 else 1


def _size(option: str, text: str) -> int:
    from simcore.units import SIZE, parse

    try:
        return parse(text, SIZE, positive=True)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None


def _sizes(least: int, most: int, factor: int) -> list[int]:
    if least > most:
        raise InputError(f"--from: {least} B is more than --to, {most} B")
    sizes = [least]
    while sizes[-1] * factor <= most:
        sizes.append(sizes[-1] * factor)
    return sizes
