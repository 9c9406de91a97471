"""Hardware sheets: every value has a source and a kind, and the reader accepts nothing less."""

from pathlib import Path

import pytest

from simcore import hardware
from simcore.errors import InputError
from simcore.hardware import GpuSpec, LinkSpec, NodeSpec, Sheet
from simcore.shapes import Dimension, Torus
from simcore.topology import Topology

SHEET = """
name: toy
description: a toy
gpus: {value: 2, source: s, kind: spec}
topology: {value: ring, source: s, kind: assumed, note: n}
gpu:
  clock: {value: 1 GHz, source: s, kind: spec}
  memory_size: {value: 1 GB, source: s, kind: spec}
  memory_bandwidth: {value: 64 GB/s, source: s, kind: spec}
  memory_line: {value: 64 B, source: s, kind: spec}
  throughput:
    float32: {value: 1 TFLOP/s, source: s, kind: spec}
  launch: {value: 0 ns, source: s, kind: assumed}
  poll_period: {value: 40 cycles, source: s, kind: assumed}
  poll_request: {value: 20 cycles, source: s, kind: assumed}
  poll_response: {value: 10 cycles, source: s, kind: assumed}
  monitor_arm: {value: 1 cycles, source: s, kind: assumed}
  monitor_notify: {value: 1 cycles, source: s, kind: assumed}
  monitor_wake: {value: 9 cycles, source: s, kind: assumed}
link:
  bandwidth: {value: 1 GB/s, source: s, kind: measured}
  latency: {value: 5 ns, source: s, kind: assumed}
"""


def saved(folder: Path, text: str) -> Path:
    path = folder / "toy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


DEVICES = {"cortex-m4", "cortex-m7", "cortex-m55", "ethos-u55", "ethos-u65", "jetson-orin-nano", "popcount-array"}
CHAINS = {"sensors-spi", "sensors-can", "sensors-ble", "sensors-wifi", "sensors-ethernet"}
EDGE = DEVICES | CHAINS
HOSTS = {"arrays-cortex-m7", "arrays-ethos-u55", "arrays-orin-nano"}


def _check_small(spec: NodeSpec) -> None:
    """Check a small device or a chain of them: slow links and memory, and a price for all that it can do."""
    prices = spec.gpu.energy
    assert prices is not None
    assert prices.operations.keys() == spec.gpu.throughput.keys()
    assert {"vote", "int8"} <= prices.operations.keys()
    assert prices.memory["sram"] < prices.memory["sram_1m"] < prices.memory["dram"]
    assert all(10 <= price <= 10**6 for price in prices.operations.values())  # fJ
    assert prices.asleep < prices.awake
    assert 10**7 <= spec.gpu.memory_bandwidth < 10**11
    assert all(10**5 <= server.bandwidth <= 125 * 10**5 for server in Topology.of(spec).servers)
    assert spec.gpu_count == (5 if spec.name in CHAINS else 1)
    assert (prices.sent > 0) == (spec.name in CHAINS)


@pytest.mark.parametrize("name", hardware.names())
def test_every_bundled_sheet_is_a_machine_with_sources(name: str) -> None:
    sheet = Sheet.read(hardware.find(name, Path()))
    spec = sheet.spec()

    assert spec.name == name
    assert all(origin.source for origin in sheet.origins.values())
    assert "link.latency_is" in sheet.origins
    assert spec.network is None or "network.link.latency_is" in sheet.origins
    topology = Topology.of(spec)
    assert spec.gpu_count == 1 or topology.route(0, spec.gpu_count - 1)
    if name in EDGE:
        _check_small(spec)
        return
    if name in HOSTS:
        assert all(10**7 <= server.bandwidth <= 4 * 10**9 for server in topology.servers)
        assert 10**8 <= spec.gpu.memory_bandwidth < 10**11
        return
    # A slip between bits and bytes, or a sum of both directions, would leave these ranges.
    assert all(16e9 <= server.bandwidth <= 900e9 for server in topology.servers) or name == "gem5-gpu"
    assert 0.9e12 <= spec.gpu.memory_bandwidth <= 10e12
    narrow = "float8" if name == "hgx-b300" else "int8"  # a B300 has next to no integer tensor cores
    rising = [spec.gpu.throughput[dtype] for dtype in ("float32", "bfloat16", narrow) if dtype in spec.gpu.throughput]
    assert rising == sorted(set(rising))
    assert 3e12 <= rising[0] < 100e12 or name == "mi300x-8"


