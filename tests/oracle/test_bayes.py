"""Bayes' rule against known densities, refusals at the rate asked for, and outliers named."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from scipy.stats import multivariate_normal

from figment import train
from figment.core.data import ArraySplit, Classes, Dataset, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Budget
from figment.evaluate.bayes import Judged, Limits, classify, log_joint
from figment.evaluate.outliers import FRAME, png_bits, scores_of
from figment.models.autoencoders.vae import VAEConfig
from figment.models.classical.gda import GDAConfig
from figment.models.classical.ppca import PPCAConfig


def two_gaussians() -> tuple[Dataset, np.ndarray]:
    generator = np.random.default_rng(0)
    y = (generator.uniform(size=40_000) < 0.3).astype(np.int64)
    x = (generator.normal(size=(40_000, 2)) * np.where(y[:, None], 0.5, 1.0) + 1.5 * y[:, None]).astype(np.float32)
    label = Classes(names=("wide", "narrow"), frequencies=(0.7, 0.3))
    spec = Spec(name="made", x=Vector(mean=(0.0, 0.0), scale=(1.0, 1.0)), c={"label": label})
    return Dataset(spec, {"train": ArraySplit(spec, x, {"label": y})}, "made"), x[:500]


def test_the_joint_is_that_of_the_known_gaussians():
    data, x = two_gaussians()
    model = GDAConfig(shrinkage=0).build(data.spec)
    list(model.fit(data, Budget()))
    known = [multivariate_normal([0, 0], 1.0).logpdf(x) + math.log(0.7)]
    known.append(multivariate_normal([1.5, 1.5], 0.25).logpdf(x) + math.log(0.3))
    found = log_joint(model, torch.from_numpy(x)).log_softmax(1)
    expected = torch.from_numpy(np.stack(known, 1)).log_softmax(1)
    assert float((found.exp() - expected.exp()).abs().max()) < 0.03


def test_without_labels_or_density_there_is_nothing_to_turn_round():
    spec = two_gaussians()[0].spec
    with pytest.raises(UsageError, match="knows no labels"):
        log_joint(PPCAConfig().build(spec), torch.zeros(2, 2))
    with pytest.raises(UsageError, match="knows no labels"):
        log_joint(VAEConfig(size="tiny", conditional=False).build(spec), torch.zeros(2, 2))


def test_limits_refuse_the_share_asked_for():
    generator = torch.Generator().manual_seed(0)
    score = {"a": torch.randn(20_000, generator=generator), "b": torch.randn(20_000, generator=generator)}
    posterior = torch.randn(20_000, 3, generator=generator).log_softmax(1)
    judged = Judged(posterior, score)
    for share in (0.0, 0.05, 0.2):
        refused = [reason for reason in Limits.of(judged, share).reasons(judged) if reason]
        assert abs(len(refused) / 20_000 - share) < 0.1 * share + 1e-9
    assert set(refused) == {"unsure", "a", "b"}


def test_png_bits_are_those_of_the_file():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 5, 3)).astype(np.uint8)
    with io.BytesIO() as file:
        PIL.Image.fromarray(pixels[0]).save(file, "PNG", optimize=True)
        assert float(png_bits(pixels)[0]) == 8 * (file.tell() - FRAME)
    flat = png_bits(np.zeros((1, 6, 5, 1), np.uint8))
    assert 0 < float(flat[0]) < float(png_bits(pixels[..., :1])[0])
    assert len(png_bits(np.zeros((3, 6, 5, 4), np.uint8))) == 3


def test_scores_are_of_what_a_model_can_do():
    spec = Spec(name="made", x=Image(channels=1, height=4, width=4))
    model = PPCAConfig(latent=2).build(spec)
    x = torch.rand(3, 1, 4, 4) * 2 - 1
    scores = scores_of(model, x, model.log_prob(x, {}))
    assert set(scores) == {"likelihood", "complexity", "reconstruction"}
    torch.testing.assert_close(scores["likelihood"], -model.log_prob(x, {}).double())


def test_digits_are_read_noise_is_refused_and_failures_are_named(tmp_path: Path):
    run = train("gaussian-mixture", "digits", tmp_path / "run", steps=1).path
    own = classify(run, "digits", reject=0.1)
    assert own["accuracy_of_accepted"] > 0.95
    assert own["rejected"] < 0.3
    folder = tmp_path / "noise"
    folder.mkdir()
    for i, picture in enumerate(np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)):
        PIL.Image.fromarray(picture).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    noise = classify(run, str(folder), reject=0.1)
    assert noise["n"] == 60
    assert list(noise["skipped"]) == ["broken.png"]
    assert {item["item"] for item in noise["items"]} == {f"{i}.png" for i in range(60)}
    assert noise["rejected"] > 0.95
    assert noise["auroc"]["likelihood"] > 0.99
    assert "accuracy" not in noise
    with pytest.raises(UsageError, match="between 0 and 1"):
        classify(run, "digits", reject=5)
    with pytest.raises(UsageError, match="held-out items are labelled"):
        classify(run, "digits", split="train")
