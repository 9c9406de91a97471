"""Topologies: links, servers and routes of every family, against searches in a graph and re-statements by hand."""

import itertools
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore.hardware import Degraded, Edge, Efficiency, Host, LinkSpec, Network
from simcore.shapes import Dimension, Dragonfly, FatTree, LinkChange, RailOptimised, Switch, Torus
from simcore.topology import MOST_LINKS, Topology, TopologyError
from simcore.topology.ecmp import pair_hash, pair_hashes

LINK = LinkSpec(10**9, 5)
NIC = LinkSpec(10**8, 70)


def names(topology: Topology, src: int, dst: int) -> list[str]:
    path = [topology.links[i] for i in topology.route(src, dst)]
    return [path[0].tail, *(link.head for link in path)]


def tree(gpus: int, **given_: Any) -> Topology:
    return Topology(FatTree(**given_), gpus, LINK)


def cluster(nodes: int, shape: Any, per_node: int = 4, inside: Any = "switch", **more: Any) -> Topology:
    return Topology(inside, nodes * per_node, LINK, nodes=nodes, network=Network(NIC, shape), **more)


def edge_list() -> Topology:
    """Return two leaves with two GPUs each, a spine over them and a direct link."""
    ends = [("gpu0", "a"), ("gpu1", "a"), ("gpu2", "b"), ("gpu3", "b"), ("a", "top"), ("b", "top"), ("gpu0", "gpu3")]
    return Topology("edges", 4, LINK, [Edge(pair) for pair in ends])


SHORTEST: dict[str, Callable[[int], Topology]] = {
    "switch": lambda n: Topology("switch", n, LINK),
    "full mesh": lambda n: Topology("full_mesh", n, LINK),
    "ring": lambda n: Topology("ring", n, LINK),
    "cube": lambda n: Topology("hybrid_cube_mesh", 8, LINK),
    "edges": lambda n: edge_list(),
    "torus": lambda n: Topology(Torus([Dimension(n), Dimension(3)]), 3 * n, LINK),
    "mesh": lambda n: Topology(Torus([Dimension(n, wrap=False), Dimension(2), Dimension(4)]), 8 * n, LINK),
    "leaf-spine": lambda n: tree(4 * n, per_leaf=3, spines=n),
    "three levels": lambda n: tree(8 * n, per_leaf=2, spines=2, leaves_per_pod=2, cores=n),
    "cluster on a switch": lambda n: cluster(n, Switch()),
    "cluster on a tree": lambda n: cluster(n, FatTree(per_leaf=8, spines=3)),
    "rails over spines": lambda n: cluster(n, RailOptimised(2, 3, cross_rail="spines")),
}
"""Families whose rule gives shortest paths, by number; inside a cluster only of each node's own links."""


@pytest.mark.parametrize("family", SHORTEST)
@given(st.integers(2, 6), st.data())
@settings(max_examples=15)
def test_routes_are_connected_and_shortest(family: str, size: int, data: st.DataObject) -> None:
    topology = SHORTEST[family](size)
    src, dst = data.draw(st.permutations(range(topology.gpus)))[:2]
    graph = topology.graph()
    if graph.nodes[f"gpu{src}"]["node"] == graph.nodes[f"gpu{dst}"]["node"]:
        graph = networkx.DiGraph((a, b) for a, b, inside in graph.edges(data="inside") if inside)

    path = [topology.links[i] for i in topology.route(src, dst)]

    assert path[0].tail == f"gpu{src}"
    assert path[-1].head == f"gpu{dst}"
    assert all(a.head == b.tail for a, b in itertools.pairwise(path))
    assert len(path) == networkx.shortest_path_length(graph, f"gpu{src}", f"gpu{dst}")


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.data())
@settings(max_examples=30)
def test_a_dragonfly_route_is_the_shortest_with_one_link_between_groups(
    groups: int, routers: int, hosts: int, data: st.DataObject
) -> None:
    gpus = groups * routers * hosts
    topology = Topology(Dragonfly(groups, routers, hosts), gpus, LINK)
    src, dst = data.draw(st.integers(0, gpus - 1)), data.draw(st.integers(0, gpus - 1))
    if src == dst:
        return
    graph = topology.graph()
    group = {name: about["group"] for name, about in graph.nodes(data=True) if "group" in about}
    layers: networkx.DiGraph[Any] = networkx.DiGraph()
    for a, b in graph.edges:
        if group.get(a, 0) == group.get(b, 0) or a not in group or b not in group:
            layers.add_edges_from([((a, 0), (b, 0)), ((a, 1), (b, 1))])
        else:
            layers.add_edge((a, 0), (b, 1))
    layers.add_edges_from([((f"gpu{dst}", 0), "there"), ((f"gpu{dst}", 1), "there")])

    path = names(topology, src, dst)

    assert all(graph.has_edge(a, b) for a, b in itertools.pairwise(path))
    assert len(path) == networkx.shortest_path_length(layers, (f"gpu{src}", 0), "there")


