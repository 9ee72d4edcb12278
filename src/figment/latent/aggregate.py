"""How far the codes of all data together, q(z), are from the prior p(z) = N(0, I) that samples are drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ENTRIES = 1 << 24  # of the table of log-densities in memory at a time


@dataclass(frozen=True)
class AggregateGap:
    """E_x KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z)), in nats; the last, the gap, lies between two bounds.

    Hoffman & Johnson, "ELBO surgery: yet another way to carve up the variational evidence lower bound" (2016).
    """

    kl: float
    at_least: float
    at_most: float


def aggregate_gap(mean: Tensor, deviation: Tensor, z: Tensor) -> AggregateGap:
    """From posteriors N(mean, diag deviation^2) of N rows of data and a draw z of each, all `(N, d)`, N > d.

    At least: KL(g || p), g the Gaussian with the mean and covariance of q(z), for KL(q || p) = KL(q || g) + KL(g || p).
    At most: E log q_N(z) - log p(z), where q_N = 1/N sum_n q(z | x_n) includes the row that z was drawn from; it is
    near where I(x; z) is well below log N.
    """
    mean, deviation, z = mean.double(), deviation.double(), z.double()
    prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    log_q = torch.cat([_log_mixture(part, mean, deviation) for part in z.split(max(1, ENTRIES // len(z)))])
    kl = 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).sum(1)
    return AggregateGap(float(kl.mean()), gaussian_kl(mean, deviation), float((log_q - prior).mean()))


def gaussian_kl(mean: Tensor, deviation: Tensor) -> float:
    """1/2 (|m|^2 + tr S - d - log det S) nats: N(m, S), the moments of the posteriors' mixture, from N(0, I).

    Less what chance adds to it in N rows, to first order: (tr^2 A + tr A^2 + 2 tr A) / 4N, A = S^-1 Cov(mean).
    """
    spread = torch.atleast_2d(mean.T.cov(correction=0))
    covariance = spread + deviation.square().mean(0).diag()
    excess = mean.mean(0).square().sum() + covariance.trace() - len(covariance) - torch.logdet(covariance)
    share = torch.linalg.solve(covariance, spread)
    chance = (share.trace() ** 2 + (share @ share).trace() + 2 * share.trace()) / (4 * len(mean))
    return max(0.0, float(excess / 2 - chance))


def _log_mixture(z: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """log 1/N sum_n N(z | mean_n, deviation_n^2) `(B,)`, the squares expanded into matrix products."""
    precision = deviation.square().reciprocal()
    squares = z.square() @ precision.T - 2 * z @ (mean * precision).T + (mean.square() * precision).sum(1)
    scale = (deviation.log() + 0.5 * math.log(2 * math.pi)).sum(1)
    return torch.logsumexp(-0.5 * squares - scale, 1) - math.log(len(mean))
