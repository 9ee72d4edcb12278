"""The U-Net that diffusion uses, without time: from one picture to another of the same size."""

from __future__ import annotations

from torch import Tensor, nn

from figment.core.data import Image
from figment.nn.convolution import halvings
from figment.nn.unet import UNet


class Change(nn.Module):
    """x + f(x), `(B, C, H, W)`: the picture itself and what a network changes of it, which is nothing at the start."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return x + self.network(x)


def unet_for(form: Image, inputs: int, outputs: int, width: int, skips: bool = True, folded: bool = False) -> UNet:
    """`(B, inputs, H, W)` -> `(B, outputs, H, W)`, with levels down to 4 to 7 pixels a side for pictures of a form, of
    `width` channels at full size and at most four times as many below. No attention, so that cost grows with the area.

    `folded`, it begins at half the size, 2x2 pixels being one place: for changes of a picture, whose detail is kept.
    """
    patch = 2 if folded else 1
    widths = [width * min(2**level, 4) for level in range(halvings(form.height, form.width) + 1)][patch - 1 :]
    multipliers = [w // widths[0] for w in widths]
    return UNet(inputs, outputs, widths[0], multipliers, blocks=1, head_width=0, patch=patch, timed=False, skips=skips)
