"""Which tokens go through next: routing, chunked prefill, continuous batching and KV memory, as a pure state machine.

Nothing here knows of a machine: somebody else says what time it is, and when an iteration or a transfer has ended.
Every prompt goes first come, first served through the prefill instance that had the fewest tokens queued when it came;
it begins as soon as there is room for its KV there and, to its last token, on a decode instance, the one with most
room; it joins the batch of that one when all of its KV has landed.

Model: memory is counted in tokens, whole requests are reserved for, so that none is ever put back.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .requests import Requests

Column = NDArray[np.int64]


@dataclass(frozen=True)
class Limits:
    """How many instances there are, tokens of a shard in an iteration of prefill and sequences in one of decode at
    most, and how many tokens' KV an instance holds, shard by shard: one, or, where every rank has sequences of its own,
    one a rank."""

    prefill: int
    decode: int
    chunk: int
    most: int
    prefill_room: tuple[int, ...]
    decode_room: tuple[int, ...]
    decode_answers: bool = True
    """Whether the first token is given by the decode instance, once it has all of the KV, and not by the prefill
    instance."""


@dataclass(slots=True, eq=False)
class Request:
    """One request and what became of it; instants in ps, -1 while there is none. ``through``: its prompt is.
    ``landing``: parts of its KV that are under way."""

    number: int
    arrival: int
    input: int
    output: int
    prefilled: int = 0
    landing: int = 0
    prefill: int = -1
    prefill_shard: int = -1
    decode: int = -1
    decode_shard: int = -1
    through: int = -1
    first: int = -1
    end: int = -1
    refused: bool = False

    @property
    def longest(self) -> int:
        """Tokens whose KV a decode instance holds at last; the last token's never is."""
        return self.input + self.output - 1


@dataclass(frozen=True)
class Part:
    """``new`` tokens of a prompt in one iteration; with them ``total`` have been through."""

    request: Request
    new: int
    total: int


class Room:
    """Memory for KV, in tokens, shard by shard."""

    def __init__(self, capacity: Sequence[int]) -> None:
        self.capacity = tuple(capacity)
        self.free = list(capacity)
        self.peak = 0
        """The most tokens of one shard that were ever reserved."""

    def widest(self) -> int:
        """Return the shard with most room, the first of equal ones."""
        return max(range(len(self.free)), key=lambda shard: (self.free[shard], -shard))

    def take(self, shard: int, tokens: int) -> None:
        """Reserve ``tokens`` on ``shard``, where they fit."""
        self.free[shard] -= tokens
        self.peak = max(self.peak, self.capacity[shard] - self.free[shard])

    def give(self, shard: int, tokens: int) -> None:
        """Free ``tokens`` on ``shard``."""
        self.free[shard] += tokens


@dataclass
class Prefill:
    """A prefill instance: prompts in the order in which they came, and the tokens of them that have not been
    through."""

    room: Room
    queue: deque[Request] = field(default_factory=deque)
    queued: int = 0


class Decode:
    """A decode instance: who waits for a place in the batch, and who is in it; ``contexts``, ``left`` and ``shards`` of
    the batch, [sequences]: tokens that the next iteration attends to, tokens still asked for, and where the KV is."""

    def __init__(self, room: Room, most: int) -> None:
        self.room, self.most = room, most
        self.ready: deque[Request] = deque()
        self.batch: list[Request] = []
        self.contexts: Column = np.zeros(0, np.int64)
        self.left: Column = np.zeros(0, np.int64)
        self.shards: Column = np.zeros(0, np.int64)

    def fill(self) -> None:
        """Let those who wait join, first come, first served, as long as there are places."""
        count = min(len(self.ready), self.most - len(self.batch))
        if count <= 0:
            return
        joined = [self.ready.popleft() for _ in range(count)]
        self.batch += joined
        self.contexts = _longer(self.contexts, (each.input + 1 for each in joined))
        self.left = _longer(self.left, (each.output - 1 for each in joined))
        self.shards = _longer(self.shards, (each.decode_shard for each in joined))

    def step(self) -> list[Request]:
        """Give each of the batch its token; return those that have all of theirs, which leave."""
        self.contexts += 1
        self.left -= 1
        if self.left.all():
            return []
        stay = self.left > 0
        done = [each for each, stays in zip(self.batch, stay.tolist(), strict=True) if not stays]
        self.batch = [each for each, stays in zip(self.batch, stay.tolist(), strict=True) if stays]
        self.contexts, self.left, self.shards = self.contexts[stay], self.left[stay], self.shards[stay]
        return done


