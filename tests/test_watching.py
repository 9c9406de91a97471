"""Waits at their limits: many at once, words written over and over, extreme constants, and what the doors refuse."""

import os
import signal
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simcore.errors import FieldError, InputError, SimulationError
from simcore.fabric import Fabric, Writes
from simcore.fabric import _kernels as kernels
from simcore.fabric.watching import Waits
from simcore.hardware import GpuSpec, LinkSpec, MemoryPort, Queues, WaitSpec
from simcore.simulation import Simulation
from simcore.topology import Topology

GPU = GpuSpec(
    clock=10**9, memory_size=1, memory_bandwidth=64 * 10**9, memory_line=64, throughput={}, launch=0, poll_period=40,
    poll_request=20, poll_response=10, monitor_arm=1, monitor_notify=2, monitor_wake=100,
)  # fmt: skip


def fabric_of(
    ranks: int = 2, wait: WaitSpec = WaitSpec(), *, gpu: GpuSpec = GPU, port: MemoryPort = "free",  # noqa: B008 frozen
    queues: Queues = Queues(),  # noqa: B008 frozen
) -> tuple[Simulation, Fabric]:  # fmt: skip
    """Return a fabric whose ranks have a GPU each, and its simulation."""
    simulation = Simulation()
    topology = Topology("switch", ranks, LinkSpec(10**11, 0))
    fabric = Fabric(simulation, topology, "fifo", None, range(ranks), queues, gpu=gpu, wait=wait, memory_port=port)
    return simulation, fabric


def taken(wait: WaitSpec, instant: int, *, gpu: GpuSpec = GPU, words: int = 1) -> Waits:
    """Return what rank 1's waits for all ``words`` of an array take, of which the first is set at ``instant``, the
    others 10 us later."""
    simulation, fabric = fabric_of(wait=wait, gpu=gpu)
    numbers = fabric.words(words, range(1, 2)).first + np.arange(words)
    found = fabric.watch(1, numbers)
    time = np.array([instant] + [instant + 10**7] * (words - 1))
    writes = Writes(time, np.ones(words, int), np.zeros(words, int), np.ones(words, bool), "f")
    fabric.send_many(0, writes, sets=numbers)
    simulation.run()
    assert isinstance(found.value, Waits)
    return found.value


def test_a_thousand_ranks_with_finite_buffers_may_all_wait_at_once() -> None:
    simulation, fabric = fabric_of(1_100, queues=Queues(buffer=10**6))
    words = fabric.words(1, range(1_100))
    seen = [fabric.watch(rank, np.array([words.word(rank, 0)])) for rank in range(1_100)]
    for rank in range(1_100):
        fabric.put((rank + 1) % 1_100, rank, 8, "f", words.word(rank, 0))

    simulation.run()

    assert all(event.processed for event in seen)


def test_of_a_word_written_over_and_over_is_kept_only_what_may_be_asked() -> None:
    """Set to 1, 2, 1, 2, ...: it has held 1 since the first write, and 2 since the last."""
    simulation, fabric = fabric_of()
    word = fabric.words(1, range(1, 2)).first
    count = 10_000
    writes = Writes(np.arange(1, count + 1), *(np.full(count, number) for number in (1, 0)), np.ones(count, bool), "f")
    fabric.send_many(0, writes, sets=np.full(count, word), values=np.arange(count) % 2 + 1)
    simulation.run()

    found = fabric.watch(1, np.array([word, word]), np.array([1, 2]))
    simulation.run()

    assert found.value.set.tolist() == [1, count]
    assert len(fabric._state[kernels.T_PAST]) == 1_024


@pytest.mark.parametrize("port", ["free", "shared"])
def test_rows_of_ended_waits_are_used_again(port: MemoryPort) -> None:
    simulation, fabric = fabric_of(port=port)
    word = fabric.words(1, range(1, 2)).first
    fabric.put(0, 1, 0, "f", word)

    def live() -> Generator[Any, Any, None]:
        for _ in range(2_000):
            yield fabric.watch(1, np.array([word]))

    simulation.process(live())
    simulation.run()

    assert len(fabric._state[kernels.T_WAITERS]) < 100


def test_an_interrupt_ends_polling_at_a_shared_port() -> None:
    """The loop polls for a simulated day, and would for hours."""
    simulation, fabric = fabric_of(port="shared")
    word = fabric.words(1, range(1, 2)).first
    fabric.watch(1, np.array([word]))
    simulation.run(until=10**9)
    simulation.timeout(10**17)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()

    with pytest.raises(KeyboardInterrupt):
        simulation.run()

    timer.join()


