"""The bars of a timeline: all spans, or of very many the short ones gathered, none of their time lost."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simcore.page.detail import Tables, coded, order_of, parent_of, sums
from simcore.trace import natural, numbers

if TYPE_CHECKING:
    import pyarrow as pa

    from simcore.page.detail import Ints

MOST_BARS = 120_000
"""Bars of a timeline; of more spans, those shorter than a power of two of ps are gathered with their neighbours."""
MOST_ROWS = 4_096
"""Rows of a timeline: all ranks, and as many parts of each, work-groups or streams, as there is room for."""
COLOURS = {"compute": 0, "send": 1, "replay": 2, "idle": 3}
WAITS, OTHER = range(4, 10), 10
"""Numbers of the page's colours: of activities, of waits by reason, of all else."""


def chosen_rows(locations: Sequence[str], order: Sequence[str] = ()) -> tuple[list[str], int]:
    """Return the rows to show, ranks in their ``order`` with their parts below them, and how many parts are left out:
    of each rank, evenly many are kept."""
    ordered = sorted(locations, key=order_of(order))
    ranks = [name for name in ordered if parent_of(name) == name]
    parts: dict[str, list[str]] = {}
    for name in ordered:
        if parent_of(name) != name:
            parts.setdefault(parent_of(name), []).append(name)
    room = max(1, (MOST_ROWS - len(ranks)) // max(1, len(parts)))
    kept, hidden = set(ranks), 0
    for names in parts.values():
        step = max(1, -(-len(names) // room))
        kept |= set(names[::step])
        hidden += len(names) - len(names[::step])
    return [name for name in ordered if name in kept], hidden


def classes_of(activities: Sequence[str], reasons: Sequence[str]) -> tuple[list[int], list[dict[str, Any]]]:
    """Return the number of the class of every (activity, reason), and of each class its name and its colour; waits are
    told apart by their whole reason where there are few, else by its first word."""
    from simcore.plot import activity_classes

    classes, _ = activity_classes(activities, reasons)
    names = sorted(set(classes), key=lambda name: (name.startswith("wait"), name == "other", natural(name)))
    waits, known = iter(WAITS), COLOURS | {"recorded collective": COLOURS["replay"]}
    colours = [known[n] if n in known else next(waits, OTHER) if n.startswith("wait") else OTHER for n in names]
    place = {name: i for i, name in enumerate(names)}
    found = [{"name": name, "colour": colour} for name, colour in zip(names, colours, strict=True)]
    return [place[name] for name in classes], found


def timeline(tables: Tables, end: int, ranks: Sequence[str] = ()) -> dict[str, Any]:
    """Return rows of bars in columns of integers: gap since the bar before (ps), length (ps), class, label, and for how
    many spans it stands; ``merged`` is the length (ps) below which spans are gathered, 0 if none are.

    The rows of ranks come in the order of ``ranks``, each with ``times``, the time (ps) that its spans spent in every
    class.
    """
    import numpy as np

    spans = tables["spans"]
    where, row_of_span = coded(spans, "location")
    rows, hidden = chosen_rows(where, ranks)
    place = {name: i for i, name in enumerate(rows)}
    row = np.array([place.get(name, -1) for name in where], np.int64)[row_of_span] if where else row_of_span
    begin, stop = numbers(spans, "t0_ps"), numbers(spans, "t1_ps")
    order = np.lexsort((stop, begin, row))
    order = order[row[order] >= 0]
    row, begin, stop = row[order], begin[order], stop[order]
    labels, label = _labels(spans, order)
    kinds, classes = classes_of([each[0] for each in labels], [each[1] for each in labels])
    kind = np.array(kinds, np.int64)[label] if labels else label
    shift, cell, bar = gathered(row, begin, stop, kind, len(classes), MOST_BARS)
    bars = bars_of(cell, bar, begin, stop) | {"row": row, "kind": kind, "label": label}
    bars |= {name: bars[name][bars["longest"]] for name in ("row", "kind", "label")}
    used, bars["label"] = np.unique(bars["label"], return_inverse=True)
    starts = np.searchsorted(bars["row"], np.arange(len(rows) + 1))
    times = sums(row * len(classes) + kind, stop - begin, len(rows) * len(classes)).reshape(len(rows), -1)
    return {
        "end": end,
        "classes": classes,
        "labels": [list(labels[i]) for i in used.tolist()],
        "merged": 1 << shift if shift else 0,
        "hidden": hidden,
        "rows": [
            _head(name, place, times[i])
            | _row({key: column[starts[i] : starts[i + 1]] for key, column in bars.items()})
            for i, name in enumerate(rows)
        ],
    }


def _head(name: str, place: Mapping[str, int], times: "Ints") -> dict[str, Any]:
    """Return the name of a row, the number of the row that it is below (-1 of a rank), and the times of a rank."""
    parent = place.get(parent_of(name), -1) if parent_of(name) != name else -1
    return {"name": name, "parent": parent} | ({"times": times.tolist()} if parent < 0 else {})


def _labels(spans: "pa.Table", order: "Ints") -> "tuple[list[tuple[str, str, str]], Ints]":
    """Return the different (activity, reason, what), and the number of that of each span."""
    import numpy as np

    words, code = [], np.zeros(len(order), np.int64)
    for name in ("activity", "reason", "what"):
        each, codes = coded(spans, name)
        words.append(each)
        code = code * max(1, len(each)) + codes[order]
    different, label = np.unique(code, return_inverse=True)
    found = []
    for number in different.tolist():
        number, what = divmod(number, max(1, len(words[2])))
        activity, reason = divmod(number, max(1, len(words[1])))
        found.append((words[0][activity], words[1][reason], words[2][what]))
    return found, label.reshape(-1)


def gathered(
    row: "Ints", begin: "Ints", stop: "Ints", kind: "Ints", classes: int, most: int
) -> "tuple[int, Ints, Ints]":
    """Return k, and of every span the number of its cell and of its bar, rising by row, cell and class.

    Neighbours in a row that begin in the same 2^k ps and are shorter are one cell (after a longer one the next 2^k ps
    have begun), of which each class is a bar: at most ``most`` of them, where rows and classes are not more than that.
    With k = 0 every span is a cell and a bar of its own.
    """
    import numpy as np

    cell = np.arange(len(row))
    if len(row) <= most:
        return 0, cell, cell
    for shift in range(1, 63):
        fresh = np.ones(len(row), bool)
        same = (row[1:] == row[:-1]) & (begin[1:] >> shift == begin[:-1] >> shift)
        fresh[1:] = ~((stop - begin < 1 << shift)[1:] & same)
        cell = np.cumsum(fresh) - 1
        there = np.zeros((int(cell[-1]) + 1) * classes, bool)
        there[cell * classes + kind] = True
        if int(there.sum()) <= most:
            break
    return shift, cell, (np.cumsum(there) - 1)[cell * classes + kind]


def bars_of(cell: "Ints", bar: "Ints", begin: "Ints", stop: "Ints") -> "dict[str, Ints]":
    """Return the bars: their begin and end, one after another from the begin of their cell and each as long as its
    spans together, how many spans, and which of these is the longest."""
    import numpy as np

    if not len(bar):
        return {"begin": begin, "stop": stop, "count": bar, "longest": bar}
    count, length = np.bincount(bar), sums(bar, stop - begin, int(bar.max()) + 1)
    ranked = np.lexsort((np.arange(len(bar)), begin - stop, bar))
    longest = ranked[np.cumsum(count) - count]
    before, here = np.cumsum(length) - length, cell[longest]
    opens = np.append(True, here[1:] != here[:-1])
    of_cell = np.cumsum(opens) - 1
    first = np.nonzero(np.append(True, cell[1:] != cell[:-1]))[0]
    begins = begin[first][of_cell] + before - before[opens][of_cell]
    return {"begin": begins, "stop": begins + length, "count": count, "longest": longest}


def _row(bars: "dict[str, Ints]") -> dict[str, list[int]]:
    import numpy as np

    begin, stop = bars["begin"], bars["stop"]
    before = np.append(np.zeros(min(1, len(stop)), np.int64), stop[:-1])
    found = {"gap": begin - before, "length": stop - begin, "kind": bars["kind"], "label": bars["label"]}
    if (bars["count"] > 1).any():
        found["count"] = bars["count"]
    return {key: column.tolist() for key, column in found.items()}