class System:
    """All instances and all requests; every method says what happened, or asks what to do next."""

    def __init__(self, requests: Requests, limits: Limits) -> None:
        self.limits = limits
        columns: list[Any] = [requests.arrival.tolist(), requests.input.tolist(), requests.output.tolist()]
        self.requests = [Request(number, *row) for number, row in enumerate(zip(*columns, strict=True))]
        self.prefills = [Prefill(Room(limits.prefill_room)) for _ in range(limits.prefill)]
        self.decodes = [Decode(Room(limits.decode_room), limits.most) for _ in range(limits.decode)]
        self.routed = 0
        self.left = len(self.requests)
        """Requests that have neither ended nor been refused."""

    @property
    def next_arrival(self) -> int | None:
        """When the next request comes that has not been routed, ps; None after the last."""
        return self.requests[self.routed].arrival if self.routed < len(self.requests) else None

    def route(self, now: int) -> None:
        """Route whoever has come by ``now``; to be called before anything else of that instant, so that each finds the
        queues as they were when it came."""
        while self.routed < len(self.requests) and self.requests[self.routed].arrival <= now:
            request = self.requests[self.routed]
            self.routed += 1
            if not self._fits(request):
                request.refused = True
                self.left -= 1
                continue
            request.prefill = min(range(len(self.prefills)), key=lambda i: self.prefills[i].queued)
            chosen = self.prefills[request.prefill]
            chosen.queue.append(request)
            chosen.queued += request.input

    def _fits(self, request: Request) -> bool:
        limits = self.limits
        in_decode = request.output == 1 or request.longest <= max(limits.decode_room)
        return request.input <= max(limits.prefill_room) and in_decode

    def chunk(self, instance: int) -> list[Part]:
        """Return what goes through ``instance`` next, [] where nobody is there or the first has no room: prompts begin
        in the order in which they came, and go on in it, shard by shard."""
        prefill = self.prefills[instance]
        parts: list[Part] = []
        open_tokens = [self.limits.chunk] * len(self.limits.prefill_room)
        for request in prefill.queue:
            if request.prefill_shard < 0 and not (
                open_tokens[prefill.room.widest()] and self._admit(prefill, request)
            ):  # fmt: skip
                break
            new = min(open_tokens[request.prefill_shard], request.input - request.prefilled)
            if not new:
                continue
            parts.append(Part(request, new, request.prefilled + new))
            open_tokens[request.prefill_shard] -= new
            if request.output > 1:
                request.landing += 1
        return parts

    def _admit(self, prefill: Prefill, request: Request) -> bool:
        """Reserve memory for ``request`` here and on a decode instance; return whether there was enough."""
        shard = prefill.room.widest()
        if prefill.room.free[shard] < request.input:
            return False
        if request.output > 1:
            places = [(each.room, each.room.widest()) for each in self.decodes]
            best = max(range(len(places)), key=lambda i: (places[i][0].free[places[i][1]], -i))
            room, where = places[best]
            if room.free[where] < request.longest:
                return False
            room.take(where, request.longest)
            request.decode, request.decode_shard = best, where
        prefill.room.take(shard, request.input)
        request.prefill_shard = shard
        return True

    def prefilled(self, instance: int, parts: Iterable[Part], now: int) -> list[Request]:
        """Note that ``parts`` are through; return those whose prompt is."""
        prefill = self.prefills[instance]
        through = []
        for part in parts:
            request = part.request
            request.prefilled = part.total
            prefill.queued -= part.new
            if part.total == request.input:
                prefill.queue.remove(request)
                request.through = now
                through.append(request)
                if request.output == 1:
                    request.first = request.end = now
                    self.left -= 1
                    prefill.room.give(request.prefill_shard, request.input)
                else:
                    self._join(request, now)
        return through

    def landed(self, request: Request, now: int) -> bool:
        """Note that the KV of a part has landed; return whether all of the request's has, and it waits for a place."""
        request.landing -= 1
        return self._join(request, now)

    def _join(self, request: Request, now: int) -> bool:
        if request.through < 0 or request.landing:
            return False
        request.first = now if self.limits.decode_answers else request.through
        self.prefills[request.prefill].room.give(request.prefill_shard, request.input)
        self.decodes[request.decode].ready.append(request)
        return True

    def batch(self, instance: int) -> Decode:
        """Return ``instance`` with its next batch."""
        decode = self.decodes[instance]
        decode.fill()
        return decode

    def decoded(self, instance: int, now: int) -> list[Request]:
        """Note that the batch of ``instance`` has a token more each; return those that ended."""
        decode = self.decodes[instance]
        done = decode.step()
        for request in done:
            request.end = now
            decode.room.give(request.decode_shard, request.longest)
        self.left -= len(done)
        return done


def _longer(column: Column, more: Iterable[int]) -> Column:
    return np.concatenate([column, np.fromiter(more, np.int64)])
