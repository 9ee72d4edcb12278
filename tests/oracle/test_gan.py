"""Adversarial objectives and the GAN against what theory says of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from figment.core.config import parse
from figment.core.data import Batch, Classes, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Turn
from figment.core.noise import Noise
from figment.models.adversarial.gan import GANConfig
from figment.models.adversarial.objectives import (
    OBJECTIVES,
    accuracy,
    cross_entropy,
    gradient_penalty,
    non_saturating,
    saturating,
    value,
)
from figment.nn.generator import Modulated
from figment.nn.resample import DownConv, UpConv

LABEL = Classes(names=("a", "b", "c"), frequencies=(0.5, 0.25, 0.25))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def spec(*shape: int, labels: bool = True) -> Spec:
    x = (
        Image(channels=shape[0], height=shape[1], width=shape[2])
        if len(shape) == 3
        else Vector(mean=(0.0,) * shape[0], scale=(1.0,) * shape[0])
    )
    return Spec(name="test", x=x, c={"label": LABEL} if labels else {})


def batch_of(spec: Spec, count: int = 6) -> Batch:
    x = torch.randn(count, *spec.x.shape).clamp(-1, 1)
    return Batch(x, {"label": torch.arange(count) % 3} if spec.label else {}, torch.arange(count).numpy())


def best_discriminator(fake_mean: float) -> nn.Module:
    """D trained between N(0, 1) (real) and N(fake_mean, 1) (a fixed generator)."""
    network = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 1), nn.Flatten(0))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 400)
    for _ in range(400):
        loss = cross_entropy(network(torch.randn(1024, 1)), network(torch.randn(1024, 1) + fake_mean))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.requires_grad_(False)


def test_the_best_discriminator_is_the_density_ratio():
    """D* = p_data / (p_data + p_g) (Goodfellow et al. 2014, proposition 1), where either has mass."""
    network = best_discriminator(1.5)
    x = torch.linspace(-2, 3.5, 56)[:, None]
    best = torch.sigmoid(((x - 1.5).square() - x.square()) / 2).squeeze(1)
    assert (torch.sigmoid(network(x)) - best).abs().max() < 0.05


def test_the_value_is_minus_log_four_where_the_distributions_agree():
    network = best_discriminator(0.0)
    v = value(network(torch.randn(50_000, 1)), network(torch.randn(50_000, 1)))
    assert v.item() == pytest.approx(-math.log(4), abs=0.02)


def test_swapping_labels_swaps_the_sign():
    """With fake = 1, real = 0 the same D is 1 - D, the logit -l, and the game is the same (catalogue X12)."""
    real, fake = torch.randn(100), torch.randn(100)
    swapped = torch.log(1 - torch.sigmoid(-real)).mean() + torch.log(torch.sigmoid(-fake)).mean()
    assert value(real, fake) == pytest.approx(swapped.item(), abs=1e-5)
    assert value(real, fake) == pytest.approx(value(-fake, -real).item(), abs=1e-5)


def test_the_saturating_gradient_vanishes_where_the_generator_loses():
    """At D(G(z)) = 1e-3 the non-saturating gradient is (1 - D) / D = 999 times as large."""
    norms = {}
    for loss in (saturating, non_saturating):
        fake = torch.full((10,), math.log(1e-3 / (1 - 1e-3)), requires_grad=True)
        loss(torch.zeros(10), fake).backward()
        norms[loss] = fake.grad.norm()
        assert (fake.grad < 0).all(), "both raise the logit of what is generated"
    assert norms[non_saturating] / norms[saturating] == pytest.approx(999, rel=0.01)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_pulls_the_players_apart(name):
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    objective = OBJECTIVES[name]
    d_real, d_fake = torch.autograd.grad(objective.discriminator(real, fake), (real, fake))
    (g_fake,) = torch.autograd.grad(objective.generator(real, fake), fake)
    assert (d_real < 0).all()
    assert (d_fake > 0).all()
    assert (g_fake < 0).all()


def test_gradient_penalty_of_a_quadratic():
    """D(x) = x'Ax / 2 has |grad|^2 = |Ax|^2 (A symmetric), and the penalty itself a gradient in A."""
    a = torch.randn(3, 3)
    a = (a + a.T).requires_grad_()
    x = torch.randn(5, 3, requires_grad=True)
    penalty = gradient_penalty(torch.einsum("bi,ij,bj->b", x, a, x) / 2, x)
    torch.testing.assert_close(penalty, (x @ a).square().sum(1))
    (slope,) = torch.autograd.grad(penalty.sum(), a)
    expected = torch.autograd.grad((x @ a).square().sum(), a)[0]
    torch.testing.assert_close((slope + slope.T) / 2, (expected + expected.T) / 2)


