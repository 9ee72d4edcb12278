"""The factors of a face read back from its pixels, by drawing what would explain them; or a refusal to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import PIL.Image

from figment.core.errors import UsageError
from figment.data.faces import shapes
from figment.data.faces.drawing import BACKGROUND, HAIR, SHIRT, painted
from figment.data.faces.factors import COLUMN, NAMES, PARTS, TABLES, TOLERANCE, palette, rgb

SIDE = 32  # pixels a side at which faces are read
BLOCK = 256  # pictures at a time
Rows = tuple[int, int]
WHOLE, UPPER, EYES, MOUTH = (0, SIDE), (0, 18), (11, 21), (19, 28)  # rows that show everything, hair, eyes, mouth
NUMBERS = tuple(part.name for part in PARTS if not part.levels)
FINE = ("smile", "mouth", "eyes")  # shapes of a few pixels, which too wide a lens erases
SHOWN = {"colour": HAIR, "shirt": SHIRT, "background": BACKGROUND}  # the part that shows each colour
PATCHES = {"background": np.s_[:, :2, :2], "shirt": np.s_[:, 30:, 7:25], "colour": np.s_[:, 7:9, 19:22]}
CHEEKS = np.s_[:, 16:22, 13:19]
BLURRIEST = 0.4  # the widest lens: a variance of 0.8 pixels^2 along each axis
EXPLAINED = 0.7  # share of the picture's variance below which it is no face
SEEN = 0.5  # the same where a number shows, beside differences of 8 grey levels, which are always forgiven
FORGIVEN = 3 * 8.0**2
DOUBT = 0.35  # how far from the best level towards the next best (1/2: halfway) it might be either
PALE = 0.2  # misfit of the skin, as a share of its range, above which it has another colour


def read(pictures: np.ndarray) -> np.ndarray:
    """The factors of faces uint8 `(N, S, S, 3)` as float32 `(N, F)` in the order of NAMES; NaN where unreadable.

    Analysis by synthesis: the levels whose drawing is nearest and, by Gauss-Newton steps, the numbers that minimise
    |picture - lens(drawing)|^2, the lens being a blur of unknown width. Unreadable is a picture that the drawing
    explains too little of, and a factor whose place it does. Raises UsageError for pictures of another form.
    """
    if pictures.ndim != 4 or pictures.shape[1] != pictures.shape[2] or pictures.shape[3] != 3:
        raise UsageError(f"square RGB pictures (N, S, S, 3) are wanted (given: {pictures.shape}).")
    parts = [_read(_scaled(pictures[start : start + BLOCK])) for start in range(0, len(pictures), BLOCK)]
    return np.concatenate(parts) if parts else np.empty((0, len(PARTS)), np.float32)


def agree(values: np.ndarray, readings: np.ndarray) -> np.ndarray:
    """Whether readings `(N, F)` are right: the same level, or a number off by at most 15 % of its range; NaN is not."""
    off = np.abs(readings - values)
    return off <= np.array([0 if part.levels else TOLERANCE * part.span for part in PARTS])


def _scaled(pictures: np.ndarray) -> np.ndarray:
    if pictures.shape[1] == SIDE:
        return pictures.astype(np.float32)
    box = PIL.Image.Resampling.BOX
    return np.stack([np.asarray(PIL.Image.fromarray(x).resize((SIDE, SIDE), box), np.float32) for x in pictures])


def _read(pictures: np.ndarray) -> np.ndarray:
    fit = Fit.begun(pictures)
    fit.choose(UPPER, hair=range(6), width=(0.25, 0.75))
    fit.choose(EYES, turn=(-0.8, -0.4, 0, 0.4, 0.8), glasses=range(3))
    fit.choose(EYES, eyes=(0.1, 0.5, 0.9))
    fit.choose(MOUTH, smile=(-0.8, -0.4, 0, 0.4, 0.8), mouth=(0.1, 0.5, 0.9))
    fit.refine(WHOLE, NUMBERS)
    fit.recolour()
    fit.choose(UPPER, hair=range(6))
    fit.choose(EYES, glasses=range(3))
    fit.nudge(UPPER, 0.2, ("width",))
    fit.refine(WHOLE, NUMBERS)
    for share in (0.3, 0.15):
        fit.nudge(MOUTH, share, ("smile", "mouth"))
    fit.refine(MOUTH, ("smile", "mouth"))
    fit.refine(MOUTH, ("smile", "mouth"))
    return np.where(fit.readable(), fit.values, np.float32(np.nan))


@dataclass
class Fit:
    """Pictures `(N, 32, 32, 3)`; the factors `(N, F)` and the lens `(N,)` that explain them best so far; for each level
    chosen, how far from it towards the next best they lie `(N,)`: 0 not at all, 1/2 halfway."""

    pictures: np.ndarray
    values: np.ndarray
    lens: np.ndarray
    doubt: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def begun(cls, pictures: np.ndarray) -> Fit:
        """Colours as found where every face shows them, all else in the middle."""
        middle = [0 if part.levels else (part.low + part.high) / 2 for part in PARTS]
        fit = cls(pictures, np.tile(np.array(middle, np.float32), (len(pictures), 1)), np.zeros(len(pictures), "f4"))
        for name, patch in PATCHES.items():
            fit._paint(name, pictures[patch].mean((1, 2)))
        ramp = np.zeros((41, len(PARTS)), np.float32)
        ramp[:, COLUMN["skin"]] = np.linspace(0, 1, len(ramp))
        seen = np.median(pictures[CHEEKS].reshape(len(pictures), -1, 3), axis=1)
        nearest = _distances(seen, palette(ramp)["skin"]).argmin(1)
        fit.values[:, COLUMN["skin"]] = ramp[nearest, COLUMN["skin"]]
        return fit

    def _paint(self, name: str, seen: np.ndarray) -> None:
        distances = _distances(seen, rgb(*TABLES[name].values()))
        self.values[:, COLUMN[name]] = distances.argmin(1)
        distances.sort(1)
        self.doubt[name] = distances[:, 0] / (distances[:, 0] + distances[:, 1])

    def _moved(self, name: str, by: np.ndarray | float) -> np.ndarray:
        part = PARTS[COLUMN[name]]
        return np.clip(self.values[:, COLUMN[name]] + np.float32(by), part.low, part.high)

    def drawn(self, rows: Rows, ways: Sequence[Mapping[str, np.ndarray | float]]) -> np.ndarray:
        """Rows of the faces with some factors changed in each of K ways, through the lens: `(K, N, h, 32, 3)`."""
        values = np.tile(self.values, (len(ways), 1, 1))
        for changed, way in zip(values, ways):
            for name, value in way.items():
                changed[:, COLUMN[name]] = value
        flat = painted(shapes.colours, values.reshape(-1, len(PARTS)), SIDE, rows)
        x = flat.reshape(len(ways), len(self.values), *flat.shape[1:]).astype(np.float32)
        if self.lens.any():
            for axis in (2, 3):
                x += self.lens[:, None, None, None] * _curvature(x, axis)
        return x

    def _rest(self, rows: Rows, ways: Sequence[Mapping[str, np.ndarray | float]]) -> np.ndarray:
        rest = self.drawn(rows, ways)
        rest -= self.pictures[:, slice(*rows)]
        return rest

    def choose(self, rows: Rows, **options: Sequence[float]) -> None:
        """Sets factors to the combination of options that explains the rows best."""
        ways = [dict(zip(options, way)) for way in product(*options.values())]
        rest, each = self._rest(rows, ways), np.arange(len(self.values))
        errors = np.einsum("knhwc,knhwc->kn", rest, rest)
        best, other = errors.argsort(0)[:2]
        apart = ((rest[best, each] - rest[other, each]) ** 2).sum((1, 2, 3)) + 1
        for name in options:
            self.values[:, COLUMN[name]] = np.array([way[name] for way in ways], np.float32)[best]
            self.doubt[name] = 0.5 - (errors[other, each] - errors[best, each]) / (2 * apart)

    def nudge(self, rows: Rows, share: float, names: Sequence[str]) -> None:
        """Moves numbers by a share of their range, up, down or not, to what explains the rows best."""
        spans = [share * PARTS[COLUMN[name]].span for name in names]
        moves = product((-1, 0, 1), repeat=len(names))
        ways = [{name: self._moved(name, k * span) for name, k, span in zip(names, move, spans)} for move in moves]
        rest = self._rest(rows, ways)
        best = np.einsum("knhwc,knhwc->kn", rest, rest).argmin(0)
        for name in names:
            self.values[:, COLUMN[name]] = np.stack([way[name] for way in ways])[best, np.arange(len(best))]

    def slopes(self, rows: Rows, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The drawing `(N, h, 32, 3)`, what it leaves of the picture `(N, P)`, and its slopes `(N, K, P)`."""
        ways = [{name: self._moved(name, 0.08 * PARTS[COLUMN[name]].span)} for name in names]
        for name, way in zip(names, ways):  # downwards where that way is shut
            shut = way[name] >= PARTS[COLUMN[name]].high
            way[name] = np.where(shut, self._moved(name, -0.08 * PARTS[COLUMN[name]].span), way[name])
        base, *others = self.drawn(rows, [{}, *ways])
        steps = [way[name] - self.values[:, COLUMN[name]] for name, way in zip(names, ways)]
        change = [(other - base).reshape(len(base), -1) / step[:, None] for other, step in zip(others, steps)]
        return base, (self.pictures[:, slice(*rows)] - base).reshape(len(base), -1), np.stack(change, 1)

    def refine(self, rows: Rows, names: Sequence[str]) -> None:
        """One damped Gauss-Newton step of numbers, and of the lens by the whole: (J J' + damping) move = J rest."""
        base, rest, slopes = self.slopes(rows, names)
        if rows == WHOLE:
            blur = (_curvature(base, 1) + _curvature(base, 2)).reshape(len(base), 1, -1)
            slopes = np.concatenate([slopes, blur], 1)
        normal = (slopes @ slopes.transpose(0, 2, 1)).astype(np.float64)
        diagonal = np.einsum("nkk->nk", normal)
        diagonal += 1e-3 * diagonal + 100
        move = np.linalg.solve(normal, (slopes @ rest[..., None]).astype(np.float64))[..., 0]
        for name, by in zip(names, move.T):
            limit = 0.35 * PARTS[COLUMN[name]].span
            self.values[:, COLUMN[name]] = self._moved(name, by.clip(-limit, limit))
        if rows == WHOLE:
            self.lens = np.clip(self.lens + move[:, -1].astype(np.float32), 0, BLURRIEST)

    def recolour(self) -> None:
        """Colours by the mean difference of picture and drawing over the part that shows each."""
        rest = self.pictures - self.drawn(WHOLE, [{}])[0]
        parts, now = painted(shapes.parts, self.values, SIDE), palette(self.values)
        for name, part in SHOWN.items():
            shows = (parts == part)[..., None]
            self._paint(name, now[name] + (rest * shows).sum((1, 2)) / np.maximum(shows.sum((1, 2)), 1))

    def readable(self) -> np.ndarray:
        """Which factors can be read `(N, F)`.

        With r the rest and w = J^2 / sum J^2 the pixels where a number acts: sum w r^2 is compared with the variance of
        the picture under w, and for the skin with (sum w J r^2 / sum w J^2), the share of its range that r amounts to.
        """
        _, rest, slopes = self.slopes(WHOLE, NUMBERS)
        n, square = len(rest), slopes**2
        picture, weight = self.pictures.reshape(n, -1, 3), square.reshape(n, len(NUMBERS), -1, 3).sum(3)
        weight /= weight.sum(2, keepdims=True) + 1e-6
        variance = (weight @ picture**2 - (weight @ picture) ** 2).sum(2)
        unseen = (weight @ (rest**2).reshape(n, -1, 3)).sum(2)
        misfit = np.sqrt((square @ rest[..., None] ** 2)[..., 0] / ((square**2).sum(2) + 1e-6))
        face = (rest**2).sum(1) < (1 - EXPLAINED) * picture.var(1).sum(1) * SIDE**2
        out = np.repeat(face[:, None], len(PARTS), 1)
        for k, name in enumerate(NUMBERS):
            clear = unseen[:, k] < (1 - SEEN) * variance[:, k] + FORGIVEN
            out[:, COLUMN[name]] &= misfit[:, k] < PALE if name == "skin" else clear
            if name in FINE:
                out[:, COLUMN[name]] &= self.lens < BLURRIEST
        for name in NAMES:
            if PARTS[COLUMN[name]].levels:
                out[:, COLUMN[name]] &= self.doubt[name] < DOUBT
        return out


def _distances(seen: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Between colours `(N, 3)` and those of a table `(K, 3)`: `(N, K)`."""
    return np.sqrt(((seen[:, None] - table) ** 2).sum(-1))


def _curvature(x: np.ndarray, axis: int) -> np.ndarray:
    """x[i - 1] - 2 x[i] + x[i + 1], the ends repeated."""
    slope = np.diff(x, axis=axis)
    still = np.zeros_like(x.take([0], axis))
    return np.diff(np.concatenate([still, slope, still], axis), axis=axis)
