"""Topologies as NCCL and nvidia-smi show them, and the sheets that they become."""

from pathlib import Path

import pytest
import yaml

from simcore.errors import InputError
from simcore.formats import nvidia_topology
from simcore.formats.nvidia_topology import Cable, Wiring
from simcore.hardware import Sheet
from simcore.topology import Edge, Topology

GB = 10**9
BRIDGE = 'class="0x060400" link_speed="32.0 GT/s PCIe" link_width="16"'
DEVICE = 'link_speed="32.0 GT/s PCIe" link_width="16"'


def gpu(number: int, *, sm: int = 90, nvlinks: str = "") -> str:
    inside = f'<gpu dev="{number}" sm="{sm}" rank="{number}" gdr="1">{nvlinks}</gpu>'
    return f'<pci busid="0000:{number + 1}8:00.0" class="0x030200" {DEVICE}>{inside}</pci>'


def nic(number: int) -> str:
    return (
        f'<pci busid="0000:{number + 1}9:00.0" class="0x020000" {DEVICE}><nic><net name="mlx5_{number}" dev="{number}" '
        f'speed="400000" port="1" latency="0.0" guid="0xa{number}" maxconn="131072" gdr="1"/></nic></pci>'
    )


def system(*cpus: str, vendor: str = "GenuineIntel") -> str:
    inside = "".join(
        f'<cpu numaid="{i}" affinity="ff" arch="x86_64" vendor="{vendor}" familyid="6" modelid="207">{content}</cpu>'
        for i, content in enumerate(cpus)
    )
    return f'<system version="1">{inside}</system>'


SWITCHES = "".join(
    f'<nvlink target="0000:0{i}:00.0" count="{count}" tclass="0x068000"/>'
    for i, count in ((5, 4), (6, 5), (7, 5), (8, 4))
)
HGX = system(
    *(
        f'<pci busid="0000:{2 * i + 1}6:00.0" {BRIDGE}>{gpu(2 * i, nvlinks=SWITCHES)}{nic(2 * i)}</pci>'
        f'<pci busid="0000:{2 * i + 2}6:00.0" {BRIDGE}>{gpu(2 * i + 1, nvlinks=SWITCHES)}{nic(2 * i + 1)}</pci>'
        for i in range(2)
    )
)


def read(folder: Path, text: str, **rates: int) -> Wiring:
    path = folder / "topology.txt"
    path.write_text(text, encoding="utf-8")
    return nvidia_topology.read(path, **rates)


def test_an_xml_of_four_gpus_behind_nvswitches(tmp_path: Path) -> None:
    wiring = read(tmp_path, HGX)

    assert wiring.gpus == 4
    assert wiring.capability == 90
    assert wiring.nics == {f"mlx5_{i}": 400 * GB for i in range(4)}
    assert wiring.cables[:4] == [Cable((f"gpu{i}", "nvswitch"), 370_800_000_000, "18 NVLink") for i in range(4)]
    assert Cable(("gpu0", "pci-0000:16:00.0"), 48 * GB, "PCIe") in wiring.cables
    assert Cable(("mlx5_3", "pci-0000:46:00.0"), 48 * GB, "PCIe") in wiring.cables
    assert Cable(("pci-0000:46:00.0", "cpu1"), 48 * GB, "PCIe") in wiring.cables
    assert wiring.cables[-1] == Cable(("cpu0", "cpu1"), 10 * GB, "between CPUs")
    assert len(wiring.cables) == 4 + 4 + 4 + 4 + 1


def test_nvlinks_between_gpus_are_counted_once(tmp_path: Path) -> None:
    pairs = {0: "28", 1: "18"}
    links = {i: f'<nvlink target="0000:{other}:00.0" count="4" tclass="0x030200"/>' for i, other in pairs.items()}
    wiring = read(tmp_path, system(*(gpu(i, sm=80, nvlinks=links[i]) for i in (0, 1)), vendor="AuthenticAMD"))

    assert [cable for cable in wiring.cables if "NVLink" in cable.kind] == [
        Cable(("gpu0", "gpu1"), 80 * GB, "4 NVLink")
    ]
    assert wiring.cables[-1].bandwidth == 16 * GB


