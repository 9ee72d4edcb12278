"""Monotone rational-quadratic splines: curves as flexible as histograms, with their inverses in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from figment.models.flows.transform import Univariate

NARROWEST = 1e-3  # width and height of a bin, relative to the interval
FLATTEST = 1e-3  # slope at a knot


@dataclass(frozen=True)
class Pieces:
    """The bin that each number lies in: its left end (x, y), width w, height h, and the slopes at its two ends."""

    x: Tensor
    y: Tensor
    w: Tensor
    h: Tensor
    left: Tensor
    right: Tensor

    @property
    def curvature(self) -> Tensor:
        return self.left + self.right - 2 * self.h / self.w


class Spline(Univariate):
    """On [low, high], onto itself, with s = h / w and xi = (x - x_k) / w in bin k of slopes a, b at its ends:

    y = y_k + h (s xi^2 + a xi (1 - xi)) / (s + (a + b - 2 s) xi (1 - xi)).

    theta are logits of the widths and of the heights, and slopes. With `tails` the map goes on outside as the
    identity; without, x lies within and the end slopes are free. Durkan et al., "Neural spline flows" (2019).
    """

    def __init__(self, bins: int, low: float, high: float, tails: bool):
        self.bins, self.low, self.high, self.tails = bins, low, high, tails
        self.count = 3 * bins - 1 if tails else 3 * bins + 1

    def forward(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.clamp(self.low, self.high)
        p = self._pieces(inside, theta, along=True)
        xi = ((inside - p.x) / p.w).clamp(0, 1)
        rest, s = xi * (1 - xi), p.h / p.w
        below = s + p.curvature * rest
        y = p.y + p.h * (s * xi**2 + p.left * rest) / below
        slope = s**2 * (p.right * xi**2 + 2 * s * rest + p.left * (1 - xi) ** 2) / below**2
        return self._outside(x, inside, y), slope.log() * (x == inside)

    def inverse(self, y: Tensor, theta: Tensor) -> Tensor:
        inside = y.clamp(self.low, self.high)
        p = self._pieces(inside, theta, along=False)
        s, rise = p.h / p.w, (inside - p.y).clamp_min(0)
        bend = rise * p.curvature
        a, b, c = p.h * (s - p.left) + bend, p.h * p.left - bend, -s * rise
        xi = 2 * c / (-b - (b**2 - 4 * a * c).clamp_min(0).sqrt())
        return self._outside(y, inside, p.x + p.w * xi.clamp(0, 1))

    def _outside(self, given: Tensor, inside: Tensor, found: Tensor) -> Tensor:
        return torch.where(given == inside, found, given) if self.tails else found

    def _pieces(self, at: Tensor, theta: Tensor, along: bool) -> Pieces:
        """The bin of each number, found by x where `along`, else by y."""
        widths, heights, slopes = theta.split([self.bins, self.bins, self.count - 2 * self.bins], -1)
        x, w = self._knots(widths)
        y, h = self._knots(heights)
        slopes = F.softplus(slopes + math.log(math.expm1(1 - FLATTEST))) + FLATTEST
        if self.tails:
            slopes = F.pad(slopes, (1, 1), value=1.0)
        k = (at[..., None] >= (x if along else y)[..., 1:]).sum(-1, keepdim=True)
        return Pieces(*(part.gather(-1, k).squeeze(-1) for part in (x, y, w, h, slopes[..., :-1], slopes[..., 1:])))

    def _knots(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Left ends and lengths of the bins, both `(..., bins)`."""
        span = self.high - self.low
        lengths = span * (NARROWEST + (1 - NARROWEST * self.bins) * logits.softmax(-1))
        ends = self.low + lengths.cumsum(-1)
        return F.pad(ends[..., :-1], (1, 0), value=self.low), lengths
