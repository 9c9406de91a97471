"""`fifo` with endless queues, and `ideal`: every message is served as it arrives, in one pass over the agenda.

Because queues are endless, the end of a message at a link is known the moment it arrives there. Messages between two
links therefore stand in a queue per link, in the order of their arrival at the next one, and the agenda holds one item
a queue instead of one a message.
"""

import numpy as np

from simcore.fabric._agenda import ITEM_BITS, ITEM_MASK, Agenda, earliest, push, room_left, take
from simcore.fabric._compiled import column, compiled, cube, table
from simcore.fabric._kernels import (
    ACCEPTED, AFTER, ALONE, ARRIVAL, AVAILABLE, BEGAN, CUT_THROUGH, DEN, DONE, DRAIN, FIRST, FREE, HOP, HOP_LATENCY,
    HOP_LEFT, HOP_LINK, HOP_SERVER, ISSUED, LANDING, LAST, LAST_MOMENT, LATEST_INSTANT, MANY_POLLS, MTU, NEXT,
    NOTHING, NUM, ORDER, OVERFLOW, OVERHEAD, PACKETS_MOST, PAUSE, QUEUE, RECORDING, RESERVED, ROOM, ROOM_FIRST,
    SEEN, SIZE, TAG, TAIL, T_BINS, T_BOOK, T_CURVES, T_DEPENDENTS, T_DONE, T_ENTRIES, T_FRONT, T_GROUPS, T_HEAD,
    T_HOPS, T_MESSAGES, T_OPERATIONS, T_PENDING, T_QUEUES, T_RUNS, T_SCRATCH, T_SEEN, T_SERVERS, T_WAITERS, VISITS,
    WAITER, WATCHES, WHERE, Lines, admit, alone, begin_message, carry, charged, claim, deliver, divide_up, fill,
    fits, release,
)  # fmt: skip
from simcore.fabric._waits import FULL, happen, in_vain


@compiled
def occupy(head: np.ndarray, messages: np.ndarray, lines: Lines, row: int, start: int, fresh: bool) -> int:
    """Let a message have its next link from ``start`` on, in a fresh busy period or the present one; return when its
    last byte leaves, or -1 if time would leave its range.

    That is BEGAN + ceil(ACCEPTED * NUM / DEN): one rounding, never carried into the next message. All of `fifo` rounds
    here.
    """
    hops, servers = lines[0], lines[1]
    hop, size = messages[row, HOP], messages[row, SIZE]
    server, latency = hops[hop, HOP_SERVER], hops[hop, HOP_LATENCY]
    num, den, overhead = servers[server, NUM], servers[server, DEN], servers[server, OVERHEAD]
    charge = charged(lines, server, size)
    began = (start if fresh else servers[server, BEGAN]) + overhead
    accepted = charge if fresh else servers[server, ACCEPTED] + charge
    start += overhead
    if not fits(began, accepted, num, den, latency):
        return -1
    end = began + divide_up(accepted, num, den)
    if head[CUT_THROUGH] and messages[row, TAIL] > end:
        end = began = messages[row, TAIL]
        accepted = 0
    servers[server, BEGAN], servers[server, ACCEPTED], servers[server, FREE] = began, accepted, end
    if head[RECORDING] and size > 0 and hops[hop, HOP_LINK] >= 0:
        carry(head, lines, server, min(start, end), end, size)
    messages[row, TAIL] = end + latency
    messages[row, ARRIVAL] = (start if head[CUT_THROUGH] else end) + latency
    return end


@compiled
def serve(head: np.ndarray, messages: np.ndarray, lines: Lines, row: int) -> bool:
    """Serve a message at its next link behind everything accepted there before; False if time would leave its range."""
    now, free = messages[row, ARRIVAL], lines[1][lines[0][messages[row, HOP], HOP_SERVER], FREE]
    return occupy(head, messages, lines, row, max(now, free), now >= free) >= 0


@compiled
def packet_number(messages: np.ndarray, row: int) -> int:
    """Return which packet of its message a row is, 0 for a whole one."""
    return messages[row, TAG] if messages[row, ISSUED] < 0 else 0


