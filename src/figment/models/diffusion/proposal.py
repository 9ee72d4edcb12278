"""Which noise levels to train: those at which the loss is large, without a change of what is minimised."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

BINS, EVEN, MEMORY = 64, 0.1, 50


class Proposal(nn.Module):
    """A density q on (0, 1), steps of 1 / BINS: q proportional to the root of the mean squared loss in each step, mixed
    with a share EVEN of the uniform density. A loss divided by q has the same mean, and the least variance.

    Nichol & Dhariwal, "Improved denoising diffusion probabilistic models" (2021), section 3.3.
    """

    square: Tensor  # of the loss in each step, averaged over the last MEMORY batches or so
    seen: Tensor  # batches that had examples there

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("square", torch.ones(BINS))
        self.register_buffer("seen", torch.zeros(BINS))

    def draw(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers with this density from evenly drawn ones `(B,)`, and the density at each."""
        share = self.square.sqrt()
        share = (1 - EVEN) * share / share.sum() + EVEN / BINS
        edges = share.cumsum(0)
        step = torch.searchsorted(edges, u).clamp(max=BINS - 1)
        within = ((u - edges[step]) / share[step] + 1).clamp(1e-5, 1 - 1e-5)
        return (step + within) / BINS, share[step] * BINS

    @torch.no_grad()
    def learn(self, u: Tensor, loss: Tensor, mean: Callable[[Tensor], Tensor]) -> None:
        """From the losses `(B,)` at `u`; `mean` averages over all processes."""
        step = (u * BINS).long().clamp(0, BINS - 1)
        zero = torch.zeros_like(self.square)
        count, total = mean(torch.stack([zero.index_add(0, step, v.to(zero)) for v in (torch.ones_like(u), loss**2)]))
        here = (count > 0).to(zero)
        self.seen += here
        rate = here / self.seen.clamp(min=1, max=MEMORY)
        self.square.lerp_(total / count.clamp(min=1e-9), rate)
