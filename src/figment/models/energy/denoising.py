"""Energies of pictures with noise, one for every amount of it, learned by taking noise away."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from figment.nn.energy import Agreement

SPREAD = 0.5  # about the deviation of pictures, in model range


class NoisyEnergy(nn.Module):
    """E_s(x) = ||x||^2 / 2 v - (d / s) f(x / sqrt v), v = s^2 + d^2, d = 0.5, so that all that f is to learn has unit
    size: minus the log-density, but for a constant, of data to which noise of deviation s was added.

    Then E[data | x] = x - s^2 dE_s/dx (Tweedie), and E_s is learned by least squares of it, s drawn evenly in its
    logarithm between `least` and `most`. Vincent, "A connection between score matching and denoising autoencoders"
    (2011); Li, Chen & Sommer, "Learning energy-based models in high-dimensional spaces with multiscale denoising
    score matching" (2023); units: Karras et al., "Elucidating the design space of diffusion-based generative
    models" (2022).
    """

    def __init__(self, network: Agreement, least: float, most: float):
        super().__init__()
        self.network, self.least, self.most = network, least, most

    def level(self, t: float | Tensor) -> Tensor:
        """The deviation of the noise at t in [0, 1], from `least` to `most`, evenly in its logarithm."""
        return self.least * torch.exp(torch.as_tensor(t) * math.log(self.most / self.least))

    def energy(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """E_s(x) `(B,)` at t `(B,)`."""
        x, s = x.float(), self.level(t)
        v = s**2 + SPREAD**2
        own = x.flatten(1).square().sum(1) / (2 * v)
        return own - SPREAD / s * self.network(x / v.sqrt().view(-1, 1, 1, 1), t, label)

    def cleaned(self, x: Tensor, t: Tensor, label: Tensor, learn: bool = False) -> Tensor:
        """E[data | x] = x - s^2 dE_s/dx; with `learn`, as a function of the weights."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(x, t, label).sum(), x, create_graph=learn)
        return x.detach() - self.level(t).view(-1, 1, 1, 1) ** 2 * slope

    def loss(self, x: Tensor, label: Tensor) -> Tensor:
        """The mean over pixels and s of (E[data | x + s n] - x)^2 v / (s d)^2."""
        t = torch.rand(len(x), device=x.device)
        s = self.level(t).view(-1, 1, 1, 1)
        wrong = self.cleaned(x + s * torch.randn_like(x), t, label, learn=True) - x
        return (wrong.square() * (s**2 + SPREAD**2) / (s * SPREAD) ** 2).mean()