def test_folded_convolutions_equal_resampling_and_convolving():
    x = torch.randn(2, 3, 6, 8)
    up, down = UpConv(3, 5), DownConv(3, 5)
    plain = nn.functional.conv2d(nn.functional.interpolate(x, scale_factor=2), up.weight, up.bias, padding=1)
    torch.testing.assert_close(up(x), plain, atol=1e-5, rtol=1e-5)
    plain = nn.functional.avg_pool2d(nn.functional.conv2d(x, down.weight, down.bias, padding=1), 2)
    torch.testing.assert_close(down(x), plain, atol=1e-5, rtol=1e-5)


def test_modulated_convolution_equals_modulated_weights():
    """y = W' * x with W'_oi = d_o W_oi s_i for each example (Karras et al. 2020, equations 1 and 3)."""
    layer = Modulated(nn.Conv2d(4, 6, 3, padding=1, bias=False), style=5)
    x, w = torch.randn(2, 4, 7, 5), torch.randn(2, 5)
    for i in range(2):
        kernel = layer.convolution.weight * layer.style(w[i])[None, :, None, None]
        kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-6).sqrt()
        plain = nn.functional.leaky_relu(nn.functional.conv2d(x[i : i + 1], kernel, padding=1), 0.2) * 2**0.5
        torch.testing.assert_close(layer(x, w)[i : i + 1], plain, atol=1e-5, rtol=1e-5)


SHAPES = [(1, 8, 8), (3, 9, 14), (4, 1, 5), (1, 28, 20), (3, 64, 33), (2,), (7,)]


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_trains_both_players_and_samples(shape, labels):
    data = spec(*shape, labels=labels)
    model = GANConfig(size="tiny", latent=8, lazy=2).build(data)
    batch = batch_of(data)
    for player in model.players():
        before = [p.detach().clone() for p in player.parameters()]
        optimiser = torch.optim.Adam(player.parameters(), lr=1e-2)
        for count in range(3):
            for other in model.players():
                for p in other.parameters():
                    p.requires_grad_(other.name == player.name)
            with torch.autocast("cpu", torch.bfloat16):
                loss = player.loss(batch, Turn(count, 0.5))
            loss.value.backward()
            assert ("slope" in loss.parts) == (player.name == "discriminator" and count % 2 == 0)
            optimiser.step()
        assert all((p != q).any() for p, q in zip(player.parameters(), before, strict=True)), player.name
    noise = Noise(0, range(4))
    c = data.conditions(noise)
    x = model.eval().sample(c, noise)
    assert x.shape == (4, *shape)
    assert x.dtype == torch.float32
    assert torch.isfinite(x).all()
    alone = model.sample({k: v[2:3] for k, v in c.items()}, Noise(0, range(2, 3)))
    torch.testing.assert_close(alone, x[2:3], atol=1e-4, rtol=1e-4)


def test_logged_parts_say_who_is_winning():
    data = spec(1, 8, 8, labels=False)
    model = GANConfig(size="tiny").build(data)
    batch = batch_of(data, 64)
    optimiser = torch.optim.Adam(model.discriminator.parameters(), lr=2e-3)
    parts = []
    for count in range(1, 40):
        optimiser.zero_grad()
        loss = model.discriminator_loss(batch, Turn(count, 0.0))
        loss.value.backward()
        optimiser.step()
        parts.append({k: v.item() for k, v in loss.parts.items()})
    assert set(parts[0]) == {"accuracy", "real", "fake"}
    assert parts[0]["accuracy"] < 0.9
    assert parts[-1]["accuracy"] > 0.95
    assert parts[-1]["real"] - parts[-1]["fake"] > 1


def test_accuracy_counts_pairs():
    assert accuracy(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0])) == 0.5


def test_a_fixed_code_keeps_its_meaning_and_a_label_changes_the_picture():
    data = spec(1, 8, 8)
    model = GANConfig(size="tiny").build(data).eval()
    z = model.prior({}, Noise(3, range(3)))
    x = model.decode(z, {"label": torch.tensor([0, 1, 2])})
    torch.testing.assert_close(x, model.decode(z, {"label": torch.tensor([0, 1, 2])}))
    assert (x - model.decode(z, {"label": torch.tensor([1, 2, 0])})).abs().amax() > 1e-3


def test_discriminator_is_for_training_only():
    model = GANConfig(size="tiny").build(spec(1, 8, 8))
    assert model.training_only == ("discriminator",)
    assert [(p.name, p.ema) for p in model.players()] == [("discriminator", False), ("generator", True)]


def test_config_round_trip_and_bounds():
    config = GANConfig(latent=16, objective="hinge", gamma=0.0)
    assert parse(GANConfig, config.model_dump(mode="json")) == config
    with pytest.raises(UsageError, match="gamma"):
        parse(GANConfig, {"kind": "gan", "gamma": -1})
