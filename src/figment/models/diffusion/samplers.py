"""From noise to data: each sampler is one step between two noise levels, and a grid says which levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from figment.models.diffusion.schedule import Schedule

GridName = Literal["uniform", "quadratic", "shifted", "karras"]


@dataclass(frozen=True)
class Level:
    """A time with its signal and noise rates."""

    t: float
    alpha: float
    sigma: float


@dataclass(frozen=True)
class Estimate:
    """E[x | x_t] at a level, and the noise that goes with it."""

    level: Level
    mean: Tensor
    noise: Tensor


Denoise = Callable[[Tensor, Level], Tensor]
Step = Callable[[Denoise, Tensor, Level, Level, Estimate | None], tuple[Tensor, Estimate]]


def levels(schedule: Schedule, steps: int, grid: GridName, shift: float) -> list[Level]:
    """`steps + 1` levels from t = 1 to t = 0.

    With u falling evenly from 1 to 0: uniform t = u; quadratic t = u^2; shifted t = shift u / (1 + (shift - 1) u)
    (Esser et al., "Scaling rectified flow transformers", 2024); karras: (sigma / alpha)^(1/7) falls evenly from 80, or
    from where the schedule ends, to 0.002, then 0 (Karras et al., "Elucidating the design space of diffusion-based
    generative models", 2022).
    """
    u = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    if grid == "karras":
        end = level(schedule, 1.0)
        widest = min(80.0, end.sigma / max(end.alpha, 1e-9))
        even = torch.linspace(widest ** (1 / 7), 0.002 ** (1 / 7), steps, dtype=torch.float64)
        t = torch.cat([schedule.time(-2 * even.log() * 7), u[-1:]])
        t[0] = 1.0
    else:
        t = {"uniform": u, "quadratic": u**2, "shifted": shift * u / (1 + (shift - 1) * u)}[grid]
    return [level(schedule, float(moment)) for moment in t]


def level(schedule: Schedule, t: float) -> Level:
    moment = torch.tensor(t, dtype=torch.float64)
    return Level(t, float(schedule.alpha(moment)), float(schedule.sigma(moment)))


def estimate(denoise: Denoise, x: Tensor, at: Level) -> Estimate:
    mean = denoise(x, at)
    return Estimate(at, mean, (x - at.alpha * mean) / at.sigma)


def ancestral(eta: float = 0.0, normal: Callable[[], Tensor] | None = None) -> Step:
    """x_t = alpha_t mean + sqrt(sigma_t^2 - s^2) noise + s fresh noise, s = eta times the spread of q(x_t | x_s, x).

    eta = 1 is DDPM (Ho et al. 2020, algorithm 2), eta = 0 DDIM (Song et al., "Denoising diffusion implicit models",
    2021).
    """

    def step(
        denoise: Denoise, x: Tensor, here: Level, there: Level, before: Estimate | None
    ) -> tuple[Tensor, Estimate]:
        now = estimate(denoise, x, here)
        if not eta or normal is None or not there.sigma:
            return there.alpha * now.mean + there.sigma * now.noise, now
        added = here.sigma**2 - (here.alpha / there.alpha * there.sigma) ** 2
        spread = eta * there.sigma / here.sigma * max(added, 0.0) ** 0.5
        kept = max(there.sigma**2 - spread**2, 0.0) ** 0.5
        return there.alpha * now.mean + kept * now.noise + spread * normal(), now

    return step


def dpm(denoise: Denoise, x: Tensor, here: Level, there: Level, before: Estimate | None) -> tuple[Tensor, Estimate]:
    """DPM-Solver++(2M): x_t = (sigma_t / sigma_s) x_s + (alpha_t - alpha_s sigma_t / sigma_s) D.

    D extrapolates the mean, linear in lambda = log(alpha / sigma), to the middle of the step from this and the last
    one; first order at either end, where lambda is infinite. Lu et al., "DPM-Solver++" (2022).
    """
    now = estimate(denoise, x, here)
    mean = now.mean
    if before is not None and there.sigma and before.level.alpha:
        ahead, behind = _log_ratio(there) - _log_ratio(here), _log_ratio(here) - _log_ratio(before.level)
        mean = mean + (mean - before.mean) * (ahead / behind / 2)
    ratio = there.sigma / here.sigma
    return ratio * x + (there.alpha - here.alpha * ratio) * mean, now


def _log_ratio(at: Level) -> float:
    return float(torch.tensor(at.alpha / at.sigma, dtype=torch.float64).log())


def heun(denoise: Denoise, x: Tensor, here: Level, there: Level, before: Estimate | None) -> tuple[Tensor, Estimate]:
    """The trapezoidal rule on dx = mean dalpha + noise dsigma: two evaluations, but one for the last step.

    Heun's rule for the straight path, and that of Karras et al. (2022) where alpha = 1.
    """
    now = estimate(denoise, x, here)
    guess = there.alpha * now.mean + there.sigma * now.noise
    if not there.sigma:
        return guess, now
    then = estimate(denoise, guess, there)
    moved = (there.alpha - here.alpha) * (now.mean + then.mean) + (there.sigma - here.sigma) * (now.noise + then.noise)
    return x + moved / 2, now


def integrate(step: Step, denoise: Denoise, x: Tensor, path: Sequence[Level]) -> Tensor:
    """x at the last level of a path, from x at its first."""
    before = None
    for here, there in pairwise(path):
        x, before = step(denoise, x, here, there, before)
    return x
