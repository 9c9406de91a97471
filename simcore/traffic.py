"""Traffic in the background: random messages between GPUs at a stated rate, made as stamped writes, chunk by chunk."""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from simpy.events import Event

from simcore import placement, source
from simcore.errors import FieldError, quoted
from simcore.simulation import OBSERVE, Simulation
from simcore.units import LARGEST, PS_PER_S, Bandwidth, Size, Time

if TYPE_CHECKING:
    import numpy as np

    from simcore.fabric import Fabric

    Column = np.ndarray[Any, np.dtype[np.int64]]

Pattern = Literal["uniform", "permutation", "incast", "all_to_all", "matrix"]

CHUNK = 10**8
"""Simulated time for which messages are made at once, ps; traffic ends at the next multiple after the last job."""
MOST_MESSAGES = 2**20
"""Messages that a chunk may hold on average, and a single burst at most; more is a slip of the pen."""
STEPS = 1024
"""Sizes between the smallest and the largest, in equal ratios."""
BATCH = 256
"""Arrivals that are drawn at once; results do not depend on it."""
LONGEST_GAP = LARGEST // BATCH
"""Longest time between two arrivals, ps, hours: so that a batch stays within 64 bits."""


@dataclass(frozen=True)
class Traffic:
    """Messages between GPUs that no job waits for, at Poisson instants; ``rate`` is what each source offers on average.

    ``uniform``: every message from a random source to a random other GPU. ``permutation``: every GPU writes to one
    partner, drawn once. ``incast``: bursts, all other GPUs to the first of ``gpus`` at once. ``all_to_all``: bursts,
    every GPU to every other. ``matrix``: ``matrix[source][destination]`` states the rate of each pair, and ``rate`` is
    left out. Sizes are ``size``, or log-uniform from there to ``largest_size``. Without ``gpus`` all take part.
    """

    pattern: Pattern
    size: Size
    rate: Bandwidth | None = None
    name: str = ""
    largest_size: Size | None = None
    matrix: dict[str, dict[str, Bandwidth]] = field(default_factory=dict)
    gpus: list[str] = field(default_factory=list)
    start: Time = 0
    stop: Time | None = None

    def __post_init__(self) -> None:
        if self.name and not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise FieldError(f"{quoted(self.name)} names rows of tables: letters, digits, '_' and '-' only", "name")
        if (self.pattern == "matrix") != bool(self.matrix):
            raise ValueError("'pattern: matrix' and the rates in 'matrix' go together; one of them is missing")
        if (self.pattern == "matrix") == (self.rate is not None):
            wrong = "is not for 'pattern: matrix', which states a rate a pair" if self.matrix else "is missing"
            raise FieldError(f"{wrong}; write the bytes per second that each source offers, e.g. '10 GB/s'", "rate")
        if self.matrix and self.gpus:
            raise FieldError("is not for 'pattern: matrix', which names its GPUs itself", "gpus")
        if self.size == 0 or (self.largest_size is not None and self.largest_size < self.size):
            raise FieldError("must be greater than zero, and largest_size no less than size", "size")
        if self.stop is not None and self.stop <= self.start:
            raise FieldError("must be later than start", "stop")

    def endpoints(self, gpus: int) -> list[int]:
        """Return the GPUs that take part, in the order stated; ``gpus`` is how many the machine has."""
        if self.matrix:
            return sorted({int(name[3:]) for src, row in self.matrix.items() for name in (src, *row)})
        return [int(name[3:]) for name in self.gpus] or list(range(gpus))

    def sizes(self) -> list[int]:
        """Return the sizes that are drawn with equal chances, bytes."""
        if self.largest_size is None:
            return [self.size]
        ratio = self.largest_size / self.size
        return [round(self.size * ratio ** (step / (STEPS - 1))) for step in range(STEPS)]

    def burst(self, count: int) -> int:
        """Return the messages of one arrival among ``count`` GPUs."""
        return {"incast": count - 1, "all_to_all": count * (count - 1)}.get(self.pattern, 1)

    def offered(self, count: int) -> int:
        """Return what all sources among ``count`` GPUs offer together, B/s."""
        if self.rate is None:
            return sum(rate for row in self.matrix.values() for rate in row.values())
        return self.rate * (count - 1 if self.pattern == "incast" else count)

    def gap(self, count: int) -> float:
        """Return the mean time between arrivals among ``count`` GPUs, ps.

        Raises ``ValueError`` where there would be too many messages.
        """
        sizes = self.sizes()
        mean = sum(sizes) / len(sizes)
        messages = self.offered(count) / mean * CHUNK / PS_PER_S
        if max(messages, self.burst(count)) > MOST_MESSAGES:
            raise ValueError(
                f"{messages:.3g} messages in {CHUNK // 10**6} us, {self.burst(count)} at once; {MOST_MESSAGES} is the "
                "limit, so state a lower rate, larger sizes or fewer gpus"
            )
        return self.burst(count) * mean * PS_PER_S / self.offered(count)


