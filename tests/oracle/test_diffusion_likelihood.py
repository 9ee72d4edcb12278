"""The bound, its terms along a chain, and the probability flow, where the density is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from exact_denoiser import SCHEDULES, Mixture, pictures, rows, transition
from figment.core.data import Batch
from figment.core.model import CanDenoise, Denoised, Turn
from figment.models.diffusion.bound import variational_bound
from figment.models.diffusion.chain import chain_terms
from figment.models.diffusion.diffusion import Diffusion, DiffusionConfig
from figment.models.diffusion.ode import flow_log_likelihood
from figment.models.diffusion.samplers import level
from figment.models.diffusion.schedule import Straight, path


@pytest.mark.parametrize("name", SCHEDULES)
def test_bound_of_a_gaussian(name):
    """With the exact denoiser the bound is below log N(x; m, s^2), and close."""
    torch.manual_seed(0)
    centre, spread = torch.tensor([[0.5, -0.3, 0.0, 0.2]]), 0.6
    x = centre + spread * torch.randn(2000, 4)
    truth = torch.distributions.Normal(centre, spread).log_prob(x).sum(1)
    bound = variational_bound(Mixture(centre, spread, path(name)), rows(4).x, x, {}, terms=16)
    gap = truth - bound
    assert float(gap.mean()) > -3 * float(gap.std()) / 2000**0.5
    assert float(gap.mean()) < 0.05 * 4


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_probability_flow_knows_the_density(name):
    """Of a Gaussian, and of a mixture, in two dimensions: within 2 % of the truth."""
    generator = torch.Generator().manual_seed(0)
    for centres in (torch.tensor([[0.3, -0.2]]), torch.tensor([[-1.0, 0.5], [1.0, 0.0]])):
        denoiser = Mixture(centres, 0.3, path(name))
        near = denoiser.centres[torch.randint(0, len(centres), (200,), generator=generator)]
        x = near + 0.3 * torch.randn(200, 2, generator=generator, dtype=torch.float64)
        squares = ((x[:, None] - denoiser.centres) ** 2).sum(2) / (2 * 0.3**2)
        truth = torch.logsumexp(-squares, 1) - math.log(2 * math.pi * 0.3**2 * len(centres))
        estimate = flow_log_likelihood(denoiser, rows(x.shape[1]).x, x, {}, steps=32)
        assert float((estimate - truth).abs().mean()) < 0.02 * float(truth.abs().mean())


def test_the_trace_by_signs_is_right_in_the_mean():
    """In twelve dimensions, where it is estimated."""
    denoiser = Mixture(torch.zeros(1, 12), 0.5, path("straight"))
    torch.manual_seed(0)
    x = 0.5 * torch.randn(50, 12, dtype=torch.float64)
    truth = -(x**2).sum(1) / (2 * 0.25) - 6 * math.log(2 * math.pi * 0.25)
    assert float(
        (flow_log_likelihood(denoiser, rows(x.shape[1]).x, x, {}, steps=32) - truth).abs().mean()
    ) < 0.02 * float(truth.abs().mean())


@pytest.mark.parametrize("name", ["linear", "cosine", "straight"])
def test_the_terms_of_a_chain_bound_a_gaussian(name):
    """None is negative, the last is the divergence from the prior, and with the exact denoiser their sum is just above
    the entropy: more so with beta-tilde, which is right for data that are a point, than with beta."""
    deviation, n, steps = 0.6, 500, 100
    denoiser = Mixture(torch.full((1, 2), 0.5), deviation, path(name))
    x = 0.5 + deviation * torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = float(((x - 0.5) ** 2).sum(1).mean() / (2 * deviation**2)) + math.log(2 * math.pi * deviation**2)
    gaps = {}
    for spread in ("beta", "beta-tilde"):
        torch.manual_seed(1)
        terms = torch.stack(list(chain_terms(denoiser, rows(2).x, x, {}, steps, spread)))
        assert terms.shape == (steps + 1, n)
        assert float(terms[1:].min()) >= -1e-9
        at = level(denoiser.schedule, 1.0)
        prior = (at.alpha**2 * (x**2).sum(1) + 2 * (at.sigma**2 - 1 - 2 * math.log(at.sigma))) / 2
        torch.testing.assert_close(terms[-1], prior)
        gaps[spread] = float(terms.mean(1).sum()) - exact
    assert -0.05 < gaps["beta"] < 0.15, gaps
    assert gaps["beta"] < gaps["beta-tilde"], gaps


def learned(steps: int, **settings) -> tuple[Diffusion, Batch]:
    """A small model of rows with a learned variance, trained on points in two clusters of unequal width."""
    torch.manual_seed(0)
    near = torch.arange(512)[:, None] % 2
    x = torch.where(near == 0, -1 + 0.05 * torch.randn(512, 2), 0.8 + 0.4 * torch.randn(512, 2))
    model = DiffusionConfig(
        size="tiny", schedule="linear", steps=20, prediction="eps", variance="learned", times="steps", **settings
    ).build(rows(2))
    batch, optimiser = Batch(x, {}, np.arange(512)), torch.optim.Adam(model.parameters(), 3e-3)
    for i in range(steps):
        optimiser.zero_grad()
        model.loss(batch, Turn(i, i / steps)).value.backward()
        optimiser.step()
    return model, batch


def test_the_bound_teaches_the_variance_and_nothing_else():
    """F5: L_vlb has no gradient with respect to what predicts the mean, and one with respect to the variance."""
    model, batch = learned(20)
    t = torch.full((512,), 0.4)
    at = model.transition(t, batch.x)
    x_t = at.alpha.float() * batch.x + at.sigma.float() * torch.randn(512, 2)
    raw = model.predict(x_t, t, {}).detach().requires_grad_()
    found = model.read(raw, x_t, t, at)[1]
    model.vlb(batch.x, found, t, at).sum().backward()
    mean, variance = raw.grad.chunk(2, 1)
    assert not mean.any()
    assert variance.all()


def test_a_learned_variance_bounds_more_tightly_than_either_fixed_one():
    """F5, and the chain's own steps lie between the two fixed ones: v = -1 is beta-tilde, v = 1 beta."""
    model, batch = learned(150)
    bounds = {}
    for spread in ("learned", "beta", "beta-tilde"):
        torch.manual_seed(1)
        with torch.no_grad():
            terms = torch.stack(list(chain_terms(model, model.spec.x, batch.x, {}, 20, spread)))
        assert float(terms[1:].min()) >= -1e-9
        bounds[spread] = float(terms.mean(1).sum())
    assert bounds["learned"] < min(bounds["beta"], bounds["beta-tilde"]) - 0.05, bounds
    t = torch.tensor([0.05, 0.5, 1.0])
    at = model.transition(t, torch.zeros(3, 2))
    later = model.transition(t.clamp(min=0.1), torch.zeros(3, 2)).beta_tilde
    for share, expected in ((0.0, torch.maximum(at.beta_tilde, later * (t[:, None] < 0.1))), (1.0, at.beta)):
        found = at.between_betas(torch.full((3, 1), share), later)
        torch.testing.assert_close(at.variance("learned", found).double(), expected, rtol=1e-4, atol=1e-8)


