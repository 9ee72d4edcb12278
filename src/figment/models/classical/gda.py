"""Gaussian discriminant analysis: one Gaussian a class on the plane of the principal components."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pydantic
import torch
from torch import Tensor

from figment.core.data import Image, Spec, Vector
from figment.core.model import Budget, ModelConfig
from figment.models.classical.mixture import pooled_covariance
from figment.models.classical.plane import OnPlane

PLANE = {"tiny": 20, "small": 50, "base": 100, "large": 200}


class GDAConfig(ModelConfig):
    """p(u | y) = N(m_y, S_y) on the plane, isotropic noise off it; with S_y = S the boundaries are linear."""

    accepts = (Image, Vector)
    conditions = ("label",)
    kind: Literal["gda"] = "gda"
    latent: int | None = pydantic.Field(None, ge=1, le=4096, description="dimensions of the plane (None: by size)")
    covariance: Literal["full", "shared"] = pydantic.Field(
        "full", description="full: a covariance for each class (quadratic); shared: one for all (linear)"
    )
    shrinkage: float = pydantic.Field(
        10.0, ge=0, description="covariance=full: rows that the shared covariance counts for in that of a class"
    )

    def build(self, spec: Spec) -> GDA:
        spec = self.adapt(spec)
        latent = min(spec.x.dimensions, self.latent or PLANE[self.size])
        return GDA(self.model_copy(update={"latent": latent}), spec)


class GDA(OnPlane):
    """Maximum likelihood: m_y the mean of class y, S the covariance around those means, and, for covariance=full,
    S_y <- (n_y S_y + a S) / (n_y + a), a = shrinkage. One Gaussian where there are no labels.

    Fisher, "The use of multiple measurements in taxonomic problems" (1936); Hastie, Tibshirani & Friedman, "The
    elements of statistical learning" (2009), section 4.3.
    """

    config: GDAConfig

    def __init__(self, config: GDAConfig, spec: Spec):
        assert config.latent
        super().__init__(config, spec, config.latent, 1)

    def fit_codes(self, u: Tensor, y: Tensor, floor: float, budget: Budget) -> Iterator[float]:
        groups, _, dimensions = self.mixture.mean.shape
        shared = pooled_covariance(u, y, groups)
        least = floor * torch.eye(dimensions)
        for group in range(groups):
            own, covariance = u[y == group].double().cpu(), shared
            if self.config.covariance == "full" and len(own):
                spread = own.T.cov(correction=0).view(dimensions, dimensions)
                covariance = (len(own) * spread + self.config.shrinkage * shared) / (len(own) + self.config.shrinkage)
            self.mixture.mean[group, 0] = own.mean(0) if len(own) else u.mean(0)
            self.mixture.scale[group, 0] = torch.linalg.cholesky(covariance + least)
        self.mixture.log_frequency.copy_((torch.bincount(y, minlength=groups) / len(y)).log())
        yield float(self.mixture.log_prob(u, y).mean())
