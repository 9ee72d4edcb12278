"""Groups of points without labels: k-means, which is told how many, and mean shift, which finds out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SEEDS = 500  # points that mean shift sets out from
STEPS = 300


@dataclass(frozen=True)
class Clusters:
    """`centres` `(K, d)`, the cluster of each point `(N,)`, and `inertia`, the sum of squared distances to centres."""

    centres: np.ndarray
    assigned: np.ndarray
    inertia: float

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """The cluster of other points `(M,)`: that of the nearest centre."""
        return squared_distances(points, self.centres).argmin(1)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """||a_i - b_j||^2 `(A, B)`."""
    return np.maximum(np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T, 0)


def k_means(points: np.ndarray, count: int, seed: int = 0, plus: bool = True) -> Clusters:
    """Minimises the inertia by Lloyd's steps, from the best of four starts, drawn far apart (`plus`) or at random.

    Lloyd, "Least squares quantization in PCM" (1982); Arthur & Vassilvitskii, "k-means++" (2007).
    """
    from sklearn.cluster import KMeans

    found = KMeans(count, init="k-means++" if plus else "random", n_init=4, random_state=seed).fit(points)
    return Clusters(found.cluster_centers_, found.labels_.astype(np.int64), float(found.inertia_))


def mean_shift(points: np.ndarray, bandwidth: float | None = None, seed: int = 0) -> Clusters:
    """The modes of a Gaussian kernel density of the points, each climbed to by x <- sum_i K_i x_i / sum_i K_i,
    K_i = exp(-||x - x_i||^2 / 2 h^2); modes within h of each other are one. `bandwidth` h (None: by `bandwidth_of`).

    Fukunaga & Hostetler, "The estimation of the gradient of a density function" (1975); Comaniciu & Meer, "Mean shift:
    a robust approach toward feature space analysis" (2002).
    """
    h = bandwidth if bandwidth is not None else bandwidth_of(points, seed)
    x = points[np.random.default_rng(seed).permutation(len(points))[:SEEDS]].astype(np.float64)
    for _ in range(STEPS):
        before, x = x, shifted(x, points, h)
        if np.abs(x - before).max() < 1e-6 * h:
            break
    modes = _distinct(x, kernel_density(x, points, h), h)
    distances = squared_distances(points.astype(np.float64), modes)
    return Clusters(modes, distances.argmin(1), float(distances.min(1).sum()))


def shifted(x: np.ndarray, points: np.ndarray, bandwidth: float) -> np.ndarray:
    """One step of mean shift of x `(M, d)` over points `(N, d)`."""
    exponent = -squared_distances(x, points) / (2 * bandwidth**2)
    weight = np.exp(exponent - exponent.max(1, keepdims=True))
    return weight @ points / weight.sum(1, keepdims=True)


def kernel_density(x: np.ndarray, points: np.ndarray, bandwidth: float) -> np.ndarray:
    """The density `(M,)` at x `(M, d)`, up to a constant factor."""
    return np.exp(-squared_distances(x, points) / (2 * bandwidth**2)).mean(1)


def bandwidth_of(points: np.ndarray, seed: int = 0) -> float:
    """Three quarters of the median distance within which a point has a tenth of the others."""
    some = points[np.random.default_rng(seed).permutation(len(points))[:1000]]
    distances = np.sqrt(np.sort(squared_distances(some, some), 1))
    return max(0.75 * float(np.median(distances[:, max(1, len(some) // 10)])), 1e-9)


def _distinct(x: np.ndarray, density: np.ndarray, bandwidth: float) -> np.ndarray:
    """The densest of each lot of end points that lie together."""
    kept: list[np.ndarray] = []
    for i in np.argsort(-density):
        if all(np.square(x[i] - mode).sum() > bandwidth**2 for mode in kept):
            kept.append(x[i])
    return np.stack(kept)


def purity(assigned: np.ndarray, labels: np.ndarray) -> float:
    """The share of points whose label is the commonest of their cluster."""
    return sum(np.bincount(labels[assigned == k]).max() for k in np.unique(assigned)) / len(labels)
