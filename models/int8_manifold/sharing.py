"""Sensors on links and the hub that wants the answer: who sends what to whom, and who recalls.

Sensor i is rank i and sees the i-th part of the nodes; the hub is the last rank. Each message is followed by a flag on
the same route. Truncation is that of the whole code.

Model: a sensor knows which of its nodes the truncation of the whole code leaves, without being told; so does a hub that
is sent all values.
Model: to unpack what arrives costs nothing.
Model: who passes a message on, or receives it, spends what its sender would; a server, a switch and who only listens
spend nothing for it.
Model: of a server, what its GPU spends while it recalls is counted, and not its host's software.
"""

from collections.abc import Generator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import Kernel, Rank, Virtual

from . import cost, forms, kernel
from .ledger import Ledger
from .recalling import charges, decided, fits, give, given, run, tell_late, until_due, write
from .timing import Constant, Operations

if TYPE_CHECKING:
    from .plan import Plan, Recall
    from .program import Params

Life = Generator[Any, Any, Any]
FLAG = Virtual((1,), "int8")


def program(rank: Rank, plan: "Plan") -> Life:
    """Take part in every recall of the plan, as a sensor or as the hub."""
    params, count = plan.params, plan.params.sensors.count
    share = params.sensors.share
    weights = _own(rank, plan)
    held = () if weights is None else forms.form(weights, params.method, params.rule)
    if share != "offload" and not fits(rank, held, params.method):
        return
    shape = () if weights is None else weights.shape
    pending, latest = list(plan.strikes) if rank.index == 0 else [], 0
    take_part = {"gather": _gather, "offload": _gather, "rows": _rows, "columns": _columns}[share]
    for number, recall in enumerate(plan.recalls):
        yield from until_due(rank, pending, recall.due)
        begin, ledger = rank.now, Ledger(rank.energy, params.level)
        answer = yield from take_part(rank, plan, number, recall, held, shape, ledger)
        served = share == "offload" and rank.index == count
        server = params.sensors.server
        spent = server.power * server.recall // 10**6 if served else 0
        if served:
            ledger = Ledger(rank.energy, params.level)
        write(rank, params, number, recall, begin, ledger, server=spent, powered=not served)
        if answer is not None:
            give(rank, recall, answer)
            latest = max(latest, rank.now - recall.due)
    tell_late(rank, latest, params.period)


