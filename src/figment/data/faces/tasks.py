"""Pictures of the same faces in two forms: twins of the six tasks of image-to-image translation.

Isola, Zhu, Zhou & Efros, "Image-to-image translation with conditional adversarial networks" (2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from figment.data.faces import edges, paint, segmentation
from figment.data.faces.drawing import SEGMENTS
from figment.data.faces.factors import rgb

Painter = Callable[[np.ndarray, int], np.ndarray]  # factors (N, F), pixels a side -> uint8 (N, S, S, C)
Name = Literal[
    "labels-to-street", "aerial-to-map", "labels-to-facade", "day-to-night", "bw-to-colour", "edges-to-photo"
]  # fmt: skip
SHADES = rgb("#f2efe9", "#7f5200", "#f3c19c", "#0072b2", "#4d2f00", "#1d1b18", "#d9976c", "#a3173d", "#56b4e9")
FIELDS = rgb("#f5f1e6", "#c9dfaf", "#fdf6dc", "#a9cbe8", "#e8b96a", "#5b5b66", "#e3d3b0", "#d98880", "#8e9bb3")
MOON, LAMP = np.array((0.17, 0.2, 0.38)), np.array((1.0, 0.76, 0.42))  # light, red to blue


@dataclass(frozen=True)
class Task:
    """What is given, and what it should become."""

    source: Painter
    target: Painter


def labels(values: np.ndarray, size: int) -> np.ndarray:
    """The parts of faces, a shade each."""
    return _coloured(SHADES, segmentation(values, size))


def field_map(values: np.ndarray, size: int) -> np.ndarray:
    """The parts of faces as the fields, roads and waters of a map."""
    return _coloured(FIELDS, segmentation(values, size))


def boxes(values: np.ndarray, size: int) -> np.ndarray:
    """The bounding box of each part, from back to front: as windows and doors of a facade are labelled."""
    parts = segmentation(values, size)
    drawn = np.zeros_like(parts)
    for part in range(1, len(SEGMENTS)):
        here = parts == part
        drawn[_between(here.any(2))[:, :, None] & _between(here.any(1))[:, None]] = part
    return _coloured(SHADES, drawn)


def lines(values: np.ndarray, size: int) -> np.ndarray:
    """Dark outlines on white."""
    return 255 - edges(values, size)[..., None]


def grey(values: np.ndarray, size: int) -> np.ndarray:
    """The luma of faces, Y' = 0.299 R' + 0.587 G' + 0.114 B'."""
    return np.rint(paint(values, size) @ np.array((0.299, 0.587, 0.114)))[..., None].astype(np.uint8)


def night(values: np.ndarray, size: int) -> np.ndarray:
    """Faces by moonlight and a street lamp at the upper right."""
    y, x = np.mgrid[:size, :size] * (2 / (size - 1)) - 1
    near = np.clip(1 - ((x - 0.8) ** 2 + (y + 0.6) ** 2) / 2.5, 0, 1)[..., None] ** 2
    return np.rint(paint(values, size) * (MOON + near * (LAMP - MOON))).astype(np.uint8)


TASKS: dict[Name, Task] = {
    "labels-to-street": Task(labels, paint),
    "aerial-to-map": Task(paint, field_map),
    "labels-to-facade": Task(boxes, paint),
    "day-to-night": Task(paint, night),
    "bw-to-colour": Task(grey, paint),
    "edges-to-photo": Task(lines, paint),
}


def _coloured(shades: np.ndarray, parts: np.ndarray) -> np.ndarray:
    return shades.astype(np.uint8)[parts]


def _between(any_: np.ndarray) -> np.ndarray:
    """True from the first true place of a row to the last: `(N, S)`."""
    forwards = np.maximum.accumulate(any_, axis=1)
    return forwards & np.maximum.accumulate(any_[:, ::-1], axis=1)[:, ::-1]
