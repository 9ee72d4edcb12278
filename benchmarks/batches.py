"""Batches decoded once and gathered, beside the usual `datasets` + `DataLoader`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from datasets import Dataset, Features
from datasets import Image as Picture
from PIL.Image import fromarray
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.measure import in_turn, record, table
from figment.core.data import ArraySplit, Image, Spec
from figment.core.order import Order

COUNT, BATCH = 6_400, 128


def gathered(pixels: np.ndarray) -> Callable[[], None]:
    spec = Spec(name="noise", x=Image(channels=1, height=28, width=28))
    split = ArraySplit(spec, pixels[:, None], {})
    order = Order(0, split)

    def epoch() -> None:
        for first in range(0, COUNT, BATCH):
            split.gather(order.rows(first, first + BATCH))

    return epoch


def usual(pixels: np.ndarray, workers: int) -> Callable[[], None]:
    """As the tutorials have it: PNG bytes in Arrow, decoded and scaled by a transform, collated by a DataLoader."""
    rows = Dataset.from_dict({"image": [fromarray(p) for p in pixels]}, features=Features({"image": Picture()}))

    def decode(batch: dict[str, list]) -> dict[str, list[Tensor]]:
        return {"image": [torch.from_numpy(np.array(p)).float()[None] / 127.5 - 1 for p in batch["image"]]}

    loader = DataLoader(rows.with_transform(decode), BATCH, shuffle=True, num_workers=workers)

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


def main() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
    candidates = {
        "decoded once, gathered": gathered(pixels),
        "datasets + DataLoader": usual(pixels, 0),
        "datasets + DataLoader, 2 workers": usual(pixels, 2),
    }
    timings = in_turn(candidates, rounds=5, warm_up=1)
    title = f"{COUNT:,} pictures 1x28x28, batch {BATCH}"
    note = "CPU seconds are those of the main process: the work of DataLoader's workers is not in them."
    record("batches", table(title, timings, "decoded once, gathered") + f"\n\n{note}")


if __name__ == "__main__":
    main()
