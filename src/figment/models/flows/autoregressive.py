"""Masked autoregressive flows: each column is mapped by a curve that the columns before it choose."""

from __future__ import annotations

import torch
from torch import Tensor

from figment.models.flows.transform import Transform, Univariate
from figment.nn.masked import MaskedMLP


class Autoregressive(Transform):
    """z_i = f(x_i; theta_i(x_1 ... x_(i-1), e)), columns in the `order` given `(D,)`: one pass of the network one way,
    D passes the other.

    Papamakarios et al., "Masked autoregressive flow for density estimation" (2017).
    """

    def __init__(self, order: Tensor, univariate: Univariate, width: int, depth: int, embedding: int):
        super().__init__()
        self.univariate, self.dimensions = univariate, len(order)
        self.network = MaskedMLP(order, univariate.count, width, depth, embedding)

    def forward(self, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_slope = self.univariate.forward(x, self.network(x, e))
        return z, log_slope.sum(1)

    def inverse(self, z: Tensor, e: Tensor | None) -> Tensor:
        x = torch.zeros_like(z)
        for _ in range(self.dimensions):  # after k turns the first k columns are right
            x = self.univariate.inverse(z, self.network(x, e))
        return x
