"""Generators: a code and a class in, a picture of any size or a row out."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.nn.convolution import Pyramid, halvings
from figment.nn.embeddings import LabelEmbedding
from figment.nn.mlp import MLP
from figment.nn.resample import UpConv


class Generator(nn.Module):
    """z `(B, latent)` and labels `(B,)` -> pictures `(B, C, H, W)` in [-1, 1], float32.

    A style w = f(z, y) modulates every convolution, as in Karras et al., "Analyzing and improving the image quality
    of StyleGAN" (2020), without noise inputs: the picture is a function of (z, y). Features are grown from 4 to 7
    pixels a side by doubling, `width` channels at full size and up to four times as many below; what exceeds H x W is
    cropped.
    """

    def __init__(self, shape: tuple[int, int, int], latent: int, width: int, classes: int = 0):
        super().__init__()
        channels, self.height, self.width = shape
        widths = [width * min(2**level, 4) for level in range(halvings(self.height, self.width), -1, -1)]
        self.start = (widths[0], *Pyramid(self.height, self.width, width).bottom)
        style = 4 * width
        self.embed = LabelEmbedding(classes, latent) if classes else None
        self.style_in = nn.Linear(latent * (2 if classes else 1), style)
        self.style = nn.Linear(style, style)
        self.grid_in = nn.Linear(style, self.start[0] * self.start[1] * self.start[2])
        layers = [Modulated(nn.Conv2d(widths[0], widths[0], 3, padding=1, bias=False), style)]
        for inputs, outputs in pairwise(widths):
            if len(layers) > 1:
                layers.append(Modulated(nn.Conv2d(inputs, inputs, 3, padding=1, bias=False), style))
            layers.append(Modulated(UpConv(inputs, outputs, bias=False), style))
        self.layers = nn.ModuleList(layers)
        self.picture_out = nn.Conv2d(width, channels, 3, padding=1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        w = F.leaky_relu(self.style(F.leaky_relu(self.style_in(with_label(z, label, self.embed)), 0.2)), 0.2)
        h = self.grid_in(w).view(-1, *self.start).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            h = layer(h, w)
        return self.picture_out(h)[..., : self.height, : self.width].float().tanh()


def with_label(z: Tensor, label: Tensor | None, embed: LabelEmbedding | None) -> Tensor:
    """A code `(B, d)` and, with classes, a direction of its label as long as codes are: `(B, d)` or `(B, 2 d)`."""
    if embed is None:
        return z
    assert label is not None
    return torch.cat([z, F.normalize(embed(label), dim=1) * z.shape[1] ** 0.5], dim=1)


class Modulated(nn.Module):
    """A convolution whose input channels are scaled by a style s(w) and whose outputs are brought back to unit
    variance: y_o = d_o sum_i W_oi * (s_i x_i), d_o = (sum_i s_i^2 |W_oi|^2)^(-1/2); then noise `(B, 1, H, W)`
    where there is any, bias and leaky ReLU.

    Scaling features instead of weights gives the same result without a kernel for each example.
    """

    def __init__(self, convolution: nn.Conv2d, style: int):
        super().__init__()
        self.convolution = convolution
        self.style = nn.Linear(style, convolution.in_channels)
        self.bias = nn.Parameter(torch.zeros(convolution.out_channels))
        nn.init.normal_(convolution.weight, std=1 / convolution.weight[0].numel() ** 0.5)
        nn.init.normal_(self.style.weight, std=1 / style**0.5)
        nn.init.ones_(self.style.bias)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        scale = self.style(w)
        power = self.convolution.weight.square().sum((2, 3))
        gain = (F.linear(scale.square(), power) + 1e-6).rsqrt()
        y = self.convolution(x * scale.to(x.dtype)[..., None, None]) * gain.to(x.dtype)[..., None, None]
        if noise is not None:
            y = y + noise.to(y.dtype)
        return F.leaky_relu(y + self.bias.to(y.dtype)[:, None, None], 0.2) * 2**0.5


class VectorGenerator(nn.Module):
    """z `(B, latent)` and labels `(B,)` -> rows `(B, D)`, float32."""

    def __init__(self, dimensions: int, latent: int, width: int, classes: int = 0):
        super().__init__()
        self.embed = LabelEmbedding(classes, width) if classes else None
        self.body = MLP(latent, dimensions, width, depth=3, embedding=width if classes else 0)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.body(z, None if self.embed is None else self.embed(label))
