"""Samplers given the true denoiser: orders, distributions, inversion, completion and guidance."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from exact_denoiser import SCHEDULES, Mixture, pictures, rows
from figment.core.errors import UsageError
from figment.core.model import CanDenoise, Denoised
from figment.core.noise import Noise
from figment.models.diffusion.diffusion import DiffusionConfig
from figment.models.diffusion.guidance import Guided
from figment.models.diffusion.samplers import Step, ancestral, dpm, edm, heun, integrate, level, levels, unipc
from figment.models.diffusion.sampling import Sampling, sampler, thresholded
from figment.models.diffusion.schedule import Straight, path
from figment.pixels.known import coarse, grey, pixels

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


def test_a_variance_that_was_not_learned_cannot_be_drawn_with():
    denoiser = Mixture(torch.zeros(1, 2), 0.5, path("linear"))
    ways = sampler(denoiser, rows(2), Sampling(sampler="ddpm", variance="learned"))
    with pytest.raises(UsageError, match="has learned none"):
        ways.sample({}, Noise(0, range(3)))


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
