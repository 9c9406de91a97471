"""Arrays of flags: one word for an owner and an index, whoever asks, and memory only for those that are used."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore.errors import SimulationError
from simcore.fabric import Fabric
from simcore.fabric import _kernels as kernels
from simcore.fabric import _waits as waits
from simcore.flags import FlagMemory
from simcore.hardware import GpuSpec, LinkSpec, Sheet, WaitSpec, find
from simcore.simulation import Simulation
from simcore.source import bundle
from simcore.topology import Topology

GPU = Sheet.read(find("gem5-gpu", bundle("scenarios"))).spec().gpu


def memory(world: int, gpu: GpuSpec = GPU, wait: WaitSpec = WaitSpec()) -> FlagMemory:  # noqa: B008 frozen
    """Return the flags of a job at the ranks from 1 on of a machine that has one more."""
    topology = Topology("switch", world + 1, LinkSpec(10**9, 0))
    fabric = Fabric(Simulation(), topology, "fifo", None, range(world + 1), gpu=gpu, wait=wait)
    return FlagMemory(fabric, 1, world)


@given(
    used=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 4_999)), min_size=1, max_size=20)
)
def test_every_flag_is_a_word_of_its_own_asked_for_one_by_one_or_together(used: list[tuple[str, int, int]]) -> None:
    flags = memory(4)
    arrays = {name: flags.array(name, 5_000) for name in "ab"}
    found = {}
    for name, array in arrays.items():
        owners, indices = np.array([(owner, index) for each, owner, index in used if each == name] + [(0, -1)]).T
        found[name] = flags.words(owners, array, indices)
    single = [flags.word(owner, arrays[name][index]) for name, owner, index in used]

    assert len(set(single)) == len(set(used))
    for name, words in found.items():
        assert words[-1] == -1
        assert words[:-1].tolist() == [word for word, (array, *_) in zip(single, used, strict=True) if array == name]


@pytest.mark.parametrize("line", [64, 96, 4_096])
@pytest.mark.parametrize("stride", [1, 8, 24, 5_000])
def test_words_share_a_watch_where_they_share_a_line(line: int, stride: int) -> None:
    flags = memory(1, replace(GPU, memory_line=line), WaitSpec("monitor", granularity="line", stride=stride))
    words = flags.words(np.zeros(5_000, np.int64), flags.array("a", 5_000), np.arange(5_000))
    stands_for = words - flags._fabric._state[kernels.T_WORDS][words, waits.BACK]

    lines = np.arange(5_000) * stride // line
    assert ((stands_for[1:] == stands_for[:-1]) == (lines[1:] == lines[:-1])).all()


def test_an_array_of_a_large_job_takes_memory_only_where_it_is_used() -> None:
    """A word for every work-group of 1,024 ranks in the memory of each would be 268 million."""
    flags = memory(1_024)
    array = flags.array("ready", 1_024 * 256)

    words = flags.words(np.arange(1_024), array, np.arange(1_024) % 256)

    assert len(set(words.tolist())) == 1_024
    assert words.max() < 1_024 * 1_024


@pytest.mark.parametrize("index", [-1, 5_000])
def test_a_word_beyond_its_array_is_refused(index: int) -> None:
    array = memory(2).array("a", 5_000)

    with pytest.raises(SimulationError, match=f"a has the words 0 to 4999, not {index}"):
        array[index]


def test_words_beyond_their_array_are_refused_together() -> None:
    flags = memory(2)
    array = flags.array("a", 5_000)

    with pytest.raises(SimulationError, match="a has the words 0 to 4999, not 5000"):
        flags.words(np.array([0, 1]), array, np.array([3, 5_000]))
