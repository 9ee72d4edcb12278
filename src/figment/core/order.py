"""The order in which training sees its rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from figment.core.data import Split


class Order:
    """The order of training: row p of an endless sequence of epochs, a pure function of (seed, p).

    Each epoch is a permutation drawn from a counter-based generator keyed by (seed, epoch). Where the split has
    blocks, blocks are permuted and rows only within windows of a few blocks, so that reading stays local.
    """

    def __init__(self, seed: int, split: Split, window: int = 8):
        self.seed, self.count, self.blocks, self.window = seed, len(split), split.blocks, window
        self._epochs: dict[int, np.ndarray] = {}

    def epoch(self, number: int) -> np.ndarray:
        if number not in self._epochs:
            generator = np.random.Generator(np.random.Philox(key=_words(self.seed, f"epoch-{number}")))
            self._epochs = {k: v for k, v in self._epochs.items() if k == number - 1}
            self._epochs[number] = self._permute(generator)
        return self._epochs[number]

    def _permute(self, generator: np.random.Generator) -> np.ndarray:
        if self.blocks is None:
            return generator.permutation(self.count)
        starts = np.concatenate([[0], np.cumsum(self.blocks)])
        turn = generator.permutation(len(self.blocks))
        parts = []
        for first in range(0, len(turn), self.window):
            rows = [np.arange(starts[b], starts[b + 1]) for b in turn[first : first + self.window]]
            parts.append(generator.permutation(np.concatenate(rows)))
        return np.concatenate(parts)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Positions start ... stop - 1 of the endless sequence."""
        parts: list[np.ndarray] = []
        while start < stop:
            number, offset = divmod(start, self.count)
            take = min(stop - start, self.count - offset)
            parts.append(self.epoch(number)[offset : offset + take])
            start += take
        return np.concatenate(parts)

    def batches(self, size: int, step: int = 0) -> Iterator[np.ndarray]:
        """The global batches from `step` on."""
        while True:
            yield self.rows(step * size, (step + 1) * size)
            step += 1


def _words(seed: int, text: str) -> np.ndarray:
    digest = hashlib.sha256(f"{seed}:{text}".encode()).digest()
    return np.frombuffer(digest[:16], dtype=np.uint64)
