"""Max-min fair rates, re-solved only where an arrival or a departure can be felt.

All flows of one route have the same rate, so the solver sees *bundles*: a route with the number of its flows.

An arrival or departure touches the links of its route. The bundles that are limited there are solved again by
water-filling, all others frozen at their rates; then the certificate of max-min fairness (every flow has a saturated
link on which none is faster) is checked on every link of the solved ones, and frozen bundles that break it join, until
none does.
"""

import math

import numpy as np

from simcore.fabric._compiled import compiled
from simcore.fabric._kernels import AFTER, HOP_SERVER, LATEST, RECORDING, ROUTE, TAIL, Lines, carry

# Columns of a bundle, one a route: its hops, flows, first flow to end, place in the ranking, the link that limits it,
# the solve in which it was last solved or fixed, whether its next end must be computed anew.
B_HOP, B_HOPS, B_FLOWS, B_TOP, B_PLACE, B_LIMIT, B_SOLVED, B_FIXED, B_TOUCHED = range(9)
BUNDLE_COLUMNS = 9
# Columns of a bundle's amounts: bytes per ps of each flow, the same as solved now, bytes served to
# each flow up to WHEN.
RATE, SOLVED, SERVED, WHEN = range(4)
AMOUNT_COLUMNS = 4
# Columns of a port, the side of a server that shares: first hop with flows, how many such hops; those of bundles that
# are solved, and their flows; flows not fixed yet; the solve in which it was last touched or saturated; frozen bundles
# and whether one of them is limited here; bytes that flows which ended were charged with, and those that they had.
P_FIRST, P_BUNDLES, P_INCLUDED, P_ALL, P_FLOWS, P_TOUCHED, P_LEVELLED, P_FROZEN, P_LIMITS, P_DIRTY = range(10)
P_TOTAL, P_PAYLOAD = 10, 11
PORT_COLUMNS = 12
# Columns of a port's measures: bytes per ps in all, left in this solve, level of saturation, fastest frozen and solved
# flow; the load since SINCE and all bytes up to then.
CAPACITY, REST, LEVEL, FROZEN_MOST, SOLVED_MOST, LOAD, SINCE, CARRIED = range(8)
MEASURE_COLUMNS = 8
# Words of the fluid's own head.
EPOCH, RANKED, STAMP, DIRTY, CHANGED, BATCH = range(6)
FLUID_WORDS = 6

LEVEL_SLACK = 2e-13
"""Relative difference below which two rates are the same."""
LOAD_SLACK = 1e-12
"""Relative rest below which a link is saturated."""
ROUND = 2.0**-10
PATIENCE = 6
"""Rounds of widening after which whole neighbourhoods join."""


@compiled
def instant_of(x: float) -> int:
    """Return the integer instant of ``x`` ps after the epoch."""
    return math.ceil(x - ROUND)


@compiled
def rank(bundles: np.ndarray, keys: np.ndarray, ranked: np.ndarray, count: int, place: int) -> None:
    """Restore the ranking after the key at ``place`` changed."""
    key, bundle = keys[place], ranked[place]
    while place > 0:
        parent = (place - 1) >> 1
        if keys[parent] <= key:
            break
        keys[place], ranked[place] = keys[parent], ranked[parent]
        bundles[ranked[place], B_PLACE] = place
        place = parent
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[place], ranked[place] = keys[child], ranked[child]
        bundles[ranked[place], B_PLACE] = place
        place = child
    keys[place], ranked[place] = key, bundle
    bundles[bundle, B_PLACE] = place


@compiled
def serve_up_to(rates: np.ndarray, bundle: int, x: float) -> None:
    rates[bundle, SERVED] += rates[bundle, RATE] * (x - rates[bundle, WHEN])
    rates[bundle, WHEN] = x


@compiled
def _visit(ports: np.ndarray, links: np.ndarray, counts: np.ndarray, stamp: int, link: int) -> None:
    """Add a link to those of this solve."""
    if ports[link, P_TOUCHED] != stamp:
        ports[link, P_TOUCHED] = stamp
        ports[link, P_INCLUDED] = ports[link, P_ALL] = 0
        links[counts[1]] = link
        counts[1] += 1


