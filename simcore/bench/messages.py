"""Lists of messages: generated from the definitions of W1, W3 and W4, or read from CSV."""

import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simcore.errors import InputError
from simcore.units import LARGEST, PS_PER_S

KIB, MIB = 2**10, 2**20
GPU_BANDWIDTH, NIC_BANDWIDTH, SPINE_BANDWIDTH = 450 * 10**9, 50 * 10**9, 100 * 10**9
"""Bytes per second and direction of the three kinds of link."""
GPUS_PER_NODE, GPUS_PER_LEAF, SPINES = 8, 32, 16

W3_LOAD, W3_INCAST, W3_SOURCES = 0.7, 0.03, 16
W3_SIZES = (64 * KIB, 16 * MIB)
W4_LOAD, W4_PEERS, W4_SIZE = 0.9, 7, 128

W3_COLUMNS = ("id", "t_ns", "src", "dst", "bytes", "spine", "kind")
W4_COLUMNS = ("t_ps", "peer")
_WORDS = {"kind": ("perm", "incast")}

Column = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Messages:
    """Messages in the order in which they are issued; parallel columns: instant (ps), source GPU, destination GPU, size
    (bytes)."""

    time: Column
    src: Column
    dst: Column
    size: Column

    def __len__(self) -> int:
        return len(self.time)

    def first(self, count: int) -> "Messages":
        """Return the first ``count`` messages."""
        return Messages(self.time[:count], self.src[:count], self.dst[:count], self.size[:count])


def all_to_all(gpus: int) -> Messages:
    """Return W1: every ordered pair of GPUs exchanges 1 MiB at time 0; the k-th round goes from every GPU to the one k
    places on."""
    src = np.tile(np.arange(gpus), gpus - 1)
    dst = (src + np.repeat(np.arange(1, gpus), gpus)) % gpus
    return Messages(np.zeros_like(src), src, dst, np.full_like(src, MIB))


def permutation_and_incast(nodes: int, count: int, load: float = W3_LOAD) -> Messages:
    """Return W3: the first ``count`` messages of Poisson traffic that uses ``load`` of all NICs on average.

    Of the events, 97 % are one message from a random GPU to its fixed partner (a random derangement), 3 % a burst from
    16 GPUs to a random one. Sizes are log-uniform from 64 KiB to 16 MiB. The seed is (3, nodes, count).
    """
    gpus = GPUS_PER_NODE * nodes
    rng = np.random.default_rng([3, nodes, count])
    partner = _derangement(rng, gpus)
    low, high = W3_SIZES
    mean_size = (high - low) / np.log(high / low)
    mean_burst = (1 - W3_INCAST) + W3_INCAST * W3_SOURCES
    gap = mean_burst / (load * gpus * float(NIC_BANDWIDTH) / mean_size)
    drawn = itertools.islice(_traffic(rng, partner, gap), count)
    ns, src, dst = np.fromiter(itertools.chain.from_iterable(drawn), np.int64, 3 * count).reshape(-1, 3).T.copy()
    size = np.rint(np.exp(rng.uniform(np.log(low), np.log(high), count))).astype(np.int64)
    return Messages(ns * 1000, src, dst, size)


def _derangement(rng: np.random.Generator, gpus: int) -> Column:
    while True:
        drawn = rng.permutation(gpus)
        if (drawn != np.arange(gpus)).all():
            return drawn


def _traffic(rng: np.random.Generator, partner: Column, gap: float) -> Iterator[tuple[int, int, int]]:
    """Yield (instant in ns, source, destination) without end; ``gap`` is the mean time between events in seconds."""
    gpus, clock = len(partner), 0.0
    while True:
        clock += rng.exponential(gap)
        ns = round(clock * 1e9)
        if rng.random() < W3_INCAST:
            target = int(rng.integers(gpus))
            for drawn in rng.choice(gpus - 1, W3_SOURCES, replace=False).tolist():
                yield ns, drawn + (drawn >= target), target
        else:
            source = int(rng.integers(gpus))
            yield ns, source, int(partner[source])


