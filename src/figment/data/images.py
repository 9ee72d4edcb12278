"""Folders and archives of pictures: sub-folders are labels, except train, valid and test, which are splits."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pydantic

from figment.core.errors import DataError
from figment.data import archives, splits
from figment.data.attributes import NAME, as_labels, attributes
from figment.data.captions import TABLES, captions
from figment.data.decode import EXTENSIONS
from figment.data.pictures import PictureConfig, Source

BLOCK = 256
LARGEST = 1 << 29  # bytes of one file


class ImagesConfig(PictureConfig):
    """A folder, .zip or .tar of pictures of any size and mode; `attributes.csv` in it names factors of them,
    `captions.jsonl`, `captions.csv` or NAME.txt beside a picture say what they show."""

    kind: Literal["images"] = "images"
    path: str = pydantic.Field(description="a folder, or a .zip, .tar, .tar.gz of pictures")
    label: str | None = pydantic.Field(
        None, description="the column of attributes.csv that is the label (unset: folders)"
    )

    def source(self) -> Source:
        root = Path(self.path).expanduser()
        listing = listing_of(root)
        pictures = [i for i, name in enumerate(listing.names) if name.lower().endswith(EXTENSIONS)]
        tables = [i for i, name in enumerate(listing.names) if name.rpartition("/")[2].lower() == NAME]
        told = [i for i, name in enumerate(listing.names) if name.rpartition("/")[2].lower() in TABLES]
        stems = {listing.names[i].rpartition(".")[0] for i in pictures}
        texts = {name[:-4]: i for i, name in enumerate(listing.names) if name.endswith(".txt") and name[:-4] in stems}
        used = {*pictures, *tables, *told, *texts.values()}
        others = Counter(Path(name).suffix.lower() or name for i, name in enumerate(listing.names) if i not in used)
        notes = [f"{others.total():,} other files are ignored ({_few(others)})."] if others else []
        if not pictures:
            raise DataError(f"{self.path} holds no pictures. {' '.join(notes)}".strip())
        pictures.sort(key=lambda i: hashlib.blake2b(listing.names[i].encode()).digest())  # labels mixed in every block
        names = [listing.names[i] for i in pictures]
        split, label, classes, remarks = layout(names)
        factors, values, said = attributes({listing.names[i]: listing.read(i) for i in tables}, names)
        if self.label:
            (label, classes), remarks = as_labels(factors, values, self.label), []
        readers = {stem: partial(listing.read, i) for stem, i in texts.items()}
        words, more = captions({listing.names[i]: listing.read(i) for i in told}, readers, names)
        states = sorted((name, *listing.states[i]) for name, i in zip(names, pictures))
        return Source(
            title=root.resolve().name.partition(".")[0] or "pictures",
            fingerprint=splits.fingerprint(json.dumps(states)),
            blocks=[min(BLOCK, len(names) - start) for start in range(0, len(names), BLOCK)],
            split=split,
            label=label,
            classes=classes,
            read=lambda block: [listing.read(i) for i in pictures[block * BLOCK : (block + 1) * BLOCK]],
            describe=names.__getitem__,
            notes=(*notes, *remarks, *said, *more),
            factors=factors,
            attributes=values,
            captions=words if any(words) else (),
        )


@dataclass(frozen=True)
class Listing:
    """Files below one root: names with `/`, printable; what changes when they do; and how the i-th is read."""

    names: Sequence[str]
    states: Sequence[tuple[int, ...]]
    read: Callable[[int], bytes | None]


def listing_of(root: Path) -> Listing:
    """The files of a folder or an archive. Raises DataError where it is missing, damaged or hostile."""
    if not root.exists():
        raise DataError(f"'{root}' is not there (any more), seen from {os.path.basename(os.getcwd())}/.")
    return Listing(*_walk(root)) if root.is_dir() else Listing(*archives.listing(root))


def layout(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], list[str]]:
    """Splits `(N,)`, labels `(N,)`, class names and remarks that follow from the folders of files.

    A folder that holds everything else says nothing and is passed over, unless it is named as a split.
    """
    folders = [name.split("/")[:-1] for name in names]
    while all(folders) and len({parts[0] for parts in folders}) == 1 and folders[0][0].lower() not in splits.NAMES:
        folders = [parts[1:] for parts in folders]
    split = [splits.NAMES.get(parts[0].lower(), "") if parts else "" for parts in folders]
    inner = [parts[1:] if name else parts for name, parts in zip(split, folders)]
    labels = [parts[0] if parts else None for parts in inner]
    classes = tuple(sorted({label for label in labels if label is not None}, key=splits.natural))
    place = {label: k for k, label in enumerate(classes)}
    loose = sum(label is None for label in labels)
    remarks = [f"{loose:,} pictures lie outside of the label folders."] if classes and loose else []
    return (
        np.array(split, dtype="<U5"),
        np.array([place.get(label, -1) if label is not None else -1 for label in labels], np.int64),
        classes,
        remarks,
    )


def _walk(root: Path) -> tuple[list[str], list[tuple[int, ...]], Callable[[int], bytes | None]]:
    """All regular files below a folder; links are followed, each folder is visited once, hidden names are left out."""
    paths: list[str] = []
    states: list[tuple[int, ...]] = []
    seen: set[tuple[int, int]] = set()
    real, linked = [str(root)], list[str]()
    while real or linked:
        folder = (real or linked).pop(0)
        try:
            place = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        if (place.st_dev, place.st_ino) in seen:
            continue
        seen.add((place.st_dev, place.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                state = entry.stat()
            except OSError:  # a link that leads nowhere, or around
                paths.append(entry.path)
                states.append((0, 0, 0))
                continue
            if entry.is_dir():
                (linked if entry.is_symlink() else real).append(entry.path)
            elif entry.is_file():
                paths.append(entry.path)
                states.append((state.st_size, state.st_mtime_ns, state.st_ctime_ns))

    def read(i: int) -> bytes | None:
        if states[i][0] > LARGEST:
            return None
        try:
            return Path(paths[i]).read_bytes()
        except OSError:
            return None

    return [printable(os.path.relpath(path, root).replace(os.sep, "/")) for path in paths], states, read


def printable(name: str) -> str:
    """A file name as text that can be printed and stored: bytes that are no UTF-8 are written as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _few(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common(4))
