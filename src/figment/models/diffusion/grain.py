"""What few evaluations do to pictures: grain, where none of it can be seen, and contrast that is lost."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

AROUND = 9  # pixels a side
LEAK = 0.1  # slope beyond black and white, by which pictures find back


def grain(x: Tensor) -> Tensor:
    """x `(B, C, H, W)` minus the mean around each pixel, in which neighbours count 1/2 and diagonal ones 1/4 of it;
    edges are repeated."""
    row = x.new_tensor([0.25, 0.5, 0.25])
    kernel = (row[:, None] * row).expand(x.shape[1], 1, 3, 3)
    return x - F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])


def softly_clipped(x: Tensor) -> Tensor:
    """x within [-1, 1]; beyond, a tenth of the excess: all that is beyond black looks alike, without an edge at which
    gradients end."""
    inside = x.clamp(-1, 1)
    return inside + LEAK * (x - inside)


def contrast(x: Tensor) -> Tensor:
    """x `(B, C, H, W)` minus the mean of the 9x9 pixels around each; edges are repeated."""
    pad = AROUND // 2
    return x - F.avg_pool2d(F.pad(x, (pad, pad, pad, pad), mode="replicate"), AROUND, stride=1)