@compiled
def _enqueue(agenda: Agenda, messages: np.ndarray, queues: np.ndarray, link: int, row: int, packet: int) -> None:
    """Put a message into the queue behind ``link``, in the order of (arrival, source, sequence, packet)."""
    time, order, last = messages[row, ARRIVAL], messages[row, ORDER], queues[link, LAST]
    messages[row, NEXT] = -1
    if last >= 0 and (messages[last, ARRIVAL] < time or messages[last, ORDER] <= order):
        messages[last, NEXT] = row
        queues[link, LAST] = row
        return
    # Ends at a link never decrease: only a message that arrives in the picosecond of others can belong before them.
    before, behind = -1, queues[link, FIRST]
    while behind >= 0 and (messages[behind, ARRIVAL] < time or messages[behind, ORDER] <= order):
        before, behind = behind, messages[behind, NEXT]
    messages[row, NEXT] = behind
    if behind < 0:
        queues[link, LAST] = row
    if before >= 0:
        messages[before, NEXT] = row
    else:
        queues[link, FIRST] = row
        push(agenda, time, order, packet << ITEM_BITS | (8 * link + QUEUE))


@compiled
def _dequeue(agenda: Agenda, messages: np.ndarray, queues: np.ndarray, link: int, now: int, order: int) -> int:
    """Take the first message of a queue; -1 if the item that says so is stale."""
    row = queues[link, FIRST]
    if row < 0 or messages[row, ORDER] != order or messages[row, ARRIVAL] != now:
        # A message of the same picosecond was put before the one for which this item was made, and has its own.
        return -1
    behind = messages[row, NEXT]
    queues[link, FIRST] = behind
    if behind >= 0:
        packet = packet_number(messages, behind)
        push(agenda, messages[behind, ARRIVAL], messages[behind, ORDER], packet << ITEM_BITS | (8 * link + QUEUE))
    else:
        queues[link, LAST] = -1
    return row


@compiled
def packets_of(head: np.ndarray, messages: np.ndarray, lines: Lines, row: int) -> int:
    """Return the number of packets that a message is cut into."""
    mtu, size = head[MTU], messages[row, SIZE]
    if mtu == 0 or size <= mtu or lines[0][messages[row, HOP], HOP_LINK] < 0:
        return 1
    return (size + mtu - 1) // mtu


@compiled
def cut(head: np.ndarray, messages: np.ndarray, row: int, number: int) -> int:
    """Return a new row with packet ``number`` of the message in ``row``."""
    packet = claim(head, messages)
    size = min(head[MTU], messages[row, SIZE] - number * head[MTU])
    fill(messages, packet, messages[row, ISSUED], messages[row, ORDER], size, messages[row, HOP], number)
    messages[packet, ISSUED] = -1 - row
    return packet


@compiled
def rejoin(head: np.ndarray, messages: np.ndarray, row: int) -> int:
    """Note the arrival of a packet; return the row of its message if that was the last one, or -1."""
    if messages[row, ISSUED] >= 0:
        return row
    parent = -1 - messages[row, ISSUED]
    messages[parent, TAIL] = max(messages[parent, TAIL], messages[row, TAIL])
    messages[parent, NEXT] -= 1
    release(head, messages, row)
    return parent if messages[parent, NEXT] == 0 else -1


@compiled
def lone_time(head: np.ndarray, messages: np.ndarray, lines: Lines, row: int) -> int:
    """Return the time that a message takes over its empty path, where that is recorded."""
    if not head[RECORDING]:
        return 0
    return alone(head, lines, messages[row, HOP], messages[row, SIZE], head[MTU])


@compiled
def _travel_alone(head: np.ndarray, messages: np.ndarray, lines: Lines, row: int) -> bool:
    """Carry a message over its whole route as if alone, but not past an earlier one of the same route; False if out of
    range."""
    hops, servers = lines[0], lines[1]
    first = messages[row, HOP]
    now, size = messages[row, ARRIVAL], messages[row, SIZE]
    for hop in range(first, first + hops[first, HOP_LEFT]):
        server, latency = hops[hop, HOP_SERVER], hops[hop, HOP_LATENCY]
        num, den = servers[server, NUM], servers[server, DEN]
        charge = charged(lines, server, size)
        start = now + servers[server, OVERHEAD]
        if not fits(start, charge, num, den, latency):
            return False
        end = start + divide_up(charge, num, den)
        if head[RECORDING] and size > 0:
            carry(head, lines, server, start, end, size)
        now = end + latency
    messages[row, TAIL] = hops[first, AFTER] = max(now, hops[first, AFTER])
    return True


