"""Colours as eyes compare them: sRGB to CIE L*a*b* and back."""

from __future__ import annotations

import numpy as np

# sRGB (IEC 61966-2-1) to XYZ under D65, whose white is the sum of the columns.
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = TO_XYZ.sum(1)
EDGE = 6 / 29


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """uint8 `(..., 3)` -> L* in [0, 100] and a*, b* in about [-110, 110], float64 `(..., 3)`.

    CIE, "Colorimetry" (2004).
    """
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    t = linear @ TO_XYZ.T / WHITE
    f = np.where(t > EDGE**3, np.cbrt(t), t / (3 * EDGE**2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def to_rgb(lab: np.ndarray) -> np.ndarray:
    """The inverse of `to_lab`, clipped to what a screen shows: float `(..., 3)` -> uint8 `(..., 3)`."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    t = np.where(f > EDGE, f**3, 3 * EDGE**2 * (f - 4 / 29))
    linear = np.clip((t * WHITE) @ np.linalg.inv(TO_XYZ).T, 0, 1)
    value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * np.clip(value, 0, 1)).astype(np.uint8)
