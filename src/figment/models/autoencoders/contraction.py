"""How strongly a code answers to its picture: the squared Frobenius norm of an encoder's Jacobian J = dz/dx."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def jacobian_norm_estimate(z: Tensor, x: Tensor) -> Tensor:
    """||J^T v||^2 `(B,)` with one random sign v_j a code z `(B, d)` of x `(B, ...)`, which requires grad: E_v of it is
    ||J||_F^2 whatever the encoder, at the price of one backward pass.

    Hutchinson, "A stochastic estimator of the trace of the influence matrix" (1990).
    """
    signs = torch.randint(0, 2, z.shape, device=z.device).to(z.dtype) * 2 - 1
    (gradient,) = torch.autograd.grad((z * signs).sum(), x, create_graph=torch.is_grad_enabled())
    return gradient.float().square().flatten(1).sum(1)


class TiedLayer(nn.Module):
    """z = s(W x + b) and back, x = W^T z + c, s the sigmoid or the identity: one layer, whose scale the tie holds.

    The identity finds the principal subspace (Baldi & Hornik, "Neural networks and principal component analysis",
    1989); the sigmoid is that of Rifai et al., "Contractive auto-encoders: explicit invariance during feature
    extraction" (2011), whose Jacobian is known.
    """

    def __init__(self, shape: tuple[int, ...], outputs: int, sigmoid: bool):
        super().__init__()
        self.shape, self.sigmoid = shape, sigmoid
        self.forth = nn.Linear(math.prod(shape), outputs)
        self.offset = nn.Parameter(torch.zeros(math.prod(shape)))

    def encode(self, x: Tensor) -> Tensor:
        """`(B, ...)` -> float32 `(B, d)`."""
        z = self.forth(x.flatten(1)).float()
        return z.sigmoid() if self.sigmoid else z

    def decode(self, z: Tensor) -> Tensor:
        """`(B, d)` -> float32 `(B, ...)`."""
        return F.linear(z, self.forth.weight.T, self.offset).float().unflatten(1, self.shape)

    def jacobian_norm(self, z: Tensor) -> Tensor:
        """||dz/dx||_F^2 = sum_j s'_j^2 ||W_j||^2 `(B,)`, exactly, from the code z `(B, d)`: s' is z (1 - z), or 1."""
        slope = z * (1 - z) if self.sigmoid else torch.ones_like(z)
        return slope.square() @ self.forth.weight.square().sum(1)