@compiled
def advance(state: np.ndarray, bound: int, time: int, order: int, size: int, hop: int, meta: int) -> int:
    """Carry messages on up to the moment ``bound``, or to the first instant at which a process must act.

    A message that is issued now may be given too (``order`` is not negative). Returns the moment of the first item
    left, or why the loop stopped. Arrivals wait until all processes of their instant have acted.
    """
    head, messages = column(state, T_HEAD), table(state, T_MESSAGES)
    agenda = (table(state, T_BOOK), table(state, T_ENTRIES), table(state, T_FRONT))
    if order >= 0 and not admit(head, agenda, messages, time, order, size, hop, meta):
        return ROOM_FIRST
    queues, hops = table(state, T_QUEUES), table(state, T_HOPS)
    lines = (hops, table(state, T_SERVERS), table(state, T_CURVES), cube(state, T_BINS), table(state, T_SCRATCH))
    operations, dependents = table(state, T_OPERATIONS), column(state, T_DEPENDENTS)
    plans = (table(state, T_PENDING), table(state, T_RUNS), operations, dependents, table(state, T_GROUPS))
    reports = (table(state, T_DONE), table(state, T_SEEN))
    most, deliveries, sights = head[PACKETS_MOST], state[T_DONE, 1], state[T_SEEN, 1] - 2
    polls, patience = 0, 1 + state[T_WAITERS, 1]
    while True:
        now = earliest(agenda)
        if now < 0:
            return NOTHING
        if 2 * now + 1 > bound:
            return 2 * now + 1
        if polls >= patience:
            # No process may be about to act, and nobody who polls may ever see anything; looked at after twice as many
            # polls as last time, because it looks at all waiters.
            if bound > LAST_MOMENT and in_vain(state):
                return NOTHING
            if patience >= MANY_POLLS:
                return PAUSE
            patience *= 2
        if head[DONE] >= deliveries or head[SEEN] > sights - head[WATCHES]:
            head[WHERE] = now
            return DRAIN
        # A step puts at most one queue a packet on the agenda, and what room was made for beforehand.
        if head[AVAILABLE] <= most or not room_left(agenda, most + 1 + head[RESERVED]):
            return ROOM
        turn, word = take(agenda)
        head[VISITS] += 1
        item, known, limit, count = word & ITEM_MASK, head[SEEN], LATEST_INSTANT, 1
        polls += item & 7 == WAITER
        if item & 7 >= LANDING:
            limit = happen(state, item, now, limit)
            if limit == FULL:
                push(agenda, now, turn, word)
                head[VISITS] -= 1
                return ROOM
            row = place = count = 0
        elif item & 7 != QUEUE:
            row = begin_message(head, agenda, messages, plans, item)
            place = messages[row, HOP]
            if head[ALONE] and hops[place, HOP_LINK] >= 0:
                if not _travel_alone(head, messages, lines, row):
                    head[WHERE] = now
                    return OVERFLOW
                lone = lone_time(head, messages, lines, row)
                limit = deliver(head, agenda, messages, plans, reports, row, messages[row, TAIL], lone, limit)
                count = 0
            elif most > 1:
                count = packets_of(head, messages, lines, row)
                messages[row, NEXT] = count
        else:
            row = _dequeue(agenda, messages, queues, item >> 3, now, turn)
            if row < 0:
                continue
            messages[row, HOP] += 1
            place = messages[row, HOP]
        message = row
        for number in range(count):
            if count > 1:
                row = cut(head, messages, message, number)
            if not serve(head, messages, lines, row):
                head[WHERE] = now
                return OVERFLOW
            if hops[place, HOP_LEFT] > 1:
                packet = packet_number(messages, row)
                _enqueue(agenda, messages, queues, hops[place, HOP_LINK], row, packet)
                continue
            whole = rejoin(head, messages, row)
            if whole >= 0:
                lone = lone_time(head, messages, lines, whole)
                limit = deliver(head, agenda, messages, plans, reports, whole, messages[whole, TAIL], lone, limit)
        if head[SEEN] > known:
            # No process may miss that instant: what arrives at it waits until whoever acts at it has sent.
            bound = min(bound, 2 * limit)
