"""What keeps a discriminator from winning: bounds on its slope, and noise in its inputs and answers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Name = Literal["r1+r2", "r1", "r2", "gradient-penalty", "clipping", "spectral-norm", "none"]


def squared_slope(logits: Tensor, x: Tensor) -> Tensor:
    """|dD/dx|^2 `(B,)` of logits `(B,)` computed from `x` `(B, ...)`, itself differentiable.

    On real examples it is R1, on drawn ones R2 (Mescheder et al., "Which training methods for GANs do actually
    converge?", 2018).
    """
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return slope.float().flatten(1).square().sum(1)


def unit_slope(squares: Tensor) -> Tensor:
    """(|dD/dx| - 1)^2 `(B,)` from squared slopes `(B,)`: 0 for a critic that is steepest between two distributions.

    Gulrajani et al., "Improved training of Wasserstein GANs" (2017).
    """
    return ((squares + 1e-12).sqrt() - 1).square()


def between(real: Tensor, fake: Tensor) -> Tensor:
    """Points u x + (1 - u) G(z), u uniform in [0, 1], one for each pair of examples `(B, ...)`."""
    u = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    return fake.lerp(real, u)


@torch.no_grad()
def clip_weights(network: nn.Module, limit: float) -> None:
    """Brings every parameter back into [-limit, limit] (Arjovsky et al., "Wasserstein GAN", 2017)."""
    for parameter in network.parameters():
        parameter.clamp_(-limit, limit)


def normalise_spectrum(network: nn.Module) -> nn.Module:
    """Divides the weight of every layer by its largest singular value, so that no layer has a slope above 1; weights
    that are all zero, which have no direction, are drawn first.

    Miyato et al., "Spectral normalization for generative adversarial networks" (2018).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
            if not layer.weight.any():
                nn.init.orthogonal_(layer.weight)
            spectral_norm(layer)
    return network


def flipped(real: Tensor, fake: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Logits `(B,)` of real and drawn examples, exchanged in a random share of the pairs: noisy labels.

    Chintala et al., "How to train a GAN?" (2016).
    """
    if not share:
        return real, fake
    swapped = torch.rand(len(real), device=real.device) < share
    return torch.where(swapped, fake, real), torch.where(swapped, real, fake)
