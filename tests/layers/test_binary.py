"""Black and white pictures made of grey ones: fixed where they are measured, new each step where they are learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import figment
from figment.core.data import ArraySplit, Dataset, Image, NoisySplit, Spec
from figment.data import parse
from figment.data.binary import binarised
from figment.data.check import check

LEVELS = np.array([0, 51, 102, 255], np.uint8)  # probabilities 0, 0.2, 0.4, 1


@pytest.fixture
def grey() -> Dataset:
    spec = Spec(name="grey", x=Image(channels=1, height=2, width=2))
    x = np.broadcast_to(LEVELS.reshape(1, 1, 2, 2), (4000, 1, 2, 2)).copy()
    return Dataset(spec, {name: ArraySplit(spec, x, {}) for name in ("train", "test")}, "content")


def test_a_draw_is_white_with_the_grey_value_as_probability(grey: Dataset) -> None:
    drawn = binarised(grey, "dynamic")
    rows = np.arange(4000)
    x = drawn.held_out.gather(rows).x
    assert drawn.spec.x.binary
    assert set(x.unique().tolist()) == {-1.0, 1.0}
    shares = ((x + 1) / 2).mean(0).flatten()
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.2, 0.4, 1.0]), atol=0.03, rtol=0)
    expected = -sum(p * np.log(p) + (1 - p) * np.log(1 - p) for p in (0.2, 0.4))
    assert isinstance(drawn.held_out, NoisySplit)
    assert drawn.held_out.entropy(rows[:3]).tolist() == pytest.approx([expected] * 3)


def test_what_is_gathered_is_fixed_and_what_is_redrawn_is_new(grey: Dataset) -> None:
    train = binarised(grey, "dynamic").train
    rows = np.arange(100)
    assert torch.equal(train.gather(rows).x[7:9], train.gather(rows[7:9]).x)
    assert torch.equal(train.gather(rows, 1).x, train.gather(rows, 1).x)
    assert not torch.equal(train.gather(rows, 1).x, train.gather(rows, 2).x)


def test_a_threshold_cuts_at_half(grey: Dataset) -> None:
    assert binarised(grey, "threshold").train.gather(np.arange(1)).x.flatten().tolist() == [-1, -1, -1, 1]
    assert binarised(grey, "none") is grey
    assert len({binarised(grey, how).content for how in ("none", "threshold", "dynamic")}) == 3


def test_training_draws_anew_and_a_run_says_so(tmp_path: Path) -> None:
    settings = {"data__binarise": "dynamic", "model__size": "tiny", "training__previews": 0}
    run = figment.train("vae", "digits", tmp_path / "run", steps=3, **settings)
    assert run.read_run().data.model_dump()["binarise"] == "dynamic"
    model = figment.load(run.path)
    assert (model.config.decoder, model.measure) == ("bernoulli", "mass")  # type: ignore[attr-defined]


def test_data_check_looks_at_the_pictures_as_they_are() -> None:
    assert check(parse("digits", {"binarise": "dynamic"})) == check(parse("digits"))
