"""A discriminator that judges patches, so that it knows texture and lets another loss know places."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """`(B, C, H, W)` -> logits `(B, h, w)`, float32: each of a patch of `field(halvings)` pixels a side.

    4x4 convolutions, `halvings` of stride 2 and two of stride 1; no normalisation, so that a logit depends on its patch
    alone. Isola et al., "Image-to-image translation with conditional adversarial networks" (2017).
    """

    def __init__(self, channels: int, width: int, halvings: int):
        super().__init__()
        widths = [channels, *(width * min(2**level, 8) for level in range(halvings + 1))]
        strides = [*[2] * halvings, 1]
        self.smallest = 3 * 2**halvings  # a side that leaves one logit
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, s, 1) for (a, b), s in zip(pairwise(widths), strides))
        self.logit_out = nn.Conv2d(widths[-1], 1, 4, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        bottom, right = (max(0, self.smallest - side) for side in x.shape[2:])
        h = F.pad(x, (0, right, 0, bottom))
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.2)
        return self.logit_out(h).squeeze(1).float()


def field(halvings: int) -> int:
    """Pixels a side of the patch behind a logit: 16, 34, 70 for 1, 2, 3 halvings, from r <- stride r + (4 - stride)."""
    side = 1
    for stride in (1, 1, *[2] * halvings):
        side = stride * side + 4 - stride
    return side
