"""Random changes of all pictures that a discriminator sees: it cannot learn a few by heart, and the generator cannot
tell them from its own.

Zhao et al., "Differentiable augmentation for data-efficient GAN training" (2020); Karras et al., "Training generative
adversarial networks with limited data" (2020).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MOST = 0.7  # of pictures changed by each: above 3 / 4, places may no longer be told apart after being shifted
RISE = 0.1  # of a run, in which the share could rise from 0 to 1


def augment(x: Tensor, share: Tensor | float) -> Tensor:
    """Pictures `(B, C, H, W)`, each change done to a random `share` of them: differentiable in x.

    The changes are of brightness, colour, contrast, place, and a square that is blotted out. As long as a picture is
    more often left alone than changed in any one way, equal distributions after them were equal before.
    """
    for change in (brighten, colour, contrast, shift, blot):
        chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < share
        x = torch.where(chosen, change(x), x)
    return x


def brighten(x: Tensor) -> Tensor:
    """x + u, u in [-1/2, 1/2]."""
    return x + (_uniform(x) - 0.5)


def colour(x: Tensor) -> Tensor:
    """Distances of channels from their mean, times u in [0, 2]."""
    mean = x.mean(1, keepdim=True)
    return mean + (x - mean) * 2 * _uniform(x)


def contrast(x: Tensor) -> Tensor:
    """Distances from the picture's mean, times u in [1/2, 3/2]."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (0.5 + _uniform(x))


def shift(x: Tensor) -> Tensor:
    """Moved by up to an eighth of the sides, with the middle grey behind."""
    height, width = x.shape[2:]
    down, right = (_integer(x, -round(side / 8), round(side / 8)) for side in (height, width))
    rows = (torch.arange(height, device=x.device) - down + 1).clamp(0, height + 1)  # (B, H) into the padded picture
    columns = (torch.arange(width, device=x.device) - right + 1).clamp(0, width + 1)
    examples = torch.arange(len(x), device=x.device)[:, None, None]
    padded = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    return padded[examples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def blot(x: Tensor) -> Tensor:
    """A square of half the sides made grey, anywhere."""
    height, width = x.shape[2:]
    inside = []
    for side in (height, width):
        centre = _integer(x, 0, side - 1)
        inside.append((torch.arange(side, device=x.device) - centre).abs() <= side // 4)  # (B, side)
    return x * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])


def adapted(share: Tensor, accuracy: Tensor, target: float, passed: float) -> Tensor:
    """The share of pictures to change next `()`: more while real and drawn are told apart too well, else less; `passed`
    is the part of the run since it was last set.

    r = 2 accuracy - 1 is 0 for a discriminator that knows nothing, and 1 for one that tells every pair apart.
    """
    return (share + torch.sign(2 * accuracy - 1 - target) * passed / RISE).clamp(0, MOST)


def _uniform(x: Tensor) -> Tensor:
    return torch.rand(len(x), 1, 1, 1, device=x.device)


def _integer(x: Tensor, low: int, high: int) -> Tensor:
    """Whole numbers from low to high, one for each picture: `(B, 1)`."""
    return torch.randint(low, high + 1, (len(x), 1), device=x.device)
