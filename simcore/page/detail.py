"""As much of a run's tables as a page can hold and an eye can see: bins of links and pairs of ranks within stated
limits."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simcore.trace import natural, numbers, parted

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Ints = np.ndarray[Any, np.dtype[np.int64]]

Tables = Mapping[str, "pa.Table"]

MOST_CELLS = 240_000
"""Bins of all links together; of more, neighbours are merged."""
MOST_LINKS = 256
"""Links with a row of their own; of more, the busiest of each class."""
MOST_RANKS = 256
"""Rows of the traffic matrix; of more ranks, neighbours are merged."""
SCALE = 65_535
"""Full scale of an encoded share."""


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


def sums(place: "Ints", values: "Ints", count: int) -> "Ints":
    """Return the exact sum of the values at each of ``count`` places."""
    import numpy as np

    found = np.zeros(count, np.int64)
    np.add.at(found, place, values)
    return found


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
    total_busy, total_size = sums(link, busy, len(names)), sums(link, size, len(names))
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


def means(tables: Tables, end: int) -> dict[str, float]:
    """Return of every link that was used the share of the whole run in which it carried bytes."""
    names, link = coded(tables["links"], "link")
    busy = sums(link, numbers(tables["links"], "busy_ps"), len(names))
    return {name: float(busy[i]) / end for i, name in enumerate(names)}


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
        sums(cell, numbers(table, name)[keep], len(whole) * bins).reshape(-1, bins) / spans
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
    total, count = sums(cell, size, side * side), np.bincount(cell, minlength=side * side)
    there = np.nonzero(count)[0]
    known = [*names, *(f"rank{i}" for i in range(len(names), world))]
    rows = known if each == 1 else [f"{known[i]} to {known[min(i + each, world) - 1]}" for i in range(0, world, each)]
    return {
        "names": rows,
        "each": each,
        "cells": [[int(c) // side, int(c) % side, int(total[c]), int(count[c])] for c in there],
    }
