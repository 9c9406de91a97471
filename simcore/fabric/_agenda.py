"""What comes next: a radix heap of (instant, order, packet, item), which costs almost nothing where instants coincide.

Entries lie in buckets by the highest bit in which their instant differs from the last one taken. Simulated time only
grows, so an entry moves to ever lower buckets; all entries of one instant arrive together in the ``front``, which is
kept in order. Ranks in lock-step put hundreds of entries on one instant, and a binary heap would compare each of them
with ten others.
"""

from typing import Any

import numpy as np
from numba.cpython.unsafe import numbers

from simcore.fabric._compiled import compiled

leading_zeros: Any = numbers.leading_zeros
trailing_zeros: Any = numbers.trailing_zeros

Agenda = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The book, the entries in buckets, the front."""

# Columns of an entry; WORD is packet and item in one.
TIME, ORDER_KEY, WORD, BEHIND = range(4)
ENTRY_COLUMNS = 4
ITEM_BITS = 43
ITEM_MASK = 2**ITEM_BITS - 1
# Rows of the book: first the buckets (first and last entry), then words of the agenda itself.
BUCKETS = 64
LENGTH, LAST_TAKEN, EARLIEST, MASK, FREE_ENTRY, ENTRIES, FRONT, FRONT_END = range(BUCKETS, BUCKETS + 8)
BOOK_ROWS = BUCKETS + 8

SHORT = 24
"""Entries up to which an instant is sorted by insertion."""


def new_book() -> np.ndarray:
    """Return the book of an empty agenda."""
    book = np.full((BOOK_ROWS, 2), -1, np.int64)
    book[[LENGTH, MASK, ENTRIES, FRONT, FRONT_END], 0] = 0
    return book


@compiled
def _follows(front: np.ndarray, place: int, order: int, word: int) -> bool:
    return front[place, 0] > order or (front[place, 0] == order and front[place, 1] > word)


@compiled
def _drop(book: np.ndarray, entries: np.ndarray, entry: int, last: int) -> None:
    """Put an entry into its bucket, seen from the instant ``last``."""
    bucket = 63 - leading_zeros(entries[entry, TIME] ^ last)
    entries[entry, BEHIND] = -1
    if (book[MASK, 0] >> bucket) & 1:
        entries[book[bucket, 1], BEHIND] = entry
    else:
        book[bucket, 0] = entry
        book[MASK, 0] |= np.int64(1) << bucket
    book[bucket, 1] = entry


@compiled
def push(agenda: Agenda, time: int, order: int, word: int) -> None:
    """Put an item on the agenda, at an instant no earlier than the last one taken."""
    book, entries, front = agenda
    book[LENGTH, 0] += 1
    if time == book[LAST_TAKEN, 0]:
        first, place = book[FRONT, 0], book[FRONT_END, 0]
        book[EARLIEST, 0] = time
        if first > 0 and (first == place or _follows(front, first, order, word)):
            # The next message of a source goes where the last one stood.
            front[first - 1, 0], front[first - 1, 1] = order, word
            book[FRONT, 0] -= 1
            return
        while place > first and _follows(front, place - 1, order, word):
            front[place, 0], front[place, 1] = front[place - 1, 0], front[place - 1, 1]
            place -= 1
        front[place, 0], front[place, 1] = order, word
        book[FRONT_END, 0] += 1
        return
    entry = book[FREE_ENTRY, 0]
    if entry >= 0:
        book[FREE_ENTRY, 0] = entries[entry, BEHIND]
    else:
        entry = book[ENTRIES, 0]
        book[ENTRIES, 0] += 1
    entries[entry, TIME], entries[entry, ORDER_KEY], entries[entry, WORD] = time, order, word
    _drop(book, entries, entry, book[LAST_TAKEN, 0])
    if book[LENGTH, 0] == 1 or time < book[EARLIEST, 0]:
        book[EARLIEST, 0] = time


@compiled
def earliest(agenda: Agenda) -> int:
    """Return the instant of the first item, without taking it; -1 on an empty agenda."""
    book, entries, _ = agenda
    if book[EARLIEST, 0] < 0 and book[LENGTH, 0] > 0:
        entry = book[trailing_zeros(book[MASK, 0]), 0]
        least = entries[entry, TIME]
        while entry >= 0:
            least = min(least, entries[entry, TIME])
            entry = entries[entry, BEHIND]
        book[EARLIEST, 0] = least
    return book[EARLIEST, 0]


@compiled
def _settle_down(front: np.ndarray, first: int, place: int, count: int) -> None:
    order, word = front[first + place, 0], front[first + place, 1]
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and _follows(front, first + child + 1, front[first + child, 0], front[first + child, 1]):
            child += 1
        if not _follows(front, first + child, order, word):
            break
        front[first + place, 0], front[first + place, 1] = front[first + child, 0], front[first + child, 1]
        place = child
    front[first + place, 0], front[first + place, 1] = order, word


@compiled
def _sort(front: np.ndarray, first: int, end: int) -> None:
    """Sort the front: by insertion if it is short, as a heap otherwise."""
    count = end - first
    if count <= SHORT:
        for k in range(first + 1, end):
            order, word = front[k, 0], front[k, 1]
            place = k
            while place > first and _follows(front, place - 1, order, word):
                front[place, 0], front[place, 1] = front[place - 1, 0], front[place - 1, 1]
                place -= 1
            front[place, 0], front[place, 1] = order, word
        return
    for place in range(count // 2 - 1, -1, -1):
        _settle_down(front, first, place, count)
    for last in range(count - 1, 0, -1):
        for column in range(2):
            front[first, column], front[first + last, column] = front[first + last, column], front[first, column]
        _settle_down(front, first, 0, last)


@compiled
def _gather(agenda: Agenda) -> None:
    """Bring everything of the earliest instant to the front, and the rest of its bucket into lower ones."""
    book, entries, front = agenda
    now = earliest(agenda)
    bucket = trailing_zeros(book[MASK, 0])
    book[MASK, 0] &= ~(np.int64(1) << bucket)
    book[LAST_TAKEN, 0] = now
    entry, place, ordered = book[bucket, 0], 0, True
    while entry >= 0:
        behind = entries[entry, BEHIND]
        if entries[entry, TIME] == now:
            front[place, 0], front[place, 1] = entries[entry, ORDER_KEY], entries[entry, WORD]
            if place > 0 and _follows(front, place - 1, front[place, 0], front[place, 1]):
                ordered = False
            place += 1
            entries[entry, BEHIND] = book[FREE_ENTRY, 0]
            book[FREE_ENTRY, 0] = entry
        else:
            _drop(book, entries, entry, now)
        entry = behind
    book[FRONT, 0], book[FRONT_END, 0] = 0, place
    if not ordered:
        _sort(front, 0, place)


@compiled
def take(agenda: Agenda) -> tuple[int, int]:
    """Take the first item off the agenda; return its order and its word."""
    book, _, front = agenda
    if book[FRONT, 0] == book[FRONT_END, 0]:
        _gather(agenda)
    place = book[FRONT, 0]
    book[FRONT, 0] += 1
    book[LENGTH, 0] -= 1
    if book[FRONT, 0] == book[FRONT_END, 0]:
        book[EARLIEST, 0] = -1
    return front[place, 0], front[place, 1]


@compiled
def room_left(agenda: Agenda, items: int) -> bool:
    """Return whether ``items`` more items fit the agenda."""
    book, entries, front = agenda
    return book[LENGTH, 0] + items <= entries.shape[0] and book[FRONT_END, 0] + items <= front.shape[0]
