"""Group normalisation, modulated and activated."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GroupNorm(nn.Module):
    """y = phi(g (x - mean) / sqrt(var + 1e-5) + b), moments over each group of channels of each example `(B, C, H, W)`.

    phi is SiLU where `activate`, else the identity. A `modulation` `(B, 2 C)` = (s, m) turns g and b into g (1 + s) and
    b (1 + s) + m. Wu & He, "Group normalization" (2018); Dhariwal & Nichol, "Diffusion models beat GANs" (2021).
    """

    def __init__(self, channels: int, activate: bool = True):
        super().__init__()
        self.groups, self.activate = math.gcd(channels, 16), activate
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, modulation: Tensor | None = None) -> Tensor:
        y = F.group_norm(x, self.groups, self.weight, self.bias)
        if modulation is not None:
            scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
            y = y * (1 + scale) + shift
        return F.silu(y) if self.activate else y
