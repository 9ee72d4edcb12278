"""Shapes as signed distances, negative inside, to first order at the outline; and the painters that fill them.

All arrays are `(h, w, B)` with the faces innermost, so that every operation runs along contiguous memory; only
correctly rounded arithmetic is used, so a picture is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

TINY = np.float32(1e-6)


@dataclass(frozen=True)
class Plane:
    """`size` x `size` pixels that cover [-1, 1]^2, y pointing down; of them the rows from `top` to before `bottom`."""

    size: int
    top: int
    bottom: int

    @property
    def pixel(self) -> float:
        return 2 / self.size

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.size

    def window(self, left: float, top: float, right: float, bottom: float) -> Window:
        """The pixels that a shape within such bounds can touch."""
        return _window(self, left, top, right, bottom)


@dataclass(frozen=True)
class Window:
    """A rectangle of a plane's pixels and the coordinates of their centres: x `(1, w, 1)`, y `(h, 1, 1)`."""

    rows: slice
    columns: slice
    x: np.ndarray
    y: np.ndarray


@cache
def _window(plane: Plane, left: float, top: float, right: float, bottom: float) -> Window:
    first, above = (int((edge + 1) / plane.pixel - 0.5) for edge in (left, top))
    last, under = (int((edge + 1) / plane.pixel + 1.5) for edge in (right, bottom))
    columns = slice(max(0, first), min(plane.size, last))
    rows = slice(max(plane.top, above), max(plane.top, above, min(plane.bottom, under)))
    axis = ((np.arange(plane.size) + 0.5) * plane.pixel - 1).astype(np.float32)
    here = slice(rows.start - plane.top, rows.stop - plane.top)
    return Window(here, columns, axis[None, columns, None], axis[rows, None, None])


@dataclass(frozen=True)
class Layer:
    """Something painted over what is below it: where its signed distance is negative, in its colour `(3, B)`.

    `soft` is the width over which it fades (0: one pixel), `alpha` its opacity; `part` is its number in the map of
    parts, None where it only shades what is there.
    """

    window: Window
    distance: np.ndarray
    colour: np.ndarray
    part: int | None = None
    soft: float = 0.0
    alpha: float = 1.0


def ellipse(x: np.ndarray, y: np.ndarray, rx: np.ndarray | float, ry: np.ndarray | float) -> np.ndarray:
    """(k - 1) / |grad k| with k = sqrt((x / rx)^2 + (y / ry)^2)."""
    u, v = (x / rx) ** 2, (y / ry) ** 2
    k = np.sqrt(u + v)
    return (k - 1) * k / (np.sqrt(u / rx**2 + v / ry**2) + TINY)


def disc(x: np.ndarray, y: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """|(x, y)| - radius."""
    return np.sqrt(x * x + y * y) - radius


def box(x: np.ndarray, y: np.ndarray, rx: np.ndarray | float, ry: float, corner: float) -> np.ndarray:
    """A rectangle with round corners, its half sides rx and ry."""
    across, down = np.abs(x) - (rx - corner), np.abs(y) - (ry - corner)
    outside = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(down, 0) ** 2)
    return outside + np.minimum(np.maximum(across, down), 0) - corner


def stroke(distance: np.ndarray, half: float) -> np.ndarray:
    """A line of width 2 half along an outline."""
    return np.abs(distance) - half


def zigzag(x: np.ndarray, period: float) -> np.ndarray:
    """Straight up and down between 0 (at multiples of the period) and 1 (between them)."""
    place = x / period
    return 2 * np.abs(place - np.rint(place))


def colours(layers: Iterable[Layer], plane: Plane, count: int) -> np.ndarray:
    """What is seen: uint8 `(B, h, w, 3)`."""
    canvas = np.zeros((3, *plane.shape, count), np.float32)
    for layer in layers:
        cover = _cover(layer, plane.pixel)
        below = canvas[:, layer.window.rows, layer.window.columns]
        above = layer.colour[:, None, None] - below
        above *= cover
        below += above
    canvas += 0.5
    return np.ascontiguousarray(canvas.astype(np.uint8).transpose(3, 1, 2, 0))


def parts(layers: Iterable[Layer], plane: Plane, count: int) -> np.ndarray:
    """The part that covers each pixel's centre: uint8 `(B, h, w)`."""
    canvas = np.zeros((*plane.shape, count), np.uint8)
    for layer in layers:
        if layer.part is not None:
            below = canvas[layer.window.rows, layer.window.columns]
            np.copyto(below, np.uint8(layer.part), where=layer.distance < 0)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1))


def edges(layers: Iterable[Layer], plane: Plane, count: int) -> np.ndarray:
    """Outlines not hidden, 0 (none) ... 255, a pen of 1/48 of the width just inside each: `(B, h, w)`."""
    canvas = np.zeros((*plane.shape, count), np.float32)
    pen = max(0.5, plane.size / 96)  # half its width in pixels
    for layer in layers:
        if layer.part is not None:
            below = canvas[layer.window.rows, layer.window.columns]
            distance = layer.distance * (1 / plane.pixel)
            below *= np.clip(distance + 0.5, 0, 1)
            np.maximum(below, np.clip(pen + 0.5 - np.abs(distance + pen), 0, 1), out=below)
    return np.ascontiguousarray((canvas * 255 + 0.5).astype(np.uint8).transpose(2, 0, 1))


def _cover(layer: Layer, pixel: float) -> np.ndarray:
    """alpha clip(1/2 - d / width, 0, 1): the share of each pixel that a straight outline leaves covered."""
    cover = layer.distance * np.float32(-1 / max(layer.soft, pixel))
    cover += np.float32(0.5)
    np.clip(cover, 0, 1, out=cover)
    if layer.alpha != 1:
        cover *= np.float32(layer.alpha)
    return cover
