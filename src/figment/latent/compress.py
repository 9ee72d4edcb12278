"""Rate and distortion: how many bytes a code costs once its numbers are rounded, and how many dB the rounding."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
import torch
from torch import Tensor

TAILS = 0.001  # of the training codes on either side that are clipped to the range of the levels


@dataclass(frozen=True)
class Axes:
    """The k principal axes `(k, d)` of rows about their mean `(d,)`: of any k numbers a linear map keeps, the scores
    lose the least in squares. Pearson, "On lines and planes of closest fit to systems of points in space" (1901).
    """

    mean: Tensor
    axes: Tensor

    @classmethod
    def of(cls, rows: Tensor, k: int) -> Axes:
        """From rows `(N, d)`; k is at most min(N, d)."""
        from sklearn.decomposition import PCA

        fitted = PCA(min(k, *rows.shape), random_state=0).fit(rows.double().cpu().numpy())
        mean, axes = (torch.from_numpy(part).float().to(rows.device) for part in (fitted.mean_, fitted.components_))
        return cls(mean, axes)

    def scores(self, rows: Tensor) -> Tensor:
        """`(B, d)` -> `(B, k)`."""
        return (rows - self.mean) @ self.axes.T

    def rows(self, scores: Tensor) -> Tensor:
        """From the first k numbers only, where `scores` `(B, k)` has fewer than there are axes: `(B, d)`."""
        return self.mean + scores @ self.axes[: scores.shape[1]]


@dataclass(frozen=True)
class Quantiser:
    """Each of d numbers rounded to one of 2^b even levels between `low` `(d,)` and low + (2^b - 1) step; `lengths`
    `(d, 2^b)` are the bits of each level: -log2 of its frequency in training codes, which an arithmetic coder reaches
    to within a byte or two a picture. Shannon, "A mathematical theory of communication" (1948).
    """

    low: Tensor
    step: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, codes: Tensor, bits: int) -> Quantiser:
        """Fitted to training codes `(N, d)`; half a count is added to each level."""
        levels = 2**bits
        low, high = torch.quantile(codes[:10_000].float(), torch.tensor([TAILS, 1 - TAILS], device=codes.device), dim=0)
        step = ((high - low) / (levels - 1)).clamp_min(1e-12)
        unfitted = cls(low, step, torch.zeros(codes.shape[1], levels, device=codes.device))
        places = unfitted.levels(codes)
        counts = torch.zeros_like(unfitted.lengths).scatter_add_(
            1, places.T, torch.ones_like(places.T, dtype=low.dtype)
        )
        frequency = (counts + 0.5) / (len(codes) + 0.5 * levels)
        return cls(low, step, -frequency.log2())

    def levels(self, codes: Tensor) -> Tensor:
        """int64 `(B, d)`."""
        return ((codes - self.low) / self.step).round().clamp(0, self.lengths.shape[1] - 1).long()

    def rounded(self, codes: Tensor) -> Tensor:
        """What is left of codes `(B, d)`."""
        return self.low + self.levels(codes) * self.step

    def bits(self, codes: Tensor) -> Tensor:
        """What each number of codes `(B, d)` costs, by its entropy over training codes: bits `(B, d)`."""
        return self.lengths.gather(1, self.levels(codes).T).T


@dataclass(frozen=True)
class Point:
    """What one way of storing pictures costs, a picture on average: numbers or bytes, and dB."""

    bytes: float
    psnr: float
    numbers: int | None = None
    bits: int | None = None
    quality: int | None = None


def distortion(x: Tensor, y: Tensor) -> float:
    """10 log10(4 / mean squared error over all pictures), dB: pictures `(B, ...)` in [-1, 1], y clipped to it."""
    error = float((x - y.clamp(-1, 1)).square().double().mean())
    return 10 * math.log10(4 / max(error, 4e-12))


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both bytes and dB, by bytes ascending."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.bytes, -point.psnr)):
        if not best or point.psnr > best[-1].psnr:
            best.append(point)
    return best


def jpeg(pixels: np.ndarray, quality: int) -> tuple[np.ndarray, float, float]:
    """Pictures uint8 `(B, H, W, C)`, C = 1 or 3, after JPEG; the mean bytes of the files, and of their scans alone, all
    that is left where files share their tables."""
    decoded, whole, scan = np.empty_like(pixels), 0, 0
    for place, picture in enumerate(pixels):
        file = io.BytesIO()
        PIL.Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(
            file, "JPEG", quality=quality, optimize=True
        )
        data = file.getvalue()
        decoded[place] = np.asarray(PIL.Image.open(io.BytesIO(data))).reshape(picture.shape)
        whole += len(data)
        scan += len(data) - _tables(data)
    return decoded, whole / len(pixels), scan / len(pixels)


def _tables(data: bytes) -> int:
    """The bytes of a JPEG file up to the end of the header of its scan: segments, each a marker and its length."""
    place, marker = 2, 0
    while marker != 0xDA:
        marker = data[place + 1]
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place
