"""Regions of like colour in a picture: its pixels as points, grouped without labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from figment.models.classical.clusters import Clusters, k_means, mean_shift
from figment.pixels.colour import to_lab, to_rgb

PIXELS = 2000  # that clusters are found in; the others go to the nearest
WIDTH, LEAST = 0.15, 2.0  # bandwidth over the deviation of colours; and no less, as eyes hardly tell colours 2 apart


@dataclass(frozen=True)
class Regions:
    """The region of each pixel `(H, W)`, the colours uint8 `(K, 3)`, and the share of the picture of each `(K,)`."""

    assigned: np.ndarray
    colours: np.ndarray
    shares: np.ndarray

    @property
    def picture(self) -> np.ndarray:
        """The picture in the colours of its regions: uint8 `(H, W, 3)`."""
        return self.colours[self.assigned]


def regions(rgb: np.ndarray, count: int | None = None, bandwidth: float | None = None, seed: int = 0) -> Regions:
    """Pixels uint8 `(H, W, 3)` grouped by colour in L*a*b*: k-means for `count` regions, mean shift of `bandwidth`
    (units of L*; None: .15 of their deviation) where no count is given; the largest region first, each in
    the mean colour of its pixels."""
    lab = to_lab(rgb).reshape(-1, 3)
    some = lab[np.random.default_rng(seed).permutation(len(lab))[:PIXELS]]
    width = bandwidth or max(LEAST, WIDTH * float(np.sqrt(some.var(0).sum())))
    found: Clusters = mean_shift(some, width, seed) if count is None else k_means(some, count, seed)
    assigned = found.nearest(lab)
    sizes = np.bincount(assigned, minlength=len(found.centres))
    sums = np.stack([np.bincount(assigned, column, len(sizes)) for column in lab.T], 1)
    order = np.argsort(-sizes)[: np.count_nonzero(sizes)]
    place = np.argsort(np.argsort(-sizes))
    colours = to_rgb(sums[order] / sizes[order, None])
    return Regions(place[assigned].reshape(rgb.shape[:2]), colours, sizes[order] / len(lab))
