"""Distances between rows, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

ENTRIES = 1 << 23  # distances in memory at a time: 64 MB


def distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Euclidean distances of blocks of rows of `a` `(N, F)` to all rows of `b` `(M, F)`: a slice and `(block, M)`.

    |a - b|^2 = |a|^2 + |b|^2 - 2 a.b by one matrix product in float64 on centred rows; equal rows come out below
    1e-6 of the data's spread.
    """
    centre = b.double().mean(0)
    a, b = a.double() - centre, b.double() - centre
    squares = b.square().sum(1)
    block = max(1, ENTRIES // len(b))
    for start in range(0, len(a), block):
        part = slice(start, min(start + block, len(a)))
        squared = torch.addmm(squares[None], a[part], b.T, alpha=-2).add_(a[part].square().sum(1, keepdim=True))
        yield part, squared.clamp_min_(0).sqrt_()


def nearest(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Distances of each row of `a` to its k nearest rows of `b`, ascending: `(N, k)`."""
    return torch.cat([block.topk(k, dim=1, largest=False).values for _, block in distances(a, b)])
