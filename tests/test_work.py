"""Counted work, payloads without data, and the roofline against exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore import Kernel, Roofline, SimulationError, Virtual, Work, read_scenario
from simcore.hardware import EnergySpec

GPU = read_scenario("fused_allreduce").machine.gpu
COUNTS = st.integers(0, 2**60)


@given(flops=COUNTS, halves=COUNTS, read=COUNTS, written=COUNTS, launches=st.integers(0, 1000))
def test_the_roofline_is_the_slower_of_arithmetic_and_memory_rounded_up(
    flops: int, halves: int, read: int, written: int, launches: int
) -> None:
    work = Work({"float32": flops, "float16": halves}, {"hbm": read}, {"hbm": written}, launches)

    arithmetic = sum(
        math.ceil(Fraction(count * 10**12, peak))
        for count, peak in ((flops, 163_400_000_000_000), (halves, 1_307_400_000_000_000))
    )
    memory = math.ceil(Fraction((read + written) * 10**12, 5_300_000_000_000))
    assert Roofline().duration(work, GPU) == max(arithmetic, memory) + launches * 3_000_000


def test_a_dtype_without_a_peak_is_refused() -> None:
    with pytest.raises(SimulationError, match="no throughput for complex64; it has float32, float16, bfloat16, int8"):
        Roofline().duration(Work({"complex64": 1}), GPU)


PRICES = EnergySpec(operations={"float32": 2300, "int8": 150}, memory={"hbm": 160_000, "l2": 1250})


@given(flops=COUNTS, bytes_=COUNTS, read=COUNTS, written=COUNTS)
def test_energy_is_counts_times_prices(flops: int, bytes_: int, read: int, written: int) -> None:
    work = Work({"float32": flops, "int8": bytes_}, {"hbm": read, "l2": written}, {"l2": read}, 3)

    assert work.energy(PRICES) == (2300 * flops + 150 * bytes_, 160_000 * read + 1250 * (written + read))


@pytest.mark.parametrize(
    ("work", "complaint"),
    [
        (Work({"float16": 1}), "no energy of an operation of float16; it has float32, int8"),
        (Work({}, {}, {"dram": 1}), "no energy of a byte of dram; it has hbm, l2"),
    ],
)
def test_what_has_no_price_is_refused(work: Work, complaint: str) -> None:
    with pytest.raises(SimulationError, match=complaint):
        work.energy(PRICES)


works = st.builds(
    Work,
    st.dictionaries(st.sampled_from(["float32", "int8"]), COUNTS),
    st.dictionaries(st.sampled_from(["hbm", "l2"]), COUNTS),
    st.dictionaries(st.sampled_from(["hbm", "l2"]), COUNTS),
    st.integers(0, 9),
)


@given(a=works, b=works, c=works)
def test_work_adds_up_in_any_order(a: Work, b: Work, c: Work) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert sum((a + b).operations.values()) == sum(a.operations.values()) + sum(b.operations.values())


@pytest.mark.parametrize("dtype", ["float32", "int8", "float64", "bool"])
def test_a_virtual_payload_is_as_long_as_the_real_one(dtype: str) -> None:
    assert Virtual((3, 5), dtype).nbytes == np.zeros((3, 5), dtype).nbytes


@pytest.mark.parametrize("operation", [lambda v: v + v, lambda v: v * 2, lambda v: v[0], lambda v: np.sqrt(v), float])
def test_arithmetic_on_a_virtual_payload_raises(operation: object) -> None:
    with pytest.raises(TypeError):
        operation(Virtual((2,), "float32"))  # type: ignore[operator]


def test_a_kernel_runs_on_arrays_and_asks_its_formula_otherwise() -> None:
    kernel = Kernel("k", lambda *a: ("ran", Work()), lambda *a: ("asked", Work()))

    assert kernel(np.zeros(1), np.zeros(1))[0] == "ran"
    assert kernel(np.zeros(1), Virtual((1,), "float64"))[0] == "asked"
