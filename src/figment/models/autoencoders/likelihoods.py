"""The pure pieces of variational objectives: log-densities summed over dimensions, and divergences, in nats `(B,)`."""

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


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag sigma^2) || N(0, I)) = 1/2 sum(mean^2 + sigma^2 - 1 - log sigma^2): `(B, d)` -> `(B,)`.

    Kingma & Welling, "Auto-encoding variational Bayes" (2014), appendix B.
    """
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance).sum(1)


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
