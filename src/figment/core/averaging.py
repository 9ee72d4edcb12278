"""An exponential moving average of weights, with a half-life that grows with the examples seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """theta' <- beta theta' + (1 - beta) theta, beta = 2^(-batch / half-life), half-life = `fraction` of the
    examples seen: the average always covers the same share of the run (Karras et al., "Analyzing and improving the
    training dynamics of diffusion models", 2024). Buffers are copied.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], fraction: float):
        self.parameters, self.fraction = parameters, fraction
        self.averages = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, batch: int, seen: int) -> None:
        """After an update on `batch` examples, `seen` in all."""
        if not self.averages:
            return
        half_life = self.fraction * seen
        beta = 0.5 ** (batch / half_life) if half_life > 0 else 0.0
        torch._foreach_lerp_(list(self.averages.values()), [p.detach() for p in self.parameters.values()], 1 - beta)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The averaged weights in place of the live ones."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.data, self.averages[name] = self.averages[name], parameter.data

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.averages)

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        for name, average in self.averages.items():
            average.copy_(tensors[name])
