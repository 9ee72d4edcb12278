"""The noise that samples are drawn from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.errors import UsageError


class Noise:
    """One counter-based random stream a sample, keyed by (seed, index): sample i is the same at any batch size.

    `.normal(shape)` and `.uniform(shape)` return float32 `(B, *shape)` and advance the stream. `.stream(name)` gives
    an independent one that starts at its beginning, so that the same z survives a change of sampler; `.apart(scope)`
    has other streams of the same names, for another part of a model. `noise[a:b]` is the noise of some of the samples.
    Philox 4x64: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
    """

    def __init__(
        self, seed: int, indices: Sequence[int] | range, name: str = "prior", device: Any = "cpu", scope: str = ""
    ):
        if not 0 <= seed < 2**63:
            raise UsageError(f"a seed lies between 0 and 2^63 - 1 (given: {seed}).")
        self.seed, self.indices, self.name, self.scope = seed, indices, name, scope
        self.device = torch.device(device)
        self._generators: list[np.random.Generator] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, part: slice) -> Noise:
        return Noise(self.seed, self.indices[part], self.name, self.device, self.scope)

    def stream(self, name: str) -> Noise:
        return Noise(self.seed, self.indices, name, self.device, self.scope)

    def apart(self, scope: str) -> Noise:
        return Noise(self.seed, self.indices, self.name, self.device, scope)

    def to(self, device: Any) -> Noise:
        """The same noise, delivered to a device; it is always drawn on the CPU."""
        return Noise(self.seed, self.indices, self.name, device, self.scope)

    @property
    def generators(self) -> list[np.random.Generator]:
        if self._generators is None:
            word = int.from_bytes(hashlib.sha256((self.scope + self.name).encode()).digest()[:8], "little")
            self._generators = [
                np.random.Generator(
                    np.random.Philox(
                        key=np.array([self.seed, i], np.uint64), counter=np.array([0, 0, 0, word], np.uint64)
                    )
                )
                for i in self.indices
            ]
        return self._generators

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers `(B, *shape)`."""
        out = np.empty((len(self), *shape), np.float32)
        for row, generator in zip(out.reshape(len(self), -1), self.generators):
            generator.standard_normal(out=row, dtype=np.float32)
        return torch.from_numpy(out).to(self.device)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform numbers in [0, 1): `(B, *shape)`."""
        out = np.empty((len(self), *shape), np.float32)
        for row, generator in zip(out.reshape(len(self), -1), self.generators):
            generator.random(out=row, dtype=np.float32)
        return torch.from_numpy(out).to(self.device)
