"""A face, drawn: factors -> layers from back to front -> a picture, its map of parts, its outlines.

Bounds, radii and places are in units of half the picture's width; (0, 0) is its middle, y points down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np

from figment.data.faces import shapes
from figment.data.faces.factors import COLUMN, PARTS, palette, rgb
from figment.data.faces.shapes import Layer, Plane, Window, box, disc, ellipse, stroke, zigzag

SEGMENTS = ("background", "hair", "skin", "shirt", "brows", "eyes", "nose", "mouth", "glasses")
BACKGROUND, HAIR, SKIN, SHIRT, BROWS, EYES, NOSE, MOUTH, GLASSES = range(len(SEGMENTS))
INK, WINE, TONGUE, WHITE, BLUSH, ROUND, SQUARE = rgb(
    "#241d2b", "#5c1628", "#ea7183", "#ffffff", "#f2606e", "#2b2f45", "#e0334c"
)  # fmt: skip
Painter = Callable[[Iterable[Layer], Plane, int], np.ndarray]
CELLS = 1 << 17  # pixels of one block of faces: what stays in the cache


@dataclass(frozen=True)
class Face:
    """B faces that share a hair style and glasses: their numbers `(B,)` and colours `(3, B)`."""

    hair: str
    glasses: str
    smile: np.ndarray
    mouth: np.ndarray
    eyes: np.ndarray
    turn: np.ndarray
    width: np.ndarray
    skin: np.ndarray
    colour: np.ndarray
    shirt: np.ndarray
    background: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Face:
        named = {part.name: values[:, column] for column, part in enumerate(PARTS)}
        first = {part.name: part.levels[int(named[part.name][0])] for part in PARTS if part.name in ("hair", "glasses")}
        painted = {name: np.ascontiguousarray(colour.T) for name, colour in palette(values).items()}
        return cls(**{**named, **first, **painted})  # type: ignore[arg-type]

    @property
    def radius(self) -> np.ndarray:
        """Half the width of the head."""
        return 0.5 + 0.13 * self.width

    def painted(self, colour: np.ndarray) -> np.ndarray:
        """One colour for all: `(3,)` -> `(3, B)`."""
        return np.broadcast_to(colour[:, None], self.skin.shape)

    def tinted(self, colour: np.ndarray, share: float, shade: np.ndarray = INK) -> np.ndarray:
        """A colour `(3, B)` with a share of another in it."""
        return colour * (1 - share) + shade[:, None] * share


def layers(values: np.ndarray, plane: Plane) -> Iterator[Layer]:
    """What faces `(B, F)` that share a hair style and glasses are painted with, from back to front."""
    face = Face.of(values)
    yield from _behind(face, plane)
    yield from _body(face, plane)
    yield from _head(face, plane)
    yield from _glasses(face, plane, front=False)
    yield from _features(face, plane)
    yield from _fringe(face, plane)
    yield from _glasses(face, plane, front=True)


def _behind(face: Face, plane: Plane) -> Iterator[Layer]:
    """The wall, and the hair that falls behind the shoulders or stands off the head."""
    whole = plane.window(-1, -1, 1, 1)
    yield Layer(whole, np.full((1, 1, 1), -9, np.float32), face.background, BACKGROUND)
    glow = disc(whole.x, whole.y - 0.05, 0.72)
    yield Layer(whole, glow, face.painted(WHITE), soft=0.5, alpha=0.3)
    shade = face.tinted(face.colour, 0.16)
    if face.hair == "long":
        at = plane.window(-0.86, -0.75, 0.86, 0.86)
        drop = box(at.x / (1 + 0.1 * at.y), at.y - 0.06, face.radius + 0.1, 0.75, 0.5)
        yield Layer(at, drop, shade, HAIR)
    elif face.hair == "curly":
        at = plane.window(-0.98, -0.98, 0.98, 0.4)
        yield Layer(at, _curls(face, at), shade, HAIR)
    elif face.hair == "bun":
        at = plane.window(-0.4, -1, 0.4, -0.5)
        yield Layer(at, disc(at.x - 0.04 * face.turn, at.y + 0.77, 0.2), shade, HAIR)
    elif face.hair == "pigtails":
        at = plane.window(-1, -0.45, 1, 0.6)
        away = np.abs(at.x + 0.04 * face.turn) - face.radius - 0.19
        yield Layer(at, ellipse(away, at.y - 0.12, 0.17, 0.36), shade, HAIR)
        knot = plane.window(-0.85, -0.35, 0.85, 0)
        away = np.abs(knot.x + 0.04 * face.turn) - face.radius - 0.1
        yield Layer(knot, disc(away, knot.y + 0.17, 0.085), face.shirt, HAIR)


def _curls(face: Face, at: Window) -> np.ndarray:
    """A round head of hair with a wavy rim, made of discs."""
    x, reach = np.abs(at.x), face.radius + 0.08
    rim = [(0.0, -0.72), (0.42, -0.62), (0.82, -0.36), (1.0, -0.02)]
    squares = [(x - across * reach) ** 2 + (at.y - down) ** 2 for across, down in rim]
    return np.sqrt(reduce(np.minimum, squares)) - 0.24


def _body(face: Face, plane: Plane) -> Iterator[Layer]:
    """Neck, the head's shadow on it, shirt and collar."""
    neck = plane.window(-0.2, 0.4, 0.2, 0.95)
    yield Layer(neck, box(neck.x, neck.y - 0.6, 0.16, 0.32, 0.1), face.tinted(face.skin, 0.16, WINE), SKIN)
    chin = np.maximum(ellipse(neck.x, neck.y - 0.16, face.radius, 0.6), np.abs(neck.x) - 0.15)
    yield Layer(neck, chin, face.tinted(face.skin, 0.42, WINE), alpha=0.6)
    at = plane.window(-0.85, 0.68, 0.85, 1)
    throat = disc(at.x, at.y - 0.68, 0.2)
    shoulders = ellipse(at.x, at.y - 1.12, 0.78, 0.38)
    yield Layer(at, np.maximum(shoulders, -0.03 - throat), face.shirt, SHIRT)
    yield Layer(at, np.maximum(shoulders, stroke(throat, 0.03)), face.tinted(face.shirt, 0.25), alpha=0.7)


