"""Hardware sheets: every value has a source and a kind, and the reader accepts nothing less."""

from pathlib import Path

import pytest

from simcore import hardware
from simcore.errors import InputError
from simcore.hardware import GpuSpec, LinkSpec, Sheet
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


@pytest.mark.parametrize("name", hardware.names())
def test_every_bundled_sheet_is_a_machine_with_sources(name: str) -> None:
    sheet = Sheet.read(hardware.find(name, Path()))
    spec = sheet.spec()

    assert spec.name == name
    assert all(origin.source for origin in sheet.origins.values())
    assert Topology(spec.topology, spec.gpus, spec.link).route(0, spec.gpus - 1)
    # A slip between bits and bytes, or a sum of both directions, would leave these ranges.
    assert 16e9 <= spec.link.bandwidth <= 900e9
    assert 1e12 <= spec.gpu.memory_bandwidth <= 10e12
    assert 10e12 <= spec.gpu.throughput["float32"] < spec.gpu.throughput["float16"] < spec.gpu.throughput["int8"]


def test_the_four_machines_of_the_design_are_there() -> None:
    assert {"mi300x-8", "hgx-h100", "hgx-h800", "dgx-a100"} <= set(hardware.names())


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
        ("value: ring", "value: star", "topology: unknown value 'star'; allowed: switch, full_mesh, ring, edges"),
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
