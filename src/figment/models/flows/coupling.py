"""Couplings of rows: some columns are mapped, one by one, by maps that the other columns choose."""

from __future__ import annotations

import torch
from torch import Tensor

from figment.models.flows.transform import Transform, Univariate
from figment.nn.mlp import MLP


class Coupling(Transform):
    """z_a = f(x_a; theta(x_b, e)) where `active` `(D,)` bool is true, z_b = x_b elsewhere: a triangular Jacobian.

    Dinh et al., "Density estimation using Real NVP" (2017); Durkan et al., "Neural spline flows" (2019).
    """

    active: Tensor
    passive: Tensor

    def __init__(self, active: Tensor, univariate: Univariate, width: int, depth: int, embedding: int):
        super().__init__()
        self.univariate = univariate
        self.register_buffer("active", active.nonzero()[:, 0])
        self.register_buffer("passive", (~active).float())
        self.network = MLP(len(active), len(self.active) * univariate.count, width, depth, embedding, zero=True)

    def _theta(self, x: Tensor, e: Tensor | None) -> Tensor:
        return self.network(x * self.passive, e).to(x.dtype).unflatten(1, (len(self.active), -1))

    def forward(self, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_slope = self.univariate.forward(x[:, self.active], self._theta(x, e))
        return x.index_copy(1, self.active, y), log_slope.sum(1)

    def inverse(self, z: Tensor, e: Tensor | None) -> Tensor:
        x = self.univariate.inverse(z[:, self.active], self._theta(z, e))
        return z.index_copy(1, self.active, x)


def alternating(dimensions: int, layers: int) -> list[Tensor]:
    """Which columns each layer maps, bool `(D,)`: a random half, then the other half, then another random half ...; at
    one column, always that one."""
    masks = []
    for layer in range(layers):
        if layer % 2 == 0:
            order = torch.randperm(dimensions)
        half = order[: dimensions // 2] if layer % 2 else order[dimensions // 2 :]
        masks.append(torch.zeros(dimensions, dtype=torch.bool).index_fill(0, half if len(half) else order, True))
    return masks