def _head(face: Face, plane: Plane) -> Iterator[Layer]:
    """Ears, head, and the soft shadow and blush on it."""
    if face.hair != "long":
        ears = plane.window(-0.82, -0.1, 0.82, 0.3)
        away = np.abs(ears.x + 0.06 * face.turn) - face.radius
        yield Layer(ears, ellipse(away, ears.y - 0.1, 0.1, 0.13), face.tinted(face.skin, 0.1, WINE), SKIN)
    at = plane.window(-0.72, -0.6, 0.72, 0.74)
    egg = ellipse(at.x * (1 + 0.16 * at.y), at.y - 0.08, face.radius, 0.6)
    yield Layer(at, egg, face.skin, SKIN)
    blush = plane.window(-0.66, 0.18, 0.66, 0.52)
    away = np.abs(blush.x - 0.1 * face.turn) - 0.36
    yield Layer(
        blush,
        ellipse(away, blush.y - 0.34, 0.1, 0.07),
        face.painted(BLUSH),
        soft=0.14,
        alpha=0.4,
    )


def _features(face: Face, plane: Plane) -> Iterator[Layer]:
    """Eyes with a glint, brows, nose, mouth with teeth and tongue; all move as the head turns."""
    ink, white = face.painted(INK), face.painted(WHITE)
    eyes = plane.window(-0.54, -0.14, 0.54, 0.32)
    x = eyes.x - 0.14 * face.turn
    away = np.abs(x) - 0.25
    open_ = 0.04 + 0.12 * face.eyes
    yield Layer(eyes, ellipse(away, eyes.y - 0.09, 0.1, open_), ink, EYES)
    glint = np.minimum(np.abs(x + 0.285), np.abs(x - 0.215))
    yield Layer(eyes, ellipse(glint, eyes.y - 0.09 + 0.45 * open_, 0.036, 0.3 * open_), white)
    brows = plane.window(-0.62, -0.34, 0.62, 0.04)
    away = np.abs(brows.x - 0.13 * face.turn) - 0.26
    arch = brows.y + 0.1 + 0.08 * face.eyes - 1.6 * away**2
    yield Layer(brows, box(away, arch, 0.12, 0.035, 0.034), face.tinted(face.colour, 0.3), BROWS)
    nose = plane.window(-0.3, 0.14, 0.3, 0.36)
    tip = ellipse(nose.x - 0.19 * face.turn, nose.y - 0.27, 0.065, 0.05)
    yield Layer(nose, tip, face.tinted(face.skin, 0.26, WINE), NOSE)
    yield from _mouth(face, plane)


def _mouth(face: Face, plane: Plane) -> Iterator[Layer]:
    """A line bent by the smile that opens into a bow: |y - middle| < line + gap (1 - (x / half)^2)."""
    wine, white, tongue = (face.painted(colour) for colour in (WINE, WHITE, TONGUE))
    at = plane.window(-0.5, 0.26, 0.5, 0.74)
    x, half, line = at.x - 0.13 * face.turn, 0.23, 0.036
    bow = np.minimum((x / half) ** 2, 1)
    gap = 0.115 * face.mouth
    y = at.y - 0.46 - 0.01 * face.mouth + 0.14 * face.smile * (bow - 0.45)
    beside = np.abs(x) - half
    across = np.abs(y) - gap * (1 - bow)
    outside = np.sqrt(np.maximum(beside, 0) ** 2 + np.maximum(across, 0) ** 2)
    lips = outside + np.minimum(np.maximum(beside, across), 0) - line
    yield Layer(at, lips, wine, MOUTH)
    yield Layer(at, np.maximum(lips + 0.04, disc(x, y - gap - 0.05, 0.13)), tongue, MOUTH)
    teeth = np.maximum(y + 0.45 * gap + np.maximum(0, 0.04 - 0.2 * face.smile), np.abs(x) - 0.16)
    yield Layer(at, np.maximum(lips + 0.03, teeth), white, MOUTH)


