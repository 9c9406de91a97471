"""`fair`: fluid flows share links max-min fairly; this is their coming and going.

A bundle counts the bytes SERVED to each of its flows; a flow ends when that reaches its own mark, so a change of rate
costs one step a bundle, whatever the number of flows in it. Who gets which rate is for `_maxmin` to say.

Model: flows are fluid and rates change at once, without the time that a transport needs to find them; a flow is charged
on all of its links as on the one that would take longest for it alone.
"""

import math

import numpy as np

from simcore.fabric._agenda import earliest, push, room_left, take
from simcore.fabric._compiled import amount_column, amounts, column, compiled, cube, table
from simcore.fabric._kernels import (
    AFTER, ARRIVAL, AVAILABLE, BEFORE, DEN, DONE, DRAIN, HOP, HOP_LATENCY, HOP_LEFT, HOP_LINK, HOP_SERVER, ISSUED,
    LANDING, LATEST, LATEST_INSTANT, NEXT, NOTHING, NUM, OPERATION, ORDER, OVERFLOW, OVERHEAD, QUEUE, RECORDING,
    RESERVED, ROOM, ROOM_FIRST, ROUTE, SEEN, SIZE, TAIL, T_AMOUNTS, T_BINS, T_BOOK, T_BUNDLES, T_CHANGED, T_CHOSEN,
    T_CLOCK, T_COUNTS, T_CURVES, T_DEPENDENTS, T_DIRTY, T_DONE, T_ENTRIES, T_FILLING, T_FLUID, T_FRONT, T_GROUPS,
    T_HEAD, T_HOPS, T_KEYS, T_LEVELS, T_LINKS, T_MARKS, T_MEASURES, T_MESSAGES, T_OPERATIONS, T_PENDING, T_PORTS,
    T_RANKED, T_RUNS, T_SCRATCH, T_SEEN, T_SERVERS, VISITS, WATCHES, WHERE, Lines, admit, begin_message, charged,
    deliver, divide_up,
)  # fmt: skip
from simcore.fabric._maxmin import (
    BATCH, B_FLOWS, B_HOP, B_HOPS, B_LIMIT, B_PLACE, B_TOP, B_TOUCHED, CAPACITY, CHANGED, DIRTY, EPOCH, P_BUNDLES,
    P_DIRTY, P_FIRST, P_PAYLOAD, P_TOTAL, RANKED, RATE, SERVED, SINCE, WHEN, instant_of, rank, serve_up_to, solve,
)  # fmt: skip
from simcore.fabric._queues import serve
from simcore.fabric._waits import FULL, happen

# The second child of a flow in the heap of its bundle (NEXT is the first); nothing arrives while it flows.
OTHER = ARRIVAL
# Words of its clock.
BATCH_TIME = 0
TOGETHER = 2.0**-11
"""Ends that lie closer than this (ps) are one; float64 tells instants up to 2**40 ps from the epoch apart by 2**-12."""
RENEW = 2.0**40


@compiled
def _unrank(fluid: np.ndarray, bundles: np.ndarray, keys: np.ndarray, ranked: np.ndarray, place: int) -> None:
    bundles[ranked[place], B_PLACE] = -1
    fluid[RANKED] -= 1
    last = fluid[RANKED]
    if place < last:
        keys[place], ranked[place] = keys[last], ranked[last]
        rank(bundles, keys, ranked, last, place)


@compiled
def _merge(messages: np.ndarray, marks: np.ndarray, a: int, b: int) -> int:
    """Merge two skew heaps of flows, ordered by (mark, order); NEXT and OTHER are the children."""
    root, above = -1, -1
    while a >= 0 and b >= 0:
        if marks[b, TAIL] < marks[a, TAIL] or (
            marks[b, TAIL] == marks[a, TAIL] and messages[b, ORDER] < messages[a, ORDER]
        ):
            a, b = b, a
        if above < 0:
            root = a
        else:
            messages[above, NEXT] = a
        above = a
        a = messages[above, OTHER]
        messages[above, OTHER] = messages[above, NEXT]
    rest = a if a >= 0 else b
    if above < 0:
        return rest
    messages[above, NEXT] = rest
    return root


