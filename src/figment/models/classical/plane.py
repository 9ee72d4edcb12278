"""Densities on the plane of the principal components, with isotropic noise off it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from figment.core.data import Dataset, Spec
from figment.core.model import Budget, CanEncode, Fits, HasLogProb, HasPrior, Model, ModelConfig
from figment.core.noise import Noise
from figment.core.order import Order
from figment.models.autoencoders.likelihoods import gaussian_log_density, squared_error
from figment.models.classical.mixture import Mixture
from figment.models.classical.rows import batches, rounding

ROWS = 10_000  # that principal components are computed from


@dataclass(frozen=True)
class Plane:
    """x is near centre + basis u: centre `(D,)`, basis `(D, k)` orthonormal, spread `(k,)` the variances of u in
    falling order, variance `()` the mean variance of the D - k dimensions off the plane."""

    centre: Tensor
    basis: Tensor
    spread: Tensor
    variance: Tensor


def principal_plane(x: Tensor, latent: int, seed: int = 0) -> Plane:
    """The plane of `latent` principal components of rows `(N, D)`, by subspace iteration.

    Halko, Martinsson & Tropp, "Finding structure with randomness" (2011).
    """
    dimensions = x.shape[1]
    centred = x - x.mean(0)
    start = torch.randn(dimensions, min(dimensions, latent + 16), generator=torch.Generator().manual_seed(seed))
    span = torch.linalg.qr(start).Q
    for _ in range(6):
        span = torch.linalg.qr(centred.T @ (centred @ span)).Q
    spread, turn = torch.linalg.eigh((centred @ span).T @ (centred @ span) / len(x))
    spread = spread.flip(0)[:latent].clamp(min=0)
    rest = centred.square().sum(1).mean() - spread.sum()
    return Plane(x.mean(0), span @ turn.flip(1)[:, :latent], spread, (rest / max(dimensions - latent, 1)).clamp(min=0))


class OnPlane(Model, Fits, HasLogProb, HasPrior, CanEncode):
    """log p(x | y) = log p(u | y) + log N(r | 0, v I_(D-k)), u = W^T (x - m), r = (x - m) - W u; subclasses say how
    p(u | y), Gaussians for each class, is fitted.

    Tipping & Bishop, "Mixtures of probabilistic principal component analysers" (1999), with one shared plane.
    """

    centre: Tensor
    basis: Tensor
    variance: Tensor

    def __init__(self, config: ModelConfig, spec: Spec, latent: int, components: int):
        super().__init__(config, spec)
        self.mixture = Mixture(spec.label.count if spec.label else 1, components, latent)
        self.register_buffer("centre", torch.zeros(spec.x.dimensions))
        self.register_buffer("basis", torch.eye(spec.x.dimensions, latent))
        self.register_buffer("variance", torch.ones(()))

    @abstractmethod
    def fit_codes(self, u: Tensor, y: Tensor, floor: float, budget: Budget) -> Iterator[float]:
        """Fits `self.mixture` to codes `(N, k)` of classes `(N,)`; yields mean log p(u | y) in nats as it goes."""

    def fit(self, data: Dataset, budget: Budget) -> Iterator[Mapping[str, float]]:
        floor = rounding(self.spec)
        rows = Order(budget.seed, data.train).rows(0, min(len(data.train), budget.rows, ROWS))
        plane = principal_plane(data.train.gather(rows).x.flatten(1), self.basis.shape[1], budget.seed)
        self.centre.copy_(plane.centre)
        self.basis.copy_(plane.basis)
        self.variance.copy_(plane.variance + floor)
        pairs = [
            (self.encode(batch.x, batch.c), self.spec.labels(batch.c, len(batch), self.device))
            for batch in batches(data, self.spec, budget, self.device)
        ]
        codes, labels = (torch.cat(parts) for parts in zip(*pairs))
        for log_likelihood in self.fit_codes(codes, labels, floor, budget):
            yield {"nll_on_plane": -log_likelihood, "off_plane_sigma": float(self.variance.sqrt())}

    def log_prob(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        code = self.encode(x, c)
        error = squared_error(x, self.decode(code, c))
        off = gaussian_log_density(error, self.variance, self.basis.shape[0] - self.basis.shape[1])
        return self.mixture.log_prob(code, self.spec.labels(c, len(x), x.device)) + off

    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return (x.float().flatten(1) - self.centre) @ self.basis

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return (self.centre + z @ self.basis.T).view(-1, *self.spec.x.shape)

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.mixture.draw(self.spec.labels(c, len(noise), noise.device), noise)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        x = self.decode(self.prior(c, noise), c)
        epsilon = noise.stream("decoder").normal((self.spec.x.dimensions,))
        off = epsilon - (epsilon @ self.basis) @ self.basis.T
        return x + self.variance.sqrt() * off.view_as(x)
