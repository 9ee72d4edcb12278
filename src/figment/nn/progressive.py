"""A generator and a discriminator that are grown together: from a few pixels a side to full size, level by level.

Karras et al., "Progressive growing of GANs for improved quality, stability, and variation" (2018).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from figment.nn.convolution import Pyramid, halvings
from figment.nn.discriminator import Judge, deviation, project
from figment.nn.embeddings import LabelEmbedding
from figment.nn.generator import with_label
from figment.nn.resample import DownConv, UpConv


def growth(progress: float, levels: int, share: float) -> float:
    """How far a network of so many levels is grown at a progress in [0, 1]: k is that level k is done, k + a that
    level k + 1 is mixed in by a. Each level is left alone for half its time; all are there after `share` of the run."""
    time = levels * progress / share
    done = min(math.floor(time), levels)
    return min(done + max(0.0, 2 * (time - done) - 1), float(levels))


def pooled(x: Tensor, halvings: int) -> Tensor:
    """Means over squares of 2^halvings pixels a side."""
    return F.avg_pool2d(x, 2**halvings) if halvings else x


def doubled(x: Tensor, doublings: int = 1) -> Tensor:
    """Every pixel 2^doublings times in each direction."""
    return F.interpolate(x, scale_factor=2**doublings) if doublings else x


class Growing(nn.Module):
    """Of `levels` doublings; `growth` `()` in [0, levels] is as in the function of that name, `levels` at first."""

    growth: Tensor

    def __init__(self, shape: tuple[int, int, int]):
        super().__init__()
        _, self.height, self.width = shape
        self.levels = halvings(self.height, self.width)
        self.pad = (0, -self.width % 2**self.levels, 0, -self.height % 2**self.levels)
        self.register_buffer("growth", torch.tensor(float(self.levels)))

    def stage(self) -> tuple[int, float]:
        """The level that is drawn at, and how far it is mixed in, in (0, 1]."""
        grown = float(self.growth)
        level = math.ceil(grown)
        return level, 1 - (level - grown)

    def at_stage(self, x: Tensor) -> Tensor:
        """Pictures `(B, C, H, W)` with no more detail than is drawn now, at full size."""
        level, fade = self.stage()
        left = self.levels - level
        small = pooled(F.pad(x, self.pad, mode="replicate"), left)
        if level and fade < 1:
            small = doubled(pooled(small, 1)).lerp(small, fade)
        return doubled(small, left)[..., : self.height, : self.width]


class ProgressiveGenerator(Growing):
    """z `(B, latent)` and labels `(B,)` -> pictures `(B, C, H, W)`, float32: those of the level grown to, at full size.

    `width` channels at full size and up to four times as many below; every layer's features have unit length.
    """

    def __init__(self, shape: tuple[int, int, int], latent: int, width: int, classes: int = 0):
        super().__init__(shape)
        widths = [width * min(2**level, 4) for level in range(self.levels, -1, -1)]
        self.start = (widths[0], *Pyramid(self.height, self.width, width).bottom)
        self.embed = LabelEmbedding(classes, latent) if classes else None
        self.grid_in = nn.Linear(latent * (2 if classes else 1), self.start[0] * self.start[1] * self.start[2])
        self.first = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.up = nn.ModuleList(UpConv(a, b) for a, b in pairwise(widths))
        self.after = nn.ModuleList(nn.Conv2d(b, b, 3, padding=1) for b in widths[1:])
        self.picture_out = nn.ModuleList(nn.Conv2d(channels, shape[0], 1) for channels in widths)
        equalise(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        level, fade = self.stage()
        code = unit_length(with_label(z, label, self.embed))
        h = unit_length(F.leaky_relu(self.grid_in(code), 0.2).view(-1, *self.start))
        h = unit_length(F.leaky_relu(self.first(h.contiguous(memory_format=torch.channels_last)), 0.2))
        before = h
        for up, after in zip(self.up[:level], self.after[:level]):
            before = h
            h = unit_length(F.leaky_relu(after(unit_length(F.leaky_relu(up(h), 0.2))), 0.2))
        x = self.picture_out[level](h).float()
        if level and fade < 1:
            x = doubled(self.picture_out[level - 1](before).float()).lerp(x, fade)
        return doubled(x, self.levels - level)[..., : self.height, : self.width].tanh()


class ProgressiveDiscriminator(Growing, Judge):
    """Pictures `(B, C, H, W)` and labels `(B,)` -> logits `(B,)`, float32, from what there is at the level grown to.

    `dropout` and `group` as in `Discriminator`.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, classes: int = 0, dropout: float = 0, group: int = 0):
        super().__init__(shape)
        widths = [width * min(2**level, 4) for level in range(self.levels, -1, -1)]
        rows, columns = Pyramid(self.height, self.width, width).bottom
        self.group, self.dropout = group, nn.Dropout(dropout) if dropout else nn.Identity()
        self.picture_in = nn.ModuleList(nn.Conv2d(shape[0], channels, 1) for channels in widths)
        self.before = nn.ModuleList(nn.Conv2d(b, b, 3, padding=1) for b in widths[1:])
        self.down = nn.ModuleList(DownConv(b, a) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[0] + (group > 0), widths[0], 3, padding=1)
        self.features = nn.Linear(widths[0] * rows * columns, 4 * width)
        self.logit_out = nn.Linear(4 * width, 1, bias=False)
        self.embed = LabelEmbedding(classes, 4 * width) if classes else None
        equalise(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def describe(self, x: Tensor) -> Tensor:
        level, fade = self.stage()
        x = pooled(F.pad(x, self.pad, mode="replicate"), self.levels - level)
        h = self._seen(x, level)
        for k in range(level - 1, -1, -1):
            h = F.leaky_relu(self.down[k](F.leaky_relu(self.before[k](h), 0.2)), 0.2)
            if k == level - 1 and fade < 1:
                h = self._seen(pooled(x, 1), k).lerp(h, fade)
            h = self.dropout(h)
        if self.group:
            h = torch.cat([h, deviation(h, self.group).expand(-1, -1, *h.shape[2:])], dim=1)
        return F.leaky_relu(self.last(h), 0.2).flatten(1)

    def judge(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.dropout(F.leaky_relu(self.features(h), 0.2).float())
        return project(self.logit_out(h).float(), h, self.embed, label)

    def _seen(self, x: Tensor, level: int) -> Tensor:
        return F.leaky_relu(self.picture_in[level](x.contiguous(memory_format=torch.channels_last)), 0.2)


def unit_length(h: Tensor) -> Tensor:
    """h / sqrt(mean h^2 + 1e-8) over the features of each example and pixel: `(B, F, ...)`."""
    return h * (h.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Gain(nn.Module):
    """W -> gain W."""

    def __init__(self, gain: float):
        super().__init__()
        self.gain = gain

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.gain

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight / self.gain


def equalise(network: nn.Module, deviation: float = 0.1) -> nn.Module:
    """Equalised learning rates: what is learned of every layer has the same deviation, and its size is a constant.

    y = sqrt(2 / inputs) / deviation * W x, W ~ N(0, deviation^2): a step of Adam changes all layers by the same share,
    lr / deviation of their size.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            gain = (2 / layer.weight[0].numel()) ** 0.5 / deviation
            nn.init.normal_(layer.weight, std=gain * deviation)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            register_parametrization(layer, "weight", Gain(gain))
    return network
