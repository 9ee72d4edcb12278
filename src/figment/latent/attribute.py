"""Directions in a space of codes along which one attribute changes, learned from labelled examples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from figment.core.data import Factors

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


def direction(codes: Tensor, target: Tensor, others: Tensor | None = None) -> Direction:
    """How the mean code `(d,)` changes with the target `(N,)`, 0 and 1 or a number, with `others` `(N, P)` held fixed.

    u sum_i r_i z_i / sum_i r_i t_i, r what a least-squares fit on the others leaves of the target: its own coefficients
    in a regression of codes `(N, d)` on everything known, times u, half the difference of the target's means over its
    two halves. Without others it is, of a target of 0 and 1, half the difference of two mean codes. Others that
    determine the target are not used. Rows whose target is NaN are left out. Raises ValueError for a target that does
    not vary.

    Larsen et al., "Autoencoding beyond pixels using a learned similarity metric" (2016); Frisch & Waugh, "Partial time
    regressions as compared with individual trends" (1933).
    """
    known = target.isfinite()
    z, t = codes[known].double(), target[known].double()
    upper = halves(t)
    if not 0 < upper.sum() < len(t):
        raise ValueError("the attribute does not vary")
    unit = (t[upper].mean() - t[~upper].mean()) / 2
    rest, corrected = t - t.mean(), False
    if others is not None and others.shape[1]:
        design = torch.cat([torch.ones(len(t), 1).double(), others[known].double()], 1)
        left = t - design @ torch.linalg.lstsq(design, t[:, None], driver="gelsd").solution[:, 0]
        if corrected := bool(left.square().sum() > DETERMINED * rest.square().sum()):
            rest = left
    return Direction((unit * (rest @ z) / (rest @ t)).float(), float(unit), corrected)


def halves(target: Tensor) -> Tensor:
    """The upper half of a target `(N,)` bool: the ones of 0 and 1, or numbers above their mean; NaN is in neither."""
    return target > target[target.isfinite()].mean()


def columns(values: Tensor, factors: Factors) -> Tensor:
    """Factors `(N, F)` as columns `(N, P)` of a regression: numbers standardised, a 0-1 column for each level but the
    first; what is unknown takes the mean."""
    parts = []
    for factor, column in zip(factors.factors, values.T.double()):
        known = column.isfinite()
        levels = range(1, len(factor.levels))
        part = torch.stack([column == level for level in levels], 1).double() if factor.levels else column[:, None]
        part = part - part[known].mean(0)
        part = part / part[known].std(0, correction=0).clamp_min(1e-12)
        parts.append(torch.where(known[:, None], part, 0.0))
    return torch.cat(parts, 1) if parts else torch.empty(len(values), 0).double()


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
