"""Train the small models that are shipped: ``python -m simcore.models.oscillator_attention.training TASK``.

All seeds of one form are trained side by side, as one row of weights each; every one draws its own beginning and its
own order of the data. Progress is kept beside the weights; a training that was stopped goes on where it was, and leaves
forms alone whose weights are there. Needs torch (`pip install 'simcore[torch]'`).
"""

import argparse
import json
import math
import pickle
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import InputError

from . import tasks
from .form import DIMENSIONS, Form, form
from .tasks import Task
from .transformer import sinusoids

if TYPE_CHECKING:
    import torch

    Tensor = torch.Tensor


@dataclass(frozen=True)
class Recipe:
    """``seeds`` by name, ``steps`` of ``batch`` examples each, the highest ``rate`` of learning, falling as a cosine to
    0; weights decay by ``decay``. ``dimensions`` of the oscillators that softmax is compared with."""

    seeds: Sequence[int]
    steps: int
    batch: int
    rate: float
    decay: float = 1e-4
    dimensions: Sequence[int] = (2,)


RECIPES: dict[Task, Recipe] = {
    # 20 epochs of 40,000 sentences; arXiv:2606.12059, its code, config G.
    "agreement": Recipe(range(10), 12_500, 64, 5e-4),
    "ambiguous": Recipe(range(10), 12_500, 64, 5e-4),
    "stories": Recipe(range(3), 2_000, 32, 2e-3, dimensions=DIMENSIONS),
    "order": Recipe(range(5), 1_500, 64, 1e-3),
}
KEPT = 500
"""Steps after which progress is written down."""


