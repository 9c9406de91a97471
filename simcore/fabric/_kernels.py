"""All compiled loops: message heap, FIFO servers with exact rounding, utilisation bins.

A message is one row of ``messages``; the columns are the constants below. Rows wait in a binary heap
ordered by (instant, deliveries before arrivals at a link, source rank, source sequence).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

# Columns of a message.
TIME, HOPS_LEFT, SOURCE, SEQUENCE, SIZE, NEXT_HOP, VISIBLE, ISSUED, ALONE, DESTINATION, KIND, WHAT = range(12)
MESSAGE_COLUMNS = 12
# Columns of a server: 10**12 / bandwidth = NUM / DEN in lowest terms; the busy period (BEGAN, ACCEPTED); its end;
# whether bins were used.
NUM, DEN, BEGAN, ACCEPTED, FREE, TOUCHED = range(6)
SERVER_COLUMNS = 6
# Columns of a hop, one link of one route; the first hop of a route also keeps the latest arrival over that route
# (policy `ideal`).
HOP_SERVER, HOP_LATENCY, ROUTE_LATEST = range(3)
HOP_COLUMNS = 3
# Words of the head: heap length, width of a bin as a power of two.
HEAP, SHIFT = range(2)

OVERFLOW = -2
"""Returned in place of an instant when simulated time would leave 62 bits."""

_SAFE = 2**62
_LATEST = 2.0**61


@njit(cache=True)
def divide_up(a: int, num: int, den: int) -> int:
    """Return ceil(a * num / den) exactly, also where a * num does not fit 64 bits; 0 <= a, 0 < num, 0 < den < 2**62."""
    whole = (a // den) * num
    rest = a % den
    if rest == 0:
        return whole
    if rest < _SAFE // num:
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
def _before(messages: np.ndarray, a: int, b: int) -> bool:
    if messages[a, TIME] != messages[b, TIME]:
        return messages[a, TIME] < messages[b, TIME]
    a_delivery, b_delivery = messages[a, HOPS_LEFT] == 0, messages[b, HOPS_LEFT] == 0
    if a_delivery != b_delivery:
        return a_delivery
    if messages[a, SOURCE] != messages[b, SOURCE]:
        return messages[a, SOURCE] < messages[b, SOURCE]
    return messages[a, SEQUENCE] < messages[b, SEQUENCE]


@njit(cache=True)
def _sift_up(messages: np.ndarray, heap: np.ndarray, place: int) -> None:
    row = heap[place]
    while place > 0:
        parent = (place - 1) // 2
        if not _before(messages, row, heap[parent]):
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = row


@njit(cache=True)
def _sift_down(messages: np.ndarray, heap: np.ndarray, length: int) -> None:
    """Restore the heap after the key of its first row grew."""
    row = heap[0]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= length:
            break
        if child + 1 < length and _before(messages, heap[child + 1], heap[child]):
            child += 1
        if not _before(messages, heap[child], row):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = row


@njit(cache=True)
def admit(messages: np.ndarray, heap: np.ndarray, head: np.ndarray, first: int, last: int) -> int:
    """Push rows ``first`` to ``last`` (exclusive) on the heap; return the earliest instant in it."""
    for row in range(first, last):
        heap[head[HEAP]] = row
        head[HEAP] += 1
        _sift_up(messages, heap, head[HEAP] - 1)
    return messages[heap[0], TIME]


@njit(cache=True)
def _halve_bins(servers: np.ndarray, bins: np.ndarray) -> None:
    half = bins.shape[1] // 2
    for server in range(servers.shape[0]):
        if servers[server, TOUCHED]:
            for i in range(half):
                for column in range(2):
                    bins[server, i, column] = bins[server, 2 * i, column] + bins[server, 2 * i + 1, column]
            bins[server, half:] = 0


@njit(cache=True)
def _share(size: int, part: int, whole: int) -> int:
    """Return floor(size * part / whole) for 0 < part < whole."""
    if size < _SAFE // whole:
        return size * part // whole
    up = divide_up(size, part, whole)
    # divide_up rounds up; step back unless the division is exact, told by the low 64 bits of both products.
    return up - 1 if up * whole != size * part else up


@njit(cache=True)
def _carry(
    servers: np.ndarray, bins: np.ndarray, head: np.ndarray, server: int, begin: int, end: int, size: int
) -> None:
    """Add a busy stretch of a server, and the bytes it carried, to the bins; merge pairs of bins when the last one is
    passed."""
    while end > bins.shape[1] << head[SHIFT]:
        _halve_bins(servers, bins)
        head[SHIFT] += 1
    servers[server, TOUCHED] = 1
    shift = head[SHIFT]
    if end == begin:
        # A few bytes on a fast link may end in the picosecond in which the message before them ended.
        bins[server, (end - 1) >> shift, 1] += size
        return
    done = 0
    for i in range(begin >> shift, ((end - 1) >> shift) + 1):
        stop = min(end, (i + 1) << shift)
        bins[server, i, 0] += stop - max(begin, i << shift)
        carried = size if stop == end else _share(size, stop - begin, end - begin)
        bins[server, i, 1] += carried - done
        done = carried


@njit(cache=True)
def _fits(now: int, size: int, num: int, den: int, latency: int) -> bool:
    return float(now) + float(size) * num / den + float(latency) < _LATEST


@njit(cache=True)
def _queue(
    messages: np.ndarray, servers: np.ndarray, hops: np.ndarray, bins: np.ndarray, head: np.ndarray, row: int
) -> bool:
    """Serve a message at its next link behind everything accepted there before; False if time would leave its range.

    The last byte leaves at BEGAN + ceil(ACCEPTED * NUM / DEN): one rounding, never carried into the next message.
    """
    hop = messages[row, NEXT_HOP]
    server, latency = hops[hop, HOP_SERVER], hops[hop, HOP_LATENCY]
    now, size = messages[row, TIME], messages[row, SIZE]
    num, den = servers[server, NUM], servers[server, DEN]
    idle = now >= servers[server, FREE]
    began = now if idle else servers[server, BEGAN]
    accepted = size if idle else servers[server, ACCEPTED] + size
    if not _fits(began, accepted, num, den, latency):
        return False
    begin = now if idle else servers[server, FREE]
    end = began + divide_up(accepted, num, den)
    servers[server, BEGAN], servers[server, ACCEPTED], servers[server, FREE] = began, accepted, end
    if size > 0:
        _carry(servers, bins, head, server, begin, end, size)
    messages[row, TIME] = end + latency
    messages[row, ALONE] += divide_up(size, num, den) + latency
    messages[row, NEXT_HOP] += 1
    messages[row, HOPS_LEFT] -= 1
    return True


@njit(cache=True)
def _travel_alone(
    messages: np.ndarray, servers: np.ndarray, hops: np.ndarray, bins: np.ndarray, head: np.ndarray, row: int
) -> bool:
    """Carry a message over its whole route as if alone, but not past an earlier one of the same route; False if out of
    range."""
    first = messages[row, NEXT_HOP]
    now, size = messages[row, TIME], messages[row, SIZE]
    for hop in range(first, first + messages[row, HOPS_LEFT]):
        server, latency = hops[hop, HOP_SERVER], hops[hop, HOP_LATENCY]
        num, den = servers[server, NUM], servers[server, DEN]
        if not _fits(now, size, num, den, latency):
            return False
        end = now + divide_up(size, num, den)
        if size > 0:
            _carry(servers, bins, head, server, now, end, size)
        now = end + latency
    messages[row, ALONE] = now - messages[row, TIME]
    messages[row, TIME] = hops[first, ROUTE_LATEST] = max(now, hops[first, ROUTE_LATEST])
    messages[row, HOPS_LEFT] = 0
    return True


@njit(cache=True)
def advance(
    messages: np.ndarray,
    heap: np.ndarray,
    head: np.ndarray,
    servers: np.ndarray,
    hops: np.ndarray,
    bins: np.ndarray,
    done: np.ndarray,
    limit: int,
    settled: int,
    queueing: bool,
) -> tuple[int, int, int]:
    """Carry messages on, deliveries up to ``limit`` inclusive and arrivals at links before it, to the first instant
    with a visible delivery.

    Arrivals at ``limit`` itself wait until that instant is ``settled``, because processes may still send at it.
    Returns (rows delivered, written to ``done`` in order; the instant of visible deliveries, -1, or OVERFLOW; the
    earliest instant left or -1).
    """
    count = 0
    visible = -1
    while head[HEAP] > 0 and count < done.shape[0]:
        row = heap[0]
        now = messages[row, TIME]
        delivery = messages[row, HOPS_LEFT] == 0
        if now > limit or (now == limit and not delivery and now > settled):
            break
        if delivery:
            done[count] = row
            count += 1
            head[HEAP] -= 1
            heap[0] = heap[head[HEAP]]
            if head[HEAP] > 0:
                _sift_down(messages, heap, head[HEAP])
            if messages[row, VISIBLE] and visible < 0:
                # No process may miss this instant: finish its deliveries, leave its arrivals.
                visible = now
                limit = now
                settled = -1
            continue
        if queueing:
            sound = _queue(messages, servers, hops, bins, head, row)
        else:
            sound = _travel_alone(messages, servers, hops, bins, head, row)
        if not sound:
            return count, OVERFLOW, now
        _sift_down(messages, heap, head[HEAP])
    left = messages[heap[0], TIME] if head[HEAP] > 0 else -1
    return count, visible, left


def on_disk() -> bool:
    """Return whether an earlier process left compiled code for this module where numba will look for it."""
    dispatcher: Any = advance
    return any(Path(dispatcher._cache.cache_path).glob("_kernels.advance*.nbi"))
