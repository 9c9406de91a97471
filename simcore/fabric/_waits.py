"""Waiting for words of memory: what a write does to those who watch, and what a waiter does next.

A waiter is a row of ``waiters`` and moves on when one of its items on the agenda is due: a poll is issued, arrives at
the memory port, is sampled there, or its response is back; a watch is armed. What comes between them is solved for: a
spinner whose polls meet nobody is not looked at again until its word changes.

Within an instant writes land first, then samples see them, then watches are armed, and last the polls that are at
the port by then are served.

Model: a yielding waiter comes back after a stated time, whoever else is ready; a watch in the log stays there until it
is hit or given up; each rank has a monitor of its own.
"""

import numpy as np

from simcore.fabric._agenda import LENGTH, Agenda, push
from simcore.fabric._compiled import column, compiled, cube, table
from simcore.fabric._kernels import (
    ACCEPTED, BEGAN, DEN, ENDED, FREE, LANDED, META_WHAT, NUM, OPEN, POLLS, RECORDING, SEEN, STORE_VALUE,
    STORE_WORD, T_BINS, T_BOOK, T_CURVES, T_DONE, T_ENTRIES, T_EYES, T_FRONT, T_GROUPS, T_HEAD, T_HOPS, T_MESSAGES,
    T_SCRATCH, T_SEEN, T_SERVERS, T_STORES, T_MONITORS, T_PAST, T_WAITERS, T_WORDS, TAG, WAITER, WATCHES, WHAT_MASK,
    Lines, Reports, carry, divide_up, release,
)  # fmt: skip

