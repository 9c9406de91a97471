"""Commands on traces: trace import, trace inspect, trace export."""

from pathlib import Path
from typing import Annotated

import typer

from simcore.cli import profiles
from simcore.cli._console import print_files

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.command("transform", cls=profiles.Ordered)(profiles.trace_transform)
app.command("synthesize")(profiles.trace_synthesize)
app.command("record")(profiles.trace_record)


@app.command("import")
def trace_import(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES",
            help="Kineto traces (.json, .gz), Nsight Systems exports (.sqlite) or Chakra traces (.et), one a rank.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="PROFILE", help="The timing profile to write (CSV).")],
    algorithm: Annotated[
        str, typer.Option("--as", metavar="direct|ring", help="The algorithm whose writes a collective becomes.")
    ] = "direct",
    align: Annotated[
        str | None, typer.Option(metavar="none|base|match", help="How the clocks of ranks are aligned.")
    ] = None,
    clone_rank: Annotated[
        int | None,
        typer.Option("--clone-rank", metavar="RANK", help="Give ranks without a trace the writes of this one."),
    ] = None,
) -> None:
    """Turn the collectives of profiler traces into an annotated timing profile."""
    from simcore.formats import profile, recorded, writes

    made = writes.to_profile(recorded.read_traces(files), algorithm=algorithm, align=align, clone_rank=clone_rank)
    profile.write_profile(made, out)
    for key, value in made.header:
        print(f"{key}: {value}")
    print_files([out])


@app.command("inspect")
def trace_inspect(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A Kineto trace, an Nsight Systems export, a Chakra execution trace (.et) or a timing profile (.csv).",
        ),
    ],
) -> None:
    """Say what a trace or a timing profile holds, and what it lacks."""
    from simcore.formats import chakra, kineto, profile, recorded

    if file.suffix == ".csv":
        lines = profile.inspect(profile.read_profile(file))
    elif file.suffix == ".et":
        lines = chakra.inspect(chakra.read_trace(file))
    else:
        lines = kineto.inspect(recorded.read_trace(file))
    print("\n".join(lines))


@app.command("export")
def trace_export(
    folder: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run folder.")],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="TRACE", help="The file: .pftrace or .json, and .gz after it if wanted."),
    ],
) -> None:
    """Write a run as a trace for the Perfetto viewer (ui.perfetto.dev)."""
    from simcore import report
    from simcore.formats import perfetto
    from simcore.units import SIZE, short

    result = report.load_run(folder)
    made = perfetto.export(result.tables, report.rank_names(result), out)
    print(", ".join(f"{count} {what}" for what, count in made.counts.items()) + f"; {short(made.size, SIZE)}")
    print_files([out])
