"""Every sampler against the scheduler of diffusers that goes by its name: the same states, step by step."""

from __future__ import annotations

import warnings
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from figment.models.diffusion.samplers import Level, Normal, Step, ancestral, dpm, edm, heun, unipc

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


def ours(step: Step, path: list[Level], x: Tensor) -> list[Tensor]:
    """The states at every level after the first."""
    states, past = [], []
    for here, there in pairwise(path):
        x, now = step(mean, x, here, there, past)
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


def test_ddpm() -> None:
    scheduler = diffusers.DDPMScheduler(clip_sample=False)
    scheduler.set_timesteps(STEPS)
    _by_signal(scheduler, ancestral(1.0, fresh()), generator=draws())


def _by_signal(scheduler, step: Step, **options) -> None:
    """Schedulers that keep a table of alpha^2 and step between whole times."""
    signals = [*(float(scheduler.alphas_cumprod[t]) for t in scheduler.timesteps), 1.0]
    path = [Level(0.0, signal**0.5, (1 - signal) ** 0.5) for signal in signals]
    x, theirs = noise(), []
    for t, at in zip(scheduler.timesteps, path):
        eps = (x - at.alpha * mean(x, at)) / at.sigma
        x = scheduler.step(eps, t, x, **options).prev_sample
        theirs.append(x)
    close(ours(step, path, noise()), theirs)


@pytest.mark.parametrize(
    ("name", "options", "stochastic"),
    [
        ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}, False),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, True),
        ("UniPCMultistepScheduler", {"solver_order": 2, "solver_type": "bh2"}, False),
    ],
    ids=["dpm-solver++", "dpm-solver++sde", "unipc"],
)
def test_multistep(name: str, options: dict, stochastic: bool) -> None:
    scheduler = getattr(diffusers, name)(**options)
    scheduler.set_timesteps(STEPS)
    path = [Level(0.0, 1 / (s * s + 1) ** 0.5, s / (s * s + 1) ** 0.5) for s in scheduler.sigmas.double().tolist()]
    x, theirs, normal = noise(), [], fresh()
    for t, at in zip(scheduler.timesteps, path):
        eps = (x - at.alpha * mean(x, at)) / at.sigma
        x = scheduler.step(eps, t, x, **({"variance_noise": normal()} if stochastic else {})).prev_sample
        theirs.append(x)
    step = unipc if "UniPC" in name else dpm(fresh() if stochastic else None)
    close(ours(step, path, noise()), theirs)


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"])
def test_in_units_of_the_noise(name: str) -> None:
    """Schedulers whose state is x / alpha."""
    scheduler = getattr(diffusers, name)()
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