def _fringe(face: Face, plane: Plane) -> Iterator[Layer]:
    """The hair in front: a cap over the head down to the hairline, its shadow on the forehead, a light band."""
    at = plane.window(-0.8, -0.98, 0.8, 0.42)
    x = at.x - 0.09 * face.turn
    side = np.maximum(np.abs(at.x) - face.radius * 0.84, 0)
    reach = face.radius + 0.055
    cap = ellipse(at.x, at.y - 0.04, reach, 0.7)
    if face.hair == "spiky":
        cap = cap - 0.17 * zigzag(at.x, 0.27) * np.clip(-at.y - 0.25, 0, 0.4) * 2.5
    below = 0.8 * (at.y - HAIRLINES[face.hair](x, side))  # their slopes are about 1/2
    shadow = np.maximum(below - 0.07, ellipse(at.x, at.y - 0.08, face.radius, 0.6))
    yield Layer(at, shadow, face.tinted(face.skin, 0.3, WINE), alpha=0.55)
    hair = np.maximum(cap, below)
    yield Layer(at, hair, face.colour, HAIR)
    shine = stroke(ellipse(at.x + 0.06, at.y - 0.02, reach * 0.8, 0.52), 0.035)
    spot = np.maximum(np.maximum(shine, hair + 0.05), at.x - 0.1 + 0.3 * at.y)
    yield Layer(at, spot, face.tinted(face.colour, 0.35, WHITE), soft=0.08, alpha=0.6)


def _short(x: np.ndarray, side: np.ndarray) -> np.ndarray:
    return -0.34 + 0.32 * np.abs(x + 0.24) + 2.2 * side


def _spiky(x: np.ndarray, side: np.ndarray) -> np.ndarray:
    return -0.36 + 0.14 * zigzag(x, 0.27) + 2.0 * side


def _curly(x: np.ndarray, side: np.ndarray) -> np.ndarray:
    return -0.3 + 0.08 * zigzag(x + 0.1, 0.3) + 2.2 * side


def _bun(x: np.ndarray, side: np.ndarray) -> np.ndarray:
    return -0.42 + 0.5 * x * x + 0.5 * side


def _pigtails(x: np.ndarray, side: np.ndarray) -> np.ndarray:
    return -0.26 - 0.12 * np.maximum(0, 1 - np.abs(x) / 0.1) + 2.0 * side


def _long(x: np.ndarray, side: np.ndarray) -> np.ndarray:
    return -0.48 + 0.9 * np.minimum(np.abs(x), 0.45) + 7 * side


HAIRLINES = {"short": _short, "spiky": _spiky, "curly": _curly, "bun": _bun, "pigtails": _pigtails, "long": _long}


def _glasses(face: Face, plane: Plane, front: bool) -> Iterator[Layer]:
    """The frame, or what lies behind the eyes of it: the tint of its glass."""
    if face.glasses == "none":
        return
    at = plane.window(-0.68, -0.2, 0.68, 0.38)
    x = at.x - 0.14 * face.turn
    away = np.abs(x) - 0.255
    lens = disc(away, at.y - 0.09, 0.205) if face.glasses == "round" else box(away, at.y - 0.09, 0.2, 0.175, 0.05)
    if front:
        frame = stroke(lens, 0.024 if face.glasses == "round" else 0.032)
        bridge = box(x, at.y - 0.06, 0.06, 0.025, 0.02)
        shade = ROUND if face.glasses == "round" else SQUARE
        yield Layer(at, np.minimum(frame, bridge), face.painted(shade), GLASSES)
    else:
        yield Layer(at, lens, face.painted(WHITE), alpha=0.3)


def blocks(values: np.ndarray, plane: Plane) -> Iterator[np.ndarray]:
    """Rows that share a hair style and glasses, as many at a time as stay in the cache."""
    kind = values[:, COLUMN["hair"]] * 8 + values[:, COLUMN["glasses"]]
    order = np.argsort(kind, kind="stable")
    most = max(1, CELLS // (plane.shape[0] * plane.size))
    for run in np.split(order, np.flatnonzero(np.diff(kind[order])) + 1):
        yield from (run[start : start + most] for start in range(0, len(run), most))


def painted(painter: Painter, values: np.ndarray, size: int, rows: tuple[int, int] | None = None) -> np.ndarray:
    """Faces `(N, F)`, or some rows of their pictures, by one of the painters: uint8 `(N, h, size[, 3])`."""
    plane = Plane(size, *(rows or (0, size)))
    out = np.empty((len(values), *plane.shape, *([3] if painter is shapes.colours else [])), np.uint8)
    for block in blocks(values, plane):
        out[block] = painter(layers(values[block], plane), plane, len(block))
    return out
