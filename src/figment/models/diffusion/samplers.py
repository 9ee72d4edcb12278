"""From noise to data: each sampler is one step between two noise levels, and a grid says which levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from figment.core.model import Denoised
from figment.models.diffusion.schedule import Schedule
from figment.models.diffusion.transition import Spread, Transition

GridName = Literal["uniform", "quadratic", "shifted", "karras"]
WIDEST = 160.0  # sigma / alpha beyond which it counts as infinite


@dataclass(frozen=True)
class Level:
    """A time with its signal and noise rates."""

    t: float
    alpha: float
    sigma: float


@dataclass(frozen=True)
class Estimate:
    """What is known at a level: the state a step set out from, E[x | x_t], and the noise that goes with it."""

    level: Level
    x: Tensor
    mean: Tensor
    variance: Tensor | None = None  # Var[x | x_t], where it is known

    @property
    def noise(self) -> Tensor:
        return (self.x - self.level.alpha * self.mean) / self.level.sigma


Denoise = Callable[[Tensor, Level], Denoised]
Normal = Callable[[], Tensor]
Past = Sequence[Estimate]  # of the last two levels, the later one last
Step = Callable[[Denoise, Tensor, Level, Level, Past], tuple[Tensor, Estimate]]


def levels(schedule: Schedule, steps: int, grid: GridName, shift: float) -> list[Level]:
    """`steps + 1` levels from t = 1 to t = 0.

    With u falling evenly from 1 to 0: uniform t = u; quadratic t = u^2; shifted t = shift u / (1 + (shift - 1) u)
    (Esser et al., "Scaling rectified flow transformers", 2024); karras: (sigma / alpha)^(1/7) falls evenly from where
    the schedule ends, or from 160, to 0.002, then 0 (Karras et al., "Elucidating the design space of diffusion-based
    generative models", 2022: 80 for data of half this spread).
    """
    u = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    if grid == "karras":
        end = level(schedule, 1.0)
        widest = min(WIDEST, end.sigma / max(end.alpha, 1e-9))
        even = torch.linspace(widest ** (1 / 7), 0.002 ** (1 / 7), steps, dtype=torch.float64)
        t = torch.cat([schedule.time(-2 * even.log() * 7), u[-1:]])
        t[0] = 1.0
    else:
        t = {"uniform": u, "quadratic": u**2, "shifted": shift * u / (1 + (shift - 1) * u)}[grid]
    return [level(schedule, float(moment)) for moment in t]


def level(schedule: Schedule, t: float) -> Level:
    moment = torch.tensor(t, dtype=torch.float64)
    return Level(t, float(schedule.alpha(moment)), float(schedule.sigma(moment)))


def integrate(step: Step, denoise: Denoise, x: Tensor, path: Sequence[Level]) -> Tensor:
    """x at the last level of a path, from x at its first."""
    past: list[Estimate] = []
    for here, there in pairwise(path):
        x, now = step(denoise, x, here, there, past)
        past = [*past[-1:], now]
    return x


def estimate(denoise: Denoise, x: Tensor, at: Level) -> Estimate:
    found = denoise(x, at)
    return Estimate(at, x, found.mean, found.variance)


def towards(x: Tensor, here: Level, there: Level, mean: Tensor) -> Tensor:
    """x_t = (sigma_t / sigma_s) x_s + (alpha_t - alpha_s sigma_t / sigma_s) mean: exact where the mean is constant."""
    ratio = there.sigma / here.sigma
    return ratio * x + (there.alpha - here.alpha * ratio) * mean


def moved(x: Tensor, here: Level, there: Level, mean: Tensor, noise: Tensor) -> Tensor:
    """x plus the way of dx = mean dalpha + noise dsigma: exact where both are constant."""
    return x + (there.alpha - here.alpha) * mean + (there.sigma - here.sigma) * noise


def ancestral(eta: float = 0.0, normal: Normal | None = None, spread: Spread | None = None) -> Step:
    """x_t = alpha_t mean + sqrt(sigma_t^2 - eta^2 beta_tilde) noise + eta sqrt(variance) fresh noise.

    The variance is beta_tilde, beta, or what was learned (None: learned where it was, else beta_tilde). eta = 1 is DDPM
    (Ho et al. 2020, algorithm 2) and, in x / alpha, the ancestral rule of Euler; eta = 0 is DDIM (Song et al.,
    "Denoising diffusion implicit models", 2021).
    """

    def step(denoise: Denoise, x: Tensor, here: Level, there: Level, past: Past) -> tuple[Tensor, Estimate]:
        now = estimate(denoise, x, here)
        if not eta or normal is None or not there.sigma:
            return towards(x, here, there, now.mean), now
        back = Transition.between(here, there)
        chosen = spread or ("beta-tilde" if now.variance is None else "learned")
        deviation = eta * torch.as_tensor(back.variance(chosen, now.variance)).clamp(min=0).sqrt().to(x)
        kept = max(there.sigma**2 - eta**2 * back.beta_tilde, 0.0) ** 0.5
        return there.alpha * now.mean + kept * now.noise + deviation * normal(), now

    return step


def dpm(normal: Normal | None = None) -> Step:
    """DPM-Solver++(2M): `towards` a mean D extrapolated, linear in lambda = log(alpha / sigma), to the middle of the
    step; first order at either end, where lambda is infinite.

    With fresh noise, of the reverse SDE: x_t = (sigma_t / sigma_s) r x_s + alpha_t (1 - r^2) D + sigma_t sqrt(1 - r^2)
    noise, r = exp(lambda_s - lambda_t). Lu et al., "DPM-Solver++" (2022).
    """

    def step(denoise: Denoise, x: Tensor, here: Level, there: Level, past: Past) -> tuple[Tensor, Estimate]:
        now = estimate(denoise, x, here)
        mean = _extrapolated(now, there, past)
        if normal is None or not there.sigma:
            return towards(x, here, there, mean), now
        r = here.alpha * there.sigma / (here.sigma * there.alpha)
        x = there.sigma / here.sigma * r * x + there.alpha * (1 - r * r) * mean
        return x + there.sigma * max(1 - r * r, 0.0) ** 0.5 * normal(), now

    return step


def unipc(denoise: Denoise, x: Tensor, here: Level, there: Level, past: Past) -> tuple[Tensor, Estimate]:
    """UniPC of order 2: the estimate at `here` first corrects the step that led there, at no further evaluation.

    Zhao et al., "UniPC: a unified predictor-corrector framework for fast sampling of diffusion models" (2023), with
    B(h) = e^h - 1. A step from where lambda is infinite is corrected, and the one after it taken, by the trapezoidal
    and by Adams and Bashforth's rule on dx = mean dalpha + noise dsigma, which are of order 2 there too.
    """
    now = estimate(denoise, x, here)
    if not past:
        return towards(x, here, there, now.mean), now
    if past[-1].level.alpha:
        now = replace(now, x=_corrected(now, past))
        return towards(now.x, here, there, _extrapolated(now, there, past)), now
    last = past[-1]
    now = replace(now, x=moved(last.x, last.level, here, (last.mean + now.mean) / 2, (last.noise + now.noise) / 2))
    if not there.sigma:
        return towards(now.x, here, there, now.mean), now
    ahead = (there.t - here.t) / (here.t - last.level.t) / 2
    mean, noise = now.mean + ahead * (now.mean - last.mean), now.noise + ahead * (now.noise - last.noise)
    return moved(now.x, here, there, mean, noise), now


def _corrected(now: Estimate, past: Past) -> Tensor:
    """The state at the level of `now`, from the last one, by what the means at both (and the one before) say."""
    last, h = past[-1], _gap(past[-1].level, now.level)
    change = math.expm1(-h)
    first = (1 + change / h) / -change
    second = 2 * (0.5 - (1 + change / h) / h) / -change
    mean = last.mean + (now.mean - last.mean) / 2
    if len(past) == 2 and past[0].level.alpha:
        behind = _gap(past[0].level, last.level) / h
        share = (first - second) / (1 + behind)
        slope = (last.mean - past[0].mean) / behind
        mean = last.mean + share * slope + (first - share) * (now.mean - last.mean)
    return towards(last.x, last.level, now.level, mean)


def _extrapolated(now: Estimate, there: Level, past: Past) -> Tensor:
    """The mean in the middle of the step to `there`, on the line through this one and the last."""
    if not past or not there.sigma or not past[-1].level.alpha:
        return now.mean
    steeper = _gap(now.level, there) / _gap(past[-1].level, now.level) / 2
    return now.mean + steeper * (now.mean - past[-1].mean)


def _gap(here: Level, there: Level) -> float:
    """lambda(there) - lambda(here), lambda = log(alpha / sigma)."""
    return math.log(there.alpha / there.sigma) - math.log(here.alpha / here.sigma)


def heun(denoise: Denoise, x: Tensor, here: Level, there: Level, past: Past) -> tuple[Tensor, Estimate]:
    """The trapezoidal rule on dx = mean dalpha + noise dsigma: two evaluations, but one for the last step.

    Heun's rule for the straight path.
    """
    now = estimate(denoise, x, here)
    guess = towards(x, here, there, now.mean)
    if not there.sigma:
        return guess, now
    then = estimate(denoise, guess, there)
    return moved(x, here, there, (now.mean + then.mean) / 2, (now.noise + then.noise) / 2), now


def edm(denoise: Denoise, x: Tensor, here: Level, there: Level, past: Past) -> tuple[Tensor, Estimate]:
    """Heun's rule on d(x / alpha) = noise d(sigma / alpha): two evaluations, but one where either end is infinite or 0.

    From next to infinite noise a step would carry the error of its second guess as many times as sigma / alpha falls.
    Karras et al., "Elucidating the design space of diffusion-based generative models" (2022), algorithm 1.
    """
    now = estimate(denoise, x, here)
    guess = towards(x, here, there, now.mean)
    if not there.sigma or here.sigma > WIDEST * here.alpha:
        return guess, now
    then = estimate(denoise, guess, there)
    ratio = there.alpha / here.alpha
    return ratio * x + (there.sigma - ratio * here.sigma) * (now.noise + then.noise) / 2, now
