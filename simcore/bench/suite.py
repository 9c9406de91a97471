"""From what was asked on the command line to a measurement: sizes, defaults, and which option belongs to which
workload."""

import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simcore.bench import cases, machines, measurements, messages, twins
from simcore.bench.cases import Case
from simcore.bench.measurements import Policy
from simcore.bench.messages import Messages
from simcore.bench.twins import Twin
from simcore.errors import InputError
from simcore.hardware import Wait
from simcore.topology import Topology

LARGEST_TWIN = 100_000
"""Messages that plain SimPy is given at most: some seconds."""
STAMPED = 10
"""Stamped writes for each message that is injected into them."""


@dataclass(frozen=True)
class Asked:
    """What the command line says; None where it says nothing."""

    workload: str
    gpus: int | None = None
    nodes: int | None = None
    messages: int | None = None
    policy: str | None = None
    load: float | None = None
    csv: Path | None = None
    twin: bool = False
    wait: str | None = None


_TAKES = {
    "W1": ("gpus", "twin"),
    "W2": ("gpus", "twin"),
    "W3": ("nodes", "messages", "load", "csv", "twin"),
    "W4": ("messages", "load", "csv", "twin"),
    "closed-loop": ("gpus", "nodes", "messages", "twin"),
    "injections": ("messages",),
    "eidolons": ("gpus", "messages", "wait", "twin"),
}
"""The options that a workload has, besides --policy and --json."""
_AT_LEAST = {"gpus": 2, "nodes": 3, "messages": messages.W4_PEERS}
"""Three nodes are the fewest that have 16 sources for a burst; seven writes give every peer of W4 one."""
_GPUS, _NODES, _LOOP_NODES = 256, 32, 8
_MESSAGES = {"W3": 10_000, "W4": 1_000_000, "closed-loop": 100_000, "injections": 100_000, "eidolons": 1_000_000}


def check(asked: Asked) -> None:
    """Raise ``InputError`` for an option that the workload does not have, or a value it cannot use."""
    takes = _TAKES[asked.workload]
    for name in ("gpus", "nodes", "messages", "load", "csv", "twin", "wait"):
        if getattr(asked, name) not in (None, False) and name not in takes:
            raise InputError(
                f"--{name}: {asked.workload} has no such option; it takes {', '.join(f'--{each}' for each in takes)}"
            )
    if asked.policy not in (None, "fair", "fifo"):
        raise InputError(f"--policy: unknown policy {asked.policy!r}; allowed: fair, fifo")
    for name, least in _AT_LEAST.items():
        given = getattr(asked, name)
        if given is not None and given < least:
            raise InputError(f"--{name}: {given} is too few; {asked.workload} needs {least} or more")
    if asked.wait not in (None, "spin", "monitor"):
        raise InputError(f"--wait: unknown policy {asked.wait!r}; allowed: spin, monitor")
    if asked.load is not None and not (math.isfinite(asked.load) and asked.load > 0):
        raise InputError(f"--load: {asked.load} is no offered load; expected a number above 0, e.g. 0.7")
    if asked.csv is not None and (asked.messages is not None or asked.load is not None):
        raise InputError("--csv: the list says which messages there are; leave --messages and --load out")
    if asked.gpus is not None and asked.nodes is not None:
        raise InputError("--gpus: a star of GPUs; --nodes: nodes below leaves and spines; give one of the two")
    if asked.workload == "eidolons" and (asked.messages or _MESSAGES["eidolons"]) < 2 * (asked.gpus or _GPUS):
        raise InputError(f"--messages: too few for {asked.gpus or _GPUS} GPUs, each of which writes data and a flag")
    if asked.workload == "closed-loop":
        ranks = asked.gpus or messages.GPUS_PER_NODE * (asked.nodes or _LOOP_NODES)
        if (asked.messages or _MESSAGES["closed-loop"]) < ranks:
            raise InputError(f"--messages: too few for {ranks} GPUs, each of which sends one or more")


