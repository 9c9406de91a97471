"""What every sharing policy stands on: the layout of the state, exact arithmetic, bins, and who is told.

The state of the data plane is a handful of integer tables. A message under way is a row of ``messages``; what has not
begun waits in stamped tables (``pending``, read through ``runs``) or as rows of schedules (``operations``). The agenda
holds items: a queue between two links, a run, a message, or an operation. ``order`` is source rank and source sequence
in one word.
"""

import numpy as np

from simcore.fabric._agenda import Agenda, push, room_left
from simcore.fabric._compiled import column, compiled, table

Plans = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Pending, runs, operations, dependents, groups."""
Lines = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Hops, servers, curves, bins, scratch."""
Reports = tuple[np.ndarray, np.ndarray]
"""Done, seen."""

# Columns of a message, one cache line. ARRIVAL: its head reaches its next link; TAIL: its last byte does; HOP: that
# link on its route; NEXT: behind it in a queue. TAG is the META of a message or, below zero, its operation. Of a
# packet, ISSUED names its message (below zero) and TAG is its number; of a message that is cut, NEXT counts packets
# under way.
ARRIVAL, TAIL, SIZE, HOP, ORDER, NEXT, ISSUED, TAG = range(8)
MESSAGE_COLUMNS = 8
# META: destination rank and name; whether it sets a word (then in place of the name stands a row of ``stores``),
# whether it is a computation, whether a process must know of its end, whether it is a flag.
META_DST, META_WHAT, META_WORD, META_SILENT, META_SEEN, META_FLAG = 40, 4, 8, 4, 2, 1
WHAT_MASK = 2 ** (META_DST - META_WHAT) - 1
# ORDER: source rank above, sequence below.
ORDER_SOURCE = 40
SEQUENCE_MASK = 2**ORDER_SOURCE - 1
# Columns of a server: 10**12 / bandwidth = NUM / DEN in lowest terms; the busy period (BEGAN, ACCEPTED); its end; time
# a message costs on top; whether bins were used; its points of efficiency in ``curves``.
NUM, DEN, BEGAN, ACCEPTED, FREE, OVERHEAD, TOUCHED, CURVE, CURVE_END = range(9)
SERVER_COLUMNS = 9
# Columns of a hop, one link of one route. LINK is -1 for the compute stream of a rank; LEFT counts the links from here
# to the end, PLACE those before. ROUTE is the number of the route. AFTER and BEFORE chain the hops with flows on one
# server (policy `fair`); the first hop of a route keeps the latest arrival over it in AFTER (policy `ideal`).
HOP_SERVER, HOP_LINK, HOP_LATENCY, HOP_LEFT, HOP_PLACE, ROUTE, AFTER, BEFORE = range(8)
HOP_COLUMNS = 8
# Columns of a queue between a link and whatever follows it: first and last message.
FIRST, LAST = range(2)
# Rows of ``pending``, one a column of a stamped table.
P_TIME, P_ORDER, P_SIZE, P_HOP, P_META = range(5)
PENDING_ROWS = 5
# Columns of a run, a stretch of ``pending`` in order of time.
RUN_NEXT, RUN_END = range(2)
# Columns of an operation, a row of a schedule; its dependents lie in ``dependents`` up to those of the next one.
# LEAD: how long after READY it is due on the agenda (policy `fair`: when its path's latency has passed; a delay: when
# that is over).
# O_ENDED takes the place of WAITING, which nobody reads of a row that has begun.
WAITING, READY, LEAD, O_ORDER, O_SIZE, O_HOP, O_META, GROUP, DEPENDENTS = range(9)
O_ENDED = WAITING
OPERATION_COLUMNS = 9
# Columns of a group, a schedule at play: operations that have not ended, the latest end so far.
OPEN, ENDED = range(2)
# Columns of a store: the word that it sets, the value, its name.
STORE_WORD, STORE_VALUE, STORE_WHAT = range(3)
STORE_COLUMNS = 3
# Columns of a delivery.
D_ORDER, D_META, D_SIZE, D_ISSUED, D_ARRIVED, D_QUEUED = range(6)
DELIVERY_COLUMNS = 6
# Words of the head. WHERE: the instant at which a loop stopped early, or the size of what it refused; RESERVED: room
# of the agenda that is kept for operations that become ready and for waiters; WATCHES: waits that have not ended, any
# number of which may end at once; VISITS: items taken off the agenda; LANDED: words set so far; POLLS: items of waiters
# on the agenda.
(
    SHIFT, SPARE, ROWS, AVAILABLE, DONE, SEEN, RECORDING, CUT_THROUGH, MTU, BUFFER, PACKETS_MOST, ALONE, WHERE,
    RESERVED, WATCHES, VISITS, LANDED, POLLS,
) = range(18)  # fmt: skip
HEAD_WORDS = 18
# The tables of the state.
T_HEAD, T_BOOK, T_ENTRIES, T_FRONT, T_MESSAGES, T_QUEUES, T_HOPS, T_SERVERS, T_CURVES, T_BINS, T_SCRATCH = range(11)
T_PENDING, T_RUNS, T_OPERATIONS, T_DEPENDENTS, T_GROUPS, T_DONE, T_SEEN = range(11, 18)
T_GATES, T_FLUID, T_MARKS, T_BUNDLES, T_AMOUNTS, T_PORTS, T_MEASURES, T_KEYS, T_RANKED, T_DIRTY = range(18, 28)
T_CHOSEN, T_LINKS, T_LEVELS, T_FILLING, T_COUNTS, T_CLOCK, T_CHANGED = range(28, 35)
T_WORDS, T_STORES, T_PAST, T_WAITERS, T_MONITORS, T_EYES = range(35, 41)
TABLES = 41

