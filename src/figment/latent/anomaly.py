"""How far an item is from what is normal to a model: how badly it is rebuilt, and how far from any known code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from figment.evaluate.neighbours import nearest

NEIGHBOURS = 5
THRESHOLD = 95.0  # percentile of normal items above which an item is called anomalous


@dataclass(frozen=True)
class Known:
    """Codes of training items `(N, d)`, each number in units of its deviation `(d,)`."""

    codes: Tensor
    scale: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> Known:
        scale = codes.std(0) + 1e-6
        return cls(codes / scale, scale)

    def log_distance(self, codes: Tensor) -> Tensor:
        """log of the mean distance to the five nearest training codes: `(B, d)` -> float64 `(B,)`.

        Ramaswamy, Rastogi & Shim, "Efficient algorithms for mining outliers from large data sets" (2000).
        """
        near = nearest(codes / self.scale, self.codes, min(NEIGHBOURS, len(self.codes)))
        return near.mean(1).clamp_min(1e-9).log().cpu()


@dataclass(frozen=True)
class Normal:
    """What P measures give over M normal items that were not trained on: means and deviations `(P,)`, and the items'
    scores `(M,)`, ascending."""

    mean: Tensor
    deviation: Tensor
    scores: Tensor

    @classmethod
    def of(cls, measures: Tensor) -> Normal:
        """From measures `(M, P)` that are the higher, the stranger an item."""
        bare = cls(measures.mean(0), measures.std(0) + 1e-9, torch.empty(0))
        return cls(bare.mean, bare.deviation, bare.score(measures).sort().values)

    def score(self, measures: Tensor) -> Tensor:
        """sum_p (m_p - mean_p) / deviation_p: `(B, P)` -> `(B,)`; about 0 for a normal item."""
        return ((measures - self.mean) / self.deviation).sum(1)

    def percentile(self, scores: Tensor) -> Tensor:
        """The share of normal items that score lower, in percent: `(B,)`."""
        return 100 * torch.searchsorted(self.scores, scores).double() / len(self.scores)

    @property
    def threshold(self) -> float:
        """The score above which an item is called anomalous: one normal item in twenty is, too."""
        return float(self.scores.quantile(THRESHOLD / 100))


def log_error(x: Tensor, y: Tensor) -> Tensor:
    """log mean (x - y)^2: `(B, ...)` twice -> float64 `(B,)`."""
    return (x - y).double().square().flatten(1).mean(1).clamp_min(1e-12).log().cpu()


def heat(x: Tensor, y: Tensor) -> Tensor:
    """(x - y)^2, its mean over channels, blurred by a Gaussian a 28th of the picture wide: `(B, C, H, W)` twice ->
    `(B, H, W)`."""
    error = (x - y).float().square().mean(1, keepdim=True)
    sigma = max(error.shape[-2:]) / 28
    reach = min(round(3 * sigma), min(error.shape[-2:]) - 1)
    place = torch.arange(-reach, reach + 1, device=x.device)
    weights = (-0.5 * (place / sigma) ** 2).exp()
    weights = weights / weights.sum()
    for kernel, pad in (
        (weights.view(1, 1, 1, -1), (reach, reach, 0, 0)),
        (weights.view(1, 1, -1, 1), (0, 0, reach, reach)),
    ):
        error = F.conv2d(F.pad(error, pad, mode="replicate"), kernel)
    return error[:, 0]
