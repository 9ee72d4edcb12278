"""Schedules, and conversions between what a network may predict, against what is known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from exact_denoiser import ONE, PREDICTIONS, SCHEDULES, rows, transition
from figment.models.diffusion.diffusion import DiffusionConfig
from figment.models.diffusion.prediction import Prediction
from figment.models.diffusion.schedule import Steps, path, prior_gap, warning


def test_noising_step_by_step_equals_the_jump():
    """F1: T steps of q are the closed form, in mean and variance, within 3 standard errors."""
    schedule, n, x = path("linear", 50), 20_000, 0.7
    generator = torch.Generator().manual_seed(0)
    state = torch.full((n,), x, dtype=torch.float64)
    for i, beta in enumerate(schedule.betas, 1):
        state = (1 - beta) ** 0.5 * state + beta**0.5 * torch.randn(n, generator=generator, dtype=torch.float64)
        t = torch.tensor(i / 50, dtype=torch.float64)
        mean, deviation = float(schedule.alpha(t)) * x, float(schedule.sigma(t))
        assert abs(state.mean() - mean) < 3.3 * deviation / n**0.5
        assert abs(state.var() - deviation**2) < 3.3 * deviation**2 * (2 / n) ** 0.5


@pytest.mark.parametrize(
    ("schedule", "signal"),
    [
        (path("linear", 1000), 4.0e-5),
        (path("linear", 300, rescale=False), 0.048),
        (path("linear", 200, rescale=False), 0.132),
        (path("linear", 100, rescale=False), 0.364),
        (path("linear", 100), 2.0e-5),
        (path("quadratic", 1000), 7.3e-4),
        (path("cosine", 1000), 2.4e-9),
        (Steps(tuple(np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)), 4.7e-3),
        (path("offset-cosine", 1000), 0.02**2),
    ],
)
def test_signal_left_at_the_end(schedule, signal):
    """F2: the table of alpha-bar at T, and a warning exactly where it does not reach noise."""
    assert float(schedule.alpha(ONE)) ** 2 == pytest.approx(signal, rel=0.03)
    assert (warning(schedule) is not None) == (signal > 1e-3)


@pytest.mark.parametrize("options", [{}, {"shift": 3.0}, {"zero_snr": True}], ids=["plain", "shifted", "zero"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_fall(name, options):
    t = torch.linspace(0, 1, 501, dtype=torch.float64)
    schedule = path(name, **options)
    assert (schedule.alpha(t).diff() < 0).all()
    assert (schedule.sigma(t).diff() > 0).all()
    assert float(schedule.alpha(t[0])) == 1
    assert float(schedule.sigma(t[0])) == 0
    inner = t[1:-1]
    torch.testing.assert_close(schedule.time(schedule.log_snr(inner)), inner, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_shift_is_so_much_more_noise_at_every_time(name):
    t = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    plain, shifted = path(name), path(name, shift=3.0)
    off = plain.log_snr(t) - shifted.log_snr(t)
    torch.testing.assert_close(off, torch.full_like(t, 2 * math.log(3)), rtol=0, atol=0.05)


@pytest.mark.parametrize("name", ["linear", "quadratic", "cosine", "offset-cosine"])
def test_zero_terminal_snr(name):
    """Lin et al. (2024): the first step as it was, nothing left after the last, in between moved and stretched."""
    plain, zero = path(name), path(name, zero_snr=True)
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)[1:]
    a, b = plain.alpha(t), zero.alpha(t)
    assert float(b[-1]) <= 1e-6
    assert float(b[0]) == pytest.approx(float(a[0]))
    torch.testing.assert_close(b, (a - a[-1]) * a[0] / (a[0] - a[-1]), rtol=0, atol=1e-6)


def test_prior_gap_by_simulation():
    """KL(q(x_1 | x) || N(0, I)) in bits a dimension against its Monte Carlo estimate."""
    schedule, x = path("linear", 100, rescale=False), 0.8
    alpha, sigma = float(schedule.alpha(ONE)), float(schedule.sigma(ONE))
    end = torch.distributions.Normal(alpha * x, sigma)
    draws = end.sample((200_000,))
    estimate = (end.log_prob(draws) - torch.distributions.Normal(0, 1).log_prob(draws)) / math.log(2)
    assert prior_gap(schedule, x**2) == pytest.approx(float(estimate.mean()), abs=4 * float(estimate.std()) / 447)


def test_building_on_a_schedule_that_stops_early_warns():
    with pytest.warns(UserWarning, match="never reaches noise"):
        DiffusionConfig(schedule="linear", steps=100, rescale=False, size="tiny").build(rows(2))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("options", [{}, {"shift": 3.0}, {"zero_snr": True}], ids=["plain", "shifted", "zero"])
def test_conversions_invert_and_agree(name, options):
    """F4: x comes back from every target to 1e-5, and a wrong target gives the same posterior mean in all five."""
    torch.manual_seed(0)
    schedule = path(name, **options)
    x, noise, error = torch.randn(3, 200, 4, dtype=torch.float64)
    at = transition(schedule, torch.linspace(0.02, 0.98, 200, dtype=torch.float64)[:, None])
    x_t = at.alpha * x + at.sigma * noise
    wrong = x + 0.1 * error
    for kind in PREDICTIONS:
        prediction = Prediction(kind)
        target = prediction.target(x, noise, at)
        torch.testing.assert_close(prediction.clean(target, x_t, at), x, rtol=0, atol=1e-5)
        as_target = prediction.target(wrong, (x_t - at.alpha * wrong) / at.sigma, at)
        back = prediction.clean(as_target, x_t, at)
        torch.testing.assert_close(back, wrong, rtol=0, atol=1e-5)
        torch.testing.assert_close(at.share * x_t + at.weight * back, at.share * x_t + at.weight * wrong)
        relative = ((as_target - target) ** 2).sum(1) / ((wrong - x) ** 2).sum(1)
        torch.testing.assert_close(relative, prediction.precision(at)[:, 0], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("kind", ["eps", "x0", "v", "flow", "mu"])
def test_in_single_precision_a_conversion_errs_by_rounding_only(kind):
    """Of mu, the state a step before, the network's error grows a thousandfold on the way to x: why the decks' eps is
    better."""
    torch.manual_seed(0)
    at, schedule = None, path("linear")
    x, noise = torch.randn(2, 200, 4)
    at = transition(schedule, torch.linspace(0.02, 0.98, 200, dtype=torch.float64)[:, None])
    prediction = Prediction(kind)
    back = prediction.clean(prediction.target(x, noise, at), at.alpha.float() * x + at.sigma.float() * noise, at)
    scale = 1 / prediction.precision(at).sqrt().clamp(max=1)
    assert ((back - x).abs() / scale).max() < 1e-5


def test_mu_is_the_mean_of_the_posterior():
    """Of q(x_s | x_t, x), by Bayes' rule on a grid, with its variance beta-tilde; beta is that of q(x_t | x_s)."""
    schedule, x, x_t = path("linear", 10), 0.4, -0.3
    at = transition(schedule, torch.tensor(0.6, dtype=torch.float64), 10)
    grid = torch.linspace(-6, 6, 40_001, dtype=torch.float64)
    forward = torch.distributions.Normal(grid * at.alpha / at.alpha_before, at.beta.sqrt()).log_prob(torch.tensor(x_t))
    weight = (torch.distributions.Normal(at.alpha_before * x, at.sigma_before).log_prob(grid) + forward).softmax(0)
    mean = (weight * grid).sum()
    torch.testing.assert_close(at.share * x_t + at.weight * x, mean)
    torch.testing.assert_close(at.beta_tilde, (weight * (grid - mean) ** 2).sum())
    assert float(at.beta) == pytest.approx(schedule.betas[5])
    noise = (x_t - at.alpha * x) / at.sigma
    target = Prediction("mu").target(torch.tensor(x, dtype=torch.float64), noise, at)
    torch.testing.assert_close(target, mean)
