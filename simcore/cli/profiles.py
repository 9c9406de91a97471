"""Commands on timing profiles: trace transform, trace synthesize, trace record."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from simcore.cli._console import print_files

MAIN = {"shift": "by", "scale": "factor", "straggler": "factor", "jitter": "distribution", "wakeup": "after"}
"""The key of each transform that may go without its name."""

Out = Annotated[Path, typer.Option("-o", "--out", metavar="PROFILE", help="The timing profile to write (CSV).")]


class Ordered(TyperCommand):
    """A command that knows in which order its options were given: ``ctx.meta["given"]`` holds their names."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remember the options, then parse them as usual."""
        ctx.meta["given"] = [arg.partition("=")[0] for arg in args if arg.startswith("--")]
        return super().parse_args(ctx, args)


def _option(kind: str, meaning: str, keys: str) -> Any:
    return typer.Option(f"--{kind}", metavar=keys, help=f"{meaning} (rank=N: of one rank).")


Shift = Annotated[list[str], _option("shift", "Everything later", "by=TIME")]
Scale = Annotated[list[str], _option("scale", "Every instant times a ratio", "factor=RATIO")]
Straggler = Annotated[
    list[str],
    _option("straggler", "Computes longer, or is late from an instant on", "rank=N,factor=RATIO|by=TIME,since=TIME"),
]
Jitter = Annotated[
    list[str],
    _option("jitter", "Writes late by chance", "uniform|normal|exponential,mean=TIME,deviation=TIME,per=...,seed=N"),
]
WakeUp = Annotated[list[str], _option("wakeup", "All writes so long after their operation's begin", "after=TIME")]
Lateness = Annotated[str, typer.Option(metavar="uniform|normal|exponential,mean=TIME,deviation=TIME")]


def trace_transform(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="PROFILE", help="A timing profile.")],
    out: Out,
    shift: Shift = [], scale: Scale = [], straggler: Straggler = [], jitter: Jitter = [], wakeup: WakeUp = [],  # noqa: B006 typer wants lists
) -> None:  # fmt: skip
    """Change a timing profile: the options are applied one after another, in the order in which they are given."""
    from simcore.errors import InputError
    from simcore.formats import profile, transforms

    texts = {"shift": shift, "scale": scale, "straggler": straggler, "jitter": jitter, "wakeup": wakeup}
    left = {kind: iter(given) for kind, given in texts.items()}
    order = [name for name in (given[2:] for given in context.meta["given"]) if name in left]
    changes = [_built(transforms.KINDS[kind], f"--{kind}", next(left[kind]), MAIN[kind]) for kind in order]
    if not changes:
        raise InputError("nothing to change; give e.g. --shift rank=2,by=10us")
    made = transforms.transform(profile.read_profile(file), changes)
    profile.write_profile(made, out)
    for key, value in made.header[-len(changes) :]:
        print(f"{key}: {value}")
    print_files([out])


def trace_synthesize(
    out: Out,
    world: Annotated[int, typer.Option(help="Ranks.")] = 4,
    groups: Annotated[int, typer.Option(help="Work-groups of a rank.")] = 1,
    operations: Annotated[int, typer.Option(help="All-reduces, one after another.")] = 1,
    size: Annotated[str, typer.Option(metavar="SIZE", help="Bytes of the array that is reduced.")] = "1 MiB",
    delay: Annotated[str, typer.Option(metavar="TIME", help="From the begin of an operation to its writes.")] = "0 ps",
    late: Lateness = "uniform",
    group_late: Lateness = "uniform",
    seed: Annotated[int, typer.Option(help="Decides everything that is drawn.")] = 0,
) -> None:
    """Make a timing profile of fused all-reduces: ranks, and work-groups of a rank, are late by chance (--late,
    --group-late)."""
    from simcore import source
    from simcore.formats import profile
    from simcore.formats.synthesis import Synthesis

    stated: dict[str, Any] = {
        "world": world, "groups": groups, "operations": operations, "size": size, "delay": delay, "seed": seed,
        "rank_late": _parts("--late", late, "distribution"),
        "group_late": _parts("--group-late", group_late, "distribution"),
    }  # fmt: skip
    made = source.Document(stated, "trace synthesize").build(Synthesis).profile()
    profile.write_profile(made, out)
    for key, value in made.header:
        print(f"{key}: {value}")
    print_files([out])


def trace_record(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Out,
) -> None:
    """Turn the writes of a run into a timing profile."""
    from simcore.errors import InputError
    from simcore.formats import profile, recording
    from simcore.report import load_run

    result = load_run(run)
    jobs = result.scenario.workloads
    if len(jobs) > 1:
        raise InputError(f"{run}: a run of {len(jobs)} workloads; a timing profile holds the writes of one")
    made = recording.recorded(result.tables["transfers"], jobs[0].ranks or 0, jobs[0].start, f"run {run.name}")
    profile.write_profile(made, out)
    print("\n".join(profile.inspect(made)))
    print_files([out])


def _built(record: Any, option: str, text: str, main: str) -> Any:
    """Return the record that the text of an option spells, as in ``rank=2,by=10us``."""
    from simcore import source

    return source.Document(_parts(option, text, main), f"{option} {text}").build(record)


def _parts(option: str, text: str, main: str) -> dict[str, Any]:
    """Return keys and values of ``text``; what has no key is the value of ``main``."""
    from simcore import source
    from simcore.errors import InputError

    stated: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.rpartition("=")
        key = key.strip() if equals else main
        if key in stated:
            raise InputError(f"{option} {text}: {key} is given twice")
        stated[key] = source.fragment(value, f"{option} {text}").value
    return stated
