"""What every sharing policy stands on: the layout of the state, exact arithmetic, the agenda, bins, and who is told.

The state of the data plane is a handful of integer tables. A message under way is a row of ``messages``; what has not
begun waits in stamped tables (``pending``, read through ``runs``) or as rows of schedules (``operations``). The
``agenda`` is a binary heap of (instant, order, packet, item); an item names a queue between two links, a run, a
message, or an operation. ``order`` is source rank and source sequence in one word.
"""

import numpy as np
from numba import njit

# Columns of a message. ARRIVAL: its head reaches its next link; TAIL: its last byte does; ALONE_*: the same on an empty
# path, counted from ISSUED; PARENT: the message of a packet; PACKETS: how many of a message are still under way.
ARRIVAL, TAIL, SIZE, HOP, LEFT, ORDER, NEXT, PREVIOUS = range(8)
ISSUED, ALONE_HEAD, ALONE_TAIL, META, OPERATION, PACKET, PARENT, PACKETS = range(8, 16)
MESSAGE_COLUMNS = 16
# A message's META: destination rank and name; whether it is a computation, whether a process must know of its end,
# whether it is a flag.
META_DST, META_WHAT, META_SILENT, META_SEEN, META_FLAG = 40, 3, 4, 2, 1
WHAT_MASK = 2 ** (META_DST - META_WHAT) - 1
# A message's ORDER: source rank above, sequence below.
ORDER_SOURCE = 40
SEQUENCE_MASK = 2**ORDER_SOURCE - 1
# Columns of a server: 10**12 / bandwidth = NUM / DEN in lowest terms; the busy period (BEGAN, ACCEPTED); its end;
# whether bins were used; time a message costs on top; its points of efficiency in ``curves``.
NUM, DEN, BEGAN, ACCEPTED, FREE, TOUCHED, OVERHEAD, CURVE, CURVE_END = range(9)
SERVER_COLUMNS = 9
# Columns of a hop, one link of one route; LINK is -1 for the compute stream of a rank. ROUTE is the number of the
# route; its first hop also keeps the latest arrival over it (policy `ideal`). AFTER and BEFORE chain the hops with
# flows on one server (policy `fair`).
HOP_SERVER, HOP_LINK, HOP_LATENCY, ROUTE_LATEST, ROUTE, AFTER, BEFORE = range(7)
HOP_COLUMNS = 8
# Columns of a queue between a link and whatever follows it: first and last message.
FIRST, LAST = range(2)
# Rows of ``pending``, one a column of a stamped table.
P_TIME, P_ORDER, P_SIZE, P_HOP, P_LEFT, P_META = range(6)
PENDING_ROWS = 6
# Columns of a run, a stretch of ``pending`` in order of time.
RUN_NEXT, RUN_END = range(2)
# Columns of an operation, a row of a schedule; its dependents are a stretch of ``dependents``.
WAITING, READY, O_ORDER, O_SIZE, O_HOP, O_LEFT, O_META, GROUP, DEPENDENTS, DEPENDENTS_END = range(10)
OPERATION_COLUMNS = 10
# Columns of a group, a schedule at play: operations that have not ended, the latest end so far.
OPEN, ENDED = range(2)
# Columns of a delivery.
D_ORDER, D_META, D_SIZE, D_ISSUED, D_ARRIVED, D_QUEUED = range(6)
DELIVERY_COLUMNS = 6
# Words of the head.
AGENDA, SHIFT, SPARE, ROWS, AVAILABLE, DONE, SEEN, RECORDING, CUT_THROUGH, MTU, BUFFER, PACKETS_MOST, ALONE = range(13)
HEAD_WORDS = 13

# Kinds of items on the agenda, in their lowest two bits.
QUEUE, RUN, MESSAGE, OPERATION_ITEM = range(4)

ENOUGH, DRAIN, ROOM, OVERFLOW, TOO_LARGE = range(5)
"""Why a kernel returned: nothing more to do up to the limit; the lists of deliveries are full; more rows or agenda are
needed; time left its range; a packet fits no buffer."""

