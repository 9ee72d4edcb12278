"""Directions in a space of codes along which one attribute changes, learned from labelled examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from figment.core.data import Factor

DETERMINED = 0.02  # a target of which others leave less of its variance than this unexplained has no part of its own


@dataclass(frozen=True)
class Direction:
    """A vector `(d,)` of codes: from weight -1 to 1 the attribute goes from the mean of its lower half of examples to
    that of its upper half, by 2 `unit`; `corrected` where other attributes were held fixed."""

    vector: Tensor
    unit: float
    corrected: bool

    def applied(self, z: Tensor, weights: Tensor) -> Tensor:
        """z + weight * vector, for all weights `(A,)` of each code `(B, ...)`: `(B, A, ...)`."""
        moves = weights.view(-1, *[1] * (z.ndim - 1)) * self.vector.view(z.shape[1:])
        return z[:, None] + moves.to(z)

    def score(self, codes: Tensor) -> Tensor:
        """How far codes `(B, d)` lie along the direction, in weights: `(B,)`."""
        return codes @ self.vector / self.vector.square().sum()


def direction(codes: Tensor, target: Tensor, others: Sequence[Tensor] = ()) -> Direction:
    """How the mean code `(d,)` changes with the target `(N,)`, 0 and 1 or a number, with others, `(N, P)` each, held
    fixed.

    u sum_i r_i z_i / sum_i r_i t_i, r what a least-squares fit on the others leaves of the target: its own coefficients
    in a regression of codes `(N, d)` on everything known, times u, half the difference of the target's means over its
    two halves. Without others it is, of a target of 0 and 1, half the difference of two mean codes. What would
    determine the target, with those before it, is not held; rows whose target is NaN are left out. Raises ValueError
    for a target that does not vary.

    Larsen et al., "Autoencoding beyond pixels using a learned similarity metric" (2016); Frisch & Waugh, "Partial time
    regressions as compared with individual trends" (1933).
    """
    known = target.isfinite()
    z, t = codes[known].double(), target[known].double()
    upper = halves(t)
    if not 0 < upper.sum() < len(t):
        raise ValueError("the attribute does not vary")
    unit = (t[upper].mean() - t[~upper].mean()) / 2
    design, rest, corrected = torch.ones(len(t), 1).double(), t - t.mean(), False
    spread = rest.square().sum()
    for other in others:
        wider = torch.cat([design, other[known].double()], 1)
        left = t - wider @ torch.linalg.lstsq(wider, t[:, None], driver="gelsd").solution[:, 0]
        if left.square().sum() > DETERMINED * spread:
            design, rest, corrected = wider, left, True
    return Direction((unit * (rest @ z) / (rest @ t)).float(), float(unit), corrected)


def halves(target: Tensor) -> Tensor:
    """The upper half of a target `(N,)` bool: the ones of 0 and 1, or numbers above their mean; NaN is in neither."""
    return target > target[target.isfinite()].mean()


def columns(values: Tensor, factor: Factor) -> Tensor:
    """A factor `(N,)` as standardised columns `(N, P)` of a regression: a number itself, or for each level but one
    whether it is that; what is unknown takes the mean."""
    values = values.double()
    known = values.isfinite()
    levels = range(1, len(factor.levels))
    part = torch.stack([values == level for level in levels], 1).double() if factor.levels else values[:, None]
    part = part - part[known].mean(0)
    return torch.where(known[:, None], part / part[known].std(0, correction=0).clamp_min(1e-12), 0.0)


def auroc(score: Tensor, positive: Tensor) -> float:
    """The chance that a positive scores above a negative, ties counted half: scores `(N,)`, positive `(N,)` bool.

    Hanley & McNeil, "The meaning and use of the area under a receiver operating characteristic curve" (1982).
    """
    from scipy.stats import rankdata

    ranks, yes = rankdata(score.numpy()), positive.numpy()
    count = int(yes.sum())
    if count in (0, len(yes)):
        return float("nan")
    return float((ranks[yes].sum() - count * (count + 1) / 2) / (count * (len(yes) - count)))


def cosine(a: Tensor, b: Tensor) -> float:
    """a . b / |a| |b|."""
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))
