"""The commands: each reads, calls, prints; what is heavy is imported by the command that needs it."""

import sys
from typing import NoReturn

import typer

from simcore import errors
from simcore.cli import benchmarks, collectives, fits, machines, runs, traces
from simcore.cli._console import INTERRUPTED, say

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
for command in (
    runs.run, runs.plot, runs.check, runs.models, machines.presets, fits.fit, fits.calibrate, runs.schema,
    benchmarks.bench,
):  # fmt: skip
    app.command()(command)
app.add_typer(collectives.app, name="collective", help="Explain collectives step by step; time them on a machine.")
topo = typer.Typer(cls=fits.DrawUnlessTold, no_args_is_help=True, rich_markup_mode=None)
topo.command("draw")(machines.topo)
topo.command("import")(fits.topo_import)
app.add_typer(topo, name="topo", help="Draw the machine of a scenario, or import one that NCCL or nvidia-smi saw.")
app.add_typer(traces.app, name="trace", help="Look into profiler traces and turn them into timing profiles.")


def main() -> NoReturn:
    """Run the command line and exit; every error a user can cause is one line on stderr."""
    try:
        status = app(standalone_mode=False)
    except errors.SimcoreError as error:
        say(f"error: {error}")
        status = error.exit_code
    except typer.TyperException as error:
        say(f"error: {' '.join(error.format_message().split())}")
        status = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted; nothing was written")
        status = INTERRUPTED
    sys.exit(status if isinstance(status, int) else 0)