Watched = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Waiters, words, past, monitors, eyes, groups."""

# Columns of a word, in which 0 means nothing, so that a word that nobody touches takes no memory: rows are counted from
# 1. SINCE: when it reached its value; PAST: the value below that it reached before, a row of ``past``. BACK: how far
# before it lies the word that stands for its granule, in whose chain (FIRST, LAST) those who watch it stand; those
# called to wake one after another stand in a chain too (C_FIRST, C_LAST), and CALLING says that one of them has not
# passed the call on yet.
VALUE, SINCE, PAST, BACK, W_FIRST, W_LAST, C_FIRST, C_LAST, CALLING = range(9)
WORD_COLUMNS = 9
# Columns of the past: a value that a word has held or exceeded, since when, and the row with the next lower one, each
# reached before. Row 0 holds the last row ever used, and the first of those that are free again.
PAST_VALUE, PAST_SINCE, PAST_PAST = range(3)
PAST_COLUMNS = 3
PAST_USED, PAST_FREE = range(2)
# Columns of a waiter. SERIAL: waits in the order in which they began; ITEMS: its items on the agenda; NEXT, BEFORE:
# others in a chain, counted from 1; PORT: the server that its reads pass. Five columns mean what the policy needs: of
# polls, BASE and ORIGIN, where their grid starts, and with which; POLL, the next one; FLIGHT, those under way;
# BLOCKED, as many as may be; backing off, INTERVAL, cycles until the next. Of a monitor, STATE; LOGGED, its watch is
# in the log; HIT, a write came between arming and sleeping; CALLED, it passes a call on.
(
    WORD, WANTED, GROUP, T0, SET, END, READS, ITEMS, NEXT, BEFORE, SERIAL, BASE, ORIGIN, POLL, FLIGHT, BLOCKED, WAKEUPS,
    FALSE_WAKEUPS, OVERFLOWS, RANK, PORT,
) = range(21)  # fmt: skip
INTERVAL, STATE, LOGGED, HIT, CALLED = ORIGIN, ORIGIN, POLL, FLIGHT, BLOCKED
WAITER_COLUMNS = 24
# Constants of all waits: latencies in ps, the period of one lane of polls as PERIOD_NUM / PERIOD_DEN ps, a clock cycle
# as CYCLE_NUM / CYCLE_DEN ps; the policy and its numbers.
(
    POLICY, REQUEST, SERVICE, RESPONSE, ARM, NOTIFY, WAKE, LOG, PERIOD_NUM, PERIOD_DEN, CYCLE_NUM, CYCLE_DEN,
    OUTSTANDING, FIRST_INTERVAL, FACTOR, MOST_INTERVAL, CAPACITY, WAKE_ONE, SHARED, LINE,
) = range(20)  # fmt: skip
EYES_WORDS = 20
SPIN, BACKOFF, MONITOR, ATOMIC = range(4)
"""Policies as the loops tell them apart: yielding is backing off by a constant."""

# What an item of a waiter means, and its order within an instant.
SAMPLES, RESPONDS, ISSUES, ARMS, ARRIVES = range(5)
STEPS = 8
AFTER_MESSAGES = 2**62 + 2**61
STEP_ORDER = 2**56
# States of a waiter: it reads, has armed and reads again, sleeps, or has read after waking.
CHECKING, RECHECKING, ASLEEP, AWAKE = range(4)
KNOWS = -1
"""In place of the reads of a waiter that never reads, but knows."""


@compiled
def divide_down(a: int, num: int, den: int) -> int:
    """Return floor(a * num / den); as `divide_up`."""
    up = divide_up(a, num, den)
    # Exact division is told by the low 64 bits of both products.
    return up if up * den == a * num else up - 1


@compiled
def first_poll(delay: int, num: int, den: int) -> int:
    """Return the smallest k >= 0 with ``ceil(k * num / den) >= delay``: the first poll issued at or after ``delay``."""
    if delay <= 0:
        return 0
    # ceil(k * num / den) >= delay holds exactly if k * num > (delay - 1) * den.
    return divide_down(delay - 1, den, num) + 1


@compiled
def _cycles(eyes: np.ndarray, count: int) -> int:
    return divide_up(count, eyes[CYCLE_NUM], eyes[CYCLE_DEN])


@compiled
def _longer(eyes: np.ndarray, interval: int) -> int:
    """Return the interval of a waiter that backs off after ``interval``, in cycles; the product may not fit a word."""
    most: int = eyes[MOST_INTERVAL]
    return most if interval > most // eyes[FACTOR] else int(interval * eyes[FACTOR])


@compiled
def _plan(head: np.ndarray, agenda: Agenda, waiters: np.ndarray, row: int, instant: int, step: int) -> None:
    """Put an item of a waiter on the agenda."""
    head[POLLS] += 1
    waiters[row, ITEMS] += 1
    order = AFTER_MESSAGES + step * STEP_ORDER + waiters[row, SERIAL]
    push(agenda, instant, order, 8 * (STEPS * row + step) + WAITER)


@compiled
def _read(head: np.ndarray, agenda: Agenda, waiters: np.ndarray, eyes: np.ndarray, row: int, issued: int) -> None:
    """Issue a read at the instant ``issued``, now or later."""
    waiters[row, READS] += 1
    if eyes[SHARED]:
        _plan(head, agenda, waiters, row, issued + eyes[REQUEST], ARRIVES)
    else:
        _plan(head, agenda, waiters, row, issued + eyes[REQUEST] + eyes[SERVICE], SAMPLES)


@compiled
def _join(waiters: np.ndarray, words: np.ndarray, row: int) -> None:
    """Put a waiter at the end of the chain of those who watch its granule."""
    key = waiters[row, WORD] - words[waiters[row, WORD], BACK]
    last = words[key, W_LAST]
    waiters[row, NEXT], waiters[row, BEFORE] = 0, last
    if last:
        waiters[last - 1, NEXT] = row + 1
    else:
        words[key, W_FIRST] = row + 1
    words[key, W_LAST] = row + 1


@compiled
def _leave(waiters: np.ndarray, words: np.ndarray, row: int) -> None:
    key = waiters[row, WORD] - words[waiters[row, WORD], BACK]
    behind, before = waiters[row, NEXT], waiters[row, BEFORE]
    if before:
        waiters[before - 1, NEXT] = behind
    else:
        words[key, W_FIRST] = behind
    if behind:
        waiters[behind - 1, BEFORE] = before
    else:
        words[key, W_LAST] = before


@compiled
def _arm(watched: Watched, row: int) -> None:
    """Arm a watch: an entry of the GPU's monitor, or of the log where the monitor is full."""
    waiters, words, monitors, eyes = watched[0], watched[1], watched[3], watched[4]
    waiters[row, HIT] = waiters[row, LOGGED] = 0
    if eyes[CAPACITY] >= 0 and monitors[waiters[row, RANK]] >= eyes[CAPACITY]:
        waiters[row, LOGGED] = 1
        waiters[row, OVERFLOWS] += 1
    else:
        monitors[waiters[row, RANK]] += 1
    _join(waiters, words, row)


