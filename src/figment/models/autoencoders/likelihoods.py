"""Log-densities and masses summed over dimensions, and divergences, in nats `(B,)`: pure functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def squared_error(x: Tensor, mean: Tensor) -> Tensor:
    """||x - mean||^2, summed over all but the first dimension: `(B, ...)` -> `(B,)`."""
    return (x.float() - mean.float()).square().flatten(1).sum(1)


def gaussian_log_density(error: Tensor, variance: Tensor, dimensions: int) -> Tensor:
    """log N(x | mean, variance I) = -error / (2 variance) - D/2 log(2 pi variance), error = ||x - mean||^2 `(B,)`."""
    return -0.5 * (error / variance + dimensions * (math.log(2 * math.pi) + variance.log()))


def bernoulli_log_mass(x: Tensor, logits: Tensor) -> Tensor:
    """log P(x) of independent pixels, x in {-1, 1} as 0 and 1: `(B, ...)` -> `(B,)`."""
    bits = (x.float() + 1) / 2
    return -F.binary_cross_entropy_with_logits(logits.float(), bits, reduction="none").flatten(1).sum(1)


def diagonal_gaussian_log_density(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(x | mean, diag exp(log_variance)), a variance for each number of x: `(B, ...)` -> `(B,)`."""
    x, mean, log_variance = x.float(), mean.float(), log_variance.float()
    scaled = (x - mean).square() * (-log_variance).exp()
    return -0.5 * (scaled + log_variance + math.log(2 * math.pi)).flatten(1).sum(1)


def logistic_log_mass(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int = 256) -> Tensor:
    """log P(x) of independent pixels on `levels` equidistant values of [-1, 1]: `(B, ...)` -> `(B,)`.

    P(x) = s((x + h - mean) / scale) - s((x - h - mean) / scale), s the logistic function, 2 h the distance of levels;
    the first and the last level take the tails, so that the masses sum to 1. With a, b the two arguments,
    s(a) - s(b) = s(a) s(-b) (1 - e^(b - a)): exact in logarithms, however small. Salimans et al., "PixelCNN++" (2017).
    """
    x, mean, log_scale = x.float(), mean.float(), log_scale.float()
    half, inverse = 1 / (levels - 1), (-log_scale).exp()
    below = F.logsigmoid((x + half - mean) * inverse).where(x < 1 - half, 0.0)
    above = F.logsigmoid((mean - x + half) * inverse).where(x > half - 1, 0.0)
    between = (-torch.expm1(-2 * half * inverse)).log().expand_as(x).where(x.abs() < 1 - half, 0.0)
    return (below + above + between).flatten(1).sum(1)


def kl_by_dimension(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, sigma^2) || N(0, 1)) = 1/2 (mean^2 + sigma^2 - 1 - log sigma^2) of each dimension: `(B, d)`.

    Kingma & Welling, "Auto-encoding variational Bayes" (2014), appendix B.
    """
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag sigma^2) || N(0, I)), the sum of `kl_by_dimension`: `(B, d)` -> `(B,)`."""
    return kl_by_dimension(mean, log_variance).sum(1)


def reparametrise(mean: Tensor, log_variance: Tensor) -> Tensor:
    """z = mean + sigma epsilon, epsilon ~ N(0, I): a draw whose gradient reaches mean and sigma, `(B, d)`.

    Kingma & Welling, "Auto-encoding variational Bayes" (2014).
    """
    return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)


def active_units(mean: Tensor) -> Tensor:
    """How many latent dimensions carry information: Var_x E[z | x] > 0.01.

    Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders" (2016).
    """
    return (mean.var(dim=0, correction=0) > 0.01).float().sum()
