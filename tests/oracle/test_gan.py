"""Adversarial objectives and the GAN against what theory says of them."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import nn

from figment.core.config import parse
from figment.core.data import Batch, Classes, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Turn
from figment.core.noise import Noise
from figment.models.adversarial import regularisers
from figment.models.adversarial.gan import GENERATORS, GANConfig
from figment.models.adversarial.objectives import (
    OBJECTIVES,
    accuracy,
    called_real,
    coverage,
    energy_score,
    saturating,
    value,
)
from figment.models.adversarial.stylegan import StyleGANConfig
from figment.nn.discriminator import Discriminator, VectorDiscriminator, deviation

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
        real, fake = torch.randn(2, 1024, 1)
        loss = OBJECTIVES["minimax"].discriminator_loss(network(real), network(fake + fake_mean))
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
    for loss in (saturating, called_real):
        fake = torch.full((10,), math.log(1e-3 / (1 - 1e-3)), requires_grad=True)
        loss(fake).mean().backward()
        norms[loss] = fake.grad.norm()
        assert (fake.grad < 0).all(), "both raise the logit of what is generated"
    assert norms[called_real] / norms[saturating] == pytest.approx(999, rel=0.01)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_pulls_the_players_apart(name):
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    objective = OBJECTIVES[name]
    d_real, d_fake = torch.autograd.grad(objective.discriminator_loss(real, fake), (real, fake))
    (g_fake,) = torch.autograd.grad(objective.generator_loss(real, fake), fake, allow_unused=True)
    assert (d_real < 0).all()
    assert (d_fake >= 0).all()
    assert (d_fake > 0).all() or name == "least-squares"  # which is content with a drawn example at 0
    assert (g_fake < 0).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_label_smoothing_is_the_mean_over_flipped_real_labels(name):
    """L(1 - s) = (1 - s) L(real called real) + s L(real called drawn); the answer to drawn examples stays."""
    real, fake = torch.randn(2, 200)
    objective = OBJECTIVES[name]
    logit = real - fake if objective.paired else real
    difference = objective.discriminator_loss(real, fake, 0.1) - objective.discriminator_loss(real, fake)
    assert difference.item() == pytest.approx(
        0.1 * (objective.fake(logit) - objective.real(logit)).mean().item(), abs=1e-5
    )


def test_a_smoothed_discriminator_stays_below_one_minus_s():
    """The best D of real examples alone is 1 - s: the sigmoid of the logit, or with least squares the logit itself."""
    logits = torch.linspace(-4, 6, 2001)[:, None]
    for name, read in (("minimax", torch.sigmoid), ("least-squares", lambda logit: logit)):
        losses = [OBJECTIVES[name].discriminator_loss(logit, torch.zeros(1), 0.1) for logit in logits]
        assert read(logits[torch.stack(losses).argmin()]).item() == pytest.approx(0.9, abs=0.01), name


def test_flipped_labels_swap_that_share_of_pairs():
    real, fake = regularisers.flipped(torch.ones(20_000), torch.zeros(20_000), 0.2)
    assert real.mean().item() == pytest.approx(0.8, abs=0.01)
    assert (real + fake == 1).all()


def critic_of(real: torch.Tensor, fake: torch.Tensor, steps: int = 500) -> nn.Module:
    """A critic trained on the Wasserstein objective with the gradient penalty of weight 10."""
    network = nn.Sequential(
        nn.Linear(real.shape[1], 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1), nn.Flatten(0)
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x, y = real[torch.randint(len(real), (256,))], fake[torch.randint(len(fake), (256,))]
        mixed = regularisers.between(x, y).requires_grad_()
        penalty = regularisers.unit_slope(regularisers.squared_slope(network(mixed), mixed)).mean()
        loss = OBJECTIVES["wasserstein"].discriminator_loss(network(x), network(y)) + 10 * penalty
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network


def test_a_wasserstein_critic_measures_the_distance_of_two_gaussians():
    """W1(N(a, I), N(b, I)) = |a - b|, by a critic whose slope is 1 between them (Gulrajani et al. 2017).

    A penalty is no bound: where mass flows, the best slope is 1 + flux / (20 density), about 1 + |a - b| / 20.
    """
    shift = torch.tensor([0.9, -1.2])
    real, fake = torch.randn(20_000, 2) + shift, torch.randn(20_000, 2)
    critic = critic_of(real, fake)
    fresh = torch.randn(2, 5000, 2)
    distance = critic(fresh[0] + shift).mean() - critic(fresh[1]).mean()
    assert distance.item() == pytest.approx(1.5, rel=0.1)
    mixed = regularisers.between(fresh[0] + shift, fresh[1]).requires_grad_()
    slope = regularisers.squared_slope(critic(mixed), mixed).sqrt()
    assert slope.mean().item() == pytest.approx(1, abs=0.1)
    assert ((slope > 0.8) & (slope < 1.2)).float().mean() > 0.95


def test_spectral_norm_keeps_every_slope_below_that_of_its_layers():
    """No layer stretches, so neither does a chain of them, however large its weights were."""
    network = nn.Sequential(nn.Linear(5, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1), nn.Flatten(0))
    nn.init.normal_(network[0].weight, std=3.0)
    regularisers.normalise_spectrum(network)
    for _ in range(30):
        network(torch.zeros(1, 5))
    for layer in (network[0], network[2]):
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=1e-3)
    x = torch.randn(500, 5, requires_grad=True)
    assert regularisers.squared_slope(network(x), x).amax() <= 1.01


def test_clipped_weights_stay_within_the_limit():
    model = GANConfig(size="tiny", objective="wasserstein", regulariser="clipping", limit=0.02).build(spec(2))
    before = [p.abs().amax() for p in model.discriminator.parameters()]
    loss = model.discriminator_loss(batch_of(spec(2)), Turn(0, 0.0))
    assert max(before) > 0.02
    assert all(p.abs().amax() <= 0.02 for p in model.discriminator.parameters())
    assert "slope" not in loss.parts
    assert any(p.abs().amax() > 0.02 for p in model.generator.parameters())


def test_the_energy_score_is_least_for_the_distribution_of_the_data():
    """Proper: of N(m, s^2 I) against data N(0, I), it is least at m = 0 and s = 1 (Gneiting & Raftery 2007)."""
    x = torch.randn(20_000, 3)

    def score(mean: float, scale: float) -> float:
        return float(energy_score(x, *(mean + scale * torch.randn(2, 20_000, 3))))

    best = score(0.0, 1.0)
    assert all(score(mean, scale) > best + 0.01 for mean, scale in ((0.5, 1.0), (0.0, 0.6), (0.0, 1.6)))
    # E |x - a| = E |a - b| = 4 / sqrt(pi) for normal rows of three numbers
    assert best == pytest.approx(4 / math.pi**0.5, rel=0.02)


def test_its_slope_drives_points_that_are_too_much_alike_apart():
    real = torch.randn(5000, 2)
    scale = torch.tensor(0.3, requires_grad=True)
    energy_score(real, *(scale * torch.randn(2, 5000, 2))).backward()
    assert scale.grad < -0.1


def test_spread_is_of_two_drawn_examples_of_each_label():
    data = spec(1, 8, 8)
    model = GANConfig(size="tiny", latent=8, repeat=0).build(data)
    drawn = []
    model.generator.register_forward_hook(lambda _, given, x: drawn.append((given[1], x)))
    loss = model.generator_loss(batch_of(data, 7), Turn(0, 0.0))
    ((label, x),) = drawn
    assert label.tolist() == [0, 1, 2, 0, 0, 1, 2, 0]
    first, second = x.chunk(2)
    assert (first - second).abs().flatten(1).amax(1).min() > 1e-4
    assert set(loss.parts) == {"energy"}


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)], ids=str)
def test_what_is_drawn_from_the_code_of_an_example_is_held_against_that_example(shape):
    """Nothing is missed where the generator gives it back, and something where it gives back another's."""
    data = spec(*shape)
    model, batch = GANConfig(size="tiny", latent=8, spread=0, repeat=1.0).build(data), batch_of(data)
    missed = {}
    for shift in (0, 1):
        given = batch.x[:3].roll(shift, 0)
        handle = model.generator.register_forward_hook(lambda _, asked, x, g=given: g if len(x) == 3 else x)  # half
        missed[shift] = model.generator_loss(batch, Turn(0, 0.0)).parts["missed"].item()
        handle.remove()
    assert missed[0] < 1e-3
    assert missed[1] > 0.3


