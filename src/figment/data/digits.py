"""The 8x8 scans of handwritten digits that come with scikit-learn: real data that is always there."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pydantic

from figment.core.data import ArraySplit, Classes, Condition, Dataset, Image, Spec
from figment.data import binary, splits
from figment.data.captions import tokens
from figment.data.selection import SelectedConfig

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {
    "red": (255, 60, 60), "green": (60, 220, 80), "blue": (70, 90, 255), "yellow": (245, 225, 50),
    "purple": (200, 70, 230),
}  # fmt: skip
SAID = ("a {colour} {digit}", "{digit} in {colour}", "a colourful {digit}", "a {colour} digit", "{colour}",
        "a colourful digit")  # fmt: skip


class DigitsConfig(SelectedConfig):
    """1,797 scans, 8x8, 17 grey levels, 10 labels, a tenth held out by content hash; or each in one of five colours,
    with captions that say the digit, the colour, both or neither.

    E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits" (UCI, 1998).
    """

    kind: Literal["digits"] = "digits"
    binarise: binary.Binarise = pydantic.Field("none", description=binary.DESCRIPTION)

    coloured: bool = pydantic.Field(False, description="in five colours, with captions: digits:coloured")

    def build(self) -> Dataset:
        from sklearn.datasets import load_digits

        scans = load_digits()
        x = np.rint(scans.images * (255 / 16)).astype(np.uint8)[:, None]  # 0 ... 16 -> (N, 1, 8, 8) 0 ... 255
        label = scans.target.astype(np.int64)
        test = splits.held_out(splits.digests(x))
        known: dict[str, Condition] = {
            "label": Classes(names=tuple("0123456789"), frequencies=splits.frequencies(label[~test], 10))
        }
        c = {"label": label}
        if self.coloured:
            x, told = painted(x, label)
            known["text"], c["text"] = tokens(told, np.flatnonzero(~test), "words")
        name = f"{self.kind}:coloured" if self.coloured else self.kind
        spec = Spec(name=name, x=Image(channels=x.shape[1], height=8, width=8), c=known)
        parts = {"train": ~test, "test": test}
        dataset = Dataset(
            spec=spec,
            splits={
                name: ArraySplit(spec, x[rows], {k: v[rows] for k, v in c.items()}) for name, rows in parts.items()
            },
            content=splits.fingerprint(*(values[~test] for values in (x, *c.values()))),
            notes=(f"{test.sum()} of {len(x)} scans are held out by content hash.",),
        )
        return binary.binarised(self.selected(dataset), self.binarise)


def painted(x: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, list[list[str]]]:
    """Grey digits uint8 `(N, 1, H, W)` in colours, `(N, 3, H, W)`, and what is said of each."""
    chosen = np.random.default_rng(0).integers(len(COLOURS), size=len(x))
    shades = np.array(list(COLOURS.values()), np.float32)[chosen, :, None, None]
    words = [{"digit": NAMES[k], "colour": list(COLOURS)[i]} for k, i in zip(label, chosen)]
    told = [[said.format(**word) for said in SAID] for word in words]
    return np.rint(x / np.float32(255) * shades).astype(np.uint8), told
