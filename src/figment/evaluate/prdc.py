"""Quality and diversity apart: precision, recall, density, coverage."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from figment.core.errors import UsageError
from figment.evaluate.neighbours import distances, nearest

NEIGHBOURS = 5


@dataclass(frozen=True)
class Manifold:
    """Shares in [0, 1] (density may exceed 1).

    precision: samples within the k-th neighbour ball of some real row; recall: real rows within that of some sample.
    density: real balls a sample lies in, over k; coverage: real rows whose ball holds a sample.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> Manifold:
    """Precision, recall, density and coverage of features `(N, F)` of real data and `(M, F)` of samples.

    Balls reach to the k-th nearest other row of the same set. Kynkäänniemi et al., "Improved precision and recall
    metric for assessing generative models" (2019); Naeem et al., "Reliable fidelity and diversity metrics for
    generative models" (2020). Raises UsageError below k + 1 rows.
    """
    if min(len(real), len(fake)) <= k:
        raise UsageError(f"precision and recall need more than {k} rows of each (given: {len(real)} and {len(fake)}).")
    real_radius = nearest(real, real, k + 1)[:, k]
    fake_radius = nearest(fake, fake, k + 1)[:, k]
    balls = torch.zeros(len(fake), dtype=torch.int64)
    recalled, covered = 0, 0
    for part, block in distances(real, fake):
        within = block <= real_radius[part, None]
        balls += within.sum(0)
        covered += int(within.any(1).sum())
        recalled += int((block <= fake_radius).any(1).sum())
    return Manifold(
        precision=float((balls > 0).double().mean()),
        recall=recalled / len(real),
        density=float(balls.double().mean()) / k,
        coverage=covered / len(real),
    )