def stamped_writes(count: int, load: float = W4_LOAD) -> Messages:
    """Return W4: 128-byte writes from GPUs 0 to 6 to GPU 7 with exponential gaps, ``load`` of GPU 7's link on average.

    The seed is (4, count); writes of one instant are ordered by source.
    """
    rng = np.random.default_rng([4, count])
    gap = W4_PEERS * (W4_SIZE / float(GPU_BANDWIDTH) * PS_PER_S) / load
    shares = [count // W4_PEERS + (peer < count % W4_PEERS) for peer in range(W4_PEERS)]
    stamps = [np.rint(np.cumsum(rng.exponential(gap, share))).astype(np.int64) for share in shares]
    return _writes(np.concatenate(stamps), np.repeat(np.arange(W4_PEERS), shares))


def _writes(time: Column, peer: Column) -> Messages:
    order = np.lexsort((peer, time))
    time, peer = time[order], peer[order]
    return Messages(time, peer, np.full_like(peer, W4_PEERS), np.full_like(peer, W4_SIZE))


def spines(src: Column, dst: Column) -> Column:
    """Return the spine over which each pair of GPUs talks, -1 for pairs below one leaf: crc32 of "src,dst" modulo
    16."""
    pairs, place = np.unique(np.stack((src, dst)), axis=1, return_inverse=True)
    found = np.array([zlib.crc32(b"%d,%d" % (a, b)) % SPINES for a, b in pairs.T.tolist()], np.int64)
    found[pairs[0] // GPUS_PER_LEAF == pairs[1] // GPUS_PER_LEAF] = -1
    return found[place]


def read_w3(path: Path, nodes: int | None) -> tuple[int, Messages]:
    """Return the number of nodes and the messages in ``path`` (columns id,t_ns,src,dst,bytes,spine,kind).

    Without ``nodes`` the machine is the smallest that has every GPU named. Raises ``InputError`` with the first bad
    line, which may be one that names another spine than the route's.
    """
    column, refuse = _read(path, W3_COLUMNS)
    for name in ("t_ns", "src", "dst"):
        refuse(column[name] < 0, f"{name} {{{name}}} is negative")
    refuse(column["bytes"] < 1, "a message of {bytes} bytes; expected 1 or more")
    refuse(column["t_ns"] >= LARGEST // 1000, f"t_ns {{t_ns}} is too large; it stays below {LARGEST // 1000}")
    nodes = nodes or 1 + int(max(column["src"].max(), column["dst"].max())) // GPUS_PER_NODE
    for name in ("src", "dst"):
        refuse(
            column[name] >= GPUS_PER_NODE * nodes,
            f"{name} {{{name}}} is none of the {GPUS_PER_NODE * nodes} GPUs of {nodes} nodes",
        )
    refuse(column["src"] == column["dst"], "GPU {src} sends to itself; expected two GPUs")
    expected = spines(column["src"], column["dst"])
    refuse(
        column["spine"] != expected,
        "spine {spine}, but the route from GPU {src} to GPU {dst} has {expected} (-1: none; otherwise crc32 of "
        "'{src},{dst}' modulo 16)",
        expected=expected,
    )
    order = np.lexsort((column["id"], column["t_ns"]))
    time, src, dst, size = (column[name][order] for name in ("t_ns", "src", "dst", "bytes"))
    return nodes, Messages(time * 1000, src, dst, size)


def read_w4(path: Path) -> Messages:
    """Return the writes in ``path`` (columns t_ps,peer); raises ``InputError`` with the first bad line."""
    column, refuse = _read(path, W4_COLUMNS)
    refuse((column["t_ps"] < 0) | (column["t_ps"] >= LARGEST), f"t_ps {{t_ps}} is none of 0 to {LARGEST - 1}")
    refuse((column["peer"] < 0) | (column["peer"] >= W4_PEERS), "peer {peer} is none of 0 to 6; GPU 7 is the target")
    return _writes(column["t_ps"], column["peer"])


def _read(path: Path, names: tuple[str, ...]) -> tuple[dict[str, Any], Callable[..., None]]:
    """Return the columns of a CSV file by name, and the function that refuses rows with a sentence."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        text = path.read_bytes().replace(b"\r\n", b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or 'error').lower()}") from None
    head, _, body = text.partition(b"\n")
    if head.strip() != ",".join(names).encode():
        raise InputError(f"{path}:1: expected the columns {','.join(names)}")
    if not body.strip():
        raise InputError(f"{path}:2: no messages; expected one line each")
    types = {name: pa.string() if name in _WORDS else pa.int64() for name in names}
    try:
        table = csv.read_csv(
            pa.BufferReader(text),
            parse_options=csv.ParseOptions(newlines_in_values=False, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise _first_bad_line(body, names, path, str(error)) from None
    column = {name: table[name].to_numpy() for name in names}

    def refuse(bad: NDArray[np.bool_], sentence: str, **more: Column) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            shown = {name: values[row] for name, values in (column | more).items()}
            raise InputError(f"{path}:{row + 2}: {sentence.format(**shown)}")

    for name, words in _WORDS.items():
        if name in names:
            refuse(~np.isin(column[name], words), f"unknown {name} {{{name}!r}}; allowed: {', '.join(words)}")
    return column, refuse


def _first_bad_line(body: bytes, names: tuple[str, ...], path: Path, problem: str) -> InputError:
    """Find the line that the fast reader stumbled over; the slow look happens only on the way to an error."""
    for number, line in enumerate(body.decode(errors="replace").splitlines(), start=2):
        cells = line.split(",")
        if len(cells) != len(names):
            return InputError(f"{path}:{number}: {len(cells)} values where {len(names)} columns are")
        for name, cell in zip(names, cells, strict=True):
            if name not in _WORDS and not (cell.strip().lstrip("-").isdigit() and abs(int(cell[:30])) < 2**63):
                return InputError(f"{path}:{number}: {name} {cell!r} is not a whole number")
    return InputError(f"{path}: not a list of messages: {problem.splitlines()[0]}")
