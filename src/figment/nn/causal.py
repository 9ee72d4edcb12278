"""Convolutions over a grid of symbols that see only what comes before, in reading order."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.nn.embeddings import LabelEmbedding


class CausalGrid(nn.Module):
    """Symbols int64 `(B, h, w)` of `count`, labels `(B,)` or None -> logits `(B, h, w, count)`, those of a place from
    the places before it alone: rows above by one stack of layers, the row itself, to the left, by another.

    Inputs are moved by a row and by a place, so that no weight needs a mask and no place is blind to any before it.
    Van den Oord et al., "Conditional image generation with PixelCNN decoders" (2016).
    """

    def __init__(self, count: int, grid: tuple[int, int], width: int, depth: int, classes: int = 0):
        super().__init__()
        self.symbol_in = nn.Embedding(count, width)
        self.place_in = nn.Parameter(0.02 * torch.randn(width, *grid))
        self.embed = LabelEmbedding(classes, width) if classes else None
        self.layers = nn.ModuleList(Gated(width, classes > 0, last=i == depth - 1) for i in range(depth))
        self.logits_out = nn.Conv2d(width, count, 1)
        nn.init.zeros_(self.logits_out.weight)

    def forward(self, symbols: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.symbol_in(symbols).permute(0, 3, 1, 2)
        place = self.place_in[:, : h.shape[2]]
        above, left = F.pad(h, (0, 0, 1, -1)) + place, F.pad(h, (1, -1)) + place
        condition = None if self.embed is None else self.embed(label)[..., None, None]
        for layer in self.layers:
            above, left = layer(above, left, condition)
        return self.logits_out(F.silu(left)).permute(0, 2, 3, 1).float()


class Gated(nn.Module):
    """One layer of both stacks, each h + V (tanh(a) s(b)), (a, b) = W h: `(B, C, h, w)` both. What is above goes no
    further than the `last` layer."""

    def __init__(self, width: int, conditional: bool, last: bool):
        super().__init__()
        self.above = nn.Conv2d(width, 2 * width, (2, 3))
        self.left = nn.Conv2d(width, 2 * width, (1, 2))
        self.link = nn.Conv2d(2 * width, 2 * width, 1)
        self.condition = nn.Conv2d(width, 2 * width, 1, bias=False) if conditional else None
        self.merge_above = None if last else nn.Conv2d(width, width, 1)
        self.merge_left = nn.Conv2d(width, width, 1)

    def forward(self, above: Tensor, left: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        a = self.above(F.pad(above, (1, 1, 1, 0)))
        if self.condition is not None:
            a = a + self.condition(condition)
        b = self.left(F.pad(left, (1, 0))) + self.link(a)
        above = above if self.merge_above is None else above + self.merge_above(gate(a))
        return above, left + self.merge_left(gate(b))


def gate(h: Tensor) -> Tensor:
    """tanh(a) s(b) of the two halves of the channels."""
    a, b = h.chunk(2, dim=1)
    return a.tanh() * b.sigmoid()
