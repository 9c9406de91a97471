"""Collectives that several ranks recorded, put on one clock and turned into the one-sided writes they stand for."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcore.errors import InputError
from simcore.formats.clocks import by_rank, check_spread, clock_shifts, ranges, world_of
from simcore.formats.kineto import Collective, Trace
from simcore.formats.profile import FLAG_BYTES, MOST_WRITES, Profile


def to_profile(
    traces: Sequence[Trace], *, algorithm: str = "direct", align: str | None = None, clone_rank: int | None = None
) -> Profile:
    """Return the timing profile of ``traces``, one a rank: each collective becomes the writes of ``algorithm``, stamped
    with its recorded end.

    ``align``: ``none`` takes the clocks as they are, ``base`` puts every rank's first collective at the same instant,
    ``match`` shifts ranks so that equal collectives (name, group, sequence) end together in the median. Ranks without a
    trace stay absent unless ``clone_rank`` names the rank whose times they get. Raises ``InputError``.

    Model: a trace tells when a collective ended, not when its bytes moved; so all its writes carry that instant.
    """
    if algorithm not in ("direct", "ring"):
        raise InputError(f"--as {algorithm}: unknown algorithm; allowed: direct, ring")
    ranked = by_rank(traces)
    world = world_of(ranked)
    header = [("source", ", ".join(trace.file for trace in ranked.values())), ("ranks", ", ".join(map(str, ranked)))]
    usable = {
        rank: [c for c in trace.collectives if c.size is not None and c.group is not None and rank in c.group]
        for rank, trace in ranked.items()
    }
    usable = {
        rank: [c for c in found if c.name in _ALGORITHMS and len(c.group or ()) > 1] for rank, found in usable.items()
    }
    if not any(usable.values()):
        sentences = "; ".join(dict.fromkeys(sentence for trace in ranked.values() for sentence in trace.lacks))
        raise InputError(
            f"{', '.join(trace.file for trace in ranked.values())}: no collective can become writes: "
            f"{sentences or 'none spans two ranks'}"
        )
    _refuse_many(usable, clone_rank, world)
    usable, said = _aligned(usable, ranked, align)
    header.append(("align", said))
    if clone_rank is not None:
        header.append(("clone", _clone(usable, clone_rank, world)))
    header += _statements(ranked, usable, algorithm, world)
    return _laid_out(usable, algorithm, world, tuple(header))


def _aligned(
    usable: dict[int, list[Collective]], ranked: dict[int, Trace], align: str | None
) -> tuple[dict[int, list[Collective]], str]:
    """Return the collectives on one clock whose zero is the earliest begin, and the sentence that says how."""
    shift, said = clock_shifts(usable, ranked, align)
    zero = min(c.start + shift[rank] for rank, found in usable.items() for c in found)
    moved = {
        rank: [replace(c, start=c.start + shift[rank] - zero, end=c.end + shift[rank] - zero) for c in found]
        for rank, found in usable.items()
    }
    check_spread(c.end for found in moved.values() for c in found)
    return moved, said


def _clone(usable: dict[int, list[Collective]], source: int, world: int) -> str:
    if source not in usable:
        raise InputError(
            f"--clone-rank {source}: there is no trace of that rank; given are {', '.join(map(str, usable))}"
        )
    absent = [rank for rank in range(world) if rank not in usable]
    for rank in absent:
        usable[rank] = [c for c in usable[source] if c.group is not None and rank in c.group]
    return (
        f"rank {source} stands for {len(absent)} ranks without a trace: same instants, same sizes, no skew among them"
    )


def _refuse_many(usable: dict[int, list[Collective]], clone_rank: int | None, world: int) -> None:
    """Raise ``InputError`` where the collectives become more writes than memory is made for."""
    counts = {
        # Reduce-scatter and all-gather make an all-reduce; a flag goes with the data of every send.
        rank: sum((4 if c.name == "all_reduce" else 2) * (len(c.group or ()) - 1) for c in found)
        for rank, found in usable.items()
    }
    count = sum(counts.values()) + (world - len(usable)) * (0 if clone_rank is None else counts.get(clone_rank, 0))
    if count > MOST_WRITES:
        raise InputError(
            f"the collectives would become up to {count} writes; the limit is {MOST_WRITES}, so import fewer ranks or "
            "fewer steps"
        )


def _statements(
    ranked: dict[int, Trace], usable: dict[int, list[Collective]], algorithm: str, world: int
) -> Iterator[tuple[str, str]]:
    yield "algorithm", f"{algorithm}: inferred, a trace does not say which writes a collective consisted of"
    yield (
        "stamps",
        "all writes of a collective at its recorded end on the writing rank; the order within it is the algorithm's",
    )
    yield "split", "arrays are cut by elements, the first parts one element longer where they do not divide evenly"
    yield "flags", f"inferred: one of {FLAG_BYTES} bytes (assumed) behind the data of every step and peer"
    sizes: dict[Any, set[int | None]] = defaultdict(set)
    for found in usable.values():
        for c in found:
            sizes[c.name, c.group, c.sequence].add(c.size)
    unequal = sum(len(seen) > 1 for (name, _, _), seen in sizes.items() if name != "all_to_all")
    if unequal:
        yield (
            "unequal",
            f"{unequal} collectives of equal name, group and sequence have different sizes on different "
            "ranks; the traces may be sampled",
        )
    names = {c.name for found in usable.values() for c in found}
    if names & {"broadcast", "reduce"}:
        yield "root", "inferred: broadcast and reduce have the lowest rank of their group as root"
    if algorithm == "ring" and "all_to_all" in names:
        yield "all_to_all", "direct also where --as is ring; it has no ring form"
    absent = [rank for rank in range(world) if rank not in usable]
    if absent:
        yield "absent", f"{len(absent)} of {world} ranks ({ranges(absent)}) have no trace and write nothing"
    for rank, trace in ranked.items():
        left_out = Counter(c.name for c in trace.collectives) - Counter(c.name for c in usable[rank])
        for name, count in left_out.items():
            yield (
                "left out",
                f"rank {rank}: {count} x {name} become no writes (size, group or peer unknown, or no algorithm)",
            )
        for sentence in trace.lacks:
            yield "lacks", f"rank {rank}: {sentence}"


Send = tuple[int, int, int, bool]
"""Position of the destination in the group, index of the part that is sent (-1: the whole array), step, and whether the
receiver reduces."""


def _direct_all_reduce(i: int, n: int) -> list[Send]:
    peers = [(i + k) % n for k in range(1, n)]
    return [(j, j, 0, True) for j in peers] + [(j, i, 1, False) for j in peers]


def _ring_all_reduce(i: int, n: int) -> list[Send]:
    after = (i + 1) % n
    scatter = [(after, (i - s) % n, s, True) for s in range(n - 1)]
    return scatter + [(after, (i + 1 - s) % n, n - 1 + s, False) for s in range(n - 1)]


def _ring_reduce_scatter(i: int, n: int) -> list[Send]:
    return [((i + 1) % n, (i - 1 - s) % n, s, True) for s in range(n - 1)]


_DIRECT = {
    "all_reduce": _direct_all_reduce,
    "all_gather": lambda i, n: [((i + k) % n, i, 0, False) for k in range(1, n)],
    "reduce_scatter": lambda i, n: [((i + k) % n, (i + k) % n, 0, True) for k in range(1, n)],
    "all_to_all": lambda i, n: [((i + k) % n, (i + k) % n, 0, False) for k in range(1, n)],
    "broadcast": lambda i, n: [(j, -1, 0, False) for j in range(1, n)] if i == 0 else [],
    "reduce": lambda i, n: [(0, -1, 0, True)] if i else [],
}
_RING = {
    "all_reduce": _ring_all_reduce,
    "all_gather": lambda i, n: [((i + 1) % n, (i - s) % n, s, False) for s in range(n - 1)],
    "reduce_scatter": _ring_reduce_scatter,
    "all_to_all": _DIRECT["all_to_all"],
    "broadcast": lambda i, n: [(i + 1, -1, i, False)] if i + 1 < n else [],
    "reduce": lambda i, n: [(i - 1, -1, n - 1 - i, True)] if i else [],
}
_ALGORITHMS = set(_DIRECT)


def _laid_out(
    usable: dict[int, list[Collective]], algorithm: str, world: int, header: tuple[tuple[str, str], ...]
) -> Profile:
    """Turn the collectives of every rank into rows, sorted by (time, rank, order)."""
    sends = _DIRECT if algorithm == "direct" else _RING
    numbers = _numbered(usable)
    rows: list[tuple[int, ...]] = []
    names: list[str] = []
    for rank in sorted(usable):
        for c in usable[rank]:
            group = c.group or ()
            n, position, size = len(group), group.index(rank), c.size or 0
            number = numbers[c.name, c.group, c.sequence]
            for to, part, step, reduces in sends[c.name](position, n):
                sent = size if part < 0 else _part(size // c.itemsize, n, part) * c.itemsize
                lengths = [(sent, False), (FLAG_BYTES, True)] if sent else [(FLAG_BYTES, True)]
                rows += [
                    (rank, c.start, c.end, group[to], length, number, step, flag, reduces) for length, flag in lengths
                ]
                names += [c.name] * len(lengths)
    rank_, start, time, dst, size_, collective, step_, flags, reduce = np.array(rows, np.int64).reshape(-1, 9).T.copy()
    none = np.zeros_like(rank_)
    return Profile(
        rank_, start, time, time, dst, size_, flags.astype(bool), collective, step_, none, reduce.astype(bool), names,
        header, world,
    ).ordered()  # fmt: skip


Key = tuple[str, tuple[int, ...] | None, int]


def _numbered(usable: dict[int, list[Collective]]) -> dict[Key, int]:
    """Number collectives (name, group, sequence) in the order in which the first rank began them."""
    begin: dict[Key, int] = {}
    for found in usable.values():
        for c in found:
            key = (c.name, c.group, c.sequence)
            begin[key] = min(begin.get(key, c.start), c.start)
    return {key: number for number, key in enumerate(sorted(begin, key=lambda key: (begin[key], str(key))))}


def _part(elements: int, n: int, index: int) -> int:
    return elements // n + (index < elements % n)
