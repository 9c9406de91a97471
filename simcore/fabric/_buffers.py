"""`fifo` with finite buffers: a link begins to send only when the queue behind it has room, so queues push back.

Nothing can be computed ahead here: a packet starts when its link is free and there is room for it, and both are known
at that instant only. Within one instant ends come first, then arrivals, then starts; on the agenda they are told
apart by what is added to their order.
"""

import numpy as np
from numba import njit

from simcore.fabric._kernels import (
    ACCEPTED,
    AGENDA,
    ALONE_HEAD,
    ALONE_TAIL,
    ARRIVAL,
    AVAILABLE,
    BEGAN,
    BUFFER,
    CUT_THROUGH,
    DEN,
    DONE,
    DRAIN,
    ENOUGH,
    FREE,
    HOP,
    HOP_LATENCY,
    HOP_LINK,
    HOP_SERVER,
    LATEST,
    LEFT,
    MESSAGE,
    MTU,
    NEXT,
    NUM,
    ORDER,
    OVERFLOW,
    OVERHEAD,
    PACKET,
    PACKETS,
    PACKETS_MOST,
    PREVIOUS,
    QUEUE,
    RECORDING,
    ROOM,
    SEEN,
    SIZE,
    TAIL,
    TOO_LARGE,
    carry,
    charged,
    deliver,
    divide_up,
    drop_first,
    push,
    take_first,
)  # fmt: skip
from simcore.fabric._queues import cut, packets_alone, packets_of, rejoin

# Columns of a gate, the queue of a server: its first and last packet; whether the server sends; bytes for which room is
# taken; those of the packet that is being sent; the first and last server that wait for room here; the next that waits
# where this one does; whether this one waits; whether a start is on the agenda.
G_FIRST, G_LAST, G_SENDING, G_TAKEN, G_HELD, G_WAITER, G_LAST_WAITER, G_NEXT_WAITER, G_WAITS, G_STARTS = range(10)
GATE_COLUMNS = 10

PHASE = 2**62
"""Taken from the order of ends, added to that of starts."""
FORWARDED = -2
"""In PREVIOUS: the message is past its first link."""


@njit(cache=True)
def _begin_service(
    head: np.ndarray, messages: np.ndarray, hops: np.ndarray, servers: np.ndarray, curves: np.ndarray,
    bins: np.ndarray, row: int, now: int,
) -> int:  # fmt: skip
    """Start to send a packet at its link now; return when its last byte leaves, or -1 if that is out of range.

    It continues the busy period if it was there before the link became free, and starts at that very instant.
    """
    hop = messages[row, HOP]
    server, latency = hops[hop, HOP_SERVER], hops[hop, HOP_LATENCY]
    size = messages[row, SIZE]
    num, den, overhead = servers[server, NUM], servers[server, DEN], servers[server, OVERHEAD]
    charge = charged(servers, curves, server, size)
    goes_on = now == servers[server, FREE] and messages[row, ARRIVAL] < now
    start = now + overhead
    began = (servers[server, BEGAN] if goes_on else now) + overhead
    accepted = servers[server, ACCEPTED] + charge if goes_on else charge
    if float(began) + float(accepted) * num / den + float(latency) >= LATEST:
        return -1
    end = began + divide_up(accepted, num, den)
    if head[CUT_THROUGH] and messages[row, TAIL] > end:
        end = began = messages[row, TAIL]
        accepted = 0
    servers[server, BEGAN], servers[server, ACCEPTED], servers[server, FREE] = began, accepted, end
    if head[RECORDING]:
        if size > 0 and hops[hop, HOP_LINK] >= 0:
            carry(head, servers, bins, server, min(start, end), end, True, size)
        alone = messages[row, ALONE_HEAD] + overhead
        last = max(alone + divide_up(charge, num, den), messages[row, ALONE_TAIL])
        messages[row, ALONE_TAIL] = last + latency
        messages[row, ALONE_HEAD] = (alone if head[CUT_THROUGH] else last) + latency
    messages[row, TAIL] = end + latency
    messages[row, ARRIVAL] = (start if head[CUT_THROUGH] else end) + latency
    messages[row, HOP] += 1
    messages[row, LEFT] -= 1
    return end


