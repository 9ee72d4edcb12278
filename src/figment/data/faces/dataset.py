"""Drawn faces as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pydantic

from figment.core.data import ArraySplit, Classes, Dataset, Factors, Image, Spec
from figment.data import cache, splits
from figment.data.faces import draw
from figment.data.faces.factors import COLUMN, FACTORS, PARTS, factors
from figment.data.selection import SelectedConfig

DRAWING = 1  # counts changes of how a face looks
HELD_OUT = 1 << 40  # the first index of the test split


class FacesConfig(SelectedConfig):
    """Drawn faces with known factors: smile, mouth, eyes, turn, width, skin, hair, colour, glasses, shirt, background.

    Faces 0 ... count - 1 of the seed are trained on; a tenth as many, from index 2^40 on, are held out.
    """

    kind: Literal["faces"] = "faces"
    size: int = pydantic.Field(32, ge=8, le=512, description="pixels a side")
    count: int = pydantic.Field(20_000, ge=16, le=10_000_000, description="faces to train on; a tenth more to test")
    label: Literal["hair", "colour", "glasses", "shirt", "background", "none"] = pydantic.Field(
        "hair", description="the factor that is the class label"
    )
    seed: int = pydantic.Field(0, ge=0, lt=2**63, description="which faces are drawn")

    def build(self) -> Dataset:
        rows = {"train": np.arange(self.count), "test": HELD_OUT + np.arange(max(8, self.count // 10))}
        values = {name: factors(self.seed, indices) for name, indices in rows.items()}
        key = splits.fingerprint("faces", f"{DRAWING} {self.size} {self.count} {self.seed}")

        def make(folder: Path) -> None:
            for name, indices in rows.items():
                pixels = draw(self.seed, indices, self.size).transpose(0, 3, 1, 2)
                np.save(folder / f"{name}.npy", np.ascontiguousarray(pixels))

        folder = cache.cached(key, make)
        c = {name: {"attributes": value} | self._labels(value) for name, value in values.items()}
        image = Image(channels=3, height=self.size, width=self.size)
        spec = Spec(name=self.kind, x=image, c={"attributes": Factors(factors=FACTORS)} | self._classes(c["train"]))
        dataset = Dataset(
            spec=spec,
            splits={
                name: ArraySplit(spec, np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")), c[name])
                for name in rows
            },
            content=splits.fingerprint(key, self.label),
            notes=(f"{self.count:,} drawn faces to train on, {len(rows['test']):,} others held out.",),
        )
        return self.selected(dataset)

    def _labels(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return {} if self.label == "none" else {"label": values[:, COLUMN[self.label]].astype(np.int64)}

    def _classes(self, c: dict[str, np.ndarray]) -> dict[str, Classes]:
        if self.label == "none":
            return {}
        names = PARTS[COLUMN[self.label]].levels
        return {"label": Classes(names=names, frequencies=splits.frequencies(c["label"], len(names)))}
