"""Messages that are nobody else's: all-to-all, uniform or by a matrix, directly or along rails; send and receive.

Model: what a rank has for itself stays where it is and costs nothing.
"""

import numpy as np

from simcore.collectives.rows import NONE, Column, Rows, before, split


def all_to_all(rows: Rows, matrix: Column, lanes: int, nodes: int, *, along_rails: bool) -> int:
    """Add the rows that carry ``matrix[i, j]`` bytes from rank i to rank j; return the bytes of memory a rank needs.

    A rank's memory holds what it sends, in order of receivers, then what it receives, in order of senders, then what
    it relays. Parts of no bytes are not sent. ``along_rails``: what goes to another node and another local index first
    goes to the local index of its receiver, within the node.
    """
    ranks = len(matrix)
    local = ranks // nodes
    source, target = _pairs(matrix)
    size = split(matrix[source, target], lanes).T
    begins = before(size.T).T
    offset = before(matrix)[source, target] + begins
    received = matrix.sum(axis=0)
    home = matrix.sum(axis=1)[target] + before(matrix.T).T[source, target] + begins
    relay = source // local * local + target % local
    hops = (relay != source) & (relay != target) if along_rails else np.zeros(len(source), bool)
    scratch = np.zeros(len(source), np.int64)
    end = matrix.sum(axis=1) + received
    for middle in np.unique(relay[hops]):
        at = np.nonzero(hops & (relay == middle))[0]
        relayed = matrix[source[at], target[at]]
        scratch[at] = end[middle] + before(relayed)
        end[middle] += relayed.sum()
    lane = np.arange(lanes)[:, None]
    none = np.full((1, 1, 1), NONE)
    first = rows.send(
        size.shape,
        rank=source,
        peer=np.where(hops, relay, target),
        offset=offset,
        lands=np.where(hops, scratch + begins, home),
        size=size,
        step=0,
        lane=lane,
        after=none,
        reduces=False,
    )
    if hops.any():
        rows.send(
            (lanes, int(hops.sum())),
            rank=relay[hops],
            peer=target[hops],
            offset=(scratch + begins)[:, hops],
            lands=home[:, hops],
            size=size[:, hops],
            step=1,
            lane=lane,
            after=first[:, hops, None],
            reduces=False,
        )
    return int(end.max())


def _pairs(matrix: Column) -> tuple[Column, Column]:
    """Return senders and receivers of all parts with bytes in them: everybody's next rank first, then the one after
    it, ..."""
    ranks = len(matrix)
    source = np.tile(np.arange(ranks), ranks - 1)
    target = (source + np.repeat(np.arange(1, ranks), ranks)) % ranks
    there = matrix[source, target] > 0
    return source[there], target[there]


def send_recv(rows: Rows, ranks: int, size: int, lanes: int) -> int:
    """Let every rank send ``size`` bytes to the next one; return the bytes of memory a rank needs: what it sends, then
    what it gets."""
    if ranks > 1:
        pieces = split(np.array(size), lanes)[:, None]
        rank = np.arange(ranks)
        rows.send(
            (lanes, ranks),
            rank=rank,
            peer=(rank + 1) % ranks,
            offset=before(pieces[:, 0])[:, None],
            lands=size + before(pieces[:, 0])[:, None],
            size=pieces,
            step=0,
            lane=np.arange(lanes)[:, None],
            after=np.full((1, 1, 1), NONE),
            reduces=False,
        )
    return 2 * size
