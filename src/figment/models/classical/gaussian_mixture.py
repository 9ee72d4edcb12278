"""A mixture of Gaussians on the plane of the principal components, with isotropic noise off it: closed form, exact."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import pydantic
import torch
from torch import Tensor

from figment.core.data import Dataset, Image, Noise, Order, Spec, Vector
from figment.core.model import Budget, CanEncode, Fits, HasLogProb, HasPrior, Model, ModelConfig
from figment.models.autoencoders.likelihoods import gaussian_log_density, squared_error
from figment.models.classical.mixture import Mixture

PLANE = {"tiny": 32, "small": 112, "base": 192, "large": 320}
COMPONENTS = {"tiny": 20, "small": 100, "base": 200, "large": 400}
PCA_ROWS = 10_000
ROUNDING = (2 / 255) ** 2 / 12  # the variance of pixels within their grey level, in model range


class GaussianMixtureConfig(ModelConfig):
    """x = m + W u + off-plane noise, u ~ a mixture of Gaussians for each class."""

    accepts = (Image, Vector)
    conditions = ("label",)
    kind: Literal["gaussian-mixture"] = "gaussian-mixture"
    latent: int | None = pydantic.Field(None, ge=1, le=4096, description="dimensions of the plane (None: by size)")
    components: int | None = pydantic.Field(
        None, ge=1, le=10_000, description="Gaussians over all classes, fewer where the data is small (None: by size)"
    )

    def build(self, spec: Spec) -> GaussianMixture:
        spec = self.adapt(spec)
        latent = min(spec.x.dimensions, self.latent or PLANE[self.size])
        components = self.components or COMPONENTS[self.size]
        return GaussianMixture(self.model_copy(update={"latent": latent, "components": components}), spec)


class GaussianMixture(Model, Fits, HasLogProb, HasPrior, CanEncode):
    """log p(x | y) = log p(u | y) + log N(r | 0, v I_(D-k)), u = W^T (x - m), r = (x - m) - W u.

    Tipping & Bishop, "Mixtures of probabilistic principal component analysers" (1999), with one shared plane.
    """

    config: GaussianMixtureConfig
    centre: Tensor
    basis: Tensor
    variance: Tensor

    def __init__(self, config: GaussianMixtureConfig, spec: Spec):
        super().__init__(config, spec)
        assert config.latent is not None
        assert config.components is not None
        groups = spec.label.count if spec.label else 1
        self.mixture = Mixture(groups, math.ceil(config.components / groups), config.latent)
        self.register_buffer("centre", torch.zeros(spec.x.dimensions))
        self.register_buffer("basis", torch.eye(spec.x.dimensions, config.latent))
        self.register_buffer("variance", torch.ones(()))

    def fit(self, data: Dataset, budget: Budget) -> Iterator[Mapping[str, float]]:
        rows = Order(budget.seed, data.train).rows(0, min(len(data.train), budget.rows))
        floor = ROUNDING if isinstance(self.spec.x, Image) else 1e-6
        self._fit_plane(data.train.gather(rows[:PCA_ROWS]).x.flatten(1), floor, budget.seed)
        pairs = []
        for start in range(0, len(rows), 1000):
            batch = data.train.gather(rows[start : start + 1000]).suited(self.spec).to(self.device)
            pairs.append((self.encode(batch.x, batch.c), self.mixture.groups_of(batch.c, len(batch))))
        codes, labels = (torch.cat(parts) for parts in zip(*pairs))
        for log_likelihood in self.mixture.fit(codes, labels, floor, budget):
            yield {"nll_on_plane": -log_likelihood, "off_plane_sigma": float(self.variance.sqrt())}

    def _fit_plane(self, x: Tensor, floor: float, seed: int) -> None:
        """Principal components by subspace iteration, and the mean variance off their plane.

        Halko, Martinsson & Tropp, "Finding structure with randomness" (2011).
        """
        dimensions, latent = self.basis.shape
        centred = x - x.mean(0)
        start = torch.randn(dimensions, min(dimensions, latent + 16), generator=torch.Generator().manual_seed(seed))
        span = torch.linalg.qr(start).Q
        for _ in range(6):
            span = torch.linalg.qr(centred.T @ (centred @ span)).Q
        spread, turn = torch.linalg.eigh((centred @ span).T @ (centred @ span) / len(x))
        self.centre.copy_(x.mean(0))
        self.basis.copy_(span @ turn.flip(1)[:, :latent])
        rest = centred.square().sum(1).mean() - spread.flip(0)[:latent].sum()
        self.variance.copy_((rest / max(dimensions - latent, 1)).clamp(min=0) + floor)

    def log_prob(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        code = self.encode(x, c)
        error = squared_error(x, self.decode(code, c))
        off = gaussian_log_density(error, self.variance, self.basis.shape[0] - self.basis.shape[1])
        return self.mixture.log_prob(code, self.mixture.groups_of(c, len(x))) + off

    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return (x.float().flatten(1) - self.centre) @ self.basis

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return (self.centre + z @ self.basis.T).view(-1, *self.spec.x.shape)

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.mixture.draw(self.mixture.groups_of(c, len(noise)), noise)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        x = self.decode(self.prior(c, noise), c)
        epsilon = noise.stream("decoder").normal((self.spec.x.dimensions,))
        off = epsilon - (epsilon @ self.basis) @ self.basis.T
        return x + self.variance.sqrt() * off.view_as(x)
