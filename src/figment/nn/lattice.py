"""A network on 2 x 2 blocks of pixels that says, of some pixels of a block, what the others leave open."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.nn.convolution import Residual


class PhaseNet(nn.Module):
    """`known` pixels of each block in [0, 1] `(B, h, w, known, C)`, an embedding `(B, E)` or None -> for `asked` others
    and each of their channels c `count` numbers, 0 at the start, given those pixels' channels before c.

    `features` is run once; `theta` for channel after channel. Where a block is enters as two more channels.
    """

    def __init__(self, channels: int, known: int, asked: int, count: int, width: int, blocks: int, embedding: int):
        super().__init__()
        self.asked = asked
        self.project_in = nn.Conv2d(known * channels + 3, width, 3, padding=1)
        self.layers = nn.ModuleList(Residual(width, embedding) for _ in range(blocks))
        self.split = nn.Conv2d(width, asked * width, 1) if asked * channels > 1 else nn.Identity()
        self.channels_in = nn.ModuleList(nn.Linear(c, width) for c in range(1, channels))
        self.project_out = nn.ModuleList(nn.Linear(width, count) for _ in range(channels))
        for layer in self.project_out:
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, blocks: Tensor, embedding: Tensor | None) -> Tensor:
        """`(B, h, w, asked, F)`."""
        seen = (blocks.flatten(3).permute(0, 3, 1, 2) * 2 - 1).to(self.project_in.weight.dtype)  # (B, known C, h, w)
        h = torch.cat([seen, places(seen)], 1).contiguous(memory_format=torch.channels_last)
        h = self.project_in(h)
        for layer in self.layers:
            h = layer(h, embedding)
        return self.split(h).permute(0, 2, 3, 1).unflatten(3, (self.asked, -1))

    def theta(self, features: Tensor, before: Tensor) -> Tensor:
        """`(B, h, w, asked, count)` of channel c, given the c channels before it `(B, h, w, asked, c)`."""
        channel = before.shape[-1]
        if channel:
            features = features + self.channels_in[channel - 1]((before * 2 - 1).to(self.project_in.weight.dtype))
        return self.project_out[channel](F.silu(features)).to(before.dtype)


def places(like: Tensor) -> Tensor:
    """Two coordinates in [-1, 1], and 1, of each pixel: `(B, 3, h, w)`."""
    y, x = (torch.linspace(-1, 1, side, device=like.device, dtype=like.dtype) for side in like.shape[2:])
    planes = [*torch.meshgrid(y, x, indexing="ij"), like.new_ones(like.shape[2:])]
    return torch.stack(planes).expand(like.shape[0], -1, -1, -1)
