"""Autoencoder, VAE and ex-post prior on awkward shapes, with and without labels; two stages that load alone."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from figment.core.config import parse
from figment.core.data import ArraySplit, Batch, Classes, Dataset, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Budget, ModelConfig, Turn, density
from figment.core.noise import Noise
from figment.core.stages import FirstStage, fingerprint
from figment.models.autoencoders.autoencoder import AutoencoderConfig
from figment.models.autoencoders.kl_autoencoder import KLAutoencoderConfig
from figment.models.autoencoders.vae import VAE, VAEConfig
from figment.models.autoencoders.with_prior import WithPrior, WithPriorConfig
from figment.models.diffusion.latent import LatentDiffusionConfig
from figment.nn.convolution import Decoder, Encoder

LABELS = {"label": Classes(names=("a", "b", "c"), frequencies=(0.5, 0.25, 0.25))}


def dataset(shape: tuple[int, ...], labels: bool = False, binary: bool = False, count: int = 24) -> Dataset:
    generator = np.random.default_rng(0)
    value: Image | Vector
    if len(shape) == 3:
        value = Image(channels=shape[0], height=shape[1], width=shape[2], binary=binary)
        x = (generator.integers(0, 256, (count, *shape)) // (128 if binary else 1) * (255 if binary else 1)).astype(
            np.uint8
        )
    else:
        value = Vector(mean=(0.0,) * shape[0], scale=(1.0,) * shape[0])
        x = generator.normal(size=(count, *shape)).astype(np.float32)
    spec = Spec(name="made", x=value, c=LABELS if labels else {})
    return Dataset(spec, {"train": ArraySplit(spec, x, {"label": np.arange(count) % 3} if labels else {})}, "content")


SHAPES = [(1, 8, 8), (3, 13, 17), (1, 1, 1), (4, 5, 33), (1, 28, 28), (3, 1, 64), (2,), (1,)]


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if len(shape) == 3])
def test_networks_take_any_size(shape: tuple[int, int, int]):
    x, embedding = torch.randn(2, *shape), torch.randn(2, 6)
    for width in (0, 6):
        code = Encoder(shape, 5, 8, 1, width)(x, embedding if width else None)
        assert code.shape == (2, 5)
        assert Decoder(5, shape, 8, 1, width)(code, embedding if width else None).shape == x.shape


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_vae_bounds_samples_and_trains(shape: tuple[int, ...], labels: bool):
    data = dataset(shape, labels)
    torch.manual_seed(0)
    vae = VAEConfig(size="tiny").build(data.spec)
    batch = data.train.gather(np.arange(24))
    (player,) = vae.players()
    for count in range(3):
        player.loss(batch, Turn(count, count / 3)).value.backward()
    assert {id(p) for p in player.parameters()} == {id(p) for p in vae.parameters()}
    assert all(p.grad is not None for p in vae.parameters())
    with torch.no_grad():
        assert vae.bound(batch.x, batch.c).shape == (24,)
        c = data.spec.conditions(Noise(0, range(5)))
        together = vae.sample(c, Noise(0, range(5)))
        alone = vae.sample({k: v[3:4] for k, v in c.items()}, Noise(0, range(3, 4)))
        torch.testing.assert_close(together[3:4], alone, atol=1e-4, rtol=0)


def test_decoder_follows_the_data_and_refuses_to_call_grey_bernoulli():
    grey, binary = dataset((1, 6, 6)), dataset((1, 6, 6), binary=True)
    vae = VAEConfig(size="tiny").build(binary.spec)
    assert (vae.config.decoder, vae.measure) == ("bernoulli", "mass")
    batch = binary.train.gather(np.arange(8))
    assert (vae.bound(batch.x, {}) < 0).all()
    assert vae.decode(torch.randn(4, vae.config.latent or 0), {}).abs().max() <= 1
    assert VAEConfig(size="tiny").build(grey.spec).measure == "density"
    with pytest.raises(UsageError, match="black and white"):
        VAEConfig(decoder="bernoulli").build(grey.spec)


def test_labels_change_what_a_code_means():
    spec = dataset((1, 8, 8), labels=True).spec
    vae = VAEConfig(size="tiny").build(spec)
    torch.nn.init.normal_(vae.decoder.layers[0].second.weight)
    z = torch.randn(1, vae.config.latent or 0)
    a, b = (vae.decode(z, {"label": torch.tensor([label])}) for label in (0, 3))
    assert not torch.equal(a, b)


def reloaded(model: WithPrior) -> WithPrior:
    """As `model/` does it: config through JSON, weights by name, no data."""
    config = parse(WithPriorConfig, json.loads(model.config.model_dump_json()))
    assert config == model.config
    other = config.build(model.spec)
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("first", [AutoencoderConfig(size="tiny"), VAEConfig(size="tiny", latent=3)])
def test_with_prior_freezes_its_first_stage_and_loads_alone(first: ModelConfig, labels: bool):
    data = dataset((1, 7, 9), labels)
    torch.manual_seed(0)
    stage = first.build(data.spec)
    model = WithPriorConfig(components=6).with_first(stage, data.spec)
    assert isinstance(model, WithPrior)
    assert isinstance(model.config.first, FirstStage)
    assert model.config.first.weights == fingerprint(stage) == fingerprint(model.first)
    assert list(model.fit(data, Budget()))
    assert fingerprint(model.first) == fingerprint(stage)
    assert not any(p.requires_grad for p in model.parameters())
    c = data.spec.conditions(Noise(0, range(4)))
    expected = model.sample(c, Noise(0, range(4)))
    assert expected.shape == (4, 1, 7, 9)
    torch.testing.assert_close(reloaded(model).sample(c, Noise(0, range(4))), expected)
    assert (density(stage), density(model)) == ("approximate" if isinstance(stage, VAE) else None, "implicit")


def test_the_prior_of_codes_has_their_moments():
    data = dataset((2,), count=2000)
    model = WithPriorConfig(components=1).with_first(AutoencoderConfig(size="tiny").build(data.spec), data.spec)
    list(model.fit(data, Budget()))
    with torch.no_grad():
        codes = model.encode(data.train.gather(np.arange(2000)).x, {})
    drawn = model.prior({}, Noise(0, range(20_000)))
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), codes.T.cov(), atol=0.05, rtol=0.05)


def test_a_box_of_codes_is_drawn_from_evenly():
    data = dataset((2,), count=2000)
    model = WithPriorConfig(distribution="box").with_first(AutoencoderConfig(size="tiny").build(data.spec), data.spec)
    list(model.fit(data, Budget()))
    with torch.no_grad():
        codes = model.encode(data.train.gather(np.arange(2000)).x, {})
    drawn = model.prior({}, Noise(0, range(20_000)))
    assert float(((codes > model.box[0]) & (codes < model.box[1])).float().mean()) == pytest.approx(0.99, abs=0.002)
    torch.testing.assert_close(drawn.mean(0), model.box.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.std(0), (model.box[1] - model.box[0]) / 12**0.5, atol=0.02, rtol=0)


def test_normal_codes_are_drawn_wherever_those_of_data_are():
    data = dataset((2,), count=2000)
    first = AutoencoderConfig(size="tiny").build(data.spec)
    model = WithPriorConfig(distribution="normal").with_first(first, data.spec)
    (told,) = list(model.fit(data, Budget()))
    with torch.no_grad():
        codes = model.encode(data.train.gather(np.arange(2000)).x, {})
    expected = 0.5 * float(codes.square().sum(1).mean()) + math.log(2 * math.pi)
    assert told["nll_of_codes"] == pytest.approx(expected, rel=1e-4)
    drawn = model.prior({}, Noise(0, range(20_000)))
    torch.testing.assert_close(drawn.mean(0), torch.zeros(2), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), torch.eye(2), atol=0.03, rtol=0)


def test_what_cannot_be_a_first_stage_is_a_usage_error():
    small, large = dataset((1, 6, 6)).spec, dataset((1, 8, 8)).spec
    with pytest.raises(UsageError, match="another form"):
        WithPriorConfig().with_first(AutoencoderConfig(size="tiny").build(small), large)
    with pytest.raises(UsageError, match="neither a finished run nor a kind"):
        WithPriorConfig(first="runs/none").build(small)
    with pytest.raises(UsageError, match="no codes"):
        WithPriorConfig(first="gan").build(small)


def test_the_one_dial_reaches_the_first_stage():
    config = WithPriorConfig().override({"size": "base", "first.latent": 7})
    assert isinstance(config.first, AutoencoderConfig)
    assert (config.first.size, config.first.latent) == ("base", 7)


def test_a_single_code_of_one_place_has_no_spread_to_divide_by():
    data = dataset((1, 8, 8))
    model = LatentDiffusionConfig(size="tiny", first=KLAutoencoderConfig(size="tiny", halvings=3)).build(data.spec)
    assert model.loss(data.train.gather(np.arange(1)), Turn(0, 0.0)).value.isfinite()
    assert (model.spread == 1).all()


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_encoder_learns_nothing_from_codes_with_noise(noise: float):
    spec, weights = dataset((1, 8, 8)).spec, {"kl": 0.0, "perceptual": 0.0, "adversarial": 0.0}
    model = KLAutoencoderConfig(size="tiny", noise=noise, **weights).build(spec)
    told, decoded = [], []
    model.encoder.register_forward_hook(lambda module, given, posterior: told.append(posterior))
    model.decoder.register_forward_pre_hook(lambda module, given: decoded.append(given[0].detach()))
    torch.manual_seed(0)
    value = model.loss(Batch(torch.randn(20_000, 1, 8, 8), {}, torch.arange(20_000)), Turn(0, 0.0)).value
    (gradient,) = torch.autograd.grad(value, told)
    silent = (gradient == 0).flatten(1).all(1)
    assert float(silent.float().mean()) == pytest.approx(0.5 if noise else 0.0, abs=0.02)
    mean, log_variance = told[0].detach().chunk(2, 1)
    added = (decoded[0] - mean).square() - log_variance.exp()  # beside what the posterior itself spreads
    spread = decoded[0][~silent].var((0, 2, 3))
    assert float(added[~silent].mean() / spread.mean()) == pytest.approx(0, abs=0.02)
    if noise:  # the mean square of sizes drawn evenly from 0 to `noise`
        assert float(added[silent].mean() / spread.mean()) == pytest.approx(noise**2 / 3, rel=0.1)