@compiled
def _touch(
    fluid: np.ndarray, bundles: np.ndarray, hops: np.ndarray, ports: np.ndarray, dirty: np.ndarray, changed: np.ndarray,
    bundle: int,
) -> None:  # fmt: skip
    """Note that the flows of a bundle, and so the links of its route, have changed."""
    if not bundles[bundle, B_TOUCHED]:
        bundles[bundle, B_TOUCHED] = 1
        changed[fluid[CHANGED]] = bundle
        fluid[CHANGED] += 1
    first = bundles[bundle, B_HOP]
    for hop in range(first, first + bundles[bundle, B_HOPS]):
        server = hops[hop, HOP_SERVER]
        if not ports[server, P_DIRTY]:
            ports[server, P_DIRTY] = 1
            dirty[fluid[DIRTY]] = server
            fluid[DIRTY] += 1


@compiled
def _join(
    fluid: np.ndarray, messages: np.ndarray, marks: np.ndarray, hops: np.ndarray, bundles: np.ndarray,
    rates: np.ndarray, ports: np.ndarray, dirty: np.ndarray, changed: np.ndarray, row: int, charge: int, x: float,
) -> None:  # fmt: skip
    """Let a message begin to flow."""
    first = messages[row, HOP]
    bundle = hops[first, ROUTE]
    if bundles[bundle, B_FLOWS] == 0:
        bundles[bundle, B_HOP], bundles[bundle, B_HOPS] = first, hops[first, HOP_LEFT]
        bundles[bundle, B_TOP] = bundles[bundle, B_PLACE] = bundles[bundle, B_LIMIT] = -1
        rates[bundle, RATE] = rates[bundle, SERVED] = 0.0
        rates[bundle, WHEN] = x
        for hop in range(first, first + hops[first, HOP_LEFT]):
            server = hops[hop, HOP_SERVER]
            after = ports[server, P_FIRST]
            hops[hop, AFTER], hops[hop, BEFORE] = after, -1
            if after >= 0:
                hops[after, BEFORE] = hop
            ports[server, P_FIRST] = hop
            ports[server, P_BUNDLES] += 1
    else:
        serve_up_to(rates, bundle, x)
    bundles[bundle, B_FLOWS] += 1
    messages[row, NEXT] = messages[row, OTHER] = -1
    marks[row, TAIL] = rates[bundle, SERVED] + float(charge)
    bundles[bundle, B_TOP] = _merge(messages, marks, bundles[bundle, B_TOP], row)
    _touch(fluid, bundles, hops, ports, dirty, changed, bundle)


@compiled
def _leave(
    fluid: np.ndarray, messages: np.ndarray, marks: np.ndarray, hops: np.ndarray, bundles: np.ndarray,
    ports: np.ndarray, keys: np.ndarray, ranked: np.ndarray, dirty: np.ndarray, changed: np.ndarray,
    bundle: int, charge: int,
) -> None:  # fmt: skip
    """Take the first flow out of a bundle, and the bundle off its links if that was its last."""
    row = bundles[bundle, B_TOP]
    bundles[bundle, B_TOP] = _merge(messages, marks, messages[row, NEXT], messages[row, OTHER])
    bundles[bundle, B_FLOWS] -= 1
    _touch(fluid, bundles, hops, ports, dirty, changed, bundle)
    first = bundles[bundle, B_HOP]
    for hop in range(first, first + bundles[bundle, B_HOPS]):
        server = hops[hop, HOP_SERVER]
        ports[server, P_TOTAL] += charge
        ports[server, P_PAYLOAD] += messages[row, SIZE]
        if bundles[bundle, B_FLOWS] == 0:
            after, before = hops[hop, AFTER], hops[hop, BEFORE]
            if after >= 0:
                hops[after, BEFORE] = before
            if before >= 0:
                hops[before, AFTER] = after
            else:
                ports[server, P_FIRST] = after
            ports[server, P_BUNDLES] -= 1
    if bundles[bundle, B_FLOWS] == 0:
        _unrank(fluid, bundles, keys, ranked, bundles[bundle, B_PLACE])


