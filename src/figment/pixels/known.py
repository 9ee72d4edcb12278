"""What may be known of a picture while the rest is missing, each as an orthogonal projection.

Noise of equal deviation in all directions stays so under a projection: what is known can be noised alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from figment.core.model import Projection

LUMA = (0.299, 0.587, 0.114)  # shares of red, green and blue in grey (ITU-R BT.601)


def pixels(mask: Tensor) -> Projection:
    """The pixels where `mask` is 1: P x = mask x; mask `(B, 1, H, W)` or of the shape of x."""
    return lambda x: mask * x


def grey(x: Tensor) -> Tensor:
    """All but the colours: P x = w (w . x) / |w|^2 at every pixel of x `(B, 3, H, W)`, w being `LUMA`."""
    w = _luma(x)
    return w * (w * x).sum(1, keepdim=True) / (w * w).sum()


def shades(x: Tensor) -> Tensor:
    """The grey picture y of which as much is known as of x by `grey`, P y = P x: w . x in every channel."""
    return (_luma(x) * x).sum(1, keepdim=True).expand_as(x)


def _luma(x: Tensor) -> Tensor:
    return torch.tensor(LUMA, dtype=x.dtype, device=x.device).view(-1, 1, 1)


def coarse(factor: int) -> Projection:
    """The means of squares of `factor` x `factor` pixels, which divide the sides of x: P x `(B, C, H, W)`."""
    return lambda x: F.interpolate(F.avg_pool2d(x, factor), scale_factor=factor, mode="nearest")
