"""Folders of pictures in two forms: `A/NAME` is what is given, `B/NAME` what it should become."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pydantic

from figment.core.data import Condition, Image
from figment.core.errors import DataError
from figment.data import cache, splits
from figment.data.decode import EXTENSIONS, Unreadable, header, picture
from figment.data.images import BLOCK, Listing, layout, listing_of
from figment.data.pictures import PictureConfig, Source, Survey

Keep = Callable[[np.ndarray, Path], None]  # what is stored of decoded partners, in a folder


@dataclass(frozen=True)
class Pair:
    """The places in a listing of a picture and of its partner, and the name both have."""

    name: str
    picture: int
    partner: int


class PartneredConfig(PictureConfig):
    """Pictures in one folder, each with a partner of the same name in another; abstract."""

    path: str = pydantic.Field(description="a folder, or a .zip, .tar, .tar.gz")
    stream: Literal[False] = pydantic.Field(False, description="pairs are decoded once, into the cache")

    @property
    def folders(self) -> tuple[str, str]:
        """The names of the folder of pictures and of that of partners."""
        raise NotImplementedError  # pragma: no cover - every registered kind overrides this

    def found(self) -> tuple[Listing, list[Pair], list[str]]:
        """The files, the pairs among them, and notes on what is left out. Raises DataError where there are none."""
        root = Path(self.path).expanduser()
        listing = listing_of(root)
        here, there = (_inside(listing.names, folder) for folder in self.folders)
        both = sorted(here.keys() & there.keys(), key=lambda name: hashlib.blake2b(name.encode()).digest())
        if not both:
            first, second = self.folders
            raise DataError(f"{self.path} has no picture {first}/NAME with a partner {second}/NAME.")
        alone = len(here.keys() ^ there.keys())
        notes = [f"{alone:,} pictures without a partner of the same name are left out."] if alone else []
        return listing, [Pair(name, here[name], there[name]) for name in both], notes

    def source(self) -> Source:
        listing, pairs, notes = self.found()
        split, label, classes, remarks = layout([pair.name for pair in pairs])
        states = [[pair.name, *listing.states[pair.picture], *listing.states[pair.partner]] for pair in pairs]

        def read(block: int) -> list[bytes | None]:
            return [_with_partner(listing, pair) for pair in pairs[block * BLOCK : (block + 1) * BLOCK]]

        return Source(
            title=Path(self.path).expanduser().resolve().name.partition(".")[0] or self.kind,
            fingerprint=splits.fingerprint(self.kind, json.dumps([self.folders, states])),
            blocks=[min(BLOCK, len(pairs) - start) for start in range(0, len(pairs), BLOCK)],
            split=split,
            label=label,
            classes=classes,
            read=read,
            describe=lambda item: listing.names[pairs[item].picture],
            notes=(*notes, *remarks),
        )

    def decoded(
        self, source: Source, survey: Survey, form: str, decode: Callable[[bytes | None], np.ndarray], keep: Keep
    ) -> Path:
        """A cache folder with what `keep` makes of the partners of surveyed pictures, decoded `(N, ...)`. Raises
        DataError naming one that cannot be read."""
        listing, pairs, _ = self.found()

        def rows() -> Iterator[np.ndarray]:
            for item in survey.items:
                try:
                    yield decode(listing.read(pairs[item].partner))
                except Unreadable as fault:
                    name = listing.names[pairs[item].partner]
                    raise DataError(f"{name} cannot be read ({fault}): repair it, or remove it.") from None

        def make(folder: Path) -> None:
            for i, row in enumerate(rows()):
                if i == 0:
                    size = (len(survey.items), *row.shape)
                    raw = np.lib.format.open_memmap(folder / "raw.npy", "w+", row.dtype, size)
                raw[i] = row
            keep(raw, folder)
            (folder / "raw.npy").unlink()

        settings = json.dumps([form, survey.shape, self.crop])
        return cache.cached(splits.fingerprint(source.fingerprint, survey.items, settings), make)


class PairsConfig(PartneredConfig):
    """`A/NAME` is given, `B/NAME` is learned from it; `train`, `valid`, `test` and labels may be folders inside."""

    kind: Literal["pairs"] = "pairs"
    backwards: bool = pydantic.Field(False, description="B is given, and A learned from it")

    @property
    def folders(self) -> tuple[str, str]:
        return ("A", "B") if self.backwards else ("B", "A")

    def partners(self, source: Source, survey: Survey) -> Mapping[str, tuple[Condition, np.ndarray]]:
        if not len(survey.items):
            return {}
        _, height, width = survey.shape
        shape = (3, height, width)
        folder = self.decoded(source, survey, "pictures", lambda data: picture(data, shape, self.crop), _keep)
        partners = np.load(folder / "pictures.npy", mmap_mode="r")
        return {"image": (Image(channels=partners.shape[1], height=height, width=width), np.asarray(partners))}


def _keep(raw: np.ndarray, folder: Path) -> None:
    """All channels, or one where all pictures are grey."""
    grey = all((part == part[:, :1]).all() for part in np.array_split(raw, math.ceil(len(raw) / BLOCK)))
    np.save(folder / "pictures.npy", raw[:, :1] if grey else raw)


def _inside(names: Sequence[str], folder: str) -> dict[str, int]:
    """The pictures that lie in a folder of a name, at any depth: their path without it and without suffix -> place."""
    found = {}
    for place, name in enumerate(names):
        *parents, file = name.split("/")
        if folder in parents and file.lower().endswith(EXTENSIONS):
            parents.remove(folder)
            found["/".join([*parents, file.rpartition(".")[0]])] = place
    return found


def _with_partner(listing: Listing, pair: Pair) -> bytes | None:
    """A picture's file; None where its partner is none."""
    try:
        header(listing.read(pair.partner))
    except Unreadable:
        return None
    return listing.read(pair.picture)
