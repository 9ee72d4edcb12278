"""Features of the real data: all that samples are compared with, computed once and cached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Dataset, Split
from figment.evaluate import cache
from figment.evaluate.features import FeatureNet
from figment.evaluate.memorisation import closeness

TRAIN_ROWS, HELD_OUT_ROWS = 60_000, 10_000
VALUES = 1 << 24
_READY: dict[str, Reference] = {}


@dataclass(frozen=True)
class Reference:
    """Features of training rows `(N, F)` and of held-out rows `(M, F)`, the labels of the training rows `(N,)` (-1
    where there are none), and how close held-out rows are to training rows `(M,)`, as `memorisation` wants it. `split`
    is the name of the held-out split."""

    key: str
    train: Tensor
    held_out: Tensor
    labels: Tensor
    closeness: Tensor
    split: str

    @property
    def independent(self) -> bool:
        """Whether the held-out rows are other than the training rows."""
        return self.split != "train"


def reference(dataset: Dataset, net: FeatureNet) -> Reference:
    """The real data in a network's features: at most 60,000 training rows and 10,000 held-out rows, in random order,
    always the same."""
    split = next(name for name, part in dataset.splits.items() if part is dataset.held_out)
    key = cache.key("reference 2", net.key, dataset.content, dataset.spec.model_dump(), split, len(dataset.held_out))
    if key not in _READY:
        kept = cache.read(key)
        if kept is None:
            tensors = _computed(dataset, net)
            cache.write(key, tensors, {})
        else:
            tensors = kept[0]
        _READY.clear()  # one data set at a time is in memory
        _READY[key] = Reference(key, **tensors, split=split)
    return _READY[key]


def _computed(dataset: Dataset, net: FeatureNet) -> dict[str, Tensor]:
    pairs = [(net(x), y) for x, y in rows_of(dataset.train, TRAIN_ROWS)]
    train, labels = (torch.cat(parts) for parts in zip(*pairs))
    held_out = torch.cat([net(x) for x, _ in rows_of(dataset.held_out, HELD_OUT_ROWS)])
    return {"train": train, "labels": labels, "held_out": held_out, "closeness": closeness(train, held_out)}


def rows_of(split: Split, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures or rows of a split and their labels (-1 where there are none): `count` at most, in the one random order
    of all evaluations, in parts of 64 MB at most. What is decoded in blocks comes in parts of 4096, since each part
    reads most blocks again."""
    chosen = np.random.default_rng(0).permutation(len(split))[:count]
    chunk = 4096 if split.blocks is not None else max(1, min(4096, VALUES // split.spec.x.dimensions))
    for start in range(0, len(chosen), chunk):
        batch = split.gather(chosen[start : start + chunk])
        yield batch.x, batch.c.get("label", torch.full((len(batch),), -1))