@njit(cache=True)
def _plan_start(head: np.ndarray, agenda: np.ndarray, messages: np.ndarray, gates: np.ndarray, server: int,
                now: int) -> None:  # fmt: skip
    """Put the start of a server's first packet on the agenda if nothing stands in its way but room."""
    row = gates[server, G_FIRST]
    if row >= 0 and not (gates[server, G_SENDING] or gates[server, G_WAITS] or gates[server, G_STARTS]):
        gates[server, G_STARTS] = 1
        push(head, agenda, now, messages[row, ORDER] + PHASE, messages[row, PACKET], 4 * (2 * server + 1) + QUEUE)


@njit(cache=True)
def _has_room(head: np.ndarray, messages: np.ndarray, hops: np.ndarray, gates: np.ndarray, row: int) -> bool:
    if messages[row, LEFT] == 1:
        return True
    beyond = hops[messages[row, HOP] + 1, HOP_SERVER]
    return gates[beyond, G_TAKEN] + messages[row, SIZE] <= head[BUFFER]


@njit(cache=True)
def _wait(messages: np.ndarray, hops: np.ndarray, gates: np.ndarray, server: int) -> None:
    """Let a server stand in line for room in the queue that its first packet goes to."""
    beyond = hops[messages[gates[server, G_FIRST], HOP] + 1, HOP_SERVER]
    last = gates[beyond, G_LAST_WAITER]
    if last >= 0:
        gates[last, G_NEXT_WAITER] = server
    else:
        gates[beyond, G_WAITER] = server
    gates[beyond, G_LAST_WAITER] = server
    gates[server, G_NEXT_WAITER], gates[server, G_WAITS] = -1, 1


@njit(cache=True)
def _append(messages: np.ndarray, gates: np.ndarray, server: int, row: int) -> None:
    messages[row, NEXT] = -1
    if gates[server, G_LAST] >= 0:
        messages[gates[server, G_LAST], NEXT] = row
    else:
        gates[server, G_FIRST] = row
    gates[server, G_LAST] = row


@njit(cache=True)
def _start(
    head: np.ndarray, agenda: np.ndarray, messages: np.ndarray, hops: np.ndarray, servers: np.ndarray,
    curves: np.ndarray, bins: np.ndarray, operations: np.ndarray, dependents: np.ndarray, groups: np.ndarray,
    done: np.ndarray, seen: np.ndarray, gates: np.ndarray, server: int, now: int, limit: int,
) -> int:  # fmt: skip
    """Send the first packet of a server's queue; return the limit, as `deliver` does, or -1 if time leaves its
    range."""
    row = gates[server, G_FIRST]
    gates[server, G_FIRST] = messages[row, NEXT]
    if messages[row, NEXT] < 0:
        gates[server, G_LAST] = -1
    gates[server, G_SENDING] = 1
    gates[server, G_HELD] = messages[row, SIZE] if messages[row, PREVIOUS] == FORWARDED else 0
    if messages[row, LEFT] > 1:
        gates[hops[messages[row, HOP] + 1, HOP_SERVER], G_TAKEN] += messages[row, SIZE]
    order, packet = messages[row, ORDER], messages[row, PACKET]
    end = _begin_service(head, messages, hops, servers, curves, bins, row, now)
    if end < 0:
        return -1
    push(head, agenda, end, order - PHASE, packet, 4 * (2 * server) + QUEUE)
    if messages[row, LEFT] > 0:
        messages[row, PREVIOUS] = FORWARDED
        push(head, agenda, messages[row, ARRIVAL], order, packet, 4 * row + MESSAGE)
        return limit
    whole = rejoin(head, messages, row)
    if whole >= 0:
        limit = deliver(
            head, agenda, messages, operations, dependents, groups, done, seen, whole, messages[whole, TAIL],
            messages[whole, ALONE_TAIL], limit,
        )  # fmt: skip
    return limit


