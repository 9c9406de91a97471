"""Which GPU hosts which rank: jobs are given GPUs one after another, each by its own placement."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from simcore import source
from simcore.errors import FieldError

Dimension = Literal["tp", "cp", "ep", "dp", "pp"]
DIMENSIONS: tuple[Dimension, ...] = ("tp", "cp", "ep", "dp", "pp")
"""Dimensions of parallelism in the order in which ranks are numbered: tensor parallel varies fastest, then context,
expert and data parallel, pipeline stages last, the default of Megatron-LM
(https://github.com/NVIDIA/Megatron-LM, megatron/core/parallel_state.py)."""


@dataclass(frozen=True)
class Order:
    """Ranks of a parallel job over consecutive GPUs: the first dimension of ``order`` varies fastest.

    Sizes belong to the dimensions in ``order``; one may be left out, and is then what the number of ranks leaves.
    """

    order: list[Dimension]
    tp: int | None = None
    cp: int | None = None
    ep: int | None = None
    dp: int | None = None
    pp: int | None = None

    def __post_init__(self) -> None:
        stated = {name: getattr(self, name) for name in DIMENSIONS if getattr(self, name) is not None}
        if not self.order or len(set(self.order)) != len(self.order):
            raise FieldError("names each dimension once, e.g. [tp, dp, pp]", "order")
        for name, size in stated.items():
            if name not in self.order:
                raise FieldError(f"has a size and no place in the order {', '.join(self.order)}", name)
            if size < 1:
                raise FieldError(f"must be 1 or more, not {size}", name)
        open_ = [name for name in self.order if name not in stated]
        if len(open_) > 1:
            raise ValueError(f"{' and '.join(open_)} have no size; at most one dimension may be left open")

    @property
    def ranks(self) -> int | None:
        """The number of ranks, or None where a dimension is left open."""
        sizes = [getattr(self, name) for name in self.order]
        return None if None in sizes else prod(sizes)

    def sizes(self, ranks: int) -> dict[str, int]:
        """Return the size of every dimension of ``order`` for ``ranks`` ranks; raises ``ValueError`` where they do not
        fit."""
        stated = {name: getattr(self, name) for name in self.order}
        known = prod(size for size in stated.values() if size is not None)
        rest, over = divmod(ranks, known)
        if over or (rest != 1 and None not in stated.values()):
            product = " * ".join(f"{name} {size}" for name, size in stated.items() if size is not None)
            raise ValueError(f"{product} = {known} ranks, but the job has {ranks}")
        return {name: rest if size is None else size for name, size in stated.items()}

    def permuted(self, gpus: Sequence[int]) -> list[int]:
        """Return the GPU of every rank: rank numbers follow ``DIMENSIONS``, ``gpus`` follow ``order``."""
        sizes = self.sizes(len(gpus))
        stride = dict(zip(self.order, _strides([sizes[name] for name in self.order]), strict=True))
        names = [name for name in DIMENSIONS if name in sizes]
        placed = []
        for rank in range(len(gpus)):
            place = 0
            for name in names:
                rank, coordinate = divmod(rank, sizes[name])
                place += coordinate * stride[name]
            placed.append(gpus[place])
        return placed


Placement = Literal["block", "round_robin"] | list[str] | Order
"""``block``: the first free GPUs in order; ``round_robin``: dealt over the nodes in turn (over the whole machine at
equal strides, where it has no nodes); a list: the GPU of each rank; an order of parallelism."""


def allocate(placements: Mapping[str, tuple[Placement, int]], nodes: Sequence[Sequence[int]]) -> dict[str, list[int]]:
    """Return the GPU of every rank of every job; ``placements`` are (placement, ranks) by job, ``nodes`` the GPUs of
    each node.

    Lists come first; every other job takes from the GPUs that are still free, in the order of the mapping. Enough GPUs
    are free, and lists do not overlap: the caller has checked.
    """
    listed = {
        name: [int(gpu[3:]) for gpu in placement]
        for name, (placement, _) in placements.items()
        if isinstance(placement, list)
    }
    taken = {gpu for gpus in listed.values() for gpu in gpus}
    placed = {}
    for name, (placement, ranks) in placements.items():
        if name in listed:
            placed[name] = listed[name]
            continue
        free = [[gpu for gpu in node if gpu not in taken] for node in nodes]
        chosen = _dealt(free, ranks) if placement == "round_robin" else [gpu for node in free for gpu in node][:ranks]
        placed[name] = placement.permuted(chosen) if isinstance(placement, Order) else chosen
        taken.update(chosen)
    return placed


def check_gpus(document: source.Document, keys: source.Keys, names: Sequence[str], gpus: int) -> None:
    """Raise ``InputError`` unless the ``names`` at ``keys`` are different GPUs of a machine of ``gpus``."""
    for i, name in enumerate(names):
        if not is_gpu(name, gpus):
            raise document.error((*keys, i), f"{name!r} is none of gpu0 to gpu{gpus - 1}")
    if len(set(names)) < len(names):
        twice = next(i for i, name in enumerate(names) if name in names[:i])
        raise document.error((*keys, twice), f"{names[twice]!r} stands twice; a GPU is named once")


def is_gpu(name: str, gpus: int) -> bool:
    """Return whether ``name`` is one of gpu0, gpu1, ... of a machine of ``gpus``."""
    return re.fullmatch(r"gpu(0|[1-9][0-9]{0,8})", name) is not None and int(name[3:]) < gpus


def _dealt(free: Sequence[Sequence[int]], ranks: int) -> list[int]:
    """Return ``ranks`` GPUs, one of each node in turn; of a single node, at equal strides."""
    if len(free) == 1:
        return [free[0][rank * len(free[0]) // ranks] for rank in range(ranks)]
    turns = max(map(len, free))
    return [node[turn] for turn in range(turns) for node in free if turn < len(node)][:ranks]


def _strides(sizes: Sequence[int]) -> list[int]:
    return [prod(sizes[:i]) for i in range(len(sizes))]
