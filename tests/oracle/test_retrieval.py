"""Retrieval of prompts: pictures that show two words are found among ten pairs, others as often as chance has it."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from figment.core.config import Config
from figment.core.data import ArraySplit, Dataset, Image, Spec
from figment.core.text import Tokens, Words
from figment.evaluate import retrieval
from figment.evaluate.features import FeatureNet

WORDS = ("red", "green", "blue", "wide", "high", "dotted")
SIDE = len(WORDS)


def shown(said: list[tuple[int, ...]]) -> np.ndarray:
    """Pictures uint8 `(N, 6, 6, 1)`: a bright row for each word said."""
    x = np.random.default_rng(1).integers(0, 60, (len(said), SIDE, SIDE, 1)).astype(np.uint8)
    for picture, own in zip(x, said):
        picture[list(own)] += 150
    return x


class Listener:
    """A model without choices in sampling."""

    Sampling = Config


def dataset() -> Dataset:
    """Pictures of one word each, so that no two were ever said together."""
    text = Tokens(tokenizer=Words.of(WORDS), length=4)
    said = [(k % SIDE,) for k in range(300)]
    stored = np.stack([text.stored([f"a {WORDS[own[0]]}"]) for own in said])
    spec = Spec(name="words", x=Image(channels=1, height=SIDE, width=SIDE), c={"text": text})
    parts = {"train": slice(0, 240), "test": slice(240, None)}
    splits = {
        k: ArraySplit(spec, shown(said)[part].transpose(0, 3, 1, 2), {"text": stored[part]})
        for k, part in parts.items()
    }
    return Dataset(spec, splits, "words")


@pytest.mark.parametrize(("listens", "expected"), [(True, (0.95, 1.0)), (False, (0.02, 0.2))])
def test_pictures_of_two_words_are_found(
    listens: bool, expected: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset()

    def drawn(model: Any, tokens: torch.Tensor, seed: int, options: Any) -> np.ndarray:
        texts = [data.spec.text.text(row) for row in tokens]
        said = [tuple(k for k, word in enumerate(WORDS) if word in text.split()) for text in texts]
        order = np.arange(len(said)) if listens else np.random.default_rng(2).permutation(len(said))
        return shown([said[i] for i in order])

    monkeypatch.setattr(retrieval, "drawn", drawn)
    net = FeatureNet("rows", "rows", lambda x: x.mean(3).flatten(1))
    found = retrieval.retrieval(Listener(), data, net)
    assert found is not None
    assert expected[0] <= found["right"] <= expected[1], found
    assert found["chance"] == 0.1
    assert found["words"] == SIDE
    assert found["real"] >= 0.95


def test_all_choices_of_nine_others_are_averaged_over() -> None:
    generator = np.random.default_rng(3)
    said = [{WORDS[k % SIDE], WORDS[(k * k + 1) % SIDE]} for k in range(90)]
    f = np.array([[word in own for word in WORDS] for own in said]) + generator.normal(size=(90, SIDE))
    look = retrieval._Look.of(f, said, WORDS)
    pool = list(combinations(WORDS, 2))[:12]
    asked = [pool[k % 12] for k in range(40)]
    found = look.found(f[:40], asked, pool)
    for one, own, share in zip(f, asked, found):
        ways = [[own, *others] for others in combinations([pair for pair in pool if pair != own], 9)]
        assert share == pytest.approx(np.mean([look.found(one[None], [own], way)[0] for way in ways]))
    assert ((found > 0) & (found < 1)).any()