def test_an_interval_stays_at_its_most_however_large_the_factor() -> None:
    """Polls at 0, 31 + 3 and, 31 + 100 each later, at 165 and 296 ns."""
    for factor in (50, 2**62, 2**70):
        wait = WaitSpec("backoff", backoff_first=3, backoff_factor=factor, backoff_most=100)
        found = taken(wait, 250_000)
        assert (found.reads.tolist(), found.detected.tolist()) == ([4], [327_000])


def test_words_further_apart_than_a_line_are_watched_alone() -> None:
    for stride in (64, 2**58, 2**61):
        found = taken(WaitSpec("monitor", granularity="line", stride=stride), 10**6, words=3)
        assert found.false_wakeups.tolist() == [0, 0, 0]
    assert taken(WaitSpec("monitor", granularity="line", stride=8), 10**6, words=3).false_wakeups.tolist() == [0, 1, 1]


def test_many_outstanding_reads_take_room_only_where_they_are_simulated() -> None:
    """One poll in 40 ns / 2**16: the first to sample at 100 ns or later, then 10 ns back."""
    assert taken(WaitSpec("spin", outstanding=2**16), 10**5).detected.tolist() == [110_000]
    with pytest.raises(FieldError, match="outstanding must be at most 65536"):
        WaitSpec("spin", outstanding=2**16 + 1)


@pytest.mark.parametrize(
    ("gpu", "wait", "said"),
    [
        (replace(GPU, monitor_wake=2**61), WaitSpec("monitor"), "monitor_wake: 2305843009213693952 cycles"),
        (GPU, WaitSpec("yield", yield_for=2**61), "yield_for: 2305843009213693952 cycles"),
        (GPU, WaitSpec("backoff", backoff_most=2**61), "backoff_most: 2305843009213693952 cycles"),
        (replace(GPU, clock=999_999_937, poll_period=10**7), WaitSpec("spin"), "poll_period: 10000000 cycles"),
    ],
)
def test_constants_beyond_reckoning_are_refused(gpu: GpuSpec, wait: WaitSpec, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fabric_of(wait=wait, gpu=gpu)


def stamped(fabric: Fabric, sets: Any, values: Any = 1) -> None:
    """Send two stamped writes that set words."""
    fabric.send_many(0, Writes(*(np.array([1, 1]) for _ in range(3)), np.ones(2, bool), "f"), sets=sets, values=values)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda f: f.watch(1, np.arange(4), np.ones(2, np.int64)), "waits for 4 words; their values"),
        (lambda f: f.watch(1, np.arange(4), np.ones(5, np.int64)), "waits for 4 words; their values"),
        (lambda f: f.watch(1, np.arange(4), 1.5), "waits for 4 words; their values"),
        (lambda f: f.watch(1, np.arange(4), 2**70), "waits for 4 words; their values"),
        (lambda f: f.watch(1, np.arange(4), 2**62), f"for the value {2**62}"),
        (lambda f: f.watch(1, np.arange(4), 0), "for the value 0"),
        (lambda f: f.watch(1, np.array([3, -1])), "waits for word -1, but there are 8"),
        (lambda f: f.watch(1, np.array([3, 8])), "waits for word 8, but there are 8"),
        (lambda f: f.put(0, 1, 8, "f", 0, 2**70), "a word holds an integer"),
        (lambda f: f.put(0, 1, 8, "f", 0, -(2**63)), "a word holds an integer"),
        (lambda f: f.put(0, 1, 8, "f", 0, 1.5), "a word holds an integer"),
        (lambda f: stamped(f, np.array([0, 1]), np.array([1.5, 2.0])), "a word holds an integer"),
        (lambda f: stamped(f, np.array([0, -1]), np.array([1.5, 2.0])), "a word holds an integer"),
        (lambda f: stamped(f, np.array([0, 1, 2])), "columns of other lengths"),
        (lambda f: stamped(f, np.array([0, 1]), np.array([1, 2, 3])), "columns of other lengths"),
    ],
)
def test_what_waits_and_writes_trust_is_checked_at_the_door(act: Callable[[Fabric], Any], said: str) -> None:
    _, fabric = fabric_of()
    fabric.words(4, range(2))

    with pytest.raises(SimulationError, match=said):
        act(fabric)


def test_a_wait_beyond_the_end_of_time_is_refused() -> None:
    simulation, fabric = fabric_of()
    word = fabric.words(1, range(1, 2)).first

    def late() -> Generator[Any, Any, None]:
        yield simulation.timeout(2**61 + 1)
        yield fabric.watch(1, np.array([word]))

    simulation.process(late())
    with pytest.raises(SimulationError, match="the end of simulated time"):
        simulation.run()
