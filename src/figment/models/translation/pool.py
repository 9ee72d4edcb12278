"""Pictures made before, for a discriminator that should not forget them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Pool(nn.Module):
    """The last `size` pictures put in, each process's alike.

    Shrivastava et al., "Learning from simulated and unsupervised images through adversarial training" (2017).
    """

    pictures: Tensor
    count: Tensor

    def __init__(self, size: int, shape: Sequence[int]):
        super().__init__()
        self.size = size
        self.register_buffer("pictures", torch.zeros(size, *shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))  # of all that were ever put in

    def mixed(self, made: Tensor) -> Tensor:
        """Pictures `(B, C, H, W)`, each with a chance of one half exchanged for one from the pool, where it has any."""
        held = min(int(self.count), self.size)
        if not held:
            return made
        old = torch.rand(len(made), 1, 1, 1, device=made.device) < 0.5
        return torch.where(old, self.pictures[torch.randint(held, (len(made),), device=made.device)], made)

    @torch.no_grad()
    def add(self, made: Tensor) -> None:
        """Puts pictures in, in place of the oldest."""
        kept = made[-self.size :] if self.size else made[:0]
        places = torch.arange(len(kept), device=made.device) + self.count
        self.pictures[places % max(self.size, 1)] = kept.to(self.pictures)
        self.count += len(kept)
