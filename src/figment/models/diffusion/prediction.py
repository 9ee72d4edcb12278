"""What the network predicts, and how each prediction says what x is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from figment.models.diffusion.transition import Transition

PredictionName = Literal["eps", "x0", "v", "flow", "mu"]


@dataclass(frozen=True)
class Prediction:
    """A target a x + b noise, with x_t = alpha x + sigma noise; solving both for x gives

    x = (b x_t - sigma target) / (b alpha - a sigma).

    eps: noise (Ho et al. 2020). x0: x. v: alpha noise - sigma x (Salimans & Ho, "Progressive distillation for fast
    sampling of diffusion models", 2022). flow: noise - x (Lipman et al., "Flow matching for generative modeling",
    2023). mu: the mean of the state one step before, E[x_s | x_t, x] (Ho et al. 2020, eq. 7).
    """

    name: PredictionName

    def weights(self, at: Transition) -> tuple[Any, Any]:
        """(a, b)."""
        zero, one = at.alpha * 0, at.alpha * 0 + 1
        if self.name == "mu":
            return at.alpha_before, at.share * at.sigma
        return {"eps": (zero, one), "x0": (one, zero), "v": (-at.sigma, at.alpha), "flow": (-one, one)}[self.name]

    def target(self, x: Tensor, noise: Tensor, at: Transition) -> Tensor:
        a, b = self.weights(at)
        return a.to(x) * x + b.to(x) * noise

    def clean(self, target: Tensor, x_t: Tensor, at: Transition) -> Tensor:
        """x from the target at x_t."""
        if self.name == "x0":  # also where sigma = 0, at which the formula is 0 / 0
            return target
        a, b = self.weights(at)
        scale = b * at.alpha - a * at.sigma
        return (b / scale).to(x_t) * x_t - (at.sigma / scale).to(x_t) * target

    def precision(self, at: Transition) -> Tensor:
        """The squared error of the target for each unit of squared error of x: ((b alpha - a sigma) / sigma)^2."""
        a, b = self.weights(at)
        return ((b * at.alpha - a * at.sigma) / at.sigma) ** 2