def test_examples_are_drawn_again_where_spread_is_held_and_pictures_have_one_size():
    picture, row = spec(1, 8, 8), spec(2)
    assert GANConfig().build(picture).repeat == 3
    assert not any(config.build(picture).repeat for config in (GANConfig(spread=0), GANConfig(generator="progressive")))
    assert GANConfig().build(row).encoder is None
    with pytest.raises(UsageError, match="leave it out"):
        GANConfig(generator="progressive", repeat=1.0).build(picture)
    model = GANConfig(size="tiny").build(picture)
    learned = {id(p) for p in model.players()[1].parameters()}
    assert {id(p) for p in model.encoder.parameters()} <= learned


def test_codes_stay_near_the_prior_whatever_the_encoder_says():
    """|mean|^2 < d and variance < 1, so that KL(q || N(0, I)) grows as slowly as its logarithms do."""
    codes = GANConfig(size="tiny", latent=8).build(spec(1, 8, 8)).encoder
    with torch.no_grad():
        for parameter in codes.encoder.project_out.parameters():
            parameter.normal_(std=1e3)
        mean, log_variance = codes(torch.randn(50, 1, 8, 8), torch.zeros(50, dtype=torch.long))
    assert 7.9 < mean.square().sum(1).amax() < 8 + 1e-3
    assert log_variance.amax() <= 0
    assert log_variance.isfinite().all()


