"""Distributions in the plane with exact densities, to see a model learn and to measure what it learned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import numpy as np
import pydantic

from figment.core.data import ArraySplit, Classes, Dataset, Modes, Spec, Vector
from figment.core.run import DataConfig
from figment.data import splits

Name = Literal[
    "moons", "rings", "spirals", "gaussians8", "grid25", "checkerboard", "pinwheel", "swissroll", "cross"
]  # fmt: skip
Curve = Callable[[np.ndarray], np.ndarray]  # (n,) in [0, 1] -> (n, 2)


class Toy(ABC):
    """A distribution in the plane whose density is known."""

    classes: int

    @abstractmethod
    def draw(self, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Points `(N, 2)` and the component that each came from `(N,)`."""

    @abstractmethod
    def log_density(self, x: np.ndarray) -> np.ndarray:
        """log p(x) in nats `(N,)` of points `(N, 2)`."""

    @property
    def modes(self) -> Modes | None:
        """Its peaks, where it consists of them."""
        return None


@dataclass(frozen=True)
class Curves(Toy):
    """Uniform along one of several curves plus isotropic noise: p(x) = mean_k int_0^1 N(x; curve_k(u), noise^2 I) du.

    The integral is a Gauss-Legendre sum with nodes no further apart than the noise is wide: off by less than 1e-7
    """

    curves: Sequence[Curve]
    noise: float
    nodes: int = 256

    @property
    def classes(self) -> int:  # type: ignore[override]
        return len(self.curves)

    @property
    def modes(self) -> Modes | None:
        """Of curves that are points."""
        return (
            Modes(np.concatenate([curve(np.zeros(1)) for curve in self.curves]), self.noise)
            if self.nodes == 1
            else None
        )

    def draw(self, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        label = generator.integers(self.classes, size=count)
        u = generator.random(count)
        x = self.noise * generator.standard_normal((count, 2))
        for k, curve in enumerate(self.curves):
            x[label == k] += curve(u[label == k])
        return x, label

    def log_density(self, x: np.ndarray) -> np.ndarray:
        node, weight = np.polynomial.legendre.leggauss(self.nodes)
        centres = np.concatenate([curve((node + 1) / 2) for curve in self.curves])  # (K * nodes, 2)
        weights = np.tile(weight / 2, self.classes) / self.classes
        along, across = (x[:, None] - centres).transpose(2, 0, 1)  # (N, K * nodes) each
        exponent = np.log(weights) - (along**2 + across**2) / (2 * self.noise**2)
        return _log_sum_exp(exponent) - np.log(2 * np.pi * self.noise**2)


@dataclass(frozen=True)
class Checkerboard(Toy):
    """Uniform on the dark cells of a 4 x 4 board on [-2, 2]^2: p(x) = 1/8 there, 0 elsewhere."""

    classes: int = 1

    def draw(self, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        column, half = generator.integers(4, size=count), generator.integers(2, size=count)
        cell = np.stack([column, 2 * half + column % 2], axis=1)
        return cell - 2 + generator.random((count, 2)), np.zeros(count, np.int64)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        dark = (np.floor(x).sum(axis=1) % 2 == 0) & (np.abs(x) < 2).all(axis=1)
        return np.where(dark, -np.log(8.0), -np.inf)


@dataclass(frozen=True)
class Pinwheel(Toy):
    """Gaussian arms N((1.4, 0), diag(.4, .12)^2), turned and twisted by the angle `twist |x|`.

    The twist keeps |x| and area, so p(x) = mean_k N(R(-2 pi k / K - twist |x|) x).
    """

    classes: int = 5
    twist: float = 0.8
    centre: np.ndarray = field(default_factory=lambda: np.array([1.4, 0.0]))
    spread: np.ndarray = field(default_factory=lambda: np.array([0.4, 0.12]))

    def _turn(self, x: np.ndarray, label: np.ndarray | int, sign: int) -> np.ndarray:
        angle = 2 * np.pi * label / self.classes + self.twist * np.hypot(*x.T)
        turned = (x[:, 0] + 1j * x[:, 1]) * np.exp(1j * sign * angle)
        return np.stack([turned.real, turned.imag], axis=1)

    def draw(self, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        label = generator.integers(self.classes, size=count)
        arm = self.centre + self.spread * generator.standard_normal((count, 2))
        return self._turn(arm, label, 1), label

    def log_density(self, x: np.ndarray) -> np.ndarray:
        arms = np.stack([self._turn(x, k, -1) for k in range(self.classes)])  # (K, N, 2)
        squares = (((arms - self.centre) / self.spread) ** 2).sum(-1)
        return _log_sum_exp(-squares.T / 2) - np.log(self.classes * 2 * np.pi * self.spread.prod())


def _circle(radius: float, start: float = 0, stop: float = 1, centre: tuple[float, float] = (0, 0)) -> Curve:
    """The arc of a circle between two angles, given in turns."""

    def curve(u: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * (start + (stop - start) * u)
        return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1) + centre

    return curve


def _spiral(turns: float, start: float, phase: float) -> Curve:
    """r = 2 s at the angle 2 pi (turns s + phase), with s from `start` to 1, uniform in s^2 (nearly in length)."""

    def curve(u: np.ndarray) -> np.ndarray:
        s = np.sqrt(start**2 + (1 - start**2) * u)
        angle = 2 * np.pi * (turns * s + phase)
        return 2 * s[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    return curve


def _segment(a: tuple[float, float], b: tuple[float, float]) -> Curve:
    return lambda u: np.outer(1 - u, a) + np.outer(u, b)


def _point(x: float, y: float) -> Curve:
    return _segment((x, y), (x, y))


def toy(name: Name) -> Toy:
    """The distribution of this name."""
    moons = [_circle(1, 0, 0.5), _circle(1, 0.5, 1, centre=(1, 0.5))]
    around = [2 * np.exp(2j * np.pi * k / 8) for k in range(8)]
    match name:
        case "moons":
            return Curves(moons, noise=0.1)
        case "rings":
            return Curves([_circle(radius) for radius in (0.6, 1.2, 1.8)], noise=0.07)
        case "spirals":
            return Curves([_spiral(1.25, 0.15, phase) for phase in (0, 0.5)], noise=0.07)
        case "swissroll":
            return Curves([_spiral(2.25, 0.3, 0)], noise=0.07, nodes=512)
        case "gaussians8":
            return Curves([_point(z.real, z.imag) for z in around], noise=0.15, nodes=1)
        case "grid25":
            return Curves([_point(x, y) for x in range(-2, 3) for y in range(-2, 3)], noise=0.08, nodes=1)
        case "cross":
            return Curves([_segment((-2, 0), (2, 0)), _segment((0, -2), (0, 2))], noise=0.1)
        case "checkerboard":
            return Checkerboard()
        case "pinwheel":
            return Pinwheel()


NAMES: tuple[str, ...] = get_args(Name)


class ToyConfig(DataConfig):
    """A distribution in the plane with its exact density; labels where it has parts (moons, arms, rings, modes)."""

    kind: Literal["toy"] = "toy"
    pictures: ClassVar[bool] = False
    name: Name = pydantic.Field(description="which distribution")
    count: int = pydantic.Field(20_000, ge=16, le=10_000_000, description="training points; a quarter each to test")
    seed: int = pydantic.Field(0, ge=0, lt=2**63, description="which points are drawn")

    def build(self) -> Dataset:
        source = toy(self.name)
        sizes = {"train": self.count, "valid": self.count // 4, "test": self.count // 4}
        drawn = {}
        for number, (split, size) in enumerate(sizes.items()):
            x, label = source.draw(size, np.random.Generator(np.random.Philox(key=[self.seed, number])))
            drawn[split] = (x.astype(np.float32), label.astype(np.int64))
        x, label = drawn["train"]
        named = source.classes > 1
        classes = Classes(
            names=tuple(map(str, range(source.classes))), frequencies=splits.frequencies(label, source.classes)
        )
        mean, scale = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
        spec = Spec(
            name=f"toy-{self.name}",
            x=Vector(mean=tuple(mean.tolist()), scale=tuple(scale.tolist()), columns=("x", "y")),
            c={"label": classes} if named else {},
        )
        return Dataset(
            spec=spec,
            splits={s: ArraySplit(spec, x, {"label": label} if named else {}) for s, (x, label) in drawn.items()},
            content=splits.fingerprint(x, label),
            notes=(f"{self.count} points to train on, {self.count // 4} each to validate and test.",),
            log_density=lambda points: _in_parts(source.log_density, np.asarray(points, np.float64)),
            modes=source.modes,
        )


def _log_sum_exp(exponent: np.ndarray) -> np.ndarray:
    """log of the sums of the exponentials of rows: `(N, K)` -> `(N,)`."""
    top = exponent.max(axis=1, keepdims=True)
    return np.log(np.exp(exponent - top).sum(axis=1)) + top[:, 0]


def _in_parts(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, rows: int = 256) -> np.ndarray:
    """A function of rows applied to a few at a time, to bound its memory."""
    return np.concatenate([function(x[start : start + rows]) for start in range(0, len(x), rows)] or [np.empty(0)])
