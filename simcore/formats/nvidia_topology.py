"""A machine's cables from NCCL's topology XML or from the matrix of `nvidia-smi topo -m`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from simcore.errors import InputError
from simcore.formats.text import read_text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LARGEST_FILE = 2**24
"""Bytes of one file that are read."""
NVLINK = {60: 18_000, 70: 20_000, 80: 20_000, 86: 12_000, 90: 20_600, 100: 40_100}
"""MB/s of one NVLink and direction, as NCCL reckons from a compute capability on (NVIDIA nccl, src/graph/topo.h)."""
LANE = {"2.5": 15, "5": 30, "8": 60, "16": 120, "32": 240, "64": 480}
"""100 Mb/s of one PCIe lane as NCCL reckons, by transfer rate in GT/s (NVIDIA nccl, src/graph/topo.cc)."""
BETWEEN_CPUS = {"AuthenticAMD": 16_000, "GenuineIntel": 10_000}
"""MB/s between two NUMA nodes as NCCL reckons: AMD before Zen 3, Intel from Skylake to Ice Lake."""
OTHER_CPUS = 6_000
MOST_NVLINKS = 18
"""NVLinks of the widest GPU so far; a matrix that would need more of one shows a switch."""
MEGA = 10**6

_CELL = re.compile(r"X|NV\d+|PIX|PXB|PHB|NODE|SYS|SOC|C2C")
_NAME = re.compile(r"GPU\d+|NIC\d+|mlx\d+_\w+")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
NEARNESS = ("PIX", "PXB", "PHB", "NODE", "SYS")
"""How far apart two devices are over PCIe, nearest first: one bridge, several, a host bridge, a NUMA node, two."""


@dataclass(frozen=True)
class Cable:
    """A full-duplex link between two ends, with its bandwidth in each direction (B/s) and what it is."""

    ends: tuple[str, str]
    bandwidth: int
    kind: str


@dataclass
class Wiring:
    """What a file says: GPUs, cables (NVLink first, so that it wins ties), the network speed of each NIC in b/s, and
    what had to be inferred, a sentence each."""

    gpus: int
    origin: str
    cables: list[Cable] = field(default_factory=list)
    nics: dict[str, int | None] = field(default_factory=dict)
    inferred: list[str] = field(default_factory=list)
    capability: int | None = None


def read(path: Path, *, nvlink: int | None = None, pcie: int | None = None) -> Wiring:
    """Return the wiring in ``path``, NCCL's XML or the matrix of `nvidia-smi topo -m`; raises ``InputError``.

    ``nvlink`` and ``pcie`` are the bandwidths of one NVLink and of one PCIe link (B/s and direction) where they
    shall not be NCCL's; a matrix states neither, so ``nvlink`` is needed for one that has NVLinks.
    """
    text = read_text(path, LARGEST_FILE, "NCCL's XML or the matrix of nvidia-smi topo -m")
    if text.lstrip().startswith("<"):
        return _from_xml(path, text, nvlink, pcie)
    return _from_matrix(path, text, nvlink, pcie)


def _from_xml(path: Path, text: str, nvlink: int | None, pcie: int | None) -> Wiring:
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{path}:{error.position[0]}: not well-formed XML ({error}); the file is cut off?") from None
    if root.tag != "system":
        raise InputError(
            f"{path}: the root is <{root.tag}>; expected <system>, as NCCL_TOPO_DUMP_FILE writes it"
            + ("; this is the search's result (NCCL_GRAPH_DUMP_FILE)" if root.tag == "graphs" else "")
        )
    names = _gpu_names(path, root)
    wiring = Wiring(len(names), "NCCL topology XML (NCCL_TOPO_DUMP_FILE)")
    nets = _Tree(path, wiring, names, pcie)
    for number, cpu in enumerate(root.iter("cpu")):
        nets.add(cpu, f"cpu{number}", "")
    _add_nvlinks(path, root, wiring, names, nvlink, nets.cpus)
    wiring.cables += nets.cables
    _join_cpus(root, wiring, list(nets.cpus.values()))
    wiring.inferred.append("a PCIe link counts as NCCL reckons, lanes x rate x 3/4; a CPU is a switch")
    return wiring


def _gpu_names(path: Path, root: "Element") -> dict[str, str]:
    """Return gpuN by bus id, numbered by device where that is unique, else by rank (several nodes in one file)."""
    found = [
        (pci.get("busid", ""), gpu)
        for pci in root.iter("pci")
        for gpu in pci.findall("gpu")
        if gpu.get("dev", "0") != "-1"
    ]
    if not found:
        raise InputError(f"{path}: no <gpu> in a <pci>; expected the whole system, as NCCL_TOPO_DUMP_FILE writes it")
    devices = [gpu.get("dev", "") for _, gpu in found]
    key = "dev" if len(set(devices)) == len(devices) else "rank"
    try:
        order = sorted(found, key=lambda pair: int(pair[1].get(key, "")))
    except ValueError:
        raise InputError(f"{path}: a <gpu> without a number as its {key}") from None
    return {bus.lower(): f"gpu{number}" for number, (bus, _) in enumerate(order)}


class _Tree:
    """Collects the PCIe tree of a system: bridges and CPUs become switches, NICs leaves."""

    def __init__(self, path: Path, wiring: Wiring, names: dict[str, str], pcie: int | None) -> None:
        self._path, self._wiring, self._names, self._pcie = path, wiring, names, pcie
        self.cables: list[Cable] = []
        self.cpus: dict[str, str] = {}
        """Name of each CPU by its NUMA id."""

    def add(self, node: "Element", name: str, above: str) -> None:
        """Add ``node``, called ``name``, below the switch ``above``, and everything in it."""
        if node.tag == "cpu":
            self.cpus[node.get("numaid", name)] = name
        for child in node:
            if child.tag == "pci":
                bus = child.get("busid", "").lower()
                if child.find("gpu") is not None and bus not in self._names:
                    continue
                below = self._names.get(bus) or self._nic(child) or f"pci-{bus}"
                self.cables.append(Cable((below, name), self._bandwidth(child), "PCIe"))
                if below.startswith("pci-"):
                    self.add(child, below, name)
            elif child.tag in ("nic", "net") and (nic := self._named(child)):
                self.cables.append(Cable((nic, name), self._pcie or 12_000 * MEGA, "PCIe"))
                self._wiring.inferred.append(f"{nic} hangs on {name} over PCIe of 12 GB/s, for no PCI device is stated")

    def _nic(self, pci: "Element") -> str:
        nic = pci.find("nic")
        return "" if nic is None else self._named(nic)

    def _named(self, nic: "Element") -> str:
        """Return the name of the first network device of a NIC, its speed noted; empty for one without."""
        for net in [nic] if nic.tag == "net" else nic.findall("net"):
            name = net.get("name", "")
            if not name:
                continue
            speed = net.get("speed", "")
            self._wiring.nics.setdefault(name, int(speed) * MEGA if speed.isdigit() else None)
            return name
        return ""

    def _bandwidth(self, pci: "Element") -> int:
        """Return what NCCL reckons for the link above a device: lanes * rate / 80, width 16 and Gen 3 where unknown."""
        if self._pcie is not None:
            return self._pcie
        rate = re.match(r"([\d.]+)\s*GT/s", pci.get("link_speed", ""))
        lane = LANE.get(f"{float(rate[1]):g}" if rate else "", LANE["8"])
        width = pci.get("link_width", "")
        return (int(width) if width.isdigit() and int(width) else 16) * lane * 10**9 // 80


def _add_nvlinks(
    path: Path, root: "Element", wiring: Wiring, names: dict[str, str], nvlink: int | None, cpus: dict[str, str]
) -> None:
    """Add NVLinks between GPUs, to NVSwitches (one switch, as NCCL sees them) and to CPUs; a pair states its links
    twice."""
    pairs: dict[tuple[str, str], int] = {}
    rate = 0
    switches: set[str] = set()
    cpu_of = {
        pci.get("busid", "").lower(): cpu.get("numaid", "") for cpu in root.iter("cpu") for pci in cpu.iter("pci")
    }
    for pci in root.iter("pci"):
        me = names.get(pci.get("busid", "").lower())
        for gpu in pci.findall("gpu"):
            links = gpu.findall("nvlink")
            if me is None or not links:
                continue
            rate = _nvlink_rate(path, wiring, gpu, nvlink)
            for link in links:
                target, count = link.get("target", "").lower(), link.get("count", "")
                if not count.isdigit():
                    raise InputError(f"{path}: an <nvlink> of {me} without a number as its count")
                other = names.get(target)
                if other is None and link.get("tclass", "").startswith(("0x0306", "0x068001")):
                    other = cpus.get(cpu_of.get(pci.get("busid", "").lower(), ""), "cpu0")
                if other is None:
                    switches.add(target)
                    other = "nvswitch"
                pairs[me, other] = pairs.get((me, other), 0) + int(count)
    for (a, b), links_of_pair in pairs.items():
        if (b, a) not in pairs or a < b:
            wiring.cables.append(Cable((a, b), links_of_pair * rate, f"{links_of_pair} NVLink"))
    if switches:
        wiring.inferred.append(f"{len(switches)} NVLink target(s) that are no GPU are one switch, nvswitch")


def _nvlink_rate(path: Path, wiring: Wiring, gpu: "Element", nvlink: int | None) -> int:
    sm = gpu.get("sm", "")
    if nvlink is None and not sm.isdigit():
        raise InputError(f"{path}: a <gpu> without sm, so the speed of its NVLinks is unknown; state it with --nvlink")
    known = [capability for capability in NVLINK if sm.isdigit() and capability <= int(sm)]
    if nvlink is None and not known:
        raise InputError(f"{path}: sm {sm} has no known NVLink; state its speed with --nvlink")
    if wiring.capability is None:
        wiring.capability = int(sm) if sm.isdigit() else 0
        # 86 is a smaller sibling of 80, not its successor.
        wiring.inferred.append(
            "an NVLink counts as stated with --nvlink"
            if nvlink is not None
            else f"an NVLink counts {_rate_of(int(sm)) / 1000:g} GB/s a direction, NCCL's effective value for sm {sm}"
        )
    return nvlink if nvlink is not None else _rate_of(int(sm)) * MEGA


def _rate_of(sm: int) -> int:
    return NVLINK[sm] if sm in NVLINK else NVLINK[max(each for each in NVLINK if each <= sm and each != 86)]


def _join_cpus(root: "Element", wiring: Wiring, cpus: Sequence[str]) -> None:
    """Join every two NUMA nodes at what NCCL reckons for their vendor."""
    vendors = {cpu.get("vendor", "") for cpu in root.iter("cpu")}
    rate = BETWEEN_CPUS.get(vendors.pop(), OTHER_CPUS) if len(vendors) == 1 else OTHER_CPUS
    wiring.cables += [Cable((a, b), rate * MEGA, "between CPUs") for i, a in enumerate(cpus) for b in cpus[i + 1 :]]
    if len(cpus) > 1:
        wiring.inferred.append(f"every two CPUs are joined at {rate / 1000:g} GB/s, NCCL's value for their vendor")


def _from_matrix(path: Path, text: str, nvlink: int | None, pcie: int | None) -> Wiring:
    names, cells, legend = _matrix(path, text)
    gpus = [name for name in names if name.startswith("GPU")]
    if not gpus:
        raise InputError(f"{path}: the matrix names no GPU; expected what nvidia-smi topo -m prints")
    wiring = Wiring(len(gpus), "nvidia-smi topo -m")
    called = {name: f"gpu{i}" for i, name in enumerate(gpus)}
    called |= {name: legend.get(name, name.lower()) for name in names if name not in called}
    wiring.nics = {called[name]: None for name in names if name not in gpus}
    _nvlinks_of_matrix(path, wiring, cells, gpus, nvlink)
    bandwidth = pcie if pcie is not None else 24_000 * MEGA
    wiring.cables += _tree_of_matrix(names, cells, called, bandwidth)
    wiring.inferred.append(
        f"every PCIe link and every link between CPUs counts {bandwidth / 1e9:g} GB/s"
        + (", stated with --pcie" if pcie is not None else ", as NCCL reckons for Gen 4 x 16")
    )
    wiring.inferred.append("PIX, PXB, PHB, NODE and SYS became a tree of switches: one a bridge, a CPU, a socket")
    return wiring


def _matrix(path: Path, text: str) -> tuple[list[str], dict[tuple[str, str], str], dict[str, str]]:
    """Return the names of a matrix, its cells by (row, column), and the NICs of its legend."""
    names: list[str] = []
    cells: dict[tuple[str, str], str] = {}
    legend: dict[str, str] = {}
    for number, raw in enumerate(_ESCAPES.sub("", text).splitlines(), 1):
        words = raw.split()
        if not words:
            continue
        if not names and words[0] == "GPU0" and (len(words) == 1 or not _CELL.fullmatch(words[1])):
            for word in words:
                if not _NAME.fullmatch(word):
                    break
                names.append(word)
        elif names and words[0] in names:
            row = words[1 : 1 + len(names)]
            bad = next((cell for cell in row if not _CELL.fullmatch(cell)), None)
            if len(row) < len(names) or bad is not None:
                raise InputError(
                    f"{path}:{number}: the row of {words[0]} "
                    + (f"holds {bad!r}; expected X, NV#, PIX, PXB, PHB, NODE or SYS" if bad else "is cut off")
                )
            cells |= {(words[0], column): cell for column, cell in zip(names, row, strict=True)}
        elif found := re.match(r"\s*(NIC\d+):\s*(\S+)", raw):
            legend[found[1]] = found[2]
    if not names:
        raise InputError(f"{path}: no line 'GPU0 GPU1 ...'; expected NCCL's XML or what nvidia-smi topo -m prints")
    for name in names:
        if (name, name) not in cells:
            raise InputError(f"{path}: the matrix has no row of {name}; the output is cut off")
    return names, cells, legend


def _nvlinks_of_matrix(
    path: Path, wiring: Wiring, cells: dict[tuple[str, str], str], gpus: Sequence[str], nvlink: int | None
) -> None:
    """Add NVLinks: a switch where one GPU would otherwise need more of them than any has, else pair by pair."""
    counts = {
        (i, j): int(cells[a, b][2:])
        for i, a in enumerate(gpus)
        for j, b in enumerate(gpus)
        if i != j and cells[a, b].startswith("NV")
    }
    if not counts:
        return
    if nvlink is None:
        raise InputError(f"{path}: a matrix does not state how fast an NVLink is; say it with --nvlink, e.g. '25 GB/s'")
    most = max(sum(count for (i, _), count in counts.items() if i == me) for me in range(len(gpus)))
    if most > MOST_NVLINKS and len(set(counts.values())) == 1 and len(counts) == len(gpus) * (len(gpus) - 1):
        count = next(iter(counts.values()))
        wiring.cables += [Cable((f"gpu{i}", "nvswitch"), count * nvlink, f"{count} NVLink") for i in range(len(gpus))]
        wiring.inferred.append(
            f"NV{count} between all {len(gpus)} GPUs would need {most} NVLinks a GPU, so a switch joins them"
        )
    else:
        wiring.cables += [
            Cable((f"gpu{i}", f"gpu{j}"), count * nvlink, f"{count} NVLink")
            for (i, j), count in counts.items()
            if i < j
        ]
    wiring.inferred.append(f"an NVLink counts {nvlink / 1e9:g} GB/s a direction, stated with --nvlink")


def _tree_of_matrix(
    names: Sequence[str], cells: dict[tuple[str, str], str], called: dict[str, str], bandwidth: int
) -> Iterator[Cable]:
    """Yield PCIe links: devices that are near share a switch, switches that are next share a farther one.

    Of two GPUs with NVLinks between them the matrix does not tell the PCIe distance; each goes where its NICs and the
    other GPUs put it.
    """
    groups = [(called[name], {name}) for name in names]
    for level, word in enumerate(NEARNESS):
        joined: list[tuple[str, set[str]]] = []
        near = set(NEARNESS[: level + 1]) | ({"SOC"} if word == "SYS" else set())
        for name, members in groups:
            touching = [
                each for each in joined if any(cells[a, b] in near for _, old in (each,) for a in old for b in members)
            ]
            merged = set(members).union(*(old for _, old in touching))
            joined = [each for each in joined if each not in touching] + [(name, merged)]
        yield from _hung(groups, joined, word, bandwidth)
        groups = [(_above(groups, members, word), members) for _, members in joined]


def _above(groups: Sequence[tuple[str, set[str]]], members: set[str], word: str) -> str:
    """Return the name of the switch over ``members``: the same one where nothing was joined, else after its first."""
    inside = [name for name, old in groups if old <= members]
    return inside[0] if len(inside) == 1 else f"{word.lower()}-{min(members, key=_natural).lower()}"


def _natural(name: str) -> tuple[str, int]:
    digits = re.search(r"\d+$", name)
    return name.rstrip("0123456789"), int(digits[0]) if digits else 0


def _hung(
    groups: Sequence[tuple[str, set[str]]], joined: Sequence[tuple[str, set[str]]], word: str, bandwidth: int
) -> Iterator[Cable]:
    for _, members in joined:
        inside = [name for name, old in groups if old <= members]
        if len(inside) > 1:
            above = _above(groups, members, word)
            yield from (Cable((name, above), bandwidth, "PCIe" if word != "SYS" else "between CPUs") for name in inside)


def write_sheet(wiring: Wiring, path: Path, *, base: str, seen_in: str) -> Path:
    """Write the wiring as a hardware sheet of edges over the preset ``base``; return ``path``.

    What was inferred stands in the comments at the head; NICs are leaves, for what they lead to is not in the file.
    """
    import yaml

    from simcore.units import RATE, text

    leaf = {"source": wiring.origin, "kind": "assumed"}
    edges = [{"ends": list(cable.ends), "bandwidth": text(cable.bandwidth, RATE)} for cable in wiring.cables]
    note = "bandwidths are what NCCL reckons with, below those of the ports; latencies are the preset's"
    sheet = {
        "base": base,
        "name": path.stem,
        "description": f"{wiring.gpus} GPUs as {wiring.origin} shows them",
        "gpus": {"value": wiring.gpus, **leaf, "kind": "measured", "note": f"counted in {seen_in}"},
        "topology": {"value": "edges", **leaf, "kind": "measured", "note": f"from {seen_in}"},
        "edges": {"value": edges, **leaf, "note": note},
        "link": {"efficiency": {"value": [], **leaf, "note": note}},
    }
    nics = [
        f"{name}{'' if speed is None else f' ({speed / 1e9:g} Gb/s to its network)'}"
        for name, speed in wiring.nics.items()
    ]
    head = [f"# Imported from {seen_in}: {wiring.origin}.", *(f"# Inferred: {each}." for each in wiring.inferred)]
    if nics:
        head.append(f"# NICs are leaves: {', '.join(nics)}.")
    body = yaml.safe_dump(sheet, sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)
    path.write_text("\n".join([*head, body]), encoding="utf-8")
    return path