def test_a_step_takes_no_float64_on_the_device():
    """There it is of the type of x, and still exact where the variance is nearly the right one."""
    at = transition(path("linear"), torch.full((2, 1), 0.5, dtype=torch.float64))
    there = torch.zeros(2, 3, device="meta")
    found = at.divergence(there, there, at.variance("learned", there))
    assert (found.dtype, found.device.type, found.shape) == (torch.float32, "meta", (2,))
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for off in (1e-4, 1e-2, 1.0, 1e2):
        variance, mean = at.beta_tilde * (1 + off), x + 0.1 * off
        exact, short = (at.divergence(x.to(kind), mean.to(kind), variance) for kind in (torch.float64, torch.float32))
        torch.testing.assert_close(short.double(), exact, rtol=5e-3, atol=1e-9)


def test_bound_of_pixels_is_of_a_mass():
    """Never above 0; a denoiser that knows the picture pays for the last noise only, one that knows nothing 8 bits."""

    class Knows(CanDenoise):
        schedule = Straight()

        def __init__(self, mean):
            self.mean = mean

        def denoise(self, x_t, t, c):
            return Denoised(self.mean if self.mean is not None else x_t.clamp(-1, 1))

    spec = pictures(1, 8, 8)
    torch.manual_seed(0)
    x = spec.x.to_model(np.random.default_rng(0).integers(0, 256, (50, 1, 8, 8), dtype=np.uint8))
    best = variational_bound(Knows(x), spec.x, x, {}, 16)
    assert (best <= 0).all()
    last_noise = 127.5 * math.exp(-7 / 2) * (2 * math.pi) ** 0.5  # in grey levels
    assert best.mean() == pytest.approx(-64 * math.log(last_noise), rel=0.1)
    bits = -variational_bound(Knows(None), spec.x, x, {}, 64).mean() / 64 / math.log(2)
    assert bits > 8
