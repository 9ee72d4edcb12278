"""Where in a space of codes the data lies: class areas, gaps, jumps, and projections of spaces of many dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

NEIGHBOURS = 5


@dataclass(frozen=True)
class Plane:
    """A grid over two latent dimensions: the centres of its columns `(n,)` and of its rows `(n,)`, ascending."""

    across: np.ndarray
    upwards: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """All grid points `(n * n, 2)`, a row after the other, the lowest row first."""
        return np.stack(np.meshgrid(self.across, self.upwards), -1).reshape(-1, 2).astype(np.float32)


def prior_plane(n: int) -> Plane:
    """n x n points, each of equal mass under N(0, I): z_i = Phi^-1((i + 1/2) / n)."""
    quantiles = ndtri((np.arange(n) + 0.5) / n)
    return Plane(quantiles, quantiles)


def box_plane(codes: np.ndarray, n: int) -> Plane:
    """n x n points of equal area over the box of the codes `(N, 2)`."""
    return Plane(*in_box(codes, np.repeat((np.arange(n) + 0.5)[:, None] / n, 2, 1)).T)


def in_box(codes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points `(M, d)` at shares of the way, in [0, 1], across the box that holds all codes `(N, d)` but the outermost
    1 % of each dimension at each side."""
    low, high = np.quantile(codes, (0.01, 0.99), axis=0)
    return low + (high - low) * shares


def votes(codes: np.ndarray, labels: np.ndarray, at: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """The label most common among the k codes `(N, d)` nearest to each point `(M, d)`: `(M,)`.

    Fix & Hodges, "Discriminatory analysis: nonparametric discrimination" (1951).
    """
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(k, len(codes))).fit(codes, labels).predict(at)


def neighbour_accuracy(
    codes: np.ndarray, labels: np.ndarray, held_out: np.ndarray, truth: np.ndarray, k: int = NEIGHBOURS
) -> float:
    """How often the k training codes nearest to a held-out code vote for its label."""
    return float((votes(codes, labels, held_out, k) == truth).mean())


def gaps(points: np.ndarray, codes: np.ndarray, held_out: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Which points `(M, d)` are farther from their fifth nearest code `(N, d)` than `level` of held-out codes are.

    `(M,)` bool; of points drawn as the codes are, a share of 1 - level comes out true.
    """
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(codes))).fit(codes)
    usual = np.quantile(index.kneighbors(held_out)[0][:, -1], level)
    return index.kneighbors(points)[0][:, -1] > usual


def steps(decoded: np.ndarray, n: int) -> np.ndarray:
    """Root mean square changes `(2 n (n - 1),)` between neighbours of n x n decoded points `(n * n, ...)`."""
    rows = decoded.reshape(n, n, -1).astype(np.float64)
    changes = (np.sqrt(np.square(np.diff(rows, axis=axis)).mean(-1)).ravel() for axis in (0, 1))
    return np.concatenate([*changes])


def principal(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes `(N, d)` on their two first principal components `(N, 2)`, and the share of variance of each `(2,)`.

    Pearson, "On lines and planes of closest fit to systems of points in space" (1901).
    """
    from sklearn.decomposition import PCA

    fitted = PCA(2, random_state=0).fit(codes)
    return fitted.transform(codes), fitted.explained_variance_ratio_


def embedded(codes: np.ndarray, seed: int = 0) -> np.ndarray:
    """Codes `(N, d)` laid out in the plane `(N, 2)` so that neighbours stay neighbours: t-SNE of 50 components at most,
    turned so that it is widest across.

    van der Maaten & Hinton, "Visualizing data using t-SNE" (2008).
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    kept = min(50, *codes.shape)
    rows = PCA(kept, random_state=seed).fit_transform(codes) if codes.shape[1] > kept else codes
    perplexity = min(30.0, (len(rows) - 1) / 3)
    laid = TSNE(init="pca", perplexity=perplexity, random_state=seed, n_jobs=1).fit_transform(rows)
    return principal(laid)[0]


def apart(points: np.ndarray, width: float, height: float) -> np.ndarray:
    """Which of the points `(N, 2)` can carry boxes of this size without overlap, the first come first: indices."""
    kept: list[int] = []
    placed = np.empty((0, 2))
    for i, point in enumerate(points):
        if not (np.abs(placed - point) < (width, height)).all(1).any():
            kept.append(i)
            placed = np.vstack([placed, point])
    return np.array(kept, dtype=int)
