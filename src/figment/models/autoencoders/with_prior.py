"""An ex-post prior: a mixture of Gaussians on the codes of a frozen first stage makes it a generator."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import pydantic
import torch
from torch import Tensor

from figment.core.data import Batch, Dataset, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Budget, CanDecode, CanEncode, Fits, HasPosterior, HasPrior, Model
from figment.core.noise import Noise
from figment.core.order import Order
from figment.core.stages import First, TwoStageConfig
from figment.models.classical.mixture import Mixture

TAILS = (0.005, 0.995)  # quantiles of codes between which a box lies
FLOOR = 1e-4  # added to the variances of codes, relative to their mean variance


class WithPriorConfig(TwoStageConfig):
    """p(z | y) after the fact: z is the code of any model that encodes to and decodes from rows."""

    accepts = (Image, Vector)
    conditions = ("label",)
    kind: Literal["with-prior"] = "with-prior"
    first: First = pydantic.Field(
        "autoencoder", description="the model to stand on: a finished run, or a kind to train"
    )
    distribution: Literal["mixture", "box", "normal"] = pydantic.Field(
        "mixture",
        description="box: even over the range of each number, normal: N(0, I), wherever the codes are; both show what "
        "codes need a prior for",
    )
    components: int = pydantic.Field(
        100, ge=1, le=10_000, description="Gaussians over all classes, fewer where the data is small"
    )

    def check_first(self, first: Model) -> None:
        if not isinstance(first, CanEncode) or not isinstance(first, CanDecode):
            raise UsageError(f"'{first.config.kind}' has no codes to put a prior on: take autoencoder or vae.")

    def build(self, spec: Spec) -> WithPrior:
        spec = self.adapt(spec)
        config, first = self.staged(spec)
        return WithPrior(config, spec, first)


class WithPrior(Model, Fits, HasPrior, CanEncode):
    """x = decode(z), z ~ sum_k w_k N(m_k, S_k), fitted to codes of the training data (draws from q(z | x) where the
    first stage has a posterior); or z uniform between the 0.5th and the 99.5th percentile of each number; or z from
    N(0, I).

    Ghosh et al., "From variational to deterministic autoencoders" (2020); Dai & Wipf, "Diagnosing and enhancing VAE
    models" (2019).
    """

    config: WithPriorConfig
    box: Tensor

    def __init__(self, config: WithPriorConfig, spec: Spec, first: Model):
        super().__init__(config, spec)
        self.first = first
        c = {"label": torch.zeros(1, dtype=torch.int64)} if spec.label else {}
        with torch.no_grad():
            self.code_shape = self.encode(torch.zeros(1, *spec.x.shape), c).shape[1:]
        groups = spec.label.count if spec.label else 1
        dimensions = self.code_shape.numel()
        mixed = config.distribution == "mixture"
        self.mixture = Mixture(groups, math.ceil(config.components / groups), dimensions) if mixed else None
        if config.distribution == "box":
            self.register_buffer("box", torch.zeros(2, dimensions))  # its lower and its upper corner

    @torch.no_grad()
    def fit(self, data: Dataset, budget: Budget) -> Iterator[Mapping[str, float]]:
        torch.manual_seed(budget.seed)
        rows = Order(budget.seed, data.train).rows(0, min(len(data.train), budget.rows))
        codes, labels = [], []
        for start in range(0, len(rows), 500):
            batch = data.train.gather(rows[start : start + 500]).suited(self.spec).to(self.device)
            codes.append(self._draw_code(batch))
            if self.mixture is not None:
                labels.append(self.spec.labels(batch.c, len(batch), self.device))
        z = torch.cat(codes)
        if self.mixture is not None:
            for log_likelihood in self.mixture.fit(z, torch.cat(labels), FLOOR * float(z.var(0).mean()), budget):
                yield {"nll_of_codes": -log_likelihood}
        elif self.config.distribution == "box":
            self.box.copy_(torch.from_numpy(np.quantile(z.cpu().numpy(), TAILS, axis=0)))
            yield {"nll_of_codes": float((self.box[1] - self.box[0]).log().sum())}
        else:
            yield {"nll_of_codes": -float(torch.distributions.Normal(0, 1).log_prob(z).sum(1).mean())}

    def _draw_code(self, batch: Batch) -> Tensor:
        if isinstance(self.first, HasPosterior):
            return self.first.posterior(batch.x, batch.c).sample().flatten(1)
        return self.encode(batch.x, batch.c).flatten(1)

    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        assert isinstance(self.first, CanEncode)
        return self.first.encode(x, c)

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        assert isinstance(self.first, CanDecode)
        return self.first.decode(z, c)

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        if self.mixture is not None:
            z = self.mixture.draw(self.spec.labels(c, len(noise), noise.device), noise)
        elif self.config.distribution == "box":
            z = self.box[0].lerp(self.box[1], noise.uniform((self.box.shape[1],)))
        else:
            z = noise.normal(self.code_shape)
        return z.view(-1, *self.code_shape)
