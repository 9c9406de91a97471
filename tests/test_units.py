"""Units: exact at the border, and nothing ambiguous passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore import units
from simcore.units import (
    CYCLES,
    DIMENSIONS,
    ENERGY,
    FREQUENCY,
    POWER,
    RATE,
    SIZE,
    THROUGHPUT,
    TIME,
    Dimension,
    parse,
    short,
    text,
)


@pytest.mark.parametrize(
    ("written", "dimension", "value"),
    [
        ("1 ps", TIME, 1),
        ("300 ns", TIME, 300_000),
        ("1.5us", TIME, 1_500_000),
        ("1e-3 s", TIME, 10**9),
        ("0.1 s", TIME, 10**11),
        ("2 min", TIME, 120 * 10**12),
        ("1 GB", SIZE, 10**9),
        ("1 GiB", SIZE, 2**30),
        ("8 Gb", SIZE, 10**9),
        ("64 KiB", SIZE, 65_536),
        ("450 GB/s", RATE, 450 * 10**9),
        ("200 Gb/s", RATE, 25 * 10**9),
        ("1 GiB/s", RATE, 2**30),
        ("1.2 GHz", FREQUENCY, 1_200_000_000),
        ("989.4 TFLOP/s", THROUGHPUT, 989_400_000_000_000),
        ("1978.9 TOP/s", THROUGHPUT, 1_978_900_000_000_000),
        ("340 cycles", CYCLES, 340),
        (" +5 ns ", TIME, 5_000),
        ("1.25 pJ", ENERGY, 1_250),
        ("2430 J", ENERGY, 2430 * 10**15),
        ("0.5 mW", POWER, 500_000),
    ],
)
def test_parse_is_exact(written: str, dimension: Dimension, value: int) -> None:
    assert parse(written, dimension) == value


@pytest.mark.parametrize(
    ("written", "dimension", "complaint"),
    [
        (450, RATE, "450 has no unit"),
        (4.5, TIME, "4.5 has no unit"),
        (None, TIME, "an empty value has no unit"),
        (["1 ns"], TIME, "a list has no unit"),
        ("450", RATE, "has no unit"),
        ("450 GB", RATE, "is a size, not a bandwidth"),
        ("450 GB/s", SIZE, "is a bandwidth, not a size"),
        ("5 GHz", TIME, "is a frequency, not a time"),
        ("400 Gbps", RATE, "did you mean 'Gb/s'"),
        ("64 KB", SIZE, "did you mean 'kB' or 'KiB'"),
        ("5 parsec", TIME, "unknown unit 'parsec'"),
        ("0.5 ps", TIME, "not a whole number of ps"),
        ("1 b", SIZE, "not a whole number of B"),
        ("-1 ns", TIME, "must be zero or more"),
        ("", TIME, "is not a time"),
        ("ns", TIME, "is not a time"),
        ("1_000 ns", TIME, "unknown unit"),
        ("nan ns", TIME, "is not a time"),
        ("inf s", TIME, "is not a time"),
        ("1e99 s", TIME, "is too large"),
        ("1 ns 2 ns", TIME, "unknown unit"),
    ],
)
def test_what_is_ambiguous_is_refused_with_a_reason(written: object, dimension: Dimension, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(written, dimension)


def test_zero_is_refused_only_where_it_makes_no_sense() -> None:
    assert parse("0 ns", TIME) == 0
    with pytest.raises(ValueError, match="greater than zero"):
        parse("0 GB/s", RATE, positive=True)


@given(st.integers(0, units.LARGEST - 1), st.sampled_from(DIMENSIONS))
def test_text_reads_back_to_the_same_integer(value: int, dimension: Dimension) -> None:
    assert parse(text(value, dimension), dimension) == value


@given(st.sampled_from([(d, u) for d in DIMENSIONS for u in d.units]), st.integers(1, 500))
def test_every_unit_scales_linearly(unit: tuple[Dimension, str], count: int) -> None:
    dimension, name = unit
    assert parse(f"{8 * count} {name}", dimension) == count * parse(f"8 {name}", dimension)


def test_short_is_for_readers() -> None:
    assert short(123_456_789, TIME) == "123.5 us"
    assert short(0, TIME) == "0 ps"
    assert short(64_000_000_000, RATE) == "64 GB/s"
    assert short(999_999, SIZE) == "1000 kB"
