"""Groups of points without labels: k-means, which is told how many, and mean shift, which finds out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

STARTS = 4  # of k-means, of which the best end counts
SEEDS = 500  # points that mean shift sets out from
STEPS = 300
DIP = 0.2  # share of the lower of two modes by which the density must fall between them
CHANCE = 3  # standard errors that chance explains
NEAR = 8  # other modes that a mode is compared with
BETWEEN = np.linspace(0, 1, 11)[1:-1]  # where a dip is looked for


@dataclass(frozen=True)
class Clusters:
    """`centres` `(K, d)`, the cluster of each point `(N,)`, and `inertia`, the sum of squared distances to centres.

    Other points belong where the nearest of `places` `(M, d)` does, whose clusters are `owners` `(M,)`.
    """

    centres: np.ndarray
    assigned: np.ndarray
    inertia: float
    places: np.ndarray
    owners: np.ndarray

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """The cluster of other points `(M,)`."""
        return self.owners[squared_distances(points, self.places).argmin(1)]


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """||a_i - b_j||^2 `(A, B)`."""
    return np.maximum(np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T, 0)


def lloyd(points: np.ndarray, centres: np.ndarray) -> Iterator[Clusters]:
    """k-means from given centres, a step at a time until nothing moves: each point goes to the nearest centre, each
    centre to the mean of its points. The inertia never rises. Lloyd, "Least squares quantization in PCM" (1982).
    """
    owners = np.arange(len(centres))
    for _ in range(STEPS):
        distance = squared_distances(points, centres)
        assigned = distance.argmin(1)
        yield Clusters(centres, assigned, float(distance.min(1).sum()), centres, owners)
        size = np.bincount(assigned, minlength=len(centres))[:, None]
        sums = np.stack([np.bincount(assigned, column, len(centres)) for column in points.T], 1)
        before, centres = centres, np.where(size > 0, sums / np.maximum(size, 1), centres)
        if np.array_equal(before, centres):
            return


def k_means(points: np.ndarray, count: int, seed: int = 0, plus: bool = True, starts: int = STARTS) -> Clusters:
    """The end of least inertia of Lloyd's steps from several starts, each `count` points: drawn far apart (`plus`) or
    at random. Arthur & Vassilvitskii, "k-means++: the advantages of careful seeding" (2007).
    """
    from sklearn.cluster import kmeans_plusplus

    points, ends = points.astype(np.float64), []
    for start in range(seed, seed + starts):
        generator = np.random.RandomState(start)
        drawn = points[generator.permutation(len(points))[:count]]
        *_, end = lloyd(points, kmeans_plusplus(points, count, random_state=generator)[0] if plus else drawn)
        ends.append(end)
    return min(ends, key=lambda end: end.inertia)


def mean_shift(points: np.ndarray, bandwidth: float | None = None, seed: int = 0) -> Clusters:
    """The modes of a Gaussian kernel density of the points, each climbed to by x <- sum_i K_i x_i / sum_i K_i,
    K_i = exp(-||x - x_i||^2 / 2 h^2). Bumps with no real dip between them, as chance makes on a ridge, are one mode:
    the highest. `bandwidth` h (None: by `bandwidth_of`).

    Fukunaga & Hostetler, "The estimation of the gradient of a density function" (1975); Comaniciu & Meer, "Mean shift:
    a robust approach toward feature space analysis" (2002); dips: Chazal et al., "Persistence-based clustering in
    Riemannian manifolds" (2013).
    """
    h = bandwidth if bandwidth is not None else bandwidth_of(points, seed)
    points = points.astype(np.float64)
    places = points[np.random.default_rng(seed).permutation(len(points))[:SEEDS]]
    x, moving = places.copy(), np.arange(len(places))
    for _ in range(STEPS):
        ahead = shifted(x[moving], points, h)
        still = np.abs(ahead - x[moving]).max(1) < 1e-6 * h
        x[moving] = ahead
        moving = moving[~still]
        if not len(moving):
            break
    bumps = _distinct(x, kernel_density(x, points, h), h)
    tops = _tops(bumps, points, h)
    modes, owners = np.unique(tops, return_inverse=True)
    owners = owners[squared_distances(x, bumps).argmin(1)]
    assigned = owners[squared_distances(points, places).argmin(1)]
    inertia = float(np.square(points - bumps[modes][assigned]).sum())
    return Clusters(bumps[modes], assigned, inertia, places, owners)


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
    """The densest of each lot of end points that lie within a bandwidth, the densest lot first."""
    kept: list[np.ndarray] = []
    for i in np.argsort(-density):
        if all(np.square(x[i] - mode).sum() > bandwidth**2 for mode in kept):
            kept.append(x[i])
    return np.stack(kept)


def _tops(bumps: np.ndarray, points: np.ndarray, bandwidth: float) -> np.ndarray:
    """The bump that each `(K, d)`, the highest first, is part of: indices `(K,)`. Over saddles, the highest first, two
    become one where the lower of both stands out by less than DIP, or by less than chance explains: of N points,
    K_1 + ... + K_N has a variance of about K_1^2 + ... + K_N^2."""
    height, tops = kernel_density(bumps, points, bandwidth), np.arange(len(bumps))
    error = CHANCE * np.sqrt(kernel_density(bumps, points, bandwidth * 0.5**0.5) / len(points))
    limit = height - np.maximum(DIP * height, error)
    near = np.argsort(squared_distances(bumps, bumps), 1)[:, 1 : NEAR + 1]
    pairs = np.stack([np.repeat(tops, near.shape[1]), near.ravel()], 1)
    ends = bumps[pairs]  # (P, 2, d)
    ways = ends[:, :1] + BETWEEN[:, None] * (ends[:, 1:] - ends[:, :1])
    saddles = np.array([kernel_density(way, points, bandwidth).min() for way in ways])
    for place in np.argsort(-saddles):
        high, low = sorted(tops[pairs[place]])
        if high != low and saddles[place] >= limit[low]:
            tops[tops == low] = high
    return tops


def purity(assigned: np.ndarray, labels: np.ndarray) -> float:
    """The share of points whose label is the commonest of their cluster."""
    return sum(np.bincount(labels[assigned == k]).max() for k in np.unique(assigned)) / len(labels)
