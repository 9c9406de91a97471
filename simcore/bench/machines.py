"""The machines of the workloads: a star of GPUs, and nodes of eight below a leaf-spine network."""

from simcore.bench.messages import (
    GPU_BANDWIDTH,
    GPUS_PER_LEAF,
    GPUS_PER_NODE,
    NIC_BANDWIDTH,
    SPINE_BANDWIDTH,
    SPINES,
)
from simcore.hardware import GpuSpec, LinkSpec, Network
from simcore.shapes import FatTree, LinkChange
from simcore.topology import Topology

LATENCY = 500_000
"""Of every link, ps."""
GPU = GpuSpec(
    clock=10**9, memory_size=16 * 10**9, memory_bandwidth=2 * 10**12, memory_line=64, throughput={}, launch=0,
    poll_period=340, poll_request=220, poll_response=96, monitor_arm=1, monitor_notify=1, monitor_wake=100,
)  # fmt: skip
"""How the target of `eidolons` reads its flags: a poll every 340 ns."""


def star(gpus: int) -> Topology:
    """Return ``gpus`` GPUs around one switch, 450 GB/s each way."""
    return Topology("switch", gpus, LinkSpec(GPU_BANDWIDTH, LATENCY))


def leaf_spine(nodes: int) -> Topology:
    """Return nodes of eight GPUs, 450 GB/s inside; a NIC of 50 GB/s a GPU; a leaf for four nodes, joined to each of 16
    spines by 100 GB/s. A pair below different leaves always uses the spine crc32("src,dst") modulo 16."""
    above = FatTree(per_leaf=GPUS_PER_LEAF, spines=SPINES, uplink=LinkChange(bandwidth=SPINE_BANDWIDTH))
    network = Network(LinkSpec(NIC_BANDWIDTH, LATENCY), above)
    return Topology("switch", GPUS_PER_NODE * nodes, LinkSpec(GPU_BANDWIDTH, LATENCY), nodes=nodes, network=network)
