"""The 8x8 scans of handwritten digits that come with scikit-learn: real data that is always there."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pydantic

from figment.core.data import ArraySplit, Classes, Dataset, Image, Spec
from figment.data import binary, splits
from figment.data.selection import SelectedConfig


class DigitsConfig(SelectedConfig):
    """1,797 scans, 8x8, 17 grey levels, 10 labels, a tenth held out by content hash.

    E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits" (UCI, 1998).
    """

    kind: Literal["digits"] = "digits"
    binarise: binary.Binarise = pydantic.Field("none", description=binary.DESCRIPTION)

    def build(self) -> Dataset:
        from sklearn.datasets import load_digits

        scans = load_digits()
        x = np.rint(scans.images * (255 / 16)).astype(np.uint8)[:, None]  # 0 ... 16 -> (N, 1, 8, 8) 0 ... 255
        label = scans.target.astype(np.int64)
        test = splits.held_out(splits.digests(x))
        spec = Spec(
            name=self.kind,
            x=Image(channels=1, height=8, width=8),
            c={"label": Classes(names=tuple("0123456789"), frequencies=splits.frequencies(label[~test], 10))},
        )
        parts = {"train": ~test, "test": test}
        dataset = Dataset(
            spec=spec,
            splits={name: ArraySplit(spec, x[rows], {"label": label[rows]}) for name, rows in parts.items()},
            content=splits.fingerprint(x[~test], label[~test]),
            notes=(f"{test.sum()} of {len(x)} scans are held out by content hash.",),
        )
        return binary.binarised(self.selected(dataset), self.binarise)
