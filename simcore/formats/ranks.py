"""Ranks that were recorded one by one, put on one clock and matched: what each did, ready to be run again."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from simcore.errors import InputError
from simcore.formats.clocks import by_rank, check_spread, clock_shifts, ranges, world_of
from simcore.formats.execution import Execution, Node
from simcore.formats.kineto import Collective, Trace
from simcore.formats.streams import Activity, Wait, graph
from simcore.units import TIME, short

RETIMED = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "all_to_all", "barrier")
"""Operations that can be run again from what a profiler records of them."""

Key = tuple[tuple[int, ...], int]
"""What makes collectives of different ranks one: their group, and which one of the group's it is."""


@dataclass(frozen=True)
class Recorded:
    """What one rank did, as recorded: its trace, what ran on its streams, and what the host's calls say of waits
    (None: the trace holds no such calls)."""

    trace: Trace
    activities: list[Activity]
    waits: list[Wait] | None


def to_executions(
    recorded: Sequence[Recorded], *, align: str | None = None, clone_rank: int | None = None
) -> list[Execution]:
    """Return what every rank of the job did, by rank, on one clock whose zero is the earliest begin.

    ``align`` and ``clone_rank`` as for `simcore.formats.writes.to_profile`. Raises ``InputError``.

    Model: collectives of a group are the same on all its ranks in the order of their begins. One is to be run again
    where all ranks have it, with one operation and size; an all-to-all may differ, and has the largest. Any other keeps
    its recorded duration and waits for nobody: one without a size, a group or a peer, one of which a rank has no trace,
    and one of a single rank.

    Model: a rank that is cloned has all that its original has, at the same instants; broadcast and reduce have the
    lowest rank of their group as root.
    """
    ranked = by_rank([each.trace for each in recorded])
    owner = {id(one.trace): one for one in recorded}
    ranks = {rank: owner[id(trace)] for rank, trace in ranked.items()}
    world = world_of(ranked)
    known = {rank: _known(one.trace.collectives, rank) for rank, one in ranks.items()}
    shift, clock = clock_shifts(known, ranked, align)
    if not any(one.activities for one in ranks.values()):
        raise InputError(f"{', '.join(trace.file for trace in ranked.values())}: nothing ran on a stream")
    zero = min(min(a.begin for a in one.activities) + shift[rank] for rank, one in ranks.items() if one.activities)
    check_spread(a.end + shift[rank] - zero for rank, one in ranks.items() for a in one.activities)
    found: dict[int, tuple[str, list[Node], list[str]]] = {}
    for rank, one in ranks.items():
        nodes, said = graph(one.activities, one.waits, zero - shift[rank])
        found[rank] = one.trace.file, nodes, [f"clocks: {clock}", *said, *one.trace.lacks]
    _clone(found, clone_rank, world)
    return [
        Execution(file, rank, world, nodes, tuple(dict.fromkeys(said)), ordered=True)
        for rank, (file, nodes, said) in sorted(_settled(found, world).items())
    ]


def _known(collectives: Sequence[Collective], rank: int) -> list[Collective]:
    """Return the collectives by which the clocks of ranks can be told."""
    return [c for c in collectives if c.size is not None and c.group is not None and rank in c.group]


def _clone(found: dict[int, tuple[str, list[Node], list[str]]], source: int | None, world: int) -> None:
    absent = [rank for rank in range(world) if rank not in found]
    if source is not None and source not in found:
        raise InputError(
            f"--clone-rank {source}: there is no trace of that rank; given are {', '.join(map(str, found))}"
        )
    if not absent:
        return
    if source is None:
        sentence = (
            f"{len(absent)} of {world} ranks ({ranges(absent)}) have no trace and do nothing; give all, or clone one"
        )
    else:
        sentence = f"rank {source} stands for {len(absent)} ranks without a trace: same instants, no skew among them"
    for _, _, said in found.values():
        said.append(sentence)
    for rank in absent:
        file, nodes, said = found[source] if source is not None else (f"rank {rank}, without a trace", [], [])
        found[rank] = file, nodes, said


