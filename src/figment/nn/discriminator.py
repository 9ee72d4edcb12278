"""Discriminators: a picture or a row and a class in, a logit out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.nn.convolution import Pyramid, halvings
from figment.nn.embeddings import LabelEmbedding
from figment.nn.mlp import MLP
from figment.nn.resample import DownConv


class Judge(nn.Module, ABC):
    """Examples `(B, ...)` and labels `(B,)` -> logits `(B,)`, float32: what it sees, and what it makes of that."""

    def sense(self, x: Tensor) -> Tensor:
        """What reaches it of examples by a way that is not learned `(B, ...)`: x, unless others look for it."""
        return x

    @abstractmethod
    def describe(self, x: Tensor) -> Tensor:
        """What it sees of each example that was sensed: `(B, F)`."""

    @abstractmethod
    def judge(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits `(B,)` from what was seen."""

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Of examples that were sensed."""
        return self.judge(self.describe(x), label)


class Discriminator(Judge):
    """Pictures `(B, C, H, W)` and labels `(B,)` -> logits `(B,)`, float32; no normalisation, so that its gradient in x
    is its own.

    Residual blocks halve the picture to 4 to 7 pixels a side (padded at the edge to a multiple). With classes the
    logit is v.phi + e_y.phi / sqrt(F) (Miyato & Koyama, "cGANs with projection discriminator", 2018). `dropout` is the
    share of features left out after every block; `group` as in `deviation`, 0 for none.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, classes: int = 0, dropout: float = 0, group: int = 0):
        super().__init__()
        self.group = group
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        channels, height, breadth = shape
        pyramid = Pyramid(height, breadth, width)
        self.pad = (0, pyramid.padding[1], 0, pyramid.padding[0])
        widths = [width * min(2**level, 4) for level in range(halvings(height, breadth) + 1)]
        first, *deeper = widths[1:] or widths
        self.picture_in = nn.Conv2d(channels, first, *((4, 2, 1) if pyramid.halved else (3, 1, 1)))
        self.blocks = nn.ModuleList(Halving(a, b) for a, b in pairwise([first, *deeper]))
        self.last = nn.Conv2d(widths[-1] + (group > 0), widths[-1], 3, padding=1)
        self.features = nn.Linear(widths[-1] * pyramid.bottom[0] * pyramid.bottom[1], 4 * width)
        self.logit_out = nn.Linear(4 * width, 1, bias=False)
        self.embed = LabelEmbedding(classes, 4 * width) if classes else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def describe(self, x: Tensor) -> Tensor:
        h = F.pad(x, self.pad, mode="replicate").contiguous(memory_format=torch.channels_last)
        h = F.leaky_relu(self.picture_in(h), 0.2)
        for block in self.blocks:
            h = self.dropout(block(h))
        if self.group:
            h = torch.cat([h, deviation(h, self.group).expand(-1, -1, *h.shape[2:])], dim=1)
        return F.leaky_relu(self.last(h), 0.2).flatten(1)

    def judge(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.dropout(F.leaky_relu(self.features(h), 0.2).float())
        return project(self.logit_out(h).float(), h, self.embed, label)


class Halving(nn.Module):
    """h -> (down(h) + f(h)) / sqrt(2), at half the resolution: `(B, C, H, W)` -> `(B, out, H/2, W/2)`."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.second = DownConv(inputs, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        y = F.leaky_relu(self.second(F.leaky_relu(self.first(h), 0.2)), 0.2)
        return (self.skip(F.avg_pool2d(h, 2)) + y) * 2**-0.5


class VectorDiscriminator(Judge):
    """Rows `(B, D)` and labels `(B,)` -> logits `(B,)`, float32.

    It sees x and sin(r x) / r, cos(r x) / r at `octaves` rates r = pi / 4, pi / 2, pi, ...: a perceptron of x alone is
    nearly blind to the inside of narrow modes (Tancik et al., "Fourier features let networks learn high frequency
    functions in low dimensional domains", 2020). Divided by r, all have the same slope, and far modes stay in view.
    `dropout` and `group` are as in `Discriminator`.
    """

    def __init__(
        self, dimensions: int, width: int, classes: int = 0, dropout: float = 0, group: int = 0, octaves: int = 5
    ):
        super().__init__()
        self.group = group
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.rates = [torch.pi / 4 * 2**k for k in range(octaves)]
        self.body = MLP(dimensions * (1 + 2 * octaves), width, width, depth=3)
        self.logit_out = nn.Linear(width + (group > 0), 1, bias=False)
        self.embed = LabelEmbedding(classes, width) if classes else None

    def describe(self, x: Tensor) -> Tensor:
        waves = [wave(rate * x) / rate for rate in self.rates for wave in (torch.sin, torch.cos)]
        return self.dropout(F.silu(self.body(torch.cat([x, *waves], dim=1))))

    def judge(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        judged = torch.cat([h, deviation(h, self.group)], dim=1) if self.group else h
        return project(self.logit_out(judged).float(), h, self.embed, label)


def deviation(h: Tensor, group: int) -> Tensor:
    """How much examples differ, `(B, 1, ...)`: the mean over features `(B, F, ...)` of their standard deviation within
    consecutive groups, of the largest size up to `group` that divides B.

    Karras et al., "Progressive growing of GANs for improved quality, stability, and variation" (2018).
    """
    size = next(size for size in range(min(group, len(h)), 0, -1) if len(h) % size == 0)
    groups = h.float().flatten(1).unflatten(0, (-1, size))  # (B / size, size, F)
    mean = (groups.var(1, correction=0) + 1e-8).sqrt().mean(1)
    return mean.repeat_interleave(size).view(-1, *[1] * (h.ndim - 1)).to(h.dtype)


def project(logit: Tensor, features: Tensor, embed: nn.Embedding | None, label: Tensor | None) -> Tensor:
    """A logit `(B, 1)` plus, with classes, the features' `(B, F)` agreement with their class: `(B,)`."""
    if embed is None:
        return logit.squeeze(1)
    return logit.squeeze(1) + (embed(label) * features).sum(1) / features.shape[1] ** 0.5