def beginning(form: Form, seed: int) -> "Tensor":
    """Return the weights that training begins with: uniform within one over the root of the inputs, gains 1, biases 0,
    embeddings normal, anchors random on the sphere."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    parts = []
    for name, shape in form.shapes().items():
        kind = name.rpartition(".")[2]
        if kind == "gain":
            part = torch.ones(shape)
        elif kind == "bias":
            part = torch.zeros(shape)
        elif kind == "anchors":
            part = torch.randn(shape, generator=generator)
            part = part / part.norm(dim=-1, keepdim=True)
        elif kind == "embedding" and form.words:
            part = torch.randn(shape, generator=generator)
        else:
            part = (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(shape[0])
        parts.append(part.flatten())
    return torch.cat(parts)


def outputs(form: Form, rows: "Tensor", inputs: "Tensor", seen: "Tensor", row: "Tensor") -> "Tensor":
    """Return what the models of ``rows`` [S, N] answer to ``inputs`` [S, B, T] or [S, B, T, features]: of every
    position, of the one that is asked about, or of the mean of all.

    The last layer computes no more positions than it is asked about.
    """
    import torch

    count, batch, length = inputs.shape[:3]
    parts = rows.split(form.sizes(), dim=1)
    weights = {name: part.view(count, *shape) for (name, shape), part in zip(form.shapes().items(), parts, strict=True)}
    if form.words:
        shift = form.inputs * torch.arange(count)[:, None, None]
        x = torch.nn.functional.embedding(inputs + shift, weights["embedding"].flatten(0, 1))
    else:
        x = inputs.flatten(1, 2) @ weights["embedding"]
        x = x.view(count, batch, length, form.width)
    if form.positions:
        x = x + torch.from_numpy(sinusoids(form))[:length]
    asked = form.outputs == 1
    for layer in range(form.layers):
        own = {name.partition(".")[2]: each for name, each in weights.items() if name.startswith(f"{layer}.")}
        last = asked and layer == form.layers - 1
        ask = (torch.arange(count)[:, None], torch.arange(batch)[None], row) if last else None
        base = x[ask][:, :, None] if ask else x
        normal = _norm(x, own, "attend")
        mixed = _attend(form, own, normal, normal[ask][:, :, None] if ask else normal, seen)
        x = base + _times(mixed, own["out"]) + own["out.bias"][:, None, None]
        fed = _times(_norm(x, own, "feed"), own["up"]) + own["up.bias"][:, None, None]
        x = x + _times(fed.relu(), own["down"]) + own["down.bias"][:, None, None]
    if not asked and not form.causal:
        x = x.mean(dim=2, keepdim=True)
    x = (
        torch.nn.functional.layer_norm(x, x.shape[-1:]) * weights["gain"][:, None, None]
        + weights["bias"][:, None, None]
    )
    return _times(x, weights["head"]) + weights["head.bias"][:, None, None]


def _times(x: "Tensor", matrix: "Tensor") -> "Tensor":
    return (x.flatten(1, 2) @ matrix).unflatten(1, x.shape[1:3])


def _norm(x: "Tensor", own: dict[str, "Tensor"], part: str) -> "Tensor":
    import torch

    normal = torch.nn.functional.layer_norm(x, x.shape[-1:])
    return normal * own[f"{part}.gain"][:, None, None] + own[f"{part}.bias"][:, None, None]


def _attend(form: Form, own: dict[str, "Tensor"], x: "Tensor", asking: "Tensor", seen: "Tensor") -> "Tensor":
    """Return the mixed values of the positions ``asking`` [S, B, Q, width], which see ``x`` [S, B, T, width]."""
    import torch

    count, batch, length = x.shape[:3]
    split = (count, batch, -1, form.heads, form.head)
    query, key, value = (
        _times(each, own[name]).view(split).transpose(2, 3)
        for name, each in (("query", asking), ("key", x), ("value", x))
    )
    scores = query @ key.transpose(-1, -2) / math.sqrt(form.head)
    hidden = ~seen[:, :, None, None, :]
    if form.causal:
        hidden = hidden | torch.ones(length, length, dtype=torch.bool).triu(1)
    if form.attention == "softmax":
        shares = scores.masked_fill(hidden, -math.inf).softmax(dim=-1)
    else:
        # [S, 1, H, T, d]: the anchors of a head, the same for all sentences.
        anchors = own["anchors"][:, None, :, :length]
        coupling = torch.nn.functional.softplus(scores).masked_fill(hidden, 0.0)
        drive = coupling @ anchors
        state = drive / (drive.norm(dim=-1, keepdim=True) + 1e-9)
        affine = (1 + state @ anchors.transpose(-1, -2)).clamp(min=0).masked_fill(hidden, 0.0)
        shares = affine / (affine.sum(dim=-1, keepdim=True) + 1e-9)
    return (shares @ value).transpose(2, 3).flatten(3)


def loss(form: Form, found: "Tensor", targets: "Tensor") -> "Tensor":
    """Return the mean loss of each seed's batch."""
    import torch

    functional = torch.nn.functional
    count = len(found)
    if form.outputs == 1:
        answers = found.flatten(1)
        each = functional.binary_cross_entropy_with_logits(answers, targets.float(), reduction="none")
        return each.mean(dim=1)
    flat = functional.cross_entropy(found.reshape(-1, form.outputs), targets.reshape(-1), reduction="none")
    return flat.view(count, -1).mean(dim=1)