@njit(cache=True)
def _arrive(
    head: np.ndarray, messages: np.ndarray, hops: np.ndarray, servers: np.ndarray, curves: np.ndarray,
    gates: np.ndarray, scratch: np.ndarray, row: int,
) -> int:  # fmt: skip
    """Put a message, cut into its packets if it is new, into the queue of its next link; return that server, or -1 if a
    packet fits no buffer."""
    server = hops[messages[row, HOP], HOP_SERVER]
    if messages[row, PREVIOUS] == FORWARDED:
        _append(messages, gates, server, row)
        return server
    count = packets_of(head, messages, hops, row)
    largest = messages[row, SIZE] if count == 1 else head[MTU]
    if messages[row, LEFT] > 1 and largest > head[BUFFER]:
        return -1
    if count == 1:
        _append(messages, gates, server, row)
        return server
    messages[row, PACKETS] = count
    if head[RECORDING]:
        messages[row, ALONE_TAIL] = packets_alone(
            messages, hops, servers, curves, scratch, head[CUT_THROUGH], row, head[MTU], messages[row, HOP],
            messages[row, LEFT],
        )  # fmt: skip
    for number in range(count):
        _append(messages, gates, server, cut(head, messages, row, number))
    return server


@njit(cache=True)
def advance(
    head: np.ndarray, agenda: np.ndarray, messages: np.ndarray, queues: np.ndarray, hops: np.ndarray,
    servers: np.ndarray, curves: np.ndarray, bins: np.ndarray, pending: np.ndarray, runs: np.ndarray,
    operations: np.ndarray, dependents: np.ndarray, groups: np.ndarray, done: np.ndarray, seen: np.ndarray,
    scratch: np.ndarray, gates: np.ndarray, limit: int, settled: int,
) -> tuple[int, int]:  # fmt: skip
    """Carry packets on, up to ``limit`` or to the first instant at which a process must act; as in `_queues`."""
    while head[AGENDA] > 0:
        now, item = agenda[0, 0], agenda[0, 3]
        if now > limit or (now == limit and now > settled):
            return ENOUGH, now
        if head[DONE] + 1 >= done.shape[0] or head[SEEN] + 2 > seen.shape[0]:
            return DRAIN, now
        if head[AVAILABLE] < head[PACKETS_MOST] + 1 or head[AGENDA] + 8 > agenda.shape[0]:
            return ROOM, now
        known, bound = head[SEEN], limit
        if item & 3 != QUEUE:
            row = take_first(head, agenda, messages, pending, runs, operations)
            server = _arrive(head, messages, hops, servers, curves, gates, scratch, row)
            if server < 0:
                return TOO_LARGE, messages[row, SIZE]
            _plan_start(head, agenda, messages, gates, server, now)
        elif (item >> 2) & 1:
            drop_first(head, agenda)
            server = item >> 3
            gates[server, G_STARTS] = 0
            row = gates[server, G_FIRST]
            beyond = hops[messages[row, HOP] + 1, HOP_SERVER] if messages[row, LEFT] > 1 else -1
            if beyond >= 0 and (gates[beyond, G_WAITER] >= 0 or not _has_room(head, messages, hops, gates, row)):
                _wait(messages, hops, gates, server)
                continue
            bound = _start(
                head, agenda, messages, hops, servers, curves, bins, operations, dependents, groups, done, seen, gates,
                server, now, limit,
            )  # fmt: skip
        else:
            server = item >> 3
            waiter = gates[server, G_WAITER]
            gates[server, G_TAKEN] -= gates[server, G_HELD]
            gates[server, G_SENDING] = gates[server, G_HELD] = 0
            if waiter >= 0 and _has_room(head, messages, hops, gates, gates[waiter, G_FIRST]):
                # Whoever has waited longest goes first; the item stays until nobody else can start.
                gates[server, G_WAITER] = gates[waiter, G_NEXT_WAITER]
                if gates[server, G_WAITER] < 0:
                    gates[server, G_LAST_WAITER] = -1
                gates[waiter, G_WAITS] = 0
                bound = _start(
                    head, agenda, messages, hops, servers, curves, bins, operations, dependents, groups, done, seen,
                    gates, waiter, now, limit,
                )  # fmt: skip
            else:
                drop_first(head, agenda)
                _plan_start(head, agenda, messages, gates, server, now)
        if bound < 0:
            return OVERFLOW, now
        if head[SEEN] > known:
            limit = bound
            if settled >= limit:
                settled = -1
    return ENOUGH, -1
