"""Random machines and random programs for them, as hypothesis strategies."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from simcore.hardware import Duplex, Family, LinkSpec, Queues
from simcore.topology import Edge, Server, Topology
from twins import ratio_up
from twins.programs import Act, Play, Row, Send, Table, Write

RATES = st.one_of(
    st.sampled_from([10**6, 64 * 10**9, 450 * 10**9, 10**12, 10**13, 333_333_333_333, 999_999_999_989, 2**43 + 1]),
    st.integers(10**6, 10**13),
)
"""Round and awkward bandwidths from 1 MB/s to 10 TB/s, among them a prime near 10**12, for which bytes * 10**12 / rate
has no small terms."""

POINTS = st.lists(st.tuples(st.integers(1, 10**5), st.integers(1, 100)), max_size=3, unique_by=lambda point: point[0])
"""Points of efficiency: bytes, percent of the bandwidth."""


def latencies(least: int) -> st.SearchStrategy[int]:
    return st.sampled_from([least, least + 1, 1000, 500_000])


@st.composite
def machines(draw: st.DrawFn, least_latency: int = 0, tidy: bool = False, cost: bool = True) -> Topology:
    """Draw a machine of a family, or an edge list: a random tree of GPUs and switches, directions apart, and chords;
    with ``cost``, some of its links have an overhead and efficiencies.

    ``tidy``: no two paths of one source meet again once they have parted, so that no tie depends on its sequence.
    """
    gpus = draw(st.integers(2, 5))
    family: Family = draw(st.sampled_from(["switch", "full_mesh", "ring", "edges"]))
    duplex: Duplex = draw(st.sampled_from(["full"] if tidy else ["full", "half", "bus"]))
    link = LinkSpec(draw(RATES), draw(latencies(least_latency)), duplex)
    topology = Topology(family, gpus, link, draw(edges(gpus, least_latency, tidy)) if family == "edges" else ())
    if cost and draw(st.booleans()):
        topology.servers[:] = [draw(costly(server)) for server in topology.servers]
    return topology


@st.composite
def edges(draw: st.DrawFn, gpus: int, least_latency: int, tree: bool) -> list[Edge]:
    names = [f"gpu{i}" for i in range(gpus)] + [f"s{i}" for i in range(draw(st.integers(0, 2)))]
    pairs = [(names[draw(st.integers(0, i - 1))], names[i]) for i in range(1, len(names))]
    chords = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if (a, b) not in pairs]
    if chords and not tree:
        pairs += draw(st.lists(st.sampled_from(chords), unique=True, max_size=2))
    return [
        Edge(ends, draw(RATES), draw(latencies(least_latency)), "simplex")
        for pair in pairs
        for ends in (pair, pair[::-1])
    ]


@st.composite
def costly(draw: st.DrawFn, server: Server) -> Server:
    """Draw the same server with an overhead and points of efficiency, or without."""
    points = sorted(draw(POINTS))
    return replace(
        server,
        overhead=draw(st.sampled_from([0, 1, 777])),
        wire=tuple((size, ratio_up(size * 100, percent)) for size, percent in points),
    )


def instants() -> st.SearchStrategy[int]:
    """Draw simultaneous instants, near ties and idle gaps."""
    return st.one_of(st.integers(0, 3), st.sampled_from([10**6, 10**6 + 1]), st.integers(0, 10**8))


def sizes(least: int = 0, most: int = 2**30) -> st.SearchStrategy[int]:
    """Draw sizes from ``least`` bytes to a GiB, the small ones likely to be equal."""
    return st.one_of(
        st.integers(least, 10), st.just(min(4096, most)), st.integers(least, min(10**5, most)), st.integers(least, most)
    )


@st.composite
def pairs(draw: st.DrawFn, gpus: int) -> tuple[int, int]:
    src = draw(st.integers(0, gpus - 1))
    return src, (src + draw(st.integers(1, gpus - 1))) % gpus


@st.composite
def tables(draw: st.DrawFn, gpus: int, size: st.SearchStrategy[int], *, most: int = 20, one: bool = False) -> Table:
    """Draw a stamped table, of one source or of many; its stamps in any order."""
    ends = draw(st.lists(pairs(gpus), min_size=1, max_size=most))
    if one:
        ends = [pair for pair in ends if pair[0] == ends[0][0]]
    return Table(draw(instants()), tuple(Write(src, draw(instants()), dst, draw(size)) for src, dst in ends))


@st.composite
def plays(draw: st.DrawFn, gpus: int, size: st.SearchStrategy[int], *, least_duration: int = 1, most: int = 12) -> Play:
    """Draw a random acyclic schedule of transfers and computations, on some of the GPUs in any order."""
    ranks = draw(st.permutations(range(gpus)).map(tuple))[: draw(st.integers(2, gpus))]
    rows: list[Row] = []
    for i in range(draw(st.integers(1, most))):
        rank, peer = draw(st.integers(0, len(ranks) - 1)), draw(st.integers(0, len(ranks) - 1))
        amount = draw(st.integers(least_duration, 10**5)) if rank == peer else draw(size)
        after = draw(st.lists(st.integers(0, i - 1), unique=True, max_size=3)) if i else []
        rows.append(Row(rank, peer, amount, tuple(after)))
    if draw(st.booleans()):
        rows = _turned(rows)
    return Play(draw(instants()), ranks, tuple(rows))


def _turned(rows: Sequence[Row]) -> list[Row]:
    """Return the rows in the opposite order, so that rows wait for later ones."""
    last = len(rows) - 1
    return [row._replace(after=tuple(last - other for other in row.after)) for row in reversed(rows)]


@st.composite
def programs(
    draw: st.DrawFn, gpus: int, size: st.SearchStrategy[int], *, play: bool = True, most: int = 4
) -> list[Act]:
    """Draw closed loops (one a source at most), stamped tables and schedules, side by side."""
    acts: list[Act] = []
    looping: set[int] = set()
    for _ in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(["send", "table", "play"] if play else ["send", "table"]))
        if kind == "table":
            acts.append(draw(tables(gpus, size, most=8)))
        elif kind == "play":
            acts.append(draw(plays(gpus, size, most=8)))
        else:
            src, dst = draw(pairs(gpus))
            count = 1 if src in looping else draw(st.integers(1, 4))
            looping.add(src)
            if play and draw(st.integers(0, 3)) == 0:
                dst = src
            amount = st.integers(1, 10**5) if src == dst else size
            acts.append(Send(draw(instants()), src, dst, tuple(draw(amount) for _ in range(count))))
    return acts


@st.composite
def crowds(draw: st.DrawFn, *, sluggish: bool = False) -> tuple[Topology, list[Act]]:
    """Draw a machine on which most things end in the same few picoseconds: fast links, small messages, long paths.

    ``sluggish``: links too take a picosecond at least, so that nothing of an instant follows from what starts at it.
    """
    gpus, least = draw(st.integers(3, 6)), int(sluggish)
    rates = st.sampled_from([10**12, 4 * 10**11] if sluggish else [10**12, 3 * 10**12, 10**13])
    family: Family = draw(st.sampled_from(["ring", "edges", "switch"]))
    edges = [
        Edge(ends, draw(rates), draw(st.integers(least, 2)), "simplex")
        for i in range(1, gpus)
        for ends in ((f"gpu{i - 1}", f"gpu{i}"), (f"gpu{i}", f"gpu{i - 1}"))
    ]
    duplex: Duplex = draw(st.sampled_from(["full", "full", "half"]))
    link = LinkSpec(draw(rates), draw(st.integers(least, 2)), duplex)
    topology = Topology(family, gpus, link, edges if family == "edges" else ())
    size, delay = st.integers(least, 12), st.integers(0, 6)
    ends = draw(st.lists(pairs(gpus), min_size=2, max_size=30))
    rows = tuple(Write(src, draw(delay), dst, draw(size)) for src, dst in ends)
    return topology, [Table(0, rows)]


@st.composite
def queueing(draw: st.DrawFn, *, buffers: bool) -> Queues:
    """Draw how links queue; with ``buffers``, finite ones that hold at least a packet."""
    switching = draw(st.sampled_from(["store_and_forward", "cut_through"]))
    mtu = draw(st.sampled_from([7, 100, 1000])) if buffers else draw(st.sampled_from([None, 100, 1000, 10**5]))
    return Queues(switching, mtu, mtu * draw(st.integers(1, 3)) + draw(st.integers(0, 3)) if buffers else None)
