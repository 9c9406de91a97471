"""Self-made data of three tasks: agreement of subject and verb, small stories, and sequences told apart by their order.

Everything is drawn from a named seed, so that training and evaluation see the same data wherever they run. Token 0
fills up short sentences.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

Task = Literal["agreement", "ambiguous", "stories", "order"]
PAD = 0
NOUNS, VERBS, PREPOSITIONS = 50, 30, 7
SHARED = 2
"""Nouns of the ambiguous grammar that are both singular and plural, as fish and deer are."""
LONGEST = 9
"""Tokens of a sentence with a distractor: begin, the N P the N V . end."""


@dataclass(frozen=True)
class Data:
    """``inputs`` [n, T] of tokens, or [n, T, features]; ``targets`` [n], or [n, T]; ``seen`` [n, T], which positions
    hold something; ``row`` [n], the position that is asked about, -1 where all are; ``hard`` [n], sentences whose
    distractor disagrees with the subject."""

    inputs: Any
    targets: Any
    seen: Any
    row: Any
    hard: Any

    def __len__(self) -> int:
        return len(self.inputs)

    def part(self, which: Any) -> "Data":
        """Return the examples ``which``."""
        return Data(*(each[which] for each in (self.inputs, self.targets, self.seen, self.row, self.hard)))


def rng(task: str, split: str, seed: int) -> np.random.Generator:
    """Return the generator of a split of a task."""
    return np.random.default_rng([seed, *f"{task} {split}".encode()])


@dataclass(frozen=True)
class Lexicon:
    """Numbers of the words of the agreement grammar: by number of the noun or verb (0 singular, 1 plural)."""

    nouns: tuple[Any, Any]
    verbs: tuple[Any, Any]
    prepositions: Any
    begin: int
    end: int
    the: int
    stop: int
    size: int


@lru_cache
def lexicon(shared: int) -> Lexicon:
    """Return the words of the grammar whose two lists of 50 nouns have ``shared`` nouns in common."""
    begin, end, the, stop = 1, 2, 3, 4
    first = 5
    singular = np.arange(first, first + NOUNS)
    plural = np.concatenate([singular[:shared], np.arange(first + NOUNS, first + 2 * NOUNS - shared)])
    after = first + 2 * NOUNS - shared
    verbs = np.arange(after, after + VERBS), np.arange(after + VERBS, after + 2 * VERBS)
    prepositions = np.arange(after + 2 * VERBS, after + 2 * VERBS + PREPOSITIONS)
    return Lexicon((singular, plural), verbs, prepositions, begin, end, the, stop, int(prepositions[-1]) + 1)


def agreement(count: int, generator: np.random.Generator, shared: int = 0) -> Data:
    """Return ``count`` sentences and whether their verb agrees with its subject: "the N V ." (40 %) or
    "the N P the N V ." (60 %, the second noun of the subject's number in half of them); the verb agrees in half.

    arXiv:2606.12059, section on subject-verb agreement, as its published code has it.
    """
    words = lexicon(shared)
    tokens = np.full((count, LONGEST), PAD, np.int64)
    distracted = generator.random(count) < 0.6
    number, other = generator.integers(0, 2, (2, count))
    agrees = generator.integers(0, 2, count)
    nouns, verbs = np.stack(words.nouns), np.stack(words.verbs)
    subject = nouns[number, generator.integers(0, NOUNS, count)]
    second = nouns[other, generator.integers(0, NOUNS, count)]
    verb = verbs[np.where(agrees == 1, number, 1 - number), generator.integers(0, VERBS, count)]
    preposition = words.prepositions[generator.integers(0, PREPOSITIONS, count)]
    every = np.full(count, words.the)
    stop, end, begin = (np.full(count, each) for each in (words.stop, words.end, words.begin))
    short = np.stack([begin, every, subject, verb, stop, end], axis=1)
    long = np.stack([begin, every, subject, preposition, every, second, verb, stop, end], axis=1)
    tokens[:, : short.shape[1]] = short
    tokens[distracted] = long[distracted]
    row = np.where(distracted, 6, 3)
    return Data(tokens, agrees, tokens != PAD, row, distracted & (number != other))


NAMES = ["tom", "ann", "ben", "sue", "max", "eva", "sam", "mia"]
PRONOUN = {name: "he" if place % 2 == 0 else "she" for place, name in enumerate(NAMES)}
THINGS = ["ball", "kite", "drum", "boat", "cake", "book", "lamp", "coat"]
COLOURS = ["red", "blue", "green", "old", "new", "tiny"]
PLACES = ["garden", "school", "river", "forest", "market", "hill"]
FEELINGS = ["glad", "sad", "tired", "proud"]


def story(generator: np.random.Generator) -> list[str]:
    """Return the words of one story: who had what, lost it, and who found it; names, things and places come back, so
    that they can be foreseen by whoever looks far enough back."""

    def one(words: Sequence[str]) -> str:
        return words[int(generator.integers(len(words)))]

    hero, friend = (NAMES[i] for i in generator.choice(len(NAMES), 2, replace=False))
    thing, colour, place, feeling = one(THINGS), one(COLOURS), one(PLACES), one(FEELINGS)
    text = [f"once {hero} had a {colour} {thing} ."]
    if generator.random() < 0.5:
        text.append(f"{PRONOUN[hero]} took the {thing} to the {place} .")
    else:
        text.append(f"{hero} went to the {place} with the {colour} {thing} .")
    if generator.random() < 0.7:
        text.append(f"there {hero} met {friend} .")
        text.append(f"{friend} asked {hero} for the {thing} .")
        giver, taker = hero, friend
    else:
        text.append(f"there {PRONOUN[hero]} lost the {colour} {thing} .")
        text.append(f"{friend} found the {thing} in the {place} .")
        giver, taker = friend, hero
    text.append(f"so {giver} gave {taker} the {colour} {thing} .")
    text.append(f"then {taker} was {feeling} and {giver} was {feeling} too .")
    return " ".join(text).split()


@lru_cache
def vocabulary() -> dict[str, int]:
    """Return the number of every word of the stories; 0 is kept for filling up."""
    generator = np.random.default_rng(0)
    words = sorted({word for _ in range(2000) for word in story(generator)})
    return {word: place + 1 for place, word in enumerate(words)}


def stories(count: int, length: int, generator: np.random.Generator) -> Data:
    """Return ``count`` pieces of ``length`` tokens of stories told one after another; the target is the next word."""
    words = vocabulary()
    told: list[int] = []
    while len(told) < count * length + 1:
        told += [words[word] for word in story(generator)]
    flat = np.array(told[: count * length + 1], np.int64)
    inputs, targets = (each.reshape(count, length) for each in (flat[:-1], flat[1:]))
    nothing = np.full(count, -1)
    return Data(inputs, targets, np.ones_like(inputs, bool), nothing, np.zeros(count, bool))


FRAMES, FEATURES, MOTIFS = 16, 8, 5


def order(count: int, generator: np.random.Generator) -> Data:
    """Return ``count`` sequences of 16 frames of 8 features in ten classes: which of five pairs of motifs occurs in the
    noise, and which of the two motifs comes first.

    Model: a stand-in for keyword spotting, whose recordings are not here; half of what it asks is order.
    """
    # The motifs are the same in every split.
    motifs = np.random.default_rng(0).standard_normal((MOTIFS, 2, FEATURES))
    motifs *= 2 / np.linalg.norm(motifs, axis=-1, keepdims=True)
    frames = 0.3 * generator.standard_normal((count, FRAMES, FEATURES))
    pair, first = generator.integers(0, MOTIFS, count), generator.integers(0, 2, count)
    half = FRAMES // 2
    early, late = generator.integers(0, half, count), generator.integers(half, FRAMES, count)
    every = np.arange(count)
    frames[every, early] += motifs[pair, first]
    frames[every, late] += motifs[pair, 1 - first]
    nothing = np.full(count, -1)
    seen = np.ones((count, FRAMES), bool)
    return Data(frames.astype(np.float32), 2 * pair + first, seen, nothing, np.zeros(count, bool))


Split = Literal["train", "test"]
SIZES: dict[Task, dict[Split, int]] = {
    # arXiv:2606.12059, its published code.
    "agreement": {"train": 40_000, "test": 4_000},
    "ambiguous": {"train": 40_000, "test": 4_000},
    "stories": {"train": 8_000, "test": 400},
    "order": {"train": 8_000, "test": 2_000},
}
"""Examples of each task by split."""
SEEDS: dict[Split, int] = {"train": 0, "test": 2}
STORY = 32
"""Tokens of a piece of a story."""


@lru_cache(maxsize=8)
def data(task: Task, split: Split, limit: int = 0) -> Data:
    """Return a split of ``task``, at most ``limit`` examples of it where that is not 0."""
    generator = rng(task, split, SEEDS[split])
    size = SIZES[task][split]
    makers: dict[str, Callable[[], Data]] = {
        "agreement": lambda: agreement(size, generator),
        "ambiguous": lambda: agreement(size, generator, SHARED),
        "stories": lambda: stories(size, STORY, generator),
        "order": lambda: order(size, generator),
    }
    found = makers[task]()
    return found.part(slice(limit)) if limit else found
