"""What an invertible map is, and chains of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Transform(nn.Module, ABC):
    """A bijection x -> z `(B, ...)` under an embedded condition e `(B, E)` or None."""

    @abstractmethod
    def forward(self, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        """z, and log |det dz/dx| `(B,)`."""

    @abstractmethod
    def inverse(self, z: Tensor, e: Tensor | None) -> Tensor:
        """x."""


class Chain(Transform):
    """Transforms one after the other."""

    def __init__(self, parts: Sequence[Transform]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for part in self.parts:
            x, log_det = part(x, e)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor, e: Tensor | None) -> Tensor:
        for part in reversed(self.parts):
            assert isinstance(part, Transform)
            z = part.inverse(z, e)
        return z


class Univariate(ABC):
    """An increasing map of one number, the identity where its `count` parameters theta `(..., count)` are 0."""

    count: int

    @abstractmethod
    def forward(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """y and log dy/dx, both `(...)`."""

    @abstractmethod
    def inverse(self, y: Tensor, theta: Tensor) -> Tensor:
        """x `(...)`."""


class Affine(Univariate):
    """y = x exp(s) + t, with |s| below `bound`: no scale can run away, so none needs its start taken from data."""

    count = 2

    def __init__(self, bound: float):
        self.bound = bound

    def _parts(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = theta.unbind(-1)
        return self.bound * torch.tanh(scale / self.bound), shift

    def forward(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._parts(theta)
        return x * s.exp() + t, s

    def inverse(self, y: Tensor, theta: Tensor) -> Tensor:
        s, t = self._parts(theta)
        return (y - t) * (-s).exp()
