"""The machines of the workloads: a star of GPUs, and nodes of eight below a leaf-spine network."""

import itertools
import zlib

from simcore.bench.messages import (
    GPU_BANDWIDTH,
    GPUS_PER_LEAF,
    GPUS_PER_NODE,
    NIC_BANDWIDTH,
    SPINE_BANDWIDTH,
    SPINES,
)
from simcore.hardware import LinkSpec
from simcore.topology import Edge, Topology

LATENCY = 500_000
"""Of every link, ps."""


def star(gpus: int) -> Topology:
    """Return ``gpus`` GPUs around one switch, 450 GB/s each way."""
    return Topology("switch", gpus, LinkSpec(GPU_BANDWIDTH, LATENCY))


class LeafSpine(Topology):
    """Nodes of eight GPUs, 450 GB/s inside; a NIC of 50 GB/s a GPU; a leaf for four nodes, joined to each of 16 spines
    by 100 GB/s. A pair below different leaves always uses the spine crc32("src,dst") modulo 16."""

    def __init__(self, nodes: int) -> None:
        gpus = GPUS_PER_NODE * nodes
        leaves = -(-gpus // GPUS_PER_LEAF)
        inside = [Edge((f"gpu{g}", f"node{g // GPUS_PER_NODE}"), GPU_BANDWIDTH) for g in range(gpus)]
        nics = [Edge((f"gpu{g}", f"leaf{g // GPUS_PER_LEAF}"), NIC_BANDWIDTH) for g in range(gpus)]
        above = [Edge((f"leaf{k}", f"spine{s}"), SPINE_BANDWIDTH) for k in range(leaves) for s in range(SPINES)]
        super().__init__("edges", gpus, LinkSpec(GPU_BANDWIDTH, LATENCY), [*inside, *nics, *above])

    def _searched(self, src: int, dst: int) -> list[int]:
        a, b = f"leaf{src // GPUS_PER_LEAF}", f"leaf{dst // GPUS_PER_LEAF}"
        if src // GPUS_PER_NODE == dst // GPUS_PER_NODE:
            between = [f"node{src // GPUS_PER_NODE}"]
        elif a == b:
            between = [a]
        else:
            between = [a, f"spine{zlib.crc32(b'%d,%d' % (src, dst)) % SPINES}", b]
        names = [f"gpu{src}", *between, f"gpu{dst}"]
        return [self._link_of[pair] for pair in itertools.pairwise(names)]