def test_the_machines_of_the_design_are_there() -> None:
    scale_up = {
        "dgx-1-v100", "dgx-a100", "hgx-h100", "hgx-h200", "hgx-h800", "hgx-b200", "hgx-b300", "gb200-nvl72", "mi300x-8",
    }  # fmt: skip
    tori = {"tpu-v3-8x8", "tpu-v5p-4x4x4"}
    clusters = {"hgx-h100-fat-tree", "hgx-h100-rails", "hgx-h100-dragonfly"}

    assert scale_up | tori | clusters | EDGE <= set(hardware.names())


@pytest.mark.parametrize(
    ("name", "gpus", "bandwidth", "kind"),
    [
        ("dgx-1-v100", 8, 25, "spec"),
        ("hgx-h200", 8, 450, "spec"),
        ("hgx-h800", 8, 200, "spec"),
        ("hgx-b200", 8, 900, "spec"),
        ("hgx-b300", 8, 900, "spec"),
        ("gb200-nvl72", 72, 900, "spec"),
        ("tpu-v3-8x8", 64, 80, "assumed"),
        ("tpu-v5p-4x4x4", 64, 100, "spec"),
        ("hgx-h100-rails", 128, 450, "spec"),
    ],
)
def test_sheets_state_the_published_link(name: str, gpus: int, bandwidth: int, kind: str) -> None:
    sheet = Sheet.read(hardware.find(name, Path()))

    assert sheet.spec().gpu_count == gpus
    assert sheet.spec().link.bandwidth == bandwidth * 10**9
    assert sheet.origins["link.bandwidth"].kind == kind


@pytest.mark.parametrize(
    ("name", "links", "servers"),
    [
        ("sensors-spi", 5, 5),
        ("sensors-ble", 8, 4),
        ("sensors-can", 20, 1),
        ("sensors-wifi", 20, 1),
        ("sensors-ethernet", 10, 10),
    ],
)
def test_chains_of_sensors_share_their_links_as_such_links_do(name: str, links: int, servers: int) -> None:
    topology = Topology.of(hardware_spec(name))

    assert (len(topology.links), len(topology.servers)) == (links, servers)


def test_an_energy_is_whole_femtojoules_and_never_invented(tmp_path: Path) -> None:
    price = "{value: 2.3 pJ, source: s, kind: assumed}"
    prices = f"  energy: {{operations: {{float32: {price}}}, memory: {{hbm: {price}}}}}\n"
    text = SHEET.replace("  monitor_wake", prices + "  monitor_wake")
    energy = Sheet.read(saved(tmp_path, text)).spec().gpu.energy

    assert energy is not None
    assert energy.operations == {"float32": 2300}
    assert (energy.sent, energy.awake) == (0, 0)
    assert Sheet.read(saved(tmp_path, SHEET)).spec().gpu.energy is None


def test_the_links_of_the_gem5_machine_are_ideal() -> None:
    spec = hardware_spec("gem5-gpu")

    assert (spec.link.latency, spec.link.overhead) == (0, 0)
    assert spec.link.bandwidth == 10**15
    assert spec.gpu.cycles(spec.gpu.poll_period) == 340_000


def test_nvswitch_machines_reduce_in_the_switch_where_the_switch_can() -> None:
    reduces = {name for name in hardware.names() if Topology.of(hardware_spec(name)).reducers}

    assert reduces == {
        "hgx-h100", "hgx-h200", "hgx-h800", "hgx-b200", "hgx-b300", "gb200-nvl72", "hgx-h100-fat-tree",
        "hgx-h100-rails", "hgx-h100-dragonfly",
    }  # fmt: skip