@compiled
def _disarm(watched: Watched, row: int) -> None:
    waiters, words, monitors = watched[0], watched[1], watched[3]
    if not waiters[row, LOGGED]:
        monitors[waiters[row, RANK]] -= 1
    _leave(waiters, words, row)


@compiled
def _finish(head: np.ndarray, watched: Watched, reports: Reports, row: int, end: int, limit: int) -> int:
    """End a wait; return the limit, as in `_kernels.deliver`."""
    waiters, groups, seen = watched[0], watched[5], reports[1]
    waiters[row, END] = end
    group = waiters[row, GROUP]
    groups[group, ENDED] = max(groups[group, ENDED], end)
    groups[group, OPEN] -= 1
    if groups[group, OPEN] == 0:
        seen[head[SEEN], 0], seen[head[SEEN], 1] = -1 - group, groups[group, ENDED]
        head[SEEN] += 1
        head[WATCHES] -= 1
        limit = min(limit, groups[group, ENDED])
    return limit


@compiled
def _reached(watched: Watched, row: int) -> int:
    """Return the instant since which the word of a waiter has held what it wants, 0 if it always has."""
    waiters, words, past = watched[0], watched[1], watched[2]
    word, wanted = waiters[row, WORD], waiters[row, WANTED]
    since: int = words[word, SINCE]
    before = words[word, PAST]
    while before and past[before, PAST_VALUE] >= wanted:
        since, before = past[before, PAST_SINCE], past[before, PAST_PAST]
    return since


@compiled
def _aim(head: np.ndarray, agenda: Agenda, watched: Watched, row: int, instant: int) -> None:
    """Let the first poll that samples the word at ``instant`` or later be sampled; those before it see what the last
    one saw."""
    waiters, eyes = watched[0], watched[4]
    trip = eyes[REQUEST] + eyes[SERVICE]
    if eyes[POLICY] == SPIN:
        poll = first_poll(instant - trip - waiters[row, T0], eyes[PERIOD_NUM], eyes[PERIOD_DEN])
        issued = waiters[row, T0] + divide_up(poll, eyes[PERIOD_NUM], eyes[PERIOD_DEN])
    else:
        poll, issued = waiters[row, POLL], waiters[row, BASE]
        while issued + trip < instant:
            interval = waiters[row, INTERVAL]
            step = trip + eyes[RESPONSE] + _cycles(eyes, interval)
            longer = _longer(eyes, interval)
            steps = 1 if longer > interval else (instant - trip - issued + step - 1) // step
            waiters[row, INTERVAL] = longer
            poll, issued = poll + steps, issued + steps * step
        waiters[row, BASE] = issued
    waiters[row, POLL] = poll
    _plan(head, agenda, waiters, row, issued + trip, SAMPLES)


@compiled
def watched_of(state: np.ndarray) -> Watched:
    """Return the tables that concern waits."""
    return (
        table(state, T_WAITERS), table(state, T_WORDS), table(state, T_PAST), column(state, T_MONITORS),
        column(state, T_EYES), table(state, T_GROUPS),
    )  # fmt: skip


