"""The trained models at work, NumPy alone: what they answer, how well, on a device that is perfect or is not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import attention, settling
from .attention import PERFECT, Device
from .form import Form
from .tasks import Data

BATCH = 500
"""Examples that are looked at together, so that what they need fits the caches."""


@dataclass
class Watched:
    """What was seen of the oscillators on the way: lengths of their drives, and how far, summed over its positions, the
    shares of each token are from what they would be on a perfect device."""

    lengths: list[Any] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)


def answers(
    form: Form, weights: Mapping[str, Any], data: Data, device: Device = PERFECT, watched: Watched | None = None,
    place: tuple[int, int] = (0, 0),
) -> Any:  # fmt: skip
    """Return what the model says, [n, Q, outputs]: of every position, of the one that is asked about, or of the mean.
    ``place``, which model and which part of its data, and the layer decide what is random.

    The last layer computes no more positions than it is asked about.
    """
    x = weights["embedding"][data.inputs] if form.words else data.inputs @ weights["embedding"]
    length = x.shape[1]
    if form.positions:
        x = x + sinusoids(form)[:length]
    asked = form.outputs == 1
    for layer in range(form.layers):
        own = {name.partition(".")[2]: each for name, each in weights.items() if name.startswith(f"{layer}.")}
        rows = data.row[:, None] if asked and layer == form.layers - 1 else None
        normal = _norm(x, own["attend.gain"], own["attend.bias"])
        base = x if rows is None else np.take_along_axis(x, rows[..., None], axis=1)
        mixed = _attend(form, own, normal, data.seen, rows, device, watched, (*place, layer))
        x = base + mixed @ own["out"] + own["out.bias"]
        fed = np.maximum(_norm(x, own["feed.gain"], own["feed.bias"]) @ own["up"] + own["up.bias"], 0)
        x = x + fed @ own["down"] + own["down.bias"]
    if not asked and not form.causal:
        x = x.mean(axis=1, keepdims=True)
    return _norm(x, weights["gain"], weights["bias"]) @ weights["head"] + weights["head.bias"]


def sinusoids(form: Form) -> Any:
    """Return the sinusoids that are added to the tokens, [tokens, width]."""
    place = np.arange(form.tokens)[:, None] / 10_000 ** (np.arange(0, form.width, 2) / form.width)
    return np.stack([np.sin(place), np.cos(place)], axis=-1).reshape(form.tokens, form.width).astype(np.float32)


def _norm(x: Any, gain: Any, bias: Any) -> Any:
    middle = x - x.mean(axis=-1, keepdims=True)
    return middle / np.sqrt(np.mean(middle * middle, axis=-1, keepdims=True) + 1e-5) * gain + bias


def _attend(
    form: Form, own: Mapping[str, Any], x: Any, seen: Any, rows: Any, device: Device, watched: Watched | None,
    place: Sequence[int],
) -> Any:  # fmt: skip
    batch, length = x.shape[:2]
    asking = x if rows is None else np.take_along_axis(x, rows[..., None], axis=1)
    query, key, value = (
        (each @ own[name]).reshape(batch, -1, form.heads, form.head).swapaxes(1, 2)
        for name, each in (("query", asking), ("key", x), ("value", x))
    )
    scores = query @ key.swapaxes(-1, -2) * np.float32(form.head**-0.5)
    visible = seen[:, None, None, :] & np.ones((1, 1, query.shape[2], 1), bool)
    if form.causal:
        visible = visible & np.tri(length, dtype=bool)
    if form.attention == "softmax":
        shares = attention.softmax(scores, visible)
    else:
        anchors = own["anchors"][:, :length]
        if device.anchors == "normalised":
            anchors = settling.fixed_points(anchors)
        couplings = attention.couplings(scores, visible)
        found, drives = attention.states(couplings, anchors, device, _built(form, device, rows, length, place), place)
        taking_part = visible if device.padding == "mended" else np.ones_like(visible)
        shares = attention.shares(found, anchors, taking_part, bits=device.readout_bits)
        if watched is not None:
            watched.lengths.append(settling.norms(drives).ravel())
        if watched is not None and device != PERFECT:
            exact, _ = attention.states(couplings, own["anchors"][:, :length])
            apart = shares - attention.shares(exact, own["anchors"][:, :length], visible)
            watched.errors.append(np.sum(np.abs(apart), axis=-1).ravel())
    mixed = shares.astype(np.float32) @ value
    return mixed.swapaxes(1, 2).reshape(batch, -1, form.width)


def _built(form: Form, device: Device, rows: Any, length: int, place: Sequence[int]) -> attention.Built:
    """Return what the oscillators of the rows that are asked about have for life, [n or 1, heads, Q, ...]."""
    if not device.mismatch and not device.detuning:
        return attention.Built()
    model, _, layer = place
    whole = attention.build(device, form.heads, form.tokens, (model, layer))
    if rows is None:
        return attention.Built(whole.gains[None, :, :length, :length], whole.offsets[None, :, :length])
    gains, offsets = (np.moveaxis(each[:, rows], 1, 0) for each in (whole.gains[..., :length], whole.offsets))
    return attention.Built(gains, offsets)


@dataclass(frozen=True)
class Score:
    """``right`` of ``asked`` answers, ``hard_right`` of the ``hard`` ones; ``nats``: mean surprise, natural logarithm;
    ``lengths``: |h| of every oscillator; ``row_error``: mean of what `Watched` has of the shares, 0 to 2."""

    right: int
    asked: int
    hard_right: int
    hard: int
    nats: float
    lengths: Any
    row_error: float


def score(form: Form, weights: Mapping[str, Any], data: Data, device: Device = PERFECT, seed: int = 0) -> Score:
    """Return how well the model of ``seed`` answers ``data`` on ``device``."""
    watched = Watched()
    right = hard_right = asked = 0
    nats = 0.0
    for number, part in enumerate(_parts(data)):
        found = answers(form, weights, part, device, watched, (seed, number))
        if form.outputs == 1:
            hits = (found.reshape(-1) > 0) == (part.targets == 1)
        else:
            targets = part.targets.reshape(found.shape[:-1])
            hits = np.argmax(found, axis=-1) == targets
            top = np.max(found, axis=-1, keepdims=True)
            logs = found - top - np.log(np.sum(np.exp(found - top), axis=-1, keepdims=True))
            nats -= float(np.take_along_axis(logs, targets[..., None], axis=-1).sum(dtype=np.float64))
        right, asked = right + int(hits.sum()), asked + hits.size
        hard_right += int(hits.reshape(len(part), -1)[part.hard].sum())
    lengths = np.concatenate(watched.lengths) if watched.lengths else np.zeros(0)
    error = float(np.mean(np.concatenate(watched.errors))) if watched.errors else 0.0
    return Score(right, asked, hard_right, int(data.hard.sum()), nats / asked, lengths, error)


def _parts(data: Data) -> Iterator[Data]:
    for first in range(0, len(data), BATCH):
        yield data.part(slice(first, first + BATCH))


def shuffled(data: Data, seed: int) -> Data:
    """Return ``data`` with the positions of every example in another order."""
    order = np.argsort(np.random.default_rng(seed).random(data.inputs.shape[:2]), axis=1)
    inputs = np.take_along_axis(data.inputs, order.reshape(order.shape + (1,) * (data.inputs.ndim - 2)), axis=1)
    return Data(inputs, data.targets, data.seen, data.row, data.hard)
