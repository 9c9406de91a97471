"""Which experts the tokens of a step chose: counts by layer, micro-step, source and expert; drawn from presets.

Drawn as in a hierarchical Plackett-Luce model: token t of trajectory j from prompt p prefers expert e of a layer by
b[e] + u[p, e] + v[j, e] + Gumbel noise, and takes the K best. b drifts slowly from step to step; u and v are new in
every step. Independent draws alone would be far too even: a micro-step holds few trajectories, which are what differs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simcore import InputError

from .placement import Counts

MOST_TOKENS = 1 << 22
"""Tokens of a GPU and micro-step, or of a sequence, that are simulated at most."""
LONGEST = 1 << 26
"""Tokens of a trajectory at most: their square, times the experts of a token, is counted."""
TRIES = 16
"""Draws in a row of experts that a token has already, after which it draws among the others alone."""


@dataclass(frozen=True)
class Routing:
    """``counts`` [layers, micro-steps, sources, experts]: tokens that chose an expert, counted once for each that they
    chose; a source is a GPU of the job, an EP group ``ep`` consecutive ones. Every token chose ``top`` experts.

    ``past`` [steps, layers, experts] are the histograms of whole earlier steps, the oldest first, and ``whole``
    [layers, experts] that of this one, of which ``counts`` may be a part.
    """

    counts: Counts
    past: Counts
    whole: Counts
    top: int
    ep: int

    @property
    def groups(self) -> int:
        """EP groups."""
        return self.counts.shape[2] // self.ep

    def group(self, index: int) -> tuple[Counts, Counts]:
        """Return the counts [L, M, ep, E] of one EP group, and the past [H, L, E]."""
        return self.counts[:, :, index * self.ep : index * self.ep + self.ep], self.past

    @property
    def tokens(self) -> Counts:
        """Tokens of every micro-step and source, [M, sources]: the same in all layers."""
        return self.counts[0].sum(axis=-1) // self.top

    @property
    def similarity(self) -> NDArray[np.float64]:
        """Cosine of the histograms of consecutive steps, [steps - 1, layers]."""
        steps = np.concatenate([self.past, self.whole[None]]).astype(np.float64)
        lengths = np.sqrt((steps**2).sum(axis=-1))
        found: NDArray[np.float64] = (steps[1:] * steps[:-1]).sum(axis=-1) / (lengths[1:] * lengths[:-1])
        return found


@dataclass(frozen=True)
class Synthetic:
    """``ep`` GPUs an EP group; ``sequences`` a group and micro-step, of one prompt where ``same_prompt``. A step has
    ``prompts`` with ``responses`` each. ``bias``, ``prompt``, ``trajectory``: standard deviations of b, u and v;
    ``drift``: correlation of b from a step to the next. Lengths are log-normal with mean ``length`` and this ``spread``
    of their logarithm, at most ``longest`` tokens; ``drawn`` tokens a trajectory and layer are drawn, and scaled to its
    length."""

    ep: int = 8
    sequences: int = 2
    same_prompt: bool = False
    prompts: int = 128
    responses: int = 8
    bias: float = 0.8
    prompt: float = 1.4
    trajectory: float = 0.7
    drift: float = 0.999
    length: float = 7000
    spread: float = 0.7
    longest: int = 20_000
    drawn: int = 256

    def check(self, micro: int, world: int, experts: int, top: int) -> None:
        """Raise ``InputError`` for what cannot be drawn."""
        if self.ep < 1 or world % self.ep:
            raise InputError(f"ep must divide the {world} GPUs, not {self.ep}")
        if min(self.sequences, self.prompts, self.responses, self.drawn) < 1:
            raise InputError("sequences, prompts, responses and drawn must be 1 or more")
        if self.same_prompt and self.responses % self.sequences:
            raise InputError(
                f"responses, {self.responses}, must be a multiple of sequences, {self.sequences}, where same_prompt"
            )
        if micro * world // self.ep * self.sequences > self.prompts * self.responses:
            raise InputError(
                f"{micro} micro-steps of {world // self.ep} EP groups take "
                f"{micro * world // self.ep * self.sequences} sequences; a step has {self.prompts} prompts "
                f"of {self.responses} responses"
            )
        for name in ("bias", "prompt", "trajectory", "spread"):
            if not 0 <= getattr(self, name) <= 4:
                raise InputError(f"{name} must be from 0 to 4, not {getattr(self, name)}")
        if not -1 <= self.drift <= 1:
            raise InputError(f"drift must be from -1 to 1, not {self.drift}")
        if not 1 <= self.length <= self.longest:
            raise InputError(f"length must be from 1 to longest, {self.longest}, not {self.length}")
        if self.longest > LONGEST:
            raise InputError(f"longest must be at most {LONGEST}, not {self.longest}")
        if not 1 <= top <= experts:
            raise InputError(f"top must be from 1 to the {experts} experts, not {top}")


_MILD = Synthetic(bias=0.8, prompt=0.5, trajectory=0.3, prompts=256)

PRESETS: Mapping[str, Synthetic] = {
    "ep8_same_prompt": Synthetic(8, 2, same_prompt=True),
    "ep16": Synthetic(16, 4),
    "ep32": Synthetic(32, 8),
    "ep64": Synthetic(64, 16),
    "ep32_same_prompt": Synthetic(32, 4, same_prompt=True),
    # Two rows of 44,000 tokens every eight GPUs.
    **{f"mild_ep{ep}": replace(_MILD, ep=ep, sequences=12 * ep // 8) for ep in (8, 16, 32, 64)},
}


def generate(
    about: Synthetic,
    layers: int,
    micro: int,
    world: int,
    experts: int,
    top: int,
    history: int,
    rng: np.random.Generator,
) -> Routing:
    """Return the routing of ``micro`` micro-steps of a step of ``world`` GPUs, and of ``history`` steps before it;
    raises ``InputError``.

    Every layer and step has a stream of its own, so that more layers or earlier steps leave the others as they are.

    Model: of trajectories in no simulated micro-step, which count in histograms of whole steps alone, an eighth of the
    tokens is drawn.
    """
    about.check(micro, world, experts, top)
    root = int(rng.integers(2**62))
    counts = np.zeros((layers, micro, world, experts), np.int64)
    steps = np.zeros((history + 1, layers, experts), np.int64)
    few = -(-about.drawn // 8)
    for back in range(history + 1):
        lengths, prompts = _batch(about, _stream(root, f"batch {back}"))
        first = micro * world // about.ep * about.sequences if back == 0 else 0
        for layer in range(layers):
            rows = _weights(about, root, layer, back, prompts, experts)
            tokens = _stream(root, f"tokens {back} {layer}")
            if back == 0:
                _route(rows[:first], lengths, about.sequences, about.drawn, top, about.ep, counts[layer], tokens)
            steps[history - back, layer] = _histogram(rows[first:], lengths[first:], few, top, tokens)
    steps[-1] += counts.sum(axis=(1, 2))
    return Routing(counts, steps[:-1], steps[-1], top, about.ep)


def _batch(about: Synthetic, rng: np.random.Generator) -> tuple[Counts, Counts]:
    """Return lengths and prompts of the trajectories of a step, in the order in which they are dealt to micro-steps and
    EP groups.

    Model: in random order, or prompt by prompt; none is packed by its length.
    """
    count = about.prompts * about.responses
    # The mean of a log-normal number is exp(mu + sigma^2 / 2).
    middle = np.log(about.length) - about.spread**2 / 2
    drawn = np.rint(np.exp(middle + about.spread * rng.standard_normal(count)))
    prompts = np.arange(count) // about.responses
    together = about.sequences if about.same_prompt else 1
    prompts = rng.permutation(prompts.reshape(-1, together)).ravel()
    return np.clip(drawn, 1, about.longest).astype(np.int64), prompts


def _weights(about: Synthetic, root: int, layer: int, back: int, prompts: Counts, experts: int) -> NDArray[np.float64]:
    """Return how likely each trajectory is to choose each expert, [trajectories, experts], not normalised."""
    # From the present step backwards: a stationary process of this kind is the same in both directions.
    bias = _stream(root, f"bias {layer}").standard_normal((back + 1, experts))
    b = bias[0]
    for later in bias[1:]:
        b = about.drift * b + np.sqrt(1 - about.drift**2) * later
    rng = _stream(root, f"trajectories {back} {layer}")
    u = rng.standard_normal((about.prompts, experts))
    v = rng.standard_normal((len(prompts), experts))
    weights: NDArray[np.float64] = (about.bias * b + about.prompt * u)[prompts]
    weights += np.multiply(about.trajectory, v, out=v)
    return np.exp(weights, out=weights)


def _stream(root: int, name: str) -> np.random.Generator:
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([root, word])))


@njit(cache=True)
def _route(weights: Any, lengths: Any, sequences: int, drawn: int, top: int, ep: int, found: Any, rng: Any) -> None:
    """Add to ``found`` [micro, sources, experts] what the trajectories chose, ``sequences`` of them a part: part p is
    micro-step p % micro of EP group p // micro.

    Model: trajectories of a part lie end to end and are cut into equal shares, one a source, as packing and sequence
    parallelism do.
    """
    micro = found.shape[0]
    for part in range(len(weights) // sequences):
        m, rank = part % micro, part // micro * ep
        total = lengths[part * sequences : (part + 1) * sequences].sum()
        begin, cut, end = 0, 1, total // ep
        for sequence in range(part * sequences, (part + 1) * sequences):
            left = lengths[sequence]
            chosen = _scaled(choose(weights[sequence], drawn, top, rng), left, drawn)
            while left > 0:
                while end <= begin:
                    cut += 1
                    end = total * cut // ep
                taken = min(left, end - begin)
                share = _scaled(chosen, taken, left)
                found[m, rank + cut - 1] += share
                chosen -= share
                begin += taken
                left -= taken


@njit(cache=True)
def _histogram(weights: Any, lengths: Any, drawn: int, top: int, rng: Any) -> Any:
    """Return what the trajectories chose together, [E]."""
    found = np.zeros(weights.shape[1], np.int64)
    for sequence in range(len(weights)):
        found += _scaled(choose(weights[sequence], drawn, top, rng), lengths[sequence], drawn)
    return found


@njit(cache=True)
def _scaled(counts: Any, numerator: int, denominator: int) -> Any:
    """Return ``counts`` times a fraction, each within 1; the sum is exact where it is whole."""
    scaled = np.empty_like(counts)
    before, total = 0, 0
    for e in range(len(counts)):
        total += counts[e]
        now = total * numerator // denominator
        scaled[e] = now - before
        before = now
    return scaled


@njit(cache=True)
def choose(weights: Any, tokens: int, top: int, rng: Any) -> Any:
    """Return how many of ``tokens`` chose each expert, [E], each ``top`` different ones by ``weights`` [E].

    The ``top`` best of log-weights with Gumbel noise are draws without replacement by weight (Plackett-Luce): drawn
    here from an alias table, an expert that the token has already being drawn again.
    """
    experts = len(weights)
    share = weights * (experts / weights.sum())
    alias = np.arange(experts)
    _build(share, alias)
    counts = np.zeros(experts, np.int64)
    has = np.full(experts, -1, np.int64)
    for token in range(tokens):
        for _ in range(top):
            expert = -1
            for _ in range(TRIES):
                place = rng.random() * experts
                drawn = int(place)
                if place - drawn >= share[drawn]:
                    drawn = alias[drawn]
                if has[drawn] != token:
                    expert = drawn
                    break
            if expert < 0:
                expert = _among_others(weights, has, token, rng.random())
            has[expert] = token
            counts[expert] += 1
    return counts


@njit(cache=True)
def _build(share: Any, alias: Any) -> None:
    """Turn ``share`` [E], weights of mean 1, into an alias table in place: drawn expert e stays with probability
    share[e], and is alias[e] otherwise (Vose, doi:10.1109/32.92917)."""
    small, large = np.empty_like(alias), np.empty_like(alias)
    smalls = larges = 0
    for e in range(len(share)):
        if share[e] < 1:
            small[smalls] = e
            smalls += 1
        else:
            large[larges] = e
            larges += 1
    while smalls and larges:
        smalls -= 1
        less, more = small[smalls], large[larges - 1]
        alias[less] = more
        share[more] -= 1 - share[less]
        if share[more] < 1:
            larges -= 1
            small[smalls] = more
            smalls += 1
    # What is left is 1 but for rounding.
    for place in range(smalls):
        share[small[place]] = 1.0
    for place in range(larges):
        share[large[place]] = 1.0


@njit(cache=True)
def _among_others(weights: Any, has: Any, token: int, chance: float) -> int:
    """Return the expert that ``chance`` in [0, 1) picks by weight among those that ``token`` has not."""
    total = 0.0
    for e in range(len(weights)):
        if has[e] != token:
            total += weights[e]
    left, last = chance * total, -1
    for e in range(len(weights)):
        if has[e] != token:
            last = e
            left -= weights[e]
            if left < 0:
                break
    return last