def train(form: Form, recipe: Recipe, out: Path, show: Any = None) -> Path:
    """Train every seed of ``form`` by ``recipe`` and write the weights into ``out``; goes on where a training that was
    stopped had come, and leaves weights that are there as they are. ``show`` is told how many steps are done. Raises
    ``InputError`` where what is there was made otherwise: of another form, recipe or data."""
    import torch

    path = out / form.file
    kept = path.with_suffix(".progress.pt")
    made = said(form, recipe)
    if path.is_file():
        _check(path, _weights_made(path), made)
        if show is not None:
            show(recipe.steps)
        return path
    rows = torch.stack([beginning(form, seed) for seed in recipe.seeds]).requires_grad_()
    optimiser = torch.optim.AdamW([rows], lr=recipe.rate, weight_decay=recipe.decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    orders = _Orders(form, recipe)
    done = 0
    if kept.is_file():
        state = _progress(kept)
        _check(kept, state.get("made", "{}"), made)
        with torch.no_grad():
            rows.copy_(state["rows"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        done = state["done"]
    for step in range(done, recipe.steps):
        inputs, seen, row, targets = orders.batch(step)
        optimiser.zero_grad(set_to_none=True)
        loss(form, outputs(form, rows, inputs, seen, row), targets).sum().backward()
        assert rows.grad is not None
        # Clipped to length 1, every seed by itself.
        rows.grad /= rows.grad.norm(dim=1, keepdim=True).clamp(min=1.0)
        optimiser.step()
        schedule.step()
        if show is not None:
            show(step + 1)
        if (step + 1) % KEPT == 0:
            state = {"rows": rows.detach(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
            torch.save(state | {"done": step + 1, "made": made}, kept.with_suffix(".new"))
            kept.with_suffix(".new").replace(kept)
    # In place in one piece: a file that is there is whole.
    part = path.with_suffix(".part.npz")
    weights = rows.detach().numpy().astype(np.float16)
    np.savez_compressed(part, seeds=np.array(recipe.seeds), weights=weights, made=np.array(made))
    part.replace(path)
    kept.unlink(missing_ok=True)
    return path


def said(form: Form, recipe: Recipe) -> str:
    """Return whatever decides the weights, as it is kept beside them: the form, the recipe but for the dimensions of
    the forms beside this one, and a sum over the data."""
    data = tasks.data(form.task, "train")
    sums = [
        zlib.crc32(np.ascontiguousarray(each).tobytes()) for each in (data.inputs, data.targets, data.seen, data.row)
    ]
    own = {name: value for name, value in asdict(recipe).items() if name != "dimensions"}
    return json.dumps(own | {"seeds": list(recipe.seeds), "form": asdict(form), "data": sums})


def _weights_made(path: Path) -> str:
    """Return what is kept beside the weights at ``path``; raises ``InputError`` for what is no file of weights."""
    try:
        with np.load(path) as found:
            return str(found["made"]) if "made" in found else "{}"
    except (EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no weights; move it away, or give another --out") from error


def _progress(path: Path) -> Any:
    """Return the progress kept at ``path``; raises ``InputError`` where there is none in it."""
    import torch

    try:
        return torch.load(path, weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} holds no progress; move it away, or give another --out") from error


def _check(path: Path, found: str, asked: str) -> None:
    """Raise ``InputError`` where what is at ``path`` was not made as it would be now."""
    old, new = json.loads(found), json.loads(asked)
    other = [name for name in new if old.get(name) != new[name]]
    if other:
        raise InputError(f"{path} was made with other {', '.join(other)}; move it away, or give another --out")


class _Orders:
    """The examples of every step: each seed goes through the data in its own order, a new one every epoch."""

    def __init__(self, form: Form, recipe: Recipe) -> None:
        self._data, self._recipe = tasks.data(form.task, "train"), recipe
        self._epoch, self._order = -1, np.zeros((0, 0), np.int64)

    def batch(self, step: int) -> "tuple[Tensor, ...]":
        """Return inputs, seen, row and targets of ``step``, of every seed."""
        import torch

        size, count = self._recipe.batch, len(self._data)
        epoch, place = divmod(step, count // size)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.stack(
                [np.random.default_rng([seed, epoch]).permutation(count) for seed in self._recipe.seeds]
            )
        part = self._data.part(self._order[:, place * size : place * size + size])
        return tuple(torch.from_numpy(each) for each in (part.inputs, part.seen, part.row, part.targets))


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the forms of a task, each with a bar of its progress."""
    parser = argparse.ArgumentParser(prog="training", description=__doc__.partition("\n")[0])
    parser.add_argument("task", choices=sorted(RECIPES))
    parser.add_argument("--out", type=Path, default=Path("trained"), help="folder of the weights (default: trained)")
    asked = parser.parse_args(arguments)
    try:
        import torch
    except ImportError:
        print("training needs torch: pip install 'simcore[torch]'", file=sys.stderr)
        return 2
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    torch.set_num_threads(1)
    recipe = RECIPES[asked.task]
    forms = [form(asked.task, "softmax"), *(form(asked.task, "oscillator", d) for d in recipe.dimensions)]
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), TimeRemainingColumn()) as progress:
            for each in forms:
                bar = progress.add_task(Path(each.file).stem, total=recipe.steps)
                train(each, recipe, asked.out, lambda done, bar=bar: progress.update(bar, completed=done))
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
