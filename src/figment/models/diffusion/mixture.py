"""A picture's values one by one: each black, white, or near one of a few grey levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from figment.core.data import Image, Vector
from figment.models.diffusion.decoder import log_likelihood

NORMALS = 3  # beside black and white
CHANNELS = 2 + 3 * NORMALS  # numbers that say one mixture
LEAST = -5.0  # the log of the smallest deviation: just below one grey level of 8 bits


@dataclass(frozen=True)
class Mixture:
    """p(x_i) = sum_k w_k N(x_i; m_k, r_k^2): log w, m, r, each `(B, K, ...)` where x is `(B, ...)`."""

    log_weight: Tensor
    centre: Tensor
    spread: Tensor

    @classmethod
    def read(cls, raw: Tensor, channels: int) -> Self:
        """From a network's output `(B, CHANNELS channels, H, W)`: black and white have the spread 0."""
        parts = raw.float().unflatten(1, (CHANNELS, channels)).split((2 + NORMALS, NORMALS, NORMALS), 1)
        logit, centre, spread = parts
        start = torch.linspace(-1, 1, NORMALS + 2, device=raw.device)[1:-1].view(NORMALS, 1, 1, 1)
        edge = torch.ones_like(logit[:, :1])
        return cls(
            logit.log_softmax(1),
            torch.cat([-edge, edge, centre + start], 1),
            torch.cat([0 * edge, 0 * edge, (spread - 1).clamp(min=LEAST).exp()], 1),
        )

    def given(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Self:
        """By Bayes' rule, p(x_i | x_t) where x_t = alpha x_i + sigma noise."""
        y, alpha, sigma = (v.unsqueeze(1) for v in (x_t, alpha, sigma))
        variance = self.spread**2
        total = (alpha**2 * variance + sigma**2).clamp(min=1e-12)
        log_weight = self.log_weight - (y - alpha * self.centre) ** 2 / (2 * total) - total.log() / 2
        centre = (sigma**2 * self.centre + alpha * variance * y) / total
        return type(self)(log_weight.log_softmax(1), centre, self.spread * sigma / total.sqrt())

    @property
    def mean(self) -> Tensor:
        return (self.log_weight.exp() * self.centre).sum(1)

    @property
    def variance(self) -> Tensor:
        off = (self.centre - self.mean.unsqueeze(1)) ** 2
        return (self.log_weight.exp() * (self.spread**2 + off)).sum(1)

    def log_mass(self, value: Image | Vector, x: Tensor) -> Tensor:
        """log P of the grey level that x is, of the shape of x."""
        each = log_likelihood(value, x.unsqueeze(1), self.centre, self.spread.clamp(min=1e-4))
        return torch.logsumexp(self.log_weight + each, 1)
