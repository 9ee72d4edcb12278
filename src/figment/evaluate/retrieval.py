"""Whether pictures drawn from words are found again by their words, of any pictures with captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch

from figment.core.data import ArraySplit, Dataset, Image, Tokens
from figment.core.model import CanSample, HasSampling, Model
from figment.core.text import words
from figment.evaluate.features import FeatureNet
from figment.evaluate.prompts import drawn, usual

COMMON = 20  # training pictures that a word is said of, at least
CHOICES = 10
ROWS = 5000  # training pictures that tell what words look like
RIDGE, SHRINKAGE = 1.0, 0.1
JOINING = frozenset(
    ("a", "an", "and", "at", "but", "by", "for", "from", "in", "is", "of", "on", "or", "the", "to", "with")
)


def can_retrieve(model: Model, dataset: Dataset) -> bool:
    """Whether a model draws pictures from captions such as the data has."""
    text, split = dataset.spec.text, dataset.train
    able = isinstance(model, CanSample) and isinstance(model, HasSampling) and model.spec.text == text
    return able and text is not None and isinstance(dataset.spec.x, Image) and isinstance(split, ArraySplit)


@torch.no_grad()
def retrieval(
    model: Any, dataset: Dataset, net: FeatureNet, n: int = 300, seed: int = 0, options: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """How often the right one of ten prompts is found for a picture drawn from it; None where words are too few.

    Prompts are pairs of words, each said of at least 20 training pictures and never both of one. The prompt found is
    the one under which the picture's features are likeliest, by a Gaussian whose mean is linear in the words, fitted
    to training pictures and their captions. `real` is the same for held-out pictures and their captions, as far as
    these consist of such words. `options` are sampling choices; guidance is 2 unless they say so, where it is one.
    """
    text, generator = dataset.spec.text, np.random.default_rng(seed)
    assert text is not None
    train, test = (_said(split, text, ROWS) for split in (dataset.train, dataset.held_out))
    counts = Counter(word for said in train for word in said - JOINING)
    known = sorted(word for word, count in counts.items() if count >= COMMON)
    pairs = [pair for pair in combinations(known, 2) if not any(said.issuperset(pair) for said in train)]
    if len(pairs) < CHOICES:
        return None
    look = _Look.of(net, dataset, train, known)
    asked = [pairs[k] for k in generator.integers(len(pairs), size=n)]
    prompts = [" ".join(generator.permutation(pair)) for pair in asked]
    tokens = torch.from_numpy(text.stored(prompts).astype(np.int64))
    pictures = drawn(model, tokens, seed, usual(model, options))
    x = dataset.spec.x.to_model(pictures.transpose(0, 3, 1, 2))
    right = look.found(net(x).numpy(), asked, pairs, generator)
    rows = [row for row, said in enumerate(test) if said & set(known)]
    told = [tuple(sorted(test[row] & set(known))) for row in rows]
    others = sorted(set(told))
    real = None
    if len(others) > 1:
        held = net(dataset.held_out.gather(np.array(rows)).x).numpy()
        real = float(look.found(held, told, others, generator).mean())
    return {
        "n": n,
        "words": len(known),
        "right": float(right.mean()),
        "standard_error": float(right.std() / np.sqrt(n)),
        "chance": 1 / CHOICES,
        "real": real,
        "features": net.name,
    }


@dataclass(frozen=True)
class _Look:
    """p(f | w) = N(mean + (w - share) W, S) of features f and words w in {0, 1}^V, S shrunk towards its diagonal."""

    words: Sequence[str]
    mean: np.ndarray
    share: np.ndarray
    weights: np.ndarray
    precision: np.ndarray

    @classmethod
    def of(cls, net: FeatureNet, dataset: Dataset, said: Sequence[set[str]], known: Sequence[str]) -> _Look:
        f = net(dataset.train.gather(np.arange(len(said))).x).double().numpy()
        present = np.array([[word in own for word in known] for own in said], float)
        mean, share = f.mean(0), present.mean(0)
        w, f = present - share, f - mean
        weights = np.linalg.solve(w.T @ w + RIDGE * np.eye(len(known)), w.T @ f)
        rest = f - w @ weights
        within = rest.T @ rest / len(rest)
        shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * np.diag(f.var(0) + 1e-9)
        return cls(known, mean, share, weights, np.linalg.inv(shrunk))

    def found(
        self, f: np.ndarray, asked: Sequence[tuple[str, ...]], pool: Sequence[tuple[str, ...]], generator: Any
    ) -> np.ndarray:
        """Of which features `(N, F)` the words asked for are likelier than nine others of the pool: bool `(N,)`."""
        right = np.zeros(len(asked), bool)
        for k, own in enumerate(asked):
            others = [pool[i] for i in generator.permutation(len(pool))[:CHOICES] if pool[i] != own]
            choices = [own, *others[: CHOICES - 1]]
            w = np.array([[word in choice for word in self.words] for choice in choices], float) - self.share
            away = f[k] - self.mean - w @ self.weights
            right[k] = int(np.einsum("ki,ij,kj->k", away, self.precision, away).argmin()) == 0
        return right


def _said(split: Any, text: Tokens, most: int) -> list[set[str]]:
    """The words of all captions of the first items, but for those that the model does not know."""
    stored = split.c["text"][:most].astype(np.int64)
    texts = ([text.text(torch.from_numpy(row)) for row in own] for own in stored)
    return [{word for said in own for word in words(said) if word.isalnum()} for own in texts]