@compiled
def _include(
    hops: np.ndarray, bundles: np.ndarray, ports: np.ndarray, chosen: np.ndarray, links: np.ndarray, counts: np.ndarray,
    stamp: int, bundle: int,
) -> None:  # fmt: skip
    """Add a bundle, and the links of its route, to those that are solved."""
    bundles[bundle, B_SOLVED] = stamp
    chosen[counts[0]] = bundle
    counts[0] += 1
    first = bundles[bundle, B_HOP]
    for hop in range(first, first + bundles[bundle, B_HOPS]):
        server = hops[hop, HOP_SERVER]
        _visit(ports, links, counts, stamp, server)
        ports[server, P_INCLUDED] += 1
        ports[server, P_ALL] += bundles[bundle, B_FLOWS]


@compiled
def _freeze(
    hops: np.ndarray, bundles: np.ndarray, rates: np.ndarray, ports: np.ndarray, measures: np.ndarray, link: int,
    stamp: int,
) -> None:  # fmt: skip
    """Find what is left on a link for the flows that are solved, the others frozen."""
    rest, frozen, limits, most = measures[link, CAPACITY], 0, 0, 0.0
    hop = ports[link, P_FIRST] if ports[link, P_INCLUDED] < ports[link, P_BUNDLES] else -1
    while hop >= 0:
        bundle = hops[hop, ROUTE]
        if bundles[bundle, B_SOLVED] != stamp:
            rate = rates[bundle, RATE]
            rest -= bundles[bundle, B_FLOWS] * rate
            frozen += 1
            most = max(most, rate)
            if bundles[bundle, B_LIMIT] == link:
                limits = 1
        hop = hops[hop, AFTER]
    measures[link, REST], measures[link, FROZEN_MOST], measures[link, SOLVED_MOST] = rest, most, 0.0
    ports[link, P_FLOWS], ports[link, P_FROZEN], ports[link, P_LIMITS] = ports[link, P_ALL], frozen, limits


@compiled
def _sink(levels: np.ndarray, filling: np.ndarray, count: int, place: int) -> None:
    level, link = levels[place], filling[place]
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and levels[child + 1] < levels[child]:
            child += 1
        if levels[child] >= level:
            break
        levels[place], filling[place] = levels[child], filling[child]
        place = child
    levels[place], filling[place] = level, link