def test_spread_belongs_to_the_default_game_on_pictures():
    picture, row = spec(1, 8, 8), spec(2)
    assert (GANConfig().build(picture).spread, GANConfig().build(picture).gamma) == (2.0, 0.3)
    assert (GANConfig(spread=0).build(picture).spread, GANConfig(spread=0).build(picture).gamma) == (0.0, 1.0)
    assert (GANConfig().build(row).spread, GANConfig().build(row).gamma) == (0.0, 0.1)
    assert GANConfig(objective="hinge").build(picture).spread == 0
    assert StyleGANConfig().build(picture).spread == 0


def test_dropout_leaves_out_that_share_of_what_the_discriminator_sees_while_it_learns():
    model = GANConfig(size="tiny", dropout=0.4).build(spec(2))
    seen = model.discriminator.describe(torch.randn(400, 2))
    assert (seen == 0).float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert (model.eval().discriminator.describe(torch.randn(400, 2)) == 0).float().mean() < 0.01


def test_noise_on_all_that_is_seen_falls_to_nothing_over_the_run():
    model, x = GANConfig(size="tiny", noise=0.5).build(spec(2)), torch.zeros(5000, 2)
    for progress in (0.0, 0.5, 1.0):
        assert model.shown(x, Turn(0, progress)).std().item() == pytest.approx(0.5 * (1 - progress), rel=0.05)


def test_coverage_falls_with_every_mode_that_is_lost():
    modes = 5 * torch.eye(8)
    real, same = (modes[torch.arange(400) % 4] + 0.1 * torch.randn(400, 8) for _ in range(2))
    half = modes[torch.arange(400) % 2] + 0.1 * torch.randn(400, 8)
    assert coverage(real, same) > 0.99
    assert coverage(real, half).item() == pytest.approx(0.5, abs=0.03)
    assert coverage(real, modes[:1].expand(400, 8)) < 0.26
    assert coverage(real[:1], same[:1]) <= 1


def test_deviation_within_a_group_is_that_of_its_examples():
    h = torch.tensor([[0.0, 0.0], [2.0, 4.0], [1.0, 1.0], [1.0, 1.0]])
    torch.testing.assert_close(deviation(h, 2).flatten(), torch.tensor([1.5, 1.5, 0.0, 0.0]), atol=1e-3, rtol=0)
    assert deviation(torch.randn(6, 3, 4, 5), 4).shape == (6, 1, 1, 1)
    alike = Discriminator((1, 8, 8), 8, group=4)
    x = torch.randn(8, 1, 8, 8)
    assert (alike(x)[:4] - alike(x[:1].expand(8, 1, 8, 8))[:4]).abs().amax() > 1e-4
    torch.testing.assert_close(alike(x)[:4], alike(x[:4]))
    assert VectorDiscriminator(2, 8, group=4)(torch.randn(5, 2)).shape == (5,)