@compiled
def begin_watch(
    state: np.ndarray, first: int, places: np.ndarray, values: np.ndarray, group: int, rank: int, port: int, now: int,
    serial: int, reads: bool,
) -> None:  # fmt: skip
    """Begin to wait now for the words ``places`` to reach ``values`` (one for all, or one each), in the rows from
    ``first`` on; without ``reads`` they have not yet, and are known at once when they do."""
    head = column(state, T_HEAD)
    agenda = (table(state, T_BOOK), table(state, T_ENTRIES), table(state, T_FRONT))
    watched = watched_of(state)
    waiters, words, eyes = watched[0], watched[1], watched[4]
    for number in range(len(places)):
        row = first + number
        waiters[row] = 0
        waiters[row, WORD], waiters[row, WANTED] = places[number], values[number if len(values) > 1 else 0]
        waiters[row, GROUP], waiters[row, RANK], waiters[row, PORT] = group, rank, port
        waiters[row, T0] = waiters[row, BASE] = now
        waiters[row, END], waiters[row, SERIAL] = -1, serial + number
        if eyes[POLICY] == BACKOFF:
            waiters[row, INTERVAL] = eyes[FIRST_INTERVAL]
        if not reads:
            waiters[row, READS] = KNOWS
            _join(waiters, words, row)
        elif eyes[POLICY] >= MONITOR or (eyes[SHARED] and eyes[POLICY] == BACKOFF):
            _read(head, agenda, waiters, eyes, row, now)
        elif eyes[SHARED]:
            _plan(head, agenda, waiters, row, now, ISSUES)
        elif words[places[number], VALUE] >= waiters[row, WANTED]:
            _aim(head, agenda, watched, row, now)
        else:
            _join(waiters, words, row)


@compiled
def hopeful(watched: Watched) -> bool:
    """Return whether any wait will end although no word is written any more."""
    waiters, words, eyes = watched[0], watched[1], watched[4]
    for row in range(waiters.shape[0]):
        holds = words[waiters[row, WORD], VALUE] >= waiters[row, WANTED]
        # With a monitor even who has ended may have to pass a call on to others, and nobody goes on for ever.
        if waiters[row, ITEMS] > 0 and (eyes[POLICY] >= MONITOR or (waiters[row, END] < 0 and holds)):
            return True
    return False


@compiled
def any_ends(state: np.ndarray) -> bool:
    """The same from outside a loop."""
    return hopeful(watched_of(state))


@compiled
def in_vain(state: np.ndarray) -> bool:
    """Return whether nothing is left to happen but polls of words that nobody will write."""
    watched, polls = watched_of(state), column(state, T_HEAD)[POLLS]
    return bool(watched[4][SHARED]) and table(state, T_BOOK)[LENGTH, 0] == polls and not hopeful(watched)


FULL = -1
"""In place of a limit: there is no room for what a word held before; make some, and let it happen again."""


@compiled
def happen(state: np.ndarray, item: int, now: int, limit: int) -> int:
    """Do what an item that concerns words is on the agenda for; return the limit.

    The tables are looked up here, so that loops which carry messages alone have nothing to do with them.
    """
    head, messages, watched = column(state, T_HEAD), table(state, T_MESSAGES), watched_of(state)
    agenda = (table(state, T_BOOK), table(state, T_ENTRIES), table(state, T_FRONT))
    reports = (table(state, T_DONE), table(state, T_SEEN))
    if item & 7 == WAITER:
        lines = (
            table(state, T_HOPS), table(state, T_SERVERS), table(state, T_CURVES), cube(state, T_BINS),
            table(state, T_SCRATCH),
        )  # fmt: skip
        return _attend(head, agenda, lines, watched, reports, item, now, limit)
    past = watched[2]
    if past[0, PAST_FREE] == 0 and past[0, PAST_USED] + 1 >= past.shape[0]:
        return FULL
    row = item >> 3
    store = (messages[row, TAG] >> META_WHAT) & WHAT_MASK
    release(head, messages, row)
    head[LANDED] += 1
    return _land(head, agenda, watched, reports, table(state, T_STORES), store, now, limit)