@given(st.integers(2, 6), st.integers(1, 3), st.integers(2, 5), st.data())
@settings(max_examples=30)
def test_a_message_changes_rails_inside_its_node_and_stays_on_the_rail_of_its_destination(
    nodes: int, nodes_per_leaf: int, per_node: int, data: st.DataObject
) -> None:
    topology = cluster(nodes, RailOptimised(nodes_per_leaf, 2), per_node)
    node, other = data.draw(st.permutations(range(nodes)))[:2]
    a, b = data.draw(st.integers(0, per_node - 1)), data.draw(st.integers(0, per_node - 1))
    src, dst = node * per_node + a, other * per_node + b

    path = names(topology, src, dst)

    inside = [f"gpu{src}"] if a == b else [f"gpu{src}", f"node{node}.switch", f"gpu{node * per_node + b}"]
    leaf, last = (f"rail{b}.leaf{n // nodes_per_leaf}" for n in (node, other))
    if nodes <= nodes_per_leaf:
        leaf = last = f"rail{b}"
    over = [leaf] if leaf == last else [leaf, f"spine{pair_hash(src, dst, 0) % 2}", last]
    assert path == [*inside, *over, f"gpu{dst}"]


def test_rails_without_spines_need_none_until_a_rail_has_two_leaves() -> None:
    assert not any("spine" in link.head for link in cluster(4, RailOptimised()).links)
    assert sum("spine" in link.head for link in cluster(4, RailOptimised(2)).links) == 2 * 4 * 2


@pytest.mark.parametrize("family", [*SHORTEST, "dragonfly", "rails", "broken", "own routes"])
@given(st.integers(2, 5), st.randoms(use_true_random=False))
@settings(max_examples=8)
def test_routes_in_bulk_are_the_routes_one_by_one(family: str, size: int, random: Any) -> None:
    more: dict[str, Callable[[int], Topology]] = {
        "dragonfly": lambda n: Topology(Dragonfly(n, 2, 2), 4 * n, LINK),
        "rails": lambda n: cluster(n, RailOptimised(1, 2)),
        "broken": lambda n: cluster(n, FatTree(4, 3), failed=[["leaf0", "spine1"]]),
        "own routes": lambda n: cluster(n, FatTree(4, 3), routes=[["gpu0", "leaf0", "spine2", "leaf1", "gpu4"]]),
    }
    topology = (SHORTEST | more)[family](size)
    pairs = list(itertools.permutations(range(topology.gpus), 2))
    chosen = random.choices(pairs, k=40)

    begin, links = topology.routes(*np.array(chosen, np.int64).T)

    assert begin[0] == 0
    assert begin[-1] == len(links)
    assert [tuple(links[i:j]) for i, j in itertools.pairwise(begin)] == [topology.route(*pair) for pair in chosen]


def test_a_million_routes_of_a_star_take_well_under_a_second_and_keep_no_object_a_pair() -> None:
    topology = Topology("switch", 1024, LINK)
    rng = np.random.default_rng(5)
    src = rng.integers(0, 1024, 10**6)
    dst = (src + rng.integers(1, 1024, 10**6)) % 1024
    began = time.process_time()

    routes = topology.routes(src, dst)

    assert time.process_time() - began < 1
    assert len(routes.links) == 2 * 10**6
    assert len(topology._routes) == 0


# ---- equal paths


