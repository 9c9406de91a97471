"""Who meets whom: sends with receives, and the ranks of a collective with each other."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from simcore import Execution, InputError, Node

Place = tuple[int, int]
"""A node: its rank, and its place among the nodes of that rank."""


@dataclass(frozen=True)
class Meeting:
    """A collective: what the ranks of ``group`` ask for, and, parallel to them, where each of them does."""

    asked: Node
    group: tuple[int, ...]
    calls: tuple[Place, ...]


@dataclass(frozen=True)
class Job:
    """What all ranks did: ``messages`` from the send to its receive, the sends in an order in which all can happen, the
    collectives, and sentences for the user."""

    executions: list[Execution]
    messages: list[tuple[Place, Place]]
    meetings: list[Meeting]
    said: tuple[str, ...]

    def node(self, place: Place) -> Node:
        """Return the node at ``place``."""
        return self.executions[place[0]].nodes[place[1]]


@dataclass(frozen=True)
class _Matched:
    messages: list[tuple[Place, Place]]
    meetings: list[Meeting]
    alone: list[tuple[Place, str]]
    """Nodes that nobody meets, with what is wrong."""


def match(executions: Sequence[Execution]) -> Job:
    """Return the job of these executions, one a rank in order.

    The k-th send of a rank to another with a tag meets the k-th receive there, the k-th collective of a group the k-th
    of its other ranks. Where a file was cut off, what then meets nobody is left out, with all that depends on it.
    Raises ``InputError``, which names files and nodes, for what meets nobody otherwise, for ends that contradict each
    other, and for nodes that wait for each other.
    """
    whole = list(executions)
    said = list(_said(whole))
    found = _match(whole)
    if found.alone:
        if not any(each.lost for each in whole):
            raise InputError(found.alone[0][1])
        kept = _without(whole, found)
        before, after = (sum(len(each.nodes) for each in every) for every in (whole, kept))
        said.append(f"{before - after} of {before} nodes of all ranks are left out: they need what was cut off")
        whole, found = kept, _match(kept)
    job = Job(whole, found.messages, found.meetings, tuple(said))
    turn = {place: number for number, place in enumerate(_order(job))}
    return replace(job, messages=sorted(job.messages, key=lambda pair: turn[pair[0]]))


def _said(executions: Sequence[Execution]) -> Iterator[str]:
    """Yield each sentence of the executions once, with the files of which it is said."""
    files: dict[str, dict[str, None]] = defaultdict(dict)
    for each in executions:
        for sentence in each.said:
            files[sentence][each.file] = None
    for sentence, those in files.items():
        first, *others = those
        yield f"{first}{f' and {len(others)} more' if others else ''}: {sentence}"


def _match(executions: list[Execution]) -> _Matched:
    messages, alone = _messages(executions)
    meetings, missed = _meetings(executions)
    return _Matched(messages, meetings, alone + missed)


def _messages(executions: list[Execution]) -> tuple[list[tuple[Place, Place]], list[tuple[Place, str]]]:
    ends: dict[tuple[int, int, int], tuple[list[Place], list[Place]]] = defaultdict(lambda: ([], []))
    for rank, execution in enumerate(executions):
        for number, node in enumerate(execution.nodes):
            if node.kind == "send":
                ends[rank, node.peer, node.tag][0].append((rank, number))
            elif node.kind == "receive":
                ends[node.peer, rank, node.tag][1].append((rank, number))
    messages, alone = [], []
    for (src, dst, tag), (sends, receives) in ends.items():
        for send, receive in zip(sends, receives, strict=False):
            _check_sizes(executions, send, receive)
            messages.append((send, receive))
        matched, is_send = min(len(sends), len(receives)), len(sends) > len(receives)
        for place in (sends if is_send else receives)[matched:]:
            what = f"sends to rank {dst}" if is_send else f"receives from rank {src}"
            other = executions[dst if is_send else src].file
            sentence = (
                f"{_named(executions, place)} {what} with tag {tag}, the {place_of(matched + 1)} time, but {other} "
                f"{'receives' if is_send else 'sends'} {matched} such messages"
            )
            alone.append((place, sentence))
            matched += 1
    return sorted(messages), alone


def _check_sizes(executions: list[Execution], send: Place, receive: Place) -> None:
    sent, taken = (executions[rank].nodes[number].size for rank, number in (send, receive))
    if taken not in (0, sent):  # a receive need not state one
        raise InputError(
            f"{_named(executions, send)} sends {sent} B, but {_named(executions, receive)} receives {taken} B"
        )


def _meetings(executions: list[Execution]) -> tuple[list[Meeting], list[tuple[Place, str]]]:
    everybody = tuple(range(len(executions)))
    calls: dict[tuple[int, ...], dict[int, list[Place]]] = defaultdict(lambda: defaultdict(list))
    for rank, execution in enumerate(executions):
        for number, node in enumerate(execution.nodes):
            if node.kind == "collective":
                calls[node.group or everybody][rank].append((rank, number))
    meetings, alone = [], []
    for group, by_rank in calls.items():
        count = min(len(by_rank[rank]) for rank in group)
        for turn in range(count):
            places = tuple(by_rank[rank][turn] for rank in group)
            meetings.append(Meeting(_agreed(executions, places), group, places))
        fewest = next(rank for rank in group if len(by_rank[rank]) == count)
        for place in (place for rank in group for place in by_rank[rank][count:]):
            sentence = (
                f"{_named(executions, place)} is collective {count + 1} of {len(group)} ranks, but "
                f"{executions[fewest].file} has {count}"
            )
            alone.append((place, sentence))
    return meetings, alone


def _agreed(executions: list[Execution], places: tuple[Place, ...]) -> Node:
    """Return what all calls of a collective ask for."""
    nodes = [executions[rank].nodes[number] for rank, number in places]
    first = nodes[0]
    for place, node in zip(places, nodes, strict=True):
        if (node.operation, node.size, node.root) != (first.operation, first.size, first.root):
            one, other = (f"{each.operation} of {each.size} B, root {each.root}" for each in (first, node))
            raise InputError(
                f"{_named(executions, places[0])} is {one}, but {_named(executions, place)}, which meets it, is {other}"
            )
    return first


def _without(executions: list[Execution], found: _Matched) -> list[Execution]:
    """Return the executions without the nodes that meet nobody, those that depend on them, and those that meet
    these."""
    meets: dict[Place, list[Place]] = defaultdict(list)
    for send, receive in found.messages:
        meets[send].append(receive)
        meets[receive].append(send)
    for meeting in found.meetings:
        for call in meeting.calls:
            meets[call] = list(meeting.calls)
    for rank, execution in enumerate(executions):
        number_of = {node.id: number for number, node in enumerate(execution.nodes)}
        for number, node in enumerate(execution.nodes):
            for other in node.after:
                meets[rank, number_of[other]].append((rank, number))
    gone = {place for place, _ in found.alone}
    spread = list(gone)
    while spread:
        for place in meets[spread.pop()]:
            if place not in gone:
                gone.add(place)
                spread.append(place)
    return [
        replace(each, nodes=[node for number, node in enumerate(each.nodes) if (rank, number) not in gone])
        for rank, each in enumerate(executions)
    ]


def _order(job: Job) -> list[Place]:
    """Return the nodes of all ranks so that each comes after what it needs; raises ``InputError`` where they wait for
    each other.

    Model: every rank of a collective needs every other to have come; a schedule may need less.
    """
    needs = dict(_needs(job))
    frees: dict[Place, list[Place]] = defaultdict(list)
    for place, others in needs.items():
        for other in others:
            frees[other].append(place)
    waits = {place: len(others) for place, others in needs.items()}
    ready = [place for place, count in waits.items() if not count]
    for place in ready:
        for freed in frees[place]:
            waits[freed] -= 1
            if not waits[freed]:
                ready.append(freed)
    if len(ready) < len(waits):
        raise InputError(_circle(job, needs, {place for place, count in waits.items() if count}))
    return ready


def _needs(job: Job) -> Iterator[tuple[Place, list[Place]]]:
    """Yield every node with the nodes, of whatever rank, that must have ended before it can; each collective once, as
    (-1, its number), which its calls need."""
    partner = {receive: send for send, receive in job.messages}
    meeting_of = {call: (-1, number) for number, each in enumerate(job.meetings) for call in each.calls}
    local: dict[Place, list[Place]] = {}
    for rank, execution in enumerate(job.executions):
        number_of = {node.id: number for number, node in enumerate(execution.nodes)}
        for number, node in enumerate(execution.nodes):
            local[rank, number] = [(rank, number_of[other]) for other in node.after]
    for place, others in local.items():
        if place in meeting_of:
            yield place, [meeting_of[place]]
        else:
            yield place, [*others, partner[place]] if place in partner else others
    for number, meeting in enumerate(job.meetings):
        yield (-1, number), [other for call in meeting.calls for other in local[call]]


def _circle(job: Job, needs: dict[Place, list[Place]], stuck: set[Place]) -> str:
    here, path = min(stuck), dict[Place, int]()
    while here not in path:
        path[here] = len(path)
        here = next(other for other in needs[here] if other in stuck)
    circle = [place for place in list(path)[path[here] :] if place[0] >= 0]
    shown = [_named(job.executions, place) for place in circle]
    return (
        f"{' needs '.join(shown[:4])}{', ...' if len(shown) > 4 else ''}, which needs the first: no order of them ends"
    )


def _named(executions: list[Execution], place: Place) -> str:
    execution = executions[place[0]]
    node = execution.nodes[place[1]]
    return f"{execution.file}: node {node.id} {node.name!r}"


def place_of(number: int) -> str:
    """Return 1st, 2nd, 3rd, 4th, ..."""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
