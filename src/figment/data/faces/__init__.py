"""Drawn faces: pictures that are a pure function of eleven known, independent factors, and those of (seed, index)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from figment.core.errors import UsageError
from figment.data.faces import shapes
from figment.data.faces.captions import as_said, caption, captions
from figment.data.faces.drawing import SEGMENTS, painted
from figment.data.faces.factors import FACTORS, NAMES, TOLERANCE, factors
from figment.data.faces.oracle import agree, read

__all__ = [
    "FACTORS",
    "NAMES",
    "SEGMENTS",
    "TOLERANCE",
    "agree",
    "as_said",
    "caption",
    "captions",
    "draw",
    "edges",
    "factors",
    "paint",
    "read",
    "segmentation",
]


def draw(seed: int, indices: Sequence[int] | np.ndarray, size: int = 32) -> np.ndarray:
    """Faces of a seed as uint8 `(N, size, size, 3)`; face i is the same in any batch. Raises UsageError."""
    return paint(factors(seed, indices), size)


def paint(values: np.ndarray, size: int = 32) -> np.ndarray:
    """Faces with given factors `(N, F)`, in the order of NAMES, as uint8 `(N, size, size, 3)`. Raises UsageError."""
    return painted(shapes.colours, values, _checked(size))


def segmentation(values: np.ndarray, size: int = 32) -> np.ndarray:
    """Which of SEGMENTS covers each pixel: uint8 `(N, size, size)`. Raises UsageError."""
    return painted(shapes.parts, values, _checked(size))


def edges(values: np.ndarray, size: int = 32) -> np.ndarray:
    """Line drawings, 0 (paper) ... 255 (line): uint8 `(N, size, size)`. Raises UsageError."""
    return painted(shapes.edges, values, _checked(size))


def _checked(size: int) -> int:
    if not 8 <= size <= 1024:
        raise UsageError(f"faces are drawn with 8 to 1024 pixels a side (asked for: {size}).")
    return size