@pytest.mark.parametrize(
    ("stated", "bandwidth"),
    [
        ('link_speed="8.0 GT/s PCIe" link_width="16"', 12 * GB),
        ('link_speed="16 GT/s" link_width="8"', 12 * GB),
        ('link_speed="5.0 GT/s PCIe" link_width="16"', 6 * GB),
        ('link_speed="" link_width="0"', 12 * GB),
        ('link_speed="64.0 GT/s PCIe" link_width="16"', 96 * GB),
    ],
)
def test_pcie_counts_as_nccl_reckons(stated: str, bandwidth: int, tmp_path: Path) -> None:
    wiring = read(tmp_path, system(gpu(0).replace(DEVICE, stated)))

    assert wiring.cables == [Cable(("gpu0", "cpu0"), bandwidth, "PCIe")]


@pytest.mark.parametrize(
    ("sm", "each"), [(70, 20_000), (80, 20_000), (86, 12_000), (89, 20_000), (90, 20_600), (103, 40_100)]
)
def test_nvlink_counts_as_nccl_reckons(sm: int, each: int, tmp_path: Path) -> None:
    wiring = read(tmp_path, system(*(gpu(i, sm=sm, nvlinks=SWITCHES) for i in (0, 1))))

    assert wiring.cables[0].bandwidth == 18 * each * 10**6


def test_stated_rates_win(tmp_path: Path) -> None:
    wiring = read(tmp_path, HGX, nvlink=25 * GB, pcie=60 * GB)

    assert {cable.bandwidth for cable in wiring.cables} == {450 * GB, 60 * GB, 10 * GB}


def test_two_nodes_in_one_file_are_numbered_by_rank(tmp_path: Path) -> None:
    second = gpu(0).replace("0000:", "0001:").replace('rank="0"', 'rank="1"')

    wiring = read(tmp_path, system(gpu(0), second))

    assert [cable.ends for cable in wiring.cables] == [("gpu0", "cpu0"), ("gpu1", "cpu1"), ("cpu0", "cpu1")]


MATRIX = """
\t\x1b[4mGPU0\tGPU1\tGPU2\tGPU3\tNIC0\tNIC1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m
GPU0\t X \tNV18\tNV18\tNV18\tPIX\tSYS\t0-55\t0\t\tN/A
GPU1\tNV18\t X \tNV18\tNV18\tNODE\tSYS\t0-55\t0\t\tN/A
GPU2\tNV18\tNV18\t X \tNV18\tSYS\tPXB\t56-111\t1\t\tN/A
GPU3\tNV18\tNV18\tNV18\t X \tSYS\tPIX\t56-111\t1\t\tN/A
NIC0\tPIX\tNODE\tSYS\tSYS\t X \tSYS\t\t\t\t
NIC1\tSYS\tSYS\tPXB\tPIX\tSYS\t X \t\t\t\t

Legend:

  X    = Self
  NV#  = Connection traversing a bonded set of # NVLinks

NIC Legend:

  NIC0: mlx5_0
  NIC1: mlx5_7
"""


def test_a_matrix_that_needs_a_switch_gets_one(tmp_path: Path) -> None:
    wiring = read(tmp_path, MATRIX, nvlink=25 * GB)

    assert wiring.gpus == 4
    assert wiring.nics == {"mlx5_0": None, "mlx5_7": None}
    assert wiring.cables[:4] == [Cable((f"gpu{i}", "nvswitch"), 450 * GB, "18 NVLink") for i in range(4)]
    assert {cable.ends for cable in wiring.cables[4:]} == {
        ("gpu0", "pix-gpu0"),
        ("mlx5_0", "pix-gpu0"),
        ("gpu3", "pix-gpu3"),
        ("mlx5_7", "pix-gpu3"),
        ("gpu2", "pxb-gpu2"),
        ("pix-gpu3", "pxb-gpu2"),
        ("gpu1", "node-gpu0"),
        ("pix-gpu0", "node-gpu0"),
        ("node-gpu0", "sys-gpu0"),
        ("pxb-gpu2", "sys-gpu0"),
    }
    assert {cable.kind for cable in wiring.cables[-2:]} == {"between CPUs"}


def matrix(cells: str) -> str:
    """Return a matrix of nvidia-smi whose rows are the words of ``cells``, a line each."""
    rows = [line.split() for line in cells.strip().splitlines()]
    head = "\t" + "\t".join(f"GPU{i}" for i in range(len(rows))) + "\tCPU Affinity\tNUMA Affinity\n"
    return head + "".join(f"GPU{i}\t" + "\t".join(row) + "\t0-31\t0\n" for i, row in enumerate(rows))


def test_a_matrix_of_direct_links_stays_direct(tmp_path: Path) -> None:
    wiring = read(tmp_path, matrix("X NV1 NV2\nNV1 X NV2\nNV2 NV2 X"), nvlink=25 * GB)

    assert wiring.cables == [
        Cable(("gpu0", "gpu1"), 25 * GB, "1 NVLink"),
        Cable(("gpu0", "gpu2"), 50 * GB, "2 NVLink"),
        Cable(("gpu1", "gpu2"), 50 * GB, "2 NVLink"),
    ]


