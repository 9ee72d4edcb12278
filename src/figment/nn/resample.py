"""Convolutions that change resolution by two, each folded with its resampling into one strided kernel."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class UpConv(nn.Conv2d):
    """A 3x3 convolution after nearest up-sampling: `(B, C, H, W)` -> `(B, out, 2H, 2W)`.

    Exact as one transposed 4x4 convolution of stride 2, with 4/9 of the multiplications: free of checkerboards,
    since neighbouring pixels share their weights (Odena et al., "Deconvolution and checkerboard artifacts", 2016).
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        kernel = shifted_sum(self.weight.flip(2, 3)).transpose(0, 1)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class DownConv(nn.Conv2d):
    """A 3x3 convolution before 2x2 average pooling, exact as one 4x4 convolution of stride 2:
    `(B, C, H, W)` -> `(B, out, H/2, W/2)`, H and W even."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, shifted_sum(self.weight) / 4, self.bias, stride=2, padding=1)


def shifted_sum(kernel: Tensor) -> Tensor:
    """A kernel `(..., k, k)` convolved with 2x2 ones: `(..., k + 1, k + 1)`."""
    padded = F.pad(kernel, (1, 1, 1, 1))
    rows = padded[..., 1:, :] + padded[..., :-1, :]
    return rows[..., 1:] + rows[..., :-1]
