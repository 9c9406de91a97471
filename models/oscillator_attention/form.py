"""The forms of the small transformers that are trained here, and the shipped ones: weights by name, cut from one row of
numbers a seed, so that training can hold many seeds side by side."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simcore import InputError

from . import tasks
from .tasks import Task

TRAINED = Path(__file__).parent / "trained"
"""Where the shipped weights lie: a file for each task, kind of attention and dimension, a row in it for each seed."""
Attention = Literal["oscillator", "softmax"]
DIMENSIONS = (2, 4, 8, 16, 32)
"""Dimensions of an oscillator that the stories are trained with."""


@dataclass(frozen=True)
class Form:
    """A transformer with normalisation before each part: ``width`` of a token, ``heads``, ``layers``, ``inner`` of the
    feed-forward part, ``tokens`` at most, ``inputs`` words or features, ``outputs`` numbers a position; ``dimension``
    of an oscillator. ``causal``: a position sees earlier ones alone; ``positions``: sinusoids are added to the tokens;
    ``words``: inputs are numbers of words."""

    task: Task
    attention: Attention
    dimension: int
    width: int
    heads: int
    layers: int
    inner: int
    tokens: int
    inputs: int
    outputs: int
    causal: bool = False
    positions: bool = True
    words: bool = True

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.width // self.heads

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight by name, in the order in which they lie in a row."""
        width, inner = self.width, self.inner
        found: dict[str, tuple[int, ...]] = {"embedding": (self.inputs, width)}
        for layer in range(self.layers):
            own: dict[str, tuple[int, ...]] = {
                "attend.gain": (width,), "attend.bias": (width,), "query": (width, width), "key": (width, width),
                "value": (width, width), "out": (width, width), "out.bias": (width,), "feed.gain": (width,),
                "feed.bias": (width,), "up": (width, inner), "up.bias": (inner,), "down": (inner, width),
                "down.bias": (width,),
            }  # fmt: skip
            if self.attention == "oscillator":
                own["anchors"] = (self.heads, self.tokens, self.dimension)
            found |= {f"{layer}.{name}": shape for name, shape in own.items()}
        return found | {"gain": (width,), "bias": (width,), "head": (width, self.outputs), "head.bias": (self.outputs,)}

    def sizes(self) -> list[int]:
        """Return how many numbers each weight has."""
        return [prod(shape) for shape in self.shapes().values()]

    def cut(self, row: Any) -> dict[str, Any]:
        """Return the weights that a row of numbers holds."""
        ends = np.cumsum(self.sizes())[:-1]
        parts = np.split(np.asarray(row, np.float32), ends)
        return {name: part.reshape(shape) for (name, shape), part in zip(self.shapes().items(), parts, strict=True)}

    @property
    def file(self) -> str:
        """The name of the file that holds its weights."""
        return f"{self.task}_{self.attention}{self.dimension if self.attention == 'oscillator' else ''}.npz"


def form(task: Task, attention: Attention, dimension: int = 2) -> Form:
    """Return the form that ``task`` is trained with; of agreement and order the paper's (arXiv:2606.12059, its code),
    of stories a small one."""
    if task in ("agreement", "ambiguous"):
        words = tasks.lexicon(tasks.SHARED if task == "ambiguous" else 0).size
        return Form(task, attention, dimension, 32, 1, 1, 64, tasks.LONGEST, words, 1)
    if task == "stories":
        words = len(tasks.vocabulary()) + 1
        return Form(task, attention, dimension, 32, 2, 2, 64, tasks.STORY, words, words, causal=True)
    classes = 2 * tasks.MOTIFS
    return Form(
        task, attention, dimension, 32, 2, 1, 128, tasks.FRAMES, tasks.FEATURES, classes, positions=False, words=False
    )


@lru_cache(maxsize=64)
def load(task: Task, attention: Attention, dimension: int, seed: int) -> tuple[Form, Mapping[str, Any]]:
    """Return the form and weights of a shipped model; raises ``InputError`` where there is none."""
    asked = form(task, attention, dimension)
    path = TRAINED / asked.file
    if not path.is_file():
        there = ", ".join(sorted(each.stem for each in TRAINED.glob("*.npz")))
        raise InputError(f"no trained model {path.stem}; there are {there}")
    with np.load(path) as found:
        seeds = found["seeds"].tolist()
        if seed not in seeds:
            raise InputError(f"no trained model {path.stem} of seed {seed}; its seeds are {', '.join(map(str, seeds))}")
        if json.loads(str(found["made"]))["form"] != asdict(asked):
            raise InputError(f"{path} is of another form than {task} has now; train it anew")
        row = found["weights"][seeds.index(seed)]
    return asked, asked.cut(row)
