"""As much of a run's tables as a page can hold and an eye can see: bars, bins and pairs within stated limits."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simcore.trace import natural, numbers, parted

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Ints = np.ndarray[Any, np.dtype[np.int64]]

Tables = Mapping[str, "pa.Table"]

MOST_BARS = 120_000
"""Bars of a timeline; of more spans, those shorter than a power of two of ps are merged with their neighbours."""
MOST_ROWS = 4_096
"""Rows of a timeline: all ranks, and as many parts of each, work-groups or streams, as there is room for."""
MOST_CELLS = 240_000
"""Bins of all links together; of more, neighbours are merged."""
MOST_LINKS = 256
"""Links with a row of their own; of more, the busiest of each class."""
MOST_RANKS = 256
"""Rows of the traffic matrix; of more ranks, neighbours are merged."""
SCALE = 65_535
"""Full scale of an encoded share."""
COLOURS = {"compute": 0, "send": 1, "replay": 2, "idle": 3}
WAITS, OTHER = range(4, 10), 10
"""Numbers of the page's colours: of activities, of waits by reason, of all else."""


def coded(table: "pa.Table", name: str) -> "tuple[list[str], Ints]":
    """Return the different words of a column of text, and for each row the number of its word."""
    import numpy as np
    import pyarrow as pa

    found = table[name].combine_chunks().dictionary_encode()
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    return found.dictionary.to_pylist(), np.asarray(np.from_dlpack(found.indices), np.int64)


def parent_of(location: str) -> str:
    """Return the rank that ``location`` is a part of, or itself."""
    return parted(location)[0]


def order_of(ranks: Sequence[str]) -> Callable[[str], tuple[int, list[tuple[int, str]]]]:
    """Return a key that sorts locations as their ranks come in ``ranks``, naturally within one and behind them."""
    place = {name: i for i, name in enumerate(ranks)}
    return lambda name: (place.get(parent_of(name), len(place)), natural(name))


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
    many spans it stands; ``merged`` is the length (ps) below which spans are merged, 0 if none are.

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
    shift, first = merged(row, begin, stop, MOST_BARS)
    bars = bars_of(first, begin, stop, kind, label, len(classes))
    used, bars["label"] = np.unique(bars["label"], return_inverse=True)
    starts = np.searchsorted(row[first], np.arange(len(rows) + 1))
    times = _sums(row * len(classes) + kind, stop - begin, len(rows) * len(classes)).reshape(len(rows), -1)
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


def _sums(place: "Ints", values: "Ints", count: int) -> "Ints":
    """Return the exact sum of the values at each of ``count`` places."""
    import numpy as np

    found = np.zeros(count, np.int64)
    np.add.at(found, place, values)
    return found


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


def merged(row: "Ints", begin: "Ints", stop: "Ints", most: int) -> "tuple[int, Ints]":
    """Return k and the first span of every bar, at most ``most`` where there are not more rows than that: neighbours in
    a row that begin in the same 2^k ps and are shorter are one bar; with k = 0 every span is a bar of its own."""
    import numpy as np

    if len(row) <= most:
        return 0, np.arange(len(row))
    for shift in range(1, 63):
        short = stop - begin < 1 << shift
        fresh = np.ones(len(row), bool)
        same = (row[1:] == row[:-1]) & (begin[1:] >> shift == begin[:-1] >> shift)
        fresh[1:] = ~(short[1:] & short[:-1] & same)
        if int(fresh.sum()) <= most:
            break
    return shift, np.nonzero(fresh)[0]


def bars_of(first: "Ints", begin: "Ints", stop: "Ints", kind: "Ints", label: "Ints", classes: int) -> "dict[str, Ints]":
    """Return the bars: each from the first begin to the last end of its spans, of the class that most of its time
    belongs to, labelled as its longest span."""
    import numpy as np

    count = np.diff(np.append(first, len(begin)))
    if len(first) == len(begin):
        return {"begin": begin, "stop": stop, "kind": kind, "label": label, "count": count}
    bar = np.repeat(np.arange(len(first)), count)
    length = stop - begin
    share = np.bincount(bar * classes + kind, length, len(first) * classes).reshape(-1, classes)
    longest = np.lexsort((np.arange(len(bar)), -length, bar))[np.append(0, np.cumsum(count)[:-1])]
    return {
        "begin": begin[first],
        "stop": np.maximum.reduceat(stop, first),
        "kind": share.argmax(axis=1),
        "label": label[longest],
        "count": count,
    }


