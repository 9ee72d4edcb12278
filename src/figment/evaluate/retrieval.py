"""Whether pictures drawn from words are found again by their words, of any pictures with captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
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
FOLDS = 5  # of these, each read by what the others tell
ROUNDS = 50  # after which the strength of the ridge is settled
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
    to training pictures and their captions; which nine others it is held against is averaged over. `real` is the same
    for real pictures and what their captions say of these words, among all that is said, each fifth of them read by a
    Gaussian of the others. `options` are sampling choices; guidance is 2 unless they say so, where it is one.
    """
    text, generator = dataset.spec.text, np.random.default_rng(seed)
    assert text is not None
    train = _said(dataset.train, text, ROWS)
    counts = Counter(word for said in train for word in said - JOINING)
    known = sorted(word for word, count in counts.items() if count >= COMMON)
    pairs = [pair for pair in combinations(known, 2) if not any(said.issuperset(pair) for said in train)]
    if len(pairs) < CHOICES:
        return None
    f = net(dataset.train.gather(np.arange(len(train))).x).double().numpy()
    asked = [pairs[k] for k in generator.integers(len(pairs), size=n)]
    prompts = [" ".join(generator.permutation(pair)) for pair in asked]
    tokens = torch.from_numpy(text.stored(prompts).astype(np.int64))
    pictures = drawn(model, tokens, seed, usual(model, options))
    x = dataset.spec.x.to_model(pictures.transpose(0, 3, 1, 2))
    right = _Look.of(f, train, known).found(net(x).numpy(), asked, pairs)
    return {
        "n": n,
        "words": len(known),
        "right": float(right.mean()),
        "standard_error": float(right.std() / np.sqrt(n)),
        "chance": 1 / CHOICES,
        "real": float(_real(f, train, known).mean()),
        "features": net.name,
    }


def _real(f: np.ndarray, said: Sequence[set[str]], known: Sequence[str]) -> np.ndarray:
    """How likely what is said of each real picture of features `(N, F)` is found, where a known word is: `(M,)`."""
    told = [tuple(sorted(own.intersection(known))) for own in said]
    pool, parts = sorted(set(told) - {()}), []
    for k in range(FOLDS):
        others = [i for i in range(len(said)) if i % FOLDS != k]
        rows = [i for i in range(k, len(said), FOLDS) if told[i]]
        look = _Look.of(f[others], [said[i] for i in others], known)
        parts.append(look.found(f[rows], [told[i] for i in rows], pool))
    return np.concatenate(parts)


@dataclass(frozen=True)
class _Look:
    """p(f | w) = N(u W, 1 + u D u'), u = w - share, of features f, whitened, and words w in {0, 1}^V.

    The covariance that is whitened, that around the mean, is shrunk (Ledoit & Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices", 2004). What words look like comes from N(0, 1 / r), r where the evidence is
    greatest (MacKay, "Bayesian interpolation", 1992), and given the pictures from N(W, D): of few, much is in doubt.
    """

    words: Sequence[str]
    mean: np.ndarray
    whitening: np.ndarray
    share: np.ndarray
    weights: np.ndarray
    doubt: np.ndarray

    @classmethod
    def of(cls, f: np.ndarray, said: Sequence[set[str]], known: Sequence[str]) -> _Look:
        """Of features `(N, F)` and the words said of each."""
        from sklearn.covariance import LedoitWolf

        w = _present(known, said)
        mean, spread, share = f.mean(0), f.std(0) + 1e-9, w.mean(0)
        w, f = w - share, (f - mean) / spread
        rest = f - w @ np.linalg.lstsq(w, f)[0]
        within = LedoitWolf(assume_centered=True).fit(rest).covariance_
        whitening = np.linalg.cholesky(np.linalg.inv(within))
        return cls(known, mean, whitening / spread[:, None], share, *_ridge(w, f @ whitening))

    def found(self, f: np.ndarray, asked: Sequence[tuple[str, ...]], pool: Sequence[tuple[str, ...]]) -> np.ndarray:
        """How likely the words asked for are likelier, given features `(N, F)`, than nine others drawn from the pool:
        `(N,)`."""
        y, u = (f - self.mean) @ self.whitening, _present(self.words, pool) - self.share
        expected, variance = u @ self.weights, 1 + (u @ self.doubt * u).sum(1)
        squares = (y**2).sum(1, keepdims=True) - 2 * y @ expected.T + (expected**2).sum(1)
        away = squares / variance + y.shape[1] * np.log(variance)
        own = np.array([pool.index(said) for said in asked], int)
        nearer = (away < np.take_along_axis(away, own[:, None], 1)).sum(1)
        others, drawn = len(pool) - 1, min(CHOICES, len(pool)) - 1
        return np.array([comb(others - k, drawn) / comb(others, drawn) for k in nearer.tolist()])


def _present(known: Sequence[str], said: Sequence[Collection[str]]) -> np.ndarray:
    """Which known words are among those said: `(N, V)`."""
    return np.array([[word in own for word in known] for own in said], float)


def _ridge(u: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W and D of W | y ~ N(W, D) given y = u W + noise of variance 1 and W ~ N(0, 1 / r), r that makes y likeliest."""
    r, both, against = 1.0, u.T @ u, u.T @ y
    for _ in range(ROUNDS):
        doubt = np.linalg.inv(both + r * np.eye(len(both)))
        weights = doubt @ against
        r = weights.size / ((weights**2).sum() + y.shape[1] * np.trace(doubt))
    return weights, doubt


def _said(split: Any, text: Tokens, most: int) -> list[set[str]]:
    """The words of all captions of the first items, but for those that the model does not know."""
    stored = split.c["text"][:most].astype(np.int64)
    texts = ([text.text(torch.from_numpy(row)) for row in own] for own in stored)
    return [{word for said in own for word in words(said) if word.isalnum()} for own in texts]
