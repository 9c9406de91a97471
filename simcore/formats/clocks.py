"""Ranks that were recorded one by one: which rank is which, and how their clocks become one."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

from simcore.errors import InputError
from simcore.formats.kineto import Collective, Trace
from simcore.units import LARGEST, TIME, short


def by_rank(traces: Sequence[Trace]) -> dict[int, Trace]:
    """Return ``traces`` by rank, ascending; raises ``InputError`` where a rank is unknown or there twice."""
    ranked: dict[int, Trace] = {}
    for trace in traces:
        rank = trace.rank if trace.rank is not None or len(traces) > 1 else 0
        if rank is None:
            raise InputError(
                f"{trace.file}: its rank is unknown; name the file rankN.json(.gz), or record it in a distributed job"
            )
        if rank in ranked:
            raise InputError(f"{trace.file}: rank {rank} was already given by {ranked[rank].file}")
        ranked[rank] = trace
    return dict(sorted(ranked.items()))


def world_of(ranked: dict[int, Trace]) -> int:
    """Return the number of ranks of the job, as its traces state it or as they name ranks; raises ``InputError`` where
    they contradict each other."""
    stated = {trace.world for trace in ranked.values() if trace.world is not None}
    if len(stated) > 1:
        raise InputError(f"the traces are of different jobs: they state {', '.join(map(str, sorted(stated)))} ranks")
    members = [rank for trace in ranked.values() for c in trace.collectives for rank in c.group or ()]
    return stated.pop() if stated else max([*ranked, *members]) + 1


def clock_shifts(
    usable: dict[int, list[Collective]], ranked: dict[int, Trace], align: str | None
) -> tuple[dict[int, int], str]:
    """Return what to add to the clock of every rank (ps) so that all are one, and the sentence that says how.

    ``align`` as for `simcore.formats.writes.to_profile`. Raises ``InputError`` where it cannot be done.
    """
    if align not in (None, "none", "base", "match"):
        raise InputError(f"--align {align}: unknown way; allowed: none, base, match")
    if align is None:
        foreign = [trace.file for trace in ranked.values() if not trace.epoch]
        if foreign and len(ranked) > 1:
            raise InputError(
                f"{foreign[0]}: timestamps do not count from 1970, so ranks cannot be compared; give --align "
                "base or --align match"
            )
        align = "none"
    shift = dict.fromkeys(usable, 0)
    said = "none: clocks of the ranks as recorded" + (
        ", which count from 1970" if all(trace.epoch for trace in ranked.values()) else ""
    )
    if align == "base":
        shift = {rank: -min((c.start for c in found), default=0) for rank, found in usable.items()}
        said = "base: the first collective of every rank begins at 0; skew between ranks is lost"
    elif align == "match":
        shift, said = _matched(usable)
    return shift, said


def check_spread(ends: Iterable[int]) -> None:
    """Raise ``InputError`` where clocks that should be one lie apart further than times may be."""
    if max(ends, default=0) >= LARGEST // 2:
        raise InputError("the clocks of the ranks lie more than 26 days apart; give --align base or --align match")


def _matched(usable: dict[int, list[Collective]]) -> tuple[dict[int, int], str]:
    """Shift every rank by the median difference of the ends of the collectives it shares with a rank already placed."""
    # A collective whose sizes differ between two ranks is not the same one, whatever its number says; all_to_all may
    # differ.
    ends = {
        rank: {(c.name, c.group, c.sequence, c.size if c.name != "all_to_all" else None): c.end for c in found}
        for rank, found in usable.items()
        if found
    }
    if not ends:
        raise InputError("--align match: no rank has a collective with a size and a group")
    first = min(ends)
    shift = dict.fromkeys(usable, 0)
    placed, residuals = [first], []
    while len(placed) < len(ends):
        candidates = [
            (len(ends[rank].keys() & ends[known].keys()), -rank, -known)
            for rank in ends
            if rank not in placed
            for known in placed
        ]
        common, rank, known = max(candidates)
        rank, known = -rank, -known
        if not common:
            raise InputError(
                f"--align match: rank {rank} shares no collective (name, group, sequence) with rank {placed[0]}"
            )
        differences = [
            ends[known][key] + shift[known] - ends[rank][key]
            for key in sorted(ends[rank].keys() & ends[known].keys(), key=str)
        ]
        shift[rank] = int(median(differences))
        residuals += [abs(difference - shift[rank]) for difference in differences]
        placed.append(rank)
    mean = sum(residuals) // max(1, len(residuals))
    said = (
        f"match: {len(residuals)} collectives of equal name, group, sequence and size end together in the median; "
        f"residual mean {short(mean, TIME)}, max {short(max(residuals, default=0), TIME)}"
    )
    return shift, said


def ranges(ranks: Sequence[int]) -> str:
    """Return ascending ``ranks`` as text: 0, 2 to 127."""
    begins = [i for i, rank in enumerate(ranks) if i == 0 or ranks[i - 1] != rank - 1]
    pairs = [(ranks[i], ranks[j - 1]) for i, j in pairwise([*begins, len(ranks)])]
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in pairs)
