"""Kernel density estimation: a Gaussian around every training example, of one bandwidth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import pydantic
import torch
from torch import Tensor

from figment.core.data import Dataset, Image, Spec, Vector
from figment.core.errors import DataError
from figment.core.model import Budget, CanSample, Fits, HasLogProb, Model, ModelConfig
from figment.core.noise import Noise
from figment.models.classical.rows import batches, rounding

ROWS = {"tiny": 1000, "small": 5000, "base": 20_000, "large": 100_000}
CHUNK = 500  # rows whose distances are held at once
ROUNDS = 30  # of the fixed-point iteration for the bandwidth


class KDEConfig(ModelConfig):
    """p(x | y) = mean over examples x_i of class y of N(x | x_i, h^2 I)."""

    accepts = (Image, Vector)
    conditions = ("label",)
    kind: Literal["kde"] = "kde"
    rows: int | None = pydantic.Field(None, ge=4, le=1_000_000, description="examples kept (None: by size)")
    bandwidth: float | None = pydantic.Field(
        None, gt=0, le=100, description="h in model range (None: the most likely for examples left out)"
    )

    def build(self, spec: Spec) -> KDE:
        spec = self.adapt(spec)
        return KDE(self.model_copy(update={"rows": self.rows or ROWS[self.size]}), spec)


class KDE(Model, Fits, HasLogProb, CanSample):
    """The bandwidth maximises the likelihood of a tenth of the examples under the others, by expectation-maximisation:
    h^2 <- mean over left-out x_j of sum_i r_ji ||x_j - x_i||^2 / D, r_ji the share of x_i in p(x_j).

    Rosenblatt, "Remarks on some nonparametric estimates of a density function" (1956); Parzen, "On estimation of a
    probability density function and mode" (1962).
    """

    config: KDEConfig
    examples: Tensor
    group: Tensor
    kept: Tensor
    variance: Tensor

    def __init__(self, config: KDEConfig, spec: Spec):
        super().__init__(config, spec)
        assert config.rows
        self.register_buffer("examples", torch.zeros(config.rows, spec.x.dimensions))
        self.register_buffer("group", torch.zeros(config.rows, dtype=torch.int64))
        self.register_buffer("kept", torch.zeros((), dtype=torch.int64))
        self.register_buffer("variance", torch.ones(()))

    def fit(self, data: Dataset, budget: Budget) -> Iterator[Mapping[str, float]]:
        assert self.config.rows
        few = Budget(min(budget.rows, self.config.rows), budget.seconds, budget.seed)
        pairs = [
            (batch.x.flatten(1), self.spec.labels(batch.c, len(batch), self.device))
            for batch in batches(data, self.spec, few, self.device)
        ]
        x, y = (torch.cat(parts) for parts in zip(*pairs))
        if len(x) < 4:
            raise DataError(f"{len(x)} examples are too few for a kernel density.")
        self.examples[: len(x)], self.group[: len(x)] = x, y
        self.kept.fill_(len(x))
        if self.config.bandwidth is not None:
            self.variance.fill_(self.config.bandwidth**2)
            yield {"bandwidth": self.config.bandwidth}
            return
        left, centres = x[: max(len(x) // 10, 1)], x[max(len(x) // 10, 1) :]
        distance = torch.cat([squared_distance(part, centres) for part in left.split(CHUNK)])
        own = of_class(y[: len(left)], y[len(left) :])
        nearest = distance.masked_fill(~own, math.inf).amin(1)
        variance = (nearest.mean() / x.shape[1]).clamp(min=rounding(self.spec))
        for _ in range(ROUNDS):
            share = (-0.5 * distance / variance).masked_fill(~own, -math.inf).softmax(1)
            before, variance = variance, ((share * distance).sum(1).mean() / x.shape[1]).clamp(min=rounding(self.spec))
            yield {"bandwidth": float(variance.sqrt())}
            if abs(variance / before - 1) < 1e-4:
                break
        self.variance.copy_(variance)

    def log_prob(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        examples, group = self.examples[: self.kept], self.group[: self.kept]
        y, parts = self.spec.labels(c, len(x), x.device), []
        constant = 0.5 * examples.shape[1] * torch.log(2 * math.pi * self.variance)
        for rows, asked in zip(x.flatten(1).float().split(CHUNK), y.split(CHUNK)):
            own = of_class(asked, group)
            exponent = (-0.5 / self.variance * squared_distance(rows, examples)).masked_fill(~own, -math.inf)
            parts.append(exponent.logsumexp(1) - own.sum(1).log() - constant)
        return torch.cat(parts)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        y, group = self.spec.labels(c, len(noise), noise.device), self.group[: self.kept]
        edges = of_class(y, group).float().cumsum(1)
        place = torch.searchsorted(edges, noise.uniform((1,)) * edges[:, -1:], right=True)[:, 0].clamp(
            max=len(group) - 1
        )
        x = self.examples[place] + self.variance.sqrt() * noise.stream("decoder").normal((self.examples.shape[1],))
        return x.view(-1, *self.spec.x.shape)


def of_class(y: Tensor, group: Tensor) -> Tensor:
    """Which examples of classes `group` `(N,)` stand for classes `y` `(B,)`: bool `(B, N)`; all of them for a class
    without any, as the null class is."""
    own = y[:, None] == group
    return own | ~own.any(1, keepdim=True)


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """||a_i - b_j||^2 `(A, B)` of rows `(A, D)` and `(B, D)`."""
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=0)
