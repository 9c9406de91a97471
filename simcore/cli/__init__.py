"""The commands: each reads, calls, prints; what is heavy is imported by the command that needs it."""

import os
import sys
from typing import NoReturn

import typer

from simcore import errors
from simcore.cli import benchmarks, claims, collectives, explaining, fits, machines, models, runs, studies, sweeps
from simcore.cli import traces as tracing
from simcore.cli._console import INTERRUPTED, say

BROKEN_PIPE = 1
"""Exit code where the reader of our output has gone, as typer has it."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
for command in (
    runs.run, sweeps.sweep, studies.sensitivity, studies.optimize, runs.plot, runs.report, runs.compare, runs.check,
    models.models, models.verify, models.new_model, machines.presets, fits.fit, fits.calibrate, runs.schema,
    explaining.explain,
    benchmarks.bench, claims.reproduce, claims.figure,
):  # fmt: skip
    app.command()(command)
app.add_typer(collectives.app, name="collective", help="Explain collectives step by step; time them on a machine.")
topo = typer.Typer(cls=fits.DrawUnlessTold, no_args_is_help=True, rich_markup_mode=None)
topo.command("draw")(machines.topo)
topo.command("import")(fits.topo_import)
app.add_typer(topo, name="topo", help="Draw the machine of a scenario, or import one that NCCL or nvidia-smi saw.")
app.add_typer(tracing.app, name="trace", help="Look into profiler traces and turn them into timing profiles.")


def main() -> NoReturn:
    """Run the command line and exit; every error a user can cause is one line on stderr."""
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
        if status == INTERRUPTED:
            # Typer's word for a KeyboardInterrupt that no command had anything to say about.
            say("interrupted")
    except errors.Interrupted as interrupted:
        say(str(interrupted))
        status = interrupted.exit_code
    except errors.SimcoreError as error:
        say(f"error: {error}")
        status = error.exit_code
    except typer.TyperException as error:
        # The help that a command without arguments prints comes as an error too, of several lines.
        helped = type(error).__name__ == "NoArgsIsHelpError"
        say(error.format_message() if helped else f"error: {' '.join(error.format_message().split())}")
        status = error.exit_code
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        _drop_output()
        status = BROKEN_PIPE
    except OSError as error:
        say(f"error: {f'{error.filename}: ' if error.filename else ''}{errors.reason(error)}")
        _drop_output()
        status = errors.InputError.exit_code
    except MemoryError:
        say("error: this needs more memory than there is")
        status = errors.InputError.exit_code
    sys.exit(status if isinstance(status, int) else 0)


def process() -> NoReturn:
    """Run the command line as a process of its own, and end that.

    Threads that pyarrow has just started may still be on their way when the interpreter takes it down, which aborts the
    process once in some hundred short commands: so it ends without that, everything being written and closed.
    """
    try:
        main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        status = BROKEN_PIPE
    os._exit(status)


def _drop_output() -> None:
    """Lead what is still to be printed nowhere, so that Python's own flush at the end does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