@compiled
def _land(
    head: np.ndarray, agenda: Agenda, watched: Watched, reports: Reports, stores: np.ndarray, store: int, now: int,
    limit: int,
) -> int:  # fmt: skip
    """Let a write reach its word, and wake those who watch; return the limit."""
    waiters, words, eyes = watched[0], watched[1], watched[4]
    word, value = stores[store, STORE_WORD], stores[store, STORE_VALUE]
    _write(words, watched[2], word, value, now)
    key = word - words[word, BACK]
    place = words[key, W_FIRST]
    while place:
        row = place - 1
        place = waiters[row, NEXT]
        holds = waiters[row, WORD] == word and value >= waiters[row, WANTED]
        if waiters[row, READS] == KNOWS:
            if holds:
                _leave(waiters, words, row)
                waiters[row, READS] = 0
                limit = _finish(head, watched, reports, row, now, limit)
        elif eyes[POLICY] <= BACKOFF:
            if holds:
                _leave(waiters, words, row)
                _aim(head, agenda, watched, row, now)
        elif eyes[POLICY] == MONITOR or holds:
            _disarm(watched, row)
            waiters[row, SET] = now
            if waiters[row, STATE] != ASLEEP:
                waiters[row, HIT] = 1
            elif eyes[WAKE_ONE]:
                _call(waiters, words, key, row)
            else:
                limit = _notify(head, agenda, watched, reports, row, now, limit)
    if not words[key, CALLING]:
        limit = _next_call(head, agenda, watched, reports, key, now, limit)
    return limit


@compiled
def _write(words: np.ndarray, past: np.ndarray, word: int, value: int, now: int) -> None:
    """Let a word hold a value from now on. Of its past is kept what may be asked: since when it has held as much."""
    if value > words[word, VALUE]:
        if words[word, VALUE] > 0:
            row = past[0, PAST_FREE]
            if row:
                past[0, PAST_FREE] = past[row, PAST_PAST]
            else:
                row = past[0, PAST_USED] = past[0, PAST_USED] + 1
            past[row, PAST_VALUE], past[row, PAST_SINCE] = words[word, VALUE], words[word, SINCE]
            past[row, PAST_PAST] = words[word, PAST]
            words[word, PAST] = row
        words[word, SINCE] = now
    row = words[word, PAST]
    while row and past[row, PAST_VALUE] >= value:
        words[word, SINCE], words[word, PAST] = past[row, PAST_SINCE], past[row, PAST_PAST]
        past[row, PAST_PAST], past[0, PAST_FREE] = past[0, PAST_FREE], row
        row = words[word, PAST]
    words[word, VALUE] = value


@compiled
def _call(waiters: np.ndarray, words: np.ndarray, key: int, row: int) -> None:
    """Put a sleeper at the end of those who are woken one after another."""
    waiters[row, NEXT], waiters[row, CALLED] = 0, 1
    if words[key, C_FIRST]:
        waiters[words[key, C_LAST] - 1, NEXT] = row + 1
    else:
        words[key, C_FIRST] = row + 1
    words[key, C_LAST] = row + 1


@compiled
def _next_call(
    head: np.ndarray, agenda: Agenda, watched: Watched, reports: Reports, key: int, now: int, limit: int
) -> int:
    """Notify the next of those who are woken one after another, if there is one."""
    waiters, words = watched[0], watched[1]
    row = words[key, C_FIRST] - 1
    words[key, CALLING] = row >= 0
    if row < 0:
        return limit
    words[key, C_FIRST] = waiters[row, NEXT]
    return _notify(head, agenda, watched, reports, row, now, limit)


