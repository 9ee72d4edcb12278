"""Every sampler against the scheduler of diffusers that goes by its name: the same states, step by step."""

from __future__ import annotations

import warnings
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from figment.core.model import Denoised
from figment.models.diffusion.prediction import Prediction
from figment.models.diffusion.samplers import (
    Denoise,
    Level,
    Normal,
    Step,
    ancestral,
    dpm,
    edm,
    heun,
    levels,
    unipc,
)
from figment.models.diffusion.schedule import Steps
from figment.models.diffusion.schedule import path as schedule
from figment.models.diffusion.transition import Spread, Transition

diffusers = pytest.importorskip("diffusers", reason="its schedulers are what ours are compared with")
SHAPE = (16, 1, 2, 2)
STEPS = 12
CENTRES = torch.tensor([-0.8, 0.3, 1.0], dtype=torch.float64)


def mean(x: Tensor, at: Level) -> Tensor:
    """E[x | x_t] of a mixture of three normals of spread 0.25, each value alone."""
    total = at.alpha**2 * 0.25**2 + at.sigma**2
    off = x[..., None] - at.alpha * CENTRES
    guess = CENTRES + at.alpha * 0.25**2 / total * off
    return (guess * (-(off**2) / (2 * total)).softmax(-1)).sum(-1)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def exact(x: Tensor, at: Level) -> Denoised:
    return Denoised(mean(x, at))


def ours(step: Step, path: list[Level], x: Tensor, denoise: Denoise = exact) -> list[Tensor]:
    """The states at every level after the first."""
    states, past = [], []
    for here, there in pairwise(path):
        x, now = step(denoise, x, here, there, past)
        past = [*past[-1:], now]
        states.append(x)
    return states


def close(mine: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(mine) == len(theirs) == STEPS
    for a, b in zip(mine, theirs):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def noise() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def fresh() -> Normal:
    """The noise that a scheduler given `draws()` adds."""
    generator = draws()
    return lambda: torch.randn(SHAPE, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim(eta: float) -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(STEPS)
    _by_signal(scheduler, ancestral(eta, fresh()), eta=eta, generator=draws())


@pytest.mark.parametrize(("kind", "spread"), [("fixed_small", "beta-tilde"), ("fixed_large", "beta")])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_ddpm(kind: str, spread: Spread, prediction: str) -> None:
    scheduler = diffusers.DDPMScheduler(variance_type=kind, clip_sample=False, prediction_type=prediction)
    scheduler.set_timesteps(STEPS)
    _by_signal(scheduler, ancestral(1.0, fresh(), spread), generator=draws())


def test_ddpm_with_a_learned_variance() -> None:
    """The network's second half of channels goes from -1, beta-tilde, to 1, beta; the whole chain, step by step."""
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=STEPS, variance_type="learned_range", clip_sample=False)
    scheduler.set_timesteps(STEPS)
    signals = [*scheduler.alphas_cumprod.flip(0).double().tolist(), 1.0]
    path = [Level(0.0, signal**0.5, (1 - signal) ** 0.5) for signal in signals]
    steps = {here: Transition.between(here, there) for here, there in pairwise(path)}

    def share(x: Tensor) -> Tensor:
        return (3 * x).sin()

    def found(x: Tensor, at: Level) -> Denoised:
        step, least = steps[at], steps[at].beta_tilde or steps[path[-3]].beta_tilde
        logs = torch.tensor([step.beta, least], dtype=x.dtype).log()
        variance = ((1 + share(x)) / 2 * logs[0] + (1 - share(x)) / 2 * logs[1]).exp()
        return Denoised(mean(x, at), (variance - step.beta_tilde) / step.weight**2)

    x, theirs, generator = noise(), [], draws()
    for t, here in zip(scheduler.timesteps, path):
        output = torch.cat([(x - here.alpha * mean(x, here)) / here.sigma, share(x)], dim=1)
        x = scheduler.step(output, t, x, generator=generator).prev_sample
        theirs.append(x)
    close(ours(ancestral(1.0, fresh()), path, noise(), found), theirs)


def _by_signal(scheduler, step: Step, **options) -> None:
    """Schedulers that keep a table of alpha^2 and step between whole times."""
    signals = [*(float(scheduler.alphas_cumprod[t]) for t in scheduler.timesteps), 1.0]
    path = [Level(0.0, signal**0.5, (1 - signal) ** 0.5) for signal in signals]
    x, theirs = noise(), []
    for t, at in zip(scheduler.timesteps, path):
        named = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}[scheduler.config.prediction_type]
        rates = (torch.tensor(rate, dtype=x.dtype) for rate in (at.alpha, at.sigma, 1.0, 0.0))
        guess = mean(x, at)
        target = Prediction(named).target(guess, (x - at.alpha * guess) / at.sigma, Transition(*rates))
        x = scheduler.step(target, t, x, **options).prev_sample
        theirs.append(x)
    close(ours(step, path, noise()), theirs)


