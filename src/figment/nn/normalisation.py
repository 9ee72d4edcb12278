"""Group normalisation, modulated and activated."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.kernels import normalisation as kernel

KERNEL_PIXELS = 1024  # a CPU's channels-last kernel takes up to 17 times as long as the formula below so many


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
        if kernel.usable(x):
            gain, offset = self.affine(len(x), modulation)
            return kernel.normalised(x, gain, offset, self.groups, self.activate, self.formula)
        if x.is_contiguous():
            return self.formula(x, *self.affine(len(x), modulation))
        return self.activated(self.channels_last(x, modulation))

    def activated(self, y: Tensor) -> Tensor:
        return F.silu(y, inplace=not torch.is_grad_enabled()) if self.activate else y

    def affine(self, examples: int, modulation: Tensor | None) -> tuple[Tensor, Tensor]:
        """Gain and offset of every channel of every example, `(B, C)`."""
        gain, offset = self.weight.expand(examples, -1), self.bias.expand(examples, -1)
        if modulation is None:
            return gain, offset
        scale, shift = modulation.float().chunk(2, dim=1)
        return gain * (1 + scale), offset * (1 + scale) + shift

    def formula(self, x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
        """With the gain and offset of every channel of every example: as channels of one picture, examples have them
        within torch's one kernel."""
        examples, channels, *size = x.shape
        joined = x.reshape(1, examples * channels, *size)
        y = F.group_norm(joined, examples * self.groups, gain.flatten(), offset.flatten(), kernel.EPSILON)
        return self.activated(y.view(x.shape))

    def channels_last(self, x: Tensor, modulation: Tensor | None) -> Tensor:
        examples, channels, *size = x.shape
        if math.prod(size) >= KERNEL_PIXELS:
            y = F.group_norm(x, self.groups, self.weight, self.bias)
            if modulation is None:
                return y
            scale, shift = modulation.to(x.dtype)[..., None, None].chunk(2, dim=1)
            return torch.addcmul(shift, y, 1 + scale)

        def group_mean(v: Tensor) -> Tensor:
            return v.sum((2, 3)).float().view(examples, self.groups, -1).mean(2, keepdim=True) / math.prod(size)

        def per_channel(v: Tensor) -> Tensor:
            return v.to(x.dtype).expand(-1, -1, channels // self.groups).reshape(examples, channels, 1, 1)

        # Two passes, the first of which may round: a variance of squares alone would cancel in bf16.
        y = x - per_channel(group_mean(x))
        mean = group_mean(y)
        gain, offset = (v.view(examples, self.groups, -1) for v in self.affine(examples, modulation))
        gain = gain * ((group_mean(y * y) - mean * mean).clamp(min=0) + kernel.EPSILON).rsqrt()
        return torch.addcmul(per_channel(offset - gain * mean), y, per_channel(gain))
