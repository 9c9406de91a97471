"""Which experts the tokens of a step chose: counts by layer, micro-step, source and expert; drawn from presets.

Drawn as in a hierarchical Plackett-Luce model: token t of trajectory j from prompt p prefers expert e of a layer by
b[e] + u[p, e] + v[j, e] + Gumbel noise, and takes the K best. b drifts slowly from step to step; u and v are new ones
in every step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simcore import InputError

from .placement import Counts


@dataclass(frozen=True)
class Routing:
    """``counts`` [layers, micro-steps, sources, experts]: tokens that chose an expert, as many times as they chose one;
    a source is a GPU of the job, an EP group ``ep`` consecutive ones. ``past`` [steps, layers, sources, experts] are
    the sums of earlier steps, the oldest first. Every token chose ``top`` experts."""

    counts: Counts
    past: Counts
    top: int
    ep: int

    @property
    def groups(self) -> int:
        """EP groups."""
        return self.counts.shape[2] // self.ep

    def group(self, index: int) -> tuple[Counts, Counts]:
        """Return the counts and the past of one EP group: [L, M, ep, E] and [H, L, ep, E]."""
        own = slice(index * self.ep, index * self.ep + self.ep)
        return self.counts[:, :, own], self.past[:, :, own]

    @property
    def tokens(self) -> Counts:
        """Tokens of every micro-step and source, [M, sources]."""
        return self.counts[0].sum(axis=-1) // self.top


@dataclass(frozen=True)
class Synthetic:
    """``ep`` GPUs an EP group; ``sequences`` a group and micro-step, of one prompt where ``same_prompt``; ``responses``
    a prompt. ``bias``, ``prompt``, ``trajectory``: standard deviations of b, u and v; ``drift``: correlation of b from
    a step to the next. Lengths are log-normal with mean ``length`` and this ``spread`` of their logarithm, at most
    ``longest`` tokens; ``drawn`` tokens a trajectory are drawn and scaled to its length."""

    ep: int = 8
    sequences: int = 2
    same_prompt: bool = False
    responses: int = 16
    bias: float = 0.8
    prompt: float = 1.4
    trajectory: float = 0.7
    drift: float = 0.999
    length: float = 7000
    spread: float = 0.7
    longest: int = 20_000
    drawn: int = 256


PRESETS: Mapping[str, Synthetic] = {
    "ep8_same_prompt": Synthetic(8, 2, same_prompt=True),
    "ep16": Synthetic(16, 4),
    "ep32": Synthetic(32, 8),
    "ep64": Synthetic(64, 16),
    "ep32_same_prompt": Synthetic(32, 4, same_prompt=True),
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
    """Return the routing of a step of ``world`` GPUs and of ``history`` steps before it; raises ``InputError``."""
    if world % about.ep:
        raise InputError(f"ep must divide the {world} GPUs, not {about.ep}")
    shape = (history + 1, layers, micro, world, experts)
    each = round(about.length * about.sequences / about.ep) * top
    weights = rng.dirichlet(np.full(experts, 1.0), size=(layers, micro))
    counts = np.zeros(shape, np.int64)
    counts[:] = np.floor(weights * each).astype(np.int64)[None, :, :, None]
    counts[..., 0] += each - counts.sum(axis=-1)
    return Routing(counts[-1], counts[:-1].sum(axis=2), top, about.ep)
