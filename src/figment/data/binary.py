"""Pictures turned black and white: by a threshold, or drawn at random from their grey values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Batch, Dataset, Image, NoisySplit, Spec, Split
from figment.core.noise import Noise
from figment.data import splits

Binarise = Literal["none", "threshold", "dynamic"]
DESCRIPTION = "black and white: by a threshold at half, or drawn with the grey value as probability of white"


def binarised(dataset: Dataset, how: Binarise) -> Dataset:
    """The dataset with binary pictures; `dynamic` draws those of training anew at each step, and others once.

    Then no model knows a picture better than its grey values do: `Dataset.entropy`. Salakhutdinov & Murray, "On the
    quantitative analysis of deep belief networks" (2008); Burda et al., "Importance weighted autoencoders" (2016).
    """
    if how == "none":
        return dataset
    assert isinstance(dataset.spec.x, Image)
    spec = dataset.spec.model_copy(update={"x": dataset.spec.x.model_copy(update={"binary": True})})
    kind = Drawn if how == "dynamic" else Thresholded
    note = {"dynamic": "drawn from their grey values, in training anew each step", "threshold": "white from half on"}
    return replace(
        dataset,
        spec=spec,
        splits={name: kind(spec, split) for name, split in dataset.splits.items()},
        content=splits.fingerprint(dataset.content, how),
        notes=(*dataset.notes, f"The pictures are black and white: {note[how]} (data.binarise)."),
    )


@dataclass(frozen=True)
class Grey:
    """A split and the spec of what is made of it."""

    spec: Spec
    grey: Split

    def __len__(self) -> int:
        return len(self.grey)

    @property
    def blocks(self) -> Sequence[int] | None:
        return self.grey.blocks


class Thresholded(Grey):
    """Pictures that are white where their value is at least half."""

    def gather(self, rows: np.ndarray, seed: int | None = None) -> Batch:
        batch = self.grey.gather(rows, seed)
        return replace(batch, x=(batch.x >= 0).float().mul_(2).sub_(1))


class Drawn(Grey, NoisySplit):
    """Pictures whose pixels are white with their grey value as probability."""

    def gather(self, rows: np.ndarray, seed: int | None = None) -> Batch:
        batch = self.grey.gather(rows, seed)
        if seed is None:
            uniform = Noise(0, [int(row) for row in rows], "binarise").uniform(batch.x.shape[1:])
        else:
            uniform = torch.rand(batch.x.shape, generator=torch.Generator().manual_seed(seed))
        return replace(batch, x=_drawn(batch.x, uniform))

    def entropy(self, rows: np.ndarray) -> Tensor:
        white = ((self.grey.gather(rows).x + 1) / 2).double()
        return torch.distributions.Bernoulli(white).entropy().flatten(1).sum(1)


def _drawn(grey: Tensor, uniform: Tensor) -> Tensor:
    """White, 1, with probability (grey + 1) / 2, else black, -1."""
    return (2 * uniform - 1 < grey).float().mul_(2).sub_(1)
