"""`fifo` with finite buffers: a link begins to send only when the queue behind it has room, so queues push back.

Nothing can be computed ahead here: a packet starts when its link is free and there is room for it, and both are known
at that instant only. Within one instant ends come first, then arrivals, then starts; on the agenda they are told
apart by what is added to their order.

Model: what arrives by a start of the same instant (no latency, or less than 1 ps of sending) queues behind what had
arrived there before, whatever their sources.
"""

import numpy as np

from simcore.fabric._agenda import ITEM_BITS, ITEM_MASK, Agenda, earliest, push, room_left, take
from simcore.fabric._compiled import column, compiled, cube, table
from simcore.fabric._kernels import (
    ARRIVAL, AVAILABLE, BUFFER, DONE, DRAIN, FREE, HOP, HOP_LEFT, HOP_PLACE, HOP_SERVER, LANDING, LATEST_INSTANT,
    MESSAGE, MTU, NEXT, NOTHING, ORDER, OVERFLOW, PACKETS_MOST, QUEUE, RESERVED, ROOM, ROOM_FIRST, SEEN, SIZE,
    T_BINS, T_BOOK, T_CURVES, T_DEPENDENTS, T_DONE, T_ENTRIES, T_FRONT, T_GATES, T_GROUPS, T_HEAD, T_HOPS,
    T_MESSAGES, T_OPERATIONS, T_PENDING, T_RUNS, T_SCRATCH, T_SEEN, T_SERVERS, TAIL, TOO_LARGE, VISITS, WATCHES,
    WHERE, Lines, Plans, Reports, admit, begin_message, deliver,
)  # fmt: skip
from simcore.fabric._queues import cut, lone_time, occupy, packet_number, packets_of, rejoin
from simcore.fabric._waits import FULL, happen

# Columns of a gate, the queue of a server: its first and last packet; whether the server sends; bytes for which room is
# taken; those of the packet that is being sent; the first and last server that wait for room here; the next that waits
# where this one does; whether this one waits; whether a start is on the agenda.
G_FIRST, G_LAST, G_SENDING, G_TAKEN, G_HELD, G_WAITER, G_LAST_WAITER, G_NEXT_WAITER, G_WAITS, G_STARTS = range(10)
GATE_COLUMNS = 10

PHASE = 2**62
"""Taken from the order of ends, added to that of starts."""


@compiled
def _begin_service(head: np.ndarray, messages: np.ndarray, lines: Lines, row: int, now: int) -> int:
    """Start to send a packet at its link now; return when its last byte leaves, or -1 if that is out of range.

    It continues the busy period if it was there before the link became free, and starts at that very instant.
    """
    free = lines[1][lines[0][messages[row, HOP], HOP_SERVER], FREE]
    goes_on = now == free and messages[row, ARRIVAL] < now
    return occupy(head, messages, lines, row, now, not goes_on)


@compiled
def _plan_start(agenda: Agenda, messages: np.ndarray, gates: np.ndarray, server: int, now: int) -> None:
    """Put the start of a server's first packet on the agenda if nothing stands in its way but room."""
    row = gates[server, G_FIRST]
    if row >= 0 and not (gates[server, G_SENDING] or gates[server, G_WAITS] or gates[server, G_STARTS]):
        gates[server, G_STARTS] = 1
        word = packet_number(messages, row) << ITEM_BITS | (8 * (2 * server + 1) + QUEUE)
        push(agenda, now, messages[row, ORDER] + PHASE, word)


@compiled
def _has_room(head: np.ndarray, messages: np.ndarray, hops: np.ndarray, gates: np.ndarray, row: int) -> bool:
    hop = messages[row, HOP]
    if hops[hop, HOP_LEFT] == 1:
        return True
    return gates[hops[hop + 1, HOP_SERVER], G_TAKEN] + messages[row, SIZE] <= head[BUFFER]


@compiled
def _wait(gates: np.ndarray, server: int, beyond: int) -> None:
    """Let a server stand in line for room in the queue of server ``beyond``."""
    last = gates[beyond, G_LAST_WAITER]
    if last >= 0:
        gates[last, G_NEXT_WAITER] = server
    else:
        gates[beyond, G_WAITER] = server
    gates[beyond, G_LAST_WAITER] = server
    gates[server, G_NEXT_WAITER], gates[server, G_WAITS] = -1, 1


@compiled
def _append(messages: np.ndarray, gates: np.ndarray, server: int, row: int) -> None:
    messages[row, NEXT] = -1
    if gates[server, G_LAST] >= 0:
        messages[gates[server, G_LAST], NEXT] = row
    else:
        gates[server, G_FIRST] = row
    gates[server, G_LAST] = row


@compiled
def _start(
    head: np.ndarray, agenda: Agenda, messages: np.ndarray, lines: Lines, plans: Plans, reports: Reports,
    gates: np.ndarray, server: int, now: int, limit: int,
) -> int:  # fmt: skip
    """Send the first packet of a server's queue; return the limit, as `deliver` does, or -1 if time leaves its
    range."""
    hops = lines[0]
    row = gates[server, G_FIRST]
    hop = messages[row, HOP]
    gates[server, G_FIRST] = messages[row, NEXT]
    if messages[row, NEXT] < 0:
        gates[server, G_LAST] = -1
    gates[server, G_SENDING] = 1
    gates[server, G_HELD] = messages[row, SIZE] if hops[hop, HOP_PLACE] > 0 else 0
    order, packet = messages[row, ORDER], packet_number(messages, row)
    end = _begin_service(head, messages, lines, row, now)
    if end < 0:
        return -1
    push(agenda, end, order - PHASE, packet << ITEM_BITS | (8 * (2 * server) + QUEUE))
    if hops[hop, HOP_LEFT] > 1:
        gates[hops[hop + 1, HOP_SERVER], G_TAKEN] += messages[row, SIZE]
        messages[row, HOP] += 1
        push(agenda, messages[row, ARRIVAL], order, packet << ITEM_BITS | (8 * row + MESSAGE))
        return limit
    whole = rejoin(head, messages, row)
    if whole >= 0:
        lone = lone_time(head, messages, lines, whole)
        limit = deliver(head, agenda, messages, plans, reports, whole, messages[whole, TAIL], lone, limit)
    return limit


