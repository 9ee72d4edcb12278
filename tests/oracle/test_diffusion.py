"""Diffusion against what is known exactly: schedules, conversions, and samplers given the true denoiser."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from figment.core.data import Batch, Classes, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import CanDenoise, Denoised, Turn
from figment.core.noise import Noise
from figment.models.diffusion.bound import variational_bound
from figment.models.diffusion.chain import chain_terms
from figment.models.diffusion.diffusion import Diffusion, DiffusionConfig
from figment.models.diffusion.guidance import Guided
from figment.models.diffusion.mixture import Mixture as Values
from figment.models.diffusion.ode import flow_log_likelihood
from figment.models.diffusion.prediction import Prediction
from figment.models.diffusion.proposal import Proposal
from figment.models.diffusion.samplers import Step, ancestral, dpm, edm, heun, integrate, level, levels, unipc
from figment.models.diffusion.sampling import Sampling, sampler, thresholded
from figment.models.diffusion.schedule import Steps, Straight, path, prior_gap, warning
from figment.models.diffusion.transition import Transition
from figment.pixels.known import coarse, grey, pixels

ONE = torch.ones((), dtype=torch.float64)
SCHEDULES = ["straight", "linear", "quadratic", "cosine", "offset-cosine"]
PREDICTIONS = ["eps", "x0", "v", "flow", "mu"]


def rows(dimensions: int, classes: int = 0) -> Spec:
    label = Classes(names=tuple(map(str, range(classes))), frequencies=(1.0,) * classes)
    value = Vector(mean=(0.0,) * dimensions, scale=(1.0,) * dimensions)
    return Spec(name="rows", x=value, c={"label": label} if classes else {})


def pictures(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    label = Classes(names=tuple(map(str, range(classes))), frequencies=(1.0,) * classes)
    value = Image(channels=channels, height=height, width=width)
    return Spec(name="pictures", x=value, c={"label": label} if classes else {})


class Mixture(CanDenoise):
    """The exact denoiser of a mixture of isotropic normals; with a label, of that component alone."""

    def __init__(self, centres: Tensor, spread: float, schedule):
        self.centres, self.spread, self.schedule = centres.double(), spread, schedule

    def denoise(self, x_t, t, c):
        x = x_t.double()
        alpha, sigma = self.schedule.alpha(t.double())[:, None], self.schedule.sigma(t.double())[:, None]
        total = alpha**2 * self.spread**2 + sigma**2
        weight = -((x[:, None] - alpha[..., None] * self.centres) ** 2).sum(2) / (2 * total)
        if "label" in c:
            known = c["label"] < len(self.centres)
            mine = torch.nn.functional.one_hot(c["label"], len(self.centres) + 1)[:, :-1].bool()
            weight = torch.where(mine | ~known[:, None], weight, -torch.inf)
        responsibility = weight.softmax(1)[..., None]
        gain = (alpha * self.spread**2 / total)[..., None]
        means = self.centres + gain * (x[:, None] - alpha[..., None] * self.centres)
        return Denoised((responsibility * means).sum(1).to(x_t.dtype))


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


def transition(schedule, t: Tensor, steps: int = 1000) -> Transition:
    before = (t - 1 / steps).clamp(min=0)
    return Transition(schedule.alpha(t), schedule.sigma(t), schedule.alpha(before), schedule.sigma(before))


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


SAMPLERS = {
    "ddpm": {"sampler": "ddpm", "steps": 120, "grid": "quadratic"},
    "ddim": {"sampler": "ddim", "steps": 400},
    "ddim-eta": {"sampler": "ddim", "steps": 120, "eta": 0.5, "grid": "quadratic"},
    "dpm": {"sampler": "dpm-solver++", "steps": 60},
    "dpm-quadratic": {"sampler": "dpm-solver++", "steps": 40, "grid": "quadratic"},
    "heun": {"sampler": "heun", "steps": 60},
    "heun-karras": {"sampler": "heun", "steps": 20, "grid": "karras"},
    "edm-karras": {"sampler": "edm", "steps": 20, "grid": "karras"},
    "unipc": {"sampler": "unipc", "steps": 60},
    "dpm-sde": {"sampler": "dpm-solver++sde", "steps": 80, "grid": "quadratic"},
}


@pytest.mark.parametrize("name", ["straight", "linear", "cosine"])
@pytest.mark.parametrize("options", SAMPLERS.values(), ids=SAMPLERS)
def test_samplers_of_a_gaussian(name, options):
    """With the exact denoiser of N(1.5, 0.4^2) every sampler has that mean and variance."""
    n, spread = 1500, 0.4
    denoiser = Mixture(torch.full((1, 2), 1.5), spread, path(name))
    x = sampler(denoiser, rows(2), Sampling(**options)).sample({}, Noise(0, range(n)))
    assert abs(float(x.mean()) - 1.5) < 4 * spread / (2 * n) ** 0.5
    assert float(x.std()) == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("grid", ["uniform", "karras"])
@pytest.mark.parametrize("schedule", [path("cosine"), path("linear", zero_snr=True)], ids=["cosine", "zero"])
def test_edm_of_schedules_that_end_without_signal(schedule, grid):
    """Their last sigma / alpha is 1e4 and more: Heun's rule over that step would spread samples out threefold."""
    denoiser = Mixture(torch.full((1, 2), 1.5), 0.4, schedule)
    ways = sampler(denoiser, rows(2), Sampling(sampler="edm", steps=16, grid=grid))
    assert float(ways.sample({}, Noise(0, range(1000))).std()) == pytest.approx(0.4, rel=0.15)