def test_a_matrix_without_nvlinks_is_a_tree(tmp_path: Path) -> None:
    wiring = read(tmp_path, matrix("X PHB SYS SYS\nPHB X SYS SYS\nSYS SYS X PHB\nSYS SYS PHB X"), pcie=12 * GB)

    assert [cable.ends for cable in wiring.cables] == [
        ("gpu0", "phb-gpu0"),
        ("gpu1", "phb-gpu0"),
        ("gpu2", "phb-gpu2"),
        ("gpu3", "phb-gpu2"),
        ("phb-gpu0", "sys-gpu0"),
        ("phb-gpu2", "sys-gpu0"),
    ]
    assert {cable.bandwidth for cable in wiring.cables} == {12 * GB}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty; expected NCCL's XML or the matrix"),
        (b"\x00\x01", "not a text file"),
        (b"hello", "no line 'GPU0 GPU1 ...'"),
        (HGX[: len(HGX) // 2].encode(), ":1: not well-formed XML"),
        (b"<graphs/>", "the root is <graphs>; expected <system>, .*; this is the search's result"),
        (b"<html/>", "the root is <html>; expected <system>"),
        (b'<system version="1"><cpu numaid="0"/></system>', "no <gpu> in a <pci>"),
        (system(gpu(0, nvlinks='<nvlink target="x" count="many"/>')).encode(), "an <nvlink> of gpu0 without a number"),
        (system(gpu(0, sm=50, nvlinks=SWITCHES)).encode(), "sm 50 has no known NVLink; state its speed with --nvlink"),
        (system(gpu(0).replace('dev="0"', 'dev="a"')).encode(), "a <gpu> without a number as its dev"),
        (MATRIX.encode(), "does not state how fast an NVLink is; say it with --nvlink"),
        (matrix("X NV1\nNV1").encode(), r":3: the row of GPU1 (is cut off|holds '0-31')"),
        (matrix("X QPI\nQPI X").encode(), r":2: the row of GPU0 holds 'QPI'; expected X, NV#"),
        (
            MATRIX[: MATRIX.index("NIC1\tSYS\tSYS\tPXB")].encode(),
            "the matrix has no row of NIC1; the output is cut off",
        ),
    ],
)
def test_what_is_no_topology_is_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "topology.txt"
    path.write_bytes(content)

    with pytest.raises(InputError, match=said) as error:
        nvidia_topology.read(path)

    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [HGX, MATRIX], ids=["xml", "matrix"])
def test_a_sheet_is_a_machine_whose_gpus_reach_each_other_over_nvlink(text: str, tmp_path: Path) -> None:
    wiring = read(tmp_path, text, nvlink=25 * GB)
    path = nvidia_topology.write_sheet(wiring, tmp_path / "mine.yaml", base="hgx-h100", seen_in="topology.txt")

    spec = Sheet.read(path).spec()
    topology = Topology.of(spec)

    assert (spec.name, spec.gpus, str(spec.topology)) == ("mine", 4, "edges")
    assert spec.gpu.memory_size == 80 * GB
    for src in range(4):
        for dst in {0, 1, 2, 3} - {src}:
            route = [topology.links[index] for index in topology.route(src, dst)]
            assert [link.head for link in route] == ["nvswitch", f"gpu{dst}"]
            assert {topology.servers[link.server].bandwidth for link in route} == {450 * GB}


def test_a_sheet_says_what_was_inferred(tmp_path: Path) -> None:
    wiring = read(tmp_path, HGX)
    path = nvidia_topology.write_sheet(wiring, tmp_path / "mine.yaml", base="hgx-h100", seen_in="topo.xml")

    text = path.read_text(encoding="utf-8")

    assert text.startswith("# Imported from topo.xml: NCCL topology XML (NCCL_TOPO_DUMP_FILE).\n# Inferred: ")
    assert "20.6 GB/s a direction, NCCL's effective value for sm 90" in text
    assert "mlx5_0 (400 Gb/s to its network)" in text
    edges = yaml.safe_load(text)["edges"]
    assert (edges["kind"], edges["source"]) == ("assumed", "NCCL topology XML (NCCL_TOPO_DUMP_FILE)")
    assert [Edge(tuple(each["ends"])).ends for each in edges["value"]] == [cable.ends for cable in wiring.cables]
