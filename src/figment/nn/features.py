"""Feature networks of two kinds: a plain convolutional one and a residual one. Pictures in, features out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHIPPED = files("figment.nn").joinpath("fixed.safetensors")
Architecture = Literal["plain", "residual"]
SIDE = 32


def fitted(height: int, width: int) -> tuple[int, int]:
    """The size a feature network sees: the long side brought down to 32; smaller pictures stay as they are."""
    shrink = min(1.0, SIDE / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """`(B, C, H, W)` -> `(B, C, height, width)`, antialiased bilinear; as it is where the size is right."""
    if x.shape[2:] == (height, width):
        return x
    return F.interpolate(x, (height, width), mode="bilinear", antialias=True, align_corners=False)


def network_for(architecture: Architecture, channels: int, size: tuple[int, int], features: int, out: int) -> Features:
    """A feature network for `(B, channels, *size)` with a linear head of `out` values."""
    trunk = Plain(channels, size, features) if architecture == "plain" else Residual(channels, size, features)
    return Features(trunk, features, out)


def shipped() -> Features:
    """The network that comes with figment, frozen, for pictures `(B, 3, 32, 32)`. See docs/features.md."""
    from safetensors.torch import load

    tensors = {name: tensor.float() for name, tensor in load(SHIPPED.read_bytes()).items()}
    network = network_for("plain", 3, (SIDE, SIDE), *tensors["head_out.weight"].shape[::-1])
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def rgb(x: Tensor) -> Tensor:
    """One or two channels (grey, with alpha): the first, three times; more (RGB, RGBA, others): the first three."""
    colours = x[:, :1] if x.shape[1] in (1, 2) else x[:, :3]
    return colours.expand(-1, 3, -1, -1)


def perceptual_distance(network: Features, x: Tensor, y: Tensor) -> Tensor:
    """Mean over places of |f(x) - f(y)|^2, f the features of unit length there, summed over the layers of a plain
    network: pictures `(B, C, H, W)` twice, of any size -> `(B,)`.

    Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric" (2018), unweighted.
    """
    assert isinstance(network.trunk, Plain)
    total = x.new_zeros(len(x))
    both = rgb(torch.cat([x, y])).contiguous(memory_format=torch.channels_last)
    for layer in network.trunk.maps(both):
        mine, theirs = F.normalize(layer.float(), dim=1, eps=1e-4).chunk(2)
        total = total + (mine - theirs).square().sum(1).mean((1, 2))
    return total


class Features(nn.Module):
    """A trunk that maps pictures to features `(B, F)`, and a linear head on them."""

    def __init__(self, trunk: nn.Module, features: int, out: int):
        super().__init__()
        self.trunk = trunk
        self.head_out = nn.Linear(features, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.head_out(self.trunk(x))


class Plain(nn.Module):
    """Convolution, batch normalisation, rectifier, maximum over 2x2, until the map is at most 4 wide; then one dense
    layer. Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition" (2015).
    """

    def __init__(self, channels: int, size: tuple[int, int], features: int, width: int = 32):
        super().__init__()
        stages = max(1, math.ceil(math.log2(max(size) / 4)))
        widths = [channels, *(min(width << stage, 128) for stage in range(stages))]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths[1:])
        cells = math.prod(math.ceil(side / (1 << stages)) for side in size)
        self.dense = nn.Linear(widths[-1] * cells, features)

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """The map after each convolution, from fine to coarse."""
        for convolution, norm in zip(self.convolutions, self.norms):
            x = F.relu(norm(F.max_pool2d(convolution(x), 2, ceil_mode=True)))
            yield x

    def forward(self, x: Tensor) -> Tensor:
        *_, last = self.maps(x)
        return F.relu(self.dense(last.flatten(1)))


class Residual(nn.Module):
    """Patches of 2x2, then residual blocks with strides between them, and the mean over the map: no pooling of maxima,
    no dense layer over places. He et al., "Identity mappings in deep residual networks" (2016).
    """

    def __init__(self, channels: int, size: tuple[int, int], features: int, width: int = 32):
        super().__init__()
        stages = max(1, math.ceil(math.log2(max(size) / 4)))
        widths = [min(width << stage, features) for stage in range(stages - 1)] + [features]
        self.patches_in = nn.Conv2d(channels, widths[0], 3, stride=2, padding=1, bias=False)
        self.blocks = nn.ModuleList(ResidualBlock(w) for w in widths)
        self.strides = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False) for a, b in pairwise(widths))
        self.norm = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        h = self.blocks[0](self.patches_in(x))
        for stride, block in zip(self.strides, self.blocks[1:]):
            h = block(stride(h))
        return F.silu(self.norm(h)).mean((2, 3))


class ResidualBlock(nn.Module):
    """h + conv(silu(norm(conv(silu(norm(h))))))."""

    def __init__(self, width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, h: Tensor) -> Tensor:
        y = h
        for norm, convolution in zip(self.norms, self.convolutions):
            y = convolution(F.silu(norm(y)))
        return h + y


@torch.no_grad()
def moved(x: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """A batch moved by one random offset of up to `shift` pixels, edges repeated."""
    dy, dx = torch.randint(2 * shift + 1, (2,), generator=generator).tolist()
    padded = F.pad(x, (shift,) * 4, mode="replicate")
    return padded[:, :, dy : dy + x.shape[2], dx : dx + x.shape[3]]
