"""A discriminator that sees pictures as a denoiser does."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.models.diffusion.diffusion import Diffusion
from figment.nn.discriminator import Judge, deviation, project
from figment.nn.embeddings import LabelEmbedding

QUIET = 4.4  # log-SNR the denoiser is told of: what tells fine things apart; on the straight path t = .1
BOTTOM = 4  # places a side that a map is brought to, at most


@final
class DenoiserJudge(Judge):
    """Logits `(B,)` of what the layers of a frozen denoiser see of pictures or codes, told of some noise where there
    is none: a few convolutions for each layer, and one logit of all. The denoiser is not part of it.

    Sauer et al., "Fast high-resolution image synthesis with latent adversarial diffusion distillation" (2024).
    """

    def __init__(
        self,
        denoiser: Diffusion,
        shape: tuple[int, ...],
        width: int,
        classes: int = 0,
        dropout: float = 0,
        group: int = 0,
    ):
        super().__init__()
        self.maps, t = denoiser.maps, denoiser.schedule.time(torch.tensor(QUIET))
        self.time, self.signal = float(t), float(denoiser.schedule.alpha(t))
        self.group = group
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        with torch.no_grad():
            self.shapes = [seen.shape[1:] for seen in self._seen(torch.zeros(1, *shape))]
        self.heads = nn.ModuleList(head(channels, 2 * width, (h, w)) for channels, h, w in self.shapes)
        with torch.no_grad():
            features = sum(own(torch.zeros(1, *shape)).numel() for own, shape in zip(self.heads, self.shapes))
        self.features = nn.Linear(features + (group > 0), 4 * width)
        self.logit_out = nn.Linear(4 * width, 1, bias=False)
        self.embed = LabelEmbedding(classes, 4 * width) if classes else None

    def _seen(self, x: Tensor) -> list[Tensor]:
        return self.maps(self.signal * x, x.new_full(x.shape[:1], self.time))

    def sense(self, x: Tensor) -> Tensor:
        """All maps of `(B, C, H, W)`, one after another: `(B, M)`, float32."""
        return torch.cat([seen.flatten(1).float() for seen in self._seen(x)], 1)

    def describe(self, x: Tensor) -> Tensor:
        return x

    def judge(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        parts = h.split([shape.numel() for shape in self.shapes], 1)
        h = torch.cat([own(part.view(-1, *shape)) for own, part, shape in zip(self.heads, parts, self.shapes)], 1)
        h = torch.cat([h, deviation(h, self.group)], 1) if self.group else h
        h = self.dropout(F.leaky_relu(self.features(self.dropout(h)), 0.2).float())
        return project(self.logit_out(h).float(), h, self.embed, label)


def head(channels: int, width: int, sides: tuple[int, int]) -> nn.Sequential:
    """A map `(B, channels, h, w)` -> `(B, F)`: at least two convolutions, the last of which halve it to 4 a side at
    most."""
    halvings = max(0, math.ceil(math.log2(max(sides) / BOTTOM)))
    strides = [*[1] * (2 - halvings), *[2] * halvings]
    inputs = [channels, *[width] * (len(strides) - 1)]
    layers = [(nn.Conv2d(n, width, 3, stride, 1), nn.LeakyReLU(0.2)) for n, stride in zip(inputs, strides)]
    return nn.Sequential(*(module for pair in layers for module in pair), nn.Flatten())