# Kinds of items on the agenda, in their lowest three bits; the last two concern words of memory (`_waits`): a message
# that sets one has arrived, and something is due for a waiter.
QUEUE, RUN, MESSAGE, OPERATION, LANDING, WAITER = range(6)

NOTHING, DRAIN, ROOM, ROOM_FIRST, OVERFLOW, TOO_LARGE, PAUSE = range(-1, -8, -1)
"""Why a kernel returned, if not the moment at which it must go on: nothing is left to do; the lists of deliveries are
full; more messages or items need room; so does the one message that was to be admitted; time left its range; a packet
fits no buffer; so many polls were carried that Python must see whether its user interrupts.

A *moment* is twice an instant, and one more once all processes of that instant have acted: messages arrive at odd
moments, fluid flows end at even ones.
"""

SAFE = 2**62
LATEST = 2.0**61
LATEST_INSTANT = 2**61
MANY_POLLS = 2**19
LAST_MOMENT = 2 * LATEST_INSTANT
"""A bound beyond it says that no process acts before something happens in the data plane."""


@compiled
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


@compiled
def fits(began: int, accepted: int, num: int, den: int, latency: int) -> bool:
    """Return whether a message that ends a busy period of ``accepted`` bytes arrives within the range of time."""
    if accepted < 0 or accepted >= SAFE:
        # So many bytes in one busy period that their sum left 64 bits.
        return False
    if began < 2**60 and accepted < 2**31 and num < 2**28:
        return True
    return float(began) + float(accepted) * num / den + float(latency) < LATEST


@compiled
def charged(lines: Lines, server: int, size: int) -> int:
    """Return the bytes that a link is charged with for a message of ``size`` bytes: more than those where small
    messages are known to be inefficient, linear between measured points, of constant efficiency outside them."""
    servers, curves = lines[1], lines[2]
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


@compiled
def alone(head: np.ndarray, lines: Lines, hop: int, size: int, mtu: int) -> int:
    """Return how long a message takes over its path when that is empty, ps; ``hop`` is any of the path, ``mtu`` cuts it
    into packets (0: not at all)."""
    hops, servers, ends = lines[0], lines[1], lines[4]
    first = hop - hops[hop, HOP_PLACE]
    count = hops[first, HOP_LEFT]
    ends[:count] = 0
    packets = 1 if mtu == 0 or size <= mtu else (size + mtu - 1) // mtu
    arrived = 0
    for number in range(packets):
        part = size if packets == 1 else min(mtu, size - number * mtu)
        reach, tail = 0, 0
        for k in range(count):
            server, latency = hops[first + k, HOP_SERVER], hops[first + k, HOP_LATENCY]
            charge = charged(lines, server, part)
            slot = k
            for other in range(k):
                if hops[first + other, HOP_SERVER] == server:
                    # A bus that is crossed twice: a message may have to wait for itself.
                    slot = other
                    break
            idle = reach >= ends[slot, 2]
            start = (reach if idle else ends[slot, 2]) + servers[server, OVERHEAD]
            began = (reach if idle else ends[slot, 0]) + servers[server, OVERHEAD]
            accepted = charge if idle else ends[slot, 1] + charge
            end = began + divide_up(accepted, servers[server, NUM], servers[server, DEN])
            if head[CUT_THROUGH] and tail > end:
                end = began = tail
                accepted = 0
            ends[slot, 0], ends[slot, 1], ends[slot, 2] = began, accepted, end
            tail = end + latency
            reach = (start if head[CUT_THROUGH] else end) + latency
        arrived = max(arrived, tail)
    return arrived


