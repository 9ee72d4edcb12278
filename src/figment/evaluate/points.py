"""Measures for rows of a few numbers: energy distance, and divergence from a known density."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from figment.evaluate.neighbours import distances, nearest


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|A - B| - E|A - A'| - E|B - B'| of rows `(N, D)`, `(M, D)`, without bias (it may come out below zero).

    Székely & Rizzo, "Energy statistics: a class of statistics based on distances" (2013).
    """
    across = _total(a, b) / (len(a) * len(b))
    within = [_total(x, x) / (len(x) * (len(x) - 1)) for x in (a, b)]
    return 2 * across - sum(within)


def _total(a: Tensor, b: Tensor) -> float:
    return sum(float(block.sum()) for _, block in distances(a, b))


def divergence(log_density: Tensor, real: Tensor, samples: Tensor, k: int = 5) -> float:
    """KL(p || q) = E_p[log p - log q] in nats: log p `(N,)` is known at the real rows `(N, D)`, q is estimated from
    samples `(M, D)` by their k-th nearest neighbour: log q(x) = psi(k) - log(M V_D r_k(x)^D), V_D the unit ball.

    It stays finite where a mode is missed, and grows with each; rows that rounding put beyond an edge of p are left
    out. Kozachenko & Leonenko, "Sample estimate of the entropy of a random vector" (1987); Wang, Kulkarni & Verdú,
    "Divergence estimation for multidimensional densities via k-nearest-neighbor distances" (2009).
    """
    dimensions = real.shape[1]
    radius = nearest(real, samples, k)[:, -1].clamp_min(1e-12)
    log_ball = dimensions / 2 * math.log(math.pi) - math.lgamma(dimensions / 2 + 1)
    digamma = float(torch.digamma(torch.tensor(float(k), dtype=torch.float64)))
    log_model = digamma - math.log(len(samples)) - log_ball - dimensions * radius.log()
    return float((log_density.double() - log_model)[log_density.isfinite()].mean())