@pytest.mark.parametrize("karras", [False, True], ids=["own", "karras"])
@pytest.mark.parametrize(
    ("name", "options", "stochastic"),
    [
        ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}, False),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, True),
        ("UniPCMultistepScheduler", {"solver_order": 2, "solver_type": "bh2"}, False),
    ],
    ids=["dpm-solver++", "dpm-solver++sde", "unipc"],
)
def test_multistep(name: str, options: dict, stochastic: bool, karras: bool) -> None:
    scheduler = getattr(diffusers, name)(**options, use_karras_sigmas=karras)
    scheduler.set_timesteps(STEPS)
    path = [Level(0.0, 1 / (s * s + 1) ** 0.5, s / (s * s + 1) ** 0.5) for s in scheduler.sigmas.double().tolist()]
    x, theirs, normal = noise(), [], fresh()
    for t, at in zip(scheduler.timesteps, path):
        eps = (x - at.alpha * mean(x, at)) / at.sigma
        x = scheduler.step(eps, t, x, **({"variance_noise": normal()} if stochastic else {})).prev_sample
        theirs.append(x)
    step = unipc if "UniPC" in name else dpm(fresh() if stochastic else None)
    close(ours(step, path, noise()), theirs)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("EulerDiscreteScheduler", {}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
        ("EulerAncestralDiscreteScheduler", {}),
        ("HeunDiscreteScheduler", {}),
        ("HeunDiscreteScheduler", {"use_karras_sigmas": True}),
    ],
)
def test_in_units_of_the_noise(name: str, options: dict) -> None:
    """Schedulers whose state is x / alpha."""
    scheduler = getattr(diffusers, name)(**options)
    scheduler.set_timesteps(STEPS)
    sigmas = list(dict.fromkeys(scheduler.sigmas.double().tolist()))  # heun names each level twice
    path = [Level(0.0, 1 / (s * s + 1) ** 0.5, s / (s * s + 1) ** 0.5) for s in sigmas]
    state, theirs, generator = noise() / path[0].alpha, [], draws()
    for i, t in enumerate(scheduler.timesteps):
        at = path[(i + 1) // 2 if "Heun" in name else i]
        x = state * at.alpha
        eps = (x - at.alpha * mean(x, at)) / at.sigma
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = scheduler.step(
                eps, t, state, **({"generator": generator} if "Ancestral" in name else {})
            ).prev_sample
        theirs.append(state)
    if "Heun" in name:
        theirs = theirs[1::2] + theirs[-1:]
    steps = {"Euler": ancestral(), "EulerAncestral": ancestral(1.0, fresh()), "Heun": edm}
    step = steps[name.removesuffix("DiscreteScheduler")]
    close(ours(step, path, noise()), [state * at.alpha for state, at in zip(theirs, path[1:])])


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"])
def test_on_the_straight_path(name: str) -> None:
    scheduler = getattr(diffusers, name)()
    scheduler.set_timesteps(STEPS)
    path = [Level(s, 1 - s, s) for s in dict.fromkeys(scheduler.sigmas.double().tolist())]
    x, theirs = noise(), []
    for i, t in enumerate(scheduler.timesteps):
        at = path[(i + 1) // 2 if "Heun" in name else i]
        flow = (x - mean(x, at)) / at.sigma  # noise - x
        x = scheduler.step(flow, t, x).prev_sample
        theirs.append(x)
    if "Heun" in name:
        theirs = theirs[1::2] + theirs[-1:]
    close(ours(heun if "Heun" in name else ancestral(), path, noise()), theirs)


def test_the_grid_of_karras() -> None:
    """Evenly spaced in (sigma / alpha)^(1/7), as the levels of diffusers' conversion are between their own ends."""
    scheduler = diffusers.DPMSolverMultistepScheduler(use_karras_sigmas=True)
    scheduler.set_timesteps(STEPS)
    grid = levels(schedule("linear"), STEPS, "karras", 1.0)[:-1]
    places = []
    for sigmas in (scheduler.sigmas[:-1].double(), torch.tensor([at.sigma / at.alpha for at in grid]).double()):
        even = sigmas ** (1 / 7)
        places.append((even - even[-1]) / (even[0] - even[-1]))
    torch.testing.assert_close(*places, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
@pytest.mark.parametrize("zero", [False, True])
def test_tables_of_betas(name: str, theirs: str, zero: bool) -> None:
    scheduler = diffusers.DDIMScheduler(beta_schedule=theirs, rescale_betas_zero_snr=zero)
    mine = schedule(name, zero_snr=zero)
    assert isinstance(mine, Steps)
    times = torch.arange(1, 1001, dtype=torch.float64) / 1000
    torch.testing.assert_close(mine.alpha(times) ** 2, scheduler.alphas_cumprod.double(), rtol=0, atol=1e-5)
