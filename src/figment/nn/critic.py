"""A discriminator of another network's maps."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from figment.nn.discriminator import Judge, project
from figment.nn.embeddings import LabelEmbedding


class MapCritic(Judge):
    """Maps `(B, F, h, w)` and labels `(B,)` -> logits `(B,)`, float32.

    A 1x1 and a 3x3 convolution (of small maps another 1x1), then two dense layers; with classes as in `Discriminator`.
    """

    def __init__(self, shape: tuple[int, ...], width: int, classes: int = 0):
        super().__init__()
        channels, height, breadth = shape
        self.mix = nn.Conv2d(channels, 2 * width, 1)
        # Where parts of a kernel lie in the padding only, oneDNN leaves their bf16 gradients unset.
        kernel, stride = (1, 1) if min(height, breadth) < 4 else (3, 2)
        self.halve = nn.Conv2d(2 * width, 2 * width, kernel, stride, kernel // 2)
        self.features = nn.Linear(2 * width * math.ceil(height / stride) * math.ceil(breadth / stride), 4 * width)
        self.logit_out = nn.Linear(4 * width, 1, bias=False)
        self.embed = LabelEmbedding(classes, 4 * width) if classes else None

    def describe(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.halve(F.leaky_relu(self.mix(x), 0.2)), 0.2).flatten(1)

    def judge(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        h = F.leaky_relu(self.features(h), 0.2).float()
        return project(self.logit_out(h).float(), h, self.embed, label)