def _settled(
    found: dict[int, tuple[str, list[Node], list[str]]], world: int
) -> dict[int, tuple[str, list[Node], list[str]]]:
    """Return the ranks with those collectives that cannot be run again as work of the recorded duration."""
    keys = {rank: dict(_keys(nodes, rank)) for rank, (_, nodes, _) in found.items()}
    there: dict[Key, dict[int, Node]] = defaultdict(dict)
    for rank, (_, nodes, _) in found.items():
        for number, key in keys[rank].items():
            there[key][rank] = nodes[number]
    settled, apart = {}, dict[Key, int]()
    for rank, (file, nodes, said) in found.items():
        kept: Counter[str] = Counter()
        made = []
        for node in nodes:
            everywhere = there[keys[rank][node.id]] if node.id in keys[rank] else {}
            reason = _reason(node, rank) or _disagreement(node, everywhere)
            if node.kind != "collective":
                made.append(node)
            elif not reason:
                key = keys[rank][node.id]
                apart[key] = apart[key] if key in apart else _apart(everywhere.values())
                made.append(replace(node, size=max(0, *(other.size for other in everywhere.values()))))
            else:
                kept[f"{node.name} {reason}"] += 1
                made.append(replace(node, kind="compute", operation="", group=(), size=0))
        sentences = [f"{count} x {name}: kept as recorded, not timed anew" for name, count in kept.items()]
        if any(node.operation in ("broadcast", "reduce") for node in made):
            sentences.append("broadcast and reduce: the lowest rank of their group is taken as root")
        settled[rank] = file, made, [*said, *sentences]
    told = _told_apart(list(apart.values()))
    return {rank: (file, made, [*said, *told]) for rank, (file, made, said) in settled.items()}


def _apart(everywhere: Collection[Node]) -> int:
    """Return how long (ps) after some rank had ended a collective, as recorded, another one began it; 0 or less where
    all were in it at one instant. Of a broadcast or reduce that may be: its root, or the others, need not wait."""
    if any(node.operation in ("broadcast", "reduce") for node in everywhere):
        return 0
    return max(node.begin for node in everywhere) - min(node.begin + node.duration for node in everywhere)


def _told_apart(apart: Sequence[int]) -> list[str]:
    """Return the sentence on collectives that cannot be one as recorded, if there are any; ``apart`` as `_apart` has
    it, of each."""
    never = [late for late in apart if late > 0]
    if not never:
        return []
    return [
        f"{len(never)} of {len(apart)} collectives timed anew ended on some rank before they began on another, by up "
        f"to {short(max(never), TIME)}: the clocks of ranks are not one (align: match makes them one), or a trace "
        "lacks collectives that others have, so that those matched by their order are not the same"
    ]


def _keys(nodes: Sequence[Node], rank: int) -> Iterator[tuple[int, Key]]:
    """Yield which node is which collective, for those of a known group with this rank."""
    count: Counter[tuple[int, ...]] = Counter()
    for node in nodes:
        if node.kind == "collective" and rank in node.group:
            yield node.id, (node.group, count[node.group])
            count[node.group] += 1


def _reason(node: Node, rank: int) -> str:
    """Return why the trace of this rank does not tell what to run, "" where it does."""
    if node.operation not in RETIMED:
        return "without a peer" if node.operation == "send_recv" else "of an unknown kind"
    if rank not in node.group:
        return "among other or unknown ranks"
    if len(node.group) < 2:
        return "of one rank"
    return "without a size" if node.size < 0 and node.operation != "barrier" else ""


def _disagreement(node: Node, everywhere: dict[int, Node]) -> str:
    """Return why the traces of all ranks do not tell what to run, given what each has in place of ``node``."""
    absent = [rank for rank in node.group if rank not in everywhere]
    if absent:
        return f"that ranks {ranges(absent)} have no trace of"
    what = {(other.operation, other.size if other.operation != "all_to_all" else 0) for other in everywhere.values()}
    return "" if len(what) == 1 else "that other ranks have with another size or name"
