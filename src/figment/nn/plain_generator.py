"""Generators without styles: a chain of convolutions that double a grid, plain or with skips past them."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from figment.nn.convolution import Pyramid, halvings
from figment.nn.embeddings import LabelEmbedding
from figment.nn.generator import with_label
from figment.nn.normalisation import GroupNorm
from figment.nn.resample import UpConv


class PlainGenerator(nn.Module):
    """z `(B, latent)` and labels `(B,)` -> pictures `(B, C, H, W)` in [-1, 1], float32: the code is laid out as a grid
    and doubled, each time normalised, SiLU between.

    Radford, Metz & Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
    networks" (2016); but examples are normalised one by one, and doubled without checkerboards (see `UpConv`).
    `width` channels at full size and up to four times as many below.
    """

    def __init__(self, shape: tuple[int, int, int], latent: int, width: int, classes: int = 0):
        super().__init__()
        channels, self.height, self.width = shape
        widths = [width * min(2**level, 4) for level in range(halvings(self.height, self.width), -1, -1)]
        self.start = (widths[0], *Pyramid(self.height, self.width, width).bottom)
        self.embed = LabelEmbedding(classes, latent) if classes else None
        self.grid_in = nn.Linear(latent * (2 if classes else 1), self.start[0] * self.start[1] * self.start[2])
        self.first = GroupNorm(widths[0])
        self.layers = nn.ModuleList(UpConv(a, b, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(GroupNorm(b) for b in widths[1:])
        self.picture_out = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.first(self.grid_in(with_label(z, label, self.embed)).view(-1, *self.start))
        for layer, norm in zip(self.layers, self.norms):
            h = norm(layer(h))
        return self.picture_out(h)[..., : self.height, : self.width].float().tanh()


class ResidualGenerator(nn.Module):
    """z `(B, latent)` and labels `(B,)` -> pictures `(B, C, H, W)` in [-1, 1], float32, by blocks that add to what
    they double; the code and label set the gains of every normalisation, so that they reach every size.

    Brock, Donahue & Simonyan, "Large scale GAN training for high fidelity natural image synthesis" (2019).
    """

    def __init__(self, shape: tuple[int, int, int], latent: int, width: int, classes: int = 0):
        super().__init__()
        channels, self.height, self.width = shape
        widths = [width * min(2**level, 4) for level in range(halvings(self.height, self.width), -1, -1)]
        self.start = (widths[0], *Pyramid(self.height, self.width, width).bottom)
        self.embed = LabelEmbedding(classes, latent) if classes else None
        code = latent * (2 if classes else 1)
        self.grid_in = nn.Linear(code, self.start[0] * self.start[1] * self.start[2])
        self.blocks = nn.ModuleList(Doubling(a, b, code) for a, b in pairwise(widths))
        self.last = GroupNorm(width)
        self.picture_out = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        code = with_label(z, label, self.embed)
        h = self.grid_in(code).view(-1, *self.start)
        for block in self.blocks:
            h = block(h, code)
        return self.picture_out(self.last(h))[..., : self.height, : self.width].float().tanh()


class Doubling(nn.Module):
    """h -> (up(h) + f(h, code)) / sqrt(2), at twice the resolution: `(B, C, H, W)` -> `(B, out, 2H, 2W)`."""

    def __init__(self, inputs: int, outputs: int, code: int):
        super().__init__()
        self.norms = nn.ModuleList([GroupNorm(inputs), GroupNorm(outputs)])
        self.first = UpConv(inputs, outputs, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.modulation = nn.Linear(code, 2 * (inputs + outputs))
        nn.init.normal_(self.modulation.weight, std=0.5 / code**0.5)
        nn.init.zeros_(self.modulation.bias)
        self.sizes = (2 * inputs, 2 * outputs)

    def forward(self, h: Tensor, code: Tensor) -> Tensor:
        before, between = self.modulation(code).split(self.sizes, dim=1)
        y = self.second(self.norms[1](self.first(self.norms[0](h, before)), between))
        return (F.interpolate(self.skip(h), scale_factor=2) + y) * 2**-0.5