def hardware_spec(name: str) -> NodeSpec:
    return Sheet.read(hardware.find(name, Path())).spec()


def test_a_sheet_lies_over_its_base_values_and_origins_alike(tmp_path: Path) -> None:
    saved(tmp_path, SHEET)
    text = """
base: toy.yaml
name: other
topology: {value: {family: torus, dimensions: [{size: 2}]}, source: t, kind: spec}
gpu:
  clock: {value: 2 GHz, source: t, kind: fitted}
"""
    (tmp_path / "other.yaml").write_text(text, encoding="utf-8")

    sheet = Sheet.read(tmp_path / "other.yaml")

    assert sheet.spec().topology == Torus([Dimension(2)])
    assert sheet.spec().gpu.clock == 2 * 10**9
    assert sheet.spec().gpu.memory_size == 10**9
    assert (sheet.spec().name, sheet.spec().description) == ("other", "a toy")
    assert sheet.origins["gpu.clock"].source == "t"
    assert sheet.origins["topology"].note == ""
    assert sheet.origins["gpu.memory_size"].source == "s"


@pytest.mark.parametrize(
    ("base", "complaint"),
    [
        ("other.yaml", r"other.yaml:1:7: base: the chain of base sheets is a circle: other.yaml is below itself"),
        ("hgx-h10", r"other.yaml:1:7: base: unknown preset 'hgx-h10'; did you mean 'hgx-h100'"),
    ],
)
def test_a_base_that_is_none_is_refused(tmp_path: Path, base: str, complaint: str) -> None:
    (tmp_path / "other.yaml").write_text(f"base: {base}\n", encoding="utf-8")

    with pytest.raises(InputError, match=complaint):
        Sheet.read(tmp_path / "other.yaml")


def test_a_sheet_is_values_and_origins(tmp_path: Path) -> None:
    sheet = Sheet.read(saved(tmp_path, SHEET))

    assert sheet.spec().link == LinkSpec(10**9, 5_000)
    assert sheet.origins["topology"].note == "n"
    assert sheet.origins["gpu.throughput.float32"].kind == "spec"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("{value: 1 GHz, source: s, kind: spec}", "1 GHz", "gpu.clock: a value of a hardware sheet needs its origin"),
        ("{value: 1 GHz, source: s, kind: spec}", "{value: 1 GHz, kind: spec}", "gpu.clock.source: is missing"),
        (
            "{value: 1 GHz, source: s, kind: spec}",
            "{value: 1 GHz, source: s, kind: guess}",
            "gpu.clock.kind: unknown value 'guess'",
        ),
        (
            "{value: 1 GHz, source: s, kind: spec}",
            "{value: 1 GB, source: s, kind: spec}",
            "gpu.clock: '1 GB' is a size, not a frequency",
        ),
        ("  clock:", "  clok:", "gpu.clok: unknown key 'clok'; did you mean 'clock'?"),
        ("value: 2,", "value: 0,", "gpus: a machine has at least 1 GPU"),
        (
            "value: ring",
            "value: star",
            "topology: unknown value 'star'; allowed: switch, full_mesh, ring, hybrid_cube_mesh",
        ),
    ],
)
def test_a_bad_sheet_is_refused_by_line(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = saved(tmp_path, SHEET.replace(old, new))

    with pytest.raises(InputError) as caught:
        Sheet.read(path).spec()

    assert str(caught.value).startswith(f"{path}:")
    assert complaint in str(caught.value)


def test_cycles_are_rounded_up_once() -> None:
    gpu = GpuSpec(3 * 10**9, 1, 10**9, 1, {}, 0, 1000, 1, 1, 1, 1, 1)

    assert [gpu.cycles(n) for n in (0, 1, 2, 3)] == [0, 334, 667, 1000]
    assert gpu.line_service == 1000
