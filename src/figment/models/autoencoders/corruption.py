"""Ways to spoil a picture: what a denoising autoencoder learns to undo."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from figment.core.noise import Noise

Corruption = Literal["gaussian", "salt-and-pepper", "masking"]


def corrupted(x: Tensor, corruption: Corruption, amount: float, noise: Noise | None = None) -> Tensor:
    """x `(B, ...)` in model range, spoilt by noise of its own for each item (None: drawn plainly).

    Gaussian: x + sigma epsilon, where `amount` is sigma with black to white being 1, so 0.3 is 77 of 255 grey levels;
    of rows, in their standard deviations. Salt and pepper: a share `amount` of pixels turns black or white, all their
    channels at once. Masking: a share turns black (rows: to their mean). Pictures stay in [-1, 1]: clipped as a camera
    clips. Vincent et al., "Stacked denoising autoencoders" (2010).
    """
    picture = x.ndim == 4
    if corruption == "gaussian":
        epsilon = noise.normal(x.shape[1:]).to(x) if noise is not None else torch.randn_like(x)
        return (x + 2 * amount * epsilon).clamp(-1, 1) if picture else x + amount * epsilon
    places = (1, *x.shape[2:]) if picture else x.shape[1:]
    u = noise.uniform(places).to(x) if noise is not None else torch.rand(len(x), *places, device=x.device)
    low = -1.0 if picture or corruption == "salt-and-pepper" else 0.0
    spoilt = torch.where(u < amount, low, x)
    return spoilt if corruption == "masking" else torch.where(u < amount / 2, 1.0, spoilt)
