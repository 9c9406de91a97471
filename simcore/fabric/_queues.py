"""`fifo` with endless queues, and `ideal`: every message is served as it arrives, in one pass over the agenda.

Because queues are endless, the end of a message at a link is known the moment it arrives there. Messages between two
links therefore stand in a queue per link, in the order of their arrival at the next one, and the agenda holds one item
a queue instead of one a message.
"""

import numpy as np
from numba import njit

from simcore.fabric._kernels import (
    ACCEPTED,
    AGENDA,
    ALONE,
    ALONE_HEAD,
    ALONE_TAIL,
    ARRIVAL,
    AVAILABLE,
    BEGAN,
    CUT_THROUGH,
    DEN,
    DONE,
    DRAIN,
    ENOUGH,
    FIRST,
    FREE,
    HOP,
    HOP_LATENCY,
    HOP_LINK,
    HOP_SERVER,
    ISSUED,
    LAST,
    LATEST,
    LEFT,
    META,
    MTU,
    NEXT,
    NUM,
    OPERATION,
    ORDER,
    OVERFLOW,
    OVERHEAD,
    PACKET,
    PACKETS,
    PACKETS_MOST,
    PARENT,
    PREVIOUS,
    QUEUE,
    RECORDING,
    ROOM,
    ROUTE_LATEST,
    SEEN,
    SIZE,
    TAIL,
    carry,
    charged,
    claim,
    deliver,
    divide_up,
    drop_first,
    fill,
    push,
    release,
    replace_first,
    take_first,
)  # fmt: skip


@njit(cache=True)
def serve(
    head: np.ndarray, messages: np.ndarray, hops: np.ndarray, servers: np.ndarray, curves: np.ndarray,
    bins: np.ndarray, row: int,
) -> bool:  # fmt: skip
    """Serve a message at its next link behind everything accepted there before; False if time would leave its range.

    The last byte leaves at BEGAN + ceil(ACCEPTED * NUM / DEN): one rounding, never carried into the next message.
    """
    hop = messages[row, HOP]
    server, latency = hops[hop, HOP_SERVER], hops[hop, HOP_LATENCY]
    now, size = messages[row, ARRIVAL], messages[row, SIZE]
    num, den, overhead = servers[server, NUM], servers[server, DEN], servers[server, OVERHEAD]
    charge = charged(servers, curves, server, size)
    idle = now >= servers[server, FREE]
    start = (now if idle else servers[server, FREE]) + overhead
    began = (now if idle else servers[server, BEGAN]) + overhead
    accepted = charge if idle else servers[server, ACCEPTED] + charge
    if float(began) + float(accepted) * num / den + float(latency) >= LATEST:
        return False
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
    return True


@njit(cache=True)
def _enqueue(
    head: np.ndarray, agenda: np.ndarray, messages: np.ndarray, queues: np.ndarray, link: int, row: int
) -> None:
    """Put a message into the queue behind ``link``, in the order of (arrival, source, sequence, packet)."""
    time, order = messages[row, ARRIVAL], messages[row, ORDER]
    before = queues[link, LAST]
    # Ends at a link never decrease, so only messages that arrive in the same picosecond can be out of order.
    while before >= 0 and messages[before, ARRIVAL] == time and messages[before, ORDER] > order:
        before = messages[before, PREVIOUS]
    behind = messages[before, NEXT] if before >= 0 else queues[link, FIRST]
    messages[row, PREVIOUS], messages[row, NEXT] = before, behind
    if behind >= 0:
        messages[behind, PREVIOUS] = row
    else:
        queues[link, LAST] = row
    if before >= 0:
        messages[before, NEXT] = row
    else:
        queues[link, FIRST] = row
        push(head, agenda, time, order, messages[row, PACKET], 4 * link + QUEUE)


