"""Walks from noise to data, remembered, to be learned from again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn

from figment.core.data import Spec
from figment.core.noise import Noise

MOST = 4096  # walks that are remembered
NUMBERS = 2**24  # in them, at most


@final
class Walks(nn.Module):
    """The last walks of a teacher: their states `(N, levels, ...)`, from noise to data, and their conditions."""

    states: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...], spec: Spec, most: int = MOST):
        """`shape` is that of the states of one walk."""
        super().__init__()
        kept = max(1, min(most, NUMBERS // math.prod(shape)))
        self.register_buffer("states", torch.zeros(kept, *shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        for key, value in spec.conditions(Noise(0, range(1))).items():
            self.register_buffer(key, value.new_zeros(kept, *value.shape[1:]))
        self.told = [*spec.c]

    def keep(self, states: Tensor, c: Mapping[str, Tensor]) -> None:
        """The newest walks `(B, levels, ...)`, in place of the oldest; of more than there is room for, the last."""
        newest = slice(-len(self.states), None)
        states = states[newest]
        at = (self.count + torch.arange(len(states), device=states.device)) % len(self.states)
        self.states[at] = states
        for key in self.told:
            self.get_buffer(key)[at] = c[key][newest]
        self.count += len(states)

    def some(self, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        """So many of them, each as likely."""
        rows = (torch.rand(count, device=self.states.device) * self.count.clamp(max=len(self.states))).long()
        return self.states[rows], {key: self.get_buffer(key)[rows] for key in self.told}
