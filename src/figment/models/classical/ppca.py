"""Probabilistic PCA: a linear Gaussian latent-variable model, whose density and posterior are exact."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import pydantic
import torch
from torch import Tensor
from torch.distributions import Normal

from figment.core.data import Dataset, Image, Spec, Vector
from figment.core.model import Budget, Fits, HasLogProb, HasPosterior, HasPrior, Model, ModelConfig
from figment.core.noise import Noise
from figment.models.autoencoders.likelihoods import gaussian_log_density
from figment.models.classical.plane import principal_plane
from figment.models.classical.rows import batches, rounding

LATENT = {"tiny": 10, "small": 50, "base": 100, "large": 200}


class PPCAConfig(ModelConfig):
    """x = m + W z + sigma epsilon, z ~ N(0, I)."""

    accepts = (Image, Vector)
    kind: Literal["ppca"] = "ppca"
    latent: int | None = pydantic.Field(None, ge=1, le=4096, description="dimensions of z (None: by size)")

    def build(self, spec: Spec) -> PPCA:
        spec = self.adapt(spec)
        latent = min(spec.x.dimensions, self.latent or LATENT[self.size])
        return PPCA(self.model_copy(update={"latent": latent}), spec)


class PPCA(Model, Fits, HasLogProb, HasPosterior, HasPrior):
    """Maximum likelihood in closed form: W = U (L - sigma^2 I)^(1/2), sigma^2 = the mean of the variances left out, U
    and L the principal directions and variances; z | x ~ N(L^-1 W^T (x - m), sigma^2 L^-1).

    Tipping & Bishop, "Probabilistic principal component analysis" (1999).
    """

    config: PPCAConfig
    centre: Tensor
    basis: Tensor
    spread: Tensor
    variance: Tensor

    def __init__(self, config: PPCAConfig, spec: Spec):
        super().__init__(config, spec)
        assert config.latent
        self.register_buffer("centre", torch.zeros(spec.x.dimensions))
        self.register_buffer("basis", torch.eye(spec.x.dimensions, config.latent))
        self.register_buffer("spread", torch.ones(config.latent))
        self.register_buffer("variance", torch.full((), 0.5))

    def fit(self, data: Dataset, budget: Budget) -> Iterator[Mapping[str, float]]:
        x = torch.cat([batch.x.flatten(1) for batch in batches(data, self.spec, budget, self.device)])
        plane = principal_plane(x, len(self.spread), budget.seed)
        floor = rounding(self.spec)
        self.centre.copy_(plane.centre)
        self.basis.copy_(plane.basis)
        self.variance.copy_(plane.variance + floor)
        self.spread.copy_(torch.maximum(plane.spread + floor, self.variance))
        yield {"nll": -float(self.log_prob(x, {}).mean()), "sigma": float(self.variance.sqrt())}

    @property
    def gain(self) -> Tensor:
        """(L - sigma^2)^(1/2) `(k,)`: the lengths of the columns of W."""
        return (self.spread - self.variance).sqrt()

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """U^T (x - m) `(B, k)`, and the squared distance `(B,)` of x from the plane."""
        centred = x.float().flatten(1) - self.centre
        u = centred @ self.basis
        return u, (centred - u @ self.basis.T).square().sum(1)

    def log_prob(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        u, error = self.project(x)
        on = -0.5 * (u.square() / self.spread + self.spread.log() + math.log(2 * math.pi)).sum(1)
        return on + gaussian_log_density(error, self.variance, self.basis.shape[0] - self.basis.shape[1])

    def posterior(self, x: Tensor, c: Mapping[str, Tensor]) -> Normal:
        mean = self.project(x)[0] * self.gain / self.spread
        return Normal(mean, (self.variance / self.spread).sqrt().expand_as(mean))

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return noise.normal((len(self.spread),))

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return (self.centre + (z * self.gain) @ self.basis.T).view(-1, *self.spec.x.shape)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        x = self.decode(self.prior(c, noise), c)
        return x + self.variance.sqrt() * noise.stream("decoder").normal(self.spec.x.shape)