@njit(cache=True)
def _dequeue(head: np.ndarray, agenda: np.ndarray, messages: np.ndarray, queues: np.ndarray) -> int:
    """Take the first message of the queue that the agenda names first; -1 if that item is stale."""
    link = agenda[0, 3] >> 2
    row = queues[link, FIRST]
    if row < 0 or messages[row, ORDER] != agenda[0, 1] or messages[row, ARRIVAL] != agenda[0, 0]:
        # A message of the same picosecond was put before the one for which this item was made, and has its own.
        drop_first(head, agenda)
        return -1
    behind = messages[row, NEXT]
    queues[link, FIRST] = behind
    if behind >= 0:
        messages[behind, PREVIOUS] = -1
        replace_first(
            head, agenda, messages[behind, ARRIVAL], messages[behind, ORDER], messages[behind, PACKET], agenda[0, 3]
        )
    else:
        queues[link, LAST] = -1
        drop_first(head, agenda)
    return row


@njit(cache=True)
def cut(head: np.ndarray, messages: np.ndarray, row: int, number: int) -> int:
    """Return a new row with packet ``number`` of the message in ``row``."""
    packet = claim(head, messages)
    mtu = head[MTU]
    size = min(mtu, messages[row, SIZE] - number * mtu)
    fill(
        messages, packet, messages[row, ISSUED], messages[row, ORDER], size, messages[row, HOP], messages[row, LEFT],
        messages[row, META], messages[row, OPERATION],
    )  # fmt: skip
    messages[packet, PACKET], messages[packet, PARENT] = number, row
    return packet


@njit(cache=True)
def packets_of(head: np.ndarray, messages: np.ndarray, hops: np.ndarray, row: int) -> int:
    """Return the number of packets that a message is cut into."""
    mtu, size = head[MTU], messages[row, SIZE]
    if mtu == 0 or size <= mtu or hops[messages[row, HOP], HOP_LINK] < 0:
        return 1
    return (size + mtu - 1) // mtu


@njit(cache=True)
def rejoin(head: np.ndarray, messages: np.ndarray, row: int) -> int:
    """Note the arrival of a packet; return the row of its message if that was the last one, or -1."""
    parent = messages[row, PARENT]
    if parent < 0:
        return row
    messages[parent, TAIL] = max(messages[parent, TAIL], messages[row, TAIL])
    messages[parent, PACKETS] -= 1
    release(head, messages, row)
    return parent if messages[parent, PACKETS] == 0 else -1


