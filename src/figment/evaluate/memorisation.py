"""Does a model copy its training data? Nearest neighbours, judged by those of held-out real data."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from figment.evaluate.neighbours import nearest


@dataclass(frozen=True)
class Memorisation:
    """`rate`: the share of samples closer to a training row than `threshold`, where held-out real data has `expected`.
    `auroc`: the probability that a sample is closer than a held-out row: .5 for fresh data, 1 for copies.
    `limit`: the largest rate that fresh data could show; `copies`: whether it is exceeded.
    """

    rate: float
    expected: float
    threshold: float
    auroc: float
    limit: float
    copies: bool

    def report(self) -> dict[str, float | bool]:
        return asdict(self)


def memorisation(samples: Tensor, held_out: Tensor, expected: float = 0.02) -> Memorisation:
    """Compares the `closeness` of samples `(N,)` and of held-out rows `(M,)` to the same training rows.

    The threshold is the `expected` quantile of held-out data; the limit allows for the sampling error of both sets
    (4 standard errors). Carlini et al., "Extracting training data from diffusion models" (2023).
    """
    threshold = float(torch.quantile(held_out, expected))
    rate = float((samples <= threshold).double().mean())
    error = (expected * (1 - expected) * (1 / len(held_out) + 1 / len(samples))) ** 0.5
    limit = expected + 4 * error + 1 / len(samples)
    return Memorisation(rate, expected, threshold, auroc(samples, held_out), limit, rate > limit)


def closeness(train: Tensor, rows: Tensor, k: int = 20) -> Tensor:
    """Distance to the nearest training row over the mean distance to the k nearest, of features: `(N,)` in [0, 1].

    A smooth picture lies near everything and a copy near one row only: relative to the others, blur is no copying.
    """
    near = nearest(rows, train, min(k, len(train)))
    return near[:, 0] / near.mean(1).clamp_min(1e-12)


def auroc(low: Tensor, high: Tensor) -> float:
    """P(a value of `low` is below one of `high`), ties counting half: the Mann-Whitney statistic."""
    ordered = high.sort().values
    below, through = (torch.searchsorted(ordered, low, right=right).double().mean() for right in (False, True))
    return float(1 - (below + through) / 2 / len(high))
