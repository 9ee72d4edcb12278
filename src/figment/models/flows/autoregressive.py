"""Masked autoregressive flows: each column is mapped by a curve that the columns before it choose."""

from __future__ import annotations

import torch
from torch import Tensor

from figment.models.flows.transform import Transform, Univariate
from figment.nn.masked import MaskedMLP


class Autoregressive(Transform):
    """z_i = f(x_i; theta_i(x_1 ... x_(i-1), e)), the columns of x `(B, ...)` in the `order` given `(D,)`: the network
    is run once one way, D times the other.

    Papamakarios et al., "Masked autoregressive flow for density estimation" (2017).
    """

    def __init__(self, order: Tensor, univariate: Univariate, width: int, depth: int, embedding: int):
        super().__init__()
        self.univariate, self.dimensions = univariate, len(order)
        self.network = MaskedMLP(order, univariate.count, width, depth, embedding)

    def forward(self, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_slope = self.univariate.forward(x.flatten(1), self.network(x.flatten(1), e))
        return z.view_as(x), log_slope.sum(1)

    def inverse(self, z: Tensor, e: Tensor | None) -> Tensor:
        code = z.flatten(1)
        x = torch.zeros_like(code)
        for _ in range(self.dimensions):  # after k turns the first k columns are right
            x = self.univariate.inverse(code, self.network(x, e))
        return x.view_as(z)