@pytest.mark.parametrize("options", SAMPLERS.values(), ids=SAMPLERS)
def test_samplers_of_a_mixture(options):
    """F3 without training: with the analytic score of a mixture, samples pass a Kolmogorov-Smirnov test."""
    from scipy import stats

    centres, spread, n = torch.tensor([[-1.0], [0.2], [1.2]]), 0.2, 1000
    denoiser = Mixture(centres, spread, path("straight"))
    x = sampler(denoiser, rows(1), Sampling(**options)).sample({}, Noise(1, range(n)))
    truth = lambda v: np.mean([stats.norm.cdf(v, float(m), spread) for m in centres], axis=0)  # noqa: E731
    assert stats.kstest(x[:, 0].numpy(), truth).pvalue > 1e-3


def order_of(step: Step, begin: float, last: float, steps: int) -> float:
    """How often halving the step halves the error of a mixture's path from one time to another."""
    denoiser = Mixture(torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), 0.5, path("straight"))
    z = Noise(0, range(64)).normal((2,)).double()

    def end(step: Step, steps: int) -> Tensor:
        path = [level(denoiser.schedule, float(t)) for t in torch.linspace(begin, last, steps + 1)]
        return integrate(step, lambda x, at: denoiser.denoise(x, x.new_full((64,), at.t), {}), z, path)

    exact = end(heun, 600)
    coarse, fine = (float((end(step, n) - exact).square().mean().sqrt()) for n in (steps, 2 * steps))
    return math.log2(coarse / fine)


@pytest.mark.parametrize(
    ("step", "order"),
    [(ancestral(), 1), (dpm(), 2), (unipc, 3), (heun, 2), (edm, 2)],
    ids=["ddim", "dpm", "unipc", "heun", "edm"],
)
def test_orders_of_convergence(step, order):
    """Halving the step divides the error of a path by 2^order."""
    assert order_of(step, 0.9, 0.1, 20) == pytest.approx(order, abs=0.35)


def test_unipc_from_pure_noise():
    """The first level has no signal, and lambda = log(alpha / sigma) is infinite: the two steps there are as good."""
    assert order_of(unipc, 1, 0.5, 16) > 2.5


