"""The variational bound of a denoiser, in continuous time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from figment.core.data import Image, Vector
from figment.core.model import CanDenoise

# Log-SNR at the ends: any give a bound, and these a tight one. At 7 the noise is 4 grey levels of 8 bits wide: beyond,
# the noisy pixels say more of a picture than a network trained for minutes does.
QUIET, LOUD = {"image": 7.0, "vector": 9.2}, -12.0


def variational_bound(
    denoiser: CanDenoise, value: Image | Vector, x: Tensor, c: Mapping[str, Tensor], terms: int
) -> Tensor:
    """A lower bound of log p(x | c) `(B,)` nats, right in expectation over the noise it draws:

    E log p(x | x_0) - 1/2 int E |noise - noise_hat|^2 dlambda - KL(q(x_1 | x) || N(0, I)),

    the integral over `terms` stratified log-SNRs. p(x | x_0) is a normal around E[x | x_0] of spread sigma / alpha,
    and for pictures its mass on the bin of each 8-bit value. Kingma et al., "Variational diffusion models" (2021).
    """
    path = denoiser.schedule
    ends = torch.tensor([QUIET[value.kind], LOUD], dtype=torch.float64)
    ends = path.log_snr(path.time(ends))  # where the schedule itself ends earlier, its own end
    draws = (torch.rand(terms, len(x), dtype=torch.float64) + torch.arange(terms)[:, None]) / terms
    integral = torch.zeros(len(x), device=x.device)
    for draw in draws:
        t = path.time(ends[1] + (ends[0] - ends[1]) * draw).to(x)
        mean, alpha, sigma = denoised(denoiser, value, x, t, c)
        integral += 0.5 * ((alpha / sigma) ** 2 * (x - mean) ** 2).flatten(1).sum(1)
    t = path.time(ends[:1]).to(x).expand(len(x))
    mean, alpha, sigma = denoised(denoiser, value, x, t, c)
    reconstruction = log_likelihood(value, x, mean, sigma / alpha).flatten(1).sum(1)
    alpha, sigma = (rate(path.time(ends[1:])).to(x) for rate in (path.alpha, path.sigma))
    gap = 0.5 * ((alpha * x.flatten(1)) ** 2 + sigma**2 - 1 - 2 * sigma.log()).sum(1)
    return reconstruction - integral * float(ends[0] - ends[1]) / terms - gap


def denoised(
    denoiser: CanDenoise, value: Image | Vector, x: Tensor, t: Tensor, c: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """(E[x | x_t], alpha, sigma) at fresh noise; a picture's mean lies in [-1, 1] whatever the network says."""
    alpha, sigma = (
        rate(t).view(-1, *[1] * (x.ndim - 1)) for rate in (denoiser.schedule.alpha, denoiser.schedule.sigma)
    )
    x_t = alpha * x + sigma * torch.randn_like(x)
    mean = denoiser.denoise(x_t, t, c).mean
    return mean.clamp(-1, 1) if isinstance(value, Image) else mean, alpha, sigma


def log_likelihood(value: Image | Vector, x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """log N(x; mean, spread^2), or for pictures the log of its mass between neighbouring grey levels."""
    if isinstance(value, Vector):
        return torch.distributions.Normal(mean, spread).log_prob(x)
    half = 1 / ((2 if value.binary else value.levels) - 1)
    upper = torch.where(x + half > 1, torch.inf, (x + half - mean) / spread)
    lower = torch.where(x - half < -1, -torch.inf, (x - half - mean) / spread)
    # the mass is taken in the lower tail, where float32 keeps its digits
    flipped = lower + upper > 0
    lower, upper = torch.where(flipped, -upper, lower), torch.where(flipped, -lower, upper)
    high, low = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
    return high + torch.log1p(-(low - high).exp())
