"""What is decided before time begins: the weights, the codes that recalls begin with, and which nodes are destroyed
when.

All of it follows from one number drawn from the seed, so runs that differ in damage, device or links alone have the
same weights and items.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import Virtual

from . import damage, frames, images, loops
from .storing import write_pairs

if TYPE_CHECKING:
    from .program import Params


@dataclass(frozen=True)
class Recall:
    """One recall: when it is due (ps), what it is about (``item``, int8: an input of a frame, or the whole code), what
    is left of its code [nodes], which nodes of it live, what should come out (``target`` [outputs]), which of the
    outputs live, and the image int8 [64, 64] that the code is of, if it is."""

    due: int
    item: Any
    code: Any
    living: Any
    target: Any
    alive: Any
    image: Any = None

    @property
    def events(self) -> int:
        """Nodes that are active after all damage."""
        return int(np.count_nonzero(self.code))


@dataclass(frozen=True)
class Strike:
    """A failure in service: when (ps), and how many nodes, of both populations unless of a frame, have been destroyed
    from then on."""

    instant: int
    destroyed: int


@dataclass(frozen=True)
class Plan:
    """The parameters, the weights int8 [nodes, outputs] as recalls read them (virtual where no data are wanted), the
    recalls, and the failures between them."""

    params: "Params"
    weights: Any
    recalls: list[Recall]
    strikes: list[Strike]


def make(params: "Params", rng: np.random.Generator) -> Plan:
    """Return the plan of ``params``."""
    key = int(rng.integers(2**63))
    nodes, outputs = params.nodes, params.outputs
    if params.direction == "backward" and params.reading == "hebbian":
        nodes, outputs = outputs, nodes
    strikes, dead = _failures(params, nodes, outputs, key)
    make_recalls = _hebbian if params.reading == "hebbian" else _frame
    weights, recalls = make_recalls(params, dead, key)
    return Plan(params, weights, recalls, strikes)


def _stream(key: int, *which: int) -> np.random.Generator:
    return np.random.default_rng([key, *which])


def _failures(params: "Params", nodes: int, outputs: int, key: int) -> tuple[list[Strike], list[tuple[Any, Any]]]:
    """Return the failures in service, and for each recall which nodes and which outputs are dead when it is due."""
    harm, rng = params.damage, _stream(key, 1)
    first = [
        damage.killed(count, harm.destroyed if harm.where in (side, "both") else 0.0, rng)
        for count, side in ((nodes, "inputs"), (outputs, "outputs"))
    ]
    order = [rng.permutation(np.flatnonzero(~dead)) for dead in first]
    instants = np.cumsum(np.rint(rng.exponential(harm.every, harm.strikes)).astype(np.int64))
    gone = [
        [min(len(each), round(harm.each * len(dead) * (k + 1))) for each, dead in zip(order, first, strict=True)]
        for k in range(harm.strikes)
    ]
    # A frame's other side are the inputs of the item, which are not nodes that can fail.
    sides = 1 if params.reading == "frame" else 2
    strikes = [Strike(int(at), sum(lost[:sides])) for at, lost in zip(instants, gone, strict=True)]
    found = []
    for number in range(params.recalls):
        struck = int(np.searchsorted(instants, number * params.period, side="right"))
        dead = [each.copy() for each in first]
        for mask, each, lost in zip(dead, order, gone[struck - 1] if struck else (0, 0), strict=True):
            mask[each[:lost]] = True
        found.append((dead[0], dead[1]))
    return strikes, found


def _hebbian(params: "Params", dead: list[tuple[Any, Any]], key: int) -> tuple[Any, list[Recall]]:
    seen, known, drawn = _items(params.items, params.pairs, params.nodes, params.outputs, params.active, key)
    shape = (params.nodes, params.outputs)
    forward = params.direction == "forward"
    weights: Any = Virtual(shape if forward else shape[::-1], "int8")
    if params.payload == "real":
        stored = _stored(params.items, params.pairs, *shape, params.active, params.gain, params.noise, key)
        weights = _struck(params, stored if forward else np.ascontiguousarray(stored.T), key)
    came, wanted = (seen, known) if forward else (known, seen)
    recalls = []
    for number, (nodes, outputs) in enumerate(dead):
        which = number * params.pairs // params.recalls if params.recalls <= params.pairs else number % params.pairs
        rng = _stream(key, 2, number)
        code = came[which].copy()
        share = 0.0 if params.damage.truncation == "weights" else params.damage.truncated
        left = damage.kept(code, round((1 - share) * np.count_nonzero(code)), params.damage.truncation, rng)
        code[~left | nodes] = 0
        image = drawn[which] if drawn else None
        recalls.append(Recall(number * params.period, came[which], code, ~nodes, wanted[which], ~outputs, image))
    return weights, recalls


def _struck(params: "Params", weights: Any, key: int) -> Any:
    """Return ``weights`` with what truncation of weights, flipped bits and stuck weights leave of them."""
    harm, rng = params.damage, _stream(key, 3)
    if harm.truncation == "weights" and harm.truncated:
        weights = damage.pruned(weights, harm.truncated)
    if harm.flipped:
        weights = damage.flipped(weights, harm.flipped, rng)
    if harm.stuck:
        weights = damage.stuck(weights, harm.stuck, harm.stuck_at, rng)
    return weights


@lru_cache(maxsize=2)
def _items(items: str, pairs: int, nodes: int, outputs: int, active: float, key: int) -> tuple[Any, Any, list[Any]]:
    """Return both codes of every pair, int8 [pairs, nodes] and [pairs, outputs], and the images: random signs, of the
    nodes a share ``active``, or the codes of images."""
    if items == "random":
        rng = _stream(key, 4)
        seen, known = (
            (2 * rng.integers(0, 2, (pairs, count), np.int8) - 1).astype(np.int8) for count in (nodes, outputs)
        )
        for row in seen if active < 1 else ():
            row[rng.permutation(nodes)[round(active * nodes) :]] = 0
        return seen, known, []
    drawn = [images.draw(items, _stream(key, 5, number)) for number in range(pairs)]  # type: ignore[arg-type]
    filters = images.taps()
    spatial = np.array([images.spatial(each)[0] for each in drawn])
    return spatial, np.array([images.structural(each, filters)[0] for each in drawn]), drawn


@lru_cache(maxsize=1)
def _stored(items: str, pairs: int, nodes: int, outputs: int, active: float, gain: int, noise: int, key: int) -> Any:
    """Return the weights int8 [nodes, outputs] after all pairs; images are centred first, so that what they have in
    common is not written."""
    seen, known, _ = _items(items, pairs, nodes, outputs, active, key)
    if items == "random":
        wrote = gain * seen.astype(np.int32), known
    else:
        # A spatial node is about half of its range away from its mean, a Gabor node all of it: gain / 2 x 1/2 x 4.
        wrote = (
            np.array([images.centred(each, gain // 2) for each in seen]),
            np.array([images.centred(each, 4) for each in known]),
        )
    return write_pairs(*wrote, noise, _stream(key, 6))


def _frame(params: "Params", dead: list[tuple[Any, Any]], key: int) -> tuple[Any, list[Recall]]:
    about, harm = params.frame, params.damage
    weights = _struck(params, _framed(about.kind, params.nodes, params.outputs, key), key)
    recalls = []
    for number, (nodes, _) in enumerate(dead):
        rng = _stream(key, 7, number)
        if about.harmonics:
            item = frames.wave(params.outputs, about.harmonics, about.amplitude, rng)
        else:
            item = frames.white(params.outputs, rng)
        charge = np.zeros(params.nodes, np.int32)
        loops.multiply(weights, item.astype(np.int32), charge)
        strength = np.maximum(charge, 0) if about.coding == "binary" else charge
        share = 0.0 if harm.truncation == "weights" else harm.truncated
        left = damage.kept(strength, round((1 - share) * params.nodes), harm.truncation, rng)
        code = frames.coded(charge, about.coding, about.threshold)
        code[~left | nodes] = 0
        if about.coding != "analog":
            code = code.astype(np.int8)
        recalls.append(Recall(number * params.period, item, code, left & ~nodes, item, np.ones(len(item), bool)))
    return weights, recalls


@lru_cache(maxsize=1)
def _framed(kind: frames.Kind, nodes: int, inputs: int, key: int) -> Any:
    return frames.frame(kind, nodes, inputs, _stream(key, 8))
