"""Topologies: links, servers and routes of every family, against breadth-first search and by hand."""

import itertools

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore.hardware import Edge, LinkSpec
from simcore.topology import Topology, TopologyError

LINK = LinkSpec(10**9, 5)


def names(topology: Topology, src: int, dst: int) -> list[str]:
    path = [topology.links[i] for i in topology.route(src, dst)]
    return [path[0].tail, *(link.head for link in path)]


@given(st.sampled_from(["switch", "full_mesh", "ring"]), st.integers(2, 12), st.data())
def test_routes_are_connected_and_shortest(family: Family, gpus: int, data: st.DataObject) -> None:
    topology = Topology(family, gpus, LINK)
    src, dst = data.draw(st.permutations(range(gpus)))[:2]

    path = [topology.links[i] for i in topology.route(src, dst)]

    assert path[0].tail == f"gpu{src}"
    assert path[-1].head == f"gpu{dst}"
    assert all(a.head == b.tail for a, b in itertools.pairwise(path))
    assert len(path) == networkx.shortest_path_length(topology.graph(), f"gpu{src}", f"gpu{dst}")


@given(st.integers(2, 8), st.data())
def test_an_edge_list_that_spells_a_family_out_is_that_family(gpus: int, data: st.DataObject) -> None:
    family: Family = data.draw(st.sampled_from(["switch", "full_mesh"]))
    spelled = Topology("edges", gpus, LINK, family_edges(family, gpus))
    named = Topology(family, gpus, LINK)

    assert spelled.servers == named.servers
    assert all(spelled.route(a, b) == named.route(a, b) for a in range(gpus) for b in range(gpus) if a != b)


def test_a_ring_goes_the_shorter_way_and_ties_go_up() -> None:
    topology = Topology("ring", 6, LINK)

    assert names(topology, 0, 2) == ["gpu0", "gpu1", "gpu2"]
    assert names(topology, 0, 4) == ["gpu0", "gpu5", "gpu4"]
    assert names(topology, 5, 2) == ["gpu5", "gpu0", "gpu1", "gpu2"]


def test_counts_of_links_and_servers() -> None:
    assert (
        len(Topology("switch", 8, LINK).links),
        len(Topology("full_mesh", 8, LINK).links),
        len(Topology("ring", 8, LINK).links),
    ) == (16, 56, 16)
    assert len(Topology("ring", 2, LINK).links) == 2
    half = Topology("full_mesh", 4, LinkSpec(10**9, 5, "half"))
    assert (len(half.links), len(half.servers)) == (12, 6)
    assert len(Topology("switch", 4, LinkSpec(10**9, 5, "bus")).servers) == 1


def test_edges_may_differ_and_run_one_way() -> None:
    edges = [
        Edge(("gpu0", "leaf"), bandwidth=2 * 10**9),
        Edge(("leaf", "gpu1"), latency=9),
        Edge(("gpu1", "gpu0"), duplex="simplex"),
    ]
    topology = Topology("edges", 2, LINK, edges)

    assert names(topology, 0, 1) == ["gpu0", "leaf", "gpu1"]
    assert names(topology, 1, 0) == ["gpu1", "gpu0"]
    path = [topology.links[i] for i in topology.route(0, 1)]
    assert [(topology.servers[link.server].bandwidth, link.latency) for link in path] == [(2 * 10**9, 5), (10**9, 9)]


@pytest.mark.parametrize(
    ("edges", "complaint", "index"),
    [
        ([("gpu0", "gpu0")], "joins gpu0 to itself", 0),
        ([("gpu0", "gpu1"), ("gpu1", "gpu0")], "listed twice", 1),
        ([("gpu0", "sw")], "gpu1 is unreachable", -1),
        ([("gpu0", "gpu1"), ("gpu0", "gpu2")], "gpu2 is none of the machine's GPUs", 1),
        ([("gpu0", "gpu01")], "gpu01 is none", 0),
    ],
)
def test_edges_that_make_no_machine(edges: list[tuple[str, str]], complaint: str, index: int) -> None:
    with pytest.raises(EdgeError, match=complaint) as caught:
        Topology("edges", 2, LINK, [Edge(ends) for ends in edges])

    assert caught.value.index == index


def test_a_gpu_that_can_only_send_is_unreachable() -> None:
    with pytest.raises(EdgeError, match="gpu1 to gpu0"):
        Topology("edges", 2, LINK, [Edge(("gpu0", "gpu1"), duplex="simplex")])


def test_a_bus_has_one_bandwidth() -> None:
    edges = [Edge(("gpu0", "hub"), duplex="bus"), Edge(("gpu1", "hub"), duplex="bus", bandwidth=1)]

    with pytest.raises(EdgeError, match="second bandwidth"):
        Topology("edges", 2, LINK, edges)
