"""How sharp pictures are: how much their neighbouring pixels differ in ways that a slope does not explain."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sharpness(x: Tensor) -> Tensor:
    """The variance over pixels of the Laplacian of the mean of channels, pictures `(B, C, H, W)` in [-1, 1]: `(B,)`.

    Blur lowers it, noise raises it: read it beside that of real pictures. Pech-Pacheco, Cristóbal, Chamorro-Martínez &
    Fernández-Valdivia, "Diatom autofocusing in brightfield microscopy: a comparative study" (2000).
    """
    grey = F.pad(x.float().clamp(-1, 1).mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=x.device).view(1, 1, 3, 3)
    return F.conv2d(grey, kernel).flatten(1).var(1, correction=0)
