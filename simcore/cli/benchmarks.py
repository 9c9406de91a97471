"""The command bench: what a workload costs on this machine."""

from pathlib import Path
from typing import Annotated, Any

import typer

from simcore.cli._console import say
from simcore.errors import InputError

WORKLOADS = {
    "W1": "all-to-all",
    "W2": "ring all-reduce",
    "W3": "permutation and incast over leaf and spine",
    "W4": "stamped writes and a poller",
    "closed-loop": "processes that wait for each message",
    "injections": "messages sent one by one into stamped writes",
    "eidolons": "stamped writes and flags, and a GPU that waits for them round by round",
}


def bench(
    workload: Annotated[
        str, typer.Argument(metavar="|".join(WORKLOADS), help="; ".join(f"{k}: {v}" for k, v in WORKLOADS.items()))
    ],
    gpus: Annotated[
        int | None, typer.Option("--gpus", metavar="N", help="GPUs (W1, W2, closed-loop, eidolons).")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option("--nodes", metavar="N", help="Nodes of eight GPUs (W3, closed-loop).")
    ] = None,
    messages: Annotated[
        int | None,
        typer.Option("--messages", metavar="M", help="Messages (W3, W4, closed-loop, injections, eidolons)."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", metavar="fair|fifo", help="How links are shared; default: fair; W4, injections, eidolons fifo."
        ),
    ] = None,
    load: Annotated[
        float | None, typer.Option("--load", metavar="X", help="Offered load (W3: 0.7 of all NICs; W4: 0.9).")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Replay this list of messages (W3, W4).")
    ] = None,
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="spin|monitor", help="How flags are waited for (eidolons).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
    twin: Annotated[bool, typer.Option("--twin", help="Run plain SimPy too, and print the ratio.")] = False,
) -> None:
    """Measure a standard workload: CPU time of the simulation proper, memory, and the results."""
    name = {each.lower(): each for each in WORKLOADS}.get(workload.lower())
    if name is None:
        raise InputError(f"unknown workload {workload!r}; allowed: {', '.join(WORKLOADS)}")

    from simcore.bench import suite
    from simcore.fabric import compiled

    asked = suite.Asked(name, gpus, nodes, messages, policy, load, csv, twin, wait)
    suite.check(asked)
    if not compiled(suite.policy_of(asked)):
        say(f"compiling the loops for {suite.policy_of(asked)} links, once after an installation ...")
    _report(suite.run(asked), json)


def _report(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(found))
        return
    for key, value in found.items():
        print(f"{key:24} {value:.6g}" if isinstance(value, float) else f"{key:24} {value}")
