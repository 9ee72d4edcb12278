"""The chain of T steps, and the terms that its bound is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor

from figment.core.data import Image, Vector
from figment.core.model import CanDenoise
from figment.models.diffusion.bound import denoised, log_likelihood
from figment.models.diffusion.samplers import Level, level

Spread = Literal["beta-tilde", "beta"]


@dataclass(frozen=True)
class Transition:
    """q(x_s | x_t, x) = N(x_t's part + `weight` x, beta_tilde), s < t; `beta` is the variance of x_t given x_s.

    beta = sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2, beta_tilde = beta sigma_s^2 / sigma_t^2, weight = alpha_s beta /
    sigma_t^2. Ho et al., "Denoising diffusion probabilistic models" (2020), eq. 7.
    """

    here: Level
    there: Level

    @property
    def beta(self) -> float:
        return self.here.sigma**2 - (self.here.alpha / self.there.alpha * self.there.sigma) ** 2

    @property
    def beta_tilde(self) -> float:
        return self.beta * self.there.sigma**2 / self.here.sigma**2

    @property
    def weight(self) -> float:
        return self.there.alpha * self.beta / self.here.sigma**2

    def divergence(self, x: Tensor, mean: Tensor, spread: Spread) -> Tensor:
        """KL(q(x_s | x_t, x) || N(the same with `mean` for x, beta or beta_tilde)) `(B,)` nats."""
        variance = self.beta if spread == "beta" else self.beta_tilde
        ratio = self.beta_tilde / variance
        squares = (self.weight * (x - mean)).double().flatten(1).square().sum(1) / variance
        return (squares + x[0].numel() * (ratio - 1 - math.log(ratio))) / 2


def chain_terms(
    denoiser: CanDenoise,
    value: Image | Vector,
    x: Tensor,
    c: Mapping[str, Tensor],
    steps: int,
    spread: Spread = "beta-tilde",
) -> Iterator[Tensor]:
    """L_0, L_1, ..., L_T, each `(B,)` nats, at fresh noise: -log p(x | c) <= their sum, in expectation.

    L_0 = -log p(x | x_1), the mass of 8-bit pictures and a density of rows, of the variance of x_1's noise; L_{i-1} =
    KL(q(x_{i-1} | x_i, x) || p(x_{i-1} | x_i)), p with E[x | x_i] for x; L_T = KL(q(x_T | x) || N(0, I)), where
    nothing is learned. Ho et al., "Denoising diffusion probabilistic models" (2020), eq. 5.
    """
    levels = [level(denoiser.schedule, i / steps) for i in range(steps + 1)]
    for there, here in pairwise(levels):
        mean, alpha, sigma = denoised(denoiser, value, x, x.new_full((len(x),), here.t), c)
        if there.t:
            yield Transition(here, there).divergence(x, mean, spread)
        else:
            yield -log_likelihood(value, x, mean, sigma / alpha).double().flatten(1).sum(1)
    last = levels[-1]
    squares = last.alpha**2 * x.double().flatten(1).square().sum(1)
    yield (squares + x[0].numel() * (last.sigma**2 - 1 - 2 * math.log(last.sigma))) / 2
