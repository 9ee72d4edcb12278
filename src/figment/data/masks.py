"""Folders of pictures with masks: `masks/NAME` says the class of each pixel of `images/NAME`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from figment.core.data import Condition, Masks
from figment.core.errors import DataError
from figment.data.decode import mask
from figment.data.images import Listing
from figment.data.pairs import PartneredConfig
from figment.data.pictures import Source, Survey

MOST = 256  # classes


class MasksConfig(PartneredConfig):
    """`images/NAME` with `masks/NAME`: numbers (a palette or grey picture), or a colour a class. Line k + 1 of
    `classes.txt`, where it is there, names number k."""

    kind: Literal["masks"] = "masks"

    @property
    def folders(self) -> tuple[str, str]:
        return "images", "masks"

    def partners(self, source: Source, survey: Survey) -> Mapping[str, tuple[Condition, np.ndarray]]:
        if not len(survey.items):
            return {}
        _, height, width = survey.shape
        folder = self.decoded(source, survey, "masks", lambda data: mask(data, height, width, self.crop), self._keep)
        numbers, values = np.load(folder / "numbers.npy", mmap_mode="r"), np.load(folder / "values.npy")
        named = _named(self.found()[0])
        if named and values.max() < len(named):
            return {"mask": (Masks(names=tuple(named), height=height, width=width), values.astype(np.uint8)[numbers])}
        names = tuple(_name(value) for value in values)
        return {"mask": (Masks(names=names, height=height, width=width), np.asarray(numbers))}

    def _keep(self, raw: np.ndarray, folder: Path) -> None:
        """The values that occur, and the place of each pixel's among them. Raises DataError where they are too many."""
        values = np.unique(raw)
        if len(values) > MOST:
            raise DataError(f"the masks in {self.path} have {len(values):,} values: a class a value, at most {MOST}.")
        np.save(folder / "values.npy", values)
        np.save(folder / "numbers.npy", np.searchsorted(values, raw).astype(np.uint8))


def _named(listing: Listing) -> Sequence[str]:
    """The lines of classes.txt, where there is one."""
    for place, name in enumerate(listing.names):
        if name.rpartition("/")[2] == "classes.txt":
            return (listing.read(place) or b"").decode("utf-8", "replace").splitlines()[:MOST]
    return ()


def _name(value: int) -> str:
    return str(value) if value < MOST else f"#{value:06x}"