@given(st.integers(2, 3000), st.integers(0, 10**6), st.data())
@settings(max_examples=30)
def test_the_hash_of_many_pairs_is_the_hash_of_each(gpus: int, seed: int, data: st.DataObject) -> None:
    ends = st.lists(st.integers(0, gpus - 1), min_size=5, max_size=5)
    src, dst = np.array(data.draw(ends)), np.array(data.draw(ends))

    found = pair_hashes(src, dst, seed, gpus)

    assert found.tolist() == [pair_hash(a, b, seed) for a, b in zip(src.tolist(), dst.tolist(), strict=True)]


def test_the_hash_is_crc_32_of_the_pair_and_a_seed_goes_before() -> None:
    assert pair_hash(3, 40, 0) == zlib.crc32(b"3,40")
    assert pair_hash(3, 40, 7) == zlib.crc32(b"7,3,40")


def test_equal_paths_are_used_alike() -> None:
    topology = tree(256, per_leaf=16, spines=8)
    used = Counter(names(topology, a, b)[2] for a in range(16) for b in range(16, 256))

    assert sorted(used) == [f"spine{s}" for s in range(8)]
    assert max(used.values()) < 1.15 * min(used.values())


def test_another_seed_gives_other_paths() -> None:
    one, two = (tree(64, per_leaf=8, spines=8, ecmp_seed=seed) for seed in (0, 1))

    assert sum(names(one, 0, b) != names(two, 0, b) for b in range(8, 64)) > 40


