"""Naive Bayes: every dimension independent of the others, given the class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import pydantic
import torch
from torch import Tensor

from figment.core.data import Dataset, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Budget, CanSample, Fits, HasLogProb, HasMasses, Measure, Model, ModelConfig
from figment.core.noise import Noise
from figment.models.classical.rows import batches, rounding

LARGEST = 200_000_000  # numbers in the table of a categorical model
SMOOTHING = {"bernoulli": 1.0, "categorical": 0.05, "gaussian": 0.1}


class NaiveBayesConfig(ModelConfig):
    """p(x | y) = prod_d p(x_d | y)."""

    accepts = (Image, Vector)
    conditions = ("label",)
    kind: Literal["naive-bayes"] = "naive-bayes"
    observation: Literal["auto", "bernoulli", "categorical", "gaussian"] = pydantic.Field(
        "auto",
        description="p(x_d | y); auto: bernoulli for black and white pictures, categorical (a histogram of levels) for "
        "others, gaussian for rows",
    )
    smoothing: float | None = pydantic.Field(
        None,
        ge=0,
        description="counts added to each outcome; gaussian: share of the mean variance added to each variance "
        "(None: 1, .05, .1)",
    )

    def build(self, spec: Spec) -> NaiveBayes:
        spec = self.adapt(spec)
        picture = isinstance(spec.x, Image)
        binary = isinstance(spec.x, Image) and spec.x.binary
        fitting = "bernoulli" if binary else "categorical" if picture else "gaussian"
        observation = fitting if self.observation == "auto" else self.observation
        if (observation == "bernoulli" and not binary) or (observation == "categorical" and not picture):
            raise UsageError(f"observation={observation} does not fit {spec.name}: take {fitting} or gaussian.")
        numbers = (spec.label.count if spec.label else 1) * spec.x.dimensions * 256
        if observation == "categorical" and numbers > LARGEST:
            raise UsageError(f"{numbers:,} histogram entries are too many: take model.observation=gaussian.")
        smoothing = SMOOTHING[observation] if self.smoothing is None else self.smoothing
        return NaiveBayes(self.model_copy(update={"observation": observation, "smoothing": smoothing}), spec)


class NaiveBayes(Model, Fits, HasLogProb, HasMasses, CanSample):
    """Maximum likelihood with additive smoothing, in one pass: frequencies of outcomes, or means and variances.

    Bernoulli and categorical models give masses, the Gaussian one a density. Maron, "Automatic indexing: an
    experimental inquiry" (1961).
    """

    config: NaiveBayesConfig
    measure: ClassVar[Measure]
    log_frequency: Tensor
    table: Tensor

    def __init__(self, config: NaiveBayesConfig, spec: Spec):
        super().__init__(config, spec)
        self.measure = "density" if config.observation == "gaussian" else "mass"  # type: ignore[misc]
        self.outcomes = {"bernoulli": 2, "categorical": 256, "gaussian": 2}[config.observation]
        groups = spec.label.count if spec.label else 1
        self.register_buffer("log_frequency", torch.full((groups,), -math.log(groups)))
        # log P(outcome), or mean and variance: (G, D, outcomes)
        self.register_buffer("table", torch.zeros(groups, spec.x.dimensions, self.outcomes))

    def groups_of(self, c: Mapping[str, Tensor], count: int) -> Tensor:
        groups = len(self.table)
        return c.get("label", torch.full((count,), groups if groups > 1 else 0, device=self.table.device))

    def fit(self, data: Dataset, budget: Budget) -> Iterator[Mapping[str, float]]:
        groups, dimensions, outcomes = self.table.shape
        sums, count = torch.zeros(self.table.shape, dtype=torch.float64), torch.zeros(groups, dtype=torch.float64)
        for batch in batches(data, self.spec, budget, self.device):
            x, y = batch.x.flatten(1).double(), self.groups_of(batch.c, len(batch))
            count += torch.bincount(y, minlength=groups)
            if self.config.observation == "gaussian":
                sums.index_add_(0, y, torch.stack([x, x.square()], 2))
            else:
                place = (y[:, None] * dimensions + torch.arange(dimensions)) * outcomes + self._outcome(x)
                sums.view(-1).index_add_(0, place.flatten(), torch.ones((), dtype=sums.dtype).expand(place.numel()))
            yield {"rows": float(count.sum())}
        smoothing = float(self.config.smoothing or 0)
        if self.config.observation == "gaussian":
            size = count.clamp(min=1).view(-1, 1)
            mean = sums[..., 0] / size
            variance = (sums[..., 1] / size - mean.square()).clamp(min=0)
            within = (count[:, None] * variance).sum() / (count.sum() * dimensions)
            self.table.copy_(torch.stack([mean, variance + smoothing * within + rounding(self.spec)], 2))
        else:
            total = (count + outcomes * smoothing).clamp(min=1e-9).view(-1, 1, 1)
            self.table.copy_(((sums + smoothing) / total).log())
        self.log_frequency.copy_((count / count.sum()).log())

    def _outcome(self, x: Tensor) -> Tensor:
        """Which of the outcomes of a mass each dimension is: int64, of x in model range."""
        return ((x + 1) * ((self.outcomes - 1) / 2)).round().long().clamp(0, self.outcomes - 1)

    def log_prob(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        y, rows = self.groups_of(c, len(x)), x.flatten(1).float()
        each = torch.stack([self._given(rows, group) for group in range(len(self.table))], 1)  # (B, G)
        marginal = (each + self.log_frequency).logsumexp(1, keepdim=True)
        return torch.cat([each, marginal], 1).gather(1, y[:, None])[:, 0]

    def _given(self, x: Tensor, group: int) -> Tensor:
        """log p(x | y = group) `(B,)` nats."""
        table = self.table[group]
        if self.config.observation == "gaussian":
            mean, variance = table.unbind(1)
            return -0.5 * ((x - mean).square() / variance + variance.log() + math.log(2 * math.pi)).sum(1)
        return table.gather(1, self._outcome(x).T).sum(0)

    def log_masses(self, z: Tensor | None, c: Mapping[str, Tensor], count: int) -> Tensor:
        if self.measure != "mass":
            raise UsageError("observation=gaussian gives a density: take bernoulli or categorical.")
        return self.table[self.groups_of(c, count)]

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        dimensions, y = self.spec.x.dimensions, self.groups_of(c, len(noise))
        if "label" not in c and len(self.table) > 1:
            assert self.spec.label is not None
            y = self.spec.label.draw(noise.stream("condition-label"))
        if self.config.observation == "gaussian":
            mean, variance = self.table[y].unbind(2)
            x = mean + variance.sqrt() * noise.normal((dimensions,))
        else:
            edges = self.table.exp().cumsum(2)[y]
            chance = noise.uniform((dimensions,))[..., None] * edges[..., -1:]
            x = torch.searchsorted(edges, chance, right=True)[..., 0].clamp(max=self.outcomes - 1)
            x = x.float() * (2 / (self.outcomes - 1)) - 1
        return x.view(-1, *self.spec.x.shape)
