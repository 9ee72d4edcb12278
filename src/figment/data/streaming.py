"""Pictures that are decoded when a batch needs them: for data that does not fit in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from figment.core.data import Batch, Image, Spec
from figment.core.errors import DataError
from figment.data.decode import Crop, pictures

if TYPE_CHECKING:
    from figment.data.pictures import Source

KEPT = 16  # decoded blocks: two windows of `core.data.Order`, since a batch may straddle two


class StreamSplit:
    """Some items of a source, decoded block by block on demand; the last blocks are kept.

    `items` `(n,)` ascend; `blocks` are how many of them lie in each block of the source that has any.
    """

    def __init__(self, spec: Spec, source: Source, items: np.ndarray, c: Mapping[str, np.ndarray], crop: Crop):
        assert isinstance(spec.x, Image)
        self.spec, self.source, self.items, self.c, self.crop = spec, source, items, c, crop
        self._shape = spec.x.shape
        starts = np.cumsum([0, *source.blocks])
        self._numbers, counts = np.unique(np.searchsorted(starts, items, "right") - 1, return_counts=True)
        self._offset = starts[self._numbers]
        self._starts = np.cumsum([0, *counts])
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def blocks(self) -> Sequence[int]:
        return np.diff(self._starts).tolist()

    def gather(self, rows: np.ndarray, seed: int | None = None) -> Batch:
        stored = np.empty((len(rows), *self._shape), np.uint8)
        block = np.searchsorted(self._starts, rows, "right") - 1
        for b in np.unique(block):
            here = block == b
            stored[here] = self._pixels(int(b))[rows[here] - self._starts[b]]
        return Batch(self.spec.x.to_model(stored), self.spec.gathered(self.c, rows, seed), rows)

    def _pixels(self, block: int) -> np.ndarray:
        """The decoded rows of a block `(n, C, H, W)`. Raises DataError where a file changed since it was surveyed."""
        if block not in self._kept:
            files = self.source.read(int(self._numbers[block]))
            items = self.items[self._starts[block] : self._starts[block + 1]]
            decoded = pictures([files[i] for i in items - self._offset[block]], self._shape, self.crop)
            if decoded.faults:
                position, reason = next(iter(decoded.faults.items()))
                name = self.source.describe(int(items[position]))
                raise DataError(f"{name} cannot be read any more ({reason}): the data changed since it was surveyed.")
            self._kept[block] = decoded.pixels
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(block)
        return self._kept[block]
