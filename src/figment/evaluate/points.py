"""Measures for rows of a few numbers: energy distance, divergence, and distribution functions of columns."""

from __future__ import annotations

import torch
from torch import Tensor

from figment.evaluate.neighbours import distances, nearest

HALVES = 12  # estimates from half of the rows, whose spread tells a standard error


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
    """KL(p || q) = E_p[log p - log q] in nats, and its standard error: of q there are `samples` `(M, D)`, of p `real`
    rows `(N, D)` and as many `fresh` others as samples. At a real row log p - log q = D log(r_samples / r_fresh), r the
    distance to the k-th nearest: both densities are blurred alike, so equal ones come out alike.

    It stays finite where a mode is missed, and grows with each. The standard error is the spread of estimates from
    random halves of all rows, a little above that of repeated draws. Wang, Kulkarni & Verdú, "Divergence estimation for
    multidimensional densities via k-nearest-neighbor distances" (2009); Shao & Wu, "A general theory for jackknife
    variance estimation" (1989).
    """
    equal = min(len(samples), len(fresh))
    rows, generator = (real, samples[:equal], fresh[:equal]), torch.Generator().manual_seed(0)

    def estimate(real: Tensor, samples: Tensor, fresh: Tensor) -> Tensor:
        far, near = (nearest(real, other, k)[:, -1].clamp_min(1e-12).log().mean() for other in (samples, fresh))
        return real.shape[1] * (far - near)

    def half(part: Tensor) -> Tensor:
        return part[torch.randperm(len(part), generator=generator)[: (len(part) + 1) // 2]]

    halves = torch.stack([estimate(*map(half, rows)) for _ in range(HALVES)])
    return float(estimate(*rows)), float(halves.std())


def on_modes(x: Tensor, centres: Tensor, deviation: float) -> tuple[int, float]:
    """How many of K equal peaks `(K, D)` rows `(N, D)` have found, and the share of rows on any of them: within three
    deviations of its centre. Found is a peak that has a tenth of its fair share, N / 10 K rows.

    Srivastava et al., "VEEGAN: reducing mode collapse in GANs using implicit variational learning" (2017), who count a
    peak that has one row.
    """
    distance, peak = torch.cdist(x.double(), centres.double()).min(1)
    near = distance <= 3 * deviation
    counts = peak[near].bincount(minlength=len(centres))
    return int((counts >= len(x) / (10 * len(centres))).sum()), float(near.double().mean())


def kolmogorov_smirnov(a: Tensor, b: Tensor) -> tuple[float, float]:
    """The largest difference of two distribution functions of a column of rows `(N, D)`, `(M, D)`, over the columns;
    and the probability that it is as large where the distributions are equal (Bonferroni: at most)."""
    from scipy.stats import ks_2samp

    tests = [ks_2samp(a[:, i].cpu(), b[:, i].cpu()) for i in range(a.shape[1])]
    return max(float(t.statistic) for t in tests), min(1.0, len(tests) * min(float(t.pvalue) for t in tests))