@compiled
def _notify(
    head: np.ndarray, agenda: Agenda, watched: Watched, reports: Reports, row: int, now: int, limit: int
) -> int:
    """Wake a sleeper: it reads again, or, if the monitor compared for it, its wait ends."""
    waiters, eyes = watched[0], watched[4]
    woken = now + eyes[NOTIFY] + eyes[WAKE] + (eyes[LOG] if waiters[row, LOGGED] else 0)
    waiters[row, WAKEUPS] += 1
    waiters[row, STATE] = AWAKE
    if eyes[POLICY] == MONITOR:
        _read(head, agenda, waiters, eyes, row, woken)
        return limit
    if waiters[row, CALLED]:
        _plan(head, agenda, waiters, row, woken, RESPONDS)
    return _finish(head, watched, reports, row, woken, limit)


@compiled
def _attend(
    head: np.ndarray, agenda: Agenda, lines: Lines, watched: Watched, reports: Reports, item: int, now: int, limit: int
) -> int:
    """Let the waiter of an item, taken off the agenda now, do what is due; return the limit."""
    waiters, words, eyes = watched[0], watched[1], watched[4]
    row, step = (item >> 3) // STEPS, (item >> 3) % STEPS
    waiters[row, ITEMS] -= 1
    head[POLLS] -= 1
    if step == ARRIVES:
        _plan(head, agenda, waiters, row, _pass_port(head, lines, eyes, waiters[row, PORT], now), SAMPLES)
    elif step == SAMPLES:
        seen = words[waiters[row, WORD], VALUE] >= waiters[row, WANTED]
        if seen and waiters[row, END] < 0:
            waiters[row, SET] = _reached(watched, row)
        if eyes[POLICY] == SPIN:
            limit = _spun(head, agenda, watched, reports, row, seen, now, limit)
        elif eyes[POLICY] == BACKOFF:
            limit = _backed_off(head, agenda, watched, reports, row, seen, now, limit)
        else:
            limit = _checked(head, agenda, watched, reports, row, seen, now, limit)
    elif step == ISSUES:
        _issue(head, agenda, waiters, eyes, row, now)
    elif step == ARMS:
        _arm(watched, row)
        waiters[row, STATE] = RECHECKING
        _read(head, agenda, waiters, eyes, row, now)
    else:
        limit = _respond(head, agenda, watched, reports, row, now, limit)
    return limit


@compiled
def _pass_port(head: np.ndarray, lines: Lines, eyes: np.ndarray, port: int, now: int) -> int:
    """Queue one line at a memory port, as `_queues.occupy` does with messages; return when its service ends."""
    servers = lines[1]
    free, line = servers[port, FREE], eyes[LINE]
    began = now if now >= free else servers[port, BEGAN]
    accepted = line if now >= free else servers[port, ACCEPTED] + line
    end = began + divide_up(accepted, servers[port, NUM], servers[port, DEN])
    servers[port, BEGAN], servers[port, ACCEPTED], servers[port, FREE] = began, accepted, end
    if head[RECORDING]:
        carry(head, lines, port, max(now, free), end, line)
    return end


@compiled
def _spun(
    head: np.ndarray, agenda: Agenda, watched: Watched, reports: Reports, row: int, seen: bool, now: int, limit: int
) -> int:
    """Go on after a sample of a spinner."""
    waiters, words, eyes = watched[0], watched[1], watched[4]
    end = now + eyes[RESPONSE]
    if seen and waiters[row, END] < 0:
        if not eyes[SHARED]:
            waiters[row, READS] = first_poll(end - waiters[row, T0], eyes[PERIOD_NUM], eyes[PERIOD_DEN])
        limit = _finish(head, watched, reports, row, end, limit)
    elif not seen and not eyes[SHARED]:
        _join(waiters, words, row)
    if eyes[SHARED]:
        _plan(head, agenda, waiters, row, end, RESPONDS)
    return limit


