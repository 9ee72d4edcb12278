"""A picture enlarged by a whole number."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from figment.nn.convolution import Residual


class SRResNet(nn.Module):
    """`(B, C, h, w)` -> `(B, C, s h, s w)`, float32: bicubic enlargement plus what residual blocks at the small size
    add, which is nothing at the start.

    Without batch normalisation, as in Lim et al., "Enhanced deep residual networks for single image super-resolution"
    (2017); after Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network"
    (2017).
    """

    def __init__(self, channels: int, width: int, blocks: int, scale: int):
        super().__init__()
        self.scale = scale
        self.picture_in = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(Residual(width, 0) for _ in range(blocks))
        self.enlarge = nn.Conv2d(width, width * scale**2 // 2, 3, padding=1)
        self.picture_out = nn.Conv2d(width // 2, channels, 3, padding=1)
        nn.init.zeros_(self.picture_out.weight)
        nn.init.zeros_(self.picture_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h = start = self.picture_in(x)
        for block in self.blocks:
            h = block(h, None)
        y = F.silu(F.pixel_shuffle(self.enlarge(F.silu(h + start)), self.scale))
        size = [self.scale * side for side in x.shape[2:]]
        return F.interpolate(x, size, mode="bicubic", align_corners=False) + self.picture_out(y).float()
