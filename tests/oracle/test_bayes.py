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
from figment.data import parse
from figment.evaluate.background import Texture, file_bits
from figment.evaluate.bayes import Judged, Limits, classify, log_joint
from figment.evaluate.outliers import MEANING, Known, Normal, Observer, fooled
from figment.models.adversarial.gan import GANConfig
from figment.models.autoencoders.autoencoder import AutoencoderConfig
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
    """Half as unsure, half as strange, of new items like those that limits were set by."""
    generator = torch.Generator().manual_seed(0)

    def judged(count: int) -> Judged:
        likelihood, bits = torch.randn(2, count, generator=generator, dtype=torch.float64)
        posterior = torch.randn(count, 3, generator=generator).log_softmax(1)
        return Judged(posterior, {"likelihood": 900 + 30 * likelihood, "bits": 700 + 9 * bits})

    usual, fresh = judged(20_000), judged(20_000)
    for share in (0.0, 0.05, 0.2):
        reasons = Limits.of(usual, share).reasons(fresh)
        for why in ("unsure", "strange"):
            assert abs(reasons.count(why) / 20_000 - share / 2) < 0.15 * share / 2 + 1e-9


def test_what_is_likely_but_simple_is_strange_though_no_outlier_was_seen():
    """-log p of normal items grows with their bits. A simple item is likelier than nearly all, and yet too costly."""
    generator = torch.Generator().manual_seed(0)
    bits = 2000 + 300 * torch.randn(4000, generator=generator, dtype=torch.float64)
    normal = Normal.of(
        {"likelihood": bits + 30 * torch.randn(4000, generator=generator, dtype=torch.float64), "bits": bits}
    )
    simple = {"likelihood": torch.tensor([1500.0]).double(), "bits": torch.tensor([1200.0]).double()}
    found = normal.auroc(simple)
    assert found["likelihood"] < 0.1
    assert min(found[name] for name in ("complexity", "rarity", "strangeness")) > 0.95
    assert len(fooled(found)) == 1 and "likelihood is fooled" in fooled(found)[0]
    assert not fooled({"likelihood": 0.9, "strangeness": 0.9})


def test_rarity_is_a_radius():
    """Of one Gaussian it is the distance from the middle in deviations."""
    generator = torch.Generator().manual_seed(0)
    surprise = torch.randn(50_000, generator=generator, dtype=torch.float64)
    normal = Normal.of({"likelihood": surprise[:29]})
    assert normal.states.n_components == 1
    at = torch.tensor([2.0, -3.0, 40.0]).double()
    radius = normal.score({"likelihood": surprise[:29].mean() + at * surprise[:29].std(correction=0)})["rarity"]
    torch.testing.assert_close(radius, at.abs(), atol=0.05, rtol=0.01)


def test_scores_are_calibrated_on_normal_items():
    """Measures of any unit weigh alike; one normal item in twenty lies above the limit."""
    measures = {"likelihood": 5 + 0.01 * torch.randn(4000, dtype=torch.float64)}
    measures["distance"] = -9 + 300 * torch.randn(4000, dtype=torch.float64)
    normal = Normal.of(measures)
    assert float((normal.scores["strangeness"] > normal.limit(0.05)).double().mean()) == pytest.approx(0.05, abs=0.001)
    assert normal.limit(0) == math.inf
    ordered = {name: values.sort().values for name, values in normal.scores.items()}
    torch.testing.assert_close(normal.percentile(ordered)[[0, 2000]], torch.tensor([0.0, 50.0]).double())
    far = {"likelihood": torch.tensor([5.0]).double(), "distance": torch.tensor([-9 + 4 * 300.0]).double()}
    assert float(normal.score(far)["strangeness"]) == pytest.approx(4, rel=0.05)


def test_a_file_of_a_picture_has_the_bits_it_has():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 5, 3)).astype(np.uint8)
    with io.BytesIO() as file:
        PIL.Image.fromarray(pixels[0]).save(file, "PNG")
        assert float(file_bits(pixels, "PNG")[0]) == 8 * file.tell()
    flat = file_bits(np.zeros((1, 6, 5, 1), np.uint8), "WEBP", lossless=True)
    assert 0 < float(flat[0]) < float(file_bits(pixels[..., :1], "WEBP", lossless=True)[0])
    assert len(file_bits(np.zeros((3, 6, 5, 4), np.uint8), "WEBP", lossless=True)) == 3


def test_texture_learns_what_pixels_say_of_the_next():
    """Stripes cost nothing once seen; noise costs 8 bits a pixel whatever was seen."""
    stripes = np.tile(np.array([0, 255], np.uint8), 200).reshape(1, 20, 20, 1).repeat(50, 0)
    noise = np.random.default_rng(0).integers(0, 256, (300, 20, 20, 2)).astype(np.uint8)
    texture = Texture()
    texture.learn(stripes)
    assert float(texture.nats(stripes)[0]) < 10
    texture = Texture()
    texture.learn(noise)
    assert float(texture.nats(noise[:50]).mean()) / (800 * math.log(256)) == pytest.approx(1, abs=0.05)
    assert texture.nats(stripes.repeat(2, 3)).shape == (50,)


def test_scores_are_of_what_a_model_can_do():
    image = Spec(name="made", x=Image(channels=1, height=4, width=4))
    x = torch.rand(20, 1, 4, 4) * 2 - 1
    observer = Observer.of(PPCAConfig(latent=2).build(image), [x])
    seen = observer.see(x)
    assert set(Normal.of(seen.measures).scores) == set(MEANING)
    torch.testing.assert_close(seen.measures["likelihood"], -observer.model.log_prob(x, {}).double())
    plain = Observer.of(AutoencoderConfig(latent=2, size="tiny").build(image).eval(), [x])
    scores = Normal.of(plain.see(x).measures).scores
    assert set(scores) == {"reconstruction", "distance", "rarity", "strangeness"}
    points = Spec(name="made", x=Vector(mean=(0.0, 0.0), scale=(1.0, 1.0)))
    rows = Observer.of(PPCAConfig(latent=2).build(points), [x[:, 0, 0, :2]])
    assert set(rows.see(x[:, 0, 0, :2]).measures) == {"likelihood"}
    with pytest.raises(UsageError, match="neither a density nor an encoder"):
        Observer.of(GANConfig(size="tiny").build(image), [x])


def test_distances_of_codes_do_not_depend_on_their_units():
    codes, seen = torch.randn(300, 3), torch.randn(5, 3)
    units = torch.tensor([1.0, 100.0, 0.01])
    expected = Known.of(codes).log_distance(seen)
    torch.testing.assert_close(Known.of(codes * units).log_distance(seen * units), expected, atol=1e-3, rtol=0)


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


def test_nothing_that_was_learned_from_is_labelled(tmp_path: Path):
    """Of another part of the run's own data too: held-out items only, and none that limits were set by."""
    run = train("gda", parse("digits", {"without": "3"}), tmp_path / "run", steps=1)
    data = run.read_run().data.build()
    every = classify(run.path, "digits", reject=0.1)
    whole = len(parse("digits").build().held_out)
    assert every["n"] == whole - len(data.held_out) // 2
    assert {item["item"].partition(" ")[0] for item in every["items"]} == {"test"}
    threes = [item for item in every["items"] if item["truth"] == "3"]
    assert len(threes) == whole - len(data.held_out)
    assert "accuracy" not in every
    assert (
        len(classify(run.path, parse("digits", {"without": "3"}))["items"])
        == len(data.held_out) - len(data.held_out) // 2
    )
