"""Commands on collectives: explain, bench."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from simcore.cli._console import Overrides, print_files, say
from simcore.errors import InputError, writing

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
    from simcore import scenario, timing
    from simcore.fabric import compiled
    from simcore.hardware import Queues

    if csv is not None:
        _check_file(csv)
    asked = scenario.read_machine(machine, [*overrides, *([f"machine.sharing={policy}"] if policy else [])])
    if ranks is not None and ranks > asked.gpu_count:
        raise InputError(f"--ranks: {ranks} ranks need as many GPUs; {asked.name} has {asked.gpu_count}")
    sizes = _sizes(_size("--from", least), _size("--to", most), factor)
    if not compiled(asked.sharing, asked.queues or Queues()):
        say(f"compiling the loops for {asked.sharing} links, once after an installation ...")
    rows: list[timing.Timed] = []
    for row in timing.times(
        asked, operation, sizes, algorithm, ranks=ranks, nodes=nodes, inner=inner, outer=outer,
        root=root, chunks=chunks, channels=channels, window=window,
    ):  # fmt: skip
        if not rows:
            print(f"{row.algorithm} {operation}, {row.ranks} ranks on {asked.name}, {asked.sharing} links")
            print(
                f"{'size':>13} {'time':>12} {'algbw':>9} {'busbw':>9}\n{'(B)':>13} {'(us)':>12}" + f"{'(GB/s)':>10}" * 2
            )
        rows.append(row)
        print(f"{row.size_bytes:13} {row.time_ps / 10**6:12.2f} {row.algbw_gb_per_s:9.2f} {row.busbw_gb_per_s:9.2f}")
    if csv is not None:
        text = "".join(
            f"{row.size_bytes},{row.time_ps},{row.algbw_gb_per_s:.6g},{row.busbw_gb_per_s:.6g}\n" for row in rows
        )
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
