"""Colours as eyes compare them: sRGB to CIE L*a*b* and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# sRGB (IEC 61966-2-1) to XYZ under D65, whose white is the sum of the columns.
TO_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    dtype=torch.float64,
)
WHITE = TO_XYZ.sum(1)
EDGE = 6 / 29


def lab(x: Tensor) -> Tensor:
    """Pictures `(B, 3, H, W)` in [-1, 1] -> L* in [0, 100] and a*, b* in about [-110, 110], `(B, 3, H, W)`, in float32
    or float64. CIE, "Colorimetry" (2004)."""
    value = (x + 1) / 2
    value = value if value.dtype == torch.float64 else value.float()
    linear = torch.where(value <= 0.04045, value / 12.92, ((value.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
    t = _mixed(TO_XYZ / WHITE[:, None], linear)
    f = torch.where(t > EDGE**3, t.clamp(min=EDGE**3) ** (1 / 3), t / (3 * EDGE**2) + 4 / 29)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def from_lab(lightness: Tensor, chroma: Tensor) -> Tensor:
    """The inverse of `lab`, of L* `(B, 1, H, W)` and (a*, b*) `(B, 2, H, W)`, clipped to what a screen shows."""
    y, chroma = (lightness + 16) / 116, chroma.to(lightness)
    f = torch.cat([y + chroma[:, :1] / 500, y, y - chroma[:, 1:] / 200], 1)
    t = torch.where(f > EDGE, f**3, 3 * EDGE**2 * (f - 4 / 29))
    linear = _mixed((TO_XYZ / WHITE[:, None]).inverse(), t).clamp(0, 1)
    value = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)
    return 2 * value - 1


def _mixed(matrix: Tensor, x: Tensor) -> Tensor:
    """The channels of x `(B, 3, H, W)` times a matrix `(3, 3)`, in the precision of x, whatever networks compute in."""
    with torch.autocast(x.device.type, enabled=False):
        return torch.einsum("ij,bjhw->bihw", matrix.to(x), x)


def grey_of(x: Tensor) -> Tensor:
    """The grey picture `(B, 1, H, W)` with the lightness L* of a picture `(B, 3, H, W)`, in 8 bits."""
    lightness = lab(x)[:, :1]
    grey = from_lab(lightness, torch.zeros_like(lightness).expand(-1, 2, -1, -1))[:, 1:2]
    return grey.add(1).mul(127.5).round().div(127.5).sub(1)


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """`lab` of uint8 `(..., 3)`: float64 `(..., 3)`."""
    x = torch.from_numpy(rgb.reshape(1, -1, 1, 3) / 127.5 - 1).permute(0, 3, 1, 2)
    return lab(x).permute(0, 2, 3, 1).reshape(rgb.shape).numpy()


def to_rgb(colours: np.ndarray) -> np.ndarray:
    """The inverse of `to_lab`: float `(..., 3)` -> uint8 `(..., 3)`."""
    x = torch.from_numpy(np.asarray(colours, np.float64).reshape(1, -1, 1, 3)).permute(0, 3, 1, 2)
    value = (from_lab(x[:, :1], x[:, 1:]) + 1) * 127.5
    return value.round().permute(0, 2, 3, 1).reshape(colours.shape).numpy().astype(np.uint8)
