"""The U-Net that diffusion uses, without time: from one picture to another of the same size."""

from __future__ import annotations

from figment.core.data import Image
from figment.nn.convolution import halvings
from figment.nn.unet import UNet


def unet_for(form: Image, inputs: int, outputs: int, width: int, skips: bool = True, patch: int = 1) -> UNet:
    """`(B, inputs, H, W)` -> `(B, outputs, H, W)`, with levels down to 4 to 7 pixels a side for pictures of a form, of
    `width` channels at full size and at most four times as many below. No attention, so that cost grows with the area.

    `patch` x `patch` pixels are folded into channels at the entrance: as many fewer positions, one level less for 2.
    """
    levels = max(halvings(form.height, form.width) - (patch - 1).bit_length(), 0)
    multipliers = [min(2**level, 4) for level in range(levels + 1)]
    return UNet(inputs, outputs, width, multipliers, blocks=1, head_width=0, patch=patch, timed=False, skips=skips)