@compiled
def _arrive(head: np.ndarray, messages: np.ndarray, lines: Lines, gates: np.ndarray, row: int) -> int:
    """Put a message, cut into its packets if it is new, into the queue of its next link; return that server, or -1 if a
    packet fits no buffer."""
    hops = lines[0]
    hop = messages[row, HOP]
    server = hops[hop, HOP_SERVER]
    count = packets_of(head, messages, lines, row) if hops[hop, HOP_PLACE] == 0 else 1
    largest = messages[row, SIZE] if count == 1 else head[MTU]
    if hops[hop, HOP_LEFT] > 1 and largest > head[BUFFER]:
        return -1
    if count == 1:
        _append(messages, gates, server, row)
        return server
    messages[row, NEXT] = count
    for number in range(count):
        _append(messages, gates, server, cut(head, messages, row, number))
    return server


@compiled
def _end(
    head: np.ndarray, agenda: Agenda, messages: np.ndarray, lines: Lines, plans: Plans, reports: Reports,
    gates: np.ndarray, server: int, now: int, limit: int,
) -> int:  # fmt: skip
    """Free a link and the room that its packet took; whoever has waited longest for that room starts, as many as fit,
    then the link itself may. Return the limit, or -1 if time leaves its range."""
    gates[server, G_TAKEN] -= gates[server, G_HELD]
    gates[server, G_SENDING] = gates[server, G_HELD] = 0
    waiter = gates[server, G_WAITER]
    while waiter >= 0 and _has_room(head, messages, lines[0], gates, gates[waiter, G_FIRST]):
        gates[server, G_WAITER] = gates[waiter, G_NEXT_WAITER]
        if gates[server, G_WAITER] < 0:
            gates[server, G_LAST_WAITER] = -1
        gates[waiter, G_WAITS] = 0
        limit = _start(head, agenda, messages, lines, plans, reports, gates, waiter, now, limit)
        if limit < 0:
            return -1
        waiter = gates[server, G_WAITER]
    _plan_start(agenda, messages, gates, server, now)
    return limit


@compiled
def advance(state: np.ndarray, bound: int, time: int, order: int, size: int, hop: int, meta: int) -> int:
    """Carry packets on up to the moment ``bound``, or to the first instant at which a process must act; as in
    `_queues`."""
    head, messages, gates = column(state, T_HEAD), table(state, T_MESSAGES), table(state, T_GATES)
    agenda = (table(state, T_BOOK), table(state, T_ENTRIES), table(state, T_FRONT))
    if order >= 0 and not admit(head, agenda, messages, time, order, size, hop, meta):
        return ROOM_FIRST
    hops = table(state, T_HOPS)
    lines = (hops, table(state, T_SERVERS), table(state, T_CURVES), cube(state, T_BINS), table(state, T_SCRATCH))
    operations, dependents = table(state, T_OPERATIONS), column(state, T_DEPENDENTS)
    plans = (table(state, T_PENDING), table(state, T_RUNS), operations, dependents, table(state, T_GROUPS))
    reports = (table(state, T_DONE), table(state, T_SEEN))
    # An end may start every server that waits for its room.
    starts = gates.shape[0] + 1
    while True:
        now = earliest(agenda)
        if now < 0:
            return NOTHING
        if 2 * now + 1 > bound:
            return 2 * now + 1
        if head[DONE] + starts > state[T_DONE, 1] or head[SEEN] + 2 * starts + head[WATCHES] > state[T_SEEN, 1]:
            head[WHERE] = now
            return DRAIN
        if head[AVAILABLE] <= head[PACKETS_MOST] or not room_left(agenda, 3 * starts + head[RESERVED]):
            return ROOM
        turn, word = take(agenda)
        item, known, limit = word & ITEM_MASK, head[SEEN], LATEST_INSTANT
        head[VISITS] += 1
        server = item >> 4
        if item & 7 >= LANDING:
            limit = happen(state, item, now, limit)
            if limit == FULL:
                push(agenda, now, turn, word)
                head[VISITS] -= 1
                return ROOM
        elif item & 7 != QUEUE:
            row = begin_message(head, agenda, messages, plans, item)
            server = _arrive(head, messages, lines, gates, row)
            if server < 0:
                head[WHERE] = messages[row, SIZE]
                return TOO_LARGE
            _plan_start(agenda, messages, gates, server, now)
        elif not (item >> 3) & 1:
            limit = _end(head, agenda, messages, lines, plans, reports, gates, server, now, limit)
        else:
            gates[server, G_STARTS] = 0
            row = gates[server, G_FIRST]
            place = messages[row, HOP]
            beyond = hops[place + 1, HOP_SERVER] if hops[place, HOP_LEFT] > 1 else -1
            if beyond >= 0 and (gates[beyond, G_WAITER] >= 0 or not _has_room(head, messages, hops, gates, row)):
                _wait(gates, server, beyond)
                continue
            limit = _start(head, agenda, messages, lines, plans, reports, gates, server, now, limit)
        if limit < 0:
            head[WHERE] = now
            return OVERFLOW
        if head[SEEN] > known:
            bound = min(bound, 2 * limit)
