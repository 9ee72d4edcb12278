"""Folders of pictures with masks: `masks/NAME` says the class of each pixel of `images/NAME`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        folder = self.decoded(source, survey, "masks", lambda data: mask(data, height, width, self.crop))
        raw = np.load(folder / "partners.npy", mmap_mode="r")
        values, numbers = np.unique(raw, return_inverse=True)
        names = _named(self.found()[0])
        if names and values.max() < len(names):
            values, numbers = np.arange(len(names)), np.asarray(raw)
        elif len(values) > MOST:
            raise DataError(f"the masks in {self.path} have {len(values):,} values: a class a value, at most {MOST}.")
        else:
            names = [_name(value) for value in values]
        part = Masks(names=tuple(names), height=height, width=width)
        return {"mask": (part, numbers.reshape(raw.shape).astype(np.uint8))}


def _named(listing: Listing) -> Sequence[str]:
    """The lines of classes.txt, where there is one."""
    for place, name in enumerate(listing.names):
        if name.rpartition("/")[2] == "classes.txt":
            return (listing.read(place) or b"").decode("utf-8", "replace").splitlines()[:MOST]
    return ()


def _name(value: int) -> str:
    return str(value) if value < MOST else f"#{value:06x}"
