"""How much of each known factor single latent dimensions hold, and whether one of them holds it alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from figment.core.data import Factors

CODE_BINS, FACTOR_BINS = 60, 10  # of equal counts: a factor of 2 to 6 levels falls on edges of the former


def binned(values: np.ndarray, bins: int) -> np.ndarray:
    """Numbers `(N,)` as the indices `(N,)` of `bins` intervals that hold equally many; equal numbers share one."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def entropy(symbols: np.ndarray) -> float:
    """H(a) in nats of symbols `(N,)`, integers from 0: -sum p log p + (K - 1) / 2N, for the K that occur.

    The second term corrects the bias of few rows: Miller, "Note on the bias of information estimates" (1955).
    """
    counts = np.bincount(symbols)
    counts = counts[counts > 0]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() + (len(counts) - 1) / (2 * counts.sum()))


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """I(a; b) = H(a) + H(b) - H(a, b) >= 0 in nats of two columns of symbols `(N,)`."""
    return max(0.0, entropy(a) + entropy(b) - entropy(a * (int(b.max()) + 1) + b))


@dataclass(frozen=True)
class Informed:
    """What F factors and d latent dimensions know of each other: `shares` `(F, d)` is I(z_j; v_k) / H(v_k)."""

    names: tuple[str, ...]
    shares: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """For each factor `(F,)`, how far the most informed dimension is ahead of the next; one dimension has none."""
        ranked = np.sort(np.pad(self.shares, ((0, 0), (1, 0))), axis=1)
        return ranked[:, -1] - ranked[:, -2]

    @property
    def mig(self) -> float:
        """The mutual information gap: the mean of `gaps`, 1 where each factor has a dimension of its own."""
        return float(self.gaps.mean())


def informed(codes: np.ndarray, values: np.ndarray, factors: Factors) -> Informed:
    """Which of the codes `(N, d)`, drawn from q(z | x), know which of the factors `(N, F)` that vary.

    Codes are cut into 60 equally filled bins, factors that are numbers into 10. Rows where a factor is unknown (NaN)
    are left out of it. Raises ValueError where no factor varies.
    Chen, Li, Grosse & Duvenaud, "Isolating sources of disentanglement in variational autoencoders" (2018).
    """
    names, rows = [], []
    for factor, column in zip(factors.factors, values.T):
        known = np.isfinite(column)
        symbols = column[known].astype(int) if factor.levels else binned(column[known], FACTOR_BINS)
        if len(np.unique(symbols)) < 2:
            continue
        own = entropy(symbols)
        names.append(factor.name)
        rows.append([mutual_information(binned(code[known], CODE_BINS), symbols) / own for code in codes.T])
    if not names:
        raise ValueError("no factor varies")
    return Informed(tuple(names), np.array(rows))
