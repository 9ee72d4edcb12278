"""Time and labels as vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoids(t: Tensor, width: int) -> Tensor:
    """`(B,)` -> float32 `(B, width)`, width even: cosines then sines of 1000 t f_i, f_i = 10^(-4 i / (width / 2)).

    Vaswani et al., "Attention is all you need" (2017).
    """
    i = torch.arange(width // 2, device=t.device)
    angles = 1000 * t.float()[:, None] * torch.exp(i * (-2 * math.log(1e4) / width))
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimeEmbedding(nn.Module):
    """t `(B,)` -> `(B, outputs)`: sinusoids through a two-layer perceptron."""

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.width = width + width % 2
        self.first = nn.Linear(self.width, outputs)
        self.second = nn.Linear(outputs, outputs)

    def forward(self, t: Tensor) -> Tensor:
        return self.second(nn.functional.silu(self.first(sinusoids(t, self.width))))


class LabelEmbedding(nn.Embedding):
    """Labels int64 `(B,)`, or soft ones, weights float `(B, K)` of the classes, -> `(B, width)`.

    Weights of classes that the table lacks (the null class, where none is learned) are left out.
    """

    def forward(self, label: Tensor) -> Tensor:
        if label.is_floating_point():
            return label[:, : self.num_embeddings].to(self.weight.dtype) @ self.weight
        return super().forward(label)
