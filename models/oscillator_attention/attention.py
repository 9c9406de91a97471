"""Attention over whole batches, NumPy alone: the fast twin of the kernels, with whatever a device does to it.

Leading axes are anything, e.g. [sentences, heads]; ``scores`` and ``seen`` [..., Q, T], ``anchors`` [..., T, d].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simcore import InputError

from . import settling
from .kernel import LEAST, Coupling

Start = Literal["random", "opposite", "previous"]


@dataclass(frozen=True)
class Device:
    """What a device does to attention; the defaults are one that does nothing.

    ``read``: when it is read, in units of 1/kappa (0: at the equilibrium); ``start``: from a random state, the one
    opposite to the equilibrium, or where the previous token settled. ``mismatch``: couplings are multiplied by e^N(0,
    s), each by the same for the life of the device; ``detuning``: so are frequencies N(0, s) apart, d = 2 alone; what
    does not lock keeps turning. ``noise``: N(0, s) is added to every component of a state when it is read, and the
    state returns to the sphere. ``phase_noise``: white noise on frequencies, by which a free angle diffuses with the
    variance 2 D t, D being this, spreads the angles around an equilibrium, d = 2 alone. ``coupling_bits`` and
    ``readout_bits``: even levels, of the largest coupling of a row and of products between -1 and 1 (0: exact).
    ``draw``: number of the device and of all else that is random. Two ways in which the published code departs from its
    text: ``padding``, whether places that fill up a sentence are kept from the read-out as from the couplings (mended),
    or take part in it (published); ``anchors``, as_trained, off the sphere, or normalised.
    """

    read: float = 0.0
    start: Start = "random"
    mismatch: float = 0.0
    detuning: float = 0.0
    noise: float = 0.0
    phase_noise: float = 0.0
    coupling_bits: int = 0
    readout_bits: int = 0
    draw: int = 0
    padding: Literal["mended", "published"] = "mended"
    anchors: Literal["as_trained", "normalised"] = "as_trained"


PERFECT = Device()
MOST_BITS = 24
MOST = {"read": 1e6, "mismatch": 5, "detuning": 1e6, "noise": 1e3, "phase_noise": 1e6}
"""Beyond these a device is none any more, and numbers overflow."""


def check(device: Device) -> None:
    """Raise ``InputError`` for a device that cannot be."""
    for name in ("coupling_bits", "readout_bits"):
        if not 0 <= getattr(device, name) <= MOST_BITS:
            raise InputError(f"device.{name} is 0 (exact) to {MOST_BITS}, not {getattr(device, name)}")
    for name, most in MOST.items():
        if not 0 <= getattr(device, name) <= most:
            raise InputError(f"device.{name} must be 0 or more, up to {most:g}, not {getattr(device, name)}")
    if device.phase_noise and (device.read or device.detuning):
        raise InputError("device.phase_noise is known at an equilibrium without detuning alone; device.read: 0")
    if device.start != "random" and not device.read:
        raise InputError(f"device.start: {device.start} matters before the equilibrium alone; give device.read a time")
    if device.draw < 0:
        raise InputError(f"device.draw must be 0 or more, not {device.draw}")


def number(ratio: str) -> float:
    """Return a quotient, or a decimal, as a number."""
    above, _, below = str(ratio).partition("/")
    return float(above) / float(below or 1)


def couplings(scores: Any, seen: Any, kind: Coupling = "softplus", normalised: bool = False) -> Any:
    """Return positive couplings of scaled scores, zero where nothing is seen."""
    if kind == "softplus":
        found = np.logaddexp(0, scores)
    elif kind == "relu":
        found = np.maximum(scores, 0) + LEAST
    else:
        found = np.where(scores > 0, scores + 1, np.exp(np.minimum(scores, 0)))
    found = np.where(seen, found, 0).astype(scores.dtype)
    return found / np.sum(found, axis=-1, keepdims=True) if normalised else found


@dataclass(frozen=True)
class Built:
    """What an array has for life: ``gains`` of its couplings, [..., Q, T], and how far the frequencies of its
    oscillators are apart, ``offsets`` [..., Q], in units of kappa."""

    gains: Any = 1.0
    offsets: Any = 0.0


def build(device: Device, heads: int, tokens: int, number: Sequence[int] = ()) -> Built:
    """Return the arrays of a layer, [heads, tokens, tokens] and [heads, tokens]; ``number`` says of which layer of
    which model.

    Model: each row of a head has an oscillator of its own; none is used again for another tile.
    """
    rng = np.random.default_rng([device.draw, 11, *number])
    gains = np.exp(device.mismatch * rng.standard_normal((heads, tokens, tokens))).astype(np.float32)
    return Built(gains, device.detuning * rng.standard_normal((heads, tokens)))


def states(
    weights: Any, anchors: Any, device: Device = PERFECT, built: Built = Built(), place: Sequence[int] = ()
) -> tuple[Any, Any]:
    """Return the states [..., Q, d] of the oscillators, ``built`` like that, which ``device`` reads, and their drives;
    ``place`` says of what, so that no two places share what is random at every reading."""
    rng = np.random.default_rng([device.draw, 7, *place])
    written = settling.quantised(weights, device.coupling_bits, np.max(weights, axis=-1, keepdims=True))
    drives = (written * built.gains) @ anchors
    found = settling.fixed_points(drives)
    if (device.detuning or device.phase_noise) and found.shape[-1] != 2:
        raise InputError("device.detuning and phase_noise are known of dimension 2 alone, where a state is one angle")
    if device.detuning:
        found = _detuned(found, drives, built.offsets, rng)
    if device.read:
        starts = _starts(found, device.start, rng)
        found = (
            settling.detuned(starts, drives, built.offsets, device.read)
            if device.detuning
            else settling.trajectory(starts, drives, device.read)
        )
    if device.phase_noise:
        found = settling.turn(found, rng.vonmises(0, settling.norms(drives).astype(np.float64) / device.phase_noise))
    if device.noise:
        found = settling.fixed_points(found + device.noise * rng.standard_normal(found.shape))
    return found, drives


def _starts(goals: Any, start: Start, rng: np.random.Generator) -> Any:
    if start == "opposite":
        return -goals
    drawn = settling.uniform(goals.shape, rng)
    if start == "previous":
        drawn[..., 1:, :] = goals[..., :-1, :]
    return drawn


def _detuned(goals: Any, drives: Any, offsets: Any, rng: np.random.Generator) -> Any:
    """Return the states that oscillators whose frequencies are apart are found in: turned by their lag, or, where they
    do not lock, at any time of their turn."""
    lengths = settling.norms(drives)
    offsets = np.broadcast_to(offsets, lengths.shape)
    lag = settling.lag(offsets, lengths)
    turn = 2 * np.pi / np.sqrt(np.maximum(offsets**2 - lengths**2, settling.TINY))
    turning = settling.detuned(goals, drives, offsets, rng.random(lengths.shape) * np.where(np.isnan(lag), turn, 0))
    return np.where(np.isnan(lag)[..., None], turning, settling.turn(goals, np.nan_to_num(lag)))


def shares(found: Any, anchors: Any, seen: Any, power: int = 1, bits: int = 0) -> Any:
    """Return the share [..., Q, T] that each position has: max(0, 1 + z . r)^power over its sum.

    ``seen`` decides what takes part. In the published code, without causal order, places that fill up a sentence are
    kept from the couplings, not from here: give ones to have it so.
    """
    products = found @ np.swapaxes(anchors, -1, -2)
    if bits:
        products = settling.quantised(np.clip(products, -1, 1) + 1, bits, 2.0) - 1
    base = np.where(seen, np.maximum(1 + products, 0), 0) ** power
    total = np.sum(base, axis=-1, keepdims=True)
    return base / np.maximum(total, settling.TINY)


def softmax(scores: Any, seen: Any) -> Any:
    """Return the shares by softmax."""
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return weights / np.sum(weights, axis=-1, keepdims=True)