def _row(bars: "dict[str, Ints]") -> dict[str, list[int]]:
    import numpy as np

    begin, stop = bars["begin"], bars["stop"]
    before = np.append(np.zeros(min(1, len(stop)), np.int64), stop[:-1])
    found = {"gap": begin - before, "length": stop - begin, "kind": bars["kind"], "label": bars["label"]}
    if (bars["count"] > 1).any():
        found["count"] = bars["count"]
    return {key: column.tolist() for key, column in found.items()}


def links(tables: Tables, end: int) -> dict[str, Any]:
    """Return a row a link: in bins of ``width`` ps the share of time that it carried bytes (1: ``SCALE``), and its rate
    (``most`` B/s: ``SCALE``), both 16-bit in base64; of the whole run its mean share, the largest of a bin of the
    table, and its bytes."""
    import numpy as np

    from simcore.plot import chosen_links

    table = tables["links"]
    names, link = coded(table, "link")
    if not names:
        return {"end": end, "names": [], "hidden": 0}
    busy, size = numbers(table, "busy_ps"), numbers(table, "size_bytes")
    total_busy, total_size = _sums(link, busy, len(names)), _sums(link, size, len(names))
    begin, stop = numbers(table, "t0_ps"), np.minimum(numbers(table, "t1_ps"), end)
    peak = np.zeros(len(names))
    np.maximum.at(peak, link, busy / np.maximum(1, stop - begin))
    shown, hidden = chosen_links(dict(zip(names, total_size.tolist(), strict=True)), MOST_LINKS)
    whole = [names.index(name) for name in shown]
    return {
        "end": end,
        "names": shown,
        "hidden": hidden,
        "mean": [round(float(total_busy[i]) / end, 6) for i in whole],
        "peak": [round(float(peak[i]), 6) for i in whole],
        "size": [int(total_size[i]) for i in whole],
    } | _binned(table, link, whole, end)


def _binned(table: "pa.Table", link: "Ints", whole: Sequence[int], end: int) -> dict[str, Any]:
    """Return the bins of the links with the numbers ``whole``, ``link`` being that of each row of the table."""
    import numpy as np

    place = np.full(int(link.max()) + 1, -1)
    place[whole] = np.arange(len(whole))
    row, begin = place[link], numbers(table, "t0_ps")
    keep = (row >= 0) & (begin < end)
    width = int(numbers(table, "t1_ps")[0] - begin[0])
    while len(whole) * -(-end // width) > MOST_CELLS:
        width *= 2
    bins = -(-end // width)
    cell = (row * bins + begin // width)[keep]
    spans = np.minimum(width, end - width * np.arange(bins))
    used, rate = (
        _sums(cell, numbers(table, name)[keep], len(whole) * bins).reshape(-1, bins) / spans
        for name in ("busy_ps", "size_bytes")
    )
    most = float(rate.max()) or 1.0
    return {"bins": bins, "width": width, "most": most * 1e12, "busy": _packed(used), "rate": _packed(rate / most)}


def _packed(shares: "np.ndarray[Any, Any]") -> str:
    """Return shares of 0 to 1 as 16-bit numbers in base64, low byte first; above 1 is 1, and above 0 never 0."""
    import numpy as np

    whole = np.ceil(np.clip(shares, 0, 1) * SCALE - 1e-6).astype("<u2")
    return base64.b64encode(whole.tobytes()).decode()


def pairs(tables: Tables, names: Sequence[str]) -> dict[str, Any]:
    """Return the bytes from rank to rank, of those pairs that exchanged any: (source, destination, bytes, messages);
    ``each`` neighbours share a row where there are more than ``MOST_RANKS``."""
    import numpy as np

    transfers = tables["transfers"]
    src, dst, size = (numbers(transfers, name).astype(np.int64) for name in ("src", "dst", "size_bytes"))
    world = max(len(names), int(max(src.max(), dst.max())) + 1 if len(src) else 1)
    each = -(-world // MOST_RANKS)
    side = -(-world // each)
    cell = src // each * side + dst // each
    total, count = _sums(cell, size, side * side), np.bincount(cell, minlength=side * side)
    there = np.nonzero(count)[0]
    known = [*names, *(f"rank{i}" for i in range(len(names), world))]
    rows = known if each == 1 else [f"{known[i]} to {known[min(i + each, world) - 1]}" for i in range(0, world, each)]
    return {
        "names": rows,
        "each": each,
        "cells": [[int(c) // side, int(c) % side, int(total[c]), int(count[c])] for c in there],
    }
