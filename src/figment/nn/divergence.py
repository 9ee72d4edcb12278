"""The divergence of a vector field, exact or estimated."""

from __future__ import annotations

import torch
from torch import Tensor

EXACT = 8  # dimensions up to which it is summed term by term


def signs_for(x: Tensor) -> Tensor | None:
    """A draw of signs of the shape of x `(B, ...)`, where it has too many dimensions for the exact sum."""
    return torch.randint(0, 2, x.shape, device=x.device).to(x.dtype) * 2 - 1 if x[0].numel() > EXACT else None


def divergence(v: Tensor, x: Tensor, signs: Tensor | None, graph: bool = False) -> Tensor:
    """sum_i dv_i/dx_i `(B,)`, or n^T (dv/dx) n along `signs` n, of that mean; both of the shape of x `(B, ...)`.

    Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines" (1990).
    """
    if signs is not None:
        (along,) = torch.autograd.grad(v, x, signs, create_graph=graph, retain_graph=True)
        return (along * signs).flatten(1).sum(1)
    each = v.flatten(1).unbind(1)
    rows = [torch.autograd.grad(v_i.sum(), x, create_graph=graph, retain_graph=True)[0].flatten(1) for v_i in each]
    return torch.stack([row[:, i] for i, row in enumerate(rows)]).sum(0)