@compiled
def _renew(
    fluid: np.ndarray, rates: np.ndarray, measures: np.ndarray, keys: np.ndarray, ranked: np.ndarray, x: float
) -> float:
    """Begin a new epoch a whole number of ps before ``x``; return x in it."""
    shift = math.floor(x)
    fluid[EPOCH] += int(shift)
    for place in range(fluid[RANKED]):
        keys[place] -= shift
        rates[ranked[place], WHEN] -= shift
    for link in range(measures.shape[0]):
        measures[link, SINCE] -= shift
    return x - shift


@compiled
def _charge(lines: Lines, first: int, size: int) -> int:
    """Return the bytes that a message is charged with: those of the link on its path that takes longest for it."""
    hops, servers, longest, most = lines[0], lines[1], -1, size
    for hop in range(first, first + hops[first, HOP_LEFT]):
        server = hops[hop, HOP_SERVER]
        charge = charged(lines, server, size)
        takes = divide_up(charge, servers[server, NUM], servers[server, DEN])
        if takes > longest:
            longest, most = takes, charge
    return most


@compiled
def _lead(lines: Lines, first: int) -> int:
    """Return how long a message waits before it flows: latency and costs per message of its path, ps."""
    hops, servers, lead = lines[0], lines[1], 0
    for hop in range(first, first + hops[first, HOP_LEFT]):
        lead += hops[hop, HOP_LATENCY] + servers[hops[hop, HOP_SERVER], OVERHEAD]
    return lead


@compiled
def _lone_time(lines: Lines, measures: np.ndarray, first: int, charge: int) -> int:
    """Return how long a message takes over its empty path, ps."""
    hops, slowest = lines[0], math.inf
    end = first + hops[first, HOP_LEFT]
    for hop in range(first, end):
        server, crossings = hops[hop, HOP_SERVER], 0
        for other in range(first, end):
            # A bus that is crossed twice serves every byte twice.
            crossings += hops[other, HOP_SERVER] == server
        slowest = min(slowest, measures[server, CAPACITY] / crossings)
    return _lead(lines, first) + instant_of(charge / slowest)


