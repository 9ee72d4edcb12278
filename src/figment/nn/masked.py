"""A perceptron whose i-th outputs see the inputs before the i-th alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MaskedLinear(nn.Linear):
    """A dense layer of which the weights where `mask` `(outputs, inputs)` is false are 0."""

    mask: Tensor

    def __init__(self, mask: Tensor):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MaskedMLP(nn.Module):
    """x `(B, D)`, embedding `(B, E)` or None -> `(B, D, count)`, 0 at the start: output i depends on those x_j
    with order_j < order_i, `order` `(D,)` a permutation.

    Germain et al., "MADE: masked autoencoder for distribution estimation" (2015).
    """

    def __init__(self, order: Tensor, count: int, width: int, depth: int, embedding: int = 0):
        super().__init__()
        self.count, dimensions = count, len(order)
        hidden = torch.arange(width) % max(dimensions - 1, 1)  # the latest input that each unit sees
        self.project_in = MaskedLinear(hidden[:, None] >= order)
        self.embed = nn.Linear(embedding, 2 * width) if embedding else None
        self.layers = nn.ModuleList(MaskedLinear(hidden[:, None] >= hidden) for _ in range(2 * depth))
        self.project_out = MaskedLinear((order[:, None] > hidden).repeat_interleave(count, 0))
        self.project_skip = nn.Linear(embedding, dimensions * count) if embedding else None
        for layer in (self.project_out, self.project_skip, *self.layers[1::2]):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.project_in(x.to(self.project_in.weight.dtype))
        scale, shift = (0.0, 0.0) if embedding is None or self.embed is None else self.embed(embedding).chunk(2, 1)
        for first, second in zip(self.layers[::2], self.layers[1::2]):
            h = h + second(F.silu(first(F.silu(h * (1 + scale) + shift))))
        y = self.project_out(F.silu(h))
        if embedding is not None and self.project_skip is not None:
            y = y + self.project_skip(embedding)
        return y.to(x.dtype).unflatten(1, (-1, self.count))