def _own(rank: Rank, plan: "Plan") -> Any:
    """Return the weights that a rank holds: all, its rows, its columns, or none."""
    count, share, weights = plan.params.sensors.count, plan.params.sensors.share, plan.weights
    is_hub = rank.index == count
    if is_hub == (share in ("rows", "columns")):
        return None
    if is_hub:
        return weights
    nodes, outputs = weights.shape
    rows, columns = (nodes // count, outputs) if share == "rows" else (nodes, outputs // count)
    if isinstance(weights, Virtual):
        return Virtual((rows, columns), "int8")
    if share == "rows":
        return weights[rank.index * rows : (rank.index + 1) * rows]
    return np.ascontiguousarray(weights[:, rank.index * columns : (rank.index + 1) * columns])


def _gather(
    rank: Rank, plan: "Plan", number: int, recall: "Recall", held: Any, shape: Any, ledger: Ledger
) -> Life:  # fmt: skip
    """Send the own part to the hub; the hub waits for all of them and recalls."""
    params, count = plan.params, plan.params.sensors.count
    if rank.index < count:
        yield from _tell(rank, params, number, recall, [count], ledger)
        return None
    code = yield from _told(rank, params, number, recall, range(count))
    if params.sensors.share == "gather":
        charge = yield from charges(rank, params, held, code, recall.events, ledger, shape)
        return (yield from decided(rank, params, charge, ledger))
    yield from rank.spend(params.sensors.server.software, "compute", "software of the server")
    return (yield from run(rank, ledger, _served(params, shape, recall.events), *held, code))


def _served(params: "Params", shape: tuple[int, ...], events: int) -> Kernel:
    """Return a recall on the server: whatever it does there, in the time that it takes."""
    rule, reject, method = params.rule, params.reject, params.method

    def whole(*payloads: Any, virtual: bool) -> Any:
        *held, code = payloads
        by = cost if virtual else kernel
        events_of = partial(cost.compact, events=events) if virtual else kernel.compact
        made, first = events_of(code)
        adder, _ = forms.adding(method, rule, *shape, events, params.fetch, False)
        charge, second = (adder.cost if virtual else adder.run)(*forms.code_of(method, code, made, tuple(held)))
        if not reject and not params.scale:
            return charge, first + second
        answer, third = by.decide(charge, reject) if reject else by.scale(charge, params.scale)  # type: ignore[attr-defined]
        return answer, first + second + third

    time = Constant(params.sensors.server.recall)
    return Kernel("serve", partial(whole, virtual=False), partial(whole, virtual=True), time)


def _rows(rank: Rank, plan: "Plan", number: int, recall: "Recall", held: Any, shape: Any, ledger: Ledger) -> Life:
    """Charge the outputs from the own nodes, add what the sensor before has found, and pass it on; the hub decides."""
    params, count = plan.params, plan.params.sensors.count
    outputs = plan.weights.shape[1]
    charge: Any = Virtual((outputs,), params.rule.accumulator)
    if rank.index < count:
        code = _part(params, recall, rank.index, count)
        events = int(np.count_nonzero(_slice(recall.code, rank.index, count)))
        charge = yield from charges(rank, params, held, code, events, ledger, shape)
    if rank.index:
        yield from rank.wait([(f"charge {number}", f"charge of rank {rank.index - 1}")], "charge")
        before = _arrived(rank, f"charge {number}")
        if rank.index == count:
            return (yield from decided(rank, params, before, ledger))
        bound = {"rule": params.rule}
        add = Kernel("add", partial(kernel.add_charges, **bound), partial(cost.add_charges, **bound), Operations())
        charge = yield from run(rank, ledger, add, charge, before)
    _send(rank, params, number, rank.index + 1, charge, "charge", f"charge {number}", ledger)
    return None


def _columns(rank: Rank, plan: "Plan", number: int, recall: "Recall", held: Any, shape: Any, ledger: Ledger) -> Life:
    """Tell all others the own code, find the own outputs from all codes, and send them to the hub.

    Model: a code is sent to each of the others by itself, on a bus too.
    """
    params, count = plan.params, plan.params.sensors.count
    if rank.index == count:
        yield from rank.wait([(f"answer {number} of {i}", f"answer of sensor {i}") for i in range(count)], "answers")
        parts = [_arrived(rank, f"answer {number} of {i}") for i in range(count)]
        if params.reject:
            parts = [read_answer(each, plan.weights.shape[1] // count) for each in parts]
        return _joined(parts)
    others = [i for i in range(count) if i != rank.index]
    yield from _tell(rank, params, number, recall, others, ledger)
    code = yield from _told(rank, params, number, recall, others)
    charge = yield from charges(rank, params, held, code, recall.events, ledger, shape)
    answer = yield from decided(rank, params, charge, ledger)
    wire = packed_answer(answer) if params.reject else answer
    _send(rank, params, number, count, wire, "answer", f"answer {number} of {rank.index}", ledger)
    return None


def _tell(rank: Rank, params: "Params", number: int, recall: "Recall", to: list[int], ledger: Ledger) -> Life:
    """Make of the own part of the code what is sent, and send it to each of the ranks ``to``."""
    count = params.sensors.count
    code = _part(params, recall, rank.index, count)
    events = int(np.count_nonzero(_slice(recall.code, rank.index, count)))
    sent: Any = given(params, _slice(recall.item, rank.index, count))
    if params.sensors.sends != "values":
        made = yield from run(rank, ledger, forms.reading(_SENT[params.sensors.sends], events), code)
        sent = packed_events(*made) if params.sensors.sends == "events" else packed_masks(*made)
    for dst in to:
        _send(rank, params, number, dst, sent, "code", f"code {number} of {rank.index}", ledger)


def _told(rank: Rank, params: "Params", number: int, recall: "Recall", others: Iterable[int]) -> Life:
    """Wait for the codes of the ``others``, and return the whole code: what they sent, and the own part."""
    count, flags = params.sensors.count, {i: f"code {number} of {i}" for i in others}
    if flags:
        yield from rank.wait([(flag, f"code of sensor {i}") for i, flag in flags.items()], "codes")
    parts = []
    for i in range(count):
        part = _part(params, recall, i, count)
        parts.append(read_code(params.sensors.sends, _arrived(rank, flags[i]), part) if i in flags else part)
    return _joined(parts)


def read_code(sends: str, sent: Any, left: Any) -> Any:
    """Return the code int8 [nodes] that was ``sent``; of all values those of nodes that are ``left``, not 0."""
    if isinstance(sent, Virtual):
        return left
    if sends == "values":
        return np.where(left != 0, sent, np.int8(0))
    found = np.zeros(left.shape, np.int8)
    if sends == "events":
        found[sent >> 1] = 1 - 2 * (sent & 1).astype(np.int8)
        return found
    plus, minus = np.unpackbits(sent.view(np.uint8).reshape(2, -1), axis=1, count=len(left), bitorder="little")
    return (plus.astype(np.int8) - minus.astype(np.int8)).astype(np.int8)


def read_answer(sent: Any, outputs: int) -> Any:
    """Return the answer int8 [outputs] that was ``sent`` packed."""
    if isinstance(sent, Virtual):
        return Virtual((outputs,), "int8")
    plus, minus = np.unpackbits(sent.reshape(2, -1), axis=1, count=outputs).astype(np.int8)
    return plus - minus


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], Virtual):
        return Virtual((sum(each.shape[0] for each in parts),), parts[0].dtype)
    return np.concatenate(parts)


def packed_events(index: Any, sign: Any) -> Any:
    """Return events as words uint16 [events]: 15 bits of index, and a bit that is set where the sign is -1."""
    if isinstance(index, Virtual):
        return Virtual(index.shape, "uint16")
    return (index << 1 | (sign < 0)).astype(np.uint16)


def packed_masks(plus: Any, minus: Any) -> Any:
    """Return both masks as words uint64 [2 words]."""
    if isinstance(plus, Virtual):
        return Virtual((2 * plus.shape[0],), "uint64")
    return np.concatenate((plus, minus))


def packed_answer(answer: Any) -> Any:
    """Return an answer of -1, 0, 1 as bytes: a bit for each output that is 1, then for each that is -1."""
    if isinstance(answer, Virtual):
        return Virtual((2 * -(-answer.shape[0] // 8),), "uint8")
    return np.concatenate((np.packbits(answer > 0), np.packbits(answer < 0)))


_SENT: dict[str, forms.Method] = {"events": "events", "masks": "planes"}


def _part(params: "Params", recall: "Recall", which: int, count: int) -> Any:
    return given(params, _slice(recall.code, which, count))


def _slice(array: Any, which: int, count: int) -> Any:
    size = len(array) // count
    return array[which * size : (which + 1) * size]


def _send(
    rank: Rank, params: "Params", number: int, dst: int, payload: Any, what: str, flag: str, ledger: Ledger
) -> None:  # fmt: skip
    """Send ``payload`` and a flag; who passes it on or receives it gets a row of ``hops``."""
    hops, size = rank.hops(dst), payload.nbytes + FLAG.nbytes
    rank.shared(dict)[dst, flag] = payload
    rank.put(dst, payload, what)
    rank.put(dst, FLAG, what, sets=flag)
    ledger.send(size, len(hops))
    server = params.sensors.count if params.sensors.share == "offload" else -1
    senders = {giver for giver, _ in hops}
    for _, device in hops:
        if device not in (-1, server):
            spent = ledger.prices.received + (ledger.prices.sent if device in senders else 0)
            rank.record("hops", number, device, size, size * spent)


def _arrived(rank: Rank, flag: str) -> Any:
    """Return what came before ``flag``, which this rank has seen."""
    posted: dict[Any, Any] = rank.shared(dict)
    return posted.pop((rank.index, flag))
