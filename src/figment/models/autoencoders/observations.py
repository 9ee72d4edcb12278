"""p(x | z): what the outputs of a decoder say of x."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal

import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.core.data import Image, Vector
from figment.core.errors import UsageError
from figment.core.model import Measure, Turn
from figment.core.noise import Noise
from figment.models.autoencoders.likelihoods import (
    bernoulli_log_mass,
    diagonal_gaussian_log_density,
    gaussian_log_density,
    logistic_log_mass,
    squared_error,
)

Form = Literal["gaussian", "bernoulli", "logistic"]
Sigma = Literal["global", "pixel"] | Annotated[float, pydantic.Field(gt=0, le=1000)]
LEAST_VARIANCE = (2 / 255) ** 2 / 12  # of a density, in model range: that of pixels within their grey level
LOGISTIC = math.sqrt(3) / math.pi  # scale of a logistic distribution of standard deviation 1


def observation(form: Form, sigma: Sigma, x: Image | Vector, name: str) -> Observation:
    """The distribution of x of a form. Raises UsageError where x has other values."""
    if form == "bernoulli":
        if not (isinstance(x, Image) and x.binary):
            raise UsageError(
                f"decoder=bernoulli models black and white pictures, and {name} has other values: its figures would "
                "be no likelihood. Use decoder=gaussian, or make the pictures black and white: data.binarise=dynamic."
            )
        return Bernoulli()
    if form == "logistic":
        if not isinstance(x, Image):
            raise UsageError(f"decoder=logistic models 8-bit pictures, and {name} has rows. Use decoder=gaussian.")
        return Logistic(sigma, x.levels)
    return PixelGaussian() if sigma == "pixel" else Gaussian(None if sigma == "global" else sigma)


class Observation(nn.Module, ABC):
    """p(x | y), y the outputs of a decoder: `(B, outputs C, H, W)` for pictures `(B, C, H, W)`, alike for rows."""

    measure: Measure = "density"
    outputs = 1

    @abstractmethod
    def log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        """log p(x | y) `(B,)` nats."""

    def log_masses(self, y: Tensor) -> Tensor:
        """log P(x_d = s | y) of every level s: `(B, D, S)`. Raises UsageError for a density."""
        raise UsageError("this decoder gives a density: take model.decoder=logistic, or bernoulli for binary pictures.")

    def mean(self, y: Tensor) -> Tensor:
        """E[x | y]."""
        return y

    def draw(self, y: Tensor, noise: Noise) -> Tensor:
        """What a sample shows: the mean of pictures; of rows a draw, since their noise is part of the data."""
        return self.mean(y)

    @property
    def sigma(self) -> Tensor | None:
        """The one standard deviation of x given y, where there is one."""
        return None

    def fit(self, x: Tensor, y: Tensor, turn: Turn, weights: Tensor | float = 1.0) -> None:
        """Takes in a batch, each example `(B,)` weighted: what follows from it in closed form needs no gradient."""


class Gaussian(Observation):
    """N(y, v I): v is given, or the running mean of the squared error a dimension, which maximises the bound over v.

    Rybkin, Daniilidis & Levine, "Simple and effective VAE training with calibrated decoders" (2021).
    """

    variance: Tensor

    def __init__(self, sigma: float | None):
        super().__init__()
        self.learned = sigma is None
        self.register_buffer("variance", torch.tensor(1.0 if sigma is None else sigma**2))

    @property
    def sigma(self) -> Tensor:
        return self.variance.sqrt()

    def log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        variance = self.variance.clone()  # `fit` changes it before the gradient is taken
        return gaussian_log_density(squared_error(x, y), variance, x[0].numel())

    def draw(self, y: Tensor, noise: Noise) -> Tensor:
        return y if y.ndim == 4 else y + self.sigma * noise.normal(y.shape[1:])

    @torch.no_grad()
    def fit(self, x: Tensor, y: Tensor, turn: Turn, weights: Tensor | float = 1.0) -> None:
        if self.learned:
            error = (weights * squared_error(x, y)).mean() / x[0].numel()
            rate = max(0.1, 1 / (turn.seen + 1))
            self.variance.lerp_(turn.mean(error), rate).clamp_(min=LEAST_VARIANCE)


class PixelGaussian(Observation):
    """N(m, diag v), y = (m, log v): a variance for each number of x, a function of z."""

    outputs = 2

    def _moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = y.chunk(2, dim=1)
        return mean, (log_variance.clamp(max=10).exp() + LEAST_VARIANCE).log()

    def mean(self, y: Tensor) -> Tensor:
        return self._moments(y)[0]

    def log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        return diagonal_gaussian_log_density(x, *self._moments(y))

    def draw(self, y: Tensor, noise: Noise) -> Tensor:
        mean, log_variance = self._moments(y)
        return mean if y.ndim == 4 else mean + (log_variance / 2).exp() * noise.normal(mean.shape[1:])


class Bernoulli(Observation):
    """Black and white pixels, y their logits."""

    measure = "mass"

    def log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        return bernoulli_log_mass(x, y)

    def log_masses(self, y: Tensor) -> Tensor:
        logits = y.float().flatten(1)
        return torch.stack([-F.softplus(logits), -F.softplus(-logits)], 2)

    def mean(self, y: Tensor) -> Tensor:
        return (y / 2).tanh()


class Logistic(Observation):
    """8-bit pixels: a logistic distribution about y, or about m where y = (m, log sigma), cut into grey levels."""

    measure = "mass"
    given: Tensor | None

    def __init__(self, sigma: Sigma, levels: int):
        super().__init__()
        self.outputs, self.levels = 2 if sigma == "pixel" else 1, levels
        self.tenth = nn.Parameter(torch.tensor(-0.1)) if sigma == "global" else None
        self.register_buffer("given", torch.tensor(sigma).log() if isinstance(sigma, float) else None)

    @property
    def log_sigma(self) -> Tensor | None:
        """The logarithm of the one deviation; learned by its tenth, so that it is ten times as quick as a weight."""
        return self.given if self.tenth is None else 10 * self.tenth

    @property
    def sigma(self) -> Tensor | None:
        return None if self.log_sigma is None else self.log_sigma.exp()

    def _moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-scale, each of the shape of x."""
        mean, log_sigma = (y, self.log_sigma.expand_as(y)) if self.log_sigma is not None else y.chunk(2, dim=1)
        return mean, log_sigma.clamp(min=-8) + math.log(LOGISTIC)

    def log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        return logistic_log_mass(x, *self._moments(y), self.levels)

    def log_masses(self, y: Tensor) -> Tensor:
        level = torch.linspace(-1, 1, self.levels, device=y.device)
        parts = torch.broadcast_tensors(level, *(part.flatten(1)[..., None] for part in self._moments(y)))
        x, mean, log_scale = (part.reshape(-1, 1) for part in parts)
        return logistic_log_mass(x, mean, log_scale, self.levels).view(parts[0].shape)

    def mean(self, y: Tensor) -> Tensor:
        return (y if self.outputs == 1 else y.chunk(2, dim=1)[0]).clamp(-1, 1)
