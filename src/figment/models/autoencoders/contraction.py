"""How strongly a code answers to its picture: the squared Frobenius norm of an encoder's Jacobian J = dz/dx."""

from __future__ import annotations

import torch
from torch import Tensor


def layer_jacobian_norm(slope: Tensor, weight: Tensor) -> Tensor:
    """||J||_F^2 = sum_j s'_j^2 ||W_j||^2 `(B,)` of one layer z = s(W x + b), exactly: `slope` s' `(B, d)`, `weight` W
    `(d, D)`; a sigmoid has the slope z (1 - z).

    Rifai et al., "Contractive auto-encoders: explicit invariance during feature extraction" (2011).
    """
    return slope.float().square() @ weight.float().square().sum(1)


def jacobian_norm_estimate(z: Tensor, x: Tensor) -> Tensor:
    """||J^T v||^2 `(B,)` with one random sign v_j a code z `(B, d)` of x `(B, ...)`, which requires grad: E_v of it is
    ||J||_F^2 whatever the encoder, at the price of one backward pass.

    Hutchinson, "A stochastic estimator of the trace of the influence matrix" (1990).
    """
    signs = torch.randint(0, 2, z.shape, device=z.device).to(z.dtype) * 2 - 1
    (gradient,) = torch.autograd.grad((z * signs).sum(), x, create_graph=torch.is_grad_enabled())
    return gradient.float().square().flatten(1).sum(1)