@njit(cache=True)
def packets_alone(
    messages: np.ndarray, hops: np.ndarray, servers: np.ndarray, curves: np.ndarray, ends: np.ndarray, cut_through: int,
    row: int, mtu: int, first: int, hop_count: int,
) -> int:  # fmt: skip
    """Return how long a message that is cut into packets takes over an empty path, ps; ``ends`` is scratch: begin and
    charge of the busy period of each link."""
    size, arrived = messages[row, SIZE], 0
    ends[:hop_count] = 0
    for number in range((size + mtu - 1) // mtu):
        part = min(mtu, size - number * mtu)
        reach, tail = 0, 0
        for k in range(hop_count):
            server, latency = hops[first + k, HOP_SERVER], hops[first + k, HOP_LATENCY]
            charge = charged(servers, curves, server, part)
            num, den, overhead = servers[server, NUM], servers[server, DEN], servers[server, OVERHEAD]
            idle = reach >= ends[k, 2]
            start = (reach if idle else ends[k, 2]) + overhead
            began = (reach if idle else ends[k, 0]) + overhead
            accepted = charge if idle else ends[k, 1] + charge
            end = began + divide_up(accepted, num, den)
            if cut_through and tail > end:
                end = began = tail
                accepted = 0
            ends[k, 0], ends[k, 1], ends[k, 2] = began, accepted, end
            tail = end + latency
            reach = (start if cut_through else end) + latency
        arrived = max(arrived, tail)
    return arrived


@njit(cache=True)
def _travel_alone(
    head: np.ndarray, messages: np.ndarray, hops: np.ndarray, servers: np.ndarray, curves: np.ndarray, bins: np.ndarray,
    row: int,
) -> bool:  # fmt: skip
    """Carry a message over its whole route as if alone, but not past an earlier one of the same route; False if out of
    range."""
    first = messages[row, HOP]
    now, size = messages[row, ARRIVAL], messages[row, SIZE]
    for hop in range(first, first + messages[row, LEFT]):
        server, latency = hops[hop, HOP_SERVER], hops[hop, HOP_LATENCY]
        num, den = servers[server, NUM], servers[server, DEN]
        charge = charged(servers, curves, server, size)
        start = now + servers[server, OVERHEAD]
        if float(start) + float(charge) * num / den + float(latency) >= LATEST:
            return False
        end = start + divide_up(charge, num, den)
        if head[RECORDING] and size > 0:
            carry(head, servers, bins, server, start, end, True, size)
        now = end + latency
    messages[row, ALONE_TAIL] = now - messages[row, ARRIVAL]
    messages[row, TAIL] = hops[first, ROUTE_LATEST] = max(now, hops[first, ROUTE_LATEST])
    messages[row, LEFT] = 0
    return True


@njit(cache=True)
def advance(
    head: np.ndarray, agenda: np.ndarray, messages: np.ndarray, queues: np.ndarray, hops: np.ndarray,
    servers: np.ndarray, curves: np.ndarray, bins: np.ndarray, pending: np.ndarray, runs: np.ndarray,
    operations: np.ndarray, dependents: np.ndarray, groups: np.ndarray, done: np.ndarray, seen: np.ndarray,
    scratch: np.ndarray, limit: int, settled: int,
) -> tuple[int, int]:  # fmt: skip
    """Carry messages on, up to ``limit`` or to the first instant at which a process must act.

    Arrivals at ``limit`` itself wait until that instant is ``settled``, because processes may still send at it.
    Returns (why it stopped, the instant of the first item left or -1).
    """
    while head[AGENDA] > 0:
        now = agenda[0, 0]
        if now > limit or (now == limit and now > settled):
            return ENOUGH, now
        if head[DONE] >= done.shape[0] or head[SEEN] + 2 > seen.shape[0]:
            return DRAIN, now
        # Every step starts at most one queue a packet and the operations for which room was made beforehand.
        if head[AVAILABLE] < head[PACKETS_MOST] + 1 or head[AGENDA] + head[PACKETS_MOST] + 1 > agenda.shape[0]:
            return ROOM, now
        fresh = agenda[0, 3] & 3 != QUEUE
        if fresh:
            row = take_first(head, agenda, messages, pending, runs, operations)
        else:
            row = _dequeue(head, agenda, messages, queues)
            if row < 0:
                continue
        known = head[SEEN]
        count = packets_of(head, messages, hops, row) if fresh else 1
        if head[ALONE] and hops[messages[row, HOP], HOP_LINK] >= 0:
            if not _travel_alone(head, messages, hops, servers, curves, bins, row):
                return OVERFLOW, now
            bound = deliver(
                head, agenda, messages, operations, dependents, groups, done, seen, row, messages[row, TAIL],
                messages[row, ALONE_TAIL], limit,
            )  # fmt: skip
        else:
            message, bound = row, limit
            if count > 1:
                messages[message, PACKETS] = count
                if head[RECORDING]:
                    messages[message, ALONE_TAIL] = packets_alone(
                        messages, hops, servers, curves, scratch, head[CUT_THROUGH], message, head[MTU],
                        messages[message, HOP], messages[message, LEFT],
                    )  # fmt: skip
            for number in range(count):
                if count > 1:
                    row = cut(head, messages, message, number)
                link = hops[messages[row, HOP], HOP_LINK]
                if not serve(head, messages, hops, servers, curves, bins, row):
                    return OVERFLOW, now
                if messages[row, LEFT] > 0:
                    _enqueue(head, agenda, messages, queues, link, row)
                    continue
                whole = rejoin(head, messages, row)
                if whole >= 0:
                    bound = deliver(
                        head, agenda, messages, operations, dependents, groups, done, seen, whole,
                        messages[whole, TAIL], messages[whole, ALONE_TAIL], bound,
                    )  # fmt: skip
        if head[SEEN] > known:
            # No process may miss that instant: what arrives at it waits until whoever acts at it has sent.
            limit = bound
            if settled >= limit:
                settled = -1
    return ENOUGH, -1
