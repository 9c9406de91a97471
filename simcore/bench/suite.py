"""From what was asked on the command line to a measurement: sizes, defaults, and which option belongs to which
workload."""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from simcore.bench import cases, machines, measurements, messages, twins
from simcore.bench.cases import Case
from simcore.bench.measurements import Policy
from simcore.bench.messages import Messages
from simcore.bench.twins import Twin
from simcore.errors import InputError

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


@dataclass(frozen=True)
class _Sizes:
    """The options of one workload: their defaults; whatever is None here cannot be given."""

    gpus: int | None = None
    nodes: int | None = None
    messages: int | None = None
    load: float | None = None
    csv: bool = False
    twin: bool = True
    policy: Policy = "fair"


_SIZES = {
    "W1": _Sizes(gpus=256),
    "W2": _Sizes(gpus=256),
    "W3": _Sizes(nodes=32, messages=10_000, load=messages.W3_LOAD, csv=True),
    "W4": _Sizes(messages=1_000_000, load=messages.W4_LOAD, csv=True, policy="fifo"),
    "closed-loop": _Sizes(gpus=8, messages=100_000),
    "injections": _Sizes(messages=100_000, twin=False, policy="fifo"),
}
_AT_LEAST = {"gpus": 2, "nodes": 3, "messages": messages.W4_PEERS}
"""Three nodes are the fewest that have 16 sources for a burst; seven writes give every peer of W4 one."""


def check(asked: Asked) -> None:
    """Raise ``InputError`` for an option that the workload does not have, or a value it cannot use."""
    sizes = _SIZES[asked.workload]
    for name in ("gpus", "nodes", "messages", "load", "csv", "twin"):
        if getattr(asked, name) and not getattr(sizes, name):
            takes = [f"--{each}" for each in ("gpus", "nodes", "messages", "load", "csv") if getattr(sizes, each)]
            raise InputError(f"--{name}: {asked.workload} has no such option; it takes {', '.join(takes)}")
    if asked.policy not in (None, "fair", "fifo"):
        raise InputError(f"--policy: unknown policy {asked.policy!r}; allowed: fair, fifo")
    for name, least in _AT_LEAST.items():
        given = getattr(asked, name)
        if given is not None and given < least:
            raise InputError(f"--{name}: {given} is too few; {asked.workload} needs {least} or more")
    if asked.load is not None:
        messages.require_share(asked.load)
    if asked.csv is not None and (asked.messages is not None or asked.load is not None):
        raise InputError("--csv: the list says which messages there are; leave --messages and --load out")


def run(asked: Asked) -> dict[str, Any]:
    """Return what was asked for, measured, by key."""
    sizes = _SIZES[asked.workload]
    policy: Policy = sizes.policy if asked.policy is None else "fifo" if asked.policy == "fifo" else "fair"
    gpus, count = asked.gpus or sizes.gpus or 0, asked.messages or sizes.messages or 0
    if asked.workload == "injections":
        return asdict(measurements.measure_injections(count, STAMPED * count, policy))
    small, build, twin = {
        "W1": lambda: _w1(gpus),
        "W2": lambda: _w2(gpus),
        "W3": lambda: _w3(asked, count),
        "W4": lambda: _w4(asked, count),
        "closed-loop": lambda: _closed_loop(gpus, count),
    }[asked.workload]()
    found = measurements.measure(small, build, policy)
    if not asked.twin:
        return asdict(found)
    return asdict(found) | asdict(measurements.measure_twin(twin(), found))


_Builders = tuple[Callable[[], Case], Callable[[], Case], Callable[[], Twin]]
"""The small case that loads the compiled loops, the case itself, and its twin."""


def _w1(gpus: int) -> _Builders:
    few = min(gpus, isqrt(LARGEST_TWIN))
    return (
        lambda: cases.w1(4),
        lambda: cases.w1(gpus),
        lambda: twins.listed(machines.star(few), messages.all_to_all(few)),
    )


def _w2(gpus: int) -> _Builders:
    few = min(gpus, isqrt(LARGEST_TWIN // 2))
    return (
        lambda: cases.w2(4),
        lambda: cases.w2(gpus),
        lambda: twins.ring_all_reduce(machines.star(few), cases.W2_SIZE),
    )


def _w3(asked: Asked, count: int) -> _Builders:
    def listed() -> tuple[int, Messages]:
        if asked.csv:
            return messages.read_w3(asked.csv, asked.nodes)
        nodes = asked.nodes or _SIZES["W3"].nodes or 0
        return nodes, messages.permutation_and_incast(nodes, count, asked.load or messages.W3_LOAD)

    def twin() -> Twin:
        nodes, all_of_them = listed()
        return twins.listed(machines.LeafSpine(nodes), all_of_them.first(LARGEST_TWIN))

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


def _closed_loop(gpus: int, count: int) -> _Builders:
    return (
        lambda: cases.closed_loop(4, 100),
        lambda: cases.closed_loop(gpus, count),
        lambda: twins.closed_loop(machines.star(gpus), min(count, LARGEST_TWIN)),
    )
