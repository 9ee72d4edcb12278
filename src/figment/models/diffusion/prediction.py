"""What the network predicts, and how each prediction says what x is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

PredictionName = Literal["eps", "x0", "v", "flow"]


@dataclass(frozen=True)
class Prediction:
    """A target a x + b noise, with x_t = alpha x + sigma noise; solving both for x gives

    x = (b x_t - sigma target) / (b alpha - a sigma).

    eps: noise (Ho et al. 2020). x0: x. v: alpha noise - sigma x (Salimans & Ho, "Progressive distillation for fast
    sampling of diffusion models", 2022). flow: noise - x (Lipman et al., "Flow matching for generative modeling",
    2023). `alpha`, `sigma` broadcast against x.
    """

    name: PredictionName

    def weights(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b)."""
        zero, one = alpha * 0, alpha * 0 + 1
        return {"eps": (zero, one), "x0": (one, zero), "v": (-sigma, alpha), "flow": (-one, one)}[self.name]

    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        a, b = self.weights(alpha, sigma)
        return a * x + b * noise

    def clean(self, target: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """x from the target at x_t."""
        if self.name == "x0":  # also where sigma = 0, at which the formula is 0 / 0
            return target
        a, b = self.weights(alpha, sigma)
        return (b * x_t - sigma * target) / (b * alpha - a * sigma)

    def precision(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The squared error of the target for each unit of squared error of x: ((b alpha - a sigma) / sigma)^2."""
        a, b = self.weights(alpha, sigma)
        return ((b * alpha - a * sigma) / sigma) ** 2
