"""Train a small mixture of experts on this project's own text, let it write, and record which experts its tokens chose.

    python traces/record_routing.py traces/moe_routing

Needs torch; some minutes of one core. Characters are tokens. After the training every step samples responses to prompts
cut from the text, as a rollout does, and trains a little further on the text.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from simcore.models.moe_rebalance.records import write
from torch import nn
from torch.nn import functional

SEED = 20261125
LAYERS, WIDTH, HEADS, EXPERTS, TOP, INNER = 4, 64, 4, 32, 4, 32
LENGTH, PROMPT, SHORTEST = 160, 32, 48
BATCH, TRAINED, BETWEEN, RATE, BALANCE = 8, 2000, 25, 3e-3, 0.01
STEPS, MICRO, GROUPS, EP, SEQUENCES, RESPONSES = 4, 8, 2, 8, 4, 4
TEXT = ("docs/*.md", "simcore/**/*.py")


class Experts(nn.Module):
    """The best `TOP` of `EXPERTS` for each token, softmax over these, SwiGLU; remembers what was chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, EXPERTS, bias=False)
        self.gate, self.up = (nn.Parameter(torch.randn(EXPERTS, WIDTH, INNER) * WIDTH**-0.5) for _ in range(2))
        self.down = nn.Parameter(torch.randn(EXPERTS, INNER, WIDTH) * INNER**-0.5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the outputs [n, length, width] of ``tokens``."""
        logits = self.router(tokens)
        best, self.choice = logits.topk(TOP, dim=-1)
        shares = best.softmax(dim=-1)
        # The load-balancing loss of arXiv:2101.03961, equation 4, for several experts a token.
        used = functional.one_hot(self.choice, EXPERTS).float().mean(dim=(0, 1, 2))
        self.balance = EXPERTS * (used * logits.softmax(dim=-1).mean(dim=(0, 1))).sum()
        flat, found = tokens.flatten(0, 1), torch.zeros_like(tokens.flatten(0, 1))
        for expert in range(EXPERTS):
            rows, slots = (self.choice.flatten(0, 1) == expert).nonzero(as_tuple=True)
            there = flat[rows]
            inner = functional.silu(there @ self.gate[expert]) * (there @ self.up[expert])
            made = (inner @ self.down[expert]) * shares.flatten(0, 1)[rows, slots, None]
            found = found.index_add(0, rows, made)
        return found.reshape(tokens.shape)


class Layer(nn.Module):
    """Causal attention, then experts."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.experts = Experts()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the next layer's tokens [n, length, width]."""
        count, length, _ = tokens.shape
        heads = (
            self.project(self.before(tokens)).reshape(count, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        )
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(count, length, WIDTH))
        return tokens + self.experts(self.between(tokens))


class Model(nn.Module):
    """A transformer over characters."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(characters, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.last = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.embed.weight, std=WIDTH**-0.5)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Return the logits of the next characters of ``text`` [n, length]."""
        tokens = self.embed(text) + self.place.weight[: text.shape[1]]
        for layer in self.layers:
            tokens = layer(tokens)
        return self.last(tokens) @ self.embed.weight.T


def train(
    model: Model, optimizer: torch.optim.Optimizer, text: torch.Tensor, count: int, draw: torch.Generator
) -> float:
    """Train on ``count`` batches and return the mean loss of the last hundred, in nats a character."""
    losses = []
    for _ in range(count):
        begins = torch.randint(len(text) - LENGTH - 1, (BATCH,), generator=draw)
        rows = torch.stack([text[b : b + LENGTH + 1] for b in begins])
        loss = functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        balance = torch.stack([layer.experts.balance for layer in model.layers]).sum()
        optimizer.zero_grad()
        (loss + BALANCE * balance).backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses[-100:]))


@torch.no_grad()
def roll_out(model: Model, text: torch.Tensor, end: int, draw: torch.Generator) -> list[np.ndarray]:
    """Return the choices [layers, length, K] of every trajectory of a step, shuffled: `RESPONSES` to each prompt, each
    until its first empty line or `LENGTH` characters."""
    count = MICRO * GROUPS * SEQUENCES
    begins = torch.randint(len(text) - PROMPT, (count // RESPONSES,), generator=draw)
    rows = torch.stack([text[b : b + PROMPT] for b in begins]).repeat_interleave(RESPONSES, dim=0)
    while rows.shape[1] < LENGTH:
        chances = model(rows)[:, -1].softmax(dim=-1)
        rows = torch.cat([rows, torch.multinomial(chances, 1, generator=draw)], dim=1)
    model(rows)
    choices = torch.stack([layer.experts.choice for layer in model.layers]).numpy()
    found = []
    for place in torch.randperm(count, generator=draw).tolist():
        ends = [t for t in range(SHORTEST, LENGTH) if rows[place, t] == end and rows[place, t - 1] == end]
        found.append(choices[:, place, : ends[0] + 1 if ends else LENGTH])
    return found


def counted(trajectories: list[np.ndarray]) -> np.ndarray:
    """Return counts [layers, micro-steps, sources, experts]: the trajectories of a group and micro-step laid end to end
    and cut into equal shares, one a GPU."""
    found = np.zeros((LAYERS, MICRO, GROUPS * EP, EXPERTS), np.int64)
    for part in range(MICRO * GROUPS):
        rows = np.concatenate(trajectories[part * SEQUENCES : (part + 1) * SEQUENCES], axis=1)
        cuts = rows.shape[1] * np.arange(EP + 1) // EP
        for rank, (begin, end) in enumerate(pairwise(cuts)):
            for layer in range(LAYERS):
                chosen = np.bincount(rows[layer, begin:end].ravel(), minlength=EXPERTS)
                found[layer, part % MICRO, part // MICRO * EP + rank] = chosen
    return found


def main() -> None:
    """Train, roll out, and write ``routing.parquet`` into the folder given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    target = parser.parse_args().folder
    target.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    root = Path(__file__).parents[1]
    whole = "\n\n".join(path.read_text(encoding="utf-8") for glob in TEXT for path in sorted(root.glob(glob)))
    characters = sorted(set(whole))
    text = torch.tensor([characters.index(c) for c in whole])
    model, draw = Model(len(characters)), torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    print(f"{len(text)} characters, loss {train(model, optimizer, text, TRAINED, draw):.3f} after training", flush=True)
    steps = []
    for _ in range(STEPS):
        steps.append(counted(roll_out(model, text, characters.index("\n"), draw)))
        train(model, optimizer, text, BETWEEN, draw)
    write(target / "routing.parquet", steps, TOP)


if __name__ == "__main__":
    main()
