"""The pieces of the VAE against analytic answers: rows C2, C3, C4 and C5 of the catalogue."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from figment.core.data import Batch, Classes, Spec, Vector
from figment.core.model import Turn
from figment.models.autoencoders.likelihoods import (
    bernoulli_log_mass,
    gaussian_log_density,
    kl_to_standard_normal,
    reparametrise,
    squared_error,
)
from figment.models.autoencoders.vae import VAE, VAEConfig


def vectors(dimensions: int) -> Spec:
    return Spec(name="rows", x=Vector(mean=(0.0,) * dimensions, scale=(1.0,) * dimensions))


def test_kl_in_closed_form_is_the_monte_carlo_mean_of_its_definition():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(100, 3, dtype=torch.double), torch.randn(100, 3, dtype=torch.double)
    q = Normal(mean, (log_variance / 2).exp())
    z = q.sample((20_000,))
    estimates = (q.log_prob(z) - Normal(0, 1).log_prob(z)).sum(-1)  # (draws, 100)
    errors = (estimates.mean(0) - kl_to_standard_normal(mean, log_variance)) / estimates.std(0) * 20_000**0.5
    assert (errors.abs() < 3).sum() >= 98  # of 100; one beyond is no surprise
    assert errors.square().mean() < 1.5


def test_kl_is_never_negative_and_zero_at_the_standard_normal_alone():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(1000, 5), 2 * torch.randn(1000, 5)
    assert kl_to_standard_normal(mean, log_variance).min() > 0
    zero = torch.zeros(1, 5)
    assert kl_to_standard_normal(zero, zero).item() == 0
    assert kl_to_standard_normal(zero + 1e-2, zero) > 0
    assert kl_to_standard_normal(zero, zero + 1e-2) > 0
    assert kl_to_standard_normal(zero, zero - 1e-2) > 0


def test_pathwise_gradient_is_right_and_quieter_than_the_score_function():
    torch.manual_seed(0)
    count, mu, sigma = 200_000, 0.7, 1.3
    mean = torch.full((count, 1), mu, requires_grad=True)
    log_variance = torch.full((count, 1), 2 * torch.tensor(sigma).log().item(), requires_grad=True)
    z = reparametrise(mean, log_variance)
    by_mean, by_log_variance = torch.autograd.grad(z.square().sum(), [mean, log_variance])
    by_sigma = by_log_variance * 2 / sigma  # d log sigma^2 / d sigma = 2 / sigma
    assert by_mean.mean().item() == pytest.approx(2 * mu, rel=0.02)
    assert by_sigma.mean().item() == pytest.approx(2 * sigma, rel=0.02)
    standard = (z.detach() - mu) / sigma
    score_by_mean, score_by_sigma = (
        z.detach().square() * standard / sigma,
        z.detach().square() * (standard**2 - 1) / sigma,
    )
    assert score_by_mean.mean().item() == pytest.approx(2 * mu, rel=0.05)
    assert by_mean.var() < score_by_mean.var() / 2
    assert by_sigma.var() < score_by_sigma.var() / 2


class LinearGaussian:
    """z ~ N(0, I), x = W z + noise of variance v: evidence and posterior are known. W has orthogonal columns, so
    that the posterior is diagonal and within reach of q."""

    def __init__(self, dimensions: int = 6, latent: int = 3, variance: float = 0.3):
        torch.manual_seed(1)
        basis = torch.linalg.qr(torch.randn(dimensions, latent, dtype=torch.double)).Q
        self.weight = basis * torch.tensor([2.0, 1.0, 0.5], dtype=torch.double)[:latent]
        self.variance = torch.tensor(variance, dtype=torch.double)
        eye = torch.eye(dimensions, dtype=torch.double)
        self.evidence = MultivariateNormal(
            torch.zeros(dimensions).double(), self.weight @ self.weight.T + variance * eye
        )
        self.precision = self.weight.square().sum(0) / variance + 1

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of p(z | x): `(B, d)` each."""
        mean = x @ self.weight / self.variance / self.precision
        return mean, -self.precision.log().expand_as(mean)

    def bound(self, x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        """The ELBO with its expectation over q in closed form: `(B,)`."""
        error = squared_error(x, mean @ self.weight.T).double() + log_variance.exp() @ self.weight.square().sum(0)
        return gaussian_log_density(error, self.variance, x.shape[1]) - kl_to_standard_normal(mean, log_variance)


def test_bound_plus_kl_to_the_true_posterior_is_the_evidence_for_every_q():
    model = LinearGaussian()
    x = model.evidence.sample((50,)).float().double()  # errors are summed in float32
    torch.manual_seed(2)
    q_mean, q_log_variance = torch.randn(50, 3).double(), torch.randn(50, 3).double()
    mean, log_variance = model.posterior(x)
    q = Independent(Normal(q_mean, (q_log_variance / 2).exp()), 1)
    divergence = kl_divergence(q, Independent(Normal(mean, (log_variance / 2).exp()), 1))
    bound = model.bound(x, q_mean, q_log_variance)
    torch.testing.assert_close(bound + divergence, model.evidence.log_prob(x), atol=1e-4, rtol=0)
    assert (bound < model.evidence.log_prob(x)).all()


def test_the_best_q_is_the_true_posterior():
    model = LinearGaussian()
    x = model.evidence.sample((8,))
    mean = torch.zeros(8, 3, dtype=torch.double, requires_grad=True)
    log_variance = torch.zeros(8, 3, dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS([mean, log_variance], max_iter=200, line_search_fn="strong_wolfe", tolerance_change=0)

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = -model.bound(x, mean, log_variance).sum()
        value.backward()
        return value

    optimiser.step(loss)
    true_mean, true_log_variance = model.posterior(x)
    torch.testing.assert_close(mean.detach(), true_mean, atol=1e-3, rtol=0)
    torch.testing.assert_close(log_variance.detach(), true_log_variance, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        model.bound(x, mean, log_variance).detach(), model.evidence.log_prob(x), atol=1e-4, rtol=0
    )


class Recognition(nn.Module):
    def __init__(self, model: LinearGaussian, shift: float):
        super().__init__()
        self.model, self.shift = model, shift

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        mean, log_variance = self.model.posterior(x.double())
        return torch.cat([mean + self.shift, log_variance], 1).float()


class Generation(nn.Module):
    def __init__(self, model: LinearGaussian):
        super().__init__()
        self.weight = model.weight.float()

    def forward(self, z: Tensor, embedding: Tensor | None) -> Tensor:
        return z @ self.weight.T


def test_bound_of_the_model_meets_the_evidence_with_the_true_posterior_and_is_below_it_with_another():
    truth = LinearGaussian()
    vae = VAEConfig(latent=3).build(vectors(6))
    vae.decoder, vae.observation.variance = Generation(truth), truth.variance.float()
    x = truth.evidence.sample((4000,)).float()
    log_prob = truth.evidence.log_prob(x.double())
    torch.manual_seed(3)
    for shift, gap in ((0.0, 0.0), (0.5, 0.5 * 0.25 * truth.precision.sum().item())):
        vae.encoder = Recognition(truth, shift)
        difference = log_prob - vae.bound(x, {})
        standard_error = difference.std().item() / len(x) ** 0.5
        assert difference.mean().item() == pytest.approx(gap, abs=4 * standard_error + 1e-4)


def trained(vae: VAE, x: Tensor, steps: int) -> VAE:
    (player,) = vae.players()
    optimiser = torch.optim.Adam(player.parameters(), 3e-3)
    for step in range(steps):
        torch.manual_seed(step)
        rows = torch.randint(len(x), (128,))
        optimiser.zero_grad()
        player.loss(Batch(x[rows], {}, rows.numpy()), Turn(step, step / steps)).value.backward()
        optimiser.step()
    return vae.eval()


def test_learned_sigma_is_the_residual_and_the_bound_stays_below_the_evidence():
    truth = LinearGaussian()
    x = truth.evidence.sample((4000,)).float()
    torch.manual_seed(0)
    vae = trained(VAEConfig(latent=3, size="tiny").build(vectors(6)), x, 400)
    with torch.no_grad():
        posterior = vae.posterior(x, {})
        residual = (vae.decode(posterior.sample(), {}) - x).square().mean().sqrt()
        bound = vae.bound(x, {}).mean()
    assert vae.observation.sigma.item() == pytest.approx(residual.item(), rel=0.05)
    entropy = truth.evidence.entropy().item()
    assert -entropy - 0.5 < bound.item() < -entropy + 4 * truth.evidence.log_prob(x.double()).std().item() / 4000**0.5


def test_no_label_is_the_null_label():
    label = Classes(names=("a", "b"), frequencies=(0.5, 0.5))
    torch.manual_seed(0)
    vae = VAEConfig(latent=2, size="tiny").build(vectors(3).model_copy(update={"c": {"label": label}})).eval()
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # blocks start as the identity, blind to labels
    x = torch.randn(4, 3)
    null, first = ({"label": torch.full((4,), k)} for k in (2, 0))
    torch.testing.assert_close(vae.encode(x, {}), vae.encode(x, null))
    torch.testing.assert_close(vae.decode(x[:, :2], {}), vae.decode(x[:, :2], null))
    assert (vae.encode(x, {}) - vae.encode(x, first)).abs().max() > 1e-3


def test_rows_are_coded_in_float32_whatever_the_precision():
    vae = VAEConfig(latent=2, size="tiny").build(vectors(3))
    with torch.autocast("cpu", torch.bfloat16):
        assert vae.encode(torch.randn(4, 3), {}).dtype == torch.float32


def test_log_densities_are_those_of_torch():
    torch.manual_seed(0)
    x, mean, variance = torch.randn(4, 2, 3), torch.randn(4, 2, 3), torch.tensor(0.7)
    expected = Normal(mean, variance.sqrt()).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(gaussian_log_density(squared_error(x, mean), variance, 6), expected)
    bits = torch.randint(0, 2, (4, 2, 3)).float()
    expected = torch.distributions.Bernoulli(logits=mean).log_prob(bits).flatten(1).sum(1)
    torch.testing.assert_close(bernoulli_log_mass(2 * bits - 1, mean), expected)
