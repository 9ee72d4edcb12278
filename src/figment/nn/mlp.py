"""Multilayer perceptrons: a residual one, modulated by an embedding where there is one, and a plain one."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """`(B, inputs)` -> float32 `(B, outputs)` through `depth` residual blocks of `width`; `embedding` `(B, E)` shifts
    and scales each block's normalised input.

    He et al., "Identity mappings in deep residual networks" (2016); Perez et al., "FiLM" (2018).
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int, embedding: int = 0, zero: bool = False):
        super().__init__()
        self.project_in = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(Block(width, embedding) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.project_out = nn.Linear(width, outputs)
        if zero:
            nn.init.zeros_(self.project_out.weight)
            nn.init.zeros_(self.project_out.bias)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.project_in(x)
        for block in self.blocks:
            h = block(h, embedding)
        return self.project_out(torch.nn.functional.silu(self.norm(h))).float()


class Block(nn.Module):
    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.modulation = nn.Linear(embedding, 2 * width) if embedding else None
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        y = self.norm(h)
        if self.modulation is not None and embedding is not None:
            scale, shift = self.modulation(embedding).chunk(2, dim=1)
            y = y * (1 + scale) + shift
        y = nn.functional.silu(self.first(nn.functional.silu(y)))
        return h + self.second(y)


class Plain(nn.Module):
    """`(B, *shape)` -> float32 `(B, *outputs)` through `depth` layers of `width`; `embedding` `(B, E)` is appended."""

    def __init__(self, shape: tuple[int, ...], outputs: tuple[int, ...], width: int, depth: int, embedding: int = 0):
        super().__init__()
        self.outputs = outputs
        self.project_in = nn.Linear(math.prod(shape) + embedding, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.project_out = nn.Linear(width, math.prod(outputs))

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.project_in(torch.cat([x.flatten(1), *([] if embedding is None else [embedding])], 1))
        for layer in self.layers:
            h = layer(nn.functional.silu(h))
        return self.project_out(nn.functional.silu(h)).float().unflatten(1, self.outputs)
