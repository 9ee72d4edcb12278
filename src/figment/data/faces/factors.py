"""The factors a drawn face is made of: independent, each uniform, a pure function of (seed, index)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from figment.core.data import Factor
from figment.core.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Part:
    """One factor: a number between `low` and `high`, or one of `levels`."""

    name: str
    low: float = 0.0
    high: float = 1.0
    levels: tuple[str, ...] = ()

    @property
    def span(self) -> float:
        return self.high - self.low

    def read(self, value: object) -> float:
        """A number or the name of a level as the factor's value. Raises UsageError."""
        if self.levels:
            if value not in self.levels:
                raise UsageError(f"{self.name}={value}: {did_you_mean(str(value), self.levels)}")
            return float(self.levels.index(str(value)))
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = np.nan
        if not self.low <= number <= self.high:
            raise UsageError(f"{self.name}={value}: a number from {self.low:g} to {self.high:g} is wanted.")
        return number


HAIR = {
    "black": "#272029", "brown": "#5b3422", "ginger": "#d2602a", "blond": "#ecbd52", "silver": "#b9bfcb",
    "blue": "#4668cf",
}  # fmt: skip
SHIRT = {"coral": "#f0665f", "teal": "#1f9d94", "navy": "#2f4380", "mustard": "#e5a527", "cream": "#fbf4e4"}
BACKGROUND = {
    "mint": "#a9e0c6", "sky": "#a8d6f5", "peach": "#ffcba6", "lilac": "#cfbaf2", "lemon": "#fde588", "rose": "#f9aec2",
}  # fmt: skip
TABLES = {"colour": HAIR, "shirt": SHIRT, "background": BACKGROUND}
SKIN = ("#ffe3d0", "#f6c7a1", "#d99d6c", "#ac7048", "#7f5036")  # from 0 (light) to 1 (dark), straight lines between

PARTS = (
    Part("smile", -1, 1),
    Part("mouth"),
    Part("eyes"),
    Part("turn", -1, 1),
    Part("width"),
    Part("skin"),
    Part("hair", levels=("short", "spiky", "curly", "bun", "pigtails", "long")),
    Part("colour", levels=tuple(HAIR)),
    Part("glasses", levels=("none", "round", "square")),
    Part("shirt", levels=tuple(SHIRT)),
    Part("background", levels=tuple(BACKGROUND)),
)
NAMES = tuple(part.name for part in PARTS)
COLUMN = {name: column for column, name in enumerate(NAMES)}
FACTORS = tuple(Factor(name=part.name, levels=part.levels) for part in PARTS)
TOLERANCE = 0.15  # of a number's range: within it a reading is right
DRAWS = 12  # numbers of the stream that belong to one face: three blocks of Philox 4x64


def factors(seed: int, indices: Sequence[int] | np.ndarray, fixed: Mapping[str, object] | None = None) -> np.ndarray:
    """The factors of faces as float32 `(N, F)` in the order of NAMES: numbers themselves, levels by position.

    Face i reads numbers 12 i ... 12 i + 11 of the counter-based stream of its seed, so it is the same in any batch.
    `fixed` gives some factors the same value in all, by number or by name of a level. Raises UsageError.
    Philox 4x64: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
    """
    indices = np.asarray(indices, np.int64)
    if not 0 <= seed < 2**63 or (len(indices) and indices.min() < 0):
        raise UsageError("a seed lies between 0 and 2^63 - 1, and an index is not negative.")
    uniform = np.empty((len(indices), DRAWS))
    starts = np.flatnonzero(np.diff(indices, prepend=-2) != 1)  # of runs of successive indices
    for start, stop in zip(starts, [*starts[1:], len(indices)]):
        stream = np.random.Philox(key=[seed, DRAWS], counter=int(indices[start]) * (DRAWS // 4))
        words = stream.random_raw(DRAWS * (stop - start)).reshape(-1, DRAWS)
        uniform[start:stop] = (words >> np.uint64(11)) * 2.0**-53
    values = np.empty((len(indices), len(PARTS)), np.float32)
    for column, part in enumerate(PARTS):
        u = uniform[:, column]
        values[:, column] = np.floor(u * len(part.levels)) if part.levels else part.low + part.span * u
    for name, value in (fixed or {}).items():
        if name not in COLUMN:
            raise UsageError(f"a face has no factor '{name}'. {did_you_mean(name, NAMES)}")
        values[:, COLUMN[name]] = PARTS[COLUMN[name]].read(value)
    return values


def rgb(*colours: str) -> np.ndarray:
    """`#rrggbb` as float32 `(N, 3)`, 0 ... 255."""
    return np.array([[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in colours], np.float32)


def palette(values: np.ndarray) -> dict[str, np.ndarray]:
    """The colours, float32 `(N, 3)`, that factors `(N, F)` give to skin, hair, shirt and background."""
    stops = rgb(*SKIN)
    place = values[:, COLUMN["skin"]] * (len(stops) - 1)
    below = np.minimum(place.astype(np.int64), len(stops) - 2)
    share = (place - below)[:, None]
    chosen = {name: rgb(*table.values())[values[:, COLUMN[name]].astype(np.int64)] for name, table in TABLES.items()}
    return {"skin": stops[below] * (1 - share) + stops[below + 1] * share, **chosen}