def check(document: source.Document, about: Traffic, gpus: int) -> None:
    """Raise ``InputError`` unless ``about``, as written in ``document``, can run on a machine of ``gpus`` GPUs."""
    placement.check_gpus(document, ("gpus",), about.gpus, gpus)
    for src, row in about.matrix.items():
        named: list[tuple[source.Keys, str]] = [(("matrix", src), src), *((("matrix", src, dst), dst) for dst in row)]
        for keys, name in named:
            if not placement.is_gpu(name, gpus):
                raise document.error(keys, f"{name!r} is none of gpu0 to gpu{gpus - 1}", of_key=True)
        if src in row:
            raise document.error(("matrix", src, src), f"{src!r} does not send to itself", of_key=True)
    count = len(about.endpoints(gpus))
    if count < 2:
        raise document.error((), f"traffic runs between two GPUs or more, not {count}")
    try:
        about.gap(count)
    except ValueError as error:
        raise document.error((), str(error)) from None


@dataclass(frozen=True)
class Batch:
    """Messages in order of time: parallel columns of instants (ps), source and destination GPUs, sizes (bytes)."""

    time: "Column"
    src: "Column"
    dst: "Column"
    size: "Column"


class Stream:
    """One `Traffic` under way: makes its messages in order; how they are cut into batches changes none of them."""

    def __init__(self, about: Traffic, gpus: int, rng: "Callable[[str], np.random.Generator]") -> None:
        import numpy as np

        self.about = about
        self._gpus = np.array(about.endpoints(gpus), np.int64)
        self._times, self._pairs, self._draws = (
            rng(f"traffic {about.name}: {what}") for what in ("instants", "pairs", "sizes")
        )
        self._gap, self._sizes = about.gap(len(self._gpus)), np.array(about.sizes(), np.int64)
        self._stop = LARGEST if about.stop is None else about.stop
        partners = self._pairs.permutation(self._gpus)
        self._partner = dict(zip(partners.tolist(), np.roll(partners, 1).tolist(), strict=True))
        listed = [(int(a[3:]), int(b[3:]), rate) for a, row in about.matrix.items() for b, rate in row.items()]
        self._matrix = np.array(listed, np.int64).reshape(-1, 3)
        self._ahead = self._drawn(about.start)

    @property
    def next(self) -> int:
        """The instant of the next message, ps; ``LARGEST`` after the last one."""
        return int(self._ahead[0]) if self._ahead[0] < self._stop else LARGEST

    def _drawn(self, after: int) -> "Column":
        """Draw further arrivals behind ``after``; gaps are rounded to ps one by one, so that sums are exact."""
        import numpy as np

        gaps = np.rint(self._times.standard_exponential(BATCH) * self._gap)
        gaps = np.minimum(gaps, LONGEST_GAP).astype(np.int64)
        return after + np.cumsum(gaps)

    def until(self, limit: int) -> Batch:
        """Return all further messages before ``limit``."""
        import numpy as np

        limit = min(limit, self._stop)
        ahead = [self._ahead]
        while ahead[-1][-1] < limit:
            ahead.append(self._drawn(int(ahead[-1][-1])))
        everything = np.concatenate(ahead)
        due = int(np.searchsorted(everything, limit))
        arrivals, self._ahead = everything[:due], everything[due:]
        src, dst = self._endpoints(due)
        sizes = self._sizes[self._draws.integers(0, len(self._sizes), len(src))]
        return Batch(np.repeat(arrivals, self.about.burst(len(self._gpus))), src, dst, sizes)

    def _endpoints(self, count: int) -> "tuple[Column, Column]":
        """Return source and destination of every message of ``count`` arrivals."""
        import numpy as np

        gpus, n = self._gpus, len(self._gpus)
        if self.about.pattern == "matrix":
            reach = np.cumsum(self._matrix[:, 2])
            chosen = np.searchsorted(reach, self._pairs.integers(0, reach[-1], count), side="right")
            return self._matrix[chosen, 0], self._matrix[chosen, 1]
        if self.about.pattern == "incast":
            return np.tile(gpus[1:], count), np.repeat(gpus[:1], count * (n - 1))
        if self.about.pattern == "permutation":
            src = gpus[self._pairs.integers(0, n, count)]
            return src, np.array([self._partner[gpu] for gpu in src.tolist()], np.int64)
        everything = n * (n - 1)
        pairs = self._pairs.integers(0, everything, count)
        if self.about.pattern == "all_to_all":
            pairs = np.tile(np.arange(everything), count)
        src, dst = np.divmod(pairs, n - 1)
        return gpus[src], gpus[dst + (dst >= src)]


