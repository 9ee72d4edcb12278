"""One step of the chain backwards: what the data and the noise of x_t say of the state before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

from figment.core.errors import UsageError

Spread = Literal["beta-tilde", "beta", "learned"]


@dataclass(frozen=True)
class Transition:
    """q(x_s | x_t, x) = N(`share` x_t + `weight` x, beta_tilde), s < t; `beta` is the variance of x_t given x_s.

    beta = sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2, beta_tilde = beta sigma_s^2 / sigma_t^2, weight = alpha_s beta /
    sigma_t^2, share = alpha_t sigma_s^2 / (alpha_s sigma_t^2). Rates are numbers, or tensors that broadcast against x;
    where small differences count, float64 on the CPU, since not every device has such a type. Ho et al., "Denoising
    diffusion probabilistic models" (2020), eq. 7.
    """

    alpha: Any
    sigma: Any
    alpha_before: Any
    sigma_before: Any

    @classmethod
    def between(cls, here: Any, there: Any) -> Self:
        """From the level `here` to the clearer one `there`."""
        return cls(here.alpha, here.sigma, there.alpha, there.sigma)

    @property
    def beta(self) -> Any:
        return self.sigma**2 - (self.alpha / self.alpha_before * self.sigma_before) ** 2

    @property
    def beta_tilde(self) -> Any:
        return self.beta * self.sigma_before**2 / self.sigma**2

    @property
    def weight(self) -> Any:
        return self.alpha_before * self.beta / self.sigma**2

    @property
    def share(self) -> Any:
        return self.alpha * self.sigma_before**2 / (self.alpha_before * self.sigma**2)

    def variance(self, spread: Spread, found: Tensor | None) -> Any:
        """That of p(x_s | x_t): beta_tilde is right where x is known, beta where it is N(0, I), and what was learned of
        Var[x | x_t] = `found` in between: beta_tilde + weight^2 Var[x | x_t].

        Bao et al., "Analytic-DPM" (2022), eq. 8 and 9.
        """
        if spread == "learned":
            if found is None:
                raise UsageError(
                    "variance=learned: this model has learned none. Take beta-tilde or beta, or leave it out."
                )
            return _like(self.beta_tilde, found) + _like(self.weight**2, found) * found
        return self.beta if spread == "beta" else self.beta_tilde

    def between_betas(self, share: Tensor, least: Tensor) -> Tensor:
        """Var[x | x_t] where the variance of p(x_s | x_t) is beta^share beta_tilde^(1 - share), `least` being that
        beta_tilde or, where it is 0, one to take instead.

        Nichol & Dhariwal, "Improved denoising diffusion probabilistic models" (2021), eq. 15.
        """
        unit = self.weight**2
        above = torch.expm1(share * (self.beta / least).log().to(share))
        return (least / unit).to(share) * above + ((least - self.beta_tilde) / unit).to(share)

    def divergence(self, x: Tensor, mean: Tensor, variance: Any) -> Tensor:
        """KL(q(x_s | x_t, x) || N(the same with `mean` for x, variance)) `(B,)` nats, exact also in float32 where the
        variance is nearly beta_tilde."""
        given, exact = _like(variance, x), _like(self.beta_tilde, x)
        above = given - exact
        logs = (above / exact.clamp(min=1e-30)).log1p()
        squares = (_like(self.weight, x) * (x - mean)).square()
        return (((squares - above) / given + logs) / 2).flatten(1).sum(1)


def _like(rate: Any, x: Tensor) -> Tensor:
    """A rate as a tensor to multiply x with."""
    return (rate if isinstance(rate, Tensor) else torch.tensor(rate, dtype=torch.float64)).to(x)
