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
        examples, channels, *size = x.shape
        gain, offset = self.weight.expand(examples, -1), self.bias.expand(examples, -1)
        if modulation is not None:
            scale, shift = modulation.float().chunk(2, dim=1)
            gain, offset = gain * (1 + scale), offset * (1 + scale) + shift
        # The examples side by side as channels of one picture: each then has a gain of its own, within the one kernel.
        side_by_side = x.reshape(1, examples * channels, *size)
        y = F.group_norm(side_by_side, examples * self.groups, gain.flatten(), offset.flatten()).view(x.shape)
        return F.silu(y) if self.activate else y