@compiled
def _fill(
    hops: np.ndarray, bundles: np.ndarray, rates: np.ndarray, ports: np.ndarray, measures: np.ndarray,
    links: np.ndarray, counts: np.ndarray, levels: np.ndarray, filling: np.ndarray, stamp: int, turn: int,
) -> None:  # fmt: skip
    """Water-filling: saturate the link with the smallest share, fix its flows at that, and go on with the rest."""
    count = 0
    for k in range(counts[1]):
        link = links[k]
        if ports[link, P_FLOWS] > 0:
            levels[count], filling[count] = measures[link, REST] / ports[link, P_FLOWS], link
            count += 1
    for place in range(count // 2 - 1, -1, -1):
        _sink(levels, filling, count, place)
    while count > 0:
        link = filling[0]
        flows = ports[link, P_FLOWS]
        if flows > 0:
            level = measures[link, REST] / flows
            if level > levels[0] and count > 1:
                # Flows fixed elsewhere left more for the others here; shares never shrink while the water rises.
                levels[0] = level
                _sink(levels, filling, count, 0)
                if filling[0] != link:
                    continue
            ports[link, P_LEVELLED] = turn
            measures[link, LEVEL] = level
            hop = ports[link, P_FIRST]
            while hop >= 0:
                bundle = hops[hop, ROUTE]
                if bundles[bundle, B_SOLVED] == stamp and bundles[bundle, B_FIXED] != turn:
                    bundles[bundle, B_FIXED], bundles[bundle, B_LIMIT] = turn, link
                    rates[bundle, SOLVED] = level
                    flows = bundles[bundle, B_FLOWS]
                    first = bundles[bundle, B_HOP]
                    for each in range(first, first + bundles[bundle, B_HOPS]):
                        server = hops[each, HOP_SERVER]
                        measures[server, REST] -= flows * level
                        measures[server, SOLVED_MOST] = max(measures[server, SOLVED_MOST], level)
                        ports[server, P_FLOWS] -= flows
                hop = hops[hop, AFTER]
        count -= 1
        if count > 0:
            levels[0], filling[0] = levels[count], filling[count]
            _sink(levels, filling, count, 0)


@compiled
def _widen(
    hops: np.ndarray, bundles: np.ndarray, rates: np.ndarray, ports: np.ndarray, measures: np.ndarray,
    chosen: np.ndarray, links: np.ndarray, counts: np.ndarray, stamp: int, turn: int,
) -> bool:  # fmt: skip
    """Check the certificate on every link of the solved flows; include every frozen bundle that breaks it, and return
    whether there was one."""
    broken = False
    for k in range(counts[1]):
        link = links[k]
        if ports[link, P_FROZEN] == 0:
            continue
        levelled = ports[link, P_LEVELLED] == turn
        level = measures[link, LEVEL] if levelled else math.inf
        above = level * (1.0 + LEVEL_SLACK)
        # A frozen flow that this link limits stays so if the link is still full and nobody on it is faster.
        full = levelled or measures[link, REST] <= LOAD_SLACK * measures[link, CAPACITY]
        below = measures[link, SOLVED_MOST] * (1.0 - LEVEL_SLACK) if full else math.inf
        if measures[link, FROZEN_MOST] <= above and not ports[link, P_LIMITS]:
            continue
        hop = ports[link, P_FIRST]
        while hop >= 0:
            bundle = hops[hop, ROUTE]
            if bundles[bundle, B_SOLVED] != stamp:
                rate = rates[bundle, RATE]
                if rate > above or (bundles[bundle, B_LIMIT] == link and rate < below):
                    _include(hops, bundles, ports, chosen, links, counts, stamp, bundle)
                    broken = True
            hop = hops[hop, AFTER]
    return broken


@compiled
def _surround(
    hops: np.ndarray, bundles: np.ndarray, ports: np.ndarray, chosen: np.ndarray, links: np.ndarray, counts: np.ndarray,
    stamp: int, layers: int,
) -> None:  # fmt: skip
    """Include every bundle within so many shared links of the solved ones."""
    begin = 0
    for _ in range(layers):
        end = counts[1]
        if begin == end:
            return
        for k in range(begin, end):
            hop = ports[links[k], P_FIRST] if ports[links[k], P_INCLUDED] < ports[links[k], P_BUNDLES] else -1
            while hop >= 0:
                bundle = hops[hop, ROUTE]
                if bundles[bundle, B_SOLVED] != stamp:
                    _include(hops, bundles, ports, chosen, links, counts, stamp, bundle)
                hop = hops[hop, AFTER]
        begin = end


@compiled
def _account(
    head: np.ndarray, fluid: np.ndarray, lines: Lines, ports: np.ndarray, measures: np.ndarray, link: int, x: float
) -> None:
    """Add to the bins what a link has carried since its load last changed, and note its load from now on."""
    before = measures[link, CARRIED]
    after = before + measures[link, LOAD] * (x - measures[link, SINCE])
    if ports[link, P_FIRST] < 0:
        # All that began here has ended: the exact sum replaces the integral.
        after = float(ports[link, P_TOTAL])
    size = max(math.floor(after) - math.floor(before), 0)
    begin, end = fluid[EPOCH] + instant_of(measures[link, SINCE]), fluid[EPOCH] + instant_of(x)
    if measures[link, LOAD] > 0.0:
        carry(head, lines, link, begin, end, size)
    measures[link, CARRIED], measures[link, SINCE] = after, x
    idle = ports[link, P_FIRST] < 0
    measures[link, LOAD] = 0.0 if idle else measures[link, CAPACITY] - measures[link, REST]


@compiled
def _solve_alone(
    hops: np.ndarray, bundles: np.ndarray, rates: np.ndarray, ports: np.ndarray, measures: np.ndarray, bundle: int
) -> bool:
    """Give a bundle that shares no link its rate; False if it shares one."""
    first, flows, most, limit = bundles[bundle, B_HOP], bundles[bundle, B_FLOWS], math.inf, -1
    for hop in range(first, first + bundles[bundle, B_HOPS]):
        server = hops[hop, HOP_SERVER]
        if ports[server, P_BUNDLES] > 1:
            return False
        if measures[server, CAPACITY] < most:
            most, limit = measures[server, CAPACITY], server
    bundles[bundle, B_LIMIT] = limit
    rates[bundle, SOLVED] = most / flows
    for hop in range(first, first + bundles[bundle, B_HOPS]):
        server = hops[hop, HOP_SERVER]
        ports[server, P_DIRTY] = 0
        measures[server, REST] = measures[server, CAPACITY] - most
    return True


@compiled
def solve(
    head: np.ndarray, fluid: np.ndarray, messages: np.ndarray, marks: np.ndarray, lines: Lines, bundles: np.ndarray,
    rates: np.ndarray, ports: np.ndarray, measures: np.ndarray, keys: np.ndarray, ranked: np.ndarray, dirty: np.ndarray,
    changed: np.ndarray, chosen: np.ndarray, links: np.ndarray, levels: np.ndarray, filling: np.ndarray,
    counts: np.ndarray, x: float,
) -> bool:  # fmt: skip
    """Give every flow its max-min rate from ``x`` on; False if some flow would end beyond the range of time."""
    hops = lines[0]
    fluid[STAMP] += 1
    stamp = fluid[STAMP]
    counts[0] = counts[1] = 0
    for k in range(fluid[CHANGED]):
        bundle = changed[k]
        if bundles[bundle, B_FLOWS] == 0:
            bundles[bundle, B_TOUCHED] = 0
        elif _solve_alone(hops, bundles, rates, ports, measures, bundle):
            bundles[bundle, B_SOLVED] = stamp
            chosen[counts[0]] = bundle
            counts[0] += 1
            if head[RECORDING]:
                first = bundles[bundle, B_HOP]
                for hop in range(first, first + bundles[bundle, B_HOPS]):
                    _account(head, fluid, lines, ports, measures, hops[hop, HOP_SERVER], x)
        else:
            _include(hops, bundles, ports, chosen, links, counts, stamp, bundle)
    for k in range(fluid[DIRTY]):
        link = dirty[k]
        if not ports[link, P_DIRTY]:
            continue
        ports[link, P_DIRTY] = 0
        if ports[link, P_BUNDLES] == 0 and not head[RECORDING]:
            continue
        _visit(ports, links, counts, stamp, link)
        hop = ports[link, P_FIRST] if ports[link, P_INCLUDED] < ports[link, P_BUNDLES] else -1
        while hop >= 0:
            bundle = hops[hop, ROUTE]
            if bundles[bundle, B_LIMIT] == link and bundles[bundle, B_SOLVED] != stamp:
                _include(hops, bundles, ports, chosen, links, counts, stamp, bundle)
            hop = hops[hop, AFTER]
    fluid[DIRTY] = fluid[CHANGED] = 0
    layers = 0
    while counts[1] > 0:
        fluid[STAMP] += 1
        turn = fluid[STAMP]
        for k in range(counts[1]):
            _freeze(hops, bundles, rates, ports, measures, links[k], stamp)
        _fill(hops, bundles, rates, ports, measures, links, counts, levels, filling, stamp, turn)
        if not _widen(hops, bundles, rates, ports, measures, chosen, links, counts, stamp, turn):
            break
        if turn - stamp >= PATIENCE:
            # A chain of links that limit each other: go out to it in doubling steps, not one bundle at a time.
            layers = max(1, 2 * layers)
            _surround(hops, bundles, ports, chosen, links, counts, stamp, layers)
    if head[RECORDING]:
        for k in range(counts[1]):
            _account(head, fluid, lines, ports, measures, links[k], x)
    for k in range(counts[0]):
        bundle = chosen[k]
        if rates[bundle, SOLVED] != rates[bundle, RATE] or bundles[bundle, B_TOUCHED]:
            serve_up_to(rates, bundle, x)
            rate = rates[bundle, RATE] = rates[bundle, SOLVED]
            due = x + max(marks[bundles[bundle, B_TOP], TAIL] - rates[bundle, SERVED], 0.0) / rate
            if float(fluid[EPOCH]) + due >= LATEST:
                return False
            place = bundles[bundle, B_PLACE]
            if place < 0:
                place = fluid[RANKED]
                fluid[RANKED] += 1
                ranked[place] = bundle
            keys[place] = due
            rank(bundles, keys, ranked, fluid[RANKED], place)
            bundles[bundle, B_TOUCHED] = 0
    return True
