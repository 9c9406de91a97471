"""Routes of very many pairs at once: arrays of link indices, no Python object a pair."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from simcore.topology.ecmp import pair_hashes
from simcore.topology.families import Clos, Layout, Star

Indices = NDArray[np.int64]
LinkOf = Mapping[tuple[str, str], int]


def hops(
    inside: Sequence[Layout], outside: Layout | None, link_of: LinkOf, src: Indices, dst: Indices
) -> Indices | None:
    """Return the links of k pairs as int64[k, most hops], -1 where a pair has fewer; None for families that have no
    rule in arrays."""
    if len(inside) == 1 and isinstance(inside[0], Clos):
        within = _clos(inside[0], link_of, src, dst)
    elif all(isinstance(each, Star) for each in inside):
        within = _stars([each for each in inside if isinstance(each, Star)], link_of, src, dst)
    else:
        return None
    per_node = len(inside[0].ends)
    same = src // per_node == dst // per_node
    if same.all():
        return within
    if isinstance(outside, Clos):
        across = _clos(outside, link_of, src, dst)
    elif isinstance(outside, Star):
        across = _stars([outside], link_of, src, dst)
    else:
        return None
    across[same] = -1
    across[same, : within.shape[1]] = within[same]
    return across


def _stars(layouts: Sequence[Star], link_of: LinkOf, src: Indices, dst: Indices) -> Indices:
    """Return int64[k, 2]: up to the switch and down from it."""
    up, down = _ends([(end, each.switch) for each in layouts for end in each.ends], link_of)
    return np.stack([up[src], down[dst]], axis=1)


def _ends(pairs: Sequence[tuple[str, str]], link_of: LinkOf) -> tuple[Indices, Indices]:
    """Return the links of pairs of nodes there and back, int64[pairs] each."""
    return np.array([link_of[pair] for pair in pairs]), np.array([link_of[pair[::-1]] for pair in pairs])


def _clos(layout: Clos, link_of: LinkOf, src: Indices, dst: Indices) -> Indices:
    """Return int64[k, 6]: end to leaf, leaf to spine, spine to core, and the same downwards."""
    per_leaf, spines = layout.shape.per_leaf, range(layout.spines)
    up, down = _ends([(end, layout.leaf(i // per_leaf)) for i, end in enumerate(layout.ends)], link_of)
    found = np.full((len(src), 6), -1, np.int64)
    found[:, 0], found[:, 5] = up[src], down[dst]
    a, b = src // per_leaf, dst // per_leaf
    far = a != b
    if not far.any():
        return found
    pod, other = a // layout.leaves_per_pod, b // layout.leaves_per_pod
    paths = np.where(pod == other, layout.spines, layout.spines * max(1, layout.cores))
    choice = pair_hashes(src, dst, layout.shape.ecmp_seed, len(layout.ends)) % paths
    core, spine = np.divmod(choice, layout.spines)
    leaves = [
        (layout.leaf(leaf), layout.spine(leaf // layout.leaves_per_pod, s))
        for leaf in range(layout.leaves)
        for s in spines
    ]
    up, down = _ends(leaves, link_of)
    found[far, 1], found[far, 4] = up[a * layout.spines + spine][far], down[b * layout.spines + spine][far]
    over = pod != other
    if over.any():
        cores = range(layout.cores)
        tops = [(layout.spine(p, s), layout.core(s, c)) for p in range(layout.pods) for s in spines for c in cores]
        up, down = _ends(tops, link_of)
        place = spine * layout.cores + core
        width = layout.spines * layout.cores
        found[over, 2], found[over, 3] = up[pod * width + place][over], down[other * width + place][over]
    return found


def packed(table: Indices) -> tuple[Indices, Indices]:
    """Return (begin, links) of a table of hops in which -1 is no hop: int64[k + 1], int64[all hops]."""
    there = table >= 0
    begin = np.zeros(len(table) + 1, np.int64)
    np.cumsum(there.sum(axis=1), out=begin[1:])
    return begin, table[there]


def gathered(
    found: Callable[[int, int], tuple[int, ...]], endpoints: int, src: Indices, dst: Indices
) -> tuple[Indices, Indices]:
    """Return (begin, links) of k pairs, each distinct pair looked up once by ``found``."""
    distinct, which = np.unique(src * endpoints + dst, return_inverse=True)
    paths = [found(*divmod(int(pair), endpoints)) for pair in distinct]
    first = np.zeros(len(paths) + 1, np.int64)
    np.cumsum([len(path) for path in paths], out=first[1:])
    links = np.array([link for path in paths for link in path], np.int64)
    length = np.diff(first)[which]
    begin = np.zeros(len(src) + 1, np.int64)
    np.cumsum(length, out=begin[1:])
    return begin, links[np.arange(begin[-1]) - np.repeat(begin[:-1] - first[which], length)]
