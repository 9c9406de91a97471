"""Which of its equal paths a pair keeps: CRC-32 of "src,dst", one pair at a time or many at once."""

import zlib

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def pair_hash(src: int, dst: int, seed: int) -> int:
    """Return the hash of a pair of GPUs: CRC-32 of the decimal text ``src,dst``, before it ``seed,`` unless that is
    0."""
    return zlib.crc32(b"%d,%d" % (src, dst) if seed == 0 else b"%d,%d,%d" % (seed, src, dst))


def pair_hashes(src: Indices, dst: Indices, seed: int, gpus: int) -> Indices:
    """Return ``pair_hash`` of k pairs at once, int64[k], without a Python object per pair.

    CRC-32 of a text is that of its head, carried over as many zero bytes as the tail has, xor that of its tail; so two
    tables of ``gpus`` rows, one of them a column for each number of digits, are all that has to be hashed.
    """
    heads = [zlib.crc32(b"%d," % i if seed == 0 else b"%d,%d," % (seed, i)) for i in range(gpus)]
    digits = len(str(max(gpus - 1, 0)))
    zeros = [bytes(count) for count in range(digits + 1)]
    blank = [zlib.crc32(zero) for zero in zeros]
    carried = np.array([[zlib.crc32(zero, head) ^ b for zero, b in zip(zeros, blank, strict=True)] for head in heads])
    tails = [b"%d" % i for i in range(gpus)]
    length, tail = np.array([len(text) for text in tails]), np.array([zlib.crc32(text) for text in tails])
    return np.asarray(carried[src, length[dst]] ^ tail[dst], np.int64)
