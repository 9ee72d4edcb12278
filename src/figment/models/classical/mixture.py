"""A mixture of full-covariance Gaussians for each class: the density under `gaussian-mixture` and `with-prior`."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from figment.core.model import Budget
from figment.core.noise import Noise

ROWS_A_COMPONENT = 2  # examples a component needs, for each dimension
PRIOR_ROWS = 0.1  # examples, for each dimension, that the covariance within classes counts for


class Mixture(nn.Module):
    """p(z | y) = sum_k w_yk N(z | m_yk, L_yk L_yk^T), p(z) = sum_y p(y) p(z | y); z `(B, d)`, y `(B,)`, y = G is null.

    Buffers hold G groups of K components; those not used have weight 0. McLachlan & Peel, "Finite mixture models"
    (2000).
    """

    log_frequency: Tensor
    log_weight: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, groups: int, components: int, dimensions: int):
        super().__init__()
        self.register_buffer("log_frequency", torch.full((groups,), -math.log(groups)))
        self.register_buffer("log_weight", torch.full((groups, components), -math.log(components)))
        self.register_buffer("mean", torch.zeros(groups, components, dimensions))
        self.register_buffer("scale", torch.eye(dimensions).repeat(groups, components, 1, 1))

    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """log p(z | y), or log p(z) where y is null: `(B,)` nats."""
        groups, components, dimensions = self.mean.shape
        offset = (z - self.mean.flatten(0, 1)[:, None]).mT  # (G K, d, B)
        white = torch.linalg.solve_triangular(self.scale.flatten(0, 1), offset, upper=False)
        log_det = self.scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        gaussian = -0.5 * (white.square().sum(1).view(groups, components, -1) + dimensions * math.log(2 * math.pi))
        conditional = (gaussian + (self.log_weight - log_det)[..., None]).logsumexp(1)  # (G, B)
        marginal = (conditional + self.log_frequency[:, None]).logsumexp(0)
        return torch.cat([conditional, marginal[None]]).gather(0, y[None])[0]

    def draw(self, y: Tensor, noise: Noise) -> Tensor:
        """z ~ p(z | y), or p(z) where y is null: `(B, d)`."""
        groups, _, dimensions = self.mean.shape
        chance, normal = noise.uniform((2,)), noise.normal((dimensions,))
        drawn = _inverse(self.log_frequency.exp().expand(len(y), -1), chance[:, 0])
        y = torch.where(y == groups, drawn, y)
        k = _inverse(self.log_weight[y].exp(), chance[:, 1])
        return self.mean[y, k] + (self.scale[y, k] @ normal[..., None])[..., 0]

    def fit(self, z: Tensor, y: Tensor, floor: float, budget: Budget) -> Iterator[float]:
        """Expectation-maximisation (Dempster, Laird & Rubin, 1977), a group at a time; yields its mean log p in nats.

        Each covariance S_k of n_k rows becomes (n_k S_k + a S) / (n_k + a), S the covariance within groups and
        a = d / 10 (Fraley & Raftery, "Bayesian regularization for normal mixture estimation", 2007). `floor` is added
        to all variances. A group has at most one component for each 2 d of its rows, and one alone when the time is
        up; one without rows is fitted to all.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        groups, most, dimensions = self.mean.shape
        start = time.monotonic()
        counts = torch.bincount(y, minlength=groups)[:groups]
        self.log_frequency.copy_((counts / counts.sum()).log())
        self.log_weight.fill_(-math.inf)
        pooled = pooled_covariance(z, y, groups)
        for group in range(groups):
            rows = z[y == group] if counts[group] else z
            late = budget.seconds is not None and time.monotonic() - start > budget.seconds
            count = 1 if late else max(1, min(most, len(rows) // (ROWS_A_COMPONENT * dimensions)))
            rows = rows.repeat(2, 1) if len(rows) == 1 else rows
            fitted = GaussianMixture(count, reg_covar=floor, max_iter=30, random_state=budget.seed % 2**32)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                fitted.fit(rows.double().cpu().numpy())
            weight, covariance = torch.from_numpy(fitted.weights_), torch.from_numpy(fitted.covariances_)
            share = (weight * len(rows) / (weight * len(rows) + PRIOR_ROWS * dimensions)).view(-1, 1, 1)
            covariance = share * covariance + (1 - share) * (pooled + floor * torch.eye(dimensions))
            self.log_weight[group, :count] = weight.log()
            self.mean[group, :count] = torch.from_numpy(fitted.means_).to(self.mean)
            self.scale[group, :count] = torch.linalg.cholesky(covariance).to(self.scale)
            yield float(fitted.lower_bound_)


def pooled_covariance(z: Tensor, y: Tensor, groups: int) -> Tensor:
    """The covariance around the mean of each group, float64 `(d, d)` on the CPU."""
    z, y = z.double().cpu(), y.cpu()
    sums = torch.zeros(groups, z.shape[1], dtype=z.dtype).index_add_(0, y, z)
    within = z - (sums / torch.bincount(y, minlength=groups).clamp(min=1)[:, None])[y]
    return within.T @ within / len(z)


def _inverse(probability: Tensor, chance: Tensor) -> Tensor:
    """The outcome `(B,)` at which the cumulative probability `(B, K)` passes `chance` `(B,)`."""
    edges = probability.cumsum(1)
    return torch.searchsorted(edges, chance[:, None] * edges[:, -1:], right=True)[:, 0].clamp(max=edges.shape[1] - 1)