@compiled
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


@compiled
def release(head: np.ndarray, messages: np.ndarray, row: int) -> None:
    """Give a row of ``messages`` back."""
    messages[row, NEXT] = head[SPARE]
    head[SPARE] = row
    head[AVAILABLE] += 1


@compiled
def fill(messages: np.ndarray, row: int, time: int, order: int, size: int, hop: int, tag: int) -> None:
    """Write a new message into ``row``."""
    messages[row, ARRIVAL] = messages[row, TAIL] = messages[row, ISSUED] = time
    messages[row, SIZE], messages[row, HOP], messages[row, ORDER], messages[row, TAG] = size, hop, order, tag
    messages[row, NEXT] = -1


@compiled
def admit(
    head: np.ndarray, agenda: Agenda, messages: np.ndarray, time: int, order: int, size: int, hop: int, meta: int
) -> bool:
    """Admit one message that is issued now; False if there is no room for it."""
    if head[MTU] > 0:
        head[PACKETS_MOST] = max(head[PACKETS_MOST], (size + head[MTU] - 1) // head[MTU])
    if head[AVAILABLE] < 1 or not room_left(agenda, 1 + head[RESERVED]):
        return False
    row = claim(head, messages)
    fill(messages, row, time, order, size, hop, meta)
    push(agenda, time, order, 8 * row + MESSAGE)
    return True


@compiled
def inject(state: np.ndarray, time: int, order: int, size: int, hop: int, meta: int) -> bool:
    """Admit one message from outside a loop."""
    agenda = (table(state, T_BOOK), table(state, T_ENTRIES), table(state, T_FRONT))
    return admit(column(state, T_HEAD), agenda, table(state, T_MESSAGES), time, order, size, hop, meta)


@compiled
def begin_run(state: np.ndarray, first: int, run: int) -> None:
    """Put a stamped table on the agenda."""
    agenda, pending = (table(state, T_BOOK), table(state, T_ENTRIES), table(state, T_FRONT)), table(state, T_PENDING)
    push(agenda, pending[P_TIME, first], pending[P_ORDER, first], 8 * run + RUN)


@compiled
def begin_schedule(state: np.ndarray, first: int, end: int) -> None:
    """Put every operation that waits for nothing on the agenda."""
    agenda, operations = (
        (table(state, T_BOOK), table(state, T_ENTRIES), table(state, T_FRONT)),
        table(state, T_OPERATIONS),
    )
    for operation in range(first, end):
        if operations[operation, WAITING] == 0:
            due = operations[operation, READY] + operations[operation, LEAD]
            push(agenda, due, operations[operation, O_ORDER], 8 * operation + OPERATION)


IN_ORDER, ONE_INSTANT, MIXED = range(3)
"""How a stamped table lies: by (time, source) already; all at one time; anyhow."""


@compiled
def order_of(time: np.ndarray, src: np.ndarray) -> int:
    """Return how a stamped table lies; ``src`` as in `stamp`."""
    lies, step = IN_ORDER, len(src) > 1
    for row in range(1, len(time)):
        if lies == ONE_INSTANT and time[row] != time[0]:
            return MIXED
        if time[row] < time[row - 1] or (time[row] == time[row - 1] and src[row * step] < src[(row - 1) * step]):
            if time[row] != time[0] or time[row - 1] != time[0]:
                return MIXED
            lies = ONE_INSTANT
    return lies


@compiled
def by_source(src: np.ndarray, places: np.ndarray, starts: np.ndarray) -> None:
    """Give every row its place in the order of sources, rows of one source as they stand; ``starts`` is scratch, one
    word a source and one more, zero."""
    for row in range(len(src)):
        starts[src[row] + 1] += 1
    for source in range(1, len(starts)):
        starts[source] += starts[source - 1]
    for row in range(len(src)):
        places[row] = starts[src[row]]
        starts[src[row]] += 1


@compiled
def stamp(
    time: np.ndarray, src: np.ndarray, dst: np.ndarray, size: np.ndarray, meta: np.ndarray, places: np.ndarray,
    endpoints: np.ndarray, route_of: np.ndarray, route_hop: np.ndarray, following: np.ndarray, pending: np.ndarray,
    begin: int,
) -> int:  # fmt: skip
    """Write a stamped table into ``pending`` from ``begin`` on, each row with its route and its source's next order, at
    its place (empty: as it stands); return its largest message.

    A column of one row stands for the same in every row; so it need not be written out ten million times.
    """
    largest = 0
    src_step, dst_step, size_step, meta_step = len(src) > 1, len(dst) > 1, len(size) > 1, len(meta) > 1
    for row in range(len(time)):
        place = begin + (places[row] if len(places) else row)
        source, target = src[row * src_step], dst[row * dst_step]
        pending[P_TIME, place], pending[P_ORDER, place] = time[row], following[source]
        following[source] += 1
        pending[P_HOP, place] = route_hop[route_of[endpoints[source], endpoints[target]] - 1]
        pending[P_SIZE, place] = size[row * size_step]
        pending[P_META, place] = (target << META_DST) | meta[row * meta_step]
        largest = max(largest, size[row * size_step])
    return largest


@compiled
def first_unknown(src: np.ndarray, dst: np.ndarray, endpoints: np.ndarray, route_of: np.ndarray) -> int:
    """Return the first row whose route is not known yet, or -1; columns as in `stamp`."""
    src_step, dst_step = len(src) > 1, len(dst) > 1
    for row in range(max(len(src), len(dst))):
        if route_of[endpoints[src[row * src_step]], endpoints[dst[row * dst_step]]] == 0:
            return row
    return -1


@compiled
def first_unknown_move(
    known: np.ndarray, rank: np.ndarray, peer: np.ndarray, endpoints: np.ndarray, route_of: np.ndarray
) -> int:
    """The same for the transfers of a schedule, whose ranks ``known`` maps."""
    for row in range(len(rank)):
        src, dst = known[rank[row]], known[peer[row]]
        if src != dst and route_of[endpoints[src], endpoints[dst]] == 0:
            return row
    return -1


@compiled
def enlist(
    state: np.ndarray, begin: int, edges: int, group: int, now: int, meta: int, known: np.ndarray, rank: np.ndarray,
    peer: np.ndarray, size: np.ndarray, duration: np.ndarray, stream: np.ndarray, after_begin: np.ndarray,
    after: np.ndarray, endpoints: np.ndarray, route_of: np.ndarray, route_hop: np.ndarray, leads: np.ndarray,
    following: np.ndarray, cursor: np.ndarray,
) -> None:  # fmt: skip
    """Write a schedule into ``operations`` from ``begin`` on and turn its dependencies round into ``dependents`` from
    ``edges`` on; ``known`` maps its ranks, ``stream`` is empty where nothing is a delay, ``cursor`` is scratch, one
    word a row and one more, zero."""
    operations, dependents = table(state, T_OPERATIONS), column(state, T_DEPENDENTS)
    count = len(rank)
    for edge in range(len(after)):
        cursor[after[edge] + 1] += 1
    for row in range(count):
        cursor[row + 1] += cursor[row]
        src, dst, place = known[rank[row]], known[peer[row]], begin + row
        operations[place, DEPENDENTS] = edges + cursor[row]
        operations[place, WAITING], operations[place, READY] = after_begin[row + 1] - after_begin[row], now
        operations[place, O_ORDER], operations[place, GROUP] = following[src], group
        following[src] += 1
        if src == dst:
            # A delay is due when it has passed, and occupies a server that takes no time.
            delays = len(stream) > 0 and stream[row] < 0
            operations[place, O_SIZE] = 0 if delays else duration[row]
            operations[place, LEAD] = duration[row] if delays else 0
            operations[place, O_HOP] = len(endpoints) if delays else src
            operations[place, O_META] = (dst << META_DST) | meta | META_SILENT
        else:
            route = route_of[endpoints[src], endpoints[dst]] - 1
            operations[place, O_SIZE], operations[place, O_HOP] = size[row], route_hop[route]
            operations[place, LEAD] = leads[route]
            operations[place, O_META] = (dst << META_DST) | meta
    operations[begin + count, DEPENDENTS] = edges + cursor[count]
    for row in range(count):
        for edge in range(after_begin[row], after_begin[row + 1]):
            dependents[edges + cursor[after[edge]]] = begin + row
            cursor[after[edge]] += 1


@compiled
def begin_message(head: np.ndarray, agenda: Agenda, messages: np.ndarray, plans: Plans, item: int) -> int:
    """Return the row of the message that an item, taken off the agenda, begins; a run goes back onto it for its next
    one."""
    pending, runs, operations = plans[0], plans[1], plans[2]
    kind, index = item & 7, item >> 3
    if kind == MESSAGE:
        return index
    row = claim(head, messages)
    if kind == OPERATION:
        begins = operations[index, READY]
        if operations[index, O_META] & META_SILENT:
            begins += operations[index, LEAD]
        fill(
            messages, row, begins, operations[index, O_ORDER], operations[index, O_SIZE], operations[index, O_HOP],
            -1 - index,
        )  # fmt: skip
        return row
    place = runs[index, RUN_NEXT]
    fill(
        messages, row, pending[P_TIME, place], pending[P_ORDER, place], pending[P_SIZE, place], pending[P_HOP, place],
        pending[P_META, place],
    )  # fmt: skip
    place += 1
    runs[index, RUN_NEXT] = place
    if place < runs[index, RUN_END]:
        push(agenda, pending[P_TIME, place], pending[P_ORDER, place], item)
    return row


@compiled
def deliver(
    head: np.ndarray, agenda: Agenda, messages: np.ndarray, plans: Plans, reports: Reports, row: int, instant: int,
    lone: int, limit: int,
) -> int:  # fmt: skip
    """End a message: list it, let what depends on it begin, tell whoever must know; return the limit, which is no later
    than the instant at which a process may act on it.

    ``lone`` is the time of the empty path.
    """
    operations, dependents, groups = plans[2], plans[3], plans[4]
    done, seen = reports
    tag = messages[row, TAG]
    meta = tag if tag >= 0 else operations[-1 - tag, O_META]
    if not meta & META_SILENT:
        place = head[DONE]
        done[place, D_ORDER], done[place, D_META], done[place, D_SIZE] = messages[row, ORDER], meta, messages[row, SIZE]
        done[place, D_ISSUED], done[place, D_ARRIVED] = messages[row, ISSUED], instant
        done[place, D_QUEUED] = max(instant - messages[row, ISSUED] - lone, 0)
        head[DONE] += 1
    if meta & META_SEEN:
        seen[head[SEEN], 0], seen[head[SEEN], 1] = messages[row, ORDER], instant
        head[SEEN] += 1
        limit = min(limit, instant)
    if meta & META_WORD:
        messages[row, TAG] = meta
        push(agenda, instant, messages[row, ORDER], 8 * row + LANDING)
        return limit
    if tag < 0:
        operation = -1 - tag
        operations[operation, O_ENDED] = instant
        for place in range(operations[operation, DEPENDENTS], operations[operation + 1, DEPENDENTS]):
            other = dependents[place]
            ready = max(operations[other, READY], instant)
            operations[other, READY] = ready
            operations[other, WAITING] -= 1
            if operations[other, WAITING] == 0:
                push(agenda, ready + operations[other, LEAD], operations[other, O_ORDER], 8 * other + OPERATION)
        group = operations[operation, GROUP]
        groups[group, ENDED] = max(groups[group, ENDED], instant)
        groups[group, OPEN] -= 1
        if groups[group, OPEN] == 0:
            seen[head[SEEN], 0], seen[head[SEEN], 1] = -1 - group, groups[group, ENDED]
            head[SEEN] += 1
            limit = min(limit, groups[group, ENDED])
    release(head, messages, row)
    return limit


@compiled
def _halve_bins(servers: np.ndarray, bins: np.ndarray) -> None:
    half = bins.shape[1] // 2
    for server in range(bins.shape[0]):
        if servers[server, TOUCHED]:
            for i in range(half):
                for column in range(2):
                    bins[server, i, column] = bins[server, 2 * i, column] + bins[server, 2 * i + 1, column]
            bins[server, half:] = 0


@compiled
def _share(size: int, part: int, whole: int) -> int:
    """Return floor(size * part / whole) for 0 < part < whole."""
    if size < SAFE // whole:
        return size * part // whole
    up = divide_up(size, part, whole)
    # divide_up rounds up; step back unless the division is exact, told by the low 64 bits of both products.
    return up - 1 if up * whole != size * part else up


@compiled
def carry(head: np.ndarray, lines: Lines, server: int, begin: int, end: int, size: int) -> None:
    """Add a busy stretch of a server, and the bytes it carried in it, to the bins; merge pairs of bins when the last
    one is passed."""
    servers, bins = lines[1], lines[3]
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
        bins[server, i, 0] += stop - max(begin, i << shift)
        carried = size if stop == end else _share(size, stop - begin, end - begin)
        bins[server, i, 1] += carried - done
        done = carried
