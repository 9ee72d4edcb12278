"""Convolutional encoder and decoder for pictures of any size: halvings down to about 4 to 7 pixels, and back."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """h + W2 silu(FiLM(W1 silu(h))), W2 = 0 at first: the identity, so that no normalisation is needed.

    De & Smith, "Batch normalization biases residual blocks towards the identity function" (2020); Perez et al.,
    "FiLM" (2018).
    """

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels) if embedding else None
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        y = self.first(F.silu(h))
        if self.modulation is not None and embedding is not None:
            scale, shift = self.modulation(embedding)[..., None, None].chunk(2, dim=1)
            y = y * (1 + scale) + shift
        return h + self.second(F.silu(y))


def halvings(height: int, width: int) -> int:
    """How often a picture is halved: until the geometric mean of its sides is below 8."""
    count, area = 0, height * width
    while area >= 64:
        count, area = count + 1, area // 4
    return count


class Pyramid:
    """The sizes of the levels: sides padded up to a multiple of 2^halvings (None: as many as fit the size); channels
    double, up to 4 x width."""

    def __init__(self, height: int, width: int, channels: int, halved: int | None = None):
        count = halvings(height, width) if halved is None else halved
        self.padding = (-height % 2**count, -width % 2**count)
        self.bottom = ((height + self.padding[0]) >> count, (width + self.padding[1]) >> count)
        self.channels = [channels * min(2**level, 4) for level in range(max(count, 1))]
        self.halved = count > 0

    @property
    def features(self) -> int:
        return self.channels[-1] * self.bottom[0] * self.bottom[1]


class Encoder(nn.Module):
    """`(B, C, H, W)` -> `(B, outputs)`, or `(B, outputs, h, w)` of the lowest level where not `flat`, halved so often
    (None: as fits the size); modulated by an embedding `(B, E)` where there is one."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        width: int,
        blocks: int,
        embedding: int = 0,
        flat: bool = True,
        halved: int | None = None,
    ):
        super().__init__()
        pyramid = Pyramid(*shape[1:], width, halved)
        self.padding = pyramid.padding
        self.project_in = nn.Conv2d(shape[0], width, *((4, 2, 1) if pyramid.halved else (3, 1, 1)))
        layers: list[nn.Module] = []
        for level, channels in enumerate(pyramid.channels):
            if level:
                layers.append(nn.Conv2d(pyramid.channels[level - 1], channels, 4, stride=2, padding=1))
            layers += [Residual(channels, embedding) for _ in range(blocks)]
        self.layers = nn.ModuleList(layers)
        self.flat = flat
        self.project_out = nn.Linear(pyramid.features, outputs) if flat else nn.Conv2d(pyramid.channels[-1], outputs, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        bottom, right = self.padding
        h = F.pad(x, (0, right, 0, bottom), mode="replicate").contiguous(memory_format=torch.channels_last)
        h = self.project_in(h)
        for layer in self.layers:
            h = layer(h, embedding) if isinstance(layer, Residual) else layer(F.silu(h))
        h = F.silu(h)
        return self.project_out(h.flatten(1) if self.flat else h).float()


class Rectified(nn.Module):
    """`(B, C, H, W)` -> float32 `(B, outputs)`: 4x4 convolutions of stride 2 and a dense layer, all with rectifiers.

    A rectifier is exactly 0 below its threshold, so that changes which stay below it are gone, not small: trained
    against attacks, it withstands them after a tenth of the steps that a smooth unit takes. The network of Wong, Rice &
    Kolter, "Fast is better than free: revisiting adversarial training" (2020), for pictures of any size.
    """

    def __init__(self, shape: tuple[int, int, int], outputs: int, width: int):
        super().__init__()
        pyramid = Pyramid(*shape[1:], width)
        self.padding = pyramid.padding
        first = nn.Conv2d(shape[0], width, *((4, 2, 1) if pyramid.halved else (3, 1, 1)))
        deeper = (nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(pyramid.channels))
        self.convolutions = nn.ModuleList([first, *deeper])
        self.dense = nn.Linear(pyramid.features, 6 * width)
        self.project_out = nn.Linear(6 * width, outputs)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        bottom, right = self.padding
        h = F.pad(x, (0, right, 0, bottom), mode="replicate").contiguous(memory_format=torch.channels_last)
        for convolution in self.convolutions:
            h = F.relu(convolution(h))
        return self.project_out(F.relu(self.dense(h.flatten(1)))).float()


class Decoder(nn.Module):
    """`(B, inputs)`, or `(B, inputs, h, w)` where not `flat`, -> `(B, C, H, W)`: the encoder's mirror image.

    Each doubling is a 4x4 transposed convolution of stride 2, which contains nearest up-sampling followed by a 3x3
    convolution at a fraction of its cost, and covers every pixel equally (Odena et al., "Deconvolution and
    checkerboard artifacts", 2016).
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, int, int],
        width: int,
        blocks: int,
        embedding: int = 0,
        flat: bool = True,
        halved: int | None = None,
    ):
        super().__init__()
        pyramid = Pyramid(*shape[1:], width, halved)
        self.size = shape[1:]
        self.bottom = (pyramid.channels[-1], *pyramid.bottom)
        self.project_in = nn.Linear(inputs, pyramid.features) if flat else nn.Conv2d(inputs, pyramid.channels[-1], 1)
        layers: list[nn.Module] = []
        downwards = [width // 2 if pyramid.halved else width, *pyramid.channels]
        for level in reversed(range(len(pyramid.channels))):
            layers += [Residual(pyramid.channels[level], embedding) for _ in range(blocks)]
            if pyramid.halved:
                layers.append(nn.ConvTranspose2d(downwards[level + 1], downwards[level], 4, stride=2, padding=1))
        self.layers = nn.ModuleList(layers)
        self.project_out = nn.Conv2d(downwards[0], shape[0], 3, padding=1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.project_in(z).reshape(-1, *self.bottom).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            h = layer(h, embedding) if isinstance(layer, Residual) else layer(F.silu(h))
        height, width = self.size
        return self.project_out(F.silu(h))[..., :height, :width].float()
