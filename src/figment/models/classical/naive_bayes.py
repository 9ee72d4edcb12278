"""Naive Bayes: every dimension independent of the others, given the class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import pydantic
import torch
from torch import Tensor
from torch.distributions import Normal

from figment.core.data import Dataset, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Budget, CanSample, Fits, HasLogProb, HasMasses, Measure, Model, ModelConfig
from figment.core.noise import Noise
from figment.models.classical.rows import batches, rounding

LARGEST = 200_000_000  # numbers in the table of a categorical model
LEVELS = {"bernoulli": 2, "binomial": 256, "categorical": 256}
SMOOTHING = {"bernoulli": 1.0, "binomial": 1.0, "categorical": 0.05, "gaussian": 0.1}


class NaiveBayesConfig(ModelConfig):
    """p(x | y) = prod_d p(x_d | y)."""

    accepts = (Image, Vector)
    conditions = ("label",)
    kind: Literal["naive-bayes"] = "naive-bayes"
    observation: Literal["auto", "bernoulli", "binomial", "categorical", "gaussian"] = pydantic.Field(
        "auto",
        description="p(x_d | y); auto: bernoulli for black and white pictures, categorical (a histogram of levels) for "
        "others, gaussian for rows; binomial: a grey level is a count of successes in 255 trials",
    )
    smoothing: float | None = pydantic.Field(
        None,
        ge=0,
        description="counts added to each outcome; gaussian: share of the mean variance added to each variance "
        "(None: 1, 1, .05, .1)",
    )

    def build(self, spec: Spec) -> NaiveBayes:
        spec = self.adapt(spec)
        binary = isinstance(spec.x, Image) and spec.x.binary
        fitting = ["bernoulli"] if binary else ["categorical", "binomial"] if isinstance(spec.x, Image) else []
        fitting.append("gaussian")
        observation = fitting[0] if self.observation == "auto" else self.observation
        if observation not in fitting:
            raise UsageError(f"observation={observation} does not fit {spec.name}: take {' or '.join(fitting)}.")
        numbers = (spec.label.count if spec.label else 1) * spec.x.dimensions * 256
        if observation == "categorical" and numbers > LARGEST:
            raise UsageError(f"{numbers:,} histogram entries are too many: take model.observation=gaussian.")
        smoothing = SMOOTHING[observation] if self.smoothing is None else self.smoothing
        return NaiveBayes(self.model_copy(update={"observation": observation, "smoothing": smoothing}), spec)


class NaiveBayes(Model, Fits, HasLogProb, HasMasses, CanSample):
    """Maximum likelihood with additive smoothing, in one pass: every parameter is a mean of what is observed.

    With n + 1 levels k = 0 ... n, bernoulli (n = 1) and binomial have P(k) = C(n, k) p^k (1 - p)^(n - k) with
    p = E k / n, categorical has P(k) = E [x = k]: masses. Gaussian is a density, of mean E x and variance
    E x^2 - (E x)^2. Maron, "Automatic indexing: an experimental inquiry" (1961).
    """

    config: NaiveBayesConfig
    measure: ClassVar[Measure]
    log_frequency: Tensor
    table: Tensor

    def __init__(self, config: NaiveBayesConfig, spec: Spec):
        super().__init__(config, spec)
        self.measure = "density" if config.observation == "gaussian" else "mass"  # type: ignore[misc]
        self.trials = LEVELS.get(config.observation, 0) - 1
        groups, columns = spec.label.count if spec.label else 1, 256 if config.observation == "categorical" else 2
        self.register_buffer("log_frequency", torch.full((groups,), -math.log(groups)))
        # of each dimension log P(level), or log(1 - p) and log p, or mean and variance: (G, D, columns)
        self.register_buffer("table", torch.zeros(groups, spec.x.dimensions, columns))

    def fit(self, data: Dataset, budget: Budget) -> Iterator[Mapping[str, float]]:
        groups, dimensions, columns = self.table.shape
        sums, count = torch.zeros(self.table.shape, dtype=torch.float64), torch.zeros(groups, dtype=torch.float64)
        for batch in batches(data, self.spec, budget, self.device):
            x, y = batch.x.flatten(1).double(), self.spec.labels(batch.c, len(batch), self.device)
            count += torch.bincount(y, minlength=groups)
            if self.config.observation == "categorical":
                place = (y[:, None] * dimensions + torch.arange(dimensions)) * columns + self._level(x)
                sums.view(-1).index_add_(0, place.flatten(), torch.ones((), dtype=sums.dtype).expand(place.numel()))
            else:
                k = self._level(x)
                pair = (x, x.square()) if self.measure == "density" else (self.trials - k, k)
                sums.index_add_(0, y, torch.stack(pair, 2).double())
            yield {"rows": float(count.sum())}
        smoothing = float(self.config.smoothing or 0)
        if self.measure == "density":
            size = count.clamp(min=1).view(-1, 1)
            mean = sums[..., 0] / size
            variance = (sums[..., 1] / size - mean.square()).clamp(min=0)
            within = (count[:, None] * variance).sum() / (count.sum() * dimensions)
            self.table.copy_(torch.stack([mean, variance + smoothing * within + rounding(self.spec)], 2))
        else:
            counts = sums + smoothing
            self.table.copy_((counts / counts.sum(2, keepdim=True).clamp(min=1e-9)).log())
        self.log_frequency.copy_((count / count.sum()).log())

    def _level(self, x: Tensor) -> Tensor:
        """Which level k of x in model range each dimension has: int64."""
        return ((x + 1) * (self.trials / 2)).round().long().clamp(0, self.trials)

    @property
    def log_levels(self) -> Tensor:
        """log P(x_d = k | y) of every level: `(G, D, levels)` nats. Raises UsageError for a density."""
        if self.measure == "density":
            raise UsageError("observation=gaussian gives a density: take binomial, categorical or bernoulli.")
        if self.config.observation != "binomial":
            return self.table
        k = torch.arange(self.trials + 1, dtype=torch.float64, device=self.device)
        n = k[-1]
        ways = (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()
        least, succeeds = torch.finfo(torch.float64).min, self.table[..., 1:].double()
        fails = (-succeeds.expm1()).log()  # of the same p, as terms of hundreds of nats cancel
        return (ways + (n - k) * fails.clamp(min=least) + k * succeeds.clamp(min=least)).to(self.table)

    def log_prob(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        y, rows = self.spec.labels(c, len(x), x.device), x.flatten(1).to(self.table.dtype)
        each = self._log_density(rows) if self.measure == "density" else self._log_mass(rows)
        marginal = (each + self.log_frequency).logsumexp(1, keepdim=True)
        return torch.cat([each, marginal], 1).gather(1, y[:, None])[:, 0]

    def _log_density(self, x: Tensor) -> Tensor:
        """log p(x | y) of every class `(B, G)` nats."""
        return torch.stack([Normal(m, v.sqrt()).log_prob(x).sum(1) for m, v in zip(*self.table.unbind(2))], 1)

    def _log_mass(self, x: Tensor) -> Tensor:
        """log P(x | y) of every class `(B, G)` nats."""
        level = self._level(x).T
        return torch.stack([table.gather(1, level).sum(0) for table in self.log_levels], 1)

    def log_masses(self, z: Tensor | None, c: Mapping[str, Tensor], count: int) -> Tensor:
        return self.log_levels[self.spec.labels(c, count, self.device)]

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        y, label = self.spec.labels(c, len(noise), noise.device), self.spec.label
        if label is not None:
            y = torch.where(y == label.count, label.draw(noise.stream("condition-label")), y)
        if self.measure == "density":
            mean, variance = self.table[y].unbind(2)
            x = mean + variance.sqrt() * noise.normal((self.spec.x.dimensions,))
        else:
            edges = self.log_levels.exp().cumsum(2)[y]
            chance = noise.uniform((self.spec.x.dimensions,))[..., None] * edges[..., -1:]
            level = torch.searchsorted(edges, chance, right=True)[..., 0].clamp(max=self.trials)
            x = level.float() * (2 / self.trials) - 1
        return x.view(-1, *self.spec.x.shape)