def endpoints(streams: Sequence[Traffic], gpus: int) -> list[int]:
    """Return the GPUs on which background traffic begins or ends, ascending."""
    return sorted({gpu for about in streams for gpu in about.endpoints(gpus)})


def play(
    simulation: Simulation, fabric: "Fabric", streams: Sequence[Stream], ranks: Mapping[int, int],
    over: Callable[[], bool],
) -> Generator[Event, Any, None]:  # fmt: skip
    """Feed the messages of all streams to the fabric, a chunk of simulated time at once, until all have stopped or
    ``over()``; ``ranks[gpu]`` is the fabric rank of the endpoint on a GPU.

    Nothing is sent any more once nothing but traffic could happen: a job that waits in vain is found out.
    Model: traffic is open loop; when the last job ends it goes on to the end of the chunk.
    """
    while (due := min((stream.next for stream in streams), default=LARGEST)) < LARGEST:
        begin = due // CHUNK * CHUNK
        if begin > simulation.now:
            # Behind everything else of its instant, so that `over` is the same whatever the order within it.
            yield simulation.at(begin, priority=OBSERVE)
        idle = simulation.peek() == float("inf") and not fabric.awaited
        if over() or (idle and simulation.now > 0):
            return
        _send(fabric, streams, [stream.until(begin + CHUNK) for stream in streams], ranks)


def _send(fabric: "Fabric", streams: Sequence[Stream], batches: Sequence[Batch], ranks: Mapping[int, int]) -> None:
    """Send batches of several streams, merged in order of time, so that sequence numbers do not depend on chunks."""
    import numpy as np

    from simcore.fabric import Writes

    time, src, dst, size = (
        np.concatenate([getattr(batch, name) for batch in batches]) for name in ("time", "src", "dst", "size")
    )
    names = np.repeat([stream.about.name for stream in streams], [len(batch.time) for batch in batches])
    order = np.argsort(time, kind="stable")
    rank_of = np.zeros(max(ranks) + 1, np.int64)
    rank_of[list(ranks)] = list(ranks.values())
    writes = Writes(time[order], rank_of[dst[order]], size[order], np.zeros(len(order), bool), names[order].tolist())
    fabric.send_many(rank_of[src[order]], writes)
