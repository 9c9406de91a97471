"""A serving system: prefill and decode instances, the transfers of KV between them, and what the requests see of it."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from simcore import DELAY, Column, InputError, Metric, Rank, Schedule, Size, Time

from . import layer
from .batching import Limits, Part, Request, System
from .folding import Calls, Folded
from .layer import Shape, Step
from .requests import Arrivals, Requests, make
from .timing import Rates

Program = Generator[Any, Any, None]

MEASURED = 256
"""Tokens of the iteration that is measured before the first request comes."""


@dataclass(frozen=True)
class Serving:
    """``prefill`` and ``decode`` instances of ``tensor`` ranks each; ``chunk`` tokens in an iteration of prefill and
    ``most`` sequences in one of decode at most; where ranks have sequences of their own, ``chunk`` is that of a rank.

    ``across``: how the ranks of an instance share attention: heads (tensor), sequences (data), or heads, and index
    blocks in decode (context). ``all_reduce``: its algorithm, "" the first. ``together``: layers whose KV leaves as
    one message. ``reserve``: memory of a GPU that neither weights nor KV may have. ``answers``: which instance gives
    the first token, decode once it has the KV, or prefill at once. A request is good that has its first token within
    ``ttft`` and the others every ``tpot`` on average.
    """

    arrivals: Arrivals = field(default_factory=Arrivals)
    prefill: int = 2
    decode: int = 2
    tensor: int = 4
    chunk: int = 8192
    most: int = 128
    across: layer.Across = "tensor"
    all_reduce: str = ""
    together: int = 1
    reserve: Size = 8 * 10**9
    answers: Literal["decode", "prefill"] = "decode"
    ttft: Time = 2 * 10**12
    tpot: Time = 50 * 10**9


@dataclass(frozen=True)
class Plan:
    """What the system serves, and with which model."""

    serving: Serving
    attention: Literal["dense", "sparse"]
    shape: Shape
    rates: Rates
    requests: Requests


TABLES: Mapping[str, tuple[Column, ...]] = {
    "requests": (
        Column("location", "string", "first rank of the instance that ended the request"),
        Column("request", "int32", "number of the request, from 0, as they came"),
        Column("arrival_ps", "int64", "when it came, ps since the job's start"),
        Column("prefilled_ps", "int64", "when its prompt was through, ps since the job's start; -1 if refused"),
        Column("first_token_ps", "int64", "when it had its first token, ps since the job's start; -1 if refused"),
        Column("end_ps", "int64", "when it had its last token, ps since the job's start; -1 if refused"),
        Column("input_tokens", "int64", "tokens of its prompt"),
        Column("output_tokens", "int64", "tokens that it asked for"),
        Column("prefill", "int32", "prefill instance, -1 if refused"),
        Column("decode", "int32", "decode instance, -1 if none"),
        Column("status", "string", "done, or refused: longer than any instance has memory for"),
    ),
    "instances": (
        Column("location", "string", "first rank of the instance"),
        Column("role", "string", "prefill or decode"),
        Column("iterations", "int64", "how many iterations it ran"),
        Column("tokens", "int64", "how many tokens went through it"),
        Column("kv_peak_bytes", "int64", "the most KV and index cache that was ever reserved on one of its GPUs"),
        Column("kv_room_bytes", "int64", "how much there is room for on each"),
    ),
}

_SEEN = {
    "ttft_ps": ("time from arrival to first token", "first_token_ps - arrival_ps"),
    "tpot_ps": ("time from token to token, mean of a request", "(end_ps - first_token_ps) / (output_tokens - 1)"),
    "e2e_ps": ("time from arrival to last token", "end_ps - arrival_ps"),
}
METRICS: Sequence[Metric] = (
    *(
        Metric(f"{key}.{name}", "ps", f"{word} of the {meaning}", f"{how}; of requests that were served")
        for key, (meaning, how) in _SEEN.items()
        for name, word in (
            ("mean", "mean"), ("p50", "median"), ("p90", "90th percentile"), ("p99", "99th percentile"),
            ("max", "greatest"),
        )
    ),
    Metric("served", "requests", "requests that had all their tokens"),
    Metric("refused", "requests", "requests that no instance has memory for"),
    Metric("good", "requests", "requests that kept both targets"),
    Metric("goodput", "requests/s", "good requests a second", "good / time from the first arrival to the last token"),
    Metric("tokens_per_s", "tokens/s", "tokens given a second",
        "sum of output_tokens / time from the first arrival to the last token"),
    Metric("kv_peak_bytes", "bytes", "the most KV and index cache reserved on a GPU", "max(instances.kv_peak_bytes)"),
)  # fmt: skip

HEADLINES = (
    "served", "refused", "goodput", "ttft_ps.p50", "ttft_ps.p99", "tpot_ps.p50", "tpot_ps.p99", "kv_peak_bytes",
)  # fmt: skip


def world(params: Serving, shape: Shape) -> int:
    """Return the ranks of all instances; raises ``InputError`` for a system that there cannot be."""
    for name in ("prefill", "decode", "tensor", "chunk", "most", "together"):
        if getattr(params, name) < 1:
            raise InputError(f"{name} must be 1 or more, not {getattr(params, name)}")
    if params.across != "data" and shape.heads % params.tensor:
        raise InputError(f"tensor: {shape.heads} KV heads cannot be shared by {params.tensor} ranks; across: data can")
    return (params.prefill + params.decode) * params.tensor


def plan(
    params: Serving, attention: Literal["dense", "sparse"], shape: Shape, rates: Rates, rng: Any
) -> Plan:  # fmt: skip
    """Return the requests beside the parameters; raises ``InputError``."""
    if params.across == "context" and attention == "dense":
        raise InputError("across: context shares index blocks, and dense attention has none; use tensor or data")
    return Plan(params, attention, shape, rates, make(params.arrivals, rng))


def program(rank: Rank, plan: Plan) -> Program:
    """Live as one rank: the first of each instance decides for all of it, and tells their lives."""
    service = rank.shared(lambda: Service(rank, plan))
    service.ranks[rank.index] = rank
    instance, place = divmod(rank.index, plan.serving.tensor)
    if place:
        return
    if instance < plan.serving.prefill:
        yield from PrefillInstance(service, rank, instance).live()
    else:
        yield from DecodeInstance(service, rank, instance - plan.serving.prefill).live()


class Service:
    """What all instances share: the state of the system, and who sleeps."""

    def __init__(self, rank: Rank, plan: Plan) -> None:
        self.plan = plan
        params, shape = plan.serving, plan.shape
        self.prefill_bytes, self.decode_bytes = token_bytes(plan, "prefill"), token_bytes(plan, "decode")
        weights = -(-shape.total * shape.element // params.tensor)
        shards = layer.Division.of(params.tensor, params.across, "decode").sequences
        rooms = []
        for role, token, workspace in zip(
            ("prefill", "decode"), (self.prefill_bytes, self.decode_bytes), workspaces(plan), strict=True
        ):
            left = rank.memory - params.reserve - weights - workspace
            if left < token:
                rank.warn(
                    f"out of memory: {weights} B of weights, {params.reserve} B of reserve and {workspace} B of "
                    f"workspace in {role} leave no room for KV on a GPU of {rank.memory} B: every request is refused"
                )
            rooms.append((max(left, 0) // token,) * shards)
        limits = Limits(
            params.prefill, params.decode, params.chunk, params.most, *rooms, decode_answers=params.answers == "decode"
        )
        self.system = System(plan.requests, limits)
        self.ranks: dict[int, Rank] = {}
        self.asleep: dict[str, Any] = {}

    def wake(self, role: str) -> None:
        """Wake the instances of ``role`` that sleep until something changes."""
        for key in [key for key in self.asleep if key.startswith(role)]:
            self.asleep.pop(key).succeed()

    def landed(self, request: Request, rank: Rank, _: Any) -> None:
        """Note that a part of the KV of ``request`` is on its decode instance; ``rank`` knows what time it is."""
        if self.system.landed(request, rank.now):
            self.joined(request)

    def joined(self, request: Request) -> None:
        """Tell those who wait for it that ``request`` is ready for decode, and its memory in prefill is free."""
        self.wake(f"decode{request.decode}.")
        self.wake("prefill")


def token_bytes(plan: Plan, role: layer.Kind) -> int:
    """Return the bytes of KV and index cache of a token, all layers, on a rank that holds any of it."""
    division = layer.Division.of(plan.serving.tensor, plan.serving.across, role)
    return plan.shape.layers * layer.cache_bytes(plan.shape, plan.attention, 1, division.heads, division.blocks)


def workspaces(plan: Plan) -> tuple[int, int]:
    """Return the bytes that a rank needs beside weights and cache, in an iteration of prefill and in one of decode that
    are as full and as long as they can be."""
    params, requests = plan.serving, plan.requests
    heads = layer.Division.of(params.tensor, params.across, "decode").heads
    longest, tokens = int(requests.input.max()), min(params.chunk, int(requests.input.sum()))
    prefill = Step("prefill", np.array([tokens]), np.array([max(longest, tokens)]))
    count = min(params.most, len(requests))
    decode = Step("decode", np.ones(count, np.int64), np.full(count, int((requests.input + requests.output).max())))
    return tuple(layer.workspace_bytes(plan.shape, plan.attention, step, heads) for step in (prefill, decode))


class Instance:
    """Ranks that serve together: the first of them plays the schedule of every iteration for all."""

    role = ""

    def __init__(self, service: Service, rank: Rank, number: int) -> None:
        self.service, self.rank, self.number = service, rank, number
        self.plan, self.system = service.plan, service.system
        tensor = self.plan.serving.tensor
        self.group = range(rank.index, rank.index + tensor)
        self.folded = Folded(rank, self.group, self._calls())
        self.last, self.iterations, self.tokens = 0, 0, 0
        self._linear: dict[int, int] = {}

    def _calls(self) -> list[Calls]:
        """Return the collectives of an iteration: an all-reduce after attention and one after the experts; of attention
        that is shared by sequences, one.

        Model: the all-gather before the experts and the reduce-scatter after them are the halves of an all-reduce.
        """
        shape, params = self.plan.shape, self.plan.serving
        count = shape.layers * (1 if params.across == "data" else 2)
        calls = [Calls("all_reduce", params.all_reduce, shape.model * shape.element, count)]
        if params.across == "context" and self.role == "decode":
            # A score of 4 B and a number of 4 B for each block that a rank proposes.
            token = shape.heads * shape.keep * 8 * params.tensor
            calls.append(Calls("all_gather", "", token, shape.layers))
        return calls

    def stages(self, step: Step) -> list[layer.Stage]:
        """Return what a rank computes in a layer for ``step``, all but the linear layers."""
        plan = self.plan
        division = layer.Division.of(plan.serving.tensor, plan.serving.across, step.kind)
        return layer.attend(plan.shape, plan.attention, step, plan.rates, division.heads, division.blocks)

    def durations(self, steps: Sequence[Step], tokens: int) -> list[int]:
        """Return how long each rank computes in an iteration, ps: ``steps`` are one for all, or one each."""
        shape, rank = self.plan.shape, self.rank
        if tokens not in self._linear:
            linear = layer.linear(shape, tokens, self.plan.rates, self.plan.serving.tensor)
            self._linear[tokens] = rank.duration(linear.work, linear.timing)
        fixed = self._linear[tokens]
        found = []
        for step in steps:
            each = sum(rank.duration(stage.work, stage.timing) for stage in self.stages(step)) if len(step.new) else 0
            found.append(shape.layers * (each + fixed))
        return found * (len(self.group) // len(found))

    def play(self, durations: Sequence[int], tokens: int) -> Program:
        """Run one iteration, and tell the lives of all ranks up to its end."""
        begin = self.rank.now
        self.idle("no request", begin)
        yield from self.rank.play(self.folded.schedule(durations, tokens), self.role, ranks=self.group)
        end = self.last = self.rank.now
        self.iterations += 1
        self.tokens += tokens
        for index, duration in zip(self.group, durations, strict=True):
            rank = self.service.ranks[index]
            rank.lived(begin, begin + duration, "compute", self.role)
            if end > begin + duration:
                rank.lived(begin + duration, end, "wait", self.role, reason="all_reduce")

    def idle(self, why: str, now: int) -> None:
        """Tell that all ranks were idle since the last iteration, or since they last told so."""
        if now > self.last:
            for index in self.group:
                self.service.ranks[index].lived(self.last, now, "idle", why)
            self.last = now

    def sleep(self, why: str) -> Program:
        """Wait until somebody says that something has changed."""
        self.idle("no request", self.rank.now)
        event = self.service.asleep[f"{self.role}{self.number}."] = self.rank.event()
        yield event
        self.idle(why, self.rank.now)

    def end(self, room: Any, token: int) -> None:
        """Leave the row of this instance."""
        self.rank.record(
            "instances", self.role, self.iterations, self.tokens, room.peak * token, max(room.capacity) * token
        )

    def ended(self, request: Request) -> None:
        """Leave the row of a request that this instance ended."""
        self.rank.record(
            "requests", request.number, request.arrival, request.through, request.first, request.end, request.input,
            request.output, request.prefill, request.decode, "refused" if request.refused else "done",
        )  # fmt: skip


class PrefillInstance(Instance):
    """Takes prompts chunk by chunk, and sends the KV of each layer on while the next ones are computed."""

    role = "prefill"

    def live(self) -> Program:
        """Go on until every prompt is through."""
        yield from self.folded.measure(self.rank, MEASURED)
        system, rank = self.system, self.rank
        own = system.prefills[self.number]
        while True:
            system.route(rank.now)
            parts = system.chunk(self.number)
            if parts:
                yield from self._run(parts)
            elif own.queue:
                yield from self.sleep("no room for KV")
            elif system.next_arrival is not None:
                yield rank.at(system.next_arrival)
            else:
                break
        self.end(own.room, self.service.prefill_bytes)
        if self.number == 0:
            for request in system.requests:
                if request.refused:
                    self.ended(request)
            self._wake_at_the_end()

    def _run(self, parts: Sequence[Part]) -> Program:
        tokens = sum(part.new for part in parts)
        durations = self.durations(self._steps(parts), tokens)
        step = (max(durations) + self.folded.idle(tokens)) / self.plan.shape.layers
        for part in parts:
            if part.request.output > 1:
                self._send(part, step)
        yield from self.play(durations, tokens)
        self.system.route(self.rank.now)
        for request in self.system.prefilled(self.number, parts, self.rank.now):
            if request.end >= 0:
                self.ended(request)
            elif not request.landing:
                self.service.joined(request)
        self._wake_at_the_end()

    def _wake_at_the_end(self) -> None:
        if not self.system.left:
            self.service.wake("decode")

    def _steps(self, parts: Sequence[Part]) -> list[Step]:
        shards = len(self.system.limits.prefill_room)
        found = []
        for shard in range(shards):
            mine = [part for part in parts if part.request.prefill_shard == shard]
            new, total = [part.new for part in mine], [part.total for part in mine]
            found.append(Step("prefill", np.array(new, np.int64), np.array(total, np.int64)))
        return found

    def _send(self, part: Part, step: float) -> None:
        """Begin the transfer of the KV of a part, to the decode instance of its request: of every layer when it will
        have ended, ``step`` ps after the one before.

        Model: layers are taken to end as on idle links.
        """
        params, request, layers = self.plan.serving, part.request, self.plan.shape.layers
        there = (params.prefill + request.decode) * params.tensor
        if params.across == "data":
            ends = [self.group[request.prefill_shard], there + request.decode_shard]
        else:
            ends = [*self.group, *range(there, there + params.tensor)]
        count = self.service.decode_bytes // layers * part.new
        edges = [*range(params.together, layers, params.together), layers]
        sizes = [count * (edge - before) for before, edge in zip([0, *edges], edges, strict=False)]
        event = self.rank.begin(stamped([round(edge * step) for edge in edges], sizes, len(ends) // 2), "kv", ends)
        event.callbacks.append(partial(self.service.landed, request, self.rank))  # type: ignore[union-attr]


class DecodeInstance(Instance):
    """Gives every sequence of its batch a token an iteration."""

    role = "decode"

    def live(self) -> Program:
        """Go on until every request has ended."""
        yield from self.folded.measure(self.rank, MEASURED)
        system, rank = self.system, self.rank
        data = len(system.limits.decode_room) > 1
        while True:
            own = system.batch(self.number)
            if own.batch:
                contexts, ones = own.contexts, np.ones(len(own.batch), np.int64)
                shards = range(self.plan.serving.tensor) if data else ()
                held = [contexts[own.shards == shard] for shard in shards] or [contexts]
                steps = [Step("decode", ones[: len(each)], each) for each in held]
                yield from self.play(self.durations(steps, len(own.batch)), len(own.batch))
                self._give(system.decoded(self.number, rank.now))
            elif system.left:
                yield from self.sleep("no request")
            else:
                break
        self.end(own.room, self.service.decode_bytes)

    def _give(self, done: Sequence[Request]) -> None:
        for request in done:
            self.ended(request)
        if done:
            self.service.wake("prefill")
        if not self.system.left:
            self.service.wake("decode")


def stamped(instants: Sequence[int], sizes: Sequence[int], streams: int) -> Schedule:
    """Return messages of ``sizes`` bytes from each of ``streams`` ranks to the one ``streams`` further on, each sent
    ``instants`` ps after the schedule's begin."""
    count = len(sizes)
    source = np.repeat(np.arange(streams), count)
    rows = streams * count
    nothing = np.zeros(rows, np.int64)
    return Schedule(
        np.concatenate([source, source]),
        np.concatenate([source, source + streams]),
        np.concatenate([nothing, np.tile(np.array(sizes, np.int64), streams)]),
        np.concatenate([np.tile(np.array(instants, np.int64), streams), nothing]),
        np.concatenate([nothing, np.arange(rows + 1)]),
        np.arange(rows),
        np.full(2 * rows, DELAY),
    )


