"""The Fréchet distance between two sets of features, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GROUPS = 64
ENTRIES = 1 << 26  # of all groups' second moments: 0.5 GB


@dataclass(frozen=True)
class Moments:
    """Mean `(F,)` and covariance `(F, F)` of a set of features, in float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """From features `(N, F)`, N >= 2; the covariance is the unbiased one."""
        rows = features.double()
        mean = rows.mean(0)
        centred = rows - mean
        return cls(mean, centred.T @ centred / (len(rows) - 1))

    def root(self) -> Tensor:
        """The symmetric square root of the covariance; rounding below zero is cut off."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return vectors * values.clamp_min(0).sqrt() @ vectors.T


def distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b) - 2 |C_a^(1/2) C_b^(1/2)|_*, the squared 2-Wasserstein distance of two Gaussians.

    The nuclear norm equals tr (C_a C_b)^(1/2) and needs no complex matrix root: it is accurate where covariances are
    singular. Dowson & Landau, "The Fréchet distance between multivariate normal distributions" (1982); on features of
    pictures: Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium" (2017).
    """
    shared = torch.linalg.svdvals(a.root() @ b.root()).sum()
    spread = a.covariance.trace() + b.covariance.trace()
    return float(((a.mean - b.mean).square().sum() + spread - 2 * shared).clamp_min(0))


def frechet(a: Tensor, b: Tensor) -> float:
    """The Fréchet distance of two sets of features `(N, F)`, `(M, F)`."""
    return distance(Moments.of(a), Moments.of(b))


def interval(a: Tensor, b: Tensor, level: float = 0.95, replicates: int = 100, seed: int = 0) -> tuple[float, float]:
    """A bootstrap interval of `frechet(a, b)` that holds with probability `level`.

    Rows are dealt into 64 groups (16 of 2048 features); a replicate draws groups with replacement, so that it costs
    sums of ready moments. Resampling adds to a Fréchet distance what a smaller n does; the replicates are therefore
    centred on the estimate: d + quantile(d* - median d*). Where the features are many, replicates are fewer (20 from
    512 on).
    Efron & Tibshirani, "An introduction to the bootstrap" (1993).
    """
    replicates = replicates if a.shape[1] < 512 else min(replicates, 20)
    generator = torch.Generator().manual_seed(seed)
    origin = b.double().mean(0)
    first, second = (_Grouped(rows.double() - origin, generator) for rows in (a, b))
    drawn = torch.tensor([distance(first.resample(generator), second.resample(generator)) for _ in range(replicates)])
    tail = (1 - level) / 2
    deviations = torch.quantile(drawn - drawn.median(), torch.tensor([tail, 1 - tail]))
    low, high = (frechet(a, b) + deviations).tolist()
    return max(low, 0.0), high


class _Grouped:
    """Counts, sums and second moments of random groups of rows."""

    def __init__(self, rows: Tensor, generator: torch.Generator):
        groups = min(GROUPS, len(rows), max(8, ENTRIES // rows.shape[1] ** 2))
        parts = rows[torch.randperm(len(rows), generator=generator)].tensor_split(groups)
        self.counts = torch.tensor([len(part) for part in parts], dtype=torch.float64)
        self.sums = torch.stack([part.sum(0) for part in parts])
        self.products = torch.stack([part.T @ part for part in parts])

    def resample(self, generator: torch.Generator) -> Moments:
        groups = len(self.counts)
        weights = torch.randint(groups, (groups,), generator=generator).bincount(minlength=groups).double()
        count = weights @ self.counts
        mean = weights @ self.sums / count
        product = torch.einsum("g,gij->ij", weights, self.products)
        return Moments(mean, (product - count * torch.outer(mean, mean)) / (count - 1))