@pytest.mark.parametrize("nodes", [8, 32])
def test_a_leaf_spine_cluster_is_the_one_of_the_standard_workloads(nodes: int) -> None:
    """450 GB/s GPU links, 50 GB/s NICs, 32 of them a leaf, 16 spines at 100 GB/s, spine = crc32("src,dst") % 16."""
    network = Network(
        LinkSpec(50 * 10**9, 500_000), FatTree(per_leaf=32, spines=16, uplink=LinkChange(bandwidth=10**11))
    )
    topology = Topology("switch", 8 * nodes, LinkSpec(450 * 10**9, 500_000), nodes=nodes, network=network)
    for src in range(0, 8 * nodes, 3):
        for dst in range(8 * nodes):
            if src == dst:
                continue
            if src // 8 == dst // 8:
                rates, expected = [450, 450], [f"gpu{src}", f"node{src // 8}.switch", f"gpu{dst}"]
            elif src // 32 == dst // 32:
                rates, expected = [50, 50], [f"gpu{src}", f"leaf{src // 32}", f"gpu{dst}"]
            else:
                spine = zlib.crc32(f"{src},{dst}".encode()) % 16
                rates = [50, 100, 100, 50]
                expected = [f"gpu{src}", f"leaf{src // 32}", f"spine{spine}", f"leaf{dst // 32}", f"gpu{dst}"]
            links = [topology.links[i] for i in topology.route(src, dst)]
            assert names(topology, src, dst) == expected
            assert [topology.servers[link.server].bandwidth // 10**9 for link in links] == rates
            assert {link.latency for link in links} == {500_000}
    assert len(topology.servers) == len(topology.links) == 2 * 8 * nodes * 2 + 2 * (8 * nodes // 32) * 16


# ---- bandwidths


@pytest.mark.parametrize(
    ("given_", "spines", "uplink"),
    [
        ({}, 12, 10**9),
        ({"spines": 4}, 4, 10**9),
        ({"oversubscription": 3.0}, 4, 10**9),
        ({"oversubscription": 1.5, "spines": 2}, 2, 4 * 10**9),
        ({"oversubscription": 2.0, "uplink": LinkChange(2 * 10**9)}, 3, 2 * 10**9),
        ({"uplink": LinkChange(4 * 10**9)}, 3, 4 * 10**9),
        ({"spines": 2, "uplink": LinkChange(3 * 10**9), "oversubscription": 2.0}, 2, 3 * 10**9),
    ],
)
def test_oversubscription_spines_and_uplinks_fit(given_: dict[str, Any], spines: int, uplink: int) -> None:
    topology = tree(48, per_leaf=12, **given_)
    ups = [link for link in topology.links if link.tail == "leaf0" and link.head.startswith("spine")]
    downs = [link for link in topology.links if link.tail == "leaf0" and link.head.startswith("gpu")]

    assert len(ups) == spines
    assert {topology.servers[link.server].bandwidth for link in ups} == {uplink}
    if "oversubscription" in given_:
        assert len(downs) * 10**9 == given_["oversubscription"] * spines * uplink


@pytest.mark.parametrize(
    ("given_", "complaint"),
    [
        ({"oversubscription": 5.0}, r"2\.4 spines would carry that; state spines or another uplink\.bandwidth"),
        ({"oversubscription": 2.0, "spines": 2, "uplink": LinkChange(10**9)}, "are 6 : 1, not 2 : 1"),
        ({"oversubscription": 0.0}, r"oversubscription: 0\.0 is no ratio"),
        ({"oversubscription": float("inf")}, "is no ratio"),
    ],
)
def test_an_oversubscription_that_cannot_be_is_refused(given_: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TopologyError, match=complaint) as caught:
        tree(48, per_leaf=12, **given_)

    assert caught.value.keys == ("topology",)


def test_dimensions_of_a_torus_differ() -> None:
    shape = Torus([Dimension(3, bandwidth=7), Dimension(4, wrap=False, latency=9)])
    topology = Topology(shape, 12, LINK)
    about = {(link.tail, link.head): link for link in topology.links}

    assert topology.servers[about["gpu0", "gpu2"].server].bandwidth == 7
    assert (about["gpu0", "gpu3"].latency, about["gpu0", "gpu1"].latency) == (9, 5)
    assert ("gpu0", "gpu9") not in about
    assert names(topology, 2, 9) == ["gpu2", "gpu0", "gpu3", "gpu6", "gpu9"]


def test_a_dgx_1_has_six_nvlinks_a_gpu() -> None:
    topology = Topology("hybrid_cube_mesh", 8, LINK)

    for gpu in range(8):
        out = [link for link in topology.links if link.tail == f"gpu{gpu}"]
        assert len(out) == 4
        assert sum(topology.servers[link.server].bandwidth for link in out) == 6 * 10**9


def test_a_ring_goes_the_shorter_way_and_ties_go_up() -> None:
    topology = Topology("ring", 6, LINK)

    assert names(topology, 0, 2) == ["gpu0", "gpu1", "gpu2"]
    assert names(topology, 0, 4) == ["gpu0", "gpu5", "gpu4"]
    assert names(topology, 5, 2) == ["gpu5", "gpu0", "gpu1", "gpu2"]


def test_counts_of_links_and_servers() -> None:
    assert [len(Topology(family, 8, LINK).links) for family in ("switch", "full_mesh", "ring")] == [16, 56, 16]
    assert [len(Topology("ring", n, LINK).links) for n in (1, 2, 3)] == [0, 2, 6]
    half = Topology("full_mesh", 4, LinkSpec(10**9, 5, "half"))
    assert (len(half.links), len(half.servers)) == (12, 6)
    assert len(Topology("switch", 4, LinkSpec(10**9, 5, "bus")).servers) == 1


@given(st.sampled_from(sorted(SHORTEST)), st.integers(2, 5))
@settings(max_examples=40)
def test_the_links_counted_beforehand_are_those_made_or_a_few_more(family: str, size: int) -> None:
    from simcore.topology import _count

    topology = SHORTEST[family](size)
    if topology.network is None and family != "edges":
        counted = _count(topology.shape, topology.gpus, LINK.bandwidth, 1)
        assert len(topology.links) <= counted <= 2 * len(topology.links)


# ---- what a link costs


def test_servers_know_overhead_and_what_a_size_is_charged_as() -> None:
    link = LinkSpec(10**9, 5, overhead=40, efficiency=[Efficiency(1000, 50), Efficiency(4000, 80)])
    topology = Topology("edges", 2, link, [Edge(("gpu0", "gpu1"), overhead=7)])

    assert {server.overhead for server in topology.servers} == {7}
    assert topology.servers[0].wire == ((1000, 2000), (4000, 5000))
    assert Topology("ring", 2, link).servers[0].overhead == 40


@given(st.integers(1, 10**6), st.integers(1, 1000))
def test_a_size_is_charged_with_the_next_whole_byte(size: int, tenths: int) -> None:
    ((_, charged),) = LinkSpec(1, 0, efficiency=[Efficiency(size, tenths / 10)]).wire

    assert size <= charged
    assert (charged - 1) * tenths < size * 1000 <= charged * tenths


@pytest.mark.parametrize("points", [[(4, 50), (2, 50)], [(1000, 10), (1001, 100)]])
def test_an_efficiency_by_which_longer_messages_are_faster_is_refused(points: list[tuple[int, float]]) -> None:
    with pytest.raises(ValueError, match="a longer message is never the faster one"):
        LinkSpec(1, 0, efficiency=[Efficiency(*point) for point in points])


def test_edges_may_differ_run_one_way_and_differ_on_the_way_back() -> None:
    edges = [
        Edge(("gpu0", "leaf"), bandwidth=2 * 10**9),
        Edge(("leaf", "gpu1"), latency=9, reverse=LinkChange(bandwidth=3, overhead=4)),
        Edge(("gpu1", "gpu0"), duplex="simplex"),
    ]
    topology = Topology("edges", 2, LINK, edges)
    about = {(link.tail, link.head): (topology.servers[link.server], link.latency) for link in topology.links}

    assert names(topology, 0, 1) == ["gpu0", "leaf", "gpu1"]
    assert names(topology, 1, 0) == ["gpu1", "gpu0"]
    path = [topology.links[i] for i in topology.route(0, 1)]
    assert [(topology.servers[link.server].bandwidth, link.latency) for link in path] == [(2 * 10**9, 5), (10**9, 9)]
    back, latency = about["gpu1", "leaf"]
    assert (back.bandwidth, back.overhead, latency) == (3, 4, 9)
    assert ("gpu0", "gpu1") not in about


# ---- reducing switches


def test_a_reducing_switch_is_an_endpoint_for_the_gpus_of_its_node() -> None:
    topology = cluster(3, FatTree(4), inside=Switch(in_switch_reduction=True))

    assert topology.reducers == ["node0.switch", "node1.switch", "node2.switch"]
    assert [topology.reducer_of(gpu) for gpu in (0, 3, 4, 11)] == [0, 0, 1, 2]
    assert names(topology, 5, 12 + 1) == ["gpu5", "node1.switch"]
    assert names(topology, 12 + 1, 5) == ["node1.switch", "gpu5"]
    assert topology.route(5, 6) == topology.route(5, 13) + topology.route(13, 6)
    with pytest.raises(ValueError, match="no route leads from endpoint 0 to 13"):
        topology.route(0, 13)
    with pytest.raises(ValueError, match="no route leads"):
        topology.route(0, 15)


def test_routes_in_bulk_know_the_reducing_switches_too() -> None:
    topology = cluster(2, Switch(), inside=Switch(in_switch_reduction=True))
    pairs = [(1, 8), (8, 3), (9, 4), (0, 7), (1, 8)]

    begin, links = topology.routes(*np.array(pairs).T)

    assert topology.endpoints == 10
    assert [tuple(links[i:j]) for i, j in itertools.pairwise(begin)] == [topology.route(*pair) for pair in pairs]


def test_without_reduction_there_is_no_reducer() -> None:
    topology = Topology("switch", 4, LINK)

    assert (topology.reducers, topology.reducer_of(0)) == ([], None)


# ---- hosts

HOST = Host(LinkSpec(10**7, 300), 4 * 10**7)


def test_the_memory_beside_a_gpu_is_reached_by_its_link_and_from_other_nodes_by_its_nic() -> None:
    topology = cluster(2, RailOptimised(), host=HOST)
    there = [topology.host_of(gpu) for gpu in range(8)]

    assert there == list(range(8, 16))
    assert topology.endpoints == 16
    assert names(topology, 1, 8 + 1) == ["gpu1", "node0.host", "node0.memory"]
    assert names(topology, 8 + 1, 3) == ["node0.memory", "node0.host", "gpu3"]
    assert names(topology, 8 + 1, 5) == ["node0.memory", "node0.host", "gpu1", "rail1", "gpu5"]
    assert names(topology, 1, 8 + 5) == ["gpu1", "rail1", "gpu5", "node1.host", "node1.memory"]
    both_ends = ["node0.memory", "node0.host", "gpu2", "rail2", "gpu6", "node1.host", "node1.memory"]
    assert names(topology, 8 + 2, 8 + 6) == both_ends
    with pytest.raises(ValueError, match="no route leads from endpoint 8 to 9, memory of one host"):
        topology.route(8, 9)
    with pytest.raises(ValueError, match="no route leads from endpoint 8 to 16"):
        topology.route(8, 16)


def test_links_of_a_host_are_its_own_and_its_memory_is_shared_by_both_directions() -> None:
    topology = Topology("switch", 3, LINK, host=HOST, degraded=[Degraded(("gpu2", "host"), percent=50)])
    served = [[topology.servers[topology.links[i].server] for i in topology.route(*pair)] for pair in ((0, 3), (5, 2))]

    assert [[each.bandwidth for each in path] for path in served] == [[10**7, 4 * 10**7], [4 * 10**7, 5 * 10**6]]
    assert served[0][1] is served[1][0]
    assert [topology.links[i].latency for i in topology.route(0, 3)] == [300, 0]
    # Messages between GPUs go as they did, and the drawing shows what it showed.
    plain = Topology("switch", 3, LINK)
    assert topology.route(0, 2) == plain.route(0, 2)
    assert set(topology.graph()) == set(plain.graph())
    assert plain.host_of(0) is None


def test_searches_never_lead_through_a_host() -> None:
    ends = [Edge((f"gpu{i}", f"gpu{i + 1}")) for i in range(3)]
    topology = Topology("edges", 4, LINK, ends, host=HOST)

    assert names(topology, 0, 3) == ["gpu0", "gpu1", "gpu2", "gpu3"]
    with pytest.raises(TopologyError, match="gpu2 is unreachable"):
        Topology("edges", 4, LINK, ends, host=HOST, failed=[["gpu1", "gpu2"]])
    with pytest.raises(TopologyError, match="a host and its links do not fail"):
        Topology("edges", 4, LINK, ends, host=HOST, failed=[["gpu1", "host"]])


def test_reducing_switches_come_before_the_hosts() -> None:
    topology = cluster(2, Switch(), inside=Switch(in_switch_reduction=True), host=HOST)
    pairs = [(1, 8), (10 + 4, 2), (3, 10 + 1), (0, 7), (8, 3), (10, 14)]

    begin, links = topology.routes(*np.array(pairs).T)

    assert [tuple(links[i:j]) for i, j in itertools.pairwise(begin)] == [topology.route(*pair) for pair in pairs]
    assert topology.endpoints == 18
    with pytest.raises(ValueError, match="no route leads from endpoint 8 to 10"):
        topology.route(8, 10)


# ---- failures


@given(st.data())
@settings(max_examples=40)
def test_routes_go_around_failed_links_or_the_machine_is_refused(data: st.DataObject) -> None:
    make = data.draw(
        st.sampled_from(
            [
                lambda failed: Topology("ring", 6, LINK, failed=failed),
                lambda failed: Topology("full_mesh", 5, LINK, failed=failed),
                lambda failed: Topology("hybrid_cube_mesh", 8, LINK, failed=failed),
                lambda failed: Topology(Torus([Dimension(3), Dimension(3)]), 9, LINK, failed=failed),
                lambda failed: Topology(FatTree(2, 3), 6, LINK, failed=failed),
                lambda failed: Topology(FatTree(2, 2, leaves_per_pod=2), 12, LINK, failed=failed),
                lambda failed: Topology(Dragonfly(4, 2, 1), 8, LINK, failed=failed),
                lambda failed: cluster(3, FatTree(4, 2), failed=failed),
                lambda failed: cluster(4, RailOptimised(2, 2), 3, failed=failed),
            ]
        )
    )
    whole = make(())
    edges = sorted({tuple(sorted((link.tail, link.head))) for link in whole.links})
    failed = data.draw(st.lists(st.sampled_from(edges), min_size=1, max_size=4, unique=True))
    graph = whole.graph()
    graph.remove_edges_from([*failed, *((b, a) for a, b in failed)])
    gpus = [f"gpu{i}" for i in range(whole.gpus)]
    if not all(networkx.has_path(graph, "gpu0", gpu) for gpu in gpus):
        with pytest.raises(TopologyError, match="is unreachable: no path of working links leads from") as caught:
            make(failed)
        assert caught.value.keys == ("failed",)
        return
    broken = make(failed)

    assert sum(about["failed"] for *_, about in broken.graph().edges(data=True)) == 2 * len(failed)
    for src, dst in itertools.permutations(range(whole.gpus), 2):
        path = names(broken, src, dst)
        assert (path[0], path[-1]) == (f"gpu{src}", f"gpu{dst}")
        assert all(graph.has_edge(a, b) for a, b in itertools.pairwise(path))
        if all(graph.has_edge(a, b) for a, b in itertools.pairwise(names(whole, src, dst))) and whole.network is None:
            assert len(path) <= len(names(whole, src, dst))


def test_flows_of_a_failed_uplink_spread_over_the_rest() -> None:
    broken = Topology(FatTree(16, 8), 64, LINK, failed=[["leaf0", "spine3"]])
    used = Counter(names(broken, a, b)[2] for a in range(16) for b in range(16, 64))

    assert sorted(used) == [f"spine{s}" for s in range(8) if s != 3]
    assert max(used.values()) < 1.4 * min(used.values())


def test_a_failed_switch_takes_its_links_along() -> None:
    broken = Topology(FatTree(2, 2), 8, LINK, failed=[["spine1"]])

    assert {names(broken, a, b)[2] for a in (0, 1) for b in range(2, 8)} == {"spine0"}


def test_a_node_that_lost_its_switch_talks_over_its_nics() -> None:
    broken = cluster(2, FatTree(8), failed=[["node0.switch"]])

    assert names(broken, 0, 1) == ["gpu0", "leaf0", "gpu1"]
    assert names(broken, 4, 5) == ["gpu4", "node1.switch", "gpu5"]


def test_degraded_links_do_less_in_both_directions() -> None:
    topology = Topology(
        "switch", 4, LINK,
        degraded=[Degraded(("gpu1", "switch"), percent=37.5), Degraded(("switch", "gpu2"), bandwidth=9, latency=11)],
    )  # fmt: skip
    about = {(link.tail, link.head): (topology.servers[link.server].bandwidth, link.latency) for link in topology.links}

    assert about["gpu1", "switch"] == about["switch", "gpu1"] == (375_000_000, 5)
    assert about["gpu2", "switch"] == about["switch", "gpu2"] == (9, 11)
    assert about["gpu3", "switch"] == (10**9, 5)


# ---- routes of the user's


def test_an_own_route_replaces_that_of_the_rule_in_one_direction() -> None:
    topology = Topology("ring", 5, LINK, routes=[["gpu0", "gpu4", "gpu3", "gpu2"]])

    assert names(topology, 0, 2) == ["gpu0", "gpu4", "gpu3", "gpu2"]
    assert names(topology, 2, 0) == ["gpu2", "gpu1", "gpu0"]


@pytest.mark.parametrize(
    ("given_", "complaint", "keys"),
    [
        ({"routes": [["gpu0", "gpu2"]]}, "no link leads from gpu0 to gpu2", ("routes", 0)),
        ({"routes": [["gpu0", "gpu7", "gpu2"]]}, "no link ends at 'gpu7'; did you mean 'gpu", ("routes", 0)),
        ({"routes": [["gpu0"]]}, "a route leads from a GPU to another one", ("routes", 0)),
        ({"routes": [["gpu0", "gpu1", "gpu0"]]}, "passes nothing twice", ("routes", 0)),
        ({"routes": [["gpu0", "gpu1"], ["gpu0", "gpu1"]]}, "gpu0 to gpu1 has two routes", ("routes", 1)),
        ({"routes": [["gpu0", "gpu1"]], "failed": [["gpu1", "gpu0"]]}, "takes a link that has failed", ("routes", 0)),
        ({"failed": [["gpu0", "gpu3"], ["gpu0", "gpu2"]]}, "no link joins gpu0 and gpu2", ("failed", 1)),
        ({"failed": [["gpu0", "sw"]]}, "no link ends at 'sw'", ("failed", 0)),
        ({"failed": [["gpu0", "gpu1", "gpu2"]]}, "two ends and a failed switch one name, not 3", ("failed", 0)),
        ({"failed": [["gpu0", "gpu1"], ["gpu0", "gpu3"]]}, "gpu1 is unreachable: no path of working", ("failed",)),
        ({"degraded": [Degraded(("gpu0", "gpu9"), 50)]}, "no link ends at 'gpu9'", ("degraded", 0)),
    ],
)
def test_damage_and_routes_that_name_nothing_are_refused(
    given_: dict[str, Any], complaint: str, keys: tuple[str | int, ...]
) -> None:
    with pytest.raises(TopologyError, match=complaint) as caught:
        Topology("ring", 4, LINK, **given_)

    assert caught.value.keys == keys


# ---- machines that are none


@pytest.mark.parametrize(
    ("edges", "complaint", "keys"),
    [
        ([("gpu0", "gpu0")], "joins gpu0 to itself", ("edges", 0)),
        ([("gpu0", "gpu1"), ("gpu1", "gpu0")], "listed twice", ("edges", 1)),
        ([("gpu0", "sw")], "gpu1 is unreachable", ("edges",)),
        ([("gpu0", "gpu1"), ("gpu0", "gpu2")], "gpu2 is none of the machine's GPUs", ("edges", 1)),
        ([("gpu0", "gpu01")], "gpu01 is none", ("edges", 0)),
    ],
)
def test_edges_that_make_no_machine(edges: list[tuple[str, str]], complaint: str, keys: tuple[str | int, ...]) -> None:
    with pytest.raises(TopologyError, match=complaint) as caught:
        Topology("edges", 2, LINK, [Edge(ends) for ends in edges])

    assert caught.value.keys == keys


def test_a_gpu_that_can_only_send_is_unreachable() -> None:
    with pytest.raises(TopologyError, match="gpu1 to gpu0"):
        Topology("edges", 2, LINK, [Edge(("gpu0", "gpu1"), duplex="simplex")])


def test_a_bus_has_one_bandwidth() -> None:
    edges = [Edge(("gpu0", "hub"), duplex="bus"), Edge(("gpu1", "hub"), duplex="bus", bandwidth=1)]

    with pytest.raises(TopologyError, match="second bandwidth"):
        Topology("edges", 2, LINK, edges)


def test_only_a_full_edge_has_a_way_back_of_its_own() -> None:
    with pytest.raises(TopologyError, match="is half; only a full one has a 'reverse'"):
        Topology("edges", 2, LINK, [Edge(("gpu0", "gpu1"), duplex="half", reverse=LinkChange(1))])


@pytest.mark.parametrize(
    ("make", "complaint", "keys"),
    [
        (lambda: Topology("full_mesh", 10**9, LINK), "limit", ()),
        (lambda: tree(8, per_leaf=4, spines=10**12), f"{MOST_LINKS} is the limit", ()),
        (lambda: cluster(10**7, Switch()), "in each of 10000000 nodes, joined by a switch, make", ()),
        (lambda: Topology(Dragonfly(10**6, 10**6, 1), 2, LINK), "limit", ()),
        (lambda: Topology(Torus([Dimension(3), Dimension(3)]), 8, LINK), "3 x 3 has 9 places for 8", ("topology",)),
        (lambda: Topology(Dragonfly(2, 2, 1), 5, LINK), "has 4 places for 5 ends", ("topology",)),
        (lambda: Topology("hybrid_cube_mesh", 4, LINK), "joins 8 GPUs, not 4", ("topology",)),
        (lambda: cluster(4, Dragonfly(2, 2, 1)), "has 4 places for 16 ends", ("network", "topology")),
    ],
)
def test_machines_too_large_or_of_other_sizes_are_refused_before_they_are_made(
    make: Callable[[], Topology], complaint: str, keys: tuple[str, ...]
) -> None:
    with pytest.raises(TopologyError, match=complaint) as caught:
        make()

    assert caught.value.keys == keys


def test_nodes_of_an_edge_list_each_have_their_own_switches() -> None:
    topology = Topology(
        "edges", 4, LINK, [Edge(("gpu0", "hub")), Edge(("hub", "gpu1"), duplex="bus")], nodes=2,
        network=Network(NIC, Switch()),
    )  # fmt: skip

    assert names(topology, 2, 3) == ["gpu2", "node1.hub", "gpu3"]
    assert names(topology, 1, 2) == ["gpu1", "switch", "gpu2"]
    assert {server.name for server in topology.servers} >= {"node0.bus", "node1.bus"}