@pytest.mark.parametrize("options", [{"sampler": "dpm-solver++"}, {"sampler": "heun"}, {"sampler": "ddim"}])
def test_inversion(options):
    """F8: data -> noise -> data comes back, and the noise is standard normal."""
    spread = 0.5
    denoiser = Mixture(torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), spread, path("straight"))
    codec = sampler(denoiser, rows(2), Sampling(steps=50, **options))
    x = codec.sample({}, Noise(0, range(1000)))
    z = codec.encode(x, {})
    assert float((codec.decode(z, {}) - x).square().mean()) < 4 * 10**-2.5  # 25 dB of a range of 2
    assert abs(float(z.mean())) < 0.12
    assert float(z.std()) == pytest.approx(1, abs=0.1)


def test_completion_of_a_mixture():
    """Of two distant clusters: a first number near one decides the second, one half way between leaves it open."""
    spread, n = 0.3, 400
    denoiser = Mixture(torch.tensor([[-1.0, 0.5], [1.0, -0.5]]), spread, path("straight"))
    ways = sampler(denoiser, rows(2), Sampling(sampler="ddpm", steps=40, times=8))
    mask = torch.tensor([1.0, 0.0]).expand(n, 2)
    for known, share in ((-1.0, 1.0), (0.0, 0.5), (1.0, 0.0)):
        x = ways.complete(torch.tensor([known, 9.0]).expand(n, 2), pixels(mask), {}, Noise(0, range(n)))
        torch.testing.assert_close(x[:, 0], torch.full((n,), known))
        high = x[:, 1] > 0
        assert float(high.float().mean()) == pytest.approx(share, abs=0.12)
        for side, centre in ((high, 0.5), (~high, -0.5)):
            if int(side.sum()) > n / 4:
                assert float(x[side, 1].mean()) == pytest.approx(centre, abs=0.12)
                assert float(x[side, 1].std()) == pytest.approx(spread, rel=0.25)


def test_completion_of_what_a_projection_leaves_open():
    """The sum of two numbers is known: it stays, and their difference is drawn as the mixture has it given the sum."""
    denoiser = Mixture(torch.tensor([[-1.0, -0.2], [1.0, 0.2]]), 0.3, path("straight"))
    ways, n = sampler(denoiser, rows(2), Sampling(sampler="ddpm", steps=40, times=8)), 400
    mean = lambda x: x.mean(1, keepdim=True).expand_as(x)  # noqa: E731
    for total, difference in ((-1.2, -0.8), (1.2, 0.8)):
        x = ways.complete(torch.tensor([total, 0.0]).expand(n, 2), mean, {}, Noise(0, range(n)))
        torch.testing.assert_close(x.sum(1), torch.full((n,), total), rtol=0, atol=1e-5)
        assert float((x[:, 0] - x[:, 1]).mean()) == pytest.approx(difference, abs=0.15)
        assert float((x[:, 0] - x[:, 1]).std()) == pytest.approx(0.3 * 2**0.5, rel=0.25)


@pytest.mark.parametrize("known", [pixels((torch.rand(1, 1, 8, 12) < 0.5).float()), grey, coarse(4)])
def test_what_is_known_is_an_orthogonal_projection(known):
    x, y = torch.randn(2, 3, 8, 12, dtype=torch.float64), torch.randn(2, 3, 8, 12, dtype=torch.float64)
    torch.testing.assert_close(known(known(x)), known(x))
    torch.testing.assert_close((known(x) * y).sum(), (x * known(y)).sum())


