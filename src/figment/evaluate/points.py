"""Measures for rows of a few numbers: energy distance, divergence, and distribution functions of columns."""

from __future__ import annotations

import torch
from torch import Tensor

from figment.evaluate.neighbours import distances, nearest

PARTS, SMALLEST = 20, 25  # estimates whose spread tells a standard error, and the rows each needs


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|A - B| - E|A - A'| - E|B - B'| of rows `(N, D)`, `(M, D)`, without bias (it may come out below zero).

    Székely & Rizzo, "Energy statistics: a class of statistics based on distances" (2013).
    """
    across = _total(a, b) / (len(a) * len(b))
    within = [_total(x, x) / (len(x) * (len(x) - 1)) for x in (a, b)]
    return 2 * across - sum(within)


def _total(a: Tensor, b: Tensor) -> float:
    return sum(float(block.sum()) for _, block in distances(a, b))


def divergence(real: Tensor, samples: Tensor, fresh: Tensor, k: int = 5) -> tuple[float, float]:
    """KL(p || q) = E_p[log p - log q] in nats, and its standard error: of q there are `samples` `(M, D)`, of p the
    `real` rows `(N, D)` and as many `fresh` others as samples. At a real row, log p - log q = D log(r_samples / r_fresh),
    r the distance to the k-th nearest: both densities are blurred alike, so equal ones come out alike.

    It stays finite where a mode is missed, and grows with each. The standard error is from the spread of estimates from
    parts of all rows. Wang, Kulkarni & Verdú, "Divergence estimation for multidimensional densities via
    k-nearest-neighbor distances" (2009).
    """
    equal = min(len(samples), len(fresh))
    rows = (real, samples[:equal], fresh[:equal])
    count = max(2, min(PARTS, min(map(len, rows)) // SMALLEST))
    parts = torch.stack([_log_ratio(*(part[i::count] for part in rows), k=k) for i in range(count)])
    return float(_log_ratio(*rows, k=k)), float(parts.std() / count**0.5)


def _log_ratio(real: Tensor, samples: Tensor, fresh: Tensor, k: int) -> Tensor:
    """The mean of D log(r_samples / r_fresh)."""
    far, near = (nearest(real, rows, k)[:, -1].clamp_min(1e-12).log().mean() for rows in (samples, fresh))
    return real.shape[1] * (far - near)


def kolmogorov_smirnov(a: Tensor, b: Tensor) -> tuple[float, float]:
    """The largest difference of two distribution functions of a column of rows `(N, D)`, `(M, D)`, over the columns;
    and the probability that it is as large where the distributions are equal (Bonferroni: at most)."""
    from scipy.stats import ks_2samp

    tests = [ks_2samp(a[:, i].cpu(), b[:, i].cpu()) for i in range(a.shape[1])]
    return max(float(t.statistic) for t in tests), min(1.0, len(tests) * min(float(t.pvalue) for t in tests))
