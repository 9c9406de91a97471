"""The slow obvious twins of the data plane: one SimPy event for everything that happens, exact integers and fractions.

They are written from the specification and share no code with what they judge. What every twin needs stands here.
"""

from collections.abc import Callable
from typing import Any

import simpy

from simcore.topology import Server

LAST = 9
"""Priority behind everything else of an instant: whoever arrives at it is in line before anybody is served."""

Key = tuple[int, ...]
"""Source rank and source sequence of a message, and behind them the number of a packet: the order among ties."""


def at_last(env: simpy.Environment, call: Callable[[], Any]) -> None:
    """Call ``call`` at the present instant, behind everything that happens at it without delay."""
    event = env.event()
    event._ok, event._value = True, None
    event.callbacks = [lambda _: call()]
    env.schedule(event, LAST)


def ratio_up(a: int, b: int) -> int:
    """Return ceil(a / b) of integers of any size."""
    return -(-a // b)


def wire(server: Server, size: int) -> int:
    """Return the bytes that ``server`` is charged with for ``size`` bytes: interpolated between the measured points,
    in proportion to the nearest one outside them, rounded up."""
    points = [(0, 0), *server.wire] if server.wire else [(0, 0), (1, 1)]
    if len(points) == 2 or size <= points[1][0]:
        return ratio_up(size * points[1][1], points[1][0])
    if size >= points[-1][0]:
        return ratio_up(size * points[-1][1], points[-1][0])
    above = next(i for i, (bytes_, _) in enumerate(points) if size <= bytes_)
    (s0, w0), (s1, w1) = points[above - 1], points[above]
    return w0 + ratio_up((size - s0) * (w1 - w0), s1 - s0)


def service(server: Server, size: int) -> int:
    """Return how long ``server`` is occupied by a message on its own, ps."""
    return server.overhead + ratio_up(wire(server, size) * 10**12, server.bandwidth)