VARIANTS = [
    *({"objective": name} for name in OBJECTIVES),
    *({"regulariser": name} for name in get_args(regularisers.Name)),
    {"objective": "wasserstein", "regulariser": "gradient-penalty"},
    {"smoothing": 0.1, "flipped": 0.1, "noise": 0.2},
    {"dropout": 0.3, "deviation": True, "filters": 0.5},
    {"augment": "adaptive"},
    {"augment": "diffaugment"},
    {"spread": 1.0, "objective": "non-saturating", "deviation": True},
    {"repeat": 1.0},
    *({"generator": name} for name in GENERATORS),
    {"generator": "progressive", "deviation": True, "dropout": 0.2, "regulariser": "spectral-norm"},
]


PLAYED = [
    (shape, settings)
    for shape in ((2,), (3, 9, 14))
    for settings in VARIANTS
    if len(shape) == 3 or not {"augment", "generator"} & settings.keys()
]


@pytest.mark.parametrize(("shape", "settings"), PLAYED, ids=str)
def test_every_variant_has_finite_losses_and_a_gradient_for_each_player(shape, settings):
    data = spec(*shape)
    model = GANConfig(size="tiny", latent=8, lazy=2, **settings).build(data)
    for player in model.players():
        for count in range(2):
            loss = player.loss(batch_of(data), Turn(count, 0.3))
            grads = torch.autograd.grad(loss.value, player.parameters(), allow_unused=True)
            assert loss.value.isfinite()
            assert all(grad is None or grad.isfinite().all() for grad in grads)
            assert sum(float(grad.abs().sum()) for grad in grads if grad is not None) > 0


def test_switches_of_the_game_reach_the_players():
    model = GANConfig(size="tiny", critics=5, rate=0.25, filters=2).build(spec(2))
    discriminator, generator = model.players()
    assert (discriminator.every, generator.every) == (1, 5)
    assert (discriminator.rate, generator.rate) == (0.25, 1.0)
    assert model.discriminator.logit_out.in_features == 2 * model.generator.body.project_in.out_features


def test_squared_slope_of_a_quadratic():
    """D(x) = x'Ax / 2 has |grad|^2 = |Ax|^2 (A symmetric), and the penalty itself a gradient in A."""
    a = torch.randn(3, 3)
    a = (a + a.T).requires_grad_()
    x = torch.randn(5, 3, requires_grad=True)
    penalty = regularisers.squared_slope(torch.einsum("bi,ij,bj->b", x, a, x) / 2, x)
    torch.testing.assert_close(penalty, (x @ a).square().sum(1))
    (slope,) = torch.autograd.grad(penalty.sum(), a)
    expected = torch.autograd.grad((x @ a).square().sum(), a)[0]
    torch.testing.assert_close((slope + slope.T) / 2, (expected + expected.T) / 2)


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
    assert set(parts[7]) == {"accuracy", "real", "fake", "coverage", "slope"}
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


def test_codes_are_drawn_as_widely_as_is_asked_for():
    model, c = GANConfig(size="tiny").build(spec(2)).eval(), {"label": torch.tensor([0, 1, 2])}
    usual, wide = (model.with_sampling(parse(model.Sampling, given)) for given in ({}, {"truncation": 1.5}))
    z = wide.prior(c, Noise(0, range(3)))
    torch.testing.assert_close(z, 1.5 * model.prior(c, Noise(0, range(3))))
    torch.testing.assert_close(wide.sample(c, Noise(0, range(3))), model.decode(z, c))
    torch.testing.assert_close(usual.sample(c, Noise(0, range(3))), model.sample(c, Noise(0, range(3))))


def test_discriminator_is_for_training_only():
    model = GANConfig(size="tiny").build(spec(1, 8, 8))
    published = [name for name, _ in model.named_parameters() if not name.startswith(model.training_only)]
    assert published == [f"generator.{name}" for name, _ in model.generator.named_parameters()]
    assert [(p.name, p.ema) for p in model.players()] == [("discriminator", False), ("generator", True)]


def test_config_round_trip_and_bounds():
    config = GANConfig(latent=16, objective="hinge", gamma=0.0)
    assert parse(GANConfig, config.model_dump(mode="json")) == config
    with pytest.raises(UsageError, match="gamma"):
        parse(GANConfig, {"kind": "gan", "gamma": -1})