@compiled
def advance(state: np.ndarray, bound: int, time: int, order: int, size: int, hop: int, meta: int) -> int:
    """Let flows run up to the moment ``bound``, or to the first instant at which a process must act; as in
    `_queues`."""
    head, messages = column(state, T_HEAD), table(state, T_MESSAGES)
    agenda = (table(state, T_BOOK), table(state, T_ENTRIES), table(state, T_FRONT))
    if order >= 0 and not admit(head, agenda, messages, time, order, size, hop, meta):
        return ROOM_FIRST
    hops, servers = table(state, T_HOPS), table(state, T_SERVERS)
    lines = (hops, servers, table(state, T_CURVES), cube(state, T_BINS), table(state, T_SCRATCH))
    operations, dependents = table(state, T_OPERATIONS), column(state, T_DEPENDENTS)
    plans = (table(state, T_PENDING), table(state, T_RUNS), operations, dependents, table(state, T_GROUPS))
    reports = (table(state, T_DONE), table(state, T_SEEN))
    fluid, bundles, ports = column(state, T_FLUID), table(state, T_BUNDLES), table(state, T_PORTS)
    marks, rates, measures = amounts(state, T_MARKS), amounts(state, T_AMOUNTS), amounts(state, T_MEASURES)
    keys, ranked, dirty = amount_column(state, T_KEYS), column(state, T_RANKED), column(state, T_DIRTY)
    chosen, links, counts = column(state, T_CHOSEN), column(state, T_LINKS), column(state, T_COUNTS)
    changed = column(state, T_CHANGED)
    levels, filling, clock = amount_column(state, T_LEVELS), column(state, T_FILLING), amount_column(state, T_CLOCK)
    why = NOTHING
    while True:
        x, now = clock[BATCH_TIME], -1
        if not fluid[BATCH]:
            now = earliest(agenda)
            if fluid[RANKED] > 0 and (now < 0 or fluid[EPOCH] + instant_of(keys[0]) <= now):
                x = keys[0]
                now = fluid[EPOCH] + instant_of(x)
                if 2 * now > bound:
                    return 2 * now
                if x > RENEW:
                    x = _renew(fluid, rates, measures, keys, ranked, x)
                fluid[BATCH] = 1
                clock[BATCH_TIME] = x
            elif now < 0:
                return NOTHING
            elif 2 * now + 1 > bound:
                return 2 * now + 1
        known, limit = head[SEEN], LATEST_INSTANT
        if fluid[BATCH]:
            now = fluid[EPOCH] + instant_of(x)
            while fluid[RANKED] > 0 and keys[0] <= x + TOGETHER:
                if head[DONE] >= state[T_DONE, 1] or head[SEEN] + 2 + head[WATCHES] > state[T_SEEN, 1]:
                    head[WHERE] = now
                    return DRAIN
                if not room_left(agenda, 2 + head[RESERVED]):
                    return ROOM
                head[VISITS] += 1
                bundle = ranked[0]
                serve_up_to(rates, bundle, x)
                row = bundles[bundle, B_TOP]
                rates[bundle, SERVED] = max(rates[bundle, SERVED], marks[row, TAIL])
                charge, lone = 0, 0
                if head[RECORDING]:
                    charge = _charge(lines, messages[row, HOP], messages[row, SIZE])
                    lone = _lone_time(lines, measures, messages[row, HOP], charge)
                _leave(fluid, messages, marks, hops, bundles, ports, keys, ranked, dirty, changed, bundle, charge)
                if bundles[bundle, B_FLOWS] > 0:
                    left = marks[bundles[bundle, B_TOP], TAIL] - rates[bundle, SERVED]
                    keys[0] = x + max(left, 0.0) / rates[bundle, RATE]
                    rank(bundles, keys, ranked, fluid[RANKED], 0)
                limit = deliver(head, agenda, messages, plans, reports, row, now, lone, limit)
            fluid[BATCH] = 0
        else:
            if fluid[RANKED] == 0:
                fluid[EPOCH] = now
            x = float(now - fluid[EPOCH])
            if x > RENEW:
                x = _renew(fluid, rates, measures, keys, ranked, x)
            while earliest(agenda) == now:
                if head[DONE] >= state[T_DONE, 1] or head[SEEN] + 2 + head[WATCHES] > state[T_SEEN, 1]:
                    head[WHERE], why = now, DRAIN
                    break
                if head[AVAILABLE] < 2 or not room_left(agenda, 2 + head[RESERVED]):
                    why = ROOM
                    break
                turn, item = take(agenda)
                head[VISITS] += 1
                if item & 7 >= LANDING:
                    limit = happen(state, item, now, limit)
                    if limit == FULL:
                        push(agenda, now, turn, item)
                        head[VISITS] -= 1
                        limit, why = LATEST_INSTANT, ROOM
                        break
                    if limit <= now:
                        break
                    continue
                # Operations are on the agenda for when they flow, everything else for when it is issued.
                waited = item & 7 == QUEUE or item & 7 == OPERATION
                row = item >> 3 if item & 7 == QUEUE else begin_message(head, agenda, messages, plans, item)
                first, last = messages[row, HOP], now
                if hops[first, HOP_LINK] < 0:
                    if not serve(head, messages, lines, row):
                        head[WHERE] = now
                        return OVERFLOW
                    last = messages[row, TAIL]
                elif not waited:
                    begin = now + _lead(lines, first)
                    if float(begin) >= LATEST:
                        head[WHERE] = now
                        return OVERFLOW
                    push(agenda, begin, turn, 8 * row + QUEUE)
                    continue
                else:
                    charge = _charge(lines, first, messages[row, SIZE])
                    if charge > 0:
                        _join(fluid, messages, marks, hops, bundles, rates, ports, dirty, changed, row, charge, x)
                        continue
                lone = last - messages[row, ISSUED]
                limit = deliver(head, agenda, messages, plans, reports, row, last, lone, limit)
                if limit <= now:
                    break
        if head[SEEN] > known:
            bound = min(bound, 2 * limit)
        if fluid[DIRTY] > 0 and not solve(
            head, fluid, messages, marks, lines, bundles, rates, ports, measures, keys, ranked, dirty, changed, chosen,
            links,
            levels, filling, counts, x,
        ):  # fmt: skip
            head[WHERE] = now
            return OVERFLOW
        if why != NOTHING:
            return why
