"""From the last noise to data: how likely x is where it is known but for little."""

from __future__ import annotations

import torch
from torch import Tensor

from figment.core.data import Image, Latent, Vector
from figment.core.model import Denoised

BEYOND = 1e9  # deviations: an infinite end, where gradients would be undefined


def log_likelihood(value: Image | Vector | Latent, x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """log N(x; mean, spread^2), or for pictures the log of its mass between neighbouring grey levels."""
    if not isinstance(value, Image):
        return torch.distributions.Normal(mean, spread).log_prob(x)
    half = 1 / ((2 if value.binary else value.levels) - 1)
    upper = torch.where(x + half > 1, BEYOND, (x + half - mean) / spread)
    lower = torch.where(x - half < -1, -BEYOND, (x - half - mean) / spread)
    # the mass is taken in the lower tail, where float32 keeps its digits
    flipped = lower + upper > 0
    lower, upper = torch.where(flipped, -upper, lower), torch.where(flipped, -lower, upper)
    high, low = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
    return high + torch.log1p(-(low - high).exp())


def decoded(value: Image | Vector | Latent, x: Tensor, found: Denoised, spread: Tensor) -> Tensor:
    """log p(x | x_t) `(B,)` nats, x_t having noise of `spread` = sigma / alpha: by what the denoiser knows of each
    value, else a normal of its own variance, else of that of the noise."""
    if found.posterior is not None:
        nats = found.posterior.log_mass(value, x)
    else:
        deviation = spread if found.variance is None else found.variance.clamp(min=1e-8).sqrt()
        nats = log_likelihood(value, x, found.mean, deviation)
    return nats.flatten(1).sum(1)