def summarise(params: Serving, tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return `METRICS` of the rows of the requests and instances."""
    rows = tables["requests"]
    kept = {name: column[rows["status"] == "done"] for name, column in rows.items()}
    arrival, first, end = kept["arrival_ps"], kept["first_token_ps"], kept["end_ps"]
    more = np.maximum(kept["output_tokens"] - 1, 1)
    seen = {"ttft_ps": first - arrival, "tpot_ps": (end - first) // more, "e2e_ps": end - arrival}
    good = int(((seen["ttft_ps"] <= params.ttft) & (seen["tpot_ps"] <= params.tpot)).sum())
    lasted = (int(end.max()) - int(rows["arrival_ps"].min())) / 10**12 if len(end) else 0.0
    peaks = tables["instances"]["kv_peak_bytes"]
    return {
        **{key: _spread(column) for key, column in seen.items()},
        "served": len(end),
        "refused": int((rows["status"] == "refused").sum()),
        "good": good,
        "goodput": good / lasted if lasted else 0.0,
        "tokens_per_s": int(kept["output_tokens"].sum()) / lasted if lasted else 0.0,
        "kv_peak_bytes": int(peaks.max()) if len(peaks) else 0,
    }


def _spread(values: Any) -> dict[str, int]:
    if not len(values):
        return dict.fromkeys(("mean", "p50", "p90", "p99", "max"), 0)
    found = {f"p{percent}": int(np.quantile(values, percent / 100, method="inverted_cdf")) for percent in (50, 90, 99)}
    return {"mean": int(values.sum()) // len(values), **found, "max": int(values.max())}
