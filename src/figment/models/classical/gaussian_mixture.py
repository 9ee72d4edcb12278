"""A mixture of Gaussians on the plane of the principal components, with isotropic noise off it: closed form, exact."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import pydantic
from torch import Tensor

from figment.core.data import Image, Spec, Vector
from figment.core.model import Budget, ModelConfig
from figment.models.classical.plane import OnPlane

PLANE = {"tiny": 32, "small": 112, "base": 192, "large": 320}
COMPONENTS = {"tiny": 20, "small": 100, "base": 200, "large": 400}


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


class GaussianMixture(OnPlane):
    """p(u | y) = sum_k w_yk N(u | m_yk, S_yk), by expectation-maximisation.

    McLachlan & Peel, "Finite mixture models" (2000).
    """

    config: GaussianMixtureConfig

    def __init__(self, config: GaussianMixtureConfig, spec: Spec):
        assert config.latent and config.components
        groups = spec.label.count if spec.label else 1
        super().__init__(config, spec, config.latent, math.ceil(config.components / groups))

    def fit_codes(self, u: Tensor, y: Tensor, floor: float, budget: Budget) -> Iterator[float]:
        return self.mixture.fit(u, y, floor, budget)
