"""What diffusion learns: predictions, weights of errors and times, and mixtures of values, against what is exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from exact_denoiser import PREDICTIONS, Mixture, pictures, rows, transition
from figment.core.data import Batch
from figment.core.model import Turn
from figment.core.noise import Noise
from figment.models.diffusion.diffusion import DiffusionConfig
from figment.models.diffusion.mixture import Mixture as Values
from figment.models.diffusion.prediction import Prediction
from figment.models.diffusion.proposal import Proposal
from figment.models.diffusion.sampling import Sampling


def test_a_mixture_of_values_by_bayes_rule():
    """E[x | x_t] and Var[x | x_t] of a value that is black, white or near a grey, against a sum over a fine grid; its
    masses over the grey levels sum to one."""
    torch.manual_seed(0)
    prior = Values.read(torch.randn(5, 11, 1, 1), 1)
    x_t, alpha, sigma = torch.randn(5, 1, 1, 1), torch.full((5, 1, 1, 1), 0.8), torch.full((5, 1, 1, 1), 0.4)
    posterior = prior.given(x_t, alpha, sigma)
    grid = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    width = 24 / 24_000
    for i in range(5):
        k = slice(2, None)
        weight, centre, spread = (
            v[i, :, 0, 0, 0].double() for v in (prior.log_weight.exp(), prior.centre, prior.spread)
        )
        density = weight[k, None] * torch.distributions.Normal(centre[k, None], spread[k, None]).log_prob(grid).exp()
        mass = density.sum(0) * width
        for edge, share in ((-1, weight[0]), (1, weight[1])):
            mass[(grid - edge).abs().argmin()] += share
        mass = mass * torch.distributions.Normal(0.8 * grid, 0.4).log_prob(x_t[i].double().squeeze()).exp()
        mass = mass / mass.sum()
        mean = (mass * grid).sum()
        torch.testing.assert_close(posterior.mean[i].squeeze().double(), mean, rtol=0, atol=1e-4)
        variance = (mass * (grid - mean) ** 2).sum()
        torch.testing.assert_close(posterior.variance[i].squeeze().double(), variance, rtol=0, atol=1e-4)
    value = pictures(1, 1, 1).x
    levels = value.to_model(np.arange(256, dtype=np.uint8))
    whole = torch.stack([posterior.log_mass(value, level.expand(5, 1, 1, 1)) for level in levels]).exp().sum(0)
    torch.testing.assert_close(whole, torch.ones(5, 1, 1, 1), rtol=0, atol=1e-4)


def test_a_mixture_is_exact_at_the_ends():
    """Without noise x is x_t, and black is black; at pure noise nothing is learned from x_t."""
    prior = Values.read(torch.randn(4, 11, 2, 2, generator=torch.Generator().manual_seed(0)), 1)
    one = torch.ones(4, 1, 1, 1)
    x = torch.tensor([-1.0, 1.0, 0.3, -0.6]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    torch.testing.assert_close(prior.given(x, one, 1e-4 * one).mean, x, rtol=0, atol=1e-3)
    far = prior.given(x, 0 * one, one)
    torch.testing.assert_close(far.mean, prior.mean)
    torch.testing.assert_close(far.variance, prior.variance)


@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("name", ["straight", "linear", "quadratic", "cosine"])
def test_every_prediction_on_every_schedule(kind, name):
    """A loss, a bound and a sample, all finite, also with a learned variance."""
    torch.manual_seed(0)
    spec = rows(2, classes=3)
    model = DiffusionConfig(
        size="tiny", prediction=kind, schedule=name, steps=100, weighting="min-snr", variance="learned", times="steps"
    ).build(spec)
    batch = Batch(torch.randn(16, 2), {"label": torch.arange(16) % 3}, np.arange(16))
    assert torch.isfinite(model.loss(batch, Turn(0, 0.0)).value)
    assert torch.isfinite(model.bound(batch.x, batch.c)).all()
    # an untrained guess of mu is a wild one of x, of which the chain's own steps make mu again
    ways = model.with_sampling(Sampling(sampler="ddpm", steps=100) if kind == "mu" else Sampling())
    assert torch.isfinite(ways.sample(batch.c, Noise(0, range(16)))).all()


def test_weighted_by_snr_an_error_of_x_counts_as_that_of_the_noise():
    """x_t fixes one from the other: snr |x - x_hat|^2 = |noise - noise_hat|^2; min-snr is that up to an SNR of 5, and
    elbo half of it for each unit of log-SNR."""
    torch.manual_seed(0)
    times = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)[:, None]
    for kind in PREDICTIONS:
        prediction = Prediction(kind)
        weigh = {
            name: DiffusionConfig(size="tiny", prediction=kind, weighting=name, times="uniform").build(rows(2))
            for name in ("snr", "min-snr", "elbo")
        }
        at = transition(weigh["snr"].schedule, times)
        alpha, sigma = at.alpha, at.sigma
        x, noise, error = torch.randn(3, 19, 2, dtype=torch.float64)
        off = prediction.target(x + sigma * error, noise - alpha * error, at)
        squared = (off - prediction.target(x, noise, at)) ** 2
        quiet, loud = weigh["elbo"].ends
        for name, most, unit in (("snr", torch.inf, 1), ("min-snr", 5.0, 1), ("elbo", torch.inf, (quiet - loud) / 2)):
            snr = (alpha / sigma) ** 2
            expected = unit * snr.clamp(max=most) * (sigma * error) ** 2
            torch.testing.assert_close(weigh[name]._weight(at) * squared, expected, rtol=1e-3, atol=1e-5)


def test_weighted_by_elbo_the_loss_is_the_integral_of_the_bound():
    """With the exact denoiser of a normal: the loss, times D, is what the bound subtracts for noise between its ends,
    whatever the times are drawn from."""
    spread, n = 0.6, 4000
    for times in ("uniform", "importance"):
        torch.manual_seed(0)
        model = DiffusionConfig(size="tiny", weighting="elbo", times=times, prediction="x0").build(rows(2))
        exact = Mixture(torch.zeros(1, 2), spread, model.schedule)
        model.predict = lambda x_t, t, c: exact.denoise(x_t, t, c).mean  # type: ignore[method-assign]  # noqa: B023
        x = spread * torch.randn(n, 2)
        values = torch.stack([model.loss(Batch(x, {}, np.arange(n)), Turn(0, 0.0)).value for _ in range(8)])
        quiet, loud = model.ends
        # half of Var[x | x_t] = spread^2 / (1 + SNR spread^2), integrated over the SNR
        truth = (math.log1p(math.exp(quiet) * spread**2) - math.log1p(math.exp(loud) * spread**2)) / 2
        assert float(values[1:].mean()) == pytest.approx(truth, rel=0.01), times


def test_importance_draws_large_losses_more_often_and_weighs_them_less():
    """Its density is proportional to the root of the mean square; 1 / q keeps the mean, at a smaller spread."""
    torch.manual_seed(0)
    proposal = Proposal()
    loss = lambda u: 0.05 + 5 * (u > 0.9)  # noqa: E731
    for _ in range(200):
        u, _density = proposal.draw(torch.rand(256))
        proposal.learn(u, loss(u), lambda v: v)
    u, density = proposal.draw(torch.rand(20_000))
    assert float((u > 0.9).float().mean()) > 0.6
    assert float((1 / density).mean()) == pytest.approx(1, rel=0.05)
    weighed, plain = loss(u) / density, loss(torch.rand(20_000))
    assert float(weighed.mean()) == pytest.approx(0.55, rel=0.05)
    assert float(weighed.std()) < 0.5 * float(plain.std())
