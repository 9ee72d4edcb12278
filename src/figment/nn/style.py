"""A generator in two parts: codes become styles, and styles become pictures, layer by layer."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.nn.convolution import Pyramid, halvings
from figment.nn.embeddings import LabelEmbedding
from figment.nn.generator import Modulated
from figment.nn.resample import UpConv


class StyleMapping(nn.Module):
    """z `(B, latent)` and labels `(B,)` -> styles w `(B, width)`: a perceptron of codes brought to unit length, whose
    weights learn `slowness` times as slowly as others."""

    def __init__(self, latent: int, width: int, depth: int, classes: int = 0, slowness: float = 100.0):
        super().__init__()
        self.embed = LabelEmbedding(classes, latent) if classes else None
        sizes = [latent * (2 if classes else 1), *[width] * depth]
        self.layers = nn.ModuleList(Slow(a, b, slowness) for a, b in pairwise(sizes))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        parts = [z] if self.embed is None else [z, self.embed(label)]
        w = torch.cat([F.normalize(part, dim=1) * part.shape[1] ** 0.5 for part in parts], dim=1)
        for layer in self.layers:
            w = F.leaky_relu(layer(w), 0.2) * 2**0.5
        return w


class StyleGenerator(nn.Module):
    """z `(B, latent)` and labels `(B,)` -> pictures `(B, C, H, W)`: `mapping`, then `synthesis`."""

    def __init__(self, shape: tuple[int, int, int], latent: int, width: int, depth: int, classes: int = 0):
        super().__init__()
        self.mapping = StyleMapping(latent, 4 * width, depth, classes)
        self.synthesis = Synthesis(shape, width, 4 * width)


class Slow(nn.Module):
    """y = W x / slowness + b / slowness, W ~ N(0, slowness^2 / inputs): the same function at first, which a step of
    Adam changes `slowness` times less (Karras et al., "A style-based generator architecture", 2019)."""

    def __init__(self, inputs: int, outputs: int, slowness: float):
        super().__init__()
        self.gain = 1 / slowness
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * slowness / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.gain, self.bias * self.gain)


class Synthesis(nn.Module):
    """Styles `(B, L, width)`, one for each of L layers, and noise `(B, N)` -> pictures `(B, C, H, W)`.

    A learned grid of 4 to 7 pixels a side is convolved and doubled; every layer scales its input by its style and adds
    one number of noise to all channels of a pixel, as strongly as it has learned. `layers` is L, `pixels` is N. Nothing
    bounds what comes out: flat colours drove a tanh to its ends within 50 steps, where it passes no gradient back.
    Karras et al., "Analyzing and improving the image quality of StyleGAN" (2020).
    """

    def __init__(self, shape: tuple[int, int, int], width: int, style: int):
        super().__init__()
        channels, self.height, self.width = shape
        widths = [width * min(2**level, 4) for level in range(halvings(self.height, self.width), -1, -1)]
        rows, columns = Pyramid(self.height, self.width, width).bottom
        self.grid = nn.Parameter(torch.randn(1, widths[0], rows, columns))
        layers = [Modulated(nn.Conv2d(widths[0], widths[0], 3, padding=1, bias=False), style)]
        sizes = [(rows, columns)]
        for inputs, outputs in pairwise(widths):
            rows, columns = 2 * rows, 2 * columns
            layers.append(Modulated(UpConv(inputs, outputs, bias=False), style))
            layers.append(Modulated(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), style))
            sizes += [(rows, columns)] * 2
        self.convolutions = nn.ModuleList(layers)
        self.strength = nn.Parameter(torch.zeros(len(layers)))
        self.sizes, self.layers, self.pixels = sizes, len(layers), sum(r * c for r, c in sizes)
        self.picture_out = nn.Conv2d(width, channels, 3, padding=1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, w: Tensor, noise: Tensor) -> Tensor:
        parts = noise.split([rows * columns for rows, columns in self.sizes], dim=1)
        h = self.grid.expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        for i, convolution in enumerate(self.convolutions):
            grain = parts[i].view(-1, 1, *self.sizes[i]) * self.strength[i]
            h = convolution(h, w[:, i], grain)
        return self.picture_out(h)[..., : self.height, : self.width].float()
