"""What pictures take to describe without the model in question: by their texture alone, or by a general compressor."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

TONES = 4  # of the pixels before a pixel
PNG_FRAME, WEBP_FRAME = 57, 25  # bytes around the pixels
PRIOR = 16.0  # pixels that the histogram of all counts for in that of a surrounding


class Texture:
    """P(pixel | the pixels to its left, above, and above to both sides, each in four tones): no shape, only texture.

    Abend, Harley & Kanal, "Classification of binary random patterns" (1965). As a background model: Ren et al.,
    "Likelihood ratios for out-of-distribution detection" (2019).
    """

    def __init__(self) -> None:
        self.counts = np.zeros((TONES**4, 256))

    def learn(self, pixels: np.ndarray) -> None:
        """Counts pictures uint8 `(B, H, W, C)`; channels are alike."""
        place = 256 * _surroundings(pixels) + pixels
        self.counts += np.bincount(place.ravel(), minlength=self.counts.size).reshape(self.counts.shape)

    def nats(self, pixels: np.ndarray) -> Tensor:
        """-log P of pictures uint8 `(B, H, W, C)`: float64 `(B,)`."""
        every = self.counts.sum(0) + 0.05
        blended = self.counts + PRIOR * every / every.sum()
        table = np.log(blended / blended.sum(1, keepdims=True))
        return torch.from_numpy(-table[_surroundings(pixels), pixels].reshape(len(pixels), -1).sum(1))


def _surroundings(pixels: np.ndarray) -> np.ndarray:
    """Which of 4^4 surroundings each pixel has: int64 `(B, H, W, C)`; outside it is black."""
    tone = np.pad(pixels, ((0, 0), (1, 0), (1, 1), (0, 0))).astype(np.int64) * TONES >> 8
    left, above, before, behind = tone[:, 1:, :-2], tone[:, :-1, 1:-1], tone[:, :-1, :-2], tone[:, :-1, 2:]
    return ((left * TONES + above) * TONES + before) * TONES + behind


def file_bits(pixels: np.ndarray, form: str, **options: Any) -> Tensor:
    """Bits of each of the pictures uint8 `(B, H, W, C)` as a file of some form, such as "PNG": float64 `(B,)`."""
    sizes = []
    for picture in pixels:
        planes = picture.transpose(2, 0, 1).reshape(-1, picture.shape[1])  # any number of channels, one below another
        with io.BytesIO() as file:
            PIL.Image.fromarray(picture if picture.shape[2] == 3 else planes).save(file, form, **options)
            sizes.append(8 * file.tell())
    return torch.tensor(sizes, dtype=torch.float64)


def least_bits(pixels: np.ndarray) -> Tensor:
    """Bits of pictures uint8 `(B, H, W, C)` by the better of two general compressors, PNG and lossless WebP, each
    without its frame: float64 `(B,)`."""
    png = file_bits(pixels, "PNG", optimize=True) - 8 * PNG_FRAME
    return torch.minimum(png, file_bits(pixels, "WEBP", lossless=True, quality=100) - 8 * WEBP_FRAME)
