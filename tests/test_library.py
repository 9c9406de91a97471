"""What a library adds to collectives: as the fits say, on any topology, and the values in the bundled sheets."""

import csv
from fractions import Fraction
from math import expm1, log

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore import fit, source
from simcore.collectives import build
from simcore.collectives.library import Library
from simcore.collectives.timing import duration
from simcore.fit import Parameters, Point
from simcore.hardware import CollectiveCost, Efficiency, LinkSpec, Sheet, find
from simcore.shapes import Switch
from simcore.topology import Topology

US = 10**6
OWN = {"alltoall": "all_to_all", "sendrecv": "send_recv"}
NVSWITCH = Switch(in_switch_reduction=True)


def added(cost: CollectiveCost, topology: Topology, operation: str, size: int, **form: object) -> int:
    """Return what the library adds to a collective of all GPUs, ps, links fair."""
    schedule = build(operation, topology.gpus, size, **form).schedule  # type: ignore[arg-type]
    ranks = range(topology.gpus)
    whole = Library(cost, topology, ranks).around(schedule, ranks)
    return duration(whole, topology, "fair", ranks) - duration(schedule, topology, "fair", ranks)


@pytest.mark.parametrize(
    ("operation", "algorithm"),
    [
        ("all_reduce", "ring"),
        ("all_gather", "ring"),
        ("reduce_scatter", "ring"),
        ("alltoall", "direct"),
        ("sendrecv", "direct"),
        ("all_reduce", "nvls"),
    ],
)
@given(
    ranks=st.sampled_from([2, 3, 8]),
    units=st.integers(1, 2**21),
    launch=st.integers(0, 50 * US),
    bandwidth=st.integers(10**9, 10**12),
    fill=st.integers(0, 20 * US),
)
@settings(max_examples=15)
def test_a_library_adds_what_the_fits_add(
    operation: str, algorithm: str, ranks: int, units: int, launch: int, bandwidth: int, fill: int
) -> None:
    size = 24 * units
    topology = Topology(NVSWITCH, ranks, LinkSpec(bandwidth, 300_000))
    form = {"algorithm": "in_switch", "chunks": ranks} if algorithm == "nvls" else {"algorithm": algorithm}
    schedule = build(OWN.get(operation, operation), ranks, size, **form).schedule  # type: ignore[arg-type]

    whole = Library(CollectiveCost(launch, fill), topology, range(ranks)).around(schedule, range(ranks))

    parameters = Parameters(launch, 600_000, bandwidth, fill)
    expected = fit.simulated(parameters, algorithm, Point(operation, ranks, size, 1))
    assert abs(duration(whole, topology, "fair", range(ranks)) - expected) <= 1


def test_filling_counts_the_busiest_link_at_its_efficiency() -> None:
    cost = CollectiveCost(7, 50)
    size, rate = 8_000_000, 10**9
    link = LinkSpec(rate, 1000)
    slow = LinkSpec(rate, 1000, efficiency=[Efficiency(1000, 10), Efficiency(10**9, 50)])

    # A ring of a full mesh sends all that a rank sends over one of its links; direct spreads it over three.
    assert added(cost, Topology("full_mesh", 4, link), "all_gather", size, algorithm="ring") == grown(7, 50, 6 * 10**9)
    assert added(cost, Topology("full_mesh", 4, link), "all_gather", size, algorithm="direct") == grown(
        7, 50, 2 * 10**9
    )
    # Counted at half of the bandwidth, though these messages themselves reach less.
    assert added(cost, Topology("full_mesh", 4, slow), "all_gather", size, algorithm="ring") == grown(7, 50, 12 * 10**9)


def grown(launch: int, fill: int, drain: int) -> int:
    return round(launch + 2 * (fill * drain) ** 0.5)


def test_a_rank_alone_launches_and_a_library_without_cost_adds_nothing() -> None:
    topology = Topology("switch", 4, LinkSpec(10**9, 1000))
    alone = build("all_reduce", 1, 1000).schedule
    schedule = build("all_reduce", 4, 1000).schedule

    assert duration(Library(CollectiveCost(9, 9), topology, [2]).around(alone, [0]), topology, "fair", [2]) == 9
    assert Library(CollectiveCost(), topology, range(4)).around(schedule, range(4)) is schedule


def test_forced_rings_that_no_sheet_was_fitted_on_are_met_within_eleven_percent() -> None:
    spec = Sheet.read(find("hgx-h100", source.bundle("scenarios"))).spec()
    topology, ranks = Topology.of(spec), range(8)
    library = Library(spec.collective, topology, ranks)
    with (source.bundle("traces") / "hardware" / "collectives.csv").open(encoding="utf-8") as rows:
        measured = [row for row in csv.DictReader(rows) if row["curve"] == "astra_8gpus_hardware"]

    apart = []
    for row in measured:
        schedule = library.around(build("all_reduce", 8, int(row["size_bytes"]), "ring").schedule, ranks)
        apart.append(abs(log(duration(schedule, topology, "fair", ranks) / US / float(row["time_us"]))))
    assert len(apart) == 8
    assert expm1(sum(apart) / len(apart)) < 0.11


@pytest.mark.parametrize(
    ("preset", "machine"),
    [("dgx-a100", "DGX A100"), ("hgx-h100", "HGX H100"), ("hgx-h200", "HGX H200"), ("hgx-b200", "HGX B200")],
)
def test_a_sheet_states_what_was_fitted_for_its_machine(preset: str, machine: str) -> None:
    fits = yaml.safe_load((source.bundle("traces") / "hardware" / "fits.yaml").read_text(encoding="utf-8"))["fits"]
    (fitted,) = (
        each
        for each in fits
        if (each["machine"], each["collective"], each["algorithm"]) == (machine, "all_reduce", "ring")
        if each["measured_as"].startswith("auto")
    )
    sheet = Sheet.read(find(preset, source.bundle("scenarios")))
    spec = sheet.spec()

    stated = sheet.values.value["collective"]
    assert {key: float(text.removesuffix(" us")) for key, text in stated.items()} == {
        key: float(fitted[key]["value"].removesuffix(" us")) for key in ("launch", "fill")
    }
    reached = spec.link.bandwidth * Fraction(str(spec.link.efficiency[0].percent)) / 100
    assert float(reached) / 1e9 == pytest.approx(float(fitted["bandwidth"]["value"].removesuffix(" GB/s")), rel=1e-4)
    assert {sheet.origins[key].kind for key in ("collective.launch", "collective.fill", "link.efficiency")} == {
        "fitted"
    }