@pytest.mark.parametrize("name", ["dpm-solver++", "ddpm"])
def test_what_noise_hides_is_drawn_again(name):
    """A little noise keeps a cluster and makes items typical of it; all of it draws from the whole mixture."""
    centres, spread, n = torch.tensor([[-1.0, -0.2], [1.0, 0.2]]), 0.2, 400
    ways = sampler(Mixture(centres, spread, path("straight")), rows(2), Sampling(sampler=name, steps=40))
    x = torch.tensor([1.0, 0.9]).expand(n, 2)
    near = ways.vary(x, 0.25, {}, Noise(0, range(n)))
    assert float((near[:, 0] > 0).float().mean()) > 0.99
    assert 0.2 < float(near[:, 1].mean()) < 0.85
    anew = ways.vary(x, 1.0, {}, Noise(0, range(n)))
    assert float((anew[:, 0] > 0).float().mean()) == pytest.approx(0.5, abs=0.1)
    torch.testing.assert_close(anew, ways.sample({}, Noise(0, range(n))))


def test_guidance():
    """Weight 1 is none, 0 drops the condition, more goes further; a negative label replaces the empty one."""
    spec = rows(1, classes=2)
    denoiser = Mixture(torch.tensor([[-1.0], [1.0]]), 0.5, path("straight"))
    x, t, c = torch.zeros(3, 1), torch.full((3,), 0.8), {"label": torch.tensor([1, 1, 1])}
    given = denoiser.denoise(x, t, c).mean
    empty = denoiser.denoise(x, t, {}).mean
    opposite = denoiser.denoise(x, t, {"label": torch.tensor([0, 0, 0])}).mean
    torch.testing.assert_close(Guided(denoiser, 1, spec).denoise(x, t, c).mean, given)
    torch.testing.assert_close(Guided(denoiser, 0, spec).denoise(x, t, c).mean, empty)
    torch.testing.assert_close(Guided(denoiser, 3, spec).denoise(x, t, c).mean, 3 * given - 2 * empty)
    away = Guided(denoiser, 3, spec, {"label": torch.tensor(0)})
    torch.testing.assert_close(away.denoise(x, t, c).mean, 3 * given - 2 * opposite)
    with pytest.raises(UsageError, match="needs labels"):
        sampler(denoiser, rows(1), Sampling(guidance=2))


def test_guidance_in_an_interval_and_rescaled():
    spec = rows(3, classes=2)
    denoiser = Mixture(torch.tensor([[-1.0, 0.2, 0.4], [1.0, 0.0, -0.3]]), 0.5, path("straight"))
    x, c = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), {"label": torch.tensor([1, 0, 1, 1])}
    guided = Guided(denoiser, 3, spec, interval=(0.3, 0.6))
    for time, acts in ((0.2, False), (0.45, True), (0.8, False)):
        t = torch.full((4,), time)
        expected = (Guided(denoiser, 3, spec) if acts else denoiser).denoise(x, t, c).mean
        torch.testing.assert_close(guided.denoise(x, t, c).mean, expected)
    t = torch.full((4,), 0.5)
    given, far = denoiser.denoise(x, t, c).mean, Guided(denoiser, 3, spec).denoise(x, t, c).mean
    whole, half = (Guided(denoiser, 3, spec, rescale=share).denoise(x, t, c).mean for share in (1.0, 0.5))
    torch.testing.assert_close(whole.std(1), given.std(1))
    torch.testing.assert_close(half, (whole + far) / 2)


def test_dynamic_thresholding():
    """A picture within [-1, 1] stays; of another, the values beyond the quantile become its ends."""
    inside, beyond = torch.linspace(-0.9, 0.9, 12), torch.linspace(-3, 3, 12)
    x = thresholded(torch.stack([inside, beyond]).view(2, 3, 2, 2), 0.5)
    torch.testing.assert_close(x[0].flatten(), inside)
    middle = beyond.abs().median().item() / 2 + beyond.abs().sort().values[6].item() / 2
    torch.testing.assert_close(x[1].flatten(), beyond.clamp(-middle, middle) / middle)


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


def test_a_variance_that_was_not_learned_cannot_be_drawn_with():
    denoiser = Mixture(torch.zeros(1, 2), 0.5, path("linear"))
    ways = sampler(denoiser, rows(2), Sampling(sampler="ddpm", variance="learned"))
    with pytest.raises(UsageError, match="has learned none"):
        ways.sample({}, Noise(0, range(3)))