def policy_of(asked: Asked) -> Policy:
    """Return the policy that is asked for, or else the one that fits the workload."""
    fifo = asked.policy == "fifo" or (asked.policy is None and asked.workload in ("W4", "injections", "eidolons"))
    return "fifo" if fifo else "fair"


def run(asked: Asked) -> dict[str, Any]:
    """Return what was asked for, measured, by key."""
    policy = policy_of(asked)
    count = asked.messages or _MESSAGES.get(asked.workload, 0)
    if asked.workload == "injections":
        return asdict(measurements.measure_injections(count, STAMPED * count, policy))
    small, build, twin = {
        "W1": lambda: _w1(asked.gpus or _GPUS),
        "W2": lambda: _w2(asked.gpus or _GPUS),
        "W3": lambda: _w3(asked, count),
        "W4": lambda: _w4(asked, count),
        "closed-loop": lambda: _closed_loop(asked, count),
        "eidolons": lambda: _eidolons(asked, count),
    }[asked.workload]()
    found = measurements.measure(small, build, policy)
    if not asked.twin:
        return asdict(found)
    return asdict(found) | asdict(measurements.measure_twin(twin(), found))


_Builders = tuple[Callable[[], Case], Callable[[], Case], Callable[[], Twin]]
"""The small case that loads the compiled loops, the case itself, and its twin."""


def _w1(gpus: int) -> _Builders:
    few = min(gpus, math.isqrt(LARGEST_TWIN))
    return (
        lambda: cases.w1(4),
        lambda: cases.w1(gpus),
        lambda: twins.listed(machines.star(few), messages.all_to_all(few)),
    )


def _w2(gpus: int) -> _Builders:
    few = min(gpus, math.isqrt(LARGEST_TWIN // 2))
    return (
        lambda: cases.w2(4),
        lambda: cases.w2(gpus),
        lambda: twins.ring_all_reduce(machines.star(few), cases.W2_SIZE),
    )


def _w3(asked: Asked, count: int) -> _Builders:
    def listed() -> tuple[int, Messages]:
        if asked.csv:
            return messages.read_w3(asked.csv, asked.nodes)
        nodes = asked.nodes or _NODES
        return nodes, messages.permutation_and_incast(nodes, count, asked.load or messages.W3_LOAD)

    def twin() -> Twin:
        nodes, all_of_them = listed()
        return twins.listed(machines.leaf_spine(nodes), all_of_them.first(LARGEST_TWIN))

    return lambda: cases.w3(3, messages.permutation_and_incast(3, 100)), lambda: cases.w3(*listed()), twin


def _w4(asked: Asked, count: int) -> _Builders:
    def listed(most: int) -> Messages:
        if asked.csv:
            return messages.read_w4(asked.csv).first(most)
        return messages.stamped_writes(min(count, most), asked.load or messages.W4_LOAD)

    return (
        lambda: cases.w4(messages.stamped_writes(70)),
        lambda: cases.w4(listed(sys.maxsize)),
        lambda: twins.listed(machines.star(messages.GPUS_PER_NODE), listed(LARGEST_TWIN)),
    )


def _closed_loop(asked: Asked, count: int) -> _Builders:
    def machine() -> Topology:
        return machines.star(asked.gpus) if asked.gpus else machines.leaf_spine(asked.nodes or _LOOP_NODES)

    return (
        lambda: cases.closed_loop(machines.star(4), 100),
        lambda: cases.closed_loop(machine(), count),
        lambda: twins.closed_loop(machine(), min(count, LARGEST_TWIN)),
    )


def _eidolons(asked: Asked, count: int) -> _Builders:
    gpus = asked.gpus or _GPUS
    policy: Wait = "monitor" if asked.wait == "monitor" else "spin"
    few = min(count, max(LARGEST_TWIN // 5, 2 * gpus))
    return (
        lambda: cases.eidolons(4, 60, policy),
        lambda: cases.eidolons(gpus, count, policy),
        lambda: twins.eidolons(gpus, few, policy),
    )