@compiled
def _issue(head: np.ndarray, agenda: Agenda, waiters: np.ndarray, eyes: np.ndarray, row: int, now: int) -> None:
    """Issue the poll of a spinner that is due, unless as many as allowed are under way, and plan the next."""
    if 0 <= waiters[row, END] <= now:
        return
    if waiters[row, FLIGHT] == eyes[OUTSTANDING]:
        waiters[row, BLOCKED] = 1
        return
    waiters[row, FLIGHT] += 1
    waiters[row, POLL] += 1
    _read(head, agenda, waiters, eyes, row, now)
    passed = divide_up(waiters[row, POLL] - waiters[row, ORIGIN], eyes[PERIOD_NUM], eyes[PERIOD_DEN])
    _plan(head, agenda, waiters, row, waiters[row, BASE] + passed, ISSUES)


@compiled
def _backed_off(
    head: np.ndarray, agenda: Agenda, watched: Watched, reports: Reports, row: int, seen: bool, now: int, limit: int
) -> int:
    """Go on after a sample of a waiter that backs off, or yields."""
    waiters, eyes = watched[0], watched[4]
    end = now + eyes[RESPONSE]
    if seen:
        if not eyes[SHARED]:
            waiters[row, READS] = waiters[row, POLL] + 1
        return _finish(head, watched, reports, row, end, limit)
    interval = waiters[row, INTERVAL]
    following = end + _cycles(eyes, interval)
    waiters[row, INTERVAL] = _longer(eyes, interval)
    if eyes[SHARED]:
        _read(head, agenda, waiters, eyes, row, following)
    else:
        waiters[row, BASE] = following
        waiters[row, POLL] += 1
        _join(waiters, watched[1], row)
    return limit


@compiled
def _checked(
    head: np.ndarray, agenda: Agenda, watched: Watched, reports: Reports, row: int, seen: bool, now: int, limit: int
) -> int:
    """Go on after a sample of a waiter with a monitor."""
    waiters, eyes = watched[0], watched[4]
    end, state = now + eyes[RESPONSE], waiters[row, STATE]
    if seen:
        if state == RECHECKING and not waiters[row, HIT]:
            _disarm(watched, row)
        if waiters[row, CALLED]:
            _plan(head, agenda, waiters, row, end, RESPONDS)
        return _finish(head, watched, reports, row, end, limit)
    if eyes[POLICY] == ATOMIC:
        _arm(watched, row)
        waiters[row, STATE] = ASLEEP
    elif state == RECHECKING:
        _plan(head, agenda, waiters, row, end, RESPONDS)
    else:
        if state == AWAKE:
            waiters[row, FALSE_WAKEUPS] += 1
        if waiters[row, CALLED]:
            _plan(head, agenda, waiters, row, end, RESPONDS)
        _plan(head, agenda, waiters, row, end + eyes[ARM], ARMS)
    return limit


@compiled
def _respond(
    head: np.ndarray, agenda: Agenda, watched: Watched, reports: Reports, row: int, now: int, limit: int
) -> int:
    """Go on when the response of a read is back, where that changes something."""
    waiters, eyes = watched[0], watched[4]
    if eyes[POLICY] == SPIN:
        waiters[row, FLIGHT] -= 1
        if waiters[row, BLOCKED]:
            # Later than it was due: the grid starts again here.
            waiters[row, BLOCKED], waiters[row, BASE], waiters[row, ORIGIN] = 0, now, waiters[row, POLL]
            _issue(head, agenda, waiters, eyes, row, now)
    elif waiters[row, CALLED]:
        waiters[row, CALLED] = 0
        key = waiters[row, WORD] - watched[1][waiters[row, WORD], BACK]
        return _next_call(head, agenda, watched, reports, key, now, limit)
    elif waiters[row, HIT]:
        waiters[row, STATE] = AWAKE
        _read(head, agenda, waiters, eyes, row, now)
    else:
        waiters[row, STATE] = ASLEEP
    return limit
