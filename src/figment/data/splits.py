"""Which rows are held out, and what names the content of a data set: both follow from hashes of the rows alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

FEWEST = 8  # items that can be trained on and measured
SHARE = 0.1
NAMES = {"train": "train", "valid": "valid", "validation": "valid", "val": "valid", "test": "test"}  # folders, shards


def digests(rows: Iterable[np.ndarray]) -> np.ndarray:
    """A 64-bit content hash of each row: uint64 `(N,)`."""
    words = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(words), np.uint64)


def held_out(digest: np.ndarray, share: float = SHARE) -> np.ndarray:
    """True for the rows kept from training: those whose hash lies in the lowest `share` of all 64-bit numbers.

    Equal rows fall on one side, and a row keeps its side when others come and go. Where chance would hold out nothing,
    the row of the lowest hash is; where it would hold out everything, nothing is.
    """
    out = digest < np.uint64(share * 2**64)
    if not out.any() and len(digest):
        out = digest == digest.min()
    return out if not out.all() else np.zeros_like(out)


def fingerprint(*parts: np.ndarray | str) -> str:
    """A name for content: 32 hexadecimal digits of a hash of arrays and texts in this order."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part.tobytes()
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


def frequencies(labels: np.ndarray, count: int) -> tuple[float, ...]:
    """The share of each of `count` classes among labels `(N,)`."""
    return tuple((np.bincount(labels, minlength=count) / max(len(labels), 1)).tolist())


def natural(name: str) -> tuple[int, str]:
    """The order of class names: numbers by value, then words."""
    return (int(name), "") if name.isdecimal() else (1 << 62, name)