SAFE = 2**62
LATEST = 2.0**61


@njit(cache=True)
def divide_up(a: int, num: int, den: int) -> int:
    """Return ceil(a * num / den) exactly, also where a * num does not fit 64 bits; 0 <= a, 0 < num, 0 < den < 2**62."""
    if a < 2**31 and num < 2**31:
        return (a * num + den - 1) // den
    whole = (a // den) * num
    rest = a % den
    if rest == 0:
        return whole
    if rest < SAFE // num:
        return whole + (rest * num + den - 1) // den
    # Long division, one bit of num at a time: quotient and remainder of rest * num by den.
    quotient, remainder = 0, 0
    for bit in range(62, -1, -1):
        quotient *= 2
        remainder *= 2
        if remainder >= den:
            remainder -= den
            quotient += 1
        if (num >> bit) & 1:
            remainder += rest
            if remainder >= den:
                remainder -= den
                quotient += 1
    return whole + quotient + (1 if remainder else 0)


@njit(cache=True)
def charged(servers: np.ndarray, curves: np.ndarray, server: int, size: int) -> int:
    """Return the bytes that a link is charged with for a message of ``size`` bytes: more than those where small
    messages are known to be inefficient, linear between measured points, of constant efficiency outside them."""
    first, end = servers[server, CURVE], servers[server, CURVE_END]
    if first == end:
        return size
    if size <= curves[first, 0]:
        return divide_up(size, curves[first, 1], curves[first, 0])
    for point in range(first + 1, end):
        if size <= curves[point, 0]:
            low, high = curves[point - 1], curves[point]
            return low[1] + divide_up(size - low[0], high[1] - low[1], high[0] - low[0])
    return divide_up(size, curves[end - 1, 1], curves[end - 1, 0])


@njit(cache=True)
def _precedes(agenda: np.ndarray, place: int, time: int, order: int, packet: int) -> bool:
    if agenda[place, 0] != time:
        return agenda[place, 0] < time
    if agenda[place, 1] != order:
        return agenda[place, 1] < order
    return agenda[place, 2] < packet


@njit(cache=True)
def _put(agenda: np.ndarray, place: int, time: int, order: int, packet: int, item: int) -> None:
    agenda[place, 0], agenda[place, 1], agenda[place, 2], agenda[place, 3] = time, order, packet, item


@njit(cache=True)
def _move(agenda: np.ndarray, to: int, there: int) -> None:
    _put(agenda, to, agenda[there, 0], agenda[there, 1], agenda[there, 2], agenda[there, 3])


@njit(cache=True)
def push(head: np.ndarray, agenda: np.ndarray, time: int, order: int, packet: int, item: int) -> None:
    """Put an item on the agenda."""
    place = head[AGENDA]
    head[AGENDA] += 1
    while place > 0:
        parent = (place - 1) >> 1
        if not _precedes(agenda, parent, time, order, packet):
            _move(agenda, place, parent)
            place = parent
        else:
            break
    _put(agenda, place, time, order, packet, item)


@njit(cache=True)
def replace_first(head: np.ndarray, agenda: np.ndarray, time: int, order: int, packet: int, item: int) -> None:
    """Put an item on the agenda in place of its first one."""
    length = head[AGENDA]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= length:
            break
        right = child + 1
        if right < length and _precedes(agenda, right, agenda[child, 0], agenda[child, 1], agenda[child, 2]):
            child = right
        if not _precedes(agenda, child, time, order, packet):
            break
        _move(agenda, place, child)
        place = child
    _put(agenda, place, time, order, packet, item)


@njit(cache=True)
def drop_first(head: np.ndarray, agenda: np.ndarray) -> None:
    """Take the first item off the agenda."""
    head[AGENDA] -= 1
    last = head[AGENDA]
    if last > 0:
        replace_first(head, agenda, agenda[last, 0], agenda[last, 1], agenda[last, 2], agenda[last, 3])


@njit(cache=True)
def claim(head: np.ndarray, messages: np.ndarray) -> int:
    """Return a free row of ``messages``."""
    head[AVAILABLE] -= 1
    row = head[SPARE]
    if row >= 0:
        head[SPARE] = messages[row, NEXT]
        return row
    row = head[ROWS]
    head[ROWS] += 1
    return row


@njit(cache=True)
def release(head: np.ndarray, messages: np.ndarray, row: int) -> None:
    """Give a row of ``messages`` back."""
    messages[row, NEXT] = head[SPARE]
    head[SPARE] = row
    head[AVAILABLE] += 1


@njit(cache=True)
def fill(
    messages: np.ndarray, row: int, time: int, order: int, size: int, hop: int, left: int, meta: int, operation: int
) -> None:
    """Write a new message into ``row``."""
    messages[row, ARRIVAL] = messages[row, TAIL] = messages[row, ISSUED] = time
    messages[row, SIZE], messages[row, HOP], messages[row, LEFT] = size, hop, left
    messages[row, ORDER], messages[row, META], messages[row, OPERATION] = order, meta, operation
    messages[row, ALONE_HEAD] = messages[row, ALONE_TAIL] = 0
    messages[row, PACKET] = messages[row, PACKETS] = 0
    messages[row, PARENT] = messages[row, NEXT] = messages[row, PREVIOUS] = -1


@njit(cache=True)
def inject(
    head: np.ndarray, agenda: np.ndarray, messages: np.ndarray,
    time: int, order: int, size: int, hop: int, left: int, meta: int,
) -> None:  # fmt: skip
    """Admit one message that is issued now."""
    row = claim(head, messages)
    fill(messages, row, time, order, size, hop, left, meta, -1)
    push(head, agenda, time, order, 0, 4 * row + MESSAGE)


@njit(cache=True)
def begin_run(head: np.ndarray, agenda: np.ndarray, pending: np.ndarray, first: int, run: int) -> None:
    """Put a stamped table on the agenda."""
    push(head, agenda, pending[P_TIME, first], pending[P_ORDER, first], 0, 4 * run + RUN)


@njit(cache=True)
def begin_schedule(head: np.ndarray, agenda: np.ndarray, operations: np.ndarray, first: int, end: int) -> None:
    """Put every operation that waits for nothing on the agenda."""
    for operation in range(first, end):
        if operations[operation, WAITING] == 0:
            push(
                head, agenda, operations[operation, READY], operations[operation, O_ORDER], 0,
                4 * operation + OPERATION_ITEM,
            )  # fmt: skip


@njit(cache=True)
def take_first(
    head: np.ndarray, agenda: np.ndarray, messages: np.ndarray, pending: np.ndarray, runs: np.ndarray,
    operations: np.ndarray,
) -> int:  # fmt: skip
    """Take the message that the agenda names first, and that begins now, off it; return its row."""
    kind, index = agenda[0, 3] & 3, agenda[0, 3] >> 2
    if kind == MESSAGE:
        drop_first(head, agenda)
        return index
    row = claim(head, messages)
    if kind == OPERATION_ITEM:
        drop_first(head, agenda)
        fill(
            messages, row, operations[index, READY], operations[index, O_ORDER], operations[index, O_SIZE],
            operations[index, O_HOP], operations[index, O_LEFT], operations[index, O_META], index,
        )  # fmt: skip
        return row
    place = runs[index, RUN_NEXT]
    fill(
        messages, row, pending[P_TIME, place], pending[P_ORDER, place], pending[P_SIZE, place],
        pending[P_HOP, place], pending[P_LEFT, place], pending[P_META, place], -1,
    )  # fmt: skip
    place += 1
    runs[index, RUN_NEXT] = place
    if place < runs[index, RUN_END]:
        replace_first(head, agenda, pending[P_TIME, place], pending[P_ORDER, place], 0, agenda[0, 3])
    else:
        drop_first(head, agenda)
    return row


@njit(cache=True)
def deliver(
    head: np.ndarray, agenda: np.ndarray, messages: np.ndarray, operations: np.ndarray, dependents: np.ndarray,
    groups: np.ndarray, done: np.ndarray, seen: np.ndarray, row: int, instant: int, alone: int, limit: int,
) -> int:  # fmt: skip
    """End a message: list it, let what depends on it begin, tell whoever must know; return the limit, which is no later
    than the instant at which a process may act on it."""
    meta, operation = messages[row, META], messages[row, OPERATION]
    if not meta & META_SILENT:
        delivery = done[head[DONE]]
        delivery[D_ORDER], delivery[D_META], delivery[D_SIZE] = messages[row, ORDER], meta, messages[row, SIZE]
        delivery[D_ISSUED], delivery[D_ARRIVED] = messages[row, ISSUED], instant
        delivery[D_QUEUED] = max(instant - messages[row, ISSUED] - alone, 0)
        head[DONE] += 1
    if meta & META_SEEN:
        seen[head[SEEN], 0], seen[head[SEEN], 1] = messages[row, ORDER], instant
        head[SEEN] += 1
        limit = min(limit, instant)
    if operation >= 0:
        for place in range(operations[operation, DEPENDENTS], operations[operation, DEPENDENTS_END]):
            other = dependents[place]
            operations[other, READY] = max(operations[other, READY], instant)
            operations[other, WAITING] -= 1
            if operations[other, WAITING] == 0:
                push(
                    head, agenda, operations[other, READY], operations[other, O_ORDER], 0,
                    4 * other + OPERATION_ITEM,
                )  # fmt: skip
        group = operations[operation, GROUP]
        groups[group, ENDED] = max(groups[group, ENDED], instant)
        groups[group, OPEN] -= 1
        if groups[group, OPEN] == 0:
            seen[head[SEEN], 0], seen[head[SEEN], 1] = -1 - group, groups[group, ENDED]
            head[SEEN] += 1
            limit = min(limit, groups[group, ENDED])
    release(head, messages, row)
    return limit


@njit(cache=True)
def _halve_bins(servers: np.ndarray, bins: np.ndarray) -> None:
    half = bins.shape[1] // 2
    for server in range(bins.shape[0]):
        if servers[server, TOUCHED]:
            for i in range(half):
                for column in range(2):
                    bins[server, i, column] = bins[server, 2 * i, column] + bins[server, 2 * i + 1, column]
            bins[server, half:] = 0


@njit(cache=True)
def _share(size: int, part: int, whole: int) -> int:
    """Return floor(size * part / whole) for 0 < part < whole."""
    if size < SAFE // whole:
        return size * part // whole
    up = divide_up(size, part, whole)
    # divide_up rounds up; step back unless the division is exact, told by the low 64 bits of both products.
    return up - 1 if up * whole != size * part else up


@njit(cache=True)
def carry(
    head: np.ndarray, servers: np.ndarray, bins: np.ndarray, server: int, begin: int, end: int, busy: bool, size: int
) -> None:
    """Add a stretch of a server, and the bytes it carried in it, to the bins; merge pairs of bins when the last one is
    passed."""
    while end > bins.shape[1] << head[SHIFT]:
        _halve_bins(servers, bins)
        head[SHIFT] += 1
    servers[server, TOUCHED] = 1
    shift = head[SHIFT]
    if end == begin:
        # A few bytes on a fast link may end in the picosecond in which the message before them ended.
        bins[server, max(end - 1, 0) >> shift, 1] += size
        return
    done = 0
    for i in range(begin >> shift, ((end - 1) >> shift) + 1):
        stop = min(end, (i + 1) << shift)
        if busy:
            bins[server, i, 0] += stop - max(begin, i << shift)
        carried = size if stop == end else _share(size, stop - begin, end - begin)
        bins[server, i, 1] += carried - done
        done = carried