@pytest.mark.parametrize("spread", ["beta", "beta-tilde", "learned"])
def test_ancestral_steps_with_each_variance(spread):
    """Of N(0, 0.3^2) in ten steps: beta-tilde ends too narrow, beta too wide, and the true Var[x | x_t] is exact."""
    n, steps, deviation = 4000, 10, 0.3
    schedule = path("linear", steps)

    class Exact(CanDenoise):
        def __init__(self):
            self.schedule, self.mean = schedule, Mixture(torch.zeros(1, 2), deviation, schedule)

        def denoise(self, x_t, t, c):
            ratio = (schedule.alpha(t.double()) / schedule.sigma(t.double()))[:, None] ** 2
            variance = (deviation**2 / (1 + ratio * deviation**2)).expand(x_t.shape)
            return Denoised(self.mean.denoise(x_t, t, c).mean, variance)

    options = Sampling(sampler="ddpm", steps=steps, variance=spread)
    ways = sampler(Exact(), rows(2), options)
    ways.path = ways.path[:-2]  # up to some noise: the last step of all adds none
    end = ways.path[-1]
    exact = (end.alpha**2 * deviation**2 + end.sigma**2) ** 0.5
    found = float(ways.sample({}, Noise(0, range(n))).std())
    if spread == "learned":
        assert found == pytest.approx(exact, rel=0.03)
    else:
        assert (found > 1.03 * exact) if spread == "beta" else (found < 0.97 * exact)


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


@pytest.mark.parametrize("shape", [(1, 9, 13), (3, 8, 8)])
@pytest.mark.parametrize("options", [{}, {"sampler": "ddpm", "guidance": 2.0}, {"sampler": "heun", "steps": 8}])
def test_a_sample_does_not_depend_on_its_batch(shape, options):
    torch.manual_seed(0)
    spec = pictures(*shape, classes=4)
    model = DiffusionConfig(size="tiny").build(spec).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    ways = model.with_sampling(Sampling(**options))
    c = {"label": torch.tensor([0, 3, 1, 2, 2])}
    together = ways.sample(c, Noise(5, range(5)))
    one = torch.cat([ways.sample({"label": c["label"][i : i + 1]}, Noise(5, range(i, i + 1))) for i in range(5)])
    assert together.shape == (5, *shape)
    torch.testing.assert_close(together, one, rtol=0, atol=1e-4)


@pytest.mark.parametrize("grid", ["uniform", "quadratic", "shifted", "karras"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_grids_go_from_noise_to_data(name, grid):
    times = [at.t for at in levels(path(name), 12, grid, 1.5)]
    assert times[0] == 1
    assert times[-1] == 0
    assert len(times) == 13
    assert all(a > b for a, b in pairwise(times))


def test_evaluations_are_what_is_spent():
    """Each evaluation of the network is counted, a doubled batch as two."""
    spec = rows(2, classes=2)
    denoiser, spent = Mixture(torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), 0.5, Straight()), []

    class Counted(CanDenoise):
        schedule = denoiser.schedule

        def denoise(self, x_t, t, c):
            spent.append(len(x_t) / 4)
            return denoiser.denoise(x_t, t, c)

    halfway = {"guidance": 2.0, "interval": (0.2, 0.7)}
    for options in (
        {},
        {"guidance": 2.0},
        halfway,
        {"sampler": "heun", "steps": 5},
        {"sampler": "edm", "steps": 5, **halfway},
        {"sampler": "unipc"},
        {"sampler": "ddpm", "steps": 7},
    ):
        spent.clear()
        ways = sampler(Counted(), spec, Sampling(**options))
        ways.sample({"label": torch.zeros(4, dtype=torch.int64)}, Noise(0, range(4)))
        assert sum(spent) == ways.evaluations
